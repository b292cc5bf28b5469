package engine

import (
	"context"
	"fmt"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/yaql"
)

// A pause reaches the whole tree of executions, up and down: a workflow does
// not go on while a part of it stands still. To resume an execution resumes
// those below and above it, not its siblings.

// pauseTree pauses whatever runs under a root, except one that is written by
// the caller.
func (e *Engine) pauseTree(tx *store.Tx, root, except string) error {
	list, err := e.treeTx(tx, root, Running)
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.ID == except {
			continue
		}
		x.State, x.Updated = Paused, e.now()
		if err := e.saveTx(tx, x); err != nil {
			return err
		}
	}
	return nil
}

// resumeAbove resumes the executions that wait for a resumed one.
func (e *Engine) resumeAbove(tx *store.Tx, x *Execution) error {
	for x.Parent != "" {
		up, err := GetExecution(tx, x.Parent)
		if err != nil {
			return err
		}
		if up.State == Paused {
			up.State, up.Info, up.Updated = Running, "", e.now()
			if err := e.saveTx(tx, up); err != nil {
				return err
			}
		}
		x = up
	}
	return nil
}

// treeTx lists the executions of a tree that are in a state.
func (e *Engine) treeTx(tx *store.Tx, root, state string) ([]*Execution, error) {
	var out []*Execution
	err := tx.Each(func(scan func(...any) error) error {
		x, err := scanExecution(tx, scan)
		out = append(out, x)
		return err
	}, `SELECT `+executionColumns+` FROM workflow_executions WHERE (id = ? OR root_id = ?) AND state = ?`, root, root, state)
	return out, err
}

// writable refuses to change a read-only execution.
func writable(x *Execution) error {
	if yaql.Truth(x.Params.Value(ParamReadOnly)) {
		return fmt.Errorf("execution %s is read-only: %w", x.ID, ErrState)
	}
	return nil
}

// SetActionState pauses or resumes an asynchronous action, and with it the
// executions around it; RUNNING of a running one is a sign of life.
func (e *Engine) SetActionState(ctx context.Context, id, state string) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		a, err := GetAction(tx, id)
		if err != nil {
			return err
		}
		if Completed(a.State) {
			return fmt.Errorf("action execution %s is %s already: %w", id, a.State, ErrState)
		}
		was := a.State
		a.State, a.Updated = state, e.now()
		if err := writeAction(tx, a); err != nil {
			return err
		}
		if a.ExecutionID == "" || was == state {
			return nil
		}
		x, err := GetExecution(tx, a.ExecutionID)
		if err != nil {
			return err
		}
		if state == Paused {
			return e.pauseTree(tx, x.RootID(), "")
		}
		if err := e.switchTx(tx, x, Running, ""); err != nil {
			return err
		}
		return e.resumeAbove(tx, x)
	})
}
