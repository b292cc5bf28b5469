package yaql

import (
	"math"
	"strings"
	"time"
)

func (ev *evaluator) unary(op string, x any) (any, error) {
	if op == "not" {
		return !Truth(x), nil
	}
	switch v := x.(type) {
	case int64:
		if op == "-" {
			if v == math.MinInt64 {
				return nil, overflow()
			}
			return -v, nil
		}
		return v, nil
	case float64:
		if op == "-" {
			return -v, nil
		}
		return v, nil
	case Timespan:
		if op == "-" {
			return -v, nil
		}
		return v, nil
	}
	return nil, errorf(ErrArgs, "operator %q does not take a %s", op, typeName(x))
}

func overflow() error { return errorf(ErrValue, "the integer result does not fit 64 bits") }

func (ev *evaluator) binary(op string, l, r any) (any, error) {
	switch op {
	case "=":
		return equal(l, r), nil
	case "!=":
		return !equal(l, r), nil
	case "<", ">", "<=", ">=":
		return ev.compare(op, l, r)
	case "in":
		return ev.in(l, r)
	case "=~", "!~":
		s, ok := l.(string)
		if !ok {
			break
		}
		ok, err := ev.matches(s, r)
		if err != nil {
			return nil, err
		}
		return ok == (op == "=~"), nil
	case "+":
		return ev.plus(l, r)
	case "-":
		return ev.minus(l, r)
	case "*":
		return ev.times(l, r)
	case "/", "mod":
		return divide(op, l, r)
	}
	return nil, noOperator(op, l, r)
}

func noOperator(op string, l, r any) error {
	return errorf(ErrArgs, "operator %q does not take a %s and a %s", op, typeName(l), typeName(r))
}

func toFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func (ev *evaluator) plus(l, r any) (any, error) {
	switch x := l.(type) {
	case int64:
		if y, ok := r.(int64); ok {
			s := x + y
			if (s > x) != (y > 0) && y != 0 {
				return nil, overflow()
			}
			return s, nil
		}
	case string:
		if y, ok := r.(string); ok {
			return x + y, ev.charge(len(x) + len(y))
		}
	case time.Time:
		if y, ok := r.(Timespan); ok {
			return addSpan(x, y), nil
		}
	case Timespan:
		switch y := r.(type) {
		case Timespan:
			return x + y, nil
		case time.Time:
			return addSpan(y, x), nil
		}
	case *Set:
		if y, ok := r.(*Set); ok {
			return union(x, y), ev.charge(2 * cell * (x.Len() + y.Len()))
		}
	}
	if x, ok := toFloat(l); ok {
		if y, ok := toFloat(r); ok {
			return x + y, nil
		}
	}
	if a, ok := l.([]any); ok {
		if b, ok := r.([]any); ok {
			if err := ev.charge(cell * (len(a) + len(b))); err != nil {
				return nil, err
			}
			return append(append(make([]any, 0, len(a)+len(b)), a...), b...), nil
		}
	}
	if iterable(l) && iterable(r) {
		return ev.chain(l, r)
	}
	a, ok1 := asMapping(l)
	b, ok2 := asMapping(r)
	if ok1 && ok2 {
		return ev.mergeFlat(a, b)
	}
	return nil, noOperator("+", l, r)
}

func (ev *evaluator) mergeFlat(a, b mapping) (any, error) {
	if err := ev.charge(3 * cell * (a.size() + b.size())); err != nil {
		return nil, err
	}
	out := NewMap(a.size() + b.size())
	put := func(k, v any) bool { out.Set(k, v); return true }
	a.each(put)
	b.each(put)
	return out, nil
}

func (ev *evaluator) minus(l, r any) (any, error) {
	switch x := l.(type) {
	case int64:
		if y, ok := r.(int64); ok {
			d := x - y
			if (d < x) != (y > 0) && y != 0 {
				return nil, overflow()
			}
			return d, nil
		}
	case *Set:
		if y, ok := r.(*Set); ok {
			return difference(x, y), nil
		}
	case time.Time:
		switch y := r.(type) {
		case time.Time:
			return Timespan(x.UnixMicro() - y.UnixMicro()), nil
		case Timespan:
			return addSpan(x, -y), nil
		}
	case Timespan:
		if y, ok := r.(Timespan); ok {
			return x - y, nil
		}
	}
	x, ok1 := toFloat(l)
	y, ok2 := toFloat(r)
	if ok1 && ok2 {
		return x - y, nil
	}
	return nil, noOperator("-", l, r)
}

func (ev *evaluator) times(l, r any) (any, error) {
	if x, ok := l.(int64); ok {
		if y, ok := r.(int64); ok {
			p := x * y
			if x != 0 && (p/x != y || x == -1 && y == math.MinInt64) {
				return nil, overflow()
			}
			return p, nil
		}
	}
	if n, ok := asIndex(l); ok && repeatable(r) {
		return ev.repeat(r, n)
	}
	if n, ok := asIndex(r); ok && repeatable(l) {
		return ev.repeat(l, n)
	}
	x, ok1 := toFloat(l)
	y, ok2 := toFloat(r)
	if ok1 && ok2 {
		return x * y, nil
	}
	if t, ok := l.(Timespan); ok && ok2 {
		return Timespan(math.RoundToEven(float64(t) * y)), nil
	}
	if t, ok := r.(Timespan); ok && ok1 {
		return Timespan(math.RoundToEven(float64(t) * x)), nil
	}
	return nil, noOperator("*", l, r)
}

// asIndex is an integer where Python takes one: true is 1.
func asIndex(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		return boolInt(v), true
	}
	return 0, false
}

func repeatable(v any) bool {
	switch v.(type) {
	case string, []any:
		return true
	}
	return false
}

func (ev *evaluator) repeat(v any, n int64) (any, error) {
	n = max(n, 0)
	size := int64(1)
	if s, ok := v.(string); ok {
		size = int64(len(s))
	} else if l, ok := v.([]any); ok {
		size = int64(len(l)) * cell
	}
	if size > 0 && n > int64(ev.opts.MemoryQuota)/size {
		return nil, errorf(ErrLimit, "evaluation builds more than %d bytes", ev.opts.MemoryQuota)
	}
	if err := ev.charge(int(size * n)); err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		return strings.Repeat(s, int(n)), nil
	}
	l := v.([]any)
	if len(l) == 0 {
		return []any{}, nil
	}
	out := make([]any, 0, len(l)*int(n))
	for range n {
		out = append(out, l...)
	}
	return out, nil
}

// floorDiv and floorMod round towards minus infinity, as Python does.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - b*floorDiv(a, b) }

func divide(op string, l, r any) (any, error) {
	x, ok1 := toFloat(l)
	y, ok2 := toFloat(r)
	if t, ok := l.(Timespan); ok && op == "/" {
		switch {
		case ok2 && y != 0:
			return Timespan(math.RoundToEven(float64(t) / y)), nil
		case ok2:
			return nil, errorf(ErrValue, "division by zero")
		}
		if u, ok := r.(Timespan); ok && u != 0 {
			return float64(t) / float64(u), nil
		}
	}
	if !ok1 || !ok2 {
		return nil, noOperator(op, l, r)
	}
	if y == 0 {
		return nil, errorf(ErrValue, "division by zero")
	}
	a, ok1 := l.(int64)
	b, ok2 := r.(int64)
	if ok1 && ok2 {
		if b == -1 && a == math.MinInt64 {
			return nil, overflow()
		}
		if op == "/" {
			return floorDiv(a, b), nil
		}
		return floorMod(a, b), nil
	}
	if op == "/" {
		return x / y, nil
	}
	return x - y*math.Floor(x/y), nil
}

func (ev *evaluator) in(l, r any) (any, error) {
	if s, ok := r.(string); ok {
		sub, ok := l.(string)
		if !ok {
			return nil, noOperator("in", l, r)
		}
		return strings.Contains(s, sub), nil
	}
	if set, ok := r.(*Set); ok {
		return set.Has(l), nil
	}
	if !iterable(r) {
		return nil, noOperator("in", l, r)
	}
	return ev.contains(r, l)
}

func (ev *evaluator) contains(coll, v any) (bool, error) {
	next, err := ev.iter(coll)
	if err != nil {
		return false, err
	}
	for {
		it, ok, err := next()
		if err != nil || !ok {
			return false, err
		}
		if equal(it, v) {
			return true, nil
		}
	}
}

// compare is < > <= >=. Null is less than anything else.
func (ev *evaluator) compare(op string, l, r any) (bool, error) {
	if l == nil || r == nil {
		return ordered3(op, rank(l)-rank(r)), nil
	}
	switch x := l.(type) {
	case int64:
		if y, ok := r.(int64); ok {
			return ordered3(op, cmp3(x, y)), nil
		}
	case string:
		if y, ok := r.(string); ok {
			return ordered3(op, strings.Compare(x, y)), nil
		}
	case time.Time:
		if y, ok := r.(time.Time); ok {
			return ordered3(op, x.Compare(y)), nil
		}
	case Timespan:
		if y, ok := r.(Timespan); ok {
			return ordered3(op, cmp3(int64(x), int64(y))), nil
		}
	case *Set:
		if y, ok := r.(*Set); ok {
			return compareSets(op, x, y), nil
		}
	}
	x, ok1 := toFloat(l)
	y, ok2 := toFloat(r)
	if !ok1 || !ok2 {
		return false, noOperator(op, l, r)
	}
	switch op {
	case "<":
		return x < y, nil
	case ">":
		return x > y, nil
	case "<=":
		return x <= y, nil
	}
	return x >= y, nil
}

func rank(v any) int {
	if v == nil {
		return 0
	}
	return 1
}

func cmp3(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func ordered3(op string, c int) bool {
	switch op {
	case "<":
		return c < 0
	case ">":
		return c > 0
	case "<=":
		return c <= 0
	}
	return c >= 0
}

func compareSets(op string, x, y *Set) bool {
	switch op {
	case "<":
		return x.Len() < y.Len() && subset(x, y)
	case "<=":
		return subset(x, y)
	case ">":
		return x.Len() > y.Len() && subset(y, x)
	}
	return subset(y, x)
}

func union(a, b *Set) *Set {
	out := NewSet(a.items...)
	for _, it := range b.items {
		out.add(it)
	}
	return out
}

func difference(a, b *Set) *Set {
	out := NewSet()
	for _, it := range a.items {
		if !b.Has(it) {
			out.add(it)
		}
	}
	return out
}
