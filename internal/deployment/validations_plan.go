package deployment

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

func planValidations() []validation {
	return []validation{
		{"controller-count", "Number of controllers", "The number of controllers is odd: with an even number half of them is no majority.", []string{groupPreDeployment}, checkControllers},
		{"roles-data", "Roles", "roles_data.yaml is well-formed, one role is primary, and the networks of the roles exist.", []string{groupPreDeployment}, checkRolesData},
		{"role-services", "Services of the roles", "Every service of a role is mapped in the plan's registry.", []string{groupPreDeployment}, checkRoleServices},
		{"passwords", "Passwords", "The plan has every password, none is trivially short, and none is used twice.", []string{groupPreDeployment, groupPreUpgrade}, checkPasswords},
		{"ntp", "NTP", "A plan of more than one controller names NTP servers.", []string{groupPreDeployment}, checkNTP},
		{"templates", "Templates", "The plan renders, and Heat takes it.", []string{groupPreDeployment, groupPreUpgrade}, checkTemplates},
	}
}

func networkValidations() []validation {
	return []validation{
		{"network-ranges", "Network ranges", "The networks of the plan and the control plane do not overlap; pools and gateways lie in their networks; VLANs are unique.", []string{groupPreDeployment}, checkRanges},
		{"network-pools", "Network pools", "The pools of the networks have an address for every node and virtual IP.", []string{groupPreDeployment}, checkPools},
		{"network-mtu", "MTU", "No network of the plan has a larger MTU than the provisioning network under it, or one below 1280.", []string{groupPreDeployment}, checkMTU},
		{"ctlplane-addresses", "Addresses of the provisioning network", "The provisioning network exists and has enough addresses for all nodes.", []string{groupPreIntrospection, groupPreDeployment}, checkCtlplane},
		{"dns", "DNS", "The DNS servers of the plan answer.", []string{groupPreDeployment}, checkDNS},
		{"time-skew", "Time", "The undercloud's clock agrees with the NTP servers of the plan.", []string{groupPreIntrospection, groupPreDeployment}, checkTime},
	}
}

func checkControllers(c *checker) error {
	roles, err := c.roleCounts()
	if err != nil {
		return skipNoPlan(err)
	}
	for _, role := range roles {
		tags, _ := dig(role.data, "tags").([]any)
		if !slices.Contains(tags, any("controller")) && role.name != "Controller" {
			continue
		}
		switch {
		case role.count > 0 && role.count%2 == 0:
			c.fail("role %s has %d nodes: make it %d or %d", role.name, role.count, role.count-1, role.count+1)
		case role.count == 1:
			c.warn("role %s has one node: the cloud's services end with it", role.name)
		default:
			c.ok("role %s: %d nodes", role.name, role.count)
		}
	}
	return nil
}

func checkRolesData(c *checker) error {
	if _, err := c.planEnv(); err != nil {
		return skipNoPlan(err)
	}
	roles, ok, err := c.readListFile(c.plan, rolesFile)
	if err != nil || !ok {
		return err
	}
	networks, _, err := c.readListFile(c.plan, networksFile)
	if err != nil {
		return err
	}
	defined, _ := byName(networks)
	seen := map[string]bool{}
	primary := 0
	for i, role := range roles {
		for _, p := range checkRole(i, role) {
			c.fail("%s", p)
		}
		name := text(role, "name")
		if seen[name] {
			c.fail("role %s is there twice", name)
		}
		seen[name] = true
		tags, _ := dig(role, "tags").([]any)
		if slices.Contains(tags, any("primary")) {
			primary++
		}
		for _, n := range roleNetworks(role) {
			if defined[n] == nil {
				c.fail("role %s is on network %s, which network_data.yaml does not have", name, n)
			}
		}
	}
	if primary == 0 {
		c.fail("no role has the tag primary")
	}
	c.ok("%d roles, %d networks", len(roles), len(networks))
	return nil
}

// roleNetworks are the networks of a role: a list, or a mapping of networks to subnets.
func roleNetworks(role any) []string {
	var out []string
	switch v := dig(role, "networks").(type) {
	case []any:
		for _, n := range v {
			out = append(out, fmt.Sprint(n))
		}
	case *yaml11.OrderedMap:
		out = v.Keys()
	}
	return out
}

func checkRoleServices(c *checker) error {
	env, err := c.planEnv()
	if err != nil {
		return skipNoPlan(err)
	}
	registry := map[string]bool{}
	add := func(m any) {
		reg, _ := dig(m, "resource_registry").(*yaml11.OrderedMap)
		for k := range reg.All() {
			registry[k] = true
		}
	}
	for _, path := range environmentPaths(env) {
		data, err := c.getObject(c.plan, path)
		if isStatus(err, 404) {
			c.fail("the plan names the environment %s and does not have it", path)
			continue
		}
		if err != nil {
			return err
		}
		m, err := parseMap(path, data)
		if err != nil {
			return err
		}
		add(m)
	}
	add(env)
	roles, _, err := c.readListFile(c.plan, rolesFile)
	if err != nil {
		return err
	}
	for _, role := range roles {
		list, _ := dig(role, "ServicesDefault").([]any)
		for _, s := range list {
			if !registry[fmt.Sprint(s)] {
				c.fail("role %s: service %v is in no resource_registry of the plan", text(role, "name"), s)
			}
		}
		c.ok("role %s: %d services", text(role, "name"), len(list))
	}
	return nil
}

func checkPasswords(c *checker) error {
	env, err := c.planEnv()
	if err != nil {
		return skipNoPlan(err)
	}
	used := map[string]string{}
	count := 0
	for _, name := range passwordNames() {
		v := dig(env, "parameter_defaults", name)
		if v == nil {
			v = dig(env, "passwords", name)
		}
		if v == nil {
			c.fail("the plan has no %s: run the workflow update_deployment_plan with generate_passwords", name)
			continue
		}
		count++
		s, ok := v.(string)
		if !ok || !strings.HasSuffix(name, "Password") {
			continue
		}
		if len(s) < 8 {
			c.fail("%s has %d characters, at least 8 are needed", name, len(s))
		}
		if other := used[s]; other != "" {
			c.warn("%s and %s are the same", other, name)
		}
		used[s] = name
	}
	c.ok("%d secrets", count)
	return nil
}

// stringList reads a parameter that is a list or text with commas.
func stringList(v any) []string {
	var out []string
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			out = append(out, fmt.Sprint(e))
		}
	case string:
		for _, e := range strings.Split(x, ",") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, e)
			}
		}
	}
	return out
}

func checkNTP(c *checker) error {
	params, err := c.parameters()
	if err != nil {
		return skipNoPlan(err)
	}
	roles, err := c.roleCounts()
	if err != nil {
		return err
	}
	servers := stringList(dig(params, "NtpServer"))
	for _, role := range roles {
		if role.name == "Controller" && role.count > 1 && len(servers) == 0 {
			c.fail("%d controllers and no NtpServer: without the same time on all of them the cloud does not work", role.count)
			return nil
		}
	}
	if len(servers) == 0 {
		c.warn("the plan names no NtpServer")
		return nil
	}
	c.ok("NTP servers %s", strings.Join(servers, ", "))
	return nil
}

func checkTemplates(c *checker) error {
	if _, err := c.planEnv(); err != nil {
		return skipNoPlan(err)
	}
	p, err := c.process(c.plan)
	if err == nil {
		_, err = c.validate(p)
	}
	if err != nil {
		c.fail("%v", err)
		return nil
	}
	c.ok("the plan is valid, with %d files", p.files.Len())
	return nil
}

// planNet is a network of a plan.
type planNet struct {
	PlanNetwork
	mtu        int
	vip        bool
	usedByRole []string
}

// planNets reads the networks that a role of the plan uses and the provisioning network's subnets.
func (c *checker) planNets() ([]planNet, error) {
	networks, _, err := c.readListFile(c.plan, networksFile)
	if err != nil {
		return nil, err
	}
	roles, _, err := c.readListFile(c.plan, rolesFile)
	if err != nil {
		return nil, err
	}
	params, err := c.parameters()
	if err != nil {
		return nil, err
	}
	var out []planNet
	for _, n := range networks {
		if v := dig(n, "enabled"); v != nil && !truthy(v) {
			continue
		}
		name := text(n, "name")
		pn := planNet{PlanNetwork: PlanNetwork{Name: name, VLAN: intOf(dig(n, "vlan"))}, mtu: intOf(dig(n, "mtu")), vip: truthy(dig(n, "vip"))}
		for _, role := range roles {
			if slices.Contains(roleNetworks(role), name) {
				pn.usedByRole = append(pn.usedByRole, text(role, "name"))
			}
		}
		v6 := truthy(dig(n, "ipv6"))
		cidr, pools, gw := text(n, "ip_subnet"), dig(n, "allocation_pools"), text(n, "gateway_ip")
		if v6 || cidr == "" {
			cidr, pools, gw = text(n, "ipv6_subnet"), dig(n, "ipv6_allocation_pools"), text(n, "gateway_ipv6")
		}
		if v := text(params, name+"NetCidr"); v != "" {
			cidr = v
		}
		if v := dig(params, name+"AllocationPools"); v != nil {
			pools = v
		}
		if v, ok := params.Get(name + "InterfaceDefaultRoute"); ok {
			gw, _ = v.(string)
		}
		if v := intOf(dig(params, name+"NetworkVlanID")); v > 0 {
			pn.VLAN = v
		}
		if !c.addresses(&pn, cidr, pools, gw) {
			continue
		}
		out = append(out, pn)
	}
	return out, nil
}

// addresses parses the texts of a network; what is wrong with them is an error of the validation. It tells whether the network has any.
func (c *checker) addresses(n *planNet, cidr string, pools any, gateway string) bool {
	c.failures(n.Parse(cidr, pools, gateway))
	return n.CIDR.IsValid()
}

// failures takes joined errors.
func (c *checker) failures(err error) {
	if err == nil {
		return
	}
	for _, l := range strings.Split(err.Error(), "\n") {
		c.fail("%s", l)
	}
}

// ctlplaneNets are the subnets of the provisioning network.
func (c *checker) ctlplaneNets() (nets []planNet, mtu int, err error) {
	client, err := c.s.Network()
	if err != nil {
		return nil, 0, err
	}
	var out any
	if _, err := c.request(client, "GET", client.ServiceURL("networks")+"?name=ctlplane", nil, &out); err != nil {
		return nil, 0, err
	}
	list, _ := dig(out, "networks").([]any)
	for _, n := range list {
		mtu = intOf(dig(n, "mtu"))
		var subnets any
		if _, err := c.request(client, "GET", client.ServiceURL("subnets")+"?network_id="+text(n, "id"), nil, &subnets); err != nil {
			return nil, 0, err
		}
		subs, _ := dig(subnets, "subnets").([]any)
		for _, s := range subs {
			pn := planNet{PlanNetwork: PlanNetwork{Name: "ctlplane"}}
			if c.addresses(&pn, text(s, "cidr"), dig(s, "allocation_pools"), text(s, "gateway_ip")) {
				nets = append(nets, pn)
			}
		}
	}
	return nets, mtu, nil
}

func checkRanges(c *checker) error {
	nets, err := c.planNets()
	if err != nil {
		return skipNoPlan(err)
	}
	ctl, _, err := c.ctlplaneNets()
	if err != nil {
		return err
	}
	c.ranges(append(nets, ctl...))
	return nil
}

// ranges compares networks with each other and with what is in them.
func (c *checker) ranges(nets []planNet) {
	list := make([]PlanNetwork, len(nets))
	for i, n := range nets {
		list[i] = n.PlanNetwork
	}
	c.failures(errors.Join(CheckNetworks(list)...))
	for _, n := range nets {
		c.ok("network %s: %s", n.Name, n.CIDR)
	}
}

// poolSize is how many addresses pools have, at most a million.
func poolSize(n planNet) int {
	size := 0
	for _, p := range n.Pools {
		for a := p[0]; size < 1_000_000 && a.IsValid() && !p[1].Less(a); a = a.Next() {
			size++
		}
	}
	return size
}

func checkPools(c *checker) error {
	nets, err := c.planNets()
	if err != nil {
		return skipNoPlan(err)
	}
	roles, err := c.roleCounts()
	if err != nil {
		return err
	}
	for _, n := range nets {
		want := 0
		if n.vip {
			want++
		}
		for _, role := range roles {
			if slices.Contains(n.usedByRole, role.name) {
				want += role.count
			}
		}
		if have := poolSize(n); have < want {
			c.fail("network %s: its pools have %d addresses, %d are wanted", n.Name, have, want)
		} else {
			c.ok("network %s: %d addresses for %d", n.Name, have, want)
		}
	}
	return nil
}

func checkMTU(c *checker) error {
	if _, err := c.planEnv(); err != nil {
		return skipNoPlan(err)
	}
	_, under, err := c.ctlplaneNets()
	if err != nil {
		return err
	}
	nets, err := c.planNets()
	if err != nil {
		return err
	}
	params, err := c.parameters()
	if err != nil {
		return err
	}
	list := append(nets, planNet{PlanNetwork: PlanNetwork{Name: "tenant networks (NeutronGlobalPhysnetMtu)"}, mtu: intOf(dig(params, "NeutronGlobalPhysnetMtu"))})
	for _, n := range list {
		switch {
		case n.mtu == 0:
		case n.mtu < 1280:
			c.fail("network %s: an MTU of %d is less than the 1280 that IPv6 needs", n.Name, n.mtu)
		case under > 0 && n.mtu > under:
			c.fail("network %s: its MTU of %d is larger than the %d of the provisioning network under it", n.Name, n.mtu, under)
		default:
			c.ok("network %s: %d", n.Name, n.mtu)
		}
	}
	c.ok("provisioning network: %d", under)
	return nil
}

func checkCtlplane(c *checker) error {
	nets, _, err := c.ctlplaneNets()
	if err != nil {
		return err
	}
	if len(nets) == 0 {
		c.fail("there is no network ctlplane with a subnet")
		return nil
	}
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	have := 0
	for _, n := range nets {
		have += poolSize(n)
	}
	if have < len(nodes)+1 { // and the virtual IP
		c.fail("the provisioning network has %d addresses for %d nodes and a virtual IP", have, len(nodes))
		return nil
	}
	c.ok("%d addresses for %d nodes", have, len(nodes))
	return nil
}
