package network_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/tripleo/tripleo/internal/network"
)

// TestThousandMachinesBootAtOnce: a rack row gets its power back, and every
// machine gets its address over a real socket. Clients ask again as PXE ROMs
// do (PXE 2.1, 2.2.2: after 4, 8, 16 and 32 s), and then give up.
func TestThousandMachinesBootAtOnce(t *testing.T) {
	const machines = 1000
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil { // as the undercloud's own socket
		t.Fatal(err)
	}
	var once atomic.Bool
	client, svc := start(t, network.Config{PhysicalNetwork: "ctlplane", DHCPAddress: netip.MustParseAddr("192.168.0.1"),
		ListenDHCP: func() (net.PacketConn, error) {
			if once.Swap(true) {
				return nil, errors.New("the test has one socket")
			}
			return conn, nil
		}})
	c := client("admin")
	n, _ := ctlplane(t, c, "192.168.0.0/21")
	want := make([]string, machines)
	for i := range want {
		p := must[*ports.Port](t)(ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n.ID, MACAddress: macOf(i).String()}).Extract())
		want[i] = p.FixedIPs[0].IPAddress
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- svc.Run(ctx) }()
	begin := time.Now()
	var repeated atomic.Int32
	var wg sync.WaitGroup
	ready := make(chan struct{})
	for i := range machines {
		wg.Go(func() {
			<-ready
			got, asked, err := bootOnce(ctx, conn.LocalAddr().(*net.UDPAddr), i)
			repeated.Add(int32(asked - 2))
			if err != nil || got != want[i] {
				t.Errorf("machine %d got %q, %v, expected %s", i, got, err, want[i])
			}
		})
	}
	close(ready)
	wg.Wait()
	t.Logf("%d machines have their addresses after %s, %d requests were repeated", machines, time.Since(begin).Round(time.Millisecond), repeated.Load())
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func macOf(i int) net.HardwareAddr {
	return net.HardwareAddr{0x52, 0x54, 0, 0x30, byte(i >> 8), byte(i)}
}

// bootOnce is a ROM's exchange; it returns the address and how many requests
// were sent. The client has an address of the loopback network already, so
// that it is answered there and not by broadcast.
func bootOnce(ctx context.Context, server *net.UDPAddr, i int) (address string, asked int, err error) {
	self := net.IPv4(127, 1, byte(i>>8), byte(i))
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: self}, server)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	from := func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = self }
	discover, err := dhcpv4.NewDiscovery(macOf(i), from)
	if err != nil {
		return "", 0, err
	}
	offer, n, err := exchange(conn, discover)
	if err != nil {
		return "", n, fmt.Errorf("no offer: %w", err)
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, from)
	if err != nil {
		return "", n, err
	}
	ack, m, err := exchange(conn, request)
	if err != nil {
		return "", n + m, fmt.Errorf("no lease: %w", err)
	}
	if ack.MessageType() != dhcpv4.MessageTypeAck {
		return "", n + m, fmt.Errorf("%s instead of a lease", ack.MessageType())
	}
	return ack.YourIPAddr.String(), n + m, nil
}

func exchange(conn *net.UDPConn, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, int, error) {
	buf := make([]byte, 2048)
	for try := range 4 {
		if _, err := conn.Write(req.ToBytes()); err != nil {
			return nil, try + 1, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(4 * time.Second << try)); err != nil {
			return nil, try + 1, err
		}
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break // too late, or lost: it asks again
			}
			if m, err := dhcpv4.FromBytes(buf[:n]); err == nil && m.TransactionID == req.TransactionID {
				return m, try + 1, nil
			}
		}
	}
	return nil, 4, errors.New("four requests without an answer")
}
