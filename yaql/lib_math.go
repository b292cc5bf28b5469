package yaql

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
)

func mathTable() []entry {
	bits := func(f func(a, b int64) int64) func(c *call) (any, error) {
		return func(c *call) (any, error) { return f(c.int(0), c.int(1)), nil }
	}
	return []entry{
		{"int(value)", fn, func(c *call) (any, error) { return toInt(c.args[0]) }},
		{"float(value)", fn, func(c *call) (any, error) { return parseFloat(c.args[0]) }},
		{"isInteger(value)", fn, func(c *call) (any, error) { _, ok := c.args[0].(int64); return ok, nil }},
		{"isNumber(value)", fn, func(c *call) (any, error) { _, ok := toFloat(c.args[0]); return ok, nil }},
		{"abs(op: num)", fn, func(c *call) (any, error) {
			if f, ok := c.args[0].(float64); ok {
				return math.Abs(f), nil
			}
			if c.int(0) < 0 {
				return c.ev.unary("-", c.args[0])
			}
			return c.args[0], nil
		}},
		{"sign(num: num)", fn, func(c *call) (any, error) {
			f, _ := toFloat(c.args[0])
			switch {
			case f > 0:
				return int64(1), nil
			case f < 0:
				return int64(-1), nil
			}
			return int64(0), nil
		}},
		{"round(number: num, ndigits: pyint=0)", fn, round},
		{"pow(a: num, b: num, c: num?=null)", fn, pow},
		{"bitwiseAnd(left: pyint, right: pyint)", fn, bits(func(a, b int64) int64 { return a & b })},
		{"bitwiseOr(left: pyint, right: pyint)", fn, bits(func(a, b int64) int64 { return a | b })},
		{"bitwiseXor(left: pyint, right: pyint)", fn, bits(func(a, b int64) int64 { return a ^ b })},
		{"bitwiseNot(arg: pyint)", fn, func(c *call) (any, error) { return ^c.int(0), nil }},
		{"shiftBitsLeft(value: pyint, bitsNumber: pyint)", fn, func(c *call) (any, error) {
			v, n := c.int(0), c.int(1)
			if n < 0 {
				return nil, errorf(ErrValue, "shiftBitsLeft: negative shift count")
			}
			if v == 0 {
				return v, nil
			}
			if n > 62 || v<<n>>n != v {
				return nil, overflow()
			}
			return v << n, nil
		}},
		{"shiftBitsRight(value: pyint, bitsNumber: pyint)", fn, func(c *call) (any, error) {
			if c.int(1) < 0 {
				return nil, errorf(ErrValue, "shiftBitsRight: negative shift count")
			}
			return c.int(0) >> min(c.int(1), 63), nil
		}},
		{"max(a, b)", fn, func(c *call) (any, error) { return c.ev.extreme(">")(c.args[0], c.args[1]) }},
		{"min(a, b)", fn, func(c *call) (any, error) { return c.ev.extreme("<")(c.args[0], c.args[1]) }},
		{"random()", fn, func(c *call) (any, error) { return c.ev.random().Float64(), nil }},
		{"random(from: pyint, to: pyint)", fn, func(c *call) (any, error) {
			from, to := c.int(0), c.int(1)
			if to < from || to-from < 0 || to-from == math.MaxInt64 {
				return nil, errorf(ErrValue, "random: no integers from %d to %d", from, to)
			}
			return from + c.ev.random().Int64N(to-from+1), nil
		}},
	}
}

func (ev *evaluator) random() *rand.Rand {
	if ev.rng == nil {
		ev.rng = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // not for secrets
	}
	return ev.rng
}

func toInt(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return int64(0), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case int64:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.Abs(v) >= 1<<63 {
			return nil, errorf(ErrValue, "int: %s does not fit 64 bits", pyFloat(v))
		}
		return int64(v), nil
	case string:
		s := strings.ReplaceAll(strings.TrimSpace(v), "_", "")
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, errorf(ErrValue, "int: %s is not an integer", pyQuote(shorten(v, 50)))
		}
		return n, nil
	}
	return nil, errorf(ErrValue, "int: a %s is not a number", typeName(v))
}

func parseFloat(v any) (any, error) {
	if v == nil {
		return 0.0, nil
	}
	if f, ok := toFloat(v); ok {
		return f, nil
	}
	switch v := v.(type) {
	case bool:
		if v {
			return 1.0, nil
		}
		return 0.0, nil
	case string:
		s := strings.ToLower(strings.TrimSpace(v))
		f, err := strconv.ParseFloat(s, 64)
		if (err != nil && !math.IsInf(f, 0)) || strings.Contains(s, "x") {
			return nil, errorf(ErrValue, "float: %s is not a number", pyQuote(shorten(v, 50)))
		}
		return f, nil
	}
	return nil, errorf(ErrValue, "float: a %s is not a number", typeName(v))
}

// round rounds halves away from zero for exact halves as the original does:
// to even for floats (Python 3), keeping integers integers.
func round(c *call) (any, error) {
	n := c.int(1)
	if i, ok := c.args[0].(int64); ok {
		if n >= 0 {
			return i, nil
		}
		if n < -18 {
			return int64(0), nil
		}
		p := int64(math.Pow10(int(-n)))
		q, r := floorDiv(i, p), floorMod(i, p)
		if 2*r > p || 2*r == p && q%2 != 0 {
			q++
		}
		return q * p, nil
	}
	f := c.args[0].(float64)
	if n > 300 || math.IsNaN(f) || math.IsInf(f, 0) {
		return f, nil
	}
	if n >= 0 {
		r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(n), 64), 64)
		return r, err
	}
	p := math.Pow10(int(max(-n, 0)))
	return math.RoundToEven(f/p) * p, nil
}

func pow(c *call) (any, error) {
	a, okA := c.args[0].(int64)
	b, okB := c.args[1].(int64)
	if c.has(2) {
		m, okM := c.args[2].(int64)
		if !okA || !okB || !okM || b < 0 || m == 0 {
			return nil, errorf(ErrValue, "pow: with a modulus all must be integers, not negative and not zero")
		}
		r := new(big.Int).Exp(big.NewInt(a), big.NewInt(b), big.NewInt(max(m, -m)))
		return floorMod(r.Int64(), m), nil
	}
	if !okA || !okB || b < 0 {
		x, _ := toFloat(c.args[0])
		y, _ := toFloat(c.args[1])
		if x == 0 && y < 0 {
			return nil, errorf(ErrValue, "pow: zero cannot be raised to a negative power")
		}
		r := math.Pow(x, y)
		if math.IsNaN(r) || math.IsInf(r, 0) {
			return nil, errorf(ErrValue, "pow: the result is not a real number")
		}
		return r, nil
	}
	if a != 0 && a != 1 && a != -1 && b > 64 {
		return nil, overflow()
	}
	r := new(big.Int).Exp(big.NewInt(a), big.NewInt(b), nil)
	if !r.IsInt64() {
		return nil, overflow()
	}
	return r.Int64(), nil
}
