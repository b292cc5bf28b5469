package yaql

// iterator yields items until ok is false or err is set.
type iterator func() (v any, ok bool, err error)

func iterable(v any) bool {
	switch v.(type) {
	case []any, *Set, *seq:
		return true
	}
	return false
}

// iter iterates over a list, set or sequence, counting items against the limit.
func (ev *evaluator) iter(v any) (iterator, error) {
	switch v := v.(type) {
	case []any:
		return ev.overItems(v), nil
	case *Set:
		return ev.overItems(v.items), nil
	case *seq:
		count, read := 0, v.next
		if v.again != nil {
			read = v.again()
		}
		return func() (any, bool, error) {
			it, ok, err := read()
			if err != nil || !ok {
				return nil, false, err
			}
			if count++; count > ev.opts.LimitIterators {
				return nil, false, ev.tooMany()
			}
			return it, true, ev.step()
		}, nil
	}
	return nil, errorf(ErrArgs, "a %s cannot be iterated over", typeName(v))
}

func (ev *evaluator) overItems(items []any) iterator {
	i := 0
	return func() (any, bool, error) {
		if i >= len(items) {
			return nil, false, nil
		}
		if i >= ev.opts.LimitIterators {
			return nil, false, ev.tooMany()
		}
		i++
		return norm(items[i-1]), true, ev.step()
	}
}

func (ev *evaluator) tooMany() error {
	return errorf(ErrLimit, "a sequence yields more than %d items", ev.opts.LimitIterators)
}

// list makes a list of an iterable; a list is returned as it is.
func (ev *evaluator) list(v any) ([]any, error) {
	if l, ok := v.([]any); ok {
		if len(l) > ev.opts.LimitIterators {
			return nil, ev.tooMany()
		}
		return l, nil
	}
	return ev.drain(v)
}

// drain makes a new list of an iterable.
func (ev *evaluator) drain(v any) ([]any, error) {
	next, err := ev.iter(v)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for {
		it, ok, err := next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return out, nil
		}
		if err := ev.charge(cell); err != nil {
			return nil, err
		}
		out = append(out, it)
	}
}

// each calls f for every item.
func (ev *evaluator) each(v any, f func(it any) error) error {
	next, err := ev.iter(v)
	if err != nil {
		return err
	}
	for {
		it, ok, err := next()
		if err != nil || !ok {
			return err
		}
		if err := f(it); err != nil {
			return err
		}
	}
}

func (c *call) each(i int, f func(it any) error) error { return c.ev.each(c.args[i], f) }

// lazy makes a sequence of a generator.
func lazy(next iterator) *seq { return &seq{next: next} }

// chain yields the items of several iterables one after the other.
func (ev *evaluator) chain(parts ...any) (*seq, error) {
	its := make([]iterator, len(parts))
	for i, p := range parts {
		it, err := ev.iter(p)
		if err != nil {
			return nil, err
		}
		its[i] = it
	}
	at := 0
	return lazy(func() (any, bool, error) {
		for at < len(its) {
			v, ok, err := its[at]()
			if err != nil || ok {
				return v, ok, err
			}
			at++
		}
		return nil, false, nil
	}), nil
}
