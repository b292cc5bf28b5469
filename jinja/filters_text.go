package jinja

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	commentRE = regexp.MustCompile(`(?s)<!--.*?-->`)
	tagRE     = regexp.MustCompile(`(?s)<.*?>`)
	urlRE     = regexp.MustCompile(`^(?:https?://|www\.)[^\s<>"']+$`)
	mailRE    = regexp.MustCompile(`^\S+@\w[\w.-]*\.\w+$`)
)

func stripTags(s string) string {
	s = tagRE.ReplaceAllString(commentRE.ReplaceAllString(s, ""), "")
	return html.UnescapeString(strings.Join(strings.Fields(s), " "))
}

// quote is Python's urllib.parse.quote with the given characters left alone.
func quote(s, safe string, plus bool) string {
	var sb strings.Builder
	for i := range len(s) {
		b := s[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', strings.IndexByte("_.-~", b) >= 0, strings.IndexByte(safe, b) >= 0:
			sb.WriteByte(b)
		case b == ' ' && plus:
			sb.WriteByte('+')
		default:
			fmt.Fprintf(&sb, "%%%02X", b)
		}
	}
	return sb.String()
}

func filterURLEncode(c *Call) (any, error) {
	v := c.value()
	if _, ok := asString(v); !ok {
		if d, ok := v.(*Dict); ok {
			v = &dictView{d, "items"}
		}
		if items, err := c.rt.list(v); err == nil {
			var parts []string
			for _, it := range items {
				pair, err := c.rt.list(it)
				if err != nil {
					return nil, err
				}
				if len(pair) != 2 {
					return nil, valueErrorf("urlencode needs pairs")
				}
				parts = append(parts, quote(Str(pair[0]), "", true)+"="+quote(Str(pair[1]), "", true))
			}
			return strings.Join(parts, "&"), nil
		}
	}
	return quote(Str(v), "/", false), nil
}

func filterURLize(c *Call) (any, error) {
	a, err := c.bind(1, opt("trim_url_limit", nil), opt("nofollow", false), opt("target", nil), opt("rel", nil), opt("extra_schemes", nil))
	if err != nil {
		return nil, err
	}
	limit := -1
	if a[0] != nil {
		if limit, err = integer(a[0]); err != nil {
			return nil, err
		}
	}
	rel := strings.Fields("noopener " + strOrEmpty(a[3]))
	if nofollow, err := truth(a[1]); err != nil {
		return nil, err
	} else if nofollow {
		rel = append(rel, "nofollow")
	}
	sort.Strings(rel)
	attrs := ` rel="` + escapeHTML(strings.Join(rel, " ")) + `"`
	if t := strOrEmpty(a[2]); t != "" {
		attrs += ` target="` + escapeHTML(t) + `"`
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	if _, ok := c.value().(Markup); !ok {
		s = escapeHTML(s)
	}
	var sb strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, unicode.IsSpace)
		if n < 0 {
			n = len(s)
		}
		if n > 0 {
			sb.WriteString(linkWord(s[:n], attrs, limit))
			s = s[n:]
		}
		n = strings.IndexFunc(s, func(r rune) bool { return !unicode.IsSpace(r) })
		if n < 0 {
			n = len(s)
		}
		sb.WriteString(s[:n])
		s = s[n:]
	}
	if c.rt.autoescape {
		return Markup(sb.String()), nil
	}
	return sb.String(), nil
}

func strOrEmpty(v any) string {
	if v == nil {
		return ""
	}
	return Str(v)
}

func linkWord(word, attrs string, limit int) string {
	head, tail := "", ""
	for _, p := range []string{"(", "<", "&lt;"} {
		for strings.HasPrefix(word, p) {
			head, word = head+p, word[len(p):]
		}
	}
	for again := true; again; {
		again = false
		for _, p := range []string{")", ">", ".", ",", "\n", "&gt;"} {
			if strings.HasSuffix(word, p) && (p != ")" || strings.Count(word, "(") < strings.Count(word, ")")) {
				tail, word, again = p+tail, strings.TrimSuffix(word, p), true
			}
		}
	}
	shown := word
	if rs := []rune(word); limit >= 0 && len(rs) > limit {
		shown = string(rs[:limit]) + "..."
	}
	switch {
	case strings.HasPrefix(word, "www.") && urlRE.MatchString(word):
		word = `<a href="https://` + word + `"` + attrs + `>` + shown + `</a>`
	case urlRE.MatchString(word):
		if _, err := url.Parse(html.UnescapeString(word)); err == nil {
			word = `<a href="` + word + `"` + attrs + `>` + shown + `</a>`
		}
	case mailRE.MatchString(word) && !strings.Contains(word, ":"):
		word = `<a href="mailto:` + word + `">` + word + `</a>`
	}
	return head + word + tail
}

func filterXMLAttr(c *Call) (any, error) {
	a, err := c.bind(1, opt("autospace", true))
	if err != nil {
		return nil, err
	}
	d, ok := c.value().(*Dict)
	if !ok {
		return nil, typeErrorf("'%s' object has no attribute 'items'", typeName(c.value()))
	}
	var parts []string
	for k, v := range d.All() {
		if _, undef := v.(*Undefined); v == nil || undef {
			continue
		}
		if strings.ContainsAny(Str(k), " \t\n\r\f\v/>=") {
			return nil, valueErrorf("Invalid character in attribute name: %s", Repr(k))
		}
		t := Str(v)
		if _, ok := v.(Markup); !ok {
			t = escapeHTML(t)
		}
		parts = append(parts, escapeHTML(Str(k))+`="`+t+`"`)
	}
	s := strings.Join(parts, " ")
	space, err := truth(a[0])
	if err != nil {
		return nil, err
	}
	if space && s != "" {
		s = " " + s
	}
	return c.rt.captured(s), nil
}

func filterWordWrap(c *Call) (any, error) {
	a, err := c.bind(1, opt("width", 79), opt("break_long_words", true), opt("wrapstring", nil), opt("break_on_hyphens", true))
	if err != nil {
		return nil, err
	}
	width, err := integer(a[0])
	if err != nil {
		return nil, err
	}
	if width <= 0 {
		return nil, valueErrorf("invalid width %d (must be > 0)", width)
	}
	long, err := truth(a[1])
	if err != nil {
		return nil, err
	}
	hyphens, err := truth(a[3])
	if err != nil {
		return nil, err
	}
	sep := "\n"
	if a[2] != nil {
		sep = Str(a[2])
	}
	s, err := c.text()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, line := range lines(s, false) {
		out = append(out, strings.Join(wrapLine(line, width, long, hyphens), sep))
	}
	return c.like(strings.Join(out, sep)), nil
}

// wrapLine is Python's textwrap.wrap without tab and blank replacement.
func wrapLine(line string, width int, long, hyphens bool) []string {
	chunks := wrapChunks(line, hyphens)
	var out []string
	for len(chunks) > 0 {
		var cur []string
		n := 0
		if strings.TrimSpace(chunks[0]) == "" && len(out) > 0 {
			chunks = chunks[1:]
		}
		for len(chunks) > 0 {
			l := utf8.RuneCountInString(chunks[0])
			if n+l > width {
				break
			}
			cur, n, chunks = append(cur, chunks[0]), n+l, chunks[1:]
		}
		if len(chunks) > 0 && utf8.RuneCountInString(chunks[0]) > width {
			if long {
				rs := []rune(chunks[0])
				k := max(width-n, 1)
				cur, chunks[0] = append(cur, string(rs[:k])), string(rs[k:])
			} else if len(cur) == 0 {
				cur, chunks = append(cur, chunks[0]), chunks[1:]
			}
		}
		if len(cur) > 0 && strings.TrimSpace(cur[len(cur)-1]) == "" {
			cur = cur[:len(cur)-1]
		}
		if len(cur) > 0 {
			out = append(out, strings.Join(cur, ""))
		}
	}
	return out
}

func wrapChunks(line string, hyphens bool) []string {
	var chunks []string
	rs := []rune(line)
	start := 0
	flush := func(i int) {
		if i > start {
			chunks = append(chunks, string(rs[start:i]))
		}
		start = i
	}
	for i := range rs {
		if i > 0 && unicode.IsSpace(rs[i]) != unicode.IsSpace(rs[i-1]) {
			flush(i)
		}
		if hyphens && rs[i] == '-' && i > start && i+1 < len(rs) && unicode.IsLetter(rs[i-1]) && unicode.IsLetter(rs[i+1]) {
			flush(i + 1)
		}
	}
	flush(len(rs))
	return chunks
}

func filterToJSON(c *Call) (any, error) {
	a, err := c.bind(1, opt("indent", nil))
	if err != nil {
		return nil, err
	}
	indent := -1
	if a[0] != nil {
		if indent, err = integer(a[0]); err != nil {
			return nil, err
		}
		if indent > 100 {
			return nil, errorf(LimitError, "indent too large")
		}
	}
	var sb strings.Builder
	if err := writeJSON(&sb, c.value(), indent, 0); err != nil {
		return nil, err
	}
	return Markup(strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`, "'", `\u0027`).Replace(sb.String())), nil
}

// writeJSON is Python's json.dumps(v, sort_keys=True, indent=indent).
func writeJSON(sb *strings.Builder, v any, indent, depth int) error {
	if depth > maxReprDepth {
		return valueErrorf("Circular reference detected")
	}
	nl := func(d int) {
		if indent >= 0 {
			sb.WriteString("\n" + strings.Repeat(" ", indent*d))
		}
	}
	comma := ", "
	if indent >= 0 {
		comma = ","
	}
	seq := func(items []any) error {
		if len(items) == 0 {
			sb.WriteString("[]")
			return nil
		}
		sb.WriteByte('[')
		for i, it := range items {
			if i > 0 {
				sb.WriteString(comma)
			}
			nl(depth + 1)
			if err := writeJSON(sb, it, indent, depth+1); err != nil {
				return err
			}
		}
		nl(depth)
		sb.WriteByte(']')
		return nil
	}
	switch x := v.(type) {
	case nil:
		sb.WriteString("null")
	case bool:
		sb.WriteString(strings.ToLower(Str(x)))
	case string:
		writeJSONString(sb, x)
	case Markup:
		writeJSONString(sb, string(x))
	case *List:
		return seq(x.Items)
	case Tuple:
		return seq(x)
	case *Dict:
		return writeJSONDict(sb, x, comma, indent, depth, nl)
	default:
		if !isNumber(v) {
			if err := checkUndefined(v); err != nil {
				return typeErrorf("Object of type Undefined is not JSON serializable")
			}
			return typeErrorf("Object of type %s is not JSON serializable", typeName(v))
		}
		sb.WriteString(strings.NewReplacer("nan", "NaN", "inf", "Infinity").Replace(Str(v)))
	}
	return nil
}

func writeJSONDict(sb *strings.Builder, d *Dict, comma string, indent, depth int, nl func(int)) error {
	if d.Len() == 0 {
		sb.WriteString("{}")
		return nil
	}
	keys := d.Keys()
	if err := sortValues(keys, func(v any) any { return v }, false); err != nil {
		return err
	}
	sb.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			sb.WriteString(comma)
		}
		nl(depth + 1)
		var name string
		switch kk := k.(type) {
		case nil:
			name = "null"
		case bool:
			name = strings.ToLower(Str(kk))
		case Tuple:
			return typeErrorf("keys must be str, int, float, bool or None, not tuple")
		default:
			name = Str(kk)
		}
		writeJSONString(sb, name)
		sb.WriteString(": ")
		v, _ := d.Get(k)
		if err := writeJSON(sb, v, indent, depth+1); err != nil {
			return err
		}
	}
	nl(depth)
	sb.WriteByte('}')
	return nil
}

func writeJSONString(sb *strings.Builder, s string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}
	sb.WriteByte('"')
	for _, r := range s {
		if e, ok := short[r]; ok {
			sb.WriteString(e)
			continue
		}
		switch {
		case r >= 0x20 && r < 0x7f:
			sb.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(sb, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(sb, `\u%04x`, r)
		}
	}
	sb.WriteByte('"')
}

func filterPPrint(c *Call) (any, error) {
	var sb strings.Builder
	prettyPrint(&sb, c.value(), 0, 0, 0)
	return sb.String(), nil
}

// sortedRepr is repr() with the keys of dicts in order, as Python's pprint shows them.
func sortedRepr(v any) any {
	switch x := v.(type) {
	case *Dict:
		keys := x.Keys()
		if sortValues(keys, func(v any) any { return v }, false) != nil {
			return x
		}
		d := &Dict{}
		for _, k := range keys {
			val, _ := x.Get(k)
			_ = d.Set(k, sortedRepr(val)) // a key of x
		}
		return d
	case *List:
		l := &List{}
		for _, it := range x.Items {
			l.Items = append(l.Items, sortedRepr(it))
		}
		return l
	}
	return v
}

func prettyPrint(sb *strings.Builder, v any, indent, allowance, depth int) {
	v = sortedRepr(v)
	r := Repr(v)
	if utf8.RuneCountInString(r) <= 80-indent-allowance || depth > maxReprDepth {
		sb.WriteString(r)
		return
	}
	pad := ",\n" + strings.Repeat(" ", indent+1)
	switch x := v.(type) {
	case *Dict:
		sb.WriteString("{")
		i := 0
		for k, val := range x.All() {
			if i > 0 {
				sb.WriteString(pad)
			}
			i++
			key := Repr(k)
			last := 1
			if i == x.Len() {
				last = allowance + 1
			}
			sb.WriteString(key + ": ")
			prettyPrint(sb, val, indent+1+utf8.RuneCountInString(key)+2, last, depth+1)
		}
		sb.WriteString("}")
	case *List:
		sb.WriteString("[")
		for i, it := range x.Items {
			if i > 0 {
				sb.WriteString(pad)
			}
			last := 1
			if i == len(x.Items)-1 {
				last = allowance + 1
			}
			prettyPrint(sb, it, indent+1, last, depth+1)
		}
		sb.WriteString("]")
	default:
		sb.WriteString(r)
	}
}
