package deployment_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// tinyPlan is a plan with roles, networks and a capabilities map, small enough to be deployed in a moment.
func tinyPlan() map[string]string {
	return map[string]string{
		"plan-environment.yaml": "version: 1.0\nname: tiny\ntemplate: overcloud.yaml\nenvironments: [{path: environments/base.yaml}]\n",
		"roles_data.yaml": "- name: Controller\n  CountDefault: 1\n  tags: [primary, controller]\n  networks: [Storage]\n  ServicesDefault: ['OS::TripleO::Services::One']\n" +
			"- name: Compute\n  CountDefault: 0\n  networks: [Storage]\n",
		"network_data.yaml":               "- {name: Storage, name_lower: storage, vip: true, vlan: 30, ip_subnet: 172.16.1.0/24, allocation_pools: [{start: 172.16.1.4, end: 172.16.1.250}]}\n",
		"roles/Networker.yaml":            "- {name: Networker, CountDefault: 0, networks: [Storage], tags: [networker]}\n",
		"networks/External.yaml":          "- {name: External, name_lower: external, ip_subnet: 10.0.0.0/24}\n",
		"environments/base.yaml":          "resource_registry: {'OS::TripleO::Services::One': OS::Heat::None}\nparameter_defaults: {Flavor: baremetal}\n",
		"environments/more.yaml":          "parameter_defaults: {More: 1}\n",
		"environments/extra.yaml":         "parameter_defaults: {Extra: 1}\n",
		"capabilities-map.yaml":           "topics:\n- title: Base\n  environment_groups:\n  - title: more\n    environments:\n    - {file: environments/more.yaml, title: More, requires: [environments/extra.yaml]}\n",
		"network/network.network.j2.yaml": "heat_template_version: queens\n",
		"overcloud.j2.yaml": "heat_template_version: queens\nparameters:\n  Old: {type: string, default: ''}\n  ControllerCount: {type: number, default: 1}\nparameter_groups:\n- {label: deprecated, parameters: [Old]}\nresources:\n" +
			"{% for r in roles %}  {{r.name}}Value: {type: 'OS::Heat::Value', properties: {value: {{r.name}}}}\n{% endfor %}" +
			"outputs:\n  RoleData: {value: {Controller: {service_names: [one], upgrade_tasks: [{name: b, when: step|int == 2}, {name: a, when: step|int == 1}]}}}\n",
	}
}

func (r *rig) ok(name string, input map[string]any) map[string]any {
	r.t.Helper()
	input = maps.Clone(input)
	if !strings.HasPrefix(name, "tripleo.validations.v1.list") && !strings.HasPrefix(name, "tripleo.stack.v1.wait") {
		input["queue_name"] = "" // nobody listens here
	}
	state, out, info := r.run(name, input)
	if state != "SUCCESS" {
		r.t.Fatalf("%s: %s %s %v", name, state, info, out)
	}
	return out
}

func names(v any) string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		m, _ := e.(map[string]any)
		s, _ := m["name"].(string)
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// TestPlanWorkflows goes through the workflows on a plan's roles, networks, environments and parameters.
func TestPlanWorkflows(t *testing.T) {
	r := start(t)
	r.upload("tiny", tinyPlan())
	const pm = "tripleo.plan_management.v1."
	r.ok(pm+"create_deployment_plan", map[string]any{"container": "tiny", "validate_stack": true})
	in := map[string]any{"container": "tiny"}
	if got := names(r.ok(pm+"list_available_roles", in)["available_roles"]); got != "Networker" {
		t.Errorf("available roles %q", got)
	}
	if got := names(r.ok(pm+"validate_roles_and_networks", in)["network_data"]); got != "Storage" {
		t.Errorf("networks %q", got)
	}
	r.ok(pm+"select_roles", map[string]any{"container": "tiny", "role_names": []any{"Controller", "Networker"}})
	if got := names(r.ok(pm+"list_roles", in)["roles_data"]); got != "Networker Controller" {
		t.Errorf("roles %q", got)
	}
	if _, text := r.object("tiny", "overcloud.yaml"); !strings.Contains(text, "NetworkerValue") || strings.Contains(text, "ComputeValue") {
		t.Errorf("the plan was not rendered with its new roles:\n%s", text)
	}
	bad := map[string]any{"container": "tiny", "roles": []any{map[string]any{"name": "X", "networks": []any{"Nowhere"}}}, "queue_name": ""}
	if state, _, info := r.run(pm+"update_roles", bad); state != "ERROR" || !strings.Contains(info, "Nowhere") {
		t.Errorf("a role on a network that is not there: %s %s", state, info)
	}
	r.ok("tripleo.networks.v1.update_networks", map[string]any{"container": "tiny", "networks": []any{map[string]any{"name": "Tenant", "name_lower": "tenant", "ip_subnet": "172.16.0.0/24", "vlan": 50}}})
	if got := names(r.ok(pm+"list_networks", in)["network_data"]); got != "Storage Tenant" {
		t.Errorf("networks %q", got)
	}
	env := r.action("tripleo.heat_capabilities.update", map[string]any{"container": "tiny", "environments": map[string]any{"environments/more.yaml": true, "environments/extra.yaml": true}})
	if got := env.(map[string]any)["environments"].([]any); len(got) != 3 || got[1].(map[string]any)["path"] != "environments/extra.yaml" {
		t.Errorf("environments %v: what is required must come first", got)
	}
	caps := r.action("tripleo.heat_capabilities.get", in).(map[string]any)
	if caps["Base"] == nil || caps["Other"] == nil {
		t.Errorf("capabilities %v", caps)
	}
	r.action("tripleo.parameters.update", map[string]any{"container": "tiny", "parameters": map[string]any{"Old": "x", "Nonsense": 1, "ControllerParameters": map[string]any{"Foo": 1}}, "validate": false})
	dep := r.action("tripleo.parameters.deprecated", in).(map[string]any)
	if !strings.Contains(str(dep["deprecated"]), "Old") || !strings.Contains(str(dep["unused"]), "Nonsense") || !strings.Contains(str(dep["invalid_role_specific"]), "Foo") {
		t.Errorf("deprecated parameters %v", dep)
	}
	r.ok(pm+"get_deprecated_parameters", in)
	r.ok(pm+"get_passwords", in)
	r.ok("tripleo.swift_rings_backup.v1.create_swift_rings_backup_container_plan", map[string]any{"container": "tiny", "validate_stack": false})
	if _, text := r.object("tiny", "plan-environment.yaml"); !strings.Contains(text, "SwiftRingPutTempurl") {
		t.Error("the plan does not know where its rings go")
	}
	r.ok("tripleo.fernet_keys.v1.rotate_fernet_keys", in)
	if _, text := r.object("tiny", "plan-environment.yaml"); !strings.Contains(text, "/etc/keystone/fernet-keys/2") {
		t.Error("fernet keys were not rotated")
	}
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "tiny", "timeout": 5})
	r.ok("tripleo.package_update.v1.get_config", in)
	if code, text := r.object("overcloud-config", "Controller/upgrade_tasks_playbook.yaml"); code != 200 || strings.Index(text, "name: a") > strings.Index(text, "name: b") {
		t.Errorf("upgrade tasks %d:\n%s", code, text)
	}
	r.ok("tripleo.package_update.v1.package_update_plan", map[string]any{"container": "tiny", "ceph_ansible_playbook": "x.yml"})
	if _, text := r.object("tiny", "plan-environment.yaml"); !strings.Contains(text, "OS::TripleO::Tasks::ControllerPreConfig: OS::Heat::None") {
		t.Errorf("the update's plan runs its steps:\n%s", text)
	}
	r.ok("tripleo.stack.v1.wait_for_stack_complete_or_failed", map[string]any{"stack": "tiny"})
	r.ok("tripleo.package_update.v1.update_converge_plan", in)
	if _, text := r.object("tiny", "plan-environment.yaml"); strings.Contains(text, "ControllerPreConfig") {
		t.Error("the plan does not run its steps again")
	}
	before := r.action("tripleo.parameters.generate_passwords", in).(map[string]any)
	r.upload("tiny", tinyPlan()) // its environment has no passwords
	after := r.action("tripleo.parameters.generate_passwords", in).(map[string]any)
	if before["AdminPassword"] != after["AdminPassword"] || fmt.Sprint(before["KeystoneFernetKeys"]) != fmt.Sprint(after["KeystoneFernetKeys"]) {
		t.Error("a plan that is made anew for a living stack has other passwords than the stack")
	}
}

func str(v any) string {
	var sb strings.Builder
	list, _ := v.([]any)
	for _, e := range list {
		sb.WriteString(e.(string) + " ")
	}
	return sb.String()
}

// TestUndercloudWorkflows: validations, backup, logs, keys.
func TestUndercloudWorkflows(t *testing.T) {
	r := start(t)
	r.upload("tiny", tinyPlan())
	groups, _ := r.ok("tripleo.validations.v1.list_groups", map[string]any{})["groups"].([]any)
	if len(groups) != 6 {
		t.Errorf("groups %v", groups)
	}
	all, _ := r.action("tripleo.validations.list_validations", map[string]any{}).([]any)
	if len(all) < 20 {
		t.Errorf("%d validations", len(all))
	}
	r.ok("tripleo.validations.v1.run_validation", map[string]any{"validation_name": "roles-data", "plan": "tiny"})
	r.ok("tripleo.validations.v1.run_groups", map[string]any{"group_names": []any{"prep"}, "plan": "tiny"})
	state, out, info := r.run("tripleo.validations.v1.run_validation", map[string]any{"validation_name": "passwords", "plan": "tiny", "queue_name": ""})
	if state != "ERROR" || !strings.Contains(info+str([]any{}), "AdminPassword") {
		t.Errorf("a plan without passwords: %s %s %v", state, info, out)
	}
	out = r.ok("tripleo.undercloud_backup.v1.backup", map[string]any{"sources_path": "/etc/hostname"})
	object, _ := out["object"].(string)
	if code, text := r.object("undercloud-backups", object); code != 200 || len(text) < 1000 {
		t.Errorf("backup %q: %d, %d bytes", object, code, len(text))
	}
	zq, err := r.s.Messaging("3381af92-2b9e-11e3-b191-71861300734c")
	must(t, err)
	body := map[string]any{"messages": []any{map[string]any{"ttl": 300, "body": map[string]any{"message": "hello", "level": "INFO", "logger": "ui", "timestamp": 1500000000000}}}}
	_, err = zq.Post(t.Context(), strings.TrimSuffix(zq.Endpoint, "/")+"/v2/queues/tripleo-ui-logging/messages", body, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusCreated}})
	must(t, err)
	r.ok("tripleo.plan_management.v1.download_logs", map[string]any{})
	if _, text := r.object("tripleo-ui-logs", "tripleo-ui.logs"); !strings.Contains(text, "2017-07-14 02:40:00 INFO ui hello") {
		t.Errorf("the GUI's log: %q", text)
	}
}

// TestRemoteDeployment plays the agent of a server: what is run on it comes back.
func TestRemoteDeployment(t *testing.T) {
	r := start(t)
	heat, err := r.s.Orchestration()
	must(t, err)
	const server = "11111111-2222-3333-4444-555555555555"
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			var answer struct {
				Metadata []struct {
					Config string `json:"config"`
					Inputs []struct {
						Name  string `json:"name"`
						Value string `json:"value"`
					} `json:"inputs"`
				} `json:"metadata"`
			}
			if _, err := heat.Get(t.Context(), heat.ServiceURL("software_deployments", "metadata", server), &answer, nil); err != nil {
				done <- err
				return
			}
			for _, d := range answer.Metadata {
				for _, in := range d.Inputs {
					if in.Name != "deploy_signal_id" {
						continue
					}
					code := "0"
					if strings.Contains(d.Config, "exit 3") {
						code = "3"
					}
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, in.Value, strings.NewReader(`{"deploy_stdout": "out", "deploy_stderr": "err", "deploy_status_code": `+code+`}`))
					if err == nil {
						var resp *http.Response
						if resp, err = http.DefaultClient.Do(req); err == nil {
							_ = resp.Body.Close()
						}
					}
					done <- err
					return
				}
			}
		}
	}()
	out := r.ok("tripleo.deployment.v1.deploy_on_server", map[string]any{"server_uuid": server, "server_name": "s", "config": "exit 0", "config_name": "c", "group": "script"})
	must(t, <-done)
	if out["stdout"] != "out" {
		t.Errorf("output %v", out)
	}
}
