package deployment

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/workflow/actions"
)

// TestAnsibleForgetsSecrets: neither the key nor the variables of a run stay, and its script does not name them.
func TestAnsibleForgetsSecrets(t *testing.T) {
	a := &ansibleRun{in: input{mustMap(t, "{ssh_private_key: s3cr3t, extra_vars: {password: s3cr3t}, remote_user: me}")}, dir: t.TempDir()}
	if err := a.common(); err != nil {
		t.Fatal(err)
	}
	if line := strings.Join(a.args, " "); !strings.Contains(line, "--private-key "+a.dir+"/ssh_private_key --extra-vars @"+a.dir+"/extra_vars.json") {
		t.Errorf("arguments %s", line)
	}
	if err := a.reproduce("ansible-playbook"); err != nil {
		t.Fatal(err)
	}
	a.forget()
	files, err := os.ReadDir(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(a.dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "s3cr3t") {
			t.Errorf("%s has a secret", f.Name())
		}
		if strings.HasSuffix(f.Name(), "-command.sh") {
			script = string(data)
		}
	}
	if !strings.Contains(script, "--user=me") || strings.Contains(script, "private") || strings.Contains(script, "extra") {
		t.Errorf("the script: %s", script)
	}
}

// TestAnsibleMessages: output is posted in messages of a bounded size, whole lines and whole characters, at once when there is much, else
// after a while.
func TestAnsibleMessages(t *testing.T) {
	at := time.Unix(0, 0)
	var got []string
	write := inPieces(8, func() time.Time { return at }, func(p []byte) { got = append(got, string(p)) })
	for _, p := range []string{"ab\n", "cd\nefghijklmnop", "ää", "ä"} {
		write([]byte(p))
	}
	if diff := cmp.Diff([]string{"ab\ncd\n", "efghijkl", "mnopää"}, got); diff != "" {
		t.Errorf("at once: %s", diff)
	}
	at = at.Add(progressEvery)
	write([]byte("!"))
	write([]byte("end"))
	write(nil)
	if diff := cmp.Diff([]string{"ab\ncd\n", "efghijkl", "mnopää", "ä!", "end"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestAnsibleSettings: what the inputs of a run say is in its configuration and environment.
func TestAnsibleSettings(t *testing.T) {
	collections := t.TempDir()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("ANSIBLE_COLLECTIONS_PATH", collections)
	a := &ansibleRun{r: &run{ac: &actions.Context{Log: slog.New(slog.DiscardHandler)}}, dir: t.TempDir(),
		in: input{mustMap(t, "{profile_tasks: true, profile_tasks_limit: 7, extra_env_variables: {ANSIBLE_LOG_PATH: /var/log/mistral/x.log, MINE: /var/log/mistral/y}}")}}
	config := func() string {
		t.Helper()
		if err := a.config(); err != nil {
			t.Fatal(err)
		}
		defer a.forget()
		data, err := os.ReadFile(filepath.Join(a.dir, "ansible.cfg"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if c := config(); strings.Contains(c, "callbacks_enabled") || !strings.Contains(c, "control_path_dir = "+os.TempDir()+"/tripleo-ssh-") {
		t.Errorf("without the collection:\n%s", c)
	}
	plugin := filepath.Join(collections, "ansible_collections/ansible/posix/plugins/callback/profile_tasks.py")
	if err := os.MkdirAll(filepath.Dir(plugin), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plugin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := config(); !strings.Contains(c, "callbacks_enabled = ansible.posix.profile_tasks\n") {
		t.Errorf("with the collection:\n%s", c)
	}
	if _, err := os.Stat(a.sockets); err == nil {
		t.Error("the folder of sockets is left")
	}
	env := a.env()
	for want, there := range map[string]bool{"PROFILE_TASKS_TASK_OUTPUT_LIMIT=7": true, "MINE=/var/log/mistral/y": true, "ANSIBLE_LOG_PATH=/var/log/mistral/x.log": false} {
		if slices.Contains(env, want) != there {
			t.Errorf("%s in the environment: %t\n%v", want, !there, env)
		}
	}
}
