package orchestration_test

import (
	"strings"
	"testing"
)

// TestHeatTypes makes, changes and deletes the types that stand on orchestration itself.
func TestHeatTypes(t *testing.T) {
	u := newUndercloud(t)
	inner := func(v string) string {
		return `"heat_template_version: wallaby\nparameters: {p: {type: string}}\nresources: {r: {type: OS::Heat::Value, properties: {value: ` + v + `}}}\noutputs: {o: {value: {get_attr: [r, value]}}, p: {value: {get_param: p}}}\n"`
	}
	for _, l := range []lifecycle{
		{name: "stack", reason: "a stack of its own, through the API",
			create: hot + "resources: {s: {type: OS::Heat::Stack, properties: {template: " + inner("one") + ", parameters: {p: x}}}}\noutputs: {o: {value: {get_attr: [s, outputs, o]}}, p: {value: {get_attr: [s, outputs, p]}}, n: {value: {get_attr: [s, stack_name]}}}\n",
			update: hot + "resources: {s: {type: OS::Heat::Stack, properties: {template: " + inner("two") + ", parameters: {p: y}}}}\noutputs: {o: {value: {get_attr: [s, outputs, o]}}, p: {value: {get_attr: [s, outputs, p]}}}\n",
			made:   map[string]any{"o": "one", "p": "x", "n": nil}, updated: map[string]any{"o": "two", "p": "y"}},
		{name: "region", reason: "the region of the context is looked for",
			create: hot + "resources: {s: {type: OS::Heat::Stack, properties: {context: {region_name: regionOne}, template: " + inner("one") + ", parameters: {p: x}}}}\noutputs: {o: {value: {get_attr: [s, outputs, o]}}}\n",
			made:   map[string]any{"o": "one"}},
		{name: "random", reason: "old and new ways of saying which characters",
			create: hot + `resources:
  a: {type: OS::Heat::RandomString, properties: {length: 20, sequence: digits}}
  b: {type: OS::Heat::RandomString, properties: {length: 6, character_classes: [{class: uppercase, min: 3}, {class: digits, min: 3}], salt: x}}
  c: {type: OS::Heat::RandomString, properties: {length: 4, character_classes: [], character_sequences: [{sequence: "#", min: 4}]}}
outputs:
  a: {value: {yaql: {expression: "regex('^[0-9]{20}$').matches($.data)", data: {get_attr: [a, value]}}}}
  b: {value: {yaql: {expression: "regex('^[A-Z0-9]{6}$').matches($.data)", data: {get_attr: [b, value]}}}}
  c: {value: {get_attr: [c, value]}}
`, made: map[string]any{"a": true, "b": true, "c": "####"}},
		{name: "chain", reason: "members in a row; groups of a policy in batches",
			create: hot + `resources:
  c: {type: OS::Heat::ResourceChain, properties: {resources: [OS::Heat::TestResource, OS::Heat::TestResource], resource_properties: {value: v}}}
  g: {type: OS::Heat::ResourceGroup, update_policy: {batch_create: {max_batch_size: 1}}, properties: {count: 3, index_var: "<i>", resource_def: {type: OS::Heat::TestResource, properties: {value: "m<i>"}}}}
  d: {type: OS::Heat::Delay, properties: {min_wait: 0}}
  h: {type: OS::Heat::HARestarter}
outputs:
  c: {value: {get_attr: [c, output]}}
  g: {value: {get_attr: [g, output]}}
`, update: hot + `resources:
  g: {type: OS::Heat::ResourceGroup, properties: {count: 2, index_var: "<i>", removal_policies: [{resource_list: ["0"]}], removal_policies_mode: update, resource_def: {type: OS::Heat::TestResource, properties: {value: "m<i>"}}}}
outputs:
  g: {value: {get_attr: [g, output]}}
  gone: {value: {get_attr: [g, removed_rsrc_list]}}
`, made: map[string]any{"c": []string{"v", "v"}, "g": []string{"m0", "m1", "m2"}}, updated: map[string]any{"g": []string{"m1", "m2"}, "gone": []string{"0"}}},
	} {
		u.live(l)
	}
}

// TestComponent wants a deployment of a component to run for the actions of its parts, and no other.
func TestComponent(t *testing.T) {
	u := newUndercloud(t)
	template := hot + `parameters: {x: {type: string, default: a}}
resources:
  server: {type: OS::Heat::DeployedServer, properties: {deployment_swift_data: {container: c, object: o}}}
  config:
    type: OS::Heat::SoftwareComponent
    properties:
      inputs: [{name: x}]
      configs:
        - {actions: [CREATE], config: echo create, tool: script}
        - {actions: [DELETE], config: echo delete, tool: script}
  deploy: {type: OS::Heat::SoftwareDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: TEMP_URL_SIGNAL, input_values: {x: {get_param: x}}}}
`
	id := u.createStack("comp", map[string]any{"template": template})
	d := u.waiting("comp")
	if d["group"] != "component" || !strings.Contains(text(d["config"]), `"echo create"`) || input(d, "deploy_action") != "CREATE" {
		t.Errorf("config %v", d)
	}
	u.report(d, id, map[string]any{"deploy_status_code": 0})
	u.stack("comp", "CREATE_COMPLETE")
	if code, out := u.request("PATCH", "stacks/comp/"+id, map[string]any{"parameters": map[string]any{"x": "b"}}); code != 202 {
		t.Fatal(code, out)
	}
	u.stack("comp", "UPDATE_COMPLETE") // no part is for UPDATE
	u.request("DELETE", "stacks/comp/"+id, nil)
	d = u.waiting("comp")
	if input(d, "deploy_action") != "DELETE" {
		t.Errorf("config at deletion %v", d)
	}
	u.report(d, id, map[string]any{"deploy_status_code": 0})
	u.stack("comp", "DELETE_COMPLETE")
	for _, bad := range []string{"[{config: a, tool: t, actions: [CREATE]}, {config: b, tool: t, actions: [CREATE]}]", "[{config: a, tool: t, actions: [FLY]}]", "[]"} {
		code, out := u.request("POST", "stacks", map[string]any{"stack_name": "bad", "template": hot + "resources: {c: {type: OS::Heat::SoftwareComponent, properties: {configs: " + bad + "}}}"})
		if code != 400 {
			t.Errorf("configs %s: %d %v", bad, code, out)
		}
	}
}

// TestInstanceGroup makes servers of a launch configuration.
func TestInstanceGroup(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	id := u.createStack("ig", map[string]any{"template": hot + `resources:
  conf: {type: AWS::AutoScaling::LaunchConfiguration, properties: {ImageId: overcloud-full, InstanceType: control, NovaSchedulerHints: [{Key: a, Value: b}]}}
  g: {type: OS::Heat::InstanceGroup, properties: {AvailabilityZones: [nova], LaunchConfigurationName: {get_resource: conf}, Size: 2}}
outputs: {ips: {value: {get_attr: [g, InstanceList]}}}
`})
	servers := u.boot(2, "ACTIVE")
	if servers[0]["flavorRef"] != "f2" || text(servers[0]["hints"]) != `{"a":"b"}` {
		t.Errorf("server %v", servers[0])
	}
	if out := outputsOf(u.stack("ig", "CREATE_COMPLETE")); out["ips"] != "192.168.24.7,192.168.24.7" {
		t.Errorf("outputs %v", out)
	}
	u.request("DELETE", "stacks/ig/"+id, nil)
	u.stack("ig", "DELETE_COMPLETE")
}

// TestTemplateURL makes a stack of a template that came with the request under its address.
func TestTemplateURL(t *testing.T) {
	u := newUndercloud(t)
	const address = "http://192.0.2.1/inner.yaml"
	u.createStack("aws", map[string]any{"template": hot + `resources:
  s: {type: AWS::CloudFormation::Stack, properties: {TemplateURL: "` + address + `", Parameters: {p: v}}}
outputs: {o: {value: {get_attr: [s, Outputs.o]}}}
`, "files": map[string]any{address: hot + "parameters: {p: {type: string}}\noutputs: {o: {value: {get_param: p}}}\n"}})
	if out := outputsOf(u.stack("aws", "CREATE_COMPLETE")); out["o"] != "v" {
		t.Errorf("outputs %v", out)
	}
}

// TestConfigAPI wants inputs and outputs of configs checked and completed as Heat does.
func TestConfigAPI(t *testing.T) {
	u := newUndercloud(t)
	code, out := u.request("POST", "software_configs", map[string]any{"name": "c", "group": "script", "config": "echo", "inputs": []any{map[string]any{"name": "a"}}, "outputs": []any{map[string]any{"name": "b"}}})
	if code != 200 || !strings.Contains(text(out), `"inputs":[{"name":"a","type":"String"}]`) || !strings.Contains(text(out), `"outputs":[{"error_output":false,"name":"b","type":"String"}]`) {
		t.Errorf("config: %d %v", code, text(out))
	}
	for _, bad := range []map[string]any{{"inputs": []any{map[string]any{}}}, {"inputs": []any{map[string]any{"name": "a", "type": "X"}}}, {"outputs": []any{map[string]any{"name": "a", "zz": 1}}}, {"inputs": "x"}} {
		if code, out := u.request("POST", "software_configs", bad); code != 400 {
			t.Errorf("%v: %d %v", bad, code, out)
		}
	}
}
