package baremetal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"golang.org/x/crypto/bcrypt"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
)

// must calls the API at the latest version and wants the status.
func (h *harness) must(method, path, body string, want int) map[string]any {
	h.t.Helper()
	code, doc, _ := h.call(method, path, "1.87", body)
	if code != want {
		h.t.Fatalf("%s %s %s: %d %v, want %d", method, path, body, code, doc, want)
	}
	return doc
}

// deployed is a node that carries an instance.
func (h *harness) deployed() (id string, seen func() []string) {
	h.t.Helper()
	m, id := h.enroll()
	h.prepareDeploy(id)
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "active")
	return id, func() []string { return m.Seen().Steps }
}

func TestAutomatedCleaningRunsTheAgentsSteps(t *testing.T) {
	h := newHarness(t, func(c *baremetal.Config) { c.AutomatedClean = true })
	m, id := h.enroll()
	h.verb(id, nodes.TargetProvide)
	h.untilState(id, "available")
	if got := m.Seen().Steps; !slices.Equal(got, []string{"deploy.erase_devices_metadata"}) {
		t.Errorf("steps %v: those with a priority, but erase_devices, which is off by default", got)
	}
}

func TestCleanFailureIsAFault(t *testing.T) {
	h := newHarness(t, nil)
	_, id := h.enroll()
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "explode"}]}`, 202)
	h.untilState(id, "clean failed")
	n := h.must("GET", "/v1/nodes/"+id, "", 200)
	if n["maintenance"] != true || n["fault"] != "clean failure" {
		t.Errorf("maintenance %v, fault %v", n["maintenance"], n["fault"])
	}
	h.verb(id, nodes.TargetManage)
	if n := h.must("GET", "/v1/nodes/"+id, "", 200); n["maintenance"] != false || n["fault"] != nil {
		t.Errorf("made manageable again: maintenance %v, fault %v", n["maintenance"], n["fault"])
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "polish"}]}`, 202)
	if n := h.untilState(id, "clean failed"); !strings.Contains(n.LastError, "no clean step deploy.polish; it has: deploy.erase_devices") {
		t.Errorf("last error %q", n.LastError)
	}
}

// TestHold: a step named hold waits for an operator, in a state of its own,
// over a restart.
func TestHold(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "clean", "clean_steps": [{"interface": "power", "step": "hold"},
		{"interface": "power", "step": "wait", "args": {"seconds": 0.01}}, {"interface": "power", "step": "reboot"}, {"interface": "deploy", "step": "erase_devices_metadata"}]}`, 202)
	h.untilState(id, "clean hold")
	h.stop()
	h.start()
	if n := h.must("GET", "/v1/nodes/"+id, "", 200); n["provision_state"] != "clean hold" || n["clean_step"].(map[string]any)["step"] != "hold" {
		t.Errorf("held: %v in step %v", n["provision_state"], n["clean_step"])
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "unhold"}`, 202)
	h.untilState(id, "manageable")
	if s := m.Seen(); s.Ramdisks != 2 || !slices.Equal(s.Steps, []string{"deploy.erase_devices_metadata"}) {
		t.Errorf("the ramdisk was booted %d times (once more by the reboot), steps %v", s.Ramdisks, s.Steps)
	}
}

func TestServicing(t *testing.T) {
	h := newHarness(t, nil)
	id, steps := h.deployed()
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "service"}`, 400)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "service", "service_steps": [{"interface": "deploy", "step": "erase_devices_metadata"}]}`, 202)
	h.untilState(id, "active")
	if got := steps(); len(got) != 1 {
		t.Errorf("steps %v", got)
	}
	if n := h.must("GET", "/v1/nodes/"+id, "", 200); n["power_state"] != "power on" {
		t.Errorf("the instance is %v", n["power_state"])
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "service", "service_steps": [{"interface": "deploy", "step": "explode"}]}`, 202)
	h.untilState(id, "service failed")
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "abort"}`, 202)
	h.untilState(id, "active")
}

func TestRescue(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.prepareDeploy(id)
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "active")
	rescue := `{"target": "rescue", "rescue_password": "let me in"}`
	if doc := h.must("PUT", "/v1/nodes/"+id+"/states/provision", rescue, 400); !strings.Contains(fault(doc), "rescue_interface is no-rescue") {
		t.Errorf("%v", doc)
	}
	h.must("PUT", "/v1/nodes/"+id+"/maintenance", `{}`, 202)
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/rescue_interface", "value": "agent"}]`, 200)
	h.must("DELETE", "/v1/nodes/"+id+"/maintenance", ``, 202)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "rescue"}`, 400)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", rescue, 202)
	h.untilState(id, "rescue")
	if bcrypt.CompareHashAndPassword([]byte(m.Seen().Rescue), []byte("let me in")) != nil {
		t.Errorf("the ramdisk got %q", m.Seen().Rescue)
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "unrescue"}`, 202)
	h.untilState(id, "active")
	if s := m.Seen(); s.Power != "On" || s.Boot["BootSourceOverrideTarget"] != "Hdd" {
		t.Errorf("after unrescue %s from %v", s.Power, s.Boot)
	}
}

// TestDeploySteps: a template named by a trait of the instance and a step of
// the request run where their priorities put them.
func TestDeploySteps(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.must("POST", "/v1/deploy_templates", `{"name": "CUSTOM_MIRROR", "steps": [
		{"interface": "raid", "step": "apply_configuration", "args": {"raid_config": {"logical_disks": [{"size_gb": "MAX", "raid_level": "1", "controller": "software"}]}}, "priority": 90},
		{"interface": "deploy", "step": "erase_devices_metadata", "args": {}, "priority": 95}]}`, 201)
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/raid_interface", "value": "agent"}]`, 200)
	h.prepareDeploy(id)
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "add", "path": "/instance_info/traits", "value": ["CUSTOM_MIRROR", "CUSTOM_OTHER"]}]`, 200)
	late := `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "erase_devices", "args": {}, "priority": 30}]}`
	if doc := h.must("PUT", "/v1/nodes/"+id+"/states/provision", late, 400); !strings.Contains(fault(doc), "the ramdisk is gone after 40") {
		t.Errorf("%v", doc)
	}
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active", "deploy_steps": [
		{"interface": "deploy", "step": "erase_devices", "args": {}, "priority": 65}, {"interface": "power", "step": "wait", "args": {"seconds": 0}, "priority": 10}]}`, 202)
	h.untilState(id, "active")
	want := []string{"deploy.erase_devices_metadata", "raid.apply_configuration", "deploy.erase_devices"}
	if s := m.Seen(); !slices.Equal(s.Steps, want) || len(s.Disk) == 0 {
		t.Errorf("steps %v, want %v; %d bytes on disk", s.Steps, want, len(s.Disk))
	}
}

// TestLateDeployStepsLeaveTheInstance: what restarts the machine after the
// ramdisk is gone starts the instance, and waits for nobody's heartbeat.
func TestLateDeployStepsLeaveTheInstance(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.prepareDeploy(id)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active", "deploy_steps": [
		{"interface": "power", "step": "reboot", "priority": 30}, {"interface": "power", "step": "reboot", "priority": 10},
		{"interface": "power", "step": "wait", "priority": 5}]}`, 202)
	h.untilState(id, "active")
	if s := m.Seen(); s.Ramdisks != 1 || s.Power != "On" || s.Boot["BootSourceOverrideTarget"] != "Hdd" {
		t.Errorf("%d ramdisks booted, the machine is %s and boots %v", s.Ramdisks, s.Power, s.Boot)
	}
}

func TestCustomAgentWritesNoImage(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/deploy_interface", "value": "custom-agent"}]`, 200)
	h.prepareDeploy(id)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "erase_devices", "args": {}, "priority": 80}]}`, 202)
	h.untilState(id, "active")
	if s := m.Seen(); len(s.Steps) != 1 || len(s.Disk) != 0 || s.Power != "On" {
		t.Errorf("steps %v, %d bytes on disk, machine %s", s.Steps, len(s.Disk), s.Power)
	}
}

// TestRamdiskDeploy: the instance is a ramdisk that boots at every start.
func TestRamdiskDeploy(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/deploy_interface", "value": "ramdisk"},
		{"op": "add", "path": "/instance_info/kernel", "value": "file://`+h.dir+`/kernel"}, {"op": "add", "path": "/instance_info/ramdisk", "value": "file://`+h.dir+`/ramdisk"},
		{"op": "add", "path": "/instance_info/ramdisk_kernel_arguments", "value": "role=kiosk"}]`, 200)
	h.verb(id, nodes.TargetProvide)
	h.untilState(id, "available")
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "active")
	deadline := time.Now().Add(10 * time.Second)
	for m.Seen().Args["role"] != "kiosk" && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if s := m.Seen(); s.Args["role"] != "kiosk" || s.Boot["BootSourceOverrideTarget"] != "Pxe" || s.Boot["BootSourceOverrideEnabled"] != "Continuous" {
		t.Errorf("the machine boots %v with %v", s.Boot, s.Args)
	}
	h.must("PUT", "/v1/nodes/"+id+"/maintenance", `{}`, 202)
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/rescue_interface", "value": "agent"}]`, 200)
	h.must("DELETE", "/v1/nodes/"+id+"/maintenance", ``, 202)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "rescue", "rescue_password": "let me in"}`, 202)
	h.untilState(id, "rescue")
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "unrescue"}`, 202)
	h.untilState(id, "active")
	for m.Seen().Args["role"] != "kiosk" && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if s := m.Seen(); s.Args["role"] != "kiosk" || s.Boot["BootSourceOverrideTarget"] != "Pxe" || s.Boot["BootSourceOverrideEnabled"] != "Continuous" {
		t.Errorf("after unrescue the machine boots %v with %v", s.Boot, s.Args)
	}
}

// TestFastTrack: a ramdisk that runs serves the next task without a boot.
func TestFastTrack(t *testing.T) {
	h := newHarness(t, func(c *baremetal.Config) { c.FastTrack, c.AutomatedClean = true, true })
	m, id := h.enroll()
	h.verb(id, nodes.TargetProvide)
	h.untilState(id, "available")
	if m.Seen().Power != "On" {
		t.Fatal("the ramdisk was switched off after cleaning")
	}
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "add", "path": "/driver_info/fast_track", "value": true}]`, 200)
	h.deployInfo(id)
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "active")
	if s := m.Seen(); s.Ramdisks != 1 || len(s.Disk) == 0 {
		t.Errorf("%d ramdisks booted, %d bytes on disk", s.Ramdisks, len(s.Disk))
	}
	h.verb(id, nodes.TargetRebuild) // by now the instance runs, however lately the ramdisk was heard of
	h.untilState(id, "active")
	if s := m.Seen(); s.Ramdisks != 2 {
		t.Errorf("%d ramdisks booted by the end of a rebuild, want one for it", s.Ramdisks)
	}
}

func TestFirmwareThroughTheAPI(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	h.verb("n", nodes.TargetManage)
	h.untilState(n.UUID, "manageable")
	h.must("PUT", "/v1/nodes/n/states/provision", `{"target": "clean", "clean_steps": [{"interface": "bios", "step": "apply_configuration", "args": {}}]}`, 400)
	h.must("PUT", "/v1/nodes/n/states/provision", `{"target": "clean", "clean_steps": [{"interface": "bios", "step": "apply_configuration",
		"args": {"settings": [{"name": "Virtualization", "value": "Enabled"}]}}]}`, 202)
	h.untilState(n.UUID, "manageable")
	list, _ := h.must("GET", "/v1/nodes/n/bios?detail=True", "", 200)["bios"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["value"] != "Enabled" {
		t.Errorf("BIOS settings %v", list)
	}
	if one := h.must("GET", "/v1/nodes/n/bios/Virtualization", "", 200); one["Virtualization"].(map[string]any)["value"] != "Enabled" {
		t.Errorf("%v", one)
	}
	h.must("GET", "/v1/nodes/n/bios/Nothing", "", 404)
	h.must("PUT", "/v1/nodes/n/states/boot_mode", `{"target": "uefi"}`, 202)
	h.must("PUT", "/v1/nodes/n/states/secure_boot", `{"target": true}`, 202)
	if st := h.must("GET", "/v1/nodes/n/states", "", 200); st["boot_mode"] != "uefi" || st["secure_boot"] != true {
		t.Errorf("states %v", st)
	}
	h.must("PUT", "/v1/nodes/n/management/inject_nmi", `{}`, 204) // the step's reboot has left it on
	if c := h.must("GET", "/v1/nodes/n/management/indicators", "", 200)["components"].([]any); len(c) != 1 {
		t.Errorf("components %v", c)
	}
	h.must("PUT", "/v1/nodes/n/management/indicators/system/led", `{"state": "on"}`, 204)
	h.must("PUT", "/v1/nodes/n/management/indicators/system/led", `{"state": "dim"}`, 400)
	if i := h.must("GET", "/v1/nodes/n/management/indicators/system/led", "", 200); i["state"] != "ON" {
		t.Errorf("indicator %v", i)
	}
}

func TestConsole(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	h.must("PATCH", "/v1/nodes/n", `[{"op": "replace", "path": "/console_interface", "value": "no-console"}]`, 200)
	h.must("PUT", "/v1/nodes/n/states/console", `{"enabled": true}`, 400)
	h.must("PATCH", "/v1/nodes/n", `[{"op": "remove", "path": "/console_interface"}]`, 200)
	h.must("PUT", "/v1/nodes/n/states/console", `{"enabled": true}`, 202)
	info := h.must("GET", "/v1/nodes/n/states/console", "", 200)["console_info"].(map[string]any)
	url, _ := info["url"].(string)
	if _, _, err := websocket.Dial(t.Context(), strings.Split(url, "token=")[0]+"token=guess", nil); err == nil {
		t.Error("the console opens with any token")
	}
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"binary"}}) //nolint:bodyclose // a hijacked connection has none
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "hello" {
		t.Errorf("console said %q %v", b, err)
	}
	h.must("PUT", "/v1/nodes/n/states/console", `{"enabled": false}`, 202)
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("a disabled console stays open")
	}
	if doc := h.must("GET", "/v1/nodes/"+n.UUID, "", 200); strings.Contains(toJSON(doc), "token=") {
		t.Errorf("the node shows the console's token: %v", doc)
	}
}

func toJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestVolumesShardsAndChildren(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	c := h.must("POST", "/v1/volume/connectors", `{"node_uuid": "`+n.UUID+`", "type": "iqn", "connector_id": "iqn.2017-07.org.example:a"}`, 201)
	h.must("POST", "/v1/volume/connectors", `{"node_uuid": "`+n.UUID+`", "type": "iqn", "connector_id": "iqn.2017-07.org.example:a"}`, 409)
	h.must("POST", "/v1/volume/connectors", `{"node_uuid": "`+n.UUID+`", "type": "usb", "connector_id": "x"}`, 400)
	v := h.must("POST", "/v1/volume/targets", `{"node_uuid": "`+n.UUID+`", "volume_type": "iscsi", "volume_id": "v1", "boot_index": 0}`, 201)
	h.must("POST", "/v1/volume/targets", `{"node_uuid": "`+n.UUID+`", "volume_type": "iscsi", "volume_id": "v2", "boot_index": "0"}`, 409)
	if l := h.must("GET", "/v1/nodes/n/volume/targets", "", 200)["targets"].([]any); len(l) != 1 {
		t.Errorf("targets %v", l)
	}
	h.must("PATCH", "/v1/volume/targets/"+v["uuid"].(string), `[{"op": "replace", "path": "/boot_index", "value": 1}]`, 200)
	h.must("DELETE", "/v1/volume/connectors/"+c["uuid"].(string), "", 204)

	h.must("POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "dpu", "parent_node": "n", "shard": "s1"}`, 201)
	names := func(query string) (out []string) {
		for _, v := range h.must("GET", "/v1/nodes"+query, "", 200)["nodes"].([]any) {
			out = append(out, v.(map[string]any)["name"].(string))
		}
		return out
	}
	for query, want := range map[string][]string{"": {"n"}, "?include_children=True": {"n", "dpu"}, "?parent_node=" + n.UUID: {"dpu"},
		"?include_children=True&shard=s1,s2": {"dpu"}, "?sharded=False": {"n"}, "/" + n.UUID + "/children": {"dpu"},
		"?parent_node=n": {"dpu"}, "/n/children": {"dpu"}} {
		if got := names(query); !slices.Equal(got, want) {
			t.Errorf("nodes%s: %v, want %v", query, got, want)
		}
	}
	for _, p := range []string{"/v1/nodes/nobody/children", "/v1/nodes?parent_node=nobody", "/v1/chassis/nothing/nodes", "/v1/chassis/nothing/nodes/detail"} {
		h.must("GET", p, "", 404)
	}
	if l := h.must("GET", "/v1/shards", "", 200)["shards"].([]any); len(l) != 2 {
		t.Errorf("shards %v", l)
	}
	h.must("POST", "/v1/nodes", `{"driver": "fake-hardware", "conductor_group": "nowhere"}`, 400)
	h.must("POST", "/v1/events", `{"events": [{"event": "network.bind_port", "port_id": "p", "mac_address": "52:54:00:00:00:01", "status": "ACTIVE"}]}`, http.StatusNoContent)
	h.must("POST", "/v1/events", `{"events": [{"event": "volume.lost"}]}`, 400)
}

// TestRetired: a node that carries an instance may be retired; it is not offered again after that, and one that is
// offered cannot be retired, because somebody may be taking it.
func TestRetired(t *testing.T) {
	h := newHarness(t, nil)
	id, _ := h.deployed()
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "add", "path": "/retired", "value": true}, {"op": "add", "path": "/retired_reason", "value": "old"}]`, 200)
	h.verb(id, nodes.TargetDeleted)
	h.untilState(id, "manageable")
	if doc := h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "provide"}`, 409); !strings.Contains(fault(doc), "retired") {
		t.Errorf("%v", doc)
	}
	if list, _ := h.must("GET", "/v1/nodes?retired=true", "", 200)["nodes"].([]any); len(list) != 1 {
		t.Errorf("retired nodes: %v", list)
	}
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/retired", "value": false}]`, 200)
	h.verb(id, nodes.TargetProvide)
	h.untilState(id, "available")
	if doc := h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/retired", "value": true}]`, 409); !strings.Contains(fault(doc), "available") {
		t.Errorf("%v", doc)
	}
}

// TestHTTPBoot: with http-ipxe the controller is told to boot by HTTP, never by PXE, and from the disk in the end.
func TestHTTPBoot(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	var mu sync.Mutex
	var targets []string
	m.Spoil(func(s *baremetaltest.Spoil) {
		s.Controller = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			var in struct {
				Boot struct {
					Target string `json:"BootSourceOverrideTarget"`
				}
			}
			if err := errors.Join(err, json.Unmarshal(body, &in)); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if in.Boot.Target != "" {
				targets = append(targets, in.Boot.Target)
			}
			return false
		}
	})
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/boot_interface", "value": "http-ipxe"}]`, 200)
	h.prepareDeploy(id)
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "active")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(slices.Compact(targets), []string{"UefiHttp", "Hdd"}) || m.Seen().Ramdisks != 1 {
		t.Errorf("boot devices %v and %d ramdisks, expected UefiHttp, then Hdd, and one ramdisk", targets, m.Seen().Ramdisks)
	}
}

// TestAdoption takes over a machine with its instance as it is; one of which too little is known is refused, and may be
// adopted once it is told.
func TestAdoption(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "adopt"}`, 202)
	if n := h.untilState(id, "adopt failed"); !strings.Contains(n.LastError, "image_source") {
		t.Errorf("last error %q", n.LastError)
	}
	h.deployInfo(id)
	h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "adopt"}`, 202)
	if n := h.untilState(id, "active"); n.LastError != "" {
		t.Errorf("last error %q", n.LastError)
	}
	if s := m.Seen(); s.Ramdisks != 0 || s.Prepares != 0 || s.Power != "Off" {
		t.Errorf("the machine was touched: %d ramdisks, %d images, power %s", s.Ramdisks, s.Prepares, s.Power)
	}
}

// TestNoInspection: what the node's interfaces do not do is refused at once, with the reason.
func TestNoInspection(t *testing.T) {
	h := newHarness(t, nil)
	_, id := h.enroll()
	h.must("PATCH", "/v1/nodes/"+id, `[{"op": "replace", "path": "/inspect_interface", "value": "no-inspect"}]`, 200)
	if doc := h.must("PUT", "/v1/nodes/"+id+"/states/provision", `{"target": "inspect"}`, 400); !strings.Contains(fault(doc), "inspect_interface is no-inspect") {
		t.Errorf("%v", doc)
	}
}
