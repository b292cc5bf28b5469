package lint

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	known := Known{
		Action: func(name string) *Callee {
			switch name {
			case "std.echo":
				return &Callee{Inputs: []string{"output", "delay"}, Required: []string{"output"}}
			case "std.noop":
				return &Callee{}
			case "nova.servers_create":
				return &Callee{Extra: true}
			}
			return nil
		},
		Workflow: func(string) *Callee { return nil },
	}
	for _, tt := range []struct{ reason, text, want string }{
		{"nothing to say", "version: '2.0'\nw:\n  tasks:\n    a: {action: std.echo output=1}\n", ""},
		{"an unknown action, with its place", "version: '2.0'\nw:\n  tasks:\n    a: {action: std.ecko}\n", `4:17: error: w.tasks.a.action: there is no action "std.ecko"`},
		{"a missing input", "version: '2.0'\nw:\n  tasks:\n    a: {action: std.echo}\n", `needs the input "output"`},
		{"an input that is not taken", "version: '2.0'\nw:\n  tasks:\n    a: {action: std.noop, input: {x: 1}}\n", `takes no input "x"`},
		{"an action that takes all", "version: '2.0'\nw:\n  tasks:\n    a: {action: nova.servers_create, input: {x: 1}}\n", ""},
		{"a parameter that Mistral drops", "version: '2.0'\nw:\n  tasks:\n    a: {action: nova.servers_create maintenance=False}\n", `the parameter maintenance is ignored: "False"`},
		{"a sub-workflow of the same book", "version: '2.0'\nname: b\nworkflows:\n  w: {tasks: {a: {workflow: v}}}\n  v: {input: [n], tasks: {a: {action: std.noop}}}\n", `needs the input "n"`},
		{"an unknown sub-workflow", "version: '2.0'\nw: {tasks: {a: {workflow: v}}}\n", `there is no workflow "v"`},
		{"a cycle that nothing leads into", "version: '2.0'\nw:\n  tasks:\n    a: {}\n    b: {on-success: c}\n    c: {on-success: b}\n", "5:5: warning: w.tasks.b: no start leads to this task"},
		{"a join of success and failure", "version: '2.0'\nw:\n  tasks:\n    a: {on-success: b, on-error: c}\n    b: {on-success: j}\n    c: {on-success: j}\n    j: {join: all}\n",
			"b come only when a succeeds and c only when it fails"},
		{"a join of one of them is fine", "version: '2.0'\nw:\n  tasks:\n    a: {on-success: b, on-error: c}\n    b: {on-success: j}\n    c: {on-success: j}\n    j: {join: one}\n", ""},
		{"a join behind a dead task", "version: '2.0'\nw:\n  tasks:\n    a: {on-success: j}\n    b: {on-success: [c, j]}\n    c: {on-success: b}\n    j: {join: all}\n", "only 1 of them can be taken"},
		{"a variable that nobody uses", "version: '2.0'\nw:\n  vars: {x: 1, y: 2}\n  output: {z: <% $.x %>}\n  tasks: {a: {}}\n", "vars.y: no expression uses"},
		{"all errors of the language", "version: '2.0'\nw:\n  tasks:\n    a: {on-success: nope, retry: {delay: 1}}\n", `no task "nope"`},
		{"no YAML", "a: [", "error"},
	} {
		var lines []string
		for _, f := range Text(tt.text, known) {
			lines = append(lines, f.String())
		}
		got := strings.Join(lines, "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("version: '2.0'\nw:\n  tasks:\n    a: {on-success: b, on-error: c}\n    b: {on-success: j}\n    c: {on-success: j}\n    j: {join: all}\n")
	f.Add("version: '2.0'\nname: b\nworkflows: {w: {vars: {x: 1}, tasks: {a: {action: a b=c}}}}\nactions: {x: {base: y}}\n")
	f.Fuzz(func(t *testing.T, s string) {
		Text(s, Known{Action: func(string) *Callee { return nil }, Workflow: func(string) *Callee { return nil }})
	})
}
