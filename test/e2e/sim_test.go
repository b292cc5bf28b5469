package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// simConfig serves machines on loopback: simulated machines have no network of
// their own.
const simConfig = `
provisioning: {interface: lo, address: 127.0.0.1/8, pool_start: 127.0.1.1, pool_end: 127.0.2.200, port: %d}
baremetal: {clean_metadata: false, power_timeout: %d, callback_timeout: 60, inspect_timeout: 60}
`

// newSim starts an undercloud with simulated machines; it uses the ports
// port, port+50, port+60 and port+61. A power change may take powerTimeout
// seconds; more is added to the configuration.
func newSim(t *testing.T, port, nodes, powerTimeout int, more string) (h *house, lab string) {
	t.Helper()
	h = newHouse(t, port, fmt.Sprintf(simConfig, port+50, powerTimeout)+more)
	lab = filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
	})
	h.tripleo(time.Minute, "lab", "up", "--backend", "sim", "--nodes", fmt.Sprint(nodes), "--dir", lab, "--name", fmt.Sprintf("sim%d", port),
		"--profiles", "compute", "--node-url", fmt.Sprintf("http://127.0.0.1:%d", port+50), "--sim-port", fmt.Sprint(port+60), "--sim-speed", "50")
	return h, lab
}

// tinyImages gives Glance three small images: simulated machines write nothing.
func (h *house) tinyImages() {
	h.t.Helper()
	for name, formats := range map[string][2]string{
		"bm-deploy-kernel": {"aki", "aki"}, "bm-deploy-ramdisk": {"ari", "ari"}, "overcloud-full": {"raw", "bare"},
	} {
		path := filepath.Join(h.dir, name)
		writeFile(h.t, path, strings.Repeat(name, 1000))
		h.openstack("image", "create", "--public", "--disk-format", formats[0], "--container-format", formats[1], "--file", path, name)
	}
}

// smallPlan is a plan of one role: servers with one script each.
func smallPlan(t *testing.T, dir string, count int, script string) string {
	t.Helper()
	plan := filepath.Join(dir, "plan")
	if out, err := exec.Command("cp", "-r", "testdata/smallplan", plan).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	env := filepath.Join(dir, "small.yaml")
	writeFile(t, env, fmt.Sprintf("parameter_defaults:\n  ComputeCount: %d\n  Script: |\n    %s\n", count, strings.ReplaceAll(script, "\n", "\n    ")))
	return plan
}

// availableSim makes simulated machines that can be deployed on.
func availableSim(t *testing.T, port, count int, more string) (h *house, lab string) {
	t.Helper()
	h, lab = newSim(t, port, count, 8, more)
	h.tinyImages()
	h.tripleo(3*time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	h.tripleo(5*time.Minute, "overcloud", "node", "introspect", "--all-manageable", "--provide")
	states := h.openstackText("baremetal", "node", "list", "-f", "value", "-c", "Provisioning State")
	if n := strings.Count(states, "available"); n != count {
		t.Fatalf("%d of %d nodes are available:\n%s", n, count, states)
	}
	return h, lab
}

// TestSimulatedMachinesDeployFromVirtualMedia: machines that have CDs in their
// drives do not ask the network for their ramdisk, as the one that has none
// does, and none is left with a CD.
func TestSimulatedMachinesDeployFromVirtualMedia(t *testing.T) {
	h, lab := newSim(t, 18120, 3, 8, "")
	h.tinyImages()
	h.tripleo(3*time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	for _, n := range []string{"node-0", "node-1"} {
		h.openstackText("baremetal", "node", "set", n, "--boot-interface", "redfish-virtual-media")
	}
	h.tripleo(5*time.Minute, "overcloud", "node", "introspect", "--all-manageable", "--provide")
	plan := smallPlan(t, h.dir, 3, "#!/bin/sh\necho configured")
	h.tripleo(10*time.Minute, "overcloud", "deploy", "--templates", plan, "-e", filepath.Join(h.dir, "small.yaml"))
	if servers := h.openstackText("server", "list", "-f", "value", "-c", "Status"); strings.Count(servers, "ACTIVE") != 3 {
		t.Errorf("servers are %s, expected 3 of them ACTIVE", servers)
	}
	h.stackComplete()
	h.drivesAreEmpty(lab)
	log, err := os.ReadFile(filepath.Join(h.dir, "undercloud.log"))
	if err != nil {
		t.Fatal(err)
	}
	const script = `msg="machine boots its ramdisk" service=baremetal node=`
	for node, want := range map[string]int{"node-0": 0, "node-1": 0, "node-2": 2} { // inspection and deployment
		if n := strings.Count(string(log), script+node+" "); n != want {
			t.Errorf("%s asked the network for its ramdisk %d times, expected %d", node, n, want)
		}
	}
}

// drivesAreEmpty asks the machines' own Redfish service what is in their drives.
func (h *house) drivesAreEmpty(lab string) {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(lab, "instackenv.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var file struct {
		Nodes []struct {
			Name     string `json:"name"`
			Address  string `json:"pm_addr"`
			User     string `json:"pm_user"`
			Password string `json:"pm_password"`
			System   string `json:"pm_system_id"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Nodes) == 0 {
		h.t.Fatalf("%d nodes, %v", len(file.Nodes), err)
	}
	for _, n := range file.Nodes {
		req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, n.Address+n.System+"/VirtualMedia/Cd", nil)
		if err != nil {
			h.t.Fatal(err)
		}
		req.SetBasicAuth(n.User, n.Password)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		var drive struct{ Inserted *bool }
		err = json.NewDecoder(res.Body).Decode(&drive)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || drive.Inserted == nil || *drive.Inserted {
			h.t.Errorf("%s: the drive answers %s, %+v, %v; expected it to be there and empty", n.Name, res.Status, drive, err)
		}
	}
}

// fromEnrollToDeployed walks the whole way and back on simulated machines.
func fromEnrollToDeployed(t *testing.T, port, count int, more string) {
	h, _ := availableSim(t, port, count, more)
	plan := smallPlan(t, h.dir, count, "#!/bin/sh\necho configured")
	h.tripleo(10*time.Minute, "overcloud", "deploy", "--templates", plan, "-e", filepath.Join(h.dir, "small.yaml"))
	servers := h.openstackText("server", "list", "-f", "value", "-c", "Status")
	if n := strings.Count(servers, "ACTIVE"); n != count {
		t.Errorf("%d of %d servers are ACTIVE", n, count)
	}
	h.stackComplete()
	h.tripleo(5*time.Minute, "overcloud", "delete", "-y", "overcloud")
	if left := strings.TrimSpace(h.openstackText("server", "list", "-f", "value")); left != "" {
		t.Errorf("servers are left: %s", left)
	}
}

func TestFiftySimulatedMachinesFromEnrollToDeployed(t *testing.T) {
	fromEnrollToDeployed(t, 18100, 50, "")
}

// The services do not lean on being in one process: the same way with every
// call between them through the listener.
func TestTheWayOverTCP(t *testing.T) {
	fromEnrollToDeployed(t, 18170, 5, "over_tcp: true\n")
}
