package hot_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// answer is what Heat said, see testdata/oracle/record.py.
type answer struct {
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
	Text  string          `json:"text"`
}

func readJSON[T any](t *testing.T, name string) map[string]T {
	t.Helper()
	b, err := os.ReadFile("testdata/oracle/" + name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]T{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(name, err)
	}
	return out
}

// deviations are rows where we answer otherwise than Heat on purpose: row -> our answer, with the reason
// in a comment line above.
func deviations(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/oracle/deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		row, ours, ok := strings.Cut(line, " => ")
		if !ok {
			t.Fatalf("deviations.txt: %q has no =>", line)
		}
		out[row] = ours
	}
	return out
}

func loadYAML(t *testing.T, file, text string) *yaml11.Node {
	t.Helper()
	n, _, err := yaml11.Parse(file, []byte(text), yaml11.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// frame is the world around an expression of functions.txt.
type frame struct{ parts *hot.Map }

func (f frame) section(name string) *hot.Map {
	v, _ := f.parts.Get(name)
	return v.(*hot.Map)
}

// template puts an expression into the frame, as output "it" or as condition "it".
func (f frame) template(version string, expr any, condition bool) *hot.Map {
	kind, outputs, value, conds := "hot", "outputs", "value", "conditions"
	m := yaml11.NewMap()
	switch version {
	case "cfn":
		m.Set("AWSTemplateFormatVersion", "2010-09-09")
		kind, outputs, value, conds = "cfn", "Outputs", "Value", "Conditions"
	case "heat-cfn":
		m.Set("HeatTemplateFormatVersion", "2012-12-12")
		kind, outputs, value, conds = "cfn", "Outputs", "Value", "Conditions"
	default:
		m.Set("heat_template_version", version)
	}
	old := slices.Contains([]string{"2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08", "heat-cfn"}, version)
	for k, v := range f.section(kind).All() {
		if k != conds || !old {
			m.Set(k, v)
		}
	}
	if condition {
		c, _ := m.Get(conds)
		cm := c.(*hot.Map).Clone()
		cm.Set("it", expr)
		m.Set(conds, cm)
		m.Set(outputs, yaml11.MapOf("it", yaml11.MapOf(value, "x", map[bool]string{true: "Condition", false: "condition"}[kind == "cfn"], "it")))
		return m
	}
	m.Set(outputs, yaml11.MapOf("it", yaml11.MapOf(value, expr)))
	return m
}

// frameScope answers for the stack of the frame.
type frameScope struct {
	params map[string]any
	attrs  *hot.Map
	files  *hot.Map
	yaql   *hot.Yaql
}

func (s *frameScope) Param(n string) (any, bool) {
	switch n {
	case "OS::stack_name":
		return "the-stack", true
	case "OS::stack_id":
		return "11111111-2222-3333-4444-555555555555", true
	case "OS::project_id":
		return "the-project", true
	}
	v, ok := s.params[n]
	return v, ok
}
func (s *frameScope) Resource(n string) (any, error) { return "id-of-" + n, nil }
func (s *frameScope) Attr(r, a string, path []any) (any, error) {
	m, _ := s.attrs.Get(r)
	if a == "" {
		all := m.(*hot.Map).Clone()
		all.Delete("show")
		return all, nil
	}
	if _, ok := m.(*hot.Map).Get(a); !ok && a != "show" {
		return nil, fmt.Errorf("no attribute %s", a)
	}
	return hot.Dig(m, append([]any{a}, path...)), nil
}
func (s *frameScope) File(n string) (string, bool) {
	v, ok := s.files.Get(n)
	f, _ := v.(string)
	return f, ok
}
func (s *frameScope) Facade(string) (any, error) {
	return nil, fmt.Errorf("resource_facade is of use in nested stacks only")
}
func (s *frameScope) Yaql(x string, d any, budget *hot.YaqlBudget) (any, error) {
	return s.yaql.Eval(context.Background(), x, d, budget)
}

func (f frame) eval(version string, expr any, condition bool, yaql *hot.Yaql) (any, error) {
	tm, err := hot.ParseValue("t", f.template(version, expr, condition))
	if err != nil {
		return nil, err
	}
	params, err := tm.Values(nil, nil, false, false)
	if err != nil {
		return nil, err
	}
	ev := hot.NewEvaluator(tm, &frameScope{params: params, attrs: f.section("attributes"), files: f.section("files"), yaql: yaql})
	for _, o := range tm.Outputs {
		if o.Name == "it" {
			if condition {
				return ev.OutputEnabled(o)
			}
			return ev.Value(o.Value)
		}
	}
	return nil, fmt.Errorf("no output")
}

// TestFunctionsAsHeat compares every row of functions.txt with what Heat answered.
func TestFunctionsAsHeat(t *testing.T) {
	want, dev := readJSON[answer](t, "functions.json"), deviations(t)
	ft, err := os.ReadFile("testdata/oracle/frame.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := frame{loadYAML(t, "frame.yaml", string(ft)).Value().(*hot.Map)}
	rows, err := os.Open("testdata/oracle/functions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	yaql, version, count := hot.NewYaql(), "", 0
	for sc := bufio.NewScanner(rows); sc.Scan(); {
		line := sc.Text()
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		if v, ok := strings.CutPrefix(line, "@ "); ok {
			version = v
			continue
		}
		count++
		key := version + " " + line
		a, ok := want[key]
		if !ok {
			t.Errorf("no answer for %q: run record.py", key)
			continue
		}
		text, condition := strings.CutPrefix(line, "? ")
		got, err := f.eval(version, loadYAML(t, "row", text).Value(), condition, yaql)
		gotText, heat := "error", "error"
		if err == nil {
			gotText = hot.PyJSON(got, true)
		}
		if a.Error == "" {
			heat = hot.PyJSON(loadJSON(t, a.Value), true)
		}
		if ours, ok := dev[key]; ok {
			if ours == heat {
				t.Errorf("deviations.txt: %s is what Heat says, drop it", key)
			}
			heat = ours
		}
		if gotText != heat {
			t.Errorf("%s\n  got  %s %v\n  heat %s %s", key, gotText, err, heat, a.Text)
		}
		if err != nil && (hot.List(err)[0].Pos == "" || hot.List(err)[0].Path == "") {
			t.Errorf("%s: the error names no place: %v", key, err)
		}
	}
	if count < 700 {
		t.Errorf("only %d rows", count)
	}
}

// TestParametersAsHeat compares every row of params.txt with what Heat answered.
func TestParametersAsHeat(t *testing.T) {
	dev := deviations(t)
	for key, a := range readJSON[answer](t, "params.json") {
		version, row, _ := strings.Cut(key, " ")
		decl, value, given := strings.Cut(row, " <- ")
		m := yaml11.NewMap()
		if version == "cfn" {
			m.Set("AWSTemplateFormatVersion", "2010-09-09")
			m.Set("Parameters", yaml11.MapOf("p", loadYAML(t, "decl", decl).Value()))
		} else {
			m.Set("heat_template_version", version)
			m.Set("parameters", yaml11.MapOf("p", loadYAML(t, "decl", decl).Value()))
		}
		got, heat := "error", "error"
		tm, err := hot.ParseValue("t", m)
		if err == nil {
			params := yaml11.NewMap()
			if given {
				params.Set("p", loadYAML(t, "value", value).Value())
			}
			var vals map[string]any
			if vals, err = tm.Values(params, nil, false, false); err == nil {
				got = hot.PyJSON(vals["p"], true)
			}
		}
		if a.Error == "" {
			heat = hot.PyJSON(loadJSON(t, a.Value), true)
		}
		if ours, ok := dev[key]; ok {
			if ours == heat {
				t.Errorf("deviations.txt: %s is what Heat says, drop it", key)
			}
			heat = ours
		}
		if got != heat {
			t.Errorf("%s\n  got  %s %v\n  heat %s %s", key, got, err, heat, a.Text)
		}
	}
}

// TestTemplatesAsHeat compares every template of templates.txtar: whether it is accepted, and what
// parameters, resources and outputs it has.
func TestTemplatesAsHeat(t *testing.T) {
	type reply struct {
		Error      string          `json:"error"`
		Text       string          `json:"text"`
		Parameters json.RawMessage `json:"parameters"`
		Outputs    json.RawMessage `json:"outputs"`
		Resources  []any           `json:"resources"`
	}
	ar, err := txtar.ParseFile("testdata/oracle/templates.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want, dev := readJSON[reply](t, "templates.json"), deviations(t)
	for _, f := range ar.Files {
		t.Run(f.Name, func(t *testing.T) {
			heat, ok := want[f.Name]
			if !ok {
				t.Fatal("no answer: run record.py")
			}
			expected := "error"
			if heat.Error == "" {
				expected = hot.PyJSON([]any{loadJSON(t, heat.Parameters), yaml11.Normalize(heat.Resources), loadJSON(t, heat.Outputs)}, true)
			}
			if ours, ok := dev["template "+f.Name]; ok {
				if ours == expected {
					t.Errorf("deviations.txt: drop %s", f.Name)
				}
				expected = ours
			}
			got, err := wholeTemplate(t, string(f.Data))
			if err != nil {
				got = "error"
			}
			if got != expected {
				t.Errorf("got  %s %v\nheat %s %s", got, err, expected, heat.Text)
			}
		})
	}
}

// wholeTemplate evaluates everything in a template, as far as that is possible without resources.
func wholeTemplate(t *testing.T, text string) (string, error) {
	t.Helper()
	env := hot.NewEnvironment()
	if first, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "#env ") {
		var err error
		if env, _, err = hot.ParseEnvironment("env", []byte(first[5:])); err != nil {
			return "", err
		}
	}
	tm, _, err := hot.Parse("t", []byte(text))
	if err != nil {
		return "", err
	}
	params, err := tm.Values(env.Parameters, env.Defaults, false, false)
	if err != nil {
		return "", err
	}
	enabled := []any{}
	scope := &wholeScope{frameScope: frameScope{params: params, attrs: yaml11.NewMap(), files: yaml11.NewMap(), yaql: hot.NewYaql()}}
	ev := hot.NewEvaluator(tm, scope)
	for _, r := range tm.Resources {
		on, err := ev.Enabled(r)
		if err != nil {
			return "", err
		}
		if !on {
			continue
		}
		enabled = append(enabled, r.Name)
		if r.Type == "OS::Nope::Nope" {
			return "", fmt.Errorf("no such type")
		}
		if _, err := ev.Dependencies(r); err != nil {
			return "", err
		}
		for _, e := range []*hot.Expr{r.Properties, r.Metadata, r.UpdatePolicy, r.ExternalID} {
			if _, err := ev.Value(e); err != nil {
				return "", err
			}
		}
		p, err := ev.Value(r.DeletionPolicy)
		if err == nil {
			_, err = hot.Policy(p)
		}
		if err != nil {
			return "", err
		}
	}
	slices.SortFunc(enabled, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	outputs, values := yaml11.NewMap(), yaml11.NewMap()
	for _, o := range tm.Outputs {
		on, err := ev.OutputEnabled(o)
		if err != nil {
			return "", err
		}
		var v any
		if on {
			if v, err = ev.Value(o.Value); err != nil {
				return "", err
			}
		}
		outputs.Set(o.Name, v)
	}
	for _, p := range tm.Parameters {
		values.Set(p.Name, params[p.Name])
	}
	return hot.PyJSON([]any{values, enabled, outputs}, true), nil
}

// wholeScope has resources of type OS::Heat::Value that do not exist yet.
type wholeScope struct{ frameScope }

func (*wholeScope) Resource(string) (any, error) { return nil, nil }
func (*wholeScope) Attr(_, a string, _ []any) (any, error) {
	if a != "value" {
		return nil, fmt.Errorf("no attribute %s", a)
	}
	return nil, nil
}

// TestEnvironmentsAsHeat compares every case of environments.txtar with what Heat answered.
func TestEnvironmentsAsHeat(t *testing.T) {
	type reply struct {
		Error      string          `json:"error"`
		Text       string          `json:"text"`
		Parameters json.RawMessage `json:"parameters"`
		Defaults   json.RawMessage `json:"parameter_defaults"`
		Sinks      json.RawMessage `json:"event_sinks"`
		Resolve    []any           `json:"resolve"`
	}
	ar, err := txtar.ParseFile("testdata/oracle/environments.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want, dev := readJSON[reply](t, "environments.json"), deviations(t)
	for _, f := range ar.Files {
		t.Run(f.Name, func(t *testing.T) {
			heat, ok := want[f.Name]
			if !ok {
				t.Fatal("no answer: run record.py")
			}
			expected := "error"
			if heat.Error == "" {
				expected = hot.PyJSON([]any{loadJSON(t, heat.Parameters), loadJSON(t, heat.Defaults), loadJSON(t, heat.Sinks), sortedLists(heat.Resolve)}, true)
			}
			if ours, ok := dev["environment "+f.Name]; ok {
				expected = ours
			}
			if got, err := environmentCase(t, loadYAML(t, f.Name, string(f.Data)).Value().(*hot.Map)); got != expected {
				t.Errorf("got  %s %v\nheat %s %s", got, err, expected, heat.Text)
			}
		})
	}
}

// sortedLists sorts the lists in a list (hooks and restrictions are sets).
func sortedLists(l []any) any {
	out := make([]any, len(l))
	for i, v := range l {
		if sub, ok := v.([]any); ok {
			slices.SortFunc(sub, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		out[i] = v
	}
	return yaml11.Normalize(out)
}

func environmentCase(t *testing.T, c *hot.Map) (string, error) {
	t.Helper()
	get := func(key string) []any { v, _ := c.Get(key); l, _ := v.([]any); return l }
	files, names := map[string]string{}, []string{}
	for i, f := range get("files") {
		name := fmt.Sprint(i)
		names = append(names, name)
		if files[name], _ = f.(string); files[name] == "" {
			files[name] = hot.PyJSON(f, false)
		}
	}
	schema, _ := c.Get("schema")
	template := yaml11.MapOf("heat_template_version", "queens", "parameters", schema)
	env, err := hot.MergeFiles(names, files, func() map[string]string { return hot.ParameterTypes(template, files) })
	if err != nil {
		return "error", err
	}
	resolved := []any{}
	for _, r := range get("resolve") {
		pair := r.([]any)
		target, _, err := env.Registry.Resolve(pair[0].(string), pair[1].(string))
		known := slices.Contains([]string{"OS::Heat::None", "OS::Heat::Value", "OS::Heat::RandomString", "OS::Neutron::Port"}, target)
		if err != nil || !known && !hot.IsTemplate(target) {
			target = "error"
		}
		resolved = append(resolved, target)
	}
	for _, r := range get("hooks") {
		hooks := []any{}
		for _, h := range env.Registry.Hooks(r.(string)) {
			hooks = append(hooks, h)
		}
		resolved = append(resolved, hooks)
	}
	for _, r := range get("restricted") {
		actions := []any{}
		for _, a := range env.Registry.Restricted(r.(string)) {
			actions = append(actions, a)
		}
		resolved = append(resolved, actions)
	}
	v := env.Value()
	p, _ := v.Get("parameters")
	d, _ := v.Get("parameter_defaults")
	s, _ := v.Get("event_sinks")
	return hot.PyJSON([]any{p, d, s, sortedLists(resolved)}, true), nil
}

func loadJSON(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	v, err := yaml11.DecodeJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVersionsAsHeat compares the function lists of every version.
func TestVersionsAsHeat(t *testing.T) {
	type lists struct{ Functions, Conditions []string }
	var names []string
	for name, want := range readJSON[lists](t, "versions.json") {
		names = append(names, name)
		all := slices.Concat(want.Functions, want.Conditions)
		slices.Sort(all)
		if diff := cmp.Diff(want.Functions, hot.FunctionNames(name, false)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(slices.Compact(slices.Clone(all)), hot.FunctionNames(name, true)); diff != "" {
			t.Errorf("%s with conditions: %s", name, diff)
		}
		for _, f := range all {
			if hot.FunctionDoc(f) == "" {
				t.Errorf("%s has no description", f)
			}
		}
	}
	var ours []string
	for _, v := range hot.Versions() {
		ours = append(ours, v.Name)
		ours = append(ours, v.Aliases...)
	}
	slices.Sort(names)
	slices.Sort(ours)
	if diff := cmp.Diff(names, ours); diff != "" {
		t.Error(diff)
	}
}
