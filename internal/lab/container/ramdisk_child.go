package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/firmware"
)

// ramdiskSpec is a ramdisk to boot: the child is PID 1 of new PID, mount, UTS
// and IPC namespaces and in the machine's network namespace already.
type ramdiskSpec struct {
	// Initrds is the number of initrd files on the descriptors after specFD.
	Initrds int
	Cmdline string
	// Root is an empty folder to mount the root on.
	Root string
	// Host describes the machine for /sys, /proc and /dev.
	Host hostSpec
}

// run builds the root file system and becomes its /init.
func (r *ramdiskSpec) run() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// As a ramdisk's root, the tmpfs may fill half the machine's memory.
	size := fmt.Sprintf("mode=755,size=%dm", r.Host.MemoryMiB/2)
	if err := unix.Mount("rootfs", r.Root, "tmpfs", 0, size); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	for i := range r.Initrds {
		f := os.NewFile(uintptr(specFD+1+i), "initrd")
		fi, err := f.Stat()
		if err != nil {
			return fmt.Errorf("initrd %d: %w", i, err)
		}
		if err := firmware.Unpack(f, fi.Size(), r.Root, r.Root); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("initrd %d: %w", i, err)
		}
	}
	if _, err := os.Stat(filepath.Join(r.Root, "init")); err != nil {
		return fmt.Errorf("kernel panic - no init found in the initramfs: %w", err)
	}
	if err := r.Host.populate(r.Root, r.Cmdline); err != nil {
		return err
	}
	if err := enterRoot(r.Root); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("(none)")); err != nil { // as a kernel without configuration
		return fmt.Errorf("host name: %w", err)
	}
	if err := raiseLimits(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := denyMounts(); err != nil {
		return err
	}
	env := []string{"HOME=/", "TERM=linux"} // what Linux gives to init
	if err := unix.Exec("/init", []string{"/init"}, env); err != nil {
		return fmt.Errorf("kernel panic - cannot execute /init: %w", err)
	}
	return nil
}

// enterRoot makes dir the root and forgets the host's file system.
func enterRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	// pivot_root(2): with both arguments "." the old root ends up on top of the new one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

// dropCapabilities takes from the ramdisk what would reach the host's kernel:
// modules, the clock, the kernel's log and its memory.
func dropCapabilities() error {
	runtime.LockOSThread() // the bounding set is the thread's; exec follows on it
	for _, c := range []uintptr{unix.CAP_SYS_MODULE, unix.CAP_SYS_TIME, unix.CAP_SYSLOG, unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE, unix.CAP_WAKE_ALARM} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// denyMounts makes the kernel answer every mount with EBUSY, which says
// "already mounted": an init that mounts /proc, /sys and /dev goes on with what
// is there, and cannot uncover the host's devices. The newer mount calls do
// not exist (ENOSYS), so that programs fall back to mount(2).
func denyMounts() error {
	runtime.LockOSThread() // exec follows on this thread; the filter survives it
	const (
		ldAbsW = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
		errno  = unix.SECCOMP_RET_ERRNO
	)
	busy := []uint32{unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT}
	absent := []uint32{unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR}
	prog := []unix.SockFilter{{Code: ldAbsW, K: 0}} // seccomp_data.nr
	for _, group := range []struct {
		calls []uint32
		err   unix.Errno
	}{{busy, unix.EBUSY}, {absent, unix.ENOSYS}} {
		for _, nr := range group.calls {
			prog = append(prog, unix.SockFilter{Code: jeq, K: nr, Jf: 1}, unix.SockFilter{Code: ret, K: uint32(errno) | uint32(group.err)})
		}
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	// CAP_SYS_ADMIN is here, so no_new_privs need not be set.
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); e != 0 { //nolint:gosec // the kernel takes a pointer
		return fmt.Errorf("install the mount filter: %w", e)
	}
	runtime.KeepAlive(prog)
	return nil
}

// tree writes files below a root; the first error sticks.
type tree struct {
	root string
	err  error
}

func (t *tree) do(what string, f func() error) {
	if t.err != nil {
		return
	}
	if err := f(); err != nil {
		t.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (t *tree) path(p string) string { return filepath.Join(t.root, p) }

func (t *tree) dir(p string) {
	t.do(p, func() error { return os.MkdirAll(t.path(p), 0o755) })
}

func (t *tree) file(p, content string) {
	t.dir(filepath.Dir(p))
	t.do(p, func() error { return os.WriteFile(t.path(p), []byte(content), 0o644) })
}

// attr writes a sysfs attribute: a line.
func (t *tree) attr(p, value string) { t.file(p, value+"\n") }

// link makes p a relative symbolic link to target, both from the root, as sysfs has them.
func (t *tree) link(p, target string) {
	t.dir(filepath.Dir(p))
	t.do(p, func() error {
		rel, err := filepath.Rel(filepath.Dir(p), target)
		if err != nil {
			return err
		}
		err = os.Symlink(rel, t.path(p))
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
}

func (t *tree) mount(src, p, typ string, flags uintptr, data string) {
	t.dir(p)
	t.do("mount "+p, func() error { return unix.Mount(src, t.path(p), typ, flags, data) })
}

// bind shows a file or folder of the present root at p.
func (t *tree) bind(src, p string) {
	t.do("bind "+p, func() error {
		fi, err := os.Stat(src)
		if err != nil {
			return err
		}
		if fi.IsDir() {
			err = os.MkdirAll(t.path(p), 0o755)
		} else if err = os.MkdirAll(filepath.Dir(t.path(p)), 0o755); err == nil {
			err = touch(t.path(p))
		}
		if err != nil {
			return err
		}
		return unix.Mount(src, t.path(p), "", unix.MS_BIND, "")
	})
}

func touch(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, nil, 0o644)
}

func (t *tree) node(p string, mode uint32, major, minor uint32) {
	t.do(p, func() error {
		if err := unix.Mknod(t.path(p), mode, int(unix.Mkdev(major, minor))); err != nil {
			return err
		}
		return os.Chmod(t.path(p), os.FileMode(mode&0o777))
	})
}

func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }
