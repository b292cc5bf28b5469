package dsl

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// TestAllErrorsWithPlace: every mistake is told at once, with path and place.
func TestAllErrorsWithPlace(t *testing.T) {
	const text = `version: '2.0'
name: wb
workflows:
  w:
    inputs: [a]
    input: [a, a]
    output: <% bad %>
    tasks:
      one:
        action: std.echo output=<% bad %>
        workflow: other
        on-success: [two, nowhere, {three: maybe}]
        retry: delay=3
        join: 2
        timeout: soon
      two:
        with-items: nonsense
        keep-result: 5
      fail: {}
`
	check := func(s string) error {
		if strings.Contains(s, "bad") {
			return errors.New("does not parse")
		}
		return nil
	}
	_, err := ParseWorkbook(text, check)
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range errs {
		got = append(got, p.String())
	}
	want := []string{
		`5:5: workflows.w: unknown key "inputs" (known: version, name, type, description, tags, input, vars, output, output-on-error, task-defaults, tasks)`,
		`6:16: workflows.w.input[1]: input "a" is declared twice`,
		`7:13: workflows.w.output: does not parse`,
		`10:17: workflows.w.tasks.one.action: does not parse`,
		`11:19: workflows.w.tasks.one: a task has an "action" or a "workflow", not both`,
		`12:21: workflows.w.tasks.one.on-success: no task "nowhere"`,
		`12:21: workflows.w.tasks.one.on-success: no task "three"`,
		`12:44: workflows.w.tasks.one.on-success[2].three: the condition "maybe" is not an expression`,
		`13:16: workflows.w.tasks.one.retry: retry needs a "count"`,
		`14:15: workflows.w.tasks.one.join: join waits for 2 routes, but only 0 lead here`,
		`15:18: workflows.w.tasks.one.timeout: must be a whole number or an expression, not "soon"`,
		`17:21: workflows.w.tasks.two.with-items: must be "name in <% list %>", not "nonsense"`,
		`18:22: workflows.w.tasks.two.keep-result: must be true, false or an expression, not "5"`,
		`19:7: workflows.w.tasks.fail: "fail" is an engine command, not a name for a task`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestInlineParameters(t *testing.T) {
	tests := []struct{ reason, text, name, params string }{
		{"quotes are taken off", `std.echo output="a b"`, "std.echo", `{"output":"a b"}`},
		{"expressions stay", "a.b x=<% $.y + 1 %>", "a.b", `{"x":"<% $.y + 1 %>"}`},
		{"JSON values are decoded", "a.b n=3 t=true z=null l=[1,\"x\"]", "a.b", `{"n":3,"t":true,"z":null,"l":[1,"x"]}`},
		{"capital False silently disappears, as in Mistral", "ironic.node_list maintenance=False associated=False", "ironic.node_list", `{}`},
		{"an expression alone is the name", "<% $.name %>", "<% $.name %>", `{}`},
		{"an engine command with a message", `fail(msg="x <% $.y %>")`, "fail", `{"msg":"x <% $.y %>"}`},
	}
	for _, tt := range tests {
		name, params := parseCommand(tt.text)
		got, err := params.MarshalJSON()
		if err != nil || name != tt.name || string(got) != tt.params {
			t.Errorf("%s: %s: got %q %s (%v)", tt.reason, tt.text, name, got, err)
		}
	}
}

func TestGraph(t *testing.T) {
	list, err := ParseWorkflows(`
version: '2.0'
w:
  task-defaults: {on-error: clean, retry: count=2 delay=1}
  tasks:
    a: {on-success: [b, {c: <% true %>}], on-complete: fail}
    b: {retry: {count: 5, delay: 0}}
    c: {on-error: noop, on-success: {publish: {branch: {x: 1}, global: {y: 2}}, next: [b]}}
    clean: {}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := list[0]
	names := func(ts []*Task) (out []string) {
		for _, t := range ts {
			out = append(out, t.Name)
		}
		return out
	}
	if d := cmp.Diff([]string{"a"}, names(w.Starts())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a", "c"}, names(w.Inbound("b"))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a", "b"}, names(w.Inbound("clean"))); d != "" {
		t.Error(d)
	}
	if p := w.PoliciesOf(w.Task("a")); p.Retry == nil || p.Retry.Count != int64(2) {
		t.Errorf("defaults: %+v", p.Retry)
	}
	if p := w.PoliciesOf(w.Task("b")); p.Retry.Count != int64(5) {
		t.Errorf("own retry: %+v", p.Retry)
	}
	if c := w.Task("c").OnSuccess; c.Publish == nil || c.Publish.Global.Len() != 1 || len(c.Next) != 1 {
		t.Errorf("advanced clause: %+v", c)
	}
}

// TestTextReadsBack: the text cut out of a workbook gives the same workflow.
func TestTextReadsBack(t *testing.T) {
	wb, err := ParseWorkbook(`
version: '2.0'
name: b
workflows:
  w: {input: [{x: "2.0"}, {y: null}, z], tags: [t], tasks: {a: {action: "std.echo output='yes'", publish: {v: "on", w: 22}}}}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseWorkflows(wb.Workflows[0].Text, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := func(w *Workflow) string {
		b, err := yaml11.MapOf("spec", w.Spec).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if d := cmp.Diff(text(wb.Workflows[0]), text(back[0])); d != "" {
		t.Error(d)
	}
	if got := InputText(back[0].Input); got != `x="2.0", y=null, z` {
		t.Errorf("input %s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("version: '2.0'\nname: b\nworkflows:\n  w: {tasks: {a: {action: std.noop, on-success: [b, fail(msg=\"x\")], with-items: i in [1]}, b: {join: all}}}")
	f.Add("version: '2.0'\nw:\n  type: reverse\n  task-defaults: {retry: count=1}\n  tasks: {a: {requires: [a], publish: <% $ %>}}")
	f.Fuzz(func(_ *testing.T, text string) {
		if wb, err := ParseWorkbook(text, nil); err == nil {
			for _, w := range wb.Workflows {
				_, _ = ParseWorkflows(w.Text, nil)
			}
		}
		_, _ = ParseWorkflows(text, nil)
		_, _ = ParseActions(text, nil)
	})
}
