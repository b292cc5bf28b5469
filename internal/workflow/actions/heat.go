package actions

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
)

// sender sends requests to one service.
type sender struct{ client *gophercloud.ServiceClient }

func (s *sender) send(ctx context.Context, method string, body any, path ...string) (any, error) {
	for _, p := range path {
		if p == "" {
			return nil, fmt.Errorf("an identifier is empty in %s %v", method, path)
		}
	}
	answer, _, err := request(ctx, s.client, method, s.client.ServiceURL(path...), body, nil)
	return answer, err
}

func heatRows() []rest {
	list := []string{"limit", "marker", "sort_keys", "sort_dir", "show_deleted", "show_nested", "show_hidden", "global_tenant", "tags", "name", "status", "id"}
	return []rest{
		{name: "heat.stacks_list", desc: "Lists stacks.", method: "GET", path: "stacks", unwrap: "stacks", pages: true, query: list, input: optional(list...)},
		{name: "heat.stacks_get", desc: "Shows a stack with its outputs.", method: "GET", path: "stacks/{stack_id}", unwrap: "stack",
			query: []string{"resolve_outputs"}, input: []Param{Req("stack_id"), Opt("resolve_outputs", true)}},
		{name: "heat.stacks_create", desc: "Creates a stack.", method: "POST", path: "stacks", wrap: "-", extra: true},
		{name: "heat.stacks_preview", desc: "Shows what a stack would be.", method: "POST", path: "stacks/preview", wrap: "-", unwrap: "stack", extra: true},
		{name: "heat.stacks_validate", desc: "Validates a template.", method: "POST", path: "validate", wrap: "-", extra: true},
		{name: "heat.software_configs_get", desc: "Shows a software config.", method: "GET", path: "software_configs/{config_id}", unwrap: "software_config", input: required("config_id")},
		{name: "heat.software_configs_create", desc: "Creates a software config.", method: "POST", path: "software_configs", wrap: "-", unwrap: "software_config", extra: true},
		{name: "heat.software_configs_delete", desc: "Deletes a software config.", method: "DELETE", path: "software_configs/{config_id}", input: required("config_id")},
		{name: "heat.software_deployments_list", desc: "Lists software deployments.", method: "GET", path: "software_deployments", unwrap: "software_deployments", extra: true},
		{name: "heat.software_deployments_get", desc: "Shows a software deployment.", method: "GET", path: "software_deployments/{deployment_id}", unwrap: "software_deployment", input: required("deployment_id")},
		{name: "heat.software_deployments_create", desc: "Creates a software deployment.", method: "POST", path: "software_deployments", wrap: "-", unwrap: "software_deployment", extra: true},
		{name: "heat.resource_types_list", desc: "Lists resource types.", method: "GET", path: "resource_types", unwrap: "resource_types", extra: true},
	}
}

// stackCall is an action below a stack; base is the path of the stack.
type stackCall func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error)

func stackAction(name, desc string, input []Param, extra bool, run stackCall) Action {
	return Action{Name: "heat." + name, Description: desc, Input: append([]Param{Req("stack_id")}, input...), Extra: extra,
		Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
			client, err := clientFor(c, (*cloud.Session).Orchestration)
			if err != nil {
				return nil, err
			}
			s := &sender{client}
			base, err := s.stack(ctx, String(in, "stack_id"))
			if err != nil {
				return nil, err
			}
			return run(ctx, s, base, in)
		}}
}

// stackGet reads something below the stack; "{x}" in the path is parameter x.
func stackGet(unwrapKey string, tail ...string) stackCall {
	return func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
		path := append([]string(nil), base...)
		for _, t := range tail {
			if len(t) > 1 && t[0] == '{' {
				t = String(in, t[1:len(t)-1])
			}
			path = append(path, t)
		}
		answer, err := s.send(ctx, http.MethodGet, nil, path...)
		return unwrap(answer, unwrapKey), err
	}
}

func stackSignal(verb string) stackCall {
	return func(ctx context.Context, s *sender, base []string, _ map[string]any) (any, error) {
		return s.send(ctx, http.MethodPost, map[string]any{verb: nil}, append(base, "actions")...)
	}
}

// once marks an action that must not be repeated after a crash.
func once(a Action) Action {
	a.Once = true
	return a
}

// snapshotActions are those of the snapshots of a stack.
func snapshotActions() []Action {
	return []Action{
		once(stackAction("stacks_snapshot", "Makes a snapshot of a stack.", optional("name"), false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				body := map[string]any{}
				if name := String(in, "name"); name != "" {
					body["name"] = name
				}
				return s.send(ctx, http.MethodPost, body, append(base, "snapshots")...)
			})),
		stackAction("stacks_snapshot_list", "Lists the snapshots.", nil, false, stackGet("", "snapshots")),
		stackAction("stacks_snapshot_show", "Shows a snapshot.", required("snapshot_id"), false, stackGet("", "snapshots", "{snapshot_id}")),
		stackAction("stacks_snapshot_delete", "Deletes a snapshot.", required("snapshot_id"), false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				return s.send(ctx, http.MethodDelete, nil, append(base, "snapshots", String(in, "snapshot_id"))...)
			}),
		once(stackAction("stacks_restore", "Restores a stack from a snapshot.", required("snapshot_id"), false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				return s.send(ctx, http.MethodPost, nil, append(base, "snapshots", String(in, "snapshot_id"), "restore")...)
			})),
	}
}

// stackFields are the fields of an update, and the method that says whether the
// others stay as they are.
func stackFields(in map[string]any) (method string, fields map[string]any) {
	method, fields = http.MethodPut, map[string]any{}
	for k, v := range in {
		if k != "stack_id" && k != "existing" && v != nil {
			fields[k] = v
		}
	}
	if Bool(in, "existing") {
		method = http.MethodPatch
	}
	return method, fields
}

// heatActions are those below a stack, which Heat addresses by name and id.
func heatActions() []Action {
	return []Action{
		stackAction("stacks_delete", "Deletes a stack.", nil, false, func(ctx context.Context, s *sender, base []string, _ map[string]any) (any, error) {
			return s.send(ctx, http.MethodDelete, nil, base...)
		}),
		stackAction("stacks_update", "Updates a stack; existing=true keeps what is not given.", []Param{Opt("existing", false)}, true,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				method, fields := stackFields(in)
				return s.send(ctx, method, fields, base...)
			}),
		stackAction("stacks_preview_update", "Shows what an update of a stack would change; existing=true keeps what is not given.", []Param{Opt("existing", false)}, true,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				method, fields := stackFields(in)
				return s.send(ctx, method, fields, append(base, "preview")...)
			}),
		stackAction("stacks_output_show", "Shows one output: {output: {...}}.", required("output_key"), false, stackGet("", "outputs", "{output_key}")),
		stackAction("stacks_output_list", "Lists the outputs.", nil, false, stackGet("", "outputs")),
		stackAction("stacks_template", "Returns the template.", nil, false, stackGet("", "template")),
		stackAction("stacks_environment", "Returns the environment.", nil, false, stackGet("", "environment")),
		stackAction("stacks_files", "Returns the files.", nil, false, stackGet("", "files")),
		stackAction("stacks_export", "Returns the data of a stack, for an adoption.", nil, false, stackGet("", "export")),
		once(stackAction("stacks_abandon", "Forgets a stack and leaves its resources; returns its data.", nil, false, func(ctx context.Context, s *sender, base []string, _ map[string]any) (any, error) {
			return s.send(ctx, http.MethodDelete, nil, append(base, "abandon")...)
		})),
		stackAction("actions_check", "Checks the resources.", nil, false, stackSignal("check")),
		stackAction("actions_suspend", "Suspends a stack.", nil, false, stackSignal("suspend")),
		stackAction("actions_resume", "Resumes a stack.", nil, false, stackSignal("resume")),
		stackAction("actions_cancel_update", "Cancels an update and rolls back.", nil, false, stackSignal("cancel_update")),
		stackAction("actions_cancel_without_rollback", "Cancels an update.", nil, false, stackSignal("cancel_without_rollback")),
		stackAction("resources_list", "Lists the resources.", []Param{Opt("nested_depth", int64(0)), Opt("with_detail", false)}, false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				target := s.client.ServiceURL(append(base, "resources")...)
				target += fmt.Sprintf("?nested_depth=%d&with_detail=%t", Int(in, "nested_depth", 0), Bool(in, "with_detail"))
				answer, _, err := request(ctx, s.client, http.MethodGet, target, nil, nil)
				return unwrap(answer, "resources"), err
			}),
		stackAction("resources_get", "Shows a resource.", required("resource_name"), false, stackGet("resource", "resources", "{resource_name}")),
		stackAction("resources_metadata", "Returns the metadata of a resource.", required("resource_name"), false, stackGet("metadata", "resources", "{resource_name}", "metadata")),
		stackAction("resources_signal", "Signals a resource.", []Param{Req("resource_name"), Opt("data", nil)}, false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				data := in["data"]
				if data == nil {
					data = map[string]any{}
				}
				return s.send(ctx, http.MethodPost, data, append(base, "resources", String(in, "resource_name"), "signal")...)
			}),
		stackAction("resources_mark_unhealthy", "Marks a resource as unhealthy, or healthy again.", required("resource_name", "mark_unhealthy", "resource_status_reason"), false,
			func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
				body := map[string]any{"mark_unhealthy": in["mark_unhealthy"], "resource_status_reason": in["resource_status_reason"]}
				return s.send(ctx, http.MethodPatch, body, append(base, "resources", String(in, "resource_name"))...)
			}),
		stackAction("events_get", "Shows an event.", required("resource_name", "event_id"), false, stackGet("event", "resources", "{resource_name}", "events", "{event_id}")),
		stackAction("events_list", "Lists the events.", optional("resource_name"), false, func(ctx context.Context, s *sender, base []string, in map[string]any) (any, error) {
			if r := String(in, "resource_name"); r != "" {
				base = append(base, "resources", r)
			}
			answer, err := s.send(ctx, http.MethodGet, nil, append(base, "events")...)
			return unwrap(answer, "events"), err
		}),
	}
}

// stack resolves a stack's name or id to the path with both, so that no
// redirect (which would turn a DELETE into a GET) is needed.
func (s *sender) stack(ctx context.Context, ident string) ([]string, error) {
	answer, err := s.send(ctx, http.MethodGet, nil, "stacks", ident)
	if err != nil {
		return nil, err
	}
	st, _ := unwrap(answer, "stack").(map[string]any)
	name, _ := st["stack_name"].(string)
	id, _ := st["id"].(string)
	if name == "" || id == "" {
		return nil, fmt.Errorf("the answer for stack %s names neither name nor id", ident)
	}
	return []string{"stacks", name, id}, nil
}
