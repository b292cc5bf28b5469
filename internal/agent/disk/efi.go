package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/filesystem/fat32"
)

// espType is the partition type of an EFI system partition.
const espType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// maxCSV bounds what is read of a BOOT*.CSV, in bytes.
const maxCSV = 16 << 10

// EFILoader is a boot loader on a disk's EFI system partition.
type EFILoader struct {
	// Path is the loader's there, Label what it wants to be called; "" is nothing special.
	Path, Label string
	Partition   Partition
}

// FindEFILoader looks for the boot loader of a disk: the one that a BOOT*.CSV on the EFI system partition names
// (the file by which shim's fallback finds the installed system, UTF-16 "loader,label,options,description"), or
// the one that firmware starts by itself, EFI/BOOT/BOOT{X64,AA64,…}.EFI (UEFI 2.10, 3.5.1.1).
func FindEFILoader(dev Device) (EFILoader, error) {
	layout, err := ReadLayout(dev)
	if err != nil {
		return EFILoader{}, err
	}
	i := slices.IndexFunc(layout.Partitions, func(p Partition) bool { return p.Type == espType })
	if i < 0 {
		return EFILoader{}, fmt.Errorf("%s has no EFI system partition", dev.Path())
	}
	esp := layout.Partitions[i]
	fsys, err := fat32.Read(&gptFile{Device: dev}, esp.Size, esp.Start, int64(dev.SectorSize()))
	if err != nil {
		return EFILoader{}, fmt.Errorf("the EFI system partition of %s cannot be read: %w", dev.Path(), err)
	}
	vendors, err := readDirFold(fsys, "EFI")
	if err != nil {
		return EFILoader{}, fmt.Errorf("the EFI system partition of %s: %w", dev.Path(), err)
	}
	fallback := EFILoader{Partition: esp}
	for _, vendor := range vendors {
		dir := "EFI/" + vendor
		entries, err := readDirFold(fsys, "EFI", vendor)
		if err != nil {
			continue // a file among the folders
		}
		for _, name := range entries {
			upper := strings.ToUpper(name)
			switch {
			case !strings.HasPrefix(upper, "BOOT"):
			case strings.HasSuffix(upper, ".CSV"):
				if loader, label, ok := readCSV(fsys, path.Join(dir, name)); ok && slices.ContainsFunc(entries, func(e string) bool { return strings.EqualFold(e, loader) }) {
					return EFILoader{Path: path.Join(dir, loader), Label: label, Partition: esp}, nil
				}
			case strings.HasSuffix(upper, ".EFI") && strings.EqualFold(vendor, "BOOT") && fallback.Path == "":
				fallback.Path = path.Join(dir, name)
			}
		}
	}
	if fallback.Path == "" {
		return fallback, fmt.Errorf("the EFI system partition of %s has no EFI/BOOT/BOOT*.EFI: the firmware would find nothing to start", dev.Path())
	}
	return fallback, nil
}

// readCSV reads the first line of a BOOT*.CSV.
func readCSV(fsys fs.FS, name string) (loader, label string, ok bool) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", "", false
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxCSV))
	if err != nil && len(data) == 0 {
		return "", "", false
	}
	var units []uint16
	for b := data; len(b) >= 2; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff"), "\n")
	fields := strings.Split(strings.TrimRight(line, "\r\x00"), ",")
	if len(fields) < 2 || fields[0] == "" || strings.ContainsAny(fields[0], `/\`) {
		return "", "", false
	}
	return fields[0], fields[1], true
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
