package jinja

import "slices"

// maxNesting bounds how deep expressions and blocks may nest in a source.
const maxNesting = 200

type parser struct {
	toks  []token
	i     int
	depth int
	// refs: names read inside each macro that is being parsed.
	refs   []map[string]bool
	blocks map[string]*blockStmt
	env    *Env
	loops  int
}

func (p *parser) cur() token { return p.toks[p.i] }
func (p *parser) look() token {
	if p.i+1 < len(p.toks) {
		return p.toks[p.i+1]
	}
	return p.toks[len(p.toks)-1]
}
func (p *parser) next() token {
	t := p.toks[p.i]
	if p.i < len(p.toks)-1 {
		p.i++
	}
	return t
}
func (p *parser) isOp(op string) bool     { t := p.cur(); return t.kind == tokOp && t.text == op }
func (p *parser) isName(name string) bool { t := p.cur(); return t.kind == tokName && t.text == name }
func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.next()
		return true
	}
	return false
}
func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.next()
		return true
	}
	return false
}
func (p *parser) fail(line int, format string, args ...any) error {
	e := errorf(SyntaxError, format, args...)
	e.Line = line
	return e
}
func (p *parser) expectOp(op string) error {
	if !p.skipOp(op) {
		return p.unexpected(op)
	}
	return nil
}
func (p *parser) unexpected(want string) error {
	t := p.cur()
	if t.kind == tokEOF {
		return p.fail(t.line, "unexpected end of template, expected '%s'.", want)
	}
	return p.fail(t.line, "expected token '%s', got '%s'", want, t.describe())
}
func (p *parser) ident() (string, error) {
	if p.cur().kind != tokName {
		return "", p.unexpected("name")
	}
	return p.next().text, nil
}

func (p *parser) enter() error {
	p.depth++
	if p.depth > maxNesting {
		return p.fail(p.cur().line, "nested too deeply")
	}
	return nil
}

func (p *parser) expr(withCond bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if withCond {
		return p.condition()
	}
	return p.or()
}

// lone reads a source that is nothing but one expression.
func (p *parser) lone() (expr, error) {
	e, err := p.expr(true)
	if err != nil {
		return nil, err
	}
	if t := p.cur(); t.kind != tokEOF {
		return nil, p.fail(t.line, "chunk after expression")
	}
	return e, nil
}

func (p *parser) condition() (expr, error) {
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	for p.isName("if") {
		line := p.next().line
		cond, err := p.or()
		if err != nil {
			return nil, err
		}
		var els expr
		if p.skipName("else") {
			if els, err = p.expr(true); err != nil {
				return nil, err
			}
		}
		e = &condExpr{at{line}, cond, e, els}
	}
	return e, nil
}

func (p *parser) or() (expr, error) {
	a, err := p.and()
	for err == nil && p.isName("or") {
		line := p.next().line
		var b expr
		if b, err = p.and(); err == nil {
			a = &logicExpr{at{line}, "or", a, b}
		}
	}
	return a, err
}

func (p *parser) and() (expr, error) {
	a, err := p.not()
	for err == nil && p.isName("and") {
		line := p.next().line
		var b expr
		if b, err = p.not(); err == nil {
			a = &logicExpr{at{line}, "and", a, b}
		}
	}
	return a, err
}

func (p *parser) not() (expr, error) {
	n := 0
	line := p.cur().line
	for p.isName("not") {
		p.next()
		n++
	}
	e, err := p.compare()
	if err != nil || n == 0 {
		return e, err
	}
	if n > maxNesting {
		return nil, p.fail(line, "nested too deeply")
	}
	for range n {
		e = &notExpr{at{line}, e}
	}
	return e, nil
}

func (p *parser) compareOp() string {
	t := p.cur()
	if t.kind == tokOp {
		switch t.text {
		case "==", "!=", "<", "<=", ">", ">=":
			p.next()
			return t.text
		}
	}
	if p.skipName("in") {
		return "in"
	}
	if l := p.look(); p.isName("not") && l.kind == tokName && l.text == "in" {
		p.next()
		p.next()
		return "not in"
	}
	return ""
}

func (p *parser) compare() (expr, error) {
	line := p.cur().line
	first, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	var ops []string
	var rest []expr
	for {
		op := p.compareOp()
		if op == "" {
			break
		}
		e, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		ops, rest = append(ops, op), append(rest, e)
	}
	if ops == nil {
		return first, nil
	}
	return &cmpExpr{at{line}, first, ops, rest}, nil
}

// Levels of binary operators, loosest first; Jinja2 puts "~" between sums and products.
func levelOps(level int) []string {
	switch level {
	case 0:
		return []string{"+", "-"}
	case 1:
		return []string{"~"}
	case 2:
		return []string{"*", "/", "//", "%"}
	}
	return []string{"**"}
}

func (p *parser) anyOp(ops []string) string {
	for _, op := range ops {
		if p.isOp(op) {
			return op
		}
	}
	return ""
}

func (p *parser) binary(level int) (expr, error) {
	if level == 4 {
		return p.unary(true)
	}
	a, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		op := p.anyOp(levelOps(level))
		if op == "" {
			return a, nil
		}
		line := p.next().line
		b, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		if op != "~" {
			a = &binExpr{at{line}, op, a, b}
		} else if c, ok := a.(*concatExpr); ok && len(c.parts) > 1 {
			c.parts = append(c.parts, b)
		} else {
			a = &concatExpr{at{line}, []expr{a, b}}
		}
	}
}

func (p *parser) unary(withFilter bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var e expr
	var err error
	line := p.cur().line
	if op := p.anyOp([]string{"-", "+"}); op != "" {
		p.next()
		if e, err = p.unary(false); err == nil {
			e = &unaryExpr{at{line}, op, e}
		}
	} else {
		e, err = p.primary()
	}
	if err == nil {
		e, err = p.postfix(e)
	}
	if err == nil && withFilter {
		e, err = p.filters(e)
	}
	return e, err
}

func (p *parser) primary() (expr, error) {
	t := p.cur()
	switch t.kind {
	case tokName:
		p.next()
		switch t.text {
		case "true", "True":
			return &constExpr{at{t.line}, true}, nil
		case "false", "False":
			return &constExpr{at{t.line}, false}, nil
		case "none", "None":
			return &constExpr{at{t.line}, nil}, nil
		}
		for _, r := range p.refs {
			r[t.text] = true
		}
		return &nameExpr{at{t.line}, t.text}, nil
	case tokString:
		s := ""
		for p.cur().kind == tokString {
			s += p.next().text
		}
		return &constExpr{at{t.line}, s}, nil
	case tokInt, tokFloat:
		p.next()
		return &constExpr{at{t.line}, t.val}, nil
	case tokOp:
		switch t.text {
		case "(":
			p.next()
			e, err := p.tuple(true, nil, true)
			if err != nil {
				return nil, err
			}
			return e, p.expectOp(")")
		case "[":
			return p.list()
		case "{":
			return p.dict()
		}
	}
	if t.kind == tokEOF {
		return nil, p.fail(t.line, "unexpected end of template")
	}
	return nil, p.fail(t.line, "unexpected '%s'", t.describe())
}

// tuple reads one expression, or several with commas. ends are names that end it (besides the end of the tag).
func (p *parser) tuple(withCond bool, ends []string, parens bool) (expr, error) {
	line := p.cur().line
	var items []expr
	comma := false
	for {
		if len(items) > 0 && comma && p.tupleEnds(ends) {
			break
		}
		if len(items) == 0 && p.tupleEnds(ends) {
			break
		}
		e, err := p.expr(withCond)
		if err != nil {
			return nil, err
		}
		items = append(items, e)
		if !p.skipOp(",") {
			break
		}
		comma = true
	}
	if !comma {
		if len(items) == 1 {
			return items[0], nil
		}
		if !parens {
			return nil, p.fail(p.cur().line, "Expected an expression, got '%s'", p.cur().describe())
		}
	}
	return &tupleExpr{at{line}, items}, nil
}

func (p *parser) tupleEnds(ends []string) bool {
	t := p.cur()
	if t.kind == tokVarEnd || t.kind == tokBlockEnd || (t.kind == tokOp && t.text == ")") {
		return true
	}
	for _, e := range ends {
		if t.kind == tokName && t.text == e {
			return true
		}
	}
	return false
}

func (p *parser) list() (expr, error) {
	l := &listExpr{at: at{p.next().line}}
	for !p.isOp("]") {
		if len(l.items) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
		}
		if p.isOp("]") {
			break
		}
		e, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, e)
	}
	return l, p.expectOp("]")
}

func (p *parser) dict() (expr, error) {
	d := &dictExpr{at: at{p.next().line}}
	for !p.isOp("}") {
		if len(d.keys) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
		}
		if p.isOp("}") {
			break
		}
		k, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		if err := p.expectOp(":"); err != nil {
			return nil, err
		}
		v, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		d.keys, d.vals = append(d.keys, k), append(d.vals, v)
	}
	return d, p.expectOp("}")
}

func (p *parser) postfix(e expr) (expr, error) {
	for n := 0; ; n++ {
		if n > maxNesting*5 {
			return nil, p.fail(p.cur().line, "nested too deeply")
		}
		var err error
		switch {
		case p.isOp(".") || p.isOp("["):
			e, err = p.subscript(e)
		case p.isOp("("):
			e, err = p.call(e)
		default:
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) filters(e expr) (expr, error) {
	for n := 0; ; n++ {
		if n > maxNesting*5 {
			return nil, p.fail(p.cur().line, "nested too deeply")
		}
		var err error
		switch {
		case p.isOp("|"):
			p.next()
			e, err = p.filter(e)
		case p.isName("is"):
			e, err = p.test(e)
		case p.isOp("("):
			e, err = p.call(e)
		default:
			return e, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) dotted() (string, error) {
	name, err := p.ident()
	for err == nil && p.skipOp(".") {
		var part string
		part, err = p.ident()
		name += "." + part
	}
	return name, err
}

// filter reads "name(args)" after the bar; e is nil for the text of a block.
func (p *parser) filter(e expr) (*filterExpr, error) {
	line := p.cur().line
	name, err := p.dotted()
	if err != nil {
		return nil, err
	}
	if _, ok := p.env.filters[name]; !ok {
		return nil, p.fail(line, "No filter named '%s'.", name)
	}
	f := &filterExpr{at: at{line}, obj: e, name: name}
	if p.isOp("(") {
		f.args, err = p.callArgs()
	}
	return f, err
}

func (p *parser) test(e expr) (expr, error) {
	line := p.next().line
	t := &testExpr{at: at{line}, obj: e, not: p.skipName("not")}
	var err error
	if t.name, err = p.dotted(); err != nil {
		return nil, err
	}
	if _, ok := p.env.tests[t.name]; !ok {
		return nil, p.fail(line, "No test named '%s'.", t.name)
	}
	c := p.cur()
	switch {
	case p.isOp("("):
		t.args, err = p.callArgs()
	case c.kind == tokString || c.kind == tokInt || c.kind == tokFloat || p.isOp("[") || p.isOp("{") ||
		(c.kind == tokName && c.text != "else" && c.text != "or" && c.text != "and" && c.text != "if"):
		if p.isName("is") {
			return nil, p.fail(c.line, "You cannot chain multiple tests with is")
		}
		if p.isName("in") || p.isName("not") && p.look().text == "in" {
			break
		}
		var a expr
		if a, err = p.primary(); err == nil {
			a, err = p.postfix(a)
		}
		t.args.pos = []expr{a}
	}
	return t, err
}

func (p *parser) subscript(e expr) (expr, error) {
	t := p.next()
	if t.text == "." {
		a := p.next()
		switch a.kind {
		case tokName:
			return &attrExpr{at{t.line}, e, a.text}, nil
		case tokInt:
			return &itemExpr{at{t.line}, e, &constExpr{at{t.line}, a.val}}, nil
		}
		return nil, p.fail(a.line, "expected name or number")
	}
	var items []expr
	var sl *sliceExpr
	for {
		s, it, err := p.subscribed(e)
		if err != nil {
			return nil, err
		}
		if s != nil {
			sl = s
		} else {
			items = append(items, it)
		}
		if !p.skipOp(",") || p.isOp("]") {
			break
		}
	}
	if err := p.expectOp("]"); err != nil {
		return nil, err
	}
	switch {
	case sl != nil && len(items) == 0:
		return sl, nil
	case sl != nil:
		return nil, p.fail(t.line, "a slice cannot be one of several subscripts")
	case len(items) == 1:
		return &itemExpr{at{t.line}, e, items[0]}, nil
	}
	return &itemExpr{at{t.line}, e, &tupleExpr{at{t.line}, items}}, nil
}

func (p *parser) subscribed(obj expr) (*sliceExpr, expr, error) {
	line := p.cur().line
	var parts [3]expr
	n := 0
	colon := false
	for n < 3 {
		if p.skipOp(":") {
			colon = true
			n++
			continue
		}
		if p.isOp("]") || p.isOp(",") {
			break
		}
		e, err := p.expr(true)
		if err != nil {
			return nil, nil, err
		}
		parts[n] = e
		if !p.isOp(":") {
			break
		}
	}
	if !colon {
		if parts[0] == nil {
			return nil, nil, p.fail(line, "expected subscript expression")
		}
		return nil, parts[0], nil
	}
	return &sliceExpr{at{line}, obj, parts[0], parts[1], parts[2]}, nil, nil
}

func (p *parser) call(fn expr) (expr, error) {
	line := p.cur().line
	args, err := p.callArgs()
	return &callExpr{at{line}, fn, args}, err
}

func (p *parser) callArgs() (callArgs, error) {
	var a callArgs
	line := p.next().line // "("
	bad := func() (callArgs, error) { return a, p.fail(line, "invalid syntax for function call expression") }
	for first := true; !p.isOp(")"); first = false {
		if !first {
			if err := p.expectOp(","); err != nil {
				return a, err
			}
			if p.isOp(")") {
				break
			}
		}
		var err error
		switch l := p.look(); {
		case p.isOp("*"):
			if a.star != nil || a.dstar != nil {
				return bad()
			}
			p.next()
			a.star, err = p.expr(true)
		case p.isOp("**"):
			if a.dstar != nil {
				return bad()
			}
			p.next()
			a.dstar, err = p.expr(true)
		case p.cur().kind == tokName && l.kind == tokOp && l.text == "=":
			if a.dstar != nil {
				return bad()
			}
			if slices.Contains(a.kwNames, p.cur().text) {
				return a, p.fail(p.cur().line, "keyword argument repeated: %s", p.cur().text)
			}
			a.kwNames = append(a.kwNames, p.next().text)
			p.next()
			var v expr
			v, err = p.expr(true)
			a.kwVals = append(a.kwVals, v)
		default:
			if a.star != nil || a.dstar != nil || a.kwNames != nil {
				return bad()
			}
			var v expr
			v, err = p.expr(true)
			a.pos = append(a.pos, v)
		}
		if err != nil {
			return a, err
		}
	}
	return a, p.expectOp(")")
}
