package jinja

import (
	"errors"
	"strings"
)

func (rt *runtime) exec(body []stmt, sc *scope) (loopControl, error) {
	for _, s := range body {
		if err := rt.step(); err != nil {
			return 0, locate(err, sc.templateName(), s.pos())
		}
		ctl, err := rt.execOne(s, sc)
		if err != nil {
			return 0, locate(err, sc.templateName(), s.pos())
		}
		if ctl != ctlNone {
			return ctl, nil
		}
	}
	return ctlNone, nil
}

// muted tells whether output of this scope is dropped: the top level of a template that extends another.
func muted(sc *scope) bool {
	if sc.tc == nil || sc.tc.parent == nil {
		return false
	}
	for s := sc; s != nil; s = s.parent {
		if s.barrier {
			return false
		}
		if s == sc.tc.root {
			return true
		}
	}
	return false
}

func (rt *runtime) execOne(s stmt, sc *scope) (loopControl, error) {
	switch x := s.(type) {
	case *textStmt:
		if muted(sc) {
			return 0, nil
		}
		return 0, rt.write(x.text)
	case *outputStmt:
		if muted(sc) {
			return 0, nil
		}
		v, err := rt.eval(x.e, sc)
		if err != nil {
			return 0, err
		}
		return 0, rt.print(v)
	case *ifStmt:
		for i, c := range x.conds {
			t, err := rt.evalBool(c, sc)
			if err != nil {
				return 0, err
			}
			if t {
				return rt.exec(x.bodies[i], sc)
			}
		}
		return rt.exec(x.els, sc)
	case *forStmt:
		v, err := rt.eval(x.iter, sc)
		if err != nil {
			return 0, err
		}
		return 0, rt.loop(x, v, sc, 0)
	case *setStmt:
		v, err := rt.eval(x.val, sc)
		if err != nil {
			return 0, err
		}
		return 0, rt.assign(x.target, v, sc)
	case *ctlStmt:
		return x.ctl, nil
	case *doStmt:
		_, err := rt.eval(x.e, sc)
		return 0, err
	case *macroStmt:
		sc.set(x.name, &Macro{name: x.name, def: x, sc: sc, autoescape: rt.autoescape})
		return 0, nil
	default:
		return rt.execBlockish(s, sc)
	}
}

func (rt *runtime) execBlockish(s stmt, sc *scope) (loopControl, error) {
	switch x := s.(type) {
	case *setBlockStmt:
		return 0, rt.setBlock(x, sc)
	case *callStmt:
		m := &Macro{name: "caller", def: x.macro, sc: sc, autoescape: rt.autoescape}
		v, err := rt.evalCallWith(x.call.(*callExpr), sc, m)
		if err != nil || muted(sc) {
			return 0, err
		}
		return 0, rt.print(v)
	case *filterStmt:
		text, err := rt.capture(func() error { _, err := rt.exec(x.body, sc.barred()); return err })
		if err != nil {
			return 0, err
		}
		v, err := rt.filterChain(x.filter, rt.captured(text), sc)
		if err != nil || muted(sc) {
			return 0, err
		}
		return 0, rt.print(v)
	case *withStmt:
		inner := sc.child()
		vals, err := rt.evalAll(x.vals, sc)
		if err != nil {
			return 0, err
		}
		for i, t := range x.targets {
			if err := rt.assign(t, vals[i], inner); err != nil {
				return 0, err
			}
		}
		return rt.exec(x.body, inner)
	case *autoescapeStmt:
		t, err := rt.evalBool(x.val, sc)
		if err != nil {
			return 0, err
		}
		old := rt.autoescape
		rt.autoescape = t
		defer func() { rt.autoescape = old }()
		return rt.exec(x.body, sc.child())
	case *includeStmt:
		return 0, rt.include(x, sc)
	case *importStmt:
		m, err := rt.importModule(x.name, x.withContext, sc)
		if err == nil {
			sc.set(x.target, m)
		}
		return 0, err
	case *fromStmt:
		return 0, rt.fromImport(x, sc)
	case *extendsStmt:
		return 0, rt.extends(x, sc)
	case *blockStmt:
		return 0, rt.block(x, sc)
	}
	return 0, errorf(RuntimeError, "unknown statement %T", s)
}

// print writes a value as a print statement does.
func (rt *runtime) print(v any) error {
	if u, ok := v.(*Undefined); ok && u.strict {
		return u.err()
	}
	s := Str(v)
	if _, ok := v.(Markup); rt.autoescape && !ok {
		s = escapeHTML(s)
	}
	return rt.write(s)
}

func (rt *runtime) filterChain(f *filterExpr, v any, sc *scope) (any, error) {
	if inner, ok := f.obj.(*filterExpr); ok {
		var err error
		if v, err = rt.filterChain(inner, v, sc); err != nil {
			return nil, err
		}
	}
	r, err := rt.applyFilter(f, v, sc)
	return r, locate(err, sc.templateName(), f.line)
}

func (rt *runtime) setBlock(x *setBlockStmt, sc *scope) error {
	text, err := rt.capture(func() error { _, err := rt.exec(x.body, sc.barred()); return err })
	if err != nil {
		return err
	}
	v := rt.captured(text)
	if x.filter != nil {
		if v, err = rt.filterChain(x.filter, v, sc); err != nil {
			return err
		}
	}
	return rt.assign(x.target, v, sc)
}

func (rt *runtime) assign(target expr, v any, sc *scope) error {
	switch t := target.(type) {
	case *nameExpr:
		sc.set(t.name, v)
		return nil
	case *attrExpr:
		obj, err := rt.eval(t.obj, sc)
		if err != nil {
			return err
		}
		ns, ok := obj.(*namespace)
		if !ok {
			return errorf(RuntimeError, "cannot assign attribute on non-namespace object")
		}
		return ns.vars.Set(t.name, v)
	case *tupleExpr:
		items, err := rt.list(v)
		if err != nil {
			if _, ok := v.(*Undefined); ok {
				return err
			}
			return typeErrorf("cannot unpack non-iterable %s object", typeName(v))
		}
		if len(items) < len(t.items) {
			return valueErrorf("not enough values to unpack (expected %d, got %d)", len(t.items), len(items))
		}
		if len(items) > len(t.items) {
			return valueErrorf("too many values to unpack (expected %d)", len(t.items))
		}
		for i, it := range t.items {
			if err := rt.assign(it, items[i], sc); err != nil {
				return err
			}
		}
		return nil
	}
	return errorf(RuntimeError, "cannot assign to %T", target)
}

// loadAny loads the first template that exists of a name, a list of names, or a template value.
func (rt *runtime) loadAny(v any) (*Template, error) {
	if err := checkUndefined(v); err != nil {
		return nil, err
	}
	if s, ok := asString(v); ok {
		return rt.env.get(rt.ctx, s)
	}
	names, err := rt.list(v)
	if err != nil {
		return nil, err
	}
	var tried []string
	for _, n := range names {
		s, ok := asString(n)
		if !ok {
			return nil, typeErrorf("a template name must be a string, not %s", typeName(n))
		}
		t, err := rt.env.get(rt.ctx, s)
		if !errors.Is(err, ErrNotFound) {
			return t, err
		}
		tried = append(tried, s)
	}
	return nil, &Error{Kind: NoneFound, Message: "none of the templates given were found: " + strings.Join(tried, ", "), cause: ErrNotFound}
}

func (rt *runtime) include(x *includeStmt, sc *scope) error {
	v, err := rt.eval(x.name, sc)
	if err != nil {
		return err
	}
	t, err := rt.loadAny(v)
	if err != nil {
		if x.ignoreMissing && errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	top := &scope{}
	if x.withContext {
		top = sc
	}
	run := func() error { return rt.nested(func() error { _, err := rt.renderTemplate(t, top); return err }) }
	if muted(sc) {
		_, err := rt.capture(run)
		return err
	}
	return run()
}

func (rt *runtime) importModule(name expr, withContext bool, sc *scope) (*module, error) {
	v, err := rt.eval(name, sc)
	if err != nil {
		return nil, err
	}
	t, err := rt.loadAny(v)
	if err != nil {
		return nil, err
	}
	top := &scope{}
	if withContext {
		top = sc
	}
	m := &module{}
	m.body, err = rt.capture(func() error {
		return rt.nested(func() error {
			var err error
			m.tc, err = rt.renderTemplate(t, top)
			return err
		})
	})
	return m, err
}

func (rt *runtime) fromImport(x *fromStmt, sc *scope) error {
	m, err := rt.importModule(x.name, x.withContext, sc)
	if err != nil {
		return err
	}
	for i, n := range x.names {
		v, ok := m.GetAttr(n)
		if !ok {
			v = rt.undefinedHint("the template " + Repr(m.tc.tmpl.name) + " (imported on line " + Str(x.line) + " in " + Repr(sc.templateName()) + ") does not export the requested name " + Repr(n))
		}
		sc.set(x.aliases[i], v)
	}
	return nil
}

func (rt *runtime) extends(x *extendsStmt, sc *scope) error {
	v, err := rt.eval(x.name, sc)
	if err != nil {
		return err
	}
	if sc.tc.parent != nil {
		return errorf(RuntimeError, "extended multiple times")
	}
	t, err := rt.loadAny(v)
	if err != nil {
		return err
	}
	for n, b := range t.blocks {
		sc.tc.blocks[n] = append(sc.tc.blocks[n], blockImpl{b, t})
	}
	sc.tc.parent = t
	return nil
}

func (rt *runtime) block(x *blockStmt, sc *scope) error {
	if sc.tc.parent != nil {
		return nil
	}
	bs := sc.tc.root
	if x.scoped {
		bs = sc
	}
	return rt.renderBlock(x.name, 0, bs)
}
