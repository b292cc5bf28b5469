package ramdisk

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/agent/hardware"
)

// insideVariable tells the test binary that it runs in namespaces of its own.
const insideVariable = "RAMDISK_TEST_INSIDE"

// TestNetwork gets a lease over a real pair of interfaces from a real server, in a network namespace.
func TestNetwork(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		testNetworkInside(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, not root: the ramdisk's DHCP client is not tested")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNetwork$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testNetworkInside(t *testing.T) {
	// /etc/resolv.conf is written: give this mount namespace one of its own.
	own := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(own, resolvConf, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC("52:54:00:24:00:01")
	if err != nil {
		t.Fatal(err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac}, PeerName: "srv0"}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	peer, err := netlink.LinkByName("srv0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	server := net.IPv4(192, 168, 24, 1)
	if err := netlink.AddrAdd(peer, &netlink.Addr{IPNet: &net.IPNet{IP: server, Mask: net.CIDRMask(24, 32)}}); err != nil {
		t.Fatal(err)
	}
	dhcp, err := server4.NewServer("srv0", nil, func(conn net.PacketConn, _ net.Addr, m *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(server),
			dhcpv4.WithYourIP(net.IPv4(192, 168, 24, 100)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(600),
			dhcpv4.WithRouter(server), dhcpv4.WithDNS(server), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer dhcp.Close()
	go func() { _ = dhcp.Serve() }()

	sys := fstest.MapFS{"class/net/eth0/type": {Data: []byte("1\n")}, "class/net/eth0/tun_flags": {}, "class/net/srv0/type": {Data: []byte("1\n")}}
	n := &network{src: hardware.Sources{Sys: sys}, log: slog.New(slog.NewTextHandler(t.Output(), nil)), bootMAC: mac.String()}
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := interfaceAddresses("eth0"); !slices.Contains(got, netip.MustParseAddr("192.168.24.100")) {
		t.Errorf("addresses %v", got)
	}
	if b, err := os.ReadFile(resolvConf); err != nil || !strings.Contains(string(b), "nameserver 192.168.24.1") {
		t.Errorf("resolv.conf %q, %v", b, err)
	}
	// The peer lives in the same namespace, so the route to it leaves from there; anything else goes by the
	// default route that the lease brought.
	if ip, err := AdvertiseIP(t.Context(), "http://203.0.113.1:8088/baremetal"); err != nil || ip != "192.168.24.100" {
		t.Errorf("advertised %q, %v", ip, err)
	}
	// A second agent in the same machine finds the address and asks nobody.
	if err := dhcp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
}
