package disk

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/filesystem/fat32"
)

// espType is the partition type of an EFI system partition.
const espType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// FindEFILoader looks for the boot loader that firmware starts by itself, EFI/BOOT/BOOT{X64,AA64,…}.EFI on the
// EFI system partition (UEFI 2.10, 3.5.1.1), and returns its path there.
func FindEFILoader(dev Device) (string, error) {
	layout, err := ReadLayout(dev)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(layout.Partitions, func(p Partition) bool { return p.Type == espType })
	if i < 0 {
		return "", fmt.Errorf("%s has no EFI system partition", dev.Path())
	}
	esp := layout.Partitions[i]
	fsys, err := fat32.Read(&gptFile{Device: dev}, esp.Size, esp.Start, int64(dev.SectorSize()))
	if err != nil {
		return "", fmt.Errorf("the EFI system partition of %s cannot be read: %w", dev.Path(), err)
	}
	entries, err := readDirFold(fsys, "EFI", "BOOT")
	if err != nil {
		return "", fmt.Errorf("the EFI system partition of %s: %w", dev.Path(), err)
	}
	for _, name := range entries {
		upper := strings.ToUpper(name)
		if strings.HasPrefix(upper, "BOOT") && strings.HasSuffix(upper, ".EFI") {
			return path.Join("EFI/BOOT", name), nil
		}
	}
	return "", fmt.Errorf("the EFI system partition of %s has no EFI/BOOT/BOOT*.EFI: the firmware would find nothing to start", dev.Path())
}

// readDirFold lists a directory whose path is given without regard to case, as FAT has it.
func readDirFold(fsys *fat32.FileSystem, parts ...string) ([]string, error) {
	dir := "."
	for _, want := range parts {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), want) })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s", path.Join(dir, want))
		}
		dir = path.Join(dir, entries[i].Name())
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
