package jinja

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
)

// Loader finds the source of a template by name.
type Loader interface {
	// Load returns the source. An unknown name is an error for which errors.Is(err, ErrNotFound) holds.
	Load(ctx context.Context, name string) (string, error)
}

// ErrNotFound is what a Loader returns for an unknown name; Jinja2's "ignore missing" hides only this one.
var ErrNotFound = errors.New("template not found")

// MapLoader serves templates from a map of name to source.
type MapLoader map[string]string

// Load implements Loader.
func (m MapLoader) Load(_ context.Context, name string) (string, error) {
	if s, ok := m[name]; ok {
		return s, nil
	}
	return "", ErrNotFound
}

// LoaderFunc makes a function a Loader.
type LoaderFunc func(ctx context.Context, name string) (string, error)

// Load implements Loader.
func (f LoaderFunc) Load(ctx context.Context, name string) (string, error) { return f(ctx, name) }

// Filter is a filter or a test; see Call for its arguments. A test returns a bool.
type Filter func(c *Call) (any, error)

// Options of an environment. The zero value is Jinja2's default environment with generous limits.
type Options struct {
	Loader              Loader
	Undefined           UndefinedMode
	TrimBlocks          bool // drop the first newline after a block tag
	LstripBlocks        bool // drop blanks before a block tag at the start of a line
	KeepTrailingNewline bool
	// LineStatement and LineComment are the prefixes of lines that are a statement, and of comments up to the end of a
	// line; "" is none.
	LineStatement, LineComment string
	Autoescape                 bool
	// Sandbox is for templates of strangers: range() is bounded as in Jinja2's SandboxedEnvironment, and Python's
	// own attributes (__class__ and the like) are refused loudly. Values have no way out of a template anyway.
	Sandbox        bool
	Filters, Tests map[string]Filter // in addition to the builtin ones, and before them
	Globals        map[string]any
	// Seed of random, shuffle and lipsum: 0 takes a new one for each rendering.
	Seed uint64

	MaxOutput int // bytes written in one rendering, captured text included; 0: 64 MiB
	MaxSteps  int // evaluated nodes and iterations in one rendering; 0: 50 million
	MaxDepth  int // nested macro calls, includes and expressions in one rendering; 0: 150
	MaxSource int // bytes of one template; 0: 8 MiB
}

// Env holds what templates share. It is safe for concurrent use.
type Env struct {
	opts    Options
	filters map[string]filterFunc
	tests   map[string]filterFunc
	globals map[string]any

	mu    sync.Mutex
	cache map[string]*Template
}

type filterFunc func(c *Call) (any, error)

// New makes an environment.
func New(o Options) *Env {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&o.MaxOutput, 64<<20)
	def(&o.MaxSteps, 50_000_000)
	def(&o.MaxDepth, 150)
	def(&o.MaxSource, 8<<20)
	e := &Env{opts: o, filters: builtinFilters(), tests: builtinTests(), globals: builtinGlobals(), cache: map[string]*Template{}}
	for n, f := range o.Filters {
		e.filters[n] = filterFunc(f)
	}
	for n, f := range o.Tests {
		e.tests[n] = filterFunc(f)
	}
	for n, v := range o.Globals {
		e.globals[n] = FromGo(v)
		settle(e.globals[n], 0)
	}
	return e
}

// Template is a parsed template: immutable, safe for concurrent use.
type Template struct {
	env    *Env
	name   string
	body   []stmt
	blocks map[string]*blockStmt
}

// Name is the name the template was parsed under.
func (t *Template) Name() string { return t.name }

// Parse reads a template from a string. The name appears in error messages.
func (e *Env) Parse(name, src string) (*Template, error) {
	if len(src) > e.opts.MaxSource {
		return nil, &Error{Kind: LimitError, Template: name, Message: "template source too large"}
	}
	toks, err := lex(src, &e.opts)
	if err != nil {
		return nil, withTemplate(err, name)
	}
	p := &parser{toks: toks, env: e, blocks: map[string]*blockStmt{}}
	body, err := p.template()
	if err != nil {
		return nil, withTemplate(err, name)
	}
	return &Template{env: e, name: name, body: body, blocks: p.blocks}, nil
}

func withTemplate(err error, name string) error {
	var e *Error
	if errors.As(err, &e) && e.Template == "" {
		e.Template = name
	}
	return err
}

// Get loads and parses a template by name, once: later calls return the same.
func (e *Env) Get(name string) (*Template, error) { return e.get(context.Background(), name) }

func (e *Env) get(ctx context.Context, name string) (*Template, error) {
	e.mu.Lock()
	t, ok := e.cache[name]
	e.mu.Unlock()
	if ok {
		return t, nil
	}
	if e.opts.Loader == nil {
		return nil, errorf(TypeError, "no loader for this environment specified")
	}
	src, err := e.opts.Loader.Load(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil, &Error{Kind: TemplateNotFound, Message: name, cause: err}
	}
	if err != nil {
		return nil, err
	}
	if t, err = e.Parse(name, src); err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.cache[name] = t
	e.mu.Unlock()
	return t, nil
}

// RenderString parses and renders a source in one go.
func (e *Env) RenderString(ctx context.Context, name, src string, vars map[string]any) (string, error) {
	t, err := e.Parse(name, src)
	if err != nil {
		return "", err
	}
	return t.Render(ctx, vars)
}

// Render runs the template with the given variables. Errors are of type *Error and name the template and the line.
func (t *Template) Render(ctx context.Context, vars map[string]any) (string, error) {
	rt := newRuntime(ctx, t.env)
	top := &scope{vars: make(map[string]any, len(vars))}
	for k, v := range vars {
		top.vars[k] = FromGo(v)
	}
	if _, err := rt.renderTemplate(t, top); err != nil {
		return "", locate(err, t.name, 0)
	}
	return rt.out.String(), nil
}

func newRuntime(ctx context.Context, e *Env) *runtime {
	seed := e.opts.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	return &runtime{env: e, ctx: ctx, autoescape: e.opts.Autoescape, rnd: rand.New(rand.NewPCG(seed, seed)), out: &strings.Builder{}}
}

// Filters returns the names of all filters.
func (e *Env) Filters() map[string]bool {
	m := map[string]bool{}
	for n := range maps.Keys(e.filters) {
		m[n] = true
	}
	return m
}
