package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is a disk. Offsets and sizes are bytes.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Path names the device in messages.
	Path() string
	Size() int64
	// SectorSize is the logical sector size.
	SectorSize() int
	// ZeroRange makes the range read as zeros, the cheapest way the device has.
	ZeroRange(off, n int64) error
	// Discard tells the device that the range's content is no longer needed; what it reads as afterwards is
	// undefined. errors.ErrUnsupported where it cannot.
	Discard(off, n int64) error
	// Sync returns when everything is on stable storage.
	Sync() error
	// RereadPartitions asks the kernel to look at the partition table again.
	RereadPartitions() error
	Close() error
}

// directAlign is the alignment of address, offset and length that any disk accepts for O_DIRECT.
const directAlign = 4096

// File is a Device backed by a block device or a regular file. Large aligned writes bypass the page cache
// where the system allows it, so that writing an image does not push everything else out of memory.
type File struct {
	path   string
	f      *os.File // buffered
	direct *os.File // O_DIRECT, may be nil
	block  bool
	size   int64
	sector int
}

// Open opens a block device or regular file for reading and writing, a block device exclusively: a mounted
// disk, or one that another program holds, is refused.
func Open(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	isBlock := st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0
	if isBlock {
		flags |= unix.O_EXCL
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is neither a block device nor a file", path)
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	d := &File{path: path, f: f, block: isBlock, sector: 512}
	if err := d.measure(st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Best effort: tmpfs and some loop devices refuse O_DIRECT.
	if direct, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0); err == nil {
		d.direct = direct
	}
	return d, nil
}

// OpenShared opens a disk of which others hold partitions, as software RAID does. What the kernel remembers of the disk
// is dropped first: the partitions are written past it.
func OpenShared(path string) (*File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d := &File{path: path, f: f, block: st.Mode()&os.ModeDevice != 0, sector: 512}
	if d.block {
		_, err = unix.IoctlRetInt(int(f.Fd()), unix.BLKFLSBUF)
	}
	if err = errors.Join(err, d.measure(st)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

func (d *File) measure(st os.FileInfo) error {
	if !d.block {
		d.size = st.Size()
		return nil
	}
	// Seeking to the end gives a block device's size in bytes on every architecture, unlike BLKGETSIZE64.
	size, err := d.f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("size of %s: %w", d.path, err)
	}
	d.size = size
	if n, err := unix.IoctlGetInt(int(d.f.Fd()), unix.BLKSSZGET); err == nil && n >= 512 {
		d.sector = n
	}
	return nil
}

// Path is the name the device was opened by.
func (d *File) Path() string { return d.path }

// Size in bytes.
func (d *File) Size() int64 { return d.size }

// SectorSize in bytes; 512 for a regular file.
func (d *File) SectorSize() int { return d.sector }

// ReadAt implements io.ReaderAt.
func (d *File) ReadAt(p []byte, off int64) (int, error) { return d.f.ReadAt(p, off) }

// WriteAt implements io.WriterAt and never writes past the end of the device.
func (d *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("write of %d bytes at %d leaves %s, which has %d bytes", len(p), off, d.path, d.size)
	}
	if d.direct != nil && aligned(p, off) {
		n, err := d.direct.WriteAt(p, off)
		if err == nil || !errors.Is(err, unix.EINVAL) {
			return n, err
		}
	}
	return d.f.WriteAt(p, off)
}

func aligned(p []byte, off int64) bool {
	return len(p) >= directAlign && len(p)%directAlign == 0 && off%directAlign == 0 &&
		addressRest(p) == 0
}

// addressRest is how far a buffer's address is past the last multiple of directAlign.
func addressRest(b []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlign) //nolint:gosec // only the number is used
}

// alignedBuffer returns n bytes that may be written with O_DIRECT.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := 0
	if rest := addressRest(b); rest != 0 {
		skip = directAlign - rest
	}
	return b[skip : skip+n : skip+n]
}

// ZeroRange implements Device. Punching a hole is tried first: on files as on block devices (Linux 4.9) it reads
// as zeros afterwards and gives the space back, and it fails where the device cannot do both. BLKZEROOUT has
// the device or the kernel write zeros; plain writes are for the rest.
func (d *File) ZeroRange(off, n int64) error {
	if off < 0 || n < 0 || off+n > d.size {
		return fmt.Errorf("zeroing %d bytes at %d leaves %s, which has %d bytes", n, off, d.path, d.size)
	}
	if n == 0 {
		return nil
	}
	sector := int64(d.sector)
	if whole := off%sector == 0 && n%sector == 0; whole || !d.block {
		if unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil {
			return nil
		}
		if d.block && d.rangeIoctl(unix.BLKZEROOUT, off, n) == nil {
			return nil
		}
	}
	zeros := alignedBuffer(int(min(n, chunkBytes)))
	for n > 0 {
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := d.WriteAt(part, off); err != nil {
			return err
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}

// Discard implements Device.
func (d *File) Discard(off, n int64) error {
	if !d.block {
		return unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
	if err := d.rangeIoctl(unix.BLKDISCARD, off, n); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
			return errors.ErrUnsupported
		}
		return err
	}
	return nil
}

// rangeIoctl calls an ioctl that takes two 64-bit numbers: start and length in bytes.
func (d *File) rangeIoctl(request uint, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&span[0]))) //nolint:gosec // the kernel takes a pointer
	if errno != 0 {
		return errno
	}
	return nil
}

// Sync implements Device.
func (d *File) Sync() error { return d.f.Sync() }

// RereadPartitions implements Device; a loop device without partition scanning answers EINVAL.
func (d *File) RereadPartitions() error {
	if !d.block {
		return nil
	}
	if _, err := unix.IoctlRetInt(int(d.f.Fd()), unix.BLKRRPART); err != nil {
		return fmt.Errorf("the kernel did not read the partition table of %s again: %w", d.path, err)
	}
	return nil
}

// Close releases the device; it does not sync.
func (d *File) Close() error {
	err := d.f.Close()
	if d.direct != nil {
		err = errors.Join(err, d.direct.Close())
	}
	return err
}
