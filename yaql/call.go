package yaql

import "strings"

// call is one call of an overload with bound arguments.
type call struct {
	ev    *evaluator
	scope *Context
	name  string
	args  []any // by parameter; func parameters hold *lambda or nil
	rest  []any // values of the variadic parameter
	kw    *Map  // further keyword arguments
	rules []rule
}

// rule is an argument "k => v" of dict, switch and the like.
type rule struct{ key, val *lambda }

// binding is which argument goes to which parameter, before any evaluation.
type binding struct {
	o     *overload
	nodes []node // by parameter, nil: default
	rest  []node
	kw    []pair
}

// slot caches the value of an argument, so that it is evaluated once however
// many overloads look at it.
type slots struct {
	nodes []node
	vals  []any
}

func (s *slots) get(ev *evaluator, n node, c *Context) (any, error) {
	for i, have := range s.nodes {
		if have == n {
			return s.vals[i], nil
		}
	}
	v, err := ev.eval(n, c)
	if err != nil {
		return nil, err
	}
	s.nodes, s.vals = append(s.nodes, n), append(s.vals, v)
	return v, nil
}

func (ev *evaluator) call(n *callNode, c *Context, recv any, method bool) (any, error) {
	known := false
	var cache slots
	for ctx := c; ctx != nil; ctx = ctx.parent {
		if ctx.local != nil && ctx.local.name == n.name && !method {
			return ev.callLocal(ctx.local, n, c)
		}
		if ctx.funcs == nil {
			continue
		}
		for _, o := range ctx.funcs[n.name] {
			if method && !o.isMethod || !method && !o.isFunc {
				continue
			}
			known = true
			recv := recv
			if method && (len(o.params) == 0 || !ev.fits(&o.params[0], &recv)) {
				continue
			}
			b, ok := o.bind(n, method)
			if !ok {
				continue
			}
			call, ok, err := ev.prepare(b, n, c, recv, method, &cache)
			if err != nil {
				return nil, err
			}
			if ok {
				return o.impl(call)
			}
		}
	}
	return nil, noMatch(n, recv, method, known, &cache)
}

func noMatch(n *callNode, recv any, method, known bool, cache *slots) error {
	what := "function"
	of := ""
	if method {
		what, of = "method", " of a "+typeName(recv)
	}
	if !known {
		return errorf(ErrName, "no %s %q", what, n.name)
	}
	if len(cache.vals) == 0 {
		return errorf(ErrArgs, "%s %q%s does not take these arguments", what, n.name, of)
	}
	return errorf(ErrArgs, "%s %q%s does not take arguments of type %s", what, n.name, of, typeNames(cache.vals))
}

func typeNames(vals []any) string {
	names := make([]string, len(vals))
	for i, v := range vals {
		names[i] = typeName(v)
	}
	return strings.Join(names, ", ")
}

func (ev *evaluator) callLocal(def *lambdaDef, n *callNode, c *Context) (any, error) {
	args, err := ev.evalAll(n.args, c)
	if err != nil {
		return nil, err
	}
	inner := &Context{parent: def.fn.scope, args: args}
	for _, p := range n.pairs {
		w, ok := p.key.(*wordNode)
		if !ok {
			return nil, errorf(ErrArgs, "the name of a keyword argument must be a word")
		}
		v, err := ev.eval(p.val, c)
		if err != nil {
			return nil, err
		}
		inner.Set(w.name, v)
	}
	return def.fn.in(inner)
}

// bind assigns the arguments to parameters by position and name.
func (o *overload) bind(n *callNode, method bool) (binding, bool) {
	b := binding{o: o, nodes: make([]node, len(o.params))}
	at := 0
	if method {
		at = 1
	}
	for _, a := range n.args {
		if at >= len(o.params) {
			return b, false
		}
		p := &o.params[at]
		if p.variadic {
			if a == nil {
				return b, false
			}
			b.rest = append(b.rest, a)
			continue
		}
		if a == nil && !p.optional {
			return b, false
		}
		b.nodes[at] = a
		at++
	}
	if o.rules {
		return b, b.complete(method)
	}
	for _, pr := range n.pairs {
		w, ok := pr.key.(*wordNode)
		if !ok {
			return b, false
		}
		i := o.param(w.name)
		switch {
		case i >= 0 && !o.params[i].variadic && b.nodes[i] == nil && !(method && i == 0):
			b.nodes[i] = pr.val
		case i < 0 && o.kwargs:
			b.kw = append(b.kw, pr)
		default:
			return b, false
		}
	}
	return b, b.complete(method)
}

func (b *binding) complete(method bool) bool {
	for i, p := range b.o.params {
		if b.nodes[i] == nil && !p.optional && !p.variadic && !(method && i == 0) {
			return false
		}
	}
	return true
}

func (o *overload) param(name string) int {
	for i, p := range o.params {
		if p.name == name {
			return i
		}
	}
	return -1
}

// prepare evaluates the arguments and checks their types. It reports false
// when the overload does not take them.
func (ev *evaluator) prepare(b binding, n *callNode, c *Context, recv any, method bool, cache *slots) (*call, bool, error) {
	cl := &call{ev: ev, scope: c, name: n.name, args: make([]any, len(b.o.params))}
	for i := range b.o.params {
		p := &b.o.params[i]
		switch {
		case method && i == 0:
			cl.args[i] = recv
			if b, ok := recv.(bool); ok && p.typ == typPyInt {
				cl.args[i] = boolInt(b)
			}
		case p.variadic:
			for _, a := range b.rest {
				v, ok, err := ev.argument(p, a, c, cache)
				if err != nil || !ok {
					return nil, false, err
				}
				cl.rest = append(cl.rest, v)
			}
		case b.nodes[i] == nil:
			cl.args[i] = p.def
		default:
			v, ok, err := ev.argument(p, b.nodes[i], c, cache)
			if err != nil || !ok {
				return nil, false, err
			}
			cl.args[i] = v
		}
	}
	if b.o.rules {
		for _, pr := range n.pairs {
			cl.rules = append(cl.rules, rule{&lambda{ev: ev, body: pr.key, scope: c}, &lambda{ev: ev, body: pr.val, scope: c}})
		}
		return cl, true, nil
	}
	if b.o.kwargs {
		cl.kw = NewMap(len(b.kw))
		for _, pr := range b.kw {
			v, err := cache.get(ev, pr.val, c)
			if err != nil {
				return nil, false, err
			}
			cl.kw.Set(pr.key.(*wordNode).name, v)
		}
	}
	return cl, true, nil
}

func (ev *evaluator) argument(p *param, n node, c *Context, cache *slots) (any, bool, error) {
	if p.typ == typFunc {
		return &lambda{ev: ev, body: n, scope: c}, true, nil
	}
	v, err := cache.get(ev, n, c)
	if err != nil {
		return nil, false, err
	}
	if b, ok := v.(bool); ok && p.typ == typPyInt {
		v = boolInt(b)
	}
	return v, ev.fits(p, &v), nil
}

// fits says whether a parameter takes a value, and makes a dict the list of its
// keys where a sequence is wanted and dicts can be iterated over.
func (ev *evaluator) fits(p *param, v *any) bool {
	if p.accepts(*v) {
		return true
	}
	if m, ok := asMapping(*v); ok && p.typ == typIter && ev.opts.IterableDicts {
		*v = keysOf(m)
		return true
	}
	return false
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Access to arguments by the library.

func (c *call) invoke(i int, args ...any) (any, error) {
	l, ok := c.args[i].(*lambda)
	if !ok {
		return nil, errorf(ErrArgs, "%s: no expression given", c.name)
	}
	return l.call(args...)
}

// invoke1 is invoke with one argument.
func (c *call) invoke1(i int, arg any) (any, error) {
	l, ok := c.args[i].(*lambda)
	if !ok {
		return nil, errorf(ErrArgs, "%s: no expression given", c.name)
	}
	return l.call1(arg)
}

func (c *call) has(i int) bool {
	_, isAbsent := c.args[i].(absent)
	return c.args[i] != nil && !isAbsent
}

func (c *call) str(i int) string { s, _ := c.args[i].(string); return s }
func (c *call) int(i int) int64  { n, _ := c.args[i].(int64); return n }
func (c *call) bool(i int) bool  { b, _ := c.args[i].(bool); return b }
func (c *call) dict(i int) mapping {
	m, _ := asMapping(c.args[i])
	return m
}

// list returns an iterable argument as a list.
func (c *call) list(i int) ([]any, error) { return c.ev.list(c.args[i]) }

// iter returns an iterable argument as an iterator.
func (c *call) iter(i int) (iterator, error) { return c.ev.iter(c.args[i]) }
