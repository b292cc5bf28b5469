package hooks

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// need skips a test of a hook in a short run and, loudly, where Debian's program is not installed.
func need(t *testing.T, program string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs " + program)
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("SKIPPED, NOT TESTED WITH THE REAL PROGRAM: %s is not installed", program)
	}
}

func input(name, raw string) Input { return Input{Name: name, Value: json.RawMessage(raw)} }

func quote(s string) json.RawMessage {
	raw, _ := json.Marshal(s)
	return raw
}

// TestPuppet applies manifests with the real puppet: facts, outputs, exit codes, noop and tags.
func TestPuppet(t *testing.T) {
	need(t, "puppet")
	h := host.NewReal(t.TempDir())
	file := h.Path("/made")
	manifest := "file { '" + file + "': content => \"${::greeting} ${::deploy_server_id}\", tag => 'mine' }\n" +
		"-> file { \"${::heat_outputs_path}.result\": content => 'done', tag => 'other' }\n"
	d := Deployment{ID: "id", Name: "step", Config: quote(manifest), Inputs: []Input{input("greeting", `"hello"`), input("deploy_server_id", `"s1"`)},
		Outputs: []Output{{Name: "result"}}, Options: map[string]any{"noop": true}}
	run := func(code int, outputs map[string]any) Result {
		t.Helper()
		got, err := Puppet{Host: h}.Run(t.Context(), d, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got.Code != code {
			t.Fatalf("code %d, expected %d\n%s%s", got.Code, code, got.Stdout, got.Stderr)
		}
		if diff := cmp.Diff(outputs, got.Outputs); diff != "" {
			t.Errorf("outputs: -want +got\n%s", diff)
		}
		return got
	}
	run(0, map[string]any{})
	if h.Exists("/made") {
		t.Error("noop made the file")
	}
	d.Options = map[string]any{"tags": []any{"mine"}}
	run(0, map[string]any{})
	if data, _ := os.ReadFile(file); string(data) != "hello s1" {
		t.Errorf("file %q", data)
	}
	d.Options = nil
	run(0, map[string]any{"result": "done"})
	d.Config = quote("exec { '/bin/false': }\n")
	if got := run(4, map[string]any{}); !strings.Contains(got.Stdout+got.Stderr, "/bin/false") {
		t.Errorf("what failed is not said: %+v", got)
	}
	d.Config = quote("file { '/made': ensure =>\n")
	run(1, map[string]any{})
}

// TestPuppetHiera: data of group hiera and inputs are what the real puppet and hiera look up, and nobody else may read them.
func TestPuppetHiera(t *testing.T) {
	need(t, "hiera")
	h := host.NewReal(t.TempDir())
	d := Deployment{ID: "h", Name: "data", Group: "hiera", Config: json.RawMessage(`{"hierarchy": ["\"%{::uuid}\"", "heat_config_%{::deploy_config_name}", "controller", "common"],
		"datafiles": {"common": {"a": "common", "b": {"x": [1, 2]}, "neutron::core": "ü<>"}, "controller": {"a": "role"}}}`)}
	got, err := Hiera{Host: h}.Run(t.Context(), d, io.Discard)
	if err != nil || got.Code != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	p := Puppet{Host: h}
	if err := p.hieraInputs(Deployment{Name: "step", Inputs: []Input{input("a", `"input"`)}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{hieraFile, hieraDataDir + "/common.json", hieraDataDir + "/heat_config_step.json"} {
		if info, err := os.Stat(h.Path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	// The same file with the data where this test has it.
	text, _ := h.ReadFile(hieraFile)
	config := filepath.Join(t.TempDir(), "hiera.yaml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(text), hieraDataDir, h.Path(hieraDataDir))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ key, scope, want string }{
		{"a", "x=y", "role"}, {"a", "::deploy_config_name=step", "input"}, {"neutron::core", "x=y", "ü<>"},
	} {
		out, err := exec.CommandContext(t.Context(), "hiera", "-c", config, tt.key, tt.scope).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != tt.want {
			t.Errorf("hiera %s %s: %q %v, expected %q", tt.key, tt.scope, out, err, tt.want)
		}
	}
	refuse := Hiera{Host: h, Legacy: func() bool { return true }}
	if got, _ := refuse.Run(t.Context(), d, io.Discard); got.Code != 1 || !strings.Contains(got.Stderr, "hiera.datafiles") {
		t.Errorf("beside the older data: %+v", got)
	}
	for _, bad := range []string{`{"datafiles": {"../x": {}}}`, `{"hierarchy": "x"}`, `{"hierarchy": ["a\nb"]}`, `{"datafiles": []}`} {
		if got, _ := (Hiera{Host: h}).Run(t.Context(), Deployment{Config: json.RawMessage(bad)}, io.Discard); got.Code != 1 {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

// TestAnsible runs playbooks with the real ansible-playbook.
func TestAnsible(t *testing.T) {
	need(t, "ansible-playbook")
	h := host.NewReal(t.TempDir())
	playbook := `[{"hosts": "localhost", "connection": "local", "gather_facts": false, "tasks": [
		{"name": "out", "copy": {"content": "{{ list[1] + 1 }} {{ heat_config_id }}", "dest": "{{ heat_outputs_path }}.result"}, "tags": ["yes"]},
		{"name": "bad", "command": "/bin/false", "tags": ["no"]}]}]`
	d := Deployment{ID: "id", Name: "step", Config: json.RawMessage(playbook), Inputs: []Input{input("list", `[1, 2]`), input("none", ``)},
		Outputs: []Output{{Name: "result"}}, Options: map[string]any{"tags": "yes"}}
	got, err := Ansible{Host: h}.Run(t.Context(), d, io.Discard)
	if err != nil || got.Code != 0 || got.Outputs["result"] != "3 id" {
		t.Fatalf("%+v %v", got, err)
	}
	if info, err := os.Stat(h.Path(ansibleDir + "/id_variables.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("variables: %v %v", info, err)
	}
	d.Options = map[string]any{"skip_tags": "yes"}
	if got, err = (Ansible{Host: h}).Run(t.Context(), d, io.Discard); err != nil || got.Code != 2 || !strings.Contains(got.Stdout, "bad") || len(got.Outputs) > 0 {
		t.Errorf("a task that fails: %+v %v", got, err)
	}
	d.Config = nil
	if got, _ = (Ansible{Host: h}).Run(t.Context(), d, io.Discard); got.Code != 1 {
		t.Errorf("no playbook: %+v", got)
	}
}

// TestMissingProgram: a node without the program says so, where heat-agents left the deployment hanging.
func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	h := host.NewReal(t.TempDir())
	d := Deployment{ID: "id", Config: json.RawMessage(`{"c": {"image": "i"}}`)}
	for name, hook := range map[string]Hook{"puppet": Puppet{Host: h}, "ansible-playbook": Ansible{Host: h}, "podman": Containers{Host: h}} {
		got, err := hook.Run(t.Context(), d, io.Discard)
		if err != nil || got.Code != 1 || !strings.Contains(got.Stderr, name) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

// TestContainers compares the commands with those of heat-agents' docker-cmd.
func TestContainers(t *testing.T) {
	rec := &host.Recorder{Answer: func(c host.Command) (host.Result, error) {
		if c.Args[1] == "ps" && strings.HasSuffix(c.String(), "container_name=db") {
			return host.Result{Stdout: []byte("db\n")}, nil
		}
		if c.Args[1] == "ps" && strings.Contains(c.String(), "config_id\"") {
			return host.Result{Stdout: []byte("db cfg\nold gone\n")}, nil
		}
		if c.Args[1] == "exec" {
			return host.Result{Code: 3}, nil
		}
		return host.Result{}, nil
	}}
	h := host.New(t.TempDir(), rec)
	d := Deployment{ID: "cfg", Name: "step", Inputs: []Input{input("deploy_stack_id", `"st"`), input("deploy_resource_name", `"res"`)}, Config: quote(`
web:
  image: web:1
  start_order: 1
  restart: always
  environment: [A=1, '']
  volumes: [/a:/b:ro]
  privileged: false
  command: run it
db:
  image: db:1
  detach: false
  net: host
  env_file: [/x]
boot:
  action: exec
  start_order: 2
  user: root
  exit_codes: [0, 3]
  command: [db, init]
`)}
	got, err := Containers{Host: h}.Run(t.Context(), d, io.Discard)
	if err != nil || got.Code != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	labels := func(name string) string {
		return "--label deploy_stack_id=st --label deploy_resource_name=res --label config_id=cfg --label container_name=" + name + " --label managed_by=docker-cmd"
	}
	want := []string{
		"podman rm --force db",
		"podman run --name db " + labels("db") + " --env-file=/x --net=host db:1",
		"podman run --name web " + labels("web") + " --detach=true --env=A=1 --privileged=false --restart=always --volume=/a:/b:ro web:1 run it",
		"podman exec --user=root db init",
	}
	if diff := cmp.Diff(want, rec.Take("podman r", "podman e")); diff != "" {
		t.Errorf("commands: -want +got\n%s", diff)
	}
	if err := (Containers{Host: h}).Prune(t.Context(), map[string]bool{"cfg": true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"podman rm --force old"}, rec.Take("podman rm")); diff != "" {
		t.Errorf("prune: -want +got\n%s", diff)
	}
	d.Config = json.RawMessage(`{"name": "etcd", "image": "etcd:3", "privileged": true}`)
	if got, _ := (Containers{Host: h, One: true}).Run(t.Context(), d, io.Discard); got.Code != 0 {
		t.Errorf("%+v", got)
	}
	if cmds := rec.Take("podman run"); len(cmds) != 1 || !strings.HasSuffix(cmds[0], "--detach=true --privileged=true etcd:3") {
		t.Errorf("atomic: %v", cmds)
	}
	for _, bad := range []string{`{"c": {}}`, `{"c": {"action": "exec", "command": "db"}}`, `{"c": {"action": "stop", "image": "x"}}`, `[1]`} {
		if got, _ := (Containers{Host: h}).Run(t.Context(), Deployment{Config: json.RawMessage(bad)}, io.Discard); got.Code != 1 {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}
