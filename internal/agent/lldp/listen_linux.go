package lldp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	// DefaultTimeout is ironic-python-agent's for ipa-lldp-timeout: switches send every 30 s unless told otherwise.
	DefaultTimeout = 30 * time.Second
	// MaxTimeout bounds what ipa-lldp-timeout may ask for.
	MaxTimeout = 10 * time.Minute
	// maxFrame is more than any Ethernet frame.
	maxFrame = 9216
	// look is how often an interface that is not heard yet is asked whether it has a link.
	look = 500 * time.Millisecond
)

// groups are the addresses LLDP is sent to (7.1): nearest bridge, nearest
// bridge that is no TPMR, nearest customer bridge.
func groups() []net.HardwareAddr {
	return []net.HardwareAddr{{0x01, 0x80, 0xc2, 0, 0, 0x0e}, {0x01, 0x80, 0xc2, 0, 0, 0x03}, {0x01, 0x80, 0xc2, 0, 0, 0x00}}
}

// Listen waits until every interface that has a link was told something, at
// most for timeout or until ctx ends, and returns the TLVs of the first
// complete message of each. An interface without a link is listened to, but not
// waited for: connected says which have one. An interface that cannot be
// listened to is logged and left out.
func Listen(ctx context.Context, names []string, timeout time.Duration, connected func(name string) bool, log *slog.Logger) map[string][]TLV {
	ctx, cancel := context.WithTimeout(ctx, min(timeout, MaxTimeout))
	defer cancel()
	var (
		mu    sync.Mutex
		heard = map[string][]TLV{}
		done  = make(chan struct{}, len(names))
		wait  sync.WaitGroup
		open  []string
	)
	for _, name := range names {
		conn, err := listen(name)
		if err != nil {
			log.Warn("LLDP cannot be heard", "interface", name, "err", err)
			continue
		}
		open = append(open, name)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		wait.Go(func() {
			defer stop()
			defer func() { _ = conn.Close() }()
			tlvs := first(conn, name, log)
			if tlvs == nil {
				return
			}
			mu.Lock()
			heard[name] = tlvs
			mu.Unlock()
			done <- struct{}{}
		})
	}
	t := time.NewTicker(look)
	defer t.Stop()
	missing := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(open, func(name string) bool { return heard[name] == nil && connected(name) })
	}
	for missing() {
		select {
		case <-ctx.Done():
		case <-done:
			continue
		case <-t.C:
			continue
		}
		break
	}
	cancel()
	wait.Wait()
	return heard
}

// listen opens a socket that gets LLDP frames of an interface, and brings its card to let them through.
func listen(name string) (*packet.Conn, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Raw, EtherType, nil)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	if err := join(conn, ifi.Index); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// join asks the card for frames to LLDP's groups.
func join(conn *packet.Conn, index int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, g := range groups() {
			m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(g))} //nolint:gosec // an interface's index
			copy(m.Address[:], g)
			if err := unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil { //nolint:gosec // a descriptor
				failed = fmt.Errorf("join %s: %w", g, err)
				return
			}
		}
	})
	return errors.Join(err, failed)
}

// first reads until a complete message comes; nil: the socket was closed before.
func first(conn *packet.Conn, name string, log *slog.Logger) []TLV {
	buf := make([]byte, maxFrame)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
				log.Warn("LLDP is not heard any more", "interface", name, "err", err)
			}
			return nil
		}
		tlvs, err := Parse(slices.Clone(buf[:n]))
		if err != nil {
			log.Debug("LLDP message", "interface", name, "err", err)
		}
		if mandatory(tlvs) {
			return tlvs
		}
	}
}
