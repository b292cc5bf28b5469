package jinja_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/jinja"
)

func Example() {
	env := jinja.New(jinja.Options{TrimBlocks: true, Loader: jinja.MapLoader{
		"base.j2":  "nodes:\n{% block nodes %}{% endblock %}",
		"nodes.j2": "{% extends 'base.j2' %}{% block nodes %}{% for n in nodes if n.up %}\n- {{ n.name }}\n{% endfor %}\n{% endblock %}",
	}})
	tmpl, err := env.Get("nodes.j2")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := tmpl.Render(context.Background(), map[string]any{"nodes": []any{
		map[string]any{"name": "a", "up": true}, map[string]any{"name": "b", "up": false},
	}})
	fmt.Print(text, err, "\n")
	// Output:
	// nodes:
	// - a
	// <nil>
}

// An expression of its own gives a value instead of text.
func ExampleEnv_ParseExpression() {
	env := jinja.New(jinja.Options{Undefined: jinja.Strict, Sandbox: true})
	x, err := env.ParseExpression("nodes | selectattr('cpus', 'gt', 2) | map(attribute='name') | list")
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := x.Eval(context.Background(), map[string]any{"nodes": []any{
		jinja.NewDict("name", "a", "cpus", 2), jinja.NewDict("name", "b", "cpus", 4),
	}})
	fmt.Println(jinja.Repr(v), err)
	// Output: ['b'] <nil>
}

// Filters and functions written in Go get the arguments of the call.
func ExampleFilter() {
	env := jinja.New(jinja.Options{
		Filters: map[string]jinja.Filter{"shout": func(c *jinja.Call) (any, error) {
			return strings.ToUpper(jinja.Str(c.Args[0])) + "!", nil
		}},
		Globals: map[string]any{"add": &jinja.Func{Name: "add", Fn: func(c *jinja.Call) (any, error) {
			return c.Args[0].(int) + c.Args[1].(int), nil
		}}},
	})
	text, err := env.RenderString(context.Background(), "", "{{ 'hey' | shout }} {{ add(1, 2) }}", nil)
	fmt.Println(text, err)
	// Output: HEY! 3 <nil>
}

// Errors name the template and the line.
func ExampleError() {
	_, err := jinja.New(jinja.Options{}).RenderString(context.Background(), "a.j2", "one\n{{ nope.x }}", nil)
	fmt.Println(err)
	// Output: a.j2:2: UndefinedError: 'nope' is undefined
}
