package baremetal_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestSoftwareRAID(t *testing.T) {
	h := newHarness(t, nil)
	_, id := h.enroll()
	node := "/v1/nodes/" + id
	h.must("PATCH", node, `[{"op": "replace", "path": "/raid_interface", "value": "agent"}]`, 200)
	for _, tt := range []struct{ reason, config, want string }{
		{"another controller", `{"size_gb": 1, "raid_level": "1"}`, `logical_disks[0].controller is null, raid_interface agent makes "software" only`},
		{"another level", `{"size_gb": 1, "raid_level": "5", "controller": "software"}`, `logical_disks[0].raid_level is "5", software RAID has 0, 1 and 1+0`},
		{"disks by name", `{"size_gb": 1, "raid_level": "1", "controller": "software", "physical_disks": ["sda"]}`, `logical_disks[0].physical_disks[0] is "sda", expected an object of root device hints`},
		{"one disk", `{"size_gb": 1, "raid_level": "1", "controller": "software", "physical_disks": {"size": 1}}`, `expected a list of root device hints`},
		{"a size in words", `{"size_gb": "all", "raid_level": "1", "controller": "software"}`, `size_gb is "all"`},
	} {
		if got := fault(h.must("PUT", node+"/states/raid", `{"logical_disks": [`+tt.config+`]}`, 400)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
		}
	}
	clean := func(step, args string, code int) map[string]any {
		return h.must("PUT", node+"/states/provision", `{"target": "clean", "clean_steps": [{"interface": "raid", "step": "`+step+`", "args": `+args+`}]}`, code)
	}
	if got := fault(clean("create_configuration", "{}", 400)); !strings.Contains(got, "has no RAID configuration to make") {
		t.Errorf("without a target: %q", got)
	}
	h.must("PUT", node+"/states/raid", `{"logical_disks": [{"size_gb": 10, "raid_level": "1", "controller": "software", "is_root_volume": true},
		{"size_gb": "MAX", "raid_level": "0", "controller": "software"}]}`, 204)
	if got := fault(clean("create_configuration", `{"create_root_volume": "no"}`, 400)); !strings.Contains(got, `create_root_volume is "no", expected true or false`) {
		t.Errorf("a switch that is none: %q", got)
	}
	if got := fault(clean("create_configuration", `{"create_root_volume": false, "create_nonroot_volumes": false}`, 400)); !strings.Contains(got, "leave nothing") {
		t.Errorf("nothing to make: %q", got)
	}
	config := func() (levels []string, root any) {
		n := h.must("GET", node, "", 200)
		conf, _ := n["raid_config"].(map[string]any)
		list, _ := conf["logical_disks"].([]any)
		for _, v := range list {
			m, _ := v.(map[string]any)
			levels = append(levels, fmt.Sprint(m["raid_level"]))
		}
		properties, _ := n["properties"].(map[string]any)
		return levels, properties["root_device"]
	}
	clean("create_configuration", `{"create_nonroot_volumes": false}`, 202)
	h.untilState(id, "manageable")
	if levels, root := config(); fmt.Sprint(levels) != "[1]" || fmt.Sprint(root) != "map[name:/dev/md0]" {
		t.Errorf("the root volume only: levels %v, root device %v", levels, root)
	}
	clean("create_configuration", `{}`, 202)
	h.untilState(id, "manageable")
	if levels, root := config(); fmt.Sprint(levels) != "[1 0]" || fmt.Sprint(root) != "map[name:/dev/md0]" {
		t.Errorf("all: levels %v, root device %v", levels, root)
	}
	clean("delete_configuration", `{}`, 202)
	h.untilState(id, "manageable")
	if levels, root := config(); len(levels) != 0 || root != nil {
		t.Errorf("deleted: levels %v, root device %v", levels, root)
	}
}
