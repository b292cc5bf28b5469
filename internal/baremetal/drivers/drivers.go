// Package drivers talks to the management controllers (BMCs) of bare metal
// machines: power, boot device and boot mode behind one small interface, with
// implementations for IPMI 2.0, Redfish and a machine that exists only in
// memory (`fake-hardware`).
//
// Every operation is bounded in time. Sessions are pooled and operations on
// one controller run one at a time with a minimal distance, as controllers are
// small computers; operations on different controllers never wait for each
// other.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sort"
	"time"
)

// Power is the power state as Ironic names it.
type Power string

// Power states. PowerUnknown is a controller in transition or one that does
// not tell.
const (
	PowerOn      Power = "power on"
	PowerOff     Power = "power off"
	PowerUnknown Power = ""
)

// Action is what can be done to a machine's power.
type Action string

// Actions. SoftOff asks the operating system; Reset is a hard reset of a
// machine that is on.
const (
	On      Action = "on"
	Off     Action = "off"
	SoftOff Action = "soft off"
	Reset   Action = "reset"
)

// Boot devices as Ironic names them.
const (
	DevicePXE      = "pxe"
	DeviceDisk     = "disk"
	DeviceCDROM    = "cdrom"
	DeviceBIOS     = "bios"
	DeviceSafe     = "safe"
	DeviceUEFIHTTP = "uefihttp"
)

// Boot modes as Ironic names them.
const (
	BootModeBIOS = "bios"
	BootModeUEFI = "uefi"
)

// BootDevice is the boot override of a machine. An empty Device means that the
// firmware's own order applies.
type BootDevice struct {
	Device     string
	Persistent bool
	Mode       string // BootModeBIOS, BootModeUEFI or "" (leave as it is)
}

// Machine is one machine as its controller sees it.
type Machine interface {
	// Power reads the power state.
	Power(ctx context.Context) (Power, error)
	// SetPower sends the command and returns when the controller has accepted
	// it; the state may follow seconds later.
	SetPower(ctx context.Context, a Action) error
	// BootDevice reads the boot override.
	BootDevice(ctx context.Context) (BootDevice, error)
	// SetBootDevice sets the boot override.
	SetBootDevice(ctx context.Context, d BootDevice) error
}

// Errors that callers tell apart; the text of an error names the controller's
// address and never a password.
var (
	// ErrConfig says that driver_info is incomplete or wrong.
	ErrConfig = errors.New("invalid driver_info")
	// ErrUnreachable says that the controller did not answer in time.
	ErrUnreachable = errors.New("the BMC does not answer")
	// ErrAuth says that the controller refused user name or password.
	ErrAuth = errors.New("the BMC refused the credentials")
	// ErrUnsupported says that this driver or controller cannot do it.
	ErrUnsupported = errors.New("not supported by the driver or the BMC")
)

// Target names the machine of a node.
type Target struct {
	NodeUUID string
	Driver   string         // hardware type
	Info     map[string]any // driver_info
	Known    Power          // last known power state, all that fake-hardware has
}

// Options configure New.
type Options struct {
	// Dial opens a socket to a controller ("udp" or "tcp", an IP literal and
	// port); it decides the network namespace. Required.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout bounds one operation, retries and a new session included.
	Timeout time.Duration // default 15 s
	// Spacing is the minimal time between two operations on one controller.
	Spacing time.Duration // default 50 ms; negative means none
	// IdleTimeout closes a session that was not used for so long.
	IdleTimeout time.Duration // default 60 s
	Log         *slog.Logger
	Now         func() time.Time
}

// Set is all controllers that this process talks to.
type Set struct {
	o    Options
	pool *pool
	fake *fakeMachines
}

// New returns an empty Set.
func New(o Options) *Set {
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Spacing == 0 {
		o.Spacing = 50 * time.Millisecond
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Set{o: o, pool: newPool(o), fake: newFakeMachines()}
}

// Run closes idle sessions until ctx is done, then all of them.
func (s *Set) Run(ctx context.Context) error {
	t := time.NewTicker(s.o.IdleTimeout / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.pool.closeIdle(context.WithoutCancel(ctx), 0)
			return nil
		case <-t.C:
			s.pool.closeIdle(ctx, s.o.IdleTimeout)
		}
	}
}

// Machine returns the machine of a node; ErrConfig if driver_info does not
// suffice. No traffic happens before its methods are called.
func (s *Set) Machine(t Target) (Machine, error) {
	hw, ok := Hardware(t.Driver)
	if !ok {
		return nil, fmt.Errorf("%w: no hardware type %q", ErrConfig, t.Driver)
	}
	switch hw.Name {
	case "ipmi":
		info, err := parseIPMI(t.Info)
		if err != nil {
			return nil, err
		}
		return &pooled{pool: s.pool, key: info.key(), open: func(ctx context.Context) (session, error) {
			return s.openIPMI(ctx, info)
		}}, nil
	case "redfish":
		info, err := parseRedfish(t.Info)
		if err != nil {
			return nil, err
		}
		return &pooled{pool: s.pool, key: info.key(), open: func(ctx context.Context) (session, error) {
			return s.openRedfish(ctx, info)
		}}, nil
	default:
		return s.fake.machine(t.NodeUUID, t.Known), nil
	}
}

// Validate checks driver_info for a hardware type without any traffic.
func Validate(driver string, info map[string]any) error {
	switch driver {
	case "ipmi":
		_, err := parseIPMI(info)
		return err
	case "redfish":
		_, err := parseRedfish(info)
		return err
	case "fake-hardware":
		return nil
	default:
		return fmt.Errorf("%w: no hardware type %q", ErrConfig, driver)
	}
}

// BootDevices lists the devices that SetBootDevice of a hardware type takes.
func BootDevices(driver string) []string {
	var out []string
	switch driver {
	case "redfish":
		out = []string{DevicePXE, DeviceDisk, DeviceCDROM, DeviceBIOS, DeviceUEFIHTTP}
	case "ipmi":
		out = []string{DevicePXE, DeviceDisk, DeviceCDROM, DeviceBIOS, DeviceSafe}
	default:
		out = []string{DevicePXE, DeviceDisk, DeviceCDROM}
	}
	sort.Strings(out)
	return out
}
