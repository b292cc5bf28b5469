// Package structure_test keeps the laws of the house: who may import whom, how
// large files and functions may grow, that every package says what it is.
package structure_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/tripleo/tripleo"

// services reach each other through their REST APIs only (law 1).
var services = []string{
	"identity", "image", "objectstore", "messaging", "network", "compute", "baremetal", "introspection", "orchestration", "placement", "workflow",
}

// pure packages do no I/O and know no clock's sleep (law 2): imports that would
// let them are banned.
var pure = []string{
	"yaql", "jinja", "internal/yaml11", "internal/qcow2", "internal/orchestration/hot", "internal/network/ipam", "internal/compute/scheduler",
	"internal/baremetal/states", "internal/workflow/dsl",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := map[string]pkg{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func TestServicesDoNotImportEachOther(t *testing.T) {
	for path, p := range packages(t) {
		for _, s := range services {
			if !below(path, "internal/"+s) {
				continue
			}
			for _, dep := range p.Deps {
				dep = strings.TrimPrefix(dep, module+"/")
				for _, other := range services {
					if other != s && below(dep, "internal/"+other) {
						t.Errorf("%s depends on %s: a service reaches another through its REST API, so that either can be replaced", path, dep)
					}
				}
			}
		}
	}
}

func TestOnlyTheCommandLineImportsTheCompositionRoot(t *testing.T) {
	for path, p := range packages(t) {
		if below(path, "internal/undercloud") || below(path, "internal/cli") || below(path, "test") {
			continue
		}
		for _, imp := range p.Imports {
			if imp == module+"/internal/undercloud" {
				t.Errorf("%s imports internal/undercloud: the composition root knows everybody and is known to nobody", path)
			}
		}
	}
}

func TestGroundFloorKnowsNoService(t *testing.T) {
	all := packages(t)
	for _, ground := range []string{"auth", "api", "store", "blob", "jobs", "notify", "cloud", "netns"} {
		for _, dep := range all["internal/"+ground].Deps {
			for _, s := range services {
				if below(strings.TrimPrefix(dep, module+"/"), "internal/"+s) {
					t.Errorf("internal/%s depends on %s: the ground floor carries all services alike", ground, dep)
				}
			}
		}
	}
}

func TestPurePackagesDoNoIO(t *testing.T) {
	banned := map[string]string{
		"net": "no network", "net/http": "no network", "os/exec": "no processes", "database/sql": "no store",
		"log/slog": "no logs: an error says it",
	}
	all := packages(t)
	for _, path := range pure {
		for sub, p := range all {
			if !below(sub, path) {
				continue
			}
			for _, imp := range p.Imports {
				if why, ok := banned[imp]; ok {
					t.Errorf("%s imports %s, but it is pure: %s", sub, imp, why)
				}
				if strings.HasPrefix(path, "yaql") || strings.HasPrefix(path, "jinja") {
					if strings.HasPrefix(imp, module+"/internal/") {
						t.Errorf("%s imports %s, but it is a public package of its own", sub, imp)
					}
				}
			}
		}
	}
}

func TestAgentIsSmall(t *testing.T) {
	banned := map[string]string{
		"modernc.org/sqlite": "the agent keeps no database", "github.com/gophercloud/gophercloud/v2": "the agent speaks to three URLs",
		"github.com/prometheus/client_golang/prometheus": "the agent is not scraped",
		module + "/internal/store":                       "the agent keeps no database",
	}
	for _, dep := range packages(t)["cmd/tripleo-agent"].Deps {
		if why, ok := banned[dep]; ok {
			t.Errorf("cmd/tripleo-agent links %s: %s", dep, why)
		}
	}
}

// files calls fn for each Go file of the project that is not a test.
func files(t *testing.T, fn func(path string, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != root && e.Name() != "..":
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		fn(strings.TrimPrefix(path, root+string(os.PathSeparator)), file, fset)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	const mostLines, mostFunction = 800, 90
	files(t, func(path string, file *ast.File, fset *token.FileSet) {
		if lines := fset.File(file.Pos()).LineCount(); lines > mostLines {
			t.Errorf("%s has %d lines, expected at most %d: split it by what it is about", path, lines, mostLines)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || len(fn.Body.List) <= 2 { // a table of rows may be as long as it is
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > mostFunction {
				t.Errorf("%s: %s has %d lines, expected at most %d", path, fn.Name.Name, n, mostFunction)
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented, seen := map[string]bool{}, map[string]bool{}
	files(t, func(path string, file *ast.File, _ *token.FileSet) {
		dir := filepath.Dir(path)
		seen[dir] = true
		if file.Doc != nil {
			documented[dir] = true
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: wiring is written where a reader looks for it", path)
			}
		}
	})
	for dir := range seen {
		if !documented[dir] && dir != "." {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}
