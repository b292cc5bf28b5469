package hooks

import (
	"context"
	"encoding/json"
	"io"
	"path"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const ansibleDir = "/var/lib/heat-config/heat-config-ansible"

// Ansible runs config as a playbook on this node. Inputs are variables with their types, beside heat_config_id and
// heat_outputs_path; outputs are files {{heat_outputs_path}}.<name>. Options: tags, skip_tags, modulepath,
// callback_plugins, inventory (a file in the hook's folder; without one there is localhost alone), timeout.
type Ansible struct{ Host *host.Host }

// Run implements Hook.
func (a Ansible) Run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	if strings.TrimSpace(d.ConfigText()) == "" {
		return Failed("the playbook is empty"), nil
	}
	id := SafeName(d.ID)
	playbook, vars := path.Join(ansibleDir, id+"_playbook.yaml"), path.Join(ansibleDir, id+"_variables.json")
	outputs := path.Join(runDir, "heat-config-ansible", id)
	for _, dir := range []string{ansibleDir, path.Dir(outputs)} {
		if _, err := a.Host.PutDir(dir, 0o700, "", ""); err != nil {
			return Result{}, err
		}
	}
	text, err := a.variables(d, a.Host.Path(outputs))
	if err != nil {
		return Failed("inputs of deployment %s: %v", d.Name, err), nil
	}
	for name, data := range map[string][]byte{playbook: []byte(d.ConfigText()), vars: text} {
		if _, err := a.Host.Put(host.FileSpec{Path: name, Data: data, Mode: 0o600}); err != nil {
			return Result{}, err
		}
	}
	inventory := "localhost,"
	if name := d.option("inventory"); name != "" {
		inventory = a.Host.Path(path.Join(ansibleDir, path.Join("/", name))) // as heat-agents: below its folder
	}
	args := []string{"ansible-playbook", "-i", inventory}
	for _, o := range [][2]string{{"modulepath", "--module-path"}, {"skip_tags", "--skip-tags"}, {"tags", "--tags"}} {
		if v := d.option(o[0]); v != "" {
			args = append(args, o[1], v)
		}
	}
	cmd := host.Command{Args: append(args, a.Host.Path(playbook), "--extra-vars", "@"+a.Host.Path(vars)), Dir: a.Host.Path(ansibleDir)}
	if v := d.option("callback_plugins"); v != "" {
		cmd.Env = append(cmd.Env, "ANSIBLE_CALLBACK_PLUGINS="+v)
	}
	return program{what: "playbook", cmd: cmd, outputs: outputFiles{a.Host, outputs, d.Outputs}}.run(ctx, d, log)
}

func (a Ansible) variables(d Deployment, outputs string) ([]byte, error) {
	vars := map[string]any{"heat_config_id": d.ID, "heat_outputs_path": outputs}
	for _, in := range d.Inputs {
		vars[in.Name] = in.Value
		if len(in.Value) == 0 {
			vars[in.Name] = json.RawMessage(`""`)
		}
	}
	return marshal(vars)
}
