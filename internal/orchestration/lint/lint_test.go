package lint_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tripleo/tripleo/internal/orchestration/lint"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
)

var update = flag.Bool("update", false, "write the golden files anew")

// run lints an archive: template.yaml is the root, env*.yaml are its environments.
func run(t *testing.T, ar *txtar.Archive) string {
	t.Helper()
	files := map[string]string{}
	in := lint.Input{Template: "template.yaml", Types: resources.All(), Read: func(name string) (string, error) {
		text, ok := files[name]
		if !ok {
			return "", errors.New("no such file")
		}
		return text, nil
	}}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
		if strings.HasPrefix(filepath.Base(f.Name), "env") {
			in.Environments = append(in.Environments, f.Name)
		}
	}
	var b strings.Builder
	for _, f := range lint.Run(t.Context(), in) {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
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
			got, last := run(t, ar), len(ar.Files)-1
			if ar.Files[last].Name != "want" {
				ar.Files = append(ar.Files, txtar.File{Name: "want"})
				last++
			}
			if *update {
				ar.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(ar), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(ar.Files[last].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzRun lints any text as a template that nests itself and as its environment: it ends, and every finding
// has a file, a rule and a message.
func FuzzRun(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.txtar")
	for _, n := range names {
		if ar, err := txtar.ParseFile(n); err == nil {
			f.Add(string(ar.Files[0].Data), string(ar.Files[1].Data))
		}
	}
	types := resources.All()
	f.Fuzz(func(t *testing.T, template, env string) {
		for _, x := range lint.Run(t.Context(), lint.Input{Template: "t.yaml", Environments: []string{"env.yaml"}, Types: types, Read: func(name string) (string, error) {
			if name == "env.yaml" {
				return env, nil
			}
			return template, nil
		}}) {
			if x.File == "" || x.Rule == "" || x.Message == "" {
				t.Errorf("%#v", x)
			}
		}
	})
}
