// Package expr evaluates the expressions in values of a workflow definition:
// strings with "<% YAQL %>", or with Jinja's "{{ }}" and "{% %}", anywhere in
// them, inside lists and maps. It knows Mistral's functions in both languages;
// what they tell comes from a [Source] in the context of the evaluation.
//
// The measure is Mistral 15: a string that is one expression and nothing else
// keeps the type of its value, within text it becomes Python's str() of it; a
// string with a Jinja tag belongs to Jinja altogether. testdata holds what the
// real one answers.
package expr

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
	"github.com/tripleo/tripleo/yaql"
)

// Source answers Mistral's functions about the running workflow.
type Source interface {
	Task(name string) (any, error) // "" is the current task
	Tasks(execution string, recursive bool, state string, flat bool) (any, error)
	Execution() any
	Executions(filter map[string]any) (any, error)
	Env() any
	Global(name string) any
}

type sourceKey struct{}

// WithSource gives the functions of an evaluation their source.
func WithSource(ctx context.Context, s Source) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

// Bounds of one string: its own size, the evaluated value's, the work, the time.
const (
	maxSource = 256 << 10
	maxMemory = 256 << 20
	maxText   = 16 << 20
	maxSteps  = 20_000_000
	maxItems  = 100_000
	timeLimit = 20 * time.Second
)

// Evaluator evaluates expressions. It is safe for concurrent use.
type Evaluator struct {
	eng, textEng *yaql.Engine // textEng keeps sets, which str() shows as such
	vars         *yaql.Context
	jinja        *jinja.Env

	mu    sync.Mutex
	cache map[string]*program
}

const maxCached = 20_000

// New returns an evaluator. now is the clock of now(), nil is the real one.
func New(now func() time.Time) (*Evaluator, error) {
	opts := yaql.Options{Now: now, LimitIterators: maxItems, MemoryQuota: maxMemory, MaxSteps: maxSteps, MaxLength: maxSource}
	e := &Evaluator{eng: yaql.New(opts), cache: map[string]*program{}, jinja: newJinja()}
	opts.KeepSets = true
	e.textEng = yaql.New(opts)
	e.vars = e.eng.NewContext()
	for _, f := range functions() {
		if err := e.vars.Register(f.yaql()); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// program is a parsed string. Exactly one of the fields is set, or none: plain text.
type program struct {
	yaql  *yaql.Expr // the whole string
	parts []part     // text and YAQL by turns
	value *jinja.Expression
	text  *jinja.Template
}

type part struct {
	text string
	expr *yaql.Expr
}

var (
	yaqlTag  = regexp.MustCompile(`(?s)<%.*?%>`)
	jinjaVar = regexp.MustCompile(`(?s)\{\{(.*?)\}\}`)
	jinjaTag = regexp.MustCompile(`(?s)\{\{.*?\}\}|\{%.*?%\}`)
)

// Has says whether a string holds an expression.
func Has(s string) bool {
	return strings.Contains(s, "<%") && strings.Contains(s, "%>") ||
		strings.Contains(s, "{{") && strings.Contains(s, "}}") || strings.Contains(s, "{%") && strings.Contains(s, "%}")
}

// Check parses the expressions of a string. A string that mixes the languages
// is refused.
func (e *Evaluator) Check(s string) error {
	if !Has(s) {
		return nil
	}
	if yaqlTag.MatchString(s) && jinjaTag.MatchString(s) {
		return errors.New("a string cannot mix YAQL (<% %>) and Jinja ({{ }}, {% %})")
	}
	_, err := e.parse(s)
	return err
}

func (e *Evaluator) parse(s string) (*program, error) {
	e.mu.Lock()
	p := e.cache[s]
	e.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := e.compile(s)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.cache) >= maxCached {
		clear(e.cache)
	}
	e.cache[s] = p
	return p, nil
}

func (e *Evaluator) compile(s string) (*program, error) {
	if len(s) > maxSource {
		return nil, fmt.Errorf("a string of %d bytes with expressions is longer than the limit of %d", len(s), maxSource)
	}
	if jinjaTag.MatchString(s) {
		return e.compileJinja(s)
	}
	p := &program{}
	rest := 0
	for _, at := range yaqlTag.FindAllStringIndex(s, -1) {
		src := strings.TrimSpace(s[at[0]+2 : at[1]-2])
		if at[0] == 0 && at[1] == len(s) {
			x, err := e.eng.Parse(src)
			return &program{yaql: x}, err
		}
		x, err := e.textEng.Parse(src)
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, part{text: s[rest:at[0]], expr: x})
		rest = at[1]
	}
	if p.parts != nil {
		p.parts = append(p.parts, part{text: s[rest:]})
	}
	return p, nil
}

// String evaluates one string: alone, an expression keeps the type of its
// value; within text it becomes Python's str() of it.
func (e *Evaluator) String(ctx context.Context, s string, data any) (any, error) {
	if !Has(s) {
		return s, nil
	}
	p, err := e.parse(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	switch {
	case p.value != nil || p.text != nil:
		return e.evalJinja(ctx, p, data)
	case p.yaql != nil:
		return p.yaql.Eval(ctx, data, e.scope(data))
	case p.parts == nil:
		return s, nil
	}
	var b strings.Builder
	for _, part := range p.parts {
		b.WriteString(part.text)
		if part.expr == nil {
			continue
		}
		v, err := part.expr.Eval(ctx, data, e.scope(data))
		if err != nil {
			return nil, err
		}
		b.WriteString(yaql.Str(v))
		if b.Len() > maxText {
			return nil, fmt.Errorf("the text is longer than the limit of %d bytes", maxText)
		}
	}
	return b.String(), nil
}

// contextNames are variables of their own beside $ and _.
var contextNames = [...]string{"__env", "__execution", "__task_execution"}

// scope gives YAQL the variables that Mistral defines.
func (e *Evaluator) scope(data any) *yaql.Context {
	c := e.vars
	for _, name := range contextNames {
		if v, ok := lookup(data, name); ok {
			if c == e.vars {
				c = e.vars.Child()
			}
			c.Set(name, v)
		}
	}
	return c
}

func lookup(data any, key string) (any, bool) {
	switch d := data.(type) {
	case *yaql.Map:
		return d.Get(key)
	case yaql.Ordered:
		return d.YAQLLookup(key)
	case map[string]any:
		v, ok := d[key]
		return v, ok
	}
	return nil, false
}

// Value evaluates every string in a value. Maps become *yaql.Map.
func (e *Evaluator) Value(ctx context.Context, v, data any) (any, error) {
	switch v := v.(type) {
	case string:
		return e.String(ctx, v, data)
	case []any:
		out := make([]any, len(v))
		for i, it := range v {
			x, err := e.Value(ctx, it, data)
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	case *yaml11.OrderedMap:
		out := yaql.NewMap(v.Len())
		for k, it := range v.All() {
			x, err := e.Value(ctx, it, data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			out.Set(k, x)
		}
		return out, nil
	case *yaql.Map:
		out := yaql.NewMap(v.Len())
		for k, it := range v.All() {
			x, err := e.Value(ctx, it, data)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", k, err)
			}
			out.Set(k, x)
		}
		return out, nil
	}
	return v, nil
}
