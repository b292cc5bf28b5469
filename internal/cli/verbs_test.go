package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// clientVerbs are the verbs of python-tripleoclient (Queens) with their flags. A reason in the second column says why
// we have no such verb.
func clientVerbs() [][3]string {
	return [][3]string{
		{"overcloud deploy", "", "templates stack timeout control-scale compute-scale ceph-storage-scale block-storage-scale swift-storage-scale control-flavor compute-flavor ceph-storage-flavor block-storage-flavor swift-storage-flavor libvirt-type ntp-server no-proxy overcloud-ssh-user overcloud-ssh-key environment-file environment-directory roles-file networks-file plan-environment-file no-cleanup update-plan-only validation-errors-nonfatal validation-warnings-fatal rhel-reg reg-method reg-org reg-force reg-sat-url reg-activation-key disable-validations dry-run run-validations skip-postconfig force-postconfig skip-deploy-identifier answers-file disable-password-generation deployed-server config-download output-dir"},
		{"overcloud plan list", "", "format column"},
		{"overcloud plan create", "", "templates source-url plan-environment-file disable-password-generation"},
		{"overcloud plan deploy", "", "timeout run-validations"},
		{"overcloud plan delete", "", ""},
		{"overcloud plan export", "", "output-file force-overwrite"},
		{"overcloud delete", "", "yes"},
		{"overcloud node import", "", "introspect run-validations validate-only provide no-deploy-image instance-boot-option"},
		{"overcloud node introspect", "", "all-manageable provide run-validations"},
		{"overcloud node provide", "", "all-manageable"},
		{"overcloud node configure", "", "all-manageable deploy-kernel deploy-ramdisk instance-boot-option root-device root-device-minimum-size overwrite-root-device-hints"},
		{"overcloud node discover", "", "ip range credentials port introspect run-validations provide no-deploy-image instance-boot-option"},
		{"overcloud node delete", "", "stack timeout templates environment-file"},
		{"overcloud raid create", "", "node"},
		{"overcloud execute", "", "server_name group"},
		{"overcloud generate fencing", "", "delay ipmi-no-lanplus ipmi-cipher ipmi-level output action"},
		{"overcloud support report collect", "", "container output skip-container-delete timeout concurrency collect-only download-only"},
		{"overcloud config download", "", "name config-dir config-type"},
		{"overcloud update prepare", "", "templates stack environment-file ceph-ansible-playbook"},
		{"overcloud update run", "", "nodes playbook ssh-user static-inventory stack"},
		{"overcloud update converge", "", "templates stack environment-file"},
		{"overcloud upgrade prepare", "", "templates stack environment-file ceph-ansible-playbook"},
		{"overcloud upgrade run", "", "nodes roles playbook ssh-user static-inventory stack skip-tags"},
		{"overcloud upgrade converge", "", "templates stack environment-file"},
		{"overcloud ceph-upgrade run", "", "templates stack environment-file ceph-ansible-playbook"},
		{"overcloud ffwd-upgrade prepare", "", "templates stack environment-file yes"},
		{"overcloud ffwd-upgrade run", "", "stack ssh-user static-inventory yes"},
		{"overcloud ffwd-upgrade converge", "", "templates stack environment-file yes"},
		{"undercloud install", "", "use-heat no-validations force"},
		{"undercloud upgrade", "", "use-heat"},
		{"undercloud backup", "", "add-path exclude-path"},
		{"overcloud image build", "", "config-file image-name no-skip output-directory"},
		{"overcloud image upload", "", "image-path os-image-name ironic-python-agent-name http-boot update-existing whole-disk architecture platform"},
		{"overcloud roles generate", "", "roles-path output-file skip-validate"},
		{"overcloud role list", "", "roles-path format column"},
		{"overcloud role show", "", "roles-path format column"},
		{"overcloud profiles match", "", "dry-run control-scale control-flavor compute-scale compute-flavor ceph-storage-scale ceph-storage-flavor block-storage-scale block-storage-flavor swift-storage-scale swift-storage-flavor"},
		{"overcloud profiles list", "", "all format column"},
		{"overcloud credentials", "", "directory"},
		{"overcloud status", "", "plan format column"},
		{"overcloud failures", "", "plan format column"},
		{"overcloud parameters set", "", ""},
		{"overcloud netenv validate", "", "file"},
		{"overcloud container image prepare", "", "template-file namespace tag prefix suffix set exclude push-destination pull-source tag-from-label output-env-file output-images-file environment-file environment-directory roles-file env-file images-file service-environment-file"},
		{"overcloud container image build", "", "config-file kolla-config-file list-images list-dependencies exclude"},
		{"overcloud container image upload", "", "config-file"},
		{"overcloud container image tag discover", "", "image tag-from-label"},
		{"config generate ansible", "", "deployment-user output-dir"},
		{"container image hotfix", "", "image rpms-path tag"},
		{"undercloud deploy", "", "local-ip local-domain heat-api-port heat-native heat-container-image output-dir roles-file environment-file timeout keep-running templates"},
	}
}

func findVerb(root *cobra.Command, verb string) *cobra.Command {
	cmd, rest, err := root.Find(strings.Fields(verb))
	if err != nil || len(rest) > 0 || !cmd.Runnable() {
		return nil
	}
	return cmd
}

// TestClientVerbs holds the tree of commands to the verbs and flags that operators know.
func TestClientVerbs(t *testing.T) {
	root := newRoot(&app{})
	for _, v := range clientVerbs() {
		cmd := findVerb(root, v[0])
		if v[1] != "" {
			if cmd != nil {
				t.Errorf("%s is there, although %s", v[0], v[1])
			}
			continue
		}
		if cmd == nil {
			t.Errorf("there is no %s", v[0])
			continue
		}
		for flag := range strings.FieldsSeq(v[2]) {
			if cmd.Flag(flag) == nil {
				t.Errorf("%s has no --%s", v[0], flag)
			}
		}
	}
}

// TestListingVerbsHaveFormats: what lists or shows takes -f and -c.
// TestUnknownVerbs: a mistyped verb fails at every depth; a group alone shows its help.
func TestUnknownVerbs(t *testing.T) {
	for _, line := range []string{"nosuch", "overcloud nosuch", "overcloud node nosuch", "overcloud container nosuch", "lab nosuch"} {
		var out, errs strings.Builder
		if code := Main(strings.Fields(line), &out, &errs); code != 1 || !strings.Contains(errs.String(), "unknown command") {
			t.Errorf("tripleo %s: exit %d, %s", line, code, errs.String())
		}
	}
	var out, errs strings.Builder
	if code := Main([]string{"overcloud", "node"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "introspect") {
		t.Errorf("a group's help: exit %d, %s%s", code, out.String(), errs.String())
	}
}

func TestListingVerbsHaveFormats(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			walk(c)
		}
		if slices.Contains([]string{"list", "show", "status", "failures"}, cmd.Name()) && cmd.Runnable() && (cmd.Flag("format") == nil || cmd.Flag("column") == nil) {
			t.Errorf("%s has no -f and -c", cmd.CommandPath())
		}
	}
	for _, c := range newRoot(&app{}).Commands() {
		if c.Name() == "overcloud" || c.Name() == "undercloud" {
			walk(c)
		}
	}
}

// TestVerbsHaveTheirWorkflows: what the commands start is among the built-in workbooks.
func TestVerbsHaveTheirWorkflows(t *testing.T) {
	books, err := deployment.Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, b := range books {
		m, err := parseMapping(b.Name, []byte(b.YAML))
		if err != nil {
			t.Fatal(err)
		}
		flows, _ := lookup(m, "workflows").(*yaml11.OrderedMap)
		for name := range flows.All() {
			all.WriteString(b.Name + "." + name + " ")
		}
	}
	for _, a := range deployment.Actions(deployment.Config{}) {
		all.WriteString(a.Name + " ")
	}
	for _, name := range mentioned(t) {
		if !strings.Contains(all.String(), name+" ") {
			t.Errorf("the commands use %s, which is neither a workflow nor an action", name)
		}
	}
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{"bash": "complete -o default", "zsh": "#compdef tripleo", "fish": "complete -c tripleo"} {
		if out := mustRun(t, nil, "completion", shell); !strings.Contains(out, want) {
			t.Errorf("%s: no %q", shell, want)
		}
	}
	if out := mustRun(t, nil, "__complete", "overcloud", "node", "im"); !strings.HasPrefix(out, "import\t") {
		t.Errorf("completion of a verb: %q", out)
	}
	if out := mustRun(t, nil, "__complete", "overcloud", "plan", "list", "-f", ""); !strings.HasPrefix(out, "table\njson\nyaml\nvalue\ncsv\n") {
		t.Errorf("completion of a format: %q", out)
	}
}

func TestOutputFormats(t *testing.T) {
	rows := [][]any{{"a \"b\"", 3, nil}, {"c", 4, []any{"x"}}}
	for _, tt := range []struct {
		format  string
		columns []string
		want    string
	}{
		{"csv", nil, "\"Name\",\"Count\",\"Rest\"\n\"a \"\"b\"\"\",3,\"\"\n\"c\",4,\"[x]\"\n"},
		{"value", []string{"count"}, "3\n4\n"},
		{"yaml", []string{"Name"}, "- Name: a \"b\"\n- Name: c\n"},
		{"json", []string{"Name", "Count"}, "[\n  {\n    \"Name\": \"a \\\"b\\\"\",\n    \"Count\": 3\n  },\n  {\n    \"Name\": \"c\",\n    \"Count\": 4\n  }\n]\n"},
		{"table", []string{"Count"}, "+-------+\n| Count |\n+-------+\n|     3 |\n|     4 |\n+-------+\n"},
	} {
		var out bytes.Buffer
		o := &outputFlags{format: tt.format, columns: tt.columns}
		if err := o.list(&app{stdout: &out}, []string{"Name", "Count", "Rest"}, rows); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s: %s", tt.format, diff)
		}
	}
	for _, o := range []*outputFlags{{format: "xml"}, {format: "table", columns: []string{"nope"}}} {
		if err := o.list(&app{stdout: &bytes.Buffer{}}, []string{"Name", "Count", "Rest"}, rows); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{
		"roles/Control.yaml": "# the first\n- name: Control\n  CountDefault: 1\n  tags: [primary]\n  # why\n  ServicesDefault:\n    - OS::A\n",
		"roles/Worker.yaml":  "- name: Worker\n  deprecated_param_flavor: OldFlavor\n  ServicesDefault: [OS::B]\n",
		"bad/Bad.yaml":       "- name: Bad\n  CountDefault: many\n",
		"none/x.txt":         "",
	})
	if got := mustRun(t, nil, "overcloud", "role", "list", "--roles-path", "roles", "-f", "value"); got != "Control\nWorker\n" {
		t.Errorf("role list: %q", got)
	}
	mustRun(t, []string{"Compute", "Controller"}, "overcloud", "role", "list", "-f", "csv")
	mustRun(t, []string{`"CountDefault": 1`, `"OS::A"`}, "overcloud", "role", "show", "Control", "--roles-path", "roles", "-f", "json")
	mustRun(t, []string{"| ServicesDefault"}, "overcloud", "role", "show", "Controller")
	mustRun(t, nil, "overcloud", "roles", "generate", "--roles-path", "roles", "-o", "out.yaml", "Worker", "Control", "Worker:Second")
	text, err := readFile("out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rule := strings.Repeat("#", 79)
	want := rule + "\n# File generated by TripleO\n" + rule + "\n" + "- name: Worker\n  deprecated_param_flavor: OldFlavor\n  ServicesDefault: [OS::B]\n" +
		"# the first\n- name: Control\n  CountDefault: 1\n  tags: [primary]\n  # why\n  ServicesDefault:\n    - OS::A\n" +
		"- name: Second\n  ServicesDefault:\n  - OS::B\n  HostnameFormatDefault: '%stackname%-second-%index%'\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	mustRun(t, []string{"many"}, "overcloud", "roles", "generate", "--roles-path", "bad", "--skip-validate", "Bad")
	for _, args := range [][]string{{"--roles-path", "bad", "Bad"}, {"--roles-path", "none", "A"}, {"Nope"}, {"Controller", "Controller"}, {"Controller:"}} {
		if out, err := tripleo(t, append([]string{"overcloud", "roles", "generate"}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

func TestNetenvValidate(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{
		"good.yaml": "parameter_defaults:\n  InternalApiNetCidr: 10.0.0.0/24\n  InternalApiAllocationPools: [{start: 10.0.0.4, end: 10.0.0.250}]\n  InternalApiNetworkVlanID: 20\n  StorageNetCidr: 10.0.1.0/24\n  StorageNetworkVlanID: 21\n",
		"bad.yaml": "resource_registry: {'OS::TripleO::Compute::Net::SoftwareConfig': nic.yaml}\nparameter_defaults:\n  InternalApiNetCidr: 10.0.0.0/16\n  InternalApiAllocationPools: [{start: 10.0.0.4, end: 10.1.0.250}, {start: 10.0.0.9, end: 10.0.0.8}]\n" +
			"  InternalApiNetworkVlanID: 20\n  StorageNetCidr: 10.0.1.0/24\n  StorageNetworkVlanID: 20\n  TenantNetCidr: 10.5\n",
		"nic.yaml": "resources: {x: {properties: {config: {network_config: [{type: ovs_bridge, name: br, members: [{type: interface}, {type: interface}]}]}}}}\n",
	})
	mustRun(t, []string{"0 error(s)"}, "overcloud", "netenv", "validate", "-f", "good.yaml")
	out, err := tripleo(t, "overcloud", "netenv", "validate", "--file", "bad.yaml")
	if err == nil {
		t.Fatalf("the bad file passed: %s", out)
	}
	for _, w := range []string{"networks InternalApi (10.0.0.0/16) and Storage (10.0.1.0/24) overlap", "is not in 10.0.0.0/16", "the pool 10.0.0.9 to 10.0.0.8 ends before it begins", "InternalApi and Storage have the same VLAN 20", `network Tenant: "10.5" is no network`, "ovs_bridge br has 2 interfaces"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is missing in\n%v", w, err)
		}
	}
}

// TestPlace: nodes that can be least else are taken first, so that the others stay free.
func TestPlace(t *testing.T) {
	nodes := []nodeProfile{{uuid: "both", possible: []string{"control", "compute"}}, {uuid: "one", possible: []string{"control"}},
		{uuid: "has", profile: "compute"}, {uuid: "other", profile: "ceph", possible: []string{"control"}}}
	changes, missing := place(nodes, []want{{"control", 1}, {"compute", 2}})
	if diff := cmp.Diff(map[string]string{"one": "control", "both": "compute"}, changes); diff != "" || len(missing) > 0 {
		t.Errorf("%s %v", diff, missing)
	}
	if _, missing = place(nodes, []want{{"control", 3}}); len(missing) != 1 || missing[0].count != 1 {
		t.Errorf("missing: %v", missing)
	}
}

// mentioned are the names of workflows and actions in the sources of this package.
func mentioned(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(tripleo\.[a-z_]+\.[a-z0-9_.]*[a-z_])"`).FindAllStringSubmatch(string(data), -1) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestHistory(t *testing.T) {
	home := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, args := range [][]string{{"overcloud", "node", "discover", "--ip", "192.0.2.1", "--credentials", "admin:s3cr3t", "--credentials=u:s3cr3t"}, {"workflow", "lint", "x"}, {"no", "verb"}, {"overcloud", "plan", "list"},
		{"overcloud", "plan", "create", "--source-url", "https://me:s3cr3t@example.org/x.git@main", "p"}, {"overcloud", "plan", "create", "--source-url=git://s3cr3t@example.org/", "p"},
		{"overcloud", "parameters", "set", "p", "{AdminPassword: s3cr3t}"}, {"overcloud", "parameters", "set", "p", "more.yaml"}} {
		if err := remember(newRoot(&app{}), home, at, args); err != nil {
			t.Fatal(err)
		}
	}
	text, err := readFile(filepath.Join(home, ".tripleo", "history"))
	want := "2026-01-02 03:04:05 overcloud-node-discover --ip 192.0.2.1 --credentials *** --credentials=***\n2026-01-02 03:04:05 overcloud-plan-list \n" +
		"2026-01-02 03:04:05 overcloud-plan-create --source-url https://***@example.org/x.git@main p\n2026-01-02 03:04:05 overcloud-plan-create --source-url=git://***@example.org/ p\n" +
		"2026-01-02 03:04:05 overcloud-parameters-set p ***\n2026-01-02 03:04:05 overcloud-parameters-set p more.yaml\n"
	if err != nil || text != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, text))
	}
}

// TestPlainProgressSaysWhatItWaitsFor: after a while of silence.
func TestPlainProgressSaysWhatItWaitsFor(t *testing.T) {
	var out bytes.Buffer
	p := (&app{stdout: &out}).newProgress(false)
	at := time.Unix(0, 0)
	p.start, p.spoke, p.now = at, at, func() time.Time { return at }
	p.show(message{"t", yaml11.MapOf("progress", yaml11.MapOf("stage", "nodes", "complete", int64(3), "total", int64(9), "percent", int64(33), "nodes",
		yaml11.MapOf("b", yaml11.MapOf("stage", "deploying", "detail", "write_image", "percent", int64(40)), "a", yaml11.MapOf("stage", "done"))))})
	out.Reset()
	at = at.Add(quietTime - time.Second)
	p.redraw()
	if out.Len() > 0 {
		t.Errorf("too early: %s", &out)
	}
	at = at.Add(time.Second)
	p.redraw()
	if want := "[01:00] still nodes (01:00): 3 of 9 resources, 33%; waits for b (deploying: write_image 40%)\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
