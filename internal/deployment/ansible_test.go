package deployment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
