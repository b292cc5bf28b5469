package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

// everything uses each construct that commits on its way.
const everything = `
version: '2.0'
everything:
  output: {items: <% $.items %>, sub: <% $.sub %>, slow: <% $.slow %>, g: <% global(g) %>, tries: <% $.tries %>}
  tasks:
    start: {action: std.noop, on-success: [items, sub, slow, retry]}
    items: {with-items: i in <% range(4) %>, concurrency: 2, action: test.double n=<% $.i %>, publish: {items: <% task().result %>}, on-success: join}
    sub: {workflow: child n=20, publish: {sub: <% task().result.m %>}, on-success: join}
    slow: {action: test.double n=50, publish: {slow: <% task().result %>}, on-success: {publish: {global: {g: 7}}, next: [join]}}
    retry: {action: std.fail, retry: {count: 2, delay: 0}, on-error: {publish: {branch: {tries: 3}}, next: [join]}}
    join: {join: all, action: test.double n=1}
child:
  input: [n]
  output: {m: <% $.m %>}
  tasks: {a: {action: test.double n=<% $.n %>, publish: {m: <% task().result %>}, on-success: b}, b: {}}
`

// double is idempotent, as actions without Once must be.
func double() actions.Action {
	return actions.Action{Name: "test.double", Input: []actions.Param{actions.Req("n")},
		Run: func(_ context.Context, _ *actions.Context, in map[string]any) (any, error) {
			return in["n"].(int64) * 2, nil
		}}
}

const everythingOutput = `{"items":[0,2,4,6],"sub":40,"slow":100,"g":7,"tries":3}`

// TestCrashAtEveryCommit lets the process die before and after each commit in
// turn, and once more while it recovers: a new one must come to the same end.
func TestCrashAtEveryCommit(t *testing.T) {
	var crashes int
	for at := int64(1); ; at++ {
		r := newRig(t, double())
		r.define(everything)
		var count atomic.Int64
		died := make(chan struct{})
		var once sync.Once
		trap := func(e *Engine, at int64) {
			e.failpoint = func(stage string) error {
				if count.Add(1) < at {
					return nil
				}
				once.Do(func() { close(died) })
				<-r.ctx.Done() // the dead do nothing
				return fmt.Errorf("died at %s: %w", stage, errDead)
			}
		}
		r.stop()
		r.prepare = func(e *Engine) { trap(e, at) }
		r.start()
		id := r.begin("everything", nil, nil)
		ended := make(chan struct{})
		go func() { defer close(ended); r.settled(id) }()
		select {
		case <-died:
		case <-ended:
		}
		r.stop()
		select {
		case <-died:
			crashes++
		default:
			t.Logf("%d places to die at", crashes)
			if crashes < 5 || crashes < 20 && !testing.Short() {
				t.Errorf("only %d places to die at", crashes)
			}
			return
		}
		<-ended
		r.prepare = nil
		r.start()
		x := r.end(id)
		if got, _ := text(x.Output); x.State != Success || got != everythingOutput {
			t.Fatalf("died at %d: %s %s %s", at, x.State, x.Info, got)
		}
		tasks, err := r.eng.Tasks(t.Context(), id)
		if err != nil || len(tasks) != 6 {
			t.Fatalf("died at %d: %d tasks, %v", at, len(tasks), err)
		}
		r.stop()
		r.stop = func() {}
		if testing.Short() {
			at += 4 // a fifth of the places
		}
	}
}

var errDead = errors.New("the process died")

// settled returns when an execution has ended or the engine stops.
func (r *rig) settled(id string) {
	sub := r.bus.Subscribe(Topic(id))
	defer sub.Close()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-sub.C():
		}
		var state string
		_ = r.db.View(context.Background(), func(tx *store.Tx) error {
			return tx.Get([]any{&state}, `SELECT state FROM workflow_executions WHERE id = ?`, id)
		})
		if Completed(state) {
			return
		}
	}
}

// TestTakeOver runs two engines on one store. One dies in the middle; the other
// brings all executions to their ends.
func TestTakeOver(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL server")
	}
	t.Run("postgres, both at once", func(t *testing.T) {
		dsn := storetest.PostgresDSN(t)
		takeOver(t, func() *store.DB {
			db, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			return db
		}, true)
	})
	t.Run("sqlite, one after the other", func(t *testing.T) {
		db := storetest.Open(t)
		takeOver(t, func() *store.DB { return db }, false)
	})
}

func takeOver(t *testing.T, open func() *store.DB, both bool) {
	first := newRigOn(t, open(), double())
	first.define(everything)
	var dead atomic.Bool
	first.stop()
	first.prepare = func(e *Engine) {
		e.failpoint = func(string) error {
			if !dead.Load() {
				return nil
			}
			<-first.ctx.Done()
			return errDead
		}
	}
	first.start()
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = first.begin("everything", nil, nil)
	}
	first.settled(ids[0])
	var second *rig
	if both { // the second works beside the first for a while
		second = newRigOn(t, open(), double())
	}
	dead.Store(true)
	first.stop()
	first.stop = func() {}
	if !both {
		second = newRigOn(t, open(), double())
	}
	for _, id := range ids {
		x := second.end(id)
		if got, _ := text(x.Output); x.State != Success || got != everythingOutput {
			t.Fatalf("%s %s %s", x.State, x.Info, got)
		}
	}
}

// TestExpiry deletes what ended long ago and what is too much, never what runs.
func TestExpiry(t *testing.T) {
	r := newRig(t)
	r.define("version: '2.0'\nquick: {tasks: {a: {}}}\nslow: {tasks: {a: {action: std.async_noop}}}\nouter: {tasks: {a: {workflow: quick}}}")
	r.stop()
	r.prepare = func(e *Engine) { e.expiry = Expiry{OlderThan: 48 * time.Hour, MaxFinished: 2} }
	r.start()
	old := r.begin("outer", nil, nil)
	r.end(old)
	runs := r.begin("slow", nil, nil)
	r.clock.forward(47 * time.Hour)
	var young []string
	for range 3 {
		young = append(young, r.begin("quick", nil, nil))
		r.end(young[len(young)-1])
		r.clock.forward(time.Second)
	}
	r.clock.forward(2 * time.Hour)
	r.eng.expire(t.Context(), jobs.Job{})
	list, err := r.eng.List(t.Context(), `1 = 1`)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, x := range list {
		left[x.ID] = true
	}
	if len(left) != 3 || !left[runs] || !left[young[1]] || !left[young[2]] {
		t.Errorf("left: %v, want %s %s %s", left, runs, young[1], young[2])
	}
	var tasks int
	err = r.db.View(t.Context(), func(tx *store.Tx) error { return tx.Get([]any{&tasks}, `SELECT COUNT(*) FROM workflow_tasks`) })
	if err != nil || tasks != 3 {
		t.Errorf("%d tasks are left, want 3 (%v)", tasks, err)
	}
}

// TestTree pauses and resumes from within, and read-only executions refuse it.
func TestTree(t *testing.T) {
	r := newRig(t)
	r.define(`
version: '2.0'
root: {tasks: {a: {workflow: mid}, b: {workflow: mid}}}
mid: {tasks: {w: {action: std.async_noop, on-success: z}, z: {}}}
stops: {tasks: {s: {workflow: pauser, on-success: after}, after: {}}}
pauser: {tasks: {p: {on-success: [pause, q]}, q: {}}}
`)
	states := func(id string) (out []string) {
		list, err := r.eng.List(t.Context(), `id = ? OR root_id = ?`, id, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			out = append(out, x.State)
		}
		return out
	}
	kids := func(id string, n int) []*Execution {
		var list []*Execution
		r.until(id, func() bool {
			var err error
			if list, err = r.eng.List(t.Context(), `parent_id = ?`, id); err != nil {
				t.Fatal(err)
			}
			return len(list) == n
		})
		return list
	}
	id := r.begin("root", nil, nil)
	two := kids(id, 2)
	if err := r.eng.SetState(t.Context(), two[0].ID, Paused, ""); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(states(id), " "); got != strings.Repeat("PAUSED ", 3)[:20] {
		t.Errorf("a paused child leaves %s", got)
	}
	r.until(id, func() bool { // the parent's tasks follow
		list, err := r.eng.Tasks(t.Context(), id)
		return err == nil && list[0].State == Paused && list[1].State == Paused
	})
	if err := r.eng.SetState(t.Context(), two[1].ID, Running, ""); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(states(id), " "); got != "RUNNING PAUSED RUNNING" {
		t.Errorf("a resumed child leaves %s", got)
	}
	if err := r.eng.SetState(t.Context(), id, Paused, ""); err != nil {
		t.Fatal(err)
	}
	if err := r.eng.SetState(t.Context(), id, Running, ""); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(states(id), " "); got != strings.Repeat("RUNNING ", 3)[:23] {
		t.Errorf("a resumed root leaves %s", got)
	}
	if err := r.eng.SetState(t.Context(), id, Cancelled, ""); err != nil {
		t.Fatal(err)
	}
	r.until(id, func() bool { return strings.Join(states(id), " ") == strings.Repeat("CANCELLED ", 3)[:29] })

	stops := r.begin("stops", nil, nil)
	r.until(stops, func() bool { return strings.Join(states(stops), " ") == strings.Repeat("PAUSED ", 2)[:13] })
	if err := r.eng.SetState(t.Context(), stops, Running, ""); err != nil {
		t.Fatal(err)
	}
	if x := r.end(stops); x.State != Success {
		t.Errorf("%s %s", x.State, x.Info)
	}

	fixed := r.begin("root", nil, yaql.MapOf(ParamReadOnly, true))
	child := kids(fixed, 2)[0].ID
	for name, err := range map[string]error{
		"pause": r.eng.SetState(t.Context(), fixed, Paused, ""), "cancel a child": r.eng.SetState(t.Context(), child, Cancelled, ""),
		"describe": r.eng.Describe(t.Context(), fixed, "x"),
	} {
		if !errors.Is(err, ErrState) {
			t.Errorf("%s a read-only execution: %v", name, err)
		}
	}
	if err := r.eng.Delete(t.Context(), fixed, true); err != nil {
		t.Error(err)
	}
}

// TestFieldLimit fails an execution whose values outgrow the limit.
func TestFieldLimit(t *testing.T) {
	r := newRig(t)
	r.define(`
version: '2.0'
grow: {input: [n], tasks: {a: {publish: {s: "<% 'x' * $.n %>"}}}}
echo: {input: [n], tasks: {a: {action: "std.echo output=<% 'x' * $.n %>"}}}
`)
	r.stop()
	r.prepare = func(e *Engine) { e.limit = 64 << 10 }
	r.start()
	for _, name := range []string{"grow", "echo"} {
		if x := r.end(r.begin(name, yaql.MapOf("n", int64(60_000)), nil)); x.State != Success {
			t.Errorf("%s below the limit: %s %s", name, x.State, x.Info)
		}
		if x := r.end(r.begin(name, yaql.MapOf("n", int64(70_000)), nil)); x.State != Error || !strings.Contains(x.Info, "limit") {
			t.Errorf("%s above the limit: %s %s", name, x.State, x.Info)
		}
	}
	_, err := r.eng.Start(t.Context(), Start{Workflow: "grow", Input: yaql.MapOf("n", strings.Repeat("x", 70_000)), Caller: Caller{ProjectID: "p"}}, nil)
	if !errors.As(err, new(*InputError)) {
		t.Errorf("too much input: %v", err)
	}
}

func TestMaskSecrets(t *testing.T) {
	for _, tt := range []struct{ reason, in, want string }{
		{"JSON", `{"adminPass": "geheim", "n": 1}`, `{"adminPass": ***, "n": 1}`},
		{"Python", `{'os_password': 'geheim'}`, `{'os_password': ***}`},
		{"a query", "GET /x?auth_token=abc&y=1 failed", "GET /x?auth_token=***&y=1 failed"},
		{"a URL", "mysql://nova:geheim@db/nova", "mysql://nova:***@db/nova"},
		{"a header", "X-Auth-Token: abcdef", "X-Auth-Token: ***"},
		{"a word alone stays", "the password is wrong", "the password is wrong"},
	} {
		if got := maskSecrets(tt.in); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.reason, got, tt.want)
		}
	}
}

// newRigOn is newRig on a given store.
func newRigOn(t testing.TB, db *store.DB, extra ...actions.Action) *rig {
	t.Helper()
	r := &rig{t: t, db: db, extra: extra, clock: &clock{}}
	if err := r.db.Migrate(t.Context(), "workflow", os.DirFS("../migrations")); err != nil {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// until waits for a condition, which is looked at whenever an execution changes.
func (r *rig) until(id string, ok func() bool) {
	r.t.Helper()
	sub := r.bus.Subscribe(Topic(id))
	defer sub.Close()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-sub.C():
		case <-deadline.C:
			r.t.Fatal("it does not come to that")
		}
	}
}
