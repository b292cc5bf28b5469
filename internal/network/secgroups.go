package network

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

const defaultGroup = "default"

func groupKind() *resource {
	return &resource{
		kind: "security_group", plural: "security_groups", path: "security-groups", shared: "security_group", quota: true,
		missing: "Security group %s does not exist", missingType: "SecurityGroupNotFound",
		inUse: "Security Group %s in use.", inUseType: "SecurityGroupInUse",
		attrs: described(
			attr{name: "stateful", parse: boolean, def: true, mode: both},
			attr{name: "shared"}, attr{name: "security_group_rules", mode: unlist},
		),
		prepare: func(c *call, d, old doc) error {
			if old == nil {
				if d.str("name") == defaultGroup {
					return api.Conflict("Default security group already exists.").Named("SecurityGroupDefaultAlreadyExists")
				}
				_, err := c.defaultGroup(d.project()) // each project has it before it has others
				return err
			}
			if old.str("name") == defaultGroup && d.str("name") != defaultGroup {
				return api.Conflict("Updating default security group not allowed.").Named("SecurityGroupCannotUpdateDefault")
			}
			if old.str("name") != defaultGroup && d.str("name") == defaultGroup {
				return api.Conflict("Default security group already exists.").Named("SecurityGroupDefaultAlreadyExists")
			}
			if old.flag("stateful") != d.flag("stateful") {
				used, err := c.referrers(d.id(), "security_groups")
				if err == nil && len(used) > 0 {
					err = api.Conflict("Security Group %s in use.", d.id()).Named("SecurityGroupInUse")
				}
				return err
			}
			return nil
		},
		stored: func(c *call, d, old doc) error {
			if old != nil {
				return nil
			}
			return c.baseRules(d, false)
		},
		release: func(c *call, d doc) error {
			if d.str("name") == defaultGroup && !c.admin() {
				return api.Conflict("Insufficient rights for removing default security group.").Named("SecurityGroupCannotRemoveDefault")
			}
			if _, err := c.tx.Exec(`DELETE FROM network_defaults WHERE group_id = ?`, d.id()); err != nil {
				return err
			}
			_, err := c.tx.Exec(`DELETE FROM network_resources WHERE parent_id = ? AND kind = 'security_group_rule' AND
				NOT EXISTS (SELECT 1 FROM network_refs WHERE to_id = ? AND role = 'security_groups')`, d.id(), d.id())
			return err
		},
		view: func(c *call, d doc) error {
			rules, err := c.children(c.s.kinds["security_group_rule"], d.id())
			if err != nil {
				return err
			}
			list := []any{}
			for _, r := range rules {
				shown, err := c.shown(c.s.kinds["security_group_rule"], r)
				if err != nil {
					return err
				}
				list = append(list, map[string]any(shown))
			}
			d["security_group_rules"] = list
			return nil
		},
	}
}

// defaultGroup returns the id of a project's default group, which is made when
// it is first needed. The primary key of its name keeps it the only one.
func (c *call) defaultGroup(project string) (string, error) {
	if c.common == nil {
		return c.findDefaultGroup(project)
	}
	id, ok := c.common.groups[project]
	if ok {
		return id, nil
	}
	id, err := c.findDefaultGroup(project)
	if err == nil {
		c.common.groups[project] = id
	}
	return id, err
}

func (c *call) findDefaultGroup(project string) (string, error) {
	var id string
	err := c.tx.Get([]any{&id}, `SELECT id FROM network_resources WHERE kind = 'security_group' AND project_id = ? AND name = 'default'`, project)
	if !isNotFound(err) {
		return id, err
	}
	d := doc{"id": newID(), "project_id": project, "name": defaultGroup, "description": "Default security group", "stateful": true}
	given := c.given
	c.given = map[string]any{}
	defer func() { c.given = given }()
	k := *c.s.kinds["security_group"]
	k.prepare, k.stored, k.quota = nil, nil, false
	n, err := c.tx.Exec(`INSERT INTO network_defaults (project_id, group_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, project, d.id())
	if err != nil {
		return "", err
	}
	if n == 0 { // another process was first; its row was waited for
		err := c.tx.Get([]any{&id}, `SELECT group_id FROM network_defaults WHERE project_id = ?`, project)
		return id, err
	}
	if err := c.add(&k, d); err != nil {
		return "", err
	}
	return d.id(), c.baseRules(d, true)
}

// baseRules lets everything out of a new group, and, for the default group,
// its members talk to each other.
func (c *call) baseRules(group doc, isDefault bool) error {
	given := c.given
	c.given = map[string]any{}
	defer func() { c.given = given }()
	if !isDefault {
		if err := c.room(c.s.kinds["security_group_rule"], group.project(), 2); err != nil {
			return err
		}
	}
	for _, ether := range []string{"IPv4", "IPv6"} {
		directions := []string{"egress"}
		if isDefault {
			directions = append(directions, "ingress")
		}
		for _, dir := range directions {
			r := doc{
				"id": newID(), "project_id": group.project(), "security_group_id": group.id(), "direction": dir, "ethertype": ether,
				"protocol": nil, "port_range_min": nil, "port_range_max": nil, "remote_ip_prefix": nil, "remote_group_id": nil,
				"remote_address_group_id": nil, "description": "",
			}
			if dir == "ingress" {
				r["remote_group_id"] = group.id()
			}
			k := *c.s.kinds["security_group_rule"]
			k.prepare, k.quota, k.stored = nil, false, nil
			if err := c.add(&k, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func ruleKind() *resource {
	return &resource{
		kind: "security_group_rule", plural: "security_group_rules", path: "security-group-rules", parent: "security_group_id", quota: true, noPut: true,
		missing: "Security group rule %s does not exist", missingType: "SecurityGroupRuleNotFound",
		inUse: "Security Group Rule %s in use.", inUseType: "SecurityGroupRuleInUse",
		attrs: []attr{
			{name: "security_group_id", parse: id, mode: post | need, ref: "security_group"},
			{name: "direction", parse: oneOf("ingress", "egress"), mode: post | need},
			{name: "ethertype", parse: etherType, def: "IPv4", mode: post},
			{name: "protocol", parse: orNull(protocol), def: nil, mode: post},
			{name: "port_range_min", parse: orNull(integer(math.MinInt32, math.MaxInt32)), def: nil, mode: post},
			{name: "port_range_max", parse: orNull(integer(math.MinInt32, math.MaxInt32)), def: nil, mode: post},
			{name: "remote_group_id", parse: orNull(text(36)), def: nil, mode: post, ref: "security_group"},
			{name: "remote_ip_prefix", parse: orNull(rawPrefix), def: nil, mode: post},
			{name: "remote_address_group_id", parse: orNull(id), def: nil, mode: post, ref: "address_group"},
			{name: "description", parse: orEmpty(text(maxDesc)), def: "", mode: post},
			{name: "normalized_cidr", mode: unlist},
		},
		prepare: prepareRule,
		stored: func(c *call, d, _ doc) error {
			return c.touch(c.s.kinds["security_group"], d.str("security_group_id"))
		},
		release: func(c *call, d doc) error { return c.touch(c.s.kinds["security_group"], d.str("security_group_id")) },
		view: func(_ *call, d doc) error {
			d["normalized_cidr"] = nil
			if p, err := netip.ParsePrefix(d.str("remote_ip_prefix")); err == nil {
				d["normalized_cidr"] = p.Masked().String()
			}
			return nil
		},
		visible: func(c *call, d doc) (bool, error) {
			g, err := c.load(c.s.kinds["security_group"], d.str("security_group_id"))
			return err == nil && g.project() == c.who.ProjectID, err
		},
	}
}

// rawPrefix keeps the bits behind the mask, as Neutron does.
func rawPrefix(v any) (any, string) {
	s, _ := v.(string)
	p, err := parsePrefix(s)
	if err != nil {
		return nil, fmt.Sprintf("'%v' is not a valid IP subnet.", show(v))
	}
	if !strings.Contains(s, "/") {
		return p.String(), ""
	}
	return s, ""
}

func etherType(v any) (any, string) {
	switch s, _ := v.(string); strings.ToLower(s) {
	case "ipv4":
		return "IPv4", ""
	case "ipv6":
		return "IPv6", ""
	default:
		return nil, fmt.Sprintf("'%v' is not in ['IPv4', 'IPv6'].", show(v))
	}
}

// protocols are the names that Neutron knows, with their numbers (IANA).
var protocols = map[string]int{ //nolint:gochecknoglobals // constant table
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4, "ipv6-encap": 41,
	"ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113,
	"rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

func protocol(v any) (any, string) {
	s := strings.ToLower(show(v))
	if s == "any" {
		return nil, ""
	}
	if _, ok := protocols[s]; ok {
		return s, ""
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 255 {
		return s, ""
	}
	return nil, fmt.Sprintf("Security group rule protocol %s not supported. Only protocol values %v and integer representations [0 to 255] are supported.", s, sortedNames())
}

func sortedNames() []string {
	out := []string{}
	for n := range protocols {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func protocolNumber(s string) int {
	if n, ok := protocols[s]; ok {
		return n
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

func prepareRule(c *call, d, _ doc) error {
	g, err := c.lock(c.s.kinds["security_group"], d.str("security_group_id"))
	if err != nil {
		return err
	}
	if !c.admin() && g.project() != c.who.ProjectID {
		return c.s.kinds["security_group"].notFound(g.id())
	}
	remotes := 0
	for _, key := range []string{"remote_group_id", "remote_ip_prefix", "remote_address_group_id"} {
		if d[key] != nil {
			remotes++
		}
	}
	if remotes > 1 {
		return api.Invalid("Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.").Named("SecurityGroupMultipleRemoteEntites")
	}
	if err := checkPorts(d); err != nil {
		return err
	}
	if p, err := netip.ParsePrefix(d.str("remote_ip_prefix")); err == nil && p.Addr().Is4() != (d.str("ethertype") == "IPv4") {
		return api.Invalid("Conflicting value ethertype %s for CIDR %s", d.str("ethertype"), d.str("remote_ip_prefix")).Named("SecurityGroupRuleParameterConflict")
	}
	if n := protocolNumber(d.str("protocol")); d.str("ethertype") == "IPv4" && slices.Contains([]int{41, 43, 44, 58, 59, 60}, n) {
		return api.Invalid("Invalid ethertype %s for protocol %s.", d.str("ethertype"), d.str("protocol")).Named("SecurityGroupEthertypeConflictWithProtocol")
	}
	return c.ruleIsNew(d)
}

// checkPorts: a range of ports, or, for ICMP, type and code.
func checkPorts(d doc) error {
	lo, hi := d["port_range_min"], d["port_range_max"]
	proto := d.str("protocol")
	n := protocolNumber(proto)
	for _, key := range []string{"port_range_min", "port_range_max"} {
		if v := d.num(key); v < -1 || v > 65535 {
			return api.Invalid("Invalid value for port %d", v).Named("SecurityGroupInvalidPortValue")
		}
	}
	switch {
	case lo == nil && hi == nil:
		return nil
	case proto == "":
		return api.Invalid("Must also specify protocol if port range is given.").Named("SecurityGroupProtocolRequiredWithPorts")
	case n == 1 || n == 58:
		if hi != nil && lo == nil {
			return api.Invalid("ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", d.num("port_range_max")).Named("SecurityGroupMissingIcmpType")
		}
		for key, what := range map[string]string{"port_range_min": "type", "port_range_max": "code"} {
			if v := d.num(key); v < 0 || v > 255 {
				return api.Invalid("Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", what, key, v).Named("SecurityGroupInvalidIcmpValue")
			}
		}
		return nil
	case n == 6 || n == 17 || n == 33 || n == 132 || n == 136:
		if lo == nil || hi == nil || d.num("port_range_min") > d.num("port_range_max") {
			return api.Invalid("For TCP/UDP protocols, port_range_min must be <= port_range_max").Named("SecurityGroupInvalidPortRange")
		}
		if d.num("port_range_min") < 1 && n != 132 || d.num("port_range_min") < 0 {
			return api.Invalid("Invalid port value %d.", d.num("port_range_min")).Named("SecurityGroupInvalidPortValue")
		}
		return nil
	default:
		return api.Invalid("Port range cannot be specified for protocol %s.", proto).Named("SecurityGroupInvalidProtocolForPort")
	}
}

func (c *call) ruleIsNew(d doc) error {
	rules, err := c.children(c.s.kinds["security_group_rule"], d.str("security_group_id"))
	if err != nil {
		return err
	}
	key := func(r doc) string {
		proto := r.str("protocol")
		if n := protocolNumber(proto); n > 0 {
			proto = strconv.Itoa(n)
		}
		prefix := r.str("remote_ip_prefix")
		if p, err := netip.ParsePrefix(prefix); err == nil {
			prefix = p.Masked().String()
			if p.Bits() == 0 {
				prefix = ""
			}
		}
		return fmt.Sprint(r.str("direction"), r.str("ethertype"), proto, "|", show(r["port_range_min"]), "-", show(r["port_range_max"]), "|", prefix,
			"|", r.str("remote_group_id"), "|", r.str("remote_address_group_id"))
	}
	for _, r := range rules {
		if key(r) == key(d) {
			return api.Conflict("Security group rule already exists. Rule id is %s.", r.id()).Named("SecurityGroupRuleExists")
		}
	}
	return nil
}

func addressGroupKind() *resource {
	return &resource{
		kind: "address_group", plural: "address_groups", path: "address-groups", shared: "address_group",
		foreign: func(c *call, d doc) error { return c.s.kinds["address_group"].notFound(d.id()) },
		missing: "Address group %s could not be found.", missingType: "AddressGroupNotFound",
		inUse: "Address group %s is in use on one or more security group rules", inUseType: "AddressGroupInUse",
		attrs: described(
			attr{name: "addresses", parse: addressList, def: []any{}, mode: post | unlist},
			attr{name: "shared"},
		),
	}
}

func addressList(v any) (any, string) {
	return listOf(networkPrefix)(v)
}

func (c *call) changeAddresses(g doc, in map[string]any, parse parser, change func(have, more []string) ([]string, error)) (any, error) {
	if inner, ok := in["address_group"].(map[string]any); ok {
		in = inner
	}
	parsed, why := listOf(parse)(in["addresses"])
	if why != "" {
		return nil, badInput("addresses", why)
	}
	next, err := change(g.strs("addresses"), doc{"a": parsed}.strs("a"))
	if err != nil {
		return nil, err
	}
	d := g.clone()
	d["addresses"] = anys(next)
	if err := c.save(c.s.kinds["address_group"], d, g); err != nil {
		return nil, err
	}
	shown, err := c.shown(c.s.kinds["address_group"], d)
	return map[string]any{"address_group": shown}, err
}

func addAddresses(c *call, g doc, in map[string]any) (any, error) {
	return c.changeAddresses(g, in, networkPrefix, func(have, more []string) ([]string, error) {
		for _, a := range more {
			if slices.Contains(have, a) {
				return nil, api.Invalid("Addresses %s already exist in the address group %s", a, g.id()).Named("AddressesAlreadyExist")
			}
			have = append(have, a)
		}
		return have, nil
	})
}

func removeAddresses(c *call, g doc, in map[string]any) (any, error) {
	return c.changeAddresses(g, in, prefix, func(have, more []string) ([]string, error) {
		for _, a := range more {
			i := slices.Index(have, a)
			if i < 0 {
				return nil, api.NotFound("Addresses %s not found in the address group %s", a, g.id()).Named("AddressesNotFound")
			}
			have = slices.Delete(have, i, i+1)
		}
		return have, nil
	})
}
