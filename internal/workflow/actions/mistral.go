package actions

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

func mistralRows() []rest {
	var out []rest
	for _, k := range []struct{ name, path, id string }{{"workbooks", "workbooks", "name"}, {"workflows", "workflows", "identifier"}, {"actions", "actions", "identifier"},
		{"executions", "executions", "id"}, {"tasks", "tasks", "id"}, {"action_executions", "action_executions", "id"},
		{"environments", "environments", "name"}, {"cron_triggers", "cron_triggers", "name"}, {"services", "services", ""}} {
		out = append(out, rest{name: "mistral." + k.name + "_list", desc: "Lists " + k.name + ".", method: "GET", path: k.path, unwrap: k.path, extra: true})
		if k.id == "" {
			continue
		}
		if k.name != "environments" {
			out = append(out, rest{name: "mistral." + k.name + "_get", desc: "Shows one of the " + k.name + ".", method: "GET", path: k.path + "/{" + k.id + "}", input: required(k.id)})
		}
		if k.name != "tasks" {
			out = append(out, rest{name: "mistral." + k.name + "_delete", desc: "Deletes one of the " + k.name + ".", method: "DELETE", path: k.path + "/{" + k.id + "}",
				input: required(k.id)})
		}
	}
	return out
}

func mistralAction(name, desc, method, path string, input []Param, body func(in map[string]any) (any, []string, error)) Action {
	return Action{Name: "mistral." + name, Description: desc, Input: input, Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
		client, err := clientFor(c, (*cloud.Session).Workflow)
		if err != nil {
			return nil, err
		}
		fields, tail, err := body(in)
		if err != nil {
			return nil, err
		}
		return (&sender{client}).send(ctx, method, fields, append([]string{path}, tail...)...)
	}}
}

// textFields maps parameters to fields; those named in texts become JSON text.
func textFields(names map[string]string, texts ...string) func(in map[string]any) (any, []string, error) {
	return func(in map[string]any) (any, []string, error) {
		out := map[string]any{}
		for param, field := range names {
			if in[param] != nil {
				out[field] = in[param]
			}
		}
		for _, t := range texts {
			if v := out[t]; v != nil {
				if _, ok := v.(string); ok {
					continue
				}
				b, err := yaql.JSON(v)
				if err != nil {
					return nil, nil, err
				}
				out[t] = string(b)
			}
		}
		return out, nil, nil
	}
}

// runAction is the action that runs an action; what it does not know are params
// of the run (run_sync, save_result, target, timeout).
func runAction() Action {
	fields := textFields(map[string]string{"name": "name", "input": "input", "namespace": "workflow_namespace", "params": "params"}, "input", "params")
	a := mistralAction("action_executions_create", "Runs an action.", http.MethodPost, "action_executions", params(required("name"), optional("input", "namespace", "params")),
		func(in map[string]any) (any, []string, error) {
			run := map[string]any{}
			maps.Copy(run, Map(in, "params"))
			for k, v := range in {
				if !slices.Contains([]string{"name", "input", "namespace", "params"}, k) {
					run[k] = v
				}
			}
			in["params"] = nil
			if len(run) > 0 {
				in["params"] = run
			}
			return fields(in)
		})
	a.Extra = true
	return a
}

// mistralActions are those whose values travel as JSON text.
func mistralActions() []Action {
	env := map[string]string{"name": "name", "description": "description", "variables": "variables", "scope": "scope"}
	return []Action{
		// The client decodes the variables, which travel as text.
		{Name: "mistral.environments_get", Description: "Shows an environment.", Input: required("name"),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				client, err := clientFor(c, (*cloud.Session).Workflow)
				if err != nil {
					return nil, err
				}
				got, err := (&sender{client}).send(ctx, http.MethodGet, nil, "environments", String(in, "name"))
				if err != nil {
					return nil, err
				}
				m, _ := got.(map[string]any)
				if text, ok := m["variables"].(string); ok {
					if m["variables"], err = yaql.ParseJSON([]byte(text)); err != nil {
						return nil, err
					}
				}
				return m, nil
			}},
		mistralAction("environments_create", "Creates an environment.", http.MethodPost, "environments", params(required("name", "variables"), optional("description", "scope")), textFields(env, "variables")),
		mistralAction("environments_update", "Updates an environment.", http.MethodPut, "environments", params(required("name"), optional("variables", "description", "scope")), textFields(env, "variables")),
		mistralAction("executions_create", "Starts a workflow.", http.MethodPost, "executions", params(optional("wf_identifier", "workflow_identifier", "workflow_input", "description", "params", "namespace")),
			textFields(map[string]string{"wf_identifier": "workflow_name", "workflow_identifier": "workflow_name", "workflow_input": "input", "description": "description",
				"params": "params", "namespace": "workflow_namespace"}, "input", "params")),
		mistralAction("executions_update", "Changes the state or description of an execution.", http.MethodPut, "executions", params(required("id"), optional("state", "description", "env")),
			func(in map[string]any) (any, []string, error) {
				out, _, err := textFields(map[string]string{"state": "state", "description": "description"})(in)
				if in["env"] != nil {
					out.(map[string]any)["params"] = map[string]any{"env": in["env"]}
				}
				return out, []string{String(in, "id")}, err
			}),
		mistralAction("tasks_rerun", "Runs a failed task again.", http.MethodPut, "tasks", []Param{Req("task_ex_id"), Opt("reset", true), Opt("env", nil)},
			func(in map[string]any) (any, []string, error) {
				return map[string]any{"state": "RUNNING", "reset": in["reset"], "env": in["env"]}, []string{String(in, "task_ex_id")}, nil
			}),
		runAction(),
		mistralAction("action_executions_update", "Gives the result of an action.", http.MethodPut, "action_executions", params(required("id"), optional("state", "output")),
			func(in map[string]any) (any, []string, error) {
				out, _, err := textFields(map[string]string{"state": "state", "output": "output"}, "output")(in)
				return out, []string{String(in, "id")}, err
			}),
		mistralAction("cron_triggers_create", "Creates a cron trigger.", http.MethodPost, "cron_triggers", params(required("name", "workflow_identifier"),
			optional("workflow_input", "workflow_params", "pattern", "first_time", "count")),
			textFields(map[string]string{"name": "name", "workflow_identifier": "workflow_name", "workflow_input": "workflow_input", "workflow_params": "workflow_params",
				"pattern": "pattern", "first_time": "first_execution_time", "count": "remaining_executions"}, "workflow_input", "workflow_params")),
	}
}
