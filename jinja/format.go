package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatSpec is Python's format mini-language: [[fill]align][sign][#][0][width][,][.prec][type].
type formatSpec struct {
	fill        rune
	align, sign byte
	alt, zero   bool
	width       int
	group       byte
	prec        int // -1: none
	verb        byte
}

func parseSpec(s string) (formatSpec, error) {
	f := formatSpec{fill: ' ', prec: -1}
	bad := func() (formatSpec, error) { return f, valueErrorf("Invalid format specifier") }
	if r, n := utf8.DecodeRuneInString(s); n > 0 && len(s) > n && strings.IndexByte("<>=^", s[n]) >= 0 {
		f.fill, f.align, s = r, s[n], s[n+1:]
	} else if s != "" && strings.IndexByte("<>=^", s[0]) >= 0 {
		f.align, s = s[0], s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		f.sign, s = s[0], s[1:]
	}
	if strings.HasPrefix(s, "#") {
		f.alt, s = true, s[1:]
	}
	if strings.HasPrefix(s, "0") {
		f.zero, s = true, s[1:]
	}
	num := func() int {
		i := 0
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		if i == 0 {
			return -1
		}
		n, err := strconv.Atoi(s[:i])
		s = s[i:]
		if err != nil || n > 1<<20 {
			return 1 << 20
		}
		return n
	}
	f.width = max(num(), 0)
	if s != "" && (s[0] == ',' || s[0] == '_') {
		f.group, s = s[0], s[1:]
	}
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		if f.prec = num(); f.prec < 0 {
			return f, valueErrorf("Format specifier missing precision")
		}
	}
	if s != "" {
		f.verb, s = s[0], s[1:]
	}
	if s != "" {
		return bad()
	}
	return f, nil
}

// formatValue is Python's format(v, spec).
func formatValue(v any, spec string) (string, error) {
	if spec == "" {
		return Str(v), nil
	}
	switch v.(type) {
	case string, Markup, bool, int, *big.Int, float64:
	default:
		return "", typeErrorf("unsupported format string passed to %s.__format__", typeName(v))
	}
	f, err := parseSpec(spec)
	if err != nil {
		return "", err
	}
	if s, ok := asString(v); ok {
		if f.verb != 0 && f.verb != 's' {
			return "", valueErrorf("Unknown format code '%c' for object of type 'str'", f.verb)
		}
		if f.prec >= 0 {
			if rs := []rune(s); len(rs) > f.prec {
				s = string(rs[:f.prec])
			}
		}
		if f.zero && f.align == 0 {
			f.fill = '0'
		}
		return f.pad("", s, '<'), nil
	}
	if _, isBool := v.(bool); isBool && f.verb == 0 && f.align == 0 && f.sign == 0 {
		if f.verb == 0 {
			v, _ = asInt(v)
		}
	}
	neg, digits, err := f.number(v)
	if err != nil {
		return "", err
	}
	sign := ""
	switch {
	case neg:
		sign = "-"
	case f.sign == '+' || f.sign == ' ':
		sign = string(f.sign)
	}
	if f.alt {
		switch f.verb {
		case 'x', 'X', 'o', 'b':
			sign += "0" + string(f.verb)
		}
	}
	if f.zero && f.align == 0 {
		f.fill, f.align = '0', '='
	}
	return f.pad(sign, digits, '>'), nil
}

func (f *formatSpec) pad(sign, body string, def byte) string {
	align := f.align
	if align == 0 {
		align = def
	}
	n := f.width - utf8.RuneCountInString(sign) - utf8.RuneCountInString(body)
	if n <= 0 {
		return sign + body
	}
	fill := strings.Repeat(string(f.fill), n)
	switch align {
	case '<':
		return sign + body + fill
	case '^':
		left := strings.Repeat(string(f.fill), n/2)
		return left + sign + body + strings.Repeat(string(f.fill), n-n/2)
	case '=':
		return sign + fill + body
	}
	return fill + sign + body
}

func (f *formatSpec) number(v any) (neg bool, digits string, err error) {
	if b, ok := asBig(v); ok {
		base := map[byte]int{0: 10, 'd': 10, 'n': 10, 'x': 16, 'X': 16, 'o': 8, 'b': 2}[f.verb]
		if f.verb == 'c' {
			return false, string(rune(b.Int64())), nil
		}
		if base > 0 {
			if f.prec >= 0 {
				return false, "", valueErrorf("Precision not allowed in integer format specifier")
			}
			s := new(big.Int).Abs(b).Text(base)
			if f.verb == 'X' {
				s = strings.ToUpper(s)
			}
			every := 3
			if base != 10 {
				every = 4
			}
			return b.Sign() < 0, grouped(s, f.group, every), nil
		}
	}
	x, _ := asFloat(v)
	prec := f.prec
	if prec < 0 {
		prec = 6
	}
	a := math.Abs(x)
	var s string
	switch f.verb {
	case 'f', 'F':
		s = strconv.FormatFloat(a, 'f', prec, 64)
	case '%':
		s = strconv.FormatFloat(a*100, 'f', prec, 64) + "%"
	case 'e', 'E':
		s = strconv.FormatFloat(a, 'e', prec, 64)
	case 'g', 'G', 'n':
		s = generalFloat(a, max(prec, 1), f.alt)
	case 0:
		if f.prec < 0 {
			s = floatRepr(a)
		} else {
			s = generalFloat(a, max(prec, 1), false)
			if !strings.ContainsAny(s, ".e") {
				s += ".0"
			}
		}
	default:
		return false, "", valueErrorf("Unknown format code '%c' for object of type '%s'", f.verb, typeName(v))
	}
	if f.verb == 'E' || f.verb == 'G' {
		s = strings.ToUpper(s)
	}
	if f.group != 0 {
		i := strings.IndexAny(s, ".e%")
		if i < 0 {
			i = len(s)
		}
		s = grouped(s[:i], f.group, 3) + s[i:]
	}
	return math.Signbit(x), s, nil
}

// generalFloat is C's %g with the given number of significant digits.
func generalFloat(a float64, prec int, alt bool) string {
	if a == 0 {
		return "0"
	}
	e := strconv.FormatFloat(a, 'e', prec-1, 64)
	i := strings.IndexByte(e, 'e')
	exp, err := strconv.Atoi(e[i+1:])
	if err != nil {
		return e
	}
	trim := func(s string) string {
		if !alt && strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	if exp < -4 || exp >= prec {
		return trim(e[:i]) + e[i:]
	}
	return trim(strconv.FormatFloat(a, 'f', prec-1-exp, 64))
}

func grouped(digits string, sep byte, every int) string {
	if sep == 0 {
		return digits
	}
	var sb strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%every == 0 {
			sb.WriteByte(sep)
		}
		sb.WriteRune(d)
	}
	return sb.String()
}

// strFormat is Python's str.format.
func strFormat(rt *runtime, s string, args []any, kwargs *Dict) (string, error) {
	st := &formatState{rt: rt, args: args, kwargs: kwargs}
	out, err := st.expand(s, 2)
	if err != nil {
		return "", err
	}
	return out, rt.sized(len(out))
}

type formatState struct {
	rt     *runtime
	args   []any
	kwargs *Dict
	auto   int
}

func (st *formatState) expand(s string, depth int) (string, error) {
	if depth == 0 {
		return "", valueErrorf("Max string recursion exceeded")
	}
	var sb strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c == '{' || c == '}') && i+1 < len(s) && s[i+1] == c {
			sb.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return "", valueErrorf("Single '}' encountered in format string")
		}
		if c != '{' {
			sb.WriteByte(c)
			continue
		}
		level, j := 1, i+1
		for ; j < len(s) && level > 0; j++ {
			switch s[j] {
			case '{':
				level++
			case '}':
				level--
			}
		}
		if level > 0 {
			if i+1 == len(s) {
				return "", valueErrorf("Single '{' encountered in format string")
			}
			return "", valueErrorf("expected '}' before end of string")
		}
		text, err := st.field(s[i+1:j-1], depth)
		if err != nil {
			return "", err
		}
		sb.WriteString(text)
		if err := st.rt.sized(sb.Len()); err != nil {
			return "", err
		}
		i = j - 1
	}
	return sb.String(), nil
}

func (st *formatState) field(f string, depth int) (string, error) {
	name, spec, conv := f, "", ""
	if i := strings.IndexByte(f, ':'); i >= 0 {
		name, spec = f[:i], f[i+1:]
	}
	if i := strings.IndexByte(name, '!'); i >= 0 {
		name, conv = name[:i], name[i+1:]
	}
	v, err := st.lookup(name)
	if err != nil {
		return "", err
	}
	switch conv {
	case "":
	case "r", "a":
		v = Repr(v)
	case "s":
		v = Str(v)
	default:
		return "", valueErrorf("Unknown conversion specifier %s", conv)
	}
	if strings.Contains(spec, "{") {
		if spec, err = st.expand(spec, depth-1); err != nil {
			return "", err
		}
	}
	return formatValue(v, spec)
}

func (st *formatState) lookup(name string) (any, error) {
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	first, rest := name[:end], name[end:]
	var v any
	if first == "" {
		first = strconv.Itoa(st.auto)
		st.auto++
	}
	if n, err := strconv.Atoi(first); err == nil {
		if n < 0 || n >= len(st.args) {
			return nil, errorf(IndexError, "Replacement index %d out of range for positional args tuple", n)
		}
		v = st.args[n]
	} else {
		var ok bool
		if st.kwargs != nil {
			v, ok = st.kwargs.Get(first)
		}
		if !ok {
			return nil, errorf(KeyError, "%s", Repr(first))
		}
	}
	for rest != "" {
		var err error
		if rest[0] == '[' {
			i := strings.IndexByte(rest, ']')
			if i < 0 {
				return nil, valueErrorf("Missing ']' in format string")
			}
			var key any = rest[1:i]
			if n, e := strconv.Atoi(rest[1:i]); e == nil {
				key = n
			}
			v, err = st.rt.getitem(v, key)
			rest = rest[i+1:]
		} else {
			rest = rest[1:]
			i := strings.IndexAny(rest, ".[")
			if i < 0 {
				i = len(rest)
			}
			v, err = st.rt.getattr(v, rest[:i])
			rest = rest[i:]
		}
		if err != nil {
			return nil, err
		}
		if err := checkUndefined(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// percentFormat is Python's s % arg.
func percentFormat(rt *runtime, s string, arg any) (string, error) {
	args, isTuple := arg.(Tuple)
	if !isTuple {
		args = Tuple{arg}
	}
	p := &percentState{s: s, args: args}
	p.dict, _ = arg.(*Dict)
	var sb strings.Builder
	for ; p.i < len(s); p.i++ {
		if s[p.i] != '%' {
			sb.WriteByte(s[p.i])
			continue
		}
		out, err := p.directive()
		if err != nil {
			return "", err
		}
		sb.WriteString(out)
		if err := rt.sized(sb.Len()); err != nil {
			return "", err
		}
	}
	if p.used < len(args) && !p.mapped && (p.dict == nil || p.used > 0) {
		return "", typeErrorf("not all arguments converted during string formatting")
	}
	return sb.String(), nil
}

// percentState is how far percentFormat is: i is the place in s, used counts the arguments taken.
type percentState struct {
	s       string
	i, used int
	args    Tuple
	dict    *Dict
	mapped  bool
}

func (p *percentState) take() (any, error) {
	if p.used >= len(p.args) {
		return nil, typeErrorf("not enough arguments for format string")
	}
	p.used++
	return p.args[p.used-1], nil
}

// directive reads one conversion from "%" to its letter, at which it leaves i.
func (p *percentState) directive() (string, error) {
	p.i++
	if p.i < len(p.s) && p.s[p.i] == '%' {
		return "%", nil
	}
	v, have, err := p.key()
	if err != nil {
		return "", err
	}
	f := formatSpec{fill: ' ', prec: -1}
	for ; p.i < len(p.s) && strings.IndexByte("-+ #0", p.s[p.i]) >= 0; p.i++ {
		switch p.s[p.i] {
		case '-':
			f.align = '<'
		case '0':
			f.zero = true
		case '#':
			f.alt = true
		default:
			f.sign = p.s[p.i]
		}
	}
	if f.width, err = p.number(); err != nil {
		return "", err
	}
	if f.width > 1<<20 {
		return "", errorf(LimitError, "width too large")
	}
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		if f.prec, err = p.number(); err != nil {
			return "", err
		}
	}
	if p.i >= len(p.s) {
		return "", valueErrorf("incomplete format")
	}
	if !have {
		if v, err = p.take(); err != nil {
			return "", err
		}
	}
	return f.percent(p.s[p.i], v)
}

// key reads "(name)" and returns the value of that name.
func (p *percentState) key() (any, bool, error) {
	if p.i >= len(p.s) || p.s[p.i] != '(' {
		return nil, false, nil
	}
	j := strings.IndexByte(p.s[p.i:], ')')
	if j < 0 {
		return nil, false, valueErrorf("incomplete format key")
	}
	if p.dict == nil {
		return nil, false, typeErrorf("format requires a mapping")
	}
	name := p.s[p.i+1 : p.i+j]
	v, ok := p.dict.Get(name)
	if !ok {
		return nil, false, errorf(KeyError, "%s", Repr(name))
	}
	p.mapped = true
	p.i += j + 1
	return v, true, nil
}

// number reads digits, or takes an argument for "*".
func (p *percentState) number() (int, error) {
	if p.i < len(p.s) && p.s[p.i] == '*' {
		p.i++
		n, err := p.take()
		if err != nil {
			return 0, err
		}
		return integer(n)
	}
	n := 0
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		n = min(n*10+int(p.s[p.i]-'0'), 1<<20)
		p.i++
	}
	return n, nil
}

func (f formatSpec) percent(verb byte, v any) (string, error) {
	switch verb {
	case 's', 'r', 'a':
		t := Str(v)
		if verb != 's' {
			t = Repr(v)
		}
		if f.prec >= 0 {
			if rs := []rune(t); len(rs) > f.prec {
				t = string(rs[:f.prec])
			}
		}
		return f.pad("", t, '>'), nil
	case 'c':
		if t, ok := asString(v); ok {
			return f.pad("", t, '>'), nil
		}
	case 'd', 'i', 'u', 'x', 'X', 'o':
		if fl, ok := v.(float64); ok && (verb == 'd' || verb == 'i' || verb == 'u') {
			b, _ := big.NewFloat(math.Trunc(fl)).Int(nil)
			v = normBig(b)
		}
		if _, ok := asBig(v); !ok {
			return "", typeErrorf("%%%c format: a real number is required, not %s", verb, typeName(v))
		}
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		f.prec = -1
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if _, ok := asFloat(v); !ok {
			return "", typeErrorf("must be real number, not %s", typeName(v))
		}
	default:
		return "", valueErrorf("unsupported format character '%c' (0x%x)", verb, verb)
	}
	f.verb = verb
	neg, digits, err := f.number(v)
	if err != nil {
		return "", err
	}
	sign := ""
	if neg {
		sign = "-"
	} else if f.sign != 0 {
		sign = string(f.sign)
	}
	if f.alt && strings.IndexByte("xXo", verb) >= 0 {
		sign += "0" + string(verb)
	}
	if f.zero && f.align == 0 {
		f.fill, f.align = '0', '='
	}
	return f.pad(sign, digits, '>'), nil
}
