package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

const maxReprDepth = 200

// Str is Python's str(v).
func Str(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case Markup:
		return string(x)
	case *Undefined:
		return x.str()
	}
	return Repr(v)
}

// Repr is Python's repr(v).
func Repr(v any) string {
	var sb strings.Builder
	writeRepr(&sb, v, 0)
	return sb.String()
}

func writeRepr(sb *strings.Builder, v any, depth int) {
	if depth > maxReprDepth {
		sb.WriteString("...")
		return
	}
	switch x := v.(type) {
	case nil:
		sb.WriteString("None")
	case bool:
		if x {
			sb.WriteString("True")
		} else {
			sb.WriteString("False")
		}
	case int:
		sb.WriteString(strconv.Itoa(x))
	case *big.Int:
		sb.WriteString(x.String())
	case float64:
		sb.WriteString(floatRepr(x))
	case string:
		writeStrRepr(sb, x)
	case Markup:
		sb.WriteString("Markup(")
		writeStrRepr(sb, string(x))
		sb.WriteString(")")
	case *List:
		writeSeq(sb, "[", x.Items, "]", depth)
	case Tuple:
		end := ")"
		if len(x) == 1 {
			end = ",)"
		}
		writeSeq(sb, "(", x, end, depth)
	case *Dict:
		writeDict(sb, x, depth)
	case *dictView:
		sb.WriteString("dict_" + x.kind + "(")
		writeSeq(sb, "[", x.items(), "]", depth)
		sb.WriteString(")")
	case *rangeValue:
		if x.step == 1 {
			fmt.Fprintf(sb, "range(%d, %d)", x.start, x.stop)
		} else {
			fmt.Fprintf(sb, "range(%d, %d, %d)", x.start, x.stop, x.step)
		}
	case *Undefined:
		sb.WriteString("Undefined")
	case *namespace:
		sb.WriteString("<Namespace ")
		writeDict(sb, x.vars, depth)
		sb.WriteString(">")
	case *Macro:
		sb.WriteString("<Macro ")
		if x.name == "" {
			sb.WriteString("anonymous")
		} else {
			writeStrRepr(sb, x.name)
		}
		sb.WriteString(">")
	case *loopContext:
		fmt.Fprintf(sb, "<LoopContext %d/%d>", x.index0+1, x.lengthOrZero())
	case *generator:
		sb.WriteString("<generator object " + x.name + ">")
	case *Func:
		sb.WriteString("<function " + x.Name + ">")
	case *cycler:
		sb.WriteString("<jinja2.utils.Cycler object>")
	case Object:
		sb.WriteString(x.String())
	default:
		fmt.Fprint(sb, v)
	}
}

func writeSeq(sb *strings.Builder, open string, items []any, end string, depth int) {
	sb.WriteString(open)
	for i, it := range items {
		if i > 0 {
			sb.WriteString(", ")
		}
		writeRepr(sb, it, depth+1)
	}
	sb.WriteString(end)
}

func writeDict(sb *strings.Builder, d *Dict, depth int) {
	sb.WriteString("{")
	first := true
	for k, v := range d.All() {
		if !first {
			sb.WriteString(", ")
		}
		first = false
		writeRepr(sb, k, depth+1)
		sb.WriteString(": ")
		writeRepr(sb, v, depth+1)
	}
	sb.WriteString("}")
}

func writeStrRepr(sb *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, "\"") {
		quote = '"'
	}
	sb.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			sb.WriteByte('\\')
			sb.WriteRune(r)
		case r == '\n':
			sb.WriteString(`\n`)
		case r == '\r':
			sb.WriteString(`\r`)
		case r == '\t':
			sb.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(sb, `\x%02x`, r)
		case r < 0x7f || unicode.IsPrint(r):
			sb.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(sb, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(sb, `\u%04x`, r)
		default:
			fmt.Fprintf(sb, `\U%08x`, r)
		}
	}
	sb.WriteRune(quote)
}

// floatRepr is Python's shortest repr: exponent form below 1e-4 and from 1e16 on.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	a := math.Abs(f)
	if a != 0 && (a < 1e-4 || a >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		return s
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
