package machine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/machine/machinetest"
)

var (
	diskFirst = []bmc.BootDevice{bmc.Disk, bmc.PXE}
	pxeFirst  = []bmc.BootDevice{bmc.PXE, bmc.Disk}
)

func expect[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(5 * time.Second):
		t.Fatalf("no %s within 5 s", what)
		panic("unreachable")
	}
}

func power(t *testing.T, m *machine.Machine, a bmc.Action) {
	t.Helper()
	if err := m.Power(a); err != nil {
		t.Fatalf("power %s: %v", a, err)
	}
}

func TestOneTimeOverrideIsUsedUp(t *testing.T) {
	m, hw := machinetest.New(t)
	if err := m.SetBoot(bmc.BootOverride{Device: bmc.PXE}); err != nil {
		t.Fatal(err)
	}
	power(t, m, bmc.On)
	if diff := cmp.Diff(pxeFirst, expect(t, hw.Boots, "boot")); diff != "" {
		t.Errorf("the override chooses the first boot (-want +got):\n%s", diff)
	}
	hw.Ends <- machine.Restart
	if diff := cmp.Diff(diskFirst, expect(t, hw.Boots, "boot")); diff != "" {
		t.Errorf("the second boot follows the machine's own order (-want +got):\n%s", diff)
	}
}

func TestPersistentOverrideStays(t *testing.T) {
	m, hw := machinetest.New(t)
	if err := m.SetBoot(bmc.BootOverride{Device: bmc.PXE, Persistent: true}); err != nil {
		t.Fatal(err)
	}
	power(t, m, bmc.On)
	for range 2 {
		if diff := cmp.Diff(pxeFirst, expect(t, hw.Boots, "boot")); diff != "" {
			t.Errorf("a persistent override holds for every boot (-want +got):\n%s", diff)
		}
		power(t, m, bmc.Cycle)
		expect(t, hw.Stops, "stop")
	}
}

func TestPowerOffByTheSystem(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	hw.Ends <- machine.PoweredOff
	power(t, m, bmc.Off) // whichever comes first, the machine ends off
	if m.PoweredOn() && len(hw.Boots) > 0 {
		t.Error("a system that powers off must not boot again")
	}
}

func TestOffThenOnBootsAgain(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	power(t, m, bmc.Off)
	power(t, m, bmc.On) // before the hardware has stopped
	expect(t, hw.Stops, "stop")
	expect(t, hw.Boots, "second boot")
	if !m.PoweredOn() {
		t.Error("the machine is off after off, on")
	}
}

func TestConflicts(t *testing.T) {
	m, _ := machinetest.New(t)
	for _, a := range []bmc.Action{bmc.Cycle, bmc.Reset, bmc.Soft, bmc.NMI} {
		if err := m.Power(a); !errors.Is(err, bmc.ErrConflict) {
			t.Errorf("power %s while off: %v, want ErrConflict (IPMI completion code D5h, HTTP 409)", a, err)
		}
	}
}

func TestHungMachineWaitsForItsBMC(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	hw.Ends <- machine.Hung
	power(t, m, bmc.Reset)
	expect(t, hw.Boots, "boot after reset")
}

func TestPowerStuck(t *testing.T) {
	m, hw := machinetest.New(t)
	m.SetFault(machine.PowerStuck, true)
	power(t, m, bmc.On)
	if m.PoweredOn() {
		t.Error("a stuck relay switched on")
	}
	m.SetFault(machine.PowerStuck, false)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot once repaired")
}

func TestSoftPressesTheButton(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	power(t, m, bmc.Soft)
	expect(t, hw.Buttons, "power button")
}
