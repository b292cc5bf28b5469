package deployment_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/deployment/deploymenttest"
)

// rig is Keystone, Swift, Heat and Mistral with our workbooks and actions, all of them real.
type rig struct {
	t        *testing.T
	s        *cloud.Session
	wf       *gophercloud.ServiceClient
	sw       *gophercloud.ServiceClient
	patience time.Duration // with one workflow
}

func start(t *testing.T) *rig {
	t.Helper()
	srv := deploymenttest.Start(t)
	var err error
	r := &rig{t: t, s: srv.Admin(), patience: time.Minute}
	r.wf, err = r.s.Workflow()
	must(t, err)
	r.sw, err = r.s.ObjectStore()
	must(t, err)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run starts a workflow and returns its state, its output and its state_info.
func (r *rig) run(name string, input map[string]any) (string, map[string]any, string) {
	r.t.Helper()
	type reply struct {
		ID        string `json:"id"`
		State     string `json:"state"`
		Output    string `json:"output"`
		StateInfo string `json:"state_info"`
	}
	var rep reply
	text, err := json.Marshal(input)
	must(r.t, err)
	_, err = r.wf.Post(r.t.Context(), r.wf.ServiceURL("executions"), map[string]any{"workflow_name": name, "input": string(text)}, &rep, &gophercloud.RequestOpts{OkCodes: []int{201}})
	must(r.t, err)
	deadline := time.Now().Add(r.patience)
	tick := time.NewTicker(50 * time.Millisecond) // the API has no long poll
	defer tick.Stop()
	for rep.State == "RUNNING" || rep.State == "IDLE" {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s does not end", name)
		}
		<-tick.C
		id := rep.ID
		rep = reply{}
		_, err = r.wf.Get(r.t.Context(), r.wf.ServiceURL("executions", id), &rep, nil)
		must(r.t, err)
	}
	out := map[string]any{}
	must(r.t, json.Unmarshal([]byte(rep.Output), &out))
	return rep.State, out, rep.StateInfo
}

func (r *rig) object(container, name string) (int, string) {
	r.t.Helper()
	resp, err := r.sw.Request(r.t.Context(), http.MethodGet, r.sw.Endpoint+container+"/"+name, &gophercloud.RequestOpts{OkCodes: []int{200, 404}, KeepResponseBody: true})
	must(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	b := new(strings.Builder)
	buf := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return resp.StatusCode, b.String()
}

// TestPlanLifecycle makes the default plan, changes it, reads it and deletes it, through the API as a client would.
func TestPlanLifecycle(t *testing.T) {
	r := start(t)
	const quiet = "" // no queue: nobody listens here
	state, _, info := r.run("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "overcloud", "use_default_templates": true, "validate_stack": false, "queue_name": quiet})
	if state != "SUCCESS" {
		t.Fatalf("create: %s %s", state, info)
	}
	if code, text := r.object("overcloud", "overcloud.yaml"); code != 200 || !strings.Contains(text, "ControllerServiceChain") {
		t.Errorf("overcloud.yaml was not rendered: %d", code)
	}
	_, env := r.object("overcloud", "plan-environment.yaml")
	for _, w := range []string{"AdminPassword:", "RootStackName: overcloud", "MigrationSshKey:"} {
		if !strings.Contains(env, w) {
			t.Errorf("plan environment has no %s", w)
		}
	}
	var mirror map[string]any
	_, err := r.wf.Get(t.Context(), r.wf.ServiceURL("environments", "overcloud"), &mirror, nil)
	must(t, err)
	if v, _ := mirror["variables"].(string); !strings.Contains(v, "RootStackName") || strings.Contains(v, "AdminPassword") {
		t.Errorf("the Mistral environment is no mirror without passwords: %v", mirror)
	}

	state, _, info = r.run("tripleo.plan_management.v1.update_deployment_plan", map[string]any{"container": "overcloud", "validate_stack": false, "queue_name": quiet})
	if state != "SUCCESS" {
		t.Fatalf("update: %s %s", state, info)
	}
	if _, after := r.object("overcloud", "plan-environment.yaml"); after != env {
		t.Error("an update without a change changed the plan environment")
	}

	state, out, info := r.run("tripleo.plan_management.v1.list_roles", map[string]any{"queue_name": quiet})
	roles, _ := out["roles_data"].([]any)
	if state != "SUCCESS" || len(roles) < 2 {
		t.Errorf("list_roles: %s %s %v", state, info, out)
	}

	state, _, info = r.run("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "overcloud", "use_default_templates": true, "queue_name": quiet})
	if state != "ERROR" {
		t.Errorf("a second plan of the same name: %s %s", state, info)
	}

	state, _, info = r.run("tripleo.plan_management.v1.delete_deployment_plan", map[string]any{"container": "overcloud", "queue_name": quiet})
	if state != "SUCCESS" {
		t.Errorf("delete: %s %s", state, info)
	}
	if code, _ := r.object("overcloud", "plan-environment.yaml"); code != 404 {
		t.Errorf("the plan is still there: %d", code)
	}
}

// upload makes a plan of the given files.
func (r *rig) upload(name string, files map[string]string) {
	r.t.Helper()
	put := func(path, body, header string) {
		opts := &gophercloud.RequestOpts{OkCodes: []int{201, 202}, RawBody: strings.NewReader(body), MoreHeaders: map[string]string{}}
		if header != "" {
			opts.MoreHeaders[header] = "plan"
		}
		_, err := r.sw.Request(r.t.Context(), http.MethodPut, r.sw.Endpoint+path, opts)
		must(r.t, err)
	}
	put(name, "", "X-Container-Meta-Usage-Tripleo")
	for n, body := range files {
		put(name+"/"+n, body, "")
	}
}

// TestDeployPlan: a stack is followed to its end; a failure names path, template and line; a repaired plan deploys.
func TestDeployPlan(t *testing.T) {
	r := start(t)
	plan := func(fail string) map[string]string {
		return map[string]string{
			"plan-environment.yaml": "template: overcloud.yaml\nenvironments: []\n",
			"roles_data.yaml":       "- name: Controller\n",
			"overcloud.j2.yaml": "heat_template_version: queens\nresources:\n{% for r in roles %}  {{ r.name }}:\n    type: nested/one.yaml\n    properties: {Fail: " + fail + "}\n{% endfor %}" +
				"outputs:\n  KeystoneURL: {value: 'http://10.0.0.9:5000'}\n",
			"nested/one.yaml": "heat_template_version: queens\nparameters:\n  Fail: {type: boolean}\nresources:\n  Wait:\n    type: OS::Heat::TestResource\n    properties:\n      value: x\n      fail: {get_param: Fail}\n",
		}
	}
	r.upload("tiny", plan("true"))
	state, _, info := r.run("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "tiny", "validate_stack": false, "queue_name": ""})
	if state != "SUCCESS" {
		t.Fatalf("create plan: %s %s", state, info)
	}
	state, out, info := r.run("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "tiny", "queue_name": "", "timeout": 5})
	if state != "ERROR" {
		t.Fatalf("a stack that fails: %s %s %v", state, info, out)
	}
	fails := r.action("tripleo.deployment.get_deployment_failures", map[string]any{"plan": "tiny"})
	list, _ := fails.(map[string]any)["resources"].([]any)
	if len(list) != 1 {
		t.Fatalf("failures: %v", fails)
	}
	f, _ := list[0].(map[string]any)
	if f["path"] != "Controller.Wait" || !strings.HasPrefix(f["template"].(string), "nested/one.yaml:5:") {
		t.Errorf("failure %v", f)
	}
	status := r.action("tripleo.deployment.get_status", map[string]any{"plan": "tiny"})
	if got := status.(map[string]any)["deployment_status"]; got != "DEPLOY_FAILED" {
		t.Errorf("status %v", got)
	}

	r.upload("tiny", map[string]string{"overcloud.j2.yaml": plan("false")["overcloud.j2.yaml"]})
	if state, _, info = r.run("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "tiny", "queue_name": "", "timeout": 5}); state != "SUCCESS" {
		t.Fatalf("the repaired plan: %s %s", state, info)
	}
	rc, _ := r.action("tripleo.deployment.overcloudrc", map[string]any{"container": "tiny"}).(map[string]any)
	if !strings.Contains(rc["overcloudrc"].(string), "export OS_AUTH_URL=http://10.0.0.9:5000/v3\n") {
		t.Errorf("overcloudrc:\n%s", rc["overcloudrc"])
	}
	if state, _, info = r.run("tripleo.stack.v1.delete_stack", map[string]any{"stack": "tiny", "queue_name": ""}); state != "SUCCESS" {
		t.Fatalf("delete: %s %s", state, info)
	}
	r.action("tripleo.plan.delete", map[string]any{"container": "tiny"})
}

// action runs an action and returns its result.
func (r *rig) action(name string, input map[string]any) any {
	r.t.Helper()
	text, err := json.Marshal(input)
	must(r.t, err)
	var rep struct {
		State  string `json:"state"`
		Output string `json:"output"`
	}
	_, err = r.wf.Post(r.t.Context(), r.wf.ServiceURL("action_executions"), map[string]any{"name": name, "input": string(text), "params": `{"save_result": true, "run_sync": true}`},
		&rep, &gophercloud.RequestOpts{OkCodes: []int{201}})
	must(r.t, err)
	var out struct {
		Result any `json:"result"`
	}
	must(r.t, json.Unmarshal([]byte(rep.Output), &out))
	if rep.State != "SUCCESS" {
		r.t.Fatalf("%s: %v", name, out.Result)
	}
	return out.Result
}

// TestNodes registers fake machines, moves them, and registers them again.
func TestNodes(t *testing.T) {
	r := start(t)
	nodes := []any{
		map[string]any{"pm_type": "fake-hardware", "name": "n0", "ports": []any{map[string]any{"address": "52:54:00:24:00:01"}}, "cpu": "2", "memory": "4096", "disk": "20", "arch": "x86_64", "capabilities": "profile:control"},
		map[string]any{"pm_type": "fake-hardware", "name": "n1", "mac": []any{"52:54:00:24:00:02"}},
	}
	for round := range 2 {
		state, out, info := r.run("tripleo.baremetal.v1.register_or_update", map[string]any{"nodes_json": nodes, "queue_name": ""})
		if state != "SUCCESS" {
			t.Fatalf("register, round %d: %s %s %v", round, state, info, out)
		}
	}
	bm, err := r.s.Baremetal()
	must(t, err)
	var list struct {
		Nodes []struct {
			UUID  string         `json:"uuid"`
			State string         `json:"provision_state"`
			Props map[string]any `json:"properties"`
		} `json:"nodes"`
	}
	_, err = bm.Get(t.Context(), bm.ServiceURL("nodes")+"?detail=True&sort_key=name", &list, nil)
	must(t, err)
	if len(list.Nodes) != 2 || list.Nodes[0].State != "manageable" || list.Nodes[0].Props["capabilities"] != "boot_option:local,profile:control" {
		t.Fatalf("nodes: %+v", list.Nodes)
	}
	state, out, info := r.run("tripleo.baremetal.v1.provide_manageable_nodes", map[string]any{"queue_name": ""})
	if state != "SUCCESS" {
		t.Fatalf("provide: %s %s %v", state, info, out)
	}
	_, err = bm.Get(t.Context(), bm.ServiceURL("nodes")+"?detail=True&sort_key=name", &list, nil)
	must(t, err)
	if list.Nodes[0].State != "available" || list.Nodes[1].State != "available" {
		t.Errorf("nodes: %+v", list.Nodes)
	}
	// What a restarted undercloud asks for again is no error.
	again := map[string]any{"node_uuid": list.Nodes[0].UUID, "state_action": "provide", "target_state": "available"}
	if state, out, info = r.run("tripleo.baremetal.v1.set_node_state", again); state != "SUCCESS" {
		t.Errorf("provide of an available node: %s %s %v", state, info, out)
	}
	again["state_action"], again["target_state"] = "adopt", "active"
	if state, _, info = r.run("tripleo.baremetal.v1.set_node_state", again); state != "ERROR" || !strings.Contains(info, "adopt") {
		t.Errorf("a transition that does not exist: %s %s", state, info)
	}
	if state, _, _ = r.run("tripleo.baremetal.v1.validate_nodes", map[string]any{"nodes_json": []any{map[string]any{"pm_type": "toaster"}}, "queue_name": ""}); state != "ERROR" {
		t.Errorf("a node of unknown type: %s", state)
	}
}
