package yaql

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Str is Python's str() of a result: None, True, 1.0, ['a', 1], {'k': 'v'}.
// It is how Mistral puts a value into surrounding text.
func Str(v any) string { return (&printer{}).str(v) }

// pyStr is str() as seen inside an expression, where lists are tuples.
func pyStr(v any) string { return (&printer{tuples: true}).str(v) }

func pyRepr(v any) string { return (&printer{tuples: true}).repr(v) }

type printer struct{ tuples bool }

func (p *printer) str(v any) string {
	switch v := norm(v).(type) {
	case string:
		return v
	case time.Time:
		return v.Format("2006-01-02 15:04:05" + microsLayout(v) + "-07:00")
	case Timespan:
		return pyTimedelta(v)
	default:
		return p.repr(v)
	}
}

func microsLayout(t time.Time) string {
	if t.Nanosecond()/1000 == 0 {
		return ""
	}
	return ".000000"
}

func pyTimedelta(t Timespan) string {
	us := int64(t)
	days := floorDiv(us, microsPerDay)
	us -= days * microsPerDay
	sec := us / microsPerSecond
	us %= microsPerSecond
	s := fmt.Sprintf("%d:%02d:%02d", sec/3600, sec/60%60, sec%60)
	if us != 0 {
		s += fmt.Sprintf(".%06d", us)
	}
	switch days {
	case 0:
		return s
	case 1, -1:
		return fmt.Sprintf("%d day, %s", days, s)
	}
	return fmt.Sprintf("%d days, %s", days, s)
}

func (p *printer) repr(v any) string {
	switch v := norm(v).(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return pyFloat(v)
	case string:
		return pyQuote(v)
	case []any:
		return p.list(v)
	case *Set:
		return p.set(v)
	case *seq:
		return "<sequence>" // of its items nothing is known without running it
	case *Regex:
		return "re.compile(" + pyQuote(v.source) + ")"
	case time.Time:
		return reprTime(v)
	case Timespan:
		return reprSpan(v)
	default:
		m, ok := asMapping(v)
		if !ok {
			return fmt.Sprint(v)
		}
		var b strings.Builder
		m.each(func(k, x any) bool {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(p.repr(k) + ": " + p.repr(x))
			return true
		})
		return "{" + b.String() + "}"
	}
}

// set: inside an expression sets are frozen.
func (p *printer) set(v *Set) string {
	s := ""
	if len(v.items) > 0 {
		s = "{" + p.join(v.items) + "}"
	}
	switch {
	case p.tuples:
		return "frozenset(" + s + ")"
	case s == "":
		return "set()"
	}
	return s
}

// reprTime is repr() of a datetime whose zone is one of dateutil's.
func reprTime(t time.Time) string {
	s := fmt.Sprintf("datetime.datetime(%d, %d, %d, %d, %d", t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute())
	us := t.Nanosecond() / 1000
	if t.Second() != 0 || us != 0 {
		s += fmt.Sprintf(", %d", t.Second())
	}
	if us != 0 {
		s += fmt.Sprintf(", %d", us)
	}
	_, off := t.Zone()
	if off == 0 {
		return s + ", tzinfo=tzutc())"
	}
	return s + fmt.Sprintf(", tzinfo=tzoffset(None, %d))", off)
}

func reprSpan(t Timespan) string {
	us := int64(t)
	days := floorDiv(us, microsPerDay)
	us -= days * microsPerDay
	var parts []string
	for _, f := range []struct {
		name string
		n    int64
	}{{"days", days}, {"seconds", us / microsPerSecond}, {"microseconds", us % microsPerSecond}} {
		if f.n != 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", f.name, f.n))
		}
	}
	if parts == nil {
		return "datetime.timedelta(0)"
	}
	return "datetime.timedelta(" + strings.Join(parts, ", ") + ")"
}

func (p *printer) list(items []any) string {
	if !p.tuples {
		return "[" + p.join(items) + "]"
	}
	if len(items) == 1 {
		return "(" + p.repr(items[0]) + ",)"
	}
	return "(" + p.join(items) + ")"
}

func (p *printer) join(items []any) string {
	parts := make([]string, len(items))
	for i, it := range items {
		parts[i] = p.repr(it)
	}
	return strings.Join(parts, ", ")
}

// pyFloat is repr() of a Python float: shortest digits, ".0" for whole
// numbers, exponent form from 1e16 and below 1e-4.
func pyFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// pyQuote is repr() of a Python str.
func pyQuote(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}
