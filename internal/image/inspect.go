package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// headSize is how much of the data inspect looks at, in bytes: an ISO's volume
// descriptor lies at 32 KiB.
const headSize = 64 << 10

// inspect checks the beginning of an image's data against its declared disk
// format. What it refuses could make whoever opens the image read other files
// (backing files, data files, VMDK extents) or take one format for another.
// It returns the virtual size in bytes if the format tells, else 0.
func inspect(disk string, head []byte) (int64, error) {
	found := detect(head)
	switch disk {
	case "qcow2":
		if found != "qcow2" {
			return 0, mismatch(disk, found)
		}
		return inspectQcow2(head)
	case "raw", "ploop":
		// A raw image whose guest writes another format's magic would be that
		// format to whoever guesses; only what is data from the start is raw.
		if found == "qcow2" || found == "vmdk" || found == "vmdk descriptor" || found == "qed" || found == "vhdx" || found == "vdi" {
			return 0, mismatch(disk, found)
		}
	case "vmdk":
		if found != "vmdk" {
			return 0, mismatch(disk, found)
		}
		return 0, inspectVmdk(head)
	case "iso", "vhdx", "vdi":
		if found != disk {
			return 0, mismatch(disk, found)
		}
	}
	return 0, nil
}

func mismatch(want, found string) error {
	if found == "" {
		found = "something else"
	}
	return api.Invalid("the image is declared as %s but its content is %s", want, found)
}

func detect(head []byte) string {
	at := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case at(0, "QFI\xfb"):
		return "qcow2"
	case at(0, "QED\x00"):
		return "qed"
	case at(0, "KDMV"):
		return "vmdk"
	case bytes.HasPrefix(bytes.TrimLeft(head[:min(len(head), 64)], "\r\n \t"), []byte("# Disk DescriptorFile")):
		return "vmdk descriptor"
	case at(0, "vhdxfile"):
		return "vhdx"
	case at(0, "conectix"):
		return "vhd"
	case at(0x40, "\x7f\x10\xda\xbe"):
		return "vdi"
	case at(0x8001, "CD001"):
		return "iso"
	}
	return ""
}

// inspectQcow2 reads the header that QEMU's docs/interop/qcow2.txt describes.
func inspectQcow2(head []byte) (int64, error) {
	if len(head) < 72 {
		return 0, api.Invalid("the qcow2 header is cut off")
	}
	version := binary.BigEndian.Uint32(head[4:])
	backing := binary.BigEndian.Uint64(head[8:])
	size := binary.BigEndian.Uint64(head[24:])
	if version != 2 && version != 3 {
		return 0, api.Invalid("the qcow2 version is %d, expected 2 or 3", version)
	}
	if backing != 0 {
		return 0, api.Invalid("the qcow2 image has a backing file")
	}
	if version == 3 {
		if len(head) < 104 {
			return 0, api.Invalid("the qcow2 header is cut off")
		}
		incompatible := binary.BigEndian.Uint64(head[72:])
		const dirty, corrupt, dataFile, compression, extendedL2 = 1, 2, 4, 8, 16
		if incompatible&dataFile != 0 {
			return 0, api.Invalid("the qcow2 image has an external data file")
		}
		if unknown := incompatible &^ (dirty | corrupt | compression | extendedL2); unknown != 0 {
			return 0, api.Invalid("the qcow2 image needs unknown features %#x", unknown)
		}
	}
	if size > 1<<50 {
		return 0, api.Invalid("the qcow2 image has a virtual size of %d bytes", size)
	}
	return int64(size), nil //nolint:gosec // bounded above
}

// inspectVmdk accepts only images that hold all of their data: their embedded
// descriptor names the type.
func inspectVmdk(head []byte) error {
	if len(head) < 512 {
		return api.Invalid("the VMDK header is cut off")
	}
	off, sectors := binary.LittleEndian.Uint64(head[28:]), binary.LittleEndian.Uint64(head[36:])
	if off == 0 || sectors == 0 || off > headSize/512 || sectors > headSize/512 || (off+sectors)*512 > uint64(len(head)) {
		return api.Invalid("the VMDK image has no embedded descriptor where it can be checked")
	}
	text := string(head[off*512 : (off+sectors)*512])
	for _, kind := range []string{"monolithicSparse", "streamOptimized"} {
		if strings.Contains(text, fmt.Sprintf("createType=%q", kind)) {
			return nil
		}
	}
	return api.Invalid("the VMDK image is not of type monolithicSparse or streamOptimized")
}
