package disk

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// TestNVMeCommand: the kernel's structure has 72 bytes, which the number of the ioctl says too.
func TestNVMeCommand(t *testing.T) {
	if n := unsafe.Sizeof(nvmeCommand{}); n != 72 || ioctlNVMeAdmin>>16&0x3fff != 72 {
		t.Errorf("%d bytes", n)
	}
}

func TestSelfErase(t *testing.T) {
	for _, tc := range []struct {
		reason     string
		oacs       uint16
		fna, flbas byte
		dps        byte
		namespaces uint32
		refuses    int // opcode that the controller refuses; 0: none
		cdw10      uint32
		how, err   string
	}{
		{reason: "user data, 512-byte sectors", oacs: 0x0a, namespaces: 1, cdw10: 1 << 9, how: "user data erased"},
		{reason: "cryptographic, second format with its metadata beside", oacs: 2, fna: 4, flbas: 0x11, namespaces: 256, cdw10: 2<<9 | 1<<4 | 1, how: "cryptographic"},
		{reason: "a format number of more than 4 bits", oacs: 2, flbas: 0x22, namespaces: 1, cdw10: 1<<12 | 1<<9 | 2, how: "user data"},
		{reason: "protection information", oacs: 2, dps: 0x09, namespaces: 1, cdw10: 1<<9 | 1<<8 | 1<<5, how: "user data"},
		{reason: "all namespaces at once, and there is one", oacs: 2, fna: 7, namespaces: 1, cdw10: 2 << 9, how: "cryptographic"},
		{reason: "all namespaces at once, and there are others", oacs: 2, fna: 1, namespaces: 4, err: "4 namespaces"},
		{reason: "erasures of all namespaces at once", oacs: 2, fna: 2, namespaces: 2, err: "2 namespaces"},
		{reason: "no such command", oacs: 8, namespaces: 1, err: "no command"},
		{reason: "no answer", refuses: nvmeIdentify, err: "identify controller"},
		{reason: "refused", oacs: 2, namespaces: 1, refuses: nvmeFormat, cdw10: 1 << 9, err: "NVMe format: refused"},
	} {
		var formats []uint32
		admin := func(opcode uint8, ns, cdw10 uint32, data []byte, _ time.Duration) error {
			if opcode == nvmeFormat {
				if ns != 3 {
					t.Errorf("%s: namespace %d", tc.reason, ns)
				}
				formats = append(formats, cdw10)
			}
			if int(opcode) == tc.refuses {
				return errors.New("refused")
			}
			switch {
			case opcode == nvmeIdentify && cdw10 == 1:
				binary.LittleEndian.PutUint16(data[256:], tc.oacs)
				binary.LittleEndian.PutUint32(data[516:], tc.namespaces)
				data[524] = tc.fna
			case opcode == nvmeIdentify && cdw10 == 0 && ns == 3:
				data[26], data[29] = tc.flbas, tc.dps
			}
			return nil
		}
		how, err := nvmeErase(admin, 3)
		if tc.err == "" && (err != nil || !strings.Contains(how, tc.how)) || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %q, %v", tc.reason, how, err)
		}
		var want []uint32
		if tc.cdw10 != 0 {
			want = []uint32{tc.cdw10}
		}
		if !slices.Equal(formats, want) {
			t.Errorf("%s: formats %#x, expected %#x", tc.reason, formats, want)
		}
		if got, want := errors.Is(err, errNoSelfErase), tc.err != "" && tc.refuses != nvmeFormat; got != want {
			t.Errorf("%s: whether to erase in another way: %t (%v)", tc.reason, got, err)
		}
	}
}

func TestOtherDisksDoNotEraseThemselves(t *testing.T) {
	if how, err := SelfErase(newDisk(t, 1<<20)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%q, %v", how, err)
	}
}
