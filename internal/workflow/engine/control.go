package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// Start is a request to run a workflow.
type Start struct {
	Workflow    string // name or id
	Namespace   string
	ID          string // wished id; an execution that has it already is returned
	Description string
	Input       *yaql.Map
	Params      *yaql.Map // env, task_name, read_only, ...
	Caller      Caller
	Source      string // id of the execution this one repeats
}

// Start stores a new execution and wakes its actor. before runs in the same
// transaction, nil is none.
func (e *Engine) Start(ctx context.Context, s Start, before func(tx *store.Tx) error) (*Execution, error) {
	d, err := e.findWorkflow(ctx, s.Caller, "", s.Workflow, s.Namespace)
	if err != nil {
		return nil, err
	}
	if s.Params == nil {
		s.Params = yaql.NewMap(0)
	}
	if s.Input == nil {
		s.Input = yaql.NewMap(0)
	}
	if err := e.evaluateEnv(ctx, s.Params); err != nil {
		return nil, &InputError{err.Error()}
	}
	x, err := e.newExecution(d, s.Input, s.Params, false)
	if err != nil {
		return nil, err
	}
	if s.Namespace != "" {
		x.Params.Set("namespace", s.Namespace)
	}
	if d.workflow.Type == dsl.Reverse {
		if target, _ := x.Params.Value("task_name").(string); d.workflow.Task(target) == nil {
			return nil, &InputError{fmt.Sprintf("Invalid task name of a reverse workflow [workflow=%s, params.task_name=%s]", d.Name, yaql.Str(x.Params.Value("task_name")))}
		}
	}
	if err := e.fits(x); err != nil {
		return nil, &InputError{err.Error()}
	}
	x.Description, x.ProjectID, x.Doc.Caller, x.Doc.Source = s.Description, s.Caller.ProjectID, s.Caller, s.Source
	if s.ID != "" {
		x.ID = s.ID
	}
	err = e.db.Tx(ctx, func(tx *store.Tx) error {
		if before != nil {
			if err := before(tx); err != nil {
				return err
			}
		}
		if err := insertExecution(tx, x); err != nil {
			return err
		}
		e.bus.PublishTx(tx, Topic(x.ID))
		return e.jobs.Poke(tx, KindExecution, x.ID, nil)
	})
	return x, err
}

// evaluateEnv evaluates expressions in params.env, unless evaluate_env is false.
func (e *Engine) evaluateEnv(ctx context.Context, params *yaql.Map) error {
	env, ok := params.Get("env")
	if on, set := params.Get("evaluate_env"); !ok || set && !yaql.Truth(on) {
		return nil
	}
	v, err := e.expr.Value(ctx, env, yaql.MapOf("__env", env))
	if err != nil {
		return fmt.Errorf("env: %w", err)
	}
	params.Set("env", v)
	return nil
}

// ErrState is a change that the state of an execution or task does not allow.
var ErrState = errors.New("not possible in this state")

// SetState pauses, resumes or ends an execution, with its sub-executions.
func (e *Engine) SetState(ctx context.Context, id, state, info string) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		x, err := GetExecution(tx, id)
		if err != nil {
			return err
		}
		if err := writable(x); err != nil {
			return err
		}
		switch {
		case state == x.State:
			return nil
		case state == Paused && x.State == Running:
			if err := e.switchTx(tx, x, state, info); err != nil {
				return err
			}
			return e.pauseTree(tx, x.RootID(), "")
		case state == Running && x.State == Paused:
			if err := e.switchTx(tx, x, state, info); err != nil {
				return err
			}
			return e.resumeAbove(tx, x)
		case Completed(state) && state != Skipped && !Completed(x.State):
			return e.cancelTx(tx, id, state, info)
		case state == Running && (x.State == Error || x.State == Cancelled):
			return fmt.Errorf("rerun a task of the execution instead: %w", ErrState)
		}
		return fmt.Errorf("Can't change workflow execution state from %s to %s. [workflow=%s, execution_id=%s]: %w", //nolint:revive,staticcheck // Mistral's wording
			x.State, state, x.Workflow, x.ID, ErrState)
	})
}

// switchTx pauses or resumes an execution and those below.
func (e *Engine) switchTx(tx *store.Tx, x *Execution, state, info string) error {
	from := Running
	if state == Running {
		from = Paused
	}
	if x.State != from {
		return nil
	}
	x.State, x.Info, x.Updated = state, info, e.now()
	if err := e.saveTx(tx, x); err != nil {
		return err
	}
	kids, err := e.childrenTx(tx, x.ID)
	if err != nil {
		return err
	}
	for _, k := range kids {
		if err := e.switchTx(tx, k, state, info); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) saveTx(tx *store.Tx, x *Execution) error {
	if err := updateExecution(tx, x); err != nil {
		return err
	}
	e.bus.PublishTx(tx, Topic(x.ID), Topic(x.RootID()))
	return e.jobs.Poke(tx, KindExecution, x.ID, nil)
}

func (e *Engine) childrenTx(tx *store.Tx, id string) ([]*Execution, error) {
	var out []*Execution
	err := tx.Each(func(scan func(...any) error) error {
		x, err := scanExecution(tx, scan)
		out = append(out, x)
		return err
	}, `SELECT `+executionColumns+` FROM workflow_executions WHERE parent_id = ?`, id)
	return out, err
}

// cancelTx ends an execution from outside. Its actor ends the tasks, and for
// CANCELLED also what runs below.
func (e *Engine) cancelTx(tx *store.Tx, id, state, info string) error {
	x, err := GetExecution(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || Completed(x.State) {
		return err
	}
	x.State, x.Info, x.Updated, x.Finished = state, info, e.now(), e.now()
	x.Output = yaql.MapOf("result", info)
	return e.saveTx(tx, x)
}

// Describe changes the description of an execution.
func (e *Engine) Describe(ctx context.Context, id, description string) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		x, err := GetExecution(tx, id)
		if err != nil {
			return err
		}
		if err := writable(x); err != nil {
			return err
		}
		x.Description, x.Updated = description, e.now()
		return e.saveTx(tx, x)
	})
}

// SetEnv lays variables over params.env of an execution that does not run.
func (e *Engine) SetEnv(ctx context.Context, id string, env *yaql.Map) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		x, err := GetExecution(tx, id)
		if err != nil {
			return err
		}
		if err := writable(x); err != nil {
			return err
		}
		if x.State == Running || x.State == Success {
			return fmt.Errorf("the environment of an execution in %s cannot be changed: %w", x.State, ErrState)
		}
		overEnv(x, env)
		return e.saveTx(tx, x)
	})
}

func overEnv(x *Execution, env *yaql.Map) {
	if env.Len() == 0 {
		return
	}
	have, _ := x.Params.Value("env").(*yaql.Map)
	if have == nil {
		have = yaql.NewMap(0)
	}
	x.Params.Set("env", mergeDeep(have, env))
}

// Rerun runs a failed task again, and with it its execution and those above.
// Without reset the successful items of with-items are kept.
func (e *Engine) Rerun(ctx context.Context, taskID string, reset bool, env *yaql.Map) error {
	return e.reviveTask(ctx, taskID, Running, reset, env)
}

// Skip marks a failed task as skipped and goes on behind it.
func (e *Engine) Skip(ctx context.Context, taskID string) error {
	return e.reviveTask(ctx, taskID, Skipped, false, nil)
}

func (e *Engine) reviveTask(ctx context.Context, taskID, state string, reset bool, env *yaql.Map) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		list, err := listTasks(tx, true, `id = ?`, taskID)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return store.ErrNotFound
		}
		t := list[0]
		if t.State != Error {
			return fmt.Errorf("Only a task in ERROR can be run again or skipped, task %s is %s: %w", t.Name, t.State, ErrState) //nolint:revive,staticcheck // Mistral's wording
		}
		t.Processed, t.Updated, t.Ended = false, e.now(), time.Time{}
		if state == Skipped {
			t.State, t.Ended = Skipped, e.now()
			t.Doc.Next, t.Doc.ErrorHandled = nil, false
		} else {
			t.State = Idle
			t.Doc = TaskDoc{By: t.Doc.By, Waited: true, Tags: t.Doc.Tags, WithItems: t.Doc.WithItems, Items: t.Doc.Items, Limit: t.Doc.Limit}
			if err := discardTx(tx, t.ID, reset || !t.Doc.WithItems, e.now()); err != nil {
				return err
			}
		}
		if err := writeTask(tx, t); err != nil {
			return err
		}
		return e.reviveTx(tx, t.ExecutionID, env)
	})
}

// discardTx makes results not count any more: all, or those that failed.
func discardTx(tx *store.Tx, taskID string, all bool, now time.Time) error {
	where := ``
	if !all {
		where = ` AND state <> 'SUCCESS'`
	}
	if _, err := tx.Exec(`UPDATE workflow_actions SET accepted = 0, updated_at = ? WHERE task_id = ?`+where, store.At(now), taskID); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE workflow_executions SET accepted = 0 WHERE parent_task_id = ?`+where, taskID)
	return err
}

// reviveTx sets an ended execution, and the tasks and executions above that
// wait for it, to RUNNING.
func (e *Engine) reviveTx(tx *store.Tx, id string, env *yaql.Map) error {
	x, err := GetExecution(tx, id)
	if err != nil {
		return err
	}
	if err := writable(x); err != nil {
		return err
	}
	if x.State == Success {
		return fmt.Errorf("execution %s has succeeded: %w", id, ErrState)
	}
	overEnv(x, env)
	x.State, x.Info, x.Finalized, x.Output, x.Finished, x.Updated = Running, "", false, nil, time.Time{}, e.now()
	if err := e.saveTx(tx, x); err != nil {
		return err
	}
	if x.ParentTask == "" {
		return nil
	}
	if _, err := tx.Exec(`UPDATE workflow_executions SET accepted = 1 WHERE id = ?`, id); err != nil {
		return err
	}
	list, err := listTasks(tx, false, `id = ?`, x.ParentTask)
	if err != nil || len(list) == 0 {
		return err
	}
	t := list[0]
	t.State, t.Processed, t.Ended, t.Updated = Running, false, time.Time{}, e.now()
	t.Doc.Info, t.Doc.Next, t.Doc.ErrorHandled, t.Doc.Deadline = "", nil, false, time.Time{}
	if err := writeTask(tx, t); err != nil {
		return err
	}
	return e.reviveTx(tx, x.Parent, env)
}

// ErrActive is a deletion of something that runs.
var ErrActive = errors.New("still runs")

// Delete removes an execution with all below it.
func (e *Engine) Delete(ctx context.Context, id string, force bool) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		x, err := GetExecution(tx, id)
		if err != nil {
			return err
		}
		if !Completed(x.State) && !force {
			return fmt.Errorf("Only completed executions can be deleted. Use --force to override this. Execution %s is in %s state: %w", //nolint:revive,staticcheck // Mistral's wording
				id, x.State, ErrActive)
		}
		return e.deleteTx(tx, x)
	})
}

func (e *Engine) deleteTx(tx *store.Tx, x *Execution) error {
	kids, err := e.childrenTx(tx, x.ID)
	if err != nil {
		return err
	}
	for _, k := range kids {
		if err := e.deleteTx(tx, k); err != nil {
			return err
		}
	}
	acts, err := listActions(tx, `execution_id = ? AND state = 'RUNNING'`, x.ID)
	if err != nil {
		return err
	}
	ids := make([]string, len(acts))
	for i, a := range acts {
		ids[i] = a.ID
	}
	for _, q := range []string{`DELETE FROM workflow_actions WHERE execution_id = ?`, `DELETE FROM workflow_tasks WHERE execution_id = ?`,
		`DELETE FROM workflow_executions WHERE id = ?`} {
		if _, err := tx.Exec(q, x.ID); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() { e.stop(ids) })
	e.bus.PublishTx(tx, Topic(x.ID))
	return nil
}

// NewAction makes an action execution outside of any workflow; Queue or RunNow
// runs it.
func (e *Engine) NewAction(ctx context.Context, name string, input *yaql.Map, caller Caller) (*Action, error) {
	res, err := e.resolve(ctx, caller.ProjectID, "", name, input)
	if err != nil {
		return nil, err
	}
	now := e.now()
	a := &Action{ID: uuid.NewString(), ProjectID: caller.ProjectID, Name: name, State: Running, Accepted: true, Input: input,
		Created: now, Updated: now, Started: now, fresh: true,
		Doc: ActionDoc{Base: res.action.Name, Adhoc: res.adhoc, Caller: caller, Async: res.action.Async}}
	if res.action.Name != name {
		a.BaseInput = res.input
	}
	return a, nil
}

// Queue stores an action and lets a job run it.
func (e *Engine) Queue(ctx context.Context, a *Action) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		if err := writeAction(tx, a); err != nil {
			return err
		}
		return e.jobs.Poke(tx, a.kind(), a.ID, nil)
	})
}

// RunNow runs an action in the caller's goroutine, with the caller's own
// session; save keeps a record.
func (e *Engine) RunNow(ctx context.Context, a *Action, sess *cloud.Session, save bool) error {
	act := e.actions.Get(a.Doc.Base)
	input := a.Input
	if a.BaseInput != nil {
		input = a.BaseInput
	}
	var out any
	var err error
	for {
		a.Attempt++
		out, err = e.invoke(ctx, act, a, sess, input)
		atMost, topics, waits := actions.Waits(err)
		if !waits {
			break
		}
		sub := e.bus.Subscribe(topics...)
		timer := time.NewTimer(max(atMost, 10*time.Millisecond))
		select {
		case <-ctx.Done():
		case <-sub.C():
		case <-timer.C:
		}
		timer.Stop()
		sub.Close()
		if err = ctx.Err(); err != nil {
			break
		}
	}
	a.complete(e.now(), out, err)
	if !save {
		return nil
	}
	return e.db.Tx(context.WithoutCancel(ctx), func(tx *store.Tx) error { return writeAction(tx, a) })
}
