package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const userFiles = "user-files"

// localOrPlan reads a file of the operator, or one of the plan if there is no local file of that name.
func (f *deployFlags) localOrPlan(ctx context.Context, o *operator, name string) ([]byte, error) {
	data, err := os.ReadFile(name) //nolint:gosec // named by the operator
	if err == nil || !errors.Is(err, os.ErrNotExist) || filepath.IsAbs(name) {
		return data, err
	}
	data, perr := o.getObject(ctx, f.stack, path.Clean(filepath.ToSlash(name)))
	if hasStatus(perr, 404) {
		return nil, fmt.Errorf("%s is neither a local file nor one of the templates", name)
	}
	return data, perr
}

// environmentFiles are all -e in order: those of --environment-directory first, then --answers-file's, then -e.
func (f *deployFlags) environmentFiles() ([]string, error) {
	var out []string
	for _, dir := range f.envDirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return nil, err
		}
		sort.Strings(files)
		out = append(out, files...)
	}
	out = append(out, f.environments...)
	for _, e := range out {
		if strings.HasSuffix(e, ".j2.yaml") {
			return nil, fmt.Errorf("%s is a Jinja template: give its rendered name, %s.yaml", e, strings.TrimSuffix(e, ".j2.yaml"))
		}
	}
	return out, nil
}

// mergeEnvironments completes a new plan environment: what the old one knew (passwords, parameters set before), the
// parameters of flags, and the operator's environment files, which go into the plan with the files they refer to.
func (f *deployFlags) mergeEnvironments(ctx context.Context, o *operator, env, old *yaml11.OrderedMap) error {
	for _, key := range []string{"passwords", "derived_parameters"} {
		if v, ok := old.Get(key); ok {
			env.Set(key, v)
		}
	}
	params := yaml11.NewMap()
	for _, src := range []*yaml11.OrderedMap{env, old} {
		m, _ := lookup(src, "parameter_defaults").(*yaml11.OrderedMap)
		for k, v := range m.All() {
			params.Set(k, v)
		}
	}
	if len(f.parameters) > 0 {
		m := yaml11.NewMap()
		names := make([]string, 0, len(f.parameters))
		for k := range f.parameters {
			names = append(names, k)
		}
		sort.Strings(names)
		for _, k := range names {
			m.Set(k, f.parameters[k])
			params.Delete(k)
		}
		data, err := yaml11.Marshal(yaml11.MapOf("parameter_defaults", m))
		if err != nil {
			return err
		}
		if err := o.putObject(ctx, f.stack, "user-environments/tripleoclient-parameters.yaml", data); err != nil {
			return err
		}
		addEnvironment(env, "user-environments/tripleoclient-parameters.yaml")
	}
	if err := f.addFirst(ctx, o, env); err != nil {
		return err
	}
	files, err := f.environmentFiles()
	if err != nil {
		return err
	}
	r := &relocator{ctx: ctx, o: o, f: f, done: map[string]bool{}}
	for _, file := range files {
		name, content, err := r.environment(file)
		if err != nil {
			return err
		}
		addEnvironment(env, name)
		m, _ := lookup(content, "parameter_defaults").(*yaml11.OrderedMap)
		for k := range m.All() {
			params.Delete(k) // what is said now counts more than what was said before
		}
	}
	env.Set("parameter_defaults", params)
	return nil
}

// addEnvironment appends a file to the environments of a plan, moving it to the end if it is there already.
func addEnvironment(env *yaml11.OrderedMap, name string) {
	var kept []any
	for _, e := range items(lookup(env, "environments")) {
		if str(lookup(e, "path")) != name {
			kept = append(kept, e)
		}
	}
	env.Set("environments", append(kept, yaml11.MapOf("path", name)))
}

// relocator puts files of the operator into a plan, below user-files/ with their absolute path, so that references
// among them stay as they are.
type relocator struct {
	ctx  context.Context
	o    *operator
	f    *deployFlags
	done map[string]bool
}

// planPath is where a local file is in the plan, and whether it is there already as one of the templates.
func (r *relocator) planPath(abs string) (string, bool) {
	if r.f.templates != "" {
		if dir, err := filepath.Abs(r.f.templates); err == nil {
			if rel, err := filepath.Rel(dir, abs); err == nil && !strings.HasPrefix(rel, "..") {
				return filepath.ToSlash(rel), true
			}
		}
	}
	return userFiles + filepath.ToSlash(abs), false
}

// environment puts an environment file into the plan and returns its name there.
func (r *relocator) environment(file string) (string, *yaml11.OrderedMap, error) {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(file) {
		name := path.Clean(filepath.ToSlash(file))
		data, err := r.o.getObject(r.ctx, r.f.stack, name)
		if hasStatus(err, 404) {
			_, err = r.o.getObject(r.ctx, r.f.stack, strings.TrimSuffix(name, ".yaml")+".j2.yaml")
			if err == nil {
				return name, yaml11.NewMap(), nil // is made when the templates are rendered
			}
		}
		if hasStatus(err, 404) {
			return "", nil, fmt.Errorf("environment %s is neither a local file nor one of the templates", file)
		}
		if err != nil {
			return "", nil, err
		}
		m, err := parseMapping(file, data)
		return name, m, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", nil, err
	}
	data, err := os.ReadFile(abs) //nolint:gosec // named by the operator
	if err != nil {
		return "", nil, err
	}
	env, err := parseMapping(file, data)
	if err != nil {
		return "", nil, err
	}
	name, inPlan := r.planPath(abs)
	if inPlan {
		return name, env, nil
	}
	changed := false
	if reg, ok := lookup(env, "resource_registry").(*yaml11.OrderedMap); ok {
		if changed, err = r.registry(reg, filepath.Dir(abs), path.Dir(name), file); err != nil {
			return "", nil, err
		}
	}
	if changed { // a reference had to be turned: write the file anew
		if data, err = yaml11.Marshal(env); err != nil {
			return "", nil, err
		}
	}
	return name, env, r.o.putObject(r.ctx, r.f.stack, name, data)
}

// registry uploads what a resource registry maps to, and rewrites what does not resolve from the new place.
func (r *relocator) registry(reg *yaml11.OrderedMap, dir, planDir, file string) (bool, error) {
	changed := false
	if b := str(lookup(reg, "base_url")); b != "" {
		dir = filepath.Join(dir, strings.TrimPrefix(b, "file://"))
		if filepath.IsAbs(strings.TrimPrefix(b, "file://")) {
			dir = strings.TrimPrefix(b, "file://")
		}
		reg.Delete("base_url")
		changed = true
	}
	for _, k := range reg.Keys() {
		v, _ := reg.Get(k)
		if m, ok := v.(*yaml11.OrderedMap); ok {
			c, err := r.registry(m, dir, planDir, file)
			if err != nil {
				return false, err
			}
			changed = changed || c
			continue
		}
		ref, ok := v.(string)
		if !ok || ref == "" || strings.Contains(ref, "::") || k == "hooks" || k == "restricted_actions" {
			continue
		}
		to, err := r.reference(ref, dir, planDir)
		if err != nil {
			return false, fmt.Errorf("%s: resource_registry %s: %w", file, k, err)
		}
		if to != ref {
			reg.Set(k, to)
			changed = true
		}
	}
	return changed, nil
}

// reference uploads the local file that ref means and returns how the plan's file at planDir says it.
func (r *relocator) reference(ref, dir, planDir string) (string, error) {
	local := strings.TrimPrefix(ref, "file://")
	if strings.Contains(local, "://") {
		return "", fmt.Errorf("%s: only local files can be part of a plan", ref)
	}
	if !filepath.IsAbs(local) {
		local = filepath.Join(dir, local)
	}
	name, inPlan := r.planPath(local)
	if !inPlan {
		if _, err := os.Stat(local); errors.Is(err, os.ErrNotExist) {
			// Templates of the built-in plan are named by their path in it.
			if _, perr := r.o.getObject(r.ctx, r.f.stack, path.Clean(ref)); perr == nil {
				name, inPlan = path.Clean(ref), true
			}
		}
	}
	if !inPlan {
		if err := r.file(local); err != nil {
			return "", err
		}
	}
	rel, err := filepath.Rel("/"+planDir, "/"+name)
	return filepath.ToSlash(rel), err
}

// file uploads a file and, if it is a template, what it refers to.
func (r *relocator) file(abs string) error {
	if r.done[abs] {
		return nil
	}
	r.done[abs] = true
	data, err := os.ReadFile(abs) //nolint:gosec // referred to by the operator's files
	if err != nil {
		return err
	}
	name, inPlan := r.planPath(abs)
	if inPlan {
		return nil
	}
	if strings.Contains(string(data), "heat_template_version") {
		node, _, err := yaml11.Parse(abs, data, yaml11.Limits{})
		if err != nil {
			return err
		}
		for _, ref := range templateReferences(node) {
			to, err := r.reference(ref.text, filepath.Dir(abs), path.Dir(name))
			if err != nil {
				return fmt.Errorf("%s: %w", ref.pos, err)
			}
			if path.Clean(to) != path.Clean(ref.text) {
				return fmt.Errorf("%s: %s must be a path relative to this file, and not into the templates: say %s", ref.pos, ref.text, to)
			}
		}
	}
	return r.o.putObject(r.ctx, r.f.stack, name, data)
}

type templateReference struct{ text, pos string }

// templateReferences finds get_file and `type: x.yaml` anywhere in a template.
func templateReferences(root *yaml11.Node) []templateReference {
	var out []templateReference
	seen := map[*yaml11.Node]bool{}
	var walk func(n *yaml11.Node)
	walk = func(n *yaml11.Node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		for _, it := range n.Items {
			walk(it)
		}
		for _, p := range n.Pairs {
			s, isText := p.Value.Value().(string)
			if isText && (p.Key == "get_file" || p.Key == "type" && (strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".template"))) {
				out = append(out, templateReference{s, p.Value.Pos()})
				continue
			}
			walk(p.Value)
		}
	}
	walk(root)
	return out
}
