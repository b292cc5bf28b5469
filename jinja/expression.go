package jinja

import (
	"context"
	"math/big"
)

// Expression is a parsed expression: what stands between "{{" and "}}". Its result is a value, not text.
// It is immutable and safe for concurrent use.
type Expression struct {
	env *Env
	src string
	e   expr
}

// ParseExpression reads one expression, as Jinja2's compile_expression does. Unlike that, an undefined result is
// returned as *Undefined and left to the caller.
func (e *Env) ParseExpression(src string) (*Expression, error) {
	const name = "<expression>"
	if len(src) > e.opts.MaxSource {
		return nil, &Error{Kind: LimitError, Template: name, Message: "expression too large"}
	}
	toks, err := lexExpression(src, &e.opts)
	if err != nil {
		return nil, withTemplate(err, name)
	}
	p := &parser{toks: toks, env: e, blocks: map[string]*blockStmt{}}
	x, err := p.lone()
	if err != nil {
		return nil, withTemplate(err, name)
	}
	return &Expression{env: e, src: src, e: x}, nil
}

// String returns the source.
func (x *Expression) String() string { return x.src }

// Eval computes the expression. The result is nil, bool, int, *big.Int, float64, string, Markup, *List, Tuple, *Dict,
// *Undefined, or something callable; what Python would hand out lazily (generators, ranges, the views of a
// dictionary) becomes a *List here, so that nobody reads it in an unbounded loop later.
func (x *Expression) Eval(ctx context.Context, vars map[string]any) (any, error) {
	const name = "<expression>"
	rt := newRuntime(ctx, x.env)
	top := &scope{vars: make(map[string]any, len(vars))}
	for k, v := range vars {
		top.vars[k] = FromGo(v)
	}
	tc := &tctx{tmpl: &Template{env: x.env, name: name}}
	tc.root = &scope{parent: top, tc: tc}
	v, err := rt.eval(x.e, tc.root)
	if err != nil {
		return nil, locate(err, name, 1)
	}
	v, err = rt.drained(v, 0)
	return v, locate(err, name, 1)
}

// Eval evaluates one expression and returns its value, see [Expression.Eval].
func (e *Env) Eval(ctx context.Context, src string, vars map[string]any) (any, error) {
	x, err := e.ParseExpression(src)
	if err != nil {
		return nil, err
	}
	return x.Eval(ctx, vars)
}

// drained replaces lazy sequences by lists, also inside of lists and tuples that hold some.
func (rt *runtime) drained(v any, depth int) (any, error) {
	if depth > maxReprDepth {
		return v, nil
	}
	if err := rt.step(); err != nil {
		return nil, err
	}
	switch x := v.(type) {
	case *generator, *rangeValue, *dictView:
		items, err := rt.list(x)
		if err != nil {
			return nil, err
		}
		return rt.drained(&List{Items: items}, depth)
	case *List:
		return x, rt.drainItems(x.Items, depth)
	case Tuple:
		return x, rt.drainItems(x, depth)
	}
	return v, nil
}

func (rt *runtime) drainItems(items []any, depth int) error {
	for i, it := range items {
		switch it.(type) {
		case *generator, *rangeValue, *dictView, *List, Tuple:
			v, err := rt.drained(it, depth+1)
			if err != nil {
				return err
			}
			if _, same := it.(*List); !same {
				items[i] = v
			}
		}
	}
	return nil
}

// ToGo turns a value of a template into plain Go: nil, bool, int64, float64, string, []any, and for a dictionary what
// dict makes of its entries in order. Integers beyond 64 bits become float64, objects their text; functions and
// macros are errors, and so is undefined, except that a lenient one alone becomes nil.
func ToGo(v any, dict func(keys, values []any) any) (any, error) { return toGo(v, dict, 0) }

func toGo(v any, dict func(keys, values []any) any, depth int) (any, error) {
	if depth > maxReprDepth {
		return nil, errorf(LimitError, "a value is nested deeper than %d", maxReprDepth)
	}
	switch x := v.(type) {
	case nil, bool, float64, string:
		return x, nil
	case int:
		return int64(x), nil
	case Markup:
		return string(x), nil
	case *big.Int:
		f, _ := asFloat(x)
		return f, nil
	case *List:
		return listToGo(x.Items, dict, depth)
	case Tuple:
		return listToGo(x, dict, depth)
	case *namedTuple:
		return listToGo(x.Tuple, dict, depth)
	case *dictView:
		return listToGo(x.items(), dict, depth)
	case *Dict:
		keys, vals := make([]any, 0, x.Len()), make([]any, 0, x.Len())
		for k, val := range x.All() {
			key, err := toGo(k, dict, depth+1)
			if err != nil {
				return nil, err
			}
			if val, err = toGo(val, dict, depth+1); err != nil {
				return nil, err
			}
			keys, vals = append(keys, key), append(vals, val)
		}
		return dict(keys, vals), nil
	case *Undefined:
		if x.strict || depth > 0 {
			return nil, x.err()
		}
		return nil, nil
	}
	if o, ok := v.(Object); ok {
		return o.String(), nil
	}
	return nil, typeErrorf("a %s is not a value", typeName(v))
}

func listToGo(items []any, dict func(keys, values []any) any, depth int) (any, error) {
	out := make([]any, len(items))
	for i, it := range items {
		v, err := toGo(it, dict, depth+1)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// Context is the context of the rendering in which the call happens.
func (c *Call) Context() context.Context { return c.rt.ctx }

// Var is the value of a variable where the call stands, *Undefined if there is none.
func (c *Call) Var(name string) any { return c.rt.resolve(name, c.sc) }

// settle reads all of a value that many renderings will share, so that none of them changes it.
func settle(v any, depth int) {
	if depth > maxReprDepth {
		return
	}
	switch x := v.(type) {
	case *Dict:
		for _, val := range x.All() {
			settle(val, depth+1)
		}
	case *List:
		for _, it := range x.Items {
			settle(it, depth+1)
		}
	}
}
