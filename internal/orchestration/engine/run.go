package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// errSuperseded ends a run whose operation was replaced by another.
var errSuperseded = errors.New("another operation began")

// run is one visit of the actor to its stack. Only its own goroutine uses it; steps of resources run in
// goroutines on copies (resources.Resource).
type run struct {
	e      *Engine
	ctx    context.Context //nolint:containedctx // lives as long as the call of the job's handler
	st     *Stack
	t      *hot.Template
	env    *hot.Environment
	files  map[string]string
	params map[string]any
	ev     *hot.Evaluator

	faults   faults                 // of rows
	rows     map[string]*Row        // current resource of each name
	old      []*Row                 // to delete: replaced, or no longer in the template
	shape                           // see prepare
	children map[string]*childState // nil: not read yet
	whole    map[string]*Stack      // those of them that were read with all they hold
	adopting *Map                   // resources of the adoption data; read on first use
	check    *resources.Checker     // nil without a cloud

	configs overlay
	fns     []func(tx *store.Tx) error
	events  []*Event
	dirty   map[*Row]bool
	stDirty bool
	again   time.Duration
	topics  []string
	failed  bool
	op      int64 // operation this run belongs to
}

// runStack is the handler of the stack job.
func (e *Engine) runStack(ctx context.Context, j jobs.Job) jobs.Result {
	began := time.Now()
	if rest := e.pace.left(j.Key, began); rest > 0 {
		return jobs.After(rest)
	}
	r := &run{e: e, ctx: ctx, dirty: map[*Row]bool{}}
	defer func() {
		e.pace.ran(j.Key, len(r.rows)+len(r.old), r.st == nil || r.st.Status != InProgress, began, time.Now())
	}()
	err := r.load(j.Key)
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err != nil && r.st == nil {
		return jobs.Fail(err)
	}
	if err != nil {
		// The stored definition cannot be read any more: the stack fails, and says so.
		if r.st.Status != InProgress {
			return jobs.Done()
		}
		if r.st.Action != Delete {
			r.failStack(Failure{Msg: err.Error()})
			return r.end(r.flush())
		}
	}
	if e.cfg.Cloud != nil {
		r.check = resources.NewChecker(func(ctx context.Context) (*cloud.Session, error) { return e.session(ctx, r.st.TrustID) }, e.now)
	}
	if err := r.readInbox(); err != nil {
		return r.end(err)
	}
	if !r.st.Deleted.IsZero() || r.st.Status != InProgress {
		err = r.flush()
	} else {
		err = r.advance()
	}
	if err == nil {
		err = e.trimEvents(ctx, j.Key)
	}
	return r.end(err)
}

func (r *run) end(err error) jobs.Result {
	switch {
	case errors.Is(err, errSuperseded):
		return jobs.After(0)
	case err != nil && r.ctx.Err() != nil:
		return jobs.After(0)
	case err != nil:
		return jobs.Fail(err)
	case r.st.Status != InProgress || !r.st.Deleted.IsZero():
		return jobs.Done()
	}
	wait := r.e.cfg.SafetyPoll
	if r.again > 0 && r.again < wait {
		wait = r.again
	}
	if !r.st.Deadline.IsZero() {
		if left := r.st.Deadline.Sub(r.e.now()); left < wait {
			wait = max(left, 0)
		}
	}
	return jobs.Wait(wait, r.topics...)
}

func (r *run) load(id string) error {
	return r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		st, err := GetStack(tx, id)
		if err != nil {
			return err
		}
		r.st, r.op = st, st.Op
		rows, err := findRows(tx, &r.faults, "stack_id = ? ORDER BY created_at, id", id)
		if err != nil {
			return err
		}
		r.rows = make(map[string]*Row, len(rows))
		for _, row := range rows {
			if row.Replaced {
				r.old = append(r.old, row)
			} else {
				r.rows[row.Name] = row
			}
		}
		if r.files, err = r.e.filesOf(tx, st.Def.FilesID); err != nil {
			return err
		}
		if r.env, err = r.e.env(tx, st.Def.EnvID); err != nil {
			return err
		}
		r.t, err = r.e.template(tx, st.Def.TemplateID)
		return err
	})
}

// advance takes the operation as far as it goes now.
func (r *run) advance() error {
	if !r.st.Deadline.IsZero() && !r.e.now().Before(r.st.Deadline) && r.st.Action != Delete {
		return r.abort(Failure{Msg: title(r.st.Action) + " timed out"})
	}
	if r.st.Cancel {
		return r.abort(Failure{Msg: canceled(r.st)})
	}
	switch r.st.Action {
	case Delete:
		return r.teardown()
	case Rollback:
		if r.st.Def.TemplateID == "" || r.st.Previous == nil && r.st.Updated.IsZero() {
			return r.teardown()
		}
		return r.forward()
	case Check, Suspend, Resume, Snapshot:
		return r.visit()
	}
	return r.forward()
}

// canceled is the reason of an operation that was given up.
func canceled(st *Stack) string { return "Stack " + st.Action + " cancelled" }

func title(action string) string { return action[:1] + string(lower(action[1:])) }

func lower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 32
		}
	}
	return b
}

// prepare computes what the template asks for: parameters, enabled resources, dependencies.
func (r *run) prepare() error {
	params, err := r.t.Values(r.st.Def.Params, r.env.Defaults, false, false)
	if err != nil {
		return err
	}
	r.params = params
	if r.st.Depth > 0 && len(r.rows) == 0 && r.check != nil { // the root was checked with the request
		if err := customParams(r.ctx, r.check, r.t, params); err != nil {
			return err
		}
	}
	r.ev = hot.NewEvaluator(r.t, r)
	// A template of a group has neither parameters nor conditions: what its members need of each other never changes, and
	// it is asked for in each run of a group that may have hundreds.
	if r.t.Generated {
		if sh := r.e.shapeOf(r.st.Def.TemplateID); sh != nil {
			r.shape = *sh
			return nil
		}
	}
	if err := r.computeShape(); err != nil {
		return err
	}
	if r.t.Generated {
		r.e.keepShape(r.st.Def.TemplateID, r.shape)
	}
	return nil
}

// shape is what a template asks for under the parameters of its stack. It is not changed once it is computed.
type shape struct {
	names   []string // enabled resources of the template, in order
	enabled map[string]bool
	deps    map[string][]string
	uses    map[string][]resources.AttrUse
}

func (e *Engine) shapeOf(templateID string) *shape {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.shapes[templateID]
}

func (e *Engine) keepShape(templateID string, s shape) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.shapes) > cacheSize {
		clear(e.shapes)
	}
	e.shapes[templateID] = &s
}

func (r *run) computeShape() error {
	r.shape = shape{enabled: make(map[string]bool, len(r.t.Resources)), deps: make(map[string][]string, len(r.t.Resources)), uses: map[string][]resources.AttrUse{}}
	for _, def := range r.t.Resources {
		on, err := r.ev.Enabled(def)
		if err != nil {
			return err
		}
		if on {
			r.enabled[def.Name] = true
			r.names = append(r.names, def.Name)
		}
	}
	addUses := func(u *hot.Uses) {
		for _, a := range u.Attrs {
			r.uses[a.Resource] = append(r.uses[a.Resource], resources.AttrUse{Attr: a.Attr, Path: a.Path})
		}
	}
	for _, name := range r.names {
		u, err := r.ev.Dependencies(r.t.Resource(name))
		if err != nil {
			return err
		}
		for d := range u.Resources {
			if r.enabled[d] && d != name {
				r.deps[name] = append(r.deps[name], d)
			}
		}
		slices.Sort(r.deps[name])
		addUses(u)
	}
	r.implyEdges()
	if cycle := hot.FindCycle(r.names, r.deps); cycle != nil {
		return &hot.Error{Pos: r.t.Resource(cycle[0]).Pos, Path: "resources." + cycle[0], Msg: fmt.Sprintf("circular dependency: %v", cycle)}
	}
	u, err := r.ev.OutputUses()
	if err != nil {
		return err
	}
	addUses(u)
	return nil
}

// implyEdges adds what types need of each other without saying so, unless the
// template wants it the other way round.
func (r *run) implyEdges() {
	for _, name := range r.names {
		for _, d := range r.ev.Implied(r.t.Resource(name)) {
			if r.enabled[d] && d != name && !slices.Contains(r.deps[name], d) && !leads(r.deps, d, name) {
				r.deps[name] = append(r.deps[name], d)
			}
		}
		slices.Sort(r.deps[name])
	}
}

// leads says whether a depends on b, directly or not.
func leads(deps map[string][]string, a, b string) bool {
	seen := map[string]bool{}
	pending := []string{a}
	for len(pending) > 0 {
		n := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if n == b {
			return true
		}
		if !seen[n] {
			seen[n] = true
			pending = append(pending, deps[n]...)
		}
	}
	return false
}

// later puts fn into the next transaction.
func (r *run) later(fn func(tx *store.Tx) error) { r.fns = append(r.fns, fn) }

func (r *run) touch(row *Row) { r.dirty[row] = true }

func (r *run) isPure(typeName string) bool {
	t := r.e.types[typeName]
	return t != nil && t.Pure
}

// path is the place of a resource in the tree of stacks, such as resources.Controller.resources[0].
func (r *run) path(name string) string {
	p := pathPart(r.t != nil && r.t.Generated, name)
	if r.st.Context.Path != "" {
		return r.st.Context.Path + "." + p
	}
	return p
}

func (r *run) pathPart(name string) string { return pathPart(r.t != nil && r.t.Generated, name) }

func pathPart(generated bool, name string) string {
	if generated {
		return "resources[" + name + "]"
	}
	return "resources." + name
}

// eventOf returns an event with the present state of a resource.
func (r *run) eventOf(row *Row) *Event {
	return &Event{ID: newID(), StackID: r.st.ID, RootID: r.st.RootID, ResourceName: row.Name, ResourceType: row.Type, StackName: r.st.Name, ProjectID: r.st.ProjectID,
		PhysicalID: row.PhysicalID, Action: row.Action, Status: row.Status, Reason: row.Reason, Path: r.path(row.Name), Pos: r.pos(row), Created: r.e.now()}
}

// pos is where a resource is defined. Its row knows it too, but would have to be decoded.
func (r *run) pos(row *Row) string {
	if r.t != nil && !row.Replaced {
		if def := r.t.Resource(row.Name); def != nil {
			return def.Pos
		}
	}
	return row.Pos()
}

// event records the present state of a resource.
func (r *run) event(row *Row) { r.events = append(r.events, r.eventOf(row)) }

// state changes a resource's state and records the event.
func (r *run) state(row *Row, action, status, reason string) {
	row.Action, row.Status, row.Reason, row.Updated = action, status, reason, r.e.now()
	r.touch(row)
	r.event(row)
}

// stackEvent records the present state of the stack.
func (e *Engine) stackEvent(st *Stack) *Event {
	return &Event{ID: newID(), StackID: st.ID, RootID: st.RootID, ResourceName: st.Name, ResourceType: "OS::Heat::Stack", PhysicalID: st.ID, StackName: st.Name, ProjectID: st.ProjectID,
		Action: st.Action, Status: st.Status, Reason: st.Reason, Path: st.Context.Path, Created: e.now()}
}

// flush makes everything that changed durable, in one transaction.
func (r *run) flush() error {
	if r.faults.err != nil {
		return fmt.Errorf("resources of stack %s: %w", r.st.Name, r.faults.err)
	}
	if len(r.dirty) == 0 && len(r.fns) == 0 && len(r.events) == 0 && !r.stDirty {
		return nil
	}
	rows := make([]*Row, 0, len(r.dirty))
	for row := range r.dirty {
		rows = append(rows, row)
	}
	superseded := false
	err := r.e.cfg.DB.Tx(r.ctx, func(tx *store.Tx) error {
		var op, cancel int64
		if err := tx.Get([]any{&op, &cancel}, "SELECT op, cancel FROM heat_stacks WHERE id = ?"+tx.ForUpdate(), r.st.ID); err != nil {
			return err
		}
		superseded = op != r.op
		if cancel != 0 && r.st.Status == InProgress && r.st.Op == r.op { // a rollback just begun goes on
			r.st.Cancel = true
		}
		if err := writeRows(tx, rows); err != nil {
			return err
		}
		for _, fn := range r.fns {
			if err := fn(tx); err != nil {
				return err
			}
		}
		if err := r.e.record(tx, r.env, r.events...); err != nil {
			return err
		}
		if r.stDirty && !superseded {
			if err := r.writeStack(tx); err != nil {
				return err
			}
		}
		r.e.publish(tx, r.st)
		return nil
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		row.isNew = false
	}
	clear(r.dirty)
	r.fns, r.events, r.stDirty = nil, nil, false
	if superseded {
		return errSuperseded
	}
	return nil
}

func (r *run) writeStack(tx *store.Tx) error {
	if r.st.Status != InProgress {
		r.st.Cancel = false
		if r.st.ParentID != "" {
			// Before the stacks that have not begun: in a large deployment hundreds of them are in its way, and what needs
			// this one cannot begin.
			if err := r.e.cfg.Jobs.PokeFirst(tx, JobStack, r.st.ParentID); err != nil {
				return err
			}
		}
	}
	return UpdateStack(tx, r.st)
}
