package deployment_test

import (
	"strings"
	"testing"
)

// queensPlan is a plan built as those of TripleO's Queens templates are: the dispatch of files, whitespace control,
// loop-scoped set, list methods, includes, raw text, repeated keys, registry wildcards, role groups with removal
// policies, chains of services, per-network ports, step deployments and images of containers.
func queensPlan() map[string]string {
	return map[string]string{
		"plan-environment.yaml": "version: 1.0\nname: overcloud\ndescription: >\n  Default Deployment plan\ntemplate: overcloud.yaml\nenvironments:\n  - path: overcloud-resource-registry-puppet.yaml\n  - path: environments/docker.yaml\n  - path: environments/network-isolation.yaml\n",
		"capabilities-map.yaml": "topics: []\n",
		"j2_excludes.yaml":      "name:\n  -\n  - network/external_v6.yaml\n",
		"roles_data.yaml": "- name: Controller\n  description: |\n    Controller role\n  CountDefault: 1\n  tags: [primary, controller]\n  networks: [External, InternalApi]\n  default_route_networks: ['External']\n  HostnameFormatDefault: '%stackname%-controller-%index%'\n  RoleParametersDefault: {A: 'b', C: true}\n  uses_deprecated_params: True\n  deprecated_param_flavor: 'OvercloudControlFlavor'\n  ServicesDefault:\n    - OS::TripleO::Services::Keystone\n    - OS::TripleO::Services::Nothing\n" +
			"- name: Compute\n  CountDefault: 2\n  networks: [InternalApi]\n  HostnameFormatDefault: '%stackname%-novacompute-%index%'\n  disable_upgrade_deployment: True\n  ServicesDefault: [OS::TripleO::Services::Nothing]\n",
		"network_data.yaml": "- {name: External, vip: true, name_lower: external, vlan: 10, ip_subnet: '10.0.0.0/24', gateway_ip: '10.0.0.1', allocation_pools: [{'start': '10.0.0.4', 'end': '10.0.0.250'}]}\n" +
			"- {name: InternalApi, name_lower: internal_api, vip: true, vlan: 20, ip_subnet: '172.16.2.0/24', allocation_pools: [{'start': '172.16.2.4', 'end': '172.16.2.250'}]}\n- {name: Management, name_lower: management, enabled: false, vip: false}\n",
		"overcloud-resource-registry-puppet.j2.yaml": "resource_registry:\n  OS::TripleO::Server: OS::Heat::TestResource\n  OS::TripleO::Services::Keystone: docker/services/keystone.yaml\n  OS::TripleO::Services::Nothing: OS::Heat::None\n  OS::TripleO::Services: common/services.yaml\n" +
			"{% for role in roles %}\n  OS::TripleO::{{role.name}}: puppet/{{role.name.lower()}}-role.yaml\n  OS::TripleO::{{role.name}}Server: OS::Heat::TestResource\n{% for network in networks if network.enabled|default(true) %}\n  OS::TripleO::{{role.name}}::Ports::{{network.name}}Port: network/ports/noop.yaml\n{% endfor %}\n{% endfor %}\n" +
			"  OS::TripleO::Controller::Net::SoftwareConfig: net-config-noop.yaml\n  OS::TripleO::Controller::Net::SoftwareConfig: OS::Heat::None\n",
		"environments/docker.yaml":               "resource_registry:\n  OS::TripleO::PostDeploySteps: ../common/post.yaml\nparameter_defaults:\n  DockerInsecure: yes\n",
		"environments/network-isolation.j2.yaml": "resource_registry:\n{%- for role in roles %}\n{%- for network in networks if network.enabled|default(true) and network.name in role.networks %}\n  OS::TripleO::{{role.name}}::Ports::{{network.name}}Port: ../network/ports/{{network.name_lower|default(network.name.lower())}}.yaml\n{%- endfor %}\n{%- endfor %}\n",
		"net-config-noop.yaml":                   "heat_template_version: queens\nresources: {}\n",
		"network/network.network.j2.yaml":        "heat_template_version: queens\n{% include 'network.j2' %}\n",
		"network/network_v6.network.j2.yaml":     "heat_template_version: queens\n# v6 of {{network.name}}\n",
		"network/network.j2":                     "parameters:\n  {{network.name}}NetCidr:\n    default: {{network.ip_subnet|default(\"\")}}\n    type: string\n  {{network.name}}AllocationPools:\n    default: {{network.allocation_pools|default([])}}\n    type: json\n",
		"network/ports/noop.yaml":                "heat_template_version: queens\nparameters:\n  ControlPlaneIP: {type: string, default: ''}\noutputs:\n  ip_address: {value: {get_param: ControlPlaneIP}}\n",
		"network/ports/port.network.j2.yaml":     "heat_template_version: queens\n{% include 'port.j2' %}\n",
		"network/ports/port.j2":                  "parameters:\n  ControlPlaneIP: {type: string, default: ''}\noutputs:\n  ip_address: {value: '{{network.ip_subnet}}'}\n",
		"common/services.yaml":                   "heat_template_version: queens\nparameters:\n  Services: {type: comma_delimited_list, default: []}\nresources:\n  ServiceChain:\n    type: OS::Heat::ResourceChain\n    properties:\n      resources: {get_param: Services}\n      concurrent: true\n      resource_properties: {}\noutputs:\n  role_data:\n    value:\n      service_names:\n        yaql:\n          expression: list($.data.s_names.where($ != null))\n          data: {s_names: {get_attr: [ServiceChain, role_data, service_name]}}\n      step_config: {list_join: [\"\\n\", {yaql: {expression: \"list(coalesce($.data.c, []).where($ != null))\", data: {c: {get_attr: [ServiceChain, role_data, step_config]}}}}]}\n",
		"docker/services/keystone.yaml":          "heat_template_version: queens\nparameters:\n  DockerKeystoneImage: {type: string, description: image}\n  DockerKeystoneConfigImage: {type: string}\n  AdminPassword: {type: string, hidden: true}\noutputs:\n  role_data:\n    value:\n      service_name: keystone\n      step_config: |\n        include ::tripleo::profile::base::keystone\n      docker_config:\n        step_3: {keystone: {image: &keystone_image {get_param: DockerKeystoneImage}}}\n        step_4: {db_sync: {image: *keystone_image}}\n      config_settings: {map_merge: [{keystone::admin_password: {get_param: AdminPassword}}, {a: 22:30}]}\n",
		"common/post.j2.yaml":                    "heat_template_version: queens\nparameters:\n  servers: {type: json}\nresources:\n{% include 'deploy-steps.j2' %}\n",
		"common/deploy-steps.j2":                 "{% set steps = 3 -%}\n{%- for step in range(1, steps) %}\n{%- for role in roles %}\n  {{role.name}}Deployment_Step{{step}}:\n    type: OS::Heat::Value\n{%- if step > 1 %}\n    depends_on:\n{%- for dep in roles %}\n      - {{dep.name}}Deployment_Step{{step -1}}\n{%- endfor %}\n{%- endif %}\n    properties: {value: '{% raw %}{{not jinja}}{% endraw %}'}\n{%- endfor %}\n{%- endfor %}\n",
		"puppet/role.role.j2.yaml": "heat_template_version: queens\n{% set deprecated = [] -%}\n{%- if role.deprecated_param_flavor is defined %}{% set _ = deprecated.append(role.deprecated_param_flavor) %}{% endif -%}\ndescription: '{{role.name}} node, {{ deprecated.pop() if deprecated else \"-\" }}'\nparameters:\n  NodeIndex: {type: number, default: 0}\n  {{role.name}}Parameters: {type: json, default: {{role.RoleParametersDefault|default({})}}}\n  Hostname: {type: string, default: ''}\nresources:\n  {{role.name}}:\n    type: OS::TripleO::{{role.name}}Server\n    properties: {value: {get_param: Hostname}}\n" +
			"{% for network in networks if network.enabled|default(true) and network.name in role.networks %}\n  {{network.name}}Port:\n    type: OS::TripleO::{{role.name}}::Ports::{{network.name}}Port\n    properties: {ControlPlaneIP: 192.0.2.1}\n{% endfor %}\noutputs:\n  hostname: {value: {get_param: Hostname}}\n  OS::stack_id: {value: {get_resource: {{role.name}}}}\n",
		"overcloud.j2.yaml": "{% set primary_role = roles[0] -%}\n{%- for role in roles -%}\n{%- if 'primary' in role.tags and 'controller' in role.tags|default([]) -%}\n{%- set _ = roles.pop(loop.index - 1) -%}\n{%- set _ = roles.append(role) -%}\n{%- endif -%}\n{%- endfor -%}\nheat_template_version: queens\nparameters:\n  RootStackName: {type: string, default: ''}\n" +
			"{% for role in roles %}\n  {{role.name}}Count: {type: number, default: {{role.CountDefault|default(0)}}}\n  {{role.name}}Services: {type: comma_delimited_list, default: {{role.ServicesDefault|default([])}}}\n  {{role.name}}HostnameFormat: {type: string, default: \"{{role.HostnameFormatDefault}}\"}\n  {{role.name}}RemovalPolicies: {type: json, default: []}\n  {{role.name}}RemovalPoliciesMode: {type: string, default: append}\n{% endfor %}\n" +
			"parameter_groups:\n- {label: deprecated, parameters: [RootStackName]}\nparameter_groups:\n- {label: deprecated, parameters: []}\nresources:\n{% for role in roles %}\n  {{role.name}}ServiceChain:\n    type: OS::TripleO::Services\n    properties: {Services: {get_param: {{role.name}}Services}}\n  {{role.name}}:\n    type: OS::Heat::ResourceGroup\n    depends_on: {{role.name}}ServiceChain\n    properties:\n      count: {get_param: {{role.name}}Count}\n      removal_policies: {get_param: {{role.name}}RemovalPolicies}\n      removal_policies_mode: {get_param: {{role.name}}RemovalPoliciesMode}\n      resource_def:\n        type: OS::TripleO::{{role.name}}\n        properties:\n          Hostname: {str_replace: {template: {get_param: {{role.name}}HostnameFormat}, params: {'%stackname%': {get_param: 'OS::stack_name'}}}}\n          NodeIndex: '%index%'\n{% endfor %}\n" +
			"  AllNodesDeploySteps:\n    type: OS::TripleO::PostDeploySteps\n    depends_on:\n{% for role in roles %}\n      - {{role.name}}\n{% endfor %}\n    properties:\n      servers:\n{% for role in roles %}\n        {{role.name}}: {get_attr: [{{role.name}}, hostname]}\n{% endfor %}\noutputs:\n  Hosts:\n    value:\n      list_concat:\n{% for role in roles %}\n        - {get_attr: [{{role.name}}, hostname]}\n{% endfor %}\n  RoleData:\n    value:\n{% for role in roles %}\n      {{role.name}}: {get_attr: [{{role.name}}ServiceChain, role_data]}\n{% endfor %}\n",
	}
}

// TestQueensPlan takes a plan in the manner of Queens unchanged: rendered, merged, deployed, and scaled down.
func TestQueensPlan(t *testing.T) {
	r := start(t)
	r.upload("queens", queensPlan())
	in := map[string]any{"container": "queens"}
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "queens", "validate_stack": false})
	for name, want := range map[string]string{
		"puppet/controller-role.yaml":                     "default: {'A': 'b', 'C': True}",
		"network/internal_api.yaml":                       "default: [{'start': '172.16.2.4', 'end': '172.16.2.250'}]",
		"common/post.yaml":                                "value: '{{not jinja}}'",
		"environments/containers-default-parameters.yaml": "DockerKeystoneConfigImage: docker.io/tripleoqueens/centos-binary-keystone:current-tripleo",
		"environments/network-isolation.yaml":             "OS::TripleO::Compute::Ports::InternalApiPort: ../network/ports/internal_api.yaml",
	} {
		if code, text := r.object("queens", name); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d, expected %q:\n%s", name, code, want, text)
		}
	}
	for _, gone := range []string{"network/external_v6.yaml", "network/management.yaml"} {
		if code, _ := r.object("queens", gone); code != 404 {
			t.Errorf("%s was rendered", gone)
		}
	}
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "queens", "timeout": 5})
	hosts := func() string {
		heat, err := r.s.Orchestration()
		must(t, err)
		var out struct {
			Stack struct {
				Outputs []struct {
					Key   string `json:"output_key"`
					Value any    `json:"output_value"`
				} `json:"outputs"`
			} `json:"stack"`
		}
		_, err = heat.Get(t.Context(), heat.ServiceURL("stacks", "queens"), &out, nil)
		must(t, err)
		for _, o := range out.Stack.Outputs {
			if o.Key == "Hosts" {
				return strings.TrimSpace(str(o.Value))
			}
		}
		return ""
	}
	if got := hosts(); got != "queens-novacompute-0 queens-novacompute-1 queens-controller-0" {
		t.Errorf("hosts %q", got)
	}
	r.ok("tripleo.package_update.v1.get_config", in)
	if _, text := r.object("overcloud-config", "Controller/step_config.pp"); !strings.Contains(text, "tripleo::profile::base::keystone") {
		t.Errorf("step_config.pp: %q", text)
	}
	heat, err := r.s.Orchestration()
	must(t, err)
	var list struct {
		Resources []struct {
			Name string `json:"resource_name"`
			ID   string `json:"physical_resource_id"`
			Type string `json:"resource_type"`
		} `json:"resources"`
	}
	_, err = heat.Get(t.Context(), heat.ServiceURL("stacks", "queens", "resources")+"?nested_depth=4", &list, nil)
	must(t, err)
	victim := ""
	for _, res := range list.Resources {
		if res.Type == "OS::TripleO::ComputeServer" && victim == "" {
			victim = res.ID
		}
	}
	r.ok("tripleo.scale.v1.delete_node", map[string]any{"container": "queens", "nodes": []any{victim}, "timeout": 5})
	if got := hosts(); got != "queens-novacompute-1 queens-controller-0" && got != "queens-novacompute-0 queens-controller-0" {
		t.Errorf("hosts after one is removed %q", got)
	}
	_, env := r.object("queens", "plan-environment.yaml")
	if !strings.Contains(env, "ComputeCount: '1'") || !strings.Contains(env, "ComputeRemovalPolicies") {
		t.Errorf("the plan does not know of the removal:\n%s", env)
	}
}
