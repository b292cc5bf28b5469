package hot

import (
	"context"
	"sync"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

// Yaql evaluates the yaql function of templates; expressions are parsed once. It is the only place that
// knows package yaql. Safe for concurrent use.
type Yaql struct {
	engine *yaql.Engine
	mu     sync.Mutex
	parsed map[string]*yaql.Expr
}

// NewYaql returns an evaluator with limits ten times those of the classic undercloud (1,000 items), so
// that larger clouds fit and a runaway expression still ends.
func NewYaql() *Yaql {
	return &Yaql{engine: yaql.New(yaql.Options{LimitIterators: 20_000, MemoryQuota: 64 << 20, MaxSteps: 20_000_000}), parsed: map[string]*yaql.Expr{}}
}

// YaqlBudget is what the expressions of one template may take together.
type YaqlBudget = yaql.Budget

// Eval evaluates expression with $ = {data: data} within a budget (nil: what one expression may take).
func (y *Yaql) Eval(ctx context.Context, expression string, data any, budget *YaqlBudget) (any, error) {
	y.mu.Lock()
	x := y.parsed[expression]
	y.mu.Unlock()
	if x == nil {
		var err error
		if x, err = y.engine.Parse(expression); err != nil {
			return nil, err
		}
		y.mu.Lock()
		if len(y.parsed) > 10_000 {
			clear(y.parsed)
		}
		y.parsed[expression] = x
		y.mu.Unlock()
	}
	v, err := x.EvalWithin(ctx, yaml11.MapOf("data", data), nil, budget)
	if err != nil {
		return nil, err
	}
	return fromYaql(v), nil
}

func fromYaql(v any) any {
	switch x := v.(type) {
	case nil, bool, int64, float64, string:
		return x
	case *yaql.Map:
		m := yaml11.NewMap()
		for k, e := range x.All() {
			m.Set(keyString(k), fromYaql(e))
		}
		return m
	case *Map:
		m := yaml11.NewMap()
		for k, e := range x.All() {
			m.Set(k, fromYaql(e))
		}
		return m
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = fromYaql(e)
		}
		return out
	}
	return fromYaqlOther(v)
}

func fromYaqlOther(v any) any {
	if p := yaql.Plain(v); p != nil {
		return yaml11.Normalize(p)
	}
	return nil
}

// keyString writes a key as JSON would: text as it is, true, null, 1.
func keyString(k any) string {
	if s, ok := k.(string); ok {
		return s
	}
	return PyJSON(k, false)
}
