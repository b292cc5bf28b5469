package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// run is one execution held in memory while its actor computes.
type run struct {
	e    *Engine
	ctx  context.Context
	now  time.Time
	x    *Execution
	wf   *dsl.Workflow
	book string

	tasks    []*Task // by rank
	open     []*Task // not complete, or complete and not processed
	actions  map[string][]*Action
	children map[string][]*Child

	started   []*Execution // sub-executions to insert
	jobs      []*Action    // to run
	unaccept  []string     // children whose result no longer counts
	cancel    []string     // children to cancel
	stopped   []string     // actions nobody waits for any more
	pokes     []string     // executions to wake
	wake      time.Time
	budget    int // tasks that may still be created before a commit
	changed   bool
	paused    bool      // a "pause" command has paused it: so are all above and below
	ended     bool      // the execution has ended in this step
	execution *yaql.Map // execution(), made once
}

// maxTasks bounds an execution, so that a cycle without end does end.
const maxTasks = 200_000

// batch is how many tasks are created before a commit.
const batch = 256

// load reads an execution and what its actor needs.
func (e *Engine) load(ctx context.Context, id string) (*run, error) {
	r := &run{e: e, ctx: ctx, now: e.now(), actions: map[string][]*Action{}, children: map[string][]*Child{}}
	err := e.db.View(ctx, func(tx *store.Tx) (err error) {
		if r.x, err = GetExecution(tx, id); err != nil {
			return err
		}
		if r.tasks, err = listTasks(tx, false, `execution_id = ?`, id); err != nil {
			return err
		}
		return r.loadOpen(tx)
	})
	if err != nil {
		return nil, err
	}
	r.wf, r.book, err = e.spec(ctx, r.x.SpecID)
	if err != nil {
		return nil, err
	}
	for _, t := range r.tasks {
		t.spec = r.wf.Task(t.Name)
	}
	return r, nil
}

func (r *run) loadOpen(tx *store.Tx) error {
	r.open = nil
	for _, t := range r.tasks {
		if Completed(t.State) && t.Processed {
			continue
		}
		if err := r.fill(tx, t); err != nil {
			return err
		}
		if !Completed(t.State) && t.State != Waiting { // an IDLE one may have run before
			var err error
			if r.actions[t.ID], err = listActions(tx, `task_id = ?`, t.ID); err != nil {
				return err
			}
			if r.children[t.ID], err = listChildren(tx, t.ID); err != nil {
				return err
			}
		}
		r.open = append(r.open, t)
	}
	return nil
}

// fill loads what a light task lacks.
func (r *run) fill(tx *store.Tx, t *Task) error {
	if t.full {
		return nil
	}
	list, err := listTasks(tx, true, `id = ?`, t.ID)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return store.ErrNotFound
	}
	t.In, t.Published, t.Result, t.full = list[0].In, list[0].Published, list[0].Result, true
	return nil
}

func (r *run) filled(tasks ...*Task) error {
	need := false
	for _, t := range tasks {
		need = need || !t.full
	}
	if !need {
		return nil
	}
	return r.e.db.View(r.ctx, func(tx *store.Tx) error {
		for _, t := range tasks {
			if err := r.fill(tx, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// step computes until nothing moves or the batch is full. It reports whether
// more could be computed at once.
func (r *run) step() (more bool, err error) {
	r.budget = batch
	if r.x.State == Running && !r.x.Doc.Started {
		if err := r.begin(); err != nil {
			return false, err
		}
	}
	for {
		moved, err := r.pass()
		if err != nil {
			return false, err
		}
		if !moved {
			break
		}
		if r.budget <= 0 {
			return true, nil
		}
	}
	if r.x.State == Running && len(r.open) == 0 && len(r.x.Doc.Backlog) == 0 {
		if err := r.complete(); err != nil {
			return false, err
		}
	}
	if Completed(r.x.State) && !r.x.Finalized {
		r.finalize()
	}
	return false, nil
}

func (r *run) pass() (bool, error) {
	moved := false
	if r.x.State == Running && len(r.x.Doc.Backlog) > 0 {
		backlog := r.x.Doc.Backlog
		r.x.Doc.Backlog = nil
		r.touch()
		if err := r.resumeBacklog(backlog); err != nil {
			return false, err
		}
		moved = true
	}
	for i := 0; i < len(r.open); i++ { // grows on the way
		ok, err := r.advance(r.open[i])
		if err != nil {
			return false, err
		}
		moved = moved || ok
		if r.budget <= 0 {
			break
		}
	}
	keep := r.open[:0]
	for _, t := range r.open {
		if !(Completed(t.State) && t.Processed) {
			keep = append(keep, t)
		}
	}
	r.open = keep
	return moved, nil
}

// resumeBacklog runs the commands that stood behind a pause.
func (r *run) resumeBacklog(cmds []Command) error {
	for _, c := range cmds {
		by := r.taskByID(c.By)
		ctx := yaql.NewMap(0)
		if by != nil {
			if err := r.filled(by); err != nil {
				return err
			}
			ctx = outbound(by)
		}
		if dsl.IsCommand(c.Task) {
			if r.command(c.Task, "") {
				return nil
			}
			continue
		}
		r.create(c.Task, by, c.Event, ctx)
	}
	return nil
}

// taskByID looks from the newest back: it is asked for those that just ran.
func (r *run) taskByID(id string) *Task {
	for _, t := range slices.Backward(r.tasks) {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// latest returns the newest task of a name, or nil.
func (r *run) latest(name string) *Task {
	for i := len(r.tasks) - 1; i >= 0; i-- {
		if r.tasks[i].Name == name {
			return r.tasks[i]
		}
	}
	return nil
}

func (r *run) touch() { r.changed = true; r.x.Updated = r.now }

func (r *run) mark(t *Task) {
	t.dirty = true
	t.Updated = r.now
	r.changed = true
}

func (r *run) wakeAt(at time.Time) {
	if r.wake.IsZero() || at.Before(r.wake) {
		r.wake = at
	}
}

// begin evaluates vars and creates the first tasks.
func (r *run) begin() error {
	r.x.Doc.Started = true
	r.touch()
	if r.wf.Vars != nil {
		v, err := r.eval(nil, r.wf.Vars, nil)
		if err != nil {
			return r.abort(fmt.Sprintf("cannot evaluate vars: %v", err))
		}
		if m, ok := v.(*yaql.Map); ok {
			for k, val := range m.All() {
				r.x.Context.Set(k, val)
			}
		}
	}
	if r.wf.Type == dsl.Reverse {
		return r.beginReverse()
	}
	for _, t := range r.wf.Starts() {
		r.create(t.Name, nil, "", yaql.NewMap(0))
	}
	return nil
}

// abort ends the execution in ERROR for a reason outside of its tasks.
func (r *run) abort(info string) error {
	r.setState(Error, info)
	return nil
}

func (r *run) setState(state, info string) {
	if Completed(r.x.State) {
		return
	}
	r.x.State, r.x.Info = state, info
	r.touch()
	if Completed(state) {
		r.x.Finished = r.now
		r.x.Output = r.output(state)
	}
}

// create makes a task, or adds a route to a join that waits.
func (r *run) create(name string, by *Task, event string, in *yaql.Map) {
	spec := r.wf.Task(name)
	if spec == nil {
		r.setState(Error, fmt.Sprintf("Workflow %s has no task %q", r.x.Workflow, name))
		return
	}
	var route [][2]string
	if by != nil {
		route = [][2]string{{by.ID, event}}
	}
	state := Idle
	if spec.Join != nil {
		if t := r.latest(name); t != nil && r.wf.Type == dsl.Direct && (t.State == Waiting || !r.reentrant(t, by)) {
			t.Doc.By = append(t.Doc.By, route...)
			r.mark(t)
			return
		}
		state = Waiting
	}
	if len(r.tasks) >= maxTasks {
		r.setState(Error, fmt.Sprintf("Workflow %s has run more than %d tasks", r.x.Workflow, maxTasks))
		return
	}
	r.x.Doc.Ranks++
	t := &Task{ID: uuid.NewString(), ExecutionID: r.x.ID, Name: name, Type: taskType(spec), State: state, Rank: r.x.Doc.Ranks,
		Doc: TaskDoc{By: route, Tags: spec.Tags}, In: in, Published: yaql.NewMap(0), Created: r.now, Updated: r.now, full: true, fresh: true, dirty: true, spec: spec}
	r.tasks = append(r.tasks, t)
	r.open = append(r.open, t)
	r.budget--
	r.touch()
}

// reentrant says whether an ended join may start anew: when the route comes
// from a task that the join itself led to, a cycle.
func (r *run) reentrant(join, by *Task) bool {
	return Completed(join.State) && join.Processed && by != nil && by.Rank > join.Rank
}

func taskType(t *dsl.Task) string {
	if t.Workflow != "" {
		return "WORKFLOW"
	}
	return "ACTION"
}

// advance moves one task as far as it can go now.
func (r *run) advance(t *Task) (bool, error) {
	over := Completed(r.x.State)
	switch t.State {
	case Idle:
		if over {
			return r.drop(t), nil
		}
		if r.x.State != Running {
			return false, nil
		}
		return true, r.start(t)
	case Waiting:
		if over {
			return r.drop(t), nil
		}
		if r.x.State != Running {
			return false, nil
		}
		return r.tryJoin(t)
	case Delayed:
		return r.delayed(t, over)
	case Running, Paused:
		return r.check(t)
	}
	if t.Processed || r.x.State == Paused {
		return false, nil
	}
	if over {
		t.Processed = true
		r.mark(t)
		return true, nil
	}
	return true, r.transitions(t)
}

// drop ends a task that the end of the execution has overtaken.
func (r *run) drop(t *Task) bool {
	t.State, t.Processed, t.Ended = Cancelled, true, r.now
	t.Doc.Info = "The execution ended before the task ran"
	r.mark(t)
	return true
}

func (r *run) delayed(t *Task, over bool) (bool, error) {
	if over && t.Doc.Phase != "after" {
		if t.Doc.Phase == "before" {
			return r.drop(t), nil
		}
		r.settle(t, Error, t.Result, t.Doc.PendingInfo)
		return true, nil
	}
	if !t.Doc.Deadline.IsZero() && !r.now.Before(t.Doc.Deadline) {
		return true, r.timeout(t)
	}
	if r.now.Before(t.Doc.WakeAt) {
		r.wakeAt(t.Doc.WakeAt)
		if !t.Doc.Deadline.IsZero() {
			r.wakeAt(t.Doc.Deadline)
		}
		return false, nil
	}
	switch t.Doc.Phase {
	case "after":
		t.Doc.After = true
		return true, r.finish(t, t.Doc.Pending, t.Result, t.Doc.PendingInfo)
	case "retry":
		if r.x.State != Running {
			return false, nil
		}
		t.State = Running
		t.Doc.Phase, t.Doc.PendingInfo = "", ""
		r.mark(t)
		return true, r.launch(t)
	}
	if r.x.State != Running {
		return false, nil
	}
	return true, r.start(t)
}

func (r *run) timeout(t *Task) error {
	secs := int64(t.Doc.Deadline.Sub(t.Started).Round(time.Second) / time.Second)
	r.forget(t)
	t.Doc.After = true // neither retry nor wait-after help
	t.Doc.RetryNo = 1 << 40
	return r.finish(t, Error, "Task timed out", fmt.Sprintf("Task timed out [timeout(s)=%d].", secs))
}

// forget gives up what runs for a task.
func (r *run) forget(t *Task) {
	for _, a := range r.actions[t.ID] {
		if !Completed(a.State) {
			r.stopped = append(r.stopped, a.ID)
			a.State, a.Info, a.Ended, a.Updated, a.dirty = Cancelled, "The task no longer waits for it", r.now, r.now, true
			r.changed = true
		}
	}
	for _, c := range r.children[t.ID] {
		if !Completed(c.State) {
			r.cancel = append(r.cancel, c.ID)
			c.State = Cancelled
			r.changed = true
		}
	}
}

// finalize does what follows from the end of an execution.
func (r *run) finalize() {
	r.x.Finalized, r.ended = true, true
	r.touch()
	if r.x.State == Cancelled {
		for _, t := range r.open {
			r.forget(t)
			t.State, t.Processed, t.Ended = Cancelled, true, r.now
			if t.Doc.Info == "" {
				t.Doc.Info = "Cancelled"
			}
			r.mark(t)
		}
		r.open = nil
	}
	if r.x.Parent != "" {
		r.pokes = append(r.pokes, r.x.Parent)
	}
}

// complete decides how an execution without open tasks ends.
func (r *run) complete() error {
	var cancelled, failed []*Task
	for _, t := range r.tasks {
		switch {
		case t.State == Cancelled:
			cancelled = append(cancelled, t)
		case t.State == Error && !t.Doc.ErrorHandled:
			failed = append(failed, t)
		}
	}
	switch {
	case len(cancelled) > 0:
		r.setState(Cancelled, "Cancelled tasks: "+names(cancelled))
	case len(failed) > 0:
		r.setState(Error, failureReport(failed))
	default:
		out, err := r.result()
		if err != nil {
			r.setState(Error, err.Error())
			return nil
		}
		r.setState(Success, "")
		r.x.Output = out
	}
	return nil
}

func names(tasks []*Task) string {
	var out []string
	seen := map[string]bool{}
	for _, t := range tasks {
		if !seen[t.Name] {
			seen[t.Name] = true
			out = append(out, t.Name)
		}
	}
	return strings.Join(out, ", ")
}

// failureReport is Mistral's text: the tasks, then a trace of each.
func failureReport(failed []*Task) string {
	var b strings.Builder
	b.WriteString("Failure caused by error in tasks: " + names(failed) + "\n")
	for i, t := range failed {
		if i == 20 {
			fmt.Fprintf(&b, "\n  ... and %d more", len(failed)-i)
			break
		}
		info := []rune(t.Doc.Info)
		if len(info) > 4000 {
			info = append(info[:4000], []rune("...")...)
		}
		fmt.Fprintf(&b, "\n  %s [task_ex_id=%s] -> %s\n", t.Name, t.ID, string(info))
	}
	return b.String()
}

// result is the output of a successful execution: the declared output, else
// all that was published on the way to the ends (inventory 3.3, 4).
func (r *run) result() (any, error) {
	final, err := r.finalContext()
	if err != nil {
		return nil, err
	}
	if r.wf.Output == nil {
		return final, nil
	}
	v, err := r.evalIn(nil, r.wf.Output, final)
	if err != nil {
		return nil, fmt.Errorf("Failed to evaluate expression in output of workflow %s: %w", r.x.Workflow, err) //nolint:revive,staticcheck // Mistral's wording
	}
	if !yaql.Truth(v) {
		return final, nil
	}
	return v, nil
}

// output is what an execution that did not succeed gives.
func (r *run) output(state string) any {
	if state == Success {
		return r.x.Output
	}
	out := yaql.NewMap(4)
	if state == Error && r.wf != nil && r.wf.OutputOnError != nil {
		final, err := r.finalContext()
		if err == nil {
			var v any
			if v, err = r.evalIn(nil, r.wf.OutputOnError, final); err == nil {
				if m, ok := v.(*yaql.Map); ok {
					out = m.Clone()
				}
			}
		}
		if err != nil {
			r.x.Info += fmt.Sprintf("\nFailed to evaluate output-on-error: %v", err)
		}
	}
	out.Set("result", r.x.Info)
	return out
}

// finalContext merges the contexts of the tasks that led to no other.
func (r *run) finalContext() (*yaql.Map, error) {
	var ends []*Task
	for _, t := range r.tasks {
		if Completed(t.State) && len(t.Doc.Next) == 0 {
			ends = append(ends, t)
		}
	}
	if err := r.filled(ends...); err != nil {
		return nil, err
	}
	return converge(ends), nil
}

// converge merges the contexts of branches: deeply, in order, and what the
// tasks published themselves wins over what they only passed on (as in
// Mistral).
func converge(tasks []*Task) *yaql.Map {
	ctx, published := yaql.NewMap(8), yaql.NewMap(4)
	for _, t := range tasks {
		ctx = mergeDeep(ctx, outbound(t))
		published = mergeDeep(published, t.Published)
	}
	if len(tasks) < 2 || published.Len() == 0 {
		return ctx
	}
	return mergeDeep(ctx, published)
}

// outbound is what a task hands on: its context with what it published.
func outbound(t *Task) *yaql.Map {
	if t.Published.Len() == 0 {
		return t.In
	}
	out := t.In.Clone()
	for k, v := range t.Published.All() {
		out.Set(k, v)
	}
	return out
}

// mergeDeep lays b over a; maps are merged.
func mergeDeep(a, b *yaql.Map) *yaql.Map {
	if a.Len() == 0 {
		return b
	}
	out := a.Clone()
	for k, v := range b.All() {
		have, ok := out.Get(k)
		x, isMap1 := have.(*yaql.Map)
		y, isMap2 := v.(*yaql.Map)
		if ok && isMap1 && isMap2 {
			v = mergeDeep(x, y)
		}
		out.Set(k, v)
	}
	return out
}

var errNotMap = errors.New("the value is not a map")
