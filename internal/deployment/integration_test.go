package deployment_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/workflow"
	"github.com/tripleo/tripleo/plan"
)

// rig is Keystone, Swift, Heat and Mistral with our workbooks and actions, all of them real.
type rig struct {
	t  *testing.T
	s  *cloud.Session
	wf *gophercloud.ServiceClient
	sw *gophercloud.ServiceClient
}

func start(t *testing.T) *rig {
	t.Helper()
	srv := identitytest.Start(t)
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	must(t, err)
	swift, err := objectstore.New(objectstore.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs})
	must(t, err)
	srv.Mount("/object-store", swift.Handler())
	heat, err := orchestration.New(orchestration.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud, BaseURL: srv.URL + "/orchestration", NodeURL: srv.URL})
	must(t, err)
	srv.Mount("/orchestration", heat.Handler())
	books, err := deployment.Workbooks()
	must(t, err)
	var builtin []workflow.Workbook
	for _, b := range books {
		builtin = append(builtin, workflow.Workbook{Name: b.Name, YAML: b.YAML})
	}
	mistral, err := workflow.New(workflow.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/workflow", Actions: deployment.Actions(deployment.Config{Templates: plan.FS()}), Workbooks: builtin})
	must(t, err)
	srv.Mount("/workflow", mistral.Handler())
	srv.RunJobs()
	r := &rig{t: t, s: srv.Admin()}
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
	var x struct{ ID, State, Output, StateInfo string }
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
	deadline := time.Now().Add(60 * time.Second)
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
	x.State, x.StateInfo = rep.State, rep.StateInfo
	return x.State, out, x.StateInfo
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

	state, _, info = r.run("tripleo.plan_management.v1.update_deployment_plan", map[string]any{"container": "overcloud", "queue_name": quiet})
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
