package introspection_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetalintrospection/v1/introspection"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/image"
	service "github.com/tripleo/tripleo/internal/introspection"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/objectstore"
)

const mac = "52:54:00:24:00:01"

// house is the real neighbours of introspection: Keystone, Glance, Swift,
// Neutron, Ironic, and a machine.
type house struct {
	bm      *baremetal.Service
	t       *testing.T
	srv     *identitytest.Server
	node    *httptest.Server
	ironic  *gophercloud.ServiceClient
	inspect *gophercloud.ServiceClient
	neutron *gophercloud.ServiceClient
	machine *baremetaltest.Machine
	id      string
	image   []byte
}

// newHouse is an undercloud with a machine; enroll is the hardware type of
// machines that are discovered.
func newHouse(t *testing.T, enroll ...string) *house {
	t.Helper()
	driver := strings.Join(enroll, "")
	srv := identitytest.Start(t)
	if os.Getenv("TEST_LOG") != "" {
		srv.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	h := &house{t: t, srv: srv}
	blobs, err := blob.OpenDir(t.TempDir())
	h.check(err)
	t.Cleanup(func() { _ = blobs.Close() })
	mux := http.NewServeMux()
	h.node = httptest.NewServer(mux)
	t.Cleanup(h.node.Close)

	glance, err := image.New(image.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs, BaseURL: srv.URL + "/image"})
	h.check(err)
	srv.Mount("/image", glance.Handler())
	swift, err := objectstore.New(objectstore.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs})
	h.check(err)
	srv.Mount("/object-store", swift.Handler())
	neutron, err := network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/network", PhysicalNetwork: "ctlplane"})
	h.check(err)
	srv.Mount("/network", neutron.Handler())
	ironic, err := baremetal.New(baremetal.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/baremetal", NodeURL: h.node.URL, CacheDir: t.TempDir(), SyncInterval: -1, Discovery: driver != "",
		PowerPoll: 10 * time.Millisecond, AgentPoll: 10 * time.Millisecond, CloudRetry: 20 * time.Millisecond, PowerTimeout: 5 * time.Second})
	h.check(err)
	h.bm = ironic
	srv.Mount("/baremetal", ironic.Handler())
	mux.Handle("/baremetal/", http.StripPrefix("/baremetal", ironic.NodeHandler()))
	inspector, err := service.New(service.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/introspection", NodeURL: h.node.URL, Retry: 20 * time.Millisecond, EnrollDriver: driver})
	h.check(err)
	srv.Mount("/introspection", inspector.Handler())
	mux.Handle("/introspection/", http.StripPrefix("/introspection", inspector.NodeHandler()))
	srv.RunJobs()

	admin := srv.Admin()
	h.ironic, err = admin.Baremetal()
	h.check(err)
	h.inspect, err = admin.Introspection()
	h.check(err)
	h.inspect.ResourceBase = h.inspect.Endpoint + "v1/"
	h.neutron, err = admin.Network()
	h.check(err)
	h.ctlplane()
	glanceClient, err := admin.Image()
	h.check(err)
	h.image = bytes.Repeat([]byte("overcloud-full"), 10_000)
	h.upload(glanceClient, "bm-deploy-kernel", "aki", []byte("kernel"))
	h.upload(glanceClient, "bm-deploy-ramdisk", "ari", []byte("ramdisk"))
	h.upload(glanceClient, "overcloud-full", "raw", h.image)
	h.enroll()
	return h
}

func (h *house) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) post(c *gophercloud.ServiceClient, path string, body, out any) {
	h.t.Helper()
	_, err := c.Post(h.t.Context(), c.ServiceURL(path), body, out, &gophercloud.RequestOpts{OkCodes: []int{200, 201, 202}})
	h.check(err)
}

func (h *house) ctlplane() {
	var net struct {
		Network struct{ ID string } `json:"network"`
	}
	h.post(h.neutron, "networks", map[string]any{"network": map[string]any{"name": "ctlplane", "provider:network_type": "flat", "provider:physical_network": "ctlplane"}}, &net)
	h.post(h.neutron, "subnets", map[string]any{"subnet": map[string]any{"name": "ctlplane-subnet", "network_id": net.Network.ID, "cidr": "192.168.24.0/24",
		"ip_version": 4, "gateway_ip": "192.168.24.1", "allocation_pools": []any{map[string]any{"start": "192.168.24.100", "end": "192.168.24.200"}}}}, nil)
}

func (h *house) upload(c *gophercloud.ServiceClient, name, format string, data []byte) {
	h.t.Helper()
	container := "bare"
	if format != "raw" {
		container = format
	}
	img, err := images.Create(h.t.Context(), c, images.CreateOpts{Name: name, DiskFormat: format, ContainerFormat: container}).Extract()
	h.check(err)
	h.check(imagedata.Upload(h.t.Context(), c, img.ID, bytes.NewReader(data)).ExtractErr())
}

func (h *house) enroll() {
	h.t.Helper()
	h.machine = baremetaltest.NewMachine(h.t, mac, h.node.URL)
	n, err := nodes.Create(h.t.Context(), h.ironic, nodes.CreateOpts{Name: "node-1", Driver: "redfish", DriverInfo: h.machine.DriverInfo(),
		Properties: map[string]any{"capabilities": "profile:control"}}).Extract()
	h.check(err)
	h.id = n.UUID
	_, err = ports.Create(h.t.Context(), h.ironic, ports.CreateOpts{NodeUUID: h.id, Address: mac}).Extract()
	h.check(err)
	h.verb(nodes.TargetManage)
	h.until("manageable")
}

func (h *house) verb(target nodes.TargetProvisionState) {
	h.t.Helper()
	h.check(nodes.ChangeProvisionState(h.t.Context(), h.ironic, h.id, nodes.ProvisionStateOpts{Target: target}).ExtractErr())
}

func (h *house) ironicNode() *nodes.Node {
	h.t.Helper()
	n, err := nodes.Get(h.t.Context(), h.ironic, h.id).Extract()
	h.check(err)
	return n
}

// until waits for a provision state, woken by the node's topic.
func (h *house) until(state string) *nodes.Node {
	h.t.Helper()
	sub := h.srv.Bus.Subscribe("baremetal/node/" + h.id)
	defer sub.Close()
	deadline := time.After(30 * time.Second)
	for {
		n := h.ironicNode()
		if n.ProvisionState == state {
			return n
		}
		select {
		case <-sub.C():
		case <-deadline:
			h.t.Fatalf("the node is %q, expected %q; last error %q", n.ProvisionState, state, n.LastError)
		}
	}
}

// finished waits for the end of the introspection.
func (h *house) finished() *introspection.Introspection {
	h.t.Helper()
	sub := h.srv.Bus.Subscribe("introspection/node/" + h.id)
	defer sub.Close()
	deadline := time.After(30 * time.Second)
	for {
		st, err := introspection.GetIntrospectionStatus(h.t.Context(), h.inspect, h.id).Extract()
		if err == nil && st.Finished {
			return st
		}
		select {
		case <-sub.C():
		case <-deadline:
			h.t.Fatalf("introspection has not ended: %+v %v; callback answers %v", st, err, h.machine.Seen().Answers)
		}
	}
}

func (h *house) neutronPorts() []map[string]any {
	h.t.Helper()
	var out struct {
		Ports []map[string]any `json:"ports"`
	}
	_, err := h.neutron.Get(h.t.Context(), h.neutron.ServiceURL("ports")+"?mac_address="+mac, &out, nil)
	h.check(err)
	return out.Ports
}

func (h *house) introspect() *introspection.Introspection {
	h.t.Helper()
	h.check(introspection.StartIntrospection(h.t.Context(), h.inspect, h.id, introspection.StartOpts{}).ExtractErr())
	return h.finished()
}

func TestIntrospectThenDeploy(t *testing.T) {
	h := newHouse(t)
	var during []map[string]any
	h.machine.Spoil(func(s *baremetaltest.Spoil) {
		s.Inspected = func(body []byte) {
			during = h.neutronPorts()
			res, err := http.Post(h.node.URL+"/introspection/v1/continue", "application/json", bytes.NewReader(body))
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("continue: %v %v", res, err)
			}
		}
	})
	if st := h.introspect(); st.Error != "" || st.State != "finished" {
		t.Fatalf("introspection ended as %+v", st)
	}
	n := h.ironicNode()
	if n.ProvisionState != "manageable" || n.PowerState != "power off" {
		t.Errorf("after introspection the node is %s, %s", n.ProvisionState, n.PowerState)
	}
	want := map[string]any{"cpus": "4", "memory_mb": "8192", "local_gb": "39", "cpu_arch": "x86_64", "capabilities": "boot_mode:uefi,cpu_aes:true,cpu_vt:true,profile:control"}
	if !maps.Equal(want, n.Properties) {
		t.Errorf("properties %v, want %v", n.Properties, want)
	}
	var opts []string
	for _, p := range during {
		for _, o := range p["extra_dhcp_opts"].([]any) {
			m := o.(map[string]any)
			opts = append(opts, fmt.Sprint(m["opt_name"], "=", m["opt_value"]))
		}
	}
	if script := "tag:ipxe,67=" + h.node.URL + "/baremetal/boot/52-54-00-24-00-01.ipxe"; !slices.Contains(opts, script) || !slices.Contains(opts, "tag:!ipxe,67=undionly.kpxe") {
		t.Errorf("the machine booted with DHCP options %v", opts)
	}
	if left := h.neutronPorts(); len(left) != 0 {
		t.Errorf("Neutron ports left after introspection: %v", left)
	}
	h.checkData()
	h.deploy()
}

func (h *house) checkData() {
	h.t.Helper()
	data, err := introspection.GetIntrospectionData(h.t.Context(), h.inspect, h.id).Extract()
	h.check(err)
	if data.LocalGB != 39 || data.IPMIAddress != "192.168.100.11" || data.RootDisk.Name != "/dev/sda" || !data.AllInterfaces["eth0"].PXE {
		h.t.Errorf("data %+v", data)
	}
	object, err := h.srv.Cloud.Service(h.t.Context())
	h.check(err)
	swift, err := object.ObjectStore()
	h.check(err)
	for _, name := range []string{"inspector_data-" + h.id, "inspector_data-" + h.id + "-UNPROCESSED"} {
		res, err := swift.Get(h.t.Context(), swift.ServiceURL("ironic-inspector", name), nil, &gophercloud.RequestOpts{KeepResponseBody: true})
		h.check(err)
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if !json.Valid(b) || bytes.Contains(b, []byte("bG9ncw==")) {
			h.t.Errorf("%s holds %.200s", name, b)
		}
	}
}

// deploy goes the way Nova goes: port, VIF, instance_info, active.
func (h *house) deploy() {
	t := h.t
	ctx := t.Context()
	h.machine.Spoil(func(s *baremetaltest.Spoil) { s.Inspected = nil })
	h.verb(nodes.TargetProvide)
	h.until("available")
	var nets struct{ Networks []struct{ ID string } }
	_, err := h.neutron.Get(ctx, h.neutron.ServiceURL("networks"), &nets, nil)
	h.check(err)
	var made struct {
		Port struct {
			ID  string `json:"id"`
			IPs []any  `json:"fixed_ips"`
		} `json:"port"`
	}
	h.post(h.neutron, "ports", map[string]any{"port": map[string]any{"network_id": nets.Networks[0].ID, "name": "controller-0"}}, &made)
	h.check(nodes.AttachVirtualInterface(ctx, h.ironic, h.id, nodes.VirtualInterfaceOpts{ID: made.Port.ID}).ExtractErr())
	_, err = nodes.Update(ctx, h.ironic, h.id, nodes.UpdateOpts{
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_uuid", Value: "0a6bbd5e-0d5f-4d9a-9d6b-6e3a1f0b6c01"},
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info/image_source", Value: "overcloud-full"}}).Extract()
	h.check(err)
	h.verb(nodes.TargetActive)
	h.until("active")
	if seen := h.machine.Seen(); !bytes.Equal(seen.Disk, h.image) || seen.Power != "On" {
		t.Errorf("the machine is %s with %d bytes on its disk, want the image's %d", seen.Power, len(seen.Disk), len(h.image))
	}
	got := h.neutronPorts()
	if len(got) != 1 || got[0]["id"] != made.Port.ID || got[0]["binding:host_id"] != h.id || fmt.Sprint(got[0]["fixed_ips"]) != fmt.Sprint(made.Port.IPs) {
		t.Errorf("ports of the active node: %v", got)
	} else if opts, _ := got[0]["extra_dhcp_opts"].([]any); len(opts) != 0 {
		t.Errorf("the active node's port still boots the ramdisk: %v", opts)
	}
	h.verb(nodes.TargetDeleted)
	n := h.until("available")
	vifs, err := nodes.ListVirtualInterfaces(ctx, h.ironic, h.id).Extract()
	if err != nil || len(vifs) != 0 || n.InstanceUUID != "" || h.machine.Seen().Power != "Off" {
		t.Errorf("after undeploy: VIFs %v %v, instance %q, machine %s", vifs, err, n.InstanceUUID, h.machine.Seen().Power)
	}
}

func TestFailuresEndTheIntrospection(t *testing.T) {
	for _, c := range []struct {
		name  string
		rule  string
		hints map[string]any
		spoil func(s *baremetaltest.Spoil)
		want  string
	}{
		{"ramdisk error", "", nil, func(s *baremetaltest.Spoil) { s.Inspection = map[string]any{"error": "disk controller on fire"} }, "disk controller on fire"},
		{"no such root disk", "", map[string]any{"serial": "s9"}, nil, "no disks satisfied the root device hints"},
		{"a rule says no", `{"conditions": [{"op": "lt", "field": "memory_mb", "value": 16384}],
			"actions": [{"action": "fail", "message": "only {data[memory_mb]} MiB"}]}`, nil, nil, "only 8192 MiB"},
		{"no memory reported", "", nil, func(s *baremetaltest.Spoil) {
			s.Inspection = map[string]any{"inventory": map[string]any{"interfaces": []any{map[string]any{"name": "eth0", "mac_address": mac, "ipv4_address": "192.168.24.9"}},
				"cpu": map[string]any{"count": 1, "architecture": "x86_64"}}}
		}, "the inventory lacks memory_mb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			if c.spoil != nil {
				h.machine.Spoil(c.spoil)
			}
			if c.rule != "" {
				h.post(h.inspect, "rules", json.RawMessage(c.rule), nil)
			}
			if c.hints != nil {
				_, err := nodes.Update(t.Context(), h.ironic, h.id, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.AddOp, Path: "/properties/root_device", Value: c.hints}}).Extract()
				h.check(err)
			}
			st := h.introspect()
			if st.State != "error" || !strings.Contains(st.Error, c.want) {
				t.Errorf("state %s, error %q; want %q in it", st.State, st.Error, c.want)
			}
			if n := h.ironicNode(); n.ProvisionState != "inspect failed" || !strings.Contains(n.LastError, c.want) {
				t.Errorf("the node is %s with last error %q; want %q in it", n.ProvisionState, n.LastError, c.want)
			}
			// Repaired, it goes through; a rule or hint is taken back first.
			h.machine.Spoil(func(s *baremetaltest.Spoil) { *s = baremetaltest.Spoil{} })
			_, err := h.inspect.Delete(t.Context(), h.inspect.ServiceURL("rules"), nil)
			h.check(err)
			if c.hints != nil {
				_, err := nodes.Update(t.Context(), h.ironic, h.id, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.RemoveOp, Path: "/properties/root_device"}}).Extract()
				h.check(err)
			}
			if st := h.introspect(); st.Error != "" {
				t.Errorf("after the repair: %s", st.Error)
			}
		})
	}
}

func TestAbort(t *testing.T) {
	h := newHouse(t)
	h.machine.Spoil(func(s *baremetaltest.Spoil) { s.Silent = true })
	h.check(introspection.StartIntrospection(t.Context(), h.inspect, h.id, introspection.StartOpts{}).ExtractErr())
	h.until("inspect wait")
	err := introspection.StartIntrospection(t.Context(), h.inspect, h.id, introspection.StartOpts{}).ExtractErr()
	if !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("a second start: %v, want 409", err)
	}
	h.check(introspection.AbortIntrospection(t.Context(), h.inspect, h.id).ExtractErr())
	if st := h.finished(); st.State != "error" || st.Error != "Canceled by operator" {
		t.Errorf("ended as %+v", st)
	}
	h.until("inspect failed")
}

// TestIronicsOwnInspection: `openstack baremetal node inspect`, without this
// service being asked first.
func TestIronicsOwnInspection(t *testing.T) {
	h := newHouse(t)
	h.verb(nodes.TargetInspect)
	if st := h.finished(); st.Error != "" {
		t.Error(st.Error)
	}
	if n := h.ironicNode(); n.ProvisionState != "manageable" || n.Properties["cpus"] != "4" {
		t.Errorf("the node is %s with %v", n.ProvisionState, n.Properties)
	}
}

func TestReapplyAfterNewRule(t *testing.T) {
	h := newHouse(t)
	if st := h.introspect(); st.Error != "" {
		t.Fatal(st.Error)
	}
	ramdisks := h.machine.Seen().Ramdisks
	h.post(h.inspect, "rules", json.RawMessage(`{"description": "big ones", "conditions": [
		{"op": "ge", "field": "inventory.disks[*].size", "value": 100000000000, "multiple": "any"},
		{"op": "eq", "field": "node://name", "value": "node-1"}],
		"actions": [{"action": "set-capability", "name": "compute_profile", "value": "1"},
			{"action": "set-attribute", "path": "/extra/bmc", "value": "{data[inventory][bmc_address]}"}]}`), nil)
	h.check(introspection.ReApplyIntrospection(t.Context(), h.inspect, h.id).ExtractErr())
	if st := h.finished(); st.Error != "" {
		t.Fatal(st.Error)
	}
	n := h.ironicNode()
	if caps, _ := n.Properties["capabilities"].(string); !strings.Contains(caps, "compute_profile:1") || n.Extra["bmc"] != "192.168.100.11" {
		t.Errorf("capabilities %q, extra %v", caps, n.Extra)
	}
	if h.machine.Seen().Ramdisks != ramdisks {
		t.Error("reapplying booted the machine")
	}
	var list struct {
		Introspection []introspection.Introspection `json:"introspection"`
	}
	if _, err := h.inspect.Get(t.Context(), h.inspect.ServiceURL("introspection"), &list, nil); err != nil || len(list.Introspection) != 1 || list.Introspection[0].UUID != h.id {
		t.Errorf("list %+v %v", list, err)
	}
	if st, err := introspection.GetIntrospectionStatus(t.Context(), h.inspect, "node-1").Extract(); err != nil || st.UUID != h.id {
		t.Errorf("status by name: %+v %v", st, err)
	}
	var rules struct{ Rules []map[string]any }
	if _, err := h.inspect.Get(t.Context(), h.inspect.ServiceURL("rules"), &rules, nil); err != nil || len(rules.Rules) != 1 || rules.Rules[0]["description"] != "big ones" {
		t.Errorf("rules %v %v", rules, err)
	}
}

func TestStrangersData(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		body   string
		want   int
		reason string
	}{
		{`{"inventory": {"interfaces": [{"name": "e", "mac_address": "52:54:00:99:99:99"}]}}`, 404, "a machine nobody knows"},
		{`{"inventory": {"interfaces": []}}`, 400, "no MAC to find a node by"},
		{`{"inventory": {"interfaces": [{"name": "e", "mac_address": "` + mac + `"}]}}`, 404, "a known machine that nobody is inspecting"},
		{`not json`, 400, "garbage"},
	} {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, h.node.URL+"/introspection/v1/continue", strings.NewReader(c.body))
		res, err := http.DefaultClient.Do(req)
		h.check(err)
		_ = res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.reason, res.StatusCode, c.want)
		}
	}
}
