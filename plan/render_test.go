package plan_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
	"github.com/tripleo/tripleo/plan"
)

// variant is a choice of roles and networks.
type variant struct {
	roles, networks []any
}

func stock(t *testing.T) variant {
	return variant{roles: yamlList(t, "roles_data.yaml"), networks: yamlList(t, "network_data.yaml")}
}

// deployed are the roles of machines that somebody else installed.
func deployed(t *testing.T) variant {
	return variant{roles: yamlList(t, "deployed-server/deployed-server-roles-data.yaml"), networks: yamlList(t, "network_data.yaml")}
}

func yamlList(t *testing.T, name string) []any {
	t.Helper()
	data, err := fs.ReadFile(plan.FS(), name)
	if err != nil {
		t.Fatal(err)
	}
	return parseList(t, name, string(data))
}

func parseList(t *testing.T, name, text string) []any {
	t.Helper()
	n, _, err := yaml11.Parse(name, []byte(text), yaml11.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	list, ok := n.Value().([]any)
	if !ok {
		t.Fatalf("%s is no list", name)
	}
	return list
}

func field(v any, key string) any {
	m, ok := v.(*yaml11.OrderedMap)
	if !ok {
		return nil
	}
	x, _ := m.Get(key)
	return x
}

func str(v any, key string) string { s, _ := field(v, key).(string); return s }

// render gives the plan's files after Jinja, by the rules of templates.process (docs of internal/deployment).
func render(t *testing.T, v variant) map[string]string {
	t.Helper()
	out := map[string]string{}
	tree := plan.FS()
	for _, n := range v.networks {
		if m, ok := n.(*yaml11.OrderedMap); ok && str(m, "name_lower") == "" {
			m.Set("name_lower", strings.ToLower(str(m, "name")))
		}
	}
	one := func(src, dst string, vars map[string]any) {
		data, err := fs.ReadFile(tree, src)
		if err != nil {
			t.Fatal(err)
		}
		env := jinja.New(jinja.Options{Loader: jinja.LoaderFunc(func(_ context.Context, name string) (string, error) {
			for _, p := range []string{path.Join(path.Dir(dst), name), name} {
				if data, err := fs.ReadFile(tree, p); err == nil {
					return string(data), nil
				}
			}
			return "", jinja.ErrNotFound
		})})
		tmpl, err := env.Parse(src, string(data))
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		for k, x := range vars {
			vars[k] = toJinja(x)
		}
		text, err := tmpl.Render(t.Context(), vars)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if _, twice := out[dst]; twice {
			t.Errorf("%s is made twice, the second time from %s", dst, src)
		}
		out[dst] = text
	}
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		dir, base := path.Dir(p), path.Base(p)
		switch {
		case strings.HasSuffix(p, ".role.j2.yaml"):
			for _, r := range v.roles {
				name := strings.ToLower(str(r, "name")) + "-" + strings.TrimSuffix(base, ".role.j2.yaml") + ".yaml"
				if strings.Contains(p, "network/config") {
					if name = str(r, "deprecated_nic_config_name"); name == "" {
						name = strings.ToLower(str(r, "name")) + ".yaml"
					}
				}
				one(p, path.Join(dir, name), map[string]any{"role": r, "networks": v.networks})
			}
		case strings.HasSuffix(p, ".network.j2.yaml"):
			word := "network"
			if path.Base(dir) == "ports" {
				word = "port"
			}
			for _, n := range v.networks {
				name := strings.Replace(strings.TrimSuffix(base, ".network.j2.yaml"), word, str(n, "name_lower"), 1) + ".yaml"
				one(p, path.Join(dir, name), map[string]any{"network": n})
			}
		case strings.HasSuffix(p, ".j2.yaml"):
			one(p, strings.TrimSuffix(p, ".j2.yaml")+".yaml", map[string]any{"roles": v.roles, "networks": v.networks})
		case strings.HasSuffix(p, ".yaml"):
			data, err := fs.ReadFile(tree, p)
			out[p] = string(data)
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.SkipAll) {
		t.Fatal(err)
	}
	return out
}

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
