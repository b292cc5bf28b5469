package undercloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/netns"
)

// appearPoll is how often a missing provisioning network is looked for.
const appearPoll = 300 * time.Millisecond

// serveMachines serves what machines may reach on the provisioning network.
// The network may come and go: the lab is started after the undercloud.
func (u *Undercloud) serveMachines(ctx context.Context) error {
	addr := netip.AddrPortFrom(u.cfg.Provisioning.Address.Addr(), uint16(u.cfg.Provisioning.Port)).String() //nolint:gosec // a port
	reported := false
	for ctx.Err() == nil {
		l, err := netns.Listen(u.cfg.Provisioning.Namespace, "tcp", addr)
		if err == nil {
			u.log.Info("serving machines", "address", addr, "namespace", u.cfg.Provisioning.Namespace)
			reported = false
			served, stop := context.WithCancel(ctx)
			go u.watchNamespace(served, stop)
			err = serveHTTP(served, l, durable(u.nodeHandler(), u.db.Sync))
			stop()
		} else if !reported {
			u.log.Info("the provisioning network is not there yet", "for", "HTTP", "reason", err)
			reported = true
		}
		if err != nil {
			u.log.Debug("provisioning listener", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(appearPoll):
		}
	}
	return nil
}

// watchNamespace calls gone when the provisioning namespace is no longer the
// one it was: a lab that was torn down and made anew has another one under the
// same name, and sockets in the old one hear nothing.
func (u *Undercloud) watchNamespace(ctx context.Context, gone func()) {
	first, err := namespaceID(u.cfg.Provisioning.Namespace)
	if err != nil || u.cfg.Provisioning.Namespace == "" {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now, err := namespaceID(u.cfg.Provisioning.Namespace); err != nil || now != first {
				gone()
				return
			}
		}
	}
}

// namespaceID identifies a named namespace: device and inode of its handle.
func namespaceID(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat("/run/netns/"+name, &st); err != nil {
		return "", fmt.Errorf("namespace %q: %w", name, err)
	}
	return strconv.FormatUint(st.Dev, 16) + ":" + strconv.FormatUint(st.Ino, 16), nil
}

// packetConn opens a UDP socket on the provisioning network that is closed
// when that network goes away, so that its user opens it again.
func (u *Undercloud) packetConn(ctx context.Context, addr string, broadcast bool) (net.PacketConn, error) {
	return u.openConn(ctx, "udp4", addr, broadcast, nil)
}

// listenTFTP opens the TFTP server's socket, of the protocol of the provisioning address.
func (u *Undercloud) listenTFTP() (net.PacketConn, error) {
	if u.cfg.Provisioning.Address.Addr().Is6() {
		return u.openConn(context.Background(), "udp6", "[::]:69", false, nil)
	}
	return u.packetConn(context.Background(), "0.0.0.0:69", false)
}

// openConn is packetConn for any kind of socket; tune, if given, is told the
// interface.
func (u *Undercloud) openConn(ctx context.Context, network, addr string, broadcast bool, tune func(conn net.PacketConn, device string) error) (net.PacketConn, error) {
	p := u.cfg.Provisioning
	var conn net.PacketConn
	err := netns.Do(p.Namespace, func() error {
		device, err := u.device()
		if err != nil {
			return err
		}
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var opt error
			err := raw.Control(func(fd uintptr) {
				if broadcast {
					opt = errors.Join(
						unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
						unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
						unix.BindToDevice(int(fd), device))
				}
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
			})
			return errors.Join(err, opt)
		}}
		if conn, err = lc.ListenPacket(ctx, network, addr); err != nil || tune == nil {
			return err
		}
		if err := tune(conn, device); err != nil {
			return errors.Join(err, conn.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	watched, stop := context.WithCancel(ctx)
	go u.watchNamespace(watched, func() { _ = conn.Close() })
	return &watchedConn{conn, stop}, nil
}

type watchedConn struct {
	net.PacketConn
	stop func()
}

func (c *watchedConn) Close() error {
	c.stop()
	return c.PacketConn.Close()
}

// device names the interface that carries the undercloud's provisioning
// address; called inside the namespace.
func (u *Undercloud) device() (string, error) {
	if u.cfg.Provisioning.Interface != "" {
		return u.cfg.Provisioning.Interface, nil
	}
	want := u.cfg.Provisioning.Address.Addr()
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return "", fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == want {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the provisioning address %s", want)
}

// listenDHCP returns what opens one of the DHCP server's sockets; nil if the
// network has no DHCP of ours.
func (u *Undercloud) listenDHCP(addr string) func() (net.PacketConn, error) {
	if u.cfg.Provisioning.DHCP == DHCPNone || u.cfg.Provisioning.Address.Addr().Is6() { // without an address of its own it cannot serve IPv4
		return nil
	}
	return func() (net.PacketConn, error) { return u.packetConn(context.Background(), addr, true) }
}

// dhcpServers and dhcpAndRelays are the groups of DHCPv6 servers (RFC 8415, 7.1), allRouters that of
// routers (RFC 4291, 2.7.1).
const (
	dhcpServers   = "ff05::1:3"
	dhcpAndRelays = "ff02::1:2"
	allRouters    = "ff02::2"
)

// listenDHCP6 is listenDHCP for DHCPv6; a proxy leaves it to the other server.
func (u *Undercloud) listenDHCP6() func() (net.PacketConn, error) {
	return u.listenSix("udp6", "[::]:547", func(conn net.PacketConn, i *net.Interface) error {
		six := ipv6.NewPacketConn(conn)
		return errors.Join(six.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(dhcpAndRelays)}), six.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(dhcpServers)}))
	})
}

// listenRouter returns what opens the socket for router advertisements, which
// hears solicitations only.
func (u *Undercloud) listenRouter() func() (net.PacketConn, error) {
	return u.listenSix("ip6:ipv6-icmp", "::", func(conn net.PacketConn, i *net.Interface) error {
		six := ipv6.NewPacketConn(conn)
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeRouterSolicitation)
		return errors.Join(six.SetICMPFilter(&filter), six.SetMulticastHopLimit(255), six.SetMulticastInterface(i), // RFC 4861, 6.1.2: 255
			six.JoinGroup(i, &net.IPAddr{IP: net.ParseIP(allRouters)}))
	})
}

func (u *Undercloud) listenSix(network, addr string, tune func(conn net.PacketConn, i *net.Interface) error) func() (net.PacketConn, error) {
	if d := u.cfg.Provisioning.DHCP; d == DHCPNone || d == DHCPProxy {
		return nil
	}
	return func() (net.PacketConn, error) {
		return u.openConn(context.Background(), network, addr, true, func(conn net.PacketConn, device string) error {
			i, err := net.InterfaceByName(device)
			if err != nil {
				return err
			}
			return tune(conn, i)
		})
	}
}
