package yaql

import (
	"context"
	"fmt"
	"strings"
)

// Context holds variables and functions; a child sees those of its parents.
// Inside an evaluation every call of a lambda, let, with, def and unpack makes
// a child, so that a Context is also a value (left of "->").
type Context struct {
	parent *Context
	args   []any // $1, $2 ... ; $ is $1
	vars   map[string]any
	funcs  map[string][]*overload
	local  *lambdaDef
}

// lambdaDef is a function made by def().
type lambdaDef struct {
	name string
	fn   *lambda
}

// Child returns an empty context on top of c.
func (c *Context) Child() *Context { return &Context{parent: c} }

// Set defines the variable $name.
func (c *Context) Set(name string, value any) {
	if c.vars == nil {
		c.vars = make(map[string]any)
	}
	c.vars[strings.TrimPrefix(name, "$")] = value
}

func (c *Context) lookup(v *varNode) any {
	for ; c != nil; c = c.parent {
		if v.index > 0 && v.index <= len(c.args) {
			return c.args[v.index-1]
		}
		if c.vars == nil {
			continue
		}
		name := v.name
		if name == "" {
			name = "1"
		}
		if val, ok := c.vars[name]; ok {
			return norm(val)
		}
	}
	return nil
}

// Function is a function or method written in Go.
type Function struct {
	// Sig is the name and the parameters: "name(first: str, second: int=5)".
	// Types are any, bool, int, num, str, list (a list or a lazy sequence, given
	// as []any), dict (given as *Map or as it came), and func (an expression
	// evaluated by Args.Call). "?" after a type allows null, "=" gives a default
	// (a literal: null, true, false, a number or 'text'), "*" before a name takes
	// all further positional arguments and must come last.
	Sig string
	// Method makes it callable as receiver.name(...), with the receiver as first
	// parameter; MethodOnly forbids the call as a function.
	Method, MethodOnly bool
	// Call computes the result. Errors are shown with the column of the call.
	Call func(ctx context.Context, a *Args) (any, error)
}

// Args are the arguments of a call of a Function, after checks and defaults.
type Args struct{ c *call }

// Value returns argument i (0-based), nil when null. Lists are []any.
func (a *Args) Value(i int) any { return a.c.args[i] }

// String returns argument i as a string, "" when null.
func (a *Args) String(i int) string { s, _ := a.c.args[i].(string); return s }

// Int returns argument i as an integer, 0 when null.
func (a *Args) Int(i int) int64 { n, _ := a.c.args[i].(int64); return n }

// Bool returns argument i as a boolean, false when null.
func (a *Args) Bool(i int) bool { b, _ := a.c.args[i].(bool); return b }

// Rest returns the values of the "*" parameter.
func (a *Args) Rest() []any { return a.c.rest }

// Var returns the variable of this name as seen by the caller.
func (a *Args) Var(name string) any { return a.c.scope.lookup(newVar(0, name)) }

// Call evaluates the func parameter i with the given $1, $2 ...
func (a *Args) Call(i int, args ...any) (any, error) { return a.c.invoke(i, args...) }

// Register adds a function. Functions of one name in one context are
// overloads, tried in order; they hide nothing of the parents unless they match.
func (c *Context) Register(f Function) error {
	o, err := parseSignature(f.Sig)
	if err != nil {
		return err
	}
	o.isMethod, o.isFunc = f.Method || f.MethodOnly, !f.MethodOnly
	o.impl = func(call *call) (any, error) {
		if err := call.materialize(o); err != nil {
			return nil, err
		}
		v, err := f.Call(call.ev.ctx, &Args{call})
		if err != nil {
			return nil, &Error{Kind: ErrFunction, Message: fmt.Sprintf("%s: %v", o.name, err), Err: err}
		}
		return norm(v), nil
	}
	c.add(o)
	return nil
}

// materialize makes lists of the lazy sequences among the arguments, so that
// a caller's function never meets one.
func (c *call) materialize(o *overload) error {
	for i, p := range o.params {
		var err error
		switch {
		case c.args[i] == nil:
		case p.typ == typIter:
			c.args[i], err = c.list(i)
		case p.typ == typAny:
			c.args[i], err = c.ev.finish(c.args[i], 0)
		}
		if err != nil {
			return err
		}
	}
	for i, v := range c.rest {
		var err error
		if c.rest[i], err = c.ev.finish(v, 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *Context) add(o *overload) {
	if c.funcs == nil {
		c.funcs = make(map[string][]*overload)
	}
	c.funcs[o.name] = append(c.funcs[o.name], o)
}
