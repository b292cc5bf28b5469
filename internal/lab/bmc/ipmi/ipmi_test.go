package ipmi_test

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/bmc/ipmi"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/machine/machinetest"
)

const (
	user     = "admin"
	password = "s3cret-of-16-chr"
)

func start(t *testing.T) (*machine.Machine, *machinetest.Hardware, int) {
	t.Helper()
	return startWith(t, ipmi.Config{User: user, Password: password})
}

func startWith(t *testing.T, cfg ipmi.Config) (*machine.Machine, *machinetest.Hardware, int) {
	t.Helper()
	m, hw := machinetest.New(t)
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := ipmi.New(conn, m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m, hw, conn.LocalAddr().(*net.UDPAddr).Port
}

// tool runs Debian's ipmitool.
func tool(t *testing.T, port int, suite string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("ipmitool")
	if err != nil {
		t.Skip("SKIPPED: ipmitool is not installed (apt-get install ipmitool)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-p", strconv.Itoa(port), "-U", user, "-E", "-N", "1", "-R", "2"}, args...)...)
	cmd.Env = append(cmd.Environ(), "IPMI_PASSWORD="+password)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestIpmitool(t *testing.T) {
	for _, suite := range []string{"3", "17"} {
		t.Run("cipher suite "+suite, func(t *testing.T) {
			m, hw, port := start(t)
			steps := []struct {
				args  []string
				want  string
				check func() bool
			}{
				{[]string{"mc", "info"}, "IPMI Version              : 2.0", nil},
				{[]string{"chassis", "power", "status"}, "Chassis Power is off", nil},
				{[]string{"chassis", "bootdev", "pxe", "options=persistent"}, "Set Boot Device to pxe", func() bool { return m.Boot() == bmc.BootOverride{Device: bmc.PXE, Persistent: true} }},
				{[]string{"chassis", "bootparam", "get", "5"}, "Force PXE", nil},
				{[]string{"chassis", "power", "on"}, "Up/On", func() bool { return (<-hw.Boots)[0] == bmc.PXE }},
				{[]string{"chassis", "power", "status"}, "Chassis Power is on", nil},
				{[]string{"chassis", "bootdev", "disk"}, "Set Boot Device to disk", func() bool { return m.Boot() == bmc.BootOverride{Device: bmc.Disk} }},
				{[]string{"chassis", "power", "cycle"}, "Cycle", func() bool { <-hw.Stops; return (<-hw.Boots)[0] == bmc.Disk }},
				{[]string{"chassis", "power", "reset"}, "Reset", func() bool { <-hw.Stops; <-hw.Boots; return true }},
				{[]string{"chassis", "power", "soft"}, "Soft", func() bool { <-hw.Buttons; return true }},
				{[]string{"chassis", "status"}, "System Power         : on", nil},
				{[]string{"chassis", "bootdev", "none"}, "Set Boot Device to none", func() bool { return m.Boot().Device == bmc.NoDevice }},
				{[]string{"sdr", "list", "all"}, "BMC", nil},
				{[]string{"fru", "print", "0"}, "lab machine", nil},
				{[]string{"mc", "reset", "cold"}, "Sent cold reset", m.PoweredOn},
				{[]string{"chassis", "power", "off"}, "Down/Off", func() bool { <-hw.Stops; return true }},
			}
			for _, s := range steps {
				out, err := tool(t, port, suite, s.args...)
				if err != nil || !strings.Contains(out, s.want) {
					t.Errorf("ipmitool %s: %v\n%s\nwant %q", strings.Join(s.args, " "), err, out, s.want)
				}
				if s.check != nil && !s.check() {
					t.Errorf("ipmitool %s: no effect on the machine", strings.Join(s.args, " "))
				}
			}
			if out, err := tool(t, port, suite, "chassis", "power", "cycle"); err == nil {
				t.Errorf("power cycle while off succeeded, want completion code D5h:\n%s", out)
			}
		})
	}
}

func TestGoIPMIClient(t *testing.T) {
	m, hw, port := start(t)
	c, err := client.NewClient("127.0.0.1", port, user, password)
	if err != nil {
		t.Fatal(err)
	}
	c.WithInterface(client.InterfaceLanplus)
	ctx := t.Context()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if err := m.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	<-hw.Boots
	st, err := c.GetChassisStatus(ctx)
	if err != nil || !st.PowerIsOn {
		t.Errorf("chassis status: %v, %+v; want power on", err, st)
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	_, _, port := start(t)
	c, err := client.NewClient("127.0.0.1", port, user, "wrong")
	if err != nil {
		t.Fatal(err)
	}
	c.WithInterface(client.InterfaceLanplus)
	if err := c.Connect(t.Context()); err == nil {
		t.Error("a wrong password opened a session")
	}
}

func TestDeadBMCIsSilent(t *testing.T) {
	m, _, port := start(t)
	m.SetFault(machine.BMCDead, true)
	if out, err := tool(t, port, "17", "chassis", "power", "status"); err == nil {
		t.Errorf("a dead BMC answered: %s", out)
	}
	m.SetFault(machine.BMCDead, false)
	if out, err := tool(t, port, "17", "chassis", "power", "status"); err != nil {
		t.Errorf("a repaired BMC does not answer: %v %s", err, out)
	}
}
