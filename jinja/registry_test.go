package jinja

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuiltinsAreComplete compares the names of our filters, tests and globals with Jinja2's.
func TestBuiltinsAreComplete(t *testing.T) {
	raw, err := os.ReadFile("testdata/registry.txt")
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{})
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(lines) < 90 {
		t.Fatalf("only %d names", len(lines))
	}
	var corpus strings.Builder
	for _, c := range readCorpus(t) {
		corpus.WriteString(c.src)
		for _, f := range c.files {
			corpus.WriteString(f)
		}
	}
	for _, line := range lines {
		kind, name, _ := strings.Cut(line, " ")
		var ok bool
		switch kind {
		case "filter":
			_, ok = e.filters[name]
		case "test":
			_, ok = e.tests[name]
		case "global":
			_, ok = e.globals[name]
		}
		if !ok {
			t.Errorf("no %s", line)
		}
		if !strings.Contains(corpus.String(), name) {
			t.Errorf("the corpus has no %s", line)
		}
	}
}

// TestRegistryIsReal asks the real Jinja2, where it is installed.
func TestRegistryIsReal(t *testing.T) {
	const script = `import jinja2
e = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
for kind, names in (("filter", e.filters), ("test", e.tests), ("global", e.globals)):
    for n in sorted(names):
        print(kind, n)`
	out, err := exec.Command("/usr/bin/python3", "-c", script).Output()
	if err != nil {
		t.Skip("python3-jinja2 is not installed")
	}
	raw, err := os.ReadFile("testdata/registry.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(raw), string(out)); d != "" {
		t.Errorf("testdata/registry.txt is stale (-recorded +real):\n%s", d)
	}
}
