package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID  string `json:"subnet_id,omitempty"`
	IPAddress string `json:"ip_address,omitempty"`
}

// fixedIPs reads a port's addresses.
func fixedIPs(d doc) []FixedIP {
	if typed, ok := d["fixed_ips"].([]FixedIP); ok {
		return slices.Clone(typed)
	}
	out := []FixedIP{}
	for _, m := range d.docs("fixed_ips") {
		out = append(out, FixedIP{m.str("subnet_id"), m.str("ip_address")})
	}
	return out
}

// Owners of ports that mean something to us.
const (
	ownerRouter   = "network:router_interface"
	ownerGateway  = "network:router_gateway"
	ownerFloating = "network:floatingip"
	ownerTrunk    = "trunk:subport"
)

func isRouterPort(p doc) bool {
	return p.str("device_owner") == ownerRouter || p.str("device_owner") == ownerGateway
}

func portKind() *resource {
	pair := object(fields{"ip_address": prefix, "mac_address": mac}, "ip_address")
	return &resource{
		kind: "port", plural: "ports", path: "ports", parent: "network_id", quota: true,
		missing: "Port %s could not be found.", missingType: "PortNotFound",
		inUse: "Port %s is still in use.", inUseType: "PortInUse",
		attrs: described(
			attr{name: "network_id", parse: id, mode: post | need, ref: "network"},
			attr{name: "admin_state_up", parse: boolean, def: true, mode: both},
			attr{name: "mac_address", parse: orNull(mac), def: nil, mode: both},
			attr{name: "fixed_ips", parse: fixedIPList, def: noDefault{}, mode: both},
			attr{name: "device_id", parse: orEmpty(text(255)), def: "", mode: both},
			attr{name: "device_owner", parse: orEmpty(text(255)), def: "", mode: both},
			attr{name: "security_groups", parse: unique(listOf(id)), def: noDefault{}, mode: both, ref: "security_group"},
			attr{name: "port_security_enabled", parse: boolean, def: noDefault{}, mode: both},
			attr{name: "allowed_address_pairs", parse: listOf(pair), def: []any{}, mode: both | unlist},
			attr{name: "extra_dhcp_opts", parse: listOf(dhcpOpt), def: []any{}, mode: both | unlist},
			attr{name: "binding:host_id", parse: orEmpty(text(255)), def: "", mode: both | forAdms},
			attr{name: "binding:profile", parse: dict, def: map[string]any{}, mode: both | forAdms},
			attr{name: "binding:vnic_type", parse: oneOf("normal", "direct", "direct-physical", "macvtap", "baremetal", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"), def: "normal", mode: both},
			attr{name: "binding:vif_type", mode: seenBy}, attr{name: "binding:vif_details", mode: seenBy | unlist},
			attr{name: "dns_name", parse: orEmpty(dnsName), def: "", mode: both},
			attr{name: "dns_domain", parse: orEmpty(dnsName), def: "", mode: both},
			attr{name: "dns_assignment", mode: unlist},
			attr{name: "qos_policy_id", parse: orNull(id), def: nil, mode: both, ref: "policy"},
			attr{name: "qos_network_policy_id"}, attr{name: "resource_request", mode: seenBy | unlist},
			attr{name: "propagate_uplink_status", parse: boolean, def: true, mode: post},
			attr{name: "status"}, attr{name: "ip_allocation"}, attr{name: "trunk_details", mode: unlist},
		),
		prepare: preparePort, stored: storedPort, release: releasePort, view: viewPort,
		foreign: foreignPort,
		visible: func(c *call, d doc) (bool, error) { // the owner of a network sees who is on it
			n, err := c.load(c.s.kinds["network"], d.str("network_id"))
			return err == nil && n.project() == c.who.ProjectID, err
		},
	}
}

// foreignPort lets the owner of a network take ports of others off it, and no
// more (Neutron's delete_port names the network's owner, update_port does not).
func foreignPort(c *call, d doc) error {
	if c.r.Method == http.MethodDelete {
		return nil
	}
	return api.Forbidden("(rule:update_port) is disallowed by policy: port %s belongs to another project", d.id())
}

// fixedIPList takes a list of {subnet_id, ip_address}, or one such mapping.
func fixedIPList(v any) (any, string) {
	if m, ok := v.(map[string]any); ok {
		v = []any{m}
	}
	return listOf(object(fields{"subnet_id": id, "ip_address": address}))(v)
}

func dhcpOpt(v any) (any, string) {
	out, why := object(fields{"opt_name": text(255), "opt_value": orNull(text(1024)), "ip_version": ipVersion}, "opt_name")(v)
	if why != "" {
		return nil, why
	}
	m, _ := out.(map[string]any)
	if strings.TrimSpace(doc(m).str("opt_name")) == "" {
		return nil, "opt_name is empty"
	}
	if _, ok := m["ip_version"]; !ok {
		m["ip_version"] = float64(4)
	}
	if val, ok := m["opt_value"].(string); ok && strings.TrimSpace(val) == "" {
		return nil, fmt.Sprintf("the value of option %s is blank", show(m["opt_name"]))
	}
	return m, ""
}

// newMAC makes an address from Neutron's default base, fa:16:3e.
func newMAC() (string, error) {
	m := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 0}
	if _, err := rand.Read(m[3:]); err != nil {
		return "", err
	}
	return m.String(), nil
}

func preparePort(c *call, d, old doc) error {
	n, err := c.load(c.s.kinds["network"], d.str("network_id"))
	if err != nil {
		return err
	}
	if err := c.mayHave(d, n, old); err != nil {
		return err
	}
	if err := c.mayServe(d, old); err != nil {
		return err
	}
	if err := c.chooseMAC(d, old); err != nil {
		return err
	}
	if _, ok := d["port_security_enabled"].(bool); !ok {
		d["port_security_enabled"] = n.flag("port_security_enabled")
	}
	if err := c.chooseGroups(d, old); err != nil {
		return err
	}
	if old != nil {
		if _, err := c.defaultGroup(d.project()); err != nil {
			return err
		}
		d["extra_dhcp_opts"] = mergeOpts(old.docs("extra_dhcp_opts"), d.docs("extra_dhcp_opts"), c.given["extra_dhcp_opts"] != nil)
	}
	if err := checkPairs(d); err != nil {
		return err
	}
	c.bind(d, old)
	_, addressed := c.given["fixed_ips"]
	switch {
	case old == nil:
		return c.allocate(d, n, addressed && c.given["fixed_ips"] != nil)
	case addressed:
		asked := fixedIPs(d)
		d["fixed_ips"] = fixedIPs(old)
		return c.reallocate(d, asked)
	case old.str("mac_address") != d.str("mac_address"):
		return c.moveAuto(d)
	}
	return nil
}

// mayHave checks what only the owner of a network, or an administrator, may ask
// for on it: an address or a MAC of choice, other owners, ports without
// security.
func (c *call) mayHave(d, n, old doc) error {
	if c.admin() || n.project() == c.who.ProjectID {
		return nil
	}
	for _, name := range []string{"mac_address", "port_security_enabled", "allowed_address_pairs"} {
		if _, given := c.given[name]; given {
			return api.Forbidden("(rule:%s_port and rule:%s_port:%s) is disallowed by policy", verbOf(old), verbOf(old), name)
		}
	}
	if strings.HasPrefix(d.str("device_owner"), "network:") && (old == nil || old.str("device_owner") != d.str("device_owner")) {
		return api.Forbidden("(rule:%s_port and rule:%s_port:device_owner) is disallowed by policy", verbOf(old), verbOf(old))
	}
	for _, ip := range fixedIPs(d) {
		if ip.IPAddress != "" && c.given["fixed_ips"] != nil && (old == nil || !slices.Contains(fixedIPs(old), ip)) {
			return api.Forbidden("(rule:%s_port and rule:%s_port:fixed_ips:ip_address) is disallowed by policy", verbOf(old), verbOf(old))
		}
	}
	return nil
}

// mayServe keeps a port from being that of another project's router.
func (c *call) mayServe(d, old doc) error {
	device := d.str("device_id")
	same := old != nil && old.str("device_id") == device && old.str("device_owner") == d.str("device_owner")
	if c.admin() || device == "" || same {
		return nil
	}
	r, err := c.load(c.s.kinds["router"], device)
	if isNotFound(err) {
		return nil
	}
	if err == nil && r.project() != c.who.ProjectID {
		err = api.Conflict("The following device_id %s is not owned by your tenant or matches another tenants router.", device).Named("DeviceIDNotOwnedByTenant")
	}
	return err
}

func verbOf(old doc) string {
	if old == nil {
		return "create"
	}
	return "update"
}

// chooseMAC checks the address that was asked for, or makes one. Whether that
// of a new port is free is found out when the port is stored, unless an IPv6
// address is made of it before.
func (c *call) chooseMAC(d, old doc) error {
	given := d.str("mac_address") != ""
	if given && old.str("mac_address") == d.str("mac_address") {
		return nil
	}
	subs, err := c.subnetsOn(d.str("network_id"))
	if err != nil {
		return err
	}
	later := old == nil && !slices.ContainsFunc(subs, isAuto)
	for try := 1; ; try++ {
		if !given {
			m, err := c.s.mac()
			if err != nil {
				return err
			}
			d["mac_address"] = m
			if later {
				return nil
			}
		}
		if err := c.macFree(d, old); err == nil || given || try == macTries || !isInUse(err) {
			return err
		}
	}
}

func isInUse(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Type == "MacAddressInUse"
}

func (c *call) macFree(d, old doc) error {
	if old != nil && old.str("binding:host_id") != "" && isBound(old) && !c.admin() {
		return api.Conflict("Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.",
			d.id(), old.str("binding:vif_type"), old.str("mac_address"), d.str("mac_address")).Named("PortBound")
	}
	var n int
	err := c.tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_resources WHERE parent_id = ? AND mac = ? AND id <> ?`, d.str("network_id"), d.str("mac_address"), d.id())
	if err == nil && n > 0 {
		return macInUse(d)
	}
	return err
}

func macInUse(d doc) error {
	return api.Conflict("Unable to complete operation for network %s. The mac address %s is in use.", d.str("network_id"), d.str("mac_address")).Named("MacAddressInUse")
}

// otherMAC gives a new port another address, and what was made of the one
// before.
func (c *call) otherMAC(d doc) error {
	before := d.str("mac_address")
	m, err := c.s.mac()
	if err != nil {
		return err
	}
	d["mac_address"] = m
	for _, p := range d.docs("allowed_address_pairs") {
		if p.str("mac_address") == before {
			p["mac_address"] = m
		}
	}
	return c.moveAuto(d)
}

func isBound(d doc) bool {
	v := d.str("binding:vif_type")
	return v != "" && v != "unbound" && v != vifFailed
}

// bind says how the port is connected: whoever binds a port to a host wires
// it. Where that is our business, at the switches of bare metal, wire follows.
func (c *call) bind(d, old doc) {
	d["ip_allocation"] = "immediate"
	if c.s.fabric != nil && old != nil && d.str("device_owner") == ownerTrunk { // as its parent is, see followParent
		return
	}
	d["binding:vif_details"] = map[string]any{}
	d["status"] = "DOWN"
	switch {
	case d.str("binding:host_id") == "":
		d["binding:vif_type"] = "unbound"
	case d.str("binding:vnic_type") == vnicMetal:
		d["binding:vif_type"] = "other"
	default:
		d["binding:vif_type"] = "other"
		d["binding:vif_details"] = map[string]any{"connectivity": "legacy"}
	}
	if (isBound(d) || isRouterPort(d)) && d.flag("admin_state_up") {
		d["status"] = "ACTIVE"
	}
}

func (c *call) chooseGroups(d, old doc) error {
	secured := d.flag("port_security_enabled")
	_, given := c.given["security_groups"]
	groups := d.strs("security_groups")
	if given && c.given["security_groups"] == nil {
		groups = nil
	}
	internal := strings.HasPrefix(d.str("device_owner"), "network:")
	if !secured {
		if given && len(groups) > 0 {
			return api.Conflict("Port security must be enabled in order to have allowed address pairs or security groups on a port.").Named("PortSecurityAndIPRequiredForSecurityGroups")
		}
		if old != nil && !given && len(old.strs("security_groups")) > 0 {
			return api.Conflict("Port has security group associated. Cannot disable port security or ip address until security group is removed").Named("PortSecurityPortHasSecurityGroup")
		}
		d["security_groups"] = []any{}
		return nil
	}
	if old == nil && (!given || c.given["security_groups"] == nil) && !internal {
		id, err := c.defaultGroup(d.project())
		if err != nil {
			return err
		}
		groups = []string{id}
	}
	d["security_groups"] = anys(groups)
	return nil
}

func checkPairs(d doc) error {
	pairs := d.docs("allowed_address_pairs")
	if len(pairs) > 0 && !d.flag("port_security_enabled") {
		return api.Conflict("Port Security must be enabled in order to have allowed address pairs on a port.").Named("AddressPairAndPortSecurityRequired")
	}
	if len(pairs) > 10 {
		return api.Invalid("Allowed address pairs: %d are given, expected at most 10.", len(pairs)).Named("AllowedAddressPairExhausted")
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		if p.str("mac_address") == "" {
			p["mac_address"] = d.str("mac_address")
		}
		if pre, err := netip.ParsePrefix(p.str("ip_address")); err == nil && pre.Bits() == pre.Addr().BitLen() {
			p["ip_address"] = pre.Addr().String()
		}
		key := p.str("mac_address") + " " + p.str("ip_address")
		if seen[key] {
			return api.Invalid("Request contains duplicate address pair: mac_address %s ip_address %s.", p.str("mac_address"), p.str("ip_address")).Named("DuplicateAddressPairInRequest")
		}
		seen[key] = true
	}
	return nil
}

// mergeOpts applies an update of extra_dhcp_opts: options are replaced by name
// and version, those with a null value removed, others kept.
func mergeOpts(have, update []doc, given bool) []any {
	out := []any{}
	if !given {
		for _, o := range have {
			out = append(out, map[string]any(o))
		}
		return out
	}
	key := func(o doc) string { return fmt.Sprint(o.str("opt_name"), o.num("ip_version")) }
	replaced := map[string]bool{}
	for _, o := range update {
		replaced[key(o)] = true
	}
	for _, o := range have {
		if !replaced[key(o)] {
			out = append(out, map[string]any(o))
		}
	}
	for _, o := range update {
		if o["opt_value"] != nil {
			out = append(out, map[string]any(o))
		}
	}
	return out
}

func storedPort(c *call, d, old doc) error {
	c.changed(d.id())
	rebound := false
	for name := range c.given {
		rebound = rebound || strings.HasPrefix(name, "binding:")
	}
	return c.wire(d, old, rebound)
}

func (s *Service) portChanged(id string) {
	if s.cfg.Bus != nil {
		s.cfg.Bus.Publish("network/port/" + id)
	}
}

// releasePort keeps ports that serve something and frees what others had of it.
func releasePort(c *call, d doc) error {
	if isRouterPort(d) && c.r.Method == http.MethodDelete && d.str("device_id") != "" {
		if _, err := c.load(c.s.kinds["router"], d.str("device_id")); err == nil {
			return api.Conflict("Port %s cannot be deleted directly via the port API: has device owner %s.", d.id(), d.str("device_owner")).Named("ServicePortInUse")
		}
	}
	if err := c.releaseTrunkPort(d); err != nil {
		return err
	}
	if err := c.releaseFloating(d); err != nil {
		return err
	}
	return c.dropPort(d)
}

// dropPort gives back what a port has.
func (c *call) dropPort(d doc) error {
	c.changed(d.id())
	if err := c.unwire(d); err != nil {
		return err
	}
	_, err := c.tx.Exec(`DELETE FROM network_allocations WHERE port_id = ?`, d.id())
	return err
}

// removePort deletes a port on behalf of what it was made for.
func (c *call) removePort(id string) error {
	p, err := c.lock(c.s.kinds["port"], id)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.dropPort(p); err != nil {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM network_refs WHERE to_id = ?`, id); err != nil {
		return err
	}
	_, err = c.tx.Exec(`DELETE FROM network_resources WHERE id = ?`, id)
	return err
}

const dnsDomain = "openstacklocal."

func viewPort(c *call, d doc) error {
	ips := fixedIPs(d)
	list, names := []any{}, []any{}
	for _, ip := range ips {
		list = append(list, map[string]any{"subnet_id": ip.SubnetID, "ip_address": ip.IPAddress})
		host := d.str("dns_name")
		if host == "" {
			host = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(ip.IPAddress)
		}
		names = append(names, map[string]any{"hostname": host, "fqdn": host + "." + dnsDomain, "ip_address": ip.IPAddress})
	}
	d["fixed_ips"], d["dns_assignment"] = list, names
	if _, ok := d["security_groups"]; !ok {
		d["security_groups"] = []any{}
	}
	d["resource_request"], d["qos_network_policy_id"] = nil, nil
	if d["qos_policy_id"] == nil {
		n, err := c.load(c.s.kinds["network"], d.str("network_id"))
		if err != nil {
			return err
		}
		d["qos_network_policy_id"] = n["qos_policy_id"]
	}
	if c.fresh { // it is in no trunk yet
		return nil
	}
	return c.trunkDetails(d)
}
