package hot

import "fmt"

// evalIf computes the chosen branch only.
func evalIf(ev *Evaluator, e *Expr) (any, error) {
	if e.arg.kind != exprList || len(e.arg.subs) > 3 {
		return nil, fmt.Errorf("expected [condition, value if true, value if false]")
	}
	if len(e.arg.subs) == 2 && ev.T.date < "2021-04-16" {
		return nil, fmt.Errorf("the value for false may be left out only since heat_template_version wallaby")
	}
	b, known, err := ev.truth(e.arg.subs[0])
	if err != nil {
		return nil, err
	}
	switch {
	case !known:
		return Unknown{}, nil
	case b:
		return ev.value(e.arg.subs[1])
	case len(e.arg.subs) == 2:
		return omitted{}, nil
	}
	return ev.value(e.arg.subs[2])
}

func evalEquals(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) != 2 {
		return nil, fmt.Errorf("expected [value_1, value_2], got %s", Show(arg))
	}
	return Equal(l[0], l[1]), nil
}

func evalNot(ev *Evaluator, e *Expr) (any, error) {
	v, known, err := ev.truth(e.arg)
	if err != nil || !known {
		return Unknown{}, err
	}
	return !v, nil
}

// evalAndOr computes "and" (stop false) or "or" (stop true), left to right until decided.
func evalAndOr(stop bool) func(*Evaluator, *Expr) (any, error) {
	return func(ev *Evaluator, e *Expr) (any, error) {
		if e.arg.kind != exprList {
			return nil, fmt.Errorf("expected a list of conditions")
		}
		unknown := false
		for _, s := range e.arg.subs {
			v, known, err := ev.truth(s)
			if err != nil {
				return nil, err
			}
			if !known {
				unknown = true
			} else if v == stop {
				return stop, nil
			}
		}
		if unknown {
			return Unknown{}, nil
		}
		return !stop, nil
	}
}

func evalContains(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) != 2 {
		return nil, fmt.Errorf("expected [value, list], got %s", Show(arg))
	}
	switch c := l[1].(type) {
	case []any:
		for _, e := range c {
			if Equal(e, l[0]) {
				return true, nil
			}
		}
		return false, nil
	case *Map:
		k, ok := l[0].(string)
		if !ok {
			return false, nil
		}
		_, ok = c.Get(k)
		return ok, nil
	case string:
		k, ok := l[0].(string)
		if !ok {
			return nil, fmt.Errorf("a string contains strings only, got %s", KindOf(l[0]))
		}
		return containsString(c, k), nil
	}
	return nil, fmt.Errorf("the second argument must be a list, got %s", KindOf(l[1]))
}
