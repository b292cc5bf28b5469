package md

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of md_u.h: _IOW(9, number, size), _IO(9, number).
const (
	addNewDisk   = 1<<30 | 20<<16 | 9<<8 | 0x21
	setArrayInfo = 1<<30 | 72<<16 | 9<<8 | 0x23
	runArray     = 1<<30 | 12<<16 | 9<<8 | 0x30
	stopArray    = 9<<8 | 0x32
)

// arrayInfo is mdu_array_info_t. With raid_disks 0 it only says which version of superblock the members have.
type arrayInfo struct {
	Major, Minor, Patch int32
	_                   [15]int32
}

// diskInfo is mdu_disk_info_t.
type diskInfo struct{ Number, Major, Minor, RaidDisk, State int32 }

// Kernel assembles and stops arrays. The device nodes come from devtmpfs.
type Kernel struct{}

// Assemble starts an array from its members, also with some missing if its level can bear that.
func (Kernel) Assemble(a Array) (err error) {
	// Opening a node makes no array where the kernel was built so; this always does (md.c, add_named_array).
	name := filepath.Base(a.Device)
	if _, err := os.Stat("/sys/block/" + name); err != nil {
		if err := os.WriteFile("/sys/module/md_mod/parameters/new_array", []byte(name), 0o600); err != nil {
			return fmt.Errorf("%s: the kernel makes no array: %w", a.Device, err)
		}
	}
	f, err := os.OpenFile(a.Device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info := arrayInfo{Major: 1, Minor: int32(a.Minor)}                    //nolint:gosec // 0 or 2
	if err := ioctl(f, setArrayInfo, unsafe.Pointer(&info)); err != nil { //nolint:gosec // the kernel takes a pointer
		return fmt.Errorf("%s: %w", a.Device, err)
	}
	for _, m := range a.Members {
		var st unix.Stat_t
		if err := unix.Stat(m.Path(), &st); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", m.Path(), err), stop(f))
		}
		d := diskInfo{Major: int32(unix.Major(uint64(st.Rdev))), Minor: int32(unix.Minor(uint64(st.Rdev)))} //nolint:gosec,unconvert // Rdev is narrower elsewhere
		if err := ioctl(f, addNewDisk, unsafe.Pointer(&d)); err != nil {                                    //nolint:gosec // the kernel takes a pointer
			return errors.Join(fmt.Errorf("%s does not become part of %s: %w", m.Path(), a.Device, err), stop(f))
		}
	}
	if err := ioctl(f, runArray, nil); err != nil {
		return errors.Join(fmt.Errorf("%s does not start: %w", a.Device, err), stop(f))
	}
	return nil
}

// Stop ends an array; one that is not there is no error.
func (Kernel) Stop(device string) error {
	f, err := os.OpenFile(device, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(stop(f), f.Close())
}

func stop(f *os.File) error {
	if err := ioctl(f, stopArray, nil); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("stop %s: %w", f.Name(), err)
	}
	return nil
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
