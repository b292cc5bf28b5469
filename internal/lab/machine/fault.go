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
	// LinkDown: the cable of the first network interface is out.
	LinkDown Fault = "link-down"
)

// slowBMC is how late a slow BMC answers.
const slowBMC = 5 * time.Second

// AllFaults lists the faults there are.
func AllFaults() []Fault { return []Fault{PowerStuck, BMCDead, BMCSlow, BootStuck, LinkDown} }

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
	m.log.Info("fault", "fault", f, "on", on)
}

func (m *Machine) hasFault(f Fault) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faults.has(f)
}
