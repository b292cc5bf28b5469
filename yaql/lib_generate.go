package yaql

// generatorTable holds functions that make sequences.
func generatorTable() []entry {
	return []entry{
		{"range(stop: pyint)", fn, func(c *call) (any, error) { return rangeSeq(0, c.int(0), 1) }},
		{"range(start: pyint, stop: pyint, step: pyint=1)", fn, func(c *call) (any, error) {
			return rangeSeq(c.int(0), c.int(1), c.int(2))
		}},
		{"sequence(start: pyint=0, step: pyint=1)", fn, func(c *call) (any, error) {
			i, step := c.int(0), c.int(1)
			return lazy(func() (any, bool, error) {
				i += step
				return i - step, true, nil
			}), nil
		}},
		{"generate(initial, predicate: func, producer: func, selector: func=null, decycle: bool=false)", fn, generate},
		{"generateMany(initial, producer: func, selector: func=null, decycle: bool=false, depthFirst: bool=false)", fn, generateMany},
	}
}

func rangeSeq(start, stop, step int64) (any, error) {
	if step == 0 {
		return nil, errorf(ErrValue, "range: step is zero")
	}
	i := start
	return lazy(func() (any, bool, error) {
		if step > 0 && i >= stop || step < 0 && i <= stop {
			return nil, false, nil
		}
		i += step
		return i - step, true, nil
	}), nil
}

func (c *call) selected(sel int, v any) (any, error) {
	if !c.has(sel) {
		return v, nil
	}
	return c.invoke1(sel, v)
}

func generate(c *call) (any, error) {
	cur, started := c.args[0], false
	var seen map[any]struct{}
	if c.bool(4) {
		seen = map[any]struct{}{}
	}
	return lazy(func() (any, bool, error) {
		var err error
		if started {
			if cur, err = c.invoke1(2, cur); err != nil {
				return nil, false, err
			}
		}
		started = true
		ok, err := c.invoke1(1, cur)
		if err != nil || !Truth(ok) {
			return nil, false, err
		}
		if seen != nil {
			if _, dup := seen[hashKey(cur)]; dup {
				return nil, false, nil
			}
			seen[hashKey(cur)] = struct{}{}
		}
		v, err := c.selected(3, cur)
		return v, err == nil, err
	}), nil
}

func generateMany(c *call) (any, error) {
	queue := []any{c.args[0]}
	var seen map[any]struct{}
	if c.bool(3) {
		seen = map[any]struct{}{}
	}
	return lazy(func() (any, bool, error) {
		for len(queue) > 0 {
			it := queue[0]
			queue = queue[1:]
			if seen != nil {
				if _, dup := seen[hashKey(it)]; dup {
					continue
				}
				seen[hashKey(it)] = struct{}{}
			}
			more, err := c.invoke1(1, it)
			if err != nil {
				return nil, false, err
			}
			items, err := c.ev.drain(more)
			if err != nil {
				return nil, false, err
			}
			if c.bool(4) {
				queue = append(items, queue...)
			} else {
				queue = append(queue, items...)
			}
			if len(queue) > c.ev.opts.LimitIterators {
				return nil, false, c.ev.tooMany()
			}
			v, err := c.selected(2, it)
			return v, err == nil, err
		}
		return nil, false, nil
	}), nil
}
