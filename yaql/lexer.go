package yaql

import (
	"strconv"
	"strings"
	"unicode"
)

type tokenKind int

const (
	tokEOF     tokenKind = iota
	tokVar               // $, $name: text is the name without $
	tokNumber            // val is int64 or float64
	tokString            // val is string
	tokConst             // true, false, null
	tokKeyword           // bare word
	tokFunc              // name directly followed by "(", which is consumed
	tokOp                // operators, brackets, comma, =>
)

type token struct {
	kind tokenKind
	text string
	val  any
	col  int // 1-based
}

type lexer struct {
	src  []rune
	pos  int
	text string
	kw   string // the keyword operator
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

func (l *lexer) fail(col int, format string, args ...any) *Error {
	e := errorf(ErrSyntax, format, args...)
	e.Column, e.Source = col, l.text
	return e
}

// wordOps are words that are operators. They are functions when "(" follows
// directly, as in the original's lexer.
func wordOp(s string) bool {
	switch s {
	case "and", "or", "not", "in", "mod":
		return true
	}
	return false
}

var symbolOps = [...]string{"->", "?.", "=~", "!~", ">=", "<=", "!=",
	".", "+", "-", "*", "/", ">", "<", "=", "(", ")", "[", "]", "{", "}", ","}

func (l *lexer) next() (token, error) {
	for l.pos < len(l.src) && unicode.IsSpace(l.src[l.pos]) {
		l.pos++
	}
	col := l.pos + 1
	if l.pos >= len(l.src) {
		return token{kind: tokEOF, col: col}, nil
	}
	r := l.src[l.pos]
	switch {
	case r == '$':
		start := l.pos + 1
		l.pos = l.wordEnd(start)
		return token{kind: tokVar, text: string(l.src[start:l.pos]), col: col}, nil
	case r == '\'' || r == '"' || r == '`':
		return l.quoted(r)
	case unicode.IsDigit(r):
		return l.number()
	case isWord(r):
		return l.word()
	}
	if n := len([]rune(l.kw)); l.pos+n <= len(l.src) && string(l.src[l.pos:l.pos+n]) == l.kw {
		l.pos += n
		return token{kind: tokOp, text: "=>", col: col}, nil
	}
	for _, op := range symbolOps {
		n := len(op)
		if l.pos+n <= len(l.src) && string(l.src[l.pos:l.pos+n]) == op {
			l.pos += n
			return token{kind: tokOp, text: op, col: col}, nil
		}
	}
	return token{}, l.fail(col, "unexpected character %q", r)
}

func (l *lexer) wordEnd(i int) int {
	for i < len(l.src) && isWord(l.src[i]) {
		i++
	}
	return i
}

func (l *lexer) word() (token, error) {
	start := l.pos
	end := l.wordEnd(start)
	text, col := string(l.src[start:end]), start+1
	if end < len(l.src) && l.src[end] == '(' {
		l.pos = end + 1
		return token{kind: tokFunc, text: text, col: col}, nil
	}
	if strings.HasPrefix(text, "__") {
		return token{}, l.fail(col, "name %q begins with two underscores", text)
	}
	l.pos = end
	switch text {
	case "true":
		return token{kind: tokConst, val: true, text: text, col: col}, nil
	case "false":
		return token{kind: tokConst, val: false, text: text, col: col}, nil
	case "null":
		return token{kind: tokConst, text: text, col: col}, nil
	}
	if wordOp(text) {
		return token{kind: tokOp, text: text, col: col}, nil
	}
	return token{kind: tokKeyword, text: text, col: col}, nil
}

// number reads digits, or digits "." digits. There is no exponent and no
// letter may follow.
func (l *lexer) number() (token, error) {
	start, i := l.pos, l.pos
	digits := func() {
		for i < len(l.src) && unicode.IsDigit(l.src[i]) {
			i++
		}
	}
	digits()
	float := false
	if i+1 < len(l.src) && l.src[i] == '.' && unicode.IsDigit(l.src[i+1]) {
		float = true
		i++
		digits()
	}
	if i < len(l.src) && isWord(l.src[i]) {
		return token{}, l.fail(start+1, "malformed number %q", string(l.src[start:l.wordEnd(i)]))
	}
	l.pos = i
	text := string(l.src[start:i])
	tok := token{kind: tokNumber, text: text, col: start + 1}
	if float {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return tok, l.fail(start+1, "malformed number %q", text)
		}
		tok.val = f
		return tok, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return tok, l.fail(start+1, "integer %s does not fit 64 bits", text)
	}
	tok.val = n
	return tok, nil
}

func (l *lexer) quoted(quote rune) (token, error) {
	start := l.pos
	i := start + 1
	for i < len(l.src) && l.src[i] != quote {
		if l.src[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(l.src) {
		return token{}, l.fail(start+1, "string is not closed")
	}
	body := l.src[start+1 : i]
	l.pos = i + 1
	text := string(body)
	if quote == '`' {
		text = strings.ReplaceAll(text, "\\`", "`")
	} else {
		text = unescape(body)
	}
	return token{kind: tokString, val: text, text: string(l.src[start:l.pos]), col: start + 1}, nil
}

// unescape decodes Python's escapes; unknown ones stay as they are.
func unescape(body []rune) string {
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' || i+1 >= len(body) {
			b.WriteRune(body[i])
			continue
		}
		i++
		c := body[i]
		if k := strings.IndexRune(`abfnrtv\'"`, c); k >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v\\'\""[k])
			continue
		}
		switch {
		case c == 'x' || c == 'u' || c == 'U':
			n := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c]
			if r, ok := number(body, i+1, n, 16); ok {
				b.WriteRune(r)
				i += n
				continue
			}
		case c >= '0' && c <= '7':
			n := 1
			for n < 3 && i+n < len(body) && body[i+n] >= '0' && body[i+n] <= '7' {
				n++
			}
			r, _ := number(body, i, n, 8)
			b.WriteRune(r)
			i += n - 1
			continue
		case c == '\n':
			continue
		}
		b.WriteByte('\\')
		b.WriteRune(c)
	}
	return b.String()
}

func number(body []rune, at, n, base int) (rune, bool) {
	if at+n > len(body) {
		return 0, false
	}
	v, err := strconv.ParseUint(string(body[at:at+n]), base, 32)
	return rune(v), err == nil && v <= unicode.MaxRune
}
