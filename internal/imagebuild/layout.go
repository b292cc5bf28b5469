package imagebuild

import (
	"fmt"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
)

const (
	mib         = 1 << 20
	sectorBytes = 512
	// RootLabel is the label of the root file system.
	RootLabel = "overcloud-root"
	// rootType is the Discoverable Partitions Specification's root partition for x86-64.
	rootType = gpt.Type("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709")
	// growFileSystem is its attribute bit 59; the ramdisk agent grows such a partition to the disk's size.
	growFileSystem = uint64(1) << 59
	// biosBootable is the attribute that UEFI (5.3.3, table 5-8) calls Legacy BIOS Bootable: syslinux starts there.
	biosBootable = uint64(1) << 2
	// rootSlack is the free space in a fresh root file system.
	rootSlack = 1 << 30
)

// layout is where everything is in the whole-disk image, in bytes.
type layout struct {
	ESPStart, ESPSize   int64
	BIOSStart, BIOSSize int64
	RootStart, RootSize int64
	Total               int64
}

// newLayout computes the layout for a root file system with content bytes of files.
func newLayout(content int64, bootable bool) layout {
	l := layout{ESPStart: mib, ESPSize: 64 * mib, BIOSSize: mib}
	if bootable {
		l.ESPSize = 256 * mib // kernel and initrd live there
	}
	l.BIOSStart = l.ESPStart + l.ESPSize
	l.RootStart = l.BIOSStart + l.BIOSSize
	// Inodes, journal and bitmaps take some 5 %.
	l.RootSize = roundUp(content+content/10+rootSlack, 64*mib)
	l.Total = l.RootStart + l.RootSize + mib // room for the backup table
	return l
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// writeTable writes the partition table: p1 EFI system, p2 BIOS boot, p3 root.
func (l layout) writeTable(f *os.File) error {
	part := func(index int, start, size int64, kind gpt.Type, name string, attributes uint64) *gpt.Partition {
		return &gpt.Partition{Index: index, Start: uint64(start / sectorBytes), End: uint64((start+size)/sectorBytes) - 1,
			Size: uint64(size), Type: kind, Name: name, Attributes: attributes, GUID: strings.ToUpper(uuid.NewString())}
	}
	table := &gpt.Table{
		LogicalSectorSize: sectorBytes, PhysicalSectorSize: sectorBytes, ProtectiveMBR: true, GUID: strings.ToUpper(uuid.NewString()),
		Partitions: []*gpt.Partition{
			part(1, l.ESPStart, l.ESPSize, gpt.EFISystemPartition, "esp", biosBootable),
			part(2, l.BIOSStart, l.BIOSSize, gpt.BIOSBoot, "bios-boot", 0),
			part(3, l.RootStart, l.RootSize, rootType, "root", growFileSystem),
		},
	}
	w, err := file.New(f, false).Writable()
	if err != nil {
		return err
	}
	if err := table.Write(w, l.Total); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	return nil
}

// writeESP makes the EFI system partition's FAT file system with the given files (absolute path -> content).
func (l layout) writeESP(f *os.File, files map[string][]byte) error {
	// go-diskfs 1.9.4 computes the allocation table a few entries too short for some sizes, 64 MiB among them,
	// which fsck.fat reports; eight sectors less come out right. The test checks it with fsck.fat.
	const spare = 8 * sectorBytes
	fsys, err := fat32.Create(file.New(f, false), l.ESPSize-spare, l.ESPStart, sectorBytes, "ESP", false)
	if err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	made := map[string]bool{}
	for name, data := range files {
		dir := ""
		parts := strings.Split(strings.Trim(name, "/"), "/")
		for _, p := range parts[:len(parts)-1] {
			dir += "/" + p
			if !made[dir] {
				if err := fsys.Mkdir(dir); err != nil {
					return fmt.Errorf("EFI system partition: %s: %w", dir, err)
				}
				made[dir] = true
			}
		}
		w, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("EFI system partition: %s: %w", name, err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("EFI system partition: %s: %w", name, err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("EFI system partition: %s: %w", name, err)
		}
	}
	return l.fixParents(f)
}

// fixParents corrects the ".." entries of the EFI system partition's top directories: go-diskfs 1.9.4 points them
// to the root's cluster, 2, where the FAT specification (6.4) wants 0, and fsck.fat complains.
func (l layout) fixParents(f *os.File) error {
	const (
		self, parent = ".          \x10", "..         \x10" // name and directory attribute
		entry        = 32
		high, low    = entry + 20, entry + 26 // halves of the cluster number in the second entry
	)
	buf := make([]byte, mib)
	for off := l.ESPStart; off < l.ESPStart+l.ESPSize; off += mib {
		if _, err := f.ReadAt(buf, off); err != nil {
			return fmt.Errorf("EFI system partition: %w", err)
		}
		for s := 0; s < len(buf); s += sectorBytes {
			b := buf[s : s+2*entry]
			if string(b[:12]) != self || string(b[entry:entry+12]) != parent || b[high] != 0 || b[low] != 2 {
				continue
			}
			if _, err := f.WriteAt([]byte{0}, off+int64(s+low)); err != nil {
				return fmt.Errorf("EFI system partition: %w", err)
			}
		}
	}
	return nil
}
