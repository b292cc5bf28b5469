// Package expr evaluates the expressions in values of a workflow definition:
// strings with "<% YAQL %>" anywhere in them, inside lists and maps. It knows
// Mistral's functions; what they tell comes from a [Source] in the context of
// the evaluation.
package expr

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
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

// Evaluator evaluates expressions. It is safe for concurrent use.
type Evaluator struct {
	eng  *yaql.Engine
	vars *yaql.Context

	mu    sync.Mutex
	cache map[string]*yaql.Expr
}

const maxCached = 20_000

// New returns an evaluator. now is the clock of now(), nil is the real one.
func New(now func() time.Time) (*Evaluator, error) {
	eng := yaql.New(yaql.Options{Now: now, LimitIterators: 100_000, MemoryQuota: 256 << 20, MaxSteps: 20_000_000, MaxLength: 256 << 10})
	e := &Evaluator{eng: eng, vars: eng.NewContext(), cache: map[string]*yaql.Expr{}}
	return e, e.register()
}

// segment is a piece of a string: literal text or one expression.
type segment struct {
	text string
	expr bool
}

// segments splits s at "<% ... %>" (shortest match).
func segments(s string) []segment {
	var out []segment
	for s != "" {
		i := strings.Index(s, "<%")
		if i < 0 {
			break
		}
		j := strings.Index(s[i:], "%>")
		if j < 0 {
			break
		}
		if i > 0 {
			out = append(out, segment{text: s[:i]})
		}
		out = append(out, segment{text: strings.TrimSpace(s[i+2 : i+j]), expr: true})
		s = s[i+j+2:]
	}
	if s != "" {
		out = append(out, segment{text: s})
	}
	return out
}

// Has says whether a string holds an expression.
func Has(s string) bool { return strings.Contains(s, "<%") && strings.Contains(s, "%>") }

// Check parses the expressions of a string.
func (e *Evaluator) Check(s string) error {
	if strings.Contains(s, "{{") && strings.Contains(s, "}}") && !Has(s) {
		return fmt.Errorf("Jinja expressions are not supported, write <%% %%> instead of %q", s)
	}
	for _, seg := range segments(s) {
		if seg.expr {
			if _, err := e.parse(seg.text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Evaluator) parse(src string) (*yaql.Expr, error) {
	e.mu.Lock()
	x := e.cache[src]
	e.mu.Unlock()
	if x != nil {
		return x, nil
	}
	x, err := e.eng.Parse(src)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.cache) >= maxCached {
		clear(e.cache)
	}
	e.cache[src] = x
	return x, nil
}

// String evaluates one string: alone, an expression keeps the type of its
// value; within text it becomes Python's str() of it.
func (e *Evaluator) String(ctx context.Context, s string, data any) (any, error) {
	if !Has(s) {
		return s, nil
	}
	segs := segments(s)
	if len(segs) == 3 && strings.TrimSpace(segs[0].text) == "" && strings.TrimSpace(segs[2].text) == "" && segs[1].expr {
		segs = segs[1:2]
	} else if len(segs) == 2 {
		if segs[0].expr && strings.TrimSpace(segs[1].text) == "" {
			segs = segs[:1]
		} else if segs[1].expr && strings.TrimSpace(segs[0].text) == "" {
			segs = segs[1:]
		}
	}
	if len(segs) == 1 && segs[0].expr {
		return e.one(ctx, segs[0].text, data)
	}
	var b strings.Builder
	for _, seg := range segs {
		if !seg.expr {
			b.WriteString(seg.text)
			continue
		}
		v, err := e.one(ctx, seg.text, data)
		if err != nil {
			return nil, err
		}
		b.WriteString(yaql.Str(v))
	}
	return b.String(), nil
}

// timeLimit bounds one expression.
const timeLimit = 20 * time.Second

func (e *Evaluator) one(ctx context.Context, src string, data any) (any, error) {
	x, err := e.parse(src)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	return x.Eval(ctx, data, e.vars)
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
