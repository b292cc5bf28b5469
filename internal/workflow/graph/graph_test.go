package graph

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
)

func TestGraph(t *testing.T) {
	list, err := dsl.ParseWorkflows(`
version: '2.0'
w:
  tasks:
    a: {action: std.echo output=1, on-success: [b, {c: <% true %>}], on-error: fail(msg="<no> & no")}
    b: {on-success: d}
    c: {workflow: "<% $.x %>", on-success: d}
    d: {join: all, on-error: b}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := New(list[0])
	for _, tt := range []struct{ reason, text, part string }{
		{"a guard is told", g.Text(), "success  -> c if …"},
		{"a join is told", g.Text(), "d (join)"},
		{"a command is a node", g.Mermaid(), `(("fail"))`},
		{"an error is dotted", g.Mermaid(), "-.->|error|"},
		{"SVG escapes expressions", g.SVG(), "&lt;% $.x %&gt;"},
	} {
		if !strings.Contains(tt.text, tt.part) {
			t.Errorf("%s: %q is not in\n%s", tt.reason, tt.part, tt.text)
		}
	}
	dec := xml.NewDecoder(strings.NewReader(g.SVG()))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the SVG is not XML: %v", err)
		}
	}
}
