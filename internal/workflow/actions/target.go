package actions

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// dialer connects to where a workflow points. The address is checked after name
// resolution, at every connection, so that neither a name that changes its
// address nor a redirect smuggles a forbidden one in.
func (o StdOptions) dialer() *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, Control: o.guard}
}

// forbidden are the addresses of this machine, of the link, and those under
// which clouds serve metadata, besides what netip knows by itself. NAT64 and
// 6to4 hide an IPv4 address in an IPv6 one.
func forbidden(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return true
	}
	for _, p := range []string{"0.0.0.0/8", "255.255.255.255/32", "100.100.100.200/32", "fd00:ec2::254/128", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"} {
		if netip.MustParsePrefix(p).Contains(ip) {
			return true
		}
	}
	return false
}

// guard refuses forbidden addresses; it is a net.Dialer's Control.
func (o StdOptions) guard(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q is not numeric: %w", address, err)
	}
	ip := ap.Addr().WithZone("")
	if o.AllowLocal || !forbidden(ip) {
		return nil
	}
	for _, p := range o.Allowed {
		if p.Contains(ip.Unmap()) {
			return nil
		}
	}
	return fmt.Errorf("requests to %s are not allowed", ap.Addr())
}

// withPort adds the port that is meant when none is written.
func withPort(host, port string) string {
	if h, p, err := net.SplitHostPort(host); err == nil && p != "" {
		return net.JoinHostPort(h, p)
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return net.JoinHostPort(host, port)
}
