package expr

import (
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

func TestValues(t *testing.T) {
	e, err := New(func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) })
	if err != nil {
		t.Fatal(err)
	}
	data := yaml11.MapOf("n", int64(2), "l", []any{int64(1), "x"}, "none", nil, "y", "b: 1\na: [yes, 022]\n")
	tests := []struct {
		reason string
		in     any
		want   string // JSON
	}{
		{"a whole expression keeps its type", "<% $.l %>", `[1,"x"]`},
		{"white space around it does not matter", "  <% $.n %>\n", `2`},
		{"within text it is Python's str()", "n=<% $.n %> l=<% $.l %> <% $.none %> <% true %>", `"n=2 l=[1, 'x'] None True"`},
		{"the shortest match", "<% $.n %>-<% $.n %>", `"2-2"`},
		{"maps keep their order, keys stay", yaml11.MapOf("z", "<% $.n %>", "a", []any{"<% $.n + 1 %>", true}), `{"z":2,"a":[3,true]}`},
		{"no expression", "100 %> <", `"100 %> <"`},
		{"YAML is read as PyYAML does, in order", "<% yaml_parse($.y) %>", `{"b":1,"a":[true,18]}`},
		{"and written", "<% yaml_dump({b => [1, {x => yes}]}) %>", `"b:\n- 1\n- x: 'yes'\n"`},
		{"JSON", "<% json_parse('{\"z\": 1, \"a\": null}') %>", `{"z":1,"a":null}`},
		{"JSON dump", "<% json_dump({z => [1.5]}) %>", `"{\"z\":[1.5]}"`},
		{"the clock is given", "<% now().format('%Y-%m-%d_%H:%M:%S') %>", `"2026-01-02_03:04:05"`},
	}
	for _, tt := range tests {
		got, err := e.Value(t.Context(), tt.in, data)
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		if b, err := yaql.JSON(got); err != nil || string(b) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.reason, b, err, tt.want)
		}
	}
	if err := e.Check("a <% 1 + %> b"); err == nil {
		t.Error("a broken expression passes the check")
	}
	if _, err := e.String(t.Context(), "<% task(x) %>", data); err == nil {
		t.Error("task() works outside of a workflow")
	}
}
