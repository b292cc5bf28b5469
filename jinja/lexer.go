package jinja

import (
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokEOF tokenKind = iota
	tokData
	tokBlockBegin
	tokBlockEnd
	tokVarBegin
	tokVarEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

type token struct {
	kind tokenKind
	text string // name, operator, data, value of a string
	val  any    // value of a number
	line int
}

// describe is Jinja2's name for a token in messages.
func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "end of template"
	case tokBlockBegin:
		return "begin of statement block"
	case tokBlockEnd:
		return "end of statement block"
	case tokVarBegin:
		return "begin of print statement"
	case tokVarEnd:
		return "end of print statement"
	case tokData:
		return "template data / text"
	case tokString:
		return "string"
	case tokInt:
		return "integer"
	case tokFloat:
		return "float"
	}
	return t.text
}

type lexer struct {
	src    string
	i      int
	line   int
	opts   *Options
	tokens []token
	// stripNext: the tag just closed with "-"; trimNL: it closed under trim_blocks.
	stripNext, trimNL bool
}

func (lx *lexer) fail(line int, format string, args ...any) error {
	e := errorf(SyntaxError, format, args...)
	e.Line = line
	return e
}

// normalize makes every line end with "\n" and drops the last one, as Jinja2 does.
func normalize(src string, keepTrailing bool) string {
	if strings.Contains(src, "\r") {
		src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	}
	if !keepTrailing {
		src = strings.TrimSuffix(src, "\n")
	}
	return src
}

func lex(src string, opts *Options) ([]token, error) {
	lx := &lexer{src: normalize(src, opts.KeepTrailingNewline), line: 1, opts: opts}
	for lx.i < len(lx.src) {
		if err := lx.root(); err != nil {
			return nil, err
		}
	}
	end := token{kind: tokEOF, line: lx.line}
	if n := len(lx.tokens); n > 0 {
		end.line = lx.tokens[n-1].line // where Jinja2 reports it
	}
	lx.emit(end)
	return lx.tokens, nil
}

// lexExpression reads a source that is one expression, without tags round it.
func lexExpression(src string, opts *Options) ([]token, error) {
	lx := &lexer{src: normalize(src, opts.KeepTrailingNewline), line: 1, opts: opts}
	var open []byte
	for {
		rest := strings.TrimLeftFunc(lx.src[lx.i:], unicode.IsSpace)
		lx.advance(len(lx.src) - lx.i - len(rest))
		if rest == "" {
			lx.emit(token{kind: tokEOF, line: lx.line})
			return lx.tokens, nil
		}
		if err := lx.one(rest, &open); err != nil {
			return nil, err
		}
	}
}

func (lx *lexer) emit(t token) { lx.tokens = append(lx.tokens, t) }

func (lx *lexer) advance(n int) {
	lx.line += strings.Count(lx.src[lx.i:lx.i+n], "\n")
	lx.i += n
}

// root reads text up to the next tag, and the tag.
func (lx *lexer) root() error {
	if lx.stripNext {
		rest := strings.TrimLeftFunc(lx.src[lx.i:], unicode.IsSpace)
		lx.advance(len(lx.src) - lx.i - len(rest))
	} else if lx.trimNL && strings.HasPrefix(lx.src[lx.i:], "\n") {
		lx.advance(1)
	}
	lx.stripNext, lx.trimNL = false, false
	at := nextTag(lx.src[lx.i:])
	if p, comment := lx.nextLine(); p >= 0 && (at < 0 || p < at) {
		return lx.wholeLine(p, comment)
	}
	if at < 0 {
		lx.data(lx.src[lx.i:], len(lx.src)-lx.i)
		return nil
	}
	text := lx.src[lx.i : lx.i+at]
	kind := lx.src[lx.i+at+1]
	mark := byte(0)
	if p := lx.i + at + 2; p < len(lx.src) && (lx.src[p] == '-' || lx.src[p] == '+') {
		mark = lx.src[p]
	}
	switch {
	case mark == '-':
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	case mark != '+' && lx.opts.LstripBlocks && kind != '{':
		lineStart := strings.LastIndexByte(text, '\n') + 1
		atLineStart := lineStart > 0 || lx.i == 0 || lx.src[lx.i-1] == '\n'
		if atLineStart && strings.TrimSpace(text[lineStart:]) == "" {
			text = text[:lineStart]
		}
	}
	lx.data(text, at)
	line := lx.line
	lx.advance(2)
	if mark != 0 {
		lx.advance(1)
	}
	switch kind {
	case '#':
		return lx.comment(line)
	case '{':
		lx.emit(token{kind: tokVarBegin, line: line})
		return lx.inside("}}", tokVarEnd, line)
	}
	if end, strip, ok := rawTag(lx.src[lx.i:], "raw"); ok {
		return lx.raw(end, strip, line)
	}
	lx.emit(token{kind: tokBlockBegin, line: line})
	return lx.inside("%}", tokBlockEnd, line)
}

// data emits text, then moves over the n bytes of source it stands for.
func (lx *lexer) data(text string, n int) {
	if text != "" {
		lx.emit(token{kind: tokData, text: text, line: lx.line})
	}
	lx.advance(n)
}

func nextTag(s string) int {
	for off := 0; ; {
		p := strings.IndexByte(s[off:], '{')
		if p < 0 || off+p+1 >= len(s) {
			return -1
		}
		switch s[off+p+1] {
		case '{', '%', '#':
			return off + p
		}
		off += p + 1
	}
}

func (lx *lexer) comment(line int) error {
	end := strings.Index(lx.src[lx.i:], "#}")
	if end < 0 {
		return lx.fail(line, "Missing end of comment tag")
	}
	last := byte(0)
	if end > 0 {
		last = lx.src[lx.i+end-1]
	}
	lx.advance(end + 2)
	lx.stripNext = last == '-'
	lx.trimNL = lx.opts.TrimBlocks && last != '+'
	return nil
}

// rawTag recognises "raw -%}" after "{%" and returns its length and whether it ends with "-".
func rawTag(s, word string) (n int, strip byte, ok bool) {
	t := strings.TrimLeftFunc(s, unicode.IsSpace)
	if !strings.HasPrefix(t, word) {
		return 0, 0, false
	}
	t = strings.TrimLeftFunc(t[len(word):], unicode.IsSpace)
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		strip, t = t[0], t[1:]
	}
	if !strings.HasPrefix(t, "%}") {
		return 0, 0, false
	}
	return len(s) - len(t) + 2, strip, true
}

func (lx *lexer) raw(n int, strip byte, line int) error {
	lx.advance(n)
	if strip == '-' {
		rest := strings.TrimLeftFunc(lx.src[lx.i:], unicode.IsSpace)
		lx.advance(len(lx.src) - lx.i - len(rest))
	}
	for off := lx.i; ; {
		p := strings.Index(lx.src[off:], "{%")
		if p < 0 {
			return lx.fail(line, "Missing end of raw directive")
		}
		begin := off + p
		body := lx.src[begin+2:]
		mark := byte(0)
		if body != "" && (body[0] == '-' || body[0] == '+') {
			mark, body = body[0], body[1:]
		}
		m, endStrip, ok := rawTag(body, "endraw")
		if !ok {
			off = begin + 2
			continue
		}
		text := lx.src[lx.i:begin]
		if mark == '-' {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		} else if mark != '+' && lx.opts.LstripBlocks {
			if ls := strings.LastIndexByte(text, '\n') + 1; ls > 0 && strings.TrimSpace(text[ls:]) == "" {
				text = text[:ls]
			}
		}
		lx.data(text, begin-lx.i)
		lx.advance(len(lx.src) - lx.i - len(body) + m)
		lx.stripNext = endStrip == '-'
		lx.trimNL = lx.opts.TrimBlocks && endStrip != '+'
		return nil
	}
}

var operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

// inside reads the tokens of a tag up to its end.
func (lx *lexer) inside(end string, endKind tokenKind, line int) error {
	var open []byte
	for {
		rest := lx.src[lx.i:]
		trimmed := strings.TrimLeftFunc(rest, unicode.IsSpace)
		lx.advance(len(rest) - len(trimmed))
		rest = trimmed
		if rest == "" {
			what := "end of statement block"
			if endKind == tokVarEnd {
				what = "end of print statement"
			}
			return lx.fail(lx.line, "unexpected end of template, expected '%s'.", what)
		}
		if len(open) == 0 {
			n := 0
			if strings.HasPrefix(rest, end) {
				n = len(end)
			} else if (rest[0] == '-' || (rest[0] == '+' && endKind == tokBlockEnd)) && strings.HasPrefix(rest[1:], end) {
				n = len(end) + 1
			}
			if n > 0 {
				lx.emit(token{kind: endKind, line: lx.line})
				lx.stripNext = rest[0] == '-'
				lx.trimNL = lx.opts.TrimBlocks && endKind == tokBlockEnd && rest[0] != '+'
				lx.advance(n)
				return nil
			}
		}
		if err := lx.one(rest, &open); err != nil {
			return err
		}
	}
}

func (lx *lexer) one(rest string, open *[]byte) error {
	r, _ := utf8.DecodeRuneInString(rest)
	switch {
	case r == '_' || unicode.IsLetter(r):
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(rest)
		}
		lx.emit(token{kind: tokName, text: rest[:n], line: lx.line})
		lx.advance(n)
		return nil
	case r >= '0' && r <= '9':
		return lx.number(rest)
	case r == '"' || r == '\'':
		return lx.str(rest)
	}
	for _, op := range operators {
		if !strings.HasPrefix(rest, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			*open = append(*open, op[0])
		case ")", "]", "}":
			if len(*open) == 0 {
				return lx.fail(lx.line, "unexpected '%s'", op)
			}
			want := map[byte]string{'(': ")", '[': "]", '{': "}"}[(*open)[len(*open)-1]]
			if want != op {
				return lx.fail(lx.line, "unexpected '%s', expected '%s'", op, want)
			}
			*open = (*open)[:len(*open)-1]
		}
		lx.emit(token{kind: tokOp, text: op, line: lx.line})
		lx.advance(len(op))
		return nil
	}
	return lx.fail(lx.line, "unexpected char %s at %d", Repr(string(r)), lx.i)
}

// number reads integers (0x, 0o, 0b, underscores) and floats as Jinja2's regular expressions do.
func (lx *lexer) number(rest string) error {
	digits := func(s string, ok func(byte) bool) int {
		n := 0
		for n < len(s) && (ok(s[n]) || (s[n] == '_' && n+1 < len(s) && ok(s[n+1]) && n > 0)) {
			n++
		}
		return n
	}
	dec := func(b byte) bool { return b >= '0' && b <= '9' }
	if len(rest) > 2 && rest[0] == '0' {
		base, ok := map[byte]int{'x': 16, 'X': 16, 'o': 8, 'O': 8, 'b': 2, 'B': 2}[rest[1]]
		if ok {
			n := digits(rest[2:], func(b byte) bool { return strings.IndexByte("0123456789abcdef"[:base], lower(b)) >= 0 })
			if n > 0 {
				v, _ := new(big.Int).SetString(strings.ReplaceAll(rest[2:2+n], "_", ""), base)
				lx.emit(token{kind: tokInt, val: normBig(v), text: rest[:2+n], line: lx.line})
				lx.advance(2 + n)
				return nil
			}
		}
	}
	n := digits(rest, dec)
	end, isFloat := n, false
	if end+1 < len(rest) && rest[end] == '.' && dec(rest[end+1]) {
		isFloat = true
		end += 1 + digits(rest[end+1:], dec)
	}
	if end < len(rest) && lower(rest[end]) == 'e' {
		e := end + 1
		if e < len(rest) && (rest[e] == '+' || rest[e] == '-') {
			e++
		}
		if m := digits(rest[e:], dec); m > 0 {
			isFloat, end = true, e+m
		}
	}
	text := strings.ReplaceAll(rest[:end], "_", "")
	t := token{kind: tokInt, text: rest[:end], line: lx.line}
	if isFloat {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return lx.fail(lx.line, "bad number %s", text)
		}
		t.kind, t.val = tokFloat, f
	} else {
		if len(text) > 4000 {
			return lx.fail(lx.line, "integer literal too long")
		}
		v, _ := new(big.Int).SetString(text, 10)
		t.val = normBig(v)
	}
	lx.emit(t)
	lx.advance(end)
	return nil
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

func (lx *lexer) str(rest string) error {
	quote := rest[0]
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case quote:
			s, err := unescape(rest[1:i])
			if err != nil {
				return lx.fail(lx.line, "%s", err.Error())
			}
			lx.emit(token{kind: tokString, text: s, line: lx.line})
			lx.advance(i + 1)
			return nil
		}
	}
	return lx.fail(lx.line, "unexpected char %s at %d", Repr(string(quote)), lx.i)
}

// unescape reads Python's backslash escapes; an unknown one stays as it is.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "\\") {
		return s, nil
	}
	simple := map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f", 'v': "\v", 'a': "\a", '\\': "\\", '\'': "'", '"': "\"", '\n': ""}
	widths := map[byte]int{'x': 2, 'u': 4, 'U': 8}
	var sb strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			sb.WriteByte(s[i])
			continue
		}
		i++
		c := s[i]
		if r, ok := simple[c]; ok {
			sb.WriteString(r)
			continue
		}
		if w, ok := widths[c]; ok {
			if i+w > len(s)-1 {
				return "", valueErrorf("truncated \\%c escape", c)
			}
			v, err := strconv.ParseUint(s[i+1:i+1+w], 16, 32)
			if err != nil || v > unicode.MaxRune {
				return "", valueErrorf("bad \\%c escape", c)
			}
			sb.WriteRune(rune(v))
			i += w
			continue
		}
		if c >= '0' && c <= '7' {
			v, n := 0, 0
			for n < 3 && i+n < len(s) && s[i+n] >= '0' && s[i+n] <= '7' {
				v = v*8 + int(s[i+n]-'0')
				n++
			}
			sb.WriteRune(rune(v))
			i += n - 1
			continue
		}
		sb.WriteByte('\\')
		sb.WriteByte(c)
	}
	return sb.String(), nil
}
