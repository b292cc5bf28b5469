package machine_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
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

// Without mains the machine goes off at once and stays off, whatever its BMC is told; it comes on again when asked to
// after the repair, not by itself.
func TestMainsAreGone(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	m.SetFault(machine.PowerOff, true)
	expect(t, hw.Stops, "stop")
	power(t, m, bmc.On)
	if err := m.Gate(t.Context()); err != nil {
		t.Errorf("the BMC lives on: %v", err)
	}
	m.SetFault(machine.PowerOff, false)
	if m.PoweredOn() || len(hw.Boots) != 0 {
		t.Error("a machine without mains switched on")
	}
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot with mains")
}

// A machine that does not get to boot has power and shows that it hangs; its BMC can start it once it is repaired.
func TestBootStuck(t *testing.T) {
	m, hw := machinetest.New(t)
	m.SetFault(machine.BootStuck, true)
	power(t, m, bmc.On)
	for m.Status().Phase != "hung" {
		time.Sleep(time.Millisecond) // another goroutine works; the test's own limit ends it
	}
	if !m.PoweredOn() || len(hw.Boots) != 0 {
		t.Errorf("on: %t, boots: %d; expected power and no boot", m.PoweredOn(), len(hw.Boots))
	}
	m.SetFault(machine.BootStuck, false)
	power(t, m, bmc.Reset)
	expect(t, hw.Boots, "boot once repaired")
}

// A slow BMC answers 5 s late, or not at all to who does not wait that long; a dead one never.
func TestSlowAndDeadBMC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine.New(machine.Options{Info: machinetest.Info(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
		m.SetFault(machine.BMCSlow, true)
		begin := time.Now()
		if err := m.Gate(t.Context()); err != nil || time.Since(begin) != 5*time.Second {
			t.Errorf("answers after %s, %v; expected 5 s", time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Gate(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("to who waits a second: %v", err)
		}
		m.SetFault(machine.BMCDead, true)
		if err := m.Gate(t.Context()); err == nil {
			t.Error("a dead BMC answers")
		}
		m.SetFault(machine.BMCDead, false)
		m.SetFault(machine.BMCSlow, false)
		begin = time.Now()
		if err := m.Gate(t.Context()); err != nil || time.Since(begin) != 0 {
			t.Errorf("repaired: answers after %s, %v", time.Since(begin), err)
		}
	})
}

func TestSoftPressesTheButton(t *testing.T) {
	m, hw := machinetest.New(t)
	power(t, m, bmc.On)
	expect(t, hw.Boots, "boot")
	power(t, m, bmc.Soft)
	expect(t, hw.Buttons, "power button")
}
