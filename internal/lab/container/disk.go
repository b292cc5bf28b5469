package container

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sys/unix"
)

const (
	sectorSize = 512
	// rootType is the GPT type "Linux root (x86-64)" of the Discoverable Partitions Specification.
	rootType = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	// rootLabel is the file system label our images give their root partition.
	rootLabel = "overcloud-root"
	// configLabel is that of an OpenStack config drive.
	configLabel = "config-2"
	// loopAttempts bounds the race for a free loop device with other processes.
	loopAttempts = 32
)

// errNoSystem says that a disk holds nothing to boot.
var errNoSystem = errors.New("no bootable system on the disk")

// loop is an attached loop device. It detaches by itself when its last user is
// gone (LO_FLAGS_AUTOCLEAR), so a killed lab leaves none behind.
type loop struct {
	f    *os.File
	path string
}

func (l *loop) Close() error { return l.f.Close() }

// minor is the device's minor number (its major is 7).
func (l *loop) minor() (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(l.f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", l.path, err)
	}
	return unix.Minor(st.Rdev), nil
}

// attachLoop shows size bytes at offset of a file as a block device; size 0
// means to the end.
func attachLoop(path string, offset, size int64, readOnly bool) (*loop, error) {
	mode := os.O_RDWR
	var flags uint32 = unix.LO_FLAGS_AUTOCLEAR
	if readOnly {
		mode, flags = os.O_RDONLY, flags|unix.LO_FLAGS_READ_ONLY
	}
	back, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w", err)
	}
	defer func() { _ = back.Close() }()
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device: %w", err)
	}
	defer func() { _ = ctl.Close() }()
	cfg := unix.LoopConfig{Fd: uint32(back.Fd()), Size: 0, Info: unix.LoopInfo64{Offset: uint64(offset), Sizelimit: uint64(size), Flags: flags}}
	copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], path)
	for range loopAttempts {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("loop device: get a free one: %w", err)
		}
		dev := fmt.Sprintf("/dev/loop%d", n)
		f, err := os.OpenFile(dev, mode, 0)
		if err != nil {
			return nil, fmt.Errorf("loop device: %w", err)
		}
		err = unix.IoctlLoopConfigure(int(f.Fd()), &cfg)
		if err == nil {
			return &loop{f: f, path: dev}, nil
		}
		_ = f.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("loop device %s over %s: %w", dev, path, err)
		}
	}
	return nil, errors.New("loop device: none free")
}

// settle writes a block device's cache to its file and forgets it, so that
// views through other loop devices agree.
func (l *loop) settle() error {
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", l.path, err)
	}
	if err := unix.IoctlSetInt(int(l.f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("flush %s: %w", l.path, err)
	}
	return nil
}

// area is a partition's place on its disk in bytes.
type area struct{ start, size int64 }

// layout is where the installed system lies on a disk.
type layout struct {
	root area
	// config is the config drive; size 0 if there is none.
	config area
}

// readLayout finds the root partition (by file system label, else by GPT
// type) and the config drive (by label). It returns errNoSystem for a blank disk.
func readLayout(path string) (layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return layout{}, fmt.Errorf("disk: %w", err)
	}
	defer func() { _ = f.Close() }()
	table, err := gpt.Read(f, sectorSize, sectorSize)
	if err != nil {
		return layout{}, fmt.Errorf("%w: no GPT: %w", errNoSystem, err)
	}
	var l layout
	var byType area
	for _, p := range table.Partitions {
		if p.Type == gpt.Unused || p.End < p.Start {
			continue
		}
		a := area{int64(p.Start) * sectorSize, int64(p.End-p.Start+1) * sectorSize}
		label := fsLabel(io.NewSectionReader(f, a.start, a.size))
		switch {
		case label == rootLabel:
			l.root = a
		case strings.EqualFold(label, configLabel):
			l.config = a
		case strings.EqualFold(string(p.Type), rootType):
			byType = a
		}
	}
	if l.root.size == 0 {
		l.root = byType
	}
	if l.root.size == 0 {
		return layout{}, fmt.Errorf("%w: none of %d partitions has the label %s or the type of a Linux root", errNoSystem, len(table.Partitions), rootLabel)
	}
	return l, nil
}

// fsLabel reads the label of an ext, iso9660 or FAT file system; "" if it has none.
func fsLabel(r io.ReaderAt) string {
	at := func(off int64, n int) []byte {
		b := make([]byte, n)
		if _, err := r.ReadAt(b, off); err != nil {
			return nil
		}
		return b
	}
	trim := func(b []byte) string { return strings.TrimRight(string(b), " \x00") }
	switch {
	case bytes.Equal(at(1024+0x38, 2), []byte{0x53, 0xef}): // ext2-4 superblock
		return trim(at(1024+0x78, 16))
	case bytes.Equal(at(0x8001, 5), []byte("CD001")): // ISO 9660 primary volume descriptor
		return trim(at(0x8028, 32))
	case bytes.HasPrefix(at(0x52, 8), []byte("FAT32")):
		return trim(at(0x47, 11))
	case bytes.HasPrefix(at(0x36, 8), []byte("FAT")):
		return trim(at(0x2b, 11))
	}
	return ""
}

// createDisk makes a sparse disk file unless it exists with that size.
func createDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if fi.Size() == size {
		return nil
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("disk of %d bytes: %w", size, err)
	}
	return nil
}

// detachWait is how long a dying process may take to let go of its devices.
const detachWait = 5 * time.Second

// DetachLoops detaches the loop devices over files below dir that a killed
// process may have left, and waits until they are gone (a device detaches when
// its last user, who may still be dying, is gone).
func DetachLoops(dir string) error {
	deadline := time.Now().Add(detachWait)
	for {
		n, err := detachLoops(dir)
		if n == 0 || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d loop devices over %s are still in use", n, dir)
		}
		time.Sleep(stopPoll)
	}
}

// detachLoops tells the kernel to detach and returns how many devices there were.
func detachLoops(dir string) (int, error) {
	backs, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return 0, fmt.Errorf("list loop devices: %w", err)
	}
	n := 0
	for _, b := range backs {
		file, err := os.ReadFile(b)
		if err != nil || !strings.HasPrefix(string(file), filepath.Clean(dir)+"/") {
			continue
		}
		n++
		dev := "/dev/" + strings.Split(b, "/")[3]
		f, err := os.OpenFile(dev, os.O_RDWR, 0)
		if err != nil {
			return n, fmt.Errorf("detach %s: %w", dev, err)
		}
		err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
		if errors.Is(err, unix.ENXIO) {
			err = nil // it was faster
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return n, fmt.Errorf("detach %s: %w", dev, err)
		}
	}
	return n, nil
}
