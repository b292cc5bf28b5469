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

// value is an encrypted JSON column that keeps the order of maps: what a
// workflow works with may hold secrets under any name.
type value struct {
	v     any
	tx    *store.Tx
	owner string // the column: "workflow_executions.input"
}

// columns are the encrypted columns of one row.
func columns(tx *store.Tx, owners ...string) []value {
	out := make([]value, len(owners))
	for i, o := range owners {
		out[i] = value{tx: tx, owner: o}
	}
	return out
}

// sealed is v as an encrypted column has it. What holds nothing stays readable.
func sealed(tx *store.Tx, v any, owner string) (string, error) {
	b, err := yaql.JSON(v)
	if err != nil || len(b) <= len(`{}`) || string(b) == "null" {
		return string(b), err
	}
	return string(tx.SealBytes(b, owner)), nil
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
	data, err := c.tx.OpenBytes(data, c.owner)
	if err != nil || len(data) == 0 {
		return err
	}
	c.v, err = yaql.ParseJSON(data)
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

// executionSecrets are the encrypted ones of executionColumns.
var executionSecrets = []string{"workflow_executions.input", "workflow_executions.params", "workflow_executions.context", "workflow_executions.output"}

// ScanExecution reads a row of ExecutionColumns.
func ScanExecution(tx *store.Tx, scan func(...any) error) (*Execution, error) {
	return scanExecution(tx, scan)
}

func scanExecution(tx *store.Tx, scan func(...any) error) (*Execution, error) {
	x := &Execution{}
	c := columns(tx, executionSecrets...)
	var finalized, accepted int64
	err := scan(&x.ID, &x.Workflow, &x.WorkflowID, &x.Namespace, &x.Description, &x.SpecID, &x.ProjectID, &x.State, &x.Info,
		&finalized, &x.ParentTask, &x.Parent, &x.Root, &x.Item, &accepted, &x.Version, &c[0], &c[1], &c[2], &c[3],
		store.JSON(&x.Doc), store.Time(&x.Created), store.Time(&x.Updated), store.Time(&x.Finished))
	x.Finalized, x.Accepted = finalized != 0, accepted != 0
	x.Input, x.Params, x.Context, x.Output = c[0].dict(), c[1].dict(), c[2].dict(), c[3].v
	return x, err
}

// GetExecution reads one execution.
func GetExecution(tx *store.Tx, id string) (*Execution, error) {
	x, err := scanExecution(tx, tx.QueryRow(`SELECT `+executionColumns+` FROM workflow_executions WHERE id = ?`, id).Scan)
	if err != nil {
		return nil, store.Wrap(err)
	}
	return x, nil
}

func (x *Execution) values(tx *store.Tx) ([]any, error) {
	out := make([]any, 0, 4)
	for i, v := range []any{x.Input, x.Params, x.Context, x.Output} {
		s, err := sealed(tx, v, executionSecrets[i])
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func insertExecution(tx *store.Tx, x *Execution) error {
	vals, err := x.values(tx)
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
	vals, err := x.values(tx)
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
	taskFull  = taskLight + `, in_context, published, result, published_global`
)

// taskSecrets are the encrypted ones of taskFull.
var taskSecrets = []string{"workflow_tasks.in_context", "workflow_tasks.published", "workflow_tasks.result", "workflow_tasks.published_global"}

// TaskColumns are the columns that ScanTask reads.
const TaskColumns = taskFull

// ScanTask reads a row of TaskColumns, and of those that follow into more.
func ScanTask(tx *store.Tx, scan func(...any) error, more ...any) (*Task, error) {
	return scanTask(tx, scan, true, more...)
}

func scanTask(tx *store.Tx, scan func(...any) error, full bool, more ...any) (*Task, error) {
	t := &Task{full: full}
	var processed int64
	dest := []any{&t.ID, &t.ExecutionID, &t.Rank, &t.Name, &t.Type, &t.State, &processed, store.JSON(&t.Doc),
		store.Time(&t.Created), store.Time(&t.Updated), store.Time(&t.Started), store.Time(&t.Ended)}
	c := columns(tx, taskSecrets...)
	if full {
		dest = append(dest, &c[0], &c[1], &c[2], &c[3])
	}
	err := scan(append(dest, more...)...)
	t.Processed = processed != 0
	t.In, t.Published, t.Result = c[0].dict(), c[1].dict(), c[2].v
	t.Global, _ = c[3].v.(*yaql.Map)
	return t, err
}

func listTasks(tx *store.Tx, full bool, where string, args ...any) ([]*Task, error) {
	cols := taskLight
	if full {
		cols = taskFull
	}
	var out []*Task
	err := tx.Each(func(scan func(...any) error) error {
		t, err := scanTask(tx, scan, full)
		out = append(out, t)
		return err
	}, `SELECT `+cols+` FROM workflow_tasks WHERE `+where+` ORDER BY rank`, args...)
	return out, err
}

func writeTask(tx *store.Tx, t *Task) error {
	var cols [4]string
	if t.full {
		for i, v := range []any{t.In, t.Published, t.Result, t.Global} {
			s, err := sealed(tx, v, taskSecrets[i])
			if err != nil {
				return fmt.Errorf("task %s: %w", t.Name, err)
			}
			cols[i] = s
		}
	}
	if t.fresh {
		_, err := tx.Exec(`INSERT INTO workflow_tasks (`+taskFull+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			t.ID, t.ExecutionID, t.Rank, t.Name, t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), store.At(t.Created),
			store.At(t.Updated), store.At(t.Started), store.At(t.Ended), cols[0], cols[1], cols[2], cols[3])
		return err
	}
	if !t.full {
		_, err := tx.Exec(`UPDATE workflow_tasks SET type = ?, state = ?, processed = ?, doc = ?, updated_at = ?, started_at = ?,
			finished_at = ? WHERE id = ?`, t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), store.At(t.Updated),
			store.At(t.Started), store.At(t.Ended), t.ID)
		return err
	}
	_, err := tx.Exec(`UPDATE workflow_tasks SET type = ?, state = ?, processed = ?, doc = ?, in_context = ?, published = ?,
			result = ?, published_global = ?, updated_at = ?, started_at = ?, finished_at = ? WHERE id = ?`,
		t.Type, t.State, flag(t.Processed), store.JSON(t.Doc), cols[0], cols[1], cols[2], cols[3], store.At(t.Updated),
		store.At(t.Started), store.At(t.Ended), t.ID)
	return err
}

const actionColumns = `id, task_id, execution_id, project_id, name, state, state_info, accepted, item, attempt, input, output, base_input, doc,
	created_at, updated_at, started_at, finished_at`

// actionSecrets are the encrypted ones of actionColumns.
var actionSecrets = []string{"workflow_actions.input", "workflow_actions.output", "workflow_actions.base_input"}

// ActionColumns are the columns that ScanAction reads.
const ActionColumns = actionColumns

// ScanAction reads a row of ActionColumns.
func ScanAction(tx *store.Tx, scan func(...any) error) (*Action, error) { return scanAction(tx, scan) }

func scanAction(tx *store.Tx, scan func(...any) error) (*Action, error) {
	a := &Action{}
	c := columns(tx, actionSecrets...)
	var accepted int64
	err := scan(&a.ID, &a.TaskID, &a.ExecutionID, &a.ProjectID, &a.Name, &a.State, &a.Info, &accepted, &a.Item, &a.Attempt,
		&c[0], &c[1], &c[2], store.JSON(&a.Doc), store.Time(&a.Created), store.Time(&a.Updated), store.Time(&a.Started), store.Time(&a.Ended))
	a.Accepted, a.Input, a.Output = accepted != 0, c[0].v, c[1].v
	a.BaseInput, _ = c[2].v.(*yaql.Map)
	return a, err
}

// GetAction reads one action execution.
func GetAction(tx *store.Tx, id string) (*Action, error) {
	a, err := scanAction(tx, tx.QueryRow(`SELECT `+actionColumns+` FROM workflow_actions WHERE id = ?`, id).Scan)
	if err != nil {
		return nil, store.Wrap(err)
	}
	return a, nil
}

func listActions(tx *store.Tx, where string, args ...any) ([]*Action, error) {
	var out []*Action
	err := tx.Each(func(scan func(...any) error) error {
		a, err := scanAction(tx, scan)
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
		shown, a.BaseInput = actions.Mask(a.Input), nil
	}
	var cols [3]string
	for i, v := range []any{shown, a.Output, a.BaseInput} {
		s, err := sealed(tx, v, actionSecrets[i])
		if err != nil {
			return fmt.Errorf("action %s: %w", a.Name, err)
		}
		cols[i] = s
	}
	if a.fresh {
		_, err := tx.Exec(`INSERT INTO workflow_actions (`+actionColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
			a.ID, a.TaskID, a.ExecutionID, a.ProjectID, a.Name, a.State, a.Info, flag(a.Accepted), a.Item, a.Attempt, cols[0], cols[1], cols[2],
			store.JSON(a.Doc), store.At(a.Created), store.At(a.Updated), store.At(a.Started), store.At(a.Ended))
		return err
	}
	_, err := tx.Exec(`UPDATE workflow_actions SET state = ?, state_info = ?, accepted = ?, attempt = ?, input = ?, output = ?, base_input = ?, doc = ?,
			updated_at = ?, started_at = ?, finished_at = ? WHERE id = ?`,
		a.State, a.Info, flag(a.Accepted), a.Attempt, cols[0], cols[1], cols[2], store.JSON(a.Doc), store.At(a.Updated), store.At(a.Started),
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
		output := value{tx: tx, owner: executionSecrets[3]}
		var accepted int64
		err := scan(&c.ID, &c.State, &c.Item, &accepted, &output)
		c.Accepted, c.Output = accepted != 0, output.v
		out = append(out, c)
		return err
	}, `SELECT id, state, item, accepted, output FROM workflow_executions WHERE parent_task_id = ? ORDER BY created_at, item`, taskID)
	return out, err
}
