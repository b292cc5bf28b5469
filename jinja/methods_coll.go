package jinja

import "sort"

// method returns a bound method of a Python builtin type.
// safeArgs escapes what a method would put into a safe text.
func safeArgs(c *Call, method string) {
	switch method {
	case "format", "replace", "join", "strip", "lstrip", "rstrip", "center", "ljust", "rjust", "removeprefix", "removesuffix":
	default:
		return
	}
	for i, a := range c.Args {
		if l, ok := a.(*List); ok {
			items := escapedArgs(Tuple(l.Items)).(Tuple)
			c.Args[i] = &List{Items: items}
			continue
		}
		c.Args[i] = escapedArgs(a)
	}
	if c.Kwargs != nil {
		c.Kwargs = escapedArgs(c.Kwargs).(*Dict)
	}
}

func (rt *runtime) method(obj any, name string) (any, bool) {
	bound := func(f func(c *Call) (any, error)) (any, bool) { return &Func{Name: name, Fn: f}, true }
	switch x := obj.(type) {
	case string:
		if m, ok := strMethod(name); ok {
			return bound(func(c *Call) (any, error) { return m(c, x) })
		}
	case Markup:
		if m, ok := strMethod(name); ok {
			return bound(func(c *Call) (any, error) {
				safeArgs(c, name)
				v, err := m(c, string(x))
				if s, ok := v.(string); ok {
					return Markup(s), err
				}
				return v, err
			})
		}
	case *List:
		if m := listMethod(x, name); m != nil {
			return bound(m)
		}
	case *Dict:
		if m := dictMethod(x, name); m != nil {
			return bound(m)
		}
	case Tuple:
		if m := seqMethod(x, name); m != nil {
			return bound(m)
		}
	case int, bool:
		i, _ := asInt(x)
		switch name {
		case "bit_length":
			return bound(func(*Call) (any, error) { b, _ := asBig(i); return b.BitLen(), nil })
		case "real", "numerator":
			return i, true
		case "imag":
			return 0, true
		case "denominator":
			return 1, true
		}
	case float64:
		switch name {
		case "is_integer":
			return bound(func(*Call) (any, error) { return x == float64(int(x)), nil })
		case "real":
			return x, true
		}
	}
	return nil, false
}

func seqMethod(items []any, name string) func(c *Call) (any, error) {
	switch name {
	case "index":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("value"), opt("start", 0), opt("stop", len(items)))
			if err != nil {
				return nil, err
			}
			lo, _ := asInt(a[1])
			hi, _ := asInt(a[2])
			for i := max(lo, 0); i < min(hi, len(items)); i++ {
				if equal(items[i], a[0]) {
					return i, nil
				}
			}
			return nil, valueErrorf("%s is not in list", Repr(a[0]))
		}
	case "count":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("value"))
			if err != nil {
				return nil, err
			}
			n := 0
			for _, it := range items {
				if equal(it, a[0]) {
					n++
				}
			}
			return n, nil
		}
	}
	return nil
}

func listMethod(l *List, name string) func(c *Call) (any, error) {
	switch name {
	case "append":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("object"))
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, a[0])
			return nil, c.rt.sized(len(l.Items))
		}
	case "extend":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("iterable"))
			if err != nil {
				return nil, err
			}
			items, err := c.rt.list(a[0])
			l.Items = append(l.Items, items...)
			return nil, err
		}
	case "insert":
		return l.insert
	case "pop":
		return l.pop
	case "remove":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("value"))
			if err != nil {
				return nil, err
			}
			for i, it := range l.Items {
				if equal(it, a[0]) {
					l.Items = append(l.Items[:i], l.Items[i+1:]...)
					return nil, nil
				}
			}
			return nil, valueErrorf("list.remove(x): x not in list")
		}
	case "clear":
		return func(*Call) (any, error) { l.Items = nil; return nil, nil }
	case "copy":
		return func(*Call) (any, error) { return &List{Items: append([]any(nil), l.Items...)}, nil }
	case "reverse":
		return func(*Call) (any, error) {
			for i, j := 0, len(l.Items)-1; i < j; i, j = i+1, j-1 {
				l.Items[i], l.Items[j] = l.Items[j], l.Items[i]
			}
			return nil, nil
		}
	case "sort":
		return func(c *Call) (any, error) {
			rev := false
			if c.Kwargs != nil {
				if v, ok := c.Kwargs.Get("reverse"); ok {
					var err error
					if rev, err = truth(v); err != nil {
						return nil, err
					}
				}
			}
			return nil, sortValues(l.Items, func(v any) any { return v }, rev)
		}
	}
	return seqMethod(l.Items, name)
}

func (l *List) insert(c *Call) (any, error) {
	a, err := c.bind(0, req("index"), req("object"))
	if err != nil {
		return nil, err
	}
	i, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	if i < 0 {
		i = max(i+len(l.Items), 0)
	}
	i = min(i, len(l.Items))
	l.Items = append(l.Items[:i:i], append([]any{a[1]}, l.Items[i:]...)...)
	return nil, nil
}

func (l *List) pop(c *Call) (any, error) {
	a, err := c.bind(0, opt("index", -1))
	if err != nil {
		return nil, err
	}
	i, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	if len(l.Items) == 0 {
		return nil, errorf(IndexError, "pop from empty list")
	}
	if i < 0 {
		i += len(l.Items)
	}
	if i < 0 || i >= len(l.Items) {
		return nil, errorf(IndexError, "pop index out of range")
	}
	v := l.Items[i]
	l.Items = append(l.Items[:i], l.Items[i+1:]...)
	return v, nil
}

// sortValues sorts in place and stably by Python's "<" of the keys.
func sortValues(items []any, key func(any) any, reverse bool) error {
	var failed error
	keys := make([]any, len(items))
	idx := make([]int, len(items))
	for i, it := range items {
		keys[i], idx[i] = key(it), i
	}
	sort.SliceStable(idx, func(i, j int) bool {
		a, b := keys[idx[i]], keys[idx[j]]
		if reverse {
			a, b = b, a
		}
		n, err := order("<", a, b)
		if err != nil && failed == nil {
			failed = err
		}
		return n == -1 || n < 0
	})
	if failed != nil {
		return failed
	}
	sorted := make([]any, len(items))
	for i, j := range idx {
		sorted[i] = items[j]
	}
	copy(items, sorted)
	return nil
}

func dictMethod(d *Dict, name string) func(c *Call) (any, error) {
	switch name {
	case "keys", "values", "items":
		return func(*Call) (any, error) { return &dictView{d, name}, nil }
	case "get":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("key"), opt("default", nil))
			if err != nil {
				return nil, err
			}
			if _, err := hashKey(a[0]); err != nil {
				return nil, err
			}
			if v, ok := d.Get(a[0]); ok {
				return v, nil
			}
			return a[1], nil
		}
	case "update":
		return func(c *Call) (any, error) { return nil, toDict(c, d) }
	case "copy":
		return func(*Call) (any, error) { return d.Copy(), nil }
	case "clear":
		return func(*Call) (any, error) { *d = Dict{}; return nil, nil }
	case "setdefault":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("key"), opt("default", nil))
			if err != nil {
				return nil, err
			}
			if v, ok := d.Get(a[0]); ok {
				return v, nil
			}
			return a[1], d.Set(a[0], a[1])
		}
	case "pop":
		return d.pop
	case "popitem":
		return func(*Call) (any, error) {
			keys := d.Keys()
			if len(keys) == 0 {
				return nil, errorf(KeyError, "'popitem(): dictionary is empty'")
			}
			k := keys[len(keys)-1]
			v, _ := d.Get(k)
			d.Delete(k)
			return Tuple{k, v}, nil
		}
	case "fromkeys":
		return func(c *Call) (any, error) {
			a, err := c.bind(0, req("iterable"), opt("value", nil))
			if err != nil {
				return nil, err
			}
			items, err := c.rt.list(a[0])
			if err != nil {
				return nil, err
			}
			n := &Dict{}
			for _, it := range items {
				if err := n.Set(it, a[1]); err != nil {
					return nil, err
				}
			}
			return n, nil
		}
	}
	return nil
}

func (d *Dict) pop(c *Call) (any, error) {
	if len(c.Args) < 1 || len(c.Args) > 2 {
		return nil, typeErrorf("pop expected 1 or 2 arguments, got %d", len(c.Args))
	}
	v, ok := d.Get(c.Args[0])
	if ok {
		d.Delete(c.Args[0])
		return v, nil
	}
	if len(c.Args) == 2 {
		return c.Args[1], nil
	}
	return nil, errorf(KeyError, "%s", Repr(c.Args[0]))
}
