package baremetal_test

import (
	"strings"
	"testing"
)

// TestStandalonePorts: who is only a part of a bond is not used by itself.
func TestStandalonePorts(t *testing.T) {
	h := newHarness(t, nil)
	node, _ := h.must("POST", "/v1/nodes", `{"name": "n", "driver": "fake-hardware"}`, 201)["uuid"].(string)
	group, _ := h.must("POST", "/v1/portgroups", `{"node_uuid": "`+node+`", "standalone_ports_supported": false}`, 201)["uuid"].(string)
	port := func(mac, more string, want int) map[string]any {
		t.Helper()
		return h.must("POST", "/v1/ports", `{"node_uuid": "`+node+`", "portgroup_uuid": "`+group+`", "address": "`+mac+`"`+more+`}`, want)
	}
	if got := fault(port("52:54:00:00:01:01", `, "pxe_enabled": true`, 409)); !strings.Contains(got, "doesn't support standalone ports") {
		t.Errorf("a port that boots: %q", got)
	}
	id, _ := port("52:54:00:00:01:01", `, "pxe_enabled": false`, 201)["uuid"].(string)
	h.must("PATCH", "/v1/ports/"+id, `[{"op": "replace", "path": "/pxe_enabled", "value": true}]`, 409)
	h.must("PATCH", "/v1/ports/"+id, `[{"op": "add", "path": "/extra/x", "value": "y"}]`, 200)
	h.must("PATCH", "/v1/portgroups/"+group, `[{"op": "replace", "path": "/standalone_ports_supported", "value": true}]`, 200)
	h.must("PATCH", "/v1/ports/"+id, `[{"op": "replace", "path": "/pxe_enabled", "value": true}]`, 200)
	if got := fault(h.must("PATCH", "/v1/portgroups/"+group, `[{"op": "replace", "path": "/standalone_ports_supported", "value": false}]`, 409)); !strings.Contains(got, id) {
		t.Errorf("a group whose port boots: %q", got)
	}
	bad := `{"target": "clean", "clean_steps": [{"interface": "power", "step": "wait", "limit_child_node_execution": ["x"]}]}`
	h.must("PUT", "/v1/nodes/n/states/provision", `{"target": "manage"}`, 202)
	h.untilState(node, "manageable")
	if got := fault(h.must("PUT", "/v1/nodes/n/states/provision", bad, 400)); !strings.Contains(got, "limit_child_node_execution") {
		t.Errorf("child nodes: %q", got)
	}
}
