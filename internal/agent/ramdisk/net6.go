package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// usableWait is how long the kernel may take to find out that nobody else has an address (RFC 4862, 5.4: a second).
	usableWait = 10 * time.Second
	addrPoll   = 100 * time.Millisecond
	// minRenew keeps a server that gives short leases from being flooded.
	minRenew = 30 * time.Second
)

// speaksIPv6 says whether the undercloud is reached by an IPv6 address. Then
// the ramdisk asks for IPv6 addresses and for no others: a network that has the
// one need not have the other, and waiting for it would only take time.
func speaksIPv6(c Config) bool {
	for _, text := range []string{c.APIURL, c.InspectionURL} {
		if u, err := url.Parse(text); err == nil && text != "" {
			a, err := netip.ParseAddr(u.Hostname())
			return err == nil && a.Is6() && !a.Is4In6()
		}
	}
	return false
}

// configure6 brings one NIC up, waits for its link, and gets an IPv6 address:
// one that the kernel makes itself of a router's advertisement (RFC 4862), or
// one by DHCPv6 (RFC 8415), whichever comes first. Routes are the kernel's
// matter: it learns them from advertisements.
func (n *network) configure6(ctx context.Context, name string) (mac string, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	mac = link.Attrs().HardwareAddr.String()
	if err := netlink.LinkSetUp(link); err != nil {
		return mac, fmt.Errorf("bring up: %w", err)
	}
	if err := n.waitCarrier(ctx, name); err != nil {
		return mac, err
	}
	if err := awaitAddress(ctx, link, netip.Addr.IsLinkLocalUnicast); err != nil {
		return mac, fmt.Errorf("link-local address: %w", err)
	}
	asking, stop := context.WithCancel(ctx)
	defer stop()
	leased := make(chan error, 1)
	go func() {
		lease, err := lease6(asking, name)
		if err == nil {
			err = n.apply6(link, lease)
		}
		if err == nil {
			go n.renew6(ctx, link, lease)
		}
		leased <- err
	}()
	for {
		if a, ok := usableAddress(link, netip.Addr.IsGlobalUnicast); ok {
			n.log.Info("interface has an address", "interface", name, "mac", mac, "address", a)
			stop()
			return mac, nil
		}
		select {
		case err := <-leased:
			if err == nil {
				err = awaitAddress(ctx, link, netip.Addr.IsGlobalUnicast)
			}
			return mac, err
		case <-time.After(addrPoll):
		}
	}
}

// usableAddress finds an address of an interface that the kernel has no doubts about any more.
func usableAddress(link netlink.Link, want func(netip.Addr) bool) (netip.Addr, bool) {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ok && want(ip) && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func awaitAddress(ctx context.Context, link netlink.Link, want func(netip.Addr) bool) error {
	ctx, cancel := context.WithTimeout(ctx, usableWait)
	defer cancel()
	for {
		if _, ok := usableAddress(link, want); ok {
			return nil
		}
		if sleep(ctx, addrPoll) != nil {
			return fmt.Errorf("none that can be used within %s", usableWait)
		}
	}
}

// lease6 asks for an address.
func lease6(ctx context.Context, name string) (*dhcpv6.Message, error) {
	client, err := nclient6.New(name, nclient6.WithTimeout(3*time.Second), nclient6.WithRetry(4))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	defer func() { _ = client.Close() }()
	offer, err := client.Solicit(ctx)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	reply, err := client.Request(ctx, offer)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	if len(leased6(reply)) == 0 {
		return nil, fmt.Errorf("DHCPv6: the server gives no address%s", said6(reply))
	}
	return reply, nil
}

// leased6 are the addresses of an answer that may be used.
func leased6(m *dhcpv6.Message) []*dhcpv6.OptIAAddress {
	var out []*dhcpv6.OptIAAddress
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if a.ValidLifetime > 0 && a.IPv6Addr.To16() != nil && !a.IPv6Addr.IsUnspecified() && !a.IPv6Addr.IsMulticast() {
				out = append(out, a)
			}
		}
	}
	return out
}

// said6 is the reason that a server gives.
func said6(m *dhcpv6.Message) string {
	status := m.Options.Status()
	for _, ia := range m.Options.IANA() {
		if s := ia.Options.Status(); s != nil {
			status = s
		}
	}
	if status == nil {
		return ""
	}
	return fmt.Sprintf(": %s %q", status.StatusCode, status.StatusMessage)
}

// apply6 sets addresses and name servers of a lease. The prefix length is 128,
// because DHCPv6 tells no other (RFC 5942, 4).
func (n *network) apply6(link netlink.Link, lease *dhcpv6.Message) error {
	for _, a := range leased6(lease) {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.IPv6Addr, Mask: net.CIDRMask(128, 128)},
			ValidLft: int(a.ValidLifetime.Seconds()), PreferedLft: int(min(a.PreferredLifetime, a.ValidLifetime).Seconds())}
		if err := netlink.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("set address %s: %w", addr.IPNet, err)
		}
		n.log.Info("address", "interface", link.Attrs().Name, "mac", link.Attrs().HardwareAddr.String(), "address", addr.IPNet.String(), "lease_seconds", addr.ValidLft)
	}
	if servers := lease.Options.DNS(); len(servers) > 0 {
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

// renew6 keeps a lease: at half of its time, then every tenth of it, by a new
// exchange, which gets the same address from a server that knows the machine.
func (n *network) renew6(ctx context.Context, link netlink.Link, lease *dhcpv6.Message) {
	for {
		duration := leased6(lease)[0].ValidLifetime
		if sleep(ctx, max(duration/2, minRenew)) != nil {
			return
		}
		for {
			fresh, err := lease6(ctx, link.Attrs().Name)
			if err == nil {
				if err = n.apply6(link, fresh); err == nil {
					lease = fresh
					break
				}
			}
			if errors.Is(err, context.Canceled) {
				return
			}
			n.log.Warn("lease not renewed", "interface", link.Attrs().Name, "err", err)
			if sleep(ctx, max(duration/10, minRenew)) != nil {
				return
			}
		}
	}
}
