package hardware

import (
	"encoding/hex"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// sectorBytes is the unit of /sys/block/*/size whatever the device's own sector is.
const sectorBytes = 512

// notDisks are prefixes of block devices that are never a machine's own disk: what ironic-python-agent leaves
// out by asking lsblk for type "disk", and what the kernel makes up by itself.
var notDisks = [...]string{"loop", "ram", "zram", "sr", "fd", "dm-", "nbd", "rbd", "drbd", "zd", "mtdblock"}

// Disks lists the whole disks found in /sys/block that also have a node in /dev, ordered by name. md devices
// count (software RAID), read-only ones and those without a medium do not.
func Disks(sys, dev fs.FS) []Disk {
	entries, err := fs.ReadDir(sys, "block")
	if err != nil {
		return []Disk{}
	}
	disks := []Disk{}
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc(notDisks[:], func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		// A '!' in sysfs stands for a '/' of the node's name (cciss!c0d0).
		node := strings.ReplaceAll(name, "!", "/")
		if _, err := fs.Stat(dev, node); err != nil {
			continue
		}
		base := path.Join("block", name)
		sectors, err := strconv.ParseInt(readLine(sys, base+"/size"), 10, 64)
		if err != nil || sectors <= 0 || readLine(sys, base+"/ro") == "1" {
			continue
		}
		disks = append(disks, readDisk(sys, dev, base, node, sectors*sectorBytes))
	}
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.Name, b.Name) })
	return disks
}

func readDisk(sys, dev fs.FS, base, node string, size int64) Disk {
	d := Disk{
		Name:       "/dev/" + node,
		Size:       size,
		Model:      readLine(sys, base+"/device/model"),
		Vendor:     readLine(sys, base+"/device/vendor"),
		Rotational: readLine(sys, base+"/queue/rotational") == "1",
		Serial:     serial(sys, base),
		HCTL:       hctl(sys, base),
		ByPath:     byPath(dev, node),
		Holders:    holders(sys, base),
	}
	if strings.HasPrefix(d.Vendor, "0x") { // virtio and NVMe put the PCI vendor id here, not a name
		d.Vendor = ""
	}
	d.WWN, d.WWNWithExtension, d.WWNVendorExtension = wwn(sys, base)
	return d
}

// serial looks where each kind of disk keeps it: NVMe and MMC in device/serial, virtio in serial, SCSI and ATA
// in the vital product data page 0x80 (4 bytes of header, then text).
func serial(sys fs.FS, base string) string {
	for _, p := range []string{"/device/serial", "/serial"} {
		if v := readLine(sys, base+p); v != "" {
			return v
		}
	}
	if page := readFile(sys, base+"/device/vpd_pg80"); len(page) > 4 {
		return strings.Trim(string(page[4:]), " \x00")
	}
	return ""
}

// wwn returns the world wide name as udev prints it: ID_WWN, ID_WWN_WITH_EXTENSION and ID_WWN_VENDOR_EXTENSION.
// A SCSI NAA type 6 name has 16 bytes of which the first 8 are the WWN and the rest the vendor's extension.
func wwn(sys fs.FS, base string) (short, full, extension string) {
	id := readLine(sys, base+"/device/wwid")
	if id == "" {
		id = readLine(sys, base+"/wwid")
	}
	switch {
	case strings.HasPrefix(id, "naa."):
		digits := strings.TrimPrefix(id, "naa.")
		if _, err := hex.DecodeString(digits); err != nil {
			return "", "", ""
		}
		full = "0x" + digits
		if len(digits) > 16 {
			return "0x" + digits[:16], full, "0x" + digits[16:]
		}
		return full, full, ""
	case strings.HasPrefix(id, "eui."), strings.HasPrefix(id, "nvme."), strings.HasPrefix(id, "uuid."):
		return id, id, ""
	case strings.HasPrefix(id, "0x"):
		if len(id) > 18 {
			return id[:18], id, "0x" + id[18:]
		}
		return id, id, ""
	}
	return "", "", ""
}

// hctl is the SCSI address host:channel:target:lun, the name of the only entry of device/scsi_device.
func hctl(sys fs.FS, base string) string {
	entries, err := fs.ReadDir(sys, base+"/device/scsi_device")
	if err != nil || len(entries) == 0 {
		return ""
	}
	return entries[0].Name()
}

// byPath finds the link of /dev/disk/by-path that names the node; "" where udev does not run.
func byPath(dev fs.FS, node string) string {
	entries, err := fs.ReadDir(dev, "disk/by-path")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		link := "disk/by-path/" + e.Name()
		if target, err := fs.ReadLink(dev, link); err == nil && path.Join("disk/by-path", target) == node {
			return "/dev/" + link
		}
	}
	return ""
}

// holders are what is built on a disk (sysfs: holders of the disk and of its partitions).
func holders(sys fs.FS, base string) []string {
	dirs, err := fs.Glob(sys, base+"/*/holders")
	if err != nil {
		return nil
	}
	var out []string
	for _, dir := range append(dirs, base+"/holders") {
		entries, err := fs.ReadDir(sys, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !slices.Contains(out, e.Name()) {
				out = append(out, e.Name())
			}
		}
	}
	slices.Sort(out)
	return out
}
