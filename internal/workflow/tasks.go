package workflow

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

func taskDoc(t *engine.Task, x *engine.Execution) (*yaql.Map, error) {
	result, err := jsonText(t.Result)
	if err != nil {
		return nil, err
	}
	published, err := jsonText(t.Published)
	if err != nil {
		return nil, err
	}
	global, err := jsonText(t.Global)
	if err != nil {
		return nil, err
	}
	runtime := yaql.NewMap(2)
	if t.Doc.RetryNo > 0 {
		runtime.Set("retry_task_policy", yaql.MapOf("retry_no", t.Doc.RetryNo))
	}
	if len(t.Doc.By) > 0 {
		by := make([]any, len(t.Doc.By))
		for i, b := range t.Doc.By {
			by[i] = yaql.MapOf("task_id", b[0], "event", b[1])
		}
		runtime.Set("triggered_by", by)
	}
	context, err := jsonText(runtime)
	if err != nil {
		return nil, err
	}
	return yaql.MapOf("id", t.ID, "name", t.Name, "type", t.Type, "workflow_execution_id", t.ExecutionID, "workflow_name", x.Workflow,
		"workflow_namespace", x.Namespace, "workflow_id", x.WorkflowID, "state", t.State, "state_info", orNull(t.Doc.Info),
		"result", result, "published", published, "published_global", global, "processed", t.Processed, "runtime_context", context,
		"project_id", x.ProjectID, "tags", tagList(t.Doc.Tags), "created_at", stamp(t.Created), "updated_at", stamp(t.Updated),
		"started_at", stamp(t.Started), "finished_at", stamp(t.Ended)), nil
}

// taskList lists tasks together with their executions.
func taskList() *listing {
	text := func(sql string) column { return column{sql: sql} }
	return &listing{key: "tasks", from: "workflow_tasks t JOIN workflow_executions x ON x.id = t.execution_id",
		selects: prefixed("t", engine.TaskColumns) + ", x.workflow_name, x.namespace, x.workflow_id, x.project_id", id: "t.id", sort: "created_at",
		columns: map[string]column{
			"id": text("t.id"), "name": text("t.name"), "type": text("t.type"), "state": text("t.state"),
			"workflow_name": text("x.workflow_name"), "workflow_id": text("x.workflow_id"), "workflow_namespace": text("x.namespace"),
			"workflow_execution_id": text("t.execution_id"), "project_id": text("x.project_id"),
			"state_info": {"t.doc", kindText, "info"}, "tags": {"t.doc", kindTags, "tags"},
			"result": {"t.result", kindJSON, ""}, "published": {"t.published", kindJSON, ""}, "processed": {"t.processed", kindBool, ""},
			"created_at": {"t.created_at", kindTime, ""}, "updated_at": {"t.updated_at", kindTime, ""},
			"started_at": {"t.started_at", kindTime, ""}, "finished_at": {"t.finished_at", kindTime, ""},
		},
		scan: func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
			x := &engine.Execution{}
			t, err := engine.ScanTask(tx, scan, &x.Workflow, &x.Namespace, &x.WorkflowID, &x.ProjectID)
			if err != nil {
				return nil, err
			}
			return taskDoc(t, x)
		}}
}

// prefixed puts a table's alias before each column of a list.
func prefixed(alias, columns string) string {
	list := strings.Split(columns, ",")
	for i, c := range list {
		list[i] = alias + "." + strings.TrimSpace(c)
	}
	return strings.Join(list, ", ")
}

// task reads the task of the path and its execution, if the caller may see them.
func (s *Service) task(r *http.Request) (*engine.Execution, *engine.Task, error) {
	t, err := s.eng.Task(r.Context(), r.PathValue("task"))
	if err != nil {
		return nil, nil, problem(err)
	}
	x, err := s.execution(r.Context(), t.ExecutionID, identity(r))
	if err != nil {
		return nil, nil, api.NotFound("TaskExecution not found [id=%s]", r.PathValue("task"))
	}
	return x, t, nil
}

func (s *Service) showTask(w http.ResponseWriter, r *http.Request) error {
	x, t, err := s.task(r)
	if err != nil {
		return err
	}
	m, err := taskDoc(t, x)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}

func (s *Service) listTasks(w http.ResponseWriter, r *http.Request) error {
	if id := r.PathValue("id"); id != "" {
		x, err := s.execution(r.Context(), id, identity(r))
		if err != nil {
			return err
		}
		return s.reply(w, r, taskList(), `t.execution_id = ?`, x.ID)
	}
	where, args, err := ownOrAll(r, "tasks")
	if err != nil {
		return err
	}
	return s.reply(w, r, taskList(), strings.Replace(where, "project_id", "x.project_id", 1), args...)
}

// updateTask runs a failed task again, or skips it.
func (s *Service) updateTask(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	x, t, err := s.task(r)
	if err != nil {
		return err
	}
	if name := str(in, "name"); name != "" && name != t.Name {
		return api.Invalid("Task name does not match.")
	}
	if name := str(in, "workflow_name"); name != "" && name != x.Workflow {
		return api.Invalid("Workflow name does not match.")
	}
	env, err := jsonField(in.Value("env"), "env")
	if err != nil {
		return err
	}
	switch state := str(in, "state"); state {
	case engine.Running:
		reset, isBool := in.Value("reset").(bool)
		if !isBool {
			return api.Invalid("Invalid input for field/attribute reset. Value: 'None'. Mandatory field missing.")
		}
		if !reset && !t.Doc.WithItems {
			return api.Invalid("Only with-items task has the option to not reset.")
		}
		err = s.eng.Rerun(r.Context(), r.PathValue("task"), reset, env)
	case engine.Skipped:
		err = s.eng.Skip(r.Context(), r.PathValue("task"))
	default:
		return api.Invalid("Invalid task state: %s, only RUNNING (run again) and SKIPPED can be set", state)
	}
	if err != nil {
		return problem(err)
	}
	return s.showTask(w, r)
}
