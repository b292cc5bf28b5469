package deployment

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// PlanNetwork is a network as far as addresses go.
type PlanNetwork struct {
	Name    string
	CIDR    netip.Prefix // invalid: a network without addresses
	Pools   [][2]netip.Addr
	Gateway netip.Addr // invalid: none
	VLAN    int        // 0: none
}

// Parse takes the addresses of a network from the texts that plans and environments have: pools are {start, end}. What is wrong with
// them is returned, and left out. A network without CIDR has no addresses.
func (n *PlanNetwork) Parse(cidr string, pools any, gateway string) error {
	if cidr == "" {
		return nil
	}
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Errorf("network %s: %q is no network like 192.0.2.0/24", n.Name, cidr)
	}
	n.CIDR = p.Masked()
	var errs []error
	list, _ := pools.([]any)
	for _, p := range list {
		a, err1 := netip.ParseAddr(text(p, "start"))
		b, err2 := netip.ParseAddr(text(p, "end"))
		if err1 != nil || err2 != nil {
			errs = append(errs, fmt.Errorf("network %s: the pool %v needs the addresses start and end", n.Name, yaml11.Plain(p)))
			continue
		}
		n.Pools = append(n.Pools, [2]netip.Addr{a, b})
	}
	if gateway != "" {
		if n.Gateway, err = netip.ParseAddr(gateway); err != nil {
			errs = append(errs, fmt.Errorf("network %s: the gateway %q is no address", n.Name, gateway))
		}
	}
	return errors.Join(errs...)
}

// check finds what is wrong within a network.
func (n *PlanNetwork) check() []error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("network "+n.Name+": "+format, args...))
	}
	for j, p := range n.Pools {
		switch {
		case !n.CIDR.Contains(p[0]) || !n.CIDR.Contains(p[1]):
			fail("the pool %s to %s is not in %s", p[0], p[1], n.CIDR)
		case p[1].Less(p[0]):
			fail("the pool %s to %s ends before it begins", p[0], p[1])
		case n.Gateway.IsValid() && !n.Gateway.Less(p[0]) && !p[1].Less(n.Gateway):
			fail("the gateway %s is in the pool %s to %s", n.Gateway, p[0], p[1])
		}
		for _, q := range n.Pools[:j] {
			if !p[1].Less(q[0]) && !q[1].Less(p[0]) {
				fail("the pools %s to %s and %s to %s overlap", q[0], q[1], p[0], p[1])
			}
		}
	}
	if n.Gateway.IsValid() && !n.CIDR.Contains(n.Gateway) {
		fail("the gateway %s is not in %s", n.Gateway, n.CIDR)
	}
	if n.VLAN < 0 || n.VLAN > 4094 {
		fail("VLAN %d is not between 1 and 4094", n.VLAN)
	}
	return errs
}

// CheckNetworks compares networks with each other and with what is in them. Several networks of one name are subnets of one.
func CheckNetworks(nets []PlanNetwork) []error {
	var errs []error
	vlans := map[int]string{}
	for i, n := range nets {
		for _, m := range nets[:i] {
			if n.Name != m.Name && n.CIDR.IsValid() && m.CIDR.IsValid() && n.CIDR.Overlaps(m.CIDR) {
				errs = append(errs, fmt.Errorf("networks %s (%s) and %s (%s) overlap", m.Name, m.CIDR, n.Name, n.CIDR))
			}
		}
		errs = append(errs, n.check()...)
		if other := vlans[n.VLAN]; n.VLAN > 0 && other != "" {
			errs = append(errs, fmt.Errorf("networks %s and %s have the same VLAN %d", other, n.Name, n.VLAN))
		}
		vlans[n.VLAN] = n.Name
	}
	return errs
}
