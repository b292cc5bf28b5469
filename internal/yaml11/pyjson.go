package yaml11

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// PyJSON writes v as Python's json.dumps does with its default separators: blanks after commas and colons, what is not printable ASCII
// escaped, floats as repr() has them, Infinity and NaN for those. v is what this package and encoding/json (with UseNumber) decode to;
// of a map[string]any, which has no order, the keys are always sorted. Anything else is null.
func PyJSON(v any, sortKeys bool) string {
	var b strings.Builder
	pyJSON(&b, v, sortKeys)
	return b.String()
}

func pyJSON(b *strings.Builder, v any, sortKeys bool) {
	switch x := v.(type) {
	case bool:
		b.WriteString(strconv.FormatBool(x))
	case int64:
		b.WriteString(strconv.FormatInt(x, 10))
	case float64:
		b.WriteString(pyJSONFloat(x))
	case json.Number:
		f, err := x.Float64()
		if s := x.String(); err != nil || !strings.ContainsAny(s, ".eE") {
			b.WriteString(s)
		} else {
			b.WriteString(pyJSONFloat(f))
		}
	case string:
		pyJSONString(b, x)
	case []any:
		b.WriteByte('[')
		for i, e := range x {
			if i > 0 {
				b.WriteString(", ")
			}
			pyJSON(b, e, sortKeys)
		}
		b.WriteByte(']')
	case *OrderedMap:
		keys := x.Keys()
		if sortKeys {
			slices.Sort(keys)
		}
		pyJSONMap(b, keys, func(k string) any { e, _ := x.Get(k); return e }, sortKeys)
	case map[string]any:
		pyJSONMap(b, slices.Sorted(maps.Keys(x)), func(k string) any { return x[k] }, sortKeys)
	default:
		b.WriteString("null")
	}
}

func pyJSONMap(b *strings.Builder, keys []string, get func(string) any, sortKeys bool) {
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		pyJSONString(b, k)
		b.WriteString(": ")
		pyJSON(b, get(k), sortKeys)
	}
	b.WriteByte('}')
}

func pyJSONFloat(f float64) string {
	switch s := FormatFloat(f); s {
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	case "nan":
		return "NaN"
	default:
		return s
	}
}

func pyJSONString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r >= ' ' && r <= '~':
			b.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
}
