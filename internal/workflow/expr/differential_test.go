package expr

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

type recorded struct {
	Value any    `json:"value"`
	Error string `json:"error,omitempty"`
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// deviations are cases where we differ from the original on purpose.
func deviations() map[string]string {
	const (
		lines  = "the original sees no expression where a line ends inside of the tag and leaves the text; we evaluate it"
		layout = "the same YAML, but without the original's folding at 80 columns, escapes of non-ASCII and end mark behind a scalar"
	)
	return map[string]string{
		`"<% json_pp('a\nb') %>"`:                                  lines,
		`"<% json_dump([1.0, 1.5, true, null, 'a\"b\\c\n\t']) %>"`: lines,
		`"<% yaml_parse('- 1\n- x: 2') %>"`:                        lines,
		`"<% yaml_dump({b => 1, a => yes, c => 'true', d => '1', e => null, f => 1.5, g => '', h => 'a: b', i => \"x\ny\"}) %>"`: lines,
		//nolint:dupword // the length is the point
		`"<% yaml_dump({long => 'word word word word word word word word word word word word word word word word word word word word'}) %>"`: layout,
		`"<% yaml_dump($.n) %>"`:            layout,
		`"<% yaml_dump($.u) %>"`:            layout,
		`"<% yaml_dump('x') %>"`:            layout,
		`"<% yaml_dump(range(2)) %>"`:       "a lazy sequence is dumped as the list it is, not refused",
		`"{{ 10000000000 * 10000000000 }}"`: "integers beyond 64 bits become floats",
		`"{{ 2 ** 70 }}"`:                   "integers beyond 64 bits become floats",
		`"{{ 1, 2 }}"`:                      "refused by the check already, not at run time",
	}
}

type fixture struct{ ctxData any }

func (f fixture) Task(string) (any, error)                      { return nil, nil }
func (f fixture) Tasks(string, bool, string, bool) (any, error) { return nil, nil }
func (f fixture) Execution() any                                { return nil }
func (f fixture) Executions(map[string]any) (any, error)        { return nil, nil }
func (f fixture) Env() any                                      { v, _ := lookup(f.ctxData, "__env"); return v }
func (f fixture) Global(string) any                             { return nil }

// TestDifferential compares with what the real Mistral gave (see record.py).
func TestDifferential(t *testing.T) {
	e, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/data.json")
	if err != nil {
		t.Fatal(err)
	}
	data, err := yaql.ParseJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]recorded
	decode(t, text, &want)
	if len(want) < 200 {
		t.Fatalf("only %d cases", len(want))
	}
	ctx := WithSource(t.Context(), fixture{data})
	known := deviations()
	for src := range known {
		if _, ok := want[src]; !ok {
			t.Errorf("%s is no case", src)
		}
	}
	for src, w := range want {
		if known[src] != "" {
			continue
		}
		in, err := yaml11.DecodeJSON([]byte(src))
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		got := recorded{}
		if err := checkAll(e, in); err != nil {
			got.Error = "check"
		} else if v, err := e.Value(ctx, in, data); err != nil {
			got.Error = "eval"
		} else if b, err := yaql.JSON(v); err != nil {
			t.Errorf("%s: %v", src, err)
		} else {
			decode(t, b, &got.Value)
		}
		if d := cmp.Diff(w, got); d != "" {
			t.Errorf("%s (-mistral +ours)\n%s", src, d)
		}
	}
}

func checkAll(e *Evaluator, v any) error {
	switch v := v.(type) {
	case string:
		return e.Check(v)
	case []any:
		for _, x := range v {
			if err := checkAll(e, x); err != nil {
				return err
			}
		}
	case *yaml11.OrderedMap:
		for _, x := range v.All() {
			if err := checkAll(e, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestRecordedIsReal runs the real Mistral's expressions where it is installed.
func TestRecordedIsReal(t *testing.T) {
	const python = "/usr/bin/python3"
	if testing.Short() {
		t.Skip("starts the real Mistral's libraries: seconds")
	}
	if err := exec.Command(python, "-c", "import mistral.expressions").Run(); err != nil {
		t.Skip("python3-mistral is not installed")
	}
	record := exec.Command(python, "testdata/record.py")
	record.Env = append(os.Environ(), "PYTHONHASHSEED=1") // keys() of a dict is a set: its order is not that of the run before
	now, err := record.Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(text)) != strings.TrimSpace(string(now)) {
		t.Errorf("testdata/expected.json is stale, run testdata/record.py (-recorded +real):\n%s", cmp.Diff(string(text), string(now)))
	}
}
