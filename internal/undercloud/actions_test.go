package undercloud_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/undercloud"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

// TestActionsReachTheServices runs the actions that TripleO's workbooks use, and
// the reading ones of every service, against the services themselves.
func TestActionsReachTheServices(t *testing.T) {
	cfg := undercloud.Config{DataDir: t.TempDir()}
	u := start(t, cfg)
	reg, err := actions.NewRegistry(actions.OpenStack())
	if err != nil {
		t.Fatal(err)
	}
	c := &actions.Context{Session: adminSession(t, u, cfg), Now: time.Now, Started: time.Now(), ActionExecutionID: "a"}
	call := func(name string, in map[string]any) (any, error) {
		a := reg.Get(name)
		if a == nil {
			return nil, fmt.Errorf("there is no action %s", name)
		}
		in, err := a.Check(in)
		if err != nil {
			return nil, err
		}
		return a.Run(t.Context(), c, in)
	}
	saved := map[string]any{}
	for _, s := range []struct {
		action string
		in     map[string]any
		want   string // within the result
		save   string // path of the result that later steps name as "$action"
	}{
		{"ironic.node_create", map[string]any{"driver": "fake-hardware", "name": "n1"}, "'n1'", "uuid"},
		{"ironic.node_list", map[string]any{"fields": []any{"uuid", "name"}, "maintenance": false, "associated": false, "provision_state": "enroll"}, "'n1'", ""},
		{"ironic.node_list", map[string]any{"detail": true}, "'driver_info'", ""},
		{"ironic.node_get", map[string]any{"node_id": "$ironic.node_create"}, "'n1'", ""},
		{"ironic.node_get", map[string]any{"node_id": "n1", "fields": []any{"name"}}, "'n1'", ""},
		{"ironic.node_update", map[string]any{"node_id": "n1", "patch": []any{map[string]any{"op": "add", "path": "/extra/a", "value": "b"}}}, "'b'", ""},
		{"ironic.node_set_provision_state", map[string]any{"node_uuid": "n1", "state": "manage"}, "", ""},
		{"ironic.node_states", map[string]any{"node_uuid": "n1"}, "'provision_state'", ""},
		{"ironic.node_validate", map[string]any{"node_uuid": "n1"}, "'power'", ""},
		{"ironic.port_list", nil, "[]", ""},
		{"ironic.driver_list", nil, "fake-hardware", ""},
		{"nova.servers_list", map[string]any{"search_opts": map[string]any{"status": "ACTIVE"}}, "[]", ""},
		{"nova.flavors_list", nil, "'baremetal'", ""},
		{"nova.flavors_find", map[string]any{"name": "baremetal"}, "'_info'", ""},
		{"nova.hypervisors_list", nil, "", ""},
		{"nova.hypervisors_statistics", nil, "'count'", ""},
		{"nova.keypairs_list", nil, "", ""},
		{"nova.limits_get", nil, "'totalInstancesUsed': 0", ""},
		{"nova.availability_zones_list", nil, "'zoneName': 'nova'", ""},
		{"nova.availability_zones_list", map[string]any{"detailed": false}, "'zoneName': 'nova'", ""},
		{"glance.images_list", nil, "[", ""},
		{"neutron.create_network", map[string]any{"body": map[string]any{"network": map[string]any{"name": "net1"}}}, "'net1'", "network.id"},
		{"neutron.list_networks", map[string]any{"name": "net1"}, "'net1'", ""},
		{"neutron.show_network", map[string]any{"network": "$neutron.create_network"}, "'net1'", ""},
		{"neutron.update_network", map[string]any{"network": "$neutron.create_network", "body": map[string]any{"network": map[string]any{"name": "net2"}}}, "'net2'", ""},
		{"neutron.delete_network", map[string]any{"network": "$neutron.create_network"}, "", ""},
		{"keystone.projects_list", nil, "'admin'", ""},
		{"keystone.projects_find", map[string]any{"name": "admin"}, "'_info'", "id"},
		{"keystone.projects_get", map[string]any{"project": "$keystone.projects_find"}, "'admin'", ""},
		{"keystone.users_create", map[string]any{"name": "u1", "password": "pw", "domain": "default"}, "'u1'", "id"},
		{"keystone.users_update", map[string]any{"user": "$keystone.users_create", "description": "d1"}, "'d1'", ""},
		{"keystone.users_delete", map[string]any{"user": "$keystone.users_create"}, "", ""},
		{"keystone.services_list", nil, "'ironic'", ""},
		{"keystone.endpoints_list", nil, "'url'", ""},
		{"heat.stacks_list", nil, "[]", ""},
		{"heat.stacks_create", map[string]any{"stack_name": "s1", "template": map[string]any{"heat_template_version": "2016-10-14", "outputs": map[string]any{"o": map[string]any{"value": "v1"}}}}, "'id'", "stack.id"},
		{"heat.stacks_get", map[string]any{"stack_id": "s1"}, "'outputs'", ""},
		{"heat.stacks_output_show", map[string]any{"stack_id": "s1", "output_key": "o"}, "'output'", ""},
		{"heat.resources_list", map[string]any{"stack_id": "s1"}, "[]", ""},
		{"heat.stacks_delete", map[string]any{"stack_id": "s1"}, "", ""},
		{"swift.put_container", map[string]any{"container": "c1"}, "", ""},
		{"swift.put_object", map[string]any{"container": "c1", "obj": "a/b", "contents": "text"}, "", ""},
		{"swift.head_container", map[string]any{"container": "c1"}, "'x-container-object-count'", ""},
		{"swift.get_container", map[string]any{"container": "c1"}, "'a/b'", ""},
		{"swift.head_object", map[string]any{"container": "c1", "obj": "a/b"}, "'content-length': '4'", ""},
		{"swift.get_object", map[string]any{"container": "c1", "obj": "a/b"}, "'text'", ""},
		{"swift.delete_object", map[string]any{"container": "c1", "obj": "a/b"}, "", ""},
		{"swift.delete_container", map[string]any{"container": "c1"}, "", ""},
		{"zaqar.queue_post", map[string]any{"queue_name": "q1", "messages": map[string]any{"body": map[string]any{"a": "hello"}}}, "", ""},
		{"zaqar.claim_messages", map[string]any{"queue_name": "q1"}, "'hello'", ""},
		{"mistral.environments_create", map[string]any{"name": "e1", "variables": map[string]any{"k": "v1"}}, "'e1'", ""},
		{"mistral.environments_get", map[string]any{"name": "e1"}, "{'k': 'v1'}", ""},
		{"mistral.environments_list", nil, "'e1'", ""},
		{"mistral.workflows_create", map[string]any{"definition": "version: '2.0'\nw1:\n  tasks:\n    a: {action: std.noop}\n"}, "'w1'", ""},
		{"mistral.workflows_list", nil, "'tripleo.", ""},
		{"mistral.executions_create", map[string]any{"wf_identifier": "w1"}, "'w1'", "id"},
		{"mistral.executions_get", map[string]any{"id": "$mistral.executions_create"}, "'w1'", ""},
		{"mistral.actions_list", map[string]any{"limit": int64(5)}, "'name'", ""},
	} {
		in := map[string]any{}
		for k, v := range s.in {
			if name, ok := v.(string); ok && strings.HasPrefix(name, "$") {
				v = saved[name[1:]]
			}
			in[k] = v
		}
		got, err := call(s.action, in)
		if err != nil || !strings.Contains(yaql.Str(got), s.want) {
			t.Errorf("%s %v: got %.600s, %v; want %s", s.action, in, yaql.Str(got), err, s.want)
			continue
		}
		if s.save != "" {
			v := got
			for part := range strings.SplitSeq(s.save, ".") {
				m, _ := v.(map[string]any)
				v = m[part]
			}
			saved[s.action] = v
		}
	}
}
