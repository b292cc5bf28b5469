package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigDownload: the undercloud gets into the nodes by a key that is there for the deployment only, and runs the plan's playbook.
// The programs that would reach nodes are stand-ins, which write down how they are called.
func TestConfigDownload(t *testing.T) {
	commandRig(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	write(t, ".", map[string]string{
		"key":                       "a key\n",
		"tht/plan-environment.yaml": "template: overcloud.yaml\nenvironments: []\n",
		"tht/roles_data.yaml":       "- name: Controller\n",
		"tht/overcloud.yaml": "heat_template_version: queens\nresources: {Thing: {type: OS::Heat::Value, properties: {value: 1}}}\noutputs:\n" +
			"  RoleData: {value: {Controller: {config_settings: {a: 1}}}}\n  RoleConfig: {value: {deploy_steps_playbook: [{hosts: overcloud}]}}\n" +
			"  RoleNetHostnameMap: {value: {Controller: {ctlplane: [c-0.ctlplane.localdomain]}}}\n  RoleNetIpMap: {value: {Controller: {ctlplane: [192.0.2.9]}}}\n",
		"bin/ssh":              "#!/bin/sh\n{ echo ssh \"$@\"; cat; echo; } >>" + dir + "/calls\n",
		"bin/ansible-playbook": "#!/bin/sh\necho ansible-playbook \"$@\" >>" + dir + "/calls\necho PLAY RECAP\n",
	})
	for _, p := range []string{"ssh", "ansible-playbook"} {
		if err := os.Chmod(filepath.Join(bin, p), 0o700); err != nil { //nolint:gosec // they are run
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	deploy := []string{"overcloud", "deploy", "--templates", "tht", "--disable-validations", "-t", "5", "--config-download"}
	mustRun(t, []string{"Overcloud deployed.", "Ansible passed."}, append(deploy, "--overcloud-ssh-user", "me", "--overcloud-ssh-key", "key")...)
	text, err := readFile("calls")
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Split(strings.TrimSpace(text), "\n")
	added, removed := -1, -1
	var plays []int
	mark := ""
	for i, c := range calls {
		switch {
		case strings.Contains(c, "-l me -- 192.0.2.9") && strings.Contains(c, "cat >>~/.ssh/authorized_keys"):
			added = i
			words := strings.Fields(calls[i+1])
			if len(words) != 3 || words[0] != "ssh-ed25519" || !strings.HasPrefix(words[2], "tripleo-temporary-") {
				t.Errorf("the key %q", calls[i+1])
				continue
			}
			mark = words[2]
		case strings.Contains(c, "sed -i '/"+mark+"/d'") && mark != "":
			removed = i
		case strings.HasPrefix(c, "ansible-playbook "):
			plays = append(plays, i)
		}
	}
	if added != 0 || len(plays) != 2 || plays[0] < added || removed < plays[1] {
		t.Errorf("added %d, played %v, removed %d:\n%s", added, plays, removed, text)
	}
	if !strings.Contains(calls[plays[0]], "--user=me") || !strings.HasSuffix(calls[plays[1]], "deploy_steps_playbook.yaml") || strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("calls:\n%s", text)
	}
	// Without nodes there is nothing to get into.
	write(t, ".", map[string]string{"tht/overcloud.yaml": "heat_template_version: queens\nresources: {Thing: {type: OS::Heat::Value, properties: {value: 1}}}\n"})
	if out, err := tripleo(t, deploy...); err == nil || !strings.Contains(err.Error(), "no nodes in its output RoleNetIpMap") {
		t.Errorf("%v\n%s", err, out)
	}
}
