package jinja

import (
	"math"
	"math/big"
	"strings"
)

// maxBits bounds the size of integers a template can make.
const maxBits = 1 << 16

func normBig(b *big.Int) any {
	if b.IsInt64() {
		return int(b.Int64())
	}
	return b
}

func asBig(v any) (*big.Int, bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return big.NewInt(1), true
		}
		return big.NewInt(0), true
	case int:
		return big.NewInt(int64(x)), true
	case *big.Int:
		return x, true
	}
	return nil, false
}

func asInt(v any) (int, bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case int:
		return x, true
	}
	return 0, false
}

func asFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64()
		return f, true
	}
	if i, ok := asInt(v); ok {
		return float64(i), true
	}
	return 0, false
}

func isNumber(v any) bool {
	switch v.(type) {
	case bool, int, float64, *big.Int:
		return true
	}
	return false
}

func asString(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case Markup:
		return string(x), true
	}
	return "", false
}

// truth is Python's bool(v).
func truth(v any) (bool, error) {
	switch x := v.(type) {
	case nil:
		return false, nil
	case bool:
		return x, nil
	case int:
		return x != 0, nil
	case float64:
		return x != 0, nil
	case *big.Int:
		return x.Sign() != 0, nil
	case string:
		return x != "", nil
	case Markup:
		return x != "", nil
	case *List:
		return len(x.Items) > 0, nil
	case Tuple:
		return len(x) > 0, nil
	case *Dict:
		return x.Len() > 0, nil
	case *dictView:
		return x.d.Len() > 0, nil
	case *rangeValue:
		return x.len() > 0, nil
	case *Undefined:
		if x.strict {
			return false, x.err()
		}
		return false, nil
	}
	return true, nil
}

func checkUndefined(vs ...any) error {
	for _, v := range vs {
		if u, ok := v.(*Undefined); ok {
			return u.err()
		}
	}
	return nil
}

func opError(op string, a, b any) error {
	return typeErrorf("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

func (rt *runtime) binary(op string, a, b any) (any, error) {
	if err := checkUndefined(a, b); err != nil {
		return nil, err
	}
	if isNumber(a) && isNumber(b) {
		return arith(op, a, b)
	}
	switch op {
	case "+":
		return rt.add(a, b)
	case "*":
		if n, ok := asInt(b); ok {
			return rt.repeat(a, n, b)
		}
		if n, ok := asInt(a); ok {
			return rt.repeat(b, n, a)
		}
	case "%":
		if s, ok := asString(a); ok {
			if _, ok := a.(Markup); ok {
				out, err := percentFormat(rt, s, escapedArgs(b))
				return Markup(out), err
			}
			return percentFormat(rt, s, b)
		}
	}
	return nil, opError(op, a, b)
}

func (rt *runtime) add(a, b any) (any, error) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			if err := rt.sized(len(x) + len(y)); err != nil {
				return nil, err
			}
			return x + y, nil
		}
		if y, ok := b.(Markup); ok {
			return Markup(escapeHTML(x)) + y, nil
		}
		return nil, typeErrorf("can only concatenate str (not \"%s\") to str", typeName(b))
	case Markup:
		if s, ok := b.(Markup); ok {
			return x + s, nil
		}
		if s, ok := b.(string); ok {
			return x + Markup(escapeHTML(s)), nil
		}
	case *List:
		if y, ok := b.(*List); ok {
			if err := rt.sized(len(x.Items) + len(y.Items)); err != nil {
				return nil, err
			}
			return &List{Items: append(append(make([]any, 0, len(x.Items)+len(y.Items)), x.Items...), y.Items...)}, nil
		}
		return nil, typeErrorf("can only concatenate list (not \"%s\") to list", typeName(b))
	case Tuple:
		if y, ok := b.(Tuple); ok {
			return append(append(make(Tuple, 0, len(x)+len(y)), x...), y...), nil
		}
		return nil, typeErrorf("can only concatenate tuple (not \"%s\") to tuple", typeName(b))
	}
	return nil, opError("+", a, b)
}

func (rt *runtime) repeat(v any, n int, other any) (any, error) {
	if n < 0 {
		n = 0
	}
	var size int
	switch x := v.(type) {
	case string:
		size = len(x)
	case Markup:
		size = len(x)
	case *List:
		size = len(x.Items)
	case Tuple:
		size = len(x)
	default:
		return nil, opError("*", v, other)
	}
	if size > 0 && n > rt.env.opts.MaxOutput/size {
		return nil, errorf(LimitError, "a value of %d times %d elements is too large", n, size)
	}
	switch x := v.(type) {
	case string:
		return strings.Repeat(x, n), nil
	case Markup:
		return Markup(strings.Repeat(string(x), n)), nil
	case *List:
		out := make([]any, 0, len(x.Items)*n)
		for range n {
			out = append(out, x.Items...)
		}
		return &List{Items: out}, nil
	case Tuple:
		out := make(Tuple, 0, len(x)*n)
		for range n {
			out = append(out, x...)
		}
		return out, nil
	}
	return nil, opError("*", v, other)
}

func arith(op string, a, b any) (any, error) {
	_, af := a.(float64)
	_, bf := b.(float64)
	if op == "/" || af || bf {
		return floatArith(op, a, b)
	}
	x, okx := asInt(a)
	y, oky := asInt(b)
	if okx && oky {
		if v, ok := smallArith(op, x, y); ok {
			return v, nil
		}
	}
	return bigArith(op, a, b)
}

// smallArith does what fits into a machine word; false means that big integers (or an error) are needed.
func smallArith(op string, x, y int) (any, bool) {
	switch op {
	case "+":
		if s := x + y; (s > x) == (y > 0) {
			return s, true
		}
	case "-":
		if s := x - y; (s < x) == (y > 0) {
			return s, true
		}
	case "*":
		if x == 0 || y == 0 {
			return 0, true
		}
		if p := x * y; p/y == x && x != math.MinInt && y != math.MinInt {
			return p, true
		}
	case "//":
		if y != 0 && x != math.MinInt {
			q := x / y
			if x%y != 0 && (x < 0) != (y < 0) {
				q--
			}
			return q, true
		}
	case "%":
		if y != 0 && x != math.MinInt {
			m := x % y
			if m != 0 && (m < 0) != (y < 0) {
				m += y
			}
			return m, true
		}
	}
	return nil, false
}

func bigArith(op string, a, b any) (any, error) {
	x, _ := asBig(a)
	y, _ := asBig(b)
	z := new(big.Int)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		if x.BitLen()+y.BitLen() > maxBits {
			return nil, errorf(LimitError, "integer too large")
		}
		z.Mul(x, y)
	case "//", "%":
		if y.Sign() == 0 {
			if op == "%" {
				return nil, errorf(ZeroDivision, "integer modulo by zero")
			}
			return nil, errorf(ZeroDivision, "integer division or modulo by zero")
		}
		m := new(big.Int)
		z.DivMod(x, y, m) // Euclidean; Python floors
		if m.Sign() != 0 && y.Sign() < 0 {
			z.Sub(z, big.NewInt(1))
			m.Add(m, y)
		}
		if op == "%" {
			return normBig(m), nil
		}
	case "**":
		if y.Sign() < 0 {
			return floatArith(op, a, b)
		}
		if !y.IsInt64() || (x.BitLen() > 1 && int64(x.BitLen())*y.Int64() > maxBits) || y.Int64() > maxBits && x.BitLen() > 1 {
			return nil, errorf(LimitError, "integer too large")
		}
		z.Exp(x, y, nil)
	default:
		return nil, opError(op, a, b)
	}
	return normBig(z), nil
}

func floatArith(op string, a, b any) (any, error) {
	x, _ := asFloat(a)
	y, _ := asFloat(b)
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "/":
		if y == 0 {
			_, af := a.(float64)
			_, bf := b.(float64)
			if af || bf {
				return nil, errorf(ZeroDivision, "float division by zero")
			}
			return nil, errorf(ZeroDivision, "division by zero")
		}
		return x / y, nil
	case "//":
		if y == 0 {
			return nil, errorf(ZeroDivision, "float floor division by zero")
		}
		return math.Floor(x / y), nil
	case "%":
		if y == 0 {
			return nil, errorf(ZeroDivision, "float modulo")
		}
		m := math.Mod(x, y)
		if m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return m, nil
	case "**":
		if x == 0 && y < 0 {
			return nil, errorf(ZeroDivision, "0.0 cannot be raised to a negative power")
		}
		return math.Pow(x, y), nil
	}
	return nil, opError(op, a, b)
}

func unary(op string, v any) (any, error) {
	if err := checkUndefined(v); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok {
		if op == "-" {
			return -f, nil
		}
		return f, nil
	}
	b, ok := asBig(v)
	if !ok {
		return nil, typeErrorf("bad operand type for unary %s: '%s'", op, typeName(v))
	}
	if op == "-" {
		return normBig(new(big.Int).Neg(b)), nil
	}
	return normBig(b), nil
}

// equal is Python's a == b.
func equal(a, b any) bool {
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b) == 0
	}
	if s, ok := asString(a); ok {
		t, ok := asString(b)
		return ok && s == t
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case *List:
		y, ok := b.(*List)
		return ok && equalSeq(x.Items, y.Items)
	case Tuple:
		y, ok := b.(Tuple)
		return ok && equalSeq(x, y)
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || x.Len() != y.Len() {
			return false
		}
		for k, v := range x.All() {
			w, ok := y.Get(k)
			if !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case *Undefined:
		_, ok := b.(*Undefined)
		return ok
	case *rangeValue:
		y, ok := b.(*rangeValue)
		return ok && *x == *y
	case *dictView:
		y, ok := b.(*dictView)
		return ok && x.kind == y.kind && equalSeq(x.items(), y.items())
	}
	switch b.(type) {
	case nil, bool, int, float64, string, Markup, *List, Tuple, *Dict, *Undefined, *big.Int:
		return false
	}
	ka, errA := hashKey(a)
	kb, errB := hashKey(b)
	return errA == nil && errB == nil && ka == kb
}

func equalSeq(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func compareNumbers(a, b any) int {
	x, okx := asBig(a)
	y, oky := asBig(b)
	if okx && oky {
		return x.Cmp(y)
	}
	f, _ := asFloat(a)
	g, _ := asFloat(b)
	switch {
	case f < g:
		return -1
	case f > g:
		return 1
	case f == g:
		return 0
	}
	return 2 // NaN
}

// order is -1, 0 or 1 as a is below, equal to or above b; 2 when nothing holds (NaN). op is for the message.
func order(op string, a, b any) (int, error) {
	if err := checkUndefined(a, b); err != nil {
		return 0, err
	}
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b), nil
	}
	if s, ok := asString(a); ok {
		if t, ok := asString(b); ok {
			return strings.Compare(s, t), nil
		}
	}
	var xs, ys []any
	var seqs bool
	if x, ok := a.(*List); ok {
		if y, ok := b.(*List); ok {
			xs, ys, seqs = x.Items, y.Items, true
		}
	} else if x, ok := a.(Tuple); ok {
		if y, ok := b.(Tuple); ok {
			xs, ys, seqs = x, y, true
		}
	}
	if !seqs {
		return 0, typeErrorf("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	}
	for i := range min(len(xs), len(ys)) {
		if !equal(xs[i], ys[i]) {
			return order(op, xs[i], ys[i])
		}
	}
	return len(xs) - len(ys), nil
}

func compare(op string, a, b any) (bool, error) {
	switch op {
	case "==", "!=":
		for _, v := range []any{a, b} {
			if u, ok := v.(*Undefined); ok && u.strict {
				return false, u.err()
			}
		}
		return equal(a, b) == (op == "=="), nil
	case "in", "not in":
		in, err := contains(b, a)
		return in == (op == "in"), err
	}
	c, err := order(op, a, b)
	if err != nil || c == 2 {
		return false, err
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

// contains is Python's item in coll.
func contains(coll, item any) (bool, error) {
	switch x := coll.(type) {
	case string, Markup:
		s, _ := asString(x)
		sub, ok := asString(item)
		if !ok {
			if err := checkUndefined(item); err != nil {
				return false, err
			}
			return false, typeErrorf("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		return strings.Contains(s, sub), nil
	case *Dict:
		return x.Has(item)
	case *Undefined:
		if x.strict {
			return false, x.err()
		}
		return false, nil
	case *rangeValue:
		i, ok := asInt(item)
		if !ok {
			return false, nil
		}
		for k := range x.len() {
			if x.at(k) == i {
				return true, nil
			}
		}
		return false, nil
	}
	next, err := iterate(coll)
	if err != nil {
		return false, typeErrorf("argument of type '%s' is not iterable", typeName(coll))
	}
	for {
		v, ok, err := next()
		if err != nil || !ok {
			return false, err
		}
		if equal(v, item) {
			return true, nil
		}
	}
}

// iterate is Python's iter(v). The returned function reads a list live, as Python's iterator does.
func iterate(v any) (func() (any, bool, error), error) {
	switch x := v.(type) {
	case *List:
		i := 0
		return func() (any, bool, error) {
			if i >= len(x.Items) {
				return nil, false, nil
			}
			i++
			return x.Items[i-1], true, nil
		}, nil
	case Tuple:
		return sliceIter(x), nil
	case string:
		return sliceIter(chars(x)), nil
	case Markup:
		return sliceIter(chars(string(x))), nil
	case *Dict:
		return dictIter(x, func() []any { return x.Keys() }), nil
	case *dictView:
		return dictIter(x.d, x.items), nil
	case *rangeValue:
		i := 0
		return func() (any, bool, error) {
			if i >= x.len() {
				return nil, false, nil
			}
			i++
			return x.at(i - 1), true, nil
		}, nil
	case *generator:
		return x.next, nil
	case *loopContext:
		return x.pairs(), nil
	case *namedTuple:
		return sliceIter(x.Tuple), nil
	case *Undefined:
		if x.strict {
			return nil, x.err()
		}
		return sliceIter(nil), nil
	}
	return nil, typeErrorf("'%s' object is not iterable", typeName(v))
}

func dictIter(d *Dict, items func() []any) func() (any, bool, error) {
	n := d.Len()
	next := sliceIter(items())
	return func() (any, bool, error) {
		if d.Len() != n {
			return nil, false, errorf(PythonRuntime, "dictionary changed size during iteration")
		}
		return next()
	}
}

func sliceIter(items []any) func() (any, bool, error) {
	i := 0
	return func() (any, bool, error) {
		if i >= len(items) {
			return nil, false, nil
		}
		i++
		return items[i-1], true, nil
	}
}

func chars(s string) []any {
	out := make([]any, 0, len(s))
	for _, r := range s {
		out = append(out, string(r))
	}
	return out
}

// list is Python's list(v), as a slice that the caller may keep.
func (rt *runtime) list(v any) ([]any, error) {
	if l, ok := v.(*List); ok {
		return append([]any(nil), l.Items...), nil
	}
	next, err := iterate(v)
	if err != nil {
		return nil, err
	}
	var out []any
	for {
		it, ok, err := next()
		if err != nil || !ok {
			return out, err
		}
		out = append(out, it)
		if err := rt.step(); err != nil {
			return nil, err
		}
		if err := rt.sized(16 * len(out)); err != nil {
			return nil, err
		}
	}
}

// length is Python's len(v); false when v has none.
func length(v any) (int, bool) {
	switch x := v.(type) {
	case string:
		return len([]rune(x)), true
	case Markup:
		return len([]rune(string(x))), true
	case *List:
		return len(x.Items), true
	case Tuple:
		return len(x), true
	case *Dict:
		return x.Len(), true
	case *dictView:
		return x.d.Len(), true
	case *rangeValue:
		return x.len(), true
	case *Undefined:
		return 0, !x.strict
	case *loopContext:
		return x.lengthOrZero(), true
	}
	return 0, false
}
