package network

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/network/ipam"
)

// maxFixedIPs is Neutron's default of max_fixed_ips_per_port.
const maxFixedIPs = 5

// allocate gives a new port its addresses: those asked for, or, when none were
// mentioned, one of the first IPv4 and one of the first IPv6 subnet that has
// room, and one of each subnet where machines make their own.
func (c *call) allocate(p, n doc, given bool) error {
	asked := fixedIPs(p)
	p["fixed_ips"] = []FixedIP{}
	if given && len(asked) == 0 {
		return nil
	}
	subs, err := c.subnetsFor(p, n.id())
	if err != nil {
		return err
	}
	if !given {
		return c.allocateAny(p, subs)
	}
	return c.allocateAsked(p, subs, asked)
}

// subnetsFor are the subnets of a network that serve such ports (extension
// subnet-service-types): those for the port's owner, else those for all.
func (c *call) subnetsFor(p doc, network string) ([]doc, error) {
	subs, err := c.subnetsOn(network)
	if err != nil || len(subs) == 0 {
		return nil, err
	}
	owner := p.str("device_owner")
	special := slices.ContainsFunc(subs, func(s doc) bool { return owner != "" && slices.Contains(s.strs("service_types"), owner) })
	fit := slices.DeleteFunc(slices.Clone(subs), func(s doc) bool {
		types := s.strs("service_types")
		if special {
			return !slices.Contains(types, owner)
		}
		return len(types) > 0
	})
	if len(fit) == 0 && !isGiven(c) {
		return nil, api.Conflict("No more IP addresses available on network %s: none of its subnets has the service type %q.", network, owner).Named("IpAddressGenerationFailureNoMatchingSubnet")
	}
	return fit, nil
}

func isGiven(c *call) bool { v, ok := c.given["fixed_ips"]; return ok && v != nil }

func (c *call) allocateAny(p doc, subs []doc) error {
	done, exhausted := map[int]bool{}, map[int]bool{}
	for _, sub := range subs {
		version := sub.num("ip_version")
		if isAuto(sub) {
			if err := c.takeAuto(p, sub); err != nil {
				return err
			}
			continue
		}
		if done[version] {
			continue
		}
		err := c.takeNext(p, sub)
		switch {
		case err == nil:
			done[version] = true
		case errors.Is(err, ipam.ErrExhausted):
			exhausted[version] = true
		default:
			return err
		}
	}
	for v := range exhausted {
		if !done[v] {
			return api.Conflict("No more IP addresses available on network %s.", p.str("network_id")).Named("IpAddressGenerationFailure")
		}
	}
	return nil
}

func (c *call) allocateAsked(p doc, subs []doc, asked []FixedIP) error {
	if len(asked) > maxFixedIPs && !isRouterPort(p) {
		return api.Invalid("Exceeded maximum amount of fixed ips per port: %d are asked for, expected at most %d.", len(asked), maxFixedIPs).Named("InvalidInput")
	}
	for _, ip := range asked {
		if err := c.allocateOne(p, subs, ip); err != nil {
			return err
		}
	}
	if isRouterPort(p) {
		return nil
	}
	for _, sub := range subs {
		has := slices.ContainsFunc(fixedIPs(p), func(ip FixedIP) bool { return ip.SubnetID == sub.id() })
		if isAuto(sub) && !has {
			if err := c.takeAuto(p, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) allocateOne(p doc, subs []doc, ip FixedIP) error {
	if ip.SubnetID == "" && ip.IPAddress == "" {
		return api.Invalid("Invalid input for operation: IP allocation requires subnet_id or ip_address.").Named("InvalidInput")
	}
	if ip.SubnetID != "" {
		sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
		if err != nil {
			return err
		}
		if sub.str("network_id") != p.str("network_id") {
			return api.Invalid("Invalid input for operation: Failed to create port on network %s, because fixed_ips included invalid subnet %s.", p.str("network_id"), ip.SubnetID).Named("InvalidInput")
		}
	}
	if ip.IPAddress == "" {
		i := slices.IndexFunc(subs, func(s doc) bool { return s.id() == ip.SubnetID })
		if i < 0 {
			return api.Invalid("Invalid input for operation: subnet %s does not serve ports of owner %q.", ip.SubnetID, p.str("device_owner")).Named("InvalidInput")
		}
		if isAuto(subs[i]) && !isRouterPort(p) {
			return c.takeAuto(p, subs[i])
		}
		err := c.takeNext(p, subs[i])
		if errors.Is(err, ipam.ErrExhausted) {
			return api.Conflict("No more IP addresses available on network %s.", p.str("network_id")).Named("IpAddressGenerationFailure")
		}
		return err
	}
	addr, err := netip.ParseAddr(ip.IPAddress)
	if err != nil {
		return badInput("fixed_ips", "'"+ip.IPAddress+"' is not a valid IP address.").Wrap(err)
	}
	for _, sub := range subs {
		pre, err := netip.ParsePrefix(sub.str("cidr"))
		if err != nil || !pre.Contains(addr) || ip.SubnetID != "" && ip.SubnetID != sub.id() {
			continue
		}
		return c.takeAsked(p, sub, pre, addr)
	}
	if ip.SubnetID != "" {
		return api.Invalid("IP address %s is not a valid IP for the specified subnet.", addr).Named("InvalidIpForSubnet")
	}
	return api.Invalid("IP address %s is not a valid IP for any of the subnets on the specified network.", addr).Named("InvalidIpForNetwork")
}

func (c *call) takeAsked(p, sub doc, pre netip.Prefix, addr netip.Addr) error {
	ends := pre.Addr().Is4() && pre.Bits() < 31 && (addr == pre.Masked().Addr() || addr == ipam.Broadcast(pre))
	if ends {
		return api.Invalid("IP address %s is not a valid IP for the specified subnet.", addr).Named("InvalidIpForSubnet")
	}
	if isAuto(sub) && !isRouterPort(p) {
		if eui, err := c.euiOf(p, sub); err != nil || eui != addr {
			return api.Invalid("Invalid input for operation: IPv6 address %s can not be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses", addr, sub.id()).Named("AllocationOnAutoAddressSubnet").Wrap(err)
		}
	}
	ok, err := c.take(p, sub, addr)
	if err == nil && !ok {
		err = api.Conflict("IP address %s already allocated in subnet %s", addr, sub.id()).Named("IpAddressAlreadyAllocated")
	}
	return err
}

// take gives an address to the port; false if somebody has it.
func (c *call) take(p, sub doc, a netip.Addr) (bool, error) {
	n, err := c.tx.Exec(`INSERT INTO network_allocations (subnet_id, address, port_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, sub.id(), a.String(), p.id())
	if err != nil || n == 0 {
		return false, err
	}
	p["fixed_ips"] = append(fixedIPs(p), FixedIP{SubnetID: sub.id(), IPAddress: a.String()})
	return true, nil
}

// takeNext gives the port the next address of the pools. The subnet's cursor
// is locked, so that no two do this at once.
func (c *call) takeNext(p, sub doc) error {
	at, err := c.cursorOf(sub)
	if err != nil {
		return err
	}
	at.last, err = ipam.Next(at.pools.pools, at.last, func(a netip.Addr) (bool, error) {
		ok, err := c.take(p, sub, a)
		return !ok, err
	})
	if err != nil {
		return err
	}
	return c.moveCursor(sub, at)
}

func (c *call) euiOf(p, sub doc) (netip.Addr, error) {
	m, err := net.ParseMAC(p.str("mac_address"))
	if err != nil {
		return netip.Addr{}, err
	}
	pre, err := netip.ParsePrefix(sub.str("cidr"))
	if err != nil {
		return netip.Addr{}, err
	}
	return ipam.EUI64(pre, m)
}

// takeAuto writes down the address that the machine will give itself.
func (c *call) takeAuto(p, sub doc) error {
	if isRouterPort(p) {
		return nil
	}
	a, err := c.euiOf(p, sub)
	if err != nil {
		return err
	}
	ok, err := c.take(p, sub, a)
	if err == nil && !ok && !slices.Contains(fixedIPs(p), FixedIP{sub.id(), a.String()}) {
		err = api.Conflict("IP address %s already allocated in subnet %s", a, sub.id()).Named("IpAddressAlreadyAllocated")
	}
	return err
}

// addressPorts writes down the addresses that the machines of a network give
// themselves in a new subnet.
func (c *call) addressPorts(sub doc) error {
	ports, err := c.children(c.s.kinds["port"], sub.str("network_id"))
	if err != nil {
		return err
	}
	for _, p := range ports {
		if isRouterPort(p) || strings.HasPrefix(p.str("device_owner"), ownerFloating) {
			continue
		}
		if err := c.takeAuto(p, sub); err != nil {
			return err
		}
		if err := c.save(c.s.kinds["port"], p, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) giveBack(ip FixedIP) error {
	_, err := c.tx.Exec(`DELETE FROM network_allocations WHERE subnet_id = ? AND address = ?`, ip.SubnetID, ip.IPAddress)
	return err
}

// reallocate gives a port the addresses asked for, keeping those it has.
func (c *call) reallocate(p doc, asked []FixedIP) error {
	subs, err := c.subnetsFor(p, p.str("network_id"))
	if err != nil {
		return err
	}
	had := fixedIPs(p)
	kept := []FixedIP{}
	var fresh []FixedIP
	for _, ip := range asked {
		i := slices.IndexFunc(had, func(h FixedIP) bool {
			return (ip.SubnetID == "" || ip.SubnetID == h.SubnetID) && (ip.IPAddress == "" || ip.IPAddress == h.IPAddress)
		})
		if i < 0 {
			fresh = append(fresh, ip)
			continue
		}
		kept = append(kept, had[i])
		had = slices.Delete(had, i, i+1)
	}
	for _, h := range had {
		if err := c.floatingOn(p.id(), h.IPAddress); err != nil {
			return err
		}
		if err := c.giveBack(h); err != nil {
			return err
		}
	}
	p["fixed_ips"] = kept
	if len(kept)+len(fresh) > maxFixedIPs && !isRouterPort(p) {
		return api.Invalid("Exceeded maximum amount of fixed ips per port: %d are asked for, expected at most %d.", len(asked), maxFixedIPs).Named("InvalidInput")
	}
	return c.allocateAsked(p, subs, fresh)
}

// moveAuto follows a new MAC with the addresses made of it.
func (c *call) moveAuto(p doc) error {
	subs, err := c.children(c.s.kinds["subnet"], p.str("network_id"))
	if err != nil {
		return err
	}
	for _, sub := range subs {
		ips := fixedIPs(p)
		i := slices.IndexFunc(ips, func(ip FixedIP) bool { return ip.SubnetID == sub.id() })
		if !isAuto(sub) || i < 0 || isRouterPort(p) {
			continue
		}
		if err := c.giveBack(ips[i]); err != nil {
			return err
		}
		p["fixed_ips"] = slices.Delete(ips, i, i+1)
		if err := c.takeAuto(p, sub); err != nil {
			return err
		}
	}
	return nil
}
