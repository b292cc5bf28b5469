package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// world is what resources of type Test::Thing make: it outlives the engine, as a real service does.
type world struct {
	mu     sync.Mutex
	things map[string]int // name -> times made
	steps  int
	crash  int    // step at which stop is called
	stop   func() // kills the process that is running
}

// step counts and, at the crash point, kills the engine. It says whether the process still lives.
func (w *world) step(ctx context.Context) error {
	w.mu.Lock()
	w.steps++
	dead := w.steps == w.crash
	stop := w.stop
	w.mu.Unlock()
	if dead {
		stop()
	}
	return ctx.Err()
}

// thing is a resource with three points at which a crash may hit: before it is made, after it is made but
// before its id is stored, and after that.
func (w *world) thing() *resources.Type {
	return &resources.Type{Name: "Test::Thing",
		Props: []resources.Prop{{Name: "name", Kind: resources.String, Required: true}, {Name: "value", Kind: resources.Any, Update: true}, {Name: "fail", Kind: resources.Boolean, Update: true}},
		Attrs: []resources.Attr{{Name: "made", Kind: resources.String}},
		Create: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
			if err := w.step(ctx); err != nil {
				return resources.Step{}, err
			}
			if r.PhysicalID == "" {
				name := r.PhysicalName(0)
				w.mu.Lock()
				if w.things[name] == 0 { // found by its name, else made
					w.things[name]++
				}
				w.mu.Unlock()
				if err := w.step(ctx); err != nil {
					return resources.Step{}, err
				}
				if err := r.SetID(ctx, name); err != nil {
					return resources.Step{}, err
				}
			}
			if err := w.step(ctx); err != nil {
				return resources.Step{}, err
			}
			if r.Props.Bool("fail") {
				return resources.Step{}, resources.Failed("as asked for")
			}
			return resources.Done(), nil
		},
		Update: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
			return resources.Done(), w.step(ctx)
		},
		Delete: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
			if err := w.step(ctx); err != nil {
				return resources.Step{}, err
			}
			w.mu.Lock()
			delete(w.things, r.PhysicalName(0))
			w.mu.Unlock()
			return resources.Done(), w.step(ctx)
		},
		Attr: func(_ context.Context, r *resources.Resource, _ string) (any, error) { return "made " + r.Name, nil },
	}
}

const crashTemplate = `heat_template_version: queens
parameters: {n: {type: number, default: 2}, v: {type: string, default: one}}
resources:
  first: {type: Test::Thing, properties: {name: a, value: {get_param: v}}}
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: n}
      resource_def: {type: inner.yaml, properties: {from: {get_attr: [first, made]}, v: {get_param: v}}}
  last: {type: Test::Thing, properties: {name: z, value: {get_attr: [group, out]}}}
outputs: {all: {value: {get_attr: [group, out]}}}
-- inner.yaml --
heat_template_version: queens
parameters: {from: {type: string}, v: {type: string}}
resources:
  secret: {type: OS::Heat::RandomString}
  thing: {type: Test::Thing, properties: {name: {get_param: from}, value: {get_param: v}}}
outputs: {out: {value: {get_attr: [thing, made]}}}
`

// TestCrash kills the engine at every step of a creation, an update and a deletion, starts another on the
// same database, and wants the same end with nothing made twice.
func TestCrash(t *testing.T) {
	for crash := 1; ; crash++ {
		w := &world{things: map[string]int{}, crash: crash}
		db := storetest.Open(t)
		var h *house
		restart := func() { h = startHouse(t, db, w.thing()) }
		restart()
		died := make(chan struct{})
		var once sync.Once
		w.stop = func() {
			once.Do(func() {
				h.kill() // no waiting: a killed process finishes nothing
				close(died)
			})
		}
		run := func(id, want string) *engine.Stack {
			t.Helper()
			for {
				select {
				case <-died:
					died = make(chan struct{}) // never again
					h.stop()
					restart()
				default:
				}
				if st, ok := h.poll(id, want, died); ok {
					return st
				}
			}
		}
		st := h.create("s", crashTemplate)
		run(st.ID, "CREATE_COMPLETE")
		if n := len(w.things); n != 4 {
			t.Fatalf("crash at step %d: %d things, want 4: %v\n%s", crash, n, w.things, h.dump(st.ID))
		}
		src := source(t, crashTemplate)
		src.Params = mapOf("n", int64(3), "v", "two")
		if _, err := h.e.UpdateStack(context.Background(), st.ID, src, engine.Options{}); err != nil {
			t.Fatal(err)
		}
		end := run(st.ID, "UPDATE_COMPLETE")
		if got := outputsText(end); got != "all:\n- made thing\n- made thing\n- made thing\n" || len(w.things) != 5 {
			t.Fatalf("crash at step %d: %s %v", crash, got, w.things)
		}
		if _, err := h.e.DeleteStack(context.Background(), st.ID, false); err != nil {
			t.Fatal(err)
		}
		run(st.ID, "DELETE_COMPLETE")
		if len(w.things) != 0 {
			t.Fatalf("crash at step %d: left behind: %v", crash, w.things)
		}
		h.stop()
		if w.steps < crash {
			t.Logf("%d points of a crash", crash-1)
			return
		}
	}
}

func TestFailureAndRepair(t *testing.T) {
	w := &world{things: map[string]int{}}
	h := startHouse(t, storetest.Open(t), w.thing())
	text := func(fail bool) string {
		return fmt.Sprintf(`heat_template_version: queens
resources:
  good: {type: Test::Thing, properties: {name: good}}
  nested: {type: inner.yaml, properties: {fail: %v}, depends_on: good}
-- inner.yaml --
heat_template_version: queens
parameters: {fail: {type: boolean}}
resources:
  fine: {type: Test::Thing, properties: {name: fine}}
  bad: {type: Test::Thing, properties: {name: bad, fail: {get_param: fail}}, depends_on: fine}
`, fail)
	}
	st := h.create("s", text(true))
	st = h.wait(st.ID, "CREATE_FAILED")
	if want := "Resource CREATE failed: Error: resources.nested.resources.bad: as asked for (inner.yaml:5:3)"; st.Reason != want {
		t.Errorf("reason %q, want %q", st.Reason, want)
	}
	good := h.rows(st.ID)["good"]
	h.update(st.ID, text(false))
	h.wait(st.ID, "UPDATE_COMPLETE")
	if again := h.rows(st.ID)["good"]; again.ID != good.ID || again.Action != engine.Create {
		t.Error("the repair touched what was fine")
	}
	if len(w.things) != 3 {
		t.Errorf("things %v, want good, fine and one bad", w.things)
	}
}

func TestRollback(t *testing.T) {
	w := &world{things: map[string]int{}}
	h := startHouse(t, storetest.Open(t), w.thing())
	off := false
	text := "heat_template_version: queens\nparameters: {fail: {type: boolean, default: false}}\nresources:\n  a: {type: Test::Thing, properties: {name: a}}\n  b: {type: Test::Thing, properties: {name: b, fail: {get_param: fail}}, depends_on: a}\n"
	src := source(t, text)
	src.Params = mapOf("fail", true)
	st, err := h.e.CreateStack(context.Background(), "s", src, engine.Options{ProjectID: "p", DisableRollback: &off})
	if err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "ROLLBACK_COMPLETE")
	if len(w.things) != 0 {
		t.Errorf("a rolled back creation left %v", w.things)
	}
	st2 := h.create("t", text)
	h.wait(st2.ID, "CREATE_COMPLETE")
	more := text + "  c: {type: Test::Thing, properties: {name: c, fail: true}}\n"
	if _, err := h.e.UpdateStack(context.Background(), st2.ID, source(t, more), engine.Options{DisableRollback: &off}); err != nil {
		t.Fatal(err)
	}
	h.wait(st2.ID, "ROLLBACK_COMPLETE")
	if len(w.things) != 2 || len(h.rows(st2.ID)) != 2 {
		t.Errorf("a rolled back update left %v", w.things)
	}
}
