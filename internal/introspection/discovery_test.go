package introspection_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetalintrospection/v1/introspection"
)

// TestDiscovery: a machine that nobody knows boots the ramdisk, which tells what
// it runs on, and a node is made of it once, to which a rule gives credentials.
func TestDiscovery(t *testing.T) {
	h := newHouse(t, "redfish")
	const unknown = "52:54:00:99:00:01"
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get(h.node.URL + path)
		h.check(err)
		defer func() { _ = res.Body.Close() }()
		var b strings.Builder
		_, err = io.Copy(&b, res.Body)
		h.check(err)
		return res.StatusCode, b.String()
	}
	code, script := get("/baremetal/boot/52-54-00-99-00-01.ipxe")
	if code != http.StatusOK || !strings.Contains(script, "/boot/discovery/kernel") || !strings.Contains(script, "ipa-inspection-callback-url=") || strings.Contains(script, "ipa-api-url") {
		t.Fatalf("the boot script: %d %s", code, script)
	}
	if code, kernel := get("/baremetal/boot/discovery/kernel"); code != http.StatusOK || kernel != "kernel" {
		t.Errorf("the kernel: %d %q", code, kernel)
	}
	hw, err := net.ParseMAC(unknown)
	h.check(err)
	for range 2 {
		h.check(h.bm.Discover(t.Context(), hw))
	}
	var found struct {
		Ports []map[string]any `json:"ports"`
	}
	_, err = h.neutron.Get(t.Context(), h.neutron.ServiceURL("ports")+"?mac_address="+unknown, &found, nil)
	h.check(err)
	if len(found.Ports) != 1 || len(found.Ports[0]["fixed_ips"].([]any)) != 1 || len(found.Ports[0]["extra_dhcp_opts"].([]any)) == 0 {
		t.Errorf("what DHCP tells the machine: %v", found.Ports)
	}
	h.post(h.inspect, "rules", map[string]any{"description": "credentials of found machines",
		"conditions": []any{map[string]any{"op": "eq", "field": "data://auto_discovered", "value": true}},
		"actions": []any{map[string]any{"action": "set-attribute", "path": "driver_info/redfish_username", "value": "admin"},
			map[string]any{"action": "set-capability", "name": "profile", "value": "compute"}}}, nil)
	report := map[string]any{"boot_interface": unknown, "inventory": map[string]any{
		"interfaces": []any{map[string]any{"name": "eth0", "mac_address": unknown, "ipv4_address": "192.168.24.150"}, map[string]any{"name": "eth1", "mac_address": "52:54:00:99:00:02"}},
		"cpu":        map[string]any{"count": 8, "architecture": "x86_64"}, "memory": map[string]any{"physical_mb": 16384},
		"disks": []any{}, "boot": map[string]any{"current_boot_mode": "uefi"}, "bmc_address": "192.0.2.7"}, "root_disk": map[string]any{"name": "/dev/sda", "size": 40 << 30}}
	body, err := json.Marshal(report)
	h.check(err)
	for range 2 { // the second is the ramdisk that repeats itself
		res, err := http.Post(h.node.URL+"/introspection/v1/continue", "application/json", strings.NewReader(string(body)))
		h.check(err)
		var answer struct{ UUID string }
		h.check(json.NewDecoder(res.Body).Decode(&answer))
		_ = res.Body.Close()
		if answer.UUID == "" {
			t.Fatalf("answer %d %+v", res.StatusCode, answer)
		}
		h.id = answer.UUID
		if st := h.finished(); st.Error != "" {
			t.Fatalf("%+v", st)
		}
	}
	n, err := nodes.Get(t.Context(), h.ironic, h.id).Extract()
	h.check(err)
	if n.ProvisionState != "enroll" || n.Driver != "redfish" || n.DriverInfo["redfish_address"] != "https://192.0.2.7" || n.DriverInfo["redfish_username"] != "admin" {
		t.Errorf("node %s of driver %s with %v", n.ProvisionState, n.Driver, n.DriverInfo)
	}
	if n.Properties["cpus"] != "8" || n.Properties["capabilities"] != "boot_mode:uefi,profile:compute" {
		t.Errorf("properties %v", n.Properties)
	}
	pages, err := ports.List(h.ironic, ports.ListOpts{NodeUUID: h.id}).AllPages(t.Context())
	h.check(err)
	if list, err := ports.ExtractPorts(pages); err != nil || len(list) != 2 {
		t.Errorf("ports %v %v", list, err)
	}
	data, err := introspection.GetIntrospectionData(t.Context(), h.inspect, h.id).Extract()
	if err != nil || data.CPUs != 8 {
		t.Errorf("stored data %+v %v", data, err)
	}
}
