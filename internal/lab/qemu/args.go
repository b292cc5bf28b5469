package qemu

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// The firmwares.
const (
	BIOS = "bios"
	UEFI = "uefi"
)

// Firmwares, NICModels and DiskBuses list what a machine can be made of; the
// first of each is the default.
func Firmwares() []string { return []string{BIOS, UEFI} }

// NICModels lists the network cards.
func NICModels() []string { return []string{"virtio-net-pci", "e1000", "e1000e"} }

// DiskBuses lists the ways a disk may be attached.
func DiskBuses() []string { return []string{"virtio-scsi", "virtio-blk", "ahci"} }

const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	program  = "qemu-system-x86_64"

	// Files in the machine's folder, which is QEMU's working directory.
	diskFile   = "disk.raw"
	varsFile   = "efivars.fd"
	pidFile    = "qemu.pid"
	qmpSocket  = "qmp.sock"
	serialSock = "serial.sock"
	netSocket  = "net.sock"
	logFile    = "qemu.log"

	// biosRetry is how long SeaBIOS waits before it starts over when nothing boots, in ms.
	biosRetry = 5000
	// maxSocketPath is the kernel's limit (sun_path, unix(7)) less its end.
	maxSocketPath = 107
)

// Config describes one machine.
type Config struct {
	Info bmc.Info
	// Dir holds the machine's disk, sockets, logs and, under UEFI, variables.
	Dir      string
	Firmware string
	// Accel is KVM or TCG; see Accelerator.
	Accel    string
	NICModel string
	DiskBus  string
	MAC      net.HardwareAddr
	// Link is the cable. BIOS machines boot from it by the card's iPXE option ROM; under UEFI the firmware's own PXE and
	// HTTP clients are used.
	Link *Link
	// IPv6 is what UEFI's clients use, else IPv4: trying the one that the network has not takes a minute.
	IPv6 bool
	// Fetch downloads what is put into the virtual CD drive, as the BMC would; nil: there is no such drive.
	Fetch *http.Client
}

// Check says what is missing on this host or wrong in the configuration.
func (c Config) Check() error {
	var errs []error
	one := func(what, v string, of []string) {
		if !slices.Contains(of, v) {
			errs = append(errs, fmt.Errorf("%s %q: want one of %s", what, v, strings.Join(of, ", ")))
		}
	}
	one("firmware", c.Firmware, Firmwares())
	one("NIC model", c.NICModel, NICModels())
	one("disk bus", c.DiskBus, DiskBuses())
	one("accelerator", c.Accel, []string{KVM, TCG})
	if p := filepath.Join(c.Dir, serialSock); len(p) > maxSocketPath {
		errs = append(errs, fmt.Errorf("folder %s: a socket's path may have %d bytes, %s has %d", c.Dir, maxSocketPath, p, len(p)))
	}
	if _, err := exec.LookPath(program); err != nil {
		errs = append(errs, fmt.Errorf("%s is not installed: apt-get install qemu-system-x86", program))
	}
	if _, err := os.Stat(ovmfCode); err != nil && c.Firmware == UEFI {
		errs = append(errs, fmt.Errorf("no UEFI firmware: apt-get install ovmf: %w", err))
	}
	return errors.Join(errs...)
}

// boot is what may differ between one start and the next.
type boot struct {
	order []bmc.BootDevice
	// iso is a CD-ROM's image; "" means an empty drive.
	iso string
	// badDisk makes every access to the disk fail.
	badDisk bool
}

// arguments is QEMU's command line. Relative names are in the machine's folder.
func (c Config) arguments(b boot) []string {
	cpu := "Nehalem,+rdrand" // x86-64-v2, and a source of random numbers
	accel := "tcg,thread=multi"
	if c.Accel == KVM {
		cpu, accel = "host", "kvm"
	}
	i := c.Info
	a := []string{
		"-name", i.Name, "-uuid", i.UUID,
		// Without graphics SeaBIOS and OVMF talk on the serial line.
		"-machine", "q35,graphics=off", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(i.CPUs), "-m", strconv.Itoa(i.MemoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-rtc", "base=utc",
		// A reset ends the process, an orderly end leaves it for us to ask; see Machine.Boot.
		"-action", "reboot=shutdown,shutdown=pause,panic=none",
		"-S", // it starts when its sockets are connected
		"-pidfile", pidFile,
		"-qmp", "unix:" + qmpSocket + ",server=on,wait=off",
		"-chardev", "socket,id=serial,path=" + serialSock + ",server=on,wait=off", "-serial", "chardev:serial",
		"-smbios", smbios("0", "vendor", i.Manufacturer, "version", i.BIOSVersion),
		"-smbios", smbios("1", "manufacturer", i.Manufacturer, "product", i.Product, "serial", i.Serial, "uuid", i.UUID),
		"-smbios", smbios("3", "manufacturer", i.Manufacturer, "serial", i.Serial),
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
		"-boot", "strict=on,reboot-timeout=" + strconv.Itoa(biosRetry),
	}
	if c.Firmware == UEFI {
		a = append(a,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,unit=1,format=raw,file="+varsFile,
			"-fw_cfg", pxeSupport("IPv4", !c.IPv6 && !httpFirst(b.order)), "-fw_cfg", pxeSupport("IPv6", c.IPv6 && !httpFirst(b.order)))
		if httpFirst(b.order) { // a card's boot options are tried together, PXE first
			b.order = slices.DeleteFunc(slices.Clone(b.order), func(d bmc.BootDevice) bool { return d == bmc.PXE })
		}
	}
	index := func(d bmc.BootDevice) string {
		if n := slices.Index(b.order, d); n >= 0 {
			return ",bootindex=" + strconv.Itoa(n+1)
		}
		return ""
	}
	a = append(a, c.diskArguments(index(bmc.Disk), b.badDisk)...)
	network := index(bmc.PXE)
	if network == "" {
		network = index(bmc.HTTP)
	}
	nic := c.NICModel + ",netdev=net0,mac=" + c.MAC.String() + network
	if c.Firmware == UEFI {
		nic += ",romfile=" // OVMF's own driver, and so its own PXE client
	}
	a = append(a, "-netdev", "stream,id=net0,server=on,addr.type=unix,addr.path="+netSocket, "-device", nic)
	cd := "scsi-cd"
	if c.DiskBus != "virtio-scsi" {
		cd = "ide-cd,bus=ide.1" // a port of the AHCI controller has one device
	}
	cd += ",id=cd0"
	if b.iso != "" {
		a = append(a, "-blockdev", "driver=raw,node-name=iso,read-only=on,file.driver=file,file.filename="+escape(b.iso))
		cd += ",drive=iso"
	}
	return append(a, "-device", cd+index(bmc.CDROM))
}

// pxeSupport switches OVMF's PXE client for a protocol; see OvmfPkg's PxeBcPcdProducerLib.
func pxeSupport(protocol string, on bool) string {
	value := "no"
	if on {
		value = "yes"
	}
	return "name=opt/org.tianocore/" + protocol + "PXESupport,string=" + value
}

// httpFirst says whether HTTP boot is wanted before PXE.
func httpFirst(order []bmc.BootDevice) bool {
	http := slices.Index(order, bmc.HTTP)
	return http >= 0 && http < slices.Index(order, bmc.PXE)
}

func (c Config) diskArguments(index string, bad bool) []string {
	serial := c.Info.Serial + "-0"
	a := []string{"-blockdev", "driver=raw,node-name=disk0,discard=unmap,detect-zeroes=unmap,file.driver=file,file.filename=" + diskFile + ",file.aio=threads"}
	drive := "disk0"
	if bad {
		a = append(a, "-blockdev", badDiskNode)
		drive = "bad0"
	}
	switch c.DiskBus {
	case "virtio-blk":
		a = append(a, "-device", "virtio-blk-pci,id=hd0,drive="+drive+",serial="+serial+index)
	case "ahci":
		a = append(a, "-device", "ide-hd,id=hd0,bus=ide.0,drive="+drive+",serial="+serial+",model=LAB-DISK,rotation_rate=1,wwn="+wwn(c.MAC)+index)
	default:
		a = append(a, "-device", "virtio-scsi-pci,id=scsi0",
			"-device", "scsi-hd,id=hd0,drive="+drive+",serial="+serial+",vendor=TRIPLEO,product=LAB-DISK,rotation_rate=1,wwn="+wwn(c.MAC)+index)
	}
	return a
}

// badDiskNode is a block node over the disk that fails (EIO) at whatever is
// asked of it (QEMU's blkdebug driver, docs/devel/blkdebug.rst).
const badDiskNode = `{"driver":"blkdebug","node-name":"bad0","image":"disk0","inject-error":[{"event":"none","iotype":"read","errno":5},{"event":"none","iotype":"write","errno":5},{"event":"none","iotype":"flush","errno":5}]}`

// wwn makes a NAA 5 world wide name from the machine's MAC address.
func wwn(mac net.HardwareAddr) string { return fmt.Sprintf("0x50%x00", []byte(mac)) }

// smbios renders an -smbios option; pairs are keys and values.
func smbios(kind string, pairs ...string) string {
	var b strings.Builder
	b.WriteString("type=" + kind)
	for i := 0; i+1 < len(pairs); i += 2 {
		b.WriteString("," + pairs[i] + "=" + escape(pairs[i+1]))
	}
	return b.String()
}

// escape protects a comma in an option's value (qemu(1): it is doubled).
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
