package workflow

import (
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

func actionDoc(a *engine.Action, withOutput bool) (*yaql.Map, error) {
	input, err := jsonText(actions.Mask(a.Input))
	if err != nil {
		return nil, err
	}
	m := yaql.MapOf("id", a.ID, "name", a.Name, "workflow_name", orNull(a.Doc.Workflow), "workflow_namespace", a.Doc.Namespace,
		"task_execution_id", orNull(a.TaskID), "task_name", orNull(a.Doc.TaskName), "state", a.State, "state_info", orNull(a.Info),
		"accepted", a.Accepted && engine.Completed(a.State), "description", a.Doc.Description, "input", input, "project_id", a.ProjectID,
		"workflow_execution_id", orNull(a.ExecutionID), "tags", tagList(a.Doc.Tags), "created_at", stamp(a.Created), "updated_at", stamp(a.Updated), "started_at", stamp(a.Started), "finished_at", stamp(a.Ended))
	if withOutput {
		out := a.Output
		if out == nil {
			out = yaql.NewMap(0)
		}
		text, err := jsonText(out)
		if err != nil {
			return nil, err
		}
		m.Set("output", text)
	}
	return m, nil
}

func (s *Service) actionExecution(r *http.Request) (*engine.Action, error) {
	a, err := s.eng.Action(r.Context(), r.PathValue("action"))
	if err != nil || a.ProjectID != identity(r).ProjectID && !identity(r).IsAdmin() {
		return nil, api.NotFound("ActionExecution not found [id=%s]", r.PathValue("action"))
	}
	return a, nil
}

// actionExecutionList lists action executions.
func actionExecutionList(withOutput bool) *listing {
	text := func(sql string) column { return column{sql: sql} }
	l := &listing{key: "action_executions", from: "workflow_actions", selects: engine.ActionColumns, id: "id", sort: "created_at",
		columns: map[string]column{
			"id": text("id"), "name": text("name"), "state": text("state"), "state_info": text("state_info"), "project_id": text("project_id"),
			"task_execution_id": text("task_id"), "workflow_execution_id": text("execution_id"),
			"workflow_name": {"doc", kindText, "workflow"}, "workflow_namespace": {"doc", kindText, "namespace"}, "task_name": {"doc", kindText, "task_name"},
			"description": {"doc", kindText, "description"}, "tags": {"doc", kindTags, "tags"}, "params": {"doc", kindJSON, "params"},
			"accepted": {"CASE WHEN state IN ('SUCCESS', 'ERROR', 'CANCELLED') THEN accepted ELSE 0 END", kindBool, ""},
			"input":    {"input", kindJSON, ""}, "output": {"output", kindJSON, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""},
			"started_at": {"started_at", kindTime, ""}, "finished_at": {"finished_at", kindTime, ""},
		}}
	if !withOutput {
		l.selects = strings.Replace(l.selects, "output,", "'' AS output,", 1)
	}
	l.scan = func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
		a, err := engine.ScanAction(tx, scan)
		if err != nil {
			return nil, err
		}
		return actionDoc(a, withOutput)
	}
	return l
}

func (s *Service) listActionExecutions(w http.ResponseWriter, r *http.Request) error {
	l := actionExecutionList(flagOf(r, "include_output"))
	if r.PathValue("task") != "" {
		_, t, err := s.task(r)
		if err != nil {
			return err
		}
		return s.reply(w, r, l, `task_id = ?`, t.ID)
	}
	where, args, err := ownOrAll(r, "action executions")
	if err != nil {
		return err
	}
	return s.reply(w, r, l, where, args...)
}

func (s *Service) showActionExecution(w http.ResponseWriter, r *http.Request) error {
	a, err := s.actionExecution(r)
	if err != nil {
		return err
	}
	return writeAction(w, http.StatusOK, a)
}

func writeAction(w http.ResponseWriter, status int, a *engine.Action) error {
	m, err := actionDoc(a, true)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, m)
}

// createActionExecution runs an action by itself: in the request when it may
// (run_sync, or the result is not to be saved, as in Mistral), else by a job.
func (s *Service) createActionExecution(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	name := str(in, "name")
	if name == "" {
		return api.Invalid("Please provide at least action name to run action.")
	}
	input, err := jsonField(in.Value("input"), "input")
	if err != nil {
		return err
	}
	params, err := jsonField(in.Value("params"), "params")
	if err != nil {
		return err
	}
	id := identity(r)
	caller := engine.Caller{ProjectID: id.ProjectID, ProjectName: id.ProjectName, UserID: id.UserID, UserName: id.UserName}
	a, err := s.eng.NewAction(r.Context(), name, input, caller)
	if err != nil {
		return problem(err)
	}
	a.Doc.Description, a.Doc.Target = str(in, "description"), str(params, "target")
	save := yaql.Truth(params.Value("save_result"))
	if save && !yaql.Truth(params.Value("run_sync")) || a.Doc.Async {
		if a.Doc.Caller, err = s.caller(r.Context(), id, s.cfg.Now().Add(24*time.Hour)); err != nil {
			return err
		}
		a.Doc.Caller.Owned = false // it expires by itself
		if err := s.eng.Queue(r.Context(), a); err != nil {
			return err
		}
		return writeAction(w, http.StatusCreated, a)
	}
	var session *cloud.Session
	if s.cfg.Cloud != nil {
		if session, err = s.cfg.Cloud.Token(r.Context(), id.Token); err != nil {
			return err
		}
	}
	if err := s.eng.RunNow(r.Context(), a, session, save); err != nil {
		return err
	}
	return writeAction(w, http.StatusCreated, a)
}

// updateActionExecution gives the result of an asynchronous action.
func (s *Service) updateActionExecution(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	a, err := s.actionExecution(r)
	if err != nil {
		return err
	}
	state := str(in, "state")
	switch state {
	case engine.Success, engine.Error, engine.Cancelled:
	case engine.Running, engine.Paused:
		if err := s.eng.SetActionState(r.Context(), a.ID, state); err != nil {
			return problem(err)
		}
		if a, err = s.actionExecution(r); err != nil {
			return err
		}
		return writeAction(w, http.StatusOK, a)
	default:
		return api.Invalid("Error. Expected one of RUNNING, PAUSED, SUCCESS, ERROR, CANCELLED, actual: %s", state)
	}
	if engine.Completed(a.State) {
		return api.Invalid("Can't change action execution state from %s to %s [id=%s]", a.State, state, a.ID)
	}
	out := in.Value("output")
	if text, ok := out.(string); ok {
		if v, err := yaql.ParseJSON([]byte(text)); err == nil {
			out = v
		}
	}
	if err := s.eng.Complete(r.Context(), a.ID, state, out, nil); err != nil {
		return problem(err)
	}
	if a, err = s.actionExecution(r); err != nil {
		return err
	}
	return writeAction(w, http.StatusOK, a)
}

func (s *Service) deleteActionExecution(w http.ResponseWriter, r *http.Request) error {
	a, err := s.actionExecution(r)
	if err != nil {
		return err
	}
	if a.TaskID != "" {
		return api.Forbidden("Only ad-hoc action execution can be deleted.")
	}
	if !engine.Completed(a.State) {
		return api.Forbidden("Only completed action execution can be deleted.")
	}
	if err := s.eng.DeleteAction(r.Context(), a.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
