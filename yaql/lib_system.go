package yaql

// systemTable holds variables and assertions.
func systemTable() []entry {
	return []entry{
		{"let(*args, **)", fn, func(c *call) (any, error) {
			ctx := &Context{parent: c.scope, args: c.rest}
			for k, v := range c.kw.All() {
				if err := c.ev.bind(v); err != nil {
					return nil, err
				}
				ctx.Set(k.(string), v)
			}
			return ctx, c.bindRest()
		}},
		{"with(*args)", fn, func(c *call) (any, error) {
			return &Context{parent: c.scope, args: c.rest}, c.bindRest()
		}},
		{"def(name: str, func: func)", fn, func(c *call) (any, error) {
			ctx := &Context{parent: c.scope}
			l := c.args[1].(*lambda)
			ctx.local = &lambdaDef{c.str(0), &lambda{ev: l.ev, body: l.body, scope: ctx}} // it sees itself
			return ctx, nil
		}},
		{"unpack(sequence: list, *args: str)", meth, unpack},
		{"assert(obj, condition: func, message: str='Assertion failed')", meth, func(c *call) (any, error) {
			ok, err := c.invoke(1, c.args[0])
			if err == nil && !Truth(ok) {
				err = errorf(ErrValue, "%s", c.str(2))
			}
			return c.args[0], err
		}},
		{"call(name: str, args: list, kwargs: dict, receiver=absent)", fn, callByName},
	}
}

// branchTable holds the functions that choose.
func branchTable() []entry {
	return []entry{
		{"switch()", fn | rules, func(c *call) (any, error) {
			for _, r := range c.rules {
				k, err := r.key.ev.eval(r.key.body, r.key.scope)
				if err != nil {
					return nil, err
				}
				if Truth(k) {
					return r.val.ev.eval(r.val.body, r.val.scope)
				}
			}
			return nil, nil
		}},
		{"coalesce(*args: func)", fn, func(c *call) (any, error) {
			for _, a := range c.rest {
				l := a.(*lambda)
				v, err := c.ev.eval(l.body, l.scope)
				if err != nil || v != nil {
					return v, err
				}
			}
			return nil, nil
		}},
		{"selectCase(*args: func)", fn, func(c *call) (any, error) {
			for i := range c.rest {
				ok, err := c.restTruth(i)
				if err != nil || ok {
					return int64(i), err
				}
			}
			return int64(len(c.rest)), nil
		}},
		{"selectAllCases(*args: func)", fn, func(c *call) (any, error) {
			i := 0
			return lazy(func() (any, bool, error) {
				for ; i < len(c.rest); i++ {
					ok, err := c.restTruth(i)
					if err != nil {
						return nil, false, err
					}
					if ok {
						i++
						return int64(i - 1), true, nil
					}
				}
				return nil, false, nil
			}), nil
		}},
		{"examine(*args: func)", fn, func(c *call) (any, error) {
			i := 0
			return lazy(func() (any, bool, error) {
				if i >= len(c.rest) {
					return nil, false, nil
				}
				i++
				ok, err := c.restTruth(i - 1)
				return ok, err == nil, err
			}), nil
		}},
		{"switchCase(case: pyint, *args: func)", meth, func(c *call) (any, error) {
			if len(c.rest) == 0 {
				return nil, nil
			}
			i := c.int(0)
			if i < 0 || i >= int64(len(c.rest)) {
				i = int64(len(c.rest)) - 1
			}
			l := c.rest[i].(*lambda)
			return c.ev.eval(l.body, l.scope)
		}},
		{"bool(value)", fn, func(c *call) (any, error) { return Truth(c.args[0]), nil }},
		{"isBoolean(value)", fn, func(c *call) (any, error) {
			_, ok := c.args[0].(bool)
			return ok, nil
		}},
	}
}

func (c *call) bindRest() error {
	for _, a := range c.rest {
		if err := c.ev.bind(a); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) restTruth(i int) (bool, error) {
	l := c.rest[i].(*lambda)
	v, err := c.ev.eval(l.body, l.scope)
	return Truth(v), err
}

func unpack(c *call) (any, error) {
	items, err := c.list(0)
	if err != nil {
		return nil, err
	}
	ctx := &Context{parent: c.scope}
	if len(c.rest) == 0 {
		ctx.args = items
		return ctx, nil
	}
	if len(c.rest) != len(items) {
		return nil, errorf(ErrValue, "cannot unpack %d elements into %d", len(items), len(c.rest))
	}
	for i, name := range c.rest {
		ctx.Set(name.(string), items[i])
	}
	return ctx, nil
}

// callByName calls a function, or a method if a receiver is given, with
// arguments that are values.
func callByName(c *call) (any, error) {
	args, err := c.list(1)
	if err != nil {
		return nil, err
	}
	n := &callNode{name: c.str(0)}
	for _, a := range args {
		n.args = append(n.args, &constNode{val: a})
	}
	c.dict(2).each(func(k, v any) bool {
		name, _ := k.(string)
		n.pairs = append(n.pairs, pair{&wordNode{name: name, val: name}, &constNode{val: v}})
		return true
	})
	if !c.has(3) {
		return c.ev.call(n, c.scope, nil, false)
	}
	return c.ev.call(n, c.scope, c.args[3], true)
}
