// Package machinetest gives tests a running machine whose hardware does
// nothing but wait for its power to be cut.
package machinetest

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

// Hardware idles. Each boot sends its order to Boots; the test may end it
// through Ends.
type Hardware struct {
	mu    sync.Mutex
	media string

	Boots   chan []bmc.BootDevice
	Ends    chan machine.Outcome
	Stops   chan struct{}
	Buttons chan struct{}
}

// Boot implements machine.Hardware.
func (h *Hardware) Boot(ctx context.Context, _ machine.Board, order []bmc.BootDevice) machine.Outcome {
	h.Boots <- slices.Clone(order)
	select {
	case out := <-h.Ends:
		return out
	case <-ctx.Done():
		h.Stops <- struct{}{}
		return machine.PoweredOff
	}
}

// PowerButton implements machine.Hardware.
func (h *Hardware) PowerButton() { h.Buttons <- struct{}{} }

// Info is the machine's identity.
func Info() bmc.Info {
	return bmc.Info{
		Name: "node-0", UUID: "6b1d2f3a-0001-4c5d-8e9f-52540024b001", Manufacturer: "tripleo", Product: "lab machine", Serial: "LAB0001",
		BIOSVersion: "1.0", CPUs: 4, CPUModel: "Lab CPU", MemoryMiB: 6144, DiskBytes: 20 << 30,
		NICs: []bmc.NIC{{Name: "eth0", MAC: "52:54:00:24:00:01"}},
	}
}

// New starts a machine that ends with the test.
func New(t testing.TB) (*machine.Machine, *Hardware) {
	t.Helper()
	hw := &Hardware{Boots: make(chan []bmc.BootDevice, 64), Ends: make(chan machine.Outcome), Stops: make(chan struct{}, 64), Buttons: make(chan struct{}, 64)}
	m := machine.New(machine.Options{Info: Info(), Hardware: hw, Console: io.Discard, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m, hw
}

// Media implements bmc.Drive.
func (h *Hardware) Media() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.media
}

// InsertMedia implements bmc.Drive; nothing is fetched.
func (h *Hardware) InsertMedia(_ context.Context, url string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.media = url
	return nil
}

// EjectMedia implements bmc.Drive.
func (h *Hardware) EjectMedia() error { return h.InsertMedia(context.Background(), "") }
