package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func builtinFilters() map[string]filterFunc {
	m := map[string]filterFunc{
		"abs": filterAbs, "attr": filterAttr, "capitalize": textFilter(capitalize), "center": filterCenter,
		"default": filterDefault, "d": filterDefault, "escape": filterEscape, "e": filterEscape,
		"filesizeformat": filterFileSize, "float": filterFloat, "forceescape": filterForceEscape,
		"format": filterFormat, "indent": filterIndent, "int": filterInt, "length": filterLength, "count": filterLength,
		"lower": textFilter(strings.ToLower), "upper": textFilter(pyUpper), "title": textFilter(jinjaTitle),
		"replace": filterReplace, "round": filterRound, "safe": filterSafe, "string": filterString,
		"striptags": textFilter(stripTags), "trim": filterTrim, "truncate": filterTruncate,
		"wordcount": filterWordCount, "wordwrap": filterWordWrap, "urlencode": filterURLEncode, "urlize": filterURLize,
		"xmlattr": filterXMLAttr, "tojson": filterToJSON, "pprint": filterPPrint,
	}
	for n, f := range sequenceFilters() {
		m[n] = f
	}
	return m
}

// textFilter makes a filter of a function on text.
func textFilter(f func(string) string) filterFunc {
	return func(c *Call) (any, error) {
		if _, err := c.bind(1); err != nil {
			return nil, err
		}
		s, err := c.text()
		if err != nil {
			return nil, err
		}
		if _, ok := c.value().(Markup); ok {
			return Markup(f(s)), nil
		}
		return f(s), nil
	}
}

// text is str(value).
func (c *Call) text() (string, error) {
	if u, ok := c.value().(*Undefined); ok && u.strict {
		return "", u.err()
	}
	return Str(c.value()), nil
}

// like gives a result the kind of text the value had.
func (c *Call) like(s string) any {
	if _, ok := c.value().(Markup); ok {
		return Markup(s)
	}
	return s
}

// escapedArgs is what a safe text takes in: text that is not safe is escaped, numbers stay.
func escapedArgs(v any) any {
	switch x := v.(type) {
	case nil, bool, int, float64, *big.Int, Markup, *Undefined:
		return x
	case Tuple:
		out := make(Tuple, len(x))
		for i, it := range x {
			out[i] = escapedArgs(it)
		}
		return out
	case *Dict:
		out := &Dict{}
		for k, val := range x.All() {
			_ = out.Set(k, escapedArgs(val)) // it was a key
		}
		return out
	}
	return escapeHTML(Str(v))
}

func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;").Replace(s)
}

func filterAbs(c *Call) (any, error) {
	v := c.value()
	if err := checkUndefined(v); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	if b, ok := asBig(v); ok {
		return normBig(new(big.Int).Abs(b)), nil
	}
	return nil, typeErrorf("bad operand type for abs(): '%s'", typeName(v))
}

func filterAttr(c *Call) (any, error) {
	a, err := c.bind(1, req("name"))
	if err != nil {
		return nil, err
	}
	name, err := str(a[0], "attribute name")
	if err != nil {
		return nil, err
	}
	if v, ok := c.rt.attribute(c.value(), name); ok {
		return v, nil
	}
	return c.rt.undefinedOf(c.value(), name), nil
}

func filterCenter(c *Call) (any, error) {
	a, err := c.bind(1, opt("width", 80))
	if err != nil {
		return nil, err
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	s, err = pad(c.rt, s, a[0], " ", "center")
	return c.like(s), err
}

func filterDefault(c *Call) (any, error) {
	a, err := c.bind(1, opt("default_value", ""), opt("boolean", false))
	if err != nil {
		return nil, err
	}
	if _, ok := c.value().(*Undefined); ok {
		return a[0], nil
	}
	useFalse, err := truth(a[1])
	if err != nil || !useFalse {
		return c.value(), err
	}
	t, err := truth(c.value())
	if err != nil || t {
		return c.value(), err
	}
	return a[0], nil
}

func filterEscape(c *Call) (any, error) {
	if m, ok := c.value().(Markup); ok {
		return m, nil
	}
	s, err := c.text()
	return Markup(escapeHTML(s)), err
}

func filterForceEscape(c *Call) (any, error) {
	s, err := c.text()
	return Markup(escapeHTML(s)), err
}

func filterSafe(c *Call) (any, error) {
	s, err := c.text()
	return Markup(s), err
}

func filterString(c *Call) (any, error) {
	if m, ok := c.value().(Markup); ok {
		return m, nil
	}
	s, err := c.text()
	return s, err
}

func filterFileSize(c *Call) (any, error) {
	a, err := c.bind(1, opt("binary", false))
	if err != nil {
		return nil, err
	}
	binary, err := truth(a[0])
	if err != nil {
		return nil, err
	}
	v, ok := toFloat(c.value())
	if !ok {
		return nil, valueErrorf("could not convert string to float: %s", Repr(c.value()))
	}
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if binary {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	if v == 1 {
		return "1 Byte", nil
	}
	if v < base {
		return strconv.Itoa(int(v)) + " Bytes", nil
	}
	for i, u := range units {
		unit := math.Pow(base, float64(i+2))
		if v < unit || i == len(units)-1 {
			return strconv.FormatFloat(base*v/unit, 'f', 1, 64) + " " + u, nil
		}
	}
	return "", nil
}

// toFloat is Python's float(v) for numbers and text.
func toFloat(v any) (float64, bool) {
	if s, ok := asString(v); ok {
		s = strings.ReplaceAll(strings.TrimSpace(s), "_", "")
		if strings.ContainsAny(s, "xXpP") {
			return 0, false
		}
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil || math.IsInf(f, 0)
	}
	return asFloat(v)
}

func filterFloat(c *Call) (any, error) {
	a, err := c.bind(1, opt("default", 0.0))
	if err != nil {
		return nil, err
	}
	if err := checkUndefined(c.value()); err != nil {
		return nil, err
	}
	if f, ok := toFloat(c.value()); ok {
		return f, nil
	}
	return a[0], nil
}

func filterInt(c *Call) (any, error) {
	a, err := c.bind(1, opt("default", 0), opt("base", 10))
	if err != nil {
		return nil, err
	}
	v := c.value()
	if err := checkUndefined(v); err != nil {
		return nil, err
	}
	if s, ok := asString(v); ok {
		base, err := integer(a[1])
		if err != nil {
			return nil, err
		}
		if b, ok := parseInt(s, base); ok {
			return b, nil
		}
	} else if b, ok := asBig(v); ok {
		return normBig(b), nil
	}
	if f, ok := toFloat(v); ok && !math.IsInf(f, 0) && !math.IsNaN(f) {
		b, _ := big.NewFloat(math.Trunc(f)).Int(nil)
		return normBig(b), nil
	}
	return a[0], nil
}

func parseInt(s string, base int) (any, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 4300 || (base != 0 && (base < 2 || base > 36)) {
		return nil, false
	}
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimLeft(s, "+-")
	prefix := map[int]string{2: "0b", 8: "0o", 16: "0x"}[base]
	if prefix != "" && len(s) > 2 && strings.EqualFold(s[:2], prefix) {
		s = s[2:]
	}
	if base != 0 {
		s = strings.ReplaceAll(s, "_", "")
	}
	b, ok := new(big.Int).SetString(s, base)
	if !ok {
		return nil, false
	}
	if neg {
		b.Neg(b)
	}
	return normBig(b), true
}

func filterFormat(c *Call) (any, error) {
	var arg any = Tuple(c.Args[1:])
	if c.Kwargs != nil && c.Kwargs.Len() > 0 {
		if len(c.Args) > 1 {
			return nil, errorf(FilterError, "can't handle positional and keyword arguments at the same time")
		}
		arg = c.Kwargs
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	if _, ok := c.value().(Markup); ok {
		arg = escapedArgs(arg)
	}
	s, err = percentFormat(c.rt, s, arg)
	return c.like(s), err
}

func filterIndent(c *Call) (any, error) {
	a, err := c.bind(1, opt("width", 4), opt("first", false), opt("blank", false))
	if err != nil {
		return nil, err
	}
	ind, ok := asString(a[0])
	if !ok {
		n, err := integer(a[0])
		if err != nil {
			return nil, err
		}
		if err := c.rt.sized(n); err != nil {
			return nil, err
		}
		ind = strings.Repeat(" ", max(n, 0))
	}
	first, err := truth(a[1])
	if err != nil {
		return nil, err
	}
	blank, err := truth(a[2])
	if err != nil {
		return nil, err
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	ls := lines(s+"\n", false)
	if err := c.rt.sized(len(s) + len(ls)*len(ind)); err != nil {
		return nil, err
	}
	for i := range ls {
		if i > 0 && (blank || ls[i] != "") {
			ls[i] = ind + ls[i]
		}
	}
	out := strings.Join(ls, "\n")
	if first {
		out = ind + out
	}
	return c.like(out), nil
}

func filterLength(c *Call) (any, error) {
	if n, ok := length(c.value()); ok {
		return n, nil
	}
	if err := checkUndefined(c.value()); err != nil {
		return nil, err
	}
	return nil, typeErrorf("object of type '%s' has no len()", typeName(c.value()))
}

// jinjaTitle capitalises after blanks, dashes and opening brackets only.
func jinjaTitle(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = unicode.IsSpace(r) || strings.ContainsRune("-({[<", r)
		if was {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func filterReplace(c *Call) (any, error) {
	a, err := c.bind(1, req("old"), req("new"), opt("count", nil))
	if err != nil {
		return nil, err
	}
	if a[2] == nil {
		a[2] = -1
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	if _, ok := c.value().(Markup); ok {
		a[0], a[1] = escapedArgs(a[0]), escapedArgs(a[1])
	}
	out, err := replaceIn(c.rt, s, Str(a[0]), Str(a[1]), a[2])
	if err != nil {
		return nil, err
	}
	return c.like(out.(string)), nil
}

func filterRound(c *Call) (any, error) {
	a, err := c.bind(1, opt("precision", 0), opt("method", "common"))
	if err != nil {
		return nil, err
	}
	prec, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	v := c.value()
	if err := checkUndefined(v); err != nil {
		return nil, err
	}
	f, ok := asFloat(v)
	if !ok {
		return nil, typeErrorf("type %s doesn't define __round__ method", typeName(v))
	}
	scale := math.Pow(10, float64(prec))
	switch Str(a[1]) {
	case "ceil":
		return math.Ceil(f*scale) / scale, nil
	case "floor":
		return math.Floor(f*scale) / scale, nil
	case "common":
	default:
		return nil, errorf(FilterError, "method must be common, ceil or floor")
	}
	if b, ok := asBig(v); ok {
		if prec >= 0 {
			return normBig(b), nil
		}
		return int(math.RoundToEven(f*scale) / scale), nil
	}
	if prec >= 0 && prec < 300 {
		// Correctly rounded decimal text is what Python's round does.
		r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', prec, 64), 64)
		return r, err
	}
	return math.RoundToEven(f*scale) / scale, nil
}

func filterTrim(c *Call) (any, error) {
	a, err := c.bind(1, opt("chars", nil))
	if err != nil {
		return nil, err
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	if a[0] == nil {
		return c.like(strings.TrimFunc(s, unicode.IsSpace)), nil
	}
	set, err := str(a[0], "strip arg")
	return c.like(strings.Trim(s, set)), err
}

func filterTruncate(c *Call) (any, error) {
	a, err := c.bind(1, opt("length", 255), opt("killwords", false), opt("end", "..."), opt("leeway", nil))
	if err != nil {
		return nil, err
	}
	n, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	leeway := 5
	if a[3] != nil {
		if leeway, err = integer(a[3]); err != nil {
			return nil, err
		}
	}
	kill, err := truth(a[1])
	if err != nil {
		return nil, err
	}
	end, err := str(a[2], "end")
	if err != nil {
		return nil, err
	}
	text, err := c.text()
	if err != nil {
		return nil, err
	}
	rs := []rune(text)
	keep := n - utf8.RuneCountInString(end)
	if keep < 0 {
		return nil, errorf(FilterError, "expected length >= %d, got %d", utf8.RuneCountInString(end), n)
	}
	if leeway < 0 {
		return nil, errorf(FilterError, "expected leeway >= 0, got %d", leeway)
	}
	if len(rs) <= n+leeway {
		return c.value(), nil
	}
	cut := string(rs[:keep])
	if !kill {
		if i := strings.LastIndexByte(cut, ' '); i >= 0 {
			cut = cut[:i]
		}
	}
	return c.like(cut + end), nil
}

func filterWordCount(c *Call) (any, error) {
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	return len(strings.FieldsFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })), nil
}

func builtinTests() map[string]filterFunc {
	is := func(f func(v any) bool) filterFunc {
		return func(c *Call) (any, error) {
			if _, err := c.bind(1); err != nil {
				return nil, err
			}
			return f(c.value()), nil
		}
	}
	cmp := func(op string) filterFunc {
		return func(c *Call) (any, error) {
			a, err := c.bind(1, req("other"))
			if err != nil {
				return nil, err
			}
			return compare(op, c.value(), a[0])
		}
	}
	undefined := func(v any) bool { _, ok := v.(*Undefined); return ok }
	m := map[string]filterFunc{
		"defined":   is(func(v any) bool { return !undefined(v) }),
		"undefined": is(undefined),
		"none":      is(func(v any) bool { return v == nil }),
		"boolean":   is(func(v any) bool { _, ok := v.(bool); return ok }),
		"true":      is(func(v any) bool { return v == true }),
		"false":     is(func(v any) bool { return v == false }),
		"integer":   is(func(v any) bool { return typeName(v) == "int" }),
		"float":     is(func(v any) bool { return typeName(v) == "float" }),
		"number":    is(isNumber),
		"string":    is(func(v any) bool { _, ok := asString(v); return ok }),
		"mapping":   is(func(v any) bool { _, ok := v.(*Dict); return ok }),
		"escaped":   is(func(v any) bool { _, ok := v.(Markup); return ok }),
		"iterable":  is(func(v any) bool { _, err := iterate(v); return err == nil }),
		"sequence":  is(isSequence),
		"callable": is(func(v any) bool {
			switch v.(type) {
			case *Func, *Macro, *loopContext, *superRef, *joiner:
				return true
			}
			return false
		}),
		"eq": cmp("=="), "equalto": cmp("=="), "==": cmp("=="), "ne": cmp("!="), "!=": cmp("!="),
		"lt": cmp("<"), "lessthan": cmp("<"), "<": cmp("<"), "le": cmp("<="), "<=": cmp("<="),
		"gt": cmp(">"), "greaterthan": cmp(">"), ">": cmp(">"), "ge": cmp(">="), ">=": cmp(">="), "in": cmp("in"),
		"odd": parity(1), "even": parity(0), "divisibleby": testDivisible,
		"lower": testCase(func(s string) bool { return s == strings.ToLower(s) && s != strings.ToUpper(s) }),
		"upper": testCase(func(s string) bool { return s == strings.ToUpper(s) && s != strings.ToLower(s) }),
		"sameas": func(c *Call) (any, error) {
			a, err := c.bind(1, req("other"))
			if err != nil {
				return nil, err
			}
			return same(c.value(), a[0]), nil
		},
		"filter": func(c *Call) (any, error) { _, ok := c.rt.env.filters[Str(c.value())]; return ok, nil },
		"test":   func(c *Call) (any, error) { _, ok := c.rt.env.tests[Str(c.value())]; return ok, nil },
	}
	return m
}

func isSequence(v any) bool {
	switch v.(type) {
	case string, Markup, *List, Tuple, *Dict, *rangeValue, *namedTuple, *Undefined:
		return true
	}
	return false
}

// same is Python's "is" as far as it can be observed.
func same(a, b any) bool {
	if typeName(a) != typeName(b) {
		return false
	}
	switch a.(type) {
	case *List, *Dict:
		return a == b
	}
	return equal(a, b)
}

func parity(want int) filterFunc {
	return func(c *Call) (any, error) {
		r, err := c.rt.binary("%", c.value(), 2)
		if err != nil {
			return nil, err
		}
		return equal(r, want), nil
	}
}

func testDivisible(c *Call) (any, error) {
	a, err := c.bind(1, req("num"))
	if err != nil {
		return nil, err
	}
	r, err := c.rt.binary("%", c.value(), a[0])
	if err != nil {
		return nil, err
	}
	return equal(r, 0), nil
}

func testCase(f func(string) bool) filterFunc {
	return func(c *Call) (any, error) {
		s, err := c.text()
		if err != nil {
			return nil, err
		}
		return f(s), nil
	}
}
