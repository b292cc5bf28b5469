package hooks

import (
	"context"
	"encoding/json"
	"io"
	"path"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	puppetDir     = "/var/lib/heat-config/heat-config-puppet"
	hieraDataDir  = "/etc/puppet/hieradata"
	hieraFile     = "/etc/puppet/hiera.yaml"
	puppetLogDir  = "/var/log/puppet"
	puppetChanged = 2 // of --detailed-exitcodes: all went well and something changed; 4 and 6 are failures
)

// Puppet applies config as a manifest. Inputs are facts (option enable_facter, on unless said otherwise) and, with option
// enable_hiera, data of the deployment's own level of hiera. Further options: modulepath, tags, noop, enable_debug,
// enable_verbose, timeout. Outputs are files `$::heat_outputs_path.<name>`.
type Puppet struct{ Host *host.Host }

// Run implements Hook.
func (p Puppet) Run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	id := SafeName(d.ID)
	file, outputs := path.Join(puppetDir, id+".pp"), path.Join(runDir, "heat-config-puppet", id)
	for _, dir := range []string{puppetDir, path.Dir(outputs)} {
		if _, err := p.Host.PutDir(dir, 0o700, "", ""); err != nil {
			return Result{}, err
		}
	}
	if _, err := p.Host.Put(host.FileSpec{Path: file, Data: []byte(d.ConfigText()), Mode: 0o600}); err != nil {
		return Result{}, err
	}
	env := []string{"FACTER_heat_outputs_path=" + p.Host.Path(outputs)}
	if res, err := p.Host.Run.Run(ctx, host.Command{Args: []string{"hostname", "-f"}}); err == nil && res.Code == 0 {
		if name := strings.TrimSpace(string(res.Stdout)); name != "" {
			env = append(env, "FACTER_fqdn="+name)
		}
	}
	useHiera := d.flag("enable_hiera", d.flag("use_hiera", false))
	if d.flag("enable_facter", d.flag("use_facter", true)) {
		env = append(env, facts(d.Inputs)...)
	}
	if useHiera {
		env = append(env, "FACTER_deploy_config_name="+d.Name)
		if err := p.hieraInputs(d); err != nil {
			return Failed("%v", err), nil
		}
	}
	args := []string{"puppet", "apply", "--color", "false", "--detailed-exitcodes", "--logdest", "console"}
	if v := d.option("modulepath"); v != "" {
		args = append(args, "--modulepath", v)
	}
	if v := d.option("tags"); v != "" {
		args = append(args, "--tags", v)
	}
	if d.flag("noop", false) {
		args = append(args, "--noop")
	}
	for _, level := range []string{"debug", "verbose"} {
		if d.flag("enable_"+level, false) {
			args = append(args, "--"+level, "--logdest", p.Host.Path(path.Join(puppetLogDir, "heat-"+level+".log")))
			if _, err := p.Host.PutDir(puppetLogDir, 0o750, "", ""); err != nil {
				return Result{}, err
			}
		}
	}
	return program{
		what: "manifest", outputs: outputFiles{p.Host, outputs, d.Outputs},
		cmd: host.Command{Args: append(args, p.Host.Path(file)), Env: env, Dir: p.Host.Path(puppetDir)},
		ok:  func(code int) bool { return code == puppetChanged },
	}.run(ctx, d, log)
}

// facts are the inputs as Facter takes them from the environment.
func facts(inputs []Input) []string {
	var env []string
	for _, in := range inputs {
		if in.Name == "" || strings.ContainsAny(in.Name, "=\x00") {
			continue
		}
		env = append(env, "FACTER_"+in.Name+"="+strings.ReplaceAll(Text(in.Value), "\x00", ""))
	}
	return env
}

// hieraInputs writes the inputs to the level heat_config_%{::deploy_config_name}.
func (p Puppet) hieraInputs(d Deployment) error {
	data := map[string]json.RawMessage{}
	for _, in := range d.Inputs {
		data[in.Name] = in.Value
		if len(in.Value) == 0 {
			data[in.Name] = json.RawMessage(`""`)
		}
	}
	return putHieraData(p.Host, "heat_config_"+d.Name, data)
}
