package workflow

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenStackClient drives the API with Debian's python-mistralclient.
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	if err := exec.Command("/usr/bin/python3", "-c", "import mistralclient, openstackclient").Run(); err != nil {
		t.Skip("python3-openstackclient and python3-mistralclient are not installed")
	}
	b := newBench(t, nil)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wb := write("wb.yaml", book)
	wf := write("wf.yaml", "version: '2.0'\nadd:\n  input: [a, {b: 2}]\n  output: {sum: <% $.a + $.b %>}\n  tasks:\n    t: {action: std.noop}\n")
	act := write("act.yaml", "version: '2.0'\nmy.echo:\n  input: [x]\n  base: std.echo\n  base-input: {output: <% $.x %>}\n")
	env := write("env.json", `{"name": "envy", "variables": {"k": "v"}}`)
	input := write("input.json", `{"a": 40}`)
	run := func(want string, args ...string) string {
		t.Helper()
		args = append([]string{"--os-auth-type", "admin_token", "--os-token", "member", "--os-endpoint", b.url + "/v2"}, args...)
		cmd := exec.CommandContext(t.Context(), "/usr/bin/openstack", args...)
		cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("openstack %s: %v\n%s", strings.Join(args[6:], " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("tripleo.demo.v1", "workbook", "create", wb)
	run("tripleo.demo.v1", "workbook", "list")
	run("tripleo.demo.v1", "workbook", "update", wb)
	run("hello", "workbook", "definition", "show", "tripleo.demo.v1")
	run("True", "workbook", "validate", wb)
	run("add", "workflow", "create", wf)
	run("tripleo.demo.v1.greet", "workflow", "list")
	run("a, b=2", "workflow", "show", "add")
	run("std.noop", "workflow", "definition", "show", "add")
	run("True", "workflow", "validate", wf)
	id := run("", "workflow", "execution", "create", "add", input, "-d", "sum", "-c", "ID", "-f", "value")
	b.ended("member", id)
	run("SUCCESS", "workflow", "execution", "show", id)
	run(`"sum": 42`, "workflow", "execution", "output", "show", id)
	run(`"a": 40`, "workflow", "execution", "input", "show", id)
	run(id, "workflow", "execution", "list")
	task := run("", "task", "execution", "list", id, "-c", "ID", "-f", "value")
	run("SUCCESS", "task", "execution", "show", task)
	run("null", "task", "execution", "result", "show", task)
	run("{}", "task", "execution", "published", "show", task)
	run("my.echo", "action", "definition", "create", act)
	run("heat.stacks_get", "action", "definition", "list")
	run("output, delay=0", "action", "definition", "show", "std.echo")
	run("std.echo", "action", "definition", "definition", "show", "my.echo")
	run(`"result":7`, "action", "execution", "run", "my.echo", `{"x": 7}`)
	saved := run("", "action", "execution", "run", "-s", "std.async_noop", "-c", "ID", "-f", "value")
	run("SUCCESS", "action", "execution", "update", saved, "--state", "SUCCESS", "--output", `{"r": 1}`)
	run(`"r": 1`, "action", "execution", "output", "show", saved)
	run(saved, "action", "execution", "list")
	run("envy", "workflow", "env", "create", env)
	run("envy", "workflow", "env", "list")
	run(`"k": "v"`, "workflow", "env", "show", "envy")
	run("envy", "workflow", "env", "update", env)
	run("", "workflow", "env", "delete", "envy")
	run("nightly", "cron", "trigger", "create", "nightly", "add", `{"a": 1}`, "--pattern", "0 3 * * *")
	run("nightly", "cron", "trigger", "list")
	run("0 3 * * *", "cron", "trigger", "show", "nightly")
	run("", "cron", "trigger", "delete", "nightly")
	run("engine_group", "workflow", "engine", "service", "list")
	run("", "workflow", "execution", "delete", id)
	run("", "workflow", "delete", "add")
	run("", "workbook", "delete", "tripleo.demo.v1")
	run("", "action", "definition", "delete", "my.echo")
}
