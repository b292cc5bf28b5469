package hardware

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }

func link(target string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
}

// A server with a SATA disk, an NVMe disk, a virtio disk and everything that must not count as a disk.
func server() Sources {
	return Sources{
		Proc: fstest.MapFS{
			"cpuinfo": text("processor\t: 0\nmodel name\t: Xeon\ncpu MHz\t\t: 2100.000\nphysical id\t: 0\nflags\t\t: fpu vmx\n\n" +
				"processor\t: 1\nmodel name\t: Xeon\nphysical id\t: 1\nflags\t\t: fpu vmx"),
			"meminfo": text("MemTotal:       16000000 kB\nMemFree: 1 kB"),
		},
		Sys: fstest.MapFS{
			"block/sda/size": text("1953525168"), "block/sda/queue/rotational": text("1"), "block/sda/device/model": text("ST1000NM0033    "),
			"block/sda/device/vendor": text("ATA     "), "block/sda/device/wwid": text("naa.5000c50087654321"),
			"block/sda/device/vpd_pg80":                   {Data: []byte("\x00\x80\x00\x08Z1W0ABCD")},
			"block/sda/device/scsi_device/0:0:1:0/uevent": text(""),
			"block/nvme0n1/size":                          text("781422768"), "block/nvme0n1/queue/rotational": text("0"),
			"block/nvme0n1/device/model": text("Samsung SSD"), "block/nvme0n1/device/serial": text("S4EVNX0M   "), "block/nvme0n1/wwid": text("eui.0025385b91b0a1c2"),
			"block/vda/size": text("8388608"), "block/vda/serial": text("virt-1"), "block/vda/device/vendor": text("0x1af4"),
			"block/sdb/size":   text("0"),    // card reader without a card
			"block/sdc/size":   text("1000"), // no node in /dev: somebody else's
			"block/sdd/size":   text("1000"),
			"block/sdd/ro":     text("1"), // write protected
			"block/loop0/size": text("1000"), "block/sr0/size": text("1000"), "block/dm-0/size": text("1000"),
			"class/net/eth0/type": text("1"), "class/net/eth0/address": text("AA:BB:CC:00:00:01"), "class/net/eth0/carrier": text("1"),
			"class/net/eth0/speed":                                               text("25000"),
			"class/net/eth0/device":                                              link("../../../devices/pci0000:00/0000:00:1f.6"),
			"devices/pci0000:00/0000:00:1f.6/vendor":                             text("0x8086"),
			"devices/pci0000:00/0000:00:1f.6/device":                             text("0x15d7"),
			"devices/pci0000:00/0000:00:1f.6/driver":                             link("../../../bus/pci/drivers/e1000e"),
			"class/net/bond0/type":                                               text("1"),
			"class/net/bond0/bonding/mode":                                       text("802.3ad 4"),
			"class/net/ib0/type":                                                 text("32"),
			"class/net/ib0/device":                                               text(""),
			"class/dmi/id/sys_vendor":                                            text("Dell Inc."),
			"class/dmi/id/product_name":                                          text("PowerEdge R640"),
			"class/dmi/id/product_serial":                                        text("ABC1234"),
			"class/dmi/id/bios_vendor":                                           text("Dell Inc."),
			"class/dmi/id/bios_version":                                          text("2.12.2"),
			"class/dmi/id/bios_date":                                             text("07/09/2021"),
			"firmware/efi/fw_platform_size":                                      text("64"),
			"firmware/dmi/tables/DMI":                                            {Data: dmi()},
			"devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq":                   text("3700000"),
			"devices/pci0000:00/0000:00:1f.6/net/eth0/device/this-is-not-needed": text(""),
		},
		Dev: fstest.MapFS{"sda": text(""), "sdb": text(""), "sdd": text(""), "nvme0n1": text(""), "vda": text(""), "loop0": text(""), "sr0": text(""), "dm-0": text(""),
			"disk/by-path/pci-0000:00:17.0-ata-2": link("../../sda")},
		Addresses: func(name string) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("fe80::1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
		},
		BMC: func() (v4, v6 netip.Addr) {
			return netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
		},
		Architecture: "x86_64", BootIF: "01-aa-bb-cc-00-00-01",
	}
}

// dmi is an SMBIOS table with one structure of another kind, a 16 GiB module, an empty slot and a 32 GiB module
// in the extended form.
func dmi() []byte {
	device := func(size uint16, extended uint32) string {
		s := make([]byte, 0x28)
		s[0], s[1] = 17, 0x28
		s[0x0c], s[0x0d] = byte(size), byte(size>>8)
		s[0x1c], s[0x1d], s[0x1e], s[0x1f] = byte(extended), byte(extended>>8), byte(extended>>16), byte(extended>>24)
		return string(s) + "DIMM A\x00Samsung\x00\x00"
	}
	return []byte("\x00\x06\x00\x00ab" + "BIOS vendor\x00\x00" + device(16384, 0) + device(0, 0) + device(0x7fff, 32768) + "\x7f\x04\x00\x00\x00\x00")
}

func TestCollect(t *testing.T) {
	got := Collect(server())
	want := Inventory{
		CPU:    CPU{ModelName: "Xeon", Frequency: "3700.0000", Count: 2, Architecture: "x86_64", Flags: []string{"fpu", "vmx"}, SocketCount: 2},
		Memory: Memory{Total: 16000000 << 10, PhysicalMB: 48 << 10},
		Disks: []Disk{
			{Name: "/dev/nvme0n1", Model: "Samsung SSD", Size: 781422768 * 512, Serial: "S4EVNX0M", WWN: "eui.0025385b91b0a1c2", WWNWithExtension: "eui.0025385b91b0a1c2"},
			{Name: "/dev/sda", Model: "ST1000NM0033", Vendor: "ATA", Size: 1953525168 * 512, Rotational: true, Serial: "Z1W0ABCD",
				WWN: "0x5000c50087654321", WWNWithExtension: "0x5000c50087654321", HCTL: "0:0:1:0", ByPath: "/dev/disk/by-path/pci-0000:00:17.0-ata-2"},
			{Name: "/dev/vda", Size: 4 << 30, Serial: "virt-1"},
		},
		Interfaces: []Interface{{Name: "eth0", MACAddress: "aa:bb:cc:00:00:01", IPv4Address: "192.0.2.7", IPv6Address: "2001:db8::7", HasCarrier: true,
			Vendor: "0x8086", Product: "0x15d7", Driver: "e1000e", SpeedMbps: 25000, PCIAddress: "0000:00:1f.6"}},
		SystemVendor: SystemVendor{ProductName: "PowerEdge R640", SerialNumber: "ABC1234", Manufacturer: "Dell Inc.",
			Firmware: &Firmware{Vendor: "Dell Inc.", Version: "2.12.2", BuildDate: "07/09/2021"}},
		BMCAddress: "192.0.2.10", BMCV6Address: "2001:db8::10",
		Boot: Boot{CurrentBootMode: "uefi", PXEInterface: "aa:bb:cc:00:00:01"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCollectNothing(t *testing.T) {
	got := Collect(Sources{Proc: fstest.MapFS{}, Sys: fstest.MapFS{}, Dev: fstest.MapFS{}})
	if got.Disks == nil || got.Interfaces == nil || got.CPU.Flags == nil {
		t.Errorf("lists must be empty, not null, in JSON: %+v", got)
	}
	if got.Boot.CurrentBootMode != "bios" {
		t.Errorf("boot mode %q", got.Boot.CurrentBootMode)
	}
}

func TestWWN(t *testing.T) {
	tests := []struct{ reason, wwid, short, full, extension string }{
		{"NAA 5", "naa.5000c50087654321", "0x5000c50087654321", "0x5000c50087654321", ""},
		{"NAA 6 has a vendor's part", "naa.600508b1001c4d2ca1b2c3d4e5f60718", "0x600508b1001c4d2c", "0x600508b1001c4d2ca1b2c3d4e5f60718", "0xa1b2c3d4e5f60718"},
		{"already as udev writes it", "0x5000c50087654321", "0x5000c50087654321", "0x5000c50087654321", ""},
		{"vendor text is no WWN", "t10.ATA     ST1000", "", "", ""},
		{"broken", "naa.xyz", "", "", ""},
	}
	for _, tt := range tests {
		short, full, extension := wwn(fstest.MapFS{"b/device/wwid": text(tt.wwid)}, "b")
		if short != tt.short || full != tt.full || extension != tt.extension {
			t.Errorf("%s: %q %q %q", tt.reason, short, full, extension)
		}
	}
}

func TestSelectRoot(t *testing.T) {
	disks := []Disk{
		{Name: "/dev/sda", Size: 1000 << 30, Rotational: true, Model: "BIG disk", Vendor: "ATA", Serial: "AAA", WWN: "0x1", HCTL: "0:0:0:0"},
		{Name: "/dev/sdb", Size: 100 << 30, Model: "fast SSD", Serial: "BBB", WWN: "0x2", WWNWithExtension: "0x2ff"},
		{Name: "/dev/sdc", Size: 100 << 30, Model: "fast SSD", Serial: "CCC"},
		{Name: "/dev/sdd", Size: 2 << 30, Model: "SD card"},
	}
	tests := []struct {
		reason    string
		hints     map[string]any
		want      string
		wantError string
	}{
		{"no hints: the smallest of at least 4 GiB, then by name", nil, "/dev/sdb", ""},
		{"size in GiB", map[string]any{"size": 1000.0}, "/dev/sda", ""},
		{"size as text with an operator", map[string]any{"size": ">= 500"}, "/dev/sda", ""},
		{"= means at least, as in Nova's flavors", map[string]any{"size": "= 500"}, "/dev/sda", ""},
		{"a hint may name a disk that is too small by default", map[string]any{"size": "<= 10"}, "/dev/sdd", ""},
		{"serial, any case", map[string]any{"serial": "ccc"}, "/dev/sdc", ""},
		{"not equal", map[string]any{"serial": "s!= bbb", "model": "fast SSD"}, "/dev/sdc", ""},
		{"part of the model", map[string]any{"model": "<in> big"}, "/dev/sda", ""},
		{"all parts", map[string]any{"model": "<all-in> disk <all-in> big"}, "/dev/sda", ""},
		{"one of", map[string]any{"serial": "<or> zzz <or> ccc"}, "/dev/sdc", ""},
		{"Ironic escapes blanks", map[string]any{"model": "s== fast%20ssd", "serial": "BBB"}, "/dev/sdb", ""},
		{"rotational as boolean", map[string]any{"rotational": true}, "/dev/sda", ""},
		{"rotational as text", map[string]any{"rotational": "no", "serial": "CCC"}, "/dev/sdc", ""},
		{"name", map[string]any{"name": "/dev/sdc"}, "/dev/sdc", ""},
		{"wwn with extension", map[string]any{"wwn_with_extension": "0x2FF"}, "/dev/sdb", ""},
		{"hctl", map[string]any{"hctl": "0:0:0:0"}, "/dev/sda", ""},
		{"none fits: every reason is told", map[string]any{"vendor": "ATA", "rotational": "false"}, "", `/dev/sda: rotational is "true", the hint wants "false"`},
		{"unknown hint", map[string]any{"colour": "blue"}, "", `"colour" is unknown`},
		{"size is a number", map[string]any{"size": "large"}, "", "not a number"},
		{"operator without value", map[string]any{"model": "s=="}, "", "needs a value"},
		{"a list is no hint", map[string]any{"model": []any{"a"}}, "", "text, number or boolean"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := SelectRoot(disks, tt.hints)
			if tt.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantError) {
					t.Errorf("%q, error %v", got.Name, err)
				}
				return
			}
			if err != nil || got.Name != tt.want {
				t.Errorf("%q, error %v, want %q", got.Name, err, tt.want)
			}
		})
	}
	if _, err := SelectRoot(disks[3:], nil); !errors.Is(err, ErrNoRootDisk) {
		t.Errorf("a 2 GiB disk: %v", err)
	}
}

func TestBootMAC(t *testing.T) {
	tests := []struct{ in, want string }{
		{"01-52-54-00-24-00-0A", "52:54:00:24:00:0a"}, {"52:54:00:24:00:0a", "52:54:00:24:00:0a"}, {"", ""}, {"01-zz-54-00-24-00-0a", ""}, {"eth0", ""},
	}
	for _, tt := range tests {
		if got := BootMAC(tt.in); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzHints(f *testing.F) {
	for _, s := range []string{">= 10", "<or> a <or> b", "s== x", "<in>", "%zz", "==", "<all-in> a"} {
		f.Add("size", s)
		f.Add("model", s)
	}
	d := Disk{Name: "/dev/sda", Size: 10 << 30, Model: "a b"}
	f.Fuzz(func(t *testing.T, name, value string) {
		hints, err := ParseHints(map[string]any{name: value})
		if err != nil {
			return
		}
		for _, h := range hints {
			h.Match(d)
		}
	})
}

func FuzzDMI(f *testing.F) {
	f.Add(dmi())
	f.Add([]byte{17, 200, 0, 0})
	f.Fuzz(func(t *testing.T, table []byte) {
		if n := dmiMemoryMB(table); n < 0 {
			t.Errorf("%d MiB", n)
		}
	})
}
