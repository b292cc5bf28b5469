package machine

import (
	"fmt"
	"slices"
	"time"
)

// Fault is something broken in a machine, switched on by a test.
type Fault string

// The faults.
const (
	// PowerStuck: the BMC accepts power actions, nothing happens.
	PowerStuck Fault = "power-stuck"
	// BMCDead: the BMC answers nothing.
	BMCDead Fault = "bmc-dead"
	// BMCSlow: the BMC answers each request seconds late.
	BMCSlow Fault = "bmc-slow"
	// BootStuck: the machine has power but never gets to boot.
	BootStuck Fault = "boot-stuck"
	// PowerOff: the mains are gone; the machine is off and stays so, its BMC lives on.
	PowerOff Fault = "power-off"
	// DiskBad: the disk answers with errors.
	DiskBad Fault = "disk-bad"
	// LinkSlow and LinkLossy: the cable of the first network interface carries little, or loses packets.
	LinkSlow  Fault = "link-slow"
	LinkLossy Fault = "link-lossy"
	// LinkDown: the cable of the first network interface is out.
	LinkDown Fault = "link-down"
)

// slowBMC is how late a slow BMC answers.
const slowBMC = 5 * time.Second

// AllFaults lists the faults there are.
func AllFaults() []Fault {
	return []Fault{PowerOff, PowerStuck, BMCDead, BMCSlow, BootStuck, DiskBad, LinkDown, LinkSlow, LinkLossy}
}

// ParseFault reads a fault's name.
func ParseFault(s string) (Fault, error) {
	if f := Fault(s); slices.Contains(AllFaults(), f) {
		return f, nil
	}
	return "", fmt.Errorf("unknown fault %q; known: %v", s, AllFaults())
}

// Faults is a set of faults.
type Faults map[Fault]bool

func (f Faults) has(x Fault) bool { return f[x] }

func (f Faults) list() []Fault {
	var out []Fault
	for _, x := range AllFaults() {
		if f[x] {
			out = append(out, x)
		}
	}
	return out
}

// SetFault switches a fault on or off.
func (m *Machine) SetFault(f Fault, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faults == nil {
		m.faults = Faults{}
	}
	m.faults[f] = on
	if f == PowerOff && on {
		m.want = false
		m.cutLocked()
	}
	m.log.Info("fault", "fault", f, "on", on)
}

func (m *Machine) hasFault(f Fault) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults.has(f)
}
