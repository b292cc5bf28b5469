package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// house is one engine on one database; stop is the kill -9 of a test.
type house struct {
	tb   testing.TB
	db   *store.DB
	bus  *notify.Bus
	e    *engine.Engine
	stop func()
	kill func() // stops without waiting
}

func mapOf(kv ...any) *engine.Map { return yaml11.MapOf(kv...) }

// newHouse has an encrypted database, as every undercloud has.
func newHouse(tb testing.TB) *house {
	tb.Helper()
	db := storetest.Open(tb)
	keys, err := seal.OpenKeys(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	db.Protect(keys)
	return startHouse(tb, db)
}

func startHouse(tb testing.TB, db *store.DB, more ...*resources.Type) *house {
	tb.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	bus := notify.New()
	q, err := jobs.New(db, bus, log)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := engine.New(context.Background(), engine.Config{DB: db, Bus: bus, Jobs: q, Log: log, Types: append(resources.All(), more...), NodeURL: "http://node"})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = q.Run(ctx)
	}()
	stop := func() { cancel(); <-done }
	tb.Cleanup(stop)
	return &house{tb: tb, db: db, bus: bus, e: e, stop: stop, kill: cancel}
}

// source reads files in one text: the first is the template, "-- name --" begins another one, of which
// env.yaml is the environment.
func source(tb testing.TB, text string) *engine.Source {
	tb.Helper()
	parts := strings.Split("\n"+text, "\n-- ")
	s := &engine.Source{Template: strings.TrimPrefix(parts[0], "\n") + "\n", TemplateFile: "root.yaml", Files: map[string]string{}, Env: hot.NewEnvironment()}
	for _, p := range parts[1:] {
		name, body, _ := strings.Cut(p, " --\n")
		if name == "env.yaml" {
			env, _, err := hot.ParseEnvironment(name, []byte(body))
			if err != nil {
				tb.Fatal(err)
			}
			s.Env = env
			continue
		}
		s.Files[name] = body + "\n"
	}
	return s
}

func (h *house) create(name, text string) *engine.Stack {
	h.tb.Helper()
	st, err := h.e.CreateStack(context.Background(), name, source(h.tb, text), engine.Options{ProjectID: "p"})
	if err != nil {
		h.tb.Fatal(err)
	}
	return st
}

func (h *house) update(id, text string) {
	h.tb.Helper()
	if _, err := h.e.UpdateStack(context.Background(), id, source(h.tb, text), engine.Options{}); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *house) get(id string) *engine.Stack {
	h.tb.Helper()
	var st *engine.Stack
	err := h.db.View(context.Background(), func(tx *store.Tx) (err error) {
		st, err = engine.GetStack(tx, id)
		return err
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	return st
}

// wait waits until the stack's operation has ended and wants the given state.
func (h *house) wait(id, want string) *engine.Stack {
	h.tb.Helper()
	sub := h.bus.Subscribe("orchestration/stack/" + id)
	defer sub.Close()
	limit := time.After(60 * time.Second)
	for {
		st := h.get(id)
		if st.Status != engine.InProgress {
			if got := st.Action + "_" + st.Status; got != want {
				h.tb.Fatalf("stack is %s, want %s: %s\n%s", got, want, st.Reason, h.dump(id))
			}
			return st
		}
		select {
		case <-sub.C():
		case <-limit:
			h.tb.Fatalf("stack still %s_%s\n%s", st.Action, st.Status, h.dump(id))
		}
	}
}

// poll looks at a stack until it is in the wanted state; it comes back early when the process has died.
func (h *house) poll(id, want string, died chan struct{}) (*engine.Stack, bool) {
	h.tb.Helper()
	sub := h.bus.Subscribe("orchestration/stack/" + id)
	defer sub.Close()
	limit := time.After(30 * time.Second)
	for {
		st := h.get(id)
		if st.Status != engine.InProgress {
			if got := st.Action + "_" + st.Status; got != want {
				h.tb.Fatalf("stack is %s, want %s: %s\n%s", got, want, st.Reason, h.dump(id))
			}
			return st, true
		}
		select {
		case <-sub.C():
		case <-died:
			return nil, false
		case <-limit:
			h.tb.Fatalf("stack still %s_%s\n%s", st.Action, st.Status, h.dump(id))
		}
	}
}

func (h *house) rows(stackID string) map[string]*engine.Row {
	h.tb.Helper()
	out := map[string]*engine.Row{}
	err := h.db.View(context.Background(), func(tx *store.Tx) error {
		list, err := engine.FindRows(tx, "stack_id = ?", stackID)
		for _, r := range list {
			if !r.Replaced {
				out[r.Name] = r
			}
		}
		return err
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	return out
}

func (h *house) dump(id string) string {
	var b strings.Builder
	_ = h.db.View(context.Background(), func(tx *store.Tx) error {
		list, err := engine.FindStacks(tx, "root_id = ? ORDER BY depth", id)
		for _, s := range list {
			fmt.Fprintf(&b, "%s %s_%s op=%d %s\n", s.Name, s.Action, s.Status, s.Op, s.Reason)
			rows, _ := engine.FindRows(tx, "stack_id = ?", s.ID)
			for _, r := range rows {
				fmt.Fprintf(&b, "   %s %s_%s op=%d %s %s\n", r.Name, r.Action, r.Status, r.Op, r.PhysicalID, r.Reason)
			}
		}
		return err
	})
	return b.String()
}

func outputsText(st *engine.Stack) string {
	b, _ := yaml11.Marshal(st.Outputs)
	return string(b)
}

func TestCreateNested(t *testing.T) {
	h := newHouse(t)
	st := h.create("s", `heat_template_version: queens
parameters:
  count: {type: number, default: 3}
resources:
  secret: {type: OS::Heat::RandomString, properties: {length: 8}}
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: count}
      resource_def:
        type: My::Node
        properties: {name: "node-%index%", secret: {get_attr: [secret, value]}}
  chain:
    type: OS::Heat::ResourceChain
    properties:
      resources: [OS::Heat::Value, My::Other]
      concurrent: true
      resource_properties: {value: {a: 1}}
  none: {type: OS::My::Nothing, properties: {x: 1}}
outputs:
  names: {value: {get_attr: [group, name]}}
  second: {value: {get_attr: [group, resource.1.name]}}
  lists: {value: {get_attr: [group, data, list, 0]}}
  chain: {value: {get_attr: [chain, value]}}
  none: {value: {get_attr: [none, anything, deep]}}
  by_name: {value: {get_attr: [group, attributes, name]}}
-- node.yaml --
heat_template_version: queens
parameters:
  name: {type: string}
  secret: {type: string, constraints: [{length: {min: 8, max: 8}}]}
resources:
  v: {type: OS::Heat::Value, properties: {value: {list: [{get_param: name}, {get_param: "OS::stack_name"}]}}}
outputs:
  name: {value: {get_param: name}}
  data: {value: {get_attr: [v, value]}}
-- other.yaml --
heat_template_version: queens
parameters:
  value: {type: json}
outputs:
  value: {value: {get_param: [value, a]}}
-- env.yaml --
resource_registry:
  My::Node: node.yaml
  My::Other: other.yaml
  OS::My::*: OS::Heat::None
`)
	st = h.wait(st.ID, "CREATE_COMPLETE")
	want := `names:
- node-0
- node-1
- node-2
second: node-1
lists:
- node-0
- node-1
- node-2
chain:
- a: 1
- 1
none: null
by_name:
  '0': node-0
  '1': node-1
  '2': node-2
`
	if got := outputsText(st); got != want {
		t.Errorf("outputs\n%s\nwant\n%s", got, want)
	}
	if _, err := h.e.DeleteStack(context.Background(), st.ID, false); err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "DELETE_COMPLETE")
	if n := len(h.rows(st.ID)); n != 0 {
		t.Errorf("%d resources left", n)
	}
}
