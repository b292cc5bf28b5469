package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
)

const (
	// ConfigDriveName is the partition name and file system label cloud-init and our agent look for.
	ConfigDriveName = "config-2"
	// alignBytes is where partitions start and end.
	alignBytes = 1 << 20
	// GrowFileSystem is the attribute bit of the Discoverable Partitions Specification that says the file
	// system may fill its partition; we read it as "the partition may fill the disk", too.
	GrowFileSystem = uint64(1) << 59
	// LegacyBIOSBootable is the attribute bit by which a BIOS boot sector finds its partition (UEFI 2.10, table 5.8).
	LegacyBIOSBootable = uint64(1) << 2
	// maxEntries bounds the partition entries a GPT header may claim.
	maxEntries = 1024
)

// ErrNoGPT means that the disk has no GUID partition table.
var ErrNoGPT = errors.New("no GUID partition table")

// Layout is what is on the disk after Finish, for get_partition_uuids and the log. UUIDs in lower case.
type Layout struct {
	DiskGUID   string
	Partitions []Partition
}

// Partition is an entry of the table; Start and Size in bytes.
type Partition struct {
	Number int
	Name   string
	Type   string
	GUID   string
	Start  int64
	Size   int64
	// Attributes are the table's, LegacyBIOSBootable and others.
	Attributes uint64
}

// NewPartition is a partition to make; Start and Size in bytes, whole MiB.
type NewPartition struct {
	Number     int
	Name, Type string
	Attributes uint64
	Start      int64
	Size       int64
}

// WritePartitions gives an empty disk a partition table.
func WritePartitions(dev Device, parts []NewPartition) error {
	sector := int64(dev.SectorSize())
	table := &gpt.Table{LogicalSectorSize: dev.SectorSize(), PhysicalSectorSize: dev.SectorSize(), ProtectiveMBR: true, GUID: strings.ToUpper(uuid.NewString())}
	for _, p := range parts {
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: p.Number, Start: uint64(p.Start / sector), End: uint64((p.Start+p.Size)/sector) - 1, Size: uint64(p.Size),
			Type: gpt.Type(strings.ToUpper(p.Type)), Name: p.Name, GUID: strings.ToUpper(uuid.NewString()), Attributes: p.Attributes,
		})
	}
	if err := table.Write(&gptFile{Device: dev}, dev.Size()); err != nil {
		return fmt.Errorf("write the partition table of %s: %w", dev.Path(), err)
	}
	return dev.Sync()
}

// FinishOptions says what Finish does besides moving the backup header.
type FinishOptions struct {
	// ConfigDrive is a file system image for the last partition; empty means none.
	ConfigDrive []byte
}

// Finish makes a freshly written image a proper disk: the backup partition table moves to the real end, the
// config drive becomes a last partition, and the last partition of the image grows up to it if it has the
// GrowFileSystem attribute. Everything else keeps its place. Calling it again replaces the config drive.
func Finish(dev Device, o FinishOptions) (Layout, error) {
	table, err := readGPT(dev)
	if err != nil {
		if errors.Is(err, ErrNoGPT) && len(o.ConfigDrive) == 0 {
			return Layout{}, nil // an image without partitions, or with an MBR, stays as it is
		}
		return Layout{}, err
	}
	if err := table.Repair(uint64(dev.Size())); err != nil {
		return Layout{}, fmt.Errorf("repair the partition table of %s: %w", dev.Path(), err)
	}
	sector := uint64(dev.SectorSize())
	end := (table.LastDataSector() + 1) * sector / alignBytes * alignBytes // exclusive, in bytes
	drop(table, ConfigDriveName)
	last := lastPartition(table)
	var used uint64
	if last != nil {
		used = (last.End + 1) * sector
	}
	if used > (table.LastDataSector()+1)*sector {
		return Layout{}, fmt.Errorf("the image's last partition ends at %d, beyond the end of %s (%d bytes)", used, dev.Path(), dev.Size())
	}
	if n := uint64(len(o.ConfigDrive)); n > 0 {
		size := (n + alignBytes - 1) / alignBytes * alignBytes
		if size > end || end-size < used {
			return Layout{}, fmt.Errorf("no room for a config drive of %d bytes on %s: the image ends at %d of %d", n, dev.Path(), used, dev.Size())
		}
		end -= size
		if err := writeAll(dev, o.ConfigDrive, int64(end), int64(size)); err != nil {
			return Layout{}, err
		}
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: freeIndex(table), Start: end / sector, End: (end+size)/sector - 1, Size: size,
			Type: gpt.LinuxFilesystem, Name: ConfigDriveName, GUID: strings.ToUpper(uuid.NewString()),
		})
	}
	if last != nil && last.Attributes&GrowFileSystem != 0 && end > used {
		last.End = end/sector - 1
		last.Size = (last.End - last.Start + 1) * sector
	}
	if err := table.Write(&gptFile{Device: dev}, dev.Size()); err != nil {
		return Layout{}, fmt.Errorf("write the partition table of %s: %w", dev.Path(), err)
	}
	if err := dev.Sync(); err != nil {
		return Layout{}, err
	}
	return layoutOf(table, sector), nil
}

// ReadLayout reads the partition table.
func ReadLayout(dev Device) (Layout, error) {
	table, err := readGPT(dev)
	if err != nil {
		return Layout{}, err
	}
	return layoutOf(table, uint64(dev.SectorSize())), nil
}

func layoutOf(t *gpt.Table, sector uint64) Layout {
	l := Layout{DiskGUID: strings.ToLower(t.GUID)}
	for _, p := range t.Partitions {
		l.Partitions = append(l.Partitions, Partition{
			Number: p.Index, Name: p.Name, Type: strings.ToLower(string(p.Type)), GUID: strings.ToLower(p.GUID),
			Start: int64(p.Start * sector), Size: int64((p.End - p.Start + 1) * sector), Attributes: p.Attributes,
		})
	}
	return l
}

// readGPT checks the header's bounds before the library allocates by them.
func readGPT(dev Device) (*gpt.Table, error) {
	sector := dev.SectorSize()
	head := make([]byte, sector)
	if _, err := dev.ReadAt(head, int64(sector)); err != nil {
		return nil, fmt.Errorf("read the partition table of %s: %w", dev.Path(), err)
	}
	if string(head[:8]) != "EFI PART" {
		if sector != 512 {
			small := make([]byte, 8)
			if _, err := dev.ReadAt(small, 512); err == nil && string(small) == "EFI PART" {
				return nil, fmt.Errorf("the image was made for sectors of 512 bytes, %s has %d", dev.Path(), sector)
			}
		}
		return nil, fmt.Errorf("%w on %s", ErrNoGPT, dev.Path())
	}
	count, size := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	first := binary.LittleEndian.Uint64(head[72:])
	if count == 0 || count > maxEntries || size != gpt.PartitionEntrySize || first != 2 {
		return nil, fmt.Errorf("the partition table of %s has %d entries of %d bytes at sector %d; up to %d of %d at sector 2 are understood",
			dev.Path(), count, size, first, maxEntries, gpt.PartitionEntrySize)
	}
	table, err := gpt.Read(&gptFile{Device: dev}, sector, sector)
	if err != nil {
		return nil, fmt.Errorf("read the partition table of %s: %w", dev.Path(), err)
	}
	return table, nil
}

func writeAll(dev Device, data []byte, off, size int64) error {
	if _, err := dev.WriteAt(data, off); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", len(data), off, dev.Path(), err)
	}
	rest := size - int64(len(data))
	if rest == 0 {
		return nil
	}
	if _, err := dev.WriteAt(make([]byte, rest), off+int64(len(data))); err != nil {
		return fmt.Errorf("write %d bytes at %d of %s: %w", rest, off+int64(len(data)), dev.Path(), err)
	}
	return nil
}

func drop(t *gpt.Table, name string) {
	kept := t.Partitions[:0]
	for _, p := range t.Partitions {
		if p.Name != name {
			kept = append(kept, p)
		}
	}
	t.Partitions = kept
}

func lastPartition(t *gpt.Table) *gpt.Partition {
	var last *gpt.Partition
	for _, p := range t.Partitions {
		if p.Type != gpt.Unused && (last == nil || p.End > last.End) {
			last = p
		}
	}
	return last
}

func freeIndex(t *gpt.Table) int {
	index := 1
	for _, p := range t.Partitions {
		index = max(index, p.Index+1)
	}
	return index
}

// gptFile gives a Device the shape go-diskfs wants.
type gptFile struct {
	Device
	pos int64
}

// Stat is part of fs.File; nothing here has a FileInfo.
func (f *gptFile) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

// Read implements io.Reader.
func (f *gptFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (f *gptFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
		f.pos = off
	case io.SeekCurrent:
		f.pos += off
	case io.SeekEnd:
		f.pos = f.Size() + off
	}
	return f.pos, nil
}

// Sys is part of backend.Storage; not every Device has a file behind it.
func (f *gptFile) Sys() (*os.File, error) { return nil, backend.ErrNotSuitable }

// Writable is part of backend.Storage.
func (f *gptFile) Writable() (backend.WritableFile, error) { return f, nil }

// Close does nothing: the device belongs to the caller.
func (f *gptFile) Close() error { return nil }
