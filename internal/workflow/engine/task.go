package engine

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// start runs an IDLE task: policies that come before, then its callee.
func (r *run) start(t *Task) error {
	p := r.wf.PoliciesOf(t.spec)
	r.mark(t)
	wait, err := r.seconds(t, p.WaitBefore)
	if err != nil {
		return r.fail(t, "wait-before: %v", err)
	}
	if wait > 0 && !t.Doc.Waited {
		t.Doc.Waited = true
		t.State, t.Doc.Phase, t.Doc.WakeAt = Delayed, "before", r.now.Add(wait)
		return nil
	}
	if p.PauseBefore != nil && !t.Doc.BeforePaused {
		v, err := r.eval(t, p.PauseBefore, nil)
		if err != nil {
			return r.fail(t, "pause-before: %v", err)
		}
		if yaql.Truth(v) {
			t.State, t.Doc.BeforePaused, t.Doc.Phase = Idle, true, ""
			r.command(dsl.CmdPause, fmt.Sprintf("Workflow paused before task %s", t.Name))
			return nil
		}
	}
	t.State, t.Started, t.Doc.Phase = Running, r.now, ""
	limit, err := r.seconds(t, p.Timeout)
	if err != nil {
		return r.fail(t, "timeout: %v", err)
	}
	if limit > 0 {
		t.Doc.Deadline = r.now.Add(limit)
	}
	n, err := r.integer(t, p.Concurrency)
	if err != nil {
		return r.fail(t, "concurrency: %v", err)
	}
	t.Doc.Limit = n
	return r.launch(t)
}

// integer evaluates a policy; unset and null are 0.
func (r *run) integer(t *Task, v any) (int64, error) {
	got, err := r.eval(t, v, nil)
	if err != nil {
		return 0, err
	}
	switch n := got.(type) {
	case nil:
		return 0, nil
	case int64:
		return n, nil
	case float64:
		return int64(n), nil
	}
	return 0, fmt.Errorf("%s is not a number", yaql.Str(got))
}

func (r *run) seconds(t *Task, v any) (time.Duration, error) {
	n, err := r.integer(t, v)
	if n > 10*365*86400 {
		n = 10 * 365 * 86400
	}
	return time.Duration(n) * time.Second, err
}

// fail ends a task whose definition cannot be evaluated.
func (r *run) fail(t *Task, format string, args ...any) error {
	info := fmt.Sprintf("Failed to run task [name=%s]: ", t.Name) + fmt.Sprintf(format, args...)
	if t.Started.IsZero() {
		t.Started = r.now
	}
	return r.finish(t, Error, info, info)
}

// launch starts the callee, or the callees of with-items.
func (r *run) launch(t *Task) error {
	if len(t.spec.With) == 0 {
		if err := r.call(t, 0, nil); err != nil {
			return r.fail(t, "%v", err)
		}
		return nil
	}
	n, err := r.itemCount(t)
	if err != nil {
		return r.fail(t, "with-items: %v", err)
	}
	t.Doc.WithItems, t.Doc.Items = true, n
	r.mark(t)
	if n == 0 {
		return r.finish(t, Success, []any{}, "")
	}
	_, err = r.checkItems(t)
	return err
}

// lists evaluates the lists of with-items.
func (r *run) lists(t *Task) ([][]any, error) {
	out := make([][]any, len(t.spec.With))
	for i, w := range t.spec.With {
		v, err := r.eval(t, w.List, nil)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("Wrong input format for: %s. A list is expected, not %s", w.Name, yaql.Str(v)) //nolint:revive,staticcheck // Mistral's wording
		}
		out[i] = list
	}
	return out, nil
}

const maxItems = 100_000

func (r *run) itemCount(t *Task) (int, error) {
	lists, err := r.lists(t)
	if err != nil {
		return 0, err
	}
	for _, l := range lists {
		if len(l) != len(lists[0]) {
			return 0, fmt.Errorf("all lists must have the same length, but have %d and %d items", len(lists[0]), len(l))
		}
	}
	if len(lists[0]) > maxItems {
		return 0, fmt.Errorf("%d items are more than the limit of %d", len(lists[0]), maxItems)
	}
	return len(lists[0]), nil
}

// call runs the callee for one item (item 0 without with-items).
func (r *run) call(t *Task, item int, vars *yaql.Map) error {
	input, err := r.input(t, vars)
	if err != nil {
		return err
	}
	if t.spec.Workflow != "" {
		name, err := r.evalVars(t, t.spec.Workflow, vars)
		if err != nil {
			return err
		}
		return r.callWorkflow(t, item, yaql.Str(name), input)
	}
	if t.spec.Action == "" && item == 0 && !t.Doc.WithItems {
		return r.finish(t, Success, nil, "") // std.noop
	}
	name := "std.noop"
	if t.spec.Action != "" {
		v, err := r.evalVars(t, t.spec.Action, vars)
		if err != nil {
			return err
		}
		name = yaql.Str(v)
	}
	return r.callAction(t, item, name, input)
}

func (r *run) input(t *Task, vars *yaql.Map) (*yaql.Map, error) {
	if t.spec.Input == nil {
		return yaql.NewMap(0), nil
	}
	v, err := r.evalVars(t, t.spec.Input, vars)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	switch m := v.(type) {
	case *yaql.Map:
		return m, nil
	case yaql.Ordered:
		out := yaql.NewMap(4)
		for _, k := range m.YAQLKeys() {
			x, _ := m.YAQLLookup(k)
			out.Set(k, x)
		}
		return out, nil
	case map[string]any:
		out := yaql.NewMap(len(m))
		for k, x := range m {
			out.Set(k, x)
		}
		return out, nil
	case nil:
		return yaql.NewMap(0), nil
	}
	return nil, fmt.Errorf("input: %w: %s", errNotMap, yaql.Str(v))
}

func (r *run) callAction(t *Task, item int, name string, input *yaql.Map) error {
	res, err := r.e.resolve(r.ctx, r.x.Doc.Caller.ProjectID, r.book, name, input)
	if err != nil {
		return err
	}
	a := &Action{ID: uuid.NewString(), TaskID: t.ID, ExecutionID: r.x.ID, ProjectID: r.x.ProjectID, Name: name, State: Running,
		Accepted: true, Item: item, Input: input, Created: r.now, Updated: r.now, Started: r.now, fresh: true, dirty: true,
		Doc: ActionDoc{Base: res.action.Name, Adhoc: res.adhoc, Caller: r.x.Doc.Caller, TaskName: t.Name,
			Workflow: r.x.Workflow, Root: r.x.RootID(), Async: res.action.Async, Namespace: r.x.Namespace, Tags: t.spec.Tags}}
	if res.action.Name != name {
		a.BaseInput = res.input
	}
	if t.spec.Target != "" {
		v, err := r.eval(t, t.spec.Target, nil)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		a.Doc.Target = yaql.Str(v)
	}
	if safe := r.wf.SafeRerun(t.spec); safe != nil {
		v, err := r.eval(t, safe, nil)
		if err != nil {
			return fmt.Errorf("safe-rerun: %w", err)
		}
		a.Doc.SafeRerun = yaql.Truth(v)
	}
	r.actions[t.ID] = append(r.actions[t.ID], a)
	r.mark(t)
	if !res.action.Pure || a.Doc.Target != "" {
		r.jobs = append(r.jobs, a)
		return nil
	}
	out, err := res.action.Run(r.ctx, &actions.Context{Log: r.e.log, Now: r.e.now, ActionExecutionID: a.ID, TaskID: t.ID, TaskName: t.Name,
		WorkflowName: r.x.Workflow, WorkflowExecutionID: r.x.ID, RootExecutionID: r.x.RootID(), Started: r.now, Attempt: 1}, res.plain)
	if _, _, waits := actions.Waits(err); waits { // not that quick after all
		r.jobs = append(r.jobs, a)
		return nil
	}
	if err == nil {
		out, err = r.e.adhocOutput(r.ctx, res.adhoc, out)
	}
	a.complete(r.now, out, err)
	if t.Doc.WithItems {
		return nil // launchItems looks when it has gone through
	}
	_, err = r.check(t)
	return err
}

// complete stores the outcome of an action.
func (a *Action) complete(now time.Time, result any, err error) {
	a.State, a.Info, a.Ended, a.Updated, a.dirty = Success, "", now, now, true
	if err != nil {
		a.State, a.Info = Error, maskSecrets(err.Error())
		if result = actionError(err); result == err.Error() {
			result = a.Info
		}
	}
	a.Output = yaql.MapOf("result", result)
}

// namespace is where sub-workflows are looked up: that of the root execution.
func (r *run) namespace() string {
	if ns, ok := r.x.Params.Value("namespace").(string); ok {
		return ns
	}
	return r.x.Namespace
}

func (r *run) callWorkflow(t *Task, item int, name string, input *yaql.Map) error {
	def, err := r.e.findWorkflow(r.ctx, r.x.Doc.Caller, r.book, name, r.namespace())
	if err != nil {
		return err
	}
	params := yaql.NewMap(4)
	if env, ok := r.x.Params.Get("env"); ok {
		params.Set("env", env)
	}
	if ns := r.namespace(); ns != "" {
		params.Set("namespace", ns)
	}
	for _, key := range []string{ParamReadOnly, ParamTriggeredBy} {
		if v, ok := r.x.Params.Get(key); ok {
			params.Set(key, v)
		}
	}
	params.Set("task_execution_id", t.ID)
	params.Set("index", int64(item))
	child, err := r.e.newExecution(def, input, params, true)
	if err != nil {
		return err
	}
	child.ParentTask, child.Parent, child.Root, child.Item = t.ID, r.x.ID, r.x.RootID(), item
	child.Accepted, child.Description = true, "sub-workflow execution"
	child.Doc.Caller, child.ProjectID = r.x.Doc.Caller, r.x.ProjectID
	r.started = append(r.started, child)
	r.children[t.ID] = append(r.children[t.ID], &Child{ID: child.ID, State: child.State, Item: item, Accepted: true})
	r.mark(t)
	return nil
}

// check looks whether what a running task waits for has ended.
func (r *run) check(t *Task) (bool, error) {
	if !t.Doc.Deadline.IsZero() {
		if !r.now.Before(t.Doc.Deadline) {
			return true, r.timeout(t)
		}
		r.wakeAt(t.Doc.Deadline)
	}
	if r.pausedBelow(t) {
		return true, nil
	}
	if t.Doc.WithItems {
		return r.checkItems(t)
	}
	for _, a := range r.actions[t.ID] {
		if a.Accepted && Completed(a.State) {
			return true, r.finish(t, a.State, resultOf(a), taskInfo(a))
		}
	}
	for _, c := range r.children[t.ID] {
		if c.Accepted && Completed(c.State) {
			return true, r.finish(t, c.State, c.Output, childInfo(c))
		}
	}
	return false, nil
}

// pausedBelow keeps a task PAUSED while what it runs is, and reports a change.
func (r *run) pausedBelow(t *Task) bool {
	state := Running
	for _, a := range r.actions[t.ID] {
		if a.Accepted && a.State == Paused {
			state = Paused
		}
	}
	for _, c := range r.children[t.ID] {
		if c.Accepted && c.State == Paused {
			state = Paused
		}
	}
	if state == t.State {
		return false
	}
	t.State = state
	r.mark(t)
	return true
}

func resultOf(a *Action) any {
	if m, ok := a.Output.(*yaql.Map); ok {
		return m.Value("result")
	}
	return nil
}

func taskInfo(a *Action) string {
	if a.State == Success {
		return ""
	}
	return fmt.Sprintf("Failed to run action [action_ex_id=%s, action_cls='%s']\n %s", a.ID, a.Name, a.Info)
}

func childInfo(c *Child) string {
	if c.State == Success {
		return ""
	}
	if m, ok := c.Output.(*yaql.Map); ok {
		if v := m.Value("result"); v != nil {
			return yaql.Str(v)
		}
	}
	return "Sub-workflow execution " + c.ID + " ended as " + c.State
}

// checkItems starts the items there is room for and ends the task when all are done.
func (r *run) checkItems(t *Task) (bool, error) {
	results := make([]any, t.Doc.Items)
	have := make([]bool, t.Doc.Items)
	running, done, state := 0, 0, Success
	count := func(item int, st string, result any) {
		if item >= t.Doc.Items || have[item] {
			return
		}
		have[item] = true
		if !Completed(st) {
			running++
			return
		}
		done++
		results[item] = result
		if st == Cancelled || st == Error && state == Success {
			state = st
		}
	}
	for _, a := range r.actions[t.ID] {
		if a.Accepted {
			count(a.Item, a.State, resultOf(a))
		}
	}
	for _, c := range r.children[t.ID] {
		if c.Accepted {
			count(c.Item, c.State, c.Output)
		}
	}
	if done == t.Doc.Items {
		info := ""
		if state != Success {
			info = "One or more actions had failed."
		}
		return true, r.finish(t, state, results, info)
	}
	if running+done == t.Doc.Items || t.Doc.Limit > 0 && int64(running) >= t.Doc.Limit || r.x.State != Running {
		return false, nil
	}
	return r.launchItems(t, have, running)
}

func (r *run) launchItems(t *Task, have []bool, running int) (bool, error) {
	lists, err := r.lists(t)
	if err != nil {
		return true, r.fail(t, "with-items: %v", err)
	}
	for i := range have {
		if have[i] {
			continue
		}
		if t.Doc.Limit > 0 && int64(running) >= t.Doc.Limit {
			break
		}
		vars := yaql.NewMap(len(lists))
		for j, l := range lists {
			if i >= len(l) {
				return true, r.fail(t, "with-items: the list %s has changed its length", t.spec.With[j].Name)
			}
			vars.Set(t.spec.With[j].Name, l[i])
		}
		if err := r.call(t, i, vars); err != nil {
			r.forget(t)
			return true, r.fail(t, "%v", err)
		}
		if list := r.actions[t.ID]; len(list) == 0 || !Completed(list[len(list)-1].State) {
			running++
		}
		r.budget--
	}
	return true, nil
}

// finish applies the policies that come after, publishes, and settles the state.
func (r *run) finish(t *Task, state string, result any, info string) error {
	p := r.wf.PoliciesOf(t.spec)
	t.Result = result
	r.mark(t)
	if Completed(r.x.State) {
		r.settle(t, state, result, info)
		return nil
	}
	t.State = state // for the expressions of policies and publish
	t.Doc.Info = info
	if state != Cancelled {
		again, err := r.after(t, p)
		if err != nil {
			t.State, t.Doc.Info = Error, err.Error()
		} else if again {
			return nil
		}
	}
	if err := r.publish(t); err != nil {
		t.Doc.Info = fmt.Sprintf("Failed to publish in task [name=%s]: %v", t.Name, err)
		t.State = Error
	}
	if t.spec.KeepResult != nil {
		if v, err := r.eval(t, t.spec.KeepResult, nil); err == nil && !yaql.Truth(v) {
			t.Result = nil
		}
	}
	r.settle(t, t.State, t.Result, t.Doc.Info)
	return nil
}

func (r *run) settle(t *Task, state string, result any, info string) {
	t.State, t.Result, t.Ended, t.Doc.Info = state, result, r.now, info
	t.Doc.Phase = ""
	r.mark(t)
}

// after applies wait-after, fail-on and retry; true means that the task goes on.
func (r *run) after(t *Task, p dsl.Policies) (bool, error) {
	wait, err := r.seconds(t, p.WaitAfter)
	if err != nil {
		return false, fmt.Errorf("wait-after: %w", err)
	}
	if wait > 0 && !t.Doc.After {
		t.Doc.Pending, t.Doc.PendingInfo = t.State, t.Doc.Info
		t.State, t.Doc.Phase, t.Doc.WakeAt = Delayed, "after", r.now.Add(wait)
		return true, nil
	}
	if p.FailOn != nil && t.State == Success {
		v, err := r.eval(t, p.FailOn, nil)
		if err != nil {
			return false, fmt.Errorf("fail-on: %w", err)
		}
		if yaql.Truth(v) {
			t.State, t.Doc.Info = Error, "Failed by 'fail-on' policy"
		}
	}
	if p.Retry == nil {
		return false, nil
	}
	return r.retry(t, p.Retry)
}

// retry follows Mistral: on ERROR; with continue-on as long as that holds,
// whatever the state; never past count, and then the last state stands.
func (r *run) retry(t *Task, p *dsl.Retry) (bool, error) {
	holds := func(v any) (bool, error) {
		got, err := r.eval(t, v, nil)
		return yaql.Truth(got), err
	}
	if t.State == Success && p.Continue == nil {
		return false, nil
	}
	count, err := r.integer(t, p.Count)
	if err != nil {
		return false, fmt.Errorf("retry count: %w", err)
	}
	delay, err := r.seconds(t, p.Delay)
	if err != nil {
		return false, fmt.Errorf("retry delay: %w", err)
	}
	if p.Continue != nil {
		if ok, err := holds(p.Continue); err != nil || !ok {
			return false, wrap("retry continue-on", err)
		}
	}
	if p.BreakOn != nil && t.State == Error {
		if ok, err := holds(p.BreakOn); err != nil || ok {
			return false, wrap("retry break-on", err)
		}
	}
	if t.Doc.RetryNo >= count {
		return false, nil
	}
	t.Doc.RetryNo++
	t.Doc.PendingInfo = t.Doc.Info
	r.discard(t, true)
	t.State, t.Doc.Phase, t.Doc.WakeAt, t.Doc.After = Delayed, "retry", r.now.Add(delay), false
	return true, nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// discard makes earlier results not count. keep spares the items of with-items
// that succeeded.
func (r *run) discard(t *Task, keep bool) {
	keep = keep && t.Doc.WithItems
	for _, a := range r.actions[t.ID] {
		if a.Accepted && !(keep && a.State == Success) {
			a.Accepted, a.dirty = false, true
		}
	}
	for _, c := range r.children[t.ID] {
		if c.Accepted && !(keep && c.State == Success) {
			c.Accepted = false
			r.unaccept = append(r.unaccept, c.ID)
		}
	}
	r.changed = true
}

// publish evaluates the publish sections of the task's state. All see the
// inbound context, none sees the others.
func (r *run) publish(t *Task) error {
	own, kinds := t.spec.Publish, []string{"on-complete", "on-success"}
	switch t.State {
	case Skipped:
		own, kinds = t.spec.PublishOnSkip, []string{"on-skip"}
	case Error:
		own, kinds = t.spec.PublishOnError, []string{"on-complete", "on-error"}
	case Cancelled:
		return nil
	}
	sections := []*dsl.Publish{own}
	for _, k := range kinds {
		if c := r.wf.Clause(t.spec, k); c != nil {
			sections = append(sections, c.Publish)
		}
	}
	branch, global := yaql.NewMap(4), yaql.NewMap(0)
	put := func(dst *yaql.Map, v any) error {
		got, err := r.eval(t, v, nil)
		if err != nil {
			return err
		}
		m, ok := got.(*yaql.Map)
		if !ok {
			return errNotMap
		}
		for k, x := range m.All() {
			dst.Set(k, x)
		}
		return nil
	}
	for _, s := range sections {
		if s == nil {
			continue
		}
		for _, part := range []struct {
			dst *yaql.Map
			v   any
			set bool
		}{{branch, s.Whole, s.Whole != ""}, {branch, s.Branch, s.Branch != nil}, {global, s.Global, s.Global != nil}, {global, s.Atomic, s.Atomic != nil}} {
			if part.set {
				if err := put(part.dst, part.v); err != nil {
					return err
				}
			}
		}
	}
	t.Published, t.Global = branch, nil
	if global.Len() > 0 {
		t.Global = global
	}
	for k, v := range global.All() {
		r.x.Context.Set(k, v)
		r.touch()
	}
	return nil
}
