package workflow

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// executionDoc is an execution as the API shows it; input, params and output
// are JSON texts.
func executionDoc(x *engine.Execution, withOutput bool) (*yaql.Map, error) {
	input, err := jsonText(actions.Mask(x.Input))
	if err != nil {
		return nil, err
	}
	params, err := jsonText(actions.Mask(x.Params))
	if err != nil {
		return nil, err
	}
	m := yaql.MapOf("id", x.ID, "workflow_id", x.WorkflowID, "workflow_name", x.Workflow, "workflow_namespace", x.Namespace,
		"description", x.Description, "state", x.State, "state_info", orNull(x.Info), "input", input, "params", params,
		"task_execution_id", orNull(x.ParentTask), "root_execution_id", orNull(x.Root), "source_execution_id", orNull(x.Doc.Source),
		"project_id", x.ProjectID, "created_at", stamp(x.Created), "updated_at", stamp(x.Updated), "tags", tagList(x.Doc.Tags))
	if withOutput {
		out := x.Output
		if out == nil {
			out = yaql.NewMap(0)
		}
		text, err := jsonText(out)
		if err != nil {
			return nil, err
		}
		published, err := jsonText(x.Context)
		if err != nil {
			return nil, err
		}
		m.Set("output", text)
		m.Set("published_global", published)
	}
	return m, nil
}

// execution reads one that the caller may see; others look absent.
func (s *Service) execution(ctx context.Context, id string, who *auth.Identity) (*engine.Execution, error) {
	var x *engine.Execution
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		x, err = engine.GetExecution(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && x.ProjectID != who.ProjectID && !who.IsAdmin() {
		return nil, api.NotFound("WorkflowExecution not found [id=%s]", id)
	}
	return x, err
}

// executionList lists executions; without output neither that nor the global
// variables are read.
func executionList(withOutput bool) *listing {
	text := func(sql string) column { return column{sql: sql} }
	l := &listing{key: "executions", from: "workflow_executions", selects: engine.ExecutionColumns, id: "id", sort: "created_at",
		columns: map[string]column{
			"id": text("id"), "workflow_name": text("workflow_name"), "workflow_id": text("workflow_id"), "workflow_namespace": text("namespace"),
			"description": text("description"), "state": text("state"), "state_info": text("state_info"), "project_id": text("project_id"),
			"task_execution_id": text("parent_task_id"), "root_execution_id": text("root_id"), "tags": {"doc", kindTags, "tags"},
			"source_execution_id": {"doc", kindText, "source"},
			"input":               {"input", kindJSON, ""}, "params": {"params", kindJSON, ""}, "output": {"output", kindJSON, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""}, "finished_at": {"finished_at", kindTime, ""},
		}}
	if !withOutput {
		l.selects = strings.Replace(l.selects, "context, output,", "'' AS context, '' AS output,", 1)
	}
	l.scan = func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
		x, err := engine.ScanExecution(tx, scan)
		if err != nil {
			return nil, err
		}
		return executionDoc(x, withOutput)
	}
	return l
}

// ownOrAll is the condition of a list: the caller's project, or all of them for
// an administrator who asks for all_projects or another project_id.
func ownOrAll(r *http.Request, what string) (string, []any, error) {
	q := r.URL.Query()
	all, _ := strconv.ParseBool(q.Get("all_projects"))
	if !all && (!q.Has("project_id") || q.Get("project_id") == identity(r).ProjectID) {
		return `project_id = ?`, []any{identity(r).ProjectID}, nil
	}
	if !identity(r).IsAdmin() {
		return "", nil, api.Forbidden("only an administrator lists the %s of other projects", what)
	}
	return `1 = 1`, nil, nil
}

func flagOf(r *http.Request, key string) bool {
	on, _ := strconv.ParseBool(strings.ToLower(r.URL.Query().Get(key)))
	return on
}

func (s *Service) listExecutions(w http.ResponseWriter, r *http.Request) error {
	where, args, err := ownOrAll(r, "executions")
	if err != nil {
		return err
	}
	return s.reply(w, r, executionList(flagOf(r, "include_output")), where, args...)
}

func (s *Service) subExecutions(w http.ResponseWriter, r *http.Request) error {
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	return s.subTree(w, r, x, `parent_id = ?`, x.ID)
}

func (s *Service) taskExecutions(w http.ResponseWriter, r *http.Request) error {
	x, t, err := s.task(r)
	if err != nil {
		return err
	}
	return s.subTree(w, r, x, `parent_task_id = ?`, t.ID)
}

// maxTree bounds the answer about sub-executions.
const maxTree = 10_000

// subTree answers with an execution (of a task: without it) and those below.
// max_depth bounds the levels (negative: none); errors_only leaves out those
// that did not fail.
func (s *Service) subTree(w http.ResponseWriter, r *http.Request, x *engine.Execution, where string, args ...any) error {
	depth, err := strconv.Atoi(r.URL.Query().Get("max_depth"))
	if err != nil || depth < 0 {
		depth = 1000
	}
	list := []any{}
	show := func(x *engine.Execution) error {
		m, err := executionDoc(x, flagOf(r, "include_output"))
		list = append(list, m)
		return err
	}
	var walk func(level int, where string, args ...any) error
	walk = func(level int, where string, args ...any) error {
		if level > depth || len(list) >= maxTree {
			return nil
		}
		kids, err := s.eng.List(r.Context(), where, args...)
		for _, k := range kids {
			if flagOf(r, "errors_only") && k.State != engine.Error {
				continue
			}
			if err := show(k); err != nil {
				return err
			}
			if err := walk(level+1, `parent_id = ?`, k.ID); err != nil {
				return err
			}
		}
		return err
	}
	level := 0
	if r.PathValue("id") != "" { // as in Mistral, the execution asked for comes first
		if err := show(x); err != nil {
			return err
		}
		level = 1
	}
	if err := walk(level, where, args...); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, yaql.MapOf("executions", list))
}

func (s *Service) showExecution(w http.ResponseWriter, r *http.Request) error {
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	return writeExecution(w, http.StatusOK, x)
}

func writeExecution(w http.ResponseWriter, status int, x *engine.Execution) error {
	m, err := executionDoc(x, true)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, m)
}

func (s *Service) createExecution(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	start := engine.Start{Workflow: str(in, "workflow_id"), Namespace: str(in, "workflow_namespace"), Description: str(in, "description"), ID: str(in, "id")}
	if start.Workflow == "" {
		start.Workflow = str(in, "workflow_name")
	}
	if start.Input, err = jsonField(in.Value("input"), "input"); err != nil {
		return err
	}
	if start.Params, err = jsonField(in.Value("params"), "params"); err != nil {
		return err
	}
	if src := str(in, "source_execution_id"); src != "" {
		old, err := s.execution(r.Context(), src, identity(r))
		if err != nil {
			return err
		}
		start.Source = src
		if start.Workflow == "" {
			start.Workflow, start.Namespace = old.WorkflowID, old.Namespace
		}
		start.Description = strings.TrimSpace(start.Description + " Based on the execution '" + src + "'")
		if start.Input.Len() == 0 {
			start.Input = old.Input
		}
		if start.Params.Len() == 0 {
			start.Params = old.Params
		}
	}
	if start.Workflow == "" {
		return api.Invalid("Workflow ID or workflow name must be provided. Workflow ID is recommended.")
	}
	if start.ID != "" {
		if _, err := uuid.Parse(start.ID); err != nil {
			return api.Invalid("id %q is not a UUID", start.ID)
		}
		if x, err := s.execution(r.Context(), start.ID, identity(r)); err == nil {
			return writeExecution(w, http.StatusCreated, x) // the request was repeated
		}
	}
	x, err := s.start(r.Context(), identity(r), start)
	if err != nil {
		return err
	}
	return writeExecution(w, http.StatusCreated, x)
}

// start checks that the workflow is there before a trust is made for it.
func (s *Service) start(ctx context.Context, id *auth.Identity, st engine.Start) (*engine.Execution, error) {
	var err error
	if st.Params, err = s.withEnv(ctx, st.Params, id.ProjectID); err != nil {
		return nil, err
	}
	if _, err := s.eng.FindWorkflow(ctx, stranger(id), st.Workflow, st.Namespace); err != nil {
		return nil, problem(err)
	}
	caller, err := s.caller(ctx, id, time.Time{})
	if err != nil {
		return nil, err
	}
	st.Caller = caller
	x, err := s.eng.Start(ctx, st, nil)
	if err != nil && caller.Owned {
		s.eng.DropTrust(context.WithoutCancel(ctx), caller.TrustID)
	}
	return x, problem(err)
}

func (s *Service) updateExecution(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	params, err := jsonField(in.Value("params"), "params")
	if err != nil {
		return err
	}
	env, _ := params.Value("env").(*yaql.Map)
	state, hasDesc := str(in, "state"), in.Value("description") != nil
	if state == "" && !hasDesc && env.Len() == 0 {
		return api.Invalid("The property state, description, or env is not provided for update.")
	}
	if hasDesc {
		if state != "" || env.Len() > 0 {
			return api.Invalid("The property description must be updated separately from state.")
		}
		if err := s.eng.Describe(r.Context(), x.ID, str(in, "description")); err != nil {
			return problem(err)
		}
	}
	if env.Len() > 0 {
		if state != "" && state != engine.Running {
			return api.Invalid("The property env can only be updated when workflow execution is not running or on resume from pause.")
		}
		if err := s.eng.SetEnv(r.Context(), x.ID, env); err != nil {
			return problem(err)
		}
	}
	switch state {
	case "":
	case engine.Running, engine.Paused, engine.Success, engine.Error, engine.Cancelled:
		if err := s.eng.SetState(r.Context(), x.ID, state, str(in, "state_info")); err != nil {
			return problem(err)
		}
	default:
		return api.Invalid("Cannot change state to %s. Allowed states are: RUNNING, PAUSED, SUCCESS, ERROR, CANCELLED", state)
	}
	if x, err = s.execution(r.Context(), x.ID, identity(r)); err != nil {
		return err
	}
	return writeExecution(w, http.StatusOK, x)
}

func (s *Service) deleteExecution(w http.ResponseWriter, r *http.Request) error {
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	force, _ := strconv.ParseBool(r.URL.Query().Get("force"))
	if err := s.eng.Delete(r.Context(), x.ID, force); err != nil {
		return problem(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// report is the tree of an execution with its tasks, actions and sub-executions.
func (s *Service) report(w http.ResponseWriter, r *http.Request) error {
	x, err := s.execution(r.Context(), r.PathValue("id"), identity(r))
	if err != nil {
		return err
	}
	q := r.URL.Query()
	errorsOnly, _ := strconv.ParseBool(q.Get("errors_only"))
	depth, err := strconv.Atoi(q.Get("max_depth"))
	if err != nil {
		depth = -1
	}
	stats := map[string]int64{}
	tree, err := s.reportTree(r.Context(), x, errorsOnly, depth, stats)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, yaql.MapOf("statistics", yaql.MapOf(
		"success_tasks_count", stats[engine.Success], "error_tasks_count", stats[engine.Error], "running_tasks_count", stats[engine.Running],
		"idle_tasks_count", stats[engine.Idle], "paused_tasks_count", stats[engine.Paused], "total_tasks_count", stats["total"],
		"estimated_time", nil), "root_workflow_execution", tree))
}

func (s *Service) reportTree(ctx context.Context, x *engine.Execution, errorsOnly bool, depth int, stats map[string]int64) (*yaql.Map, error) {
	node := yaql.MapOf("id", x.ID, "name", x.Workflow, "state", x.State, "state_info", orNull(x.Info), "created_at", stamp(x.Created),
		"updated_at", stamp(x.Updated))
	if depth == 0 {
		return node, nil
	}
	tasks, err := s.eng.Tasks(ctx, x.ID)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, t := range tasks {
		stats["total"]++
		stats[t.State]++
		if errorsOnly && t.State != engine.Error {
			continue
		}
		doc := yaql.MapOf("id", t.ID, "name", t.Name, "state", t.State, "state_info", orNull(t.Doc.Info), "created_at", stamp(t.Created),
			"updated_at", stamp(t.Updated))
		acts, err := s.eng.ActionsOf(ctx, `task_id = ?`, t.ID)
		if err != nil {
			return nil, err
		}
		alist := []any{}
		for _, a := range acts {
			alist = append(alist, yaql.MapOf("id", a.ID, "name", a.Name, "state", a.State, "state_info", orNull(a.Info),
				"created_at", stamp(a.Created), "updated_at", stamp(a.Updated)))
		}
		kids, err := s.eng.List(ctx, `parent_task_id = ?`, t.ID)
		if err != nil {
			return nil, err
		}
		klist := []any{}
		for _, k := range kids {
			sub, err := s.reportTree(ctx, k, errorsOnly, depth-1, stats)
			if err != nil {
				return nil, err
			}
			klist = append(klist, sub)
		}
		doc.Set("action_executions", alist)
		doc.Set("workflow_executions", klist)
		list = append(list, doc)
	}
	node.Set("task_executions", list)
	return node, nil
}
