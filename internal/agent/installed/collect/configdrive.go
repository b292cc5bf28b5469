package collect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/partition"
)

// ConfigDriveLabel is the volume label by which OpenStack's config drive is known.
const ConfigDriveLabel = "config-2"

// maxDriveFile bounds a file of the config drive; Nova's user data ends at 64 KiB, network data is far smaller.
const maxDriveFile = 16 << 20

// ErrNoConfigDrive is returned when no block device holds one.
var ErrNoConfigDrive = errors.New("no block device with the label " + ConfigDriveLabel)

// ConfigDrive is what Nova put on the drive, in the OpenStack layout. Absent files are nil.
type ConfigDrive struct {
	Source      string // device or directory it was read from
	MetaData    []byte // meta_data.json
	UserData    []byte // user_data
	NetworkData []byte // network_data.json
	VendorData  []byte // vendor_data.json
}

// ReadConfigDriveDir reads a config drive that is mounted at or copied to a directory.
func ReadConfigDriveDir(dir string) (*ConfigDrive, error) {
	return readDrive(os.DirFS(dir), dir)
}

// FindConfigDrive looks for the drive on this machine's block devices: the udev link of the label, then every device and
// partition below devDir ("/dev"), names taken from sysDir ("/sys/class/block"). It reads them without mounting.
func FindConfigDrive(devDir, sysDir string) (*ConfigDrive, error) {
	candidates := []string{filepath.Join(devDir, "disk/by-label", ConfigDriveLabel)}
	names, err := os.ReadDir(sysDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, n := range names {
		// sysfs writes a slash inside a device name as "!".
		candidates = append(candidates, filepath.Join(devDir, strings.ReplaceAll(n.Name(), "!", "/")))
	}
	var problems []error
	for _, dev := range candidates {
		info, err := os.Stat(dev)
		if err != nil || info.Mode()&fs.ModeCharDevice != 0 || info.IsDir() {
			continue
		}
		drive, err := ReadConfigDriveDevice(dev)
		switch {
		case err == nil:
			return drive, nil
		case errors.Is(err, ErrNoConfigDrive), errors.Is(err, fs.ErrPermission):
		default:
			problems = append(problems, err)
		}
	}
	return nil, errors.Join(append([]error{ErrNoConfigDrive}, problems...)...)
}

// ReadConfigDriveDevice reads the config drive that fills a block device or image file, or one of its partitions. Devices
// are read here and not mounted, because a partition has no device node of its own where the kernel or a container's
// device list leaves it out.
func ReadConfigDriveDevice(dev string) (*ConfigDrive, error) {
	storage, err := file.OpenFromPath(dev, true)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, ErrNoConfigDrive // a drive without medium, a busy device
	}
	defer func() { _ = storage.Close() }()
	size, err := storage.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return nil, ErrNoConfigDrive
	}
	type extent struct{ start, size int64 }
	extents := []extent{{0, size}}
	if table, err := partition.Read(storage, 512, 512); err == nil {
		for _, p := range table.GetPartitions() {
			if p != nil && p.GetSize() > 0 && p.GetStart() > 0 {
				extents = append(extents, extent{p.GetStart(), p.GetSize()})
			}
		}
	}
	for _, e := range extents {
		// go-diskfs forgets the start of an ISO image in places, so it gets a view that begins there.
		fsys, err := openVolume(backend.Sub(storage, e.start, e.size), e.size)
		if err != nil {
			return nil, fmt.Errorf("config drive on %s at byte %d: %w", dev, e.start, err)
		}
		if fsys != nil {
			return readDrive(fsys, dev)
		}
	}
	return nil, ErrNoConfigDrive
}

// openVolume opens the file system when its label is the config drive's; nil when it is something else.
func openVolume(b backend.Storage, size int64) (fs.FS, error) {
	label := func(off int64, n int) string {
		buf := make([]byte, n)
		if _, err := b.ReadAt(buf, off); err != nil {
			return ""
		}
		return strings.ToLower(strings.TrimRight(string(buf), " \x00"))
	}
	if size > 34<<10 && label(32769, 5) == "cd001" { // ECMA-119 8.4: primary volume descriptor in sector 16, its volume identifier at byte 40
		if label(32768+40, 32) != ConfigDriveLabel {
			return nil, nil
		}
		return iso9660.Read(b, size, 0, 0)
	}
	// FAT: the extended boot record has the label at byte 71 (FAT32) or 43 (FAT12/16).
	if label(71, 11) == ConfigDriveLabel {
		return fat32.Read(b, size, 0, 512)
	}
	if label(43, 11) == ConfigDriveLabel {
		if fsys, err := fat16.Read(b, size, 0, 512); err == nil {
			return fsys, nil
		}
		return fat12.Read(b, size, 0, 512)
	}
	return nil, nil
}

func readDrive(fsys fs.FS, source string) (*ConfigDrive, error) {
	d := &ConfigDrive{Source: source}
	base := "openstack/latest"
	for name, dst := range map[string]*[]byte{
		"meta_data.json": &d.MetaData, "user_data": &d.UserData,
		"network_data.json": &d.NetworkData, "vendor_data.json": &d.VendorData,
	} {
		data, err := readBounded(fsys, path.Join(base, name))
		if errors.Is(err, fs.ErrNotExist) || (err != nil && isAbsent(err)) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("config drive %s, %s: %w", source, name, err)
		}
		*dst = data
	}
	if d.MetaData == nil {
		return nil, fmt.Errorf("config drive %s: no %s/meta_data.json", source, base)
	}
	return d, nil
}

// isAbsent knows the ways in which go-diskfs says that a file is not there.
func isAbsent(err error) bool {
	text := err.Error()
	return strings.Contains(text, "does not exist") || strings.Contains(text, "not exist") || strings.Contains(text, "not found")
}

func readBounded(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(f, maxDriveFile+1))
	if err != nil {
		return nil, err
	}
	if n > maxDriveFile {
		return nil, fmt.Errorf("larger than %d bytes", maxDriveFile)
	}
	return buf.Bytes(), nil
}
