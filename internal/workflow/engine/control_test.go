package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

// gate is an action that blocks until it is opened, by key.
type gate struct {
	mu    sync.Mutex
	open  map[string]chan struct{}
	runs  map[string]int
	begun chan string
}

func newGate() *gate {
	return &gate{open: map[string]chan struct{}{}, runs: map[string]int{}, begun: make(chan string, 1000)}
}

func (g *gate) door(key string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[key] == nil {
		g.open[key] = make(chan struct{})
	}
	return g.open[key]
}

func (g *gate) action(once bool) actions.Action {
	name := "test.gate"
	if once {
		name = "test.once"
	}
	return actions.Action{Name: name, Once: once, Input: []actions.Param{actions.Req("key"), actions.Opt("fail", false)},
		Run: func(ctx context.Context, _ *actions.Context, in map[string]any) (any, error) {
			key := actions.String(in, "key")
			g.mu.Lock()
			g.runs[key]++
			n := g.runs[key]
			g.mu.Unlock()
			g.begun <- key
			select {
			case <-g.door(key):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if actions.Bool(in, "fail") && n == 1 {
				return nil, errors.New("first try fails")
			}
			return map[string]any{"key": key, "n": n}, nil
		}}
}

func (g *gate) count(key string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs[key]
}

func state(want string) func(x *Execution) bool {
	return func(x *Execution) bool { return x.State == want }
}

func (r *rig) taskNamed(id, name string) *Task {
	r.t.Helper()
	for _, t := range r.tasks(id) {
		if t.Name == name {
			return t
		}
	}
	r.t.Fatalf("no task %s", name)
	return nil
}

const controlled = `
version: '2.0'
two:
  tasks:
    a: {action: test.gate key='a', on-success: b}
    b: {action: test.gate key='b', publish: {done: <% task(b).result.key %>}}
parent:
  tasks:
    p: {workflow: two}
failing:
  tasks:
    p: {workflow: failing_child, publish: {out: <% task(p).result.n %>}}
failing_child:
  tasks:
    f: {action: "test.gate key='f' fail=true", publish: {n: <% task(f).result.n %>}}
items:
  tasks:
    i: {with-items: "k in [x, y]", action: test.gate, input: {key: <% $.k %>, fail: <% $.k = y %>}, publish: {n: <% task(i).result.n %>}}
times:
  tasks:
    t: {action: test.gate key='t', timeout: 30}
waits:
  tasks:
    w: {wait-before: 100, wait-after: 200, on-success: v}
    v: {publish: {v: 1}}
paused:
  tasks:
    a: {publish: {a: 1}, on-success: [pause, b]}
    b: {pause-before: true, publish: {b: 2}}
skips:
  tasks:
    s: {action: std.fail, on-skip: z}
    z: {publish: {z: 1}}
one_by_one:
  tasks:
    i: {with-items: "k in [c1, c2, c3]", concurrency: 2, action: test.gate key=<% $.k %>}
async:
  tasks:
    a: {action: std.async_noop, publish: {r: <% task(a).result %>}}
`

func TestPauseResumeCancel(t *testing.T) {
	g := newGate()
	r := newRig(t, g.action(false))
	r.define(controlled)
	ctx := t.Context()
	id := r.begin("parent", nil, nil)
	<-g.begun
	if err := r.eng.SetState(ctx, id, Paused, ""); err != nil {
		t.Fatal(err)
	}
	child := r.kids(id)[0]
	if got := r.get(child).State; got != Paused {
		t.Errorf("the sub-execution is %s", got)
	}
	close(g.door("a"))
	r.awaitTask(child, "a", func(t *Task) bool { return t.State == Success })
	if n := len(r.tasks(child)); n != 1 {
		t.Errorf("%d tasks while paused", n)
	}
	if err := r.eng.SetState(ctx, id, Running, ""); err != nil {
		t.Fatal(err)
	}
	<-g.begun
	if err := r.eng.Delete(ctx, id, false); !errors.Is(err, ErrActive) {
		t.Errorf("a running execution is deleted: %v", err)
	}
	if err := r.eng.SetState(ctx, id, Cancelled, "enough"); err != nil {
		t.Fatal(err)
	}
	if x := r.end(id); x.State != Cancelled || x.Info != "enough" {
		t.Errorf("cancelled: %s %q", x.State, x.Info)
	}
	r.await(child, state(Cancelled))
	if err := r.eng.Delete(ctx, id, false); err != nil {
		t.Error(err)
	}
}

func (r *rig) kids(id string) []string {
	r.t.Helper()
	list, err := r.eng.List(r.t.Context(), `parent_id = ?`, id)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, x := range list {
		out = append(out, x.ID)
	}
	return out
}

func (r *rig) awaitTask(id, name string, want func(t *Task) bool) {
	r.t.Helper()
	r.await(id, func(*Execution) bool {
		for _, t := range r.tasks(id) {
			if t.Name == name && want(t) {
				return true
			}
		}
		return false
	})
}

func TestRerunContinuesUpwards(t *testing.T) {
	g := newGate()
	r := newRig(t, g.action(false))
	r.define(controlled)
	close(g.door("f"))
	id := r.begin("failing", nil, nil)
	if x := r.end(id); x.State != Error || !strings.Contains(x.Info, "first try fails") {
		t.Fatalf("%s %s", x.State, x.Info)
	}
	child := r.kids(id)[0]
	if err := r.eng.Rerun(t.Context(), r.taskNamed(child, "f").ID, true, yaql.MapOf("e", 1)); err != nil {
		t.Fatal(err)
	}
	x := r.await(id, state(Success))
	if got := yaql.Str(x.Output); got != "{'out': 2}" {
		t.Errorf("output %s", got)
	}
	if got := yaql.Str(r.get(child).Params.Value("env")); got != "{'e': 1}" {
		t.Errorf("env %s", got)
	}
}

func TestRerunKeepsGoodItems(t *testing.T) {
	for _, reset := range []bool{false, true} {
		g := newGate()
		r := newRig(t, g.action(false))
		r.define(controlled)
		close(g.door("x"))
		close(g.door("y"))
		id := r.begin("items", nil, nil)
		if x := r.end(id); x.State != Error {
			t.Fatalf("%s", x.State)
		}
		if err := r.eng.Rerun(t.Context(), r.taskNamed(id, "i").ID, reset, nil); err != nil {
			t.Fatal(err)
		}
		r.await(id, state(Success))
		want := map[bool]int{false: 1, true: 2}[reset]
		if n := g.count("x"); n != want || g.count("y") != 2 {
			t.Errorf("reset=%v: the good item ran %d times, the bad %d", reset, n, g.count("y"))
		}
	}
}

func TestTimes(t *testing.T) {
	g := newGate()
	r := newRig(t, g.action(false))
	r.define(controlled)
	slow := r.begin("times", nil, nil)
	<-g.begun
	waits := r.begin("waits", nil, nil)
	r.awaitTask(waits, "w", func(t *Task) bool { return t.State == Delayed && t.Doc.Phase == "before" })
	r.forward(101*time.Second, slow, waits)
	if x := r.end(slow); x.State != Error || !strings.Contains(x.Info, "Task timed out [timeout(s)=30]") {
		t.Errorf("timeout: %s %s", x.State, x.Info)
	}
	r.awaitTask(waits, "w", func(t *Task) bool { return t.State == Delayed && t.Doc.Phase == "after" })
	r.forward(201*time.Second, waits)
	if x := r.end(waits); x.State != Success || yaql.Str(x.Output) != "{'v': 1}" {
		t.Errorf("waits: %s %s", x.State, yaql.Str(x.Output))
	}
}

// forward moves the clock and wakes the executions, as their timers would.
func (r *rig) forward(d time.Duration, ids ...string) {
	r.t.Helper()
	r.clock.mu.Lock()
	r.clock.add += d
	r.clock.mu.Unlock()
	err := r.db.Tx(r.t.Context(), func(tx *store.Tx) error {
		for _, id := range ids {
			if err := r.eng.jobs.Poke(tx, KindExecution, id, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestPauseCommandsAndSkip(t *testing.T) {
	r := newRig(t)
	r.define(controlled)
	id := r.begin("paused", nil, nil)
	for range 2 { // the command, then pause-before
		r.await(id, state(Paused))
		if err := r.eng.SetState(t.Context(), id, Running, ""); err != nil {
			t.Fatal(err)
		}
	}
	if x := r.end(id); x.State != Success || yaql.Str(x.Output) != "{'a': 1, 'b': 2}" {
		t.Errorf("%s %s", x.State, yaql.Str(x.Output))
	}
	id = r.begin("skips", nil, nil)
	r.await(id, state(Error))
	if err := r.eng.Skip(t.Context(), r.taskNamed(id, "s").ID); err != nil {
		t.Fatal(err)
	}
	if x := r.await(id, state(Success)); yaql.Str(x.Output) != "{'z': 1}" {
		t.Errorf("skipped: %s", yaql.Str(x.Output))
	}
}

func TestConcurrencyLimitsItems(t *testing.T) {
	g := newGate()
	r := newRig(t, g.action(false))
	r.define(controlled)
	id := r.begin("one_by_one", nil, nil)
	first, second := <-g.begun, <-g.begun
	if n := len(r.actionsOf(id)); n != 2 {
		t.Errorf("%d items run at once", n)
	}
	close(g.door(first))
	third := <-g.begun
	close(g.door(second))
	close(g.door(third))
	if x := r.end(id); x.State != Success {
		t.Errorf("%s %s", x.State, x.Info)
	}
}

func (r *rig) actionsOf(id string) []*Action {
	r.t.Helper()
	list, err := r.eng.ActionsOf(r.t.Context(), `execution_id = ?`, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestAsyncAction(t *testing.T) {
	r := newRig(t)
	r.define(controlled)
	id := r.begin("async", nil, nil)
	r.awaitTask(id, "a", func(t *Task) bool { return t.State == Running })
	a := r.actionsOf(id)[0]
	if err := r.eng.Complete(t.Context(), a.ID, Success, yaql.MapOf("k", 1), nil); err != nil {
		t.Fatal(err)
	}
	if x := r.end(id); yaql.Str(x.Output) != "{'r': {'k': 1}}" {
		t.Errorf("%s", yaql.Str(x.Output))
	}
}

// TestRestart stops the process while an action runs: a re-entrant one is run
// again, one that is not fails its task.
func TestRestart(t *testing.T) {
	g := newGate()
	r := newRig(t, g.action(false), g.action(true))
	r.define(controlled + `
once:
  tasks: {o: {action: test.once key='o'}}
safe:
  tasks: {o: {action: test.once key='s', safe-rerun: true}}
`)
	ids := []string{r.begin("parent", nil, nil), r.begin("once", nil, nil), r.begin("safe", nil, nil)}
	for range ids {
		<-g.begun
	}
	r.stop()
	for _, k := range []string{"a", "b", "o", "s"} {
		close(g.door(k))
	}
	r.start()
	if x := r.end(ids[0]); x.State != Success || g.count("a") != 2 {
		t.Errorf("re-entrant: %s %s, ran %d times", x.State, x.Info, g.count("a"))
	}
	if x := r.end(ids[1]); x.State != Error || g.count("o") != 1 {
		t.Errorf("once: %s, ran %d times", x.State, g.count("o"))
	}
	if x := r.end(ids[2]); x.State != Success || g.count("s") != 2 {
		t.Errorf("safe-rerun: %s %s, ran %d times", x.State, x.Info, g.count("s"))
	}
}

// TestCrashBetweenSteps stops and restarts the engine again and again, at
// whatever step it has reached; every execution must end as if nothing was.
func TestCrashBetweenSteps(t *testing.T) {
	step := actions.Action{Name: "test.step", Input: []actions.Param{actions.Req("n")},
		Run: func(ctx context.Context, _ *actions.Context, in map[string]any) (any, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return in["n"], nil
		}}
	r := newRig(t, step)
	r.define(`
version: '2.0'
long:
  output: {i: <% $.i %>, items: <% $.items %>, sub: <% $.sub %>}
  tasks:
    init: {publish: {i: 0}, on-success: [inc, fan, sub]}
    inc: {action: test.step n=<% $.i + 1 %>, publish: {i: <% task(inc).result %>}, retry: count=3 delay=0, on-success: [{inc: "<% $.i < 20 %>"}, {end: "<% $.i >= 20 %>"}]}
    fan: {with-items: "k in <% range(12) %>", concurrency: 3, action: test.step n=<% $.k %>, publish: {items: <% task(fan).result.sum() %>}, on-success: end}
    sub: {workflow: short, input: {n: 5}, publish: {sub: <% task(sub).result.n %>}, on-success: end}
    end: {join: 3}
short:
  input: [n]
  tasks:
    a: {action: test.step n=<% $.n %>, publish: {n: <% task(a).result * 2 %>}, on-success: b}
    b: {action: test.step n=1}
`)
	var ids []string
	for range 5 {
		ids = append(ids, r.begin("long", nil, nil))
	}
	restarts := 0
	done := func() bool {
		for _, id := range ids {
			if !Completed(r.get(id).State) {
				return false
			}
		}
		return true
	}
	for ; restarts < 60 && !done(); restarts++ {
		// Stop as soon as something has changed: each time at another step.
		sub := r.bus.Subscribe(Topic(ids[restarts%len(ids)]))
		select {
		case <-sub.C():
		case <-time.After(100 * time.Millisecond):
		}
		sub.Close()
		r.stop()
		r.start()
	}
	for _, id := range ids {
		x := r.end(id)
		if got := yaql.Str(x.Output); x.State != Success || got != "{'i': 20, 'items': 66, 'sub': 10}" {
			t.Errorf("%s %s %s", x.State, got, x.Info)
		}
		seen := map[string]int{}
		for _, tk := range r.tasks(id) {
			seen[tk.Name]++
		}
		if fmt.Sprint(seen) != "map[end:1 fan:1 inc:20 init:1 sub:1]" {
			t.Errorf("tasks %v", seen)
		}
	}
	t.Logf("%d restarts", restarts)
}
