package hot

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

type exprKind uint8

const (
	exprLit exprKind = iota
	exprList
	exprMap
	exprCall
)

// Expr is a value of a template that may contain intrinsic functions. It is immutable and shared.
type Expr struct {
	kind exprKind
	node *yaml11.Node
	path string
	lit  any
	keys []string
	subs []*Expr   // list items or map values
	fn   *function // call
	arg  *Expr     // call: argument as written

	hidden bool // the value is or holds that of a hidden parameter
	faulty bool // call: the argument has the wrong shape, which is told already
}

// Pos returns file:line:column of the expression.
func (e *Expr) Pos() string {
	if e == nil {
		return ""
	}
	return e.node.Pos()
}

// Path returns the place in the template, such as resources.net.properties.name.
func (e *Expr) Path() string {
	if e == nil {
		return ""
	}
	return e.path
}

// Node returns the YAML node the expression was parsed from.
func (e *Expr) Node() *yaml11.Node {
	if e == nil {
		return nil
	}
	return e.node
}

// Hidden tells whether the value is or holds that of a hidden parameter: it must not be shown to anybody.
func (e *Expr) Hidden() bool { return e != nil && e.hidden }

// Field returns the expression of a key of a literal map, nil if there is none.
func (e *Expr) Field(key string) *Expr {
	if e == nil || e.kind != exprMap {
		return nil
	}
	for i, k := range e.keys {
		if k == key {
			return e.subs[i]
		}
	}
	return nil
}

// Keys returns the keys of a literal map; ok is false for anything else (a function may give any keys).
func (e *Expr) Keys() (keys []string, ok bool) {
	if e == nil || e.kind != exprMap {
		return nil, false
	}
	return e.keys, true
}

// Literal returns the value of an expression that holds no function.
func (e *Expr) Literal() (any, bool) {
	if e == nil {
		return nil, true
	}
	switch e.kind {
	case exprLit:
		return e.lit, true
	case exprList:
		out := make([]any, len(e.subs))
		for i, s := range e.subs {
			v, ok := s.Literal()
			if !ok {
				return nil, false
			}
			out[i] = v
		}
		return out, true
	case exprMap:
		m := yaml11.NewMap()
		for i, s := range e.subs {
			v, ok := s.Literal()
			if !ok {
				return nil, false
			}
			m.Set(e.keys[i], v)
		}
		return m, true
	}
	return nil, false
}

// Func returns the name of the intrinsic function the expression calls, "" if it calls none.
func (e *Expr) Func() string {
	if e == nil || e.kind != exprCall {
		return ""
	}
	return e.fn.name
}

// show writes a computed value of the expression for a message.
func (e *Expr) show(v any) string {
	if e.Hidden() {
		return "(hidden)"
	}
	return Show(v)
}

// errorf returns an Error at the expression.
func (e *Expr) errorf(format string, args ...any) *Error {
	if e == nil {
		return &Error{Msg: fmt.Sprintf(format, args...)}
	}
	return errAt(e.node, e.path, format, args...)
}

// walk visits e and all below; visit returns false to stay out of a branch.
func (e *Expr) walk(visit func(*Expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	for _, s := range e.subs {
		s.walk(visit)
	}
	e.arg.walk(visit)
}

// exprParser turns nodes into expressions, given the functions of a template version.
type exprParser struct {
	d    *dialect
	errs *Errors
}

// parse builds the expression of n. Faults go to p.errs; the result is never nil.
func (p *exprParser) parse(n *yaml11.Node, path string) *Expr { return p.expr(n, path, false) }

// condition builds the expression of n in the place of a condition, where other functions exist.
func (p *exprParser) condition(n *yaml11.Node, path string) *Expr { return p.expr(n, path, true) }

func (p *exprParser) expr(n *yaml11.Node, path string, cond bool) *Expr {
	e := &Expr{node: n, path: path}
	switch n.Kind {
	case yaml11.Seq:
		e.kind = exprList
		e.subs = make([]*Expr, len(n.Items))
		for i, it := range n.Items {
			e.subs[i] = p.expr(it, path+"."+strconv.Itoa(i), cond)
		}
	case yaml11.Map:
		if len(n.Pairs) == 1 {
			if fn := p.function(n.Pairs[0], path, cond); fn != nil {
				return p.call(e, fn, n.Pairs[0], cond)
			}
		}
		e.kind = exprMap
		e.keys = make([]string, len(n.Pairs))
		e.subs = make([]*Expr, len(n.Pairs))
		for i, pr := range n.Pairs {
			e.keys[i] = pr.Key
			e.subs[i] = p.expr(pr.Value, path+"."+pr.Key, cond)
		}
	default:
		e.lit = n.Value()
	}
	return e
}

// function returns the function that a map with one key calls, nil if the map is data. A function that may
// not stand here is a fault.
func (p *exprParser) function(pr yaml11.Pair, path string, cond bool) *function {
	if p.d == nil {
		return nil
	}
	switch name := pr.Key; {
	case cond && p.d.conds[name] != nil:
		return p.d.conds[name]
	case cond && p.d.funcs[name] != nil:
		*p.errs = append(*p.errs, errAt(pr.KeyNode, path, "function %s cannot be used in a condition, expected one of %s", name, strings.Join(sortedNames(p.d.conds), ", ")))
	case p.d.gone[name]:
		*p.errs = append(*p.errs, errAt(pr.KeyNode, path, "function %s does not exist in heat_template_version %s any more", name, p.d.date))
	case !cond:
		return p.d.funcs[name]
	}
	return nil
}

func sortedNames(m map[string]*function) []string { return slices.Sorted(maps.Keys(m)) }

func (p *exprParser) call(e *Expr, fn *function, pr yaml11.Pair, cond bool) *Expr {
	e.kind, e.fn = exprCall, fn
	path := e.path + "." + pr.Key
	if fn.role == roleIf && pr.Value.Kind == yaml11.Seq {
		e.arg = &Expr{node: pr.Value, path: path, kind: exprList}
		for i, it := range pr.Value.Items {
			e.arg.subs = append(e.arg.subs, p.expr(it, path+"."+strconv.Itoa(i), cond || i == 0))
		}
	} else {
		e.arg = p.expr(pr.Value, path, cond)
	}
	if fn.check != nil {
		if err := fn.check(e.arg); err != nil {
			e.faulty = true
			*p.errs = append(*p.errs, err)
		}
	}
	return e
}

// At returns the expression at a key of a literal map or an index of a literal list, nil if there is none.
func (e *Expr) At(step string) *Expr {
	if e == nil {
		return nil
	}
	if e.kind == exprList {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(e.subs) {
			return nil
		}
		return e.subs[i]
	}
	return e.Field(step)
}
