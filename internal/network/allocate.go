package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/network/dhcp"
	"github.com/tripleo/tripleo/internal/network/ipam"
	"github.com/tripleo/tripleo/internal/store"
)

// allocate gives a port its addresses: those asked for, or, when none were
// mentioned, one of the first IPv4 and one of the first IPv6 subnet that has
// room, as Neutron does.
func allocate(tx *store.Tx, p *Port, asked []FixedIP, given bool) error {
	subs, err := subnetsOf(tx, `WHERE network_id = ? ORDER BY id`, p.NetworkID)
	if err != nil {
		return err
	}
	if !given {
		return allocateAny(tx, p, subs)
	}
	for _, ip := range asked {
		if err := allocateOne(tx, p, subs, ip); err != nil {
			return err
		}
	}
	return nil
}

func allocateAny(tx *store.Tx, p *Port, subs []Subnet) error {
	done := map[int]bool{}
	exhausted := map[int]bool{}
	for i := range subs {
		sub := &subs[i]
		if done[sub.IPVersion] {
			continue
		}
		err := takeNext(tx, p, sub)
		switch {
		case err == nil:
			done[sub.IPVersion] = true
		case errors.Is(err, ipam.ErrExhausted):
			exhausted[sub.IPVersion] = true
		default:
			return err
		}
	}
	for v := range exhausted {
		if !done[v] {
			return api.Conflict("No more IP addresses available on network %s.", p.NetworkID).Named("IpAddressGenerationFailure")
		}
	}
	return nil
}

func allocateOne(tx *store.Tx, p *Port, subs []Subnet, ip FixedIP) error {
	if ip.IPAddress == "" {
		i := slices.IndexFunc(subs, func(s Subnet) bool { return s.ID == ip.SubnetID })
		if i < 0 {
			return api.Invalid("Invalid input for operation: Failed to create port on network %s, because fixed_ips included invalid subnet %s.", p.NetworkID, ip.SubnetID)
		}
		err := takeNext(tx, p, &subs[i])
		if errors.Is(err, ipam.ErrExhausted) {
			return api.Conflict("No more IP addresses available on subnet %s.", ip.SubnetID).Named("IpAddressGenerationFailure")
		}
		return err
	}
	addr, err := netip.ParseAddr(ip.IPAddress)
	if err != nil {
		return api.Invalid("fixed_ips holds ip_address %q, expected an IP address", ip.IPAddress).Wrap(err)
	}
	for i := range subs {
		prefix := netip.MustParsePrefix(subs[i].CIDR)
		if (ip.SubnetID == "" || ip.SubnetID == subs[i].ID) && prefix.Contains(addr) {
			return take(tx, p, &subs[i], addr)
		}
	}
	return api.Invalid("IP address %s is not a valid IP for any of the subnets on the specified network.", addr).Named("InvalidIpForNetwork")
}

func taken(tx *store.Tx, subnetID string, a netip.Addr) (bool, error) {
	var n int
	err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_addresses WHERE subnet_id = ? AND address = ?`, subnetID, a.String())
	return n > 0, err
}

func take(tx *store.Tx, p *Port, sub *Subnet, a netip.Addr) error {
	if used, err := taken(tx, sub.ID, a); err != nil || used {
		if err != nil {
			return err
		}
		return api.Conflict("IP address %s already allocated in subnet %s", a, sub.ID).Named("IpAddressAlreadyAllocated")
	}
	_, err := tx.Exec(`INSERT INTO network_addresses (subnet_id, address, port_id) VALUES (?, ?, ?)`, sub.ID, a.String(), p.ID)
	if err != nil {
		return err
	}
	p.FixedIPs = append(p.FixedIPs, FixedIP{SubnetID: sub.ID, IPAddress: a.String()})
	return nil
}

func takeNext(tx *store.Tx, p *Port, sub *Subnet) error {
	var last string
	if err := tx.Get([]any{&last}, `SELECT last_address FROM network_subnets WHERE id = ?`+tx.ForUpdate(), sub.ID); err != nil {
		return err
	}
	cursor, _ := netip.ParseAddr(last)
	a, err := ipam.Next(sub.AllocationPools, cursor, func(a netip.Addr) (bool, error) { return taken(tx, sub.ID, a) })
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE network_subnets SET last_address = ? WHERE id = ?`, a.String(), sub.ID); err != nil {
		return err
	}
	return take(tx, p, sub, a)
}

// reallocate gives a port the addresses asked for, keeping those it has.
func reallocate(tx *store.Tx, p *Port, asked []FixedIP) error {
	subs, err := subnetsOf(tx, `WHERE network_id = ? ORDER BY id`, p.NetworkID)
	if err != nil {
		return err
	}
	had := p.FixedIPs
	p.FixedIPs = []FixedIP{}
	var fresh []FixedIP
	for _, ip := range asked {
		i := slices.IndexFunc(had, func(h FixedIP) bool {
			return (ip.SubnetID == "" || ip.SubnetID == h.SubnetID) && (ip.IPAddress == "" || ip.IPAddress == h.IPAddress)
		})
		if i < 0 {
			fresh = append(fresh, ip)
			continue
		}
		p.FixedIPs = append(p.FixedIPs, had[i])
		had = slices.Delete(slices.Clone(had), i, i+1)
	}
	for _, h := range had {
		if _, err := tx.Exec(`DELETE FROM network_addresses WHERE subnet_id = ? AND address = ?`, h.SubnetID, h.IPAddress); err != nil {
			return err
		}
	}
	for _, ip := range fresh {
		if err := allocateOne(tx, p, subs, ip); err != nil {
			return err
		}
	}
	return nil
}

// dhcpHost finds what the DHCP server tells the machine with a MAC: the port of
// that MAC on a network of the provisioning physical network.
func (s *Service) dhcpHost(ctx context.Context, mac net.HardwareAddr) (*dhcp.Host, error) {
	var host *dhcp.Host
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		var ports []Port
		err := tx.Each(func(scan func(...any) error) error {
			var p Port
			err := scan(store.JSON(&p))
			ports = append(ports, p)
			return err
		}, `SELECT doc FROM network_ports WHERE mac = ?`, strings.ToLower(mac.String()))
		if err != nil {
			return err
		}
		for i := range ports {
			n, err := networkOf(tx, ports[i].NetworkID)
			if err != nil {
				return err
			}
			if n.PhysicalNetwork == nil || *n.PhysicalNetwork != s.cfg.PhysicalNetwork || n.SegmentationID != nil {
				continue
			}
			if host, err = hostOf(tx, n, &ports[i]); err != nil || host != nil {
				return err
			}
		}
		return nil
	})
	return host, err
}

func hostOf(tx *store.Tx, n *Network, p *Port) (*dhcp.Host, error) {
	for _, ip := range p.FixedIPs {
		sub, err := subnetOf(tx, ip.SubnetID)
		if err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(ip.IPAddress)
		if err != nil || !sub.EnableDHCP || !addr.Is4() {
			continue
		}
		h := &dhcp.Host{
			Address: netip.PrefixFrom(addr, netip.MustParsePrefix(sub.CIDR).Bits()),
			Domain:  p.DNSDomain, Hostname: p.DNSName, MTU: n.MTU,
		}
		if sub.GatewayIP != nil {
			h.Gateway, _ = netip.ParseAddr(*sub.GatewayIP)
		}
		for _, d := range sub.DNSNameservers {
			if a, err := netip.ParseAddr(d); err == nil {
				h.DNS = append(h.DNS, a)
			}
		}
		for _, hr := range sub.HostRoutes {
			dst, err1 := netip.ParsePrefix(hr.Destination)
			via, err2 := netip.ParseAddr(hr.NextHop)
			if err1 == nil && err2 == nil && dst.Addr().Is4() {
				h.Routes = append(h.Routes, dhcp.Route{Destination: dst, NextHop: via})
			}
		}
		for _, o := range p.ExtraDHCPOpts {
			if o.Value != nil && o.IPVersion != 6 {
				h.Options = append(h.Options, dhcp.Option{Name: o.Name, Value: *o.Value})
			}
		}
		return h, nil
	}
	return nil, nil
}
