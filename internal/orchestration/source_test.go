package orchestration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/containers"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"
)

// upload fills a container.
func (u *undercloud) upload(container string, files map[string]string) {
	u.T.Helper()
	swift, err := u.admin.ObjectStore()
	if err != nil {
		u.T.Fatal(err)
	}
	if _, err := containers.Create(u.T.Context(), swift, container, nil).Extract(); err != nil {
		u.T.Fatal(err)
	}
	for name, text := range files {
		if _, err := objects.Create(u.T.Context(), swift, container, name, objects.CreateOpts{Content: strings.NewReader(text)}).Extract(); err != nil {
			u.T.Fatal(err)
		}
	}
}

// TestFilesContainer makes a stack of what is in a container: nested template, file and environments, merged
// by the server as their strategies say; files in the request win.
func TestFilesContainer(t *testing.T) {
	u := newUndercloud(t)
	u.upload("plan", map[string]string{
		"nested.yaml":   "heat_template_version: queens\nparameters: {p: {type: json}}\noutputs: {out: {value: {get_param: p}}}\n",
		"text.txt":      "from the container",
		"env/one.yaml":  "parameter_defaults: {Shared: {a: 1}}\nparameter_merge_strategies: {Shared: merge}\nresource_registry: {My::Nested: nested.yaml}\n",
		"env/two.yaml":  "parameter_defaults: {Shared: {b: 2}}\n",
		"unrelated.bin": "\x00\x01",
	})
	body := map[string]any{
		"template": `heat_template_version: queens
parameters: {Shared: {type: json}, Own: {type: string}}
resources: {n: {type: My::Nested, properties: {p: {get_param: Shared}}}}
outputs:
  shared: {value: {get_attr: [n, out]}}
  text: {value: {get_file: text.txt}}
  own: {value: {get_param: Own}}
`,
		"files_container":   "plan",
		"environment_files": []any{"env/one.yaml", "env/two.yaml", "local.yaml"},
		"files":             map[string]any{"local.yaml": "parameter_defaults: {Own: mine}\n"},
	}
	u.createStack("contained", body)
	got := map[string]any{}
	for _, o := range u.stack("contained", "CREATE_COMPLETE")["outputs"].([]any) {
		m := o.(map[string]any)
		got[m["output_key"].(string)] = m["output_value"]
	}
	shared, _ := got["shared"].(map[string]any)
	if len(shared) != 2 || got["text"] != "from the container" || got["own"] != "mine" {
		t.Errorf("outputs %v", got)
	}

	for _, tc := range []struct {
		reason string
		change func(map[string]any)
		code   int
		want   []string
	}{
		{"a container that does not exist", func(b map[string]any) { b["files_container"] = "nope" }, http.StatusNotFound, []string{"Could not fetch files from container nope"}},
		{"an environment that is nowhere", func(b map[string]any) { b["environment_files"] = []any{"env/three.yaml"} }, http.StatusBadRequest, []string{"env/three.yaml", "not among the files"}},
		{"a strategy against an earlier one names file and place", func(b map[string]any) {
			b["files"] = map[string]any{"local.yaml": "parameter_defaults: {Own: mine, Shared: {c: 3}}\nparameter_merge_strategies: {Shared: deep_merge}\n"}
		}, http.StatusBadRequest, []string{"local.yaml:1:41", "parameter_defaults.Shared", "conflicting merge strategy"}},
	} {
		b := map[string]any{"stack_name": "other"}
		for k, v := range body {
			b[k] = v
		}
		tc.change(b)
		code, out := u.request("POST", "stacks", b)
		text := out["error"].(map[string]any)["message"].(string)
		for _, w := range tc.want {
			if code != tc.code || !strings.Contains(text, w) {
				t.Errorf("%s: %d %s, want %d with %q", tc.reason, code, text, tc.code, w)
			}
		}
	}
}

// TestEveryFaultAtOnce shows that a template is refused with all that is wrong, each with its place.
func TestEveryFaultAtOnce(t *testing.T) {
	srv := newUndercloud(t)
	code, out := srv.request("POST", "validate", map[string]any{"template": `heat_template_version: wallaby
parameters:
  n: {type: number, constraints: [{length: {min: 1}}]}
  s: {typ: string}
resources:
  a: {type: OS::Heat::Value, propertys: {}}
  b: {type: OS::Heat::Value, properties: {value: {get_param: missing}}, depends_on: [nowhere]}
outputs:
  o: {value: {equals: [a, b]}}
  p: {value: {Ref: n}}
  q: {}
`})
	text := out["error"].(map[string]any)["message"].(string)
	for _, want := range []string{"template:3:35", "template:4:7", "template:6:30", "template:7:62", "template:7:86", "template:10:15", "template:11:3"} {
		if code != http.StatusBadRequest || !strings.Contains(text, want+": ") {
			t.Errorf("%d, no fault at %s in:\n%s", code, want, text)
		}
	}
}

// TestCloudFormation makes a stack of a CloudFormation template, with Mappings, Conditions and functions.
func TestCloudFormation(t *testing.T) {
	u := newUndercloud(t)
	u.createStack("cfn", map[string]any{
		"parameters": map[string]any{"Size": "large"},
		"template": `{"AWSTemplateFormatVersion": "2010-09-09",
 "Parameters": {"Size": {"Type": "String", "Default": "small", "AllowedValues": ["small", "large"]}, "Secret": {"Type": "String", "Default": "x", "NoEcho": "true"}},
 "Mappings": {"Sizes": {"small": {"n": "1"}, "large": {"n": "10"}}},
 "Conditions": {"Large": {"Fn::Equals": [{"Ref": "Size"}, "large"]}, "Small": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Size"}, "large"]}]}},
 "Resources": {
  "One": {"Type": "OS::Heat::Value", "Condition": "Large", "Properties": {"value": {"Fn::Join": ["-", [{"Fn::FindInMap": ["Sizes", {"Ref": "Size"}, "n"]}, {"Ref": "AWS::StackName"}]]}}},
  "Two": {"Type": "OS::Heat::Value", "DependsOn": "One", "Properties": {"value": {"Fn::GetAtt": ["One", "value"]}}},
  "Not": {"Type": "OS::Heat::Value", "Condition": "Small", "Properties": {"value": "x"}}},
 "Outputs": {"Value": {"Value": {"Fn::GetAtt": ["Two", "value"]}}, "Id": {"Value": {"Ref": "AWS::StackId"}}, "If": {"Value": {"Fn::If": ["Small", "s", "l"]}}}}`,
	})
	st := u.stack("cfn", "CREATE_COMPLETE")
	got := map[string]string{}
	for _, o := range st["outputs"].([]any) {
		m := o.(map[string]any)
		got[m["output_key"].(string)], _ = m["output_value"].(string)
	}
	if got["Value"] != "10-cfn" || got["If"] != "l" || !strings.HasPrefix(got["Id"], "arn:openstack:heat::") {
		t.Errorf("outputs %v", got)
	}
	if p := st["parameters"].(map[string]any); p["Secret"] != "******" {
		t.Errorf("a parameter with NoEcho leaves: %v", p["Secret"])
	}
	if _, list := u.request("GET", "stacks/cfn/"+st["id"].(string)+"/resources", nil); len(list["resources"].([]any)) != 2 {
		t.Errorf("resources %v", list)
	}
}

// TestVersionsAndFunctions lists what the language has, both dialects.
func TestVersionsAndFunctions(t *testing.T) {
	u := newUndercloud(t)
	_, out := u.request("GET", "template_versions", nil)
	if n := len(out["template_versions"].([]any)); n != 13 {
		t.Errorf("%d versions", n)
	}
	for path, want := range map[string]int{"heat_template_version.newton": 14, "heat_template_version.newton/functions?with_condition_func=true": 18, "AWSTemplateFormatVersion.2010-09-09": 12} {
		if !strings.Contains(path, "/functions") {
			path += "/functions"
		}
		_, out := u.request("GET", "template_versions/"+path, nil)
		if l, _ := out["template_functions"].([]any); len(l) != want {
			t.Errorf("%s: %d functions, want %d", path, len(l), want)
		}
	}
	if code, _ := u.request("GET", "template_versions/heat_template_version.nope/functions", nil); code != http.StatusNotFound {
		t.Errorf("an unknown version: %d", code)
	}
}

// TestValidateShowsParameters shows types, defaults, values and constraints of parameters; of hidden ones no
// value that was given.
func TestValidateShowsParameters(t *testing.T) {
	u := newUndercloud(t)
	_, out := u.request("POST", "validate", map[string]any{
		"environment": "parameter_defaults: {d: from defaults, h: s3cr3t-default, other: 1}\n",
		"parameters":  map[string]any{"n": 6, "g": "s3cr3t-given"},
		"template": `heat_template_version: queens
parameters:
  n: {type: number, label: Number, description: A number, constraints: [{range: {min: 1, max: 9}, description: small}, {modulo: {step: 2, offset: 0}, description: even}]}
  d: {type: string, default: x, tags: [a]}
  h: {type: string, hidden: true}
  g: {type: string, hidden: true}
  m: {type: json}
`})
	want := map[string]any{
		"n": map[string]any{"Type": "Number", "Label": "Number", "Description": "A number", "NoEcho": "false", "Value": 6.0, "MinValue": 1.0, "MaxValue": 9.0,
			"Step": 2.0, "Offset": 0.0, "ConstraintDescription": "small even"},
		"d": map[string]any{"Type": "String", "Label": "d", "Description": "", "NoEcho": "false", "Default": "from defaults", "Tags": []any{"a"}},
		"h": map[string]any{"Type": "String", "Label": "h", "Description": "", "NoEcho": "true", "Default": "******"},
		"g": map[string]any{"Type": "String", "Label": "g", "Description": "", "NoEcho": "true", "Value": "******"},
		"m": map[string]any{"Type": "Json", "Label": "m", "Description": "", "NoEcho": "false"},
	}
	if diff := cmp.Diff(want, out["Parameters"]); diff != "" {
		t.Error(diff)
	}
	if out["Description"] != "No description" {
		t.Errorf("description %v", out["Description"])
	}
}
