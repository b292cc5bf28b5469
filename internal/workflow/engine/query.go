package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/yaql"
)

// List returns executions by a condition of SQL, oldest first.
func (e *Engine) List(ctx context.Context, where string, args ...any) ([]*Execution, error) {
	out := []*Execution{}
	err := e.db.View(ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			x, err := scanExecution(tx, scan)
			out = append(out, x)
			return err
		}, `SELECT `+executionColumns+` FROM workflow_executions WHERE `+where+` ORDER BY created_at, id`, args...)
	})
	return out, err
}

// Tasks returns the tasks of an execution in order of creation.
func (e *Engine) Tasks(ctx context.Context, executionID string) (out []*Task, err error) {
	err = e.db.View(ctx, func(tx *store.Tx) (err error) {
		out, err = listTasks(tx, true, `execution_id = ?`, executionID)
		return err
	})
	return out, err
}

// Task returns one task.
func (e *Engine) Task(ctx context.Context, id string) (t *Task, err error) {
	err = e.db.View(ctx, func(tx *store.Tx) error {
		list, err := listTasks(tx, true, `id = ?`, id)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("TaskExecution not found [id=%s]: %w", id, store.ErrNotFound) //nolint:revive,staticcheck // Mistral's wording
		}
		if err == nil {
			t = list[0]
		}
		return err
	})
	return t, err
}

// ActionsOf returns action executions by a condition of SQL.
func (e *Engine) ActionsOf(ctx context.Context, where string, args ...any) (out []*Action, err error) {
	err = e.db.View(ctx, func(tx *store.Tx) (err error) {
		out, err = listActions(tx, where, args...)
		return err
	})
	return out, err
}

// Action returns one action execution.
func (e *Engine) Action(ctx context.Context, id string) (a *Action, err error) {
	err = e.db.View(ctx, func(tx *store.Tx) (err error) {
		a, err = GetAction(tx, id)
		return err
	})
	return a, err
}

// DeleteAction removes an action execution that belongs to no task.
func (e *Engine) DeleteAction(ctx context.Context, id string) error {
	return e.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM workflow_actions WHERE id = ?`, id)
		return err
	})
}

// DropTrust deletes a trust that is not needed after all. One that cannot be
// deleted stays, and only the log says so: what it was for is gone already.
func (e *Engine) DropTrust(ctx context.Context, id string) {
	if e.cloud == nil || id == "" || id == ServiceTrust {
		return
	}
	if err := e.cloud.DeleteTrust(ctx, id); err != nil {
		e.log.Warn("a trust that nothing needs any more is left", "trust", id, "error", err)
	}
}

// IsNotFound says whether a workflow, action or row is missing.
func IsNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// CheckInput says whether a workflow takes an input.
func (e *Engine) CheckInput(d *Definition, input *yaql.Map) error {
	_, err := e.newExecution(d, input, yaql.NewMap(0), false)
	return err
}
