package yaql

// collectionTable holds operations on lists and on any iterable.
func collectionTable() []entry {
	length := func(n func(v any) int) func(c *call) (any, error) {
		return func(c *call) (any, error) { return int64(n(c.args[0])), nil }
	}
	return []entry{
		{"list(*args)", fn, func(c *call) (any, error) { return c.expand() }},
		{"set(*args)", fn, func(c *call) (any, error) {
			items, err := c.expand()
			if err != nil {
				return nil, err
			}
			return NewSet(items...), nil
		}},
		{"flatten(collection: list)", meth, func(c *call) (any, error) { return c.ev.flatten(c.args[0], 0) }},
		{"len(sequence: tuple)", both, length(func(v any) int { return len(v.([]any)) })},
		{"len(set: set)", both, length(func(v any) int { return v.(*Set).Len() })},
		{"len(string: str)", both, length(func(v any) int { return len([]rune(v.(string))) })},
		{"len(dict: dict)", both, length(func(v any) int { m, _ := asMapping(v); return m.size() })},
		{"len(collection: seq)", both, func(c *call) (any, error) {
			n := int64(0)
			err := c.each(0, func(any) error { n++; return nil })
			return n, err
		}},
		{"contains(collection: list, value)", meth, func(c *call) (any, error) {
			return c.ev.in(c.args[1], c.args[0])
		}},
		{"delete(collection: list, position: pyint, count: pyint=1)", meth, func(c *call) (any, error) {
			return c.splice(c.int(1), c.int(2), nil, false)
		}},
		{"replace(collection: list, position: pyint, value, count: pyint=1)", meth, func(c *call) (any, error) {
			return c.splice(c.int(1), c.int(3), []any{c.args[2]}, true)
		}},
		{"replaceMany(collection: list, position: pyint, values: list, count: pyint=1)", meth, func(c *call) (any, error) {
			vals, err := c.list(2)
			if err != nil {
				return nil, err
			}
			return c.splice(c.int(1), c.int(3), vals, true)
		}},
		{"insert(collection: tuple, position: pyint, value)", meth, func(c *call) (any, error) {
			items := c.args[0].([]any)
			i := bound(c.int(1), len(items))
			out := append(make([]any, 0, len(items)+1), items[:i]...)
			return append(append(out, c.args[2]), items[i:]...), c.ev.charge(cell * (len(items) + 1))
		}},
		{"insert(collection: seq, position: pyint, value)", meth, func(c *call) (any, error) {
			return c.insertMany([]any{c.args[2]}, false)
		}},
		{"insertMany(collection: list, position: pyint, values: list)", meth, func(c *call) (any, error) {
			vals, err := c.list(2)
			if err != nil {
				return nil, err
			}
			return c.insertMany(vals, true)
		}},
		{"isList(arg)", fn, func(c *call) (any, error) { _, ok := c.args[0].([]any); return ok, nil }},
		{"isDict(arg)", fn, func(c *call) (any, error) { _, ok := asMapping(c.args[0]); return ok, nil }},
		{"isSet(arg)", fn, func(c *call) (any, error) { _, ok := c.args[0].(*Set); return ok, nil }},
	}
}

// expand makes a list of the arguments; lazy sequences are expanded, lists
// are elements.
func (c *call) expand() ([]any, error) {
	out := make([]any, 0, len(c.rest))
	for _, a := range c.rest {
		s, ok := a.(*seq)
		if !ok {
			out = append(out, a)
			continue
		}
		items, err := c.ev.drain(s)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
	}
	return out, c.ev.charge(cell * len(out))
}

func (ev *evaluator) flatten(v any, depth int) (any, error) {
	if depth > ev.opts.MaxDepth {
		return nil, errorf(ErrLimit, "flatten: lists are nested deeper than %d", ev.opts.MaxDepth)
	}
	out := []any{}
	err := ev.each(v, func(it any) error {
		if !iterable(it) {
			out = append(out, it)
			return ev.charge(cell)
		}
		inner, err := ev.flatten(it, depth+1)
		if err == nil {
			out = append(out, inner.([]any)...)
		}
		return err
	})
	return out, err
}

// splice drops count items from position on (all if count is negative) and
// puts vals in the place of the first of them. A negative position, or one
// behind the end, changes nothing.
func (c *call) splice(position, count int64, vals []any, replace bool) (any, error) {
	next, err := c.iter(0)
	i := int64(-1)
	var pending []any
	return lazy(func() (any, bool, error) {
		for {
			if len(pending) > 0 {
				v := pending[0]
				pending = pending[1:]
				return norm(v), true, nil
			}
			it, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			i++
			inside := position >= 0 && i >= position && (count < 0 || i < position+count)
			if !inside {
				return it, true, nil
			}
			if replace && i == position {
				pending = vals
			}
		}
	}), err
}

// insertMany puts vals before the item at position, or behind the end. A
// negative position puts many in front and a single value nowhere, as the
// original does.
func (c *call) insertMany(vals []any, many bool) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	i, position := int64(-1), c.int(1)
	var pending []any
	done := false
	if position < 0 {
		done = true
		if many {
			pending = vals
		}
	}
	var held any
	holding := false
	return lazy(func() (any, bool, error) {
		for {
			switch {
			case len(pending) > 0:
				v := pending[0]
				pending = pending[1:]
				return norm(v), true, nil
			case holding:
				holding = false
				return held, true, nil
			}
			it, ok, err := next()
			if err != nil {
				return nil, false, err
			}
			i++
			if !done && (!ok || i == position) {
				done, pending = true, vals
				held, holding = it, ok
				continue
			}
			return it, ok, nil
		}
	}), nil
}

func dictTable() []entry {
	setPairs := func(c *call) (any, error) {
		out, err := c.ev.mergeFlat(c.dict(0), NewMap(0))
		if err != nil {
			return nil, err
		}
		return out, c.putRules(out.(*Map))
	}
	return []entry{
		{"dict()", fn | rules, func(c *call) (any, error) {
			m := NewMap(len(c.rules))
			return m, c.putRules(m)
		}},
		{"dict(items: list)", fn | rules, func(c *call) (any, error) {
			m := NewMap(8)
			err := c.each(0, func(it any) error {
				kv, err := c.ev.pairOf(it)
				if err == nil {
					m.Set(kv[0], kv[1])
					err = c.ev.charge(3 * cell)
				}
				return err
			})
			return m, err
		}},
		{"get(dict: dict, key, default=null)", meth, func(c *call) (any, error) {
			if v, ok := c.dict(0).get(c.args[1]); ok {
				return norm(v), nil
			}
			return c.args[2], nil
		}},
		{"set(dict: dict, key, value)", meth | rules, func(c *call) (any, error) {
			out, err := c.ev.mergeFlat(c.dict(0), MapOf(c.args[1], c.args[2]))
			return out, err
		}},
		{"set(dict: dict, replacements: dict)", meth | rules, func(c *call) (any, error) {
			return c.ev.mergeFlat(c.dict(0), c.dict(1))
		}},
		{"set(dict: dict)", meth | rules, setPairs},
	}
}

// dictViewTable holds what takes dicts apart.
func dictViewTable() []entry {
	return []entry{
		{"keys(dict: dict)", meth, func(c *call) (any, error) {
			keys, _, err := c.entries()
			return &Set{items: keys}, err
		}},
		{"values(dict: dict)", meth, func(c *call) (any, error) {
			_, vals, err := c.entries()
			return vals, err
		}},
		{"items(dict: dict)", meth, func(c *call) (any, error) {
			keys, vals, err := c.entries()
			for i, k := range keys {
				keys[i] = []any{k, vals[i]}
			}
			return &Set{items: keys}, err
		}},
		{"containsKey(dict: dict, key)", meth, func(c *call) (any, error) {
			_, ok := c.dict(0).get(c.args[1])
			return ok, nil
		}},
		{"containsValue(dict: dict, value)", meth, func(c *call) (any, error) {
			found := false
			c.dict(0).each(func(_, v any) bool {
				found = equal(v, c.args[1])
				return !found
			})
			return found, nil
		}},
		{"delete(dict: dict, *keys)", meth, func(c *call) (any, error) { return c.without(c.rest) }},
		{"deleteAll(dict: dict, keys: list)", meth, func(c *call) (any, error) {
			keys, err := c.list(1)
			if err != nil {
				return nil, err
			}
			return c.without(keys)
		}},
		{"toDict(collection: list, keySelector: func, valueSelector: func=null)", meth, func(c *call) (any, error) {
			m := NewMap(8)
			err := c.each(0, func(it any) error {
				k, err := c.invoke1(1, it)
				if err != nil {
					return err
				}
				v, err := c.selected(2, it)
				if err != nil {
					return err
				}
				m.Set(k, v)
				return c.ev.charge(3 * cell)
			})
			return m, err
		}},
	}
}

func (c *call) putRules(m *Map) error {
	for _, r := range c.rules {
		k, err := c.ev.eval(r.key.body, r.key.scope)
		if err != nil {
			return err
		}
		v, err := c.ev.eval(r.val.body, r.val.scope)
		if err != nil {
			return err
		}
		m.Set(k, v)
	}
	return c.ev.charge(3 * cell * len(c.rules))
}

func (ev *evaluator) pairOf(v any) ([]any, error) {
	if !iterable(v) {
		return nil, errorf(ErrValue, "dict: an item is a %s, not a pair", typeName(v))
	}
	kv, err := ev.list(v)
	if err == nil && len(kv) != 2 {
		err = errorf(ErrKey, "dict: an item has %d elements, not 2", len(kv))
	}
	return kv, err
}

func (c *call) entries() (keys, vals []any, err error) {
	m := c.dict(0)
	keys, vals = make([]any, 0, m.size()), make([]any, 0, m.size())
	m.each(func(k, v any) bool {
		keys, vals = append(keys, k), append(vals, norm(v))
		return true
	})
	return keys, vals, c.ev.charge(2 * cell * len(keys))
}

func (c *call) without(keys []any) (any, error) {
	gone := NewSet(keys...)
	out := NewMap(c.dict(0).size())
	c.dict(0).each(func(k, v any) bool {
		if !gone.Has(k) {
			out.Set(k, v)
		}
		return true
	})
	return out, c.ev.charge(3 * cell * out.Len())
}

func setTable() []entry {
	two := func(f func(a, b *Set) *Set) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			out := f(c.args[0].(*Set), c.args[1].(*Set))
			return out, c.ev.charge(3 * cell * out.Len())
		}
	}
	return []entry{
		{"toSet(collection: list)", meth, func(c *call) (any, error) {
			s := NewSet()
			err := c.each(0, func(it any) error { s.add(it); return c.ev.charge(3 * cell) })
			return s, err
		}},
		{"add(set: set, *values)", meth, func(c *call) (any, error) {
			return union(c.args[0].(*Set), NewSet(c.rest...)), nil
		}},
		{"remove(set: set, *values)", meth, func(c *call) (any, error) {
			return difference(c.args[0].(*Set), NewSet(c.rest...)), nil
		}},
		{"union(left: set, right: set)", meth, two(union)},
		{"difference(left: set, right: set)", meth, two(difference)},
		{"intersect(left: set, right: set)", meth, two(func(a, b *Set) *Set { return difference(a, difference(a, b)) })},
		{"symmetricDifference(left: set, right: set)", meth, two(func(a, b *Set) *Set {
			return union(difference(a, b), difference(b, a))
		})},
	}
}
