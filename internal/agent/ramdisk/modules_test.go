package ramdisk

import "testing"

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
