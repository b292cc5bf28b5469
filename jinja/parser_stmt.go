package jinja

import "strings"

// template reads a whole source.
func (p *parser) template() ([]stmt, error) {
	body, _, err := p.until()
	return body, err
}

// until reads statements up to a block tag with one of the given names, and leaves the parser behind the name.
// Without names it reads to the end of the source.
func (p *parser) until(ends ...string) ([]stmt, string, error) {
	if err := p.enter(); err != nil {
		return nil, "", err
	}
	defer func() { p.depth-- }()
	var body []stmt
	start := p.cur().line
	for {
		t := p.cur()
		switch t.kind {
		case tokEOF:
			if len(ends) == 0 {
				return body, "", nil
			}
			return nil, "", p.fail(max(start, t.line), "Unexpected end of template. Jinja was looking for the following tags: '%s'. The innermost block that needs to be closed begins on line %d.", strings.Join(ends, "' or '"), start)
		case tokData:
			p.next()
			body = append(body, &textStmt{at{t.line}, t.text})
		case tokVarBegin:
			p.next()
			e, err := p.tuple(true, nil, false)
			if err != nil {
				return nil, "", err
			}
			if p.cur().kind != tokVarEnd {
				return nil, "", p.unexpected("end of print statement")
			}
			p.next()
			body = append(body, &outputStmt{at{t.line}, e})
		case tokBlockBegin:
			p.next()
			for _, e := range ends {
				if p.isName(e) {
					p.next()
					return body, e, nil
				}
			}
			s, err := p.statement()
			if err != nil {
				return nil, "", err
			}
			if s != nil {
				body = append(body, s...)
			}
			if err := p.blockEnd(); err != nil {
				return nil, "", err
			}
		default:
			return nil, "", p.fail(t.line, "unexpected '%s'", t.describe())
		}
	}
}

func (p *parser) blockEnd() error {
	if p.cur().kind != tokBlockEnd {
		return p.unexpected("end of statement block")
	}
	p.next()
	return nil
}

// body reads the end of the opening tag, the statements, and the name of the end tag.
func (p *parser) body(ends ...string) ([]stmt, string, error) {
	p.skipOp(":")
	if err := p.blockEnd(); err != nil {
		return nil, "", err
	}
	return p.until(ends...)
}

func one(s stmt, err error) ([]stmt, error) {
	if err != nil {
		return nil, err
	}
	return []stmt{s}, nil
}

func (p *parser) statement() ([]stmt, error) {
	t := p.cur()
	if t.kind != tokName {
		return nil, p.fail(t.line, "tag name expected")
	}
	p.next()
	a := at{t.line}
	switch t.text {
	case "if":
		return one(p.ifStmt(a))
	case "for":
		return one(p.forStmt(a))
	case "set":
		return one(p.setStmt(a))
	case "with":
		return one(p.withStmt(a))
	case "macro":
		return one(p.macroStmt(a))
	case "call":
		return one(p.callStmt(a))
	case "filter":
		return one(p.filterStmt(a))
	case "include":
		return one(p.includeStmt(a))
	case "import":
		return one(p.importStmt(a))
	case "from":
		return one(p.fromStmt(a))
	case "extends":
		e, err := p.expr(true)
		return one(&extendsStmt{a, e}, err)
	case "block":
		return one(p.blockStmt(a))
	case "autoescape":
		e, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		body, _, err := p.body("endautoescape")
		return one(&autoescapeStmt{a, e, body}, err)
	case "print":
		return p.printStmt(a)
	case "do":
		e, err := p.tuple(true, nil, false)
		return one(&doStmt{a, e}, err)
	case "break", "continue":
		if p.loops == 0 {
			return nil, p.fail(t.line, "'%s' outside of a loop", t.text)
		}
		if t.text == "break" {
			return one(&ctlStmt{a, ctlBreak}, nil)
		}
		return one(&ctlStmt{a, ctlContinue}, nil)
	}
	return nil, p.fail(t.line, "Encountered unknown tag '%s'.", t.text)
}

func (p *parser) printStmt(a at) ([]stmt, error) {
	var out []stmt
	for p.cur().kind != tokBlockEnd {
		if len(out) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
		}
		e, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		out = append(out, &outputStmt{a, e})
	}
	return out, nil
}

func (p *parser) ifStmt(a at) (stmt, error) {
	s := &ifStmt{at: a}
	for {
		c, err := p.tuple(false, nil, false)
		if err != nil {
			return nil, err
		}
		body, end, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		s.conds, s.bodies = append(s.conds, c), append(s.bodies, body)
		if end == "elif" {
			continue
		}
		if end == "else" {
			s.els, _, err = p.body("endif")
		}
		return s, err
	}
}

// target reads what may be assigned to: a name, names with commas, or attribute of a namespace.
func (p *parser) target(withNamespace bool, ends ...string) (expr, error) {
	line := p.cur().line
	var items []expr
	comma := false
	for {
		var e expr
		if p.skipOp("(") {
			var err error
			if e, err = p.target(false, ends...); err != nil {
				return nil, err
			}
			if err = p.expectOp(")"); err != nil {
				return nil, err
			}
		} else {
			t := p.cur()
			name, err := p.ident()
			if err != nil {
				return nil, err
			}
			switch name {
			case "true", "True", "false", "False", "none", "None":
				return nil, p.fail(t.line, "can't assign to 'const'")
			}
			e = &nameExpr{at{t.line}, name}
			if withNamespace && p.skipOp(".") {
				attr, err := p.ident()
				if err != nil {
					return nil, err
				}
				e = &attrExpr{at{t.line}, e, attr}
			}
		}
		items = append(items, e)
		if !p.skipOp(",") {
			break
		}
		comma = true
		if p.isOp("=") || p.isOp(")") || p.tupleEnds(ends) {
			break
		}
	}
	if len(items) == 1 && !comma {
		return items[0], nil
	}
	return &tupleExpr{at{line}, items}, nil
}

func (p *parser) forStmt(a at) (stmt, error) {
	s := &forStmt{at: a}
	var err error
	if s.target, err = p.target(false, "in"); err != nil {
		return nil, err
	}
	if !p.skipName("in") {
		return nil, p.unexpected("in")
	}
	if s.iter, err = p.tuple(false, []string{"recursive"}, false); err != nil {
		return nil, err
	}
	if p.skipName("if") {
		if s.cond, err = p.expr(true); err != nil {
			return nil, err
		}
	}
	s.recursive = p.skipName("recursive")
	p.loops++
	refs := map[string]bool{}
	p.refs = append(p.refs, refs)
	body, end, err := p.body("endfor", "else")
	p.refs = p.refs[:len(p.refs)-1]
	s.usesLoop = refs["loop"]
	p.loops--
	if err != nil {
		return nil, err
	}
	s.body = body
	if end == "else" {
		s.els, _, err = p.body("endfor")
	}
	return s, err
}

func (p *parser) setStmt(a at) (stmt, error) {
	target, err := p.target(true)
	if err != nil {
		return nil, err
	}
	if p.skipOp("=") {
		v, err := p.tuple(true, nil, false)
		return &setStmt{a, target, v}, err
	}
	s := &setBlockStmt{at: a, target: target}
	for p.skipOp("|") {
		var obj expr
		if s.filter != nil {
			obj = s.filter
		}
		if s.filter, err = p.filter(obj); err != nil {
			return nil, err
		}
	}
	s.body, _, err = p.body("endset")
	return s, err
}

func (p *parser) withStmt(a at) (stmt, error) {
	s := &withStmt{at: a}
	for p.cur().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			if err := p.expectOp(","); err != nil {
				return nil, err
			}
		}
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		if err := p.expectOp("="); err != nil {
			return nil, err
		}
		v, err := p.expr(true)
		if err != nil {
			return nil, err
		}
		s.targets, s.vals = append(s.targets, &nameExpr{a, name}), append(s.vals, v)
	}
	var err error
	s.body, _, err = p.body("endwith")
	return s, err
}

// signature reads "(a, b=1)".
func (p *parser) signature(m *macroStmt) error {
	if err := p.expectOp("("); err != nil {
		return err
	}
	for !p.isOp(")") {
		if len(m.params) > 0 {
			if err := p.expectOp(","); err != nil {
				return err
			}
		}
		line := p.cur().line
		name, err := p.ident()
		if err != nil {
			return err
		}
		m.params = append(m.params, name)
		if p.skipOp("=") {
			d, err := p.expr(true)
			if err != nil {
				return err
			}
			m.defaults = append(m.defaults, d)
		} else if len(m.defaults) > 0 {
			return p.fail(line, "non-default argument follows default argument")
		}
	}
	return p.expectOp(")")
}

func (p *parser) macroBody(m *macroStmt, end string) error {
	refs := map[string]bool{}
	p.refs = append(p.refs, refs)
	loops := p.loops
	p.loops = 0
	var err error
	m.body, _, err = p.body(end)
	p.loops = loops
	p.refs = p.refs[:len(p.refs)-1]
	for _, d := range m.params {
		delete(refs, d)
	}
	m.usesCaller, m.usesVarargs, m.usesKwargs = refs["caller"], refs["varargs"], refs["kwargs"]
	for _, d := range m.params {
		m.usesCaller = m.usesCaller || d == "caller"
	}
	return err
}

func (p *parser) macroStmt(a at) (stmt, error) {
	m := &macroStmt{at: a}
	var err error
	if m.name, err = p.ident(); err != nil {
		return nil, err
	}
	if err = p.signature(m); err != nil {
		return nil, err
	}
	return m, p.macroBody(m, "endmacro")
}

func (p *parser) callStmt(a at) (stmt, error) {
	m := &macroStmt{at: a}
	if p.isOp("(") {
		if err := p.signature(m); err != nil {
			return nil, err
		}
	}
	e, err := p.expr(true)
	if err != nil {
		return nil, err
	}
	if _, ok := e.(*callExpr); !ok {
		return nil, p.fail(a.line, "expected call")
	}
	return &callStmt{a, m, e}, p.macroBody(m, "endcall")
}

func (p *parser) filterStmt(a at) (stmt, error) {
	f, err := p.filter(nil)
	for err == nil && p.skipOp("|") {
		f, err = p.filter(f)
	}
	if err != nil {
		return nil, err
	}
	body, _, err := p.body("endfilter")
	return &filterStmt{a, f, body}, err
}

func (p *parser) contextFlag(def bool) bool {
	for _, w := range []string{"with", "without"} {
		if l := p.look(); p.isName(w) && l.kind == tokName && l.text == "context" {
			p.next()
			p.next()
			return w == "with"
		}
	}
	return def
}

func (p *parser) includeStmt(a at) (stmt, error) {
	s := &includeStmt{at: a}
	var err error
	if s.name, err = p.expr(true); err != nil {
		return nil, err
	}
	if l := p.look(); p.isName("ignore") && l.kind == tokName && l.text == "missing" {
		p.next()
		p.next()
		s.ignoreMissing = true
	}
	s.withContext = p.contextFlag(true)
	return s, nil
}

func (p *parser) importStmt(a at) (stmt, error) {
	s := &importStmt{at: a}
	var err error
	if s.name, err = p.expr(true); err != nil {
		return nil, err
	}
	if !p.skipName("as") {
		return nil, p.unexpected("as")
	}
	if s.target, err = p.ident(); err != nil {
		return nil, err
	}
	s.withContext = p.contextFlag(false)
	return s, nil
}

func (p *parser) fromStmt(a at) (stmt, error) {
	s := &fromStmt{at: a}
	var err error
	if s.name, err = p.expr(true); err != nil {
		return nil, err
	}
	if !p.skipName("import") {
		return nil, p.unexpected("import")
	}
	for {
		if l := p.look(); (p.isName("with") || p.isName("without")) && l.text == "context" {
			break
		}
		line := p.cur().line
		name, err := p.ident()
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, "_") {
			return nil, p.fail(line, "names starting with an underline can not be imported")
		}
		alias := name
		if p.skipName("as") {
			if alias, err = p.ident(); err != nil {
				return nil, err
			}
		}
		s.names, s.aliases = append(s.names, name), append(s.aliases, alias)
		if !p.skipOp(",") || p.cur().kind == tokBlockEnd {
			break
		}
	}
	s.withContext = p.contextFlag(false)
	return s, nil
}

func (p *parser) blockStmt(a at) (stmt, error) {
	b := &blockStmt{at: a}
	var err error
	if b.name, err = p.ident(); err != nil {
		return nil, err
	}
	if _, ok := p.blocks[b.name]; ok {
		return nil, p.fail(a.line, "block '%s' defined twice", b.name)
	}
	b.scoped = p.skipName("scoped")
	b.required = p.skipName("required")
	p.blocks[b.name] = b
	if b.body, _, err = p.body("endblock"); err != nil {
		return nil, err
	}
	p.skipName(b.name)
	for _, s := range b.body {
		if text, ok := s.(*textStmt); b.required && (!ok || strings.TrimSpace(text.text) != "") {
			return nil, p.fail(a.line, "Required blocks can only contain comments or whitespace")
		}
	}
	return b, nil
}
