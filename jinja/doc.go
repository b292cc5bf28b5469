// Package jinja is the Jinja2 template language for Go, with the semantics of Python.
//
// A template that renders with the real Jinja2 renders here to the same bytes: values are Python's
// (ordered dictionaries, lists that their methods change in place, None, True, arbitrary integers),
// they are printed with Python's str() and repr(), and whitespace control, scoping, undefined values and
// the error texts follow the original. The corpus under testdata is compared with the real one.
//
//	env := jinja.New(jinja.Options{Loader: jinja.MapLoader{"a.j2": "{% for r in roles %}{{ r.name }}\n{% endfor %}"}})
//	tmpl, err := env.Get("a.j2")
//	text, err := tmpl.Render(ctx, map[string]any{"roles": roles})
//
// # Values
//
// Variables may be given as plain Go values; they are converted once, at the start of Render: nil, bool,
// integers, floats, strings, []any, map[string]any (its keys in sorted order, because Go forgets theirs) and
// any other slice, map or struct by reflection. *List, *Dict and Tuple are taken as they are, so that an
// ordered dictionary keeps its order, and so that a change made by the template is seen by the caller.
//
// # Cost
//
// Rendering a template from somebody else is bounded: by the context, by the size of the output, by the number
// of evaluated nodes and by the depth of macros and includes (see [Options]).
// A template reaches nothing but the values, filters, tests and globals it is given.
package jinja
