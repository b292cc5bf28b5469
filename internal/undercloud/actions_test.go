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

// actionStep is a call of an action.
type actionStep struct {
	action string
	in     map[string]any
	want   string // within the result
	save   string // path of the result that later steps name as "$action"
}

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
	for _, s := range append([]actionStep{
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
	}, moreSteps()...) {
		in, _ := named(s.in, saved).(map[string]any)
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

// named puts what was saved in place of its name, at any depth.
func named(v any, saved map[string]any) any {
	switch x := v.(type) {
	case string:
		if name, ok := strings.CutPrefix(x, "$"); ok {
			return saved[name]
		}
	case map[string]any:
		out := map[string]any{}
		for k, item := range x {
			out[k] = named(item, saved)
		}
		return out
	}
	return v
}

// moreSteps are calls of what the services have besides, each a request of the
// table or of an action of our own against the real service.
func moreSteps() []actionStep {
	type in = map[string]any
	template := in{"heat_template_version": "2016-10-14", "parameters": in{"p": in{"type": "string", "default": "v1"}},
		"resources": in{"r": in{"type": "OS::Heat::Value", "properties": in{"value": in{"get_param": "p"}}}}}
	return []actionStep{
		{"ironic.node_wait_for_provision_state", in{"node_ident": "n1", "expected_state": "manageable"}, "", ""},
		{"ironic.node_set_maintenance", in{"node_id": "n1", "state": "on", "maint_reason": "why"}, "", ""},
		{"ironic.node_get", in{"node_id": "n1", "fields": []any{"maintenance_reason"}}, "'why'", ""},
		{"ironic.node_set_maintenance", in{"node_id": "n1", "state": "off"}, "", ""},
		{"ironic.port_create", in{"node_uuid": "$ironic.node_create", "address": "52:54:00:00:00:01"}, "'52:54:00:00:00:01'", "uuid"},
		{"ironic.port_get_by_address", in{"address": "52:54:00:00:00:01"}, "'52:54:00:00:00:01'", ""},
		{"ironic.node_list_ports", in{"node_id": "n1"}, "'52:54:00:00:00:01'", ""},
		{"ironic.node_vif_attach", in{"node_ident": "n1", "vif_id": "1d7b1d0b-6f5e-4a5c-9f0e-0f6f6f6f6f6f"}, "", ""},
		{"ironic.node_vif_list", in{"node_ident": "n1"}, "'1d7b1d0b", ""},
		{"ironic.node_vif_detach", in{"node_ident": "n1", "vif_id": "1d7b1d0b-6f5e-4a5c-9f0e-0f6f6f6f6f6f"}, "", ""},
		{"ironic.port_delete", in{"port_id": "$ironic.port_create"}, "", ""},
		{"ironic.driver_properties", in{"driver_name": "fake-hardware"}, "", ""},
		{"ironic.chassis_create", in{"description": "c1"}, "'c1'", "uuid"},
		{"ironic.chassis_list", nil, "'c1'", ""},
		{"ironic.chassis_delete", in{"chassis_id": "$ironic.chassis_create"}, "", ""},
		{"baremetal_introspection.rules_create", in{"uuid": "6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f01", "conditions": []any{}, "actions": []any{in{"action": "fail", "message": "m"}}}, "'6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f01'", ""},
		{"baremetal_introspection.rules_get", in{"uuid": "6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f01"}, "'fail'", ""},
		{"baremetal_introspection.rules_get_all", nil, "'6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f01'", ""},
		{"baremetal_introspection.rules_delete", in{"uuid": "6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f01"}, "", ""},
		{"baremetal_introspection.rules_from_json", in{"json_rule": in{"uuid": "6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f02", "conditions": []any{}, "actions": []any{in{"action": "fail", "message": "m"}}}}, "'6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f02'", ""},
		{"baremetal_introspection.rules_delete_all", nil, "", ""},
		{"nova.keypairs_create", in{"name": "k1", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g a@b"}, "'k1'", ""},
		{"nova.keypairs_find", in{"name": "k1"}, "'k1'", ""},
		{"nova.keypairs_delete", in{"key": "k1"}, "", ""},
		{"nova.flavors_create", in{"name": "f1", "ram": int64(1), "vcpus": int64(1), "disk": int64(1)}, "'f1'", "id"},
		{"nova.flavors_get", in{"flavor": "$nova.flavors_create"}, "'f1'", ""},
		{"nova.flavors_delete", in{"flavor": "$nova.flavors_create"}, "", ""},
		{"nova.servers_findall", in{"name": "none"}, "[]", ""},
		{"nova.versions_list", nil, "'v2.1'", ""},
		{"nova.versions_get_current", nil, "'v2.1'", ""},
		{"glance.images_create", in{"name": "i1", "disk_format": "raw", "container_format": "bare"}, "'i1'", "id"},
		{"glance.images_upload", in{"image_id": "$glance.images_create", "image_data": "bytes"}, "", ""},
		{"glance.images_get", in{"image_id": "$glance.images_create"}, "'active'", ""},
		{"glance.images_update", in{"image_id": "$glance.images_create", "os_distro": "debian"}, "'debian'", ""},
		{"glance.image_tags_update", in{"image_id": "$glance.images_create", "tag_value": "t1"}, "", ""},
		{"glance.images_list", in{"filters": in{"name": "i1"}}, "'i1'", ""},
		{"glance.images_list", in{"filters": in{"name": "none"}}, "[]", ""},
		{"glance.images_deactivate", in{"image_id": "$glance.images_create"}, "", ""},
		{"glance.images_reactivate", in{"image_id": "$glance.images_create"}, "", ""},
		{"glance.images_delete", in{"image_id": "$glance.images_create"}, "", ""},
		{"glance.metadefs_namespace_create", in{"namespace": "ns1", "description": "one"}, "'ns1'", ""},
		{"glance.metadefs_namespace_update", in{"namespace_name": "ns1", "description": "two"}, "'two'", ""},
		{"glance.metadefs_object_create", in{"namespace": "ns1", "name": "o1"}, "'o1'", ""},
		{"glance.metadefs_object_update", in{"namespace": "ns1", "object_name": "o1", "description": "other"}, "'other'", ""},
		{"glance.metadefs_property_create", in{"namespace": "ns1", "name": "p1", "type": "string", "title": "t"}, "'p1'", ""},
		{"glance.metadefs_property_update", in{"namespace": "ns1", "prop_name": "p1", "title": "u"}, "'u'", ""},
		{"glance.metadefs_tag_create", in{"namespace": "ns1", "tag_name": "g1"}, "'g1'", ""},
		{"glance.metadefs_tag_update", in{"namespace": "ns1", "tag_name": "g1", "name": "g2"}, "'g2'", ""},
		{"glance.metadefs_namespace_delete", in{"namespace": "ns1"}, "", ""},
		{"glance.schemas_get", in{"schema_name": "image"}, "'properties'", ""},
		{"neutron.create_network", in{"body": in{"network": in{"name": "net3"}}}, "'net3'", "network.id"},
		{"neutron.create_subnet", in{"body": in{"subnet": in{"network_id": "$neutron.create_network", "ip_version": int64(4), "cidr": "192.0.2.0/24"}}}, "'192.0.2.0/24'", "subnet.id"},
		{"neutron.create_port", in{"body": in{"port": in{"network_id": "$neutron.create_network"}}}, "'192.0.2.", "port.id"},
		{"neutron.list_ports", in{"network_id": "$neutron.create_network"}, "'192.0.2.", ""},
		{"neutron.delete_port", in{"port": "$neutron.create_port"}, "", ""},
		{"neutron.delete_network", in{"network": "$neutron.create_network"}, "", ""},
		{"neutron.list_extensions", nil, "'alias'", ""},
		{"keystone.roles_create", in{"name": "role1"}, "'role1'", "id"},
		{"keystone.roles_find", in{"name": "role1"}, "'role1'", ""},
		{"keystone.roles_delete", in{"role": "$keystone.roles_create"}, "", ""},
		{"keystone.role_assignments_list", nil, "'role'", ""},
		{"keystone.credentials_list", nil, "[", ""},
		{"keystone.regions_list", nil, "'id'", ""},
		{"heat.stacks_create", in{"stack_name": "s2", "template": template}, "'id'", "stack.id"},
		{"heat.stacks_preview_update", in{"stack_id": "s2", "template": template, "parameters": in{"p": "v2"}}, "'r'", ""},
		{"heat.stacks_template", in{"stack_id": "s2"}, "'OS::Heat::Value'", ""},
		{"heat.stacks_environment", in{"stack_id": "s2"}, "'parameter", ""},
		{"heat.stacks_output_list", in{"stack_id": "s2"}, "'outputs'", ""},
		{"heat.resources_get", in{"stack_id": "s2", "resource_name": "r"}, "'OS::Heat::Value'", ""},
		{"heat.events_list", in{"stack_id": "s2"}, "'resource_status'", ""},
		{"heat.stacks_validate", in{"template": template}, "'Parameters'", ""},
		{"heat.stacks_preview", in{"stack_name": "s3", "template": template}, "'r'", ""},
		{"heat.resource_types_list", nil, "OS::Heat::Value", ""},
		{"heat.resource_types_get", in{"resource_type": "OS::Heat::Value"}, "'properties'", ""},
		{"heat.software_configs_create", in{"group": "script", "name": "c", "config": "x"}, "'script'", "id"},
		{"heat.software_configs_get", in{"config_id": "$heat.software_configs_create"}, "'script'", ""},
		{"heat.software_configs_delete", in{"config_id": "$heat.software_configs_create"}, "", ""},
		{"heat.build_info_build_info", nil, "'api'", ""},
		{"heat.services_list", nil, "'binary'", ""},
		{"heat.template_versions_list", nil, "heat_template_version.queens", ""},
		{"heat.stacks_delete", in{"stack_id": "s2"}, "", ""},
		{"swift.get_capabilities", nil, "'swift'", ""},
		{"swift.head_account", nil, "'x-account-container-count'", ""},
		{"swift.get_account", nil, "'x-account", ""},
		{"swift.put_container", in{"container": "c2"}, "", ""},
		{"swift.post_container", in{"container": "c2", "headers": in{"X-Container-Meta-A": "b"}}, "", ""},
		{"swift.put_object", in{"container": "c2", "obj": "o", "contents": "text"}, "", ""},
		{"swift.copy_object", in{"container": "c2", "obj": "o", "destination": "/c2/p"}, "", ""},
		{"swift.get_container", in{"container": "c2", "prefix": "p"}, "'p'", ""},
		{"zaqar.queue_post", in{"queue_name": "q2", "messages": in{"body": "one"}}, "", ""},
		{"zaqar.queue_messages", in{"queue_name": "q2"}, "'one'", ""},
		{"zaqar.queue_pop", in{"queue_name": "q2"}, "'one'", ""},
		{"zaqar.delete_messages", in{"queue_name": "q1", "messages": []any{}}, "", ""},
		{"mistral.environments_find", in{"name": "e1"}, "'e1'", ""},
		{"mistral.environments_delete", in{"name": "e1"}, "", ""},
		{"mistral.workflows_find", in{"name": "w1"}, "'w1'", ""},
		{"mistral.workflows_get", in{"identifier": "w1"}, "'w1'", ""},
		{"mistral.workflows_validate", in{"definition": "version: '2.0'\nw2: {}\n"}, "'valid': False", ""},
		{"mistral.executions_list", nil, "'w1'", ""},
		{"mistral.tasks_list", nil, "'a'", ""},
		{"mistral.action_executions_create", in{"name": "std.echo", "input": in{"output": "hi"}, "save_result": true}, `"hi"`, ""},
		{"mistral.services_list", nil, "", ""},
		{"mistral.workflows_delete", in{"identifier": "w1"}, "", ""},
	}
}
