package e2e_test

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
)

// TestQemuVirtualMedia starts the ramdisk from the CD that redfish-virtual-media makes, by UEFI and by BIOS; the network is
// there for the API only.
func TestQemuVirtualMedia(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, NO FIRMWARE STARTS FROM VIRTUAL MEDIA: qemu-system-x86 is not installed; run `make deps`")
	}
	kernel, initrd := ramdiskFiles(t)
	i := newRAIDIronic(t, nil)
	_, port, err := net.SplitHostPort(i.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m := newRAIDMachine(t)
	iso := boot.ISO{Kernel: kernel, Initrd: initrd, Args: []string{"ipa-api-url=http://10.0.2.2:" + port, guestArgs}}
	iso.Loaders.Defaults()
	name := filepath.Join(m.dir, "cd.iso")
	if err := iso.Write(name); err != nil {
		t.Fatal(err)
	}
	for _, bios := range []bool{false, true} {
		m.bios = bios
		m.start("-drive", "if=none,format=raw,id=cd,readonly=on,file="+name, "-device", "scsi-cd,drive=cd,bootindex=1")
		m.awaitBeat(i)
		m.stop()
		for len(i.beats) > 0 {
			<-i.beats
		}
	}
}
