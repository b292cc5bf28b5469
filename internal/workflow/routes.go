package workflow

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

// routes is the contents page of the API.
func (s *Service) routes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v2", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2/{$}", Policy: api.Public, Handler: s.version},

		{Method: "GET", Pattern: "/v2/workbooks", Policy: api.Reader, Handler: s.listWorkbooks},
		{Method: "POST", Pattern: "/v2/workbooks", Policy: api.Member, Handler: s.createWorkbook},
		{Method: "PUT", Pattern: "/v2/workbooks", Policy: api.Member, Handler: s.updateWorkbook},
		{Method: "POST", Pattern: "/v2/workbooks/validate", Policy: api.Reader, Handler: s.validateWorkbook},
		{Method: "GET", Pattern: "/v2/workbooks/{name}", Policy: api.Reader, Handler: s.showWorkbook},
		{Method: "DELETE", Pattern: "/v2/workbooks/{name}", Policy: api.Member, Handler: s.deleteWorkbook},

		{Method: "GET", Pattern: "/v2/workflows", Policy: api.Reader, Handler: s.listWorkflows},
		{Method: "POST", Pattern: "/v2/workflows", Policy: api.Member, Handler: s.createWorkflows},
		{Method: "PUT", Pattern: "/v2/workflows", Policy: api.Member, Handler: s.updateWorkflows},
		{Method: "PUT", Pattern: "/v2/workflows/{id}", Policy: api.Member, Handler: s.updateWorkflows},
		{Method: "POST", Pattern: "/v2/workflows/validate", Policy: api.Reader, Handler: s.validateWorkflows},
		{Method: "GET", Pattern: "/v2/workflows/{id}", Policy: api.Reader, Handler: s.showWorkflow},
		{Method: "DELETE", Pattern: "/v2/workflows/{id}", Policy: api.Member, Handler: s.deleteWorkflow},

		{Method: "GET", Pattern: "/v2/actions", Policy: api.Reader, Handler: s.listActions},
		{Method: "POST", Pattern: "/v2/actions", Policy: api.Member, Handler: s.createActions},
		{Method: "PUT", Pattern: "/v2/actions", Policy: api.Member, Handler: s.updateActions},
		{Method: "PUT", Pattern: "/v2/actions/{id}", Policy: api.Member, Handler: s.updateActions},
		{Method: "POST", Pattern: "/v2/actions/validate", Policy: api.Reader, Handler: s.validateActions},
		{Method: "GET", Pattern: "/v2/actions/{id}", Policy: api.Reader, Handler: s.showAction},
		{Method: "DELETE", Pattern: "/v2/actions/{id}", Policy: api.Member, Handler: s.deleteAction},
		// python-mistralclient puts the namespace, usually empty, behind the name
		{Method: "GET", Pattern: "/v2/actions/{id}/{namespace...}", Policy: api.Reader, Handler: s.showAction},
		{Method: "DELETE", Pattern: "/v2/actions/{id}/{namespace...}", Policy: api.Member, Handler: s.deleteAction},

		{Method: "GET", Pattern: "/v2/executions", Policy: api.Reader, Handler: s.listExecutions},
		{Method: "POST", Pattern: "/v2/executions", Policy: api.Member, Handler: s.createExecution},
		{Method: "GET", Pattern: "/v2/executions/{id}", Policy: api.Reader, Handler: s.showExecution},
		{Method: "PUT", Pattern: "/v2/executions/{id}", Policy: api.Member, Handler: s.updateExecution},
		{Method: "DELETE", Pattern: "/v2/executions/{id}", Policy: api.Member, Handler: s.deleteExecution},
		{Method: "GET", Pattern: "/v2/executions/{id}/tasks", Policy: api.Reader, Handler: s.listTasks},
		{Method: "GET", Pattern: "/v2/executions/{id}/executions", Policy: api.Reader, Handler: s.subExecutions},
		{Method: "GET", Pattern: "/v2/executions/{id}/report", Policy: api.Reader, Handler: s.report},
		{Method: "GET", Pattern: "/v2/executions/{id}/timeline", Policy: api.Reader, Handler: s.timeline},

		{Method: "GET", Pattern: "/v2/tasks", Policy: api.Reader, Handler: s.listTasks},
		{Method: "GET", Pattern: "/v2/tasks/{task}", Policy: api.Reader, Handler: s.showTask},
		{Method: "PUT", Pattern: "/v2/tasks/{task}", Policy: api.Member, Handler: s.updateTask},
		{Method: "GET", Pattern: "/v2/tasks/{task}/action_executions", Policy: api.Reader, Handler: s.listActionExecutions},
		{Method: "GET", Pattern: "/v2/tasks/{task}/workflow_executions", Policy: api.Reader, Handler: s.taskExecutions},
		{Method: "GET", Pattern: "/v2/tasks/{task}/executions", Policy: api.Reader, Handler: s.taskExecutions},

		{Method: "GET", Pattern: "/v2/action_executions", Policy: api.Reader, Handler: s.listActionExecutions},
		{Method: "POST", Pattern: "/v2/action_executions", Policy: api.Member, Handler: s.createActionExecution},
		{Method: "GET", Pattern: "/v2/action_executions/{action}", Policy: api.Reader, Handler: s.showActionExecution},
		{Method: "PUT", Pattern: "/v2/action_executions/{action}", Policy: api.Member, Handler: s.updateActionExecution},
		{Method: "DELETE", Pattern: "/v2/action_executions/{action}", Policy: api.Member, Handler: s.deleteActionExecution},

		{Method: "GET", Pattern: "/v2/environments", Policy: api.Reader, Handler: s.listEnvironments},
		{Method: "POST", Pattern: "/v2/environments", Policy: api.Member, Handler: s.createEnvironment},
		{Method: "PUT", Pattern: "/v2/environments", Policy: api.Member, Handler: s.updateEnvironment},
		{Method: "GET", Pattern: "/v2/environments/{name}", Policy: api.Reader, Handler: s.showEnvironment},
		{Method: "DELETE", Pattern: "/v2/environments/{name}", Policy: api.Member, Handler: s.deleteEnvironment},

		{Method: "GET", Pattern: "/v2/cron_triggers", Policy: api.Reader, Handler: s.listCrons},
		{Method: "POST", Pattern: "/v2/cron_triggers", Policy: api.Member, Handler: s.createCron},
		{Method: "GET", Pattern: "/v2/cron_triggers/{name}", Policy: api.Reader, Handler: s.showCron},
		{Method: "DELETE", Pattern: "/v2/cron_triggers/{name}", Policy: api.Member, Handler: s.deleteCron},

		{Method: "GET", Pattern: "/v2/workflows/{id}/members", Policy: api.Reader, Handler: s.listMembers},
		{Method: "POST", Pattern: "/v2/workflows/{id}/members", Policy: api.Member, Handler: s.createMember},
		{Method: "GET", Pattern: "/v2/workflows/{id}/members/{member}", Policy: api.Reader, Handler: s.showMember},
		{Method: "PUT", Pattern: "/v2/workflows/{id}/members/{member}", Policy: api.Member, Handler: s.updateMember},
		{Method: "DELETE", Pattern: "/v2/workflows/{id}/members/{member}", Policy: api.Member, Handler: s.deleteMember},

		{Method: "GET", Pattern: "/v2/event_triggers", Policy: api.Reader, Handler: s.listEventTriggers},
		{Method: "POST", Pattern: "/v2/event_triggers", Policy: api.Member, Handler: s.createEventTrigger},
		{Method: "GET", Pattern: "/v2/event_triggers/{id}", Policy: api.Reader, Handler: s.showEventTrigger},
		{Method: "PUT", Pattern: "/v2/event_triggers/{id}", Policy: api.Member, Handler: s.updateEventTrigger},
		{Method: "DELETE", Pattern: "/v2/event_triggers/{id}", Policy: api.Member, Handler: s.deleteEventTrigger},
		{Method: "POST", Pattern: "/v2/events", Policy: api.Member, Handler: s.createEvent},

		{Method: "GET", Pattern: "/v2/services", Policy: api.Reader, Handler: s.services},
	}
}

func (s *Service) versions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"versions": []any{map[string]any{
		"id": "v2.0", "status": "CURRENT", "links": []any{map[string]any{"href": s.cfg.BaseURL + "/v2", "target": "v2", "rel": "self"}},
	}}})
}

func (s *Service) version(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"uri": s.cfg.BaseURL + "/v2"})
}

func (s *Service) services(w http.ResponseWriter, _ *http.Request) error {
	list := []any{}
	for _, t := range []string{"engine_group", "executor_group", "api_group"} {
		list = append(list, map[string]any{"name": "tripleo", "type": t})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"services": list})
}
