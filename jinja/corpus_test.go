package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A case of the corpus: the format is described by testdata/record.py, which reads the same files.
type corpusCase struct {
	name  string
	flags map[string]bool
	src   string
	files MapLoader
}

type recorded struct {
	Out      *string `json:"out,omitempty"`
	Error    string  `json:"error,omitempty"`
	Message  string  `json:"message,omitempty"`
	Line     int     `json:"line,omitempty"`
	Template string  `json:"template,omitempty"`
}

func readCorpus(t testing.TB) []corpusCase {
	t.Helper()
	names, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	var out []corpusCase
	for _, fn := range names {
		text, err := os.ReadFile(fn)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range strings.Split("\n"+string(text), "\n=== ")[1:] {
			head, body, _ := strings.Cut(chunk, "\n")
			words := strings.Fields(head)
			c := corpusCase{name: filepath.Base(fn) + "/" + words[0], flags: map[string]bool{}, files: MapLoader{}}
			for _, f := range words[1:] {
				c.flags[f] = true
			}
			parts := strings.Split(body, "--- file ")
			c.src = parts[0]
			for _, p := range parts[1:] {
				name, text, _ := strings.Cut(p, "\n")
				c.files[name] = text
			}
			out = append(out, c)
		}
	}
	return out
}

// orderedJSON decodes JSON into template values, keeping the order of objects.
func orderedJSON(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch x := tok.(type) {
	case json.Delim:
		if x == '[' {
			l := &List{}
			for dec.More() {
				v, err := orderedJSON(dec)
				if err != nil {
					return nil, err
				}
				l.Items = append(l.Items, v)
			}
			_, err := dec.Token()
			return l, err
		}
		d := &Dict{}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := orderedJSON(dec)
			if err != nil {
				return nil, err
			}
			if err := d.Set(k, v); err != nil {
				return nil, err
			}
		}
		_, err := dec.Token()
		return d, err
	case json.Number:
		if v, ok := parseInt(x.String(), 10); ok {
			return v, nil
		}
		return x.Float64()
	}
	return tok, nil
}

func corpusVars(t testing.TB) map[string]any {
	t.Helper()
	raw, err := os.ReadFile("testdata/vars.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := orderedJSON(dec)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{}
	for k, val := range v.(*Dict).All() {
		vars[k.(string)] = val
	}
	return vars
}

func runCase(t testing.TB, c corpusCase) recorded {
	mode := Lenient
	for f, m := range map[string]UndefinedMode{"strict": Strict, "chainable": Chainable, "debug": Debug} {
		if c.flags[f] {
			mode = m
		}
	}
	c.files["main"] = c.src
	env := New(Options{Loader: c.files, Undefined: mode, TrimBlocks: c.flags["trim"], LstripBlocks: c.flags["lstrip"],
		KeepTrailingNewline: c.flags["keep"], Autoescape: c.flags["autoescape"],
		Sandbox: c.flags["sandbox"], LineStatement: lineFlag(c, "%"), LineComment: lineFlag(c, "##")})
	tmpl, err := env.Get("main")
	var out string
	if err == nil {
		out, err = tmpl.Render(t.Context(), corpusVars(t))
	}
	if err == nil {
		return recorded{Out: &out}
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: error of type %T: %v", c.name, err, err)
		return recorded{Message: err.Error()}
	}
	return recorded{Error: string(e.Kind), Message: e.Message, Line: e.Line, Template: e.Template}
}

func lineFlag(c corpusCase, prefix string) string {
	if c.flags["line"] {
		return prefix
	}
	return ""
}

func readExpected(t testing.TB) map[string]recorded {
	t.Helper()
	raw, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]recorded{}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// deviations are templates where we differ from Jinja2 on purpose.
func deviations() map[string]string {
	const (
		early = "Python's compiler refuses it after Jinja2's; here it is one error, with a line"
		words = "the class is the same, Python's words depend on its own internals"
		bytes = "there are no bytes, dict is no class, a slice of a range is a list, Python's operator methods are no attributes"
	)
	return map[string]string{
		"05_more.txt/e016":      bytes,
		"05_more.txt/e018":      bytes,
		"05_more.txt/e032":      words,
		"05_more.txt/e045":      bytes,
		"05_more.txt/e060":      words,
		"05_more.txt/e069":      bytes,
		"05_more.txt/e096":      words,
		"05_more.txt/e150":      early,
		"05_more.txt/e158":      early,
		"05_more.txt/e160":      words,
		"05_more.txt/e184":      words,
		"05_more.txt/e186":      words,
		"05_more.txt/e187":      words,
		"05_more.txt/e192":      words,
		"05_more.txt/e214":      words,
		"05_more.txt/e216":      early,
		"05_more.txt/e220":      words,
		"05_more.txt/e221":      words,
		"05_more.txt/e222":      bytes,
		"05_more.txt/ext_dyn":   words,
		"05_more.txt/sandbox_g": words,
	}
}

// TestCorpus compares every template of the corpus with what the real Jinja2 made of it.
func TestCorpus(t *testing.T) {
	want := readExpected(t)
	cases := readCorpus(t)
	if len(cases) < 400 {
		t.Fatalf("only %d cases: the corpus was not read", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w, ok := want[c.name]
			if !ok {
				t.Fatal("not recorded: run testdata/record.py > testdata/expected.json")
			}
			got := runCase(t, c)
			if deviations()[c.name] != "" {
				if w.Out == nil && got.Error == "" {
					t.Errorf("a deviation that is no error: %s", *got.Out)
				}
				return
			}
			if w.Out != nil {
				if diff := cmp.Diff(w, got); diff != "" {
					t.Errorf("template %q (-jinja2 +ours):\n%s", c.src, diff)
				}
				return
			}
			if got.Error != w.Error || got.Line == 0 || !sameMessage(got.Message, w.Message) {
				t.Errorf("template %q\n jinja2: %+v\n   ours: %+v %v", c.src, w, got, deref(got.Out))
			}
			if w.Error == "TemplateSyntaxError" && got.Line != w.Line {
				t.Errorf("line %d, Jinja2 says %d (%s)", got.Line, w.Line, w.Message)
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return "<error>"
	}
	return fmt.Sprintf("%q", *s)
}

// sameMessage compares error texts; Jinja2 lists hints in some that are not ours to copy.
func sameMessage(got, want string) bool {
	cut := func(s string) string {
		s, _, _ = strings.Cut(s, " Did you mean")
		s, _, _ = strings.Cut(s, " You probably made")
		s, _, _ = strings.Cut(s, " Jinja was looking")
		s, _, _ = strings.Cut(s, " The innermost block")
		return strings.TrimSpace(s)
	}
	return cut(got) == cut(want)
}

// TestRecordedIsCurrent runs the real Jinja2, when installed, and compares it with what is recorded.
func TestRecordedIsCurrent(t *testing.T) {
	py := "/usr/bin/python3"
	if err := exec.Command(py, "-c", "import jinja2").Run(); err != nil {
		t.Skip("python3-jinja2 is not installed")
	}
	out, err := exec.Command(py, "testdata/record.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]recorded{}
	if err := json.Unmarshal(out, &now); err != nil {
		t.Fatal(err)
	}
	want := readExpected(t)
	for name, n := range now {
		w := want[name]
		w.Line, n.Line = 0, 0
		if w.Error != "" && n.Error == w.Error {
			continue // texts of errors differ between releases
		}
		if diff := cmp.Diff(w, n); diff != "" {
			t.Errorf("%s (-recorded +jinja2):\n%s", name, diff)
		}
	}
}
