package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/bmc/ipmi"
	"github.com/tripleo/tripleo/internal/lab/bmc/redfish"
	"github.com/tripleo/tripleo/internal/lab/container"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/netns"
)

const (
	headerTimeout = 10 * time.Second
	// announceEvery is how often the switch sends LLDP: ramdisks listen for 30 s (ironic-python-agent's lldp-timeout).
	announceEvery = 5 * time.Second
	nspawnRun     = "/run/systemd/nspawn"
)

// unit is a running machine with what belongs to it.
type unit struct {
	node    Node
	machine *machine.Machine
	console *consoleLog
	input   func([]byte) error
	port    *vswitch.Port
	badDisk func(bool) error

	mu     sync.Mutex // guards damage
	damage vswitch.Damage
}

// server is a running lab.
type server struct {
	rec   record
	log   *slog.Logger
	units []*unit
	byID  map[string]*unit
	stop  context.CancelFunc
	run   []func(context.Context) error
	close []func() error
}

// Serve is the lab process: it runs the lab recorded in dir until ctx is done
// or a client asks it to stop, and calls ready when it serves.
func Serve(ctx context.Context, dir string, log *slog.Logger, ready func() error) (err error) {
	unlock, err := lockLab(dir)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := loadRecord(dir)
	if err != nil {
		return err
	}
	name, err := claimName(rec.Config.Name)
	if err != nil {
		return err
	}
	defer func() { _ = name.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &server{rec: rec, log: log, stop: stop, byID: map[string]*unit{}}
	defer func() { err = errors.Join(err, s.shutdown()) }()
	build := map[string]func() error{Container: s.buildContainers, QEMU: s.buildQEMU, Sim: s.buildSim}[rec.Config.Backend]
	if err := build(); err != nil {
		return err
	}
	for _, u := range s.units {
		s.byID[u.node.Name] = u
	}
	if err := s.listenControl(); err != nil {
		return err
	}
	if err := writeInstackenv(dir, rec.nodes()); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	log.Info("the lab is up", "name", rec.Config.Name, "backend", rec.Config.Backend, "nodes", len(s.units))
	g, gctx := errgroup.WithContext(ctx)
	for _, f := range s.run {
		g.Go(func() error { return f(gctx) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// shutdown closes in reverse order what was opened.
func (s *server) shutdown() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	return errors.Join(errs...)
}

// PrivateMounts keeps the mounts of the calling process, which must be in a
// mount namespace of its own, from the host, and gives nspawn a folder for its
// bookkeeping that vanishes with the lab.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate mounts: %w", err)
	}
	if err := os.MkdirAll(nspawnRun, 0o755); err != nil {
		return fmt.Errorf("folder for nspawn: %w", err)
	}
	if err := unix.Mount("tmpfs", nspawnRun, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("folder for nspawn: %w", err)
	}
	return nil
}

// buildContainers makes switch, machines and BMCs inside the lab's namespaces.
func (s *server) buildContainers() error {
	if err := privateMounts(); err != nil {
		return err
	}
	return s.buildSwitch(s.buildContainer)
}

// buildSwitch makes the switch with the undercloud's port, and the machines at it.
func (s *server) buildSwitch(build func(*vswitch.Switch, Node) error) error {
	c := s.rec.Config
	sw := vswitch.New()
	s.close = append(s.close, sw.Close)
	s.run = append(s.run, func(ctx context.Context) error {
		return sw.Announce(ctx, vswitch.Chassis{MAC: chassisOf(c.Name), Name: c.Name}, announceEvery)
	})
	if _, err := s.plug(sw, c.Name, ProvisioningInterface, nil); err != nil {
		return err
	}
	if err := container.AddAddress(c.Name, ProvisioningInterface, c.provisioningAddress()); err != nil {
		return err
	}
	for _, n := range s.rec.nodes() {
		if err := build(sw, n); err != nil {
			return fmt.Errorf("machine %s: %w", n.Name, err)
		}
	}
	return s.manageSwitch(sw)
}

// chassisOf is the address by which a lab's switch names itself: the same after
// every start, locally administered.
func chassisOf(lab string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("switch of lab " + lab))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

func (s *server) plug(sw *vswitch.Switch, ns, name string, mac net.HardwareAddr) (*vswitch.Port, error) {
	c := s.rec.Config
	tap, err := vswitch.OpenTap(vswitch.TapConfig{Namespace: ns, Name: name, MAC: mac, MTU: c.MTU, NoOffload: c.Backend == QEMU})
	if err != nil {
		return nil, err
	}
	port, err := sw.AddPort(ns, tap, vswitch.Access(provisioning))
	if err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	return port, nil
}

func (s *server) buildContainer(sw *vswitch.Switch, n Node) error {
	c := s.rec.Config
	port, err := s.plug(sw, n.Namespace, nicName, n.MAC)
	if err != nil {
		return err
	}
	log := s.log.With("node", n.Name)
	dir := filepath.Join(c.Dir, n.Name)
	hw, err := container.New(container.Config{
		Info: n.Info, Name: n.Namespace, Cgroup: c.Name + "/" + n.Name, Dir: dir,
		NIC: nicName, MAC: n.MAC, MTU: c.MTU, Log: log,
	})
	if err != nil {
		return err
	}
	s.close = append(s.close, hw.Close)
	console, err := openConsoleLog(filepath.Join(dir, "console.log"))
	if err != nil {
		return err
	}
	s.close = append(s.close, console.Close)
	u := &unit{node: n, console: console, input: hw.Input, port: port, badDisk: hw.SetBadDisk}
	u.machine = machine.New(machine.Options{Info: n.Info, Hardware: hw, Console: console, Log: log, Now: time.Now})
	return s.addUnit(u)
}

// addUnit adds a machine and the BMC it has in the lab's namespace.
func (s *server) addUnit(u *unit) error {
	s.units = append(s.units, u)
	s.run = append(s.run, u.machine.Run)
	if err := container.AddAddress(s.rec.Config.Name, "lo", u.node.BMCAddress+"/32"); err != nil {
		return err
	}
	return s.buildBMC(u.node, u.machine, serialLine{u.console, u.input}, s.log.With("node", u.node.Name))
}

// buildBMC binds a machine's IPMI and Redfish sockets in the lab's namespace.
func (s *server) buildBMC(n Node, m *machine.Machine, line bmc.SerialLine, log *slog.Logger) error {
	conn, err := netns.ListenPacket(s.rec.Config.Name, "udp4", fmt.Sprintf("%s:%d", n.BMCAddress, n.IPMIPort))
	if err != nil {
		return fmt.Errorf("IPMI: %w", err)
	}
	srv, err := ipmi.New(conn, m, ipmi.Config{User: n.User, Password: n.Password, Line: line})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.run = append(s.run, srv.Run)
	l, err := netns.Listen(s.rec.Config.Name, "tcp4", fmt.Sprintf("%s:%d", n.BMCAddress, n.RedfishPort))
	if err != nil {
		return fmt.Errorf("redfish: %w", err)
	}
	s.serveHTTP(l, redfish.New(redfish.Options{
		Systems: []redfish.Entry{{ID: n.RedfishSystem, System: m}}, User: n.User, Password: n.Password,
		UUID: n.Info.UUID, Log: log, Now: time.Now,
	}))
	return nil
}

// serveHTTP adds an HTTP server to what runs.
func (s *server) serveHTTP(l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.run = append(s.run, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
		defer stop()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	s.close = append(s.close, srv.Close)
}
