// Package bmc says what a baseboard management controller controls, in terms
// that IPMI and Redfish share. The protocols are in its subpackages, the
// machine behind it in package machine.
package bmc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Action is something a BMC does to its machine's power.
type Action string

// The actions. Each is accepted at once; its effect follows.
const (
	On    Action = "on"    // power up
	Off   Action = "off"   // cut the power
	Cycle Action = "cycle" // cut the power and power up again
	Reset Action = "reset" // press the reset button
	Soft  Action = "soft"  // press the power button: the system shuts itself down
	NMI   Action = "nmi"   // diagnostic interrupt
)

// ParseAction reads an action's name.
func ParseAction(s string) (Action, error) {
	actions := []Action{On, Off, Cycle, Reset, Soft, NMI}
	if a := Action(s); slices.Contains(actions, a) {
		return a, nil
	}
	return "", fmt.Errorf("unknown power action %q; known: %v", s, actions)
}

// BootDevice is where a machine looks for its system.
type BootDevice string

// The boot devices. NoDevice means that nothing overrides the machine's own order.
const (
	NoDevice BootDevice = ""
	PXE      BootDevice = "pxe"
	Disk     BootDevice = "disk"
	CDROM    BootDevice = "cdrom"
	// HTTP is UEFI HTTP boot: the network, but not by PXE.
	HTTP  BootDevice = "http"
	Setup BootDevice = "bios"
)

// BootOverride is the boot device set through a BMC.
type BootOverride struct {
	Device BootDevice
	// Persistent keeps the override; otherwise the next boot uses it up.
	Persistent bool
	// UEFI asks for UEFI instead of legacy BIOS.
	UEFI bool
}

// Info identifies a machine; it does not change.
type Info struct {
	// Name is the machine's name in the lab, e.g. "node-0".
	Name string
	// UUID is the SMBIOS UUID in its text form.
	UUID         string
	Manufacturer string
	Product      string
	Serial       string
	BIOSVersion  string
	CPUs         int
	CPUModel     string
	// MemoryMiB is the size of the memory in MiB.
	MemoryMiB int
	// DiskBytes is the size of the system disk.
	DiskBytes int64
	// UEFI says that the machine's firmware is UEFI, not a BIOS.
	UEFI bool
	NICs []NIC
}

// NIC is a network interface.
type NIC struct {
	Name string
	// MAC is the address in lower case with colons.
	MAC string
}

// ErrConflict says that an action makes no sense in the machine's present state.
var ErrConflict = errors.New("not possible in the present power state")

// System is a machine as its BMC sees it. All methods may be called at once.
type System interface {
	Info() Info
	// PoweredOn reports whether the machine has power.
	PoweredOn() bool
	// Power starts an action and does not wait for its effect.
	Power(a Action) error
	// Boot returns the override in force.
	Boot() BootOverride
	SetBoot(b BootOverride) error
	// Gate is asked before the BMC answers a request: it waits as long as the
	// BMC is slow and returns an error if the BMC is dead (faults of the lab).
	Gate(ctx context.Context) error
}

// Drive is a machine's virtual CD drive.
type Drive interface {
	// Media is the URL of what is in it; "" is nothing.
	Media() string
	// InsertMedia takes the image behind an http or https URL, whatever was there before.
	InsertMedia(ctx context.Context, url string) error
	EjectMedia() error
}

// WithDrive is a System that may have a virtual CD drive; nil: it has none.
type WithDrive interface{ Drive() Drive }

// SerialLine is a machine's serial line, which Serial over LAN offers.
type SerialLine interface {
	// Follow writes to w what the machine prints from now on, until ctx is done
	// or w has an error. It does not wait; what it returns waits for the end.
	Follow(ctx context.Context, w io.Writer) (wait func() error)
	// Type writes to the line; it is an error if nothing reads it.
	Type(keys []byte) error
}
