package dhcp_test

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/tripleo/tripleo/internal/network/dhcp"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag

var host6 = &dhcp.Host6{ //nolint:gochecknoglobals // fixture
	Addresses: []netip.Addr{netip.MustParseAddr("fd00:24::55")}, OnLink: []netip.Prefix{netip.MustParsePrefix("fd00:24::/64")},
	DNS: []netip.Addr{netip.MustParseAddr("fd00:24::1")}, Domain: "example.org.",
	Options: []dhcp.Option{
		{Name: "tag:!ipxe,tag:efi-x86_64,59", Value: "tftp://[fd00:24::1]/snponly.efi"},
		{Name: "tag:!ipxe,tag:http,tag:efi-x86_64,59", Value: "http://[fd00:24::1]:8088/snponly.efi"},
		{Name: "tag:ipxe,bootfile-url", Value: "http://[fd00:24::1]:8088/x.ipxe"},
	},
}

func server6() *dhcp.Server6 {
	return &dhcp.Server6{Name: "ctlplane", LeaseTime: time.Hour, Log: slog.New(slog.DiscardHandler), Lookup: func(_ context.Context, m net.HardwareAddr) (*dhcp.Host6, error) {
		if m.String() != mac.String() {
			return nil, nil
		}
		return host6, nil
	}}
}

var linkLocal = &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 546} //nolint:gochecknoglobals // fixture: an address that tells no MAC

// ask6 sends a message as the machine and returns the answer.
func ask6(t testing.TB, s *dhcp.Server6, kind dhcpv6.MessageType, mods ...dhcpv6.Modifier) *dhcpv6.Message {
	t.Helper()
	req := message6(t, kind, mods...)
	out := s.Handle(t.Context(), req.ToBytes(), linkLocal)
	if out == nil {
		return nil
	}
	again, err := dhcpv6.MessageFromBytes(out.ToBytes()) // what the client reads
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func message6(t testing.TB, kind dhcpv6.MessageType, mods ...dhcpv6.Modifier) *dhcpv6.Message {
	t.Helper()
	req, err := dhcpv6.NewMessage(append([]dhcpv6.Modifier{dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac})}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	req.MessageType, req.TransactionID = kind, dhcpv6.TransactionID{1, 2, 3}
	return req
}

func serverID(t testing.TB) dhcpv6.Modifier {
	t.Helper()
	return dhcpv6.WithServerID(ask6(t, server6(), dhcpv6.MessageTypeInformationRequest).Options.ServerID())
}

func ia(addresses ...string) dhcpv6.Modifier {
	var list []dhcpv6.OptIAAddress
	for _, a := range addresses {
		list = append(list, dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a)})
	}
	return dhcpv6.WithIANA(list...)
}

// brief describes an answer.
func brief(m *dhcpv6.Message) string {
	if m == nil {
		return "silence"
	}
	out := m.MessageType.String()
	if s := m.Options.Status(); s != nil {
		out += " " + s.StatusCode.String()
	}
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			out += fmt.Sprintf(" %s for %s", a.IPv6Addr, a.ValidLifetime)
		}
		if s := ia.Options.Status(); s != nil {
			out += " " + s.StatusCode.String()
		}
	}
	if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
		out += " rapid"
	}
	return out
}

// TestConversation: RFC 8415, 16 (which messages are for us) and 18.3 (what a
// server answers).
func TestConversation(t *testing.T) {
	other := dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{1, 2, 3, 4, 5, 6}})
	mine, foreign, elsewhere := ia("fd00:24::55"), ia("fd00:24::66"), ia("fd00:99::1")
	ours := serverID(t)
	for _, tc := range []struct {
		reason string
		kind   dhcpv6.MessageType
		mods   []dhcpv6.Modifier
		want   string
	}{
		{"solicit", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia()}, "ADVERTISE fd00:24::55 for 1h0m0s"},
		{"solicit with rapid commit", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(), dhcpv6.WithRapidCommit}, "REPLY fd00:24::55 for 1h0m0s rapid"},
		{"a solicit names no server", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{ia(), ours}, "silence"},
		{"request", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{ia(), ours}, "REPLY fd00:24::55 for 1h0m0s"},
		{"a request of another server", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{ia(), other}, "silence"},
		{"a request names its server", dhcpv6.MessageTypeRequest, []dhcpv6.Modifier{ia()}, "silence"},
		{"renew", dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{mine, ours}, "REPLY fd00:24::55 for 1h0m0s"},
		{"an address that is not the machine's ends", dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{foreign, ours}, "REPLY fd00:24::55 for 1h0m0s fd00:24::66 for 0s"},
		{"a renew of another server", dhcpv6.MessageTypeRenew, []dhcpv6.Modifier{mine, other}, "silence"},
		{"rebind", dhcpv6.MessageTypeRebind, []dhcpv6.Modifier{mine}, "REPLY fd00:24::55 for 1h0m0s"},
		{"a rebind names no server", dhcpv6.MessageTypeRebind, []dhcpv6.Modifier{mine, ours}, "silence"},
		{"confirm", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{mine}, "REPLY Success"},
		{"confirm on another link", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{elsewhere}, "REPLY NotOnLink"},
		{"confirm of nothing", dhcpv6.MessageTypeConfirm, []dhcpv6.Modifier{ia()}, "silence"},
		{"release", dhcpv6.MessageTypeRelease, []dhcpv6.Modifier{mine, ours}, "REPLY Success"},
		{"decline", dhcpv6.MessageTypeDecline, []dhcpv6.Modifier{mine, ours}, "REPLY Success"},
		{"a release of another server", dhcpv6.MessageTypeRelease, []dhcpv6.Modifier{mine, other}, "silence"},
		{"information", dhcpv6.MessageTypeInformationRequest, nil, "REPLY"},
		{"information names no address", dhcpv6.MessageTypeInformationRequest, []dhcpv6.Modifier{mine}, "silence"},
		{"information of another server", dhcpv6.MessageTypeInformationRequest, []dhcpv6.Modifier{other}, "silence"},
		{"two associations in one request", dhcpv6.MessageTypeSolicit, []dhcpv6.Modifier{func(m dhcpv6.DHCPv6) {
			m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{1}})
			m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{2}})
		}}, "ADVERTISE fd00:24::55 for 1h0m0s NoAddrsAvail"},
		{"a server's message", dhcpv6.MessageTypeReply, nil, "silence"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			if got := brief(ask6(t, server6(), tc.kind, tc.mods...)); got != tc.want {
				t.Errorf("%s, expected %s", got, tc.want)
			}
		})
	}
	stateless := server6()
	stateless.Lookup = func(context.Context, net.HardwareAddr) (*dhcp.Host6, error) {
		return &dhcp.Host6{OnLink: host6.OnLink, DNS: host6.DNS}, nil
	}
	if got := brief(ask6(t, stateless, dhcpv6.MessageTypeSolicit, ia())); got != "ADVERTISE NoAddrsAvail" {
		t.Errorf("a machine that makes its own addresses: %s", got)
	}
	r := ask6(t, stateless, dhcpv6.MessageTypeInformationRequest)
	if got := r.Options.DNS(); len(got) != 1 || r.Options.InformationRefreshTime(0) != time.Hour {
		t.Errorf("information: DNS %v, refresh %s", got, r.Options.InformationRefreshTime(0))
	}
}

func TestBootFileURL(t *testing.T) {
	class := func(m dhcpv6.DHCPv6) {
		m.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: 343, Data: [][]byte{[]byte("HTTPClient:Arch:00016:UNDI:003016")}})
	}
	for _, tc := range []struct {
		reason string
		mods   []dhcpv6.Modifier
		want   string
	}{
		{"UEFI PXE", []dhcpv6.Modifier{dhcpv6.WithArchType(7)}, "tftp://[fd00:24::1]/snponly.efi"},
		{"UEFI HTTP", []dhcpv6.Modifier{dhcpv6.WithArchType(16), class}, "http://[fd00:24::1]:8088/snponly.efi"},
		{"iPXE", []dhcpv6.Modifier{dhcpv6.WithArchType(7), dhcpv6.WithUserClass([]byte("iPXE"))}, "http://[fd00:24::1]:8088/x.ipxe"},
		{"a system", nil, ""},
	} {
		r := ask6(t, server6(), dhcpv6.MessageTypeSolicit, append(tc.mods, ia())...)
		if got := r.Options.BootFileURL(); got != tc.want {
			t.Errorf("%s: %q, expected %q", tc.reason, got, tc.want)
		}
		if got := len(r.Options.VendorClasses()) > 0; got != (tc.reason == "UEFI HTTP") {
			t.Errorf("%s: vendor class %t", tc.reason, got)
		}
	}
}

// TestBootOptionsOfIronic: the options that Ironic gives a port for an IPv6 network lead each firmware to its loader.
func TestBootOptionsOfIronic(t *testing.T) {
	s := server6()
	s.Lookup = func(context.Context, net.HardwareAddr) (*dhcp.Host6, error) {
		return &dhcp.Host6{Addresses: host6.Addresses, OnLink: host6.OnLink, Options: []dhcp.Option{
			{Name: "tag:!ipxe6,tag:efi-x86_64,59", Value: "tftp://[fd00:24::1]/x86"}, {Name: "tag:!ipxe6,tag:efi-arm64,59", Value: "tftp://[fd00:24::1]/arm"},
			{Name: "tag:!ipxe6,tag:http,tag:efi-x86_64,59", Value: "http://[fd00:24::1]/x86"}, {Name: "tag:!ipxe6,tag:http,tag:efi-arm64,59", Value: "http://[fd00:24::1]/arm"},
			{Name: "tag:ipxe6,59", Value: "http://[fd00:24::1]/script"}, {Name: "60", Value: "one two"}}}, nil
	}
	class := func(m dhcpv6.DHCPv6) {
		m.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: 343, Data: [][]byte{[]byte("HTTPClient:Arch:00016:UNDI:003016")}})
	}
	user := dhcpv6.WithUserClass([]byte("iPXE"))
	for _, tc := range []struct {
		reason string
		mods   []dhcpv6.Modifier
		want   string
	}{
		{"UEFI PXE", []dhcpv6.Modifier{dhcpv6.WithArchType(7)}, "tftp://[fd00:24::1]/x86"},
		{"UEFI PXE on arm64", []dhcpv6.Modifier{dhcpv6.WithArchType(11)}, "tftp://[fd00:24::1]/arm"},
		{"UEFI HTTP", []dhcpv6.Modifier{dhcpv6.WithArchType(16), class}, "http://[fd00:24::1]/x86"},
		{"iPXE", []dhcpv6.Modifier{dhcpv6.WithArchType(7), user}, "http://[fd00:24::1]/script"},
		{"iPXE in a BIOS", []dhcpv6.Modifier{dhcpv6.WithArchType(0), user}, "http://[fd00:24::1]/script"},
		{"a system", nil, ""},
	} {
		r := ask6(t, s, dhcpv6.MessageTypeSolicit, append(tc.mods, ia())...)
		if got := r.Options.BootFileURL(); got != tc.want {
			t.Errorf("%s: %q, expected %q", tc.reason, got, tc.want)
		}
		if got := r.Options.BootFileParam(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%s: parameters %q", tc.reason, got)
		}
	}
}

// TestWhoAsks: the machine is known by what its relay, its address or its DUID
// tells of its card.
func TestWhoAsks(t *testing.T) {
	noMAC := dhcpv6.WithClientID(&dhcpv6.DUIDUUID{UUID: [16]byte{1}})
	eui := net.ParseIP("fe80::5054:ff:fe24:1")
	llt := dhcpv6.WithClientID(&dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac})
	relay := func(inner dhcpv6.DHCPv6, peer net.IP, mods ...dhcpv6.Modifier) dhcpv6.DHCPv6 {
		t.Helper()
		r, err := dhcpv6.EncapsulateRelay(inner, dhcpv6.MessageTypeRelayForward, net.ParseIP("fd00:24::9"), peer)
		if err != nil {
			t.Fatal(err)
		}
		r.AddOption(dhcpv6.OptInterfaceID([]byte("eth7")))
		for _, m := range mods {
			m(r)
		}
		return r
	}
	solicit := func(mods ...dhcpv6.Modifier) dhcpv6.DHCPv6 {
		t.Helper()
		return message6(t, dhcpv6.MessageTypeSolicit, append(mods, ia())...)
	}
	tell := dhcpv6.WithClientLinkLayerAddress(iana.HWTypeEthernet, mac)
	deep := solicit()
	for range 12 {
		deep = relay(deep, net.ParseIP("fe80::1"))
	}
	for _, tc := range []struct {
		reason string
		asked  dhcpv6.DHCPv6
		from   net.IP
		known  bool
	}{
		{"DUID-LL", solicit(), linkLocal.IP, true},
		{"DUID-LLT", solicit(llt), linkLocal.IP, true},
		{"DUID-UUID, an address of the MAC", solicit(noMAC), eui, true},
		{"DUID-UUID, another address", solicit(noMAC), linkLocal.IP, false},
		{"a relay that tells the MAC", relay(solicit(noMAC), linkLocal.IP, tell), nil, true},
		{"a relay that tells the address", relay(solicit(noMAC), eui), nil, true},
		{"a relay behind a relay", relay(relay(solicit(noMAC), linkLocal.IP, tell), net.ParseIP("fd00:25::1")), nil, true},
		{"too many relays", deep, nil, false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			out := server6().Handle(t.Context(), tc.asked.ToBytes(), &net.UDPAddr{IP: tc.from, Port: 547})
			if (out != nil) != tc.known {
				t.Fatalf("answered %v, expected an answer: %t", out, tc.known)
			}
			if out == nil {
				return
			}
			if out.IsRelay() != tc.asked.IsRelay() {
				t.Errorf("answered %v", out)
			}
			inner, err := out.GetInnerMessage()
			if err != nil || brief(inner) != "ADVERTISE fd00:24::55 for 1h0m0s" {
				t.Errorf("answered %v, %v", inner, err)
			}
			if r, ok := out.(*dhcpv6.RelayMessage); ok && string(r.Options.InterfaceID()) != "eth7" {
				t.Errorf("the relay's interface id is %q", r.Options.InterfaceID())
			}
		})
	}
}

// TestGoldenPackets compares answers byte by byte; -update writes them.
func TestGoldenPackets(t *testing.T) {
	packets := map[string]dhcpv6.DHCPv6{
		"solicit":     message6(t, dhcpv6.MessageTypeSolicit, ia(), dhcpv6.WithArchType(7)),
		"information": message6(t, dhcpv6.MessageTypeInformationRequest),
		"request":     message6(t, dhcpv6.MessageTypeRequest, ia(), serverID(t)),
	}
	ra := &dhcp.Advertisement{Managed: true, Other: true, MTU: 1500, DNSLifetime: 10 * time.Minute, DNS: host6.DNS,
		Prefixes: []dhcp.AdvertisedPrefix{{Prefix: host6.OnLink[0], Auto: true, Valid: time.Hour, Preferred: time.Minute}}}
	got := map[string]string{"advertisement": hex.Dump(ra.Bytes())}
	for name, p := range packets {
		got[name] = hex.Dump(p.ToBytes()) + "\n" + hex.Dump(server6().Handle(t.Context(), p.ToBytes(), linkLocal).ToBytes())
	}
	for name, text := range got {
		file := filepath.Join("testdata", "six", name+".hex")
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", name, diff)
		}
	}
}

func FuzzHandle6(f *testing.F) {
	f.Add(message6(f, dhcpv6.MessageTypeSolicit, ia(), dhcpv6.WithArchType(7)).ToBytes())
	f.Add(message6(f, dhcpv6.MessageTypeRebind, ia("fd00:24::66")).ToBytes())
	if r, err := dhcpv6.EncapsulateRelay(message6(f, dhcpv6.MessageTypeSolicit, ia()), dhcpv6.MessageTypeRelayForward, net.IPv6zero, linkLocal.IP); err == nil {
		f.Add(r.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		out := server6().Handle(t.Context(), b, linkLocal)
		if out == nil {
			return
		}
		if _, err := dhcpv6.FromBytes(out.ToBytes()); err != nil {
			t.Errorf("the answer cannot be read: %v", err)
		}
	})
}

// TestOptionsOfPorts: what cannot be written is an error that names it.
func TestOptionsOfPorts(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"dns-server", "192.0.2.1", "no IPv6 address"}, {"domain-search", "a..b", "no domain name"},
		{"24", strings.Repeat("x", 64), "no domain name"}, {"mtu", "1500", "unknown name"}, {"65536", "x", "unknown name"},
	} {
		_, err := server6().Reply(message6(t, dhcpv6.MessageTypeInformationRequest), &dhcp.Host6{Options: []dhcp.Option{{Name: tc.name, Value: tc.value}}})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.name) {
			t.Errorf("%s=%s: %v, expected an error with %q", tc.name, tc.value, err, tc.want)
		}
	}
}

func TestRealClient6(t *testing.T) { realClient6(t) }
