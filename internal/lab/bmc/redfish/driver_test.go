package redfish_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// TestIronicsDriver lets the bare metal service's Redfish driver do all it can
// with a machine of the lab.
func TestIronicsDriver(t *testing.T) {
	m, _, srv := start(t)
	set := drivers.New(drivers.Options{Dial: new(net.Dialer).DialContext, Spacing: -1})
	d, err := set.Machine(drivers.Target{NodeUUID: "n", Driver: "redfish", Info: map[string]any{"redfish_address": srv.URL, "redfish_username": user, "redfish_password": password}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	bios := func() map[string]drivers.BIOSSetting {
		t.Helper()
		out := map[string]drivers.BIOSSetting{}
		err := drivers.Ask(ctx, d, "BIOS settings", func(ctx context.Context, c drivers.Configurer) error {
			list, err := c.BIOSSettings(ctx)
			for _, b := range list {
				out[b.Name] = b
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	configure := func(fn func(ctx context.Context, c drivers.Configurer) error) error {
		return drivers.Ask(ctx, d, "BIOS settings", fn)
	}
	if b := bios()["BootRetry"]; b.Value != float64(1) || b.AttributeType != "Integer" || b.ResetRequired != true {
		t.Errorf("BootRetry %+v", b)
	}
	if b := bios()["LogicalProc"]; len(b.AllowableValues) != 2 {
		t.Errorf("LogicalProc %+v", b)
	}
	err = configure(func(ctx context.Context, c drivers.Configurer) error {
		return c.SetBIOSSettings(ctx, map[string]any{"LogicalProc": "Disabled", "BootRetry": 3})
	})
	if err != nil || bios()["LogicalProc"].Value != "Enabled" {
		t.Errorf("before the reset: %v, %v", err, bios()["LogicalProc"].Value)
	}
	if err := d.SetPower(ctx, drivers.On); err != nil {
		t.Fatal(err)
	}
	if b := bios(); b["LogicalProc"].Value != "Disabled" || b["BootRetry"].Value != float64(3) {
		t.Errorf("after the reset: %v, %v", b["LogicalProc"].Value, b["BootRetry"].Value)
	}
	err = configure(func(ctx context.Context, c drivers.Configurer) error {
		return c.SetBIOSSettings(ctx, map[string]any{"Turbo": true})
	})
	if !errors.Is(err, drivers.ErrConfig) {
		t.Errorf("an unknown setting: %v", err)
	}
	if err := configure(func(ctx context.Context, c drivers.Configurer) error { return c.ResetBIOSSettings(ctx) }); err != nil {
		t.Fatal(err)
	}
	if err := d.SetPower(ctx, drivers.Reset); err != nil {
		t.Fatal(err)
	}
	if b := bios(); b["LogicalProc"].Value != "Enabled" {
		t.Errorf("the factory's settings: %v", b["LogicalProc"].Value)
	}
	if err := drivers.Ask(ctx, d, "NMI", func(ctx context.Context, i drivers.Interrupter) error { return i.InjectNMI(ctx) }); err != nil {
		t.Errorf("NMI: %v", err)
	}
	var hw drivers.HardwareInfo
	err = drivers.Ask(ctx, d, "inspection", func(ctx context.Context, i drivers.Inspected) error {
		hw, err = i.Hardware(ctx)
		return err
	})
	info := m.Info()
	if err != nil || hw.CPUs != info.CPUs || hw.MemoryMB != info.MemoryMiB || len(hw.NICs) != len(info.NICs) || hw.NICs[0].MAC != info.NICs[0].MAC || hw.Disks[0].Size != info.DiskBytes {
		t.Errorf("hardware %+v (%v) of %+v", hw, err, info)
	}
	bootAndLights(t, m, d)
}

func bootAndLights(t *testing.T, m interface{ Boot() bmc.BootOverride }, d drivers.Machine) {
	t.Helper()
	ctx := t.Context()
	boot := func(fn func(ctx context.Context, b drivers.Booter) error) error {
		return drivers.Ask(ctx, d, "boot", fn)
	}
	if err := boot(func(ctx context.Context, b drivers.Booter) error { return b.SetBootMode(ctx, drivers.BootModeUEFI) }); err != nil || !m.Boot().UEFI {
		t.Errorf("boot mode: %v, %+v", err, m.Boot())
	}
	if err := boot(func(ctx context.Context, b drivers.Booter) error { return b.SetSecureBoot(ctx, true) }); err != nil {
		t.Errorf("secure boot: %v", err)
	}
	err := boot(func(ctx context.Context, b drivers.Booter) error {
		mode, secure, err := b.BootState(ctx)
		if mode != drivers.BootModeUEFI || secure == nil || !*secure {
			t.Errorf("boot state %q %v", mode, secure)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = drivers.Ask(ctx, d, "indicators", func(ctx context.Context, i drivers.Illuminated) error {
		if err := i.SetIndicator(ctx, "chassis", "1", drivers.IndicatorBlinking); err != nil {
			return err
		}
		list, err := i.Indicators(ctx)
		if len(list) != 2 || list[0].State != drivers.IndicatorBlinking || list[1].Component != "chassis" {
			t.Errorf("indicators %+v", list)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := drivers.Ask(ctx, d, "reset", func(ctx context.Context, r drivers.Resettable) error { return r.ResetController(ctx, false) }); err != nil {
		t.Errorf("reset of the manager: %v", err)
	}
	if _, err := d.Power(ctx); err != nil {
		t.Errorf("the session after the manager's restart: %v", err)
	}
	if err := drivers.Ask(ctx, d, "raw command", func(context.Context, drivers.Raw) error { return nil }); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("a raw command over Redfish: %v", err)
	}
}

// TestIronicsDriverAndMedia: what is in the drive is replaced, and an empty drive is no error.
func TestIronicsDriverAndMedia(t *testing.T) {
	_, hw, srv := start(t)
	set := drivers.New(drivers.Options{Dial: new(net.Dialer).DialContext, Spacing: -1})
	d, err := set.Machine(drivers.Target{NodeUUID: "n", Driver: "redfish", Info: map[string]any{"redfish_address": srv.URL, "redfish_username": user, "redfish_password": password}})
	if err != nil {
		t.Fatal(err)
	}
	do := func(fn func(ctx context.Context, m drivers.MediaDrive) error) {
		t.Helper()
		if err := drivers.Ask(t.Context(), d, "virtual media", fn); err != nil {
			t.Fatal(err)
		}
	}
	for _, url := range []string{"http://192.0.2.1/a.iso", "http://192.0.2.1/b.iso"} {
		do(func(ctx context.Context, m drivers.MediaDrive) error { return m.InsertMedia(ctx, url) })
		if got := hw.Media(); got != url {
			t.Errorf("in the drive is %q, want %q", got, url)
		}
	}
	for range 2 {
		do(func(ctx context.Context, m drivers.MediaDrive) error { return m.EjectMedia(ctx) })
		if got := hw.Media(); got != "" {
			t.Errorf("in the drive is %q after ejection", got)
		}
	}
}
