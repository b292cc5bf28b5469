package jinja

// param is one parameter of a builtin function.
type param struct {
	name string
	def  any
	req  bool
}

func req(name string) param          { return param{name: name, req: true} }
func opt(name string, def any) param { return param{name: name, def: def} }

// bind assigns the arguments after the first `skip` to parameters, with Python's rules.
func (c *Call) bind(skip int, params ...param) ([]any, error) {
	out := make([]any, len(params))
	set := make([]bool, len(params))
	args := c.Args[min(skip, len(c.Args)):]
	if len(args) > len(params) {
		return nil, typeErrorf("%s() takes %d positional arguments but %d were given", c.Name, len(params)+skip, len(c.Args))
	}
	for i, a := range args {
		out[i], set[i] = a, true
	}
	if c.Kwargs != nil {
	next:
		for k, v := range c.Kwargs.All() {
			for i, p := range params {
				if p.name == Str(k) {
					if set[i] {
						return nil, typeErrorf("%s() got multiple values for argument '%s'", c.Name, p.name)
					}
					out[i], set[i] = v, true
					continue next
				}
			}
			return nil, typeErrorf("%s() got an unexpected keyword argument '%s'", c.Name, Str(k))
		}
	}
	for i, p := range params {
		if set[i] {
			continue
		}
		if p.req {
			return nil, typeErrorf("%s() missing 1 required positional argument: '%s'", c.Name, p.name)
		}
		out[i] = p.def
	}
	return out, nil
}

// value is what a filter or test is applied to.
func (c *Call) value() any {
	if len(c.Args) == 0 {
		return nil
	}
	return c.Args[0]
}

// str is an argument that must be text.
func str(v any, what string) (string, error) {
	if s, ok := asString(v); ok {
		return s, nil
	}
	if err := checkUndefined(v); err != nil {
		return "", err
	}
	return "", typeErrorf("%s must be str, not %s", what, typeName(v))
}

func integer(v any) (int, error) {
	if i, ok := asInt(v); ok {
		return i, nil
	}
	if err := checkUndefined(v); err != nil {
		return 0, err
	}
	return 0, typeErrorf("'%s' object cannot be interpreted as an integer", typeName(v))
}

func builtinGlobals() map[string]any {
	fn := func(name string, f func(c *Call) (any, error)) any { return &Func{Name: name, Fn: f} }
	return map[string]any{
		"range":     fn("range", globalRange),
		"dict":      fn("dict", globalDict),
		"namespace": fn("namespace", globalNamespace),
		"cycler":    fn("cycler", globalCycler),
		"joiner":    fn("joiner", globalJoiner),
		"lipsum":    fn("lipsum", globalLipsum),
	}
}

// maxSandboxRange is MAX_RANGE of Jinja2's sandbox.
const maxSandboxRange = 100_000

func globalRange(c *Call) (any, error) {
	a, err := c.bind(0, req("start"), opt("stop", nil), opt("step", 1))
	if err != nil {
		return nil, err
	}
	if a[1] == nil {
		a[0], a[1] = 0, a[0]
	}
	var n [3]int
	for i := range a {
		if n[i], err = integer(a[i]); err != nil {
			return nil, err
		}
	}
	if n[2] == 0 {
		return nil, valueErrorf("range() arg 3 must not be zero")
	}
	r := &rangeValue{n[0], n[1], n[2]}
	if c.rt.env.opts.Sandbox && r.len() > maxSandboxRange {
		return nil, errorf(OverflowError, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxSandboxRange)
	}
	return r, nil
}

// toDict is Python's dict(v, **kwargs), also for update().
func toDict(c *Call, d *Dict) error {
	if len(c.Args) > 1 {
		return typeErrorf("%s expected at most 1 argument, got %d", c.Name, len(c.Args))
	}
	if len(c.Args) == 1 {
		if src, ok := c.Args[0].(*Dict); ok {
			for k, v := range src.All() {
				if err := d.Set(k, v); err != nil {
					return err
				}
			}
		} else {
			items, err := c.rt.list(c.Args[0])
			if err != nil {
				return err
			}
			for i, it := range items {
				pair, err := c.rt.list(it)
				if err != nil {
					return typeErrorf("cannot convert dictionary update sequence element #%d to a sequence", i)
				}
				if len(pair) != 2 {
					return valueErrorf("dictionary update sequence element #%d has length %d; 2 is required", i, len(pair))
				}
				if err := d.Set(pair[0], pair[1]); err != nil {
					return err
				}
			}
		}
	}
	if c.Kwargs != nil {
		for k, v := range c.Kwargs.All() {
			if err := d.Set(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func globalDict(c *Call) (any, error) {
	d := &Dict{}
	return d, toDict(c, d)
}

func globalNamespace(c *Call) (any, error) {
	d := &Dict{}
	return &namespace{vars: d}, toDict(c, d)
}

// cycler is what cycler() makes.
type cycler struct {
	items []any
	pos   int
}

func (c *cycler) attr(name string) (any, bool) {
	switch name {
	case "current":
		return c.items[c.pos], true
	case "next":
		return &Func{Name: "next", Fn: func(*Call) (any, error) {
			v := c.items[c.pos]
			c.pos = (c.pos + 1) % len(c.items)
			return v, nil
		}}, true
	case "reset":
		return &Func{Name: "reset", Fn: func(*Call) (any, error) { c.pos = 0; return nil, nil }}, true
	}
	return nil, false
}

func globalCycler(c *Call) (any, error) {
	if len(c.Args) == 0 {
		return nil, errorf(PythonRuntime, "at least one item has to be provided")
	}
	return &cycler{items: c.Args}, nil
}

// joiner is what joiner() makes: empty the first time it is called, then the separator.
type joiner struct {
	sep  any
	used bool
}

func (j *joiner) next() any {
	if !j.used {
		j.used = true
		return ""
	}
	return j.sep
}

func globalJoiner(c *Call) (any, error) {
	a, err := c.bind(0, opt("sep", ", "))
	if err != nil {
		return nil, err
	}
	return &joiner{sep: a[0]}, nil
}
