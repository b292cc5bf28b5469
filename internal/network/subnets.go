package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/network/ipam"
	"github.com/tripleo/tripleo/internal/store"
)

// Address modes of IPv6 subnets.
const (
	slaac     = "slaac"
	stateless = "dhcpv6-stateless"
	stateful  = "dhcpv6-stateful"
)

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

func subnetKind() *resource {
	mode6 := orNull(oneOf(stateful, stateless, slaac))
	return &resource{
		kind: "subnet", plural: "subnets", path: "subnets", parent: "network_id", quota: true,
		missing: "Subnet %s could not be found.", missingType: "SubnetNotFound",
		inUse: "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", inUseType: "SubnetInUse",
		attrs: described(
			attr{name: "network_id", parse: id, mode: post | need, ref: "network"},
			attr{name: "ip_version", parse: orNull(ipVersion), mode: post | need},
			attr{name: "cidr", parse: orNull(networkPrefix), def: noDefault{}, mode: post},
			attr{name: "gateway_ip", parse: orNull(address), def: noDefault{}, mode: both},
			attr{name: "allocation_pools", parse: listOf(object(fields{"start": address, "end": address}, "start", "end")), def: noDefault{}, mode: both | unlist},
			attr{name: "dns_nameservers", parse: unique(listOf(address)), def: []any{}, mode: both | unlist},
			attr{name: "host_routes", parse: listOf(object(fields{"destination": prefix, "nexthop": address}, "destination", "nexthop")), def: []any{}, mode: both | unlist},
			attr{name: "enable_dhcp", parse: boolean, def: true, mode: both},
			attr{name: "ipv6_address_mode", parse: mode6, def: nil, mode: post},
			attr{name: "ipv6_ra_mode", parse: mode6, def: nil, mode: post},
			attr{name: "subnetpool_id", parse: orNull(text(36)), def: nil, mode: post, ref: "subnetpool"},
			attr{name: "use_default_subnetpool", parse: boolean, def: noDefault{}, mode: post | unlist},
			attr{name: "prefixlen", parse: integer(0, 128), def: noDefault{}, mode: post | unlist},
			attr{name: "segment_id", parse: orNull(id), def: nil, mode: both | setBy, ref: "segment"},
			attr{name: "service_types", parse: unique(listOf(serviceType)), def: []any{}, mode: both | unlist},
			attr{name: "dns_publish_fixed_ip", parse: boolean, def: false, mode: both},
		),
		prepare: prepareSubnet, stored: storedSubnet, release: releaseSubnet,
		view: func(c *call, d doc) error {
			delete(d, "address_scope_id")
			acts, err := c.sharing(d.str("network_id"))
			d["shared"] = acts[asShared]
			return err
		},
		visible: func(c *call, d doc) (bool, error) {
			n, err := c.load(c.s.kinds["network"], d.str("network_id"))
			if err != nil {
				return false, err
			}
			acts, err := c.sharing(n.id())
			return n.project() == c.who.ProjectID || acts[asShared], err
		},
	}
}

func ipVersion(v any) (any, string) {
	n, why := integer(4, 6)(v)
	if why != "" || n.(float64) == 5 {
		return nil, fmt.Sprintf("'%s' is not in [4, 6].", show(v))
	}
	return n, ""
}

func serviceType(v any) (any, string) {
	s, _ := v.(string)
	owners := []string{"network:", "compute:", "baremetal:", "neutron:", "trunk:", "manila:", "test:"}
	if s != "" && !slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(s, o) }) {
		return nil, fmt.Sprintf("Invalid subnet service type '%s', expected it to begin with one of %v.", s, owners)
	}
	if s == "" || len(s) > 255 {
		return nil, fmt.Sprintf("'%s' is not a valid service type.", show(v))
	}
	return s, ""
}

// plan is a subnet's addressing, taken from its document.
type plan struct {
	prefix  netip.Prefix
	gateway netip.Addr // invalid: none
	pools   []ipam.Pool
	auto    bool // machines make their own addresses
}

func planOf(d doc) (plan, error) {
	var p plan
	var err error
	if p.prefix, err = netip.ParsePrefix(d.str("cidr")); err != nil {
		return p, api.Invalid("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", d.str("cidr")).Wrap(err)
	}
	if g := d.str("gateway_ip"); g != "" {
		if p.gateway, err = netip.ParseAddr(g); err != nil {
			return p, api.Invalid("gateway_ip is %q, expected an IP address", g).Wrap(err)
		}
	}
	for _, it := range d.docs("allocation_pools") {
		start, err1 := netip.ParseAddr(it.str("start"))
		end, err2 := netip.ParseAddr(it.str("end"))
		if err := errors.Join(err1, err2); err != nil {
			return p, api.Invalid("Invalid input for allocation_pools. Reason: %s", err.Error()).Wrap(err)
		}
		p.pools = append(p.pools, ipam.Pool{Start: start, End: end})
	}
	p.auto = isAuto(d)
	return p, nil
}

func isAuto(d doc) bool {
	m := d.str("ipv6_address_mode")
	return m == slaac || m == stateless
}

func prepareSubnet(c *call, d, old doc) error {
	n, err := c.lock(c.s.kinds["network"], d.str("network_id")) // two subnets of one network are made one after the other
	if err != nil {
		return err
	}
	if old == nil {
		if !c.admin() && n.project() != c.who.ProjectID {
			return api.Forbidden("(rule:create_subnet and rule:create_subnet:network_id) is disallowed by policy")
		}
		if err := c.choosePrefix(d, n); err != nil {
			return err
		}
		if err := checkModes(d); err != nil {
			return err
		}
	}
	if err := c.completeSubnet(d, old); err != nil {
		return err
	}
	if old == nil {
		return c.checkOverlap(d)
	}
	return nil
}

func storedSubnet(c *call, d, old doc) error {
	if old == nil {
		if _, err := c.tx.Exec(`INSERT INTO network_cursors (subnet_id, last_address) VALUES (?, '')`, d.id()); err != nil {
			return err
		}
		if isAuto(d) {
			if err := c.addressPorts(d); err != nil {
				return err
			}
		}
	} else if show(old["gateway_ip"]) != show(d["gateway_ip"]) {
		if err := c.gatewayFree(old); err != nil {
			return err
		}
	}
	return c.touch(c.s.kinds["network"], d.str("network_id"))
}

// completeSubnet fills in the gateway and the pools that were not given, and
// checks what they are together.
func (c *call) completeSubnet(d, old doc) error {
	prefix, err := netip.ParsePrefix(d.str("cidr"))
	if err != nil {
		return api.Invalid("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", d.str("cidr")).Wrap(err)
	}
	if (d.num("ip_version") == 4) != prefix.Addr().Is4() {
		return api.Invalid("Invalid input for operation: Provided IP version %d does not match the subnet %s.", d.num("ip_version"), prefix).Named("InvalidInput")
	}
	if prefix.Addr().IsMulticast() || prefix.Bits() == 0 {
		return api.Invalid("Invalid input for operation: %s is a multicast or unbounded network.", prefix).Named("InvalidInput")
	}
	if err := completeGateway(d, prefix, old); err != nil {
		return err
	}
	if _, given := d["allocation_pools"]; !given { // an empty list is none: only given addresses are used
		gateway, _ := netip.ParseAddr(d.str("gateway_ip"))
		d["allocation_pools"] = poolDocs(ipam.DefaultPools(prefix, gateway))
	}
	p, err := planOf(d)
	if err != nil {
		return err
	}
	if err := ipam.Check(p.prefix, p.gateway, p.pools); err != nil {
		if strings.Contains(err.Error(), "gateway") {
			return api.Conflict("Gateway ip %s conflicts with allocation pool: %s", p.gateway, err.Error()).Named("GatewayConflictWithAllocationPools")
		}
		if strings.Contains(err.Error(), "overlap") {
			return api.Conflict("%s", err.Error()).Named("OverlappingAllocationPools")
		}
		return api.Invalid("%s", err.Error()).Named("InvalidAllocationPool")
	}
	return checkFamilies(d)
}

func completeGateway(d doc, prefix netip.Prefix, old doc) error {
	v, has := d["gateway_ip"]
	if !has {
		d["gateway_ip"] = nil
		if !(prefix.Addr().Is4() && prefix.Bits() == 32 || prefix.Addr().Is6() && prefix.Bits() == 128) {
			d["gateway_ip"] = ipam.DefaultGateway(prefix).String()
		}
		return nil
	}
	text, _ := v.(string)
	if text == "" {
		return nil
	}
	g, err := netip.ParseAddr(text)
	if err != nil || g.Is4() != prefix.Addr().Is4() {
		return api.Invalid("Invalid input for operation: gateway_ip %s is of another IP version than the subnet %s.", text, prefix).Named("InvalidInput")
	}
	linkLocal := g.Is6() && g.IsLinkLocalUnicast()
	if old == nil && !prefix.Contains(g) && !linkLocal {
		return api.Invalid("Invalid input for operation: Gateway is not valid on subnet.").Named("InvalidInput")
	}
	bad := g == prefix.Addr() && !linkLocal && prefix.Bits() < prefix.Addr().BitLen()-1 && g.Is4() ||
		g.Is4() && prefix.Bits() < 31 && g == ipam.Broadcast(prefix)
	if bad {
		return api.Invalid("Invalid input for operation: Gateway is not valid on subnet.").Named("InvalidInput")
	}
	return nil
}

func checkFamilies(d doc) error {
	v4 := d.num("ip_version") == 4
	for _, s := range d.strs("dns_nameservers") {
		if a, err := netip.ParseAddr(s); err != nil || a.Is4() != v4 {
			return api.Invalid("Invalid input for operation: dns_nameserver '%s' is not of IP version %d of the subnet.", s, d.num("ip_version")).Named("InvalidInput")
		}
	}
	for _, hr := range d.docs("host_routes") {
		dst, err1 := netip.ParsePrefix(hr.str("destination"))
		via, err2 := netip.ParseAddr(hr.str("nexthop"))
		if errors.Join(err1, err2) != nil || dst.Addr().Is4() != v4 || via.Is4() != v4 {
			return api.Invalid("Invalid input for operation: host route %s via %s is not of IP version %d of the subnet.", hr.str("destination"), hr.str("nexthop"), d.num("ip_version")).Named("InvalidInput")
		}
	}
	return nil
}

// checkModes knows which IPv6 modes go together.
func checkModes(d doc) error {
	addr, ra := d.str("ipv6_address_mode"), d.str("ipv6_ra_mode")
	if addr == "" && ra == "" {
		return nil
	}
	if d.num("ip_version") == 4 {
		return api.Invalid("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4.").Named("InvalidInput")
	}
	if !d.flag("enable_dhcp") {
		return api.Invalid("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.").Named("InvalidInput")
	}
	if addr != "" && ra != "" && addr != ra {
		return api.Invalid("Invalid input for operation: ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. If both attributes are set, they must be the same value.", ra, addr).Named("InvalidInput")
	}
	if prefix, err := netip.ParsePrefix(d.str("cidr")); err == nil && prefix.Bits() != 64 && (isAuto(d) || ra == slaac || ra == stateless) {
		return api.Invalid("Invalid input for operation: Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64.", prefix).Named("InvalidInput")
	}
	return nil
}

func poolDocs(pools []ipam.Pool) []any {
	out := []any{}
	for _, p := range pools {
		out = append(out, map[string]any{"start": p.Start.String(), "end": p.End.String()})
	}
	return out
}

func (c *call) checkOverlap(d doc) error {
	prefix := netip.MustParsePrefix(d.str("cidr"))
	others, err := c.children(c.s.kinds["subnet"], d.str("network_id"))
	if err != nil {
		return err
	}
	for _, o := range others {
		if other, err := netip.ParsePrefix(o.str("cidr")); err == nil && other.Overlaps(prefix) {
			return api.Invalid("Invalid input for operation: Requested subnet with cidr: %s for network: %s overlaps with another subnet.", prefix, d.str("network_id")).Named("InvalidInput")
		}
		if o.num("ip_version") == d.num("ip_version") && o.str("subnetpool_id") != d.str("subnetpool_id") && (o["subnetpool_id"] != nil && d["subnetpool_id"] != nil) {
			return api.Invalid("Subnets hosted on the same network must be allocated from the same subnet pool.").Named("NetworkSubnetPoolAffinityError")
		}
	}
	return nil
}

// gatewayFree refuses to change a gateway that is a router's address.
func (c *call) gatewayFree(old doc) error {
	g := old.str("gateway_ip")
	if g == "" {
		return nil
	}
	var port string
	err := c.tx.Get([]any{&port}, `SELECT port_id FROM network_allocations WHERE subnet_id = ? AND address = ?`, old.id(), g)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := c.load(c.s.kinds["port"], port)
	if err != nil || !isRouterPort(p) {
		return err
	}
	return api.Conflict("Current gateway ip %s already in use by port %s. Unable to update.", g, port).Named("GatewayIpInUse")
}

func releaseSubnet(c *call, d doc) error {
	ids := map[string]bool{}
	err := c.tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids[id] = true
		return err
	}, `SELECT port_id FROM network_allocations WHERE subnet_id = ?`, d.id())
	if err != nil {
		return err
	}
	for portID := range ids {
		p, err := c.lock(c.s.kinds["port"], portID)
		if err != nil {
			return err
		}
		if !isAuto(d) || isRouterPort(p) {
			return api.Conflict(c.s.kinds["subnet"].inUse, d.id()).Named("SubnetInUse")
		}
		p["fixed_ips"] = slices.DeleteFunc(fixedIPs(p), func(ip FixedIP) bool { return ip.SubnetID == d.id() })
		if err := c.save(c.s.kinds["port"], p, p); err != nil {
			return err
		}
	}
	if _, err := c.tx.Exec(`DELETE FROM network_allocations WHERE subnet_id = ?`, d.id()); err != nil {
		return err
	}
	return c.touch(c.s.kinds["network"], d.str("network_id"))
}
