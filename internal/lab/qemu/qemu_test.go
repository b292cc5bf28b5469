package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

func testConfig() Config {
	return Config{
		Info: bmc.Info{Name: "node-0", UUID: "4c4c4544-0000-2010-8020-80c04f202020", Manufacturer: "Acme, Inc", Product: "lab", Serial: "LAB1",
			BIOSVersion: "1.0", CPUs: 2, MemoryMiB: 512, DiskBytes: 1 << 30},
		Dir: "/x", Firmware: BIOS, Accel: TCG, NICModel: "virtio-net-pci", DiskBus: "virtio-scsi", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x24, 0, 1},
	}
}

func TestArguments(t *testing.T) {
	pxeFirst := []bmc.BootDevice{bmc.PXE, bmc.Disk, bmc.CDROM}
	for _, tt := range []struct {
		reason     string
		change     func(*Config)
		boot       boot
		want, none []string
	}{
		{
			reason: "BIOS: the card's option ROM boots from the network, in the order asked for",
			boot:   boot{order: pxeFirst},
			want: []string{
				"virtio-net-pci,netdev=net0,mac=52:54:00:24:00:01,bootindex=1", "product=LAB-DISK,rotation_rate=1,wwn=0x5052540024000100,bootindex=2",
				"-accel tcg,thread=multi", "-uuid 4c4c4544-0000-2010-8020-80c04f202020",
				"manufacturer=Acme,, Inc,product=lab", // a comma in a value is doubled
				"-action reboot=shutdown,shutdown=pause,panic=none", "scsi-cd,id=cd0,bootindex=3",
			},
			none: []string{"pflash", "romfile", "blkdebug"},
		},
		{
			reason: "UEFI: variables of its own, the firmware's own network stack",
			change: func(c *Config) { c.Firmware = UEFI },
			boot:   boot{order: pxeFirst},
			want:   []string{"file=" + ovmfCode, "format=raw,file=efivars.fd", "bootindex=1,romfile=", "IPv4PXESupport,string=yes", "IPv6PXESupport,string=no"},
		},
		{
			reason: "UEFI HTTP boot: the card is not asked for PXE",
			change: func(c *Config) { c.Firmware = UEFI },
			boot:   boot{order: []bmc.BootDevice{bmc.HTTP, bmc.Disk, bmc.PXE}},
			want:   []string{"IPv4PXESupport,string=no", "mac=52:54:00:24:00:01,bootindex=1", "wwn=0x5052540024000100,bootindex=2"},
		},
		{
			reason: "UEFI by IPv6: IPv4 is not tried",
			change: func(c *Config) { c.Firmware, c.IPv6 = UEFI, true },
			boot:   boot{order: pxeFirst},
			want:   []string{"IPv4PXESupport,string=no", "IPv6PXESupport,string=yes", "bootindex=1,romfile="},
		},
		{
			reason: "KVM runs the host's processor",
			change: func(c *Config) { c.Accel = KVM },
			want:   []string{"-accel kvm -cpu host"},
		},
		{
			reason: "other hardware",
			change: func(c *Config) { c.NICModel, c.DiskBus = "e1000", "ahci" },
			boot:   boot{order: []bmc.BootDevice{bmc.Disk}},
			want:   []string{"-device e1000,netdev=net0", "ide-hd,id=hd0,bus=ide.0,drive=disk0,serial=LAB1-0", "ide-cd,bus=ide.1,id=cd0"},
			none:   []string{"scsi"},
		},
		{
			reason: "a medium and a bad disk",
			boot:   boot{order: []bmc.BootDevice{bmc.CDROM, bmc.Disk}, iso: "/a,b.iso", badDisk: true},
			want:   []string{"file.filename=/a,,b.iso", "drive=iso,bootindex=1", `"driver":"blkdebug"`, "drive=bad0,serial=LAB1-0"},
		},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			c := testConfig()
			if tt.change != nil {
				tt.change(&c)
			}
			got := strings.Join(c.arguments(tt.boot), " ")
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is missing in\n%s", w, got)
				}
			}
			for _, n := range tt.none {
				if strings.Contains(got, n) {
					t.Errorf("%q has no place in\n%s", n, got)
				}
			}
		})
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	c := testConfig()
	c.Firmware, c.DiskBus, c.Dir = "coreboot", "mfm", "/"+strings.Repeat("x", 100)
	err := c.Check()
	for _, want := range []string{`firmware "coreboot": want one of bios, uefi`, `disk bus "mfm"`, "a socket's path may have 107 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func TestHardwareVirtualization(t *testing.T) {
	for info, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vmx sse\n": true, "flags\t\t: fpu svm\n": true,
		"flags\t\t: fpu hypervisor\nbugs\t\t: vmx\n": false, "": false,
	} {
		if got := hardwareVirtualization([]byte(info)); got != want {
			t.Errorf("%q: %v, want %v", info, got, want)
		}
	}
}

// TestLinkCarriesFrames: the switch's frames begin with an offload header,
// QEMU's with their length.
func TestLinkCarriesFrames(t *testing.T) {
	l := NewLink()
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- l.serve(ours) }()
	frame := []byte("an ethernet frame, tag and all")
	message := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	message = append(message, frame...)
	if _, err := theirs.Write(message); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := l.Read(buf)
	if want := append(make([]byte, vnetLen), frame...); err != nil || !bytes.Equal(want, buf[:n]) {
		t.Errorf("from the machine: %v, %q, want %q", err, buf[:n], want)
	}
	if _, err := l.Write(buf[:n]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(message, got) {
		t.Errorf("to the machine: %v, %q, want %q", err, got, message)
	}
	buf[0] = 1
	if _, err := l.Write(buf[:n]); !errors.Is(err, errOffload) {
		t.Errorf("a frame with an unfinished checksum: %v, want errOffload", err)
	}
	_ = theirs.Close()
	if err := <-done; err != nil {
		t.Errorf("the machine's end: %v", err)
	}
	buf[0] = 0
	if _, err := l.Write(buf[:n]); err == nil {
		t.Error("a frame to a machine that is off was taken")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(buf); err == nil {
		t.Error("a closed cable is read")
	}
}

func TestQMP(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() { // a server that answers out of order, as QEMU may
		_, _ = io.WriteString(theirs, `{"QMP": {"version": {}, "capabilities": []}}`+"\r\n")
		buf := make([]byte, 4096)
		_, _ = theirs.Read(buf)
		_, _ = io.WriteString(theirs, `{"return": {}, "id": 1}`+"\r\n"+`{"event": "RESUME", "timestamp": {}}`+"\n")
		_, _ = theirs.Read(buf)
		_, _ = io.WriteString(theirs, `{"error": {"class": "GenericError", "desc": "no"}, "id": 2}`+"\n"+
			`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}`+"\n")
		_ = theirs.Close()
	}()
	q, err := newQMP(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	var refused *qmpError
	if err := q.run(t.Context(), "inject-nmi", nil, nil); !errors.As(err, &refused) || refused.Desc != "no" {
		t.Errorf("a refusal: %v", err)
	}
	var names []string
	for e := range q.events {
		names = append(names, e.Name)
		if out, ended := outcome(e); ended && out != machine.Restart {
			t.Errorf("guest-reset means outcome %v, want Restart", out)
		}
	}
	if diff := cmp.Diff([]string{"RESUME", "SHUTDOWN"}, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := q.run(context.Background(), "cont", nil, nil); !errors.Is(err, errQMPClosed) {
		t.Errorf("after its end: %v, want errQMPClosed", err)
	}
}

func TestOutcomes(t *testing.T) {
	for reason, want := range map[string]machine.Outcome{
		"guest-shutdown": machine.PoweredOff, "guest-reset": machine.Restart, "guest-panic": machine.Hung, "host-signal": machine.PoweredOff,
	} {
		got, ended := outcome(qmpEvent{"SHUTDOWN", []byte(`{"guest":true,"reason":"` + reason + `"}`)})
		if !ended || got != want {
			t.Errorf("%s: %v, %v, want %v", reason, got, ended, want)
		}
	}
	if _, ended := outcome(qmpEvent{Name: "NIC_RX_FILTER_CHANGED"}); ended {
		t.Error("an unrelated event ends the machine")
	}
}
