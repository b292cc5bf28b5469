package jinja

import (
	"context"
	"math/rand/v2"
	"strings"
)

// runtime is the state of one rendering.
type runtime struct {
	env        *Env
	ctx        context.Context
	out        *strings.Builder
	written    int
	steps      int
	depth      int
	autoescape bool
	rnd        *rand.Rand
}

// step counts work, and stops it when there was too much or the caller gave up.
func (rt *runtime) step() error {
	rt.steps++
	if rt.steps > rt.env.opts.MaxSteps {
		return errorf(LimitError, "more than %d steps", rt.env.opts.MaxSteps)
	}
	if rt.steps&255 == 0 {
		if err := rt.ctx.Err(); err != nil {
			return &Error{Kind: LimitError, Message: "rendering stopped: " + err.Error(), cause: err}
		}
	}
	return nil
}

func (rt *runtime) sized(n int) error {
	if n > rt.env.opts.MaxOutput {
		return errorf(LimitError, "a value of %d bytes is too large", n)
	}
	return nil
}

func (rt *runtime) enter() error {
	rt.depth++
	if rt.depth > rt.env.opts.MaxDepth*10 {
		return errorf(LimitError, "maximum recursion depth exceeded")
	}
	return nil
}

// call guards what recurses without bound: macros, includes, recursive loops.
func (rt *runtime) nested(f func() error) error {
	rt.depth += 9
	defer func() { rt.depth -= 10 }()
	if err := rt.enter(); err != nil {
		return err
	}
	return f()
}

func (rt *runtime) write(s string) error {
	rt.written += len(s)
	if rt.written > rt.env.opts.MaxOutput {
		return errorf(LimitError, "output larger than %d bytes", rt.env.opts.MaxOutput)
	}
	rt.out.WriteString(s)
	return nil
}

// capture runs f and returns what it wrote.
func (rt *runtime) capture(f func() error) (string, error) {
	old := rt.out
	rt.out = &strings.Builder{}
	defer func() { rt.out = old }()
	err := f()
	return rt.out.String(), err
}

// captured is a captured text as a value: safe if it was escaped on the way.
func (rt *runtime) captured(s string) any {
	if rt.autoescape {
		return Markup(s)
	}
	return s
}

// tctx is one instance of a template in a rendering.
type tctx struct {
	tmpl   *Template
	root   *scope
	blocks map[string][]blockImpl
	parent *Template // set once extends has run
}

type blockImpl struct {
	b    *blockStmt
	tmpl *Template
}

type scope struct {
	vars   map[string]any
	parent *scope
	tc     *tctx
	// tmpl is the template whose source is being run: differs from tc.tmpl in inherited parts.
	tmpl *Template
	// barrier: what is written here is somebody's text (a macro, a block), even if the template extends another.
	barrier bool
}

func (sc *scope) barred() *scope {
	c := sc.child()
	c.barrier = true
	return c
}

func (sc *scope) child() *scope { return &scope{parent: sc, tc: sc.tc, tmpl: sc.tmpl} }

func (sc *scope) set(name string, v any) {
	if sc.vars == nil {
		sc.vars = map[string]any{}
	}
	sc.vars[name] = v
}

func (sc *scope) lookup(name string) (any, bool) {
	for s := sc; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (sc *scope) templateName() string {
	if sc.tmpl != nil {
		return sc.tmpl.name
	}
	if sc.tc != nil {
		return sc.tc.tmpl.name
	}
	return ""
}

func (rt *runtime) undefined(name any) *Undefined {
	return &Undefined{name: name, mode: rt.env.opts.Undefined, strict: rt.env.opts.Undefined == Strict}
}

func (rt *runtime) undefinedOf(obj, name any) any {
	if u, ok := obj.(*Undefined); ok && u.mode == Chainable {
		return u
	}
	u := rt.undefined(name)
	u.obj, u.hasObj = obj, true
	if s, ok := name.(string); ok && rt.env.opts.Sandbox {
		u.unsafe = strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__")
	}
	return u
}

func (rt *runtime) undefinedHint(hint string) *Undefined {
	u := rt.undefined("")
	u.hint = hint
	return u
}

func (rt *runtime) resolve(name string, sc *scope) any {
	if v, ok := sc.lookup(name); ok {
		return v
	}
	if name == "self" && sc.tc != nil {
		return &selfRef{rt, sc.tc}
	}
	if v, ok := rt.env.globals[name]; ok {
		return v
	}
	return rt.undefined(name)
}

// renderTemplate runs a template whose outer variables are those of top; output goes to rt.out.
func (rt *runtime) renderTemplate(t *Template, top *scope) (*tctx, error) {
	tc := &tctx{tmpl: t, blocks: map[string][]blockImpl{}}
	tc.root = &scope{parent: top, tc: tc, tmpl: t}
	for n, b := range t.blocks {
		tc.blocks[n] = []blockImpl{{b, t}}
	}
	oldEsc := rt.autoescape
	defer func() { rt.autoescape = oldEsc }()
	cur := t
	for hops := 0; ; hops++ {
		if hops > rt.env.opts.MaxDepth {
			return tc, errorf(LimitError, "templates extend each other without end")
		}
		tc.root.tmpl = cur
		tc.parent = nil
		if _, err := rt.exec(cur.body, tc.root); err != nil {
			return tc, err
		}
		if tc.parent == nil {
			return tc, nil
		}
		cur = tc.parent
	}
}

func (rt *runtime) renderBlock(name string, level int, sc *scope) error {
	impls := sc.tc.blocks[name]
	if level >= len(impls) {
		return nil
	}
	impl := impls[level]
	if impl.b.required && level == 0 {
		return errorf(RuntimeError, "Required block '%s' not found", name)
	}
	bs := sc.barred()
	bs.tmpl = impl.tmpl
	bs.set("super", &superRef{rt: rt, name: name, level: level + 1, sc: sc})
	return rt.nested(func() error {
		_, err := rt.exec(impl.b.body, bs)
		return err
	})
}

// superRef is "super" inside a block.
type superRef struct {
	rt    *runtime
	name  string
	level int
	sc    *scope
}

func (s *superRef) GetAttr(name string) (any, bool) {
	if name == "super" {
		return &superRef{s.rt, s.name, s.level + 1, s.sc}, true
	}
	return nil, false
}
func (s *superRef) String() string { return "<super>" }

// selfRef is "self": its attributes are the blocks.
type selfRef struct {
	rt *runtime
	tc *tctx
}

func (s *selfRef) GetAttr(name string) (any, bool) {
	if _, ok := s.tc.blocks[name]; !ok {
		return nil, false
	}
	return &Func{Name: name, Fn: func(*Call) (any, error) {
		text, err := s.rt.capture(func() error { return s.rt.renderBlock(name, 0, s.tc.root) })
		return s.rt.captured(text), err
	}}, true
}
func (s *selfRef) String() string { return "<TemplateReference " + Repr(s.tc.tmpl.name) + ">" }

// module is an imported template.
type module struct {
	tc   *tctx
	body string
}

func (m *module) GetAttr(name string) (any, bool) {
	if strings.HasPrefix(name, "_") {
		return nil, false
	}
	v, ok := m.tc.root.vars[name]
	return v, ok
}
func (m *module) String() string { return m.body }
