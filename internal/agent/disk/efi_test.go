package disk

import (
	"os"
	"path"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// espDisk is a disk whose EFI system partition has the given files.
func espDisk(t *testing.T, files map[string]string) *File {
	t.Helper()
	const start, size = 1 << 20, 40 << 20
	d := newDisk(t, 64<<20)
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: start / 512, End: (start+size)/512 - 1, Size: size, Type: gpt.EFISystemPartition, Name: "esp"},
	}}
	if err := table.Write(&gptFile{Device: d}, d.Size()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := fat32.Create(file.New(f, false), size, start, 512, "ESP", false)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := fsys.Mkdir(path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		w, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func utf16le(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

func TestFindEFILoader(t *testing.T) {
	for _, tt := range []struct {
		reason      string
		files       map[string]string
		path, label string
		problem     string
	}{
		{"the place where firmware looks by itself", map[string]string{"/EFI/BOOT/BOOTX64.EFI": "x"}, "EFI/BOOT/BOOTX64.EFI", "", ""},
		{"the installed system says which loader it wants", map[string]string{
			"/EFI/BOOT/BOOTX64.EFI": "x", "/EFI/debian/shimx64.efi": "x",
			"/EFI/debian/BOOTX64.CSV": utf16le("\ufeffshimx64.efi,debian,,the boot entry\r\n"),
		}, "EFI/debian/shimx64.efi", "debian", ""},
		{"a CSV whose loader is not there is not believed", map[string]string{
			"/EFI/BOOT/BOOTX64.EFI": "x", "/EFI/debian/BOOTX64.CSV": utf16le("gone.efi,debian,,\n"),
		}, "EFI/BOOT/BOOTX64.EFI", "", ""},
		{"a CSV that leads elsewhere is not followed", map[string]string{
			"/EFI/BOOT/BOOTX64.EFI": "x", "/EFI/debian/BOOTX64.CSV": utf16le(`..\BOOT\BOOTX64.EFI,debian` + "\n"),
		}, "EFI/BOOT/BOOTX64.EFI", "", ""},
		{"nothing to start", map[string]string{"/EFI/debian/readme": "x"}, "", "", "the firmware would find nothing to start"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			l, err := FindEFILoader(espDisk(t, tt.files))
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("%v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil || !strings.EqualFold(l.Path, tt.path) || l.Label != tt.label || l.Partition.Number != 1 || l.Partition.Start != 1<<20 {
				t.Errorf("%+v, %v, want %s %q on partition 1", l, err, tt.path, tt.label)
			}
		})
	}
}
