package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/qemu"
	"github.com/tripleo/tripleo/internal/netns"
)

// testVMs is a lab of virtual machines without anything to boot.
func testVMs(t *testing.T) Config {
	t.Helper()
	cfg := testConfig(t)
	cfg.Backend, cfg.Nodes, cfg.MemoryMiB, cfg.CPUs, cfg.Firmware = QEMU, 2, 512, 1, []string{qemu.BIOS, qemu.UEFI}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, VIRTUAL MACHINES ARE NOT TESTED: qemu-system-x86 is not installed; run `make deps`")
	}
	return cfg
}

func consoleOf(t *testing.T, c *Client, node string) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Console(t.Context(), node, &out, false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestVirtualMachinesBoot: both firmwares come up and ask the network; the
// machines' BMCs are the ones of the other backends.
func TestVirtualMachinesBoot(t *testing.T) {
	cfg := testVMs(t)
	up(t, cfg)
	c := NewClient(cfg.Dir)
	for _, n := range []string{"node-0", "node-1"} {
		if err := c.Power(t.Context(), n, bmc.On); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "SeaBIOS tries the disk and then its card's iPXE", func() bool {
		out := consoleOf(t, c, "node-0")
		return strings.Contains(out, "SeaBIOS") && strings.Contains(out, "not a bootable disk") && strings.Contains(out, "52:54:00:24:00:01 using virtio-net")
	})
	eventually(t, "UEFI asks for an address", func() bool { return strings.Contains(consoleOf(t, c, "node-1"), "Start PXE over IPv4") })
	if err := c.Power(t.Context(), "node-0", bmc.NMI); err != nil {
		t.Errorf("NMI: %v", err)
	}
	if err := c.SetFault(t.Context(), "node-0", machine.DiskBad, true); err != nil {
		t.Errorf("a disk goes bad while the machine runs: %v", err)
	}
	if err := c.SetFault(t.Context(), "node-0", machine.DiskBad, false); err != nil {
		t.Errorf("and is repaired: %v", err)
	}
	if err := c.SetFault(t.Context(), "node-1", machine.PowerOff, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine without mains is off", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.Machines[1].Phase == "off" && !st.Machines[1].PoweredOn
	})
}

// TestVirtualMachineOverSerialLAN: an operator sees the firmware come up by
// ipmitool and types into its card's iPXE.
func TestVirtualMachineOverSerialLAN(t *testing.T) {
	cfg := testVMs(t)
	cfg.Nodes, cfg.Firmware = 1, []string{qemu.BIOS}
	tool, err := exec.LookPath("ipmitool")
	if err != nil {
		t.Skip("SKIPPED: ipmitool is not installed (apt-get install ipmitool)")
	}
	st := up(t, cfg)
	b, err := os.ReadFile(st.Instackenv)
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ Nodes []map[string]any }
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatal(err)
	}
	node := func(key string) string { return env.Nodes[0][key].(string) }
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "-I", "lanplus", "-C", "17", "-H", node("pm_addr"), "-p", node("pm_port"), "-U", node("pm_user"), "-E", "sol", "activate")
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+node("pm_password"), "TERM=dumb")
	var tty *os.File
	if err := netns.Do(cfg.Name, func() (err error) { tty, err = pty.Start(cmd); return err }); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tty.Close() }()
	var seen []byte
	buf := make([]byte, 4096)
	// until reads up to a text and types keys whenever something has come.
	until := func(text, keys string) {
		t.Helper()
		for !bytes.Contains(seen, []byte(text)) {
			n, err := tty.Read(buf)
			seen = append(seen, buf[:n]...)
			if err != nil {
				t.Fatalf("%v before %q; so far %q", err, text, seen)
			}
			if _, err := io.WriteString(tty, keys); err != nil {
				t.Fatal(err)
			}
		}
	}
	until("SOL Session operational", "")
	if err := NewClient(cfg.Dir).Power(t.Context(), "node-0", bmc.On); err != nil {
		t.Fatal(err)
	}
	until("SeaBIOS", "")
	const ctrlB = "\x02" // iPXE's key to its command line
	until("iPXE>", ctrlB)
	if _, err := io.WriteString(tty, "\recho typed ${net0/mac} here\r"); err != nil {
		t.Fatal(err)
	}
	until("typed 52:54:00:24:00:01 here", "")
}

// TestVirtualMachinesSurviveTheLab: a lab that crashes leaves its machines
// running, its successor takes them over, and down ends them in either case.
func TestVirtualMachinesSurviveTheLab(t *testing.T) {
	cfg := testVMs(t)
	cfg.Nodes = 1
	st := up(t, cfg)
	if err := NewClient(cfg.Dir).Power(t.Context(), "node-0", bmc.On); err != nil {
		t.Fatal(err)
	}
	c := NewClient(cfg.Dir)
	eventually(t, "the machine runs", func() bool { return strings.Contains(consoleOf(t, c, "node-0"), "SeaBIOS") })
	crash := func(pid int) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lab is gone", func() bool { return lockHolder(cfg.Dir) == 0 })
	}
	pid := qemuPID(t, cfg)
	crash(st.PID)
	st = up(t, cfg)
	eventually(t, "the machine is taken over", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.Machines[0].PoweredOn && strings.Contains(st.Machines[0].Detail, "taken over")
	})
	if now := qemuPID(t, cfg); now != pid {
		t.Errorf("QEMU is process %s, was %s: a machine lost its power", now, pid)
	}
	if err := c.Power(t.Context(), "node-0", bmc.Off); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine is off", func() bool { return qemuPID(t, cfg) == "" })
	if err := c.Power(t.Context(), "node-0", bmc.On); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the machine runs again", func() bool { return qemuPID(t, cfg) != "" })
	crash(st.PID)
	if err := Down(t.Context(), cfg.Dir, false); err != nil {
		t.Fatal(err)
	}
	if left := qemuPID(t, cfg); left != "" {
		t.Errorf("QEMU %s is left after down", left)
	}
}

// qemuPID finds the QEMU that runs in a lab's folder; "" if there is none.
func qemuPID(t *testing.T, cfg Config) string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if to, err := filepath.EvalSymlinks(d); err == nil && strings.HasPrefix(to, cfg.Dir+"/") {
			return filepath.Base(filepath.Dir(d))
		}
	}
	return ""
}
