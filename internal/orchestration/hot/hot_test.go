package hot_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scope answers from the files of a golden test: attrs.yaml is {resource: {attribute: value}}.
type scope struct {
	params map[string]any
	attrs  *hot.Map
	files  map[string]string
	yaql   *hot.Yaql
}

func (s *scope) Param(n string) (any, bool) {
	if n == "OS::stack_name" {
		return "the-stack", true
	}
	v, ok := s.params[n]
	return v, ok
}
func (s *scope) Resource(n string) (any, error) { return "id-of-" + n, nil }
func (s *scope) Attr(r, a string, path []any) (any, error) {
	m, ok := s.attrs.Get(r)
	if !ok {
		return hot.Unknown{}, nil
	}
	return hot.Dig(m, append([]any{a}, path...)), nil
}
func (s *scope) File(n string) (string, bool) { f, ok := s.files[n]; return f, ok }
func (s *scope) Facade(k string) (any, error) { return "facade " + k, nil }
func (s *scope) Yaql(x string, d any, budget *hot.YaqlBudget) (any, error) {
	return s.yaql.Eval(context.Background(), x, d, budget)
}

// evaluate gives the outputs of a golden test, or its errors.
func evaluate(ar *txtar.Archive) (string, error) {
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	t, _, err := hot.Parse("template.yaml", []byte(files["template.yaml"]))
	if err != nil {
		return "", err
	}
	var names []string
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "env") {
			names = append(names, f.Name)
		}
	}
	env, err := hot.MergeFiles(names, files, func() map[string]string { return hot.ParameterTypes(files["template.yaml"], nil) })
	if err != nil {
		return "", err
	}
	s := &scope{files: files, attrs: yaml11.NewMap(), yaql: hot.NewYaql()}
	if text, ok := files["attrs.yaml"]; ok {
		n, _, err := yaml11.Parse("attrs.yaml", []byte(text), yaml11.Limits{})
		if err != nil {
			return "", err
		}
		s.attrs = n.Value().(*hot.Map)
	}
	if s.params, err = t.Values(env.Parameters, env.Defaults, false, false); err != nil {
		return "", err
	}
	ev := hot.NewEvaluator(t, s)
	out := yaml11.NewMap()
	var errs hot.Errors
	for _, r := range t.Resources {
		on, err := ev.Enabled(r)
		if err != nil {
			errs = append(errs, hot.List(err)...)
			continue
		}
		if !on {
			out.Set("resource "+r.Name, "disabled")
			continue
		}
		u, err := ev.Dependencies(r)
		if err != nil {
			errs = append(errs, hot.List(err)...)
			continue
		}
		for _, d := range slices.Sorted(maps.Keys(u.Resources)) {
			out.Set("dependency "+r.Name+" "+d, true)
		}
		target, _, err := env.Registry.Resolve(r.Type, r.Name)
		if err != nil {
			errs = append(errs, hot.List(err)...)
		}
		if target != r.Type {
			out.Set("type "+r.Name, target)
		}
		if r.Properties == nil {
			continue
		}
		v, err := ev.Value(r.Properties)
		errs = append(errs, hot.List(err)...)
		out.Set(r.Name, v)
	}
	for _, o := range t.Outputs {
		if on, err := ev.OutputEnabled(o); err != nil || !on {
			errs = append(errs, hot.List(err)...)
			continue
		}
		v, err := ev.Value(o.Value)
		errs = append(errs, hot.List(err)...)
		if hot.HasUnknown(v) {
			v = "(unknown)"
		}
		out.Set(o.Name, v)
	}
	if len(errs) > 0 {
		return "", errs
	}
	b, err := yaml11.Marshal(out)
	return string(b), err
}

func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := evaluate(ar)
			if err != nil {
				got = "error\n" + hot.List(err).Error() + "\n"
			}
			last := len(ar.Files) - 1
			if last < 0 || ar.Files[last].Name != "want" {
				ar.Files = append(ar.Files, txtar.File{Name: "want"})
				last++
			}
			if *update {
				ar.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(ar.Files[last].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{"2013-05-23": true, "queens": true, "2018-03-02": true, "wallaby": true, "2099-01-01": false, "austin": false} {
		_, _, err := hot.Parse("t", []byte("heat_template_version: "+version+"\n"))
		if (err == nil) != want {
			t.Errorf("%s: %v", version, err)
		}
	}
	if _, _, err := hot.Parse("t", []byte("heat_template_version: 2013-05-23\nconditions: {a: true}\n")); err == nil {
		t.Error("conditions exist only since newton")
	}
	// An older version has no such function, so the map is data.
	tm, _, err := hot.Parse("t", []byte("heat_template_version: 2013-05-23\noutputs: {o: {value: {yaql: {expression: 1}}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := hot.NewEvaluator(tm, &scope{}).Value(tm.Outputs[0].Value); err != nil || hot.PyJSON(v, false) != `{"yaql": {"expression": 1}}` {
		t.Errorf("%v %v", v, err)
	}
}

func TestRegistry(t *testing.T) {
	env, _, err := hot.ParseEnvironment("e", []byte(`
resource_registry:
  OS::A: OS::B
  OS::B: b.yaml
  OS::Neutron::*: OS::None
  OS::Wild::*: OS::Other::*
  OS::Loop1: OS::Loop2
  OS::Loop2: OS::Loop1
  My::Deploy: deploy.yaml
  resources:
    "contr*":
      OS::A: c.yaml
      hooks: pre-create
      restricted_actions: [replace]
      "0": {OS::A: deep.yaml}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ reason, typ, resource, want string }{
		{"aliases are followed to the template", "OS::A", "x", "b.yaml"},
		{"a resource's own mapping wins", "OS::A", "controller", "c.yaml"},
		{"a trailing wildcard", "OS::Neutron::Port", "x", "OS::None"},
		{"a wildcard on both sides keeps the rest", "OS::Wild::Thing", "x", "OS::Other::Thing"},
		{"a circle ends", "OS::Loop1", "x", "OS::Loop1"},
		{"no mapping", "OS::Heat::Value", "x", "OS::Heat::Value"},
	} {
		got, _, err := env.Registry.Resolve(tc.typ, tc.resource)
		if err != nil || got != tc.want {
			t.Errorf("%s: %s %v", tc.reason, got, err)
		}
	}
	if h := env.Registry.Hooks("controller"); fmt.Sprint(h) != "[pre-create]" {
		t.Errorf("hooks %v", h)
	}
	if d := env.Registry.Restricted("controller"); fmt.Sprint(d) != "[replace]" {
		t.Errorf("restricted %v", d)
	}
	_, used, _ := env.Registry.Resolve("My::Deploy", "x")
	child := env.Child(yaml11.NewMap(), "controller", used)
	if got, _, _ := child.Registry.Resolve("My::Deploy", "x"); got != "My::Deploy" {
		t.Errorf("the mapping that led to a nested template must be gone in it, got %s", got)
	}
	if got, _, _ := child.Registry.Resolve("OS::A", "0"); got != "deep.yaml" {
		t.Errorf("patterns of nested resources move up, got %s", got)
	}
}

func TestFnmatch(t *testing.T) {
	for _, tc := range []struct {
		reason, pattern, text string
		want                  bool
	}{
		{"nothing is matched by nothing", "", "", true},
		{"a star matches nothing", "*", "", true},
		{"a star matches all", "*", "a/b", true},
		{"the last star takes more", "a*b*c", "aXbXbXc", true},
		{"and no more than there is", "a*b*c", "aXbXbX", false},
		{"one character", "a?c", "abc", true},
		{"one, not none", "a?", "a", false},
		{"a set", "[abc]x", "bx", true},
		{"a range", "n-[0-9]", "n-5", true},
		{"not in a set", "[!a]", "b", true},
		{"not in a set, negative", "[!a]", "a", false},
		{"a bracket in a set", "[]]", "]", true},
		{"a bracket in a set that is not", "[!]]", "x", true},
		{"a bracket that opens no set", "[a", "[a", true},
		{"case counts", "A*", "abc", false},
		{"many stars end", strings.Repeat("*a", 60) + "b", strings.Repeat("a", 200), false},
	} {
		if got := hot.Fnmatch(tc.pattern, tc.text); got != tc.want {
			t.Errorf("%s: %q %q: %v", tc.reason, tc.pattern, tc.text, got)
		}
	}
}
