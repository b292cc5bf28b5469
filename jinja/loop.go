package jinja

// loopContext is the variable "loop" of a for statement.
type loopContext struct {
	rt       *runtime
	iterable any
	next     func() (any, bool, error)
	buffered []any // read ahead
	ended    bool
	index0   int
	depth0   int
	cur      any
	prev     any
	hasPrev  bool
	total    int // -1: unknown yet
	last     []any
	hasLast  bool
	recurse  func(v any, depth int) (string, error)
	err      error
}

func (l *loopContext) fill(n int) {
	for len(l.buffered) < n && !l.ended && l.err == nil {
		v, ok, err := l.next()
		if err != nil {
			l.err = err
			return
		}
		if !ok {
			l.ended = true
			return
		}
		l.buffered = append(l.buffered, v)
	}
}

// advance moves to the next item.
func (l *loopContext) advance() (any, bool, error) {
	l.fill(1)
	if l.err != nil {
		return nil, false, l.err
	}
	if len(l.buffered) == 0 {
		return nil, false, nil
	}
	if l.index0 >= 0 {
		l.prev, l.hasPrev = l.cur, true
	}
	l.cur = l.buffered[0]
	l.buffered = l.buffered[1:]
	l.index0++
	return l.cur, true, nil
}

func (l *loopContext) length() int {
	if l.total < 0 {
		if n, ok := length(l.iterable); ok {
			l.total = n
		} else {
			for !l.ended && l.err == nil && l.rt.step() == nil {
				l.fill(len(l.buffered) + 1)
			}
			l.total = l.index0 + 1 + len(l.buffered)
		}
	}
	return l.total
}

func (l *loopContext) lengthOrZero() int { return l.length() }

// pairs iterates as Jinja2's LoopContext does: the rest of the items, each with the loop.
func (l *loopContext) pairs() func() (any, bool, error) {
	return func() (any, bool, error) {
		v, ok, err := l.advance()
		if err != nil || !ok {
			return nil, false, err
		}
		return Tuple{v, l}, true, nil
	}
}

func (l *loopContext) attr(name string) (any, bool) {
	switch name {
	case "index":
		return l.index0 + 1, true
	case "index0":
		return l.index0, true
	case "revindex":
		return l.length() - l.index0, true
	case "revindex0":
		return l.length() - l.index0 - 1, true
	case "first":
		return l.index0 == 0, true
	case "last":
		l.fill(1)
		return len(l.buffered) == 0, true
	case "length":
		return l.length(), true
	case "depth":
		return l.depth0 + 1, true
	case "depth0":
		return l.depth0, true
	case "previtem":
		if !l.hasPrev {
			return l.rt.undefinedHint("there is no previous item"), true
		}
		return l.prev, true
	case "nextitem":
		l.fill(1)
		if len(l.buffered) == 0 {
			return l.rt.undefinedHint("there is no next item"), true
		}
		return l.buffered[0], true
	case "cycle":
		return &Func{Name: "cycle", Fn: func(c *Call) (any, error) {
			if len(c.Args) == 0 {
				return nil, typeErrorf("no items for cycling given")
			}
			return c.Args[l.index0%len(c.Args)], nil
		}}, true
	case "changed":
		return &Func{Name: "changed", Fn: func(c *Call) (any, error) {
			if l.hasLast && equalSeq(l.last, c.Args) {
				return false, nil
			}
			l.last, l.hasLast = c.Args, true
			return true, nil
		}}, true
	}
	return nil, false
}

func (l *loopContext) call(rt *runtime, c *Call) (any, error) {
	if l.recurse == nil {
		return nil, typeErrorf("The loop must have the 'recursive' marker to be called recursively.")
	}
	if len(c.Args) != 1 {
		return nil, typeErrorf("loop() takes one argument")
	}
	s, err := l.recurse(c.Args[0], l.depth0+1)
	return rt.captured(s), err
}

func (rt *runtime) loop(x *forStmt, v any, sc *scope, depth int) error {
	next, err := iterate(v)
	if err != nil {
		return err
	}
	iterable := v
	if x.cond != nil {
		next, iterable = rt.filtered(x, next, sc), nil
		// A filtered loop has no length of its own.
	}
	l := &loopContext{rt: rt, iterable: iterable, next: next, index0: -1, depth0: depth, total: -1}
	if x.cond != nil {
		l.iterable = &generator{name: "loop_filter_func", next: next}
	}
	if x.recursive {
		l.recurse = func(v any, depth int) (string, error) {
			return rt.capture(func() error { return rt.nested(func() error { return rt.loop(x, v, sc, depth) }) })
		}
	}
	ran := false
	for {
		item, ok, err := l.advance()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		ran = true
		if err := rt.step(); err != nil {
			return err
		}
		inner := sc.child()
		inner.vars = make(map[string]any, 4)
		if x.usesLoop || x.recursive {
			inner.vars["loop"] = l
		}
		if err := rt.assign(x.target, item, inner); err != nil {
			return err
		}
		ctl, err := rt.exec(x.body, inner)
		if err != nil {
			return err
		}
		if l.err != nil {
			return l.err
		}
		if ctl == ctlBreak {
			break
		}
	}
	if !ran && x.els != nil {
		_, err := rt.exec(x.els, sc.child())
		return err
	}
	return nil
}

// filtered is the generator of "for x in y if cond".
func (rt *runtime) filtered(x *forStmt, next func() (any, bool, error), sc *scope) func() (any, bool, error) {
	return func() (any, bool, error) {
		for {
			v, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			inner := sc.child()
			if err := rt.assign(x.target, v, inner); err != nil {
				return nil, false, err
			}
			keep, err := rt.evalBool(x.cond, inner)
			if err != nil {
				return nil, false, err
			}
			if keep {
				return v, true, nil
			}
			if err := rt.step(); err != nil {
				return nil, false, err
			}
		}
	}
}

// Macro is a macro as a value.
type Macro struct {
	name       string
	def        *macroStmt
	sc         *scope
	autoescape bool
}

func (m *Macro) attr(name string) (any, bool) {
	switch name {
	case "name":
		return m.name, true
	case "arguments":
		t := Tuple{}
		for _, p := range m.def.params {
			t = append(t, p)
		}
		return t, true
	case "catch_kwargs":
		return m.def.usesKwargs, true
	case "catch_varargs":
		return m.def.usesVarargs, true
	case "caller":
		return m.def.usesCaller, true
	}
	return nil, false
}

// call binds arguments as Jinja2's Macro does: unknown ones go to varargs and kwargs if the body reads these.
func (m *Macro) call(rt *runtime, c *Call) (any, error) {
	d := m.def
	sc := m.sc.barred()
	sc.vars = map[string]any{}
	n := min(len(c.Args), len(d.params))
	for i := range n {
		sc.vars[d.params[i]] = c.Args[i]
	}
	extra := &Dict{}
	var caller any
	if c.Kwargs != nil {
		for k, v := range c.Kwargs.All() {
			name := Str(k)
			idx := -1
			for i, p := range d.params {
				if p == name {
					idx = i
				}
			}
			switch {
			case idx >= 0 && idx < n:
				_ = extra.Set(name, v) // told below, as an argument that is not taken
			case idx >= 0:
				sc.vars[name] = v
			case name == "caller" && d.usesCaller:
				caller = v
			default:
				_ = extra.Set(name, v) // a string is hashable
			}
		}
	}
	if d.usesCaller {
		if _, ok := sc.vars["caller"]; !ok {
			if caller == nil {
				caller = rt.undefinedHint("No caller defined")
			}
			sc.vars["caller"] = caller
		}
	}
	if d.usesKwargs {
		sc.vars["kwargs"] = extra
	} else if extra.Len() > 0 {
		k := Str(extra.Keys()[0])
		if k == "caller" {
			return nil, typeErrorf("macro '%s' was invoked with two values for the special caller argument. This is most likely a bug.", m.name)
		}
		return nil, typeErrorf("macro '%s' takes no keyword argument '%s'", m.name, k)
	}
	if d.usesVarargs {
		sc.vars["varargs"] = append(Tuple{}, c.Args[n:]...)
	} else if len(c.Args) > len(d.params) {
		return nil, typeErrorf("macro '%s' takes not more than %d argument(s)", m.name, len(d.params))
	}
	return m.run(rt, sc)
}

func (m *Macro) run(rt *runtime, sc *scope) (any, error) {
	d := m.def
	first := len(d.params) - len(d.defaults)
	old := rt.autoescape
	rt.autoescape = m.autoescape
	defer func() { rt.autoescape = old }()
	text, err := rt.capture(func() error {
		return rt.nested(func() error {
			for i, p := range d.params {
				if _, ok := sc.vars[p]; ok {
					continue
				}
				if i < first {
					sc.vars[p] = rt.undefinedHint("parameter '" + p + "' was not provided")
					continue
				}
				v, err := rt.eval(d.defaults[i-first], sc)
				if err != nil {
					return err
				}
				sc.vars[p] = v
			}
			_, err := rt.exec(d.body, sc)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return rt.captured(text), nil
}
