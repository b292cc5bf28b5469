package yaml11

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pyLoad asks the real PyYAML; each answer is {"ok": …} or {"error": …}.
func pyLoad(t *testing.T, docs []string) []map[string]json.RawMessage {
	t.Helper()
	if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
		t.Skip("python3-yaml is not installed")
	}
	in, err := json.Marshal(map[string]any{"docs": docs})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("python3", "testdata/pyload.py")
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []map[string]json.RawMessage
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// tagged writes a value in the form of pyload.py.
func tagged(v any) any {
	switch x := v.(type) {
	case float64:
		return map[string]any{"float": FormatFloat(x)}
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = tagged(e)
		}
		return out
	case *OrderedMap:
		pairs := []any{}
		for k, e := range x.All() {
			pairs = append(pairs, []any{k, tagged(e)})
		}
		return map[string]any{"map": pairs}
	}
	return v
}

func normalJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d, err := DecodeJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	b, _ = json.MarshalIndent(Plain(d), "", " ")
	return string(b)
}

func corpus(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "---8<---\n")
}

func TestLikePyYAML(t *testing.T) {
	docs := corpus(t)
	// Where the two syntaxes differ knowingly.
	syntax := map[string]string{
		`a:	tab`: "yaml/v3 accepts a tab after the colon",
		"true: 1\nyes: 2\n1: a\n1.5: b\nnull: c\nno: d": "True == 1 as a key in Python",
	}
	for i, ans := range pyLoad(t, docs) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			n, _, err := Parse("f", []byte(docs[i]), Limits{})
			if why, ok := syntax[strings.TrimSpace(docs[i])]; ok {
				t.Log(why)
				return
			}
			if _, failed := ans["error"]; failed {
				if err == nil {
					t.Fatalf("PyYAML refuses\n%s\n%s\nwe read %v", docs[i], ans["error"], Plain(n.Value()))
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s\nPyYAML: %s", err, docs[i], ans["ok"])
			}
			if diff := cmp.Diff(normalJSON(t, ans["ok"]), normalJSON(t, tagged(n.Value()))); diff != "" {
				t.Errorf("-PyYAML +yaml11\n%s\n%s", docs[i], diff)
			}
		})
	}
}

func TestScalarsLikePyYAML(t *testing.T) {
	alphabet := []string{"0", "1", "8", "_", ":", ".", "e", "+", "-", "x", "b", "59", "60", "inf", "nan", "12:30"}
	var docs []string
	for _, a := range alphabet {
		for _, b := range alphabet {
			for _, c := range alphabet {
				docs = append(docs, "v"+": "+a+b+c, "v: "+a+b+c+"5")
			}
		}
	}
	bad := 0
	for i, ans := range pyLoad(t, docs) {
		n, _, err := Parse("f", []byte(docs[i]), Limits{})
		if _, failed := ans["error"]; failed {
			continue // PyYAML crashes on some, such as 0b_ (int('', 2)); a string is kinder
		}
		if err != nil {
			t.Errorf("%q: %v", docs[i], err)
			continue
		}
		if got, want := normalJSON(t, tagged(n.Value())), normalJSON(t, ans["ok"]); got != want {
			if bad++; bad < 20 {
				t.Errorf("%q: got %s want %s", docs[i], got, want)
			}
		}
	}
}

func TestMarshalReadsBack(t *testing.T) {
	values := []any{
		nil, true, int64(5), 1.5, 1e20, "", "yes", "012", "1e3", "2018-01-01", "a: b", "- x", "#", "a #b", "it's", "multi\nline\n",
		"no end\nnewline", "trailing  \nspace", " lead", "\ttab", "tab\tin", "nul\x00", "é☃𝄞", "many\n\n\nends\n\n\n", "\nfirst", "=", "<<",
		"%x", "@a", "`b", "!t", "&a", "*a", "|", ">", "{", "}", "[", "]", "?", "-", ":", "a:", "a,b", "null", "~", "0x1f", "12:30", ".inf", "y",
		[]any{}, NewMap(), []any{int64(1), []any{"a", []any{}}, MapOf("k", "v", "l", []any{"x"})},
		MapOf("z", int64(1), "a", MapOf("n", nil, "list", []any{MapOf("a", "b", "c", MapOf("d", "e")), "x\ny\n"}), "multi\nline key", "v", "yes", "x", "12", int64(1)),
		MapOf("script", "#!/bin/sh\n  indented\n\techo tab\n", "long", strings.Repeat("word ", 60)+"end"), "line\u2028sep", "crlf\r\nx", "-a", "--- x", "...",
	}
	var docs []string
	for _, v := range values {
		b, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, string(b))
		n, w, err := Parse("f", b, Limits{})
		if err != nil || len(w) > 0 {
			t.Errorf("%q: %v %v", b, err, w)
			continue
		}
		if diff := cmp.Diff(normalJSON(t, tagged(v)), normalJSON(t, tagged(n.Value()))); diff != "" {
			t.Errorf("%q reads back as\n%s", b, diff)
		}
	}
	for i, ans := range pyLoad(t, docs) {
		if got, want := string(ans["ok"]), normalJSON(t, tagged(values[i])); got == "" || normalJSON(t, ans["ok"]) != want {
			t.Errorf("PyYAML reads %q as %s %s, want %s", docs[i], got, ans["error"], want)
		}
	}
}

func TestMarshalLayout(t *testing.T) {
	v := MapOf("version", 1.0, "name", "overcloud", "environments", []any{MapOf("path", "a.yaml"), MapOf("path", "b.yaml")},
		"parameter_defaults", MapOf("ControllerCount", int64(1), "Script", "a\nb\n"), "empty", []any{})
	b, err := Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	want := `version: 1.0
name: overcloud
environments:
- path: a.yaml
- path: b.yaml
parameter_defaults:
  ControllerCount: 1
  Script: |
    a
    b
empty: []
`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestPlacesAndWarnings(t *testing.T) {
	n, w, err := Parse("t.yaml", []byte("a:\n  b: [1, two]\na:\n    c: 3\n"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Get("a").Get("c").Pos(); got != "t.yaml:4:8" {
		t.Errorf("place of c is %s", got)
	}
	if len(w) != 1 || w[0].String() != `t.yaml:3:1: key "a" is given twice (first on line 1); the last one counts` {
		t.Errorf("warnings %v", w)
	}
	j, _, err := ParseJSON("t.json", []byte("{\n  \"a\": {\"b\": 1e3}\n}"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if b := j.Get("a").Get("b"); b.Pos() != "t.json:2:14" || b.Value() != 1000.0 {
		t.Errorf("b is %v at %s", b.Value(), b.Pos())
	}
}

func TestLimits(t *testing.T) {
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for _, tc := range []struct{ reason, doc string }{
		{"a billion laughs must not be expanded", laughs},
		{"depth is bounded", strings.Repeat("[", 300) + strings.Repeat("]", 300)},
		{"very deep flow text must not cost time", strings.Repeat("[", 1<<20)},
		{"an alias may not contain itself", "a: &a [1, *a]"},
		{"size is bounded", strings.Repeat("x", defaultBytes+1)},
	} {
		if _, _, err := Parse("f", []byte(tc.doc), Limits{}); err == nil {
			t.Error(tc.reason)
		}
	}
}

func TestOrderedMapJSON(t *testing.T) {
	var m OrderedMap
	if err := json.Unmarshal([]byte(`{"z":1,"a":{"y":[1.5,"<"],"b":null}}`), &m); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(b), `\u003c`, "<"); got != `{"z":1,"a":{"y":[1.5,"<"],"b":null}}` {
		t.Errorf("got %s", got)
	}
	if FormatFloat(math.Inf(-1)) != "-inf" || FormatFloat(1e16) != "1e+16" || FormatFloat(3) != "3.0" {
		t.Error("floats are not written as Python does")
	}
}

func FuzzParse(f *testing.F) {
	b, _ := os.ReadFile("testdata/corpus.txt")
	for _, d := range strings.Split(string(b), "---8<---\n") {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		n, _, err := Parse("f", []byte(doc), Limits{MaxNodes: 10000})
		if err != nil {
			return
		}
		out, err := Marshal(n.Value())
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Parse("f", out, Limits{})
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if a, b := fmt.Sprint(Plain(n.Value())), fmt.Sprint(Plain(again.Value())); a != b {
			t.Fatalf("%q became %q", a, b)
		}
	})
}

// TestSyntaxErrorLine: the line that is wrong is named, not that in which the mapping around it begins.
func TestSyntaxErrorLine(t *testing.T) {
	for _, tc := range []struct {
		why, text string
		line      int
	}{
		{"a key that is indented wrongly", "a: 1\nresources:\n  x: 1\n  y: 2\n   z: 3\nb: 1\n", 5},
		{"a bracket that is not closed", "a: 1\nb: {type: [\nc: 1\nd: 2\n", 3},
		{"a tab", "a:\n  b: 1\n\tc: 2\n", 3},
		{"a text that is not closed: where it begins", "a: 1\nb: 'x\nc: 1\n", 2},
		{"the first line", "a: b: c\n", 1},
	} {
		_, _, err := Parse("f.yaml", []byte(tc.text), Limits{})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", tc.why, err)
		} else if e.Line != tc.line {
			t.Errorf("%s: line %d (%v), expected %d", tc.why, e.Line, err, tc.line)
		}
	}
}
