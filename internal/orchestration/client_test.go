package orchestration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenStackClient runs the commands of python3-heatclient that operators and TripleO use.
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	u := newUndercloud(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("inner.yaml", "heat_template_version: queens\nparameters: {x: {type: string}}\nresources: {v: {type: OS::Heat::Value, properties: {value: {get_param: x}}}}\noutputs: {o: {value: {get_attr: [v, value]}}}\n")
	tmpl := write("root.yaml", `heat_template_version: queens
parameters: {x: {type: string, default: d}}
resources:
  group: {type: OS::Heat::ResourceGroup, properties: {count: 2, resource_def: {type: inner.yaml, properties: {x: "%index%"}}}}
  mapped: {type: My::Type, properties: {x: {get_param: x}}}
  handle: {type: OS::Heat::WaitConditionHandle}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: "echo", group: script}}
outputs: {all: {value: {get_attr: [group, o]}}, mapped: {value: {get_attr: [mapped, o]}}}
`)
	env := write("env.yaml", "resource_registry: {My::Type: inner.yaml}\nparameters: {x: from-env}\n")
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"orchestration template validate -t " + tmpl + " -e " + env, []string{"Parameters", "from-env"}},
		{"stack create one -t " + tmpl + " -e " + env + " --dry-run", []string{"mapped"}},
		{"stack create one -t " + tmpl + " -e " + env + " --wait --poll 1", []string{"CREATE_COMPLETE"}},
		{"stack list", []string{"one", "CREATE_COMPLETE"}},
		{"stack list --nested", []string{"one-group-", "one-mapped-"}},
		{"stack show one", []string{"CREATE_COMPLETE", "from-env"}},
		{"stack resource list one -n 5", []string{"OS::Heat::ResourceGroup", "inner.yaml", "My::Type"}},
		{"stack resource show one group", []string{"CREATE_COMPLETE", "refs"}},
		{"stack resource metadata one config", []string{"{}"}},
		{"stack resource signal one handle --data {\"status\":\"SUCCESS\"}", nil},
		{"stack output list one", []string{"all", "mapped"}},
		{"stack output show one mapped", []string{"from-env"}},
		{"stack output show one --all", []string{"from-env"}},
		{"stack event list one --nested-depth 2 --limit 100", []string{"CREATE_COMPLETE", "one-group"}},
		{"stack event list one --sort event_time:desc --limit 3", nil},
		{"stack template show one", []string{"heat_template_version"}},
		{"stack environment show one", []string{"resource_registry", "inner.yaml"}},
		{"stack file list one", []string{"inner.yaml"}},
		{"stack update one --existing --parameter x=later --wait", []string{"UPDATE_COMPLETE"}},
		{"stack output show one mapped", []string{"later"}},
		{"stack update one -t " + tmpl + " -e " + env + " --parameter x=other --dry-run", []string{"updated"}},
		{"stack check one --wait", []string{"CHECK_COMPLETE"}},
		{"stack suspend one --wait", []string{"SUSPEND_COMPLETE"}},
		{"stack resume one --wait", []string{"RESUME_COMPLETE"}},
		{"stack resource mark unhealthy one handle broken", nil},
		{"stack failures list one", nil},
		{"software config create --config-file " + tmpl + " --group script mine", []string{"script"}},
		{"software config list", []string{"mine"}},
		{"software deployment list", nil},
		{"orchestration resource type list", []string{"OS::Nova::Server"}},
		{"orchestration resource type show OS::Heat::RandomString", []string{"length"}},
		{"orchestration template version list", []string{"2018-03-02"}},
		{"orchestration template function list heat_template_version.2018-03-02", []string{"str_replace"}},
		{"orchestration build info", []string{"engine"}},
		{"orchestration service list", []string{"up"}},
		{"stack delete one --yes --wait", nil},
	} {
		t.Run(tc.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(tc.args, dir, "DIR"))
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "DIR", dir)
			}
			out, errs, err := u.TryClient("openstack", args...)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, errs)
			}
			for _, w := range tc.want {
				if !strings.Contains(out+errs, w) {
					t.Errorf("no %q in\n%s%s", w, out, errs)
				}
			}
		})
	}
	u.stack("one", "DELETE_COMPLETE")
}
