package undercloud

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/net/ipv6"

	"github.com/tripleo/tripleo/internal/netns"
)

// TestIPv6SocketsHearTheirGroups: the sockets of DHCPv6 and of router
// advertisements are those of the provisioning interface, and in the groups
// that machines ask.
func TestIPv6SocketsHearTheirGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	ns := fmt.Sprintf("undercloud6-%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil { //nolint:gosec // fixed by the test
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", ns).Run() }) //nolint:gosec // our own name
	ip("-n", ns, "link", "add", "prov", "type", "veth", "peer", "name", "machine")
	ip("netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.prov.accept_dad=0", "net.ipv6.conf.machine.accept_dad=0")
	for _, dev := range []string{"prov", "machine"} {
		ip("-n", ns, "link", "set", dev, "up")
	}
	ip("-n", ns, "addr", "add", "192.168.24.1/24", "dev", "prov")
	u := &Undercloud{log: slog.New(slog.DiscardHandler)}
	u.cfg.Provisioning.Namespace, u.cfg.Provisioning.Address = ns, netip.MustParsePrefix("192.168.24.1/24")

	open := func(listen func() (net.PacketConn, error)) net.PacketConn {
		t.Helper()
		conn, err := listen()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	hears := func(conn net.PacketConn, what string) {
		t.Helper()
		if n, from, err := conn.ReadFrom(make([]byte, 1500)); err != nil || n < 4 {
			t.Errorf("%s: %d bytes from %v, %v", what, n, from, err)
		}
	}
	// The machine's side sends through its own interface of the same namespace.
	send := func(network, addr, to string, port int, data []byte) {
		t.Helper()
		err := netns.Do(ns, func() error {
			i, err := net.InterfaceByName("machine")
			if err != nil {
				return err
			}
			conn, err := new(net.ListenConfig).ListenPacket(t.Context(), network, addr)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			six := ipv6.NewPacketConn(conn)
			if err := six.SetMulticastInterface(i); err != nil {
				return err
			}
			var dst net.Addr = &net.UDPAddr{IP: net.ParseIP(to), Port: port}
			if port == 0 {
				dst = &net.IPAddr{IP: net.ParseIP(to)}
			}
			_, err = conn.WriteTo(data, dst)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	solicit, err := dhcpv6.NewMessage()
	if err != nil {
		t.Fatal(err)
	}
	server := open(u.listenDHCP6())
	for _, group := range []string{dhcpAndRelays, dhcpServers} {
		send("udp6", "[::]:546", group, 547, solicit.ToBytes())
		hears(server, group)
	}
	router := open(u.listenRouter())
	send("ip6:ipv6-icmp", "::", allRouters, 0, []byte{133, 0, 0, 0, 0, 0, 0, 0})
	hears(router, allRouters)
	u.cfg.Provisioning.DHCP = DHCPProxy
	if u.listenDHCP6() != nil || u.listenRouter() != nil {
		t.Error("a proxy serves DHCPv6 or advertises")
	}
}
