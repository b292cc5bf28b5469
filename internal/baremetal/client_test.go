package baremetal_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
	"github.com/tripleo/tripleo/internal/clienttest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
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

	sh := clienttest.Start(t, append(srv.ClientEnv(), "OS_BAREMETAL_API_VERSION=latest")...)
	run := func(args ...string) string {
		t.Helper()
		return sh.Run("", "openstack", append([]string{"baremetal"}, args...)...)
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
	if r := sh.Try("openstack", "baremetal", "node", "show", "nobody"); r.Code == 0 || !strings.Contains(r.Stderr, "Node nobody could not be found") {
		t.Errorf("a missing node: %+v", r)
	}
	run("port", "delete", p["uuid"].(string))
	run("node", "delete", "node-1")
	if l := list("node", "list"); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	everyOtherVerb(t, dir, run, show)
	sh.EveryVerb("python_ironicclient", "openstack.baremetal.v1", map[string]string{
		"baremetal driver passthru call": "no driver here has methods of its own, as Ironic's have none any more",
	})
}

// everyOtherVerb tries, on a machine that exists only in memory, what the life
// of a node above does not need.
func everyOtherVerb(t *testing.T, dir string, run func(...string) string, show func(...string) map[string]any) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "nodes.json"), []byte(`{"nodes": [{"driver": "fake-hardware", "name": "fake-1", "ports": [{"address": "52:54:00:aa:00:01"}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run("create", filepath.Join(dir, "nodes.json"))
	n := show("node", "show", "fake-1")
	id, _ := n["uuid"].(string)
	state := func(want string) {
		t.Helper()
		if n := show("node", "show", "fake-1"); n["provision_state"] != want || n["last_error"] != nil {
			t.Errorf("the node is %v (%v), expected %s", n["provision_state"], n["last_error"], want)
		}
	}
	run("node", "manage", "fake-1", "--wait", "20")
	run("node", "inspect", "fake-1", "--wait", "20")
	run("node", "clean", "fake-1", "--wait", "20", "--clean-steps", `[{"interface": "bios", "step": "apply_configuration", "args": {"settings": [{"name": "Boost", "value": "On"}]}}]`)
	if out := run("node", "bios", "setting", "list", "fake-1"); !strings.Contains(out, "Boost") {
		t.Errorf("bios setting list printed %q", out)
	}
	show("node", "bios", "setting", "show", "fake-1", "Boost")
	run("node", "clean", "fake-1", "--clean-steps", `[{"interface": "power", "step": "hold"}]`)
	run("node", "abort", "fake-1")
	run("node", "maintenance", "unset", "fake-1")
	run("node", "manage", "fake-1", "--wait", "20")
	run("node", "power", "on", "fake-1")
	run("node", "reboot", "fake-1")
	run("node", "inject", "nmi", "fake-1")
	run("node", "boot", "mode", "set", "fake-1", "uefi")
	run("node", "secure", "boot", "on", "fake-1")
	run("node", "secure", "boot", "off", "fake-1")
	run("node", "console", "enable", "fake-1")
	if out := run("node", "console", "show", "fake-1"); !strings.Contains(out, "ws://") {
		t.Errorf("console show printed %q", out)
	}
	run("node", "console", "disable", "fake-1")
	run("node", "passthru", "list", "fake-1")
	run("node", "passthru", "call", "fake-1", "first_method", "--arg", "bar=baz")
	run("driver", "passthru", "list", "fake-hardware")
	run("driver", "raid", "property", "list", "fake-hardware")
	run("node", "set", "fake-1", "--target-raid-config", `{"logical_disks": [{"size_gb": 50, "raid_level": "1"}]}`)
	run("node", "add", "trait", "fake-1", "CUSTOM_A")
	run("node", "trait", "list", "fake-1")
	run("node", "remove", "trait", "fake-1", "CUSTOM_A")
	run("node", "power", "off", "fake-1")
	run("node", "adopt", "fake-1", "--wait", "20")
	state("active")
	run("node", "rebuild", "fake-1", "--wait", "20")
	run("node", "rescue", "fake-1", "--rescue-password", "secret", "--wait", "20")
	state("rescue")
	run("node", "unrescue", "fake-1", "--wait", "20")
	run("node", "vif", "attach", "fake-1", "11111111-2222-3333-4444-555555555555")
	if out := run("node", "vif", "list", "fake-1"); !strings.Contains(out, "11111111-2222") {
		t.Errorf("vif list printed %q", out)
	}
	run("node", "vif", "detach", "fake-1", "11111111-2222-3333-4444-555555555555")
	run("node", "undeploy", "fake-1", "--wait", "20")
	state("available")
	if h := run("node", "history", "list", "fake-1", "-f", "value", "-c", "UUID"); h == "" {
		t.Error("the node has no history")
	} else {
		show("node", "history", "get", "fake-1", strings.Fields(h)[0])
	}
	otherResources(t, id, run, show)
}

func otherResources(t *testing.T, id string, run func(...string) string, show func(...string) map[string]any) {
	t.Helper()
	show("conductor", "show", "undercloud")
	c := show("chassis", "create", "--description", "rack 8")["uuid"].(string)
	run("chassis", "set", c, "--description", "rack 9", "--extra", "row=1")
	run("chassis", "unset", c, "--extra", "row")
	show("chassis", "show", c)
	run("chassis", "list")
	run("chassis", "delete", c)
	p := show("port", "create", "52:54:00:aa:00:02", "--node", id)["uuid"].(string)
	g := show("port", "group", "create", "--node", id, "--name", "bond1", "--mode", "802.3ad")["uuid"].(string)
	run("port", "group", "set", "bond1", "--property", "miimon=100", "--address", "52:54:00:aa:00:03")
	run("port", "group", "unset", "bond1", "--property", "miimon")
	show("port", "group", "show", "bond1")
	run("port", "group", "list", "--node", id)
	run("port", "set", p, "--port-group", g, "--extra", "x=y", "--pxe-disabled")
	run("port", "list", "--port-group", g)
	run("port", "unset", p, "--port-group", "--extra", "x")
	show("port", "show", p)
	run("port", "delete", p)
	run("port", "group", "delete", "bond1")
	v := show("volume", "connector", "create", "--node", id, "--type", "iqn", "--connector-id", "iqn.2010-10.org.example:1")["uuid"].(string)
	run("volume", "connector", "set", v, "--connector-id", "iqn.2010-10.org.example:2", "--extra", "a=b")
	run("volume", "connector", "unset", v, "--extra", "a")
	show("volume", "connector", "show", v)
	run("volume", "connector", "list", "--node", id)
	run("volume", "connector", "delete", v)
	v = show("volume", "target", "create", "--node", id, "--type", "iscsi", "--volume-id", "vol-1", "--boot-index", "0")["uuid"].(string)
	run("volume", "target", "set", v, "--boot-index", "1", "--property", "lun=3")
	run("volume", "target", "unset", v, "--property", "lun")
	show("volume", "target", "show", v)
	run("volume", "target", "list", "--long")
	run("volume", "target", "delete", v)
	run("deploy", "template", "create", "CUSTOM_RAID", "--steps", `[{"interface": "raid", "step": "create_configuration", "args": {}, "priority": 90}]`)
	run("deploy", "template", "set", "CUSTOM_RAID", "--name", "CUSTOM_MIRROR", "--extra", "k=v")
	run("deploy", "template", "unset", "CUSTOM_MIRROR", "--extra", "k")
	show("deploy", "template", "show", "CUSTOM_MIRROR")
	run("deploy", "template", "list", "--long")
	run("deploy", "template", "delete", "CUSTOM_MIRROR")
	run("node", "set", id, "--resource-class", "big")
	a := show("allocation", "create", "--name", "second", "--resource-class", "big", "--wait")
	if a["state"] != "active" {
		t.Errorf("allocation %v", a)
	}
	run("allocation", "set", "second", "--extra", "k=v")
	run("allocation", "unset", "second", "--extra", "k")
	show("allocation", "show", "second")
	run("allocation", "list", "--node", id)
	run("allocation", "delete", "second")
	run("node", "delete", id)
}
