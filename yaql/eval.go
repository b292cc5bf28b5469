package yaql

import (
	"errors"
	"time"
)

// maxNest bounds the recursion of eval itself; long operator chains nest to
// the left, so that it is more than MaxDepth.
const maxNest = 20_000

func (ev *evaluator) at(n node, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Kind: ErrFunction, Message: err.Error(), Err: err, Column: n.column(), Source: ev.src}
	}
	if e.Column == 0 {
		e.Column, e.Source = n.column(), ev.src
	}
	return err
}

func (ev *evaluator) eval(n node, c *Context) (any, error) {
	if err := ev.step(); err != nil {
		return nil, ev.at(n, err)
	}
	switch n := n.(type) {
	case *constNode:
		return n.val, nil
	case *wordNode:
		return n.val, nil
	case *varNode:
		return c.lookup(n), nil
	}
	if ev.depth >= maxNest {
		return nil, ev.at(n, errorf(ErrLimit, "evaluation is nested too deep"))
	}
	ev.depth++
	v, err := ev.evalInner(n, c)
	ev.depth--
	if err != nil {
		return nil, ev.at(n, err)
	}
	return v, nil
}

func (ev *evaluator) evalInner(n node, c *Context) (any, error) {
	switch n := n.(type) {
	case *dotNode:
		return ev.evalDot(n, c)
	case *callNode:
		return ev.call(n, c, nil, false)
	case *delegateNode:
		return ev.evalDelegate(n, c)
	case *binaryNode:
		return ev.evalBinary(n, c)
	case *unaryNode:
		x, err := ev.eval(n.x, c)
		if err != nil {
			return nil, err
		}
		return ev.unary(n.op, x)
	case *indexNode:
		return ev.evalIndex(n, c)
	case *listNode:
		if err := ev.charge(cell * len(n.items)); err != nil {
			return nil, err
		}
		return ev.evalAll(n.items, c)
	case *mapNode:
		return ev.evalMap(n.pairs, c)
	}
	return nil, errorf(ErrSyntax, "unknown expression")
}

func (ev *evaluator) evalAll(nodes []node, c *Context) ([]any, error) {
	out := make([]any, len(nodes))
	for i, n := range nodes {
		if n == nil {
			return nil, errorf(ErrArgs, "element %d is left out", i+1)
		}
		v, err := ev.eval(n, c)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (ev *evaluator) evalMap(pairs []pair, c *Context) (any, error) {
	if err := ev.charge(3 * cell * len(pairs)); err != nil {
		return nil, err
	}
	m := NewMap(len(pairs))
	for _, p := range pairs {
		k, err := ev.eval(p.key, c)
		if err != nil {
			return nil, err
		}
		v, err := ev.eval(p.val, c)
		if err != nil {
			return nil, err
		}
		m.Set(k, v)
	}
	return m, nil
}

func (ev *evaluator) evalDot(n *dotNode, c *Context) (any, error) {
	recv, err := ev.eval(n.recv, c)
	if err != nil {
		return nil, err
	}
	if n.safe && recv == nil {
		return nil, nil
	}
	switch m := n.member.(type) {
	case *callNode:
		v, err := ev.call(m, c, recv, true)
		if err != nil {
			return nil, ev.at(m, err)
		}
		return v, nil
	case *wordNode:
		if d, ok := recv.(*Map); ok {
			if i := d.findString(m.name); i >= 0 {
				return norm(d.vals[i]), nil
			}
		}
		return ev.attribute(recv, m.name)
	}
	return nil, errorf(ErrArgs, "after \".\" comes a name or a method call")
}

// attribute is recv.name: a key of a dict, a property of a time or timespan,
// or the attribute of each item of a sequence.
func (ev *evaluator) attribute(recv any, name string) (any, error) {
	if m, ok := asMapping(recv); ok {
		v, ok := m.get(name)
		if !ok {
			return nil, errorf(ErrKey, "no key %q", name)
		}
		return norm(v), nil
	}
	switch v := recv.(type) {
	case []any, *Set, *seq:
		next, err := ev.iter(v)
		if err != nil {
			return nil, err
		}
		return &seq{next: func() (any, bool, error) {
			it, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			got, err := ev.attribute(it, name)
			return got, err == nil, err
		}}, nil
	case time.Time:
		if f := timeProperty(name); f != nil {
			return f(v), nil
		}
	case Timespan:
		if unit, ok := spanUnit(name); ok {
			return float64(v) / float64(unit), nil
		}
	}
	if _, ok := spanUnit(name); ok || timeProperty(name) != nil {
		return nil, errorf(ErrArgs, "a %s has no property %q", typeName(recv), name)
	}
	return nil, errorf(ErrName, "a %s has no property %q", typeName(recv), name)
}

func (ev *evaluator) evalDelegate(n *delegateNode, c *Context) (any, error) {
	v, err := ev.eval(n.fn, c)
	if err != nil {
		return nil, err
	}
	f, ok := v.(*lambda)
	if !ok {
		return nil, errorf(ErrArgs, "a %s cannot be called", typeName(v))
	}
	return ev.callLocal(&lambdaDef{fn: f}, &callNode{pos: n.pos, args: n.args, pairs: n.pairs}, c)
}

func (ev *evaluator) evalIndex(n *indexNode, c *Context) (any, error) {
	recv, err := ev.eval(n.recv, c)
	if err != nil {
		return nil, err
	}
	args, err := ev.evalAll(n.args, c)
	if err != nil {
		return nil, err
	}
	if m, ok := asMapping(recv); ok && (len(args) == 1 || len(args) == 2) {
		if v, ok := m.get(args[0]); ok {
			return norm(v), nil
		}
		if len(args) == 2 {
			return args[1], nil
		}
		return nil, errorf(ErrKey, "no key %s", pyRepr(args[0]))
	}
	list, ok := recv.([]any)
	if !ok || len(args) != 1 {
		return nil, errorf(ErrArgs, "a %s cannot be indexed with %s", typeName(recv), typeNames(args))
	}
	i, ok := asIndex(args[0])
	if !ok {
		return nil, errorf(ErrArgs, "a list cannot be indexed with a %s", typeName(args[0]))
	}
	if i < 0 {
		i += int64(len(list))
	}
	if i < 0 || i >= int64(len(list)) {
		return nil, errorf(ErrKey, "index %v is out of the range of a list of %d", args[0], len(list))
	}
	return norm(list[i]), nil
}

func (ev *evaluator) evalBinary(n *binaryNode, c *Context) (any, error) {
	l, err := ev.eval(n.l, c)
	if err != nil {
		return nil, err
	}
	switch n.op {
	case "and":
		if !Truth(l) {
			return l, nil
		}
		return ev.eval(n.r, c)
	case "or":
		if Truth(l) {
			return l, nil
		}
		return ev.eval(n.r, c)
	case "->":
		ctx, ok := l.(*Context)
		if !ok {
			return nil, errorf(ErrArgs, "left of \"->\" must be let, with, def or unpack, not a %s", typeName(l))
		}
		return ev.eval(n.r, ctx)
	}
	r, err := ev.eval(n.r, c)
	if err != nil {
		return nil, err
	}
	if ev.opts.IterableDicts && (n.op == "in" || n.op == "+") {
		l, r = ev.keysBeside(n.op, l, r)
	}
	return ev.binary(n.op, l, r)
}

// keysBeside makes a dict the list of its keys where the other operand wants a
// sequence.
func (ev *evaluator) keysBeside(op string, l, r any) (left, right any) {
	a, ok1 := asMapping(l)
	b, ok2 := asMapping(r)
	switch {
	case ok2 && (op == "in" || iterable(l)):
		return l, keysOf(b)
	case ok1 && iterable(r) && op == "+":
		return keysOf(a), r
	}
	return l, r
}

func keysOf(m mapping) []any {
	keys := make([]any, 0, m.size())
	m.each(func(k, _ any) bool { keys = append(keys, k); return true })
	return keys
}

// lambda is an argument that its callee evaluates.
type lambda struct {
	ev    *evaluator
	body  node
	scope *Context
	reuse *Context // for bodies that cannot keep it
	fast  fast     // the body as closures, once it was called often enough
	calls int
}

// fastAfter is how often a lambda is walked before it is compiled, unless a test
// has it compiled at once.
const fastAfter = 4

func (l *lambda) call(args ...any) (any, error) {
	for _, a := range args {
		if err := l.ev.bind(a); err != nil {
			return nil, err
		}
	}
	return l.in(&Context{parent: l.scope, args: args})
}

// call1 is call with one argument, without a new context where that does not matter.
func (l *lambda) call1(arg any) (any, error) {
	if err := l.ev.bind(arg); err != nil {
		return nil, err
	}
	if l.calls++; l.calls == fastAfter || l.calls == 1 && l.ev.opts.compileAtOnce {
		l.fast = l.ev.compile(l.body, 0)
	}
	if l.fast != nil && l.ev.depth+10 <= 10*l.ev.opts.MaxDepth {
		return l.fast(arg)
	}
	c := l.reuse
	if c == nil {
		c = &Context{parent: l.scope, args: []any{arg}}
		if !plain(l.body) {
			return l.in(c)
		}
	}
	l.reuse = nil // taken, in case that the body calls this very lambda
	c.args[0] = arg
	v, err := l.in(c)
	l.reuse = c
	return v, err
}

func (l *lambda) in(c *Context) (any, error) {
	ev := l.ev
	if ev.depth+10 > 10*ev.opts.MaxDepth && ev.depth+10 > maxNest/2 {
		return nil, errorf(ErrLimit, "calls are nested too deep")
	}
	ev.depth += 10
	v, err := ev.eval(l.body, c)
	ev.depth -= 10
	return v, err
}
