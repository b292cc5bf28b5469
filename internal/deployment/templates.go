package deployment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// processed is what Heat is given for a plan.
type processed struct {
	stackName string
	template  string
	// templateFile is the name of template in the plan; our Heat shows it in messages.
	templateFile string
	environment  *yaml11.OrderedMap
	files        *yaml11.OrderedMap
}

func (p *processed) value() *yaml11.OrderedMap {
	return yaml11.MapOf("stack_name", p.stackName, "template", p.template, "environment", p.environment, "files", p.files)
}

// planReader reads files of a plan, each once.
type planReader struct {
	r         *run
	container string
	mu        sync.Mutex
	cache     map[string][]byte
}

func (r *run) planReader(container string) *planReader {
	return &planReader{r: r, container: container, cache: map[string][]byte{}}
}

func (p *planReader) read(name string) ([]byte, error) {
	p.mu.Lock()
	data, ok := p.cache[name]
	p.mu.Unlock()
	if ok {
		return data, nil
	}
	data, err := p.r.getObject(p.container, name)
	if err != nil {
		return nil, err
	}
	p.set(name, data)
	return data, nil
}

func (p *planReader) set(name string, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cache[name] = data
}

// templatesProcess renders a plan's templates and puts together the template, the environment and the files that
// Heat needs: inputs container; result {stack_name, template, environment, files}.
func templatesProcess(r *run, in input) (any, error) {
	p, err := r.process(in.str("container"))
	if err != nil {
		return nil, err
	}
	return p.value(), nil
}

func (r *run) process(container string) (*processed, error) {
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	reader := r.planReader(container)
	if err := r.renderInto(container, reader); err != nil {
		return nil, err
	}
	c, err := r.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	col := newCollector(objectURL(c, container, "")+"/", reader.read)
	p, err := processPlan(container, env, col)
	return p, r.origins(container).explained(err)
}

// renderInto renders the Jinja templates of the plan and puts the results back into it.
func (r *run) renderInto(container string, reader *planReader) error {
	roles, ok, err := r.readListFile(container, rolesFile)
	if err != nil || !ok {
		return err // a plan without roles has no templates to render
	}
	networks, _, err := r.readListFile(container, networksFile)
	if err != nil {
		return err
	}
	data := planData{roles: roles, networks: networks, excludes: map[string]bool{}}
	if raw, err := r.getObject(container, excludesFile); err == nil {
		m, err := parseMap(container+"/"+excludesFile, raw)
		if err != nil {
			return err
		}
		list, _ := dig(m, "name").([]any)
		for _, n := range list {
			if s, ok := n.(string); ok {
				data.excludes[s] = true
			}
		}
	} else if !isStatus(err, 404) {
		return err
	}
	if data.compatInternal, err = r.hasOldInternalNetwork(container); err != nil {
		return err
	}
	names, err := r.listObjects(container)
	if err != nil {
		return err
	}
	return renderPlan(r.ctx, names, data, reader.read, func(name string, text []byte) error {
		reader.set(name, text)
		return r.putObject(container, name, text)
	})
}

// hasOldInternalNetwork tells whether the live stack was made when network InternalApi's resource was InternalNetwork.
func (r *run) hasOldInternalNetwork(stack string) (bool, error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return false, err
	}
	var out any
	_, err = r.request(c, "GET", c.ServiceURL("stacks", stack, "resources")+"?nested_depth=2&name=InternalNetwork", nil, &out)
	if isStatus(err, 404) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	list, _ := dig(out, "resources").([]any)
	for _, res := range list {
		if text(res, "parent_resource") == "Networks" && text(res, "resource_name") == "InternalNetwork" {
			return true, nil
		}
	}
	return false, nil
}

// processPlan merges the environments of a plan and collects its files; pure but for reading through col.
func processPlan(container string, planEnv *yaml11.OrderedMap, col *collector) (*processed, error) {
	top := text(planEnv, "template")
	if top == "" {
		top = "overcloud.yaml"
	}
	tmpl, err := col.template(top)
	if err != nil {
		return nil, fmt.Errorf("Error processing template %s: %w", top, err) //nolint:staticcheck // the text clients know
	}
	merged := yaml11.NewMap()
	list, _ := dig(planEnv, "environments").([]any)
	for i, e := range list {
		env, err := planEnvironment(col, i, e)
		if err != nil {
			return nil, err
		}
		deepMerge(merged, env)
	}
	last := yaml11.NewMap()
	params := yaml11.NewMap()
	for _, key := range []string{"passwords", "derived_parameters"} {
		if m, ok := dig(planEnv, key).(*yaml11.OrderedMap); ok {
			shallowUpdate(params, m)
		}
	}
	if m, ok := dig(planEnv, "parameter_defaults").(*yaml11.OrderedMap); ok {
		deepMerge(params, m)
	}
	last.Set("parameter_defaults", params)
	if m, ok := dig(planEnv, "resource_registry").(*yaml11.OrderedMap); ok {
		last.Set("resource_registry", m)
		if err := col.environment(planEnvFile, last); err != nil {
			return nil, err
		}
	}
	deepMerge(merged, last)
	return &processed{stackName: container, template: tmpl, templateFile: top, environment: merged, files: col.files}, nil
}

// planEnvironment reads one entry of the plan's environments: {path} or {data}.
func planEnvironment(col *collector, i int, e any) (*yaml11.OrderedMap, error) {
	if d, ok := dig(e, "data").(*yaml11.OrderedMap); ok {
		d = filledSections(d)
		return d, col.environment(planEnvFile, d)
	}
	name := text(e, "path")
	if name == "" {
		return nil, fmt.Errorf("%s: environments entry %d has neither path nor data", planEnvFile, i)
	}
	data, err := col.read(name)
	if isStatus(err, 404) || errors.Is(err, errNoFile) {
		return nil, fmt.Errorf("%s: environments: the plan has no file %s", planEnvFile, name)
	}
	if err != nil {
		return nil, err
	}
	env, err := parseMap(name, data)
	if err != nil {
		return nil, err
	}
	if env.Len() > 0 {
		for k := range env.All() {
			switch k {
			case "parameter_defaults", "parameters", "resource_registry", "parameter_merge_strategies", "event_sinks", "encrypted_param_names", "description":
			default:
				return nil, fmt.Errorf("%s: environment has wrong section %q", name, k)
			}
		}
	}
	env = filledSections(env)
	env.Delete("description")
	return env, col.environment(name, env)
}

// filledSections returns an environment without its empty sections ("resource_registry:" and nothing): they change
// nothing of those before.
func filledSections(env *yaml11.OrderedMap) *yaml11.OrderedMap {
	out := yaml11.NewMap()
	for k, v := range env.All() {
		if v != nil {
			out.Set(k, v)
		}
	}
	return out
}

// stockTemplates is where the original keeps its default plan; ours is built in.
const stockTemplates = "/usr/share/openstack-tripleo-heat-templates"

// templatesUpload puts a directory of templates into a plan: the built-in default plan, or with templates_path a folder
// that an action such as tripleo.git.clone made.
func templatesUpload(r *run, in input) (any, error) {
	if path := strings.TrimSuffix(in.str("templates_path"), "/"); path != "" && path != stockTemplates {
		data, err := r.localTemplates(path)
		if err != nil {
			return nil, err
		}
		return nil, r.extract(in.str("container"), data)
	}
	if r.cfg.Templates == nil {
		return nil, errors.New("this undercloud has no default templates; upload a plan of your own")
	}
	data, err := tarTree(r.cfg.Templates)
	if err != nil {
		return nil, err
	}
	return nil, r.extract(in.str("container"), data)
}

// localTemplates packs a folder of this host that an action made.
func (r *run) localTemplates(path string) ([]byte, error) {
	if err := r.onlyAdmin("Templates from a folder"); err != nil {
		return nil, err
	}
	dir, err := r.inside(path)
	if err != nil {
		return nil, err
	}
	return tarDir(dir)
}

// extract unpacks a tar.gz into a container with Swift's bulk upload.
func (r *run) extract(container string, tarball []byte) error {
	answer, _, err := r.swift("PUT", container, "", "extract-archive=tar.gz", tarball,
		map[string]string{"X-Detect-Content-Type": "true", "Accept": "application/json"}, 200, 201)
	if err != nil {
		return fmt.Errorf("upload to container %s: %w", container, err)
	}
	if len(answer) == 0 {
		return nil
	}
	v, err := yaml11.DecodeJSON(answer)
	if err != nil {
		return nil //nolint:nilerr // a foreign Swift may answer in plain text; the status said that it worked
	}
	if errs, _ := dig(v, "Errors").([]any); len(errs) > 0 {
		return fmt.Errorf("upload to container %s: %v", container, errs[0])
	}
	if st := text(v, "Response Status"); st != "" && !strings.HasPrefix(st, "20") {
		return fmt.Errorf("upload to container %s: %s %s", container, st, text(v, "Response Body"))
	}
	return nil
}

// skipTemplate tells what never goes into a plan.
func skipTemplate(name string) bool {
	base := path.Base(name)
	return base == ".git" || base == ".tox" || strings.HasSuffix(base, ".pyc") || strings.HasSuffix(base, ".pyo")
}

// tarTree packs a tree of templates.
func tarTree(tree fs.FS) ([]byte, error) {
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case skipTemplate(name) && d.IsDir():
			return fs.SkipDir
		case d.IsDir() || skipTemplate(name) || strings.HasSuffix(name, ".go"):
			return nil
		}
		if info, err := fs.Stat(tree, name); err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nowhere or out of the tree is left out
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tarFiles(names, func(name string) ([]byte, error) { return fs.ReadFile(tree, name) })
}

// tarFiles packs files, in the given order, as tar.gz.
func tarFiles(names []string, read func(string) ([]byte, error)) ([]byte, error) {
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	for _, name := range names {
		data, err := read(name)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err := gz.Close()
	return buf.Bytes(), err
}
