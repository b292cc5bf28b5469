package yaql

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Regex is a compiled regular expression in Python's syntax, without
// lookaround and back-references in the pattern (RE2 runs in linear time).
type Regex struct {
	source string
	re     *regexp.Regexp
}

func compileRegex(pattern string, ignoreCase, multiLine, dotAll bool) (*Regex, error) {
	if len(pattern) > 10_000 {
		return nil, errorf(ErrLimit, "regex: the pattern is longer than 10000 bytes")
	}
	flags := ""
	for _, f := range []struct {
		on   bool
		flag string
	}{{ignoreCase, "i"}, {multiLine, "m"}, {dotAll, "s"}} {
		if f.on {
			flags += f.flag
		}
	}
	if flags != "" {
		flags = "(?" + flags + ")"
	}
	re, err := regexp.Compile(flags + fromPython(pattern))
	if err != nil {
		return nil, errorf(ErrValue, "regex %q: %v", pattern, err)
	}
	return &Regex{pattern, re}, nil
}

// fromPython rewrites what RE2 spells differently: \Z, {,n}, and the classes
// \w \d \s, which in Python are those of Unicode.
func fromPython(p string) string {
	classes := map[byte]string{'w': `\p{L}\p{N}_`, 'd': `\p{Nd}`, 's': `\s\x0b\x1c-\x1f\x85\p{Z}`}
	var b strings.Builder
	inClass := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '\\' && i+1 < len(p):
			i++
			set, isSet := classes[p[i]]
			neg, isNeg := classes[p[i]|0x20]
			switch {
			case isSet && inClass:
				b.WriteString(set)
			case isSet:
				b.WriteString("[" + set + "]")
			case isNeg && !inClass && p[i] < 'a':
				b.WriteString("[^" + neg + "]")
			case p[i] == 'Z':
				b.WriteString(`\z`)
			case !isMeta(p[i]) && p[i] < utf8.RuneSelf && !isAlnum(p[i]):
				b.WriteByte(p[i]) // Python lets any punctuation be escaped
			default:
				b.WriteByte('\\')
				b.WriteByte(p[i])
			}
			continue
		case c == '[' && !inClass:
			inClass = true
			b.WriteByte(c)
			if strings.HasPrefix(p[i+1:], "^]") || strings.HasPrefix(p[i+1:], "]") {
				n := strings.IndexByte(p[i+1:], ']')
				b.WriteString(p[i+1:i+1+n] + `\]`)
				i += n + 1
			}
			continue
		case c == '[':
			b.WriteString(`\[`)
			continue
		case c == ']':
			inClass = false
		case c == '{' && strings.HasPrefix(p[i:], "{,") && !inClass:
			b.WriteString("{0")
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isMeta(c byte) bool { return strings.IndexByte(`\.+*?()|[]{}^$-`, c) >= 0 }
func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func (ev *evaluator) matches(s string, pattern any) (bool, error) {
	switch p := pattern.(type) {
	case *Regex:
		return p.re.MatchString(s), nil
	case string:
		re, err := compileRegex(p, false, false, false)
		if err != nil {
			return false, err
		}
		return re.re.MatchString(s), nil
	}
	return false, noOperator("=~", s, pattern)
}

func regexTable() []entry {
	re := func(c *call, i int) *Regex { return c.args[i].(*Regex) }
	replace := func(r, s int) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			tmpl := c.str(2)
			return c.substitute(re(c, r), c.str(s), c.int(3), func(s string, m []int) (string, error) {
				return expandTemplate(tmpl, re(c, r).re, s, m)
			})
		}
	}
	replaceBy := func(r, s int) func(c *call) (any, error) {
		return func(c *call) (any, error) {
			l := c.args[2].(*lambda)
			return c.substitute(re(c, r), c.str(s), c.int(3), func(s string, m []int) (string, error) {
				v, err := l.in(groupContext(l.scope, re(c, r).re, s, m))
				return yaqlStr(v), err
			})
		}
	}
	split := func(r, s int) func(c *call) (any, error) {
		return func(c *call) (any, error) { return splitRegex(re(c, r).re, c.str(s), c.int(2)), nil }
	}
	return []entry{
		{"regex(pattern: str, ignoreCase: bool=false, multiLine: bool=false, dotAll: bool=false)", fn, func(c *call) (any, error) {
			return compileRegex(c.str(0), c.bool(1), c.bool(2), c.bool(3))
		}},
		{"matches(regexp: regex, string: str)", meth, func(c *call) (any, error) { return re(c, 0).re.MatchString(c.str(1)), nil }},
		{"matches(string: str, regexp: str)", meth, func(c *call) (any, error) { return c.ev.matches(c.str(0), c.args[1]) }},
		{"search(regexp: regex, string: str, selector: func=null)", meth, func(c *call) (any, error) {
			m := re(c, 0).re.FindStringSubmatchIndex(c.str(1))
			if m == nil {
				return nil, nil
			}
			return c.matched(m)
		}},
		{"searchAll(regexp: regex, string: str, selector: func=null)", meth, func(c *call) (any, error) {
			all := re(c, 0).re.FindAllStringSubmatchIndex(c.str(1), c.ev.opts.LimitIterators)
			return lazy(func() (any, bool, error) {
				if len(all) == 0 {
					return nil, false, nil
				}
				m := all[0]
				all = all[1:]
				v, err := c.matched(m)
				return v, err == nil, err
			}), nil
		}},
		{"replace(regexp: regex, string: str, repl: str, count: pyint=0)", meth, replace(0, 1)},
		{"replace(string: str, regexp: regex, repl: str, count: pyint=0)", meth, replace(1, 0)},
		{"replaceBy(regexp: regex, string: str, repl: func, count: pyint=0)", meth, replaceBy(0, 1)},
		{"replaceBy(string: str, regexp: regex, repl: func, count: pyint=0)", meth, replaceBy(1, 0)},
		{"split(regexp: regex, string: str, maxSplit: pyint=0)", meth, split(0, 1)},
		{"split(string: str, regexp: regex, maxSplit: pyint=0)", meth, split(1, 0)},
		{"escapeRegex(string: str)", fn, func(c *call) (any, error) { return escapeRegex(c.str(0)), nil }},
		{"isRegex(value)", fn, func(c *call) (any, error) { _, ok := c.args[0].(*Regex); return ok, nil }},
	}
}

// matched is the text of a match, or what the selector makes of its groups.
func (c *call) matched(m []int) (any, error) {
	s := c.str(1)
	if !c.has(2) {
		return s[m[0]:m[1]], nil
	}
	l := c.args[2].(*lambda)
	return l.in(groupContext(l.scope, c.args[0].(*Regex).re, s, m))
}

// groupContext gives $ (the match), $2 and on (the groups) and $name, each a
// dict of value, start and end (in characters).
func groupContext(parent *Context, re *regexp.Regexp, s string, m []int) *Context {
	ctx := &Context{parent: parent}
	names := re.SubexpNames()
	for g := 0; g*2 < len(m); g++ {
		from, to := m[2*g], m[2*g+1]
		rec := MapOf("value", nil, "start", int64(-1), "end", int64(-1))
		if from >= 0 {
			start := utf8.RuneCountInString(s[:from])
			rec = MapOf("value", s[from:to], "start", int64(start), "end", int64(start+utf8.RuneCountInString(s[from:to])))
		}
		ctx.args = append(ctx.args, rec)
		if names[g] != "" {
			ctx.Set(names[g], rec)
		}
	}
	return ctx
}

func (c *call) substitute(re *Regex, s string, count int64, with func(s string, m []int) (string, error)) (any, error) {
	n := -1
	if count > 0 {
		n = int(min(count, 1<<30))
	}
	var b strings.Builder
	at := 0
	for _, m := range re.re.FindAllStringSubmatchIndex(s, n) {
		b.WriteString(s[at:m[0]])
		r, err := with(s, m)
		if err != nil {
			return nil, err
		}
		if err := c.ev.charge(len(r)); err != nil {
			return nil, err
		}
		b.WriteString(r)
		at = m[1]
	}
	b.WriteString(s[at:])
	return b.String(), c.ev.charge(len(s))
}

// expandTemplate fills in \1, \g<1>, \g<name> and Python's escapes.
func expandTemplate(tmpl string, re *regexp.Regexp, s string, m []int) (string, error) {
	var b strings.Builder
	group := func(g int) error {
		if g < 0 || 2*g >= len(m) {
			return errorf(ErrValue, "replace: no group %d", g)
		}
		if m[2*g] >= 0 {
			b.WriteString(s[m[2*g]:m[2*g+1]])
		}
		return nil
	}
	for i := 0; i < len(tmpl); i++ {
		if tmpl[i] != '\\' || i+1 == len(tmpl) {
			b.WriteByte(tmpl[i])
			continue
		}
		i++
		c := tmpl[i]
		switch {
		case c >= '1' && c <= '9':
			end := i + 1
			if end < len(tmpl) && tmpl[end] >= '0' && tmpl[end] <= '9' {
				end++
			}
			g, _ := strconv.Atoi(tmpl[i:end])
			if err := group(g); err != nil {
				return "", err
			}
			i = end - 1
		case c == 'g' && strings.HasPrefix(tmpl[i+1:], "<") && strings.Contains(tmpl[i:], ">"):
			name, _, _ := strings.Cut(tmpl[i+2:], ">")
			g, err := strconv.Atoi(name)
			if err != nil {
				g = re.SubexpIndex(name)
			}
			if err := group(g); err != nil {
				return "", err
			}
			i += len(name) + 2
		case strings.IndexByte(`abfnrtv\`, c) >= 0:
			b.WriteByte("\a\b\f\n\r\t\v\\"[strings.IndexByte(`abfnrtv\`, c)])
		case isAlnum(c) && c != '0':
			return "", errorf(ErrValue, "replace: bad escape \\%c", c)
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// splitRegex is re.split: groups of the pattern become parts too.
func splitRegex(re *regexp.Regexp, s string, limit int64) any {
	n := -1
	if limit < 0 {
		return []any{s}
	}
	if limit > 0 {
		n = int(min(limit, 1<<30))
	}
	out := []any{}
	at := 0
	for _, m := range re.FindAllStringSubmatchIndex(s, n) {
		out = append(out, s[at:m[0]])
		for g := 2; g < len(m); g += 2 {
			if m[g] < 0 {
				out = append(out, nil)
				continue
			}
			out = append(out, s[m[g]:m[g+1]])
		}
		at = m[1]
	}
	return append(out, s[at:])
}

// escapeRegex is re.escape of Python 3.7 and later.
func escapeRegex(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && strings.IndexByte("()[]{}?*+-|^$\\.&~# \t\n\r\v\f", byte(r)) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
