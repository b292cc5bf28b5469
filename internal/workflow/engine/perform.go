package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

// targetKind is the kind of the jobs for the executors of one group.
func targetKind(group string) string { return KindAction + "@" + group }

// kind is the kind of the job that runs an action.
func (a *Action) kind() string {
	if a.Doc.Target != "" {
		return targetKind(a.Doc.Target)
	}
	return KindAction
}

// perform runs one action.
func (e *Engine) perform(ctx context.Context, j jobs.Job) jobs.Result {
	a, err := e.take(ctx, j.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && a == nil {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.Lock()
	e.running[a.ID] = cancel
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.running, a.ID)
		e.mu.Unlock()
	}()
	if err := e.failpoint("action taken"); err != nil {
		return jobs.Fail(err)
	}
	out, err := e.runAction(ctx, a)
	if atMost, topics, waits := actions.Waits(err); waits {
		return jobs.Wait(max(atMost, 10*time.Millisecond), topics...)
	}
	if ctx.Err() != nil && err != nil {
		return jobs.After(0) // stopping: run again; or cancelled: take sees it
	}
	if a.Doc.Async && err == nil {
		return jobs.Done() // the result comes by the API
	}
	if err := e.failpoint("action done"); err != nil {
		return jobs.Fail(err)
	}
	if err := e.Complete(context.WithoutCancel(ctx), a.ID, Success, out, err); err != nil && !errors.Is(err, store.ErrNotFound) {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

// take marks an action as being run. It returns nil when there is nothing to do.
func (e *Engine) take(ctx context.Context, id string) (a *Action, err error) {
	once := false
	err = e.db.Tx(ctx, func(tx *store.Tx) error {
		got, err := GetAction(tx, id)
		if err != nil || Completed(got.State) {
			return err
		}
		act := e.actions.Get(got.Doc.Base)
		if act != nil && act.Once && got.Attempt > 0 && !got.Doc.SafeRerun {
			once = true
			a = got
			return nil
		}
		got.Attempt++
		_, err = tx.Exec(`UPDATE workflow_actions SET attempt = ? WHERE id = ?`, got.Attempt, id)
		a = got
		return err
	})
	if err != nil || !once {
		return a, err
	}
	return nil, e.Complete(ctx, id, Error, nil, errors.New("the server stopped while the action ran, and it is not safe to run it again"))
}

func (e *Engine) runAction(ctx context.Context, a *Action) (out any, err error) {
	act := e.actions.Get(a.Doc.Base)
	if act == nil {
		return nil, fmt.Errorf("Failed to find action [action_name=%s]", a.Doc.Base) //nolint:revive,staticcheck // Mistral's wording
	}
	session, err := e.Session(ctx, a.Doc.Caller)
	if err != nil {
		return nil, fmt.Errorf("act for the caller: %w", err)
	}
	input := a.Input
	if a.BaseInput != nil {
		input = a.BaseInput
	}
	return e.invoke(ctx, act, a, session, input)
}

// invoke calls an action's function, with ad-hoc output applied.
func (e *Engine) invoke(ctx context.Context, act *actions.Action, a *Action, session *cloud.Session, input any) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("action panicked", "action", act.Name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("action %s failed by an internal error", act.Name)
		}
	}()
	plain, _ := yaql.Plain(input).(map[string]any)
	in, err := act.Check(plain)
	if err != nil {
		return nil, err
	}
	out, err = act.Run(ctx, &actions.Context{
		Session: session, Log: e.log.With("action", act.Name, "action_execution", a.ID), Now: e.now,
		ActionExecutionID: a.ID, TaskID: a.TaskID, TaskName: a.Doc.TaskName, WorkflowName: a.Doc.Workflow,
		WorkflowExecutionID: a.ExecutionID, RootExecutionID: a.Doc.Root, ProjectID: a.Doc.Caller.ProjectID,
		UserID: a.Doc.Caller.UserID, Started: a.Started, Attempt: a.Attempt,
	}, in)
	if err != nil {
		return nil, err
	}
	return e.adhocOutput(ctx, a.Doc.Adhoc, out)
}

// Session returns the session to act for a caller; nil without a cloud.
func (e *Engine) Session(ctx context.Context, c Caller) (*cloud.Session, error) {
	switch {
	case e.cloud == nil:
		return nil, nil
	case c.TrustID == ServiceTrust:
		return e.cloud.Service(ctx)
	case c.TrustID == "":
		return nil, errors.New("the execution has no trust")
	}
	return e.cloud.Trust(ctx, c.TrustID)
}

// actionError is what task().result is after an error.
func actionError(err error) any {
	var f *actions.FailureError
	if errors.As(err, &f) {
		return f.Result
	}
	return err.Error()
}

// Complete stores the outcome of an action, unless it has one, and wakes its
// execution. failed overrides state and result.
func (e *Engine) Complete(ctx context.Context, id, state string, result any, failed error) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		a, err := GetAction(tx, id)
		if err != nil {
			return err
		}
		if Completed(a.State) {
			return nil
		}
		a.complete(e.now(), result, failed)
		if failed == nil {
			a.State = state
			if state != Success {
				a.Info = yaql.Str(result)
			}
		}
		if s, err := text(a.Output); err != nil || len(s) > e.limit {
			if err == nil {
				err = fmt.Errorf("the result has %d bytes, the limit is %d", len(s), e.limit)
			}
			a.complete(e.now(), nil, err)
		}
		if err := writeAction(tx, a); err != nil {
			return err
		}
		e.bus.PublishTx(tx, "workflow/action/"+id)
		if a.ExecutionID == "" {
			return nil
		}
		return e.jobs.Poke(tx, KindExecution, a.ExecutionID, nil)
	})
}

// dropTrust deletes the trust of a root execution once nothing of it runs.
func (e *Engine) dropTrust(ctx context.Context, j jobs.Job) jobs.Result {
	if e.cloud == nil {
		return jobs.Done()
	}
	var caller Caller
	busy := 0
	err := e.db.View(ctx, func(tx *store.Tx) error {
		x, err := GetExecution(tx, j.Key)
		if err != nil {
			return err
		}
		caller = x.Doc.Caller
		if !Completed(x.State) { // rerun meanwhile
			caller.Owned = false
		}
		return tx.Get([]any{&busy}, `SELECT COUNT(*) FROM workflow_actions WHERE state = 'RUNNING' AND execution_id IN
			(SELECT id FROM workflow_executions WHERE id = ? OR root_id = ?)`, j.Key, j.Key)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return jobs.Done()
	case err != nil:
		return jobs.Fail(err)
	case busy > 0:
		return jobs.After(15 * time.Second)
	}
	// A failed execution keeps its trust for a while, so that it can be rerun.
	if !caller.Owned {
		return jobs.Done()
	}
	if err := e.cloud.DeleteTrust(ctx, caller.TrustID); err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}
