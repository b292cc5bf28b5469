package workflow

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/workflow/v2/crontriggers"
	"github.com/gophercloud/gophercloud/v2/openstack/workflow/v2/executions"
	"github.com/gophercloud/gophercloud/v2/openstack/workflow/v2/workflows"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/engine"
)

// bench is a running service behind a real listener.
type bench struct {
	t   testing.TB
	svc *Service
	bus *notify.Bus
	url string
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, bus: notify.New()}
	db := storetest.Open(t)
	keys, err := seal.OpenKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db.Protect(keys)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	q, err := jobs.New(db, b.bus, log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{DB: db, Bus: b.bus, Jobs: q, Log: log, Auth: authtest.Default(), BaseURL: "http://mistral.test/workflow", Std: actions.StdOptions{AllowLocal: true}}
	if change != nil {
		change(&cfg)
	}
	if b.svc, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Run(ctx) }()
	srv := httptest.NewServer(b.svc.Handler())
	b.url = srv.URL
	t.Cleanup(func() { srv.Close(); cancel(); <-done })
	return b
}

// call sends a request; in may be nil, a string (as text/plain) or JSON.
func (b *bench) call(token, method, path string, in any, status int) map[string]any {
	b.t.Helper()
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case string:
		body, kind = strings.NewReader(v), "text/plain"
	default:
		data, err := json.Marshal(v)
		if err != nil {
			b.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != status {
		b.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, data)
	}
	out := map[string]any{}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &out); err != nil {
			b.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return out
}

// ended waits for the end of an execution and returns it.
func (b *bench) ended(token, id string) map[string]any {
	b.t.Helper()
	sub := b.bus.Subscribe(engine.Topic(id))
	defer sub.Close()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		x := b.call(token, "GET", "/v2/executions/"+id, nil, 200)
		if engine.Completed(x["state"].(string)) {
			return x
		}
		select {
		case <-sub.C():
		case <-deadline.C:
			b.t.Fatalf("execution does not end: %v", x)
		}
	}
}

const book = `
version: '2.0'
name: tripleo.demo.v1
description: a workbook
workflows:
  greet:
    tags: [tripleo-common-managed]
    input: [name, {greeting: hello}]
    output: {text: <% $.text %>}
    tasks:
      say:
        action: say what=<% $.greeting + ' ' + $.name %>
        publish: {text: <% task().result %>}
  outer:
    tasks:
      call: {workflow: greet, input: {name: you}, publish: {text: <% task().result.text %>}}
actions:
  say:
    input: [what]
    base: std.echo
    base-input: {output: "<% $.what %>!"}
    output: "<% $ %>?"
`

func TestWorkbookToExecution(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Workbooks = []Workbook{{Name: "builtin", YAML: strings.Replace(book, "demo", "builtin", 1)}}
	})
	if got := b.call("member", "POST", "/v2/workbooks/validate", "version: '2.0'\nname: x\nworkflows: {w: {tasks: {a: {on-success: b}}}}", 200); got["valid"] != false {
		t.Errorf("a bad workbook is valid: %v", got)
	}
	b.call("member", "POST", "/v2/workbooks", book, 201)
	if f := b.call("member", "POST", "/v2/workbooks", book, 409); !strings.Contains(f["faultstring"].(string), "Duplicate entry") {
		t.Errorf("fault: %v", f)
	}
	b.call("member", "PUT", "/v2/workbooks", book, 200)
	list := b.call("member", "GET", "/v2/workflows?tags=tripleo-common-managed", nil, 200)["workflows"].([]any)
	if len(list) != 2 { // own and built-in
		t.Fatalf("workflows by tag: %v", list)
	}
	for _, wf := range []string{"tripleo.demo.v1.outer", "tripleo.builtin.v1.outer"} {
		x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": wf, "input": "{}"}, 201)
		if x["state"] != "RUNNING" {
			t.Errorf("POST answers state %v", x["state"])
		}
		x = b.ended("member", x["id"].(string))
		if x["state"] != "SUCCESS" || x["output"] != `{"text":"hello you!?"}` {
			t.Errorf("%s: %v %v %v", wf, x["state"], x["output"], x["state_info"])
		}
		tasks := b.call("member", "GET", "/v2/executions/"+x["id"].(string)+"/tasks", nil, 200)["tasks"].([]any)
		id := tasks[0].(map[string]any)["id"].(string)
		subs := b.call("member", "GET", "/v2/tasks/"+id+"/workflow_executions?include_output=true", nil, 200)["executions"].([]any)
		if len(subs) != 1 || subs[0].(map[string]any)["root_execution_id"] != x["id"] {
			t.Errorf("sub-executions: %v", subs)
		}
		b.call("other", "GET", "/v2/executions/"+x["id"].(string), nil, 404)
		b.call("member", "GET", "/v2/executions/"+x["id"].(string)+"/report", nil, 200)
		b.call("reader", "DELETE", "/v2/executions/"+x["id"].(string), nil, 403)
		b.call("member", "DELETE", "/v2/executions/"+x["id"].(string), nil, 204)
		b.call("member", "GET", "/v2/executions/"+x["id"].(string), nil, 404)
	}
	b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "tripleo.demo.v1.greet"}, 400)
	b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "tripleo.demo.v1.greet", "input": map[string]any{"name": "x", "bad": 1}}, 400)
	b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "no.such"}, 404)
	b.call("other", "DELETE", "/v2/workbooks/tripleo.builtin.v1", nil, 403)
	b.call("member", "DELETE", "/v2/workbooks/tripleo.demo.v1", nil, 204)
	b.call("member", "GET", "/v2/workflows/tripleo.demo.v1.greet", nil, 404)
}

func TestActionExecutions(t *testing.T) {
	b := newBench(t, nil)
	got := b.call("member", "POST", "/v2/action_executions", map[string]any{"name": "std.echo", "input": `{"output": [1, "a"]}`}, 201)
	if got["output"] != `{"result":[1,"a"]}` || got["state"] != "SUCCESS" {
		t.Errorf("synchronous answer: %v", got)
	}
	got = b.call("member", "POST", "/v2/action_executions", map[string]any{"name": "std.fail", "params": map[string]any{"save_result": true, "run_sync": true}}, 201)
	if got["state"] != "ERROR" || b.call("member", "GET", "/v2/action_executions/"+got["id"].(string), nil, 200)["state"] != "ERROR" {
		t.Errorf("saved failure: %v", got)
	}
	b.call("member", "POST", "/v2/action_executions", map[string]any{"name": "std.echo"}, 400)
	b.call("member", "POST", "/v2/action_executions", map[string]any{"name": "no.such"}, 404)
	async := b.call("member", "POST", "/v2/action_executions", map[string]any{"name": "std.async_noop"}, 201)
	path := "/v2/action_executions/" + async["id"].(string)
	got = b.call("member", "PUT", path, map[string]any{"state": "SUCCESS", "output": `{"x": 1}`}, 200)
	if got["output"] != `{"result":{"x":1}}` {
		t.Errorf("result by API: %v", got)
	}
	b.call("member", "PUT", path, map[string]any{"state": "ERROR"}, 400)
	b.call("member", "DELETE", path, nil, 204)
	acts := b.call("member", "GET", "/v2/actions?name=has:std.&limit=3&sort_keys=name", nil, 200)
	if len(acts["actions"].([]any)) != 3 || acts["next"] == nil {
		t.Errorf("paged actions: %v", acts)
	}
}

func TestEnvironments(t *testing.T) {
	b := newBench(t, nil)
	b.call("member", "POST", "/v2/environments", map[string]any{"name": "e", "variables": `{"k": "v"}`}, 201)
	b.call("member", "POST", "/v2/environments", map[string]any{"name": "e", "variables": `{"k": "v"}`}, 409)
	b.call("member", "POST", "/v2/workflows", "version: '2.0'\nw: {tasks: {a: {publish: {k: <% env().k %>}}}}", 201)
	for _, env := range []any{`{"env": {"k": "v"}}`, map[string]any{"env": map[string]any{"k": "v"}}} { // a dict is the environment itself
		given := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "w", "params": env}, 201)
		if p, _ := given["params"].(string); !strings.Contains(p, `"env":{"k":"v"}`) {
			t.Errorf("params are %v", given["params"])
		}
	}
	x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "w", "params": `{"env": "e"}`}, 201)
	if x = b.ended("member", x["id"].(string)); x["output"] != `{"k":"v"}` {
		t.Errorf("named environment: %v", x)
	}
	b.call("member", "PUT", "/v2/environments", map[string]any{"name": "e", "variables": map[string]any{"k": 2}}, 200)
	if got := b.call("member", "GET", "/v2/environments/e", nil, 200); got["variables"] != `{"k":2}` {
		t.Errorf("updated: %v", got)
	}
	b.call("other", "GET", "/v2/environments/e", nil, 404)
	b.call("member", "DELETE", "/v2/environments/e", nil, 204)
}

func TestGophercloud(t *testing.T) {
	b := newBench(t, nil)
	c := authtest.Client(b.url+"/v2/", "workflowv2", "member")
	ctx := t.Context()
	wfs, err := workflows.Create(ctx, c, workflows.CreateOpts{Scope: "private",
		Definition: strings.NewReader("version: '2.0'\nhello:\n  input: [n]\n  tasks:\n    a: {action: std.echo output=<% $.n %>, publish: {n: <% task().result %>}}")}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	x, err := executions.Create(ctx, c, executions.CreateOpts{WorkflowID: wfs[0].ID, Input: map[string]any{"n": 5}, Description: "d"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	b.ended("member", x.ID)
	if x, err = executions.Get(ctx, c, x.ID).Extract(); err != nil || x.State != "SUCCESS" || x.Output["n"] != 5.0 {
		t.Errorf("execution %+v, %v", x, err)
	}
	pages, err := executions.List(c, executions.ListOpts{Limit: 1}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := executions.ExtractExecutions(pages); err != nil || len(all) != 1 {
		t.Errorf("list: %v %v", all, err)
	}
	tr, err := crontriggers.Create(ctx, c, crontriggers.CreateOpts{WorkflowID: wfs[0].ID, Name: "nightly", Pattern: "0 3 * * *",
		WorkflowInput: map[string]any{"n": 1}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if tr.NextExecutionTime == nil || tr.NextExecutionTime.Hour() != 3 {
		t.Errorf("trigger %+v", tr)
	}
	if err := workflows.Delete(ctx, c, wfs[0].ID).ExtractErr(); err == nil {
		t.Error("a workflow with a cron trigger is deleted")
	}
	if err := crontriggers.Delete(ctx, c, "nightly").ExtractErr(); err != nil {
		t.Error(err)
	}
}

// TestSecretsAreMasked: what is shown of inputs, and what is kept of those of ended
// actions, has no secrets; the workflow itself works with them.
func TestSecretsAreMasked(t *testing.T) {
	b := newBench(t, nil)
	b.call("member", "POST", "/v2/actions", "version: '2.0'\nmy.login:\n  input: [user, password]\n  base: std.echo\n  base-input: {output: '<% $.user %>:<% $.password %>'}\n", 201)
	b.call("member", "POST", "/v2/workflows", "version: '2.0'\nw:\n  input: [admin_password]\n  output: {r: <% $.r %>}\n  tasks:\n    a: {action: my.login user='u' password=<% $.admin_password %>, publish: {r: <% task().result %>}}\n"+
		"    s:\n      action: std.async_noop\n      input: {password: <% $.admin_password %>}\n", 201)
	x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "w", "input": `{"admin_password": "hush"}`, "params": `{"env": {"auth_token": "hush"}}`}, 201)
	for _, name := range []string{"input", "params"} {
		if text, _ := x[name].(string); strings.Contains(text, "hush") || !strings.Contains(text, `"***"`) {
			t.Errorf("%s is shown as %s", name, text)
		}
	}
	stored := func(name string) string {
		var input, doc string
		err := b.svc.cfg.DB.View(t.Context(), func(tx *store.Tx) error {
			return tx.Get([]any{tx.SealedText(&input, "workflow_actions.input"), &doc}, `SELECT input, doc FROM workflow_actions WHERE name = ?`, name)
		})
		if err != nil {
			t.Fatal(name, err)
		}
		return input + doc
	}
	b.eventually(func() bool {
		list := b.call("member", "GET", "/v2/action_executions?state=RUNNING&name=std.async_noop", nil, 200)["action_executions"].([]any)
		return len(list) == 1
	})
	if got := stored("std.async_noop"); !strings.Contains(got, "hush") {
		t.Errorf("an action that runs has lost its input: %s", got)
	}
	running := b.call("member", "GET", "/v2/action_executions?state=RUNNING&name=std.async_noop", nil, 200)["action_executions"].([]any)[0].(map[string]any)
	b.call("member", "PUT", "/v2/action_executions/"+running["id"].(string), map[string]any{"state": "SUCCESS", "output": `{}`}, 200)
	b.ended("member", x["id"].(string))
	for _, name := range []string{"std.async_noop", "my.login"} {
		if got := stored(name); strings.Contains(got, "hush") {
			t.Errorf("%s has ended and keeps %s", name, got)
		}
	}
	if got := b.call("member", "GET", "/v2/executions/"+x["id"].(string), nil, 200)["output"]; got != `{"r":"u:hush"}` {
		t.Errorf("the workflow gave %v", got)
	}
}
