package drivers

import (
	"context"
	"fmt"
	"sync"
)

// fakeMachines are machines that exist only here: `fake-hardware`, a product
// for trying the API and for tests of what lies above the drivers.
type fakeMachines struct {
	mu sync.Mutex
	m  map[string]*fakeMachine
}

type fakeMachine struct {
	mu     sync.Mutex
	power  Power
	boot   BootDevice
	bios   map[string]any
	secure bool
	light  string
}

func newFakeMachines() *fakeMachines { return &fakeMachines{m: map[string]*fakeMachine{}} }

// machine returns the node's machine; a machine not seen before has the power
// state that was last known of it, off when nothing was.
func (f *fakeMachines) machine(uuid string, known Power) *fakeMachine {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.m[uuid]
	if m == nil {
		if known == PowerUnknown {
			known = PowerOff
		}
		m = &fakeMachine{power: known, boot: BootDevice{Device: DevicePXE}}
		f.m[uuid] = m
	}
	return m
}

func (m *fakeMachine) Power(context.Context) (Power, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power, nil
}

func (m *fakeMachine) SetPower(_ context.Context, a Action) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch a {
	case On:
		m.power = PowerOn
	case Off, SoftOff:
		m.power = PowerOff
	case Reset:
		if m.power != PowerOn {
			return fmt.Errorf("%w: reset of a machine that is off", ErrUnsupported)
		}
	}
	return nil
}

func (m *fakeMachine) BootDevice(context.Context) (BootDevice, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot, nil
}

func (m *fakeMachine) SetBootDevice(_ context.Context, d BootDevice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot = d
	return nil
}
