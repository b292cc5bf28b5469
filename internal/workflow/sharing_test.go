package workflow

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
)

const small = "version: '2.0'\nadd:\n  tags: [math]\n  input: [a, {b: 2}]\n  output: {sum: <% $.a + $.b %>}\n  tasks:\n    t: {action: std.noop}\nfails:\n  tasks:\n    t: {action: std.fail}\n"

func field(m map[string]any, key string, i int, name string) any {
	return m[key].([]any)[i].(map[string]any)[name]
}

func TestMembers(t *testing.T) {
	b := newBench(t, nil)
	made := b.call("member", "POST", "/v2/workflows", small, 201)
	id := field(made, "workflows", 0, "id").(string)
	path := "/v2/workflows/" + id
	b.call("other", "GET", path, nil, 404)
	b.call("other", "POST", path+"/members", map[string]any{"member_id": "p-other"}, 404)
	b.call("member", "POST", path+"/members", map[string]any{}, 400)
	b.call("member", "POST", path+"/members", map[string]any{"member_id": "p-other"}, 201)
	b.call("member", "POST", path+"/members", map[string]any{"member_id": "p-other"}, 409)
	b.call("other", "GET", path, nil, 404) // pending
	b.call("member", "PUT", path+"/members/p-other", map[string]any{"status": "accepted"}, 404)
	b.call("other", "PUT", path+"/members/p-other", map[string]any{"status": "perhaps"}, 400)
	if m := b.call("other", "PUT", path+"/members/p-other", map[string]any{"status": "accepted"}, 200); m["status"] != "accepted" {
		t.Error(m)
	}
	b.call("other", "GET", path, nil, 200)
	x := b.call("other", "POST", "/v2/executions", map[string]any{"workflow_id": id, "input": `{"a": 1}`}, 201)
	if got := b.ended("other", x["id"].(string)); got["state"] != "SUCCESS" {
		t.Error(got)
	}
	b.call("other", "DELETE", path, nil, 403)
	b.call("other", "DELETE", path+"/members/p-other", nil, 404)
	b.call("member", "DELETE", path+"/members/p-other", nil, 204)
	b.call("other", "GET", path, nil, 404)
}

func TestLists(t *testing.T) {
	b := newBench(t, nil)
	b.call("member", "POST", "/v2/workflows", small, 201)
	var ids []string
	for i := range 5 {
		x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "add", "input": fmt.Sprintf(`{"a": %d}`, i%2), "description": fmt.Sprintf("d%d", i)}, 201)
		ids = append(ids, x["id"].(string))
		b.ended("member", x["id"].(string))
	}
	for _, tt := range []struct {
		reason, query string
		want          int
	}{
		{"equal", "workflow_name=add&state=SUCCESS", 5},
		{"eq:", "state=eq:SUCCESS", 5},
		{"not equal", "state=neq:SUCCESS", 0},
		{"greater", "description=gt:d2", 2},
		{"less or equal", "description=lte:d2", 3},
		{"one of", "description=in:d1,d3,x", 2},
		{"none of", "description=nin:d1,d3", 3},
		{"contains", "state=has:UCC", 5},
		{"JSON", `input={"a":1,"b":2}`, 2},
		{"tags", "tags=math", 5},
		{"tags that are not there", "tags=math,other", 0},
		{"a time in the past", "created_at=gt:2001-01-01 00:00:00", 5},
		{"a time to come", "created_at=gt:2201-01-01 00:00:00", 0},
		{"empty fields", "nulls=['task_execution_id']", 5},
		{"two filters on one field", "description=gt:d0&description=lt:d4", 3},
	} {
		if got := b.call("member", "GET", "/v2/executions?"+escaped(tt.query), nil, 200); len(got["executions"].([]any)) != tt.want {
			t.Errorf("%s: %d, want %d", tt.reason, len(got["executions"].([]any)), tt.want)
		}
	}
	for _, bad := range []string{"nope=1", "limit=-1", "limit=0", "limit=x", "sort_dirs=up", "sort_keys=nope", "sort_keys=id,id&sort_dirs=asc,asc", "created_at=yesterday", "input={"} {
		b.call("member", "GET", "/v2/executions?"+escaped(bad), nil, 400)
	}
	var pages []string
	next := "/v2/executions?limit=2&sort_keys=state,description&sort_dirs=asc,desc&fields=description"
	for next != "" {
		page := b.call("member", "GET", next, nil, 200)
		for _, x := range page["executions"].([]any) {
			m := x.(map[string]any)
			if len(m) != 2 {
				t.Errorf("fields: %v", m)
			}
			pages = append(pages, m["description"].(string))
		}
		link, _ := page["next"].(string)
		if next = ""; link != "" {
			if !strings.Contains(link, "sort_keys=state,description,id") {
				t.Errorf("next link %s", link)
			}
			next = link[strings.Index(link, "/v2/"):]
		}
	}
	if strings.Join(pages, " ") != "d4 d3 d2 d1 d0" {
		t.Errorf("pages %v", pages)
	}
	if got := b.call("other", "GET", "/v2/executions", nil, 200); len(got["executions"].([]any)) != 0 {
		t.Error("executions of another project are shown")
	}
	if got := b.call("admin", "GET", "/v2/executions?all_projects=true&project_id=p-user", nil, 200); len(got["executions"].([]any)) != 5 {
		t.Error("an administrator does not see all")
	}
	b.call("other", "GET", "/v2/executions?all_projects=true", nil, 403)
	if got := b.call("member", "GET", "/v2/tasks?workflow_execution_id="+ids[0]+"&state=SUCCESS&workflow_name=add", nil, 200); len(got["tasks"].([]any)) != 1 {
		t.Error(got)
	}
	if got := b.call("member", "GET", "/v2/actions?name=in:std.echo,std.noop&is_system=true", nil, 200); len(got["actions"].([]any)) != 2 {
		t.Error(got)
	}
	line := b.call("member", "GET", "/v2/executions/"+ids[0]+"/timeline?wait=20&seen=0", nil, 200)
	if len(line["critical_path"].([]any)) != 1 || field(line, "tasks", 0, "critical") != true {
		t.Error(line)
	}
}

func escaped(q string) string {
	return strings.NewReplacer(" ", "%20", "'", "%27", `"`, "%22", "{", "%7B").Replace(q)
}

// TestEvents follows events from the API and from ended executions to the
// workflows that triggers start, each once.
func TestEvents(t *testing.T) {
	b := newBench(t, nil)
	made := b.call("member", "POST", "/v2/workflows", small+"react:\n  output: {e: <% execution().params.event_params.payload %>}\n  tasks: {t: {}}\n", 201)
	react := field(made, "workflows", 2, "id").(string)
	trigger := func(event string) map[string]any {
		return map[string]any{"name": "t", "workflow_id": react, "exchange": "nova", "topic": "notifications", "event": event}
	}
	tr := b.call("member", "POST", "/v2/event_triggers", trigger("compute.*.end"), 201)
	b.call("member", "POST", "/v2/event_triggers", trigger("compute.*.end"), 409)
	b.call("member", "POST", "/v2/event_triggers", trigger(""), 400)
	b.call("member", "PUT", "/v2/event_triggers/"+tr["id"].(string), map[string]any{"event": "x"}, 400)
	if got := b.call("member", "PUT", "/v2/event_triggers/"+tr["id"].(string), map[string]any{"name": "renamed"}, 200); got["name"] != "renamed" {
		t.Error(got)
	}
	b.call("member", "DELETE", "/v2/workflows/"+react, nil, 400)
	send := func(token, event string, more ...string) string {
		in := map[string]any{"exchange": "nova", "topic": "notifications", "event_type": event, "payload": map[string]any{"id": 7}}
		if len(more) > 0 {
			in["project_id"] = more[0]
		}
		return b.call(token, "POST", "/v2/events", in, 202)["id"].(string)
	}
	waitEmpty := func() {
		t.Helper()
		for range 200_000 {
			var n int
			err := b.svc.cfg.DB.View(t.Context(), func(tx *store.Tx) error {
				return tx.Get([]any{&n}, `SELECT COUNT(*) FROM workflow_events`)
			})
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				return
			}
		}
		t.Fatal("events are left")
	}
	started := func() []any {
		waitEmpty()
		return b.call("member", "GET", "/v2/executions?workflow_name=react", nil, 200)["executions"].([]any)
	}
	send("member", "compute.instance.create.end")
	send("member", "compute.instance.create.start")
	send("other", "compute.instance.create.end")           // another project's
	send("admin", "compute.instance.delete.end", "p-user") // told for the project
	list := started()
	if len(list) != 2 {
		t.Fatalf("%d executions", len(list))
	}
	x := b.ended("member", list[0].(map[string]any)["id"].(string))
	if x["output"] != `{"e":{"id":7}}` {
		t.Error(x["output"])
	}
	b.call("member", "POST", "/v2/events", map[string]any{"exchange": "nova", "topic": "notifications", "event_type": "e", "project_id": "p-other"}, 403)

	// The end of an execution is an event; what it starts tells nothing.
	b.call("member", "POST", "/v2/event_triggers", map[string]any{"name": "own", "workflow_id": react, "exchange": engine.ExchangeMistral,
		"topic": engine.TopicNotices, "event": "WORKFLOW_*"}, 201)
	failing := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "fails"}, 201)
	b.ended("member", failing["id"].(string))
	if n := len(started()); n != 3 {
		t.Errorf("%d executions after a failure, want 3", n)
	}
	b.call("other", "DELETE", "/v2/event_triggers/"+tr["id"].(string), nil, 404)
	callerOf := func() (c engine.Caller) {
		err := b.svc.cfg.DB.View(t.Context(), func(tx *store.Tx) error {
			return tx.Get([]any{store.JSON(&c)}, `SELECT caller FROM workflow_event_triggers WHERE id = ?`, tr["id"])
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	mine := callerOf()
	theirs := mine
	theirs.UserID, theirs.Admin = "u-admin", true
	err := b.svc.cfg.DB.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE workflow_event_triggers SET caller = ? WHERE id = ?`, store.JSON(theirs), tr["id"])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.call("member", "PUT", "/v2/event_triggers/"+tr["id"].(string), map[string]any{"workflow_input": map[string]any{}}, 200)
	if c := callerOf(); c != mine {
		t.Errorf("a trigger that a member changed acts for %+v, want %+v", c, mine)
	}
	b.call("member", "DELETE", "/v2/event_triggers/"+tr["id"].(string), nil, 204)
}

func TestHears(t *testing.T) {
	for _, tt := range []struct {
		pattern, event string
		want           bool
	}{{"a.b", "a.b", true}, {"a.b", "a.bc", false}, {"*", "", true}, {"a.*", "a.b.c", true}, {"*.end", "a.b.end", true},
		{"a.*.end", "a.end", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false}} {
		if got := (&eventTrigger{event: tt.pattern}).hears(tt.event); got != tt.want {
			t.Errorf("%s hears %s: %v", tt.pattern, tt.event, got)
		}
	}
}

// TestReadOnlyAndReverse checks faults that only the API shows.
func TestReadOnlyAndReverse(t *testing.T) {
	b := newBench(t, nil)
	b.call("member", "POST", "/v2/workflows", "version: '2.0'\nw: {tasks: {t: {action: std.async_noop}}}\nr: {type: reverse, tasks: {t: {}}}\n", 201)
	x := b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "w", "params": map[string]any{"read_only": true}}, 201)
	b.call("member", "PUT", "/v2/executions/"+x["id"].(string), map[string]any{"state": "PAUSED"}, 400)
	b.call("member", "PUT", "/v2/executions/1a2b", map[string]any{"state": "STOPPED"}, 404)
	b.call("member", "DELETE", "/v2/executions/"+x["id"].(string), nil, 403)
	b.call("member", "DELETE", "/v2/executions/"+x["id"].(string)+"?force=True", nil, 204)
	b.call("member", "POST", "/v2/executions", map[string]any{"workflow_name": "r", "params": map[string]any{"task_name": "x"}}, 400)
	b.call("member", "GET", "/v2/workflows/"+url.PathEscape("no such"), nil, 404)
}
