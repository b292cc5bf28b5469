package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// Host6 is what the DHCPv6 server knows of one machine.
type Host6 struct {
	Addresses []netip.Addr   // given out (stateful subnets); none: the machine makes its own
	OnLink    []netip.Prefix // prefixes of its network
	DNS       []netip.Addr
	Domain    string
	Options   []Option // extra_dhcp_opts of the port for IPv6
}

// Server6 answers DHCPv6 (RFC 8415) as Server does DHCPv4: addresses are known
// beforehand, so no leases are kept and none can get lost.
type Server6 struct {
	// Name identifies the server: all that serve one network have the same, so
	// that any of them may renew what another gave.
	Name string
	// Lookup finds a machine by MAC; nil for one that is none of ours.
	Lookup    func(ctx context.Context, mac net.HardwareAddr) (*Host6, error)
	LeaseTime time.Duration
	Log       *slog.Logger
}

// maxHops is HOP_COUNT_LIMIT of RFC 8415, 7.6.
const maxHops = 8

// id is the server's identifier: a DUID-UUID (RFC 6355) of its name.
func (s *Server6) id() dhcpv6.DUID {
	return &dhcpv6.DUIDUUID{UUID: uuid.NewSHA1(uuid.NameSpaceOID, []byte("dhcpv6/"+s.Name))}
}

// Serve reads requests from conn until ctx ends or the socket fails.
func (s *Server6) Serve(ctx context.Context, conn net.PacketConn) error {
	return exchange(ctx, conn, "DHCPv6", s.Log, func(packet []byte, peer net.Addr) ([]byte, net.Addr) {
		reply := s.Handle(ctx, packet, peer)
		if reply == nil {
			return nil, nil
		}
		return reply.ToBytes(), answerTo(reply, peer)
	})
}

// answerTo is where RFC 8415, 18.3.10 and 19.3, sends an answer: to the port of
// clients, or that of relays, of the address that asked.
func answerTo(reply dhcpv6.DHCPv6, peer net.Addr) net.Addr {
	udp, ok := peer.(*net.UDPAddr)
	if !ok {
		return peer
	}
	port := dhcpv6.DefaultClientPort
	if reply.IsRelay() {
		port = dhcpv6.DefaultServerPort
	}
	return &net.UDPAddr{IP: udp.IP, Port: port, Zone: udp.Zone}
}

// Handle answers one packet; nil if no answer is due.
func (s *Server6) Handle(ctx context.Context, packet []byte, peer net.Addr) dhcpv6.DHCPv6 {
	asked, err := dhcpv6.FromBytes(packet)
	if err != nil {
		s.Log.Debug("malformed DHCPv6 packet", "from", peer, "error", err)
		return nil
	}
	relay, relayed := asked.(*dhcpv6.RelayMessage)
	if relayed && (relay.MessageType != dhcpv6.MessageTypeRelayForward || hops(relay) > maxHops) {
		return nil
	}
	req, err := asked.GetInnerMessage()
	if err != nil {
		s.Log.Debug("malformed DHCPv6 packet", "from", peer, "error", err)
		return nil
	}
	if !s.forUs(req) {
		return nil
	}
	host, mac, err := s.host(ctx, asked, peer)
	if err != nil {
		s.Log.Error("cannot look up DHCPv6 client", "from", peer, "error", err)
		return nil
	}
	if host == nil {
		s.Log.Debug("DHCPv6 request of an unknown machine", "from", peer)
		return nil
	}
	reply, err := s.Reply(req, host)
	if err != nil {
		s.Log.Error("cannot build DHCPv6 reply", "mac", mac.String(), "error", err)
		return nil
	}
	if reply == nil {
		return nil
	}
	s.Log.Debug("DHCPv6", "mac", mac.String(), "request", req.MessageType.String(), "reply", reply.MessageType.String(), "bootfile", reply.Options.BootFileURL())
	if !relayed {
		return reply
	}
	out, err := dhcpv6.NewRelayReplFromRelayForw(relay, reply)
	if err != nil {
		s.Log.Debug("cannot answer a DHCPv6 relay", "from", peer, "error", err)
		return nil
	}
	return out
}

func hops(r *dhcpv6.RelayMessage) int {
	n := 1
	for {
		inner, ok := r.Options.RelayMessage().(*dhcpv6.RelayMessage)
		if !ok || n > maxHops {
			return n
		}
		r = inner
		n++
	}
}

// forUs checks who names which server, RFC 8415, 16.2 to 16.12.
func (s *Server6) forUs(req *dhcpv6.Message) bool {
	client, server := req.Options.ClientID(), req.Options.ServerID()
	ours := server != nil && server.Equal(s.id())
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return client != nil && server == nil
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return client != nil && ours
	case dhcpv6.MessageTypeInformationRequest:
		return (server == nil || ours) && len(req.Options.IANA())+len(req.Options.IATA())+len(req.Options.IAPD()) == 0
	default:
		return false
	}
}

// host finds the machine that asks. Who knows best which of its cards asks
// comes first: the relay (RFC 6939), then the link-local address, which
// firmware makes of the card's MAC; a DUID may be of another card, or of none.
func (s *Server6) host(ctx context.Context, asked dhcpv6.DHCPv6, peer net.Addr) (*Host6, net.HardwareAddr, error) {
	var macs []net.HardwareAddr
	var from net.IP
	if udp, ok := peer.(*net.UDPAddr); ok {
		from = udp.IP
	}
	for relay, ok := asked.(*dhcpv6.RelayMessage); ok; relay, ok = relay.Options.RelayMessage().(*dhcpv6.RelayMessage) {
		from = relay.PeerAddr // the innermost relay heard the client itself
		macs = nil
		if kind, mac := relay.Options.ClientLinkLayerAddress(); kind == iana.HWTypeEthernet && len(mac) == 6 {
			macs = []net.HardwareAddr{mac}
		}
	}
	if mac := fromEUI64(from); mac != nil {
		macs = append(macs, mac)
	}
	if req, err := asked.GetInnerMessage(); err == nil {
		switch d := req.Options.ClientID().(type) {
		case *dhcpv6.DUIDLL:
			macs = append(macs, d.LinkLayerAddr)
		case *dhcpv6.DUIDLLT:
			macs = append(macs, d.LinkLayerAddr)
		}
	}
	for _, mac := range macs {
		if len(mac) != 6 {
			continue
		}
		if host, err := s.Lookup(ctx, mac); err != nil || host != nil {
			return host, mac, err
		}
	}
	return nil, nil, nil
}

// fromEUI64 takes the MAC out of a link-local address that was made of one
// (RFC 4291, appendix A).
func fromEUI64(ip net.IP) net.HardwareAddr {
	ip = ip.To16()
	if ip == nil || !ip.IsLinkLocalUnicast() || ip[11] != 0xff || ip[12] != 0xfe {
		return nil
	}
	return net.HardwareAddr{ip[8] ^ 2, ip[9], ip[10], ip[13], ip[14], ip[15]}
}

// Reply builds the answer to req, which is for us, for host; nil if none is due.
func (s *Server6) Reply(req *dhcpv6.Message, host *Host6) (*dhcpv6.Message, error) {
	reply := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: req.TransactionID}
	reply.AddOption(dhcpv6.OptServerID(s.id()))
	if id := req.Options.ClientID(); id != nil {
		reply.AddOption(dhcpv6.OptClientID(id))
	}
	switch req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if req.GetOneOption(dhcpv6.OptionRapidCommit) != nil { // RFC 8415, 18.3.1
			reply.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		} else {
			reply.MessageType = dhcpv6.MessageTypeAdvertise
		}
		s.assign(req, reply, host)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		s.assign(req, reply, host)
	case dhcpv6.MessageTypeConfirm:
		return s.confirm(req, reply, host), nil
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline: // the address is the machine's anyway
		reply.AddOption(status(iana.StatusSuccess, ""))
		return reply, nil
	case dhcpv6.MessageTypeInformationRequest:
	default:
		return nil, nil
	}
	s.describe(reply, host)
	return reply, extras6(req, reply, host.Options)
}

func status(code iana.StatusCode, text string) *dhcpv6.OptStatusCode {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text}
}

// confirm says whether a machine's addresses fit where it is now (RFC 8415,
// 18.3.3). It is silent about what it cannot tell.
func (s *Server6) confirm(req, reply *dhcpv6.Message, host *Host6) *dhcpv6.Message {
	asked, fit := 0, true
	for _, ia := range req.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			asked++
			addr, ok := netip.AddrFromSlice(a.IPv6Addr.To16())
			fit = fit && ok && slices.ContainsFunc(host.OnLink, func(p netip.Prefix) bool { return p.Contains(addr) })
		}
	}
	switch {
	case asked == 0 || len(host.OnLink) == 0:
		return nil
	case fit:
		reply.AddOption(status(iana.StatusSuccess, "all addresses are on this link"))
	default:
		reply.AddOption(status(iana.StatusNotOnLink, "an address is of another link"))
	}
	return reply
}

// assign answers the identity associations of a request. Firmware, loader and
// system of one machine use different ones; each gets the machine's addresses,
// a second one in the same request none.
func (s *Server6) assign(req, reply *dhcpv6.Message, host *Host6) {
	free := len(host.Addresses) > 0
	for _, ia := range req.Options.IANA() {
		out := &dhcpv6.OptIANA{IaId: ia.IaId}
		if free {
			free = false
			out.T1, out.T2 = s.LeaseTime/2, s.LeaseTime*4/5
			for _, a := range host.Addresses {
				out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: s.LeaseTime, ValidLifetime: s.LeaseTime})
			}
		} else {
			out.Options.Add(status(iana.StatusNoAddrsAvail, "the port has no address that is given out"))
		}
		if req.MessageType != dhcpv6.MessageTypeSolicit && req.MessageType != dhcpv6.MessageTypeRequest {
			withdraw(ia, out, host)
		}
		reply.AddOption(out)
	}
	for _, ia := range req.Options.IATA() {
		out := &dhcpv6.OptIATA{IaId: ia.IaId}
		out.Options.Add(status(iana.StatusNoAddrsAvail, "there are no temporary addresses"))
		reply.AddOption(out)
	}
	for _, ia := range req.Options.IAPD() {
		out := &dhcpv6.OptIAPD{IaId: ia.IaId}
		out.Options.Add(status(iana.StatusNoPrefixAvail, "there are no prefixes"))
		reply.AddOption(out)
	}
}

// withdraw ends addresses that a machine has and should not have: with a
// lifetime of zero (RFC 8415, 18.3.4).
func withdraw(have, out *dhcpv6.OptIANA, host *Host6) {
	for _, a := range have.Options.Addresses() {
		addr, ok := netip.AddrFromSlice(a.IPv6Addr.To16())
		if ok && !slices.Contains(host.Addresses, addr) {
			out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.IPv6Addr})
		}
	}
}

func (s *Server6) describe(reply *dhcpv6.Message, host *Host6) {
	var dns []net.IP
	for _, a := range host.DNS {
		if a.Is6() && !a.Is4In6() {
			dns = append(dns, a.AsSlice())
		}
	}
	if len(dns) > 0 {
		reply.AddOption(dhcpv6.OptDNS(dns...))
	}
	if domain := strings.TrimSuffix(host.Domain, "."); domain != "" {
		reply.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{domain}}))
	}
	if reply.MessageType == dhcpv6.MessageTypeReply && len(host.Addresses) == 0 {
		reply.AddOption(dhcpv6.OptInformationRefreshTime(s.LeaseTime)) // RFC 8415, 21.23
	}
}

// tags6 is tagsOf for DHCPv6: user class (option 15), client architecture
// (option 61, RFC 5970) and vendor class (option 16).
func tags6(req *dhcpv6.Message) map[string]bool {
	ipxe := slices.ContainsFunc(req.Options.UserClasses(), func(c []byte) bool { return strings.Contains(string(c), "iPXE") })
	tags := tagsFor(ipxe, req.Options.ArchTypes(), httpClass(req) != nil)
	tags["ipxe6"] = ipxe // Ironic's options for dnsmasq use it
	return tags
}

// httpClass is the vendor class of a firmware that boots by HTTP.
func httpClass(req *dhcpv6.Message) *dhcpv6.OptVendorClass {
	for _, c := range req.Options.VendorClasses() {
		if slices.ContainsFunc(c.Data, func(d []byte) bool { return strings.HasPrefix(string(d), classHTTP) }) {
			return c
		}
	}
	return nil
}

// extras6 adds the port's own options.
func extras6(req, reply *dhcpv6.Message, options []Option) error {
	err := eachOption(options, tags6(req), "DHCPv6", func(name, value string) error {
		opt, err := option6(name, value)
		if err == nil {
			reply.UpdateOption(opt)
		}
		return err
	})
	if err != nil {
		return err
	}
	// UEFI takes only offers that carry the class by which it asked (UEFI 2.10, 24.7.3.2).
	if class := httpClass(req); class != nil && reply.Options.BootFileURL() != "" {
		reply.UpdateOption(&dhcpv6.OptVendorClass{EnterpriseNumber: class.EnterpriseNumber, Data: [][]byte{[]byte(classHTTP)}})
	}
	return nil
}

// option6 makes one option. Names are those that Neutron and Ironic use.
func option6(name, value string) (dhcpv6.Option, error) {
	switch strings.TrimPrefix(name, "option6:") {
	case "bootfile-url", "bootfile-name", "59":
		return dhcpv6.OptBootFileURL(value), nil
	case "bootfile-param", "60":
		return dhcpv6.OptBootFileParam(strings.Fields(value)...), nil
	case "dns-server", "23":
		var list []net.IP
		for text := range strings.SplitSeq(value, ",") {
			a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(text), "[]"))
			if err != nil || !a.Is6() {
				return nil, fmt.Errorf("%q is no IPv6 address", text)
			}
			list = append(list, a.AsSlice())
		}
		return dhcpv6.OptDNS(list...), nil
	case "domain-search", "24":
		labels := &rfc1035label.Labels{Labels: strings.Split(value, ",")}
		for _, l := range labels.Labels {
			if err := checkDomain(l); err != nil {
				return nil, err
			}
		}
		return dhcpv6.OptDomainSearchList(labels), nil
	}
	code, err := strconv.ParseUint(name, 10, 16)
	if err != nil {
		return nil, errors.New("unknown name, expected bootfile-url, bootfile-param, dns-server, domain-search or a number")
	}
	return &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionCode(code), OptionData: []byte(value)}, nil
}

// checkDomain refuses what cannot be written as a domain name (RFC 1035, 2.3.4).
func checkDomain(name string) error {
	if len(name) > 253 {
		return fmt.Errorf("domain name of %d characters, expected at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%q is no domain name", name)
		}
	}
	return nil
}
