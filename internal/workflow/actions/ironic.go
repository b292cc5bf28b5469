package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
)

func ironicRows() []rest {
	return []rest{
		{name: "ironic.node_create", desc: "Enrolls a node.", method: "POST", path: "nodes", wrap: "-", extra: true},
		{name: "ironic.node_get_by_instance_uuid", desc: "Finds the node of an instance.", method: "GET", path: "nodes/detail", query: []string{"instance_uuid"}, input: required("instance_uuid")},
		{name: "ironic.node_delete", desc: "Removes a node.", method: "DELETE", path: "nodes/{node_id}", input: required("node_id")},
		{name: "ironic.node_states", desc: "Shows the states of a node.", method: "GET", path: "nodes/{node_uuid}/states", input: required("node_uuid")},
		{name: "ironic.node_validate", desc: "Validates the interfaces of a node.", method: "GET", path: "nodes/{node_uuid}/validate", input: required("node_uuid")},
		{name: "ironic.node_get_boot_device", desc: "Shows the boot device.", method: "GET", path: "nodes/{node_uuid}/management/boot_device", input: required("node_uuid")},
		{name: "ironic.node_get_supported_boot_devices", desc: "Lists the boot devices.", method: "GET", path: "nodes/{node_uuid}/management/boot_device/supported", input: required("node_uuid")},
		{name: "ironic.node_set_boot_device", desc: "Sets the boot device.", method: "PUT", path: "nodes/{node_uuid}/management/boot_device", wrap: "-",
			input: []Param{Req("node_uuid"), Req("boot_device"), Opt("persistent", false)}},
		{name: "ironic.node_list_ports", desc: "Lists the ports of a node.", method: "GET", path: "nodes/{node_id}/ports", unwrap: "ports", pages: true,
			query: []string{"limit", "marker", "fields"}, input: params(required("node_id"), optional("limit", "marker", "fields"))},
		{name: "ironic.port_list", desc: "Lists ports.", method: "GET", path: "ports", unwrap: "ports", pages: true,
			query: []string{"address", "limit", "marker", "fields", "node", "detail"}, input: optional("address", "limit", "marker", "fields", "node", "detail")},
		{name: "ironic.port_get", desc: "Shows a port.", method: "GET", path: "ports/{port_id}", query: []string{"fields"}, input: params(required("port_id"), optional("fields"))},
		{name: "ironic.port_create", desc: "Creates a port.", method: "POST", path: "ports", wrap: "-", extra: true},
		{name: "ironic.port_delete", desc: "Removes a port.", method: "DELETE", path: "ports/{port_id}", input: required("port_id")},
		{name: "ironic.driver_list", desc: "Lists drivers.", method: "GET", path: "drivers", unwrap: "drivers"},
		{name: "ironic.driver_get", desc: "Shows a driver.", method: "GET", path: "drivers/{driver_name}", input: required("driver_name")},
		{name: "ironic.driver_properties", desc: "Shows what a driver needs to know of a node.", method: "GET", path: "drivers/{driver_name}/properties", input: required("driver_name")},
	}
}

func ironicActions() []Action {
	act := func(name, desc string, input []Param, run func(ctx context.Context, s *sender, in map[string]any) (any, error)) Action {
		return Action{Name: "ironic." + name, Description: desc, Input: input,
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				client, err := clientFor(c, (*cloud.Session).Baremetal)
				if err != nil {
					return nil, err
				}
				return run(ctx, &sender{client}, in)
			}}
	}
	patch := func(kind, id string) func(ctx context.Context, s *sender, in map[string]any) (any, error) {
		return func(ctx context.Context, s *sender, in map[string]any) (any, error) {
			return s.send(ctx, http.MethodPatch, in["patch"], kind, String(in, id))
		}
	}
	return []Action{
		act("node_update", "Changes a node by a JSON patch.", required("node_id", "patch"), patch("nodes", "node_id")),
		act("port_update", "Changes a port by a JSON patch.", required("port_id", "patch"), patch("ports", "port_id")),
		act("node_set_provision_state", "Changes the provision state.", params(required("node_uuid", "state"),
			optional("configdrive", "cleansteps", "rescue_password", "deploysteps")), setProvisionState),
		act("node_set_power_state", "Changes the power state.", []Param{Req("node_id"), Req("state"), Opt("soft", false), Opt("timeout", nil)},
			func(ctx context.Context, s *sender, in map[string]any) (any, error) {
				target := map[string]string{"on": "power on", "off": "power off", "reboot": "rebooting"}[String(in, "state")]
				if target == "" {
					target = String(in, "state")
				}
				if Bool(in, "soft") {
					target = map[string]string{"power off": "soft power off", "rebooting": "soft rebooting"}[target]
				}
				body := map[string]any{"target": target}
				if in["timeout"] != nil {
					body["timeout"] = in["timeout"]
				}
				return s.send(ctx, http.MethodPut, body, "nodes", String(in, "node_id"), "states", "power")
			}),
		act("node_set_target_raid_config", "Sets the wanted RAID configuration.", required("node_ident", "target_raid_config"),
			func(ctx context.Context, s *sender, in map[string]any) (any, error) {
				return s.send(ctx, http.MethodPut, in["target_raid_config"], "nodes", String(in, "node_ident"), "states", "raid")
			}),
		{Name: "ironic.allocation_wait", Description: "Waits until an allocation is active, for timeout seconds at most (0: as long as it takes).",
			Input: []Param{Req("allocation_id"), Opt("timeout", int64(0)), Opt("poll_interval", int64(1)), Opt("os_ironic_api_version", nil)}, Run: waitForAllocation},
		{Name: "ironic.node_wait_for_provision_state", Description: "Waits until nodes are in a provision state, for timeout seconds at most (0: as long as it takes).",
			Input: []Param{Req("node_ident"), Req("expected_state"), Opt("timeout", int64(0)), Opt("poll_interval", int64(2)), Opt("poll_delay_function", nil),
				Opt("fail_on_unexpected_state", true), Opt("os_ironic_api_version", nil)}, Run: waitForProvision},
		act("node_set_maintenance", "Sets or clears maintenance.", []Param{Req("node_id"), Req("state"), Opt("maint_reason", nil)},
			func(ctx context.Context, s *sender, in map[string]any) (any, error) {
				on := Bool(in, "state") && String(in, "state") != "false" && String(in, "state") != "off"
				if !on {
					return s.send(ctx, http.MethodDelete, nil, "nodes", String(in, "node_id"), "maintenance")
				}
				return s.send(ctx, http.MethodPut, map[string]any{"reason": String(in, "maint_reason")}, "nodes", String(in, "node_id"), "maintenance")
			}),
	}
}

func setProvisionState(ctx context.Context, s *sender, in map[string]any) (any, error) {
	body := map[string]any{"target": String(in, "state")}
	for param, field := range map[string]string{"configdrive": "configdrive", "cleansteps": "clean_steps", "rescue_password": "rescue_password",
		"deploysteps": "deploy_steps"} {
		if in[param] != nil {
			body[field] = in[param]
		}
	}
	return s.send(ctx, http.MethodPut, body, "nodes", String(in, "node_uuid"), "states", "provision")
}

// waitForProvision looks at the nodes and waits between the looks without holding
// a worker; changes of the nodes wake it.
func waitForProvision(ctx context.Context, c *Context, in map[string]any) (any, error) {
	client, err := clientFor(c, (*cloud.Session).Baremetal)
	if err != nil {
		return nil, err
	}
	if v := String(in, "os_ironic_api_version"); v != "" {
		client.Microversion = v
	}
	want, seconds := String(in, "expected_state"), Int(in, "timeout", 0)
	switch {
	case seconds < 0:
		return nil, fmt.Errorf("timeout is %d, expected a number of seconds or 0", seconds)
	case in["poll_delay_function"] != nil:
		return nil, errors.New("poll_delay_function is a function of Python: leave it out")
	}
	var topics, names []string
	for _, ident := range List(in, "node_ident") {
		answer, err := (&sender{client}).send(ctx, http.MethodGet, nil, "nodes", identifier(ident))
		if err != nil {
			return nil, err
		}
		node, _ := answer.(map[string]any)
		state := String(node, "provision_state")
		if state == want {
			continue
		}
		ended := String(node, "target_provision_state") == "" || state == "error" || strings.HasSuffix(state, " failed")
		if ended && Bool(in, "fail_on_unexpected_state") {
			return nil, fmt.Errorf("Node %s failed to reach state %s. It's in state %s, and has error: %s", identifier(ident), want, state, String(node, "last_error")) //nolint:revive,staticcheck // the client's wording
		}
		topics, names = append(topics, "baremetal/node/"+String(node, "uuid")), append(names, identifier(ident))
	}
	if len(topics) == 0 {
		return nil, nil
	}
	if seconds > 0 && c.Now().Sub(c.Started) >= time.Duration(seconds)*time.Second {
		return nil, fmt.Errorf("Node(s) %s failed to reach state %s in %d seconds", strings.Join(names, ", "), want, seconds) //nolint:revive,staticcheck // the client's wording
	}
	return nil, Wait(max(time.Duration(Int(in, "poll_interval", 2))*time.Second, time.Second), topics...)
}

// waitForAllocation looks at the allocation and waits between the looks without
// holding a worker.
func waitForAllocation(ctx context.Context, c *Context, in map[string]any) (any, error) {
	client, err := clientFor(c, (*cloud.Session).Baremetal)
	if err != nil {
		return nil, err
	}
	if v := String(in, "os_ironic_api_version"); v != "" {
		client.Microversion = v
	}
	id, seconds := String(in, "allocation_id"), Int(in, "timeout", 0)
	if seconds < 0 {
		return nil, fmt.Errorf("timeout is %d, expected a number of seconds or 0", seconds)
	}
	answer, err := (&sender{client}).send(ctx, http.MethodGet, nil, "allocations", id)
	if err != nil {
		return nil, err
	}
	m, _ := answer.(map[string]any)
	switch m["state"] {
	case "active":
		return m, nil
	case "error":
		return nil, fmt.Errorf("Allocation %s failed: %s", id, String(m, "last_error")) //nolint:revive,staticcheck // the client's wording
	}
	if seconds > 0 && c.Now().Sub(c.Started) >= time.Duration(seconds)*time.Second {
		return nil, fmt.Errorf("Allocation %s failed to become active in %d seconds", id, seconds) //nolint:revive,staticcheck // the client's wording
	}
	return nil, Wait(max(time.Duration(Int(in, "poll_interval", 1))*time.Second, time.Second))
}

// Introspection.

func introspectionRows() []rest {
	return []rest{
		{name: "baremetal_introspection.rules_list", desc: "Lists introspection rules.", method: "GET", path: "rules", unwrap: "rules"},
		{name: "baremetal_introspection.rules_get_all", desc: "Lists introspection rules.", method: "GET", path: "rules", unwrap: "rules"},
		{name: "baremetal_introspection.rules_get", desc: "Shows an introspection rule.", method: "GET", path: "rules/{uuid}", input: required("uuid")},
		{name: "baremetal_introspection.rules_delete", desc: "Deletes an introspection rule.", method: "DELETE", path: "rules/{uuid}", input: required("uuid")},
		{name: "baremetal_introspection.rules_delete_all", desc: "Deletes all introspection rules.", method: "DELETE", path: "rules"},
		{name: "baremetal_introspection.list_statuses", desc: "Lists introspections.", method: "GET", path: "introspection", unwrap: "introspection",
			query: []string{"marker", "limit"}, input: optional("marker", "limit")},
	}
}

func introspectionActions() []Action {
	ident := []Param{Opt("uuid", nil), Opt("node_id", nil)}
	act := func(name, desc string, input []Param, run func(ctx context.Context, c *Context, s *sender, in map[string]any) (any, error)) Action {
		return Action{Name: "baremetal_introspection." + name, Description: desc, Input: input,
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				client, err := clientFor(c, (*cloud.Session).Introspection)
				if err != nil {
					return nil, err
				}
				return run(ctx, c, &sender{client}, in)
			}}
	}
	node := func(in map[string]any) string {
		if s := String(in, "uuid"); s != "" {
			return s
		}
		return String(in, "node_id")
	}
	call := func(method string, tail ...string) func(ctx context.Context, c *Context, s *sender, in map[string]any) (any, error) {
		return func(ctx context.Context, _ *Context, s *sender, in map[string]any) (any, error) {
			if node(in) == "" {
				return nil, fmt.Errorf("uuid is empty")
			}
			return s.send(ctx, method, nil, append([]string{"introspection", node(in)}, tail...)...)
		}
	}
	return []Action{
		act("introspect", "Starts the introspection of a node.", append(ident, Opt("manage_boot", nil)), call(http.MethodPost)),
		act("get_status", "Shows the introspection of a node.", ident, call(http.MethodGet)),
		act("get_data", "Returns what introspection found.", append(ident, Opt("processed", true)), call(http.MethodGet, "data")),
		act("abort", "Aborts an introspection.", ident, call(http.MethodPost, "abort")),
		act("reprocess", "Processes stored data again.", ident, call(http.MethodPost, "data", "unprocessed")),
		act("rules_create", "Stores an introspection rule.", params(required("conditions", "actions"), optional("uuid", "description")),
			func(ctx context.Context, _ *Context, s *sender, in map[string]any) (any, error) {
				return s.send(ctx, http.MethodPost, in, "rules")
			}),
		act("rules_from_json", "Stores an introspection rule given as a dict.", required("json_rule"),
			func(ctx context.Context, _ *Context, s *sender, in map[string]any) (any, error) {
				return s.send(ctx, http.MethodPost, in["json_rule"], "rules")
			}),
		act("wait_for_finish", "Waits until introspections have ended: {uuid: {finished, error, ...}}.",
			[]Param{Opt("uuids", nil), Opt("node_ids", nil), Opt("retry_interval", int64(10)), Opt("max_retries", int64(3600))}, waitForFinish),
	}
}

// waitForFinish looks at all nodes and waits between the looks without holding
// a worker; changes of the nodes wake it.
func waitForFinish(ctx context.Context, c *Context, s *sender, in map[string]any) (any, error) {
	nodes := List(in, "uuids")
	if len(nodes) == 0 {
		nodes = List(in, "node_ids")
	}
	out := map[string]any{}
	var topics []string
	for _, n := range nodes {
		id := fmt.Sprint(n)
		status, err := s.send(ctx, http.MethodGet, nil, "introspection", id)
		if err != nil {
			return nil, err
		}
		m, _ := status.(map[string]any)
		out[id] = m
		if done, _ := m["finished"].(bool); !done {
			topics = append(topics, "baremetal/node/"+id, "introspection/node/"+id)
		}
	}
	if len(topics) == 0 {
		return out, nil
	}
	interval := max(time.Duration(Int(in, "retry_interval", 10))*time.Second, time.Second)
	if limit := interval * time.Duration(max(Int(in, "max_retries", 3600), 1)); c.Now().Sub(c.Started) > limit {
		return nil, fmt.Errorf("Timeout of %s while waiting for introspection of %d nodes", limit, len(topics)/2) //nolint:revive,staticcheck // Mistral's wording
	}
	return nil, Wait(interval, topics...)
}
