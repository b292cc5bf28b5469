// Package hardware reads what a machine is made of from the kernel's own files: processors and memory from
// /proc, disks and NICs from /sys, the makers' names from DMI. It also picks the root disk by Ironic's root
// device hints. Everything is read through fs.FS roots, so that a machine can be a directory in a test, and
// the shapes are those of ironic-python-agent's inventory, because Ironic and ironic-inspector read them.
package hardware

import (
	"io/fs"
	"net/netip"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/lldp"
)

// Inventory is the machine as ironic-python-agent describes it in its "inventory" key.
type Inventory struct {
	Interfaces   []Interface  `json:"interfaces"`
	CPU          CPU          `json:"cpu"`
	Disks        []Disk       `json:"disks"`
	Memory       Memory       `json:"memory"`
	BMCAddress   string       `json:"bmc_address,omitempty"`
	BMCV6Address string       `json:"bmc_v6address,omitempty"`
	SystemVendor SystemVendor `json:"system_vendor"`
	Boot         Boot         `json:"boot"`
	Hostname     string       `json:"hostname,omitempty"`
}

// CPU describes the processors; Count is the number of logical ones.
type CPU struct {
	ModelName    string   `json:"model_name"`
	Frequency    string   `json:"frequency"` // MHz, as text with up to four decimals
	Count        int      `json:"count"`
	Architecture string   `json:"architecture"` // as uname -m says it
	Flags        []string `json:"flags"`
	SocketCount  int      `json:"socket_count,omitempty"`
}

// Memory sizes: Total in bytes is what the kernel can use, PhysicalMB what is plugged in (MiB).
type Memory struct {
	Total      int64 `json:"total"`
	PhysicalMB int64 `json:"physical_mb"`
}

// Disk is a whole block device that can hold an operating system. Size in bytes.
type Disk struct {
	Name               string `json:"name"` // device node, e.g. /dev/sda
	Model              string `json:"model"`
	Size               int64  `json:"size"`
	Rotational         bool   `json:"rotational"`
	WWN                string `json:"wwn,omitempty"`
	Serial             string `json:"serial,omitempty"`
	Vendor             string `json:"vendor,omitempty"`
	WWNWithExtension   string `json:"wwn_with_extension,omitempty"`
	WWNVendorExtension string `json:"wwn_vendor_extension,omitempty"`
	HCTL               string `json:"hctl,omitempty"`
	ByPath             string `json:"by_path,omitempty"`
	// Holders are the arrays and the like that have the disk or a partition of it.
	Holders []string `json:"-"`
}

// Interface is an Ethernet port of the machine.
type Interface struct {
	Name        string     `json:"name"`
	MACAddress  string     `json:"mac_address"`
	IPv4Address string     `json:"ipv4_address,omitempty"`
	IPv6Address string     `json:"ipv6_address,omitempty"`
	HasCarrier  bool       `json:"has_carrier"`
	LLDP        []lldp.TLV `json:"lldp"` // what the switch said, as [type, hexadecimal]; null if it was not heard
	Vendor      string     `json:"vendor,omitempty"`
	Product     string     `json:"product,omitempty"`
	ClientID    string     `json:"client_id,omitempty"`
	Driver      string     `json:"driver,omitempty"`
	SpeedMbps   int        `json:"speed_mbps,omitempty"`
	PCIAddress  string     `json:"pci_address,omitempty"`
}

// SystemVendor is who made the machine, from DMI.
type SystemVendor struct {
	ProductName  string `json:"product_name"`
	SerialNumber string `json:"serial_number"`
	Manufacturer string `json:"manufacturer"`
	// Firmware is what the machine starts with; nil if DMI tells nothing of it.
	Firmware *Firmware `json:"firmware,omitempty"`
}

// Firmware is a BIOS or UEFI, from DMI; BuildDate is as its maker writes it.
type Firmware struct {
	Vendor    string `json:"vendor"`
	Version   string `json:"version"`
	BuildDate string `json:"build_date"`
}

// Boot tells how the machine was started: "bios" or "uefi", and from which NIC (its MAC address, if known).
type Boot struct {
	CurrentBootMode string `json:"current_boot_mode"`
	PXEInterface    string `json:"pxe_interface,omitempty"`
}

// Sources is where the facts are read from.
type Sources struct {
	Proc fs.FS // /proc
	Sys  fs.FS // /sys
	Dev  fs.FS // /dev: a disk without a node here is not ours
	// Addresses returns the addresses of an interface; nil means none are known.
	Addresses func(name string) []netip.Addr
	// BMC returns the addresses of the machine's controller, invalid ones if they are not known; nil: nobody asks.
	BMC func() (v4, v6 netip.Addr)
	// LLDP is what was heard on each interface; nil: nobody listened.
	LLDP         map[string][]lldp.TLV
	Architecture string // uname -m
	Hostname     string
	// BootIF is the kernel argument of the same name: the MAC address of the NIC that booted, in PXE's notation.
	BootIF string
}

// Collect reads everything. A fact that cannot be read stays empty: half an inventory is worth more than none.
func Collect(s Sources) Inventory {
	inv := Inventory{
		Interfaces:   s.interfaces(),
		CPU:          s.cpu(),
		Disks:        Disks(s.Sys, s.Dev),
		Memory:       s.memory(),
		SystemVendor: s.vendor(),
		Boot:         Boot{CurrentBootMode: BootMode(s.Sys), PXEInterface: BootMAC(s.BootIF)},
		Hostname:     s.Hostname,
	}
	if s.BMC != nil {
		v4, v6 := s.BMC()
		if v4.IsValid() {
			inv.BMCAddress = v4.String()
		}
		if v6.IsValid() {
			inv.BMCV6Address = v6.String()
		}
	}
	return inv
}

// BootMode is "uefi" when the kernel was started by UEFI firmware, else "bios".
func BootMode(sys fs.FS) string {
	if _, err := fs.Stat(sys, "firmware/efi"); err == nil {
		return "uefi"
	}
	return "bios"
}

// BootMAC turns PXE's BOOTIF ("01-52-54-00-24-00-01": hardware type, then the address) into a MAC address.
// A value that is already one is returned in lower case; anything else gives "".
func BootMAC(bootif string) string {
	v := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(bootif), "-", ":"))
	if len(v) == 20 && strings.HasPrefix(v, "01:") {
		v = v[3:]
	}
	if len(v) != 17 {
		return ""
	}
	for i, c := range v {
		if i%3 == 2 && c != ':' || i%3 != 2 && !strings.ContainsRune("0123456789abcdef", c) {
			return ""
		}
	}
	return v
}

func (s Sources) vendor() SystemVendor {
	dmi := func(name string) string { return readLine(s.Sys, "class/dmi/id/"+name) }
	v := SystemVendor{ProductName: dmi("product_name"), SerialNumber: dmi("product_serial"), Manufacturer: dmi("sys_vendor")}
	if f := (Firmware{Vendor: dmi("bios_vendor"), Version: dmi("bios_version"), BuildDate: dmi("bios_date")}); f != (Firmware{}) {
		v.Firmware = &f
	}
	return v
}

// maxFile bounds what is read from a kernel file.
const maxFile = 4 << 20

func readFile(fsys fs.FS, name string) []byte {
	f, err := fsys.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	return readBounded(f, maxFile)
}

// readLine is the file's text without surrounding blanks and NULs, "" if there is none.
func readLine(fsys fs.FS, name string) string {
	return strings.Trim(string(readFile(fsys, name)), " \t\r\n\x00")
}
