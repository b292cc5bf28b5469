package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// rig is an engine on a real database; restart makes a new one on the same.
type rig struct {
	t     testing.TB
	db    *store.DB
	bus   *notify.Bus
	eng   *Engine
	extra []actions.Action
	stop  func()
	ctx   context.Context //nolint:containedctx // of the running engine
	// prepare changes the next engine before it runs.
	prepare func(e *Engine)
	clock   *clock
}

// clock can be moved forward, for waits that would be long.
type clock struct {
	mu  sync.Mutex
	add time.Duration
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add)
}

func newRig(t testing.TB, extra ...actions.Action) *rig {
	t.Helper()
	db := storetest.Open(t)
	keys, err := seal.OpenKeys(t.TempDir()) // as in an undercloud
	if err != nil {
		t.Fatal(err)
	}
	db.Protect(keys)
	return newRigOn(t, db, extra...)
}

func (r *rig) start() {
	r.t.Helper()
	r.bus = notify.New()
	log := slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	q, err := jobs.New(r.db, r.bus, log)
	if err != nil {
		r.t.Fatal(err)
	}
	reg, err := actions.NewRegistry(actions.Std(actions.StdOptions{AllowLocal: true}), r.extra)
	if err != nil {
		r.t.Fatal(err)
	}
	r.eng, err = New(Config{DB: r.db, Bus: r.bus, Jobs: q, Log: log, Actions: reg, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.prepare != nil {
		r.prepare(r.eng)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := q.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.stop = func() { cancel(); <-done }
}

func (r *rig) define(text string) {
	r.t.Helper()
	list, err := dsl.ParseWorkflows(text, r.eng.Check)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	err = r.db.Tx(r.t.Context(), func(tx *store.Tx) error {
		for _, w := range list {
			book, short := "", w.Name
			if i := strings.LastIndex(w.Name, "."); i > 0 {
				book, short = w.Name[:i], w.Name
			}
			spec, err := SaveSpec(tx, book, short, w.Text)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`INSERT INTO workflow_definitions (id, kind, name, namespace, project_id, scope, workbook, description,
				input, tags, definition, spec_id, created_at, updated_at) VALUES (?, 'workflow', ?, '', 'p', 'private', ?, '', '', '[]', ?, ?, 0, 0)`,
				"id-"+w.Name, w.Name, book, w.Text, spec)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) begin(name string, input, params *yaql.Map) string {
	r.t.Helper()
	x, err := r.eng.Start(r.t.Context(), Start{Workflow: name, Input: input, Params: params, Caller: Caller{ProjectID: "p"}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return x.ID
}

func (r *rig) get(id string) *Execution {
	r.t.Helper()
	var x *Execution
	err := r.db.View(r.t.Context(), func(tx *store.Tx) (err error) {
		x, err = GetExecution(tx, id)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// await waits until the execution is in a state that want accepts.
func (r *rig) await(id string, want func(x *Execution) bool) *Execution {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	sub := r.bus.Subscribe(Topic(id))
	defer sub.Close()
	for {
		if x := r.get(id); want(x) {
			return x
		}
		select {
		case <-sub.C():
		case <-ctx.Done():
			r.dump(id)
			r.t.Fatalf("execution %s did not get there: %s %s", id, r.get(id).State, r.get(id).Info)
		}
	}
}

func (r *rig) dump(id string) {
	_ = r.db.View(context.Background(), func(tx *store.Tx) error {
		list, err := listTasks(tx, true, `execution_id = ?`, id)
		for _, t := range list {
			r.t.Logf("task %s %s processed=%v doc=%+v result=%s", t.Name, t.State, t.Processed, t.Doc, yaql.Str(t.Result))
		}
		return err
	})
}

func (r *rig) end(id string) *Execution {
	r.t.Helper()
	return r.await(id, func(x *Execution) bool { return Completed(x.State) })
}

func (r *rig) tasks(id string) []*Task {
	r.t.Helper()
	var list []*Task
	err := r.db.View(r.t.Context(), func(tx *store.Tx) (err error) {
		list, err = listTasks(tx, true, `execution_id = ?`, id)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestWorkflows(t *testing.T) {
	var mu sync.Mutex
	calls := map[string]int{}
	flaky := actions.Action{Name: "test.flaky", Input: []actions.Param{actions.Req("key"), actions.Opt("fails", int64(0))},
		Run: func(_ context.Context, _ *actions.Context, in map[string]any) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			key := actions.String(in, "key")
			calls[key]++
			if int64(calls[key]) <= actions.Int(in, "fails", 0) {
				return nil, fmt.Errorf("attempt %d fails", calls[key])
			}
			return map[string]any{"n": calls[key]}, nil
		}}
	r := newRig(t, flaky)
	r.define(workflows)
	tests := []struct {
		reason, name  string
		input, params *yaql.Map
		state         string
		output        string // JSON
		info          string // part of state_info
	}{
		{"a chain publishes and its declared output is evaluated", "chain", yaql.MapOf("who", "you"), nil, Success, `{"greeting":"hello you","len":9}`, ""},
		{"without output all that was published is the output", "no_output", nil, nil, Success, `{"a":1,"b":{"x":1,"y":2}}`, ""},
		{"join: all merges the branches", "join_all", nil, nil, Success, `{"sum":3}`, ""},
		{"join: one runs once", "join_one", nil, nil, Success, `{"n":1}`, ""},
		{"a join that cannot be reached fails", "join_dead", nil, nil, Error, "", "Failed by 'join'"},
		{"with-items keeps the order", "items", nil, nil, Success, `{"r":[2,4,6],"pairs":["a1","b2"],"none":[]}`, ""},
		{"one failed item fails the task", "items_error", nil, nil, Error, "", "One or more actions had failed"},
		{"an error without on-error ends in ERROR", "unhandled", nil, nil, Error, "", "Failure caused by error in tasks: bad"},
		{"on-error handles it, with the error as result", "handled", nil, nil, Success, `{"why":"attempt 1 fails"}`, ""},
		{"on-complete does not absolve an error", "on_complete", nil, nil, Error, "", "Failure caused by error in tasks: bad"},
		{"fail with a message", "fail_msg", nil, nil, Error, `{"extra":5,"result":"because 5"}`, "because 5"},
		{"succeed ends at once", "succeed", nil, nil, Success, `{"a":1}`, ""},
		{"conditions choose", "conditions", yaql.MapOf("n", int64(5)), nil, Success, `{"way":"big"}`, ""},
		{"task-defaults on-error", "defaults", nil, nil, Success, `{"caught":true}`, ""},
		{"retry until it works", "retry", nil, nil, Success, `{"n":3}`, ""},
		{"retry gives up", "retry_exhausted", nil, nil, Error, "", "attempt 3 fails"},
		{"continue-on polls, and the last state stands", "poll", nil, nil, Success, `{"n":4}`, ""},
		{"a cycle counts up", "cycle", nil, nil, Success, `{"i":5}`, ""},
		{"sub-workflows by short name, unknown input becomes params", "wb.parent", nil, nil, Success, `{"out":"child got 7","env":"E"}`, ""},
		{"a failed sub-workflow gives its output", "wb.bad_parent", nil, nil, Error, "", "told you"},
		{"sub-workflows with items", "wb.many", nil, nil, Success, `{"all":["child got 1","child got 2"]}`, ""},
		{"env", "env", nil, yaql.MapOf("env", yaql.MapOf("k", "v")), Success, `{"k":"v"}`, ""},
		{"reverse runs what the target requires", "rev", nil, yaql.MapOf("task_name", "last"), Success, `{"order":"ab"}`, ""},
		{"an expression error fails the task", "bad_expr", nil, nil, Error, "", `no key "nothing"`},
		{"an unknown action fails the task", "bad_action", nil, nil, Error, "", "Failed to find action"},
		{"global publish", "global_publish", nil, nil, Success, `{"g":3}`, ""},
		{"fail-on", "fail_on", nil, nil, Error, "", "fail-on"},
		{"capital False is no inline parameter (T1)", "inline", nil, nil, Success, `{"o":[true,3,"x y"]}`, ""},
	}
	for _, tt := range tests {
		params := tt.params
		if params == nil {
			params = yaql.NewMap(0)
		}
		if tt.name == "wb.parent" {
			params.Set("env", yaql.MapOf("e", "E"))
		}
		id := r.begin(tt.name, tt.input, params)
		x := r.end(id)
		out, err := yaql.JSON(x.Output)
		if err != nil {
			t.Fatal(err)
		}
		if x.State != tt.state || tt.output != "" && string(out) != tt.output || !strings.Contains(x.Info, tt.info) {
			t.Errorf("%s: %s: %s %s\n info %q", tt.reason, tt.name, x.State, out, x.Info)
			r.dump(id)
		}
	}
}

const workflows = `
version: '2.0'
chain:
  input: [who, {greet: hello}]
  output: {greeting: <% $.text %>, len: <% $.text.len() %>}
  tasks:
    say:
      action: std.echo output="<% $.greet %> <% $.who %>"
      publish: {text: <% task().result %>}
      on-success: end
    end:
no_output:
  tasks:
    one: {action: std.noop, publish: {a: 1, b: {x: 1}}, on-success: [two, three]}
    two: {publish: {b: {x: 1, y: 2}}}
    three: {publish: {a: 1}}
join_all:
  output: {sum: <% $.a + $.b %>}
  tasks:
    a: {action: std.echo output=1, publish: {a: <% task(a).result %>}, on-success: j}
    b: {action: std.echo output=2, publish: {b: <% task(b).result %>}, on-success: j}
    j: {join: all}
join_one:
  output: {n: <% tasks().where($.name = j).len() %>}
  tasks:
    a: {on-success: j}
    b: {on-success: j}
    j: {join: one}
join_dead:
  tasks:
    a: {on-success: [{j: <% false %>}]}
    b: {on-success: j}
    j: {join: all}
items:
  output: {r: <% $.r %>, pairs: <% $.pairs %>, none: <% $.none %>}
  tasks:
    a:
      with-items: i in <% [1, 2, 3] %>
      action: std.echo output=<% $.i * 2 %>
      publish: {r: <% task().result %>}
      on-success: b
    b:
      with-items: ["x in <% [a, b] %>", "y in [1, 2]"]
      action: std.echo
      input: {output: "<% $.x %><% $.y %>"}
      concurrency: 1
      publish: {pairs: <% task().result %>}
      on-success: c
    c: {with-items: "i in <% [] %>", action: std.fail, publish: {none: <% task().result %>}}
items_error:
  tasks:
    a: {with-items: "i in [1, 2]", action: test.flaky key=<% str($.i) + 'ie' %> fails=<% $.i - 1 %>}
unhandled:
  tasks: {bad: {action: std.fail}}
handled:
  output: {why: <% $.why %>}
  tasks:
    bad: {action: test.flaky key='h' fails=9, publish-on-error: {why: <% task().result %>}, on-error: noop}
on_complete:
  tasks:
    bad: {action: std.fail, on-complete: after}
    after:
fail_msg:
  output-on-error: {extra: <% $.x %>}
  tasks:
    a: {publish: {x: 5}, on-success: ['fail(msg="because <% $.x %>")', never]}
    never:
succeed:
  tasks:
    a: {publish: {a: 1}, on-success: [succeed, never]}
    never: {publish: {b: 1}}
conditions:
  input: [n]
  tasks:
    a: {on-success: [{big: <% $.n > 3 %>}, {small: <% $.n <= 3 %>}]}
    big: {publish: {way: big}}
    small: {publish: {way: small}}
defaults:
  task-defaults: {on-error: catch}
  tasks:
    a: {action: std.fail}
    catch: {publish: {caught: true}}
retry:
  tasks:
    a: {action: test.flaky key='retry' fails=2, retry: count=5 delay=0, publish: {n: <% task().result.n %>}}
retry_exhausted:
  tasks:
    a: {action: test.flaky key='rx' fails=9, retry: {count: 2, delay: 0}}
poll:
  tasks:
    a:
      action: test.flaky key='poll'
      retry: {count: 3, delay: 0, continue-on: <% task(a).result.n < 100 %>}
      publish: {n: <% task().result.n %>}
cycle:
  tasks:
    init: {publish: {i: 0}, on-success: inc}
    inc: {action: std.echo output=<% $.i + 1 %>, publish: {i: <% task(inc).result %>}, on-success: [{inc: "<% $.i < 5 %>"}]}
wb.parent:
  output: {out: <% $.out %>, env: <% env().e %>}
  tasks:
    a: {workflow: child n=7 undeclared="x", publish: {out: <% task().result.out %>}}
wb.child:
  input: [n]
  output: {out: "child got <% $.n %>"}
  tasks:
    a: {action: std.noop}
wb.bad_child:
  tasks: {a: {on-success: 'fail(msg="told you")'}}
wb.bad_parent:
  tasks: {a: {workflow: bad_child}}
wb.many:
  tasks:
    a: {with-items: "n in [1, 2]", workflow: "<% 'ch' + 'ild' %>", input: {n: <% $.n %>}, publish: {all: <% task().result.out %>}}
env:
  tasks: {a: {publish: {k: <% env().k %>}}}
rev:
  type: reverse
  output: {order: <% $.a + $.b %>}
  tasks:
    a: {action: std.echo output="a", publish: {a: <% task(a).result %>}}
    b: {action: std.echo output="b", publish: {b: <% task(b).result %>}, requires: [a]}
    last: {requires: [b]}
    unneeded: {action: std.fail}
bad_expr:
  tasks: {a: {action: std.echo output=<% $.nothing %>}}
bad_action:
  tasks: {a: {action: no.such}}
global_publish:
  output: {g: <% global(g) %>}
  tasks: {a: {on-success: {publish: {global: {g: 3}}, next: b}}, b: {}}
fail_on:
  tasks: {a: {action: std.echo output=1, fail-on: <% task().result = 1 %>}}
inline:
  tasks:
    a: {action: "std.echo output=[true] nothing=False", on-success: b}
    b: {action: std.echo output=3, on-success: c}
    c: {action: "std.echo output='x y'", publish: {o: "<% [task(a).result[0], task(b).result, task(c).result] %>"}}
`
