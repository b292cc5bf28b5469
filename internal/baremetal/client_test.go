package baremetal_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"net/http"
	"net/http/httptest"
)

// TestOpenStackClient runs Debian's `openstack baremetal …` through the life of
// a node.
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	srv := identitytest.Start(t)
	dir := t.TempDir()
	mux := http.NewServeMux()
	nodeSide := httptest.NewServer(mux)
	t.Cleanup(nodeSide.Close)
	s, err := baremetal.New(baremetal.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/baremetal",
		NodeURL: nodeSide.URL, FileURLFolders: []string{dir}, Hostname: "undercloud", SyncInterval: -1,
		PowerPoll: 10 * time.Millisecond, AgentPoll: 10 * time.Millisecond, PowerTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/baremetal", s.Handler())
	mux.Handle("/baremetal/", http.StripPrefix("/baremetal", s.NodeHandler()))
	srv.RunJobs()
	m := baremetaltest.NewMachine(t, testMAC, nodeSide.URL)
	for _, f := range []string{"kernel", "ramdisk"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	run := func(args ...string) string {
		t.Helper()
		return srv.Client("openstack", append([]string{"baremetal"}, args...)...)
	}
	show := func(args ...string) map[string]any {
		t.Helper()
		var out map[string]any
		if err := json.Unmarshal([]byte(run(append(args, "-f", "json")...)), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	list := func(args ...string) []map[string]any {
		t.Helper()
		var out []map[string]any
		if err := json.Unmarshal([]byte(run(append(args, "-f", "json")...)), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}

	n := show("node", "create", "--driver", "redfish", "--name", "node-1", "--network-interface", "noop", "--resource-class", "baremetal",
		"--driver-info", "redfish_address="+m.BMC.URL, "--driver-info", "redfish_system_id=/redfish/v1/Systems/1", "--driver-info", "redfish_auth_type=basic",
		"--driver-info", "redfish_username=u", "--driver-info", "redfish_password=p",
		"--driver-info", "deploy_kernel=file://"+dir+"/kernel", "--driver-info", "deploy_ramdisk=file://"+dir+"/ramdisk",
		"--property", "capabilities=boot_mode:uefi,profile:control", "--property", "cpus=4")
	id, _ := n["uuid"].(string)
	if n["provision_state"] != "enroll" || id == "" {
		t.Fatalf("created %v", n)
	}
	if info, _ := n["driver_info"].(map[string]any); info["redfish_password"] != "******" {
		t.Errorf("driver_info %v shows the password", n["driver_info"])
	}
	p := show("port", "create", testMAC, "--node", id, "--physical-network", "ctlplane")
	if p["address"] != testMAC || p["pxe_enabled"] != true {
		t.Errorf("port %v", p)
	}
	run("node", "manage", "node-1", "--wait", "30")
	run("node", "set", "node-1", "--property", "capabilities=boot_mode:uefi,profile:compute", "--extra", "rack=7", "--owner", "ops")
	run("node", "unset", "node-1", "--extra", "rack")
	run("node", "add", "trait", "node-1", "CUSTOM_GOLD")
	run("node", "provide", "node-1", "--wait", "30")
	if l := list("node", "list", "--provision-state", "available"); len(l) != 1 || l[0]["Provisioning State"] != "available" || l[0]["Power State"] != "power off" {
		t.Errorf("node list %v", l)
	}
	if l := list("node", "list", "--fields", "name", "properties", "traits"); len(l) != 1 || l[0]["Name"] != "node-1" {
		t.Errorf("node list --fields %v", l)
	}
	if v := list("node", "validate", "node-1"); len(v) == 0 {
		t.Errorf("validate %v", v)
	}
	h := harness{t: t, dir: dir}
	body, info := h.image()
	run("node", "set", "node-1", "--instance-info", "image_source="+info["image_source"].(string), "--instance-info", "image_os_hash_algo=sha512",
		"--instance-info", "image_os_hash_value="+info["image_os_hash_value"].(string))
	run("node", "deploy", "node-1", "--wait", "60", "--config-drive", `{"meta_data": {"hostname": "compute-0"}}`)
	if seen := m.Seen(); len(seen.Disk) != len(body) || seen.Power != "On" {
		t.Errorf("the machine is %s with %d bytes on disk", seen.Power, len(seen.Disk))
	}
	run("node", "power", "off", "node-1", "--power-timeout", "30")
	run("node", "undeploy", "node-1", "--wait", "30")
	run("node", "maintenance", "set", "node-1", "--reason", "broken fan")
	if n := show("node", "show", "node-1"); n["maintenance"] != true || n["maintenance_reason"] != "broken fan" {
		t.Errorf("maintenance %v %v", n["maintenance"], n["maintenance_reason"])
	}
	run("node", "maintenance", "unset", "node-1")
	run("node", "boot", "device", "set", "node-1", "pxe")
	if d := show("node", "boot", "device", "show", "node-1"); d["boot_device"] != "pxe" {
		t.Errorf("boot device %v", d)
	}
	a := show("allocation", "create", "--name", "mine", "--resource-class", "baremetal", "--trait", "CUSTOM_GOLD", "--wait")
	if a["node_uuid"] != id || a["state"] != "active" {
		t.Errorf("allocation %v", a)
	}
	run("allocation", "delete", "mine")
	if l := list("driver", "list"); len(l) != 3 {
		t.Errorf("driver list %v", l)
	}
	show("driver", "show", "ipmi")
	list("driver", "property", "list", "ipmi")
	list("conductor", "list")
	if l := list("node", "history", "list", "node-1"); len(l) == 0 {
		t.Error("the node has no history")
	}
	c := show("chassis", "create", "--description", "rack 7")
	run("chassis", "delete", c["uuid"].(string))
	run("port", "group", "create", "--node", id, "--name", "bond0")
	run("port", "group", "delete", "bond0")
	if _, errOut, err := srv.TryClient("openstack", "baremetal", "node", "show", "nobody"); err == nil || !strings.Contains(errOut, "Node nobody could not be found") {
		t.Errorf("a missing node: %v %s", err, errOut)
	}
	run("port", "delete", p["uuid"].(string))
	run("node", "delete", "node-1")
	if l := list("node", "list"); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}
