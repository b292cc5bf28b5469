package ramdisk

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/agent/hardware"
)

func TestWhichProtocolIsSpoken(t *testing.T) {
	for text, want := range map[string]bool{
		"http://[fd00:24::1]:8088/baremetal": true, "http://192.168.24.1:8088/baremetal": false, "http://undercloud:8088": false, "http://[::ffff:192.0.2.1]/": false,
	} {
		if got := speaksIPv6(Config{APIURL: text}); got != want {
			t.Errorf("%s: IPv6 %t", text, got)
		}
		if got := speaksIPv6(Config{InspectionURL: text}); got != want {
			t.Errorf("%s, of a machine that nobody knows: IPv6 %t", text, got)
		}
	}
}

// TestNetwork6 gets an IPv6 address over a real pair of interfaces from a real server, in a network namespace.
func TestNetwork6(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		testNetwork6Inside(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, not root: the ramdisk's DHCPv6 client is not tested")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNetwork6$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testNetwork6Inside(t *testing.T) {
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
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: mac}, PeerName: "srv0"}); err != nil {
		t.Fatal(err)
	}
	peer, err := netlink.LinkByName("srv0")
	if err != nil {
		t.Fatal(err)
	}
	// The server can answer at once: it does not wait for whether somebody else has its address.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/srv0/accept_dad", []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool // the server has no address to give
	full.Store(true)
	server, err := server6.NewServer("srv0", nil, answer6(t, mac, &full))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { _ = server.Serve() }()

	sys := fstest.MapFS{"class/net/eth0/type": {Data: []byte("1\n")}, "class/net/eth0/tun_flags": {}, "class/net/srv0/type": {Data: []byte("1\n")}}
	n := &network{src: hardware.Sources{Sys: sys}, log: slog.New(slog.NewTextHandler(t.Output(), nil)), bootMAC: mac.String(), six: true}
	if _, err := n.configure6(t.Context(), "eth0"); err == nil || !strings.Contains(err.Error(), "nothing left") {
		t.Errorf("a server without addresses: %v, expected its own words", err)
	}
	full.Store(false)
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := interfaceAddresses("eth0"); !slices.Contains(got, netip.MustParseAddr("fd00:24::64")) {
		t.Errorf("addresses %v", got)
	}
	if b, err := os.ReadFile(resolvConf); err != nil || !strings.Contains(string(b), "nameserver fd00:24::1") {
		t.Errorf("resolv.conf %q, %v", b, err)
	}
	// A second agent in the same machine finds the address and asks nobody.
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// answer6 is a DHCPv6 server with one address.
func answer6(t *testing.T, mac net.HardwareAddr, full *atomic.Bool) server6.Handler {
	return func(conn net.PacketConn, from net.Addr, m dhcpv6.DHCPv6) {
		req, err := m.GetInnerMessage()
		if err != nil || req.Options.OneIANA() == nil {
			t.Errorf("request %v, %v", m, err)
			return
		}
		id := req.Options.OneIANA().IaId
		ia := &dhcpv6.OptIANA{IaId: id}
		if full.Load() {
			ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "nothing left"})
		} else {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00:24::64"), PreferredLifetime: 10 * time.Minute, ValidLifetime: 10 * time.Minute})
		}
		mods := []dhcpv6.Modifier{dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac}), dhcpv6.WithOption(ia), dhcpv6.WithDNS(net.ParseIP("fd00:24::1"))}
		var reply *dhcpv6.Message
		if req.MessageType == dhcpv6.MessageTypeSolicit {
			reply, err = dhcpv6.NewAdvertiseFromSolicit(req, mods...)
		} else {
			reply, err = dhcpv6.NewReplyFromMessage(req, mods...)
		}
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(reply.ToBytes(), from); err != nil {
			t.Error(err)
		}
	}
}
