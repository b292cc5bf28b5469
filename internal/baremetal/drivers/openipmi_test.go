package drivers_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// openIPMI runs Debian's IPMI simulator on loopback: a BMC nobody here wrote.
func openIPMI(t *testing.T) (*net.UDPAddr, string) {
	t.Helper()
	sim, err := exec.LookPath("ipmi_sim")
	if err != nil {
		t.Skip("SKIPPED, IPMI NOT TESTED AGAINST ANOTHER'S BMC: Debian's package openipmi is not installed")
	}
	dir := t.TempDir()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.LocalAddr().(*net.UDPAddr)
	_ = probe.Close()
	for name, text := range map[string]string{
		// Called with the BMC's address, get|set and pairs of what and value.
		"chassis": "#!/bin/sh\nshift; verb=$1; shift\n" +
			"case $verb in\nget) for what; do echo \"$what:$(cat " + dir + "/$what 2>/dev/null || echo 0)\"; done;;\n" +
			"set) while [ $# -gt 1 ]; do echo $2 >" + dir + "/$1; shift 2; done;;\nesac\n",
		"lan.conf": fmt.Sprintf("name \"sim\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 %d\npriv_limit admin\nallowed_auths_admin md5\n"+
			"guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"%s/chassis 0x20\"\nuser 2 true \"admin\" \"secret\" admin 10 md5\n", addr.Port, dir),
		"sim.emu": "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // one is a program
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, sim, "-c", dir+"/lan.conf", "-f", dir+"/sim.emu", "-s", dir, "-n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return addr, dir
}

func TestOpenIPMISimulator(t *testing.T) {
	addr, dir := openIPMI(t)
	m := machine(t, newSet(t, drivers.Options{}), "ipmi", ipmiInfo(addr))
	ctx := t.Context()
	// It takes a moment to open its socket.
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := m.Power(ctx)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		action drivers.Action
		want   drivers.Power
	}{{drivers.On, drivers.PowerOn}, {drivers.Reset, drivers.PowerOn}, {drivers.Off, drivers.PowerOff}} {
		if err := m.SetPower(ctx, c.action); err != nil {
			t.Fatalf("%s: %v", c.action, err)
		}
		if got, err := m.Power(ctx); err != nil || got != c.want {
			t.Errorf("after %s: %q %v, want %q", c.action, got, err, c.want)
		}
	}
	if err := m.SetBootDevice(ctx, drivers.BootDevice{Device: drivers.DevicePXE, Mode: drivers.BootModeUEFI}); err != nil {
		t.Errorf("boot device: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "boot")); err != nil || string(b) != "pxe\n" {
		t.Errorf("the simulator was told to boot %q %v", b, err)
	}
	err := drivers.Ask(ctx, m, "raw", func(ctx context.Context, r drivers.Raw) error {
		b, err := r.RawCommand(ctx, 0x06, 0x01, nil) // Get Device ID
		if err == nil && (len(b) < 11 || b[4] != 0x02 && b[4] != 0x51) {
			t.Errorf("device id % x: byte 5 is the IPMI version", b)
		}
		return err
	})
	if err != nil {
		t.Errorf("raw command: %v", err)
	}
	err = drivers.Ask(ctx, m, "boot mode", func(ctx context.Context, b drivers.Booter) error { return b.SetSecureBoot(ctx, true) })
	if !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("secure boot over IPMI: %v", err)
	}
	info := ipmiInfo(addr)
	info["ipmi_password"] = "wrong"
	if _, err := machine(t, newSet(t, drivers.Options{}), "ipmi", info).Power(ctx); !errors.Is(err, drivers.ErrAuth) {
		t.Errorf("a wrong password: %v", err)
	}
}
