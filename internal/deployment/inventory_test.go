package deployment

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func inventoryLines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if l := sc.Text(); l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}

// TestActionInventory compares the registered actions with those of tripleo-common: every name is there, takes every
// input of the original, and requires none that the original does not.
func TestActionInventory(t *testing.T) {
	have := map[string]row{}
	for _, r := range table() {
		if _, twice := have[r.name]; twice {
			t.Errorf("action %s is there twice", r.name)
		}
		have[r.name] = r
	}
	lines := inventoryLines(t, "actions.txt")
	if len(lines) != 86 {
		t.Fatalf("the inventory has %d actions", len(lines))
	}
	for _, l := range lines {
		name, list, _ := strings.Cut(l, " ")
		r, ok := have[name]
		if !ok {
			t.Errorf("there is no action %s", name)
			continue
		}
		inputs := strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
		for _, in := range inputs {
			bare := strings.TrimSuffix(in, "*")
			if !slices.ContainsFunc(r.params, func(p actions.Param) bool {
				return p.Name == bare
			}) {
				t.Errorf("%s has no input %s", name, bare)
			}
		}
		for _, p := range r.params {
			if p.Required && !slices.Contains(inputs, p.Name+"*") {
				t.Errorf("%s requires %s, which the original does not", name, p.Name)
			}
		}
	}
}

// TestWorkflowInventory compares the built-in workflows with those of tripleo-common in the same way; their outputs
// and whether they end with a message, too.
func TestWorkflowInventory(t *testing.T) {
	books, err := Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	theirs := 0
	for _, b := range books {
		if b.Name != "tripleo.certificates.v1" { // of our own
			theirs++
		}
	}
	if theirs != 21 {
		t.Errorf("there are %d of 21 workbooks", theirs)
	}
	have := map[string]*yaml11.OrderedMap{}
	for _, b := range books {
		m := mustMap(t, b.YAML)
		flows, _ := dig(m, "workflows").(*yaml11.OrderedMap)
		for n, w := range flows.All() {
			have[b.Name+"."+n], _ = w.(*yaml11.OrderedMap)
		}
	}
	lines := inventoryLines(t, "workflows.txt")
	if len(lines) != 99 {
		t.Fatalf("the inventory has %d workflows", len(lines))
	}
	for _, l := range lines {
		f := strings.SplitN(l, " ", 4)
		w := have[f[0]]
		if w == nil {
			t.Errorf("there is no workflow %s", f[0])
			continue
		}
		compareWorkflow(t, f[0], w, f[1], strings.TrimPrefix(f[2], "in="), strings.TrimPrefix(f[3], "out="))
	}
}

func compareWorkflow(t *testing.T, name string, w *yaml11.OrderedMap, post, in, out string) {
	t.Helper()
	declared, required := map[string]bool{}, map[string]bool{}
	list, _ := dig(w, "input").([]any)
	for _, p := range list {
		switch x := p.(type) {
		case string:
			declared[x], required[x] = true, true
		case *yaml11.OrderedMap:
			for k := range x.All() {
				declared[k] = true
			}
		}
	}
	inputs := strings.FieldsFunc(in, func(c rune) bool { return c == ',' })
	for _, i := range inputs {
		if !declared[strings.TrimSuffix(i, "*")] {
			t.Errorf("%s has no input %s", name, i)
		}
	}
	for i := range required {
		if !slices.Contains(inputs, i+"*") && !slices.Contains(inputs, i) {
			t.Errorf("%s requires %s, which the original does not", name, i)
		}
	}
	outputs, _ := dig(w, "output").(*yaml11.OrderedMap)
	for _, o := range strings.FieldsFunc(out, func(c rune) bool { return c == ',' }) {
		if _, ok := outputs.Get(o); !ok {
			t.Errorf("%s has no output %s", name, o)
		}
	}
	tags, _ := dig(w, "tags").([]any)
	if !slices.Contains(tags, any(ManagedTag)) {
		t.Errorf("%s has no tag %s", name, ManagedTag)
	}
	tasks, _ := dig(w, "tasks").(*yaml11.OrderedMap)
	posts := name == "tripleo.messaging.v1.send"
	for _, task := range tasks.All() {
		posts = posts || text(task, "workflow") == "tripleo.messaging.v1.send"
	}
	if posts != (post != "-") {
		t.Errorf("%s posts a message: %t, the original: %s", name, posts, post)
	}
}

// TestLongScriptsHaveTime: what runs on servers for long has more time than a deployment's usual ten minutes, and what
// runs others' configs passes their time on.
func TestLongScriptsHaveTime(t *testing.T) {
	books, err := Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"tripleo.deployment.v1/deploy_on_server/deploy_config":      "<% $.timeout %>",
		"tripleo.deployment.v1/deploy_on_servers/deploy_on_servers": "<% $.timeout %>",
		"tripleo.package_update.v1/update_nodes/update_node":        "7200",
		"tripleo.support.v1/collect_logs/collect_logs_on_servers":   "<% $.timeout %>",
		"tripleo.support.v1/upload_logs/upload_logs":                "<% $.timeout %>",
		"tripleo.support.v1/fetch_logs/collect_logs_on_servers":     "<% $.timeout %>",
		"tripleo.support.v1/fetch_logs/upload_logs_on_servers":      "<% $.timeout %>",
	}
	for _, b := range books {
		m := mustMap(t, b.YAML)
		for name, timeout := range want {
			f := strings.Split(name, "/")
			if f[0] != b.Name {
				continue
			}
			if got := text(m, "workflows", f[1], "tasks", f[2], "input", "timeout"); got != timeout {
				t.Errorf("%s: timeout %q, want %q", name, got, timeout)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("no workbook has %v", want)
	}
}

// TestWorkflowInputsAreUsed: an input that nothing reads has no effect, whatever its name promises. Those below are declared
// because callers of tripleo-common give them.
func TestWorkflowInputsAreUsed(t *testing.T) {
	why := map[string]string{
		"tripleo.derive_params_formulas.v1.dpdk_derive_params heat_resource_tree": "the formula reads the plan itself",
		"tripleo.fernet_keys.v1.rotate_fernet_keys ansible_extra_env_variables":   "the nodes' agents put the keys there, not Ansible",
		"tripleo.package_update.v1.package_update_plan config_dir":                "the configuration stays in the container overcloud-config",
		"tripleo.package_update.v1.converge_upgrade_plan timeout":                 "only the plan is changed; the deployment after it has the timeout",
		"tripleo.package_update.v1.converge_upgrade_plan skip_deploy_identifier":  "only the plan is changed; the deployment after it has the flag",
		"tripleo.certificates.v1.authority identifier":                            "a new value of it runs the workflow again",
		"tripleo.certificates.v1.issue identifier":                                "a new value of it runs the workflow again",
		"tripleo.validations.v1.add_validation_ssh_key_parameter queue_name":      "it is a part of others, which send the messages",
	}
	books, err := Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, b := range books {
		flows, _ := dig(mustMap(t, b.YAML), "workflows").(*yaml11.OrderedMap)
		for name, w := range flows.All() {
			body := w.(*yaml11.OrderedMap).Clone()
			inputs, _ := dig(body, "input").([]any)
			body.Delete("input")
			text, err := yaml11.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range inputs {
				key, isText := in.(string)
				if m, isMap := in.(*yaml11.OrderedMap); isMap {
					for k := range m.All() {
						key, isText = k, true
					}
				}
				if !isText {
					t.Errorf("%s.%s: input %v", b.Name, name, in)
					continue
				}
				seen++
				used := regexp.MustCompile(`\$\.(get\()?['"]?` + regexp.QuoteMeta(key) + `\b`).Match(text)
				full := b.Name + "." + name + " " + key
				if _, known := why[full]; known == used {
					t.Errorf("%s: used %t, said to be without effect %t", full, used, known)
				}
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d inputs were looked at", seen)
	}
}
