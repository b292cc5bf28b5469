package yaql

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// stringTable holds what makes strings of other values, takes them apart and searches them.
func stringTable() []entry {
	joinStr := func(seqArg, sepArg int) func(c *call) (any, error) {
		return func(c *call) (any, error) { return c.joinStrings(seqArg, c.str(sepArg)) }
	}
	return []entry{
		{"str(value)", fn, func(c *call) (any, error) { return yaqlStr(c.args[0]), nil }},
		{"isString(arg)", fn, func(c *call) (any, error) { _, ok := c.args[0].(string); return ok, nil }},
		{"concat(*args: str)", fn, func(c *call) (any, error) {
			var b strings.Builder
			for _, a := range c.rest {
				b.WriteString(a.(string))
			}
			return b.String(), c.ev.charge(b.Len())
		}},
		{"toUpper(string: str)", meth, func(c *call) (any, error) { return upper(c.str(0)), nil }},
		{"toLower(string: str)", meth, func(c *call) (any, error) { return strings.ToLower(c.str(0)), nil }},
		{"split(string: str, separator: str?=null, maxSplits: pyint=-1)", meth, func(c *call) (any, error) {
			return c.split(splitLeft)
		}},
		{"rightSplit(string: str, separator: str?=null, maxSplits: pyint=-1)", meth, func(c *call) (any, error) {
			return c.split(splitRight)
		}},
		{"join(sequence: list, separator: str)", meth, joinStr(0, 1)},
		{"join(separator: str, sequence: list)", meth, joinStr(1, 0)},
		{"substring(string: str, start: pyint, length: pyint=-1)", meth, func(c *call) (any, error) {
			r := []rune(c.str(0))
			i := bound(c.int(1), len(r))
			if n := c.int(2); n >= 0 && n < int64(len(r)-i) {
				return string(r[i : i+int(n)]), nil
			}
			return string(r[i:]), nil
		}},
		{"indexOf(string: str, sub: str, start: pyint=0)", meth, findIn(strings.Index, false)},
		{"indexOf(string: str, sub: str, start: pyint, length: pyint)", meth, findIn(strings.Index, true)},
		{"lastIndexOf(string: str, sub: str, start: pyint=0)", meth, findIn(strings.LastIndex, false)},
		{"lastIndexOf(string: str, sub: str, start: pyint, length: pyint)", meth, findIn(strings.LastIndex, true)},
		{"toCharArray(string: str)", meth, func(c *call) (any, error) {
			out := []any{}
			for _, r := range c.str(0) {
				out = append(out, string(r))
			}
			return out, c.ev.charge(2 * cell * len(out))
		}},
	}
}

// trimTable holds what trims, compares the ends of, and rewrites strings.
func trimTable() []entry {
	trimmer := func(f func(s, cut string) string, space func(s string) string) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			if !c.has(1) {
				return space(c.str(0)), nil
			}
			return f(c.str(0), c.str(1)), nil
		}
	}
	affix := func(f func(s, x string) bool) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			for _, x := range c.rest {
				if f(c.str(0), x.(string)) {
					return true, nil
				}
			}
			return false, nil
		}
	}
	left := func(s string) string { return strings.TrimLeftFunc(s, unicode.IsSpace) }
	right := func(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }
	return []entry{
		{"trim(string: str, chars: str?=null)", meth, trimmer(strings.Trim, strings.TrimSpace)},
		{"trimLeft(string: str, chars: str?=null)", meth, trimmer(strings.TrimLeft, left)},
		{"trimRight(string: str, chars: str?=null)", meth, trimmer(strings.TrimRight, right)},
		{"norm(string: str?, chars: str?=null)", both, func(c *call) (any, error) {
			if c.args[0] == nil {
				return nil, nil
			}
			v, err := trimmer(strings.Trim, strings.TrimSpace)(c)
			if v == "" {
				return nil, err
			}
			return v, err
		}},
		{"isEmpty(string: str?, trim: bool=true, chars: str?=null)", both, func(c *call) (any, error) {
			s := c.str(0)
			if c.bool(1) && c.has(2) {
				s = strings.Trim(s, c.str(2))
			} else if c.bool(1) {
				s = strings.TrimSpace(s)
			}
			return s == "", nil
		}},
		{"startsWith(string: str, *prefixes: str)", meth, affix(strings.HasPrefix)},
		{"endsWith(string: str, *suffixes: str)", meth, affix(strings.HasSuffix)},
		{"replace(string: str, old: str, new: str, count: pyint=-1)", meth, func(c *call) (any, error) {
			return c.replaceString(c.str(0), c.str(1), c.str(2), c.int(3))
		}},
		{"replace(string: str, replacements: dict, count: pyint=-1)", meth, func(c *call) (any, error) {
			s, err := any(c.str(0)), error(nil)
			c.dict(1).each(func(k, v any) bool {
				s, err = c.replaceString(s.(string), yaqlStr(k), yaqlStr(norm(v)), c.int(2))
				return err == nil
			})
			return s, err
		}},
		{"format(_FormatString: str, *args, **)", both, func(c *call) (any, error) {
			s, err := pyFormat(c.str(0), c.rest, c.kw, 0)
			if err != nil {
				return nil, err
			}
			return s, c.ev.charge(len(s))
		}},
		{"hex(num: num?)", fn, func(c *call) (any, error) {
			n, ok := c.args[0].(int64)
			if !ok {
				return nil, errorf(ErrValue, "hex: a %s is not an integer", typeName(c.args[0]))
			}
			if n < 0 {
				return "-0x" + strconv.FormatUint(uint64(-n), 16), nil
			}
			return "0x" + strconv.FormatInt(n, 16), nil
		}},
		{"characters(digits: bool?=false, hexdigits: bool?=false, asciiLowercase: bool?=false, asciiUppercase: bool?=false, " +
			"asciiLetters: bool?=false, letters: bool?=false, octdigits: bool?=false, punctuation: bool?=false, " +
			"printable: bool?=false, lowercase: bool?=false, uppercase: bool?=false, whitespace: bool?=false)", fn, characters},
	}
}

// yaqlStr is the function str(): Python's, but null, true and false as YAQL
// writes them.
func yaqlStr(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	}
	return pyStr(v)
}

func (c *call) joinStrings(seqArg int, sep string) (any, error) {
	var b strings.Builder
	first := true
	err := c.each(seqArg, func(it any) error {
		if !first {
			b.WriteString(sep)
		}
		first = false
		s := yaqlStr(it)
		b.WriteString(s)
		return c.ev.charge(len(s) + len(sep))
	})
	return b.String(), err
}

func (c *call) split(f func(s, sep string, space bool, n int) []string) (any, error) {
	if c.args[1] != nil && c.str(1) == "" {
		return nil, errorf(ErrValue, "%s: the separator is empty", c.name)
	}
	n := int(max(min(c.int(2), 1<<30), -1))
	parts := f(c.str(0), c.str(1), c.args[1] == nil, n)
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out, c.ev.charge(2*cell*len(out) + len(c.str(0)))
}

// splitLeft splits at most n times (-1: always), at white space or at sep.
func splitLeft(s, sep string, space bool, n int) []string {
	if !space {
		if n < 0 {
			return strings.Split(s, sep)
		}
		return strings.SplitN(s, sep, n+1)
	}
	out := []string{}
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	for s != "" {
		i := strings.IndexFunc(s, unicode.IsSpace)
		if i < 0 || n >= 0 && len(out) == n {
			if n >= 0 && len(out) == n && n == 0 {
				return append(out, s)
			}
			return append(out, s)
		}
		out = append(out, s[:i])
		s = strings.TrimLeftFunc(s[i:], unicode.IsSpace)
	}
	return out
}

func splitRight(s, sep string, space bool, n int) []string {
	if n < 0 {
		return splitLeft(s, sep, space, n)
	}
	var rev []string
	if !space {
		for ; n > 0; n-- {
			i := strings.LastIndex(s, sep)
			if i < 0 {
				break
			}
			rev = append(rev, s[i+len(sep):])
			s = s[:i]
		}
		rev = append(rev, s)
	} else {
		s = strings.TrimRightFunc(s, unicode.IsSpace)
		for s != "" {
			i := strings.LastIndexFunc(s, unicode.IsSpace)
			if i < 0 || len(rev) == n {
				rev = append(rev, s)
				break
			}
			word := strings.TrimLeftFunc(s[i:], unicode.IsSpace)
			rev = append(rev, word)
			s = strings.TrimRightFunc(s[:i], unicode.IsSpace)
		}
	}
	out := make([]string, len(rev))
	for i, p := range rev {
		out[len(rev)-1-i] = p
	}
	return out
}

// findIn searches within the characters from start on, length of them.
func findIn(find func(s, sub string) int, ranged bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		r := []rune(c.str(0))
		from := bound(c.int(2), len(r))
		to := len(r)
		if ranged {
			if n := c.int(3); n >= 0 && int64(from)+n < int64(to) {
				to = from + int(n)
			}
		}
		s := string(r[from:to])
		i := find(s, c.str(1))
		if i < 0 {
			return int64(-1), nil
		}
		return int64(from + len([]rune(s[:i]))), nil
	}
}

func (c *call) replaceString(s, old, with string, n int64) (any, error) {
	count := strings.Count(s, old)
	if n >= 0 && int64(count) > n {
		count = int(n)
	}
	if err := c.ev.charge(max(0, len(s)+count*(len(with)-len(old)))); err != nil {
		return nil, err
	}
	return strings.Replace(s, old, with, count), nil
}

func characters(c *call) (any, error) {
	const (
		lower = "abcdefghijklmnopqrstuvwxyz"
		upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		digit = "0123456789"
		space = " \t\n\r\v\f"
		punct = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	)
	classes := []string{digit, digit + "abcdefABCDEF", lower, upper, lower + upper, lower + upper, "01234567",
		punct, digit + lower + upper + punct + space, lower, upper, space}
	s := NewSet()
	for i, class := range classes {
		if c.bool(i) {
			for _, r := range class {
				s.add(string(r))
			}
		}
	}
	return s.items, nil
}

// pyFormat is Python's str.format for positions, names, [index], !conversion
// and format specifications.
func pyFormat(tmpl string, args []any, kw *Map, depth int) (string, error) {
	if depth > 2 {
		return "", errorf(ErrValue, "format: replacement fields are nested too deep")
	}
	var b strings.Builder
	auto := 0
	for i := 0; i < len(tmpl); i++ {
		ch := tmpl[i]
		if ch != '{' && ch != '}' {
			b.WriteByte(ch)
			continue
		}
		if i+1 < len(tmpl) && tmpl[i+1] == ch {
			b.WriteByte(ch)
			i++
			continue
		}
		if ch == '}' {
			return "", errorf(ErrValue, "format: single '}' in the format string")
		}
		end, level := i+1, 1
		for ; end < len(tmpl); end++ {
			if tmpl[end] == '{' {
				level++
			} else if tmpl[end] == '}' {
				if level--; level == 0 {
					break
				}
			}
		}
		if end >= len(tmpl) {
			return "", errorf(ErrValue, "format: '{' is not closed")
		}
		s, err := formatField(tmpl[i+1:end], args, kw, &auto, depth)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
		i = end
	}
	return b.String(), nil
}

// upper is Python's upper(): a few letters become several.
func upper(s string) string {
	s = strings.ToUpper(s)
	if !strings.ContainsAny(s, "ßŉﬀﬁﬂﬃﬄﬅﬆ") {
		return s
	}
	return strings.NewReplacer("ß", "SS", "ŉ", "ʼN", "ﬀ", "FF", "ﬁ", "FI", "ﬂ", "FL", "ﬃ", "FFI", "ﬄ", "FFL", "ﬅ", "ST", "ﬆ", "ST").Replace(s)
}

func formatField(field string, args []any, kw *Map, auto *int, depth int) (string, error) {
	field, spec, _ := strings.Cut(field, ":")
	field, conv, _ := strings.Cut(field, "!")
	v, err := formatValue(field, args, kw, auto)
	if err != nil {
		return "", err
	}
	if strings.Contains(spec, "{") {
		if spec, err = pyFormat(spec, args, kw, depth+1); err != nil {
			return "", err
		}
	}
	switch conv {
	case "r", "a":
		v = pyRepr(v)
	case "s":
		v = pyStr(v)
	}
	return formatSpec(v, spec)
}

func formatValue(field string, args []any, kw *Map, auto *int) (any, error) {
	end := strings.IndexAny(field, ".[")
	if end < 0 {
		end = len(field)
	}
	name, rest := field[:end], field[end:]
	if name == "" {
		name = strconv.Itoa(*auto)
		*auto++
	}
	var v any
	if i, err := strconv.Atoi(name); err == nil {
		if i < 0 || i >= len(args) {
			return nil, errorf(ErrKey, "format: replacement index %d is out of range", i)
		}
		v = args[i]
	} else {
		var ok bool
		if v, ok = kw.Get(name); !ok {
			return nil, errorf(ErrKey, "format: no argument %q", name)
		}
	}
	for rest != "" {
		key, tail, ok := strings.Cut(strings.TrimPrefix(rest, "["), "]")
		if rest[0] != '[' || !ok {
			return nil, errorf(ErrValue, "format: attributes of values cannot be read in %q", field)
		}
		rest = tail
		if v, ok = formatIndex(v, key); !ok {
			return nil, errorf(ErrKey, "format: no element %q", key)
		}
	}
	return norm(v), nil
}

func formatIndex(v any, key string) (any, bool) {
	i, err := strconv.Atoi(key)
	if m, ok := asMapping(v); ok {
		if err == nil {
			return m.get(int64(i))
		}
		return m.get(key)
	}
	l, ok := v.([]any)
	if !ok || err != nil || i < 0 || i >= len(l) {
		return nil, false
	}
	return l[i], true
}

// formatSpec applies [[fill]align][sign][#][0][width][,][.precision][type].
func formatSpec(v any, spec string) (string, error) {
	if spec == "" {
		return pyStr(v), nil
	}
	if f := timeFormat(v, spec); f != "" {
		return f, nil
	}
	sp, ok := parseSpec(spec)
	if !ok || sp.width > 10_000 || sp.precision > 1000 {
		return "", errorf(ErrValue, "format: invalid format specification %q", spec)
	}
	switch x := v.(type) {
	case bool:
		v = boolInt(x)
	case string, int64, float64:
	default:
		return "", errorf(ErrValue, "format: a %s takes no format specification", typeName(v))
	}
	body, numeric, err := sp.body(v)
	if err != nil {
		return "", err
	}
	return sp.pad(body, numeric), nil
}

type fmtSpec struct {
	fill             rune
	align            rune
	sign             rune
	alt, zero, comma bool
	width, precision int
	verb             rune
}

func parseSpec(s string) (fmtSpec, bool) {
	sp := fmtSpec{fill: ' ', precision: -1}
	r := []rune(s)
	isAlign := func(c rune) bool { return strings.ContainsRune("<>=^", c) }
	if len(r) > 1 && isAlign(r[1]) {
		sp.fill, sp.align = r[0], r[1]
		r = r[2:]
	} else if len(r) > 0 && isAlign(r[0]) {
		sp.align = r[0]
		r = r[1:]
	}
	take := func(set string) rune {
		if len(r) > 0 && strings.ContainsRune(set, r[0]) {
			c := r[0]
			r = r[1:]
			return c
		}
		return 0
	}
	num := func() int {
		n := -1
		for len(r) > 0 && r[0] >= '0' && r[0] <= '9' && n < 1_000_000 {
			n = max(n, 0)*10 + int(r[0]-'0')
			r = r[1:]
		}
		return n
	}
	sp.sign = take("+- ")
	sp.alt = take("#") != 0
	if take("0") != 0 {
		sp.zero = true
		if sp.align == 0 {
			sp.fill, sp.align = '0', '='
		}
	}
	sp.width = max(num(), 0)
	sp.comma = take(",_") != 0
	if take(".") != 0 {
		if sp.precision = num(); sp.precision < 0 {
			return sp, false
		}
	}
	sp.verb = take("bcdeEfFgGnosxX%")
	return sp, len(r) == 0
}

func (sp *fmtSpec) body(v any) (string, bool, error) {
	bad := func() (string, bool, error) {
		return "", false, errorf(ErrValue, "format: %q does not apply to a %s", string(sp.verb), typeName(v))
	}
	switch x := v.(type) {
	case int64:
		switch sp.verb {
		case 0, 'd', 'n':
			return sp.signed(sp.grouped(strconv.FormatInt(x, 10))), true, nil
		case 'b', 'o', 'x', 'X':
			return sp.signed(sp.radix(x)), true, nil
		case 'c':
			return string(rune(x)), false, nil
		case 's':
			return bad()
		}
		return sp.signed(sp.float(float64(x))), true, nil
	case float64:
		if strings.ContainsRune("bcdosxX", sp.verb) && sp.verb != 0 {
			return bad()
		}
		if sp.verb == 0 && sp.precision < 0 {
			return sp.signed(pyFloat(x)), true, nil
		}
		return sp.signed(sp.float(x)), true, nil
	}
	if sp.verb != 0 && sp.verb != 's' {
		return bad()
	}
	s := []rune(pyStr(v))
	if sp.precision >= 0 && len(s) > sp.precision {
		s = s[:sp.precision]
	}
	return string(s), false, nil
}

func (sp *fmtSpec) radix(x int64) string {
	base, prefix := map[rune]int{'b': 2, 'o': 8, 'x': 16, 'X': 16}[sp.verb], ""
	s := strconv.FormatInt(x, base)
	if sp.alt {
		prefix = "0" + string(sp.verb)
	}
	if sp.verb == 'X' {
		s = strings.ToUpper(s)
	}
	if strings.HasPrefix(s, "-") {
		return "-" + prefix + s[1:]
	}
	return prefix + s
}

func (sp *fmtSpec) float(x float64) string {
	prec := sp.precision
	if prec < 0 {
		prec = 6
	}
	switch sp.verb {
	case 'f', 'F':
		return sp.grouped(strconv.FormatFloat(x, 'f', prec, 64))
	case '%':
		return sp.grouped(strconv.FormatFloat(x*100, 'f', prec, 64)) + "%"
	case 'e', 'E':
		return strconv.FormatFloat(x, byte(sp.verb), prec, 64)
	}
	s := fmt.Sprintf("%.*g", max(prec, 1), x)
	if sp.verb == 0 && !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func (sp *fmtSpec) grouped(s string) string {
	if !sp.comma {
		return s
	}
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, frac, dot := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dot {
		whole += "." + frac
	}
	return sign + whole
}

func (sp *fmtSpec) signed(s string) string {
	if (sp.sign == '+' || sp.sign == ' ') && !strings.HasPrefix(s, "-") {
		return string(sp.sign) + s
	}
	return s
}

func (sp *fmtSpec) pad(s string, numeric bool) string {
	n := sp.width - len([]rune(s))
	if n <= 0 {
		return s
	}
	fill := func(k int) string { return strings.Repeat(string(sp.fill), k) }
	align := sp.align
	if align == 0 {
		align = '<'
		if numeric {
			align = '>'
		}
	}
	switch align {
	case '<':
		return s + fill(n)
	case '^':
		return fill(n/2) + s + fill(n-n/2)
	case '=':
		if numeric && s != "" && strings.ContainsRune("+- ", rune(s[0])) {
			return s[:1] + fill(n) + s[1:]
		}
	}
	return fill(n) + s
}
