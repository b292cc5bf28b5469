package yaql

import "strconv"

// Binding powers, from the original's operator table; higher binds tighter.
const (
	precArrow = 10 * (iota + 1) // right associative
	precOr
	precAnd
	precNot
	precCompare
	precAdd
	precMul
	precMatch
	precSign
	precIndex
	precDot
	precCall
)

func binaryPrec(op string) int {
	switch op {
	case "->":
		return precArrow
	case "or":
		return precOr
	case "and":
		return precAnd
	case ">", "<", ">=", "<=", "!=", "=", "in":
		return precCompare
	case "+", "-":
		return precAdd
	case "*", "/", "mod":
		return precMul
	case "=~", "!~":
		return precMatch
	case "[":
		return precIndex
	case ".", "?.":
		return precDot
	}
	return 0
}

type parser struct {
	lex      lexer
	tok      token
	depth    int
	maxDepth int
	calls    bool // values can be called
}

func parse(src string, opts *Options) (node, error) {
	p := &parser{lex: lexer{src: []rune(src), text: src, kw: opts.KeywordOperator}, maxDepth: opts.MaxDepth, calls: opts.AllowDelegates}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokEOF {
		return nil, p.lex.fail(1, "expression is empty")
	}
	n, err := p.expr(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEOF {
		return nil, p.unexpected()
	}
	return n, nil
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

func (p *parser) unexpected() error {
	if p.tok.kind == tokEOF {
		return p.lex.fail(p.tok.col, "unexpected end of expression")
	}
	text := p.tok.text
	switch p.tok.kind {
	case tokVar:
		text = "$" + text
	case tokFunc:
		text += "("
	}
	return p.lex.fail(p.tok.col, "unexpected %q", text)
}

func (p *parser) isOp(op string) bool { return p.tok.kind == tokOp && p.tok.text == op }

func (p *parser) expect(op string) error {
	if !p.isOp(op) {
		return p.unexpected()
	}
	return p.advance()
}

// expr parses an expression whose operators bind tighter than min.
func (p *parser) expr(min int) (node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > p.maxDepth {
		return nil, p.lex.fail(p.tok.col, "expression is nested deeper than %d", p.maxDepth)
	}
	left, err := p.prefix()
	if err != nil {
		return nil, err
	}
	// A long chain of operators nests to the left in the tree.
	for chain := 0; p.tok.kind == tokOp; chain++ {
		prec := binaryPrec(p.tok.text)
		if p.calls && p.tok.text == "(" {
			prec = precCall
		}
		if prec == 0 || prec <= min {
			break
		}
		if chain > 50*p.maxDepth {
			return nil, p.lex.fail(p.tok.col, "too many operators in a row")
		}
		if left, err = p.infix(left, prec); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func (p *parser) infix(left node, prec int) (node, error) {
	op, at := p.tok.text, pos(p.tok.col)
	if err := p.advance(); err != nil {
		return nil, err
	}
	if op == "(" {
		args, pairs, err := p.args(")")
		return &delegateNode{pos: at, fn: left, args: args, pairs: pairs}, err
	}
	if op == "[" {
		args, pairs, err := p.args("]")
		if err != nil {
			return nil, err
		}
		if len(pairs) > 0 {
			return nil, p.lex.fail(int(at), "an index takes no \"=>\"")
		}
		return &indexNode{pos: at, recv: left, args: args}, nil
	}
	min := prec
	if op == "->" {
		min--
	}
	right, err := p.expr(min)
	if err != nil {
		return nil, err
	}
	if op == "." || op == "?." {
		return &dotNode{pos: pos(right.column()), recv: left, member: right, safe: op == "?."}, nil
	}
	return &binaryNode{pos: at, op: op, l: left, r: right}, nil
}

func (p *parser) prefix() (node, error) {
	t, at := p.tok, pos(p.tok.col)
	if t.kind == tokEOF {
		return nil, p.unexpected()
	}
	switch t.kind {
	case tokNumber, tokString, tokConst:
		return &constNode{at, t.val}, p.advance()
	case tokKeyword:
		return &wordNode{at, t.text, t.text}, p.advance()
	case tokVar:
		return newVar(at, t.text), p.advance()
	case tokFunc:
		if err := p.advance(); err != nil {
			return nil, err
		}
		args, pairs, err := p.args(")")
		return &callNode{pos: at, name: t.text, args: args, pairs: pairs}, err
	}
	return p.prefixOp(t, at)
}

func (p *parser) prefixOp(t token, at pos) (node, error) {
	min := 0
	switch t.text {
	case "+", "-":
		min = precSign
	case "not":
		min = precNot
	case "(", "[", "{":
	default:
		return nil, p.unexpected()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch t.text {
	case "(":
		n, err := p.expr(0)
		if err != nil {
			return nil, err
		}
		return n, p.expect(")")
	case "[":
		args, pairs, err := p.args("]")
		if err == nil && len(pairs) > 0 {
			err = p.lex.fail(pairs[0].key.column(), "a list takes no \"=>\"")
		}
		return &listNode{at, args}, err
	case "{":
		args, pairs, err := p.args("}")
		if err == nil && len(args) > 0 {
			err = p.lex.fail(int(at), "a dict takes only \"key => value\"")
		}
		return &mapNode{at, pairs}, err
	}
	// The operand of a prefix operator reaches over operators of its own
	// power: "- - 1", "not not x".
	x, err := p.expr(min - 1)
	return &unaryNode{at, t.text, x}, err
}

func newVar(at pos, name string) *varNode {
	v := &varNode{pos: at, name: name}
	if name == "" {
		v.index = 1
	} else if n, err := strconv.Atoi(name); err == nil && n > 0 {
		v.index = n
	}
	return v
}

// args parses positional arguments, then named ones, up to the closing bracket.
// A position may be left out ("f(,1)"), but not the last.
func (p *parser) args(closing string) (args []node, pairs []pair, err error) {
	if p.isOp(closing) {
		return nil, nil, p.advance()
	}
	for {
		if p.isOp(",") && len(pairs) == 0 {
			args = append(args, nil)
			if err := p.advance(); err != nil {
				return nil, nil, err
			}
			continue
		}
		n, err := p.expr(0)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case p.isOp("=>"):
			if err := p.advance(); err != nil {
				return nil, nil, err
			}
			v, err := p.expr(0)
			if err != nil {
				return nil, nil, err
			}
			pairs = append(pairs, pair{n, v})
		case len(pairs) > 0:
			return nil, nil, p.unexpected()
		default:
			args = append(args, n)
		}
		if p.isOp(closing) {
			return args, pairs, p.advance()
		}
		if err := p.expect(","); err != nil {
			return nil, nil, err
		}
	}
}
