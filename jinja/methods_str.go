package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type strFunc func(c *Call, s string) (any, error)

// strMethod returns a method of Python's str.
func strMethod(name string) (strFunc, bool) {
	simple := func(f func(string) any) (strFunc, bool) {
		return func(c *Call, s string) (any, error) {
			if len(c.Args) > 0 || c.Kwargs != nil {
				return nil, typeErrorf("str.%s() takes no arguments (%d given)", name, len(c.Args))
			}
			return f(s), nil
		}, true
	}
	switch name {
	case "lower":
		return simple(func(s string) any { return strings.ToLower(s) })
	case "casefold":
		return simple(func(s string) any { return strings.ReplaceAll(strings.ToLower(s), "ß", "ss") })
	case "upper":
		return simple(func(s string) any { return pyUpper(s) })
	case "title":
		return simple(func(s string) any { return pyTitle(s) })
	case "capitalize":
		return simple(func(s string) any { return capitalize(s) })
	case "swapcase":
		return simple(func(s string) any { return strings.Map(swapRune, s) })
	case "isdigit", "isdecimal", "isnumeric":
		return simple(func(s string) any { return allRunes(s, unicode.IsDigit) })
	case "isalpha":
		return simple(func(s string) any { return allRunes(s, unicode.IsLetter) })
	case "isalnum":
		return simple(func(s string) any {
			return allRunes(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
		})
	case "isspace":
		return simple(func(s string) any { return allRunes(s, unicode.IsSpace) })
	case "islower":
		return simple(func(s string) any { return s != strings.ToUpper(s) && s == strings.ToLower(s) })
	case "isupper":
		return simple(func(s string) any { return s != strings.ToLower(s) && s == strings.ToUpper(s) })
	case "istitle":
		return simple(func(s string) any { return s != strings.ToLower(strings.ToUpper(s)) && s == pyTitle(s) })
	case "isidentifier":
		return simple(func(s string) any {
			return s != "" && !unicode.IsDigit(rune(s[0])) && allRunes(s, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) })
		})
	case "isascii":
		return simple(func(s string) any { return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0 })
	}
	return strMethodArgs(name)
}

func strMethodArgs(name string) (strFunc, bool) {
	switch name {
	case "startswith", "endswith":
		return func(c *Call, s string) (any, error) { return hasAffix(c, s, name) }, true
	case "strip", "lstrip", "rstrip":
		return func(c *Call, s string) (any, error) { return strip(c, s, name) }, true
	case "split", "rsplit":
		return func(c *Call, s string) (any, error) { return split(c, s, name == "rsplit") }, true
	case "splitlines":
		return splitlines, true
	case "partition", "rpartition":
		return func(c *Call, s string) (any, error) { return partition(c, s, name == "rpartition") }, true
	case "replace":
		return replace, true
	case "join":
		return func(c *Call, s string) (any, error) { return joinMethod(c, s) }, true
	case "find", "rfind", "index", "rindex":
		return func(c *Call, s string) (any, error) { return find(c, s, name) }, true
	case "count":
		return countSub, true
	case "center", "ljust", "rjust":
		return func(c *Call, s string) (any, error) {
			a, err := c.bind(0, req("width"), opt("fillchar", " "))
			if err != nil {
				return nil, err
			}
			return pad(c.rt, s, a[0], a[1], name)
		}, true
	case "zfill":
		return zfill, true
	case "expandtabs":
		return func(c *Call, s string) (any, error) { return expandtabs(c, s) }, true
	case "removeprefix", "removesuffix":
		return func(c *Call, s string) (any, error) {
			a, err := c.bind(0, req("affix"))
			if err != nil {
				return nil, err
			}
			t, err := str(a[0], name+"() argument")
			if err != nil {
				return nil, err
			}
			if name == "removeprefix" {
				return strings.TrimPrefix(s, t), nil
			}
			return strings.TrimSuffix(s, t), nil
		}, true
	case "format":
		return func(c *Call, s string) (any, error) { return strFormat(c.rt, s, c.Args, c.Kwargs) }, true
	case "format_map":
		return func(c *Call, s string) (any, error) {
			a, err := c.bind(0, req("mapping"))
			if err != nil {
				return nil, err
			}
			d, ok := a[0].(*Dict)
			if !ok {
				return nil, typeErrorf("format_map() argument must be a mapping")
			}
			return strFormat(c.rt, s, nil, d)
		}, true
	case "encode":
		return func(_ *Call, s string) (any, error) { return s, nil }, true
	}
	return nil, false
}

func allRunes(s string, ok func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

func pyUpper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "ß", "SS")) }

func swapRune(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + strings.ToLower(s[n:])
}

// pyTitle makes the first letter of every run of letters a capital.
func pyTitle(s string) string {
	prev := false
	return strings.Map(func(r rune) rune {
		was := prev
		prev = unicode.IsLetter(r)
		if was {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

// window applies the optional start and end of startswith, find and their like, in characters.
func window(s string, start, end any) (string, int, error) {
	if start == nil && end == nil {
		return s, 0, nil
	}
	rs := []rune(s)
	lo, hi := 0, len(rs)
	for i, v := range []any{start, end} {
		if v == nil {
			continue
		}
		n, err := integer(v)
		if err != nil {
			return "", 0, err
		}
		if n < 0 {
			n = max(n+len(rs), 0)
		}
		if i == 0 {
			lo = n
		} else {
			hi = min(n, len(rs))
		}
	}
	if lo > hi {
		return "", -1, nil
	}
	return string(rs[lo:hi]), lo, nil
}

func hasAffix(c *Call, s, name string) (any, error) {
	a, err := c.bind(0, req("affix"), opt("start", nil), opt("end", nil))
	if err != nil {
		return nil, err
	}
	w, off, err := window(s, a[1], a[2])
	if err != nil {
		return nil, err
	}
	cands := []any{a[0]}
	if t, ok := a[0].(Tuple); ok {
		cands = t
	}
	for _, cand := range cands {
		t, ok := asString(cand)
		if !ok {
			if err := checkUndefined(cand); err != nil {
				return nil, err
			}
			return nil, typeErrorf("%s first arg must be str or a tuple of str, not %s", name, typeName(cand))
		}
		if off >= 0 && (name == "startswith" && strings.HasPrefix(w, t) || name == "endswith" && strings.HasSuffix(w, t)) {
			return true, nil
		}
	}
	return false, nil
}

func strip(c *Call, s, name string) (any, error) {
	a, err := c.bind(0, opt("chars", nil))
	if err != nil {
		return nil, err
	}
	cut := unicode.IsSpace
	if a[0] != nil {
		set, err := str(a[0], name+" arg")
		if err != nil {
			return nil, err
		}
		cut = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if name != "rstrip" {
		s = strings.TrimLeftFunc(s, cut)
	}
	if name != "lstrip" {
		s = strings.TrimRightFunc(s, cut)
	}
	return s, nil
}

func strList(parts []string) *List {
	l := &List{Items: make([]any, len(parts))}
	for i, p := range parts {
		l.Items[i] = p
	}
	return l
}

func split(c *Call, s string, right bool) (any, error) {
	a, err := c.bind(0, opt("sep", nil), opt("maxsplit", -1))
	if err != nil {
		return nil, err
	}
	n, err := integer(a[1])
	if err != nil {
		return nil, err
	}
	if a[0] == nil {
		return strList(splitSpace(s, n, right)), nil
	}
	sep, err := str(a[0], "sep")
	if err != nil {
		return nil, err
	}
	if sep == "" {
		return nil, valueErrorf("empty separator")
	}
	if n < 0 {
		return strList(strings.Split(s, sep)), nil
	}
	if !right {
		return strList(strings.SplitN(s, sep, n+1)), nil
	}
	var parts []string
	for len(parts) < n {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append([]string{s[i+len(sep):]}, parts...)
		s = s[:i]
	}
	return strList(append([]string{s}, parts...)), nil
}

// splitSpace splits at runs of blanks, at most n times (n < 0: no bound), from either end.
func splitSpace(s string, n int, right bool) []string {
	if n < 0 {
		return strings.Fields(s)
	}
	var parts []string
	for {
		if right {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		} else {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
		}
		if s == "" {
			return parts
		}
		i := strings.IndexFunc(s, unicode.IsSpace)
		if right {
			i = strings.LastIndexFunc(s, unicode.IsSpace)
		}
		if len(parts) == n || i < 0 {
			if right {
				return append([]string{s}, parts...)
			}
			return append(parts, s)
		}
		_, w := utf8.DecodeRuneInString(s[i:])
		if right {
			parts, s = append([]string{s[i+w:]}, parts...), s[:i]
		} else {
			parts, s = append(parts, s[:i]), s[i+w:]
		}
	}
}

func splitlines(c *Call, s string) (any, error) {
	a, err := c.bind(0, opt("keepends", false))
	if err != nil {
		return nil, err
	}
	keep, err := truth(a[0])
	if err != nil {
		return nil, err
	}
	return strList(lines(s, keep)), nil
}

func lines(s string, keep bool) []string {
	var out []string
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(out, s)
		}
		_, w := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			w = 2
		}
		if keep {
			out = append(out, s[:i+w])
		} else {
			out = append(out, s[:i])
		}
		s = s[i+w:]
	}
	return out
}

func partition(c *Call, s string, right bool) (any, error) {
	a, err := c.bind(0, req("sep"))
	if err != nil {
		return nil, err
	}
	sep, err := str(a[0], "sep")
	if err != nil {
		return nil, err
	}
	if sep == "" {
		return nil, valueErrorf("empty separator")
	}
	if right {
		if i := strings.LastIndex(s, sep); i >= 0 {
			return Tuple{s[:i], sep, s[i+len(sep):]}, nil
		}
		return Tuple{"", "", s}, nil
	}
	if i := strings.Index(s, sep); i >= 0 {
		return Tuple{s[:i], sep, s[i+len(sep):]}, nil
	}
	return Tuple{s, "", ""}, nil
}

func replace(c *Call, s string) (any, error) {
	a, err := c.bind(0, req("old"), req("new"), opt("count", -1))
	if err != nil {
		return nil, err
	}
	return replaceIn(c.rt, s, a[0], a[1], a[2])
}

func replaceIn(rt *runtime, s string, from, to, count any) (any, error) {
	o, err := str(from, "replace() argument 1")
	if err != nil {
		return nil, err
	}
	t, err := str(to, "replace() argument 2")
	if err != nil {
		return nil, err
	}
	n, err := integer(count)
	if err != nil {
		return nil, err
	}
	if err := rt.sized(len(s) + (strings.Count(s, o))*len(t)); err != nil {
		return nil, err
	}
	return strings.Replace(s, o, t, n), nil
}

func joinMethod(c *Call, sep string) (any, error) {
	a, err := c.bind(0, req("iterable"))
	if err != nil {
		return nil, err
	}
	items, err := c.rt.list(a[0])
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	size := 0
	for i, it := range items {
		s, ok := asString(it)
		if !ok {
			return nil, typeErrorf("sequence item %d: expected str instance, %s found", i, typeName(it))
		}
		parts[i] = s
		size += len(s) + len(sep)
	}
	return strings.Join(parts, sep), c.rt.sized(size)
}

func find(c *Call, s, name string) (any, error) {
	a, err := c.bind(0, req("sub"), opt("start", nil), opt("end", nil))
	if err != nil {
		return nil, err
	}
	sub, err := str(a[0], "argument")
	if err != nil {
		return nil, err
	}
	w, off, err := window(s, a[1], a[2])
	if err != nil {
		return nil, err
	}
	i := -1
	if off >= 0 {
		i = strings.Index(w, sub)
		if name[0] == 'r' {
			i = strings.LastIndex(w, sub)
		}
	}
	if i >= 0 {
		return off + utf8.RuneCountInString(w[:i]), nil
	}
	if name == "index" || name == "rindex" {
		return nil, valueErrorf("substring not found")
	}
	return -1, nil
}

func countSub(c *Call, s string) (any, error) {
	a, err := c.bind(0, req("sub"), opt("start", nil), opt("end", nil))
	if err != nil {
		return nil, err
	}
	sub, err := str(a[0], "argument")
	if err != nil {
		return nil, err
	}
	w, off, err := window(s, a[1], a[2])
	if err != nil || off < 0 {
		return 0, err
	}
	return strings.Count(w, sub), nil
}

func pad(rt *runtime, s string, width, fill any, how string) (string, error) {
	w, err := integer(width)
	if err != nil {
		return "", err
	}
	f, err := str(fill, "fill character")
	if err != nil {
		return "", err
	}
	if utf8.RuneCountInString(f) != 1 {
		return "", typeErrorf("The fill character must be exactly one character long")
	}
	n := w - utf8.RuneCountInString(s)
	if n <= 0 {
		return s, nil
	}
	if err := rt.sized(w); err != nil {
		return "", err
	}
	switch how {
	case "ljust":
		return s + strings.Repeat(f, n), nil
	case "rjust":
		return strings.Repeat(f, n) + s, nil
	}
	left := n/2 + (n & w & 1) // as CPython's str.center divides
	return strings.Repeat(f, left) + s + strings.Repeat(f, n-left), nil
}

func expandtabs(c *Call, s string) (any, error) {
	a, err := c.bind(0, opt("tabsize", 8))
	if err != nil {
		return nil, err
	}
	size, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	if err := c.rt.sized(len(s) + strings.Count(s, "\t")*max(size, 0)); err != nil {
		return nil, err
	}
	var sb strings.Builder
	col := 0
	for _, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - col%size
			sb.WriteString(strings.Repeat(" ", n))
			col += n
		case r == '\t':
		case r == '\n' || r == '\r':
			sb.WriteRune(r)
			col = 0
		default:
			sb.WriteRune(r)
			col++
		}
	}
	return sb.String(), nil
}

func zfill(c *Call, s string) (any, error) {
	a, err := c.bind(0, req("width"))
	if err != nil {
		return nil, err
	}
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	w, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	v, err := pad(c.rt, s, w-len(sign), "0", "rjust")
	if err != nil {
		return nil, err
	}
	return sign + v, nil
}
