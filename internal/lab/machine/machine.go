// Package machine is a lab machine's mainboard: power, reset, boot order,
// faults. What a boot does is up to the Hardware below it (containers, the
// simulation); who presses the buttons is its BMC.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// Outcome is how a boot ended by itself.
type Outcome int

// The outcomes of a boot.
const (
	// PoweredOff: the system switched the machine off.
	PoweredOff Outcome = iota
	// Restart: the system asked for a reset.
	Restart
	// Hung: the system died and left the machine on; only its BMC helps.
	Hung
)

// Board is what hardware may use of its mainboard during a boot.
type Board interface {
	// Console receives what the machine prints on its serial line.
	Console() io.Writer
	// Phase announces what the machine is doing, e.g. "pxe" and "DHCP".
	Phase(phase, detail string)
}

// Hardware runs a machine from reset until it stops.
type Hardware interface {
	// Boot tries the devices in order and runs what it finds. It returns when
	// the system ended, or soon after ctx is done, which means that the power
	// was cut: nothing of the system may be left then.
	Boot(ctx context.Context, b Board, order []bmc.BootDevice) Outcome
	// PowerButton asks the running system to shut down.
	PowerButton()
}

// Interruptible is Hardware that can be sent a non-maskable interrupt; other
// hardware behaves as if its kernel restarted because of it.
type Interruptible interface{ NMI() error }

// restartPause keeps a machine that restarts at once from spinning.
const restartPause = 500 * time.Millisecond

// Machine is a mainboard. It implements bmc.System.
type Machine struct {
	info    bmc.Info
	hw      Hardware
	console io.Writer
	log     *slog.Logger
	now     func() time.Time
	devices []bmc.BootDevice

	mu      sync.Mutex
	want    bool               // power is, or is to be, on
	running bool               // hardware runs
	cut     context.CancelFunc // ends the present boot
	wake    chan struct{}      // signals a change of want; capacity 1
	boot    bmc.BootOverride
	faults  Faults
	status  Status
}

// Status is what a machine is doing.
type Status struct {
	PoweredOn bool
	// Phase is one of "off", "firmware", "pxe", "ramdisk", "disk", "running", "hung"; Detail says more.
	Phase, Detail string
	// Since is when the phase began.
	Since time.Time
	// Boots counts resets since the lab started.
	Boots  int
	Boot   bmc.BootOverride
	Faults []Fault
}

// Options make a Machine.
type Options struct {
	Info     bmc.Info
	Hardware Hardware
	Console  io.Writer
	Log      *slog.Logger
	Now      func() time.Time
	// Running says that the hardware runs already and its first Boot takes that over.
	Running bool
	// Devices are what the machine can boot from in its own order; nil means disk, then network.
	Devices []bmc.BootDevice
}

// New returns a machine that is off, unless its hardware runs already. Run makes it work.
func New(o Options) *Machine {
	m := &Machine{
		info: o.Info, hw: o.Hardware, console: o.Console, log: o.Log, now: o.Now, devices: o.Devices,
		wake: make(chan struct{}, 1), status: Status{Phase: "off", Since: o.Now()}, want: o.Running,
		boot: bmc.BootOverride{UEFI: o.Info.UEFI},
	}
	if m.devices == nil {
		m.devices = []bmc.BootDevice{bmc.Disk, bmc.PXE}
	}
	if o.Running {
		m.wake <- struct{}{}
	}
	return m
}

// Run is the machine's life: it boots when power comes on. It returns when
// ctx is done and the hardware has stopped.
func (m *Machine) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
		for ctx.Err() == nil && m.powered(ctx) {
			m.setPhase("off", "")
		}
	}
}

// powered runs one period of power and reports whether power is wanted again
// (a power cycle).
func (m *Machine) powered(ctx context.Context) bool {
	m.mu.Lock()
	if !m.want {
		m.mu.Unlock()
		return false
	}
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	m.cut, m.running = cut, true
	m.mu.Unlock()

	stayOff := m.boots(ctx)

	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.cut = false, nil
	if stayOff {
		m.want = false
	}
	if !m.want {
		m.setPhaseLocked("off", "")
	}
	return m.want
}

// boots resets and boots until the system switches off (true) or the power is cut (false).
func (m *Machine) boots(ctx context.Context) bool {
	for {
		if m.hasFault(BootStuck) {
			m.Phase("hung", "fault "+string(BootStuck))
			<-ctx.Done()
			return false
		}
		m.Phase("firmware", "power-on self test")
		out := m.hw.Boot(ctx, m, m.nextOrder())
		if ctx.Err() != nil {
			return false
		}
		switch out {
		case PoweredOff:
			return true
		case Hung:
			m.Phase("hung", "waits for its BMC")
			<-ctx.Done()
			return false
		case Restart:
			select {
			case <-ctx.Done():
				return false
			case <-time.After(restartPause):
			}
		}
	}
}

// nextOrder returns the boot order of the boot that begins now, and uses up a
// one-time override.
func (m *Machine) nextOrder() []bmc.BootDevice {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Boots++
	order := slices.Clone(m.devices)
	if i := slices.Index(order, m.boot.Device); i > 0 {
		order = slices.Insert(slices.Delete(order, i, i+1), 0, m.boot.Device)
	}
	if !m.boot.Persistent {
		m.boot = bmc.BootOverride{UEFI: m.boot.UEFI}
	}
	return order
}

// Info identifies the machine.
func (m *Machine) Info() bmc.Info { return m.info }

// Drive is the hardware's virtual CD drive, if it has one (bmc.WithDrive).
func (m *Machine) Drive() bmc.Drive {
	if d, ok := m.hw.(bmc.Drive); ok {
		return d
	}
	return nil
}

// PoweredOn reports whether the machine has power.
func (m *Machine) PoweredOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running || m.want
}

// Power starts a power action.
func (m *Machine) Power(a bmc.Action) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log.Info("power action", "action", a, "on", m.want)
	if m.faults.has(PowerStuck) || m.faults.has(PowerOff) {
		return nil // a stuck relay, no mains: accepted, nothing happens
	}
	switch a {
	case bmc.On:
		m.want = true
	case bmc.Off:
		m.want = false
		m.cutLocked()
	case bmc.Cycle, bmc.Reset:
		if !m.want {
			return fmt.Errorf("%w: %s while off", bmc.ErrConflict, a)
		}
		m.cutLocked()
	case bmc.Soft:
		if !m.running {
			return fmt.Errorf("%w: %s while off", bmc.ErrConflict, a)
		}
		go m.hw.PowerButton()
	case bmc.NMI:
		if !m.running {
			return fmt.Errorf("%w: %s while off", bmc.ErrConflict, a)
		}
		if hw, ok := m.hw.(Interruptible); ok {
			return hw.NMI()
		}
		m.cutLocked() // a kernel without crash handler restarts
	default:
		return fmt.Errorf("unknown power action %q", a)
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return nil
}

func (m *Machine) cutLocked() {
	if m.cut != nil {
		m.cut()
	}
}

// Boot returns the boot override in force.
func (m *Machine) Boot() bmc.BootOverride {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// SetBoot sets the boot override.
func (m *Machine) SetBoot(b bmc.BootOverride) error {
	if b.Device != bmc.NoDevice && !slices.Contains(m.devices, b.Device) {
		return fmt.Errorf("boot device %q is not built in", b.Device)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot = b
	m.log.Info("boot override", "device", b.Device, "persistent", b.Persistent)
	return nil
}

// Console implements Board.
func (m *Machine) Console() io.Writer { return m.console }

// Phase implements Board.
func (m *Machine) Phase(phase, detail string) { m.setPhase(phase, detail) }

func (m *Machine) setPhase(phase, detail string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setPhaseLocked(phase, detail)
}

func (m *Machine) setPhaseLocked(phase, detail string) {
	if m.status.Phase == phase && m.status.Detail == detail {
		return
	}
	if m.status.Phase != phase {
		m.status.Since = m.now()
	}
	m.status.Phase, m.status.Detail = phase, detail
	m.log.Info("phase", "phase", phase, "detail", detail)
}

// Status returns what the machine is doing.
func (m *Machine) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.PoweredOn = m.running || m.want
	s.Boot = m.boot
	s.Faults = m.faults.list()
	return s
}

// errDead is what a dead BMC answers: nothing.
var errDead = errors.New("the BMC is dead")

// Gate implements bmc.System.
func (m *Machine) Gate(ctx context.Context) error {
	if m.hasFault(BMCDead) {
		return errDead
	}
	if m.hasFault(BMCSlow) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slowBMC):
		}
	}
	return nil
}
