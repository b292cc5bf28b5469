package hot

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Map is the ordered mapping that all values use.
type Map = yaml11.OrderedMap

// Unknown stands for a value that cannot be known yet.
type Unknown struct{}

// YAMLOpaque keeps Unknowns whole when values are normalised.
func (Unknown) YAMLOpaque() {}

// omitted is the result of an "if" without a third argument whose condition is false: the list item or
// map entry that holds it disappears.
type omitted struct{}

// HasUnknown tells whether v is or contains an Unknown.
func HasUnknown(v any) bool {
	switch x := v.(type) {
	case Unknown:
		return true
	case []any:
		for _, e := range x {
			if HasUnknown(e) {
				return true
			}
		}
	case *Map:
		for _, e := range x.All() {
			if HasUnknown(e) {
				return true
			}
		}
	}
	return false
}

// KindOf names the type of a value for messages.
func KindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case *Map:
		return "a map"
	}
	return fmt.Sprintf("%T", v)
}

// Show writes a value for a message, cut to a readable length.
func Show(v any) string {
	s := PyJSON(v, false)
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

// PyStr writes a scalar as Python's str() does, containers as json.dumps.
func PyStr(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(x, 10)
	case float64:
		return yaml11.FormatFloat(x)
	case string:
		return x
	}
	return PyJSON(v, false)
}

// PyJSON writes v as Python's json.dumps with its default separators, see yaml11.PyJSON. Unknown becomes null.
func PyJSON(v any, sortKeys bool) string { return yaml11.PyJSON(v, sortKeys) }

// Equal compares as Python's == does: 1 == 1.0 == True, maps without order.
func Equal(a, b any) bool {
	switch x := a.(type) {
	case *Map:
		y, ok := b.(*Map)
		if !ok || x.Len() != y.Len() {
			return false
		}
		for k, v := range x.All() {
			w, ok := y.Get(k)
			if !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !Equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case string:
		y, ok := b.(string)
		return ok && x == y
	case nil:
		return b == nil
	}
	if _, ok := b.(string); ok {
		return false
	}
	x, okx := number(a)
	y, oky := number(b)
	return okx && oky && x == y
}

func number(v any) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// ToBool reads a boolean parameter or property as Heat does (oslo.utils strutils, strict).
func ToBool(v any) (bool, bool) {
	switch x := v.(type) {
	case bool:
		return x, true
	case int64:
		if x == 0 || x == 1 {
			return x == 1, true
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(x)) {
		case "1", "t", "true", "on", "y", "yes":
			return true, true
		case "0", "f", "false", "off", "n", "no":
			return false, true
		}
	}
	return false, false
}

// ToNumber reads an int64 or float64, also from text.
func ToNumber(v any) (any, bool) {
	switch x := v.(type) {
	case int64, float64:
		return x, true
	case string:
		s := strings.TrimSpace(x)
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i, true
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f, true
		}
	}
	return nil, false
}

// dig walks path into v as get_param does, where an index may be text; ok is false where a step does not
// exist.
func dig(v any, path []any) (any, bool) {
	return walkPath(v, path, func(p any) (int64, bool) {
		switch x := p.(type) {
		case int64:
			return x, true
		case string:
			n, err := strconv.ParseInt(x, 10, 64)
			return n, err == nil
		}
		return 0, false
	})
}

// Dig walks path (map keys and list indexes) into v, nil where a step does not exist, as Heat selects
// from an attribute: an index is a number, never text.
func Dig(v any, path []any) any {
	r, _ := walkPath(v, path, func(p any) (int64, bool) { i, ok := p.(int64); return i, ok })
	return r
}

func walkPath(v any, path []any, index func(any) (int64, bool)) (any, bool) {
	for _, p := range path {
		ok := false
		switch c := v.(type) {
		case Unknown:
			return c, true
		case *Map:
			k, isStr := p.(string)
			switch p.(type) {
			case *Map, []any:
				return nil, false
			}
			if !isStr {
				k = keyString(p) // keys are text here, numbers in Heat where the template wrote them so
			}
			v, ok = c.Get(k)
		case []any:
			if i, isInt := index(p); isInt {
				v, ok = at(c, i)
			}
		case string: // a character, as Python indexes text
			if i, isInt := index(p); isInt {
				v, ok = at([]rune(c), i)
				if r, isRune := v.(rune); isRune {
					v = string(r)
				}
			}
		}
		if !ok {
			return nil, false
		}
	}
	return v, true
}

// at returns the item at an index, from the end if it is negative.
func at[T any](l []T, i int64) (any, bool) {
	if i < 0 {
		i += int64(len(l))
	}
	if i < 0 || i >= int64(len(l)) {
		return nil, false
	}
	return l[i], true
}
