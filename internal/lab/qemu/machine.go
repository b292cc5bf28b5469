package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

// crashPause keeps a QEMU that cannot start from being tried without a pause.
const crashPause = 2 * time.Second

// Machine is the hardware of one machine. It implements machine.Hardware.
type Machine struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	adopted *process // runs already when the lab starts
	running *session
	iso     string // name of the image's file, in the folder; "" is an empty drive
	media   string // where it came from
	badDisk bool
}

// New makes the machine's disk and, under UEFI, its variables, and looks for
// a QEMU that an earlier lab left running.
func New(cfg Config, log *slog.Logger) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Info.Name, err)
	}
	m := &Machine{cfg: cfg, log: log}
	if err := m.makeDisk(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Info.Name, err)
	}
	if err := m.makeVariables(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Info.Name, err)
	}
	p, err := find(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Info.Name, err)
	}
	m.adopted = p
	return m, nil
}

// Running reports whether a QEMU of an earlier lab waits to be taken over by
// the first Boot.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.adopted != nil
}

// makeDisk makes the sparse file of the disk; one that is there keeps its data.
func (m *Machine) makeDisk() error {
	f, err := os.OpenFile(filepath.Join(m.cfg.Dir, diskFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() != m.cfg.Info.DiskBytes {
		err = f.Truncate(m.cfg.Info.DiskBytes)
	}
	return errors.Join(err, f.Close())
}

// makeVariables gives a UEFI machine its own, empty variables.
func (m *Machine) makeVariables() error {
	path := filepath.Join(m.cfg.Dir, varsFile)
	if m.cfg.Firmware != UEFI {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b, err := os.ReadFile(ovmfVars)
	if err != nil {
		return fmt.Errorf("UEFI variables (package ovmf): %w", err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// session is a QEMU with what is connected to it.
type session struct {
	proc   *process
	qmp    *qmp
	serial net.Conn
	wg     sync.WaitGroup
	closed chan struct{}
}

// Boot implements machine.Hardware.
func (m *Machine) Boot(ctx context.Context, b machine.Board, order []bmc.BootDevice) machine.Outcome {
	s, err := m.power(ctx, b, order)
	if err != nil {
		if ctx.Err() != nil {
			return machine.PoweredOff
		}
		_, _ = fmt.Fprintf(b.Console(), "\nthe virtual machine does not start: %v\n", err)
		m.log.Error("the virtual machine does not start", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(crashPause):
		}
		return machine.Hung
	}
	out := m.watch(ctx, b, s)
	if err := m.end(s); err != nil {
		m.log.Error("end of the virtual machine", "err", err)
	}
	return out
}

// power starts a QEMU, or takes over the one that runs.
func (m *Machine) power(ctx context.Context, b machine.Board, order []bmc.BootDevice) (*session, error) {
	m.mu.Lock()
	p, start := m.adopted, boot{order: order, iso: m.iso, badDisk: m.badDisk}
	m.adopted = nil
	m.mu.Unlock()
	fresh := p == nil
	if fresh {
		var err error
		if p, err = m.cfg.start(start); err != nil {
			return nil, err
		}
	}
	s, err := m.connect(ctx, p, b.Console())
	if err != nil {
		return nil, errors.Join(err, p.kill())
	}
	m.mu.Lock()
	m.running = s
	m.mu.Unlock()
	names := make([]string, len(order))
	for i, d := range order {
		names[i] = string(d)
	}
	b.Phase("running", fmt.Sprintf("%s, %s, boots from %s", m.cfg.Firmware, m.cfg.Accel, strings.Join(names, ", ")))
	if !fresh {
		m.log.Info("a running virtual machine was taken over", "pid", p.pid)
		b.Phase("running", fmt.Sprintf("%s, %s, taken over from an earlier lab", m.cfg.Firmware, m.cfg.Accel))
		return s, nil
	}
	if err := s.qmp.run(ctx, "cont", nil, nil); err != nil {
		return nil, errors.Join(err, m.end(s))
	}
	return s, nil
}

// connect reaches QEMU's control socket, serial line and network card.
func (m *Machine) connect(ctx context.Context, p *process, console io.Writer) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	s := &session{proc: p, closed: make(chan struct{})}
	conns := make([]net.Conn, 0, 3)
	for _, name := range []string{qmpSocket, serialSock, netSocket} {
		c, err := m.dial(ctx, p, name)
		if err != nil {
			for _, c := range conns {
				err = errors.Join(err, c.Close())
			}
			return nil, err
		}
		conns = append(conns, c)
	}
	var err error
	if s.qmp, err = newQMP(ctx, conns[0]); err != nil {
		return nil, errors.Join(err, conns[1].Close(), conns[2].Close())
	}
	s.serial = conns[1]
	cable := conns[2]
	s.wg.Go(func() { _, _ = io.Copy(console, struct{ io.Reader }{s.serial}) }) // until QEMU ends
	s.wg.Go(func() {
		if err := m.cfg.Link.serve(cable); err != nil {
			m.log.Warn("the machine's cable", "err", err)
		}
	})
	s.wg.Go(func() {
		<-s.closed
		_ = cable.Close()
	})
	return s, nil
}

func (m *Machine) path(name string) string { return filepath.Join(m.cfg.Dir, name) }

// dial connects to one of QEMU's sockets as soon as QEMU has made it.
func (m *Machine) dial(ctx context.Context, p *process, name string) (net.Conn, error) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", m.path(name))
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("connect to QEMU: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("QEMU made no %s: %w: %s", name, ctx.Err(), m.cfg.complaint())
		case <-p.done:
			return nil, fmt.Errorf("QEMU ended: %s", m.cfg.complaint())
		case <-tick.C:
		}
	}
}

// watch waits for the end of a boot and says how it ended.
func (m *Machine) watch(ctx context.Context, b machine.Board, s *session) machine.Outcome {
	// A machine that ended while no lab looked tells so only when asked.
	var st struct{ Status string }
	if err := s.qmp.run(ctx, "query-status", nil, &st); err == nil && st.Status == "shutdown" {
		return machine.PoweredOff
	}
	for {
		select {
		case <-ctx.Done():
			return machine.PoweredOff
		case e, ok := <-s.qmp.events:
			if !ok {
				if ctx.Err() == nil {
					_, _ = fmt.Fprintf(b.Console(), "\nthe virtual machine has ended: %s\n", m.cfg.complaint())
				}
				return machine.Hung
			}
			m.log.Debug("QEMU", "event", e.Name, "data", string(e.Data))
			if out, ended := outcome(e); ended {
				return out
			}
		}
	}
}

// outcome reads how a machine ended from QEMU's event SHUTDOWN (qemu-qmp-ref,
// ShutdownCause).
func outcome(e qmpEvent) (machine.Outcome, bool) {
	if e.Name != "SHUTDOWN" {
		return 0, false
	}
	var data struct{ Reason string }
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return machine.Hung, true
	}
	switch data.Reason {
	case "guest-reset", "host-qmp-system-reset", "subsystem-reset":
		return machine.Restart, true
	case "guest-panic", "host-error":
		return machine.Hung, true
	}
	return machine.PoweredOff, true
}

// end stops QEMU and lets go of its sockets.
func (m *Machine) end(s *session) error {
	m.mu.Lock()
	m.running = nil
	m.mu.Unlock()
	// Everything the guest has written is in the file's cache of the host, which survives QEMU.
	err := s.proc.kill()
	close(s.closed)
	err = errors.Join(err, ignoreClosed(s.serial.Close()), ignoreClosed(s.qmp.Close()))
	s.wg.Wait()
	if rm := os.Remove(m.path(pidFile)); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// command runs a QMP command on the running machine.
func (m *Machine) command(name string, args any) error {
	m.mu.Lock()
	s := m.running
	m.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: %s while off", bmc.ErrConflict, name)
	}
	return s.qmp.run(context.Background(), name, args, nil)
}

// PowerButton implements machine.Hardware: the ACPI power button.
func (m *Machine) PowerButton() {
	if err := m.command("system_powerdown", nil); err != nil {
		m.log.Info("power button", "err", err)
	}
}

// NMI sends a non-maskable interrupt to every processor.
func (m *Machine) NMI() error { return m.command("inject-nmi", nil) }

// Input writes to the machine's serial line.
func (m *Machine) Input(p []byte) error {
	m.mu.Lock()
	s := m.running
	m.mu.Unlock()
	if s == nil {
		return errors.New("nothing reads the console")
	}
	_, err := s.serial.Write(p)
	return err
}

// SetBadDisk makes every access to the disk fail, or repairs it, at once if
// the machine runs.
func (m *Machine) SetBadDisk(bad bool) error {
	m.mu.Lock()
	m.badDisk = bad
	s := m.running
	m.mu.Unlock()
	if s == nil {
		return nil
	}
	ctx := context.Background()
	node := "disk0"
	if bad {
		node = "bad0"
		if err := s.qmp.run(ctx, "blockdev-add", json.RawMessage(badDiskNode), nil); err != nil && !strings.Contains(err.Error(), "duplicate") {
			return fmt.Errorf("bad disk: %w", err)
		}
	}
	// A device's drive may be exchanged while it runs (qdev property "drive", QEMU 6.1).
	if err := s.qmp.run(ctx, "qom-set", map[string]any{"path": "/machine/peripheral/hd0", "property": "drive", "value": node}, nil); err != nil {
		return fmt.Errorf("bad disk: %w", err)
	}
	return nil
}
