package lab

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
)

// socket is a card at the switch: a test sends by in and counts what arrives.
type socket struct {
	in     chan []byte
	closed chan struct{}

	mu  sync.Mutex
	got int
}

func newSocket() *socket { return &socket{in: make(chan []byte), closed: make(chan struct{})} }

func (s *socket) Read(b []byte) (int, error) {
	select {
	case f := <-s.in:
		return copy(b, f), nil
	case <-s.closed:
		return 0, os.ErrClosed
	}
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got++
	return len(b), nil
}

func (s *socket) Close() error {
	close(s.closed)
	return nil
}

// count returns how many frames arrived since it was asked last.
func (s *socket) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.got
	s.got = 0
	return n
}

// frames is how many frames a test sends; each has 1010 bytes on the cable.
const frames = 2000

// send puts frames for everybody on the cable; all have been dealt with when it returns.
func (s *socket) send(n int) {
	const vnetHeader = 10
	f := append(make([]byte, vnetHeader), bytes.Repeat([]byte{0xff}, 6)...)
	f = append(f, 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5)
	f = append(f, make([]byte, 1000-4)...)
	for range n {
		s.in <- f
	}
	synctest.Wait()
}

// TestCableFaults: what `tripleo lab fault` does to a machine's cable is felt
// in both directions, and goes away with the fault.
func TestCableFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := vswitch.New()
		m, other := newSocket(), newSocket()
		u := &unit{machine: machine.New(machine.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})}
		var err error
		if u.port, err = sw.AddPort("node-0", m, vswitch.Access(1)); err != nil {
			t.Fatal(err)
		}
		if _, err := sw.AddPort("other", other, vswitch.Access(1)); err != nil {
			t.Fatal(err)
		}
		set := func(f machine.Fault, on bool) {
			t.Helper()
			if err := u.breakHardware(f, on); err != nil {
				t.Fatal(err)
			}
		}
		// arrives returns the shares of what the machine sends and of what it is sent that arrive.
		arrives := func(n int) (out, in int) {
			m.send(n)
			other.send(n)
			return other.count(), m.count()
		}
		whole := func(when string) {
			t.Helper()
			if out, in := arrives(100); out != 100 || in != 100 {
				t.Errorf("%s: %d and %d of 100 frames arrive", when, out, in)
			}
		}
		whole("a good cable")

		set(machine.LinkDown, true)
		if out, in := arrives(10); out != 0 || in != 0 {
			t.Errorf("%s: %d and %d of 10 frames arrive", machine.LinkDown, out, in)
		}
		set(machine.LinkDown, false)
		whole("plugged in again")

		set(machine.LinkLossy, true)
		out, in := arrives(frames)
		for _, n := range []int{out, in} { // one in ten is lost; that it is fewer than one in twenty, or more than one in five, has a chance below 1e-12
			if n > frames*19/20 || n < frames*4/5 {
				t.Errorf("%s: %d and %d of %d frames arrive, expected nine in ten", machine.LinkLossy, out, in, frames)
			}
		}
		set(machine.LinkLossy, false)
		whole("a cable that loses nothing any more")

		set(machine.LinkSlow, true)
		begin := time.Now()
		m.send(128) // of 1 KiB at 128 KiB/s; the card waits for its cable
		if took := time.Since(begin); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("%s: 128 KiB took %s of the test's own time, expected a second", machine.LinkSlow, took)
		}
		if n := other.count(); n != 127 && n != 128 { // the last one may be on its way
			t.Errorf("%s: %d of 128 frames arrived", machine.LinkSlow, n)
		}
		other.send(frames) // more than waits before a slow cable: the rest is lost
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := m.count(); n < 60 || n > 200 {
			t.Errorf("%s: %d of %d frames that came at once arrived, expected what the queue holds", machine.LinkSlow, n, frames)
		}
		set(machine.LinkSlow, false)
		time.Sleep(time.Minute)
		other.count()
		whole("a fast cable")
		if err := sw.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}

// TestFaultsThatAMachineCannotHave are refused with the reason.
func TestFaultsThatAMachineCannotHave(t *testing.T) {
	sim := &unit{}
	for f, want := range map[machine.Fault]string{machine.LinkDown: "no cable", machine.LinkSlow: "no cable", machine.LinkLossy: "no cable", machine.DiskBad: "no disk"} {
		err, ok := sim.breakHardware(f, true).(*apiError) //nolint:errorlint // that is what it returns
		if !ok || err.status != http.StatusBadRequest || !strings.Contains(err.msg, want) {
			t.Errorf("%s on a simulated machine: %v, expected 400 and %q", f, err, want)
		}
	}
	for _, f := range []machine.Fault{machine.PowerOff, machine.PowerStuck, machine.BMCDead, machine.BMCSlow, machine.BootStuck} {
		if err := sim.breakHardware(f, true); err != nil {
			t.Errorf("%s on a simulated machine: %v", f, err)
		}
	}
}
