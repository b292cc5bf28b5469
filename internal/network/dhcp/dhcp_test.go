package dhcp_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/tripleo/tripleo/internal/network/dhcp"
)

var ( //nolint:gochecknoglobals // fixtures
	mac  = net.HardwareAddr{0x52, 0x54, 0, 0x24, 0, 1}
	host = &dhcp.Host{
		Address: netip.MustParsePrefix("192.168.24.55/24"), Gateway: netip.MustParseAddr("192.168.24.1"), MTU: 1500,
		DNS:    []netip.Addr{netip.MustParseAddr("192.168.24.1")},
		Routes: []dhcp.Route{{Destination: netip.MustParsePrefix("169.254.169.254/32"), NextHop: netip.MustParseAddr("192.168.24.1")}},
		Options: []dhcp.Option{
			{Name: "tag:!ipxe,67", Value: "undionly.kpxe"},
			{Name: "tag:!ipxe,tag:efi-x86_64,67", Value: "ipxe.efi"},
			{Name: "tag:!ipxe,tag:efi-arm64,67", Value: "ipxe-arm64.efi"},
			{Name: "tag:!ipxe,tag:http,tag:efi-x86_64,67", Value: "http://192.168.24.1:8088/ipxe.efi"},
			{Name: "tag:!ipxe,tag:http,tag:efi-arm64,67", Value: "http://192.168.24.1:8088/ipxe-arm64.efi"},
			{Name: "tag:ipxe,bootfile-name", Value: "http://192.168.24.1:8088/x.ipxe"},
			{Name: "server-ip-address", Value: "192.168.24.1"},
			{Name: "150", Value: "192.168.24.1"},
		},
	}
)

func server() *dhcp.Server {
	return &dhcp.Server{Address: netip.MustParseAddr("192.168.24.1"), LeaseTime: time.Hour, Log: slog.New(slog.DiscardHandler)}
}

func discover(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	req, err := dhcpv4.NewDiscovery(mac, mods...)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func reply(t testing.TB, req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	t.Helper()
	r, err := server().Reply(req, host)
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return nil
	}
	again, err := dhcpv4.FromBytes(r.ToBytes()) // what the client reads
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestBootFileFollowsStageAndArchitecture(t *testing.T) {
	for _, tc := range []struct {
		reason string
		mods   []dhcpv4.Modifier
		want   string
	}{
		{"a BIOS ROM", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(iana.INTEL_X86PC))}, "undionly.kpxe"},
		{"a UEFI ROM takes the more special option, which comes later", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64))}, "ipxe.efi"},
		{"UEFI with the architecture that IANA gave to EBC", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(7))}, "ipxe.efi"},
		{"UEFI on arm64", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(11))}, "ipxe-arm64.efi"},
		{"UEFI HTTP boot wants an address of its loader", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(16)), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("HTTPClient:Arch:00016:UNDI:003001"))}, "http://192.168.24.1:8088/ipxe.efi"},
		{"UEFI HTTP boot on arm64", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(19)), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("HTTPClient:Arch:00019:UNDI:003001"))}, "http://192.168.24.1:8088/ipxe-arm64.efi"},
		{"iPXE on arm64 is past its loader", []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(11)), dhcpv4.WithUserClass("iPXE", true)}, "http://192.168.24.1:8088/x.ipxe"},
		{"iPXE by user class, plain text as iPXE sends it", []dhcpv4.Modifier{dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE"))}, "http://192.168.24.1:8088/x.ipxe"},
		{"iPXE by RFC 3004 user class", []dhcpv4.Modifier{dhcpv4.WithUserClass("iPXE", true)}, "http://192.168.24.1:8088/x.ipxe"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r := reply(t, discover(t, tc.mods...))
			if r.MessageType() != dhcpv4.MessageTypeOffer || r.YourIPAddr.String() != "192.168.24.55" {
				t.Errorf("%s of %s, expected an offer of 192.168.24.55", r.MessageType(), r.YourIPAddr)
			}
			if r.BootFileName != tc.want || r.ServerIPAddr.String() != "192.168.24.1" {
				t.Errorf("boot file %q at %s, expected %q at 192.168.24.1", r.BootFileName, r.ServerIPAddr, tc.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	request := func(mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		return discover(t, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)}, mods...)...)
	}
	for _, tc := range []struct {
		reason string
		req    *dhcpv4.DHCPv4
		want   dhcpv4.MessageType // none: no answer
	}{
		{"the offered address", request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(192, 168, 24, 55)))), dhcpv4.MessageTypeAck},
		{"an address of another time", request(dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 0, 9)))), dhcpv4.MessageTypeNak},
		{"another server was chosen", request(dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 24, 2)))), dhcpv4.MessageTypeNone},
		{"release", discover(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease)), dhcpv4.MessageTypeNone},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got := dhcpv4.MessageTypeNone
			if r := reply(t, tc.req); r != nil {
				got = r.MessageType()
			}
			if got != tc.want {
				t.Errorf("answered %s, expected %s", got, tc.want)
			}
		})
	}
}

// TestPXEClientIsToldNotToAskABootServer: UEFI's PXE client refuses an offer
// of class PXEClient whose vendor options do not say so (PXE 2.1, 2.2.3).
func TestPXEClientIsToldNotToAskABootServer(t *testing.T) {
	class := dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000"))
	r := reply(t, discover(t, class, dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64))))
	if got := r.Options.Get(dhcpv4.OptionVendorSpecificInformation); r.ClassIdentifier() != "PXEClient" || !bytes.Equal(got, []byte{6, 1, 8, 255}) {
		t.Errorf("class %q, vendor options %x, expected PXEClient and discovery control 8", r.ClassIdentifier(), got)
	}
	if r := reply(t, discover(t)); r.Options.Has(dhcpv4.OptionVendorSpecificInformation) {
		t.Error("a client that is no PXE ROM got PXE's options")
	}
}

// TestProxy: another server gives the addresses.
func TestProxy(t *testing.T) {
	s := server()
	s.Proxy = true
	class := dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000"))
	uuid := dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, bytes.Repeat([]byte{7}, 17))
	arch := dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64))
	request := dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)
	for _, tc := range []struct {
		reason string
		answer func(*dhcpv4.DHCPv4, *dhcp.Host) (*dhcpv4.DHCPv4, error)
		req    *dhcpv4.DHCPv4
		want   dhcpv4.MessageType // none: no answer
	}{
		{"a machine that boots is told what", s.Reply, discover(t, class, uuid, arch), dhcpv4.MessageTypeOffer},
		{"one that does not boot is the other server's", s.Reply, discover(t), dhcpv4.MessageTypeNone},
		{"a request is for the other server", s.Reply, discover(t, class, arch, request), dhcpv4.MessageTypeNone},
		{"at the boot server's port it is for us", s.BootReply, discover(t, class, uuid, arch, request), dhcpv4.MessageTypeAck},
		{"a release has no answer", s.BootReply, discover(t, class, dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease)), dhcpv4.MessageTypeNone},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r, err := tc.answer(tc.req, host)
			if err != nil {
				t.Fatal(err)
			}
			if r == nil {
				if tc.want != dhcpv4.MessageTypeNone {
					t.Fatalf("no answer, expected %s", tc.want)
				}
				return
			}
			if r.MessageType() != tc.want || !r.YourIPAddr.IsUnspecified() || r.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
				t.Errorf("%s with address %s, expected %s without an address or a lease", r.MessageType(), r.YourIPAddr, tc.want)
			}
			if r.BootFileName != "ipxe.efi" || r.ClassIdentifier() != "PXEClient" || len(r.Options.Get(dhcpv4.OptionClientMachineIdentifier)) != 17 {
				t.Errorf("boot file %q, class %q, options %v", r.BootFileName, r.ClassIdentifier(), r.Options)
			}
		})
	}
	nothing := &dhcp.Host{Address: host.Address}
	if r, err := s.Reply(discover(t, class), nothing); r != nil || err != nil {
		t.Errorf("a machine that has nothing to boot was answered: %v, %v", r, err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(discover(f).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		proxy := server()
		proxy.Proxy = true
		for _, answer := range []func(*dhcpv4.DHCPv4, *dhcp.Host) (*dhcpv4.DHCPv4, error){server().Reply, proxy.Reply, proxy.BootReply} {
			r, err := answer(req, host)
			if err != nil || r == nil {
				continue
			}
			if _, err := dhcpv4.FromBytes(r.ToBytes()); err != nil {
				t.Errorf("the reply cannot be read: %v", err)
			}
		}
	})
}
