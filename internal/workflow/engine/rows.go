package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

// errStale is a commit that lost against a change by the API.
var errStale = errors.New("the execution was changed meanwhile")

// value is a JSON column that keeps the order of maps.
type value struct{ v any }

func text(v any) (string, error) {
	b, err := yaql.JSON(v)
	return string(b), err
}

// Scan reads the column.
func (c *value) Scan(src any) error {
	var data []byte
	switch s := src.(type) {
	case string:
		data = []byte(s)
	case []byte:
		data = s
	}
	if len(data) == 0 {
		return nil
	}
	v, err := yaql.ParseJSON(data)
	c.v = v
	return err
}

func (c *value) dict() *yaql.Map {
	if m, ok := c.v.(*yaql.Map); ok {
		return m
	}
	return yaql.NewMap(0)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ExecutionColumns are the columns that ScanExecution reads.
const ExecutionColumns = executionColumns

const executionColumns = `id, workflow_name, workflow_id, namespace, description, spec_id, project_id, state, state_info,
	finalized, parent_task_id, parent_id, root_id, item, accepted, version, input, params, context, output, doc,
	created_at, updated_at, finished_at`

// ScanExecution reads a row of ExecutionColumns.
func ScanExecution(scan func(...any) error) (*Execution, error) { return scanExecution(scan) }

func scanExecution(scan func(...any) error) (*Execution, error) {
	x := &Execution{}
	var input, params, context, output value
	var finalized, accepted int64
	err := scan(&x.ID, &x.Workflow, &x.WorkflowID, &x.Namespace, &x.Description, &x.SpecID, &x.ProjectID, &x.State, &x.Info,
		&finalized, &x.ParentTask, &x.Parent, &x.Root, &x.Item, &accepted, &x.Version, &input, &params, &context, &output,
		store.JSON(&x.Doc), store.Time(&x.Created), store.Time(&x.Updated), store.Time(&x.Finished))
	x.Finalized, x.Accepted = finalized != 0, accepted != 0
	x.Input, x.Params, x.Context, x.Output = input.dict(), params.dict(), context.dict(), output.v
	return x, err
}

// GetExecution reads one execution.
func GetExecution(tx *store.Tx, id string) (*Execution, error) {
	x, err := scanExecution(tx.QueryRow(`SELECT `+executionColumns+` FROM workflow_executions WHERE id = ?`, id).Scan)
	if err != nil {
		return nil, store.Wrap(err)
	}
	return x, nil
}

func (x *Execution) values() ([]any, error) {
	out := make([]any, 0, 4)
	for _, v := range []any{x.Input, x.Params, x.Context, x.Output} {
		s, err := text(v)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func insertExecution(tx *store.Tx, x *Execution) error {
	vals, err := x.values()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO workflow_executions (`+executionColumns+`)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		x.ID, x.Workflow, x.WorkflowID, x.Namespace, x.Description, x.SpecID, x.ProjectID, x.State, x.Info,
		flag(x.Finalized), x.ParentTask, x.Parent, x.Root, x.Item, flag(x.Accepted), x.Version,
		vals[0], vals[1], vals[2], vals[3], store.JSON(x.Doc), store.At(x.Created), store.At(x.Updated), store.At(x.Finished))
	return err
}

// updateExecution writes x if nobody else has since it was read.
func updateExecution(tx *store.Tx, x *Execution) error {
	vals, err := x.values()
	if err != nil {
		return err
	}
	n, err := tx.Exec(`UPDATE workflow_executions SET description = ?, state = ?, state_info = ?, finalized = ?,
			version = version + 1, params = ?, context = ?, output = ?, doc = ?, updated_at = ?, finished_at = ?
		WHERE id = ? AND version = ?`,
		x.Description, x.State, x.Info, flag(x.Finalized), vals[1], vals[2], vals[3], store.JSON(x.Doc),
		store.At(x.Updated), store.At(x.Finished), x.ID, x.Version)
	if err != nil {
		return err
	}
	if n == 0 {
		return errStale
	}
	x.Version++
	return nil
}

const (
	taskLight = `id, execution_id, rank, name, type, state, processed, doc, created_at, updated_at, started_at, finished_at`
	taskFull  = taskLight + `, in_context, published, result`
)

// TaskColumns are the columns that ScanTask reads.
const TaskColumns = taskFull

// ScanTask reads a row of TaskColumns, and of those that follow into more.
func ScanTask(scan func(...any) error, more ...any) (*Task, error) {
	return scanTask(scan, true, more...)
}

func scanTask(scan func(...any) error, full bool, more ...any) (*Task, error) {
	t := &Task{full: full}
	var processed int64
	dest := []any{&t.ID, &t.ExecutionID, &t.Rank, &t.Name, &t.Type, &t.State, &processed, store.JSON(&t.Doc),
		store.Time(&t.Created), store.Time(&t.Updated), store.Time(&t.Started), store.Time(&t.Ended)}
	var in, published, result value
	if full {
		dest = append(dest, &in, &published, &result)
	}
	err := scan(append(dest, more...)...)
	t.Processed = processed != 0
	t.In, t.Published, t.Result = in.dict(), published.dict(), result.v
	return t, err
}

func listTasks(tx *store.Tx, full bool, where string, args ...any) ([]*Task, error) {
	cols := taskLight
	if full {
		cols = taskFull
	}
	var out []*Task
	err := tx.Each(func(scan func(...any) error) error {
		t, err := scanTask(scan, full)
		out = append(out, t)
		return err
	}, `SELECT `+cols+` FROM workflow_tasks WHERE `+where+` ORDER BY rank`, args...)
	return out, err
}

func writeTask(tx *store.Tx, t *Task) error {
	var cols [3]string
	if t.full {
		for i, v := range []any{t.In, t.Published, t.Result} {
			s, err := text(v)
			if err != nil {
				return fmt.Errorf("task %s: %w", t.Name, err)
			}
			cols[i] = s
		}
	}
	if t.fresh {
		_, err := tx.Exec(`INSERT INTO workflow_tasks (`+taskFull+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			t.ID, t.ExecutionID, t.Rank, t.Name, t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), store.At(t.Created),
			store.At(t.Updated), store.At(t.Started), store.At(t.Ended), cols[0], cols[1], cols[2])
		return err
	}
	if !t.full {
		_, err := tx.Exec(`UPDATE workflow_tasks SET type = ?, state = ?, processed = ?, doc = ?, updated_at = ?, started_at = ?,
			finished_at = ? WHERE id = ?`, t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), store.At(t.Updated),
			store.At(t.Started), store.At(t.Ended), t.ID)
		return err
	}
	_, err := tx.Exec(`UPDATE workflow_tasks SET type = ?, state = ?, processed = ?, doc = ?, in_context = ?, published = ?,
			result = ?, updated_at = ?, started_at = ?, finished_at = ? WHERE id = ?`,
		t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), cols[0], cols[1], cols[2], store.At(t.Updated),
		store.At(t.Started), store.At(t.Ended), t.ID)
	return err
}

const actionColumns = `id, task_id, execution_id, project_id, name, state, state_info, accepted, item, attempt, input, output, doc,
	created_at, updated_at, started_at, finished_at`

// ActionColumns are the columns that ScanAction reads.
const ActionColumns = actionColumns

// ScanAction reads a row of ActionColumns.
func ScanAction(scan func(...any) error) (*Action, error) { return scanAction(scan) }

func scanAction(scan func(...any) error) (*Action, error) {
	a := &Action{}
	var input, output value
	var accepted int64
	err := scan(&a.ID, &a.TaskID, &a.ExecutionID, &a.ProjectID, &a.Name, &a.State, &a.Info, &accepted, &a.Item, &a.Attempt,
		&input, &output, store.JSON(&a.Doc), store.Time(&a.Created), store.Time(&a.Updated), store.Time(&a.Started), store.Time(&a.Ended))
	a.Accepted, a.Input, a.Output = accepted != 0, input.v, output.v
	return a, err
}

// GetAction reads one action execution.
func GetAction(tx *store.Tx, id string) (*Action, error) {
	a, err := scanAction(tx.QueryRow(`SELECT `+actionColumns+` FROM workflow_actions WHERE id = ?`, id).Scan)
	if err != nil {
		return nil, store.Wrap(err)
	}
	return a, nil
}

func listActions(tx *store.Tx, where string, args ...any) ([]*Action, error) {
	var out []*Action
	err := tx.Each(func(scan func(...any) error) error {
		a, err := scanAction(scan)
		out = append(out, a)
		return err
	}, `SELECT `+actionColumns+` FROM workflow_actions WHERE `+where+` ORDER BY created_at, item`, args...)
	return out, err
}

// writeAction stores an action. The secrets of one that has ended are not needed
// any more, as a rerun makes its input anew, and are not kept.
func writeAction(tx *store.Tx, a *Action) error {
	shown := a.Input
	if Completed(a.State) {
		shown, a.Doc.BaseInput = actions.Mask(a.Input), nil
	}
	in, err := text(shown)
	if err != nil {
		return err
	}
	out, err := text(a.Output)
	if err != nil {
		return err
	}
	if a.fresh {
		_, err = tx.Exec(`INSERT INTO workflow_actions (`+actionColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			a.ID, a.TaskID, a.ExecutionID, a.ProjectID, a.Name, a.State, a.Info, flag(a.Accepted), a.Item, a.Attempt, in, out,
			store.JSON(a.Doc), store.At(a.Created), store.At(a.Updated), store.At(a.Started), store.At(a.Ended))
		return err
	}
	_, err = tx.Exec(`UPDATE workflow_actions SET state = ?, state_info = ?, accepted = ?, attempt = ?, input = ?, output = ?, doc = ?,
			updated_at = ?, started_at = ?, finished_at = ? WHERE id = ?`,
		a.State, a.Info, flag(a.Accepted), a.Attempt, in, out, store.JSON(a.Doc), store.At(a.Updated), store.At(a.Started),
		store.At(a.Ended), a.ID)
	return err
}

// acceptAction changes only whether a result counts, not what a running job writes.
func acceptAction(tx *store.Tx, a *Action, now time.Time) error {
	_, err := tx.Exec(`UPDATE workflow_actions SET accepted = ?, updated_at = ? WHERE id = ?`, flag(a.Accepted), store.At(now), a.ID)
	return err
}

func listChildren(tx *store.Tx, taskID string) ([]*Child, error) {
	var out []*Child
	err := tx.Each(func(scan func(...any) error) error {
		c := &Child{}
		var output value
		var accepted int64
		err := scan(&c.ID, &c.State, &c.Item, &accepted, &output)
		c.Accepted, c.Output = accepted != 0, output.v
		out = append(out, c)
		return err
	}, `SELECT id, state, item, accepted, output FROM workflow_executions WHERE parent_task_id = ? ORDER BY created_at, item`, taskID)
	return out, err
}
