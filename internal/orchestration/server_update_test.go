package orchestration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

// part answers for what belongs to a server: its tags, metadata, interfaces and actions.
func (n *nova) part(path string, r *http.Request, reply func(int, any)) bool {
	id, rest, _ := strings.Cut(path, "/")
	s := n.servers[id]
	if s == nil || rest == "" {
		return false
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	what, key, _ := strings.Cut(rest, "/")
	nics, _ := s["nics"].([]any)
	switch {
	case what == "tags" && r.Header.Get("X-OpenStack-Nova-API-Version") != "2.26":
		reply(404, map[string]any{"itemNotFound": map[string]any{"code": 404, "message": "tags came with microversion 2.26"}})
	case what == "tags":
		s["tags"] = body["tags"]
		reply(200, body)
	case what == "metadata" && r.Method == http.MethodDelete:
		delete(s["metadata"].(map[string]any), key)
		reply(204, nil)
	case what == "metadata":
		for k, v := range body["metadata"].(map[string]any) {
			s["metadata"].(map[string]any)[k] = v
		}
		reply(200, body)
	case what == "os-interface" && r.Method == http.MethodGet:
		reply(200, map[string]any{"interfaceAttachments": nics})
	case what == "os-interface" && r.Method == http.MethodDelete:
		s["nics"] = slices.DeleteFunc(nics, func(v any) bool { return v.(map[string]any)["port_id"] == key })
		reply(202, nil)
	case what == "os-interface":
		a := body["interfaceAttachment"].(map[string]any)
		if a["port_id"] == nil {
			a["port_id"] = fmt.Sprintf("made-by-nova-%d", len(nics))
		}
		s["nics"] = append(nics, a)
		reply(200, body)
	case what == "os-security-groups":
		reply(200, map[string]any{"security_groups": s["groups"]})
	case what == "action":
		return n.action(s, body, reply)
	default:
		return false
	}
	return true
}

func (n *nova) action(s, body map[string]any, reply func(int, any)) bool {
	for name, args := range body {
		n.actions = append(n.actions, name)
		m, _ := args.(map[string]any)
		switch name {
		case "addSecurityGroup", "removeSecurityGroup":
			n.actions[len(n.actions)-1] += " " + m["name"].(string)
		case "resize":
			if s["unresizable"] == true {
				reply(400, map[string]any{"badRequest": map[string]any{"code": 400, "message": "a machine has the hardware it has"}})
				return true
			}
			if s["goes back"] == true { // no host had room
				break
			}
			s["status"], s["next"] = "VERIFY_RESIZE", m["flavorRef"]
		case "confirmResize":
			s["status"], s["flavor"] = "ACTIVE", map[string]any{"id": s["next"]}
		case "createImage":
			reply(202, map[string]any{"image_id": "11111111-1111-4111-8111-111111111111"})
			return true
		case "rebuild":
			s["rebuilt"] = m["imageRef"]
		}
	}
	reply(202, nil)
	n.publish("compute/server/" + s["id"].(string))
	return true
}

const updatable = `heat_template_version: wallaby
resources:
  p: {type: OS::Neutron::Port, properties: {network: ctlplane}}
  server:
    type: OS::Nova::Server
    properties:
      name: %s
      image: overcloud-full
      flavor: %s
      user_data_format: RAW
      tags: %s
      metadata: %s
      networks: %s
`

// TestServerUpdate changes everything of a server that can be changed in place.
func TestServerUpdate(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	template := func(args ...any) map[string]any {
		return map[string]any{"template": fmt.Sprintf(updatable, args...), "template_file": "s.yaml"}
	}
	id := u.createStack("s", template("one", "baremetal", "[a]", "{k: v, gone: soon}", "[{port: {get_resource: p}}]"))
	s := u.boot(1, "ACTIVE")[0]
	u.stack("s", "CREATE_COMPLETE")
	port := s["networks"].([]any)[0].(map[string]any)["port"].(string)
	u.nova.mu.Lock()
	if fmt.Sprint(s["tags"]) != "[a]" {
		t.Errorf("tags of a new server: %v", s["tags"])
	}
	s["nics"], s["flavor"] = []any{map[string]any{"port_id": port, "net_id": "n"}}, map[string]any{"id": "f1"}
	u.nova.mu.Unlock()
	update := func(want string, body map[string]any) {
		t.Helper()
		if code, out := u.request("PUT", "stacks/s/"+id, body); code != 202 {
			t.Fatal(code, out)
		}
		u.stack("s", want)
	}
	update("UPDATE_COMPLETE", template("two", "control", "[b, c]", "{k: w}", "[{subnet: ctlplane-subnet}, {network: ctlplane}]"))
	u.nova.mu.Lock()
	nics := s["nics"].([]any)
	if fmt.Sprint(s["tags"]) != "[b c]" || fmt.Sprint(s["flavor"]) != "map[id:f2]" || len(nics) != 2 {
		t.Errorf("server %v", s)
	}
	if m := s["metadata"].(map[string]any); m["k"] != "w" || m["gone"] != nil || m["heat_resource_id"] == nil {
		t.Errorf("metadata %v", m)
	}
	own := nics[0].(map[string]any)["port_id"].(string)
	if own == port || nics[1].(map[string]any)["net_id"] == nil {
		t.Errorf("interfaces %v", nics)
	}
	if n := u.nova.posts; n != 1 {
		t.Errorf("%d servers were made: a server is never replaced", n)
	}
	s["unresizable"] = true
	u.nova.mu.Unlock()
	if !slices.ContainsFunc(u.ports(), func(p ports.Port) bool { return p.ID == own }) {
		t.Errorf("no port %s", own)
	}
	// Back again: the port that was made for the server goes, and what Nova cannot do is told.
	if code, out := u.request("PUT", "stacks/s/"+id, template("two", "compute", "[b, c]", "{k: w}", "[{port: {get_resource: p}}]")); code != 202 {
		t.Fatal(code, out)
	}
	st := u.stack("s", "UPDATE_FAILED")
	if reason := st["stack_status_reason"].(string); !strings.Contains(reason, "cannot resize server") || !strings.Contains(reason, "a machine has the hardware it has") {
		t.Error(reason)
	}
	if slices.ContainsFunc(u.ports(), func(p ports.Port) bool { return p.ID == own }) {
		t.Error("the server's own port is still there")
	}
}

// TestServerUpdateThatNovaTakesBack: a resize after which the server has the flavor it had is a failure.
func TestServerUpdateThatNovaTakesBack(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	template := func(flavor string) map[string]any {
		return map[string]any{"template": fmt.Sprintf(updatable, "one", flavor, "[]", "{}", "[{port: {get_resource: p}}]")}
	}
	id := u.createStack("s", template("baremetal"))
	s := u.boot(1, "ACTIVE")[0]
	u.stack("s", "CREATE_COMPLETE")
	u.nova.mu.Lock()
	s["flavor"], s["goes back"] = map[string]any{"id": "f1"}, true
	u.nova.mu.Unlock()
	if code, out := u.request("PUT", "stacks/s/"+id, template("control")); code != 202 {
		t.Fatal(code, out)
	}
	if reason := u.stack("s", "UPDATE_FAILED")["stack_status_reason"].(string); !strings.Contains(reason, "with the flavor it had") {
		t.Error(reason)
	}
}

// TestServerUpdateOfSecurityGroups: a group may be named by id or by name, and stays if it is named either way.
func TestServerUpdateOfSecurityGroups(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	template := func(groups string) map[string]any {
		return map[string]any{"template": fmt.Sprintf(updatable, "one", "baremetal", "[]", "{}", "[{port: {get_resource: p}}]") + "      security_groups: " + groups + "\n"}
	}
	id := u.createStack("s", template("[]"))
	s := u.boot(1, "ACTIVE")[0]
	u.stack("s", "CREATE_COMPLETE")
	u.nova.mu.Lock()
	s["groups"] = []any{
		map[string]any{"id": "0b6c0b1e-5a7d-4d2a-9a51-0c5f3ad0c001", "name": "web"},
		map[string]any{"id": "0b6c0b1e-5a7d-4d2a-9a51-0c5f3ad0c002", "name": "db"},
		map[string]any{"id": "0b6c0b1e-5a7d-4d2a-9a51-0c5f3ad0c003", "name": "old"},
	}
	u.nova.actions = nil
	u.nova.mu.Unlock()
	if code, out := u.request("PUT", "stacks/s/"+id, template("[0b6c0b1e-5a7d-4d2a-9a51-0c5f3ad0c001, db, new]")); code != 202 {
		t.Fatal(code, out)
	}
	u.stack("s", "UPDATE_COMPLETE")
	u.nova.mu.Lock()
	defer u.nova.mu.Unlock()
	if want := []string{"addSecurityGroup new", "removeSecurityGroup 0b6c0b1e-5a7d-4d2a-9a51-0c5f3ad0c003"}; !slices.Equal(u.nova.actions, want) {
		t.Errorf("actions %q, want %q", u.nova.actions, want)
	}
}

// TestServerSnapshot takes a snapshot of a stack with a server and goes back to it.
func TestServerSnapshot(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	id := u.createStack("s", map[string]any{"template": fmt.Sprintf(updatable, "one", "baremetal", "[]", "{}", "[{port: {get_resource: p}}]")})
	s := u.boot(1, "ACTIVE")[0]
	u.stack("s", "CREATE_COMPLETE")
	code, out := u.request("POST", "stacks/s/"+id+"/snapshots", map[string]any{"name": "before"})
	if code != 200 && code != 202 {
		t.Fatal(code, out)
	}
	u.stack("s", "SNAPSHOT_COMPLETE")
	if code, out := u.request("POST", "stacks/s/"+id+"/snapshots/"+out["id"].(string)+"/restore", nil); code != 202 {
		t.Fatal(code, out)
	}
	u.stack("s", "RESTORE_COMPLETE")
	u.nova.mu.Lock()
	defer u.nova.mu.Unlock()
	if s["rebuilt"] != "11111111-1111-4111-8111-111111111111" || !slices.Equal(u.nova.actions, []string{"createImage", "rebuild"}) {
		t.Errorf("actions %v, rebuilt from %v", u.nova.actions, s["rebuilt"])
	}
}
