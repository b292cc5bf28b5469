package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/undercloud"
)

// TestNodeAndServerVerbs goes through the verbs about nodes and servers as far as there is something without machines.
func TestNodeAndServerVerbs(t *testing.T) {
	commandRig(t)
	write(t, ".", map[string]string{
		"nodes.json": `{"nodes": [{"pm_type": "fake-hardware", "name": "a", "mac": ["52:54:00:24:00:01"]}]}`,
		"ipmi.json":  `{"nodes": [{"pm_type": "ipmi", "pm_addr": "192.0.2.7", "pm_user": "u", "pm_password": "s3cr3t", "mac": ["52:54:00:24:00:01"]}]}`,
		"hello.sh":   "echo hello\n",
	})
	mustRun(t, []string{"EnableFencing: true"}, "overcloud", "generate", "fencing", "ipmi.json")
	mustRun(t, nil, "overcloud", "generate", "fencing", "ipmi.json", "--output", "fencing.yaml")
	if st, err := os.Stat("fencing.yaml"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("fencing.yaml: %v %v", st, err)
	}
	mustRun(t, nil, "overcloud", "node", "import", "nodes.json", "--no-deploy-image", "--provide")
	mustRun(t, []string{"a ", "available"}, "overcloud", "profiles", "list", "-f", "value", "-c", "Node Name", "-c", "Provision State")
	for _, tt := range []struct {
		reason, want string
		args         []string
	}{
		{"no nodes for the profile", "there is no flavor nope", []string{"profiles", "match", "--compute-scale", "1", "--compute-flavor", "nope"}},
		{"a scale with the flavor of any node", "2 nodes are wanted, 1 are available", []string{"profiles", "match", "--compute-scale", "2"}},
		{"no stack", "there is no stack overcloud", []string{"node", "delete", "x"}},
		{"no stack", "there is no stack other", []string{"update", "run", "--nodes", "all", "--stack", "other"}},
		{"no server", "No server has a name like web", []string{"execute", "-s", "web", "hello.sh"}},
		{"credentials without a password", "expected USER:PASSWORD", []string{"node", "discover", "--ip", "192.0.2.1", "--credentials", "admin"}},
		{"neither addresses nor a network", "--ip or --range", []string{"node", "discover", "--credentials", "a:b"}},
		{"a disk without a size", "size_gb and raid_level are needed", []string{"raid", "create", "--node", "a", `{"logical_disks": [{"raid_level": "1"}]}`}},
		{"no disks", "no list logical_disks", []string{"raid", "create", "--node", "a", "disks: []"}},
		{"a container that is not there", "there is no container overcloud_support", []string{"support", "report", "collect", "--download-only", "all"}},
		{"nodes and roles", "either --nodes or --roles", []string{"upgrade", "run", "--nodes", "a", "--roles", "B"}},
	} {
		if out, err := tripleo(t, append([]string{"overcloud"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q\n%s", tt.reason, err, tt.want, out)
		}
	}
	o := testOperator(t)
	c, err := o.s.ObjectStore()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.raw(t.Context(), c, "PUT", objectPath(c, "overcloud_support", ""), nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.putObject(t.Context(), "overcloud_support", "web/report.tar.gz", []byte("report")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, []string{"1 files are in logs"}, "overcloud", "support", "report", "collect", "--download-only", "-o", "logs", "all")
	if text, err := readFile("logs/web/report.tar.gz"); err != nil || text != "report" {
		t.Errorf("the report: %q %v", text, err)
	}
	if there, err := o.hasContainer(t.Context(), "overcloud_support"); err != nil || there {
		t.Errorf("the container is left: %v %v", there, err)
	}
}

// testOperator is an operator of the undercloud of commandRig.
func testOperator(t *testing.T) *operator {
	t.Helper()
	o, err := (&app{stdout: t.Output(), stderr: t.Output()}).operator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestUpdateVerbs takes a small plan through the steps of an update; there are no servers, which its run says.
func TestUpdateVerbs(t *testing.T) {
	commandRig(t)
	const template = "heat_template_version: queens\nparameters: {Mode: {type: string}}\nresources:\n  Thing: {type: OS::Heat::Value, properties: {value: {get_param: Mode}}}\n" +
		"outputs:\n  Mode: {value: {get_attr: [Thing, value]}}\n  KeystoneURL: {value: 'http://10.0.0.9:5000'}\n"
	write(t, ".", map[string]string{
		"tht/plan-environment.yaml":                             "template: overcloud.yaml\nenvironments: [{path: base.yaml}]\n",
		"tht/base.yaml":                                         "parameter_defaults: {Mode: normal}\n",
		"tht/environments/lifecycle/update-prepare.yaml":        "parameter_defaults: {Mode: updating}\n",
		"tht/environments/lifecycle/ffwd-upgrade-converge.yaml": "parameter_defaults: {Mode: converged}\n",
		"tht/roles_data.yaml":                                   "- name: Controller\n",
		"tht/overcloud.yaml":                                    template,
	})
	deploy := []string{"--templates", "tht", "--disable-validations", "-t", "5"}
	mustRun(t, []string{"Overcloud deployed."}, append([]string{"overcloud", "deploy"}, deploy...)...)
	mode := func(want string) {
		t.Helper()
		o := testOperator(t)
		c, err := o.s.Orchestration()
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := o.call(t.Context(), c, "GET", below(c, "", "stacks", "overcloud"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range items(lookup(v, "stack", "outputs")) {
			if got := str(lookup(out, "output_value")); str(lookup(out, "output_key")) == "Mode" && got != want {
				t.Errorf("the stack's mode is %s, want %s", got, want)
			}
		}
	}
	if out, err := tripleo(t, "overcloud", "update", "prepare", "--templates", "tht"); err == nil || !strings.Contains(err.Error(), "/image/") { // no Image service here
		t.Errorf("images were not looked for: %v\n%s", err, out)
	}
	mustRun(t, []string{"Stack overcloud: UPDATE_COMPLETE", "the agents update the nodes"}, append([]string{"overcloud", "update", "prepare", "--no-proxy", "10.1.2.3"}, deploy...)...)
	if rc, err := os.ReadFile("overcloudrc"); err != nil || !strings.Contains(string(rc), "no_proxy=10.1.2.3") {
		t.Errorf("--no-proxy of prepare: %v\n%s", err, rc)
	}
	mode("updating")
	if out, err := tripleo(t, "overcloud", "update", "run", "--nodes", "Controller"); err == nil || !strings.Contains(err.Error(), "stack overcloud has no servers named Controller") {
		t.Errorf("an update of nodes that are not there: %v\n%s", err, out)
	}
	mustRun(t, []string{"Overcloud deployed."}, append([]string{"overcloud", "update", "converge"}, deploy...)...)
	mode("normal")
	if out, err := tripleo(t, append([]string{"overcloud", "ffwd-upgrade", "converge"}, deploy...)...); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("not asked: %v\n%s", err, out)
	}
	write(t, ".", map[string]string{"tht/overcloud.yaml": template + "  RoleData: {value: {Controller: {config_settings: {a: 1}, step_config: x}}}\n"})
	mustRun(t, []string{"Overcloud deployed."}, append([]string{"overcloud", "ffwd-upgrade", "converge", "--yes"}, deploy...)...)
	mode("converged")
	mustRun(t, []string{"successfully generated into"}, "overcloud", "config", "download", "--config-dir", "conf", "--config-type", "config_settings")
	got, err := filepath.Glob("conf/tripleo-*-config/*/*")
	if err != nil || len(got) != 1 || !strings.HasSuffix(got[0], "/Controller/config_settings.yaml") {
		t.Errorf("the configuration is %v, %v", got, err)
	}
}

func TestUndercloudMachineChecks(t *testing.T) {
	dir := t.TempDir()
	cfg := undercloud.Config{DataDir: filepath.Join(dir, "not", "yet"), Listen: "127.0.0.1:0"}
	if err := checkMachine(t.Context(), cfg, 1); err != nil {
		t.Error(err)
	}
	if err := checkMachine(t.Context(), cfg, 1<<60); err == nil || !strings.Contains(err.Error(), "bytes left") {
		t.Errorf("a disk of an exbibyte: %v", err)
	}
	cfg.Listen = "192.0.2.1:1"
	if err := checkMachine(t.Context(), cfg, 1); err == nil {
		t.Error("an address that this machine has not")
	}
}

// TestFlagsOfProcess: an upgrade takes over the flags of the undercloud that runs.
func TestFlagsOfProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo; read x", "up", "--listen", "127.0.0.1:9", "--config=u.yaml")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	f, err := flagsOfProcess(cmd.Process.Pid)
	if err != nil || f.listen != "127.0.0.1:9" || f.config != filepath.Join(dir, "u.yaml") {
		t.Errorf("flags %+v, %v", f, err)
	}
	_ = in.Close()
	_ = cmd.Wait()
}
