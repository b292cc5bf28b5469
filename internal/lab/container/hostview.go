package container

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hostSpec is a machine as its own software sees it.
type hostSpec struct {
	UUID, Manufacturer, Product, Serial, BIOSVersion string

	CPUs      int
	MemoryMiB int
	Disk      diskSpec
	// NIC is the name of the network interface in the machine's namespace.
	NIC string
}

// diskSpec is a disk: a loop device that looks like a SCSI disk.
type diskSpec struct {
	// Name is the kernel's name, e.g. "sda".
	Name string
	// LoopMinor is the minor number of the device behind it.
	LoopMinor uint32
	Bytes     int64
	Serial    string
	WWN       string
	Model     string
	Vendor    string
}

const (
	loopMajor  = 7
	pciDisk    = "/sys/devices/pci0000:00/0000:00:04.0"
	pciNIC     = "/sys/devices/pci0000:00/0000:00:03.0"
	scsiAddr   = "0:0:0:0"
	hiddenSys  = "/.sysfs" // where the real sysfs is while parts of it are bound
	virtioVend = "0x1af4"
)

// populate builds /dev, /proc and /sys under root.
func (h *hostSpec) populate(root, cmdline string) error {
	t := &tree{root: root}
	h.dev(t)
	h.proc(t, cmdline)
	h.sys(t)
	for _, d := range []string{"/run/lock", "/tmp", "/mnt", "/var"} {
		t.dir(d)
	}
	t.do("/tmp", func() error { return os.Chmod(t.path("/tmp"), 0o1777) })
	h.udev(t)
	return t.err
}

// dev holds the nodes of a ramdisk, the console and the one disk.
func (h *hostSpec) dev(t *tree) {
	t.mount("devtmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755,size=4m")
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		t.node("/dev/"+n.name, unix.S_IFCHR|0o666, n.major, n.minor)
	}
	t.do("console", func() error {
		// The terminal by its path: the open file belongs to the lab's mounts.
		tty, err := os.Readlink("/proc/self/fd/0")
		if err != nil {
			return err
		}
		t.bind(tty, "/dev/console")
		return t.err
	})
	t.mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
	t.link("/dev/ptmx", "/dev/pts/ptmx")
	t.mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
	// What is written to the kernel's log goes to the console, as with loglevel 8.
	t.link("/dev/kmsg", "/dev/console")
	t.do("/dev/fd", func() error { return os.Symlink("/proc/self/fd", t.path("/dev/fd")) })
	t.node("/dev/"+h.Disk.Name, unix.S_IFBLK|0o660, loopMajor, h.Disk.LoopMinor)
	t.link("/dev/disk/by-id/wwn-"+h.Disk.WWN, "/dev/"+h.Disk.Name)
	t.link("/dev/disk/by-path/pci-0000:00:04.0-scsi-"+scsiAddr, "/dev/"+h.Disk.Name)
}

// proc is the PID namespace's own, with this machine's command line, CPUs,
// memory and disks, and without the switches that reach the host.
func (h *hostSpec) proc(t *tree, cmdline string) {
	t.mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
	for _, d := range []string{"kernel", "vm", "fs", "dev"} { // the host's settings; net is the machine's own
		p := "/proc/sys/" + d
		t.bind(t.path(p), p)
		t.do("protect "+p, func() error {
			return unix.Mount("", t.path(p), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
		})
	}
	var cpuinfo, meminfo string
	t.do("/proc", func() error {
		var err error
		if cpuinfo, err = h.cpuinfo(); err != nil {
			return err
		}
		meminfo, err = h.meminfo()
		return err
	})
	parts := lines("major minor  #blocks  name", "", fmt.Sprintf("%4d %7d %10d %s", loopMajor, h.Disk.LoopMinor, h.Disk.Bytes/1024, h.Disk.Name))
	for name, content := range map[string]string{"cmdline": cmdline + "\n", "cpuinfo": cpuinfo, "meminfo": meminfo, "partitions": parts, "sysrq-trigger": "", "kcore": "", "diskstats": "", "modules": ""} {
		over := "/.proc/" + name
		t.file(over, content)
		if _, err := os.Lstat(t.path("/proc/" + name)); err == nil {
			t.bind(t.path(over), "/proc/"+name)
		}
	}
}

// cpuinfo repeats the host's first processor for each of the machine's.
func (h *hostSpec) cpuinfo() (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", fmt.Errorf("cpuinfo: %w", err)
	}
	first, _, _ := strings.Cut(string(b), "\n\n")
	number := regexp.MustCompile(`(?m)^(processor|apicid|initial apicid|core id)(\s*):.*$`)
	count := regexp.MustCompile(`(?m)^(siblings|cpu cores)(\s*):.*$`)
	var out strings.Builder
	for i := range h.CPUs {
		s := number.ReplaceAllString(first, fmt.Sprintf("${1}${2}: %d", i))
		s = count.ReplaceAllString(s, fmt.Sprintf("${1}${2}: %d", h.CPUs))
		out.WriteString(s + "\n\n")
	}
	return out.String(), nil
}

// meminfo is the host's with the machine's size; a kernel keeps a little of it
// for itself.
func (h *hostSpec) meminfo() (string, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", fmt.Errorf("meminfo: %w", err)
	}
	totalKiB := h.MemoryMiB * 1024
	reserved := totalKiB / 64
	set := func(s, key string, kib int) string {
		re := regexp.MustCompile(`(?m)^` + key + `:.*$`)
		return re.ReplaceAllString(s, fmt.Sprintf("%-15s %8d kB", key+":", kib))
	}
	s := set(string(b), "MemTotal", totalKiB-reserved)
	s = set(s, "MemFree", totalKiB-2*reserved)
	return set(s, "MemAvailable", totalKiB-2*reserved), nil
}

// sys describes this machine only; network attributes are the real ones.
func (h *hostSpec) sys(t *tree) {
	t.mount("sysfs", hiddenSys, "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "")
	t.mount("sysfs", "/sys", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=755,size=8m")
	h.sysDMI(t)
	h.sysCPU(t)
	h.sysDisk(t)
	h.sysNet(t)
	for _, d := range []string{"/sys/kernel", "/sys/fs", "/sys/module", "/sys/bus/pci/devices", "/sys/class/tty", "/sys/firmware"} {
		t.dir(d)
	}
}

func (h *hostSpec) sysDMI(t *tree) {
	const id = "/sys/devices/virtual/dmi/id"
	for k, v := range map[string]string{
		"sys_vendor": h.Manufacturer, "product_name": h.Product, "product_serial": h.Serial, "product_uuid": h.UUID, "product_version": "1",
		"board_vendor": h.Manufacturer, "board_name": h.Product, "board_serial": h.Serial, "chassis_vendor": h.Manufacturer, "chassis_serial": h.Serial,
		"chassis_type": "23", "bios_vendor": h.Manufacturer, "bios_version": h.BIOSVersion, "bios_date": "01/01/2026",
	} {
		t.attr(id+"/"+k, v)
	}
	t.link("/sys/class/dmi/id", id)
	t.file("/sys/firmware/dmi/tables/DMI", string(smbios(h.MemoryMiB)))
}

// smbios is a table with one memory module: what is plugged in, which is more
// than the kernel leaves to its users (DMTF DSP0134, 7.18 and 7.45).
func smbios(memoryMiB int) []byte {
	const length = 0x28
	dimm := make([]byte, length+2) // no text follows: two zero bytes end the structure
	dimm[0], dimm[1] = 17, length
	binary.LittleEndian.PutUint16(dimm[2:], 0x1100)               // handle
	binary.LittleEndian.PutUint16(dimm[0x08:], 64)                // total width, bits
	binary.LittleEndian.PutUint16(dimm[0x0a:], 64)                // data width
	binary.LittleEndian.PutUint16(dimm[0x0c:], 0x7fff)            // size: see extended size
	dimm[0x0e] = 9                                                // form factor: DIMM
	binary.LittleEndian.PutUint32(dimm[0x1c:], uint32(memoryMiB)) // extended size, MiB
	end := []byte{127, 4, 0, 0x7f, 0, 0}
	return slices.Concat(dimm, end)
}

func (h *hostSpec) sysCPU(t *tree) {
	const cpu, node = "/sys/devices/system/cpu", "/sys/devices/system/node"
	all := fmt.Sprintf("0-%d", h.CPUs-1)
	for _, k := range []string{"online", "present", "possible"} {
		t.attr(cpu+"/"+k, all)
	}
	for i := range h.CPUs {
		t.attr(fmt.Sprintf("%s/cpu%d/topology/core_id", cpu, i), fmt.Sprint(i))
		t.attr(fmt.Sprintf("%s/cpu%d/topology/physical_package_id", cpu, i), "0")
		t.attr(fmt.Sprintf("%s/cpu%d/topology/thread_siblings_list", cpu, i), fmt.Sprint(i))
		t.link(fmt.Sprintf("%s/node0/cpu%d", node, i), fmt.Sprintf("%s/cpu%d", cpu, i))
	}
	t.attr(node+"/online", "0")
	t.attr(node+"/node0/cpulist", all)
	t.attr(node+"/node0/meminfo", fmt.Sprintf("Node 0 MemTotal:       %d kB", h.MemoryMiB*1024))
}

// sysDisk makes the disk a SCSI disk behind a PCI adapter.
func (h *hostSpec) sysDisk(t *tree) {
	d := h.Disk
	target := pciDisk + "/host0/target0:0:0/" + scsiAddr
	block := target + "/block/" + d.Name
	for k, v := range map[string]string{
		"size": fmt.Sprint(d.Bytes / sectorSize), "ro": "0", "removable": "0", "hidden": "0", "dev": fmt.Sprintf("%d:%d", loopMajor, d.LoopMinor),
		"serial": d.Serial, "queue/rotational": "0", "queue/logical_block_size": "512", "queue/physical_block_size": "4096",
		"queue/hw_sector_size": "512", "queue/discard_granularity": "4096", "queue/discard_max_bytes": "4294966784", "queue/write_cache": "write back",
		"uevent": fmt.Sprintf("MAJOR=%d\nMINOR=%d\nDEVNAME=%s\nDEVTYPE=disk", loopMajor, d.LoopMinor, d.Name),
	} {
		t.attr(block+"/"+k, v)
	}
	// SCSI pads the vendor to 8 and the model to 16 characters.
	for k, v := range map[string]string{"vendor": fmt.Sprintf("%-8s", d.Vendor), "model": fmt.Sprintf("%-16s", d.Model), "rev": "1.0 ", "type": "0", "wwid": "naa." + strings.TrimPrefix(d.WWN, "0x"), "state": "running"} {
		t.attr(target+"/"+k, v)
	}
	page := append([]byte{0, 0x80, byte(len(d.Serial) >> 8), byte(len(d.Serial))}, d.Serial...)
	t.file(target+"/vpd_pg80", string(page)) // SPC-4: unit serial number page
	t.link(block+"/device", target)
	t.link(target+"/driver", "/sys/bus/scsi/drivers/sd")
	t.dir("/sys/bus/scsi/drivers/sd")
	for _, p := range []string{"/sys/block/" + d.Name, "/sys/class/block/" + d.Name, fmt.Sprintf("/sys/dev/block/%d:%d", loopMajor, d.LoopMinor)} {
		t.link(p, block)
	}
	t.link("/sys/class/scsi_disk/"+scsiAddr+"/device", target)
}

// sysNet shows the namespace's interfaces: the loopback as it is, the TAP with
// the bus device that a physical NIC has and by which agents tell NICs from
// virtual interfaces.
func (h *hostSpec) sysNet(t *tree) {
	t.bind(t.path(hiddenSys+"/devices/virtual/net"), "/sys/devices/virtual/net")
	t.link("/sys/class/net/lo", "/sys/devices/virtual/net/lo")
	dir := pciNIC + "/virtio0/net/" + h.NIC
	t.dir(dir)
	t.do(dir, func() error {
		entries, err := os.ReadDir(t.path(hiddenSys + "/devices/virtual/net/" + h.NIC))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if n := e.Name(); n != "device" && n != "subsystem" && n != "tun_flags" && n != "owner" && n != "group" {
				t.link(dir+"/"+n, "/sys/devices/virtual/net/"+h.NIC+"/"+n)
			}
		}
		return nil
	})
	for k, v := range map[string]string{"vendor": virtioVend, "device": "0x1000", "class": "0x020000", "numa_node": "0"} {
		t.attr(pciNIC+"/"+k, v)
		if k == "vendor" || k == "device" {
			t.attr(pciNIC+"/virtio0/"+k, v)
		}
	}
	t.dir("/sys/bus/virtio/drivers/virtio_net")
	t.link(pciNIC+"/virtio0/driver", "/sys/bus/virtio/drivers/virtio_net")
	t.link(pciNIC+"/virtio0/subsystem", "/sys/bus/virtio")
	t.link(dir+"/device", pciNIC+"/virtio0")
	t.link(dir+"/subsystem", "/sys/class/net")
	t.link("/sys/class/net/"+h.NIC, dir)
}

// udev leaves the properties that udev would have found for the disk.
func (h *hostSpec) udev(t *tree) {
	t.file(filepath.Join("/run/udev/data", fmt.Sprintf("b%d:%d", loopMajor, h.Disk.LoopMinor)), lines(
		"E:ID_BUS=scsi", "E:ID_TYPE=disk", "E:ID_MODEL="+h.Disk.Model, "E:ID_VENDOR="+h.Disk.Vendor, "E:ID_SERIAL="+h.Disk.Serial,
		"E:ID_SERIAL_SHORT="+h.Disk.Serial, "E:ID_SCSI_SERIAL="+h.Disk.Serial, "E:ID_WWN="+h.Disk.WWN))
}
