package e2e_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMachineMovesToItsTenantsNetwork deploys on a container machine with
// network_interface neutron: nobody's cables are on a VLAN of their own, the
// ramdisks boot on the provisioning network, the instance is on its tenant's.
func TestMachineMovesToItsTenantsNetwork(t *testing.T) {
	needRoot(t)
	const name, nobodys = "movelab", "666"
	bin, err := filepath.Abs("../../bin/tripleo")
	if err != nil {
		t.Fatal(err)
	}
	lab := filepath.Join(t.TempDir(), "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, name, lab)
	})
	if out, err := exec.Command(bin, "lab", "up", "--nodes", "1", "--disk", "8", "--dir", lab, "--name", name).CombinedOutput(); err != nil {
		t.Fatalf("lab up: %v\n%s", err, out)
	}
	replaceIn(t, filepath.Join(lab, "undercloud.yaml"), "default_vlan: 1\n", "default_vlan: "+nobodys+"\n")
	config, err := os.ReadFile(filepath.Join(lab, "undercloud.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, 18390, string(config))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.console(lab, "node-0"))
		}
	})
	h.ramdiskImages()
	h.tripleo(2*time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	h.openstackText("baremetal", "node", "set", "node-0", "--network-interface", "neutron")
	state := func(want, vlan string) {
		t.Helper()
		h.until("node-0 is "+want+" on VLAN "+vlan, 5*time.Minute, func() (bool, string) {
			got := h.openstackText("baremetal", "node", "show", "node-0", "-f", "value", "-c", "provision_state", "-c", "last_error")
			has := fmt.Sprint(machinesOf(t, lab)[0].Native)
			if strings.Contains(got, "failed") || strings.Contains(got, "error") {
				t.Fatalf("node-0: %s", got)
			}
			return strings.Contains(got, want) && has == vlan, got + " on VLAN " + has
		})
	}
	h.openstackText("baremetal", "node", "provide", "node-0") // cleaning boots the ramdisk
	state("available", nobodys)
	cleaned := machinesOf(t, lab)[0].Boots
	if cleaned == 0 {
		t.Error("the machine became available without a ramdisk")
	}

	c := h.neutron()
	tenant := h.create(c, "network", map[string]any{"name": "tenant"})
	h.create(c, "subnet", map[string]any{"network_id": tenant, "cidr": "10.99.0.0/24", "ip_version": 4})
	var out map[string]map[string]any
	if _, err := c.Get(t.Context(), c.ServiceURL("networks", tenant), &out, nil); err != nil {
		t.Fatal(err)
	}
	vlan := fmt.Sprint(out["network"]["provider:segmentation_id"])
	vif := h.create(c, "port", map[string]any{"network_id": tenant})
	h.openstackText("baremetal", "node", "vif", "attach", "node-0", vif)
	disk := filepath.Join(h.dir, "disk.raw")
	if err := os.WriteFile(disk, partitioned(8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	image, _ := h.openstack("image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", disk, "disk").(map[string]any)
	h.openstackText("baremetal", "node", "set", "node-0", "--instance-info", fmt.Sprint("image_source=", image["id"]), "--instance-info", "capabilities={\"boot_option\": \"local\"}")
	h.openstackText("baremetal", "node", "deploy", "node-0")
	state("active", vlan)
	if boots := machinesOf(t, lab)[0].Boots; boots <= cleaned {
		t.Errorf("the machine was deployed without a ramdisk: %d boots, %d before", boots, cleaned)
	}
	h.portIs(c, vif, "ACTIVE")

	h.openstackText("baremetal", "node", "undeploy", "node-0")
	state("available", nobodys)
	h.portIs(c, vif, "DOWN")
}

// partitioned is an empty disk of some MiB with one Linux partition in an MBR.
func partitioned(size int) []byte {
	const start, sector = 2048, 512
	b := make([]byte, size)
	entry := b[446:]
	entry[4] = 0x83
	binary.LittleEndian.PutUint32(entry[8:], start)
	binary.LittleEndian.PutUint32(entry[12:], uint32(size/sector-start))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// labMachine is a part of what the lab tells of a machine.
type labMachine struct {
	Native uint16
	Boots  int
}

// machinesOf asks the lab's control socket.
func machinesOf(t *testing.T, lab string) []labMachine {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(lab, "lab.sock"))
	}}}
	res, err := client.Get("http://lab/v1/status") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out struct{ Machines []labMachine }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || len(out.Machines) == 0 {
		t.Fatalf("the lab tells of %d machines, %v", len(out.Machines), err)
	}
	return out.Machines
}
