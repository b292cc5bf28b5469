package efi

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func entry() Entry {
	return Entry{Label: "tripleo", Partition: 1, Start: 2048, Size: 524288, GUID: uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), Path: "EFI/BOOT/BOOTX64.EFI"}
}

// TestOption spells the bytes out, field by field.
func TestOption(t *testing.T) {
	want := strings.Join([]string{
		"01000000", "5e00", // active; length of the device path: 42 + 48 + 4
		"7400720069007000" + "6c0065006f000000",                                                                    // "tripleo"
		"04012a00", "01000000", "0008000000000000", "0000080000000000", "28732ac11ff8d211ba4b00a0c93ec93b", "0202", // partition 1 of a GPT
		"04043000", "5c004500460049005c0042004f004f0054005c0042004f004f0054005800360034002e004500460049000000", // \EFI\BOOT\BOOTX64.EFI
		"7fff0400",
	}, "")
	got := hex.EncodeToString(entry().Option())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if l := label(entry().Option()); l != "tripleo" {
		t.Errorf("label %q", l)
	}
}

func TestInstall(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	write := func(name string, value []byte) {
		t.Helper()
		if err := s.set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	other := entry()
	other.Label = "UEFI PXEv4"
	write("Boot0000", other.Option())
	write("Boot0001", entry().Option()) // of an earlier installation
	write("BootOrder", encodeOrder([]uint16{1, 0}))
	for i, want := range []struct {
		name  string
		order []uint16
		files []string
	}{
		{"Boot0002", []uint16{2, 0}, []string{"Boot0000", "Boot0002", "BootOrder"}},
		{"Boot0001", []uint16{1, 0}, []string{"Boot0000", "Boot0001", "BootOrder"}}, // again: still one entry of ours
	} {
		name, err := s.Install(entry())
		if err != nil || name != want.name {
			t.Fatalf("installation %d: %q, %v, want %q", i, name, err, want.name)
		}
		order, err := s.order()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.order, order); diff != "" {
			t.Errorf("installation %d: boot order (-want +got):\n%s", i, diff)
		}
		files, err := filepath.Glob(filepath.Join(s.Dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range files {
			files[i], _, _ = strings.Cut(filepath.Base(files[i]), "-")
		}
		if diff := cmp.Diff(want.files, files); diff != "" {
			t.Errorf("installation %d: variables (-want +got):\n%s", i, diff)
		}
	}
	data, err := os.ReadFile(s.path("BootOrder"))
	if err != nil || hex.EncodeToString(data[:4]) != "07000000" {
		t.Errorf("attributes %x, %v: want non-volatile, boot and runtime access", data[:4], err)
	}
}

func TestInstallWithoutVariables(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if name, err := s.Install(entry()); err != nil || name != "Boot0000" {
		t.Errorf("a machine without entries: %q, %v", name, err)
	}
	if _, err := (Store{Dir: filepath.Join(t.TempDir(), "none")}).Install(entry()); err == nil {
		t.Error("a machine without EFI variables got an entry")
	}
}

func FuzzLabel(f *testing.F) {
	f.Add(entry().Option())
	f.Fuzz(func(_ *testing.T, b []byte) { label(b) })
}
