package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestInspectionLearnsWhereTheCableEnds looks into a container machine: its
// port in Ironic then says which port of the lab's switch it is plugged into,
// as the switch told it by LLDP.
func TestInspectionLearnsWhereTheCableEnds(t *testing.T) {
	needRoot(t)
	const name = "lldplab"
	h := newHouse(t, 18340, "provisioning: {namespace: "+name+"}\nbaremetal: {clean_metadata: false}\n")
	lab := filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, name, lab)
	})
	h.tripleo(time.Minute, "lab", "up", "--nodes", "2", "--dir", lab, "--name", name)
	h.ramdiskImages()
	h.tripleo(2*time.Minute, "overcloud", "node", "import", h.withoutLinks(lab))
	h.tripleo(10*time.Minute, "overcloud", "node", "introspect", "--all-manageable")
	h.cablesEnd(name, "node-0", "node-1")
}

// withoutLinks is the lab's node file without what it says of cables, so that
// only the switch can have told it.
func (h *house) withoutLinks(lab string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(lab, "instackenv.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		h.t.Fatal(err)
	}
	nodes, _ := file["nodes"].([]any)
	for _, n := range nodes {
		node, _ := n.(map[string]any)
		ports, _ := node["ports"].([]any)
		for _, p := range ports {
			port, _ := p.(map[string]any)
			delete(port, "local_link_connection")
		}
	}
	if text, err = json.Marshal(file); err != nil {
		h.t.Fatal(err)
	}
	if strings.Contains(string(text), "local_link") {
		h.t.Fatalf("the node file says where cables end in a place that this test does not know: %s", text)
	}
	name := filepath.Join(h.dir, "nodes.json")
	writeFile(h.t, name, string(text))
	return name
}

// cablesEnd checks the local_link_connection of each node's port, and what
// introspection keeps of it. In the lab a port of the switch has the name of
// the virtual machine, or that of the container machine's namespace.
func (h *house) cablesEnd(lab string, nodes ...string) {
	h.t.Helper()
	switches := map[any]bool{}
	for _, node := range nodes {
		ports := rows(h.t, h.openstack("baremetal", "port", "list", "--node", node, "--fields", "uuid", "local_link_connection"))
		if len(ports) != 1 {
			h.t.Errorf("%s: %d ports, expected one", node, len(ports))
			continue
		}
		link, _ := ports[0]["Local Link Connection"].(map[string]any)
		if id, _ := link["switch_id"].(string); !regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`).MatchString(id) {
			h.t.Errorf("%s: local_link_connection %v, expected the switch's MAC", node, link)
		}
		if port := fmt.Sprint(link["port_id"]); port != node && port != lab+"-"+strings.ReplaceAll(node, "-", "") || link["switch_info"] != lab {
			h.t.Errorf("%s: local_link_connection %v, expected the port of %s on switch %s", node, link, node, lab)
		}
		switches[link["switch_id"]] = true
		data, err := h.introspectionData(node)
		if err != nil {
			h.t.Fatalf("introspection data of %s: %v", node, err)
		}
		all, _ := data["all_interfaces"].(map[string]any)
		for name, nic := range all {
			entry, _ := nic.(map[string]any)
			said, _ := entry["lldp_processed"].(map[string]any)
			if said["switch_port_id"] != link["port_id"] || said["switch_system_name"] != lab {
				h.t.Errorf("%s: %s was told %v, the port in Ironic has %v", node, name, said, link)
			}
		}
	}
	if len(switches) != 1 {
		h.t.Errorf("switches %v, expected one", switches)
	}
}
