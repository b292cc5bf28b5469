package qemu

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
)

const (
	// vnetLen is the size of the offload header that the switch's frames begin with; QEMU's have none.
	vnetLen = 10
	// lengthLen is the size of the length before each frame of a stream (big endian; QEMU's net/stream.c).
	lengthLen = 4
	maxFrame  = 65536 + 256
	// queueFrames is how many frames wait for a machine that is slow to take them; more are dropped, as a NIC does.
	queueFrames = 1024
)

// errOffload says that a frame came that only a kernel could finish: the
// switch's other ports must be made without offload.
var errOffload = errors.New("a frame with unfinished checksum or segmentation cannot go to a virtual machine")

// Link is a machine's cable. It implements vswitch.Device: it is there as
// long as the lab, while the QEMU at its end comes and goes.
type Link struct {
	in   chan []byte
	out  chan []byte
	done chan struct{}
	stop sync.Once
	conn atomic.Pointer[net.Conn]
}

// NewLink returns a cable with nothing at its end.
func NewLink() *Link {
	return &Link{in: make(chan []byte, 64), out: make(chan []byte, queueFrames), done: make(chan struct{})}
}

// Read implements vswitch.Device: one frame of the machine behind an empty
// offload header.
func (l *Link) Read(p []byte) (int, error) {
	select {
	case <-l.done:
		return 0, os.ErrClosed
	case f := <-l.in:
		if len(p) < vnetLen+len(f) {
			return 0, io.ErrShortBuffer
		}
		clear(p[:vnetLen])
		return vnetLen + copy(p[vnetLen:], f), nil
	}
}

// Write implements vswitch.Device. It does not wait for the machine.
func (l *Link) Write(p []byte) (int, error) {
	if len(p) < vnetLen {
		return 0, io.ErrShortWrite
	}
	if p[0] != 0 || p[1] != 0 {
		return 0, errOffload
	}
	if l.conn.Load() == nil {
		return 0, net.ErrClosed // nobody is there
	}
	frame := make([]byte, lengthLen+len(p)-vnetLen)
	binary.BigEndian.PutUint32(frame, uint32(len(p)-vnetLen)) //nolint:gosec // frames are small
	copy(frame[lengthLen:], p[vnetLen:])
	select {
	case l.out <- frame:
		return len(p), nil
	default:
		return 0, errors.New("the machine does not take its frames")
	}
}

// Close implements vswitch.Device.
func (l *Link) Close() error {
	l.stop.Do(func() { close(l.done) })
	return nil
}

// serve carries frames between the cable and a QEMU until that ends.
func (l *Link) serve(conn net.Conn) error {
	for len(l.out) > 0 { // what was meant for the machine before its reset
		<-l.out
	}
	l.conn.Store(&conn)
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-l.done:
				_ = conn.Close()
				return
			case f := <-l.out:
				if _, err := conn.Write(f); err != nil {
					_ = conn.Close()
					return
				}
			}
		}
	})
	err := l.receive(conn)
	l.conn.CompareAndSwap(&conn, nil)
	close(ended)
	wg.Wait()
	return errors.Join(err, ignoreClosed(conn.Close()))
}

func (l *Link) receive(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 1<<16)
	var head [lengthLen]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("frames of the machine: %w", err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxFrame {
			return fmt.Errorf("frames of the machine: one of %d bytes, want at most %d", n, maxFrame)
		}
		f := make([]byte, n)
		if _, err := io.ReadFull(r, f); err != nil {
			return fmt.Errorf("frames of the machine: %w", err)
		}
		select {
		case l.in <- f:
		case <-l.done:
			return nil
		}
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
