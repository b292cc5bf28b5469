package hot

import (
	"fmt"
	"strings"
)

// evalIf computes the chosen branch only.
func evalIf(ev *Evaluator, e *Expr) (any, error) {
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
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	return Equal(l[0], l[1]), nil
}

// evalNot computes "not" and, whose condition stands in a list, Fn::Not.
func evalNot(ev *Evaluator, e *Expr) (any, error) {
	arg := e.arg
	if e.fn.name == "Fn::Not" {
		arg = arg.subs[0]
	}
	v, known, err := ev.truth(arg)
	if err != nil || !known {
		return Unknown{}, err
	}
	return !v, nil
}

// evalAndOr computes "and" (stop false) or "or" (stop true), left to right until decided.
func evalAndOr(stop bool) func(*Evaluator, *Expr) (any, error) {
	return func(ev *Evaluator, e *Expr) (any, error) {
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
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	switch c := l[1].(type) {
	case []any:
		return listHas(c, l[0]), nil
	case string:
		k, ok := l[0].(string)
		if !ok {
			return nil, fmt.Errorf("a string contains strings only, got %s", KindOf(l[0]))
		}
		return strings.Contains(c, k), nil
	}
	return nil, fmt.Errorf("the second argument must be a list or a string, got %s", KindOf(l[1]))
}
