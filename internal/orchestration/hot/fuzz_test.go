package hot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// everything computes all there is in a template.
func everything(tm *hot.Template) []error {
	params, err := tm.Values(nil, nil, true, true)
	if err != nil {
		return []error{err}
	}
	ev := hot.NewEvaluator(tm, &scope{params: params, attrs: yaml11.NewMap(), yaql: hot.NewYaql()})
	var errs []error
	for _, o := range tm.Outputs {
		_, err := ev.OutputEnabled(o)
		_, err2 := ev.Value(o.Value)
		errs = append(errs, err, err2)
	}
	for _, r := range tm.Resources {
		_, err := ev.Enabled(r)
		_, err2 := ev.Dependencies(r)
		_, err3 := ev.Value(r.Properties)
		errs = append(errs, err, err2, err3)
	}
	return errs
}

// placed fails unless every fault says where it is.
func placed(t *testing.T, err error) {
	t.Helper()
	for _, e := range hot.List(err) {
		if e.Pos == "" || e.Msg == "" {
			t.Errorf("a fault without place or message: %#v", e)
		}
	}
}

func seeds(f *testing.F, archive string, wanted func(string) bool) {
	f.Helper()
	names, _ := filepath.Glob(archive)
	for _, n := range names {
		ar, err := txtar.ParseFile(n)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			if wanted(string(file.Data)) {
				f.Add(string(file.Data))
			}
		}
	}
}

// FuzzParse reads templates: no text panics, every fault has a place, evaluation ends.
func FuzzParse(f *testing.F) {
	isHOT := func(s string) bool { return strings.Contains(s, "heat_template_version") }
	seeds(f, "testdata/*.txtar", isHOT)
	seeds(f, "testdata/oracle/templates.txtar", isHOT)
	f.Fuzz(func(t *testing.T, text string) {
		tm, _, err := hot.Parse("f", []byte(text))
		placed(t, err)
		if err == nil {
			for _, err := range everything(tm) {
				placed(t, err)
			}
		}
	})
}

// FuzzCloudFormation is FuzzParse for the other dialect.
func FuzzCloudFormation(f *testing.F) {
	seeds(f, "testdata/oracle/templates.txtar", func(s string) bool { return strings.Contains(s, "FormatVersion") })
	f.Add(`{"AWSTemplateFormatVersion": "2010-09-09", "Parameters": {"P": {"Type": "Number", "MinValue": 1, "Default": 2}}, "Mappings": {"M": {"a": {"b": 1}}},
 "Conditions": {"C": {"Fn::Equals": [{"Ref": "P"}, 2]}}, "Outputs": {"O": {"Condition": "C", "Value": {"Fn::If": ["C", {"Fn::FindInMap": ["M", "a", "b"]}, {"Fn::Select": ["0", ["x"]]}]}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.Contains(text, "FormatVersion") {
			text = "AWSTemplateFormatVersion: '2010-09-09'\n" + text
		}
		tm, _, err := hot.Parse("f", []byte(text))
		placed(t, err)
		if err == nil {
			for _, err := range everything(tm) {
				placed(t, err)
			}
		}
	})
}

// FuzzFunctions evaluates an expression in the frame of the oracle, in every version.
func FuzzFunctions(f *testing.F) {
	ft, err := os.ReadFile("testdata/oracle/frame.yaml")
	if err != nil {
		f.Fatal(err)
	}
	n, _, err := yaml11.Parse("frame.yaml", ft, yaml11.Limits{})
	if err != nil {
		f.Fatal(err)
	}
	fr := frame{n.Value().(*hot.Map)}
	rows, err := os.ReadFile("testdata/oracle/functions.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(rows)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '@' {
			f.Add(strings.TrimPrefix(line, "? "), uint8(len(line)), line[0] == '?')
		}
	}
	versions := append(hot.VersionNames(), "cfn", "heat-cfn")
	yaql := hot.NewYaql()
	f.Fuzz(func(t *testing.T, text string, version uint8, condition bool) {
		n, _, err := yaml11.Parse("row", []byte(text), yaml11.Limits{MaxNodes: 10_000})
		v := versions[int(version)%len(versions)]
		if err != nil || condition && (v == "heat-cfn" || v < "2016-10") {
			return
		}
		got, err := fr.eval(v, n.Value(), condition, yaql)
		placed(t, err)
		if err == nil {
			hot.PyJSON(got, true) // what is computed can be written
		}
	})
}

// FuzzEnvironment reads environments alone and merged with another.
func FuzzEnvironment(f *testing.F) {
	seeds(f, "testdata/*.txtar", func(s string) bool {
		return strings.Contains(s, "parameter_defaults") || strings.Contains(s, "resource_registry")
	})
	f.Add("parameter_merge_strategies: {default: deep_merge}\nparameter_defaults: {a: {b: [1]}, c: x}\n")
	f.Add("resource_registry: {resources: {a*: {hooks: pre-create, b: {X: y.yaml}}}, 'A::*': 'B::*'}\nevent_sinks: [{type: zaqar-queue, target: q}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		env, _, err := hot.ParseEnvironment("f", []byte(text))
		placed(t, err)
		_, err = hot.MergeFiles([]string{"a", "b"}, map[string]string{"a": "parameter_defaults: {a: {b: [2]}, c: y}\n", "b": text}, nil)
		placed(t, err)
		if env == nil {
			return
		}
		for _, typ := range []string{"A::B", "OS::Nova::Server"} {
			_, used, _ := env.Registry.Resolve(typ, "a1")
			child := env.Child(yaml11.NewMap(), "a1", used)
			_, _, _ = child.Registry.Resolve(typ, "b")
		}
		if again, err := hot.EnvironmentFromValue("again", env.Value()); err != nil {
			t.Errorf("what is shown cannot be read: %v", err)
		} else if a, b := hot.PyJSON(again.Value(), true), hot.PyJSON(env.Value(), true); a != b {
			t.Errorf("shown and read again it is\n%s\nno longer\n%s", a, b)
		}
	})
}

// TestBounds gives the language texts that ask for more than they may.
func TestBounds(t *testing.T) {
	bomb := "x0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
	for i := 1; i < 9; i++ {
		prev := string(rune('0' + i - 1))
		bomb += "x" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+",", 10), ",") + "]\n"
	}
	head := "heat_template_version: wallaby\n"
	big := strings.Repeat("x", 1<<20)
	for _, tc := range []struct{ reason, text, want string }{
		{"aliases of aliases", head + "outputs:\n  " + strings.ReplaceAll(strings.TrimSuffix(bomb, "\n"), "\n", "\n  "), "expanding aliases"},
		{"nesting", head + "outputs: {o: {value: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}}", "deep"},
		{"a text that is too long", head + "description: " + strings.Repeat(big, 9), "larger than the limit"},
		{"replacement that grows", head + "outputs: {o: {value: {str_replace: {template: '" + strings.Repeat("a", 1<<15) + "', params: {a: '" + strings.Repeat("b", 1<<15) + "'}}}}}", "larger than"},
		{"combinations", head + "outputs: {o: {value: {repeat: {template: 'abcd', for_each: {a: &l [" + strings.Repeat("1,", 99) + "1], b: *l, c: *l, d: *l}}}}}", "more than"},
		{"a query that does not end", head + "outputs: {o: {value: {yaql: {expression: 'sequence().where(false).first()', data: 1}}}}", "yaql"},
		{"a pattern that backtracks", head + "parameters: {p: {type: string, default: '" + strings.Repeat("a", 40) + "!', constraints: [{allowed_pattern: '(?=a)(a+)+$'}]}}", "cannot be compared"},
	} {
		tm, _, err := hot.Parse("t", []byte(tc.text))
		if err == nil {
			err = errors.Join(everything(tm)...)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			msg := "no fault"
			if err != nil {
				msg = err.Error()
			}
			t.Errorf("%s: %.300s", tc.reason, msg)
		}
	}
}
