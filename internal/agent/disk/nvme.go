package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NVM Express Base Specification 2.0, and its NVM Command Set: what is needed to
// have a disk erase itself.
const (
	nvmeIdentify, nvmeFormat = 0x06, 0x80 // opcodes of admin commands (figure 138)
	identifySize             = 4096

	oacsAt, nnAt, fnaAt = 256, 516, 524 // in Identify Controller (figure 275)
	flbasAt, dpsAt      = 26, 29        // in Identify Namespace (figure 97 of the NVM Command Set)

	oacsFormat     = 1 << 1 // Format NVM is there
	fnaFormatsAll  = 1 << 0 // a format is of all namespaces
	fnaErasesAll   = 1 << 1 // an erasure is of all namespaces
	fnaCrypto      = 1 << 2 // a cryptographic erasure is there
	sesUserData    = 1      // secure erase settings of Format NVM (figure 328)
	sesCrypto      = 2
	nvmeFormatTime = time.Hour
	nvmeAskTime    = 30 * time.Second

	ioctlNVMeID    = 0x4e40     // NVME_IOCTL_ID: the namespace's number (linux/nvme_ioctl.h)
	ioctlNVMeAdmin = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD
)

// nvmeCommand is struct nvme_admin_cmd of linux/nvme_ioctl.h.
type nvmeCommand struct {
	Opcode, Flags            uint8
	_                        uint16
	NSID, CDW2, CDW3         uint32
	Metadata, Addr           uint64
	MetadataLen, DataLen     uint32
	CDW10, CDW11, CDW12      uint32
	CDW13, CDW14, CDW15      uint32
	TimeoutMS, CommandResult uint32
}

// nvmeAdmin sends an admin command about a namespace; data, if not nil, is filled with what the controller returns.
type nvmeAdmin func(opcode uint8, namespace, cdw10 uint32, data []byte, limit time.Duration) error

// errNoSelfErase says that a disk cannot erase itself, or not itself alone.
var errNoSelfErase = errors.New("the disk does not erase itself")

// SelfErase has a disk forget everything by its own means: NVMe's Format NVM
// with a cryptographic erasure, else one of the user data, in the sector format
// it has. It returns how. Other disks, and those whose erasure would hit
// namespaces beside this one, are errors.ErrUnsupported.
func SelfErase(dev Device) (how string, err error) {
	f, ok := dev.(*File)
	if !ok || !f.block {
		return "", errors.ErrUnsupported
	}
	id, err := unix.IoctlRetInt(int(f.f.Fd()), ioctlNVMeID)
	if err != nil || id <= 0 { // no NVMe disk
		return "", errors.ErrUnsupported
	}
	how, err = nvmeErase(f.nvmeAdmin, uint32(id)) //nolint:gosec // positive
	if errors.Is(err, errNoSelfErase) {
		return "", fmt.Errorf("%s: %w: %w", dev.Path(), errors.ErrUnsupported, err)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", dev.Path(), err)
	}
	return how, dev.Sync()
}

func nvmeErase(admin nvmeAdmin, namespace uint32) (how string, err error) {
	controller, ns := make([]byte, identifySize), make([]byte, identifySize)
	if err := admin(nvmeIdentify, 0, 1, controller, nvmeAskTime); err != nil {
		return "", fmt.Errorf("%w: identify controller: %w", errNoSelfErase, err)
	}
	if err := admin(nvmeIdentify, namespace, 0, ns, nvmeAskTime); err != nil {
		return "", fmt.Errorf("%w: identify namespace %d: %w", errNoSelfErase, namespace, err)
	}
	fna, count := controller[fnaAt], binary.LittleEndian.Uint32(controller[nnAt:])
	switch {
	case binary.LittleEndian.Uint16(controller[oacsAt:])&oacsFormat == 0:
		return "", fmt.Errorf("%w: it has no command for that", errNoSelfErase)
	case fna&(fnaFormatsAll|fnaErasesAll) != 0 && count > 1:
		return "", fmt.Errorf("%w: its command erases up to %d namespaces together", errNoSelfErase, count)
	}
	settings, how := uint32(sesUserData), "NVMe format, user data erased"
	if fna&fnaCrypto != 0 {
		settings, how = sesCrypto, "NVMe format, cryptographic erasure"
	}
	// What there is stays: the sector format (bits 0-3 and 5-6 of FLBAS), the place of its metadata (bit 4), and its
	// protection information (DPS: type, bits 0-2, and place, bit 3).
	flbas, dps := uint32(ns[flbasAt]), uint32(ns[dpsAt])
	cdw10 := flbas&0x0f | flbas>>4&1<<4 | dps&7<<5 | dps>>3&1<<8 | settings<<9 | flbas>>5&3<<12
	if err := admin(nvmeFormat, namespace, cdw10, nil, nvmeFormatTime); err != nil {
		return "", fmt.Errorf("NVMe format: %w", err)
	}
	return how, nil
}

// nvmeAdmin passes a command to the controller.
func (d *File) nvmeAdmin(opcode uint8, namespace, cdw10 uint32, data []byte, limit time.Duration) error {
	cmd := nvmeCommand{Opcode: opcode, NSID: namespace, CDW10: cdw10, TimeoutMS: uint32(limit.Milliseconds())} //nolint:gosec // an hour
	if len(data) > 0 {
		cmd.Addr, cmd.DataLen = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))), uint32(len(data)) //nolint:gosec // the kernel takes an address
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), ioctlNVMeAdmin, uintptr(unsafe.Pointer(&cmd))) //nolint:gosec // the kernel takes a pointer
	runtime.KeepAlive(data)
	if errno != 0 {
		return errno
	}
	if status != 0 {
		return fmt.Errorf("the controller answers status %#x", status)
	}
	return nil
}
