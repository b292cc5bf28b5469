package e2e_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestQemuUEFIBootsByIPv6 has a virtual machine's firmware find the undercloud on
// a network without IPv4: DHCPv6, TFTP and iPXE over IPv6, the ramdisk and its
// agent, up to the end of introspection.
func TestQemuUEFIBootsByIPv6(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, NO FIRMWARE BOOTS BY IPv6: qemu-system-x86 is not installed; run `make deps`")
	}
	const name = "tripleo-six"
	h := newHouse(t, 18360, "provisioning: {namespace: "+name+", address: \"fd00:24::1/64\"}\nbaremetal: {clean_metadata: false, callback_timeout: 1200, inspect_timeout: 1200}\n")
	lab := filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if t.Failed() {
			out := h.console(lab, "node-0")
			t.Logf("the console ends with:\n%s", out[max(0, len(out)-4000):])
		}
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, name, lab)
	})
	h.tripleo(time.Minute, "lab", "up", "--backend", "qemu", "--name", name, "--nodes", "1", "--firmware", "uefi", "--ipv6", "--disk", "1", "--dir", lab)
	h.ramdiskImages()
	h.tripleo(2*time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	h.tripleo(20*time.Minute, "overcloud", "node", "introspect", "--all-manageable")
	data, err := h.introspectionData("node-0")
	if err != nil {
		t.Fatal(err)
	}
	inv, _ := data["inventory"].(map[string]any)
	if boot, _ := inv["boot"].(map[string]any); boot["current_boot_mode"] != "uefi" {
		t.Errorf("boot %v, expected uefi", boot)
	}
	nics, _ := inv["interfaces"].([]any)
	if len(nics) != 1 {
		t.Fatalf("interfaces %v, expected one", inv["interfaces"])
	}
	nic, _ := nics[0].(map[string]any)
	a, err := netip.ParseAddr(fmt.Sprint(nic["ipv6_address"]))
	if err != nil || !netip.MustParsePrefix("fd00:24::/64").Contains(a) || nic["ipv4_address"] != nil {
		t.Errorf("the ramdisk's card has %v, expected an address of fd00:24::/64 and none of IPv4", nic)
	}
}

// ramdiskImages builds kernel and ramdisk and gives them to Glance.
func (h *house) ramdiskImages() {
	h.t.Helper()
	cache := filepath.Join(filepath.Dir(imageCache(h.t)), "images-minimal")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.tripleo(15*time.Minute, "overcloud", "image", "build", "--image-name", "ironic-python-agent", "--output-directory", cache, "--cache-directory", filepath.Join(filepath.Dir(cache), "build"))
	h.openstack("image", "create", "--public", "--disk-format", "aki", "--container-format", "aki", "--file", filepath.Join(cache, "ironic-python-agent.kernel"), "bm-deploy-kernel")
	h.openstack("image", "create", "--public", "--disk-format", "ari", "--container-format", "ari", "--file", filepath.Join(cache, "ironic-python-agent.initramfs"), "bm-deploy-ramdisk")
}
