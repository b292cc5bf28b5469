package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/workflow/lint"
)

// TestBuiltInWorkbooksLintClean holds the workbooks that come with the program
// to what lint tells others.
func TestBuiltInWorkbooksLintClean(t *testing.T) {
	k, err := known()
	if err != nil {
		t.Fatal(err)
	}
	books, err := deployment.Workbooks()
	if err != nil {
		t.Fatal(err)
	}
	if len(books) == 0 {
		t.Fatal("there are no workbooks")
	}
	for _, b := range books {
		for _, f := range lint.Text(b.YAML, k) {
			t.Errorf("%s: %s", b.Name, f)
		}
	}
}

func TestWorkflowCommandsOffline(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", "version: '2.0'\nw:\n  tasks:\n    a: {action: std.echo output=1, on-success: b}\n    b: {}\n")
	bad := write("bad.yaml", "version: '2.0'\nw:\n  tasks:\n    a:\n      action: std.ecko\n      publish: {x: <% 1 + %>}\n")
	for _, tt := range []struct {
		reason, want string
		code         int
		args         []string
	}{
		{"a sound file", "", 0, []string{"lint", good}},
		{"an expression error has line and column", "bad.yaml:6:", 1, []string{"lint", bad}},
		{"several files", "bad.yaml:6:", 1, []string{"lint", good, bad}},
		{"text", "success  -> b", 0, []string{"graph", good}},
		{"Mermaid", "flowchart TD", 0, []string{"graph", good, "-f", "mermaid"}},
		{"SVG", "<svg ", 0, []string{"graph", good, "--format", "svg"}},
		{"an unknown format", "", 1, []string{"graph", good, "-f", "png"}},
		{"an unknown workflow", "", 1, []string{"graph", good, "-w", "x"}},
	} {
		var out, errs bytes.Buffer
		if code := Main(append([]string{"workflow"}, tt.args...), &out, &errs); code != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: code %d, want %d: %s%s", tt.reason, code, tt.code, &out, &errs)
		}
	}
}

func TestDrawTimeline(t *testing.T) {
	ms := func(n int64) *int64 { return &n }
	var out bytes.Buffer
	err := drawTimeline(&out, &timelineDoc{Workflow: "w", State: "RUNNING", Duration: 100, Path: []string{"1", "2"}, Tasks: []timelineTask{
		{ID: "1", Name: "a", State: "SUCCESS", Critical: true, Started: ms(0), Finished: ms(50)},
		{ID: "2", Name: "b", State: "RUNNING", Critical: true, Created: 50, Started: ms(70)},
		{ID: "3", Name: "c", State: "SUCCESS", Depth: 1, Created: 10, Started: ms(10), Finished: ms(20)},
	}}, 10)
	want := `w  RUNNING  0.100s
* a    |######     |    0.050s SUCCESS
* b    |     --####|    0.050s RUNNING
    c  | ##        |    0.010s SUCCESS
critical path: 2 tasks, 0.100s of 0.100s
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, &out, want)
	}
}
