package orchestration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/clienttest"
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
	inner := write("small.yaml", "heat_template_version: queens\nresources: {r: {type: OS::Heat::RandomString}}\n")
	data := filepath.Join(dir, "abandoned.json")
	c := &clients{T: t, sh: clienttest.Start(t, u.ClientEnv()...)}
	for _, tc := range []clientCase{
		{args: "orchestration template validate -t " + tmpl + " -e " + env, want: "Parameters|from-env"},
		{args: "stack create one -t " + tmpl + " -e " + env + " --dry-run", want: "mapped"},
		{args: "stack create one -t " + tmpl + " -e " + env + " --wait --poll 1 --tags blue,green", want: "CREATE_COMPLETE"},
		{args: "stack create one -t " + tmpl + " -e " + env, fail: "already exists"},
		{args: "stack list", want: "one|CREATE_COMPLETE"},
		{args: "stack list --nested", want: "one-group-|one-mapped-"},
		{args: "stack list --tags blue --long --sort stack_name:asc --limit 5", want: "one|admin"},
		{args: "stack list --tags red", none: "one"},
		{args: "stack list --property name=one --property status=COMPLETE", want: "one"},
		{args: "stack list --property name=two", none: "one"},
		{args: "stack list --all-projects --deleted --hidden --short", want: "one"},
		{args: "stack show one", want: "CREATE_COMPLETE|from-env"},
		{args: "stack show one --no-resolve-outputs --format shell", want: "stack_status"},
		{args: "stack show nobody", fail: "Stack not found"},
		{args: "stack resource list one -n 5", want: "OS::Heat::ResourceGroup|inner.yaml|My::Type"},
		{args: "stack resource list one --filter type=My::Type", want: "mapped", none: "handle"},
		{args: "stack resource show one group", want: "CREATE_COMPLETE|refs"},
		{args: "stack resource show one group --with-attr refs", want: "refs"},
		{args: "stack resource show one nothing", fail: "not found"},
		{args: "stack resource metadata one config", want: "{}"},
		{args: "stack resource signal one handle --data {\"status\":\"SUCCESS\"}"},
		{args: "stack output list one", want: "all|mapped"},
		{args: "stack output show one mapped", want: "from-env"},
		{args: "stack output show one --all", want: "from-env"},
		{args: "stack output show one nothing", fail: "not found"},
		{args: "stack event list one --nested-depth 2 --limit 100", want: "CREATE_COMPLETE|one-group"},
		{args: "stack event list one --sort event_time:desc --limit 3"},
		{args: "stack event list one --resource config -f value -c id", want: "-", keep: "EVENT"},
		{args: "stack event show one config EVENT", want: "OS::Heat::SoftwareConfig"},
		{args: "stack template show one", want: "heat_template_version"},
		{args: "stack environment show one", want: "resource_registry|inner.yaml"},
		{args: "stack file list one", want: "inner.yaml"},
		{args: "stack snapshot create one --name before -f value -c ID", want: "-", keep: "SNAP"},
		{args: "stack update one --existing --parameter x=later --wait", want: "UPDATE_COMPLETE"},
		{args: "stack output show one mapped", want: "later"},
		{args: "stack update one --existing --converge --wait", want: "UPDATE_COMPLETE"},
		{args: "stack update one --existing --clear-parameter x --wait", want: "UPDATE_COMPLETE"},
		{args: "stack output show one mapped", want: "d"},
		{args: "stack update one -t " + tmpl + " -e " + env + " --parameter x=other --dry-run", want: "updated"},
		{args: "stack update one -t " + tmpl + " -e " + env + " --parameter x=other --dry-run --show-nested", want: "updated|unchanged"},
		{args: "stack snapshot list one", want: "before|COMPLETE"},
		{args: "stack snapshot show one SNAP", want: "COMPLETE|resource_id"},
		{args: "stack snapshot restore one SNAP"},
		{args: "stack show one", until: "RESTORE_COMPLETE"},
		{args: "stack output show one mapped", want: "from-env"},
		{args: "stack snapshot delete one SNAP -y"},
		{args: "stack snapshot list one", none: "before"},
		{args: "stack check one --wait", want: "CHECK_COMPLETE"},
		{args: "stack suspend one --wait", want: "SUSPEND_COMPLETE"},
		{args: "stack update one --existing", fail: "suspended"},
		{args: "stack resume one --wait", want: "RESUME_COMPLETE"},
		{args: "stack cancel one", fail: "not in cancelable state"},
		{args: "stack resource mark unhealthy one handle broken"},
		{args: "stack resource list one --filter name=handle", want: "CHECK_FAILED"},
		{args: "stack resource mark unhealthy one handle --reset"},
		{args: "stack resource list one --filter name=handle", want: "CHECK_COMPLETE"},
		{args: "stack failures list one"},
		{args: "stack export one", want: "resource_id|template"},
		{args: "stack create two -t " + inner + " --wait", want: "CREATE_COMPLETE"},
		{args: "stack resource show two r -f value -c attributes", want: "value", keep: "VALUE"},
		{args: "stack abandon two --output-file " + data},
		{args: "stack list", none: "two"},
		{args: "stack adopt two --adopt-file " + data + " --wait", want: "ADOPT_COMPLETE"},
		{args: "stack resource show two r -f value -c attributes", want: "VALUE"},
		{args: "stack delete two --yes --wait"},
		{args: "software config create --config-file " + tmpl + " --group script mine", want: "script"},
		{args: "software config list", want: "mine"},
		{args: "software config list -f value -c id", want: "-", keep: "CONFIG"},
		{args: "software config show CONFIG", want: "mine|script"},
		{args: "software config show CONFIG --config-only", want: "heat_template_version"},
		{args: "software deployment create dep --config CONFIG --server 11111111-2222-4333-8444-555555555555 --signal-transport NO_SIGNAL --input-value a=given", want: "IN_PROGRESS"},
		{args: "software deployment list -f value -c id", want: "-", keep: "DEPLOYMENT"},
		{args: "software deployment list", want: "DEPLOYMENT|IN_PROGRESS"},
		{args: "software deployment list --server 11111111-2222-4333-8444-555555555555 --long", want: "DEPLOYMENT"},
		{args: "software deployment show DEPLOYMENT --long", want: "DEPLOYMENT|UPDATE|IN_PROGRESS"},
		{args: "software deployment metadata show 11111111-2222-4333-8444-555555555555", want: "given|deploy_action"},
		{args: "software deployment output show DEPLOYMENT --all"},
		{args: "software deployment output show DEPLOYMENT deploy_stdout"},
		{args: "software config delete CONFIG"},
		{args: "software deployment delete DEPLOYMENT"},
		{args: "software deployment list", none: "DEPLOYMENT"},
		{args: "orchestration resource type list", want: "OS::Nova::Server"},
		{args: "orchestration resource type show OS::Heat::RandomString", want: "length"},
		{args: "orchestration resource type show OS::Heat::RandomString --template-type hot", want: "heat_template_version"},
		{args: "orchestration template version list", want: "2018-03-02"},
		{args: "orchestration template function list heat_template_version.2018-03-02", want: "str_replace"},
		{args: "orchestration build info", want: "engine"},
		{args: "orchestration service list", want: "up"},
		{args: "stack delete one --yes --wait"},
	} {
		c.run(tc)
	}
	c.hooks(write)
	c.cancel(write)
}

// clientCase is one command: what it prints ("|" separates texts), what not, or how it fails. keep stores
// its output under a name for later commands.
// until repeats the command until it prints the text.
type clientCase struct{ args, want, none, fail, keep, until string }

type clients struct {
	*testing.T
	sh   *clienttest.Shell
	kept []string // name, value, …
}

func (c *clients) run(tc clientCase) {
	c.Helper()
	if tc.until != "" {
		c.until(tc.args, tc.until)
	}
	replace := strings.NewReplacer(c.kept...)
	args := strings.Fields(replace.Replace(tc.args))
	a := c.sh.Try("openstack", args...)
	all := a.Stdout + a.Stderr
	switch {
	case tc.fail != "" && (a.Code == 0 || !strings.Contains(all, tc.fail)):
		c.Errorf("%s: exit status %d, want a failure with %q:\n%s", tc.args, a.Code, tc.fail, all)
	case tc.fail == "" && a.Code != 0:
		c.Fatalf("%s: exit status %d:\n%s", tc.args, a.Code, all)
	}
	for w := range strings.SplitSeq(replace.Replace(tc.want), "|") {
		if !strings.Contains(all, w) {
			c.Errorf("%s: no %q in\n%s", tc.args, w, all)
		}
	}
	if tc.none != "" && strings.Contains(a.Stdout, tc.none) {
		c.Errorf("%s: %q in\n%s", tc.args, tc.none, a.Stdout)
	}
	if tc.keep != "" {
		c.kept = append([]string{tc.keep, strings.TrimSpace(strings.Split(a.Stdout, "\n")[0])}, c.kept...)
	}
}

// until repeats a command until it prints text.
func (c *clients) until(args, text string) {
	c.Helper()
	for range 100 {
		if a := c.sh.Try("openstack", strings.Fields(args)...); strings.Contains(a.Stdout, text) {
			return
		}
	}
	c.Fatalf("%s never printed %q", args, text)
}

// hooks pauses and goes on, at the top and in a nested stack.
func (c *clients) hooks(write func(name, text string) string) {
	write("deep.yaml", "heat_template_version: queens\nresources: {low: {type: OS::Heat::RandomString}}\n")
	tmpl := write("hooked.yaml", "heat_template_version: queens\nresources:\n  a: {type: OS::Heat::RandomString}\n  b: {type: deep.yaml}\n")
	env := write("hooks.yaml", "resource_registry: {resources: {a: {hooks: [pre-create, pre-delete]}, b: {low: {hooks: pre-create}}}}\n")
	c.run(clientCase{args: "stack create hooked -t " + tmpl + " -e " + env, want: "CREATE_IN_PROGRESS"})
	c.until("stack hook poll hooked --nested-depth 2", "low")
	c.run(clientCase{args: "stack hook poll hooked", want: "a|CREATE paused until Hook pre-create is cleared"})
	c.run(clientCase{args: "stack resource list hooked", want: "INIT_COMPLETE"})
	c.run(clientCase{args: "stack resource signal hooked a --data {\"unset_hook\":\"pre-update\"}", fail: "hook is not defined"})
	c.run(clientCase{args: "stack hook clear hooked a"})
	c.run(clientCase{args: "stack hook clear hooked b/l*"})
	c.until("stack show hooked", "CREATE_COMPLETE")
	c.run(clientCase{args: "stack delete hooked --yes"})
	c.until("stack hook poll hooked", "pre-delete")
	c.run(clientCase{args: "stack hook clear hooked --pre-delete a"})
	c.until("stack list --deleted", "hooked")
}

// cancel gives an update up with and without going back.
func (c *clients) cancel(write func(name, text string) string) {
	small := write("before.yaml", "heat_template_version: queens\nresources: {r: {type: OS::Heat::RandomString}}\n")
	big := write("after.yaml", "heat_template_version: queens\nresources:\n  r: {type: OS::Heat::RandomString}\n  w: {type: OS::Heat::WaitCondition, properties: {handle: {get_resource: h}, timeout: 600}}\n  h: {type: OS::Heat::WaitConditionHandle}\n")
	c.run(clientCase{args: "stack create cancelled -t " + small + " --wait", want: "CREATE_COMPLETE"})
	c.run(clientCase{args: "stack update cancelled -t " + big})
	c.run(clientCase{args: "stack update cancelled -t " + big, fail: "already has an action (UPDATE) in progress"})
	c.run(clientCase{args: "stack cancel cancelled --wait", want: "ROLLBACK_COMPLETE"})
	c.run(clientCase{args: "stack resource list cancelled", want: "r", none: "WaitCondition"})
	c.run(clientCase{args: "stack update cancelled -t " + big})
	c.run(clientCase{args: "stack cancel cancelled --no-rollback"})
	c.until("stack show cancelled", "UPDATE_FAILED")
	c.run(clientCase{args: "stack failures list cancelled", want: "CREATE aborted"})
	c.run(clientCase{args: "stack delete cancelled --yes --wait"})
}
