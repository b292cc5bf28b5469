package expr

import (
	"context"
	"errors"
	"iter"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
	"github.com/tripleo/tripleo/yaql"
)

// newJinja makes the environment of Mistral: strict, sandboxed, block tags
// take their line with them. Its functions are globals and filters.
func newJinja() *jinja.Env {
	opts := jinja.Options{Undefined: jinja.Strict, TrimBlocks: true, LstripBlocks: true, Sandbox: true,
		MaxOutput: maxText, MaxSteps: maxSteps, MaxSource: maxSource,
		Globals: map[string]any{}, Filters: map[string]jinja.Filter{}}
	for _, f := range functions() {
		opts.Globals[f.name] = &jinja.Func{Name: f.name, Fn: f.jinja}
		opts.Filters[f.name] = f.jinjaFilter
	}
	return jinja.New(opts)
}

func (e *Evaluator) compileJinja(s string) (*program, error) {
	// As for the real one, a string that begins and ends with braces is one
	// expression only if the first closing braces are the last.
	if m := jinjaVar.FindStringSubmatchIndex(s); m != nil && m[0] == 0 && m[1] == len(s) {
		x, err := e.jinja.ParseExpression(s[m[2]:m[3]])
		return &program{value: x}, err
	}
	t, err := e.jinja.Parse("<string>", s)
	return &program{text: t}, err
}

func (e *Evaluator) evalJinja(ctx context.Context, p *program, data any) (any, error) {
	vars := map[string]any{"_": toJinja(data)}
	for _, name := range contextNames {
		v, _ := lookup(data, name)
		vars[name] = toJinja(v)
	}
	if p.text != nil {
		return p.text.Render(ctx, vars)
	}
	v, err := p.value.Eval(ctx, vars)
	if err != nil {
		return nil, err
	}
	return fromJinja(v)
}

// ordered lets Jinja read what YAQL can.
type ordered struct{ yaql.Ordered }

func (o ordered) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for _, k := range o.YAQLKeys() {
			if v, ok := o.YAQLLookup(k); ok && !yield(k, toJinja(v)) {
				return
			}
		}
	}
}

// toJinja hands data to a template. Maps are read when the template looks at
// them; nothing that the template does to them reaches the data.
func toJinja(v any) any {
	switch v := v.(type) {
	case *yaql.Map: // knows its order itself
		return jinja.FromGo(v)
	case *yaml11.OrderedMap:
		return jinja.FromGo(ordered{v})
	case yaql.Ordered:
		return jinja.FromGo(ordered{v})
	case *yaql.Set:
		return jinja.FromGo(v.Items())
	}
	return jinja.FromGo(v)
}

// fromJinja makes the values of the engine of a template's.
func fromJinja(v any) (any, error) {
	if u, ok := v.(*jinja.Undefined); ok {
		return nil, errors.New(u.Message())
	}
	return jinja.ToGo(v, func(keys, values []any) any {
		m := yaql.NewMap(len(keys))
		for i, k := range keys {
			m.Set(k, values[i])
		}
		return m
	})
}
