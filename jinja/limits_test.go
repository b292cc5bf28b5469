package jinja

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLimits: a hostile template ends with an error, soon, and without much memory.
func TestLimits(t *testing.T) {
	cases := []struct{ name, src, reason string }{
		{"output", "{% for i in range(100000000) %}xxxxxxxxxxxxxxxx{% endfor %}", "output is bounded"},
		{"steps", "{% for i in range(100000000) %}{% endfor %}", "iterations are bounded"},
		{"nested loops", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "nested iterations count together"},
		{"macro recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion is bounded"},
		{"include recursion", "{% include 'main' %}", "a template may include itself"},
		{"extends recursion", "{% extends 'main' %}", "a template may extend itself"},
		{"list materialised", "{{ range(10 ** 12) | list | length }}", "a range is not copied without bound"},
		{"string repeat", "{{ 'x' * 10 ** 12 }}", "no huge string"},
		{"list repeat", "{{ [1] * 10 ** 12 }}", "no huge list"},
		{"power", "{{ 9 ** (9 ** 9) }}", "no huge integer"},
		{"center", "{{ 'x' | center(10 ** 12) }}", "no huge padding"},
		{"indent", "{{ 'x\ny' | indent(10 ** 12) }}", "no huge indent"},
		{"replace", "{% set x = 'a' * 1000000 %}{{ x | replace('a', x) }}", "replacing multiplies"},
		{"doubling", "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}", "concatenation doubles"},
		{"endless list", "{% set l = [1] %}{% for x in l %}{% do l.append(x) %}{% endfor %}", "a list that grows while it is read"},
		{"deep expr", "{{ " + strings.Repeat("(", 10000) + "1" + strings.Repeat(")", 10000) + " }}", "nesting in the source is bounded"},
		{"deep not", "{{ " + strings.Repeat("not ", 10000) + "1 }}", "as above, for prefix operators"},
		{"deep if", strings.Repeat("{% if 1 %}", 10000), "as above, for statements"},
		{"deep minus", "{{ " + strings.Repeat("-", 10000) + "1 }}", "as above, for signs"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			env := New(Options{Loader: MapLoader{"main": c.src}, MaxOutput: 8 << 20, MaxSteps: 300_000})
			start := time.Now()
			tmpl, err := env.Get("main")
			if err == nil {
				_, err = tmpl.Render(t.Context(), nil)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%s: error %v", c.reason, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%s: took %v", c.reason, took)
			}
		})
	}
}

func TestContextStopsRendering(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(Options{}).RenderString(ctx, "x", "{% for i in range(10000000) %}{% endfor %}", nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want one that wraps context.Canceled", err)
	}
}

// TestSelfReference: a list in itself must not hang printing or JSON.
func TestSelfReference(t *testing.T) {
	for _, src := range []string{"{% set l = [] %}{% do l.append(l) %}{{ l }}", "{% set d = {} %}{% do d.update(x=d) %}{{ d | tojson }}"} {
		out, err := New(Options{}).RenderString(t.Context(), "x", src, nil)
		if err == nil && len(out) > 1<<20 {
			t.Errorf("%s: %d bytes", src, len(out))
		}
	}
}

func TestSharedValues(t *testing.T) {
	// The caller sees what the template did to a list it was given.
	l := NewList(1)
	if _, err := New(Options{}).RenderString(t.Context(), "x", "{% do l.append(2) %}", map[string]any{"l": l}); err != nil {
		t.Fatal(err)
	}
	if got := Repr(l); got != "[1, 2]" {
		t.Errorf("list is %s", got)
	}
}

func TestEval(t *testing.T) {
	v, err := New(Options{}).Eval(t.Context(), "a.b | map('upper') | list", map[string]any{"a": map[string]any{"b": []string{"x", "y"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := Repr(v); got != "['X', 'Y']" {
		t.Errorf("got %s", got)
	}
	if _, err := New(Options{}).Eval(t.Context(), "a }} {{ b", nil); err == nil {
		t.Error("two expressions were taken for one")
	}
}

func TestCustom(t *testing.T) {
	env := New(Options{
		Filters: map[string]Filter{"twice": func(c *Call) (any, error) { return Str(c.Args[0]) + Str(c.Args[0]), nil }},
		Tests:   map[string]Filter{"seven": func(c *Call) (any, error) { return Repr(c.Args[0]) == "7", nil }},
		Globals: map[string]any{"hello": &Func{Name: "hello", Fn: func(c *Call) (any, error) { return "hello " + Str(c.Args[0]), nil }}},
	})
	out, err := env.RenderString(t.Context(), "x", "{{ 'ab'|twice }} {{ 7 is seven }} {{ hello('you') }}", nil)
	if err != nil || out != "abab True hello you" {
		t.Errorf("%q, %v", out, err)
	}
}

func FuzzRender(f *testing.F) {
	for _, c := range readCorpus(f) {
		f.Add(c.src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		env := New(Options{Loader: MapLoader{"a": "x{{ n }}"}, MaxOutput: 1 << 20, MaxSteps: 20000, Seed: 1})
		tmpl, err := env.Parse("fuzz", src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("parse error of type %T", err)
			}
			return
		}
		vars := map[string]any{"n": 7, "s": "str", "nums": []any{3, 1, 2}, "d": map[string]any{"a": 1}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := tmpl.Render(ctx, vars); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("render error of type %T", err)
			}
		}
	})
}

func BenchmarkRoles(b *testing.B) {
	src, err := os.ReadFile("testdata/corpus/02_statements.txt")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(src), "=== tht_roles\n")
	body, _, _ := strings.Cut(rest, "\n=== ")
	roles := &List{}
	for i := range 100 {
		roles.Items = append(roles.Items, NewDict("name", fmt.Sprintf("Role%d", i), "CountDefault", i, "tags", NewList("primary")))
	}
	env := New(Options{})
	tmpl, err := env.Parse("bench", body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tmpl.Render(b.Context(), map[string]any{"roles": roles}); err != nil {
			b.Fatal(err)
		}
	}
}
