package engine

import (
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// next is a transition whose condition holds.
type next struct {
	dsl.Transition
	event string
}

// transitions follows the clauses of a complete task.
func (r *run) transitions(t *Task) error {
	t.Processed = true
	r.mark(t)
	if r.wf.Type == dsl.Reverse {
		return r.reverseNext(t)
	}
	cmds, err := r.commands(t)
	if err != nil {
		t.State, t.Doc.ErrorHandled = Error, false
		t.Doc.Info = strings.TrimSpace(t.Doc.Info + "\n" + err.Error())
		return nil //nolint:nilerr // it is the task's error now
	}
	for _, c := range cmds {
		if c.event == "on-error" {
			t.Doc.ErrorHandled = true
		}
	}
	return r.dispatch(t, cmds)
}

// commands collects the transitions of a task's state: on-success or on-error
// first, then on-complete.
func (r *run) commands(t *Task) ([]next, error) {
	var kinds []string
	switch t.State {
	case Success:
		kinds = []string{"on-success", "on-complete"}
	case Error:
		kinds = []string{"on-error", "on-complete"}
	case Skipped:
		if err := r.publish(t); err != nil {
			return nil, fmt.Errorf("publish-on-skip: %w", err)
		}
		kinds = []string{"on-skip"}
		if r.wf.Clause(t.spec, "on-skip") == nil {
			kinds = []string{"on-success"}
		}
	}
	var out []next
	for _, kind := range kinds {
		c := r.wf.Clause(t.spec, kind)
		if c == nil {
			continue
		}
		for _, tr := range c.Next {
			if tr.Condition != "" {
				v, err := r.evalIn(t, tr.Condition, outbound(t))
				if err != nil {
					return nil, fmt.Errorf("condition of %s to %s: %w", kind, tr.Target, err)
				}
				if !yaql.Truth(v) {
					continue
				}
			}
			out = append(out, next{tr, kind})
		}
	}
	return out, nil
}

// dispatch runs commands up to the first that changes the workflow's state;
// what stands behind a pause waits for the resume.
func (r *run) dispatch(t *Task, cmds []next) error {
	for i, c := range cmds {
		if !dsl.IsCommand(c.Target) {
			t.Doc.Next = append(t.Doc.Next, [2]string{c.Target, c.event})
			r.create(c.Target, t, c.event, outbound(t))
			continue
		}
		if c.Target == dsl.CmdNoop {
			continue
		}
		msg := ""
		if c.Params != nil {
			raw, _ := c.Params.Get("msg")
			v, err := r.evalIn(t, raw, outbound(t))
			if err != nil {
				return r.abort(fmt.Sprintf("message of %s: %v", c.Target, err))
			}
			if v != nil {
				msg = yaql.Str(v)
			}
		}
		if c.Target == dsl.CmdPause {
			for _, rest := range cmds[i+1:] {
				r.x.Doc.Backlog = append(r.x.Doc.Backlog, Command{Task: rest.Target, By: t.ID, Event: rest.event})
				if !dsl.IsCommand(rest.Target) {
					t.Doc.Next = append(t.Doc.Next, [2]string{rest.Target, rest.event})
				}
			}
		}
		if c.Target == dsl.CmdFail && msg == "" {
			msg = fmt.Sprintf("Workflow failed by task %s (%s: fail)", t.Name, c.event)
			if t.State == Error && t.Doc.Info != "" {
				msg += ": " + t.Doc.Info
			}
		}
		r.command(c.Target, msg)
		return nil
	}
	return nil
}

// command carries out an engine command and reports whether it ends the list.
func (r *run) command(name, msg string) bool {
	switch name {
	case dsl.CmdFail:
		if msg == "" {
			msg = "Workflow failed by the engine command fail"
		}
		r.setState(Error, msg)
	case dsl.CmdSucceed:
		out, err := r.result()
		if err != nil {
			r.setState(Error, err.Error())
			return true
		}
		r.setState(Success, msg)
		r.x.Output = out
	case dsl.CmdPause:
		if r.x.State == Running {
			r.x.State, r.x.Info, r.paused = Paused, msg, true
			r.touch()
		}
	default:
		return false
	}
	return true
}

// Verdicts on a route to a join.
const (
	routeOpen = iota
	routeTaken
	routeClosed
)

// tryJoin starts a join when enough routes lead to it, and fails it when too
// many can no longer.
func (r *run) tryJoin(t *Task) (bool, error) {
	if r.wf.Type == dsl.Reverse {
		return r.tryRequires(t)
	}
	inbound := r.wf.Inbound(t.Name)
	need := t.spec.Join.Count
	if need == 0 {
		need = len(inbound)
	}
	var taken []*Task
	var closed []string
	for _, in := range inbound {
		switch last, verdict := r.route(in, t.Name); verdict {
		case routeTaken:
			taken = append(taken, last)
		case routeClosed:
			closed = append(closed, in.Name)
		}
	}
	if len(taken) >= need {
		if err := r.filled(taken...); err != nil {
			return false, err
		}
		t.In, t.State = converge(taken), Idle
		r.mark(t)
		return true, nil
	}
	if len(closed) > len(inbound)-need {
		info := fmt.Sprintf("Failed by 'join' in task '%s': %d of %d routes are needed, but these tasks do not lead here: %s",
			t.Name, need, len(inbound), strings.Join(closed, ", "))
		t.Started = r.now
		r.settle(t, Error, info, info)
		return true, nil
	}
	return false, nil
}

// route judges the way from one task to a join.
func (r *run) route(from *dsl.Task, join string) (*Task, int) {
	last := r.latest(from.Name)
	if last == nil {
		if r.possible(from.Name, map[string]bool{join: true}) {
			return nil, routeOpen
		}
		return nil, routeClosed
	}
	if !Completed(last.State) || !last.Processed {
		return last, routeOpen
	}
	for _, n := range last.Doc.Next {
		if n[0] == join {
			return last, routeTaken
		}
	}
	return last, routeClosed
}

// possible says whether a task that has not run yet may still run.
func (r *run) possible(name string, seen map[string]bool) bool {
	if seen[name] {
		return false
	}
	seen[name] = true
	for _, in := range r.wf.Inbound(name) {
		last := r.latest(in.Name)
		if last == nil {
			if r.possible(in.Name, seen) {
				return true
			}
			continue
		}
		if !Completed(last.State) || !last.Processed {
			return true
		}
	}
	return false
}

// beginReverse creates the target task and all it requires.
func (r *run) beginReverse() error {
	target, _ := r.x.Params.Value("task_name").(string)
	if r.wf.Task(target) == nil {
		return r.abort(fmt.Sprintf("params.task_name %q is not a task of the reverse workflow %s", target, r.x.Workflow))
	}
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] || r.wf.Task(name) == nil {
			return
		}
		seen[name] = true
		for _, dep := range r.wf.Requires(r.wf.Task(name)) {
			if dep != name {
				visit(dep)
			}
		}
		r.create(name, nil, "", yaql.NewMap(0))
		if t := r.latest(name); t != nil {
			t.State = Waiting
		}
	}
	visit(target)
	return nil
}

// tryRequires starts a task of a reverse workflow when all it requires is done.
func (r *run) tryRequires(t *Task) (bool, error) {
	var deps []*Task
	for _, name := range r.wf.Requires(t.spec) {
		d := r.latest(name)
		if d == nil || name == t.Name {
			continue
		}
		if Completed(d.State) && d.State != Success {
			r.drop(t)
			t.State, t.Doc.Info = Skipped, "Task "+name+" did not succeed"
			return true, nil
		}
		if d.State != Success || !d.Processed {
			return false, nil
		}
		deps = append(deps, d)
	}
	if err := r.filled(deps...); err != nil {
		return false, err
	}
	t.In, t.State = converge(deps), Idle
	r.mark(t)
	return true, nil
}

// reverseNext records which tasks need this one, for the final context.
func (r *run) reverseNext(t *Task) error {
	for _, o := range r.tasks {
		for _, dep := range r.wf.Requires(o.spec) {
			if dep == t.Name && o != t {
				t.Doc.Next = append(t.Doc.Next, [2]string{o.Name, "requires"})
			}
		}
	}
	return nil
}
