package drivers

import (
	"context"
	"fmt"
)

// What a machine may be able to do besides power and boot device. A machine
// implements what its protocol has; Ask finds out.
type (
	// Interrupter sends a non-maskable interrupt to the operating system.
	Interrupter interface {
		InjectNMI(ctx context.Context) error
	}

	// Configurer reads and changes the firmware's settings. A change is
	// pending until the machine has been reset.
	Configurer interface {
		BIOSSettings(ctx context.Context) ([]BIOSSetting, error)
		SetBIOSSettings(ctx context.Context, settings map[string]any) error
		ResetBIOSSettings(ctx context.Context) error
	}

	// Booter knows the boot mode and Secure Boot.
	Booter interface {
		// BootState returns BootModeBIOS, BootModeUEFI or "" and whether Secure
		// Boot is on; nil when the machine does not tell.
		BootState(ctx context.Context) (mode string, secure *bool, err error)
		SetBootMode(ctx context.Context, mode string) error
		SetSecureBoot(ctx context.Context, on bool) error
	}

	// Illuminated has lights by which a machine is found in its rack.
	Illuminated interface {
		Indicators(ctx context.Context) ([]Indicator, error)
		SetIndicator(ctx context.Context, component, id, state string) error
	}

	// Inspected tells its hardware without a ramdisk.
	Inspected interface {
		Hardware(ctx context.Context) (HardwareInfo, error)
	}

	// MediaDrive has a virtual CD drive.
	MediaDrive interface {
		// InsertMedia has the controller fetch the image behind a URL, in place of what is there.
		InsertMedia(ctx context.Context, url string) error
		// EjectMedia empties the drive; an empty one is no error.
		EjectMedia(ctx context.Context) error
	}

	// Resettable is a controller that can be restarted itself.
	Resettable interface {
		ResetController(ctx context.Context, warm bool) error
	}

	// Raw takes commands of its protocol as bytes: the network function, the
	// command, its data. It returns the answer without completion code.
	Raw interface {
		RawCommand(ctx context.Context, netFn, cmd uint8, data []byte) ([]byte, error)
	}
)

// BIOSSetting is one setting of the firmware as Ironic's API shows it. What
// the registry of the firmware does not tell is nil.
type BIOSSetting struct {
	Name            string   `json:"name"`
	Value           any      `json:"value"`
	AttributeType   any      `json:"attribute_type"` // "Enumeration", "String", "Integer", "Boolean", "Password"
	AllowableValues []string `json:"allowable_values"`
	LowerBound      any      `json:"lower_bound"`
	UpperBound      any      `json:"upper_bound"`
	MinLength       any      `json:"min_length"`
	MaxLength       any      `json:"max_length"`
	ReadOnly        any      `json:"read_only"`
	ResetRequired   any      `json:"reset_required"`
	Unique          any      `json:"unique"`
}

// The states of an indicator, as Ironic names them.
const (
	IndicatorOn       = "ON"
	IndicatorOff      = "OFF"
	IndicatorBlinking = "BLINKING"
	IndicatorUnknown  = "UNKNOWN"
)

// Indicator is a light of a machine.
type Indicator struct {
	Component string // "system", "chassis"
	ID        string
	State     string
	Settable  []string // states that may be set
}

// HardwareInfo is what a controller tells of its machine.
type HardwareInfo struct {
	Manufacturer, Model, Serial string
	CPUs                        int // threads
	CPUModel, Arch              string
	MemoryMB                    int
	Disks                       []HardwareDisk
	NICs                        []HardwareNIC
	BootMode                    string
}

// HardwareDisk is a disk as a controller tells it.
type HardwareDisk struct {
	Name, Model, Serial string
	Size                int64 // bytes
	Rotational          bool
}

// HardwareNIC is a network card as a controller tells it.
type HardwareNIC struct {
	Name, MAC string
	Carrier   *bool // nil: the controller does not tell
}

// Ask runs fn on a machine as something it may be: an Interrupter, a
// Configurer, …; what names the wish in the error. ErrUnsupported if the
// machine is none. It takes its turn on the controller as all operations do.
func Ask[T any](ctx context.Context, m Machine, what string, fn func(ctx context.Context, t T) error) error {
	call := func(ctx context.Context, m Machine) error {
		t, ok := m.(T)
		if !ok {
			return fmt.Errorf("%s: %w", what, ErrUnsupported)
		}
		return fn(ctx, t)
	}
	if p, ok := m.(*pooled); ok {
		return p.pool.with(ctx, p.key, p.open, func(ctx context.Context, s session) error { return call(ctx, s) })
	}
	return call(ctx, m)
}
