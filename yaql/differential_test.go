package yaql

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tagged writes a result as testdata/record.py does.
func tagged(v any) any {
	switch v := v.(type) {
	case float64:
		return map[string]any{"$float": pyFloat(v)}
	case int64:
		return json.Number(fmt.Sprint(v))
	case time.Time:
		layout := "2006-01-02T15:04:05-07:00"
		if v.Nanosecond() != 0 {
			layout = "2006-01-02T15:04:05.000000-07:00"
		}
		return map[string]any{"$time": v.Format(layout)}
	case Timespan:
		return map[string]any{"$span": json.Number(fmt.Sprint(int64(v)))}
	case *Regex:
		return map[string]any{"$regex": v.source}
	case *Set:
		items := taggedList(v.items)
		sort.Slice(items, func(i, j int) bool { return asJSON(items[i]) < asJSON(items[j]) })
		return map[string]any{"$set": items}
	case []any:
		return taggedList(v)
	}
	if m, ok := asMapping(v); ok {
		pairs := []any{}
		m.each(func(k, x any) bool {
			pairs = append(pairs, []any{tagged(k), tagged(x)})
			return true
		})
		return map[string]any{"$map": pairs}
	}
	return v
}

func taggedList(l []any) []any {
	out := make([]any, len(l))
	for i, it := range l {
		out[i] = tagged(norm(it))
	}
	return out
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

type expectation struct {
	Value any    `json:"value"`
	Error string `json:"error"`
}

func readExpected(t *testing.T, data []byte) map[string]expectation {
	t.Helper()
	var want map[string]expectation
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&want); err != nil {
		t.Fatal(err)
	}
	return want
}

const namedGroups = "the original fails on named groups"

// hashed are expressions whose result is a set with something in it that Python cannot hash: their results become
// a set of Python's, ours do not.
func hashed(src string) bool {
	return strings.HasPrefix(src, "set(") || strings.HasPrefix(src, "{") && strings.HasSuffix(src, " => 1}.keys()")
}

// deviations are expressions where we differ from the original on purpose.
var deviations = map[string]string{
	"{a=>1}.mergeWith({a=>[2]})": "a list replaces a scalar; the original fails with TypeError",
	"{1}":                        "refused when parsed, not when evaluated",
	"regex('(?P<x>l+)').search(hello, $x.value)":   namedGroups,
	"regex('(?P<x>l)').searchAll(hello, $x.start)": namedGroups,
	"sequence().splitWhere($ mod 3 = 2).limit(2)":  "lazy here",
	"sequence().sliceWhere($ mod 3 = 0).limit(3)":  "lazy here",
	"$.d.(a)":      "parentheses round a name mean nothing here",
	"dict([a=>1])": "refused when parsed, not when evaluated",
}

func testData(t testing.TB) any {
	t.Helper()
	raw, err := os.ReadFile("testdata/data.json")
	if err != nil {
		t.Fatal(err)
	}
	data, err := ParseJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// kindOf maps the original's exceptions to our kinds.
func kindOf(class string) ErrorKind {
	switch class {
	case "syntax":
		return ErrSyntax
	case "NoFunctionRegisteredException", "NoMethodRegisteredException":
		return ErrName
	case "NoMatchingFunctionException", "NoMatchingMethodException", "AmbiguousFunctionException", "AmbiguousMethodException":
		return ErrArgs
	case "KeyError", "IndexError", "StopIteration":
		return ErrKey
	case "CollectionTooLargeException", "MemoryQuotaExceededException":
		return ErrLimit
	}
	return ErrValue
}

func kindText(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return "none"
	}
	return [...]string{"", "syntax", "name", "args", "key", "value", "limit", "canceled", "function"}[e.Kind]
}

// TestDifferential compares with what the real YAQL gave (see record.py).
func TestDifferential(t *testing.T) {
	raw, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, atOnce := range []bool{false, true} {
		compareAll(t, readExpected(t, raw), New(Options{KeepSets: true, LimitIterators: 1000, compileAtOnce: atOnce}))
	}
}

func compareAll(t *testing.T, expected map[string]expectation, eng *Engine) {
	t.Helper()
	data := testData(t)
	for src, want := range expected {
		if deviations[src] != "" || want.Error == "TypeError" && hashed(src) {
			continue
		}
		got, err := eng.Eval(t.Context(), src, data, nil)
		switch {
		case err != nil && want.Error == "":
			t.Errorf("%s\n  error %v\n  want %s", src, err, asJSON(want.Value))
		case err == nil && want.Error != "":
			t.Errorf("%s\n  got %s\n  want error %s", src, asJSON(tagged(got)), want.Error)
		case err == nil:
			if d := cmp.Diff(asJSON(want.Value), asJSON(tagged(got))); d != "" {
				t.Errorf("%s\n  got  %s\n  want %s", src, asJSON(tagged(got)), asJSON(want.Value))
			}
		case !IsKind(err, kindOf(want.Error)):
			t.Errorf("%s\n  error of kind %s: %v, want %s", src, kindText(err), err, want.Error)
		}
	}
}

// TestRecordedIsReal re-runs the real YAQL where it is installed.
func TestRecordedIsReal(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import yaql").Run(); err != nil {
		t.Skip("python3-yaql is not installed")
	}
	now, err := exec.Command(python, "testdata/record.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(readExpected(t, raw), readExpected(t, now)); d != "" {
		t.Errorf("testdata/expected.json is stale, run testdata/record.py (-recorded +real):\n%s", d)
	}
}
