package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestQemuMachinesBootDeployAndAreIsolated walks from firmware to packets on
// two virtual machines, one with a BIOS and one with UEFI: PXE through the
// lab's switch, introspection, an image with its own kernel, tagged VLANs made
// by that kernel, and which of their packets arrive.
func TestQemuMachinesBootDeployAndAreIsolated(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, VIRTUAL MACHINES ARE NOT TESTED: qemu-system-x86 is not installed; run `make deps`")
	}
	const name = "tripleo-qemu"
	h := newHouse(t, 18200, "provisioning:\n  namespace: "+name+"\nbaremetal:\n  clean_metadata: false\n  callback_timeout: 1200\n  inspect_timeout: 1200\n")
	lab := filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if t.Failed() {
			h.showConsoles(lab)
		}
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, name, lab)
	})
	h.tripleo(time.Minute, "lab", "up", "--backend", "qemu", "--name", name, "--nodes", "2", "--firmware", "bios,uefi", "--disk", "4", "--dir", lab)
	cache := filepath.Join(filepath.Dir(imageCache(t)), "images-minimal")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	h.tripleo(15*time.Minute, "overcloud", "image", "build", "--image-name", "ironic-python-agent", "--image-name", "overcloud-minimal",
		"--output-directory", cache, "--cache-directory", filepath.Join(filepath.Dir(cache), "build"))
	h.tripleo(5*time.Minute, "overcloud", "image", "upload", "--image-path", cache)
	h.tripleo(2*time.Minute, "overcloud", "node", "import", h.withoutLinks(lab))
	h.tripleo(20*time.Minute, "overcloud", "node", "introspect", "--all-manageable", "--provide")
	h.realHardware()
	h.cablesEnd(name, "node-0", "node-1")

	// A VLAN that both cables carry, and one that only the first does.
	h.tripleo(time.Minute, "lab", "port", "node-0", "--dir", lab, "--native", "1", "--tagged", "10,20")
	h.tripleo(time.Minute, "lab", "port", "node-1", "--dir", lab, "--native", "1", "--tagged", "10")
	template, err := filepath.Abs("testdata/vlans.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h.stack(25*time.Minute, "create", template)
	// The agent has given the UEFI machine an entry for the loader on its disk, and the firmware uses it.
	if out := h.console(lab, "node-1"); !strings.Contains(out, `"tripleo" from HD(1,GPT,`) {
		t.Errorf("the UEFI machine was not started by the boot entry that its deployment wrote; its console ends with\n%s", out[max(0, len(out)-2000):])
	}
	firmware := strings.Fields(h.output("firmware"))
	slices.Sort(firmware)
	if got := strings.Join(firmware, " "); got != "bios uefi" {
		t.Errorf("the installed systems were started by %q, expected one bios and one uefi", got)
	}
	if got := h.output("reached"); got != "vlan10" {
		t.Errorf("VLANs that arrived: %q, expected only vlan10: the second machine's cable does not carry 20", got)
	}
	h.tripleo(time.Minute, "lab", "port", "node-1", "--dir", lab, "--native", "1", "--tagged", "10,20")
	h.stack(5*time.Minute, "update", template, "--parameter", "round=2")
	if got := h.output("reached"); got != "vlan10 vlan20" {
		t.Errorf("VLANs that arrived once both cables carry 20: %q, expected both", got)
	}
}

// realHardware checks what introspection saw of the machines.
func (h *house) realHardware() {
	h.t.Helper()
	modes := map[string]bool{}
	for i, node := range []string{"node-0", "node-1"} {
		data, err := h.introspectionData(node)
		if err != nil {
			h.t.Fatalf("introspection data of %s: %v", node, err)
		}
		inv, _ := data["inventory"].(map[string]any)
		boot, _ := inv["boot"].(map[string]any)
		modes[fmt.Sprint(boot["current_boot_mode"])] = true
		disks, _ := inv["disks"].([]any)
		if len(disks) != 1 {
			h.t.Errorf("%s: %d disks, expected one: %v", node, len(disks), disks)
			continue
		}
		disk, _ := disks[0].(map[string]any)
		if serial := fmt.Sprintf("LAB%06d-0", i+1); disk["serial"] != serial || disk["rotational"] != false || disk["wwn"] != fmt.Sprintf("0x505254002400%02x00", i+1) {
			h.t.Errorf("%s: disk %v, expected serial %s and its WWN, and no rotation", node, disk, serial)
		}
		vendor, _ := inv["system_vendor"].(map[string]any)
		if vendor["serial_number"] != fmt.Sprintf("LAB%06d", i+1) {
			h.t.Errorf("%s: system %v, expected the lab's serial number", node, vendor)
		}
	}
	if !modes["bios"] || !modes["uefi"] {
		h.t.Errorf("boot modes %v, expected bios and uefi", modes)
	}
}

func (h *house) stack(limit time.Duration, verb, template string, args ...string) {
	h.t.Helper()
	begin := time.Now()
	_, text, err := h.command(limit, "openstack", append([]string{"stack", verb, "--wait", "-t", template, "vlans"}, args...)...)
	if err != nil {
		h.t.Fatalf("stack %s: %v\n%s", verb, err, text)
	}
	h.t.Logf("stack %s: %s", verb, time.Since(begin).Round(time.Second))
}

func (h *house) output(name string) string {
	h.t.Helper()
	v, ok := h.openstack("stack", "output", "show", "vlans", name).(map[string]any)
	if !ok {
		h.t.Fatalf("no output %s", name)
	}
	return strings.TrimSpace(strings.NewReplacer("[", " ", "]", " ", "\"", " ", ",", " ", "\\n", " ").Replace(fmt.Sprint(v["output_value"])))
}

// showConsoles logs what the machines said last.
func (h *house) showConsoles(lab string) {
	for _, node := range []string{"node-0", "node-1"} {
		out := h.console(lab, node)
		h.t.Logf("the console of %s ends with:\n%s", node, out[max(0, len(out)-4000):])
	}
}

func (h *house) console(lab, node string) string {
	out, err := exec.Command(h.bin, "lab", "console", node, "--dir", lab).Output()
	if err != nil {
		return err.Error()
	}
	return string(out)
}
