package deployment

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/internal/workflow/expr"
	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/plan"
)

// TestWorkbooksAreValid reads the workbooks as the workflow service does.
func TestWorkbooksAreValid(t *testing.T) {
	books, err := Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	ev, err := expr.New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range books {
		if _, err := dsl.ParseWorkbook(b.YAML, ev.Check); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
	}
}

// TestDefaultPlan renders the plan we ship and follows every reference of it.
func TestDefaultPlan(t *testing.T) {
	tree := plan.FS()
	files := memPlan{}
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files[name] = string(data)
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	data := planData{roles: mustList(t, files[rolesFile]), networks: mustList(t, files[networksFile])}
	err = renderPlan(t.Context(), names, data, files.read, func(n string, text []byte) error { files[n] = string(text); return nil })
	if err != nil {
		t.Fatal(err)
	}
	env := mustMap(t, files[planEnvFile])
	col := newCollector("http://host/v1/AUTH_x/overcloud/", files.read)
	p, err := processPlan("overcloud", env, col)
	if err != nil {
		t.Fatal(err)
	}
	if p.files.Len() < 15 {
		t.Errorf("only %d files", p.files.Len())
	}
	for name, content := range p.files.All() {
		if !strings.Contains(content.(string), "heat_template_version") {
			continue
		}
		if _, _, err := yaml11.Parse(name, []byte(content.(string)), yaml11.Limits{}); err != nil {
			t.Error(err)
		}
	}
	for _, e := range []string{"environments/network-isolation.yaml", "environments/low-memory-usage.yaml"} {
		ensureEnvironments(env, e)
		if _, err := processPlan("overcloud", env, newCollector("http://h/v1/A/o/", files.read)); err != nil {
			var y *yaml11.Error
			if errors.As(err, &y) {
				t.Logf("at %s:%d", y.File, y.Line)
			}
			t.Errorf("%s: %v", e, err)
		}
	}
}
