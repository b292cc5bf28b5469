package deployment

import (
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// StockRole is a role of the stock plans as profiles, flavors and older command lines name it.
type StockRole struct{ Profile, Role, FlavorParam string }

// CountParam is the parameter with the number of the role's nodes.
func (r StockRole) CountParam() string { return r.Role + "Count" }

// StockRoles are all of them.
func StockRoles() []StockRole {
	return []StockRole{
		{"control", "Controller", "OvercloudControlFlavor"},
		{"compute", "Compute", "OvercloudComputeFlavor"},
		{"ceph-storage", "CephStorage", "OvercloudCephStorageFlavor"},
		{"block-storage", "BlockStorage", "OvercloudBlockStorageFlavor"},
		{"swift-storage", "ObjectStorage", "OvercloudSwiftStorageFlavor"},
	}
}

// roleOfProfile gives the prefix of the count parameter and the flavor parameter of a profile, as the original names
// them; a profile of a custom role is the role's name.
func roleOfProfile(profile string) (role, flavorParam, flavor string) {
	if profile == "object-storage" {
		profile = "swift-storage"
	}
	for _, r := range StockRoles() {
		if r.Profile == profile {
			return r.Role, r.FlavorParam, profile
		}
	}
	return profile, "Overcloud" + profile + "Flavor", profile
}

// updateRoleParameters sets the count and the flavor of a role from how many nodes have its profile.
func updateRoleParameters(r *run, in input) (any, error) {
	nodes, err := r.allNodes()
	if err != nil {
		return nil, err
	}
	role, flavorParam, flavor := roleOfProfile(in.str("role"))
	count := int64(0)
	for _, n := range nodes {
		caps, err := ParseCapabilities(dig(n, "properties", "capabilities"))
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", text(n, "uuid"), err)
		}
		if caps["profile"] == in.str("role") || caps["profile"] == flavor {
			count++
		}
	}
	if count == 0 {
		flavor = "baremetal"
	}
	container := in.str("container")
	params := yaml11.MapOf(role+"Count", count, flavorParam, flavor)
	return parametersUpdate(r, newInput(map[string]any{"container": container, "parameters": params, "key": "parameter_defaults", "validate": false}))
}

// allNodes are the nodes of Ironic with all their fields.
func (r *run) allNodes() ([]any, error) {
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, err
	}
	return r.pages(c, c.ServiceURL("nodes")+"?detail=True&limit=1000", "nodes", "uuid")
}

// allPorts are the ports of all nodes.
func (r *run) allPorts() ([]any, error) {
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, err
	}
	return r.pages(c, c.ServiceURL("ports")+"?detail=True&limit=1000", "ports", "uuid")
}

// flavors are the flavors of Nova by name, with their extra specs below `extra_specs`.
func (r *run) flavors() (map[string]*yaml11.OrderedMap, error) {
	c, err := r.s.Compute()
	if err != nil {
		return nil, err
	}
	list, err := r.pages(c, c.ServiceURL("flavors", "detail")+"?is_public=None&limit=1000", "flavors", "id")
	if err != nil {
		return nil, err
	}
	out := map[string]*yaml11.OrderedMap{}
	for _, f := range list {
		m, ok := f.(*yaml11.OrderedMap)
		if !ok {
			continue
		}
		var specs any
		if _, err := r.request(c, "GET", c.ServiceURL("flavors", url.PathEscape(text(m, "id")), "os-extra_specs"), nil, &specs); err != nil {
			return nil, err
		}
		m.Set("extra_specs", dig(specs, "extra_specs"))
		out[text(m, "name")] = m
	}
	return out, nil
}

// profileOfFlavor returns the profile that a flavor asks for.
func profileOfFlavor(r *run, in input) (any, error) {
	all, err := r.flavors()
	if err != nil {
		return nil, err
	}
	f := all[in.str("flavor_name")]
	if f == nil {
		return nil, fmt.Errorf("Unable to determine flavor profile for flavor %s: there is no such flavor", in.str("flavor_name")) //nolint:staticcheck // the text clients know
	}
	p := text(f, "extra_specs", "capabilities:profile")
	if p == "" {
		return nil, fmt.Errorf("Unable to determine profile for flavor %s: it has no extra spec capabilities:profile", in.str("flavor_name")) //nolint:staticcheck // as above
	}
	return p, nil
}

// rotateFernetKeys makes the next set of fernet keys of a plan and keeps it: key 0 becomes the newest, a new key 0 is
// made, and the oldest go when there are more than KeystoneFernetMaxActiveKeys (5; never fewer than 3).
func rotateFernetKeys(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	place := "passwords"
	keys, _ := dig(env, "parameter_defaults", "KeystoneFernetKeys").(*yaml11.OrderedMap)
	if keys != nil {
		place = "parameter_defaults"
	} else if keys, _ = dig(env, "passwords", "KeystoneFernetKeys").(*yaml11.OrderedMap); keys == nil {
		return nil, fmt.Errorf("plan %s has no fernet keys yet", container)
	}
	most := 5
	if v, err := strconv.Atoi(text(env, "parameter_defaults", "KeystoneFernetMaxActiveKeys")); err == nil {
		most = v
	}
	fresh, err := fernetKey()
	if err != nil {
		return nil, err
	}
	rotated, err := rotateKeys(keys, fresh, max(most, 3))
	if err != nil {
		return nil, err
	}
	sec := section(env, place).Clone()
	sec.Set("KeystoneFernetKeys", rotated)
	env.Set(place, sec)
	return rotated, r.writePlanEnv(container, env)
}

// rotateKeys is the pure part: keys are {path/N: {content}}.
func rotateKeys(keys *yaml11.OrderedMap, fresh string, most int) (*yaml11.OrderedMap, error) {
	byIndex := map[int]any{}
	dir, highest := "/etc/keystone/fernet-keys/", 0
	for path, v := range keys.All() {
		i := strings.LastIndexByte(path, '/')
		n, err := strconv.Atoi(path[i+1:])
		if err != nil || n < 0 {
			return nil, fmt.Errorf("fernet key %s: its name must end in a number", path)
		}
		dir, highest = path[:i+1], max(highest, n)
		byIndex[n] = v
	}
	if byIndex[0] == nil {
		return nil, fmt.Errorf("there is no key %s0 to promote", dir)
	}
	byIndex[highest+1] = byIndex[0]
	byIndex[0] = yaml11.MapOf("content", fresh)
	var order []int
	for n := range byIndex {
		order = append(order, n)
	}
	sort.Ints(order)
	for len(order) > most {
		delete(byIndex, order[1]) // the oldest; 0 is the staged one
		order = append(order[:1], order[2:]...)
	}
	out := yaml11.NewMap()
	for _, n := range order {
		out.Set(dir+strconv.Itoa(n), byIndex[n])
	}
	return out, nil
}

// fencingConfig makes the parameters for fencing from the nodes of an instackenv.json; the names of the machines come
// from their MACs.
func fencingConfig(r *run, in input) (any, error) {
	nodes, err := cleanNodes(in.list("nodes_json"))
	if err != nil {
		return nil, err
	}
	hosts, err := r.hostsByMAC()
	if err != nil {
		return nil, err
	}
	devices := []any{}
	for i, n := range nodes {
		for _, p := range nodePorts(n) {
			mac := text(p, "address")
			if hosts[mac] == "" {
				continue // not deployed: nobody to fence
			}
			params, err := fencingDevice(n, in)
			if err != nil {
				return nil, fmt.Errorf("node #%d: %w", i, err)
			}
			params.Set("pcmk_host_list", hosts[mac])
			agent := text(params, "agent")
			params.Delete("agent")
			devices = append(devices, yaml11.MapOf("agent", agent, "host_mac", mac, "params", params))
			break
		}
	}
	return yaml11.MapOf("parameter_defaults", yaml11.MapOf("EnableFencing", true, "FencingConfig", yaml11.MapOf("devices", devices))), nil
}

// fencingDevice are the parameters of the fence agent of a node.
func fencingDevice(n *yaml11.OrderedMap, in input) (*yaml11.OrderedMap, error) {
	family := text(n, "pm_type")
	if _, after, ok := strings.Cut(family, "_"); ok {
		family = after
	}
	set := func(p *yaml11.OrderedMap, key string, v any) {
		if truthy(v) {
			p.Set(key, v)
		}
	}
	switch {
	case family == "ssh" && text(n, "pm_type") == "pxe_ssh":
		auth := in.mapping("os_auth")
		p := yaml11.MapOf("agent", "fence_ironic", "auth_url", dig(auth, "auth_url"), "login", dig(auth, "login"), "passwd", dig(auth, "passwd"), "tenant_name", dig(auth, "tenant_name"))
		set(p, "delay", in.value("delay"))
		return p, nil
	case family == "staging-ovirt":
		p := yaml11.MapOf("agent", "fence_rhevm", "ipaddr", text(n, "pm_addr"), "login", text(n, "pm_user"), "passwd", text(n, "pm_password"), "port", text(n, "pm_vm_name"), "ssl", 1, "ssl_insecure", 1)
		set(p, "delay", in.value("delay"))
		return p, nil
	case family == "redfish":
		p := yaml11.MapOf("agent", "fence_redfish", "ipaddr", strings.TrimPrefix(strings.TrimPrefix(text(n, "pm_addr"), "https://"), "http://"),
			"login", text(n, "pm_user"), "passwd", text(n, "pm_password"), "systems_uri", text(n, "pm_system_id"), "privlvl", "administrator")
		set(p, "delay", in.value("delay"))
		return p, nil
	case strings.HasPrefix(family, "ipmi"), family == "drac", family == "idrac", family == "ilo":
		p := yaml11.MapOf("agent", "fence_ipmilan", "ipaddr", text(n, "pm_addr"), "passwd", text(n, "pm_password"), "login", text(n, "pm_user"))
		set(p, "ipport", dig(n, "pm_port"))
		p.Set("lanplus", truthy(in.value("ipmi_lanplus")))
		set(p, "delay", in.value("delay"))
		set(p, "cipher", in.value("ipmi_cipher"))
		set(p, "privlvl", in.value("ipmi_level"))
		return p, nil
	}
	return nil, fmt.Errorf("no fence agent is known for pm_type %s", text(n, "pm_type"))
}

// hostsByMAC maps the MACs of deployed machines to the names of their servers.
func (r *run) hostsByMAC() (map[string]string, error) {
	servers, err := r.serverNames()
	if err != nil {
		return nil, err
	}
	nodes, err := r.allNodes()
	if err != nil {
		return nil, err
	}
	byUUID := map[string]string{}
	for _, n := range nodes {
		if id := text(n, "instance_uuid"); id != "" {
			byUUID[text(n, "uuid")] = servers[id]
		}
	}
	ports, err := r.allPorts()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, p := range ports {
		out[strings.ToLower(text(p, "address"))] = byUUID[text(p, "node_uuid")]
	}
	return out, nil
}
