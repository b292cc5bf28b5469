package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// TestNeutronMovesCablesOfTheLab binds ports of the undercloud's Neutron to the
// cables of container machines: packets pass between those on one network and
// to nobody else. The undercloud is killed while the switch hangs, and takes
// its work up again.
func TestNeutronMovesCablesOfTheLab(t *testing.T) {
	needRoot(t)
	const name = "switchlab"
	bin, err := filepath.Abs("../../bin/tripleo")
	if err != nil {
		t.Fatal(err)
	}
	lab := filepath.Join(t.TempDir(), "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, name, lab)
	})
	if out, err := exec.Command(bin, "lab", "up", "--nodes", "3", "--disk", "1", "--dir", lab, "--name", name).CombinedOutput(); err != nil {
		t.Fatalf("lab up: %v\n%s", err, out)
	}
	config, err := os.ReadFile(filepath.Join(lab, "undercloud.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, 18380, string(config))
	c := h.neutron()
	links := cablesOf(t, lab)
	for i := range links {
		for _, args := range [][]string{{"link", "set", "eth0", "up"}, {"addr", "add", fmt.Sprintf("10.99.0.%d/24", i+1), "dev", "eth0"}} {
			if out, err := exec.Command("ip", append([]string{"-n", fmt.Sprintf("%s-node%d", name, i)}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v\n%s", args, err, out)
			}
		}
	}
	ping := func(from, to int) bool {
		return exec.Command("ip", "netns", "exec", fmt.Sprintf("%s-node%d", name, from), "ping", "-c", "3", "-W", "1", fmt.Sprintf("10.99.0.%d", to+1)).Run() == nil
	}
	if !ping(0, 1) || !ping(0, 2) {
		t.Error("machines on the provisioning VLAN do not reach each other")
	}

	mine, theirs := h.create(c, "network", map[string]any{"name": "mine"}), h.create(c, "network", map[string]any{"name": "theirs"})
	on := func(network string, i int) map[string]any {
		return map[string]any{"network_id": network, "binding:host_id": fmt.Sprintf("node-%d", i), "binding:vnic_type": "baremetal",
			"binding:profile": map[string]any{"local_link_information": []any{links[i]}}}
	}
	first, second, third := h.create(c, "port", on(mine, 0)), h.create(c, "port", on(mine, 1)), h.create(c, "port", on(theirs, 2))
	for _, p := range []string{first, second, third} {
		h.portIs(c, p, "ACTIVE")
	}
	if !ping(0, 1) {
		t.Error("machines on one tenant's network do not reach each other")
	}
	if ping(0, 2) || ping(2, 1) {
		t.Error("packets pass between two tenants' networks")
	}

	// The switch hangs, the undercloud dies, both come back.
	pid := labProcess(t, bin, lab)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	moved := map[string]any{"port": map[string]any{"binding:host_id": ""}}
	if _, err := c.Put(t.Context(), c.ServiceURL("ports", third), moved, nil, &gophercloud.RequestOpts{OkCodes: []int{200}}); err != nil {
		t.Error(err)
	}
	again := h.create(c, "port", on(mine, 2))
	h.portIs(c, again, "DOWN")
	h.kill(syscall.SIGKILL)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.start()
	c = h.neutron()
	h.portIs(c, again, "ACTIVE")
	if !ping(0, 2) || !ping(1, 2) {
		t.Error("the machine that has moved does not reach its new neighbours")
	}
	for _, p := range []string{first, second, again} {
		if _, err := c.Delete(t.Context(), c.ServiceURL("ports", p), nil); err != nil {
			t.Error(err)
		}
	}
	h.until("nobody's machines are on the provisioning VLAN again", time.Minute, func() (bool, string) {
		out, err := exec.Command("ip", "netns", "exec", name, "ip", "addr", "replace", "10.99.0.100/24", "dev", "prov0").CombinedOutput()
		if err != nil {
			return false, string(out)
		}
		return ping(0, 99) && ping(2, 99), "no answer from the undercloud's end"
	})
}

func (h *house) neutron() *gophercloud.ServiceClient {
	h.t.Helper()
	s, err := h.session()
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := s.Network()
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// create makes a thing of the network service and returns its id.
func (h *house) create(c *gophercloud.ServiceClient, kind string, in map[string]any) string {
	h.t.Helper()
	var out map[string]map[string]any
	if _, err := c.Post(h.t.Context(), c.ServiceURL(kind+"s"), map[string]any{kind: in}, &out, &gophercloud.RequestOpts{OkCodes: []int{201}}); err != nil {
		h.t.Fatal(err)
	}
	id, _ := out[kind]["id"].(string)
	return id
}

func (h *house) portIs(c *gophercloud.ServiceClient, id, status string) {
	h.t.Helper()
	h.until("port "+id+" is "+status, time.Minute, func() (bool, string) {
		var out map[string]map[string]any
		if _, err := c.Get(h.t.Context(), c.ServiceURL("ports", id), &out, nil); err != nil {
			return false, err.Error()
		}
		p := out["port"]
		return p["status"] == status, fmt.Sprint(p["status"], " ", p["binding:vif_type"], " ", p["binding:vif_details"])
	})
}

// cablesOf reads where the machines' cables end, of the lab's node file.
func cablesOf(t *testing.T, lab string) []any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(lab, "instackenv.json"))
	if err != nil {
		t.Fatal(err)
	}
	var env struct {
		Nodes []struct {
			Ports []struct {
				Link map[string]string `json:"local_link_connection"`
			} `json:"ports"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatal(err)
	}
	var out []any
	for _, n := range env.Nodes {
		if len(n.Ports) != 1 || n.Ports[0].Link["port_id"] == "" {
			t.Fatalf("the node file does not say where a cable ends: %s", b)
		}
		out = append(out, n.Ports[0].Link)
	}
	return out
}

func labProcess(t *testing.T, bin, lab string) int {
	t.Helper()
	out, err := exec.Command(bin, "lab", "status", "--dir", lab).CombinedOutput()
	if err != nil {
		t.Fatalf("lab status: %v\n%s", err, out)
	}
	var name, backend string
	var pid int
	if _, err := fmt.Sscanf(string(out), "lab %s %s process %d,", &name, &backend, &pid); err != nil {
		t.Fatalf("lab status: %v in %s", err, out)
	}
	return pid
}
