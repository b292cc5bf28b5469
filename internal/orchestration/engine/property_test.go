package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// node is one resource of a random template.
type node struct {
	name, key, value string
	fail             bool
	polls            int
	deps             []int // indices of earlier nodes
	nested           bool  // in a template of its own
	hook             string
}

// model is what a stack is to be: the real things that exist, by node, as key=value.
func model(nodes []node) map[string]string {
	out := map[string]string{}
	for _, n := range nodes {
		out[n.name] = n.key + "=" + n.value
	}
	return out
}

func failing(nodes []node) bool {
	return slices.ContainsFunc(nodes, func(n node) bool { return n.fail })
}

func text(nodes []node) string {
	var b strings.Builder
	b.WriteString("heat_template_version: queens\nresources:\n  z: {type: OS::Heat::RandomString}\n")
	for _, n := range nodes {
		kind := "Test::Node"
		if n.nested {
			kind = "nested.yaml"
		}
		fmt.Fprintf(&b, "  %s:\n    type: %s\n    properties: {node: %s, key: %s, value: %s, fail: %v, polls: %d}\n", n.name, kind, n.name, n.key, n.value, n.fail, n.polls)
		if len(n.deps) > 0 {
			b.WriteString("    depends_on: [")
			for i, d := range n.deps {
				if i > 0 {
					b.WriteString(", ")
				}
				b.WriteString(nodes[d].name)
			}
			b.WriteString("]\n")
		}
	}
	b.WriteString("-- env.yaml --\nresource_registry:\n  resources:\n    z: {}\n")
	for _, n := range nodes {
		switch {
		case n.hook == "":
		case n.nested:
			fmt.Fprintf(&b, "    %s: {inner: {hooks: [%s]}}\n", n.name, n.hook)
		default:
			fmt.Fprintf(&b, "    %s: {hooks: [%s]}\n", n.name, n.hook)
		}
	}
	b.WriteString(`-- nested.yaml --
heat_template_version: queens
parameters: {node: {type: string}, key: {type: string}, value: {type: string}, fail: {type: boolean}, polls: {type: number}}
resources:
  s: {type: OS::Heat::RandomString}
  inner: {type: Test::Node, depends_on: s, properties: {node: {get_param: node}, key: {get_param: key}, value: {get_param: value}, fail: {get_param: fail}, polls: {get_param: polls}}}
`)
	return b.String()
}

// cosmos is the real world: what resources made. It outlives the processes.
type cosmos struct {
	mu     sync.Mutex
	things map[string]string // physical name -> node key=value
	made   map[string]int    // physical name -> times made, ever
	twice  []string
}

func (w *cosmos) state() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for _, v := range w.things {
		name, rest, _ := strings.Cut(v, " ")
		if _, ok := out[name]; ok {
			out[name+"!"] = "twice"
		}
		out[name] = rest
	}
	return out
}

// process is one life of the engine.
type process struct {
	*house
	mu     sync.Mutex
	dead   bool
	died   chan struct{}
	budget int // commits left to live; less than 0: for ever
	after  bool
}

var errDead = errors.New("the process is dead")

func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	return nil
}

// commit is called around each commit of the store.
func (p *process) commit(committed bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	if p.budget < 0 || committed != p.after {
		return nil
	}
	if p.budget == 0 {
		p.dead = true
		close(p.died)
		return errDead
	}
	p.budget--
	return nil
}

// arm lets the process die at the n-th commit from now, before or after it.
func (p *process) arm(n int, after bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.after = n, after
}

// disarm lets the process live and returns the commits it had left.
func (p *process) disarm() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.budget
	p.budget = -1
	return left
}

func (w *cosmos) nodeType(p *process) *resources.Type {
	one := func(r *resources.Resource) string {
		return r.Props.Str("node") + " " + r.Props.Str("key") + "=" + r.Props.Str("value")
	}
	finish := func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
		n, _ := r.Data["polled"].(int64)
		if n < r.Props.Int("polls") {
			r.Data["polled"] = n + 1
			return resources.Wait(time.Microsecond), nil
		}
		if r.Props.Bool("fail") {
			return resources.Step{}, resources.Failed("as asked for")
		}
		return resources.Done(), p.alive()
	}
	return &resources.Type{Name: "Test::Node",
		Props: []resources.Prop{{Name: "node", Kind: resources.String}, {Name: "key", Kind: resources.String}, {Name: "value", Kind: resources.String, Update: true},
			{Name: "fail", Kind: resources.Boolean, Update: true}, {Name: "polls", Kind: resources.Integer, Update: true}},
		Create: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
			if err := p.alive(); err != nil {
				return resources.Step{}, err
			}
			if r.PhysicalID == "" {
				name := r.PhysicalName(0)
				w.mu.Lock()
				if _, ok := w.things[name]; !ok {
					w.things[name] = one(r)
					if w.made[name]++; w.made[name] > 1 {
						w.twice = append(w.twice, name)
					}
				}
				w.mu.Unlock()
				if err := r.SetID(ctx, name); err != nil {
					return resources.Step{}, err
				}
			}
			return finish(ctx, r)
		},
		Update: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
			if err := p.alive(); err != nil {
				return resources.Step{}, err
			}
			w.mu.Lock()
			w.things[r.PhysicalID] = one(r)
			w.mu.Unlock()
			return finish(ctx, r)
		},
		Delete: func(_ context.Context, r *resources.Resource) (resources.Step, error) {
			if err := p.alive(); err != nil {
				return resources.Step{}, err
			}
			w.mu.Lock()
			delete(w.things, r.PhysicalName(0)) // it may not know yet what it made
			w.mu.Unlock()
			return resources.Done(), nil
		},
	}
}

// trial is one history of one stack: operations, failures, cancels and crashes.
type trial struct {
	*testing.T
	rng *rand.Rand
	w   *cosmos
	p   *process
	dsn string
	log []string
	// hooks: resources wait at hooks, which end clears.
	hooks bool
	next  int // for names that were never used
	// cleared counts hooks that were waited at.
	cleared int
	// crash is how many commits of operations the first process has left; less than 0: it dies at random
	crash int
	after bool
	lives int
}

func newTrial(t *testing.T, seed uint64) *trial {
	return newTrialOn(t, seed, "sqlite:"+filepath.Join(t.TempDir(), "heat.db"))
}

func newTrialOn(t *testing.T, seed uint64, dsn string) *trial {
	tr := &trial{T: t, rng: rand.New(rand.NewPCG(seed, 7)), w: &cosmos{things: map[string]string{}, made: map[string]int{}}, dsn: dsn, crash: -1}
	tr.start()
	return tr
}

func (tr *trial) start() {
	tr.Helper()
	db, err := store.Open(context.Background(), tr.dsn)
	if err != nil {
		tr.Fatal(err)
	}
	if tr.lives > 0 { // other processes wait for the lease of the dead one to lapse: half a minute, not now
		if err := db.Tx(context.Background(), func(tx *store.Tx) error {
			_, err := tx.Exec("UPDATE jobs SET lease_until = 1 WHERE lease_until > 0")
			return err
		}); err != nil {
			tr.Fatal(err)
		}
	}
	p := &process{died: make(chan struct{}), budget: -1}
	p.house = startHouse(tr.T, db, tr.w.nodeType(p))
	db.FailCommits(p.commit)
	tr.Cleanup(func() { p.house.stop(); _ = db.Close() })
	tr.p = p
	tr.lives++
}

func (tr *trial) fatalf(format string, args ...any) {
	tr.Helper()
	tr.Fatalf("%s\nhistory:\n  %s", fmt.Sprintf(format, args...), strings.Join(tr.log, "\n  "))
}

// arm chooses when the process dies in the operation that begins now.
func (tr *trial) arm() {
	switch {
	case tr.crash >= 0 && tr.lives == 1:
		tr.p.arm(tr.crash, tr.after)
	case tr.crash < 0 && tr.rng.IntN(2) == 0:
		n, after := tr.rng.IntN(25), tr.rng.IntN(2) == 0
		tr.log = append(tr.log, fmt.Sprintf("  dies at commit %d after=%v", n, after))
		tr.p.arm(n, after)
	}
}

// end waits for the end of the operation, over deaths of the process, and returns it.
func (tr *trial) end(id string) string {
	tr.Helper()
	limit := time.After(30 * time.Second)
	for {
		sub := tr.p.bus.Subscribe("orchestration/stack/" + id)
		st := tr.p.get(id)
		if st.Status != engine.InProgress {
			sub.Close()
			left := tr.p.disarm()
			if tr.crash >= 0 {
				tr.crash = max(left, 0)
			}
			if tr.p.alive() != nil {
				tr.revive()
			}
			return st.Action + "_" + st.Status
		}
		tr.clearHooks(id)
		select {
		case <-sub.C():
		case <-tr.p.died:
			tr.revive()
		case <-limit:
			tr.fatalf("still %s_%s\n%s", st.Action, st.Status, tr.p.dump(id))
		}
		sub.Close()
	}
}

// clearHooks lets go what waits at a hook in the tree of a stack.
func (tr *trial) clearHooks(id string) {
	tr.Helper()
	if !tr.hooks {
		return
	}
	var rows []*engine.Row
	err := tr.p.db.View(context.Background(), func(tx *store.Tx) (err error) {
		rows, err = engine.FindRows(tx, "stack_id IN (SELECT id FROM heat_stacks WHERE root_id = ?)", id)
		return err
	})
	if err != nil {
		tr.fatalf("%v", err)
	}
	for _, r := range rows {
		if hook := r.Hook(); hook != "" {
			tr.cleared++
			_ = tr.p.e.ClearHook(context.Background(), r, hook) // it may be gone, or the process dead
		}
	}
}

func (tr *trial) revive() {
	tr.log = append(tr.log, "  died")
	tr.p.house.stop()
	tr.start()
}

// graph returns a random template, or a change of one.
func (tr *trial) graph(old []node) []node {
	r := tr.rng
	var out []node
	for _, n := range old {
		switch r.IntN(6) {
		case 0:
			continue // deleted
		case 1:
			n.value = fmt.Sprint("v", r.IntN(1000))
		case 2:
			n.key = fmt.Sprint("k", r.IntN(1000))
		}
		out = append(out, n)
	}
	for len(out) < 1+r.IntN(6) {
		tr.next++
		out = append(out, node{name: fmt.Sprint("n", tr.next), key: "k", value: "v", nested: r.IntN(4) == 0})
	}
	for i := range out {
		n := &out[i]
		n.fail, n.polls, n.deps, n.hook = r.IntN(12) == 0, r.IntN(3), nil, ""
		if tr.hooks && r.IntN(2) == 0 {
			n.hook = []string{"pre-create", "pre-update", "pre-delete", "post-create", "post-update", "post-delete"}[r.IntN(6)]
		}
		for d := range i {
			if r.IntN(3) == 0 {
				n.deps = append(n.deps, d)
			}
		}
	}
	return out
}

// check compares the world with what the end of an operation promises.
func (tr *trial) check(id, end string, want []node) {
	tr.Helper()
	if len(tr.w.twice) > 0 {
		tr.fatalf("made twice: %v", tr.w.twice)
	}
	if strings.HasSuffix(end, "_FAILED") {
		tr.tracked(id)
		return
	}
	got, expected := tr.w.state(), model(want)
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		tr.fatalf("after %s the world is %v, the model %v\n%s", end, got, expected, tr.p.dump(id))
	}
}

// tracked wants every thing of the world in the store: nothing is ever lost.
func (tr *trial) tracked(id string) {
	tr.Helper()
	known := map[string]bool{}
	err := tr.p.db.View(context.Background(), func(tx *store.Tx) error {
		stacks, err := engine.FindStacks(tx, "root_id = ?", id)
		if err != nil {
			return err
		}
		for _, st := range stacks {
			rows, err := engine.FindRows(tx, "stack_id = ?", st.ID)
			if err != nil {
				return err
			}
			for _, r := range rows {
				known[resources.PhysicalName(st.Name, r.Name, r.ID, 0)] = true
			}
		}
		return nil
	})
	if err != nil {
		tr.fatalf("%v", err)
	}
	tr.w.mu.Lock()
	defer tr.w.mu.Unlock()
	for name := range tr.w.things {
		if !known[name] {
			tr.fatalf("%s exists but no resource knows it\n%s", name, tr.p.dump(id))
		}
	}
}

// expected are the ends an operation may have.
func expected(action string, want, before []node, rollback bool, cancel string) []string {
	back := []string{"ROLLBACK_COMPLETE"}
	if action == engine.Update && failing(before) {
		back = []string{"ROLLBACK_FAILED"}
	}
	var ends []string
	switch {
	case failing(want) && rollback:
		ends = back
	case failing(want):
		ends = []string{action + "_FAILED"}
	default:
		ends = []string{action + "_COMPLETE"}
	}
	switch cancel {
	case "rollback":
		ends = back
	case "stop":
		ends = append(ends, action+"_FAILED")
	}
	return ends
}

// live runs one history.
func (tr *trial) live(operations int) {
	ctx := context.Background()
	nodes := tr.graph(nil)
	rollback := tr.rng.IntN(2) == 0
	disable := !rollback
	tr.log = append(tr.log, fmt.Sprintf("create rollback=%v %+v", rollback, nodes))
	st, err := tr.p.e.CreateStack(ctx, "s", source(tr, text(nodes)), engine.Options{ProjectID: "p", DisableRollback: &disable})
	if err != nil {
		tr.fatalf("%v", err)
	}
	tr.arm()
	end := tr.end(st.ID)
	tr.finish(st.ID, engine.Create, end, nodes, nil, rollback, "")
	for range operations {
		before := nodes
		nodes = tr.graph(before)
		rollback = tr.rng.IntN(2) == 0
		disable = !rollback
		tr.log = append(tr.log, fmt.Sprintf("update rollback=%v %+v", rollback, nodes))
		if _, err := tr.p.e.UpdateStack(ctx, st.ID, source(tr, text(nodes)), engine.Options{DisableRollback: &disable}); err != nil {
			tr.fatalf("%v", err)
		}
		cancel := ""
		if tr.rng.IntN(4) == 0 {
			cancel = []string{"rollback", "stop"}[tr.rng.IntN(2)]
			if err := tr.p.e.Cancel(ctx, st.ID, cancel == "rollback"); err != nil {
				cancel = "" // over already
			} else {
				tr.log = append(tr.log, "  cancel "+cancel)
			}
		}
		tr.arm()
		end := tr.end(st.ID)
		if tr.finish(st.ID, engine.Update, end, nodes, before, rollback, cancel) {
			nodes = before
		}
	}
	tr.log = append(tr.log, "delete")
	if _, err := tr.p.e.DeleteStack(ctx, st.ID, false); err != nil {
		tr.fatalf("%v", err)
	}
	tr.arm()
	if end := tr.end(st.ID); end != "DELETE_COMPLETE" {
		tr.fatalf("deletion ended in %s\n%s", end, tr.p.dump(st.ID))
	}
	tr.check(st.ID, "DELETE_COMPLETE", nil)
}

// finish checks the end of an operation; back: the stack is what it was before.
func (tr *trial) finish(id, action, end string, want, before []node, rollback bool, cancel string) (back bool) {
	tr.Helper()
	tr.log = append(tr.log, "  -> "+end)
	if ends := expected(action, want, before, rollback, cancel); !slices.Contains(ends, end) {
		tr.fatalf("%s ended in %s, expected %v\n%s", action, end, ends, tr.p.dump(id))
	}
	back = strings.HasPrefix(end, "ROLLBACK")
	if back {
		want = before
	}
	tr.check(id, end, want)
	return back && action == engine.Update
}

// TestRandomHistories holds random histories against the model. A failure names the seed.
func TestRandomHistories(t *testing.T) {
	n := uint64(150)
	if testing.Short() {
		n = 12
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newTrial(t, seed).live(4) })
	}
}

// TestRandomHistoriesWithHooks has resources wait at hooks besides.
func TestRandomHistoriesWithHooks(t *testing.T) {
	n := uint64(40)
	if testing.Short() {
		n = 6
	}
	cleared := 0
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tr := newTrial(t, 1000+seed)
			tr.hooks = true
			tr.live(3)
			cleared += tr.cleared
		})
	}
	if cleared == 0 {
		t.Error("nothing ever waited at a hook")
	}
}

// TestRandomHistoriesOnPostgres is for what differs between the databases: isolation, locks, the order of rows.
func TestRandomHistoriesOnPostgres(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	n := uint64(15)
	if testing.Short() {
		n = 4
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			schema := fmt.Sprintf("trial%d", seed)
			db, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Tx(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec("CREATE SCHEMA " + schema)
				return err
			})
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			tr := newTrialOn(t, 2000+seed, dsn+"&search_path="+schema)
			tr.hooks = seed%2 == 0
			tr.live(3)
		})
	}
}

// TestEveryCommit kills the process before and after every commit of one history, and wants the same end.
func TestEveryCommit(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, after := range []bool{false, true} {
		for crash := 0; ; crash += step {
			tr := newTrial(t, 3)
			tr.crash, tr.after = crash, after
			tr.live(2)
			if tr.lives == 1 {
				t.Logf("%d commits", crash)
				break
			}
		}
	}
}
