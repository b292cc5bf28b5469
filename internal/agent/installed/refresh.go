package installed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/apply"
	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/heatconfig"
	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/agent/installed/oac"
)

// phaseDir holds an operator's own scripts, one folder a phase, run in the order of their names.
const phaseDir = "/usr/libexec/os-refresh-config"

// refresh is one run of os-refresh-config's phases. A failing script ends it, after those in error.d.
func (a *agent) refresh(ctx context.Context) error {
	merged := a.merged()
	if err := a.putConfigFiles(merged); err != nil {
		return err
	}
	phases := []struct {
		name string
		own  func(context.Context, map[string]any) error
	}{
		{"pre-configure", nil},
		{"configure", a.configure},
		{"post-configure", nil},
		{"migration", nil},
	}
	for _, p := range phases {
		var err error
		if p.name == "configure" { // before the scripts, as the first of them did in TripleO's images
			err = a.templates(ctx, merged)
		}
		if err == nil {
			err = a.runParts(ctx, p.name+".d")
		}
		if err == nil && p.own != nil {
			err = p.own(ctx, merged)
		}
		if err != nil {
			if ctx.Err() == nil {
				if errParts := a.runParts(ctx, "error.d"); errParts != nil {
					err = errors.Join(err, errParts)
				}
			}
			return fmt.Errorf("phase %s: %w", p.name, err)
		}
	}
	return nil
}

// configFiles hold what templates and scripts see: the metadata, and the configs of deployments of group
// os-apply-config, which lie over it.
func configFiles() []string {
	return []string{path.Join(StateDir, "metadata.json"), path.Join(StateDir, "deployments.json")}
}

func (a *agent) putConfigFiles(merged map[string]any) error {
	files := configFiles()
	for i, m := range []map[string]any{merged, deployedConfig(merged)} {
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := a.host.PutState(files[i], data); err != nil {
			return err
		}
	}
	list, err := json.Marshal(files)
	if err != nil {
		return err
	}
	return a.host.PutState(oac.FilesList, list)
}

// deployedConfig is what the deployments of group os-apply-config and of none say, merged in their order. They are
// configuration of the host; os-collect-config made a file of each.
func deployedConfig(merged map[string]any) map[string]any {
	list, err := heatconfig.Parse(merged)
	if err != nil {
		return map[string]any{} // said when the deployments are to be run
	}
	var configs []map[string]any
	for _, d := range list {
		if d.Group != "os-apply-config" && d.Group != "Heat::Ungrouped" {
			continue
		}
		if m, err := d.ConfigMap(); err == nil {
			configs = append(configs, m)
		}
	}
	return collect.Merge(configs...)
}

// templates renders the operator's templates.
func (a *agent) templates(ctx context.Context, merged map[string]any) error {
	changes, err := oac.Applier{Host: a.host}.Apply(ctx, collect.Merge(merged, deployedConfig(merged)), false)
	for _, c := range changes {
		a.log.Info("applied", "change", c)
	}
	return err
}

func (a *agent) configure(ctx context.Context, merged map[string]any) error {
	changes, err := a.applier.Apply(ctx, settings(merged))
	for _, c := range changes {
		a.log.Info("applied", "change", c)
	}
	if err != nil {
		a.log.Error("host settings not applied", "error", err)
	}
	list, err := heatconfig.Parse(merged)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(list))
	for _, d := range list {
		listed[d.ID] = true
	}
	if err := (hooks.Containers{Host: a.host}).Prune(ctx, listed); err != nil {
		a.log.Error("containers of deployments that are gone not removed", "error", err)
	}
	return a.runner.Apply(ctx, list)
}

// legacyHiera tells whether the metadata has hieradata in the way that os-apply-config served.
func (a *agent) legacyHiera() bool {
	return collect.Lookup(a.merged(), "hiera", "datafiles") != nil
}

// settings are the top-level keys that say how the host itself has to be.
func settings(merged map[string]any) map[string]any {
	out := map[string]any{}
	for _, k := range []string{apply.KeyHostname, apply.KeyHosts, apply.KeyNetwork} {
		if v, ok := merged[k]; ok {
			out[k] = v
		}
	}
	return out
}

// applyHook is the hook of the groups apply-config, os-apply-config and Heat::Ungrouped: the config's keys are settings of
// the host.
func (a *agent) applyHook(ctx context.Context, d hooks.Deployment, log io.Writer) (hooks.Result, error) {
	cfg, err := d.ConfigMap()
	if err != nil {
		return hooks.Failed("deployment %s: %v", d.Name, err), nil
	}
	changes, err := a.applier.Apply(ctx, cfg)
	if err == nil {
		merged := a.merged()
		var rendered []string
		rendered, err = oac.Applier{Host: a.host}.Apply(ctx, collect.Merge(merged, deployedConfig(merged)), false)
		changes = append(changes, rendered...)
	}
	text := strings.Join(append(changes, ""), "\n")
	_, _ = io.WriteString(log, text)
	if ctx.Err() != nil {
		return hooks.Result{}, ctx.Err()
	}
	if err != nil {
		r := hooks.Failed("deployment %s: %v", d.Name, err)
		r.Stdout = text
		return r, nil
	}
	return hooks.Result{Stdout: text}, nil
}

// publicKeys are the keys Nova put into the instance's metadata, in the order of their names.
func publicKeys(meta map[string]any) []string {
	m, _ := collect.Lookup(meta, "public_keys").(map[string]any)
	var out []string
	for _, v := range m {
		if s, ok := v.(string); ok && strings.TrimSpace(s) != "" && !strings.Contains(strings.TrimSpace(s), "\n") {
			out = append(out, strings.TrimSpace(s))
		}
	}
	slices.Sort(out)
	return out
}

// sshUser is the account Nova's key pair opens, TripleO's heat-admin where the image has it.
const sshUser = "heat-admin"

// authorize lets the keys in, keeping those that are there.
func (a *agent) authorize(keys []string) error {
	user, err := a.host.Account(sshUser)
	if errors.Is(err, host.ErrNoAccount) || errors.Is(err, fs.ErrNotExist) {
		user, err = a.host.Account("root")
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, host.ErrNoAccount) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := path.Join(user.Home, ".ssh")
	if _, err := a.host.PutDir(dir, 0o700, user.Name, ""); err != nil {
		return err
	}
	file := path.Join(dir, "authorized_keys")
	old, err := a.host.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := strings.TrimRight(string(old), "\n")
	for _, k := range keys {
		if !strings.Contains(text, k) {
			text += "\n" + k
		}
	}
	_, err = a.host.Put(host.FileSpec{Path: file, Data: []byte(strings.TrimLeft(text, "\n") + "\n"), Mode: 0o600, Owner: user.Name})
	return err
}
