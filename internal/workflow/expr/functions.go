package expr

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

func (e *Evaluator) register() error {
	type call func(ctx context.Context, a *yaql.Args) (any, error)
	from := func(f func(s Source, a *yaql.Args) (any, error)) call {
		return func(ctx context.Context, a *yaql.Args) (any, error) {
			s, ok := ctx.Value(sourceKey{}).(Source)
			if !ok {
				return nil, errors.New("not available outside of a workflow")
			}
			return f(s, a)
		}
	}
	table := []struct {
		sig  string
		call call
	}{
		{"task(name: str?=null)", from(func(s Source, a *yaql.Args) (any, error) { return s.Task(a.String(0)) })},
		{"tasks(workflow_execution_id: str?=null, recursive: bool=false, state: str?=null, flat: bool=false)",
			from(func(s Source, a *yaql.Args) (any, error) {
				return s.Tasks(a.String(0), a.Bool(1), a.String(2), a.Bool(3))
			})},
		{"execution()", from(func(s Source, _ *yaql.Args) (any, error) { return s.Execution(), nil })},
		{"executions(id: str?=null, root_execution_id: str?=null, state: str?=null, from_time: str?=null, to_time: str?=null)",
			from(func(s Source, a *yaql.Args) (any, error) {
				f := map[string]any{}
				for i, k := range []string{"id", "root_execution_id", "state", "from_time", "to_time"} {
					if a.Value(i) != nil {
						f[k] = a.Value(i)
					}
				}
				return s.Executions(f)
			})},
		{"env()", from(func(s Source, _ *yaql.Args) (any, error) { return s.Env(), nil })},
		{"global(name: str)", from(func(s Source, a *yaql.Args) (any, error) { return s.Global(a.String(0)), nil })},
		{"uuid()", func(context.Context, *yaql.Args) (any, error) { return uuid.NewString(), nil }},
		{"json_pp(data: any=null)", func(_ context.Context, a *yaql.Args) (any, error) {
			b, err := yaql.JSON(a.Value(0))
			if err != nil {
				return nil, err
			}
			var out any
			if err := json.Unmarshal(b, &out); err != nil {
				return nil, err
			}
			b, err = json.MarshalIndent(out, "", "    ")
			return string(b), err
		}},
		{"json_dump(data)", func(_ context.Context, a *yaql.Args) (any, error) {
			b, err := yaql.JSON(a.Value(0))
			return string(b), err
		}},
		{"json_parse(data: str)", func(_ context.Context, a *yaql.Args) (any, error) { return yaql.ParseJSON([]byte(a.String(0))) }},
		{"yaml_parse(data: str)", func(_ context.Context, a *yaql.Args) (any, error) {
			n, _, err := yaml11.Parse("", []byte(a.String(0)), yaml11.Limits{MaxDepth: 200})
			if err != nil || n == nil {
				return nil, err
			}
			return n.Value(), nil
		}},
		{"yaml_dump(data)", func(_ context.Context, a *yaql.Args) (any, error) {
			b, err := yaml11.Marshal(toYAML(a.Value(0)))
			return string(b), err
		}},
	}
	for _, f := range table {
		if err := e.vars.Register(yaql.Function{Sig: f.sig, Call: f.call}); err != nil {
			return err
		}
	}
	return nil
}

// toYAML turns this package's maps into those that yaml11 writes, in order.
func toYAML(v any) any {
	switch v := v.(type) {
	case *yaql.Map:
		out := yaml11.NewMap()
		for k, x := range v.All() {
			out.Set(yaql.Str(k), toYAML(x))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = toYAML(x)
		}
		return out
	case *yaql.Set:
		return toYAML(v.Items())
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = toYAML(x)
		}
		return out
	}
	return v
}
