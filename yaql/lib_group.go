package yaql

import "sort"

// slice cuts a sequence into lists of a length; the rest may be shorter.
func slice(c *call) (any, error) {
	n := c.int(1)
	if n < 0 {
		return nil, errorf(ErrValue, "slice: the length %d is negative", n)
	}
	next, err := c.iter(0)
	return lazy(func() (any, bool, error) {
		var part []any
		for int64(len(part)) < n {
			it, ok, err := next()
			if err != nil {
				return nil, false, err
			}
			if !ok {
				break
			}
			part = append(part, it)
			if err := c.ev.charge(cell); err != nil {
				return nil, false, err
			}
		}
		return part, len(part) > 0, nil
	}), err
}

// parts yields lists: add takes the next item and the list begun, and says
// what the begun list is then and, if it is not nil, which one is complete.
func (c *call) parts(add func(it any, cur []any) (now, done []any, err error)) (any, error) {
	next, err := c.iter(0)
	var cur []any
	end := false
	return lazy(func() (any, bool, error) {
		for !end {
			it, ok, err := next()
			if err != nil {
				return nil, false, err
			}
			if !ok {
				end = true
				return cur, len(cur) > 0, nil
			}
			var done []any
			if cur, done, err = add(it, cur); err != nil {
				return nil, false, err
			}
			if err := c.ev.charge(cell); err != nil {
				return nil, false, err
			}
			if done != nil {
				return done, true, nil
			}
		}
		return nil, false, nil
	}), err
}

// sliceWhere cuts where the predicate's value changes.
func sliceWhere(c *call) (any, error) {
	var last any
	return c.parts(func(it any, cur []any) ([]any, []any, error) {
		v, err := c.invoke1(1, it)
		if err != nil {
			return nil, nil, err
		}
		changed := len(cur) > 0 && !equal(v, last)
		last = v
		if changed {
			return []any{it}, cur, nil
		}
		return append(cur, it), nil, nil
	})
}

// splitWhere cuts at the items for which the predicate holds and drops them;
// nothing behind the last cut is no part.
func splitWhere(c *call) (any, error) {
	return c.parts(func(it any, cur []any) ([]any, []any, error) {
		v, err := c.invoke1(1, it)
		if err != nil {
			return nil, nil, err
		}
		if !Truth(v) {
			return append(cur, it), nil, nil
		}
		if cur == nil {
			cur = []any{}
		}
		return nil, cur, nil
	})
}

func groupBy(c *call) (any, error) {
	groups := NewMap(8)
	err := c.each(0, func(it any) error {
		k, err := c.invoke1(1, it)
		if err != nil {
			return err
		}
		v := it
		if c.has(2) {
			if v, err = c.invoke1(2, it); err != nil {
				return err
			}
		}
		have, _ := groups.Value(k).([]any)
		groups.Set(k, append(have, v))
		return c.ev.charge(3 * cell)
	})
	if err != nil {
		return nil, err
	}
	i := -1
	agg := &aggregator{call: c, mayBeOld: true}
	return lazy(func() (any, bool, error) {
		i++
		if i >= groups.Len() {
			return nil, false, nil
		}
		k, vals := groups.keys[i], groups.vals[i].([]any)
		if !c.has(3) {
			return []any{k, vals}, true, nil
		}
		return agg.group(k, vals)
	}), nil
}

// aggregator gives the aggregating function the list of values, as YAQL does
// since 1.1.1. A function of the older form got the pair of key and values and
// gave the whole pair; the first group it fails with shows that it is one, and
// from then on it is called the old way. Only a group of two values can be
// taken for such a pair without failing; any other success proves the new form.
type aggregator struct {
	call     *call
	mayBeOld bool
	failure  error // of the first group that failed
}

func (a *aggregator) group(k any, vals []any) (any, bool, error) {
	if a.failure == nil {
		v, err := a.call.invoke1(3, vals)
		if err == nil {
			pair, isPair := v.([]any)
			if len(vals) != 2 || !isPair || len(pair) != 2 || !equal(pair[0], vals[0]) {
				a.mayBeOld = false
			}
			return []any{k, v}, true, nil
		}
		a.failure = err
	}
	if a.mayBeOld {
		if old, err := a.call.invoke(3, []any{k, vals}); err == nil {
			if pair, isPair := old.([]any); isPair && len(pair) == 2 {
				return old, true, nil
			}
		}
	}
	return nil, false, a.failure
}

// ordering is the result of orderBy: sorted when first consumed, so that
// thenBy can add keys.
type ordering struct {
	items []any
	keys  []orderKey
}

type orderKey struct {
	sel  *lambda
	desc bool
}

func orderTable() []entry {
	by := func(desc bool) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			items, err := c.list(0)
			if err != nil {
				return nil, err
			}
			return c.ev.ordered(&ordering{items, []orderKey{{c.args[1].(*lambda), desc}}}), nil
		}
	}
	then := func(desc bool) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			s, _ := c.args[0].(*seq)
			if s == nil || s.order == nil {
				return nil, errorf(ErrArgs, "%s comes after orderBy", c.name)
			}
			keys := append(s.order.keys[:len(s.order.keys):len(s.order.keys)], orderKey{c.args[1].(*lambda), desc})
			return c.ev.ordered(&ordering{s.order.items, keys}), nil
		}
	}
	return []entry{
		{"orderBy(collection: list, selector: func)", meth, by(false)},
		{"orderByDescending(collection: list, selector: func)", meth, by(true)},
		{"thenBy(collection: seq, selector: func)", meth, then(false)},
		{"thenByDescending(collection: seq, selector: func)", meth, then(true)},
	}
}

func (ev *evaluator) ordered(o *ordering) *seq {
	var next iterator
	return &seq{order: o, next: func() (any, bool, error) {
		if next == nil {
			sorted, err := ev.sort(o)
			if err != nil {
				return nil, false, err
			}
			next = ev.overItems(sorted)
		}
		return next()
	}}
}

func (ev *evaluator) sort(o *ordering) ([]any, error) {
	if err := ev.charge(cell * len(o.items) * (1 + len(o.keys))); err != nil {
		return nil, err
	}
	rows := make([][]any, len(o.items))
	for i, it := range o.items {
		rows[i] = make([]any, 1+len(o.keys))
		rows[i][0] = it
		for j, k := range o.keys {
			v, err := k.sel.call(norm(it))
			if err != nil {
				return nil, err
			}
			rows[i][j+1] = v
		}
	}
	var failed error
	sort.SliceStable(rows, func(a, b int) bool {
		for j, k := range o.keys {
			x, y := rows[a][j+1], rows[b][j+1]
			if k.desc {
				x, y = y, x
			}
			lt, err := ev.compare("<", x, y)
			if err == nil && lt {
				return true
			}
			gt, err2 := ev.compare(">", x, y)
			if err == nil {
				err = err2
			}
			if err != nil && failed == nil {
				failed = err
			}
			if gt || err != nil {
				return false
			}
		}
		return false
	})
	if failed != nil {
		return nil, failed
	}
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = r[0]
	}
	return out, nil
}

// mergeWith merges dicts key by key down to maxLevels (0: all): dicts are
// merged, lists united, other values replaced by the other's.
func mergeWith(c *call) (any, error) {
	return c.merge(c.dict(0), c.dict(1), c.int(4), 1)
}

func (c *call) merge(a, b mapping, levels int64, depth int) (any, error) {
	if depth > c.ev.opts.MaxDepth*5 {
		return nil, errorf(ErrLimit, "mergeWith: dicts are nested deeper than %d", depth-1)
	}
	if err := c.ev.charge(3 * cell * (a.size() + b.size())); err != nil {
		return nil, err
	}
	out := NewMap(a.size() + b.size())
	a.each(func(k, v any) bool { out.Set(k, v); return true })
	var err error
	b.each(func(k, v any) bool {
		have, ok := out.Get(k)
		if ok {
			v, err = c.mergeValue(norm(have), norm(v), levels, depth)
		}
		out.Set(k, v)
		return err == nil
	})
	return out, err
}

func (c *call) mergeValue(a, b any, levels int64, depth int) (any, error) {
	if levels != 1 {
		x, ok1 := asMapping(a)
		y, ok2 := asMapping(b)
		if ok1 && ok2 {
			return c.merge(x, y, max(levels-1, 0), depth+1)
		}
		_, ok1 = a.([]any)
		_, ok2 = b.([]any)
		if ok1 && ok2 {
			if c.has(2) {
				return c.invoke(2, a, b)
			}
			both, err := c.ev.chain(a, b)
			if err != nil {
				return nil, err
			}
			set := NewSet()
			err = c.ev.each(both, func(it any) error { set.add(it); return c.ev.charge(3 * cell) })
			return set.items, err
		}
	}
	if c.has(3) {
		return c.invoke(3, a, b)
	}
	return b, nil
}
