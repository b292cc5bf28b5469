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
		{"white space around it makes it text", "  <% $.n %>\n", `"  2\n"`},
		{"over lines", "<% $.n\n + 1 %>", `3`},
		{"Jinja alone keeps its type", "{{ _.l }}", `[1,"x"]`},
		{"and within text is text", "n={{ _.n }} {{ _.l }}", `"n=2 [1, 'x']"`},
		{"Jinja's blocks", "{% for x in _.l %}{{ x }};{% endfor %}", `"1;x;"`},
		{"Mistral's functions in Jinja", "{{ json_parse('{\"b\": [1, null]}').b }}", `[1,null]`},
		{"and as filters", "{{ _.l | json_pp }}", `"[\n    1,\n    \"x\"\n]"`},
		{"maps come back in order", "{{ {'z': 1, 'a': _.l} }}", `{"z":1,"a":[1,"x"]}`},
		{"within text it is Python's str()", "n=<% $.n %> l=<% $.l %> <% $.none %> <% true %>", `"n=2 l=[1, 'x'] None True"`},
		{"the shortest match", "<% $.n %>-<% $.n %>", `"2-2"`},
		{"maps keep their order, keys stay", yaml11.MapOf("z", "<% $.n %>", "a", []any{"<% $.n + 1 %>", true}), `{"z":2,"a":[3,true]}`},
		{"no expression", "100 %> <", `"100 %> <"`},
		{"YAML is read as PyYAML does, in order", "<% yaml_parse($.y) %>", `{"b":1,"a":[true,18]}`},
		{"and written", "<% yaml_dump({b => [1, {x => yes}]}) %>", `"b:\n- 1\n- x: 'yes'\n"`},
		{"JSON", "<% json_parse('{\"z\": 1, \"a\": null}') %>", `{"z":1,"a":null}`},
		{"JSON dump", "<% json_dump({z => [1.5]}) %>", `"{\n    \"z\": [\n        1.5\n    ]\n}"`},
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
	for _, bad := range []string{"a <% 1 + %> b", "{{ 1 + }}", "{% if x %}", "<% $.n %> {{ _.n }}"} {
		if err := e.Check(bad); err == nil {
			t.Errorf("%q passes the check", bad)
		}
	}
	for _, good := range []string{"{{ _.n }}", "{% if true %}{% endif %}", "a { b } 100%", "<% $.n %>"} {
		if err := e.Check(good); err != nil {
			t.Errorf("%q does not pass the check: %v", good, err)
		}
	}
	for _, bad := range []string{"{{ _.none.x }}", "{{ _.nothing }}", "{{ task() }}", "{{ json_parse() }}", "{{ range(1000000) }}"} {
		if got, err := e.String(t.Context(), bad, data); err == nil {
			t.Errorf("%q evaluates to %v", bad, got)
		}
	}
	if _, err := e.String(t.Context(), "<% task(x) %>", data); err == nil {
		t.Error("task() works outside of a workflow")
	}
}
