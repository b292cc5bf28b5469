package network_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/extradhcpopts"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/tripleo/tripleo/internal/network"
)

// router is a socket for advertisements, on which nobody asks.
type router struct {
	net.PacketConn

	sent chan string
	end  chan struct{}
	once sync.Once
}

func (r *router) ReadFrom([]byte) (int, net.Addr, error) {
	<-r.end
	return 0, nil, net.ErrClosed
}

func (r *router) WriteTo(b []byte, _ net.Addr) (int, error) {
	r.sent <- hex.EncodeToString(b)
	return len(b), nil
}

func (r *router) SetReadDeadline(time.Time) error {
	r.once.Do(func() { close(r.end) })
	return nil
}
func (r *router) Close() error { return r.SetReadDeadline(time.Time{}) }

// TestIPv6ByTheModesOfSubnets: what machines are told by DHCPv6, and the
// network by router advertisements, follows the modes of their subnets.
func TestIPv6ByTheModesOfSubnets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: DHCPv6 clients are answered at port 546, which needs root")
	}
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	ra := &router{sent: make(chan string, 1), end: make(chan struct{})}
	var once, onceRouter atomic.Bool
	only := func(b *atomic.Bool, c net.PacketConn) func() (net.PacketConn, error) {
		return func() (net.PacketConn, error) {
			if b.Swap(true) {
				return nil, errors.New("the test has one socket")
			}
			return c, nil
		}
	}
	client, svc := start(t, network.Config{PhysicalNetwork: "ctlplane", ListenDHCP6: only(&once, conn), ListenRouter: only(&onceRouter, ra)})
	c := client("admin")
	n := must[*networks.Network](t)(networks.Create(t.Context(), c, extraNetwork{networks.CreateOpts{Name: "ctlplane"}}).Extract())
	modes := []string{"dhcpv6-stateful", "dhcpv6-stateless", "slaac", ""}
	given := make([]string, len(modes))
	for i, mode := range modes {
		sub := must[*subnets.Subnet](t)(subnets.Create(t.Context(), c, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv6, CIDR: fmt.Sprintf("fd00:%d::/64", i+1),
			IPv6AddressMode: mode, IPv6RAMode: mode, DNSNameservers: []string{"fd00::53"}}).Extract())
		opts := extradhcpopts.CreateOptsExt{
			CreateOptsBuilder: ports.CreateOpts{NetworkID: n.ID, MACAddress: macOf(i).String(), FixedIPs: []ports.IP{{SubnetID: sub.ID}}},
			ExtraDHCPOpts:     []extradhcpopts.CreateExtraDHCPOpt{{OptName: "59", OptValue: "http://[fd00::1]/x", IPVersion: 6}},
		}
		p := must[*ports.Port](t)(ports.Create(t.Context(), c, opts).Extract())
		for _, ip := range p.FixedIPs {
			if ip.SubnetID == sub.ID {
				given[i] = ip.IPAddress
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- svc.Run(ctx) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	// Of the subnets that are told of: managed (0x80) and other (0x40), three prefixes of which two are for addresses of machines' own making.
	told := <-ra.sent
	for _, want := range []string{"8600000040c0", "03044080" + "00278d00", "030440c0" + "00278d00", "fd000001", "fd000002", "fd000003"} {
		if !strings.Contains(told, want) {
			t.Errorf("advertised %s, expected %s in it", told, want)
		}
	}
	if strings.Contains(told, "fd000004") {
		t.Errorf("advertised %s, a subnet without a mode is in it", told)
	}
	// Every port of a network has addresses of those of its subnets that machines make addresses of themselves: the third is on the stateless one too.
	for i, want := range []string{given[0], "NoAddrsAvail", "NoAddrsAvail", given[3]} {
		if got := solicit(t, conn.LocalAddr().(*net.UDPAddr), i); got != want {
			t.Errorf("a machine on a subnet with mode %q: %q, expected %q", modes[i], got, want)
		}
	}
}

// solicit asks as a machine, and returns the address or why there is none.
func solicit(t *testing.T, server *net.UDPAddr, i int) string {
	t.Helper()
	conn, err := net.DialUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: 546}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	req := must[*dhcpv6.Message](t)(dhcpv6.NewMessage(dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: macOf(i)}), dhcpv6.WithIANA()))
	req.MessageType = dhcpv6.MessageTypeSolicit
	if _, err := conn.Write(req.ToBytes()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	size, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := must[*dhcpv6.Message](t)(dhcpv6.MessageFromBytes(buf[:size]))
	if m.Options.BootFileURL() != "http://[fd00::1]/x" {
		t.Errorf("boot file %q", m.Options.BootFileURL())
	}
	ia := m.Options.OneIANA()
	if a := ia.Options.OneAddress(); a != nil {
		return a.IPv6Addr.String()
	}
	return ia.Options.Status().StatusCode.String()
}
