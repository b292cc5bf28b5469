package yaql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"
)

// Options bound and tune an Engine. The zero value gives the defaults.
type Options struct {
	LimitIterators int  // items one sequence may yield (default 100,000)
	MemoryQuota    int  // approximate bytes one evaluation may build (default 256 MiB)
	MaxLength      int  // bytes of an expression (default 64 KiB)
	MaxDepth       int  // nesting of an expression and of calls (default 200)
	MaxSteps       int  // evaluated nodes of one evaluation (default 50,000,000)
	KeepSets       bool // results keep *Set; otherwise sets become lists
	IterableDicts  bool // a dict is a sequence of its keys where one is wanted (yaql.iterableDicts)
	AllowDelegates bool // lambda(...) makes a value that "value(args)" calls (allow_delegates)
	// KeywordOperator stands between key and value in calls and dicts: "" is "=>", NoKeywords has none.
	KeywordOperator string
	Now             func() time.Time // clock for now() (default time.Now)
	Local           *time.Location   // for localtz() and now's default (default UTC)

	compileAtOnce bool // lambdas are compiled before their first call: of tests
}

// NoKeywords is a KeywordOperator that no expression can contain.
const NoKeywords = "\x00"

// Engine parses expressions. It is immutable and safe for concurrent use.
type Engine struct {
	opts Options
	lib  *Context
}

// New returns an engine with the standard library.
func New(opts Options) *Engine {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&opts.LimitIterators, 100_000)
	def(&opts.MemoryQuota, 256<<20)
	def(&opts.MaxLength, 64<<10)
	def(&opts.MaxDepth, 200)
	def(&opts.MaxSteps, 50_000_000)
	if opts.KeywordOperator == "" {
		opts.KeywordOperator = "=>"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Local == nil {
		opts.Local = time.UTC
	}
	return &Engine{opts: opts, lib: newLibrary(opts.AllowDelegates)}
}

// NewContext returns a context for variables and functions on top of the
// standard library. A context may be used by many evaluations at once as long
// as nobody changes it meanwhile.
func (e *Engine) NewContext() *Context { return &Context{parent: e.lib} }

// Expr is a parsed expression, immutable and safe for concurrent use.
type Expr struct {
	eng  *Engine
	src  string
	root node
}

// Parse parses one expression (without the <% %> of a host language).
func (e *Engine) Parse(src string) (*Expr, error) {
	if len(src) > e.opts.MaxLength {
		return nil, errorf(ErrLimit, "expression of %d bytes is longer than the limit of %d", len(src), e.opts.MaxLength)
	}
	if !utf8.ValidString(src) {
		return nil, errorf(ErrSyntax, "expression is not valid UTF-8")
	}
	root, err := parse(src, &e.opts)
	if err != nil {
		return nil, err
	}
	return &Expr{eng: e, src: src, root: root}, nil
}

// String returns the source.
func (x *Expr) String() string { return x.src }

// Eval evaluates the expression. data is $; vars, which may be nil, supplies
// further variables and functions. The result is made of the package's value
// types, without lazy sequences.
func (x *Expr) Eval(ctx context.Context, data any, vars *Context) (result any, err error) {
	return x.EvalWithin(ctx, data, vars, nil)
}

// Budget is what several evaluations may take together.
type Budget struct{ Steps int }

// EvalWithin is Eval with a budget besides the limits of the engine (nil: none), from which it takes the steps
// that it needs.
func (x *Expr) EvalWithin(ctx context.Context, data any, vars *Context, budget *Budget) (result any, err error) {
	ev := &evaluator{ctx: ctx, opts: &x.eng.opts, src: x.src, maxSteps: x.eng.opts.MaxSteps}
	if budget != nil {
		ev.maxSteps = min(ev.maxSteps, budget.Steps)
		defer func() { budget.Steps = max(0, budget.Steps-ev.steps) }()
	}
	if vars == nil {
		vars = x.eng.lib
	}
	defer func() {
		var e *Error
		if errors.As(err, &e) && e.Source == "" {
			e.Source = x.src
		}
	}()
	v, err := ev.eval(x.root, &Context{parent: vars, args: []any{norm(data)}})
	if err != nil {
		return nil, err
	}
	return ev.finish(v, 0)
}

// Eval parses and evaluates src.
func (e *Engine) Eval(ctx context.Context, src string, data any, vars *Context) (any, error) {
	x, err := e.Parse(src)
	if err != nil {
		return nil, err
	}
	return x.Eval(ctx, data, vars)
}

// evaluator is one evaluation.
type evaluator struct {
	ctx   context.Context
	opts  *Options
	src   string
	steps int
	depth int
	// maxSteps is the limit of the engine or what a Budget has left.
	maxSteps int
	used     int // bytes, approximately
	rng      *rand.Rand
	sizes    map[partKey]int // of parts that were measured
	nodes    int             // of the result
}

func (ev *evaluator) step() error {
	if ev.steps++; ev.steps&1023 == 0 {
		return ev.checkSteps()
	}
	return nil
}

func (ev *evaluator) checkSteps() error {
	if err := ev.ctx.Err(); err != nil {
		return &Error{Kind: ErrCanceled, Message: "evaluation was stopped: " + err.Error(), Err: err}
	}
	if ev.steps > ev.maxSteps {
		return errorf(ErrLimit, "evaluation took more than %d steps", ev.maxSteps)
	}
	return nil
}

// charge counts bytes that an operation is about to build.
func (ev *evaluator) charge(n int) error {
	if n < 0 || n > ev.opts.MemoryQuota-ev.used {
		return errorf(ErrLimit, "evaluation builds more than %d bytes", ev.opts.MemoryQuota)
	}
	ev.used += n
	return nil
}

const cell = 16 // bytes of an any

// finish replaces lazy sequences by lists and Go types by the package's, as far
// as needed: data that is passed through is not copied.
func (ev *evaluator) finish(v any, depth int) (any, error) {
	if depth > ev.opts.MaxDepth*5 {
		return nil, errorf(ErrLimit, "result is nested deeper than %d", ev.opts.MaxDepth*5)
	}
	if ev.nodes++; ev.nodes > maxNodes {
		return nil, errorf(ErrLimit, "the result has more than %d elements", maxNodes)
	}
	if err := ev.step(); err != nil {
		return nil, err
	}
	switch v := norm(v).(type) {
	case *seq:
		items, err := ev.drain(v)
		if err != nil {
			return nil, err
		}
		return ev.finish(items, depth+1)
	case *Set:
		if ev.opts.KeepSets {
			return v, nil
		}
		return ev.finish(v.items, depth+1)
	case []any:
		return ev.finishList(v, depth)
	case *Map:
		return ev.finishMap(v, depth)
	case *Context, *lambda:
		return nil, errorf(ErrValue, "the result is a %s, not a value", typeName(v))
	default:
		return v, nil
	}
}

func (ev *evaluator) finishList(v []any, depth int) (any, error) {
	var out []any
	for i, it := range v {
		if scalar(it) {
			continue
		}
		got, err := ev.finish(it, depth+1)
		if err != nil {
			return nil, err
		}
		if !same(it, got) {
			if out == nil {
				out = append([]any(nil), v...)
			}
			out[i] = got
		}
	}
	if out == nil {
		return v, nil
	}
	return out, nil
}

func (ev *evaluator) finishMap(v *Map, depth int) (any, error) {
	var out *Map
	for i, it := range v.vals {
		if scalar(it) {
			continue
		}
		got, err := ev.finish(it, depth+1)
		if err != nil {
			return nil, err
		}
		if !same(it, got) {
			if out == nil {
				out = v.Clone()
			}
			out.vals[i] = got
		}
	}
	if out == nil {
		return v, nil
	}
	return out, nil
}

func scalar(v any) bool {
	switch v.(type) {
	case nil, bool, int64, float64, string:
		return true
	}
	return false
}

// same reports whether finish left v alone.
func same(a, b any) bool {
	switch x := a.(type) {
	case []any:
		y, ok := b.([]any)
		return ok && len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
	case *Map:
		return a == b
	case map[string]any:
		return true
	case int:
		return false
	}
	return fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b)
}
