package workflow

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
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
		"result", result, "published", published, "published_global", "{}", "processed", t.Processed, "runtime_context", context,
		"project_id", x.ProjectID, "tags", []any{}, "created_at", stamp(t.Created), "updated_at", stamp(t.Updated),
		"started_at", stamp(t.Started), "finished_at", stamp(t.Ended)), nil
}

// task reads the task of the path, if the caller may see it.
func (s *Service) task(r *http.Request) (*yaql.Map, error) {
	t, err := s.eng.Task(r.Context(), r.PathValue("task"))
	if err != nil {
		return nil, problem(err)
	}
	x, err := s.execution(r.Context(), t.ExecutionID, identity(r))
	if err != nil {
		return nil, api.NotFound("TaskExecution not found [id=%s]", r.PathValue("task"))
	}
	return taskDoc(t, x)
}

func (s *Service) showTask(w http.ResponseWriter, r *http.Request) error {
	m, err := s.task(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}

func (s *Service) listTasks(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if id == "" {
		id = r.URL.Query().Get("workflow_execution_id")
	}
	var execs []*engine.Execution
	if id != "" {
		x, err := s.execution(r.Context(), id, identity(r))
		if err != nil {
			return err
		}
		execs = []*engine.Execution{x}
	} else {
		var err error
		if execs, err = s.eng.List(r.Context(), `project_id = ?`, identity(r).ProjectID); err != nil {
			return err
		}
	}
	items := []*yaql.Map{}
	for _, x := range execs {
		tasks, err := s.eng.Tasks(r.Context(), x.ID)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			m, err := taskDoc(t, x)
			if err != nil {
				return err
			}
			items = append(items, m)
		}
	}
	return s.reply(w, r, "tasks", items, "created_at")
}

// updateTask runs a failed task again, or skips it.
func (s *Service) updateTask(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	if _, err := s.task(r); err != nil {
		return err
	}
	env, err := jsonField(in.Value("env"), "env")
	if err != nil {
		return err
	}
	switch state := str(in, "state"); state {
	case engine.Running:
		reset, isBool := in.Value("reset").(bool)
		if !isBool {
			return api.Invalid("Mandatory field missing: reset")
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
	m, err := s.task(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}
