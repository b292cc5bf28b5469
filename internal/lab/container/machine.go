package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/firmware"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

const (
	// noDevicePause is how long the firmware shows "no bootable device" before it starts over.
	noDevicePause = 3 * time.Second
	// rebootStatus is nspawn's exit status when the system inside rebooted (systemd-nspawn(1), --keep-unit).
	rebootStatus = 133
	diskName     = "sda"
	dirMode      = 0o700
)

// Config describes one machine.
type Config struct {
	Info bmc.Info
	// Name is unique on the host, e.g. "tripleo-lab-node0": its namespace, cgroup and nspawn name.
	Name string
	// Cgroup is the group's path below each hierarchy.
	Cgroup string
	// Dir holds the machine's disk and scratch files.
	Dir string
	// NIC is the interface in the namespace Name, a TAP of the switch; MAC and MTU are set at each power-on.
	NIC string
	MAC net.HardwareAddr
	MTU int
	Log *slog.Logger
}

// Machine is the hardware of one machine. It implements machine.Hardware.
type Machine struct {
	cfg  Config
	disk string // file
	loop *loop

	mu      sync.Mutex
	current *process
	nspawn  bool // current is an installed system
}

// New makes the machine's disk and attaches it.
func New(cfg Config) (*Machine, error) {
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
	}
	m := &Machine{cfg: cfg, disk: filepath.Join(cfg.Dir, "disk.raw")}
	for _, d := range []string{m.rootDir(), m.scratchDir()} {
		if err := os.MkdirAll(d, dirMode); err != nil {
			return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
		}
	}
	if err := createDisk(m.disk, cfg.Info.DiskBytes); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
	}
	l, err := attachLoop(m.disk, 0, 0, false)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
	}
	m.loop = l
	return m, nil
}

// Close detaches the disk. The machine must be off.
func (m *Machine) Close() error { return m.loop.Close() }

func (m *Machine) rootDir() string    { return filepath.Join(m.cfg.Dir, "root") }
func (m *Machine) scratchDir() string { return filepath.Join(m.cfg.Dir, "scratch") }

// Boot implements machine.Hardware.
func (m *Machine) Boot(ctx context.Context, b machine.Board, order []bmc.BootDevice) machine.Outcome {
	printf := func(format string, a ...any) { _, _ = fmt.Fprintf(b.Console(), format, a...) }
	printf("\n%s %s, BIOS %s, serial %s\n%d processors, %d MiB memory\n", m.cfg.Info.Manufacturer, m.cfg.Info.Product, m.cfg.Info.BIOSVersion, m.cfg.Info.Serial, m.cfg.Info.CPUs, m.cfg.Info.MemoryMiB)
	if err := resetInterface(m.cfg.Name, m.cfg.NIC, m.cfg.MAC, m.cfg.MTU); err != nil {
		printf("network: %v\n", err)
		m.cfg.Log.Error("power-on self test", "err", err)
	}
	for _, dev := range order {
		var out machine.Outcome
		var err error
		switch dev {
		case bmc.PXE:
			out, err = m.bootNetwork(ctx, b)
		case bmc.Disk:
			out, err = m.bootDisk(ctx, b)
		default:
			continue
		}
		if ctx.Err() != nil {
			return machine.PoweredOff
		}
		switch {
		case err == nil:
			return out
		case errors.Is(err, firmware.ErrReboot):
			return machine.Restart
		case errors.Is(err, firmware.ErrPowerOff):
			return machine.PoweredOff
		}
		printf("boot from %s: %v\n", dev, err)
		m.cfg.Log.Info("boot device failed", "device", dev, "err", err)
	}
	printf("no bootable device\n")
	b.Phase("firmware", "no bootable device")
	select {
	case <-ctx.Done():
		return machine.PoweredOff
	case <-time.After(noDevicePause):
		return machine.Restart
	}
}

// PowerButton implements machine.Hardware. An installed system shuts down; a
// ramdisk has nobody who listens to the button.
func (m *Machine) PowerButton() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != nil && m.nspawn {
		_ = m.current.cmd.Process.Signal(unix.SIGTERM) // nspawn passes it on as --kill-signal
	}
}

// SetBadDisk makes the disk refuse to be written, or repairs it: each write gets
// an error (EPERM), also of who has the disk open already; reads go on.
func (m *Machine) SetBadDisk(bad bool) error {
	readOnly := 0
	if bad {
		readOnly = 1
	}
	if err := unix.IoctlSetPointerInt(int(m.loop.f.Fd()), unix.BLKROSET, readOnly); err != nil {
		return fmt.Errorf("bad disk %s: %w", m.loop.path, err)
	}
	return nil
}

// Input writes to the machine's console as if typed; it is lost when nothing runs.
func (m *Machine) Input(p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil {
		return errors.New("nothing reads the console")
	}
	_, err := m.current.master.Write(p)
	return err
}

// run starts a child in the machine's cgroup and waits for its end.
func (m *Machine) run(ctx context.Context, o startOptions, nspawn bool, blocks ...string) (syscall.WaitStatus, error) {
	cg := cgroup(m.cfg.Cgroup)
	if err := cg.create(blocks...); err != nil {
		return 0, err
	}
	o.spec.Cgroup = m.cfg.Cgroup
	p, err := start(o)
	if err != nil {
		return 0, errors.Join(err, cg.kill(context.WithoutCancel(ctx)))
	}
	m.mu.Lock()
	m.current, m.nspawn = p, nspawn
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.current = nil
		m.mu.Unlock()
	}()
	return p.wait(ctx, cg)
}

func (m *Machine) bootNetwork(ctx context.Context, b machine.Board) (machine.Outcome, error) {
	b.Phase("pxe", "")
	info := m.cfg.Info
	img, err := firmware.NetBoot(ctx, firmware.Config{
		Namespace: m.cfg.Name, Interface: m.cfg.NIC, MAC: m.cfg.MAC, UUID: info.UUID,
		Manufacturer: info.Manufacturer, Product: info.Product, Serial: info.Serial,
		Console: b.Console(), Phase: func(d string) { b.Phase("pxe", d) }, ScratchDir: m.scratchDir(),
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = img.Close() }()
	return m.bootRamdisk(ctx, b, img)
}

// bootRamdisk runs the initramfs' init. Its interface begins without address,
// as a kernel finds it.
func (m *Machine) bootRamdisk(ctx context.Context, b machine.Board, img *firmware.BootImage) (machine.Outcome, error) {
	var files []*os.File
	for _, i := range img.Initrds {
		f, ok := i.Content.(interface{ File() *os.File })
		if !ok {
			return 0, fmt.Errorf("initrd %s is not a file", i.Name)
		}
		files = append(files, f.File())
	}
	if len(files) == 0 {
		return 0, fmt.Errorf("kernel panic - no initrd came with %s", img.Kernel.URL)
	}
	if err := resetInterface(m.cfg.Name, m.cfg.NIC, m.cfg.MAC, m.cfg.MTU); err != nil {
		return 0, err
	}
	if err := m.loop.settle(); err != nil {
		return 0, err
	}
	host, err := m.hostSpec()
	if err != nil {
		return 0, err
	}
	b.Phase("ramdisk", img.Kernel.Args)
	_, _ = fmt.Fprintf(b.Console(), "kernel command line: %s\n", img.Kernel.Args)
	ws, err := m.run(ctx, startOptions{
		spec:       childSpec{Ramdisk: &ramdiskSpec{Initrds: len(files), Cmdline: img.Kernel.Args, Root: m.rootDir(), Host: host}},
		files:      files,
		namespace:  m.cfg.Name,
		cloneFlags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		console:    b.Console(),
	}, false, fmt.Sprintf("%d:%d", loopMajor, host.Disk.LoopMinor))
	if err != nil {
		return machine.Hung, err
	}
	if err := m.loop.settle(); err != nil {
		return machine.Hung, err
	}
	return ramdiskOutcome(ws, b.Console()), nil
}

// ramdiskOutcome reads how an init ended. In a PID namespace reboot(2) kills
// init with SIGHUP for a restart and SIGINT for halt or power off
// (reboot(2), "Behavior inside PID namespaces").
func ramdiskOutcome(ws syscall.WaitStatus, console io.Writer) machine.Outcome {
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGHUP:
		return machine.Restart
	case ws.Signaled() && ws.Signal() == unix.SIGINT, ws.Exited() && ws.ExitStatus() == 0:
		return machine.PoweredOff
	}
	_, _ = fmt.Fprintf(console, "kernel panic - not syncing: attempted to kill init! exitcode=0x%08x\n", uint32(ws))
	return machine.Hung
}

func (m *Machine) hostSpec() (hostSpec, error) {
	minor, err := m.loop.minor()
	if err != nil {
		return hostSpec{}, err
	}
	i := m.cfg.Info
	return hostSpec{
		UUID: i.UUID, Manufacturer: i.Manufacturer, Product: i.Product, Serial: i.Serial, BIOSVersion: i.BIOSVersion,
		CPUs: i.CPUs, MemoryMiB: i.MemoryMiB, NIC: m.cfg.NIC,
		Disk: diskSpec{Name: diskName, LoopMinor: minor, Bytes: i.DiskBytes, Serial: i.Serial + "-0", WWN: wwn(m.cfg.MAC), Model: "LAB-DISK", Vendor: "TRIPLEO"},
	}, nil
}

// wwn makes a NAA 5 world wide name from the machine's MAC address.
func wwn(mac net.HardwareAddr) string { return fmt.Sprintf("0x50%x00", []byte(mac)) }

// bootDisk boots the system installed on the disk.
func (m *Machine) bootDisk(ctx context.Context, b machine.Board) (out machine.Outcome, err error) {
	b.Phase("disk", "reads the disk")
	if err := m.loop.settle(); err != nil {
		return 0, err
	}
	lay, err := readLayout(m.disk)
	if err != nil {
		return 0, err
	}
	nspawn, err := exec.LookPath("systemd-nspawn")
	if err != nil {
		return 0, fmt.Errorf("systemd-nspawn (package systemd-container): %w", err)
	}
	root, err := attachLoop(m.disk, lay.root.start, lay.root.size, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.Close(), m.loop.settle()) }()
	if err := mountRoot(root.path, m.rootDir()); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unmount(m.rootDir())) }()
	args, blocks := m.nspawnArgs(nspawn), []string(nil)
	if lay.config.size > 0 {
		cfg, err := attachLoop(m.disk, lay.config.start, lay.config.size, true)
		if err != nil {
			return 0, err
		}
		defer func() { _ = cfg.Close() }()
		minor, err := cfg.minor()
		if err != nil {
			return 0, err
		}
		args = append(args, "--bind-ro="+cfg.path+":/dev/disk/by-label/"+configLabel)
		blocks = append(blocks, fmt.Sprintf("%d:%d", loopMajor, minor))
	}
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux",
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network", // /proc/sys/net is the machine's own
	}
	if hybrid() {
		env = append(env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0")
	}
	b.Phase("disk", "runs the installed system")
	ws, err := m.run(ctx, startOptions{spec: childSpec{Exec: &execSpec{Path: nspawn, Args: args, Env: env}}, namespace: m.cfg.Name, console: b.Console()}, true, blocks...)
	// nspawn leaves an empty folder there unless /run is a tmpfs.
	_ = os.RemoveAll(filepath.Join("/run/systemd/nspawn/propagate", m.cfg.Name))
	if err != nil {
		return machine.Hung, err
	}
	switch {
	case ws.Exited() && ws.ExitStatus() == rebootStatus:
		return machine.Restart, nil
	case ws.Exited() && ws.ExitStatus() == 0:
		return machine.PoweredOff, nil
	}
	_, _ = fmt.Fprintf(b.Console(), "the system ended: systemd-nspawn %s\n", describe(ws))
	return machine.Hung, nil
}

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "killed by " + ws.Signal().String()
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}

// nspawnArgs is nspawn's command line. nspawn itself is started inside the
// machine's network namespace: with --network-namespace-path /sys would still
// show the host's interfaces.
func (m *Machine) nspawnArgs(nspawn string) []string {
	return []string{
		nspawn, "--boot", "--quiet", "--settings=no", "--register=no", "--keep-unit", "--private-users=no",
		"--directory=" + m.rootDir(), "--machine=" + m.cfg.Name,
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_IPC_LOCK,CAP_SYS_RESOURCE,CAP_SYS_NICE", "--kill-signal=SIGRTMIN+4",
		"--console=interactive", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--notify-ready=no",
		fmt.Sprintf("--rlimit=RLIMIT_NOFILE=1024:%d", maxFiles), "--rlimit=RLIMIT_MEMLOCK=infinity", "--rlimit=RLIMIT_NPROC=infinity",
	}
}

// mountRoot mounts the root partition, whatever of the usual file systems it has.
func mountRoot(dev, dir string) error {
	var errs []error
	for _, typ := range []string{"ext4", "xfs", "btrfs"} {
		err := unix.Mount(dev, dir, typ, unix.MS_NOATIME, "")
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", typ, err))
	}
	return fmt.Errorf("mount the root partition: %w", errors.Join(errs...))
}

// unmount waits for the file system to be free; what is still busy then is detached.
func unmount(dir string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := unix.Unmount(dir, 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("unmount %s: %w", dir, err), unix.Unmount(dir, unix.MNT_DETACH))
		}
		time.Sleep(stopPoll)
	}
}
