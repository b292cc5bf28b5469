package e2e_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestQemuNVMeErasesItself fills an NVMe disk and cleans it: the disk is told to
// erase itself, and nothing of what was there is left.
func TestQemuNVMeErasesItself(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, NO NVME DISK IS ERASED: qemu-system-x86 is not installed; run `make deps`")
	}
	kernel, initrd := ramdiskFiles(t)
	i := newRAIDIronic(t, nil)
	_, port, err := net.SplitHostPort(i.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m := newRAIDMachine(t)
	m.bios = true
	const size = 256 << 20
	if err := os.WriteFile(m.file(0), bytes.Repeat([]byte("secret "), size/7), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(m.file(0), size); err != nil {
		t.Fatal(err)
	}
	m.start("-drive", "if=none,format=raw,id=d0,file="+m.file(0), "-device", "nvme,drive=d0,serial=NVME1",
		"-kernel", kernel, "-initrd", initrd, "-append", guestArgs+" ipa-api-url=http://10.0.2.2:"+port)
	m.awaitBeat(i)
	node := map[string]any{"uuid": raidNode, "properties": map[string]any{}}
	m.command("clean.execute_clean_step", map[string]any{"step": map[string]any{"interface": "deploy", "step": "erase_devices"}, "node": node, "ports": []any{}})
	if out := m.console(); !strings.Contains(out, "the disk has erased itself") || !strings.Contains(out, "NVMe format") {
		t.Errorf("the disk was not told to erase itself:\n%s", out)
	}
	m.stop()
	left, err := os.ReadFile(m.file(0))
	if err != nil || len(left) != size || bytes.Contains(left, []byte("secret")) {
		t.Errorf("%d bytes, something is left: %t, %v", len(left), bytes.Contains(left, []byte("secret")), err)
	}
}
