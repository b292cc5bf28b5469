package network

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/tripleo/tripleo/internal/network/dhcp"
	"github.com/tripleo/tripleo/internal/store"
)

// Modes of IPv6 subnets. Without one Neutron's DHCP server gives addresses out,
// and nobody sends router advertisements.
const (
	modeSLAAC     = "slaac"
	modeStateless = "dhcpv6-stateless"
	modeStateful  = "dhcpv6-stateful"
)

// dhcpHost6 is dhcpHost for DHCPv6.
func (s *Service) dhcpHost6(ctx context.Context, mac net.HardwareAddr) (*dhcp.Host6, error) {
	return findHost(ctx, s, mac, (*call).host6Of)
}

func (c *call) host6Of(_, p doc) (*dhcp.Host6, error) {
	var h *dhcp.Host6
	for _, ip := range fixedIPs(p) {
		sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
		if err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(ip.IPAddress)
		mode := sub.str("ipv6_address_mode")
		if err != nil || !addr.Is6() || !sub.flag("enable_dhcp") || mode == modeSLAAC {
			continue
		}
		pre, err := netip.ParsePrefix(sub.str("cidr"))
		if err != nil {
			return nil, err
		}
		if h == nil {
			h = &dhcp.Host6{Domain: p.str("dns_domain")}
		}
		h.OnLink = append(h.OnLink, pre)
		if mode != modeStateless {
			h.Addresses = append(h.Addresses, addr)
		}
		h.DNS = append(h.DNS, addresses6(sub.strs("dns_nameservers"))...)
	}
	if h == nil {
		return nil, nil
	}
	h.Options = dhcpOptions(p, true)
	return h, nil
}

func addresses6(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil && a.Is6() && !a.Is4In6() {
			out = append(out, a)
		}
	}
	return out
}

// Lifetimes of advertised prefixes, the defaults of RFC 4861, 6.2.1.
const (
	prefixValid     = 30 * 24 * time.Hour
	prefixPreferred = 7 * 24 * time.Hour
)

// advertisement is what the provisioning network is told: of its subnets with
// ipv6_ra_mode. The undercloud is no router, so that it offers no default route.
func (s *Service) advertisement(ctx context.Context) (*dhcp.Advertisement, error) {
	var out *dhcp.Advertisement
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		c := &call{s: s, tx: tx}
		if on, err := c.served(); err != nil || !on {
			return err
		}
		nets, err := c.find(c.s.kinds["network"], "")
		if err != nil {
			return err
		}
		for _, n := range nets {
			if !s.wired(n) {
				continue
			}
			subs, err := c.children(c.s.kinds["subnet"], n.str("id"))
			if err != nil {
				return err
			}
			for _, sub := range subs {
				if out, err = advertise(out, n, sub); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return out, err
}

// advertise adds a subnet to what is told, if it has a mode.
func advertise(a *dhcp.Advertisement, n, sub doc) (*dhcp.Advertisement, error) {
	mode := sub.str("ipv6_ra_mode")
	if mode == "" {
		return a, nil
	}
	pre, err := netip.ParsePrefix(sub.str("cidr"))
	if err != nil {
		return nil, err
	}
	if a == nil {
		a = &dhcp.Advertisement{MTU: n.num("mtu"), DNSLifetime: 3 * dhcp.AdvertiseEvery}
	}
	a.Managed = a.Managed || mode == modeStateful
	a.Other = a.Other || mode != modeSLAAC
	a.Prefixes = append(a.Prefixes, dhcp.AdvertisedPrefix{Prefix: pre, Auto: mode != modeStateful, Valid: prefixValid, Preferred: prefixPreferred})
	a.DNS = append(a.DNS, addresses6(sub.strs("dns_nameservers"))...)
	return a, nil
}
