package dhcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Advertisement is what a router tells a network (RFC 4861, 4.2).
type Advertisement struct {
	Managed, Other bool // addresses, and other things, come by DHCPv6
	Lifetime       time.Duration
	MTU            int // 0: not told
	MAC            net.HardwareAddr
	Prefixes       []AdvertisedPrefix
	DNS            []netip.Addr
	DNSLifetime    time.Duration
}

// AdvertisedPrefix is one prefix of the network.
type AdvertisedPrefix struct {
	Prefix           netip.Prefix
	Auto             bool // machines make addresses of it
	Valid, Preferred time.Duration
}

// Bytes writes the ICMPv6 message; the kernel fills in the checksum.
func (a *Advertisement) Bytes() []byte {
	b := []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if a.Managed {
		b[5] |= 0x80
	}
	if a.Other {
		b[5] |= 0x40
	}
	binary.BigEndian.PutUint16(b[6:], uint16(min(a.Lifetime/time.Second, 9000))) //nolint:gosec // bounded by RFC 4861, 6.2.1
	if len(a.MAC) == 6 {
		b = append(append(b, 1, 1), a.MAC...)
	}
	if a.MTU > 0 {
		b = append(b, 5, 1, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(a.MTU)) //nolint:gosec // positive
	}
	for _, p := range a.Prefixes {
		flags := byte(0x80) // on-link
		if p.Auto {
			flags |= 0x40
		}
		b = append(b, 3, 4, byte(p.Prefix.Bits()), flags)
		b = binary.BigEndian.AppendUint32(b, seconds(p.Valid))
		b = binary.BigEndian.AppendUint32(b, seconds(p.Preferred))
		b = append(b, 0, 0, 0, 0)
		b = append(b, p.Prefix.Masked().Addr().AsSlice()...)
	}
	if n := len(a.DNS); n > 0 { // RFC 8106, 5.1
		b = append(b, 25, byte(1+2*n), 0, 0)
		b = binary.BigEndian.AppendUint32(b, seconds(a.DNSLifetime))
		for _, d := range a.DNS {
			b = append(b, d.AsSlice()...)
		}
	}
	return b
}

func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), 1<<32-1)) } //nolint:gosec // bounded

const (
	routerSolicitation = 133
	// AdvertiseEvery is within MinRtrAdvInterval and MaxRtrAdvInterval of RFC
	// 4861, 6.2.1.
	AdvertiseEvery = 200 * time.Second
	// advertiseApart is MIN_DELAY_BETWEEN_RAS (RFC 4861, 10).
	advertiseApart = 3 * time.Second
)

// allNodes is where advertisements go (RFC 4291, 2.7.1).
var allNodes = net.IPAddr{IP: net.ParseIP("ff02::1")} //nolint:gochecknoglobals // constant

// Advertise sends what build returns every so often, and when a machine on the
// network asks, until ctx ends or the socket fails; nil is nothing to tell.
// conn is an ICMPv6 socket with a hop limit of 255 that hears the all-routers
// group of one network.
func Advertise(ctx context.Context, conn net.PacketConn, build func(ctx context.Context) (*Advertisement, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	asked := make(chan struct{}, 1)
	go solicitations(conn, asked, cancel)
	due := time.NewTimer(0)
	defer due.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); err != context.Canceled { //nolint:errorlint // the parent's end, unwrapped
				return err
			}
			return nil
		case <-asked:
			due.Reset(max(0, advertiseApart-time.Since(last)))
			continue
		case <-due.C:
		}
		last = time.Now()
		due.Reset(AdvertiseEvery)
		a, err := build(ctx)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		if _, err := conn.WriteTo(a.Bytes(), &allNodes); err != nil {
			return fmt.Errorf("send router advertisement: %w", err)
		}
	}
}

// solicitations hears machines that ask (RFC 4861, 6.1.1).
func solicitations(conn net.PacketConn, asked chan<- struct{}, failed context.CancelCauseFunc) {
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			failed(fmt.Errorf("read ICMPv6 socket: %w", err))
			return
		}
		if n >= 8 && buf[0] == routerSolicitation && buf[1] == 0 {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	}
}
