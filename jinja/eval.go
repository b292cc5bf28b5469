package jinja

// eval computes an expression; an error gets the line of the innermost node that failed.
func (rt *runtime) eval(e expr, sc *scope) (any, error) {
	if err := rt.step(); err != nil {
		return nil, locate(err, sc.templateName(), e.pos())
	}
	if err := rt.enter(); err != nil {
		rt.depth--
		return nil, locate(err, sc.templateName(), e.pos())
	}
	v, err := rt.evalNode(e, sc)
	rt.depth--
	if err != nil {
		return nil, locate(err, sc.templateName(), e.pos())
	}
	return v, nil
}

func (rt *runtime) evalNode(e expr, sc *scope) (any, error) {
	switch x := e.(type) {
	case *constExpr:
		return x.val, nil
	case *nameExpr:
		return rt.resolve(x.name, sc), nil
	case *attrExpr:
		obj, err := rt.eval(x.obj, sc)
		if err != nil {
			return nil, err
		}
		return rt.getattr(obj, x.name)
	case *itemExpr:
		obj, err := rt.eval(x.obj, sc)
		if err != nil {
			return nil, err
		}
		key, err := rt.eval(x.key, sc)
		if err != nil {
			return nil, err
		}
		return rt.getitem(obj, key)
	case *sliceExpr:
		return rt.evalSlice(x, sc)
	case *listExpr:
		items, err := rt.evalAll(x.items, sc)
		return &List{Items: items}, err
	case *tupleExpr:
		items, err := rt.evalAll(x.items, sc)
		return Tuple(items), err
	case *dictExpr:
		return rt.evalDict(x, sc)
	case *callExpr:
		return rt.evalCall(x, sc)
	case *filterExpr:
		v, err := rt.eval(x.obj, sc)
		if err != nil {
			return nil, err
		}
		return rt.applyFilter(x, v, sc)
	case *testExpr:
		return rt.evalTest(x, sc)
	default:
		return rt.evalOperator(e, sc)
	}
}

func (rt *runtime) evalOperator(e expr, sc *scope) (any, error) {
	switch x := e.(type) {
	case *binExpr:
		a, err := rt.eval(x.a, sc)
		if err != nil {
			return nil, err
		}
		b, err := rt.eval(x.b, sc)
		if err != nil {
			return nil, err
		}
		return rt.binary(x.op, a, b)
	case *unaryExpr:
		a, err := rt.eval(x.a, sc)
		if err != nil {
			return nil, err
		}
		return unary(x.op, a)
	case *logicExpr:
		a, err := rt.eval(x.a, sc)
		if err != nil {
			return nil, err
		}
		t, err := truth(a)
		if err != nil || t == (x.op == "or") {
			return a, err
		}
		return rt.eval(x.b, sc)
	case *notExpr:
		t, err := rt.evalBool(x.a, sc)
		return !t, err
	case *concatExpr:
		return rt.evalConcat(x, sc)
	case *cmpExpr:
		a, err := rt.eval(x.first, sc)
		if err != nil {
			return nil, err
		}
		for i, op := range x.ops {
			b, err := rt.eval(x.rest[i], sc)
			if err != nil {
				return nil, err
			}
			ok, err := compare(op, a, b)
			if err != nil || !ok {
				return false, err
			}
			a = b
		}
		return true, nil
	case *condExpr:
		t, err := rt.evalBool(x.cond, sc)
		if err != nil {
			return nil, err
		}
		if t {
			return rt.eval(x.then, sc)
		}
		if x.els == nil {
			return rt.undefinedHint("the inline if-expression on line " + Str(x.line) + " in " + Repr(sc.templateName()) + " evaluated to false and no else section was defined."), nil
		}
		return rt.eval(x.els, sc)
	}
	return nil, errorf(RuntimeError, "unknown expression %T", e)
}

func (rt *runtime) evalBool(e expr, sc *scope) (bool, error) {
	v, err := rt.eval(e, sc)
	if err != nil {
		return false, err
	}
	t, err := truth(v)
	return t, locate(err, sc.templateName(), e.pos())
}

func (rt *runtime) evalAll(es []expr, sc *scope) ([]any, error) {
	out := make([]any, len(es))
	for i, e := range es {
		v, err := rt.eval(e, sc)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (rt *runtime) evalDict(x *dictExpr, sc *scope) (any, error) {
	d := &Dict{}
	for i := range x.keys {
		k, err := rt.eval(x.keys[i], sc)
		if err != nil {
			return nil, err
		}
		v, err := rt.eval(x.vals[i], sc)
		if err != nil {
			return nil, err
		}
		if err := d.Set(k, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (rt *runtime) evalConcat(x *concatExpr, sc *scope) (any, error) {
	parts, err := rt.evalAll(x.parts, sc)
	if err != nil {
		return nil, err
	}
	markup := rt.autoescape
	size := 0
	texts := make([]string, len(parts))
	for i, p := range parts {
		if u, ok := p.(*Undefined); ok && u.strict {
			return nil, u.err()
		}
		if _, ok := p.(Markup); ok {
			markup = true
		}
		texts[i] = Str(p)
		size += len(texts[i])
	}
	if err := rt.sized(size); err != nil {
		return nil, err
	}
	s := ""
	for i, t := range texts {
		if _, ok := parts[i].(Markup); markup && !ok {
			t = escapeHTML(t)
		}
		s += t
	}
	if markup {
		return Markup(s), nil
	}
	return s, nil
}

func (rt *runtime) evalSlice(x *sliceExpr, sc *scope) (any, error) {
	obj, err := rt.eval(x.obj, sc)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int
	for i, e := range []expr{x.start, x.stop, x.step} {
		if e == nil {
			continue
		}
		v, err := rt.eval(e, sc)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		n, ok := asInt(v)
		if !ok {
			return rt.undefinedOf(obj, "slice"), nil
		}
		bounds[i] = &n
	}
	if err := checkUndefined(obj); err != nil {
		return nil, err
	}
	return sliceOf(rt, obj, bounds)
}

func sliceOf(rt *runtime, obj any, b [3]*int) (any, error) {
	var items []any
	switch x := obj.(type) {
	case string:
		items = chars(x)
	case Markup:
		items = chars(string(x))
	case *List:
		items = x.Items
	case Tuple:
		items = x
	case *rangeValue:
		items, _ = rt.list(x)
	default:
		return rt.undefinedOf(obj, "slice"), nil
	}
	picked, err := pick(items, b)
	if err != nil {
		return nil, err
	}
	switch obj.(type) {
	case string, Markup:
		s := ""
		for _, it := range picked {
			s += it.(string)
		}
		if _, ok := obj.(Markup); ok {
			return Markup(s), nil
		}
		return s, nil
	case Tuple:
		return Tuple(picked), nil
	}
	return &List{Items: picked}, nil
}

// pick is Python's items[start:stop:step].
func pick(items []any, b [3]*int) ([]any, error) {
	n, step := len(items), 1
	if b[2] != nil {
		step = *b[2]
	}
	if step == 0 {
		return nil, valueErrorf("slice step cannot be zero")
	}
	lo, hi := 0, n
	if step < 0 {
		lo, hi = -1, n-1
	}
	norm := func(p *int, def int) int {
		if p == nil {
			return def
		}
		v := *p
		if v < 0 {
			v += n
		}
		return min(max(v, lo), hi)
	}
	out := []any{}
	if step > 0 {
		for i := norm(b[0], 0); i < norm(b[1], n); i += step {
			out = append(out, items[i])
			if step > n {
				break
			}
		}
		return out, nil
	}
	stop := -1
	if b[1] != nil {
		stop = norm(b[1], -1)
	}
	for i := norm(b[0], n-1); i > stop; i += step {
		out = append(out, items[i])
		if -step > n {
			break
		}
	}
	return out, nil
}

// getattr is Jinja2's a.name: first an attribute (a method), then an item.
func (rt *runtime) getattr(obj any, name string) (any, error) {
	if u, ok := obj.(*Undefined); ok {
		if u.mode == Chainable {
			return u, nil
		}
		return nil, u.err()
	}
	if v, ok := rt.attribute(obj, name); ok {
		return v, nil
	}
	if d, ok := obj.(*Dict); ok {
		if v, ok := d.Get(name); ok {
			return v, nil
		}
	}
	return rt.undefinedOf(obj, name), nil
}

// getitem is Jinja2's a[key]: first an item, then an attribute.
func (rt *runtime) getitem(obj, key any) (any, error) {
	switch x := obj.(type) {
	case *Undefined:
		if x.mode == Chainable {
			return x, nil
		}
		return nil, x.err()
	case *Dict:
		if v, ok := x.Get(key); ok {
			return v, nil
		}
	case *List:
		if v, ok := indexed(x.Items, key); ok {
			return v, nil
		}
	case Tuple:
		if v, ok := indexed(x, key); ok {
			return v, nil
		}
	case *namedTuple:
		if v, ok := indexed(x.Tuple, key); ok {
			return v, nil
		}
	case string, Markup:
		s, _ := asString(x)
		if v, ok := indexed(chars(s), key); ok {
			return v, nil
		}
	case *rangeValue:
		if i, ok := asInt(key); ok {
			if i < 0 {
				i += x.len()
			}
			if i >= 0 && i < x.len() {
				return x.at(i), nil
			}
		}
	}
	if s, ok := asString(key); ok {
		if v, ok := rt.attribute(obj, s); ok {
			return v, nil
		}
	}
	return rt.undefinedOf(obj, key), nil
}

func indexed(items []any, key any) (any, bool) {
	i, ok := asInt(key)
	if !ok {
		return nil, false
	}
	if i < 0 {
		i += len(items)
	}
	if i < 0 || i >= len(items) {
		return nil, false
	}
	return items[i], true
}

// attribute is Python's getattr without the items.
func (rt *runtime) attribute(obj any, name string) (any, bool) {
	switch x := obj.(type) {
	case *namespace:
		return x.vars.Get(name)
	case *loopContext:
		return x.attr(name)
	case *Macro:
		return x.attr(name)
	case *cycler:
		return x.attr(name)
	case Object:
		return x.GetAttr(name)
	}
	return rt.method(obj, name)
}

func (rt *runtime) evalArgs(a *callArgs, sc *scope, c *Call) error {
	for _, e := range a.pos {
		v, err := rt.eval(e, sc)
		if err != nil {
			return err
		}
		c.Args = append(c.Args, v)
	}
	if a.star != nil {
		v, err := rt.eval(a.star, sc)
		if err != nil {
			return err
		}
		items, err := rt.list(v)
		if err != nil {
			return err
		}
		c.Args = append(c.Args, items...)
	}
	if len(a.kwNames) > 0 || a.dstar != nil {
		c.Kwargs = &Dict{}
	}
	for i, n := range a.kwNames {
		v, err := rt.eval(a.kwVals[i], sc)
		if err != nil {
			return err
		}
		if err := c.Kwargs.Set(n, v); err != nil {
			return err
		}
	}
	if a.dstar != nil {
		v, err := rt.eval(a.dstar, sc)
		if err != nil {
			return err
		}
		d, ok := v.(*Dict)
		if !ok {
			return typeErrorf("argument after ** must be a mapping, not %s", typeName(v))
		}
		for k, val := range d.All() {
			if err := c.Kwargs.Set(k, val); err != nil {
				return err
			}
		}
	}
	return nil
}

func (rt *runtime) evalCall(x *callExpr, sc *scope) (any, error) {
	return rt.evalCallWith(x, sc, nil)
}

// evalCallWith calls, giving the macro of a call block as caller.
func (rt *runtime) evalCallWith(x *callExpr, sc *scope, caller *Macro) (any, error) {
	fn, err := rt.eval(x.fn, sc)
	if err != nil {
		return nil, err
	}
	c := &Call{rt: rt, sc: sc}
	if err := rt.evalArgs(&x.args, sc, c); err != nil {
		return nil, err
	}
	if caller != nil {
		if c.Kwargs == nil {
			c.Kwargs = &Dict{}
		}
		if err := c.Kwargs.Set("caller", caller); err != nil {
			return nil, err
		}
	}
	return rt.call(fn, c)
}

func (rt *runtime) call(fn any, c *Call) (any, error) {
	switch f := fn.(type) {
	case *Func:
		c.Name = f.Name
		return f.Fn(c)
	case *Macro:
		return f.call(rt, c)
	case *loopContext:
		return f.call(rt, c)
	case *superRef:
		if f.level >= len(f.sc.tc.blocks[f.name]) {
			return nil, errorf(UndefinedError, "there is no parent block called '%s'.", f.name)
		}
		text, err := rt.capture(func() error { return rt.renderBlock(f.name, f.level, f.sc) })
		return rt.captured(text), err
	case *joiner:
		return f.next(), nil
	case *Undefined:
		return nil, f.err()
	}
	return nil, typeErrorf("'%s' object is not callable", typeName(fn))
}

func (rt *runtime) applyFilter(x *filterExpr, v any, sc *scope) (any, error) {
	c := &Call{rt: rt, sc: sc, Name: x.name, Args: []any{v}}
	if err := rt.evalArgs(&x.args, sc, c); err != nil {
		return nil, err
	}
	f, ok := rt.env.filters[x.name]
	if !ok {
		return nil, errorf(RuntimeError, "No filter named '%s'.", x.name)
	}
	return f(c)
}

func (rt *runtime) evalTest(x *testExpr, sc *scope) (any, error) {
	v, err := rt.eval(x.obj, sc)
	if err != nil {
		return nil, err
	}
	c := &Call{rt: rt, sc: sc, Name: x.name, Args: []any{v}}
	if err := rt.evalArgs(&x.args, sc, c); err != nil {
		return nil, err
	}
	r, err := rt.env.tests[x.name](c)
	if err != nil {
		return nil, err
	}
	t, err := truth(r)
	return t != x.not, err
}
