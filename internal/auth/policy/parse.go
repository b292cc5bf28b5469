package policy

import (
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/auth"
)

// Target is what an action is about: "target.user.domain_id", "project_id" and
// the like, by the names that rules use.
type Target map[string]string

// check is a node of a parsed rule.
type check interface {
	holds(e *Enforcer, id *auth.Identity, target Target, depth int) bool
}

type (
	always     bool
	not        struct{ c check }
	all        []check
	anyOf      []check
	roleCheck  string
	ruleCheck  string
	comparison struct {
		literal bool   // left is a value and no attribute of the caller
		left    string // attribute or value
		right   template
	}
)

// template is text with %(name)s places for attributes of the target.
type template struct {
	text  string // without any place
	parts []part
}

type part struct {
	text, name string // name "" is plain text
}

// Bounds of a rule.
const (
	maxRule  = 64 << 10 // bytes
	maxDepth = 64       // of parentheses, and of rules that refer to rules
)

type parser struct {
	tokens []string
	pos    int
	depth  int
}

// parse reads one rule.
func parse(text string) (check, error) {
	if len(text) > maxRule {
		return nil, fmt.Errorf("rule is longer than %d bytes", maxRule)
	}
	if strings.TrimSpace(text) == "" {
		return always(true), nil
	}
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.tokens) {
		return nil, fmt.Errorf("unexpected %q after a complete expression", p.tokens[p.pos])
	}
	return c, nil
}

// tokenize splits at blanks and at parentheses that are not part of a %(name)s
// place or of a quoted literal.
func tokenize(text string) ([]string, error) {
	var out []string
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			out = append(out, word.String())
			word.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			flush()
		case c == '%' && i+1 < len(text) && text[i+1] == '(':
			end := strings.Index(text[i:], ")s")
			if end < 0 {
				return nil, fmt.Errorf("%q has no closing )s", text[i:])
			}
			word.WriteString(text[i : i+end+2])
			i += end + 1
		case (c == '\'' || c == '"') && word.Len() == 0:
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("%s has no closing quote", text[i:])
			}
			word.WriteString(text[i : i+end+2])
			i += end + 1
		case c == '(' || c == ')':
			flush()
			out = append(out, string(c))
		default:
			word.WriteByte(c)
		}
	}
	flush()
	return out, nil
}

func (p *parser) next() string {
	if p.pos >= len(p.tokens) {
		return ""
	}
	return p.tokens[p.pos]
}

func (p *parser) or() (check, error) {
	first, err := p.and()
	if err != nil || !strings.EqualFold(p.next(), "or") {
		return first, err
	}
	out := anyOf{first}
	for strings.EqualFold(p.next(), "or") {
		p.pos++
		c, err := p.and()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (p *parser) and() (check, error) {
	first, err := p.unary()
	if err != nil || !strings.EqualFold(p.next(), "and") {
		return first, err
	}
	out := all{first}
	for strings.EqualFold(p.next(), "and") {
		p.pos++
		c, err := p.unary()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (p *parser) unary() (check, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, fmt.Errorf("rule is nested deeper than %d", maxDepth)
	}
	tok := p.next()
	p.pos++
	switch {
	case tok == "":
		return nil, fmt.Errorf("rule ends where a check is expected")
	case strings.EqualFold(tok, "not"):
		c, err := p.unary()
		return not{c}, err
	case tok == "(":
		c, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.next() != ")" {
			return nil, fmt.Errorf("a parenthesis is not closed")
		}
		p.pos++
		return c, nil
	case tok == ")" || strings.EqualFold(tok, "and") || strings.EqualFold(tok, "or"):
		return nil, fmt.Errorf("unexpected %q where a check is expected", tok)
	}
	return parseCheck(tok)
}

func parseCheck(tok string) (check, error) {
	switch tok {
	case "@":
		return always(true), nil
	case "!":
		return always(false), nil
	}
	left, right, ok := cutCheck(tok)
	if !ok || left == "" {
		return nil, fmt.Errorf("check %q, expected KIND:MATCH, @ or !", tok)
	}
	switch left {
	case "role":
		return roleCheck(right), nil
	case "rule":
		return ruleCheck(right), nil
	case "http", "https":
		return nil, fmt.Errorf("check %q asks another server; such checks are not allowed here", tok)
	}
	c := comparison{left: left}
	if q := left[0]; q == '\'' || q == '"' {
		c.literal, c.left = true, strings.Trim(left, string(q))
	} else if left == "True" || left == "False" || left == "None" {
		c.literal = true
	}
	var err error
	c.right, err = parseTemplate(strings.Trim(right, `'"`))
	return c, err
}

// cutCheck splits at the first colon outside a quoted literal.
func cutCheck(tok string) (left, right string, ok bool) {
	from := 0
	if tok[0] == '\'' || tok[0] == '"' {
		from = strings.IndexByte(tok[1:], tok[0]) + 2
	}
	i := strings.IndexByte(tok[from:], ':')
	if i < 0 {
		return tok, "", false
	}
	return tok[:from+i], tok[from+i+1:], true
}

func parseTemplate(s string) (template, error) {
	t := template{}
	for {
		before, rest, ok := strings.Cut(s, "%(")
		if !ok {
			if len(t.parts) == 0 {
				t.text = s
			} else if s != "" {
				t.parts = append(t.parts, part{text: s})
			}
			return t, nil
		}
		name, after, ok := strings.Cut(rest, ")s")
		if !ok || name == "" {
			return t, fmt.Errorf("%q has a place without a name or without )s", s)
		}
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		t.parts = append(t.parts, part{name: name})
		s = after
	}
}

// fill puts the target's attributes in; ok is false if it lacks one.
func (t template) fill(target Target) (string, bool) {
	if len(t.parts) == 0 {
		return t.text, true
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		v, ok := target[p.name]
		if !ok {
			return "", false
		}
		b.WriteString(v)
	}
	return b.String(), true
}
