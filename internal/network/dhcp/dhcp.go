// Package dhcp answers DHCPv4 requests of machines whose addresses are known
// beforehand: one fixed address a MAC, with the options of its port. It keeps
// no leases, so none can get lost. RFC 2131, 2132; PXE 2.1, RFC 4578 and UEFI
// 2.10 chapter 24 for network boot. As a proxy (PXE 2.1, 2.2.3) it leaves the
// addresses to another server and says only what to boot.
package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Host is what the server knows of one machine.
type Host struct {
	Address  netip.Prefix // address and prefix length
	Gateway  netip.Addr   // invalid: none
	DNS      []netip.Addr
	Domain   string
	Hostname string
	MTU      int // 0: not announced
	Routes   []Route
	Options  []Option // extra_dhcp_opts of the port
}

// Route is a static route (RFC 3442).
type Route struct {
	Destination netip.Prefix
	NextHop     netip.Addr
}

// Option is a DHCP option as Neutron's extra_dhcp_opts name it: a name, a
// number, or either after "tag:TAG," or "tag:!TAG,", where TAG is ipxe, http
// (UEFI HTTP boot), bios, efi, efi-x86, efi-x86_64, efi-arm or efi-arm64.
type Option struct{ Name, Value string }

// Server answers requests that come in on one socket.
type Server struct {
	// Address is the server's own address on the network.
	Address netip.Addr
	// Lookup finds a machine by MAC; nil for one that is none of ours.
	Lookup func(ctx context.Context, mac net.HardwareAddr) (*Host, error)
	// LeaseTime is how long a machine may keep its address unasked.
	LeaseTime time.Duration
	// Proxy leaves addresses to another server of the network.
	Proxy bool
	Log   *slog.Logger
}

// BootPort is the port of a boot server that PXE clients ask after they have
// an address (PXE 2.1, 2.2.1).
const BootPort = 4011

// Serve reads requests from conn until ctx ends or the socket fails. Requests
// are handled one after the other: a reply is one look-up and one packet.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, s.Reply)
}

// ServeBoot is Serve for port 4011: it answers clients that have an address
// with what they boot.
func (s *Server) ServeBoot(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, s.BootReply)
}

type replier func(req *dhcpv4.DHCPv4, host *Host) (*dhcpv4.DHCPv4, error)

func (s *Server) serve(ctx context.Context, conn net.PacketConn, answer replier) error {
	return exchange(ctx, conn, "DHCP", s.Log, func(packet []byte, peer net.Addr) ([]byte, net.Addr) {
		reply, to := s.handle(ctx, packet, peer, answer)
		if reply == nil {
			return nil, nil
		}
		return reply.ToBytes(), to
	})
}

// exchange reads packets from conn until ctx ends or the socket fails, and sends
// what answer makes of each; nil is no answer.
func exchange(ctx context.Context, conn net.PacketConn, what string, log *slog.Logger, answer func(packet []byte, peer net.Addr) ([]byte, net.Addr)) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4096)
	for {
		n, peer, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read %s socket: %w", what, err)
		}
		reply, to := answer(buf[:n], peer)
		if reply == nil {
			continue
		}
		if _, err := conn.WriteTo(reply, to); err != nil {
			log.Warn("cannot send a reply", "protocol", what, "to", to, "error", err)
		}
	}
}

func (s *Server) handle(ctx context.Context, packet []byte, peer net.Addr, answer replier) (*dhcpv4.DHCPv4, net.Addr) {
	req, err := dhcpv4.FromBytes(packet)
	if err != nil {
		s.Log.Debug("malformed DHCP packet", "from", peer, "error", err)
		return nil, nil
	}
	if req.OpCode != dhcpv4.OpcodeBootRequest || req.HWType != iana.HWTypeEthernet {
		return nil, nil
	}
	host, err := s.Lookup(ctx, req.ClientHWAddr)
	if err != nil {
		s.Log.Error("cannot look up DHCP client", "mac", req.ClientHWAddr.String(), "error", err)
		return nil, nil
	}
	if host == nil {
		s.Log.Debug("DHCP request of an unknown machine", "mac", req.ClientHWAddr.String())
		return nil, nil
	}
	reply, err := answer(req, host)
	if err != nil {
		s.Log.Error("cannot build DHCP reply", "mac", req.ClientHWAddr.String(), "error", err)
		return nil, nil
	}
	if reply == nil {
		return nil, nil
	}
	s.Log.Debug("DHCP", "mac", req.ClientHWAddr.String(), "request", req.MessageType().String(),
		"reply", reply.MessageType().String(), "address", reply.YourIPAddr, "bootfile", reply.BootFileName)
	return reply, destination(req, reply, peer)
}

// destination follows RFC 2131 section 4.1, except that a client without an
// address is always answered by broadcast: it needs no raw socket.
func destination(req, reply *dhcpv4.DHCPv4, peer net.Addr) net.Addr {
	switch {
	case !req.GatewayIPAddr.IsUnspecified() && req.GatewayIPAddr != nil:
		return &net.UDPAddr{IP: req.GatewayIPAddr, Port: dhcpv4.ServerPort}
	case reply.MessageType() != dhcpv4.MessageTypeNak && !req.ClientIPAddr.IsUnspecified() && req.ClientIPAddr != nil:
		if udp, ok := peer.(*net.UDPAddr); ok && udp.IP.Equal(req.ClientIPAddr) {
			return udp
		}
		return &net.UDPAddr{IP: req.ClientIPAddr, Port: dhcpv4.ClientPort}
	default:
		return &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
	}
}

// BootReply builds what a boot server answers: no address, only what to boot.
// nil if none is due.
func (s *Server) BootReply(req *dhcpv4.DHCPv4, host *Host) (*dhcpv4.DHCPv4, error) {
	var kind dhcpv4.MessageType
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, nil
	}
	if bootClass(req) == "" {
		return nil, nil // it does not boot
	}
	reply, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.Address.AsSlice())))
	if err != nil {
		return nil, err
	}
	if id := req.Options.Get(dhcpv4.OptionClientMachineIdentifier); id != nil {
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id)) // PXE 2.1, table 2-3: it is given back
	}
	if err := s.extras(req, reply, host.Options); err != nil {
		return nil, err
	}
	if reply.BootFileName == "" {
		return nil, nil
	}
	return reply, nil
}

// Reply builds the answer to req for host; nil if none is due.
func (s *Server) Reply(req *dhcpv4.DHCPv4, host *Host) (*dhcpv4.DHCPv4, error) {
	if s.Proxy {
		if req.MessageType() != dhcpv4.MessageTypeDiscover {
			return nil, nil // the other server's; what follows comes to port 4011
		}
		return s.BootReply(req, host)
	}
	var kind dhcpv4.MessageType
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if id := req.ServerIdentifier(); id != nil && !id.Equal(s.Address.AsSlice()) {
			return nil, nil // the client took another server's offer
		}
		kind = dhcpv4.MessageTypeAck
		wanted := req.RequestedIPAddress()
		if wanted == nil || wanted.IsUnspecified() {
			wanted = req.ClientIPAddr
		}
		if wanted != nil && !wanted.IsUnspecified() && !wanted.Equal(host.Address.Addr().AsSlice()) {
			return dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.Address.AsSlice())))
		}
	case dhcpv4.MessageTypeInform:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, nil // decline and release: the address is the machine's anyway
	}
	reply, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.Address.AsSlice())))
	if err != nil {
		return nil, err
	}
	if req.MessageType() != dhcpv4.MessageTypeInform {
		reply.YourIPAddr = host.Address.Addr().AsSlice()
		reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.LeaseTime))
	}
	s.describe(reply, host)
	return reply, s.extras(req, reply, host.Options)
}

func (s *Server) describe(reply *dhcpv4.DHCPv4, host *Host) {
	reply.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(host.Address.Bits(), 32)))
	if host.Gateway.IsValid() {
		reply.UpdateOption(dhcpv4.OptRouter(host.Gateway.AsSlice()))
	}
	var dns []net.IP
	for _, a := range host.DNS {
		if a.Is4() {
			dns = append(dns, a.AsSlice())
		}
	}
	if len(dns) > 0 {
		reply.UpdateOption(dhcpv4.OptDNS(dns...))
	}
	if host.Domain != "" {
		reply.UpdateOption(dhcpv4.OptDomainName(host.Domain))
	}
	if host.Hostname != "" {
		reply.UpdateOption(dhcpv4.OptHostName(host.Hostname))
	}
	if host.MTU > 0 {
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(host.MTU >> 8), byte(host.MTU)}))
	}
	var routes dhcpv4.Routes
	for _, r := range host.Routes {
		routes = append(routes, &dhcpv4.Route{
			Dest:   &net.IPNet{IP: r.Destination.Addr().AsSlice(), Mask: net.CIDRMask(r.Destination.Bits(), 32)},
			Router: r.NextHop.AsSlice(),
		})
	}
	if len(routes) > 0 {
		reply.UpdateOption(dhcpv4.OptClasslessStaticRoute(routes...))
	}
}

// tagsOf returns the tags that hold for a client: "ipxe" when it is iPXE
// already (user class, option 77, or iPXE's own option 175), and its firmware
// architecture (option 93, RFC 4578 section 2.1).
func tagsOf(req *dhcpv4.DHCPv4) map[string]bool {
	ipxe := strings.Contains(strings.Join(req.UserClass(), " "), "iPXE") ||
		strings.Contains(string(req.Options.Get(dhcpv4.OptionUserClassInformation)), "iPXE") || req.Options.Has(dhcpv4.GenericOptionCode(175))
	return tagsFor(ipxe, req.ClientArch(), bootClass(req) == classHTTP)
}

// tagsFor are the tags of a client by what it says of itself.
func tagsFor(ipxe bool, archs []iana.Arch, http bool) map[string]bool {
	arch := "bios"
	for _, a := range archs {
		if name, ok := architectures()[a]; ok {
			arch = name
		}
	}
	return map[string]bool{arch: true, "efi": strings.HasPrefix(arch, "efi"), "ipxe": ipxe, "http": http}
}

// eachOption calls set for the options that apply to a client with these tags.
func eachOption(options []Option, tags map[string]bool, protocol string, set func(name, value string) error) error {
	for _, o := range options {
		name, applies := strip(o.Name, tags)
		if !applies {
			continue
		}
		if err := set(name, o.Value); err != nil {
			return fmt.Errorf("%s option %q: %w", protocol, o.Name, err)
		}
	}
	return nil
}

// architectures names the firmware of option 93 (RFC 4578 2.1, IANA's registry
// of processor architecture types); what is missing is a BIOS or unknown. 7
// and 9 are both in use for 64-bit x86.
func architectures() map[iana.Arch]string {
	return map[iana.Arch]string{
		6: "efi-x86", 15: "efi-x86", 7: "efi-x86_64", 9: "efi-x86_64", 16: "efi-x86_64",
		10: "efi-arm", 18: "efi-arm", 11: "efi-arm64", 19: "efi-arm64",
	}
}

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// bootClass is the vendor class (option 60) by which firmware says how it wants
// to boot; "" if it does not.
func bootClass(req *dhcpv4.DHCPv4) string {
	for _, c := range []string{classPXE, classHTTP} {
		if strings.HasPrefix(req.ClassIdentifier(), c) {
			return c
		}
	}
	return ""
}

func (s *Server) extras(req, reply *dhcpv4.DHCPv4, options []Option) error {
	err := eachOption(options, tagsOf(req), "DHCP", func(name, value string) error { return set(reply, name, value) })
	if err != nil {
		return err
	}
	class := bootClass(req)
	if reply.BootFileName == "" || class == "" {
		return nil
	}
	// Firmware takes only offers that carry its own vendor class.
	reply.UpdateOption(dhcpv4.OptClassIdentifier(class))
	// Without PXE's vendor options UEFI takes an offer only as a hint to ask a boot server at port 4011. Discovery
	// control, bit 3: load the boot file, ask nobody (PXE 2.1, 2.2.3, tag 6).
	if class == classPXE && !reply.Options.Has(dhcpv4.OptionVendorSpecificInformation) {
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}))
	}
	return nil
}

// strip takes the leading tags off an option's name.
func strip(name string, tags map[string]bool) (string, bool) {
	for strings.HasPrefix(name, "tag:") {
		tag, rest, ok := strings.Cut(strings.TrimPrefix(name, "tag:"), ",")
		if !ok {
			return "", false
		}
		want := true
		if strings.HasPrefix(tag, "!") {
			want, tag = false, tag[1:]
		}
		if tags[tag] != want {
			return "", false
		}
		name = rest
	}
	return name, true
}

// set writes one option. Names are those of dnsmasq that Ironic uses.
func set(reply *dhcpv4.DHCPv4, name, value string) error {
	switch name {
	case "bootfile-name", "67":
		reply.BootFileName = value
		reply.UpdateOption(dhcpv4.OptBootFileName(value))
	case "server-ip-address", "255":
		a, err := netip.ParseAddr(value)
		if err != nil {
			return err
		}
		reply.ServerIPAddr = a.AsSlice()
	case "tftp-server", "66":
		reply.UpdateOption(dhcpv4.OptTFTPServerName(value))
		if a, err := netip.ParseAddr(value); err == nil && reply.ServerIPAddr.IsUnspecified() {
			reply.ServerIPAddr = a.AsSlice()
		}
	case "150":
		a, err := netip.ParseAddr(value)
		if err != nil {
			return err
		}
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(150), a.AsSlice()))
	default:
		code, err := strconv.ParseUint(name, 10, 8)
		if err != nil {
			return errors.New("unknown name, expected bootfile-name, tftp-server, server-ip-address or a number")
		}
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(uint8(code)), []byte(value)))
	}
	return nil
}
