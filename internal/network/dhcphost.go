package network

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/tripleo/tripleo/internal/network/dhcp"
	"github.com/tripleo/tripleo/internal/store"
)

// dhcpHost finds what the DHCP server tells the machine with a MAC: the port of
// that MAC on the untagged network of the provisioning physical network.
func (s *Service) dhcpHost(ctx context.Context, mac net.HardwareAddr) (*dhcp.Host, error) {
	return findHost(ctx, s, mac, (*call).hostOf)
}

// findHost finds what a server tells the machine with a MAC: of makes it of a
// port of that MAC and its network, or nil. Whoever is told of unknown machines
// may make one.
func findHost[Host any](ctx context.Context, s *Service, mac net.HardwareAddr, of func(c *call, n, p doc) (*Host, error)) (*Host, error) {
	if on, err := s.serving(ctx); err != nil || !on {
		return nil, err
	}
	known := func() (host *Host, err error) {
		err = s.eachWired(ctx, mac, func(c *call, n, p doc) (done bool, err error) {
			host, err = of(c, n, p)
			return host != nil, err
		})
		return host, err
	}
	host, err := known()
	if host != nil || err != nil || s.cfg.Unknown == nil {
		return host, err
	}
	if err := s.cfg.Unknown(ctx, mac); err != nil {
		return nil, err
	}
	return known()
}

// dhcpOptions are a port's own, of IPv4 or IPv6.
func dhcpOptions(p doc, six bool) []dhcp.Option {
	var out []dhcp.Option
	for _, o := range p.docs("extra_dhcp_opts") {
		if v, ok := o["opt_value"].(string); ok && (o.num("ip_version") == 6) == six {
			out = append(out, dhcp.Option{Name: o.str("opt_name"), Value: v})
		}
	}
	return out
}

// serving says whether an administrator lets the DHCP server answer.
func (s *Service) serving(ctx context.Context) (on bool, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		on, err = (&call{s: s, tx: tx}).served()
		return err
	})
	return on, err
}

// eachWired calls fn for the ports with a MAC on the untagged network, until it
// is done.
func (s *Service) eachWired(ctx context.Context, mac net.HardwareAddr, fn func(c *call, n, p doc) (bool, error)) error {
	return s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		c := &call{s: s, tx: tx}
		ports, err := c.find(c.s.kinds["port"], ` AND mac = ?`, strings.ToLower(mac.String()))
		if err != nil {
			return err
		}
		for _, p := range ports {
			n, err := c.load(c.s.kinds["network"], p.str("network_id"))
			if err != nil {
				return err
			}
			if !s.wired(n) {
				continue
			}
			if done, err := fn(c, n, p); err != nil || done {
				return err
			}
		}
		return nil
	})
}

// wired says whether a network is the untagged one of the provisioning network.
func (s *Service) wired(n doc) bool {
	return n.str("provider:physical_network") == s.cfg.PhysicalNetwork && n["provider:segmentation_id"] == nil
}

func (c *call) hostOf(n, p doc) (*dhcp.Host, error) {
	for _, ip := range fixedIPs(p) {
		sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
		if err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(ip.IPAddress)
		if err != nil || !sub.flag("enable_dhcp") || !addr.Is4() {
			continue
		}
		pre, err := netip.ParsePrefix(sub.str("cidr"))
		if err != nil {
			return nil, err
		}
		h := &dhcp.Host{
			Address: netip.PrefixFrom(addr, pre.Bits()), Domain: p.str("dns_domain"), Hostname: p.str("dns_name"), MTU: n.num("mtu"),
		}
		h.Gateway, _ = netip.ParseAddr(sub.str("gateway_ip"))
		for _, d := range sub.strs("dns_nameservers") {
			if a, err := netip.ParseAddr(d); err == nil {
				h.DNS = append(h.DNS, a)
			}
		}
		for _, hr := range sub.docs("host_routes") {
			dst, err1 := netip.ParsePrefix(hr.str("destination"))
			via, err2 := netip.ParseAddr(hr.str("nexthop"))
			if err1 == nil && err2 == nil && dst.Addr().Is4() {
				h.Routes = append(h.Routes, dhcp.Route{Destination: dst, NextHop: via})
			}
		}
		h.Options = dhcpOptions(p, false)
		return h, nil
	}
	return nil, nil
}
