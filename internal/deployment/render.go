package deployment

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
)

// maxRender bounds the text of one rendered template.
const maxRender = 32 << 20

// planData is what templates of a plan are rendered over.
type planData struct {
	roles, networks []any // of *yaml11.OrderedMap with a name
	excludes        map[string]bool
	compatInternal  bool // the live stack still has the old name of network InternalApi
}

// renderPlan renders the Jinja templates among names. read returns a file of the plan; each rendered file goes to write.
// The rules of which file is rendered how are those of tripleo-common's templates.process.
func renderPlan(ctx context.Context, names []string, data planData, read func(string) ([]byte, error), write func(name string, text []byte) error) error {
	networks, enabled := normalNetworks(data.networks, data.compatInternal)
	p := &planRenderer{ctx: ctx, read: read, write: write, data: data, networks: networks}
	slices.Sort(names)
	for _, f := range names {
		var err error
		switch {
		case strings.HasSuffix(f, ".role.j2.yaml"):
			err = p.perRole(f)
		case strings.HasSuffix(f, ".network.j2.yaml"):
			err = p.perNetwork(f, enabled)
		case strings.HasSuffix(f, ".j2.yaml"):
			err = p.once(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// normalNetworks fills in name_lower and compat_name; the second result holds the enabled ones only.
func normalNetworks(in []any, compatInternal bool) (all, enabled []any) {
	for _, n := range in {
		m, ok := n.(*yaml11.OrderedMap)
		if !ok {
			continue
		}
		m = m.Clone()
		if text(m, "name_lower") == "" {
			m.Set("name_lower", strings.ToLower(text(m, "name")))
		}
		if compatInternal && text(m, "name") == "InternalApi" && text(m, "compat_name") == "" {
			m.Set("compat_name", "Internal")
		}
		all = append(all, m)
		if v, ok := m.Get("enabled"); !ok || truthy(v) {
			enabled = append(enabled, m)
		}
	}
	return all, enabled
}

type planRenderer struct {
	ctx      context.Context
	read     func(string) ([]byte, error)
	write    func(string, []byte) error
	data     planData
	networks []any
}

func (p *planRenderer) perRole(f string) error {
	src, err := p.read(f)
	if err != nil {
		return err
	}
	for _, role := range p.data.roles {
		name := text(role, "name")
		lower := strings.ToLower(name)
		out := path.Join(path.Dir(f), lower+"-"+strings.TrimSuffix(path.Base(f), ".role.j2.yaml")+".yaml")
		if strings.Contains(f, "network/config") {
			file := text(role, "deprecated_nic_config_name")
			if file == "" {
				file = lower + ".yaml"
			}
			out = path.Join(path.Dir(f), file)
		}
		if p.data.excludes[out] {
			continue
		}
		vars := map[string]any{"role": role, "networks": p.networks}
		if !strings.Contains(string(src), "{{role.name}}") { // templates from before composable roles
			vars = map[string]any{"role": name, "networks": p.networks, "disable_constraints": truthy(dig(role, "disable_constraints"))}
		}
		if err := p.render(f, src, out, vars); err != nil {
			return err
		}
	}
	return nil
}

func (p *planRenderer) perNetwork(f string, enabled []any) error {
	src, err := p.read(f)
	if err != nil {
		return err
	}
	dir, base := path.Dir(f), strings.TrimSuffix(path.Base(f), ".network.j2.yaml")
	for _, n := range enabled {
		word := "network"
		if path.Base(dir) == "ports" {
			word = "port"
		}
		out := path.Join(dir, strings.Replace(base, word, text(n, "name_lower"), 1)+".yaml")
		if p.data.excludes[out] {
			continue
		}
		if err := p.render(f, src, out, map[string]any{"network": n}); err != nil {
			return err
		}
	}
	return nil
}

func (p *planRenderer) once(f string) error {
	src, err := p.read(f)
	if err != nil {
		return err
	}
	return p.render(f, src, strings.TrimSuffix(f, ".j2.yaml")+".yaml", map[string]any{"roles": p.data.roles, "networks": p.networks})
}

func (p *planRenderer) render(f string, src []byte, out string, vars map[string]any) error {
	env := jinja.New(jinja.Options{Loader: p.loader(path.Dir(out)), MaxOutput: maxRender})
	tmpl, err := env.Parse(f, string(src))
	if err != nil {
		return fmt.Errorf("Error rendering template %s : %w", f, err) //nolint:staticcheck // the text clients know
	}
	for k, v := range vars {
		vars[k] = toJinja(v)
	}
	textOut, err := tmpl.Render(p.ctx, vars)
	if err != nil {
		return fmt.Errorf("Error rendering template %s : %w", f, err) //nolint:staticcheck // the text clients know
	}
	return p.write(out, []byte(textOut))
}

// loader finds included templates relative to the directory of the output, then from the top of the plan.
func (p *planRenderer) loader(dir string) jinja.Loader {
	return jinja.LoaderFunc(func(_ context.Context, name string) (string, error) {
		for _, candidate := range []string{path.Join(dir, name), path.Clean(name)} {
			data, err := p.read(candidate)
			if err == nil {
				return string(data), nil
			}
			if !errors.Is(err, errNoFile) && !isStatus(err, 404) {
				return "", err
			}
		}
		return "", jinja.ErrNotFound
	})
}

var errNoFile = errors.New("no such file in the plan")

// toJinja turns ordered YAML data into template values. Each rendering gets its own copy, which it may change.
func toJinja(v any) any {
	switch x := v.(type) {
	case *yaml11.OrderedMap:
		d := jinja.NewDict()
		for k, e := range x.All() {
			_ = d.Set(k, toJinja(e)) // a string is hashable
		}
		return d
	case []any:
		l := jinja.NewList()
		for _, e := range x {
			l.Items = append(l.Items, toJinja(e))
		}
		return l
	case int64:
		return int(x)
	}
	return v
}
