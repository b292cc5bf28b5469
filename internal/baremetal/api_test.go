package baremetal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/allocations"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/conductors"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/drivers"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/baremetal"
)

// call sends a request as it stands and returns status and body.
func (h *harness) call(method, path, version, body string) (int, map[string]any, http.Header) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, h.api.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "admin")
	if version != "" {
		req.Header.Set("X-OpenStack-Ironic-API-Version", version)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	var m map[string]any
	_ = json.Unmarshal(bytes.TrimSpace(b), &m)
	return res.StatusCode, m, res.Header
}

// fault reads the message of a fault as Debian's ironicclient does:
// error_message is text that holds JSON.
func fault(doc map[string]any) string {
	text, _ := doc["error_message"].(string)
	var m struct {
		Fault string `json:"faultstring"`
	}
	_ = json.Unmarshal([]byte(text), &m)
	return m.Fault
}

// fakeNode makes a node of driver fake-hardware.
func (h *harness) fakeNode(name string) *nodes.Node {
	h.t.Helper()
	n, err := nodes.Create(h.t.Context(), h.client, nodes.CreateOpts{Name: name, Driver: "fake-hardware", ResourceClass: "baremetal"}).Extract()
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestMicroversions(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	for _, c := range []struct {
		version string
		has     []string
		lacks   []string
		reason  string
	}{
		{"", []string{"uuid", "driver_info", "provision_state"}, []string{"name", "resource_class", "traits"}, "no version is 1.1"},
		{"1.14", []string{"name", "inspection_started_at", "states"}, []string{"network_interface", "resource_class"}, "tripleo-ui"},
		{"1.36", []string{"resource_class", "deploy_interface", "storage_interface"}, []string{"traits", "fault"}, "tripleo-common"},
		{"1.38", []string{"traits", "rescue_interface"}, []string{"bios_interface"}, "Queens' end"},
		{"1.81", []string{"boot_mode", "network_data", "conductor", "allocation_uuid", "deploy_step"}, []string{"run", "secrets", "interfaces"}, "the latest"},
		{"latest", []string{"boot_mode"}, nil, "by name"},
	} {
		code, doc, head := h.call("GET", "/v1/nodes/"+n.UUID, c.version, "")
		if code != 200 || head.Get("X-OpenStack-Ironic-API-Maximum-Version") != "1.87" || head.Get("X-OpenStack-Ironic-API-Minimum-Version") != "1.1" {
			t.Fatalf("%s: %d %v", c.version, code, head)
		}
		for _, k := range c.has {
			if _, ok := doc[k]; !ok {
				t.Errorf("%q lacks %s (%s)", c.version, k, c.reason)
			}
		}
		for _, k := range c.lacks {
			if _, ok := doc[k]; ok {
				t.Errorf("%q shows %s (%s)", c.version, k, c.reason)
			}
		}
	}
	if code, _, _ := h.call("GET", "/v1/nodes", "1.88", ""); code != http.StatusNotAcceptable {
		t.Errorf("1.88: %d, want 406", code)
	}
	if code, _, _ := h.call("GET", "/v1/nodes/"+n.UUID+"/traits", "1.36", ""); code != http.StatusNotAcceptable {
		t.Errorf("traits at 1.36: %d, want 406", code)
	}
	for _, version := range []string{"1.14", "1.81"} {
		_, doc, _ := h.call("GET", "/v1/nodes/nobody", version, "")
		if got := fault(doc); got != "Node nobody could not be found." {
			t.Errorf("fault at %s: %q in %v", version, got, doc)
		}
	}
	if code, doc, _ := h.call("GET", "/", "", ""); code != 200 || doc["default_version"] == nil {
		t.Errorf("root: %d %v", code, doc)
	}
}

func TestPatch(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	h.fakeNode("other")
	for _, c := range []struct {
		patch  string
		want   int
		check  string // field that must hold
		value  string
		reason string
	}{
		{`[{"op": "add", "path": "/driver_info/ipmi_password", "value": "geheim"}]`, 200, "driver_info", "map[ipmi_password:******]", "secrets are masked"},
		{`[{"op": "replace", "path": "/driver_info/ipmi_password", "value": "******"}]`, 200, "driver_info", "map[ipmi_password:******]", "a mask written back changes nothing"},
		{`[{"op": "add", "path": "/properties/capabilities", "value": "profile:control"}]`, 200, "properties", "map[capabilities:profile:control]", "add"},
		{`[{"op": "replace", "path": "/properties/missing", "value": 1}]`, 400, "", "", "replace of what is not there"},
		{`[{"op": "remove", "path": "/extra/missing"}]`, 400, "", "", "remove of what is not there"},
		{`[{"op": "remove", "path": "/name"}]`, 200, "name", "<nil>", "a removed attribute is null"},
		{`[{"op": "add", "path": "/name", "value": "other"}]`, 409, "", "", "name taken"},
		{`[{"op": "add", "path": "/name", "value": "has space"}]`, 400, "", "", "no hostname"},
		{`[{"op": "replace", "path": "/power_state", "value": "power on"}]`, 400, "", "", "internal attribute"},
		{`[{"op": "add", "path": "/nonsense", "value": 1}]`, 400, "", "", "unknown attribute"},
		{`[{"op": "replace", "path": "/driver", "value": "ilo"}]`, 400, "", "", "no such driver"},
		{`[{"op": "replace", "path": "/deploy_interface", "value": "iscsi"}]`, 400, "", "", "no such interface"},
		{`[{"op": "replace", "path": "/driver", "value": "ipmi"}]`, 400, "", "", "its interfaces do not fit the new driver"},
		{`[{"op": "add", "path": "/properties/memory_mb", "value": "a lot"}]`, 400, "", "", "not a number"},
		{`[{"op": "add", "path": "/maintenance", "value": "true"}]`, 200, "maintenance", "true", "text for a boolean"},
		{`[{"op": "add", "path": "/instance_uuid", "value": "no uuid"}]`, 400, "", "", "not a UUID"},
		{`{}`, 400, "", "", "not a patch"},
		{`[]`, 400, "", "", "empty"},
	} {
		code, doc, _ := h.call("PATCH", "/v1/nodes/"+n.UUID, "1.81", c.patch)
		if code != c.want {
			t.Errorf("%s: %d %v, want %d (%s)", c.patch, code, doc, c.want, c.reason)
			continue
		}
		if c.check != "" && fmt.Sprint(doc[c.check]) != c.value {
			t.Errorf("%s: %s is %v, want %s (%s)", c.patch, c.check, doc[c.check], c.value, c.reason)
		}
	}
	code, doc, _ := h.call("PATCH", "/v1/nodes/"+n.UUID+"?reset_interfaces=True", "1.81", `[{"op": "replace", "path": "/driver", "value": "ipmi"}]`)
	if code != 200 || doc["deploy_interface"] != "direct" || doc["power_interface"] != "ipmitool" {
		t.Errorf("another driver with reset_interfaces: %d %v", code, doc)
	}
}

func TestListsFilterAndPage(t *testing.T) {
	h := newHarness(t, nil)
	for i := range 5 {
		h.fakeNode(fmt.Sprintf("n%d", i))
	}
	h.verb("n3", nodes.TargetManage)
	h.until(h.get("n3").UUID, "manageable", func(n *nodes.Node) bool { return n.ProvisionState == "manageable" })
	if _, err := nodes.Update(t.Context(), h.client, "n4", nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_uuid", Value: "0a6bbd5e-0d5f-4d9a-9d6b-6e3a1f0b6c01"}}).Extract(); err != nil {
		t.Fatal(err)
	}
	names := func(o nodes.ListOpts) []string {
		t.Helper()
		var out []string
		err := nodes.ListDetail(h.client, o).EachPage(t.Context(), func(_ context.Context, p pagination.Page) (bool, error) {
			list, err := nodes.ExtractNodes(p)
			for _, n := range list {
				out = append(out, n.Name)
			}
			return true, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		opts   nodes.ListOpts
		want   string
		reason string
	}{
		{nodes.ListOpts{Limit: 2}, "[n0 n1 n2 n3 n4]", "the client follows next links"},
		{nodes.ListOpts{Limit: 2, SortKey: "name", SortDir: "desc"}, "[n4 n3 n2 n1 n0]", "sorted, over pages"},
		{nodes.ListOpts{ProvisionState: "manageable"}, "[n3]", "by state"},
		{nodes.ListOpts{Associated: true}, "[n4]", "with an instance"},
		{nodes.ListOpts{Driver: "ipmi"}, "[]", "by driver"},
		{nodes.ListOpts{ResourceClass: "baremetal", SortKey: "created_at", SortDir: "desc", Limit: 3}, "[n4 n3 n2 n1 n0]", "by age"},
	} {
		if got := fmt.Sprint(names(c.opts)); got != c.want {
			t.Errorf("%+v: %s, want %s (%s)", c.opts, got, c.want, c.reason)
		}
	}
	_, doc, _ := h.call("GET", "/v1/nodes?fields=name,uuid&limit=1", "1.81", "")
	if first := doc["nodes"].([]any)[0].(map[string]any); len(first) != 3 {
		t.Errorf("fields: %v", first)
	}
	if code, _, _ := h.call("GET", "/v1/nodes?fields=nonsense", "1.81", ""); code != 400 {
		t.Errorf("an unknown field: %d", code)
	}
	if code, _, _ := h.call("GET", "/v1/nodes?provision_state=nonsense", "1.81", ""); code != 400 {
		t.Errorf("an unknown state: %d", code)
	}
}

func TestVerbsAreRefusedWithAReason(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	for _, c := range []struct {
		body string
		want int
		text string
	}{
		{`{"target": "active"}`, 400, `"active" can not be performed on node`},
		{`{"target": "dance"}`, 400, "is not known"},
		{`{"target": "manage", "configdrive": "http://x"}`, 400, `"configdrive" is not valid`},
		{`{"target": "provide", "clean_steps": [{}]}`, 400, "clean_steps"},
		{`{"target": "clean"}`, 400, `"clean_steps" is required`},
	} {
		code, doc, _ := h.call("PUT", "/v1/nodes/n/states/provision", "1.81", c.body)
		if code != c.want || !strings.Contains(fault(doc), c.text) {
			t.Errorf("%s: %d %v, want %d %q", c.body, code, doc, c.want, c.text)
		}
	}
	if code, _, _ := h.call("PUT", "/v1/nodes/n/states/provision", "1.1", `{"target": "manage"}`); code != http.StatusNotAcceptable {
		t.Errorf("manage at 1.1: %d, want 406", code)
	}
	if code, _, _ := h.call("PUT", "/v1/nodes/n/states/raid", "1.81", `{"logical_disks": []}`); code != 400 {
		t.Errorf("raid: %d, want 400", code)
	}
	_ = n
}

// TestLocked: while the engine acts on a node, others are told to come again.
func TestLocked(t *testing.T) {
	h := newHarness(t, func(c *baremetal.Config) { c.PowerTimeout, c.LockWait = 2*time.Second, 10*time.Millisecond })
	m, id := h.enroll()
	m.Spoil(refusePower)
	if err := nodes.ChangePowerState(t.Context(), h.client, id, nodes.PowerStateOpts{Target: nodes.PowerOn}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if n := h.get(id); n.Reservation != "undercloud" || n.TargetPowerState != "power on" {
		t.Errorf("reservation %q, target %q", n.Reservation, n.TargetPowerState)
	}
	for _, c := range []struct{ method, path, body string }{
		{"PATCH", "", `[{"op": "add", "path": "/extra/x", "value": 1}]`},
		{"PUT", "/states/power", `{"target": "power off"}`},
		{"PUT", "/states/provision", `{"target": "provide"}`},
		{"DELETE", "", ""},
	} {
		code, doc, _ := h.call(c.method, "/v1/nodes/"+id+c.path, "1.81", c.body)
		if code != http.StatusConflict || !strings.Contains(fmt.Sprint(doc), "is locked by host undercloud") {
			t.Errorf("%s %s: %d %v, want 409", c.method, c.path, code, doc)
		}
	}
	n := h.until(id, "power failure", func(n *nodes.Node) bool { return n.TargetPowerState == "" })
	if n.Reservation != "" || !strings.Contains(n.LastError, "node-1") || !strings.Contains(n.LastError, "power on") {
		t.Errorf("reservation %q, last error %q", n.Reservation, n.LastError)
	}
}

func TestPowerVerbs(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	for _, c := range []struct {
		target nodes.TargetPowerState
		want   string
	}{
		{nodes.PowerOn, "On"}, {nodes.Rebooting, "On"}, {nodes.SoftRebooting, "On"}, {nodes.SoftPowerOff, "Off"}, {nodes.Rebooting, "On"}, {nodes.PowerOff, "Off"},
	} {
		if err := nodes.ChangePowerState(t.Context(), h.client, id, nodes.PowerStateOpts{Target: c.target}).ExtractErr(); err != nil {
			t.Fatal(err)
		}
		n := h.until(id, string(c.target), func(n *nodes.Node) bool { return n.TargetPowerState == "" })
		if got := m.Seen().Power; got != c.want || n.LastError != "" || n.PowerState != "power "+strings.ToLower(c.want) {
			t.Errorf("%s: machine %s, node %s, error %q", c.target, got, n.PowerState, n.LastError)
		}
	}
}

func TestCleaning(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	clean := func(step string) {
		h.verb(id, nodes.TargetClean, func(o *nodes.ProvisionStateOpts) {
			o.CleanSteps = []nodes.CleanStep{{Interface: "deploy", Step: "erase_devices_metadata"}, {Interface: "deploy", Step: step}}
		})
	}
	clean("erase_devices")
	h.untilState(id, "manageable")
	if m.Seen().Power != "Off" || m.Seen().Ramdisks != 1 {
		t.Errorf("after cleaning: %+v", m.Seen())
	}
	clean("explode")
	n := h.untilState(id, "clean failed")
	if !strings.Contains(n.LastError, "explode") || !strings.Contains(n.LastError, "it exploded") {
		t.Errorf("last error %q", n.LastError)
	}
	h.verb(id, nodes.TargetManage)
	h.untilState(id, "manageable")
}

func TestSmallResources(t *testing.T) {
	h := newHarness(t, nil)
	n := h.fakeNode("n")
	if list, err := drivers.GetDriverDetails(t.Context(), h.client, "redfish").Extract(); err != nil || list.DefaultDeployInterface != "direct" {
		t.Errorf("driver %+v %v", list, err)
	}
	if c, err := conductors.Get(t.Context(), h.client, "undercloud").Extract(); err != nil || !c.Alive {
		t.Errorf("conductor %+v %v", c, err)
	}
	p, err := ports.Create(t.Context(), h.client, ports.CreateOpts{NodeUUID: n.UUID, Address: "52:54:00:00:00:0A"}).Extract()
	if err != nil || p.Address != "52:54:00:00:00:0a" || !p.PXEEnabled {
		t.Fatalf("port %+v %v", p, err)
	}
	if _, err := ports.Create(t.Context(), h.client, ports.CreateOpts{NodeUUID: n.UUID, Address: "52:54:00:00:00:0a"}).Extract(); err == nil {
		t.Error("the same MAC twice")
	}
	h.verb("n", nodes.TargetManage)
	h.untilState(n.UUID, "manageable")
	h.verb("n", nodes.TargetProvide)
	h.untilState(n.UUID, "available")
	allocate := func(name string) (*allocations.Allocation, error) {
		a, err := allocations.Create(t.Context(), h.client, allocations.CreateOpts{Name: name, ResourceClass: "baremetal"}).Extract()
		if err != nil || a.State != "allocating" {
			return a, err
		}
		return allocations.Get(t.Context(), h.client, a.UUID).Extract()
	}
	a, err := allocate("a")
	if err != nil || a.NodeUUID != n.UUID || a.State != "active" {
		t.Fatalf("allocation %+v %v", a, err)
	}
	if b, err := allocate("b"); err != nil || b.State != "error" || b.LastError == "" {
		t.Errorf("a second allocation of one node: %+v %v", b, err)
	}
	if err := allocations.Delete(t.Context(), h.client, a.UUID).ExtractErr(); err != nil {
		t.Error(err)
	}
	// A whole life with the fake driver: no ramdisk, no image.
	h.verb("n", nodes.TargetActive)
	h.untilState(n.UUID, "active")
	h.verb("n", nodes.TargetDeleted)
	h.untilState(n.UUID, "available")
}

func TestRamdiskEndpoints(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.prepareDeploy(id)
	m.Spoil(silent)
	base := h.node.URL + "/baremetal"
	if code, _ := get(t.Context(), base+"/v1/lookup?addresses="+testMAC); code != 404 {
		t.Errorf("lookup of a node that expects no ramdisk: %d", code)
	}
	if code, _ := get(t.Context(), base+"/v1/nodes"); code != 404 {
		t.Errorf("the API on the node listener: %d", code)
	}
	h.verb(id, nodes.TargetActive)
	h.untilState(id, "wait call-back")
	token := func() string {
		_, b := get(t.Context(), base+"/v1/lookup?addresses=00:00:00:00:00:01,"+testMAC)
		var look struct {
			Config struct {
				Token string `json:"agent_token"`
			}
		}
		_ = json.Unmarshal(b, &look)
		return look.Config.Token
	}
	first := token()
	if len(first) < 16 || token() != "******" {
		t.Errorf("the token is given out more than once: %q", first)
	}
	for _, c := range []struct {
		body   string
		want   int
		reason string
	}{
		{`{"callback_url": "http://127.0.0.1:1", "agent_token": "wrong"}`, 400, "wrong token"},
		{`{"callback_url": "http://127.0.0.1:1"}`, 400, "no token"},
		{`{"callback_url": "file:///etc/passwd", "agent_token": "` + first + `"}`, 400, "no URL of an agent"},
		{`{"callback_url": "http://example.org", "agent_token": "` + first + `"}`, 400, "a name would have to be looked up"},
	} {
		res, err := http.Post(base+"/v1/heartbeat/"+id, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.reason, res.StatusCode, c.want)
		}
	}
	if code, _ := get(t.Context(), base+"/boot/images/"+id+"/guess"); code != 404 {
		t.Errorf("an image without its token: %d", code)
	}
	if code, b := get(t.Context(), base+"/boot/"+id+"/kernel"); code != 200 || string(b) != "kernel" {
		t.Errorf("kernel: %d %q", code, b)
	}
	if code, _ := get(t.Context(), base+"/boot/00-00-00-00-00-99.ipxe"); code != 200 {
		t.Errorf("an unknown machine gets %d instead of a script that gives way to its disk", code)
	}
}
