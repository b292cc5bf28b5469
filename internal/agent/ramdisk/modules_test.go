package ramdisk

import (
	"log/slog"
	"testing"
	"testing/fstest"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
)

func TestModalias(t *testing.T) {
	const disk = "add@/devices/pci0000:00/0000:00:04.0/virtio1/host6/target6:0:0/6:0:0:0\x00ACTION=add\x00DEVTYPE=scsi_device\x00MODALIAS=scsi:t-0x00\x00SEQNUM=1290\x00"
	for _, tt := range []struct{ reason, message, want string }{
		{"a device that wants a driver", disk, "scsi:t-0x00"},
		{"a device that goes", "remove" + disk[3:], ""},
		{"a device without a name for drivers", "add@/devices/virtual/block/loop0\x00ACTION=add\x00", ""},
		{"udev's own messages have another form", "libudev\x00\xfe\xed\xca\xfe", ""},
		{"nothing", "", ""},
	} {
		got, ok := modalias([]byte(tt.message))
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.reason, got, ok, tt.want)
		}
	}
}

// TestBootEntry: firmware with variables gets an entry, other firmware is trusted to find the loader.
func TestBootEntry(t *testing.T) {
	loader := disk.EFILoader{Path: "EFI/debian/shimx64.efi", Label: "debian", Partition: disk.Partition{Number: 1, GUID: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Start: 1 << 20, Size: 64 << 20}}
	for _, tt := range []struct {
		reason string
		sys    fstest.MapFS
		guid   string
		want   string
	}{
		{"a BIOS has none", fstest.MapFS{}, "", "the firmware finds EFI/debian/shimx64.efi"},
		{"UEFI", fstest.MapFS{"firmware/efi/runtime": {}}, "", "Boot0000 starts EFI/debian/shimx64.efi"},
		{"a partition without a GUID cannot be named", fstest.MapFS{"firmware/efi/runtime": {}}, "x", "the firmware finds EFI/debian/shimx64.efi"},
	} {
		l := loader
		if tt.guid != "" {
			l.Partition.GUID = tt.guid
		}
		a := &agent{log: slog.New(slog.DiscardHandler), o: Options{EFIVars: t.TempDir(), Sources: hardware.Sources{Sys: tt.sys}}}
		if got := a.bootEntry(l, 512); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
		}
	}
}
