package ramdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/ramdisk/kmod"
)

const (
	// quietTime without news from the kernel means that it has found its devices; settleTime bounds the wait.
	quietTime  = 1500 * time.Millisecond
	settleTime = 20 * time.Second
	// diskWait is how long the first disk may take, as ironic-python-agent has it (disk_wait_attempts of 10, 3 s each).
	diskWait = 30 * time.Second
	// ueventGroup is the multicast group of the kernel's own messages (udev's are in group 2).
	ueventGroup = 1
)

// loadModules loads the drivers of everything in the machine, and from then on of whatever appears. Packet
// sockets, which DHCP needs, have no device that would ask for them; a SCSI disk appears only when its driver is
// there to look; a controller that only SMBIOS tells of appears once the IPMI driver looks there; the kernel would ask
// for RAID levels by a program that is not there.
func loadModules(ctx context.Context, log *slog.Logger) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	dir := "/lib/modules/" + unix.ByteSliceToString(u.Release[:])
	index, err := kmod.Parse(os.DirFS(dir))
	if err != nil {
		return err
	}
	// Before the first look, so that nothing falls between the two.
	events, err := uevents()
	if err != nil {
		return err
	}
	l := &kmod.Loader{Index: index, Insert: func(file string) error { return insertModule(dir + "/" + file) }}
	for _, name := range []string{"af_packet", "ipv6", "sd_mod", "evdev", "efivarfs", "ipmi_devintf", "raid0", "raid1", "raid10"} {
		if err := l.Load(name); err != nil {
			log.Warn("module not loaded", "module", name, "err", err)
		}
	}
	_, failed := l.Coldplug(os.DirFS("/sys"))
	for _, err := range failed {
		log.Warn("module not loaded", "err", err)
	}
	settled := make(chan struct{})
	go hotplug(ctx, events, l, log, settled)
	select {
	case <-settled:
	case <-time.After(settleTime):
	}
	return nil
}

// uevents opens the kernel's announcements of devices (netlink(7), NETLINK_KOBJECT_UEVENT). A read waits at most
// quietTime.
func uevents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return 0, fmt.Errorf("announcements of devices: %w", err)
	}
	wait := unix.NsecToTimeval(quietTime.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: ueventGroup}))
	if err != nil {
		return 0, errors.Join(fmt.Errorf("announcements of devices: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// hotplug loads the drivers of devices as they appear, and closes settled when none did for a while.
func hotplug(ctx context.Context, events int, l *kmod.Loader, log *slog.Logger, settled chan struct{}) {
	defer func() { _ = unix.Close(events) }()
	buf := make([]byte, 16<<10)
	quiet := false
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(events, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if !quiet {
				quiet = true
				close(settled)
			}
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS): // lost some: they are found by looking
			if errors.Is(err, unix.ENOBUFS) {
				l.Coldplug(os.DirFS("/sys"))
			}
			continue
		case err != nil:
			log.Warn("no more announcements of devices", "err", err)
			return
		}
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 { // only the kernel is believed
			continue
		}
		alias, ok := modalias(buf[:n])
		if !ok {
			continue
		}
		for _, module := range l.Index.Match(alias) {
			if err := l.Load(module); err != nil {
				log.Warn("module not loaded", "module", module, "for", alias, "err", err)
			}
		}
	}
}

// modalias reads an announcement: "add@/devices/…", then NAME=VALUE, each ended by a zero byte.
func modalias(message []byte) (string, bool) {
	if !bytes.HasPrefix(message, []byte("add@")) {
		return "", false
	}
	for field := range bytes.SplitSeq(message, []byte{0}) {
		if v, ok := bytes.CutPrefix(field, []byte("MODALIAS=")); ok {
			return string(v), true
		}
	}
	return "", false
}

func insertModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return fs.ErrExist
		}
		return err
	}
	return nil
}

// awaitDisk waits a while for the first disk: controllers look for theirs in the background.
func awaitDisk(ctx context.Context, src hardware.Sources, log *slog.Logger) {
	for waited := time.Duration(0); len(hardware.Disks(src.Sys, src.Dev)) == 0; waited += quietTime {
		if waited >= diskWait {
			log.Warn("the machine has no disk", "waited", waited)
			return
		}
		if sleep(ctx, quietTime) != nil {
			return
		}
	}
}
