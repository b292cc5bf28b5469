package container

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/netns"
)

const mib = 1 << 20

// debianRoot makes a minimal Debian with systemd, once per machine: it is kept
// in the user's cache folder.
func debianRoot(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"mmdebstrap", "systemd-nspawn", "mkfs.ext4"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not installed", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "tripleo", "test")
	tar := filepath.Join(dir, "bookworm-systemd.tar")
	if _, err := os.Stat(tar); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,iproute2", "bookworm", tar+".part.tar")
		if err := os.Rename(tar+".part.tar", tar); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	run(t, "tar", "-C", root, "-xf", tar, "--exclude=./dev/*")
	return root
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install writes a disk as the ramdisk agent leaves it: ESP, BIOS boot, root
// and config drive.
func install(t *testing.T, disk, root string) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "root.ext4")
	f, err := os.Create(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(700 * mib); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	run(t, "mkfs.ext4", "-q", "-L", rootLabel, "-d", root, part)
	d, err := diskfs.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{ProtectiveMBR: true, LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 4095, Type: gpt.EFISystemPartition, Name: "ESP"},
		{Index: 2, Start: 4096, End: 6143, Type: gpt.BIOSBoot, Name: "BIOS"},
		{Index: 3, Start: 6144, End: 6144 + 700*2048 - 1, Type: gpt.LinuxFilesystem, Name: "root"},
		{Index: 4, Start: 6144 + 700*2048, End: 6144 + 701*2048 - 1, Type: gpt.LinuxFilesystem, Name: "config-2"},
	}}
	if err := d.Partition(table); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	out, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	run(t, "dd", "if="+part, "of="+disk, "bs=1M", "seek=3", "conv=notrunc,sparse", "status=none")
	// Enough of an ISO 9660 volume to have its label.
	iso := make([]byte, 0x8100)
	copy(iso[0x8000:], "\x01CD001\x01")
	copy(iso[0x8028:], "config-2                        ")
	if _, err := out.WriteAt(iso, (6144+700*2048)*sectorSize); err != nil {
		t.Fatal(err)
	}
}

// TestInstalledSystem boots Debian from a machine's disk: services run, the
// network is the machine's, the config drive is there, reboot and soft power
// off do what they say.
func TestInstalledSystem(t *testing.T) {
	r := newRack(t)
	root := debianRoot(t)
	unit := "[Service]\nType=oneshot\nStandardOutput=tty\nTTYPath=/dev/console\nExecStart=/bin/sh -c 'echo report: host $(hostname) nics $(echo $(ls /sys/class/net)) sysctl $(test -w /proc/sys/net/ipv4/ip_forward && echo w)$(test -w /proc/sys/kernel/panic || echo r) drive $(head -c 32774 /dev/disk/by-label/config-2 | tail -c 5)'\n[Install]\nWantedBy=multi-user.target\n"
	for name, content := range map[string]string{
		"etc/hostname": "controller-0\n", "etc/systemd/system/report.service": unit, "etc/machine-id": "",
		"etc/systemd/network/eth0.network": "[Match]\nName=eth0\n[Network]\nAddress=192.168.24.50/24\nLinkLocalAddressing=no\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "systemctl", "--root="+root, "enable", "report.service", "systemd-networkd.service")
	if err := createDisk(r.m.disk, 2<<30); err != nil {
		t.Fatal(err)
	}
	install(t, r.m.disk, root)

	if err := r.mach.Power(bmc.On); err != nil { // no override: the disk comes first
		t.Fatal(err)
	}
	r.console.wait(t, "report: host controller-0 nics eth0 lo sysctl wr drive CD001")
	r.console.wait(t, "login:")
	conn := func() error {
		return netns.Do(r.server, func() error {
			return exec.CommandContext(t.Context(), "ping", "-c", "1", "-W", "5", "192.168.24.50").Run()
		})
	}
	if _, err := exec.LookPath("ping"); err == nil {
		if err := conn(); err != nil {
			t.Errorf("the system does not answer on the switch: %v", err)
		}
	}
	if err := r.m.Input([]byte("root\n")); err != nil {
		t.Errorf("typing on the console: %v", err)
	}
	r.console.wait(t, "Password:")
	if err := r.mach.Power(bmc.Soft); err != nil {
		t.Fatal(err)
	}
	waitOff(t, r)
	for _, want := range []string{"System Power Off", "Powering off."} {
		if !strings.Contains(r.console.String(), want) {
			t.Errorf("the console does not say %q:\n%s", want, r.console)
		}
	}
	if n := cgroup(r.m.cfg.Cgroup).signal(0); n != 0 {
		t.Errorf("%d processes survive", n)
	}
}
