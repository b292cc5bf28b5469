package deployment

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/yaml11"
)

type memPlan map[string]string

func (m memPlan) read(name string) ([]byte, error) {
	if s, ok := m[name]; ok {
		return []byte(s), nil
	}
	return nil, errNoFile
}

func mustMap(t *testing.T, s string) *yaml11.OrderedMap {
	t.Helper()
	m, err := parseMap("test.yaml", []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustList(t *testing.T, s string) []any {
	t.Helper()
	l, err := parseList("test.yaml", []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRenderPlan: which template is rendered how, and where its output goes.
func TestRenderPlan(t *testing.T) {
	plan := memPlan{
		"overcloud.j2.yaml":                      "{% for r in roles %}{{ r.name }} {% endfor %}{% for n in networks %}{{ n.name_lower }}:{{ n.compat_name }} {% endfor %}",
		"puppet/role.role.j2.yaml":               "{{role.name}} {{ role.CountDefault }} {{ networks|length }}",
		"legacy.role.j2.yaml":                    "{{ role }} {{ disable_constraints }}",
		"network/config/multi/role.role.j2.yaml": "{{role.name}} nic",
		"network/ports/port_v6.network.j2.yaml":  "{{ network.name }} port",
		"network/network.network.j2.yaml":        "{{ network.name }}",
		"puppet/inc.j2.yaml":                     "{% include 'part.j2' %}+{% include 'top.j2' %}",
		"puppet/part.j2":                         "near",
		"part.j2":                                "far",
		"top.j2":                                 "top",
		"plain.yaml":                             "{{ untouched }}",
		"puppet/excluded.role.j2.yaml":           "{{role.name}}",
	}
	got := map[string]string{}
	var names []string
	for n := range plan {
		names = append(names, n)
	}
	data := planData{
		roles:          mustList(t, "[{name: Controller, CountDefault: 1, disable_constraints: true}, {name: Compute, deprecated_nic_config_name: old.yaml}]"),
		networks:       mustList(t, "[{name: InternalApi}, {name: Storage, name_lower: stor}, {name: Gone, enabled: false}]"),
		excludes:       map[string]bool{"puppet/compute-excluded.yaml": true},
		compatInternal: true,
	}
	err := renderPlan(t.Context(), names, data, plan.read, func(n string, text []byte) error { got[n] = string(text); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"overcloud.yaml":                       "Controller Compute internalapi:Internal stor: gone: ",
		"puppet/controller-role.yaml":          "Controller 1 3",
		"puppet/compute-role.yaml":             "Compute  3",
		"controller-legacy.yaml":               "Controller True",
		"compute-legacy.yaml":                  "Compute False",
		"network/config/multi/controller.yaml": "Controller nic",
		"network/config/multi/old.yaml":        "Compute nic",
		"network/ports/internalapi_v6.yaml":    "InternalApi port",
		"network/ports/stor_v6.yaml":           "Storage port",
		"network/internalapi.yaml":             "InternalApi",
		"network/stor.yaml":                    "Storage",
		"puppet/inc.yaml":                      "near+top",
		"puppet/controller-excluded.yaml":      "Controller",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rendered files (-want +got):\n%s", diff)
	}
}

func TestRenderPlanNamesFileAndLine(t *testing.T) {
	plan := memPlan{"a.j2.yaml": "x\n{{ nope.x }}\n"}
	err := renderPlan(t.Context(), []string{"a.j2.yaml"}, planData{}, plan.read, func(string, []byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "a.j2.yaml:2") {
		t.Errorf("error %v does not name template and line", err)
	}
}

// TestProcessPlan: order of environments, relative references, and text that keeps its lines.
func TestProcessPlan(t *testing.T) {
	plan := memPlan{
		"overcloud.yaml":      "heat_template_version: queens\n# a comment\nresources:\n  a:\n    type: common/a.yaml\n  b: {type: 'common/a.yaml', properties: {x: {get_file: files/script.sh}}}\n  c:\n    type: OS::Nova::Server\n",
		"common/a.yaml":       "heat_template_version: queens\nresources:\n  x:\n    type: ../deep/b.yaml\n",
		"deep/b.yaml":         "heat_template_version: queens\nresources: {}\n",
		"files/script.sh":     "#!/bin/sh\nexit 0\n",
		"environments/1.yaml": "resource_registry:\n  OS::TripleO::X: ../deep/b.yaml\n  OS::TripleO::Y: OS::Heat::None\nparameter_defaults:\n  A: one\n  M: {x: 1, y: 2}\n",
		"2.yaml":              "parameter_defaults: {A: two, M: {y: 3}, Pw: file}\n",
	}
	env := mustMap(t, "template: overcloud.yaml\nenvironments: [{path: environments/1.yaml}, {path: 2.yaml}]\npasswords: {Pw: generated, Qw: q}\nparameter_defaults: {M: {z: 4}}\nderived_parameters: {Qw: derived}\nresource_registry: {'OS::TripleO::Z': deep/b.yaml}\n")
	p, err := processPlan("overcloud", env, newCollector("http://u/c/", plan.read))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(p.template, "\n"); got != strings.Count(plan["overcloud.yaml"], "\n") {
		t.Errorf("template has %d lines now:\n%s", got, p.template)
	}
	if !strings.Contains(p.template, "type: 'http://u/c/common/a.yaml'\n") || !strings.Contains(p.template, "{type: 'http://u/c/common/a.yaml', properties: {x: {get_file: 'http://u/c/files/script.sh'}}}") {
		t.Errorf("references are not replaced in place:\n%s", p.template)
	}
	wantFiles := []string{"http://u/c/deep/b.yaml", "http://u/c/common/a.yaml", "http://u/c/files/script.sh"}
	if diff := cmp.Diff(wantFiles, p.files.Keys()); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	wantEnv := map[string]any{
		"resource_registry":  map[string]any{"OS::TripleO::X": "http://u/c/deep/b.yaml", "OS::TripleO::Y": "OS::Heat::None", "OS::TripleO::Z": "http://u/c/deep/b.yaml"},
		"parameter_defaults": map[string]any{"A": "two", "M": map[string]any{"x": int64(1), "y": int64(3), "z": int64(4)}, "Pw": "generated", "Qw": "derived"},
	}
	if diff := cmp.Diff(wantEnv, yaml11.Plain(p.environment)); diff != "" {
		t.Errorf("environment:\n%s", diff)
	}
}

func TestProcessPlanErrors(t *testing.T) {
	cases := []struct{ name, file, env, want string }{
		{"missing file", "heat_template_version: q\nresources:\n  a:\n    type: nope.yaml\n", "{}", "overcloud.yaml:4:11: the plan has no file nope.yaml"},
		{"missing environment", "heat_template_version: q\n", "environments: [{path: e.yaml}]", "the plan has no file e.yaml"},
		{"outside", "heat_template_version: q\nresources: {a: {type: 'http://evil/x.yaml'}}\n", "{}", "outside of the plan"},
		{"wrong section", "heat_template_version: q\n", "environments: [{path: bad.yaml}]", `wrong section "resources"`},
		{"broken template", "heat_template_version: q\nresources: [\n", "{}", "overcloud.yaml"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := memPlan{"overcloud.yaml": c.file, "bad.yaml": "resources: {}\n"}
			_, err := processPlan("p", mustMap(t, c.env), newCollector("http://u/c/", plan.read))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestPasswords(t *testing.T) {
	alnum := func(n string) string { return `^[a-zA-Z0-9]{` + n + `}$` }
	shapes := map[string]string{"AdminPassword": alnum("25"), "MysqlRootPassword": alnum("10"), "RabbitCookie": alnum("20"), "HeatAuthEncryptionKey": alnum("32"),
		"KeystoneFernetKey0": `^[A-Za-z0-9_-]{43}=$`, "CephClusterFSID": `^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-`}
	for name, shape := range shapes {
		a, err := makePassword(name, time.Unix(1000, 0))
		if err != nil {
			t.Fatal(err)
		}
		b, err := makePassword(name, time.Unix(1000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(shape).MatchString(a.(string)) {
			t.Errorf("%s: %q is not %s", name, a, shape)
		}
		if a == b {
			t.Errorf("%s: twice the same", name)
		}
	}
	key, err := cephKey(time.Unix(0x01020304, 0))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 28 || string(raw[:12]) != "\x01\x00\x04\x03\x02\x01\x00\x00\x00\x00\x10\x00" {
		t.Errorf("ceph key % x, %v", raw, err)
	}
	if n := len(passwordNames()); n < 60 {
		t.Errorf("%d names", n)
	}
}

// TestCheckNodes: what is refused, and that all problems are told at once.
func TestCheckNodes(t *testing.T) {
	cases := []struct {
		name, nodes string
		want        []string
	}{
		{"good", "[{pm_type: ipmi, pm_addr: 192.168.100.11, pm_user: a, pm_password: b, ports: [{address: '52:54:00:24:00:01'}], capabilities: 'profile:control,boot_option:local', _comment: hi}, {pm_type: redfish, pm_addr: 'http://192.168.100.12:8000', pm_user: a, pm_password: b, pm_system_id: /redfish/v1/Systems/1, mac: ['52:54:00:24:00:02']}]", nil},
		{"no type", "[{pm_addr: 1.2.3.4}]", []string{"node #0: pm_type is missing"}},
		{"unknown type", "[{pm_type: toaster}]", []string{`unknown pm_type "toaster"`}},
		{"everything", "[{pm_type: ipmi, mac: [xx], capabilities: nonsense, platform: p, root_device: 5, colour: red, name: n}, {pm_type: pxe_ipmitool, pm_addr: 1.1.1.1, name: n}, {pm_type: ipmi, pm_addr: 1.1.1.1, pm_port: 623}]",
			[]string{"node #0: missing mandatory field pm_addr", `invalid MAC address "xx"`, "platform needs arch", "is not key:value", "root_device must be a mapping", "unknown field colour", `node #1: the name "n" is also that of node #0`, "node #2: the BMC ipmi 1.1.1.1 623 is also that of node #1"}},
		{"same mac", "[{pm_type: ipmi, pm_addr: 1.1.1.1, mac: ['AA:BB:CC:DD:EE:FF']}, {pm_type: ipmi, pm_addr: 1.1.1.2, mac: ['aa:bb:cc:dd:ee:ff']}]", []string{"MAC address aa:bb:cc:dd:ee:ff is also that of node #0"}},
		{"same address, other port", "[{pm_type: ipmi, pm_addr: 1.1.1.1, pm_port: 6230}, {pm_type: ipmi, pm_addr: 1.1.1.1, pm_port: 6231}]", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			node, _, err := yaml11.Parse("n.yaml", []byte(c.nodes), yaml11.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			nodes, err := cleanNodes(node.Value().([]any))
			if err != nil {
				t.Fatal(err)
			}
			err = checkNodes(nodes)
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in:\n%v", w, err)
				}
			}
		})
	}
}

func TestNodeBody(t *testing.T) {
	n := mustMap(t, "{pm_type: ipmi, pm_addr: 10.0.0.1, pm_user: u, pm_password: p, pm_port: 6230, name: x, cpu: 4, memory: 8192, disk: 40, arch: x86_64, capabilities: 'profile:control', root_device: {serial: abc}, deploy_interface: direct}")
	body, err := nodeBody(n, "local", "kid", "rid")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"driver": "ipmi", "name": "x", "resource_class": "baremetal", "deploy_interface": "direct",
		"driver_info": map[string]any{"ipmi_address": "10.0.0.1", "ipmi_username": "u", "ipmi_password": "p", "ipmi_port": int64(6230), "deploy_kernel": "kid", "deploy_ramdisk": "rid"},
		"properties":  map[string]any{"cpus": "4", "memory_mb": "8192", "local_gb": "40", "cpu_arch": "x86_64", "root_device": map[string]any{"serial": "abc"}, "capabilities": "boot_option:local,profile:control"},
	}
	if diff := cmp.Diff(want, yaml11.Plain(body)); diff != "" {
		t.Error(diff)
	}
}

func TestChooseDisk(t *testing.T) {
	disks, _ := yaml11.Normalize([]any{
		map[string]any{"name": "/dev/sda", "size": int64(100 * gib), "serial": "a"},
		map[string]any{"name": "/dev/sdb", "size": int64(50 * gib), "wwn": "b"},
		map[string]any{"name": "/dev/sdc", "size": int64(2 * gib), "serial": "c"},
	}).([]any)
	for want, name := range map[string]string{"smallest": "/dev/sdb", "largest": "/dev/sda", "sdc,sdb": "/dev/sdb", "sdz": "", "/dev/sda": "/dev/sda"} {
		d, err := chooseDisk(disks, want, 4)
		if got := text(d, "name"); got != name || (err != nil) != (name == "") {
			t.Errorf("%s: %q, %v; want %q", want, got, err, name)
		}
	}
}

func TestFailedLeaves(t *testing.T) {
	all := []resource{
		{name: "Controller", status: "CREATE_FAILED", nested: "s1", stackID: "root"},
		{name: "0", status: "CREATE_FAILED", nested: "s2", stackID: "s1"},
		{name: "Config", status: "CREATE_FAILED", physicalID: "d1", stackID: "s2", reason: "Error: deploy_status_code: 3"},
		{name: "Other", status: "CREATE_FAILED", physicalID: "x", stackID: "s2", reason: "resource creation cancelled"},
		{name: "Fine", status: "CREATE_COMPLETE", stackID: "s2"},
	}
	var got []string
	for _, i := range failedLeaves(all) {
		got = append(got, paths(all)[i])
	}
	if diff := cmp.Diff([]string{"Controller.0.Config"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestWorkbooksUseKnownActions: every tripleo.* action and workflow that a workbook names exists.
func TestWorkbooksUseKnownActions(t *testing.T) {
	known := map[string]bool{}
	for _, a := range Actions(Config{}) {
		known[a.Name] = true
	}
	books, err := Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range books {
		wfs := dig(mustMap(t, b.YAML), "workflows").(*yaml11.OrderedMap)
		for name := range wfs.All() {
			known[b.Name+"."+name] = true
		}
	}
	used := 0
	for _, b := range books {
		for _, m := range regexp.MustCompile(`(?m)^\s+(?:action|workflow): (tripleo\.\S+)`).FindAllStringSubmatch(b.YAML, -1) {
			used++
			if !known[m[1]] {
				t.Errorf("%s uses %s, which does not exist", b.Name, m[1])
			}
		}
	}
	if used < 40 {
		t.Errorf("found only %d uses", used)
	}
}

func TestProgressDelta(t *testing.T) {
	last := mustMap(t, "{stage: nodes, complete: 1, total: 9, nodes: {a: {stage: x, detail: '', percent: 1}, b: {stage: y, detail: '', percent: -1}}}")
	now := mustMap(t, "{stage: nodes, complete: 1, total: 9, nodes: {a: {stage: x, detail: '', percent: 2}, b: {stage: y, detail: '', percent: -1}}}")
	d, changed := progressDelta(last, now)
	nodes, _ := dig(d, "nodes").(*yaml11.OrderedMap)
	if !changed || nodes.Len() != 1 || dig(nodes, "a") == nil {
		t.Errorf("delta %v, %v", yaml11.Plain(d), changed)
	}
	if _, changed := progressDelta(now, now); changed {
		t.Error("nothing changed, yet a message would be sent")
	}
}

func TestRCText(t *testing.T) {
	rc := rcText("overcloud", "http://192.168.24.105:5000/v2.0", "it's", "regionOne", "")
	for _, w := range []string{"export OS_AUTH_URL=http://192.168.24.105:5000/v3\n", `export OS_PASSWORD='it'\''s'` + "\n", "export OS_PROJECT_DOMAIN_NAME=Default\n", "unset $key"} {
		if !strings.Contains(rc, w) {
			t.Errorf("%q is missing in\n%s", w, rc)
		}
	}
}

// TestOrigins: a place in a rendered template is shown with that in the template an operator edits.
func TestOrigins(t *testing.T) {
	files := map[string]string{
		"a.j2.yaml": "top:\n{% for r in roles %}\n  {{ r }}Count: 1\n  same: 1\n  {{ r }}\n{% endfor %}\n  same: 1\nend: [\n  {{ r }}: 1\n",
		"a.yaml":    "top:\n\n  ComputeCount: 1\n  same: 1\n  Compute\n\n  same: 1\nend: [\n",
		"b.yaml":    "x: 1\n",
	}
	o := &origins{lines: map[string][]string{}, read: func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, errNoFile
	}}
	for _, tc := range []struct{ why, in, want string }{
		{"a line as it is", "a.yaml:8: not valid", "a.yaml:8 (a.j2.yaml:8): not valid"},
		{"a line with an expression, with a column", "at a.yaml:3:5", "at a.yaml:3:5 (a.j2.yaml:3)"},
		{"two lines it can be of", "a.yaml:4", "a.yaml:4 (rendered from a.j2.yaml)"},
		{"an expression alone tells nothing", "a.yaml:5", "a.yaml:5 (rendered from a.j2.yaml)"},
		{"no such line", "a.yaml:99", "a.yaml:99 (rendered from a.j2.yaml)"},
		{"not rendered", "b.yaml:1:1: x", "b.yaml:1:1: x"},
		{"the template itself", "a.j2.yaml:3: x", "a.j2.yaml:3: x"},
	} {
		if got := o.explain(tc.in); got != tc.want {
			t.Errorf("%s: %q, expected %q", tc.why, got, tc.want)
		}
	}
}

func TestCause(t *testing.T) {
	for _, tc := range []struct{ why, reason, position, want string }{
		{"Nova's fault without Heat's wrapping", `Error: resources.Server: Went to status ERROR due to "Message: no "x" here, Code: 500" (node.yaml:6:3)`, "node.yaml:6:3", `no "x" here`},
		{"a member of a group", "Error: resources[0]: Deployment to server failed: exit 3 (a.yaml:2:3)", "a.yaml:2:3", "Deployment to server failed: exit 3"},
		{"what has no wrapping stays", "timed out", "", "timed out"},
	} {
		if got := cause(tc.reason, tc.position); got != tc.want {
			t.Errorf("%s: %q, expected %q", tc.why, got, tc.want)
		}
	}
}

func TestLabel(t *testing.T) {
	for path, want := range map[string]string{"AllNodesDeploySteps.ControllerDeployment_Step3.0": "ControllerDeployment_Step3", "Controller.0.NetworkDeployment": "NetworkDeployment", "0": "0"} {
		if got := label(path); got != want {
			t.Errorf("%s: %s, expected %s", path, got, want)
		}
	}
}

func TestMatchServers(t *testing.T) {
	servers := mustList(t, "[{id: c2, name: overcloud-novacompute-1}, {id: c1, name: overcloud-novacompute-0}, {id: k, name: overcloud-controller-0.example.org}]")
	roles := mustMap(t, "{Controller: [k], Compute: [c1, c2], ObjectStorage: []}")
	for _, c := range []struct {
		roles         *yaml11.OrderedMap
		wanted        string
		found, absent string
	}{
		{roles, "all", "k c1 c2", ""},
		{roles, "Compute", "c1 c2", ""},
		{roles, "compute,overcloud-controller-0,Compute", "c1 c2 k", ""},
		{roles, "overcloud-novacompute-1,c2", "c2", ""},
		{roles, "ObjectStorage,nobody,Controller", "k", "ObjectStorage nobody"},
		{nil, "Controller", "k", ""},
		{nil, "Compute", "", "Compute"},
	} {
		out, missing := matchServers(servers, c.roles, stringList(c.wanted))
		var ids []string
		for _, s := range out {
			ids = append(ids, text(s, "id"))
		}
		if got := strings.Join(ids, " "); got != c.found || strings.Join(missing, " ") != c.absent {
			t.Errorf("%s: %s, missing %v", c.wanted, got, missing)
		}
	}
}

// TestAnsibleWithoutInventory: an empty inventory is none, and not the run's folder.
func TestAnsibleWithoutInventory(t *testing.T) {
	for text, want := range map[string]bool{"{inventory: ''}": false, "{}": false, "{inventory: 'a,b,'}": true} {
		a := &ansibleRun{in: input{mustMap(t, text)}, dir: t.TempDir()}
		if err := a.common(); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(a.args, "--inventory"); got != want {
			t.Errorf("%s: %v", text, a.args)
		}
	}
}
