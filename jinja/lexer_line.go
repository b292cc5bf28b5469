package jinja

import (
	"strings"
	"unicode"
)

// nextLine finds the next line statement or line comment behind the lexer's position; -1 is none. A statement takes
// the blanks before it, and so does a comment.
func (lx *lexer) nextLine() (at int, comment bool) {
	at = -1
	if p := lx.opts.LineStatement; p != "" {
		at = lx.lineStatement(p)
	}
	if p := lx.opts.LineComment; p != "" {
		if c := strings.Index(lx.src[lx.i:], p); c >= 0 {
			for c > 0 && strings.IndexByte(" \t\v\f", lx.src[lx.i+c-1]) >= 0 {
				c--
			}
			if at < 0 || c < at || c == at && len(p) > len(lx.opts.LineStatement) {
				return c, true
			}
		}
	}
	return at, false
}

func (lx *lexer) lineStatement(prefix string) int {
	for p := lx.i; p < len(lx.src); {
		if p == 0 || lx.src[p-1] == '\n' {
			rest := strings.TrimLeft(lx.src[p:], " \t\v")
			if strings.HasPrefix(rest, prefix) {
				return p - lx.i
			}
		}
		nl := strings.IndexByte(lx.src[p:], '\n')
		if nl < 0 {
			return -1
		}
		p += nl + 1
	}
	return -1
}

// wholeLine reads the line statement or comment that begins at an offset.
func (lx *lexer) wholeLine(at int, comment bool) error {
	text := lx.src[lx.i : lx.i+at]
	rest := lx.src[lx.i+at:]
	tag := strings.TrimLeft(rest, " \t\v\f")
	prefix := lx.opts.LineStatement
	if comment {
		prefix = lx.opts.LineComment
	}
	skip := len(rest) - len(tag) + len(prefix)
	if after := rest[skip:]; after != "" && (after[0] == '-' || after[0] == '+') {
		skip++
		if after[0] == '-' {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		}
	}
	lx.data(text, at)
	line := lx.line
	lx.advance(skip)
	if comment {
		end := strings.IndexByte(lx.src[lx.i:], '\n')
		if end < 0 {
			end = len(lx.src) - lx.i
		}
		lx.advance(end)
		return nil
	}
	lx.emit(token{kind: tokBlockBegin, line: line})
	return lx.insideLine()
}

// insideLine reads the tokens of a line statement. It goes on over the end of the line inside of brackets; it takes
// the empty lines behind it.
func (lx *lexer) insideLine() error {
	var open []byte
	for {
		rest := lx.src[lx.i:]
		trimmed := strings.TrimLeftFunc(rest, unicode.IsSpace)
		blank := rest[:len(rest)-len(trimmed)]
		if len(open) == 0 && (trimmed == "" || strings.Contains(blank, "\n")) {
			lx.emit(token{kind: tokBlockEnd, line: lx.line})
			if trimmed != "" {
				blank = blank[:strings.LastIndexByte(blank, '\n')+1]
			}
			lx.advance(len(blank))
			return nil
		}
		lx.advance(len(blank))
		if trimmed == "" {
			return lx.fail(lx.line, "unexpected end of template, expected 'end of statement block'.")
		}
		if err := lx.one(trimmed, &open); err != nil {
			return err
		}
	}
}
