package ramdisk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/efi"
	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/lldp"
	"github.com/tripleo/tripleo/internal/agent/md"
)

// powerGrace is how long the API stays up after a power command.
const powerGrace = 2 * time.Second

// Main is the ramdisk's whole life. As the first process of a machine it mounts what is missing, loads modules,
// and ends by rebooting or powering off; it never returns then. Otherwise it returns when ctx ends or a power
// command was given, which it only reports. console gets the log.
func Main(ctx context.Context, console io.Writer) error {
	logs := NewLogBuffer(console)
	level := new(slog.LevelVar)
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level}))
	first := os.Getpid() == 1
	if first {
		var stop context.CancelCauseFunc
		ctx, stop = context.WithCancelCause(ctx)
		go firstProcessSignals(ctx, stop, log)
		prepare(ctx, log)
	}
	for attempt := 1; ; attempt++ {
		action, err := live(ctx, log, logs, level, first)
		if cause := context.Cause(ctx); cause != nil {
			var s stopError
			if errors.As(cause, &s) {
				action, err = s.action, nil
			}
		}
		if action == ActionNone && ctx.Err() != nil {
			err = nil // stopped from outside, as asked
		}
		if !first {
			if action != ActionNone {
				log.Info("not the first process: the machine is left as it is", "action", action)
			}
			return err
		}
		if action != ActionNone {
			halt(action, log)
		}
		if err != nil {
			log.Error("the agent failed; starting it again", "err", err)
		}
		// The first process must not end: the kernel would panic.
		time.Sleep(Backoff(attempt, 30*time.Second))
	}
}

type stopError struct{ action Action }

func (e stopError) Error() string { return "asked to " + string(e.action) }

// live runs the agent once, from the kernel arguments to its end.
func live(ctx context.Context, log *slog.Logger, logs *LogBuffer, level *slog.LevelVar, first bool) (Action, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return ActionNone, fmt.Errorf("kernel arguments: %w", err)
	}
	cfg, err := ConfigFrom(ParseCmdline(string(text)))
	if err != nil {
		return ActionNone, err
	}
	if cfg.Debug {
		level.Set(slog.LevelDebug)
	}
	src := systemSources(ctx)
	src.BootIF = cfg.BootMAC
	log.Info("tripleo-agent in the ramdisk", "version", Version, "api", cfg.APIURL, "inspection", cfg.InspectionURL,
		"boot_mac", cfg.BootMAC, "boot_mode", hardware.BootMode(src.Sys), "first_process", first)
	if first {
		awaitDisk(ctx, src, log)
	}
	if err := (&network{src: src, log: log, bootMAC: cfg.BootMAC, six: speaksIPv6(cfg)}).up(ctx); err != nil {
		return ActionNone, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", DefaultPort))
	if err != nil {
		return ActionNone, err
	}
	return Run(ctx, Options{
		Config: cfg, Sources: src, Log: log, Logs: logs, Listener: listener, AdvertiseIP: AdvertiseIP,
		Client:  clientTimeouts(&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: cfg.Insecure}}), // ipa-insecure asks for it
		EFIVars: efi.Dir,
		OpenDisk: func(path string) (disk.Device, error) {
			d, err := disk.Open(path)
			if err != nil {
				return nil, err
			}
			return d, nil
		},
		OpenShared: func(path string) (disk.Device, error) {
			d, err := disk.OpenShared(path)
			if err != nil {
				return nil, err
			}
			return d, nil
		},
		Arrays: arrays(first),
		ListenLLDP: func(ctx context.Context, timeout time.Duration) map[string][]lldp.TLV {
			return lldp.Listen(ctx, hardware.PhysicalNames(src.Sys), timeout, func(name string) bool { return hardware.Connected(src.Sys, name) }, log)
		},
		ListenRescue: func() (net.Listener, error) { return lc.Listen(ctx, "tcp", ":22") },
		Version:      Version, Now: time.Now, Random: rand.Float64, Backoff: Backoff, Grace: powerGrace,
	})
}

// arrays is the kernel's software RAID for the first process of a machine with a kernel of its own; another must not
// touch a host's arrays.
func arrays(first bool) Assembler {
	if _, err := os.Stat("/sys/module/md_mod/parameters/new_array"); !first || err != nil {
		return nil
	}
	return md.Kernel{}
}

func systemSources(ctx context.Context) hardware.Sources {
	src := hardware.Sources{Proc: os.DirFS("/proc"), Sys: os.DirFS("/sys"), Dev: os.DirFS("/dev"), Addresses: interfaceAddresses}
	src.BMC = sync.OnceValues(func() (v4, v6 netip.Addr) { return hardware.BMCAddresses(ctx) })
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		src.Architecture = unix.ByteSliceToString(u.Machine[:])
	} else {
		src.Architecture = runtime.GOARCH
	}
	if name, err := os.Hostname(); err == nil && name != "(none)" {
		src.Hostname = name
	}
	return src
}

// prepare makes the kernel's file systems available where nobody did yet, and loads modules where there are
// some for the running kernel.
func prepare(ctx context.Context, log *slog.Logger) {
	mounts := []struct {
		target, kind, options, proof string
		flags                        uintptr
	}{
		{"/proc", "proc", "", "/proc/self", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
		{"/sys", "sysfs", "", "/sys/class", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
		{"/dev", "devtmpfs", "mode=0755", "", unix.MS_NOSUID}, // the archive has /dev/null and /dev/console itself
		{"/run", "tmpfs", "mode=0755", "/run/lock", unix.MS_NOSUID | unix.MS_NODEV},
		{"/tmp", "tmpfs", "mode=1777", "/tmp/.", unix.MS_NOSUID | unix.MS_NODEV},
	}
	for _, m := range mounts {
		if m.proof == "" && mounted(m.target, "/") {
			continue
		}
		if _, err := os.Stat(m.proof); err == nil {
			continue // somebody prepared it
		}
		err := os.MkdirAll(m.target, 0o755) // directories of the root file system
		if err == nil {
			err = unix.Mount(m.kind, m.target, m.kind, m.flags, m.options)
		}
		if err != nil {
			log.Warn("not mounted", "target", m.target, "err", err)
		}
	}
	if err := loadModules(ctx, log); err != nil {
		log.Debug("no modules loaded", "err", err)
	}
	// The folder is there on machines that were started by UEFI.
	if _, err := os.Stat(efi.Dir); err == nil && !mounted(efi.Dir, path.Dir(efi.Dir)) {
		if err := unix.Mount("efivarfs", efi.Dir, "efivarfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
			log.Warn("not mounted", "target", efi.Dir, "err", err)
		}
	}
	awaitRandom(log)
}

// mounted reports whether a folder has another file system than its parent.
func mounted(dir, parent string) bool {
	var here, above unix.Stat_t
	return unix.Stat(dir, &here) == nil && unix.Stat(parent, &above) == nil && here.Dev != above.Dev
}

// awaitRandom blocks until the kernel's random generator is seeded. The first blocking call makes a kernel
// without a hardware source gather entropy from its own jitter (drivers/char/random.c, try_to_generate_entropy);
// without one, the DHCP client's non-blocking reads would spin until some other event seeds it.
func awaitRandom(log *slog.Logger) {
	if _, err := unix.Getrandom(make([]byte, 1), 0); err != nil {
		log.Warn("no random numbers from the kernel", "err", err)
	}
}

// firstProcessSignals does what init owes the kernel: it collects orphaned children, and treats the power
// button (SIGPWR, SIGTERM) and Ctrl-Alt-Del (SIGINT) as what they mean.
func firstProcessSignals(ctx context.Context, stop context.CancelCauseFunc, log *slog.Logger) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGPWR, unix.SIGINT)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			switch s {
			case unix.SIGCHLD:
				for {
					if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
						break
					}
				}
			case unix.SIGINT:
				log.Info("asked to reboot", "signal", s.String())
				stop(stopError{ActionReboot})
			default:
				log.Info("asked to power off", "signal", s.String())
				stop(stopError{ActionPowerOff})
			}
		}
	}
}

// halt ends the machine.
func halt(action Action, log *slog.Logger) {
	log.Info("the machine ends its ramdisk", "action", strings.ToUpper(string(action)))
	unix.Sync()
	command := unix.LINUX_REBOOT_CMD_RESTART
	if action == ActionPowerOff {
		command = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	if err := unix.Reboot(command); err != nil {
		log.Error("reboot refused by the kernel", "action", action, "err", err)
	}
}
