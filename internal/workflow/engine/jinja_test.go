package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/yaql"
)

const jinjaWorkflows = `version: '2.0'
in_jinja:
  input: [nodes, {least: 2}]
  vars:
    prefix: "n-{{ _.least }}"
  output:
    names: "{{ _.names }}"
    count: "{{ _.names|length }}"
    text: "{{ _.names|length }} of {{ _.nodes|length }} nodes, env {{ env().site }}"
    tries: "{{ _.tries }}"
    way: "{{ _.way }}"
    half: "{{ _.names|length / 2 }}"
    doubled: "{{ _.doubled }}"
    which: "{{ execution().name }}"
    none: "{{ _.names|select('equalto', 'x')|list }}"
  tasks:
    each:
      with-items: "node in {{ _.nodes }}"
      concurrency: "{{ _.least }}"
      action: std.echo
      input: {output: "{{ _.prefix }}-{{ _.node.name }}"}
      publish: {names: "{{ task().result }}"}
      on-success:
        - few: "{{ _.names|length < _.least }}"
        - flaky: "{{ _.names|length >= _.least }}"
    few:
      action: std.noop
      publish: {way: few, tries: 0, doubled: []}
    flaky:
      action: test.thrice
      retry: {count: 5, delay: 0, break-on: "{{ task('flaky').result == 'gone' }}"}
      publish: {tries: "{{ task().result.n }}", way: "{% if task().result.ok %}many{% else %}none{% endif %}"}
      on-success: sub
    sub:
      workflow: doubles
      input: {list: "{{ [_.tries, 10] }}"}
      publish: {doubled: "{{ task('sub').result.out }}"}
doubles:
  input: [list]
  output: {out: "{{ _.r }}"}
  tasks:
    d:
      with-items: "i in {{ _.list }}"
      action: std.echo output="{{ _.i * 2 }}"
      publish: {r: "{{ task('d').result }}"}
broken_jinja:
  tasks:
    a:
      action: std.noop
      publish: {x: "{{ _.nothing.deeper }}"}
`

// TestJinjaWorkflows: a workflow that is written in Jinja alone: items, concurrency,
// publish, conditions, retries, sub-workflows, output; a string that is one
// expression has its type, others are text.
func TestJinjaWorkflows(t *testing.T) {
	calls := 0
	thrice := actions.Action{Name: "test.thrice", Run: func(context.Context, *actions.Context, map[string]any) (any, error) {
		if calls++; calls < 3 {
			return nil, errors.New("not yet")
		}
		return map[string]any{"n": calls, "ok": true}, nil
	}}
	r := newRig(t, thrice)
	r.define(jinjaWorkflows)
	nodes := []any{yaql.MapOf("name", "a"), yaql.MapOf("name", "b"), yaql.MapOf("name", "c")}
	env := yaql.MapOf("env", yaql.MapOf("site", "lab"))
	for _, tt := range []struct {
		reason, name string
		nodes        []any
		state, want  string
	}{
		{"many nodes", "in_jinja", nodes, Success,
			`{"names":["n-2-a","n-2-b","n-2-c"],"count":3,"text":"3 of 3 nodes, env lab","tries":3,"way":"many","half":1.5,"doubled":[6,20],"which":"in_jinja","none":[]}`},
		{"one node", "in_jinja", nodes[:1], Success,
			`{"names":["n-2-a"],"count":1,"text":"1 of 1 nodes, env lab","tries":0,"way":"few","half":0.5,"doubled":[],"which":"in_jinja","none":[]}`},
		{"what is not there is an error of the task", "broken_jinja", nil, Error, ""},
	} {
		input := yaql.NewMap(0)
		if tt.nodes != nil {
			input.Set("nodes", tt.nodes)
		}
		x := r.end(r.begin(tt.name, input, env))
		got, err := yaql.JSON(x.Output)
		if err != nil || x.State != tt.state || tt.want != "" && string(got) != tt.want {
			t.Errorf("%s: %s %s %v, %s; want %s %s", tt.reason, x.State, got, err, x.Info, tt.state, tt.want)
		}
	}
}
