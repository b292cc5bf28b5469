package yaml11

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Marshal writes v in block style as PyYAML's safe_dump(default_flow_style=False) lays it out: ordered
// maps in their order, other maps sorted, lists not indented below their key. Text of several lines is
// written as a literal block. PyYAML and Parse read back the same value.
func Marshal(v any) ([]byte, error) {
	var e emitter
	v = normal(v)
	switch x := v.(type) {
	case *OrderedMap:
		if x.Len() > 0 {
			e.mapping(x, 0)
			return e.b.Bytes(), nil
		}
	case []any:
		if len(x) > 0 {
			e.list(x, 0)
			return e.b.Bytes(), nil
		}
	}
	e.inline(v, 0)
	e.b.WriteByte('\n')
	return e.b.Bytes(), nil
}

type emitter struct{ b bytes.Buffer }

func (e *emitter) pad(n int) {
	for range n {
		e.b.WriteByte(' ')
	}
}

func (e *emitter) mapping(m *OrderedMap, indent int) {
	first := true
	for k, v := range m.All() {
		if !first || indent == 0 {
			e.pad(indent)
		}
		first = false
		e.entry(k, v, indent)
	}
}

// entry writes "key: value\n"; the caller has written the indentation.
func (e *emitter) entry(k string, v any, indent int) {
	key := scalarText(k)
	if len(key) > 120 || strings.Contains(key, "\n") {
		// A simple key of YAML is at most 1024 characters on one line.
		key = doubleQuote(k)
		if len(key) > 1000 {
			e.b.WriteString("? " + key + "\n")
			e.pad(indent)
			key = ""
		}
	}
	e.b.WriteString(key)
	e.b.WriteByte(':')
	switch x := v.(type) {
	case *OrderedMap:
		if x.Len() > 0 {
			e.b.WriteByte('\n')
			e.pad(indent + 2)
			e.mapping(x, indent+2)
			return
		}
	case []any:
		if len(x) > 0 {
			e.b.WriteByte('\n')
			e.pad(indent)
			e.list(x, indent)
			return
		}
	}
	e.b.WriteByte(' ')
	e.inline(v, indent)
	e.b.WriteByte('\n')
}

// list writes the items; the caller has written the indentation of the first.
func (e *emitter) list(l []any, indent int) {
	for i, v := range l {
		if i > 0 {
			e.pad(indent)
		}
		e.b.WriteString("- ")
		switch x := v.(type) {
		case *OrderedMap:
			if x.Len() > 0 {
				e.mapping(x, indent+2)
				continue
			}
		case []any:
			if len(x) > 0 {
				e.list(x, indent+2)
				continue
			}
		}
		e.inline(v, indent)
		e.b.WriteByte('\n')
	}
}

func (e *emitter) inline(v any, indent int) {
	switch x := v.(type) {
	case nil:
		e.b.WriteString("null")
	case bool:
		e.b.WriteString(strconv.FormatBool(x))
	case int64:
		e.b.WriteString(strconv.FormatInt(x, 10))
	case float64:
		e.b.WriteString(yamlFloat(x))
	case string:
		if literalFits(x) {
			e.literal(x, indent+2)
			return
		}
		e.b.WriteString(scalarText(x))
	case *OrderedMap:
		e.b.WriteString("{}")
	case []any:
		e.b.WriteString("[]")
	default:
		e.b.WriteString(scalarText(fmt.Sprint(x)))
	}
}

// literalFits tells whether s can be a literal block without an indentation indicator.
func literalFits(s string) bool {
	if !strings.Contains(s, "\n") || s[0] == '\n' || s[0] == ' ' || s[0] == '\t' || !utf8.ValidString(s) {
		return false
	}
	for _, line := range strings.Split(s, "\n") {
		if strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t") {
			return false
		}
		for _, r := range line {
			if r != '\t' && !printable(r) {
				return false
			}
		}
	}
	return true
}

func (e *emitter) literal(s string, indent int) {
	body := strings.TrimRight(s, "\n")
	switch trailing := len(s) - len(body); trailing {
	case 0:
		e.b.WriteString("|-")
	case 1:
		e.b.WriteString("|")
	default:
		e.b.WriteString("|+")
		body += strings.Repeat("\n", trailing-1)
	}
	for _, line := range strings.Split(body, "\n") {
		e.b.WriteByte('\n')
		if line != "" {
			e.pad(indent)
			e.b.WriteString(line)
		}
	}
}

func printable(r rune) bool {
	return r >= 0x20 && r <= 0x7e || r >= 0xa0 && r <= 0xd7ff && r != 0x2028 && r != 0x2029 ||
		r >= 0xe000 && r <= 0xfffd && r != 0xfeff || r >= 0x10000 && r <= unicode.MaxRune
}

// scalarText writes a string on one line: plain where that reads back as the same string, else quoted.
func scalarText(s string) string {
	if s == "" {
		return "''"
	}
	for _, r := range s {
		if !printable(r) || r == utf8.RuneError {
			return doubleQuote(s)
		}
	}
	if plainSafe(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func plainSafe(s string) bool {
	if k, _ := resolveScalar(s); k != String {
		return false
	}
	if _, ok, _ := parseInt(s); ok || isTimestamp(s) || s == "=" || s == "<<" {
		return false
	}
	if strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	// y and n are booleans for other YAML 1.1 readers; numbers such as 1e3 for YAML 1.2 readers.
	switch s {
	case "y", "Y", "n", "N":
		return false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return false
	}
	if strings.IndexByte("-?:,[]{}#&*!|>'\"%@`", s[0]) >= 0 {
		if !(strings.IndexByte("-?:", s[0]) >= 0 && len(s) > 1 && s[1] != ' ' && s[0] == '-') {
			return false
		}
	}
	return !strings.Contains(s, ": ") && !strings.Contains(s, " #") && !strings.HasSuffix(s, ":") &&
		!strings.ContainsAny(s, "[]{},")
}

func doubleQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case printable(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02X`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// FormatFloat writes f as Python's repr does: 1.0, 1e+16, 0.1, inf, nan.
func FormatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	abs := math.Abs(f)
	if abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func yamlFloat(f float64) string {
	switch s := FormatFloat(f); s {
	case "inf":
		return ".inf"
	case "-inf":
		return "-.inf"
	case "nan":
		return ".nan"
	default:
		// YAML 1.1 needs a point before an exponent.
		if i := strings.IndexByte(s, 'e'); i >= 0 && !strings.Contains(s[:i], ".") {
			return s[:i] + ".0" + s[i:]
		}
		return s
	}
}
