package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/agent/hardware"
)

const (
	// carrierWait is how long a NIC may take to find its link after it was brought up.
	carrierWait = 30 * time.Second
	// laggards is how long other NICs may still take after the first (or the booting) one has an address.
	laggards = 5 * time.Second
	// resolvConf is where name servers from DHCP go.
	resolvConf = "/etc/resolv.conf"
)

// network brings up every NIC of the machine and keeps its lease.
type network struct {
	src     hardware.Sources
	log     *slog.Logger
	bootMAC string
	six     bool // IPv6, else IPv4
}

// up brings up all NICs at once and returns when the one the machine booted from has an address, or, if that is
// unknown, the first one; others get a few seconds more. Leases are renewed until ctx ends.
func (n *network) up(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		names := hardware.PhysicalNames(n.src.Sys)
		if len(names) == 0 {
			n.log.Error("the machine has no network interface")
		} else if n.tryAll(ctx, names) {
			return nil
		}
		wait := Backoff(attempt, 15*time.Second)
		n.log.Warn("no network interface has an address, trying again", "interfaces", names, "after", wait)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (n *network) tryAll(ctx context.Context, names []string) bool {
	type outcome struct {
		name string
		boot bool
		err  error
	}
	results := make(chan outcome, len(names))
	for _, name := range names {
		go func() {
			configure := n.configure
			if n.six {
				configure = n.configure6
			}
			mac, err := configure(ctx, name)
			results <- outcome{name, n.bootMAC == "" || strings.EqualFold(mac, n.bootMAC), err}
		}()
	}
	configured := false
	var deadline <-chan time.Time
	for range names {
		select {
		case <-deadline:
			return configured
		case <-ctx.Done():
			return false
		case r := <-results:
			if r.err != nil {
				n.log.Warn("interface has no address", "interface", r.name, "err", r.err)
				continue
			}
			configured = true
			if r.boot && deadline == nil {
				timer := time.NewTimer(laggards)
				defer timer.Stop()
				deadline = timer.C
			}
		}
	}
	return configured
}

// configure brings one NIC up, waits for its link and gets a lease. A NIC that has an IPv4 address already,
// given by the kernel's ip= argument or by who prepared the machine, keeps it.
func (n *network) configure(ctx context.Context, name string) (mac string, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	mac = link.Attrs().HardwareAddr.String()
	if err := netlink.LinkSetUp(link); err != nil {
		return mac, fmt.Errorf("bring up: %w", err)
	}
	for _, a := range interfaceAddresses(name) {
		if a.Is4() {
			n.log.Info("interface has an address already", "interface", name, "address", a)
			return mac, nil
		}
	}
	if err := n.waitCarrier(ctx, name); err != nil {
		return mac, err
	}
	client, err := nclient4.New(name, nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(4))
	if err != nil {
		return mac, err
	}
	lease, err := client.Request(ctx, dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionInterfaceMTU))
	if err != nil {
		return mac, errors.Join(fmt.Errorf("DHCP: %w", err), client.Close())
	}
	if err := n.apply(link, lease.ACK); err != nil {
		return mac, errors.Join(err, client.Close())
	}
	go n.renew(ctx, link, client, lease)
	return mac, nil
}

func (n *network) waitCarrier(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, carrierWait)
	defer cancel()
	for {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		// A TAP or virtio NIC may say "unknown" and be up.
		if state := link.Attrs().OperState; state == netlink.OperUp || state == netlink.OperUnknown {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("no link within %s", carrierWait)
		}
	}
}

// apply sets address, routes, MTU and name servers of a lease.
func (n *network) apply(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	valid := int(ack.IPAddressLeaseTime(24 * time.Hour).Seconds())
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: mask}, ValidLft: valid, PreferedLft: valid}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("set address %s: %w", addr.IPNet, err)
	}
	routes := ack.ClasslessStaticRoute()
	if len(routes) == 0 { // RFC 3442: the router option counts only without the classless routes
		for _, router := range ack.Router() {
			routes = append(routes, &dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Router: router})
		}
	}
	for i, r := range routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: r.Dest, Gw: r.Router, Priority: 100 + link.Attrs().Index + i}
		if r.Router == nil || r.Router.IsUnspecified() {
			route.Gw, route.Scope = nil, netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(route); err != nil {
			n.log.Warn("route not set", "interface", link.Attrs().Name, "destination", r.Dest, "via", r.Router, "err", err)
		}
	}
	n.log.Info("address", "interface", link.Attrs().Name, "mac", link.Attrs().HardwareAddr.String(),
		"address", addr.IPNet.String(), "routers", ack.Router(), "lease_seconds", valid, "server", ack.ServerIdentifier())
	if servers := ack.DNS(); len(servers) > 0 {
		var text strings.Builder
		for _, s := range servers {
			fmt.Fprintf(&text, "nameserver %s\n", s)
		}
		if err := os.WriteFile(resolvConf, []byte(text.String()), 0o644); err != nil { // world readable by nature
			n.log.Warn("name servers not written", "err", err)
		}
	}
	return nil
}

// renew keeps a lease: at half of its time, then every tenth of it, by a new request.
func (n *network) renew(ctx context.Context, link netlink.Link, client *nclient4.Client, lease *nclient4.Lease) {
	defer func() { _ = client.Close() }()
	for {
		duration := lease.ACK.IPAddressLeaseTime(24 * time.Hour)
		if sleep(ctx, duration/2) != nil {
			return
		}
		for {
			fresh, err := client.Request(ctx, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(lease.ACK.YourIPAddr)),
				dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionInterfaceMTU))
			if err == nil {
				if err = n.apply(link, fresh.ACK); err == nil {
					lease = fresh
					break
				}
			}
			n.log.Warn("lease not renewed", "interface", link.Attrs().Name, "err", err)
			if sleep(ctx, duration/10) != nil {
				return
			}
		}
	}
}

// interfaceAddresses lists the addresses of an interface.
func interfaceAddresses(name string) []netip.Addr {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

// AdvertiseIP returns the local address that packets to the URL's host leave from. It sends nothing: connecting
// a UDP socket only looks up the route.
func AdvertiseIP(ctx context.Context, target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}
