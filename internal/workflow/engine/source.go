package engine

import (
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/expr"
	"github.com/tripleo/tripleo/yaql"
)

// view is $ of an expression: layers, the first that has a name wins.
type view []*yaql.Map

// YAQLKeys implements yaql.Ordered.
func (v view) YAQLKeys() []any {
	var keys []any
	seen := map[string]bool{}
	for _, l := range v {
		for k := range l.All() {
			if s := yaql.Str(k); !seen[s] {
				seen[s] = true
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// YAQLLookup implements yaql.Ordered.
func (v view) YAQLLookup(key any) (any, bool) {
	for _, l := range v {
		if x, ok := l.Get(key); ok {
			return x, true
		}
	}
	return nil, false
}

// eval evaluates a value of the definition in the inbound context of a task.
func (r *run) eval(t *Task, v any, vars *yaql.Map) (any, error) { return r.evalVars(t, v, vars) }

func (r *run) evalVars(t *Task, v any, vars *yaql.Map) (any, error) {
	var in *yaql.Map
	if t != nil {
		in = t.In
	}
	return r.evalLayers(t, v, vars, in)
}

// evalIn evaluates in the given context instead.
func (r *run) evalIn(t *Task, v any, in *yaql.Map) (any, error) { return r.evalLayers(t, v, nil, in) }

func (r *run) evalLayers(t *Task, v any, vars, in *yaql.Map) (any, error) {
	if s, ok := v.(string); v == nil || ok && !expr.Has(s) {
		return v, nil
	}
	data := make(view, 0, 5)
	for _, l := range []*yaql.Map{vars, in, r.x.Context, r.x.Input, r.base()} {
		if l.Len() > 0 {
			data = append(data, l)
		}
	}
	return r.e.expr.Value(expr.WithSource(r.ctx, &source{r, t}), v, data)
}

// base is what Mistral adds to every context.
func (r *run) base() *yaql.Map {
	c := r.x.Doc.Caller
	return yaql.MapOf(
		"__env", r.env(),
		"__execution", r.executionMap(),
		"openstack", yaql.MapOf("project_id", c.ProjectID, "project_name", c.ProjectName, "user_name", c.UserName, "user_id", c.UserID),
	)
}

func (r *run) env() any {
	if env, ok := r.x.Params.Get("env"); ok && env != nil {
		return env
	}
	return yaql.NewMap(0)
}

// moment is how Mistral writes times into contexts.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func (r *run) executionMap() *yaql.Map {
	if r.execution == nil {
		r.execution = executionMap(r.x, r.wf.Spec)
	}
	return r.execution
}

func executionMap(x *Execution, spec any) *yaql.Map {
	var root any
	if x.Root != "" {
		root = x.Root
	}
	return yaql.MapOf("id", x.ID, "name", x.Workflow, "spec", spec, "input", x.Input, "params", x.Params,
		"created_at", moment(x.Created), "updated_at", moment(x.Updated), "root_execution_id", root,
		"state", x.State, "state_info", nilIfEmpty(x.Info), "project_id", x.ProjectID, "description", x.Description,
		"workflow_name", x.Workflow, "workflow_id", x.WorkflowID)
}

func nilIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// source answers the functions of expressions.
type source struct {
	r *run
	t *Task
}

// Task implements expr.Source: the newest task of the name.
func (s *source) Task(name string) (any, error) {
	t := s.t
	if name != "" && (t == nil || t.Name != name) {
		t = s.r.latest(name)
	}
	if t == nil {
		return nil, nil
	}
	if err := s.r.filled(t); err != nil {
		return nil, err
	}
	var spec any
	if t.spec != nil {
		spec = t.spec.Spec
	}
	return taskMap(t, spec), nil
}

func taskMap(t *Task, spec any) *yaql.Map {
	return yaql.MapOf("id", t.ID, "name", t.Name, "spec", spec, "state", t.State, "state_info", nilIfEmpty(t.Doc.Info),
		"result", t.Result, "published", t.Published, "type", t.Type, "workflow_execution_id", t.ExecutionID,
		"created_at", moment(t.Created), "updated_at", moment(t.Updated), "processed", t.Processed)
}

// Tasks implements expr.Source.
func (s *source) Tasks(id string, recursive bool, state string, flat bool) (any, error) {
	if id == "" {
		id = s.r.x.ID
	}
	out := []any{}
	err := s.r.e.db.View(s.r.ctx, func(tx *store.Tx) error {
		queue := []string{id}
		for len(queue) > 0 {
			list, err := s.tasksOf(tx, queue[0])
			if err != nil {
				return err
			}
			queue = queue[1:]
			for _, t := range list {
				if recursive {
					kids, err := listChildren(tx, t.ID)
					if err != nil {
						return err
					}
					for _, k := range kids {
						queue = append(queue, k.ID)
					}
				}
				if (state == "" || t.State == state) && (!flat || t.Type == "ACTION") {
					out = append(out, taskMap(t, nil))
				}
			}
		}
		return nil
	})
	return out, err
}

// tasksOf lists the tasks of an execution; of the own one as they are now, not
// as they were committed.
func (s *source) tasksOf(tx *store.Tx, id string) ([]*Task, error) {
	if id != s.r.x.ID {
		return listTasks(tx, true, `execution_id = ?`, id)
	}
	for _, t := range s.r.tasks {
		if err := s.r.fill(tx, t); err != nil {
			return nil, err
		}
	}
	return s.r.tasks, nil
}

// Execution implements expr.Source.
func (s *source) Execution() any { return s.r.executionMap() }

// Executions implements expr.Source.
func (s *source) Executions(filter map[string]any) (any, error) {
	where, args := `project_id = ?`, []any{s.r.x.ProjectID}
	for col, key := range map[string]string{"id": "id", "root_id": "root_execution_id", "state": "state"} {
		if v, ok := filter[key].(string); ok {
			where += ` AND ` + col + ` = ?`
			args = append(args, v)
		}
	}
	for key, op := range map[string]string{"from_time": ">=", "to_time": "<="} {
		if v, ok := filter[key].(string); ok {
			at, err := time.Parse("2006-01-02 15:04:05", v)
			if err != nil {
				return nil, err
			}
			where += ` AND created_at ` + op + ` ?`
			args = append(args, at.UnixMicro())
		}
	}
	out := []any{}
	err := s.r.e.db.View(s.r.ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			x, err := scanExecution(tx, scan)
			if err == nil {
				out = append(out, executionMap(x, nil))
			}
			return err
		}, `SELECT `+executionColumns+` FROM workflow_executions WHERE `+where+` ORDER BY created_at LIMIT 1000`, args...)
	})
	return out, err
}

// Env implements expr.Source.
func (s *source) Env() any { return s.r.env() }

// Global implements expr.Source.
func (s *source) Global(name string) any { return s.r.x.Context.Value(name) }

var _ expr.Source = (*source)(nil)
