package boot_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
)

// isoOf makes a CD of made-up files and returns its image.
func isoOf(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, n int) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, bytes.Repeat([]byte(name[:1]), n), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	i := boot.ISO{Kernel: put("kernel", 3<<20), Initrd: put("initrd", 5<<20+123), Args: args,
		Loaders: boot.Loaders{EFI: put("efi", 100<<10), Isolinux: put("isolinux", 40<<10), Ldlinux: put("ldlinux", 100<<10)}}
	name := filepath.Join(dir, "cd.iso")
	if err := i.Write(name); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(dir, "iso-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b, nil
}

// TestISO reads the CD as firmware does: the boot catalogue, then the EFI system partition that it points to.
func TestISO(t *testing.T) {
	iso, err := isoOf(t, "ipa-api-url=http://192.0.2.1:8088/baremetal", "console=ttyS0")
	if err != nil {
		t.Fatal(err)
	}
	const block = 2048
	record := iso[17*block:] // El Torito 1.0, 2.0: the boot record is in sector 17
	if string(record[1:6]) != "CD001" || !bytes.HasPrefix(record[7:], []byte("EL TORITO SPECIFICATION")) {
		t.Fatalf("sector 17 is %q", record[:40])
	}
	catalog := iso[int(binary.LittleEndian.Uint32(record[0x47:]))*block:]
	if catalog[0] != 1 || catalog[1] != 0 || catalog[0x1e] != 0x55 || catalog[0x1f] != 0xaa || catalog[0x20] != 0x88 {
		t.Errorf("the catalogue does not begin with a bootable entry for BIOS: % x", catalog[:64])
	}
	if n := binary.LittleEndian.Uint16(catalog[0x26:]); n != 4 {
		t.Errorf("a BIOS loads %d sectors, want 4", n)
	}
	if catalog[0x40] != 0x91 || catalog[0x41] != 0xef || catalog[0x60] != 0x88 {
		t.Fatalf("no last section for UEFI: % x", catalog[0x40:0x80])
	}
	esp := iso[int(binary.LittleEndian.Uint32(catalog[0x68:]))*block:]
	name := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(name, esp, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := fat32.Read(file.New(f, true), int64(len(esp)), 0, 512)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := fsys.ReadFile("loader/entries/ramdisk.conf")
	if err != nil || !strings.Contains(string(entry), "options ipa-api-url=http://192.0.2.1:8088/baremetal console=ttyS0\n") {
		t.Errorf("the entry for UEFI is %q, %v", entry, err)
	}
	initrd, err := fsys.ReadFile("initrd")
	if err != nil || !bytes.Equal(initrd, bytes.Repeat([]byte("i"), 5<<20+123)) {
		t.Errorf("the ramdisk has %d bytes, %v", len(initrd), err)
	}
	if !bytes.Contains(iso, []byte("APPEND ipa-api-url=http://192.0.2.1:8088/baremetal console=ttyS0\n")) {
		t.Error("the arguments are not in isolinux.cfg")
	}
}

func TestISOIsRefused(t *testing.T) {
	if _, err := isoOf(t, "a\nLABEL other"); err == nil || !strings.Contains(err.Error(), "more than one line") {
		t.Errorf("an argument of two lines: %v", err)
	}
	if err := (boot.ISO{Kernel: "/nonexistent"}).Write(filepath.Join(t.TempDir(), "x")); err == nil {
		t.Error("no files: no error")
	}
}
