package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadNodes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"a.json": `{"nodes": [{"pm_type": "ipmi", "mac": ["52:54:00:24:00:01"]}]}`,
		"b.yaml": "- pm_type: redfish\n  pm_addr: 1.2.3.4\n",
		"c.csv":  "ipmi,1.2.3.4,admin,secret,52:54:00:24:00:01 52:54:00:24:00:02,6230\n",
		"d.csv":  "ipmi,1.2.3.4\n",
		"e.yaml": "nodes: {}\n",
		"f.txt":  "x",
	})
	cases := []struct{ file, want, err string }{
		{"a.json", `[{"pm_type":"ipmi","mac":["52:54:00:24:00:01"]}]`, ""},
		{"b.yaml", `[{"pm_type":"redfish","pm_addr":"1.2.3.4"}]`, ""},
		{"c.csv", `[{"pm_type":"ipmi","pm_addr":"1.2.3.4","pm_user":"admin","pm_password":"secret","mac":["52:54:00:24:00:01","52:54:00:24:00:02"],"pm_port":"6230"}]`, ""},
		{"d.csv", "", "line 1 has 2 fields"},
		{"e.yaml", "", "expected a list of nodes"},
		{"f.txt", "", "expected a .json"},
	}
	for _, c := range cases {
		nodes, err := readNodes(filepath.Join(dir, c.file))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.file, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if got := str(nodes); got != c.want {
			t.Errorf("%s: %s, want %s", c.file, got, c.want)
		}
	}
}

// rig is an operator of a real Keystone and Swift.
func overcloudRig(t *testing.T) (*operator, *bytes.Buffer) {
	t.Helper()
	srv := identitytest.Start(t)
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sw, err := objectstore.New(objectstore.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/object-store", sw.Handler())
	out := &bytes.Buffer{}
	return &operator{&app{stdout: out, stderr: out}, srv.Admin()}, out
}

// TestEnvironmentsGoIntoThePlan: files of the operator are found again from where the plan has them.
func TestEnvironmentsGoIntoThePlan(t *testing.T) {
	o, _ := overcloudRig(t)
	ctx := t.Context()
	c, err := o.s.ObjectStore()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.raw(ctx, c, "PUT", objectPath(c, "overcloud", ""), nil, map[string]string{usageHeader: "plan"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"tht/overcloud.yaml":      "heat_template_version: queens\n",
		"tht/environments/x.yaml": "parameter_defaults: {X: 1}\n",
		"tht/common/c.yaml":       "heat_template_version: queens\n",
		"my/env.yaml":             "resource_registry:\n  OS::A: t/a.yaml\n  OS::B: ../tht/common/c.yaml\n  OS::C: OS::Heat::None\n  resources:\n    Compute: {OS::D: '" + dir + "/abs.yaml'}\nparameter_defaults: {P: new}\n",
		"my/t/a.yaml":             "heat_template_version: queens\nresources:\n  x: {type: ../b.yaml}\n  y: {type: OS::Heat::Value, properties: {value: {get_file: s.sh}}}\n",
		"my/b.yaml":               "heat_template_version: queens\n",
		"my/t/s.sh":               "#!/bin/sh\n",
		"abs.yaml":                "heat_template_version: queens\n",
	})
	f := &deployFlags{stack: "overcloud", templates: filepath.Join(dir, "tht"),
		environments: []string{filepath.Join(dir, "tht/environments/x.yaml"), filepath.Join(dir, "my/env.yaml")}, parameters: map[string]any{"NtpServer": "ntp.example.org"}}
	env, err := parseMapping("e", []byte("environments: [{path: overcloud-resource-registry.yaml}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	old, err := parseMapping("o", []byte("passwords: {AdminPassword: kept}\nparameter_defaults: {P: old, Q: kept, NtpServer: old}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.mergeEnvironments(ctx, o, env, old); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"environments": []any{
			map[string]any{"path": "overcloud-resource-registry.yaml"},
			map[string]any{"path": "user-environments/tripleoclient-parameters.yaml"},
			map[string]any{"path": "environments/x.yaml"},
			map[string]any{"path": "user-files" + dir + "/my/env.yaml"},
		},
		"passwords":          map[string]any{"AdminPassword": "kept"},
		"parameter_defaults": map[string]any{"Q": "kept"},
	}
	if diff := cmp.Diff(want, yaml11.Plain(env)); diff != "" {
		t.Errorf("plan environment:\n%s", diff)
	}
	names, err := o.listObjects(ctx, "overcloud")
	if err != nil {
		t.Fatal(err)
	}
	u := "user-files" + dir
	if diff := cmp.Diff([]string{"user-environments/tripleoclient-parameters.yaml", u + "/abs.yaml", u + "/my/b.yaml", u + "/my/env.yaml", u + "/my/t/a.yaml", u + "/my/t/s.sh"}, names); diff != "" {
		t.Errorf("objects:\n%s", diff)
	}
	data, err := o.getObject(ctx, "overcloud", u+"/my/env.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMapping("env", data)
	if err != nil {
		t.Fatal(err)
	}
	depth := strings.Repeat("../", strings.Count("user-files"+dir+"/my", "/")+1)
	reg := map[string]any{"OS::A": "t/a.yaml", "OS::B": depth + "common/c.yaml", "OS::C": "OS::Heat::None",
		"resources": map[string]any{"Compute": map[string]any{"OS::D": "../abs.yaml"}}}
	if diff := cmp.Diff(reg, yaml11.Plain(lookup(m, "resource_registry"))); diff != "" {
		t.Errorf("registry:\n%s", diff)
	}
}

func TestEnvironmentErrors(t *testing.T) {
	f := &deployFlags{environments: []string{"a.j2.yaml"}}
	if _, err := f.environmentFiles(); err == nil || !strings.Contains(err.Error(), "a.yaml") {
		t.Errorf("error %v does not name the rendered file", err)
	}
}

func TestMergeCloud(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	write(t, filepath.Dir(file), map[string]string{"clouds.yaml": "clouds:\n  undercloud:\n    auth: {auth_url: http://u}\n"})
	for range 2 {
		if err := mergeCloud(file, "overcloud", yaml11.MapOf("region_name", "regionOne")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMapping(file, data)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"clouds": map[string]any{"undercloud": map[string]any{"auth": map[string]any{"auth_url": "http://u"}}, "overcloud": map[string]any{"region_name": "regionOne"}}}
	if diff := cmp.Diff(want, yaml11.Plain(m)); diff != "" {
		t.Error(diff)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: the file has passwords", st.Mode(), err)
	}
}

// TestProgress: without a terminal every change is a line, and a percent only every quarter.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	p := a.newProgress(false)
	at := time.Unix(0, 0)
	p.start, p.now = at, func() time.Time { return at }
	msg := func(percent int) message {
		return message{"t", yaml11.MapOf("status", "RUNNING", "progress", yaml11.MapOf("stage", "nodes", "complete", int64(3), "total", int64(9),
			"nodes", yaml11.MapOf("overcloud-controller-0", yaml11.MapOf("stage", "deploying", "detail", "write_image", "percent", int64(percent)))))}
	}
	for _, n := range []int{1, 2, 30, 40} {
		p.show(msg(n))
		at = at.Add(10 * time.Second)
	}
	want := "[00:00] stage nodes\n[00:00] overcloud-controller-0: deploying: write_image 1%\n[00:20] overcloud-controller-0: deploying: write_image 30%\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestLiveProgress: on a terminal a line a stage and a node with the time it has been there; a stage that is over
// leaves a line, and the block never outgrows the screen.
func TestLiveProgress(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	p := &progress{w: &out, live: true, start: at, now: func() time.Time { return at }, nodes: map[string]nodeLine{}, size: func() (int, int) { return 60, 6 }}
	nodes := yaml11.NewMap()
	for i := range 5 {
		nodes.Set(fmt.Sprintf("compute-%d", i), yaml11.MapOf("stage", "deploying", "detail", "write-image", "percent", int64(40)))
	}
	p.show(message{"t", yaml11.MapOf("progress", yaml11.MapOf("stage", "nodes", "complete", int64(3), "total", int64(9), "nodes", nodes))})
	at = at.Add(65 * time.Second)
	p.redraw()
	block := func(time string) string {
		return "[" + time + "] nodes (" + time + ")  3 of 9 resources\n" +
			"  compute-0                    " + time + "  deploying: write-imag\n" + // a line ends before the edge
			"  compute-1                    " + time + "  deploying: write-imag\n" +
			"  … and 3 more\n"
	}
	want := block("00:00") + "\x1b[4A\x1b[J" + block("01:05")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	p.show(message{"t", yaml11.MapOf("progress", yaml11.MapOf("stage", "step 1", "complete", int64(4), "total", int64(9), "nodes", yaml11.NewMap()))})
	if got := out.String(); !strings.HasPrefix(got, "\x1b[4A\x1b[J[01:05] nodes: 01:05\n[01:05] step 1 (00:00)  4 of 9 resources\n") {
		t.Errorf("the next stage: %q", got)
	}
}

func TestPrintFailures(t *testing.T) {
	var out bytes.Buffer
	printFailures(&out, []any{yaml11.MapOf("path", "Controller.0.Config", "resource_type", "OS::Heat::SoftwareDeployment", "node", "overcloud-controller-0",
		"status", "CREATE_FAILED", "baremetal_node", "node-0", "reason", "Error: exit status 3", "cause", "exit status 3", "deploy_status_code", int64(3), "deploy_stderr", "one\ntwo")})
	for _, w := range []string{"Controller.0.Config\n", "node: overcloud-controller-0 (bare-metal node node-0)\n", "cause: exit status 3\n", "exit code: 3\n", "    one\n    two\n"} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("%q is missing in\n%s", w, out.String())
		}
	}
}

// TestProblem: what a workflow says of many nodes is a line for each that failed, without the engine's trace.
func TestProblem(t *testing.T) {
	trace := func(s string) string {
		return "Failure caused by error in tasks: wait\n\n  wait [task_ex_id=a4] -> Failed to run action [action_ex_id=13, action_cls='tripleo.baremetal.wait_provision_state']\n " + s + "\n" //nolint:dupword // the name of a task
	}
	a := trace(`Node node-1 is in state "enroll" instead of "manageable": the BMC does not answer`)
	b := trace(`Node node-2 is still in state "verifying", not "manageable": timed out`)
	for _, tc := range []struct {
		why  string
		in   any
		want string
	}{
		{"plain text stays", "no such plan", "no such plan"},
		{"members that went well are left out", []any{yaml11.NewMap(), yaml11.MapOf("result", a), yaml11.MapOf("result", b)},
			"\n  node-1  enroll  the BMC does not answer\n  node-2  verifying  timed out"},
		{"one failure stays in the line", []any{yaml11.MapOf("result", a)}, "node-1  enroll  the BMC does not answer"},
		{"nothing", nil, ""},
	} {
		if got := problem(tc.in); got != tc.want {
			t.Errorf("%s: %q, expected %q", tc.why, got, tc.want)
		}
	}
}

// TestDeployFlags: the ways to name the templates.
func TestDeployFlags(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"answers.yaml": "templates: " + dir + "\nenvironments: [a.yaml]\n"})
	f := &deployFlags{templates: builtin}
	if err := f.check(); err != nil || f.templates != "" {
		t.Errorf("--templates: %q, %v", f.templates, err)
	}
	f = &deployFlags{answers: filepath.Join(dir, "answers.yaml"), environments: []string{"b.yaml"}}
	if err := f.check(); err != nil || f.templates != dir || strings.Join(f.environments, " ") != "a.yaml b.yaml" {
		t.Errorf("answers: %+v, %v", f, err)
	}
	f = &deployFlags{templates: filepath.Join(dir, "nope")}
	if err := f.check(); err == nil {
		t.Error("a folder that does not exist was taken")
	}
}

// TestProgressOfManyNodes: hundreds of nodes are shown by what they do; of those that failed each is named.
func TestProgressOfManyNodes(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	message := func(from int, stage, detail string) message {
		nodes := yaml11.NewMap()
		for i := from; i < 500; i++ {
			nodes.Set(fmt.Sprintf("compute-%03d", i), yaml11.MapOf("stage", stage, "detail", detail, "percent", int64(i%100)))
		}
		if from == 0 {
			nodes.Set("compute-007", yaml11.MapOf("stage", "failed", "detail", "no power", "percent", int64(-1)))
		}
		return message{"t", yaml11.MapOf("progress", yaml11.MapOf("stage", "nodes", "complete", int64(3), "total", int64(9), "nodes", nodes))}
	}
	var plain, live bytes.Buffer
	p := &progress{w: &plain, start: at, spoke: at, now: func() time.Time { return at }, nodes: map[string]nodeLine{}}
	l := &progress{w: &live, live: true, start: at, now: func() time.Time { return at }, nodes: map[string]nodeLine{}, size: func() (int, int) { return 100, 24 }}
	for _, p := range []*progress{p, l} {
		p.show(message(0, "deploying", "write-image"))
		p.show(message(0, "deploying", "write-image")) // other percentages are no line
		p.show(message(499, "installed", ""))
	}
	want := `[00:00] stage nodes
[00:00] compute-007: failed: no power
[00:00] 499 nodes deploying: write-image: compute-000, compute-001, compute-002 and 496 more
[00:00] compute-499: installed
`
	if diff := cmp.Diff(want, plain.String()); diff != "" {
		t.Errorf("plain output (-want +got):\n%s", diff)
	}
	_, last, _ := strings.Cut(live.String(), "\x1b[3A\x1b[J")
	_, last, _ = strings.Cut(last, "\x1b[3A\x1b[J")
	want = `[00:00] nodes (00:00)  3 of 9 resources
  compute-007: failed: no power
  498 nodes deploying: write-image: compute-000, compute-001, compute-002 and 495 more
  compute-499: installed
`
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("live output (-want +got):\n%s", diff)
	}
}
