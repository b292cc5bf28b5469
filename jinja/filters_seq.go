package jinja

import (
	"strconv"
	"strings"
)

func sequenceFilters() map[string]filterFunc {
	return map[string]filterFunc{
		"batch": filterBatch, "slice": filterSlice, "dictsort": filterDictSort, "first": filterFirst, "last": filterLast,
		"groupby": filterGroupBy, "items": filterItems, "join": filterJoin, "list": filterList, "map": filterMap,
		"max": extreme("max"), "min": extreme("min"), "random": filterRandom, "reverse": filterReverse,
		"select": selector(true, false), "reject": selector(false, false),
		"selectattr": selector(true, true), "rejectattr": selector(false, true),
		"sort": filterSort, "sum": filterSum, "unique": filterUnique,
	}
}

// namedTuple is an element of groupby: a tuple whose items have names.
type namedTuple struct {
	Tuple
	names []string
}

func (n *namedTuple) GetAttr(name string) (any, bool) {
	for i, s := range n.names {
		if s == name {
			return n.Tuple[i], true
		}
	}
	return nil, false
}
func (n *namedTuple) String() string { return Repr(n.Tuple) }

// lazy makes a generator that computes its items when first read.
func lazy(name string, f func() ([]any, error)) *generator {
	var next func() (any, bool, error)
	return &generator{name: name, next: func() (any, bool, error) {
		if next == nil {
			items, err := f()
			if err != nil {
				return nil, false, err
			}
			next = sliceIter(items)
		}
		return next()
	}}
}

// attrGetter is Jinja2's make_attrgetter: "a.0.b", an integer, or nil for the item itself.
func (rt *runtime) attrGetter(attr, def any) func(any) (any, error) {
	if attr == nil {
		return func(v any) (any, error) { return v, nil }
	}
	var parts []any
	if s, ok := asString(attr); ok {
		for _, p := range strings.Split(s, ".") {
			if n, err := strconv.Atoi(p); err == nil && n >= 0 {
				parts = append(parts, n)
			} else {
				parts = append(parts, p)
			}
		}
	} else {
		parts = []any{attr}
	}
	return func(v any) (any, error) {
		for _, p := range parts {
			var err error
			if v, err = rt.getitem(v, p); err != nil {
				return nil, err
			}
			if _, ok := v.(*Undefined); ok && def != nil {
				v = def
			}
		}
		return v, nil
	}
}

// keysOf computes a sort key for every item; text is lowered unless case matters.
func (rt *runtime) keysOf(items []any, get func(any) (any, error), caseSensitive any) ([]any, error) {
	sensitive, err := truth(caseSensitive)
	if err != nil {
		return nil, err
	}
	keys := make([]any, len(items))
	for i, it := range items {
		k, err := get(it)
		if err != nil {
			return nil, err
		}
		if s, ok := asString(k); ok && !sensitive {
			k = strings.ToLower(s)
		}
		keys[i] = k
		if err := rt.step(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// sortBy sorts items by keys of the same length.
func sortBy(items, keys []any, reverse any) ([]any, error) {
	rev, err := truth(reverse)
	if err != nil {
		return nil, err
	}
	type pair struct{ item, key any }
	pairs := make([]any, len(items))
	for i := range items {
		pairs[i] = pair{items[i], keys[i]}
	}
	if err := sortValues(pairs, func(v any) any { return v.(pair).key }, rev); err != nil {
		return nil, err
	}
	out := make([]any, len(items))
	for i, p := range pairs {
		out[i] = p.(pair).item
	}
	return out, nil
}

func filterSort(c *Call) (any, error) {
	a, err := c.bind(1, opt("reverse", false), opt("case_sensitive", false), opt("attribute", nil))
	if err != nil {
		return nil, err
	}
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	get := c.rt.attrGetter(a[2], nil)
	keys, err := c.rt.keysOf(items, get, a[1])
	if s, ok := asString(a[2]); ok && strings.Contains(s, ",") {
		keys, err = c.rt.multiKeys(items, strings.Split(s, ","), a[1])
	}
	if err != nil {
		return nil, err
	}
	out, err := sortBy(items, keys, a[0])
	return &List{Items: out}, err
}

func (rt *runtime) multiKeys(items []any, attrs []string, caseSensitive any) ([]any, error) {
	keys := make([]any, len(items))
	for i := range keys {
		keys[i] = Tuple{}
	}
	for _, at := range attrs {
		part, err := rt.keysOf(items, rt.attrGetter(at, nil), caseSensitive)
		if err != nil {
			return nil, err
		}
		for i := range keys {
			keys[i] = append(keys[i].(Tuple), part[i])
		}
	}
	return keys, nil
}

func filterDictSort(c *Call) (any, error) {
	a, err := c.bind(1, opt("case_sensitive", false), opt("by", "key"), opt("reverse", false))
	if err != nil {
		return nil, err
	}
	d, ok := c.value().(*Dict)
	if !ok {
		return nil, typeErrorf("'%s' object has no attribute 'items'", typeName(c.value()))
	}
	pos := map[string]int{"key": 0, "value": 1}
	p, ok := pos[Str(a[1])]
	if !ok {
		return nil, errorf(FilterError, "You can only sort by either \"key\" or \"value\"")
	}
	items := (&dictView{d, "items"}).items()
	keys, err := c.rt.keysOf(items, func(v any) (any, error) { return v.(Tuple)[p], nil }, a[0])
	if err != nil {
		return nil, err
	}
	out, err := sortBy(items, keys, a[2])
	return &List{Items: out}, err
}

func filterGroupBy(c *Call) (any, error) {
	a, err := c.bind(1, req("attribute"), opt("default", nil), opt("case_sensitive", false))
	if err != nil {
		return nil, err
	}
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	get := c.rt.attrGetter(a[0], a[1])
	keys, err := c.rt.keysOf(items, get, a[2])
	if err != nil {
		return nil, err
	}
	if items, err = sortBy(items, keys, false); err != nil {
		return nil, err
	}
	if keys, err = c.rt.keysOf(items, get, a[2]); err != nil {
		return nil, err
	}
	out := &List{}
	var group *List
	for i, it := range items {
		if i == 0 || !equal(keys[i], keys[i-1]) {
			k, err := get(it)
			if err != nil {
				return nil, err
			}
			group = &List{}
			out.Items = append(out.Items, &namedTuple{Tuple{k, group}, []string{"grouper", "list"}})
		}
		group.Items = append(group.Items, it)
	}
	return out, nil
}

func filterUnique(c *Call) (any, error) {
	a, err := c.bind(1, opt("case_sensitive", false), opt("attribute", nil))
	if err != nil {
		return nil, err
	}
	return lazy("do_unique", func() ([]any, error) {
		items, err := c.rt.list(c.value())
		if err != nil {
			return nil, err
		}
		keys, err := c.rt.keysOf(items, c.rt.attrGetter(a[1], nil), a[0])
		if err != nil {
			return nil, err
		}
		seen := map[any]bool{}
		var out []any
		for i, it := range items {
			h, err := hashKey(keys[i])
			if err != nil {
				return nil, err
			}
			if !seen[h] {
				seen[h] = true
				out = append(out, it)
			}
		}
		return out, nil
	}), nil
}

func extreme(which string) filterFunc {
	return func(c *Call) (any, error) {
		a, err := c.bind(1, opt("case_sensitive", false), opt("attribute", nil))
		if err != nil {
			return nil, err
		}
		items, err := c.rt.list(c.value())
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return c.rt.undefinedHint("No aggregated item, sequence was empty."), nil
		}
		keys, err := c.rt.keysOf(items, c.rt.attrGetter(a[1], nil), a[0])
		if err != nil {
			return nil, err
		}
		best := 0
		for i := range items {
			n, err := order("<", keys[i], keys[best])
			if err != nil {
				return nil, err
			}
			if which == "min" && n < 0 || which == "max" && n > 0 && n != 2 {
				best = i
			}
		}
		return items[best], nil
	}
}

func filterBatch(c *Call) (any, error) {
	a, err := c.bind(1, req("linecount"), opt("fill_with", nil))
	if err != nil {
		return nil, err
	}
	n, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	return lazy("do_batch", func() ([]any, error) {
		items, err := c.rt.list(c.value())
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			n = max(len(items), 1)
		}
		var out []any
		for len(items) > 0 {
			k := min(n, len(items))
			row := append([]any(nil), items[:k]...)
			items = items[k:]
			if a[1] != nil {
				if err := c.rt.sized(n); err != nil {
					return nil, err
				}
				for len(row) < n {
					row = append(row, a[1])
				}
			}
			out = append(out, &List{Items: row})
		}
		return out, nil
	}), nil
}

func filterSlice(c *Call) (any, error) {
	a, err := c.bind(1, req("slices"), opt("fill_with", nil))
	if err != nil {
		return nil, err
	}
	n, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	return lazy("sync_do_slice", func() ([]any, error) {
		items, err := c.rt.list(c.value())
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errorf(ZeroDivision, "integer division or modulo by zero")
		}
		if err := c.rt.sized(n); err != nil {
			return nil, err
		}
		per, extra := len(items)/n, len(items)%n
		var out []any
		off := 0
		for i := range n {
			start := off + i*per
			if i < extra {
				off++
			}
			row := append([]any(nil), items[start:off+(i+1)*per]...)
			if a[1] != nil && i >= extra {
				row = append(row, a[1])
			}
			out = append(out, &List{Items: row})
		}
		return out, nil
	}), nil
}

func filterFirst(c *Call) (any, error) {
	next, err := iterate(c.value())
	if err != nil {
		return nil, err
	}
	v, ok, err := next()
	if err != nil || ok {
		return v, err
	}
	return c.rt.undefinedHint("No first item, sequence was empty."), nil
}

func filterLast(c *Call) (any, error) {
	if _, ok := c.value().(*generator); ok {
		return nil, typeErrorf("'generator' object is not reversible")
	}
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return c.rt.undefinedHint("No last item, sequence was empty."), nil
	}
	return items[len(items)-1], nil
}

func filterItems(c *Call) (any, error) {
	switch d := c.value().(type) {
	case *Undefined:
		return lazy("do_items", func() ([]any, error) { return nil, nil }), nil
	case *Dict:
		return lazy("do_items", func() ([]any, error) { return (&dictView{d, "items"}).items(), nil }), nil
	}
	return nil, typeErrorf("Can only get item pairs from a mapping.")
}

func filterJoin(c *Call) (any, error) {
	a, err := c.bind(1, opt("d", ""), opt("attribute", nil))
	if err != nil {
		return nil, err
	}
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	get := c.rt.attrGetter(a[1], nil)
	markup := false
	vals := append([]any{a[0]}, items...)
	for i := range vals {
		if i > 0 {
			if vals[i], err = get(vals[i]); err != nil {
				return nil, err
			}
		}
		if u, ok := vals[i].(*Undefined); ok && u.strict {
			return nil, u.err()
		}
		if _, ok := vals[i].(Markup); ok && c.rt.autoescape {
			markup = true
		}
	}
	parts := make([]string, len(vals))
	size := 0
	for i, v := range vals {
		parts[i] = Str(v)
		if _, ok := v.(Markup); c.rt.autoescape && markup && !ok {
			parts[i] = escapeHTML(parts[i])
		}
		size += len(parts[i]) + len(parts[0])
		if err := c.rt.sized(size); err != nil {
			return nil, err
		}
	}
	s := strings.Join(parts[1:], parts[0])
	if markup {
		return Markup(s), nil
	}
	return s, nil
}

func filterList(c *Call) (any, error) {
	items, err := c.rt.list(c.value())
	return &List{Items: items}, err
}

// callNamed applies a filter or a test by name.
func (rt *runtime) callNamed(table map[string]filterFunc, what, name string, c *Call) (any, error) {
	f, ok := table[name]
	if !ok {
		return nil, errorf(RuntimeError, "No %s named '%s'.", what, name)
	}
	c.Name = name
	return f(c)
}

func filterMap(c *Call) (any, error) {
	var apply func(any) (any, error)
	switch {
	case len(c.Args) == 1 && c.Kwargs != nil && has(c.Kwargs, "attribute"):
		attr, _ := c.Kwargs.Get("attribute")
		def, _ := c.Kwargs.Get("default")
		for k := range c.Kwargs.All() {
			if k != "attribute" && k != "default" {
				return nil, errorf(FilterError, "Unexpected keyword argument %s", Repr(k))
			}
		}
		apply = c.rt.attrGetter(attr, def)
	case len(c.Args) == 1:
		return nil, errorf(FilterError, "map requires a filter argument")
	default:
		name, err := str(c.Args[1], "filter name")
		if err != nil {
			return nil, err
		}
		if _, ok := c.rt.env.filters[name]; !ok {
			return nil, errorf(RuntimeError, "No filter named '%s'.", name)
		}
		apply = func(v any) (any, error) {
			return c.rt.callNamed(c.rt.env.filters, "filter", name, &Call{rt: c.rt, sc: c.sc, Args: append([]any{v}, c.Args[2:]...), Kwargs: c.Kwargs})
		}
	}
	next, err := iterate(c.value())
	if err != nil {
		return nil, err
	}
	return &generator{name: "sync_do_map", next: func() (any, bool, error) {
		v, ok, err := next()
		if err != nil || !ok {
			return nil, false, err
		}
		v, err = apply(v)
		return v, err == nil, err
	}}, nil
}

func has(d *Dict, key string) bool { _, ok := d.Get(key); return ok }

func selector(want, byAttr bool) filterFunc {
	return func(c *Call) (any, error) {
		args := c.Args[1:]
		get := func(v any) (any, error) { return v, nil }
		if byAttr {
			if len(args) == 0 {
				return nil, errorf(FilterError, "Missing parameter for attribute name")
			}
			get, args = c.rt.attrGetter(args[0], nil), args[1:]
		}
		check := func(v any) (bool, error) { return truth(v) }
		if len(args) > 0 {
			name, err := str(args[0], "test name")
			if err != nil {
				return nil, err
			}
			if _, ok := c.rt.env.tests[name]; !ok {
				return nil, errorf(RuntimeError, "No test named '%s'.", name)
			}
			check = func(v any) (bool, error) {
				r, err := c.rt.callNamed(c.rt.env.tests, "test", name, &Call{rt: c.rt, sc: c.sc, Args: append([]any{v}, args[1:]...), Kwargs: c.Kwargs})
				if err != nil {
					return false, err
				}
				return truth(r)
			}
		}
		next, err := iterate(c.value())
		if err != nil {
			return nil, err
		}
		return &generator{name: "select_or_reject", next: func() (any, bool, error) {
			for {
				v, ok, err := next()
				if err != nil || !ok {
					return nil, false, err
				}
				k, err := get(v)
				if err != nil {
					return nil, false, err
				}
				t, err := check(k)
				if err != nil {
					return nil, false, err
				}
				if t == want {
					return v, true, nil
				}
				if err := c.rt.step(); err != nil {
					return nil, false, err
				}
			}
		}}, nil
	}
}

func filterRandom(c *Call) (any, error) {
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return c.rt.undefinedHint("No random item, sequence was empty."), nil
	}
	return items[c.rt.rnd.IntN(len(items))], nil
}

func filterReverse(c *Call) (any, error) {
	s, isText := asString(c.value())
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, errorf(FilterError, "argument must be iterable")
	}
	if isText {
		items = chars(s)
	}
	for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
		items[i], items[j] = items[j], items[i]
	}
	if isText {
		var sb strings.Builder
		for _, it := range items {
			sb.WriteString(it.(string))
		}
		return c.like(sb.String()), nil
	}
	return &generator{name: "reversed", next: sliceIter(items)}, nil
}

func filterSum(c *Call) (any, error) {
	a, err := c.bind(1, opt("attribute", nil), opt("start", 0))
	if err != nil {
		return nil, err
	}
	items, err := c.rt.list(c.value())
	if err != nil {
		return nil, err
	}
	get := c.rt.attrGetter(a[0], nil)
	total := a[1]
	for _, it := range items {
		v, err := get(it)
		if err != nil {
			return nil, err
		}
		if total, err = c.rt.binary("+", total, v); err != nil {
			return nil, err
		}
	}
	return total, nil
}
