package yaql

// queryTable holds the queries that ask a question of each item of a list, set or sequence, most of them lazy.
func queryTable() []entry {
	where := func(c *call) (any, error) { return c.filter(1) }
	sel := func(c *call) (any, error) { return c.mapped(1) }
	limit := func(c *call) (any, error) { return limitSeq(c) }
	return []entry{
		{"where(collection: list, predicate: func)", meth, where},
		{"filter(collection: list, predicate: func)", meth, where},
		{"select(collection: list, selector: func)", meth, sel},
		{"map(collection: list, selector: func)", meth, sel},
		{"limit(collection: list, count: pyint)", meth, limit},
		{"take(collection: list, count: pyint)", meth, limit},
		{"skip(collection: list, count: pyint)", meth, skip},
		{"append(collection: list, *args)", both, func(c *call) (any, error) { return c.ev.chain(c.args[0], c.rest) }},
		{"distinct(collection: list, keySelector: func=null)", both, distinct},
		{"enumerate(collection: list, start: pyint?=0)", both, enumerate},
		{"any(collection: list, predicate: func=null)", both, func(c *call) (any, error) {
			found := false
			err := c.until(func(it any) (bool, error) {
				if !c.has(1) {
					found = true
					return true, nil
				}
				v, err := c.invoke1(1, it)
				found = Truth(v)
				return found, err
			})
			return found, err
		}},
		{"all(collection: list, predicate: func=null)", both, func(c *call) (any, error) {
			all := true
			err := c.until(func(it any) (bool, error) {
				v, err := it, error(nil)
				if c.has(1) {
					v, err = c.invoke1(1, it)
				}
				all = Truth(v)
				return !all, err
			})
			return all, err
		}},
		{"concat(*collections: list)", fn, func(c *call) (any, error) { return c.ev.chain(c.rest...) }},
		{"concat(first: list, *collections: list)", meth, func(c *call) (any, error) {
			return c.ev.chain(append([]any{c.args[0]}, c.rest...)...)
		}},
		{"count(collection: list)", meth, func(c *call) (any, error) {
			n := int64(0)
			err := c.each(0, func(any) error { n++; return nil })
			return n, err
		}},
		{"memorize(collection: list)", meth, func(c *call) (any, error) {
			if s, ok := c.args[0].(*seq); ok {
				return c.memorize(s)
			}
			return c.args[0], nil
		}},
		{"toList(collection: list)", meth, func(c *call) (any, error) { return c.list(0) }},
		{"cycle(collection: list)", meth, cycle},
		{"takeWhile(collection: list, predicate: func)", meth, takeWhile},
		{"skipWhile(collection: list, predicate: func)", meth, skipWhile},
	}
}

// positionTable holds what takes items or parts of a sequence by where they are.
func positionTable() []entry {
	return []entry{
		{"first(collection: list, default=absent)", meth, func(c *call) (any, error) {
			next, err := c.iter(0)
			if err != nil {
				return nil, err
			}
			v, ok, err := next()
			if err != nil || ok {
				return v, err
			}
			return c.orDefault(1)
		}},
		{"last(collection: list, default=absent)", meth, func(c *call) (any, error) {
			items, err := c.list(0)
			if err != nil {
				return nil, err
			}
			if len(items) > 0 {
				return norm(items[len(items)-1]), nil
			}
			return c.orDefault(1)
		}},
		{"single(collection: list)", meth, single},
		{"selectMany(collection: list, selector: func)", meth, selectMany},
		{"indexOf(collection: list, item)", meth, func(c *call) (any, error) {
			return c.position(false, func(it any) (bool, error) { return equal(it, c.args[1]), nil })
		}},
		{"lastIndexOf(collection: list, item)", meth, func(c *call) (any, error) {
			return c.position(true, func(it any) (bool, error) { return equal(it, c.args[1]), nil })
		}},
		{"indexWhere(collection: list, predicate: func)", meth, func(c *call) (any, error) {
			return c.position(false, c.predicate(1))
		}},
		{"lastIndexWhere(collection: list, predicate: func)", meth, func(c *call) (any, error) {
			return c.position(true, c.predicate(1))
		}},
		{"slice(collection: list, length: pyint)", meth, slice},
		{"sliceWhere(collection: list, predicate: func)", meth, sliceWhere},
		{"splitWhere(collection: list, predicate: func)", meth, splitWhere},
		{"splitAt(collection: list, index: pyint)", meth, func(c *call) (any, error) {
			items, err := c.list(0)
			if err != nil {
				return nil, err
			}
			i := bound(c.int(1), len(items))
			return []any{items[:i:i], items[i:]}, nil
		}},
	}
}

// foldTable holds what makes one value, or another sequence, of whole sequences.
func foldTable() []entry {
	agg := func(c *call) (any, error) {
		return c.reduce(0, 2, func(a, b any) (any, error) { return c.invoke(1, a, b) })
	}
	return []entry{
		{"aggregate(collection: list, selector: func, seed=absent)", meth, agg},
		{"reduce(collection: list, selector: func, seed=absent)", meth, agg},
		{"accumulate(collection: list, selector: func, seed=absent)", meth, accumulate},
		{"sum(collection: list, initial=absent)", meth, func(c *call) (any, error) {
			return c.reduce(0, 1, c.ev.plus)
		}},
		{"max(collection: list, initial=absent)", meth, func(c *call) (any, error) { return c.reduce(0, 1, c.ev.extreme(">")) }},
		{"min(collection: list, initial=absent)", meth, func(c *call) (any, error) { return c.reduce(0, 1, c.ev.extreme("<")) }},
		{"groupBy(collection: list, keySelector: func, valueSelector: func=null, aggregator: func=null)", meth, groupBy},
		{"join(collection1: list, collection2: list, predicate: func, selector: func)", meth, join},
		{"zip(collection: list, *collections: list)", meth, func(c *call) (any, error) { return zip(c, false, nil) }},
		{"zipLongest(collection: list, *collections: list, **)", meth, func(c *call) (any, error) {
			return zip(c, true, c.kw.Value("default"))
		}},
		{"repeat(value, times: pyint=-1)", meth, func(c *call) (any, error) {
			n := c.int(1)
			return lazy(func() (any, bool, error) {
				if n == 0 {
					return nil, false, nil
				}
				n--
				return c.args[0], true, nil
			}), nil
		}},
		{"reverse(collection: list)", meth, func(c *call) (any, error) {
			items, err := c.list(0)
			if err != nil {
				return nil, err
			}
			out := make([]any, len(items))
			for i, it := range items {
				out[len(items)-1-i] = it
			}
			return out, nil
		}},
		{"mergeWith(dict: dict, another: dict, listMerger: func=null, itemMerger: func=null, maxLevels: pyint=0)", meth, mergeWith},
		{"isIterable(value)", fn, func(c *call) (any, error) { return iterable(c.args[0]), nil }},
		{"defaultIfEmpty(collection: list, default: list)", meth, func(c *call) (any, error) {
			next, err := c.iter(0)
			if err != nil {
				return nil, err
			}
			first, ok, err := next()
			if err != nil || !ok {
				return c.args[1], err
			}
			return c.ev.chain([]any{first}, lazy(next))
		}},
	}
}

func bound(i int64, n int) int {
	if i < 0 {
		i += int64(n)
	}
	return int(min(max(i, 0), int64(n)))
}

func (c *call) predicate(i int) func(any) (bool, error) {
	return func(it any) (bool, error) {
		v, err := c.invoke1(i, it)
		return Truth(v), err
	}
}

func (c *call) orDefault(i int) (any, error) {
	if _, none := c.args[i].(absent); none {
		return nil, errorf(ErrKey, "%s: the sequence is empty", c.name)
	}
	return c.args[i], nil
}

// until calls f with the items of argument 0 until f reports true.
func (c *call) until(f func(it any) (bool, error)) error {
	next, err := c.iter(0)
	if err != nil {
		return err
	}
	for {
		it, ok, err := next()
		if err != nil || !ok {
			return err
		}
		if stop, err := f(it); err != nil || stop {
			return err
		}
	}
}

func (c *call) filter(pred int) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	return lazy(func() (any, bool, error) {
		for {
			it, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			v, err := c.invoke1(pred, it)
			if err != nil {
				return nil, false, err
			}
			if Truth(v) {
				return it, true, nil
			}
		}
	}), nil
}

func (c *call) mapped(sel int) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	return lazy(func() (any, bool, error) {
		it, ok, err := next()
		if err != nil || !ok {
			return nil, false, err
		}
		v, err := c.invoke1(sel, it)
		return v, err == nil, err
	}), nil
}

func limitSeq(c *call) (any, error) {
	n := c.int(1)
	if n < 0 {
		return nil, errorf(ErrValue, "%s: count %d is negative", c.name, n)
	}
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	return lazy(func() (any, bool, error) {
		if n <= 0 {
			return nil, false, nil
		}
		n--
		return next()
	}), nil
}

func skip(c *call) (any, error) {
	n := c.int(1)
	if n < 0 {
		return nil, errorf(ErrValue, "skip: count %d is negative", n)
	}
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	return lazy(func() (any, bool, error) {
		for ; n > 0; n-- {
			if _, ok, err := next(); err != nil || !ok {
				return nil, false, err
			}
		}
		return next()
	}), nil
}

func distinct(c *call) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	seen := map[any]struct{}{}
	return lazy(func() (any, bool, error) {
		for {
			it, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			k := it
			if c.has(1) {
				if k, err = c.invoke1(1, it); err != nil {
					return nil, false, err
				}
			}
			h := hashKey(k)
			if _, dup := seen[h]; !dup {
				seen[h] = struct{}{}
				return it, true, c.ev.charge(3 * cell)
			}
		}
	}), nil
}

func enumerate(c *call) (any, error) {
	if c.args[1] == nil {
		return nil, errorf(ErrValue, "enumerate: the start is null")
	}
	next, err := c.iter(0)
	i := c.int(1) - 1
	return lazy(func() (any, bool, error) {
		it, ok, err := next()
		i++
		return []any{i, it}, ok, err
	}), err
}

func cycle(c *call) (any, error) {
	next, err := c.iter(0)
	var items []any
	i, ended := -1, false
	return lazy(func() (any, bool, error) {
		if !ended {
			it, ok, err := next()
			if err != nil {
				return nil, false, err
			}
			if ok {
				items = append(items, it)
				return it, true, c.ev.charge(cell)
			}
			ended = true
		}
		if len(items) == 0 {
			return nil, false, nil
		}
		i++
		return items[i%len(items)], true, nil
	}), err
}

// memorize makes a sequence that can be read again: what was read is kept.
func (c *call) memorize(s *seq) (any, error) {
	next, err := c.ev.iter(s)
	var kept []any
	return &seq{again: func() func() (any, bool, error) {
		i := 0
		return func() (any, bool, error) {
			if i == len(kept) {
				it, ok, err := next()
				if err != nil || !ok {
					return nil, false, err
				}
				kept = append(kept, it)
				if err := c.ev.charge(cell); err != nil {
					return nil, false, err
				}
			}
			i++
			return kept[i-1], true, nil
		}
	}}, err
}

func takeWhile(c *call) (any, error) {
	next, err := c.iter(0)
	return lazy(func() (any, bool, error) {
		it, ok, err := next()
		if err != nil || !ok {
			return nil, false, err
		}
		v, err := c.invoke1(1, it)
		return it, err == nil && Truth(v), err
	}), err
}

func skipWhile(c *call) (any, error) {
	next, err := c.iter(0)
	skipping := true
	return lazy(func() (any, bool, error) {
		for {
			it, ok, err := next()
			if err != nil || !ok || !skipping {
				return it, ok, err
			}
			v, err := c.invoke1(1, it)
			if err != nil {
				return nil, false, err
			}
			if !Truth(v) {
				skipping = false
				return it, true, nil
			}
		}
	}), err
}

func single(c *call) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	v, ok, err := next()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errorf(ErrKey, "single: the sequence is empty")
	}
	if _, more, err := next(); err != nil || more {
		if err == nil {
			err = errorf(ErrKey, "single: the sequence has more than one item")
		}
		return nil, err
	}
	return v, nil
}

func selectMany(c *call) (any, error) {
	next, err := c.iter(0)
	var inner iterator
	return lazy(func() (any, bool, error) {
		for {
			if inner != nil {
				v, ok, err := inner()
				if err != nil || ok {
					return v, ok, err
				}
				inner = nil
			}
			it, ok, err := next()
			if err != nil || !ok {
				return nil, false, err
			}
			v, err := c.invoke1(1, it)
			if err != nil {
				return nil, false, err
			}
			if !iterable(v) {
				return v, true, nil
			}
			if inner, err = c.ev.iter(v); err != nil {
				return nil, false, err
			}
		}
	}), err
}

func (c *call) position(last bool, pred func(any) (bool, error)) (any, error) {
	i, found := int64(-1), int64(-1)
	err := c.until(func(it any) (bool, error) {
		i++
		ok, err := pred(it)
		if ok {
			found = i
		}
		return ok && !last, err
	})
	return found, err
}

func (c *call) reduce(coll, seed int, f func(a, b any) (any, error)) (any, error) {
	acc, none := c.args[seed], false
	if _, none = acc.(absent); none {
		acc = nil
	}
	err := c.each(coll, func(it any) (err error) {
		if none {
			acc, none = it, false
			return nil
		}
		acc, err = f(acc, it)
		return err
	})
	if err == nil && none {
		err = errorf(ErrValue, "%s: the sequence is empty and no initial value is given", c.name)
	}
	return acc, err
}

func (ev *evaluator) extreme(op string) func(a, b any) (any, error) {
	return func(a, b any) (any, error) {
		ok, err := ev.compare(op, b, a)
		if ok {
			return b, err
		}
		return a, err
	}
}

func accumulate(c *call) (any, error) {
	next, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	acc, started := c.args[2], false
	return lazy(func() (any, bool, error) {
		if !started {
			started = true
			if _, none := acc.(absent); !none {
				return acc, true, nil
			}
			v, ok, err := next()
			if err == nil && !ok {
				err = errorf(ErrValue, "accumulate: the sequence is empty and no initial value is given")
			}
			acc = v
			return v, ok, err
		}
		it, ok, err := next()
		if err != nil || !ok {
			return nil, false, err
		}
		acc, err = c.invoke(1, acc, it)
		return acc, err == nil, err
	}), nil
}

func join(c *call) (any, error) {
	left, err := c.iter(0)
	if err != nil {
		return nil, err
	}
	right, err := c.list(1)
	var l any
	at := len(right)
	return lazy(func() (any, bool, error) {
		for {
			if at >= len(right) {
				var ok bool
				var err error
				if l, ok, err = left(); err != nil || !ok {
					return nil, false, err
				}
				at = 0
				continue
			}
			r := norm(right[at])
			at++
			ok, err := c.invoke(2, l, r)
			if err != nil {
				return nil, false, err
			}
			if Truth(ok) {
				v, err := c.invoke(3, l, r)
				return v, err == nil, err
			}
		}
	}), err
}

func zip(c *call, longest bool, fill any) (any, error) {
	its := make([]iterator, 0, len(c.rest)+1)
	for _, v := range append([]any{c.args[0]}, c.rest...) {
		it, err := c.ev.iter(v)
		if err != nil {
			return nil, err
		}
		its = append(its, it)
	}
	return lazy(func() (any, bool, error) {
		row := make([]any, len(its))
		got := 0
		for i, it := range its {
			v, ok, err := it()
			if err != nil {
				return nil, false, err
			}
			if !ok {
				if !longest {
					return nil, false, nil
				}
				v = fill
			} else {
				got++
			}
			row[i] = v
		}
		return row, got > 0, c.ev.charge(cell * len(row))
	}), nil
}
