package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/jinja"
	"github.com/tripleo/tripleo/yaql"
)

// function is one of Mistral's, for both languages. Its parameters have the
// names of the original; YAQL sees them in its own spelling (taskName).
type function struct {
	name   string
	params []param
	call   func(in *invocation) (any, error)
}

// param is a parameter; typ is a type of YAQL's signatures, def the default
// ("" if the argument must be given).
type param struct{ name, typ, def string }

// invocation is one call: args by parameter, nil where left out.
type invocation struct {
	ctx  context.Context
	data any // $ or _
	args []any
}

func (in *invocation) str(i int) string { s, _ := in.args[i].(string); return s }
func (in *invocation) bool(i int) bool  { b, _ := in.args[i].(bool); return b }

func (in *invocation) source() (Source, error) {
	s, ok := in.ctx.Value(sourceKey{}).(Source)
	if !ok {
		return nil, errors.New("not available outside of a workflow")
	}
	return s, nil
}

// functions are the entry points "mistral.expression.functions" of Mistral 15.
func functions() []function {
	ask := func(f func(s Source, in *invocation) (any, error)) func(in *invocation) (any, error) {
		return func(in *invocation) (any, error) {
			s, err := in.source()
			if err != nil {
				return nil, err
			}
			return f(s, in)
		}
	}
	return []function{
		{"task", []param{{"task_name", "str?", "null"}}, ask(func(s Source, in *invocation) (any, error) { return s.Task(in.str(0)) })},
		{"tasks", []param{{"workflow_execution_id", "str?", "null"}, {"recursive", "bool", "false"}, {"state", "str?", "null"}, {"flat", "bool", "false"}},
			ask(func(s Source, in *invocation) (any, error) {
				return s.Tasks(in.str(0), in.bool(1), in.str(2), in.bool(3))
			})},
		{"execution", nil, ask(func(s Source, _ *invocation) (any, error) { return s.Execution(), nil })},
		{"executions", []param{{"id", "str?", "null"}, {"root_execution_id", "str?", "null"}, {"state", "str?", "null"}, {"from_time", "str?", "null"}, {"to_time", "str?", "null"}},
			ask(func(s Source, in *invocation) (any, error) {
				filter := map[string]any{}
				for i, k := range []string{"id", "root_execution_id", "state", "from_time", "to_time"} {
					if in.args[i] != nil {
						filter[k] = in.args[i]
					}
				}
				return s.Executions(filter)
			})},
		{"env", nil, ask(func(s Source, _ *invocation) (any, error) { return s.Env(), nil })},
		{"global", []param{{"var_name", "str", ""}}, ask(func(s Source, in *invocation) (any, error) { return s.Global(in.str(0)), nil })},
		{"uuid", nil, func(*invocation) (any, error) { return uuid.NewString(), nil }},
		{"json_pp", []param{{"data", "any", "null"}}, func(in *invocation) (any, error) {
			v := in.args[0]
			if !yaql.Truth(v) {
				v = in.data
			}
			s, err := dumpJSON(v)
			return strings.ReplaceAll(strings.ReplaceAll(s, `\n`, "\n"), " \n", "\n"), err
		}},
		{"json_dump", []param{{"data", "any", ""}}, func(in *invocation) (any, error) { return dumpJSON(in.args[0]) }},
		{"json_parse", []param{{"data", "str", ""}}, func(in *invocation) (any, error) { return yaql.ParseJSON([]byte(in.str(0))) }},
		{"yaml_parse", []param{{"data", "str", ""}}, func(in *invocation) (any, error) {
			n, _, err := yaml11.Parse("", []byte(in.str(0)), yaml11.Limits{MaxDepth: 200})
			if err != nil || n == nil {
				return nil, err
			}
			return n.Value(), nil
		}},
		{"yaml_dump", []param{{"data", "any", ""}}, func(in *invocation) (any, error) {
			b, err := yaml11.Marshal(toYAML(in.args[0]))
			return string(b), err
		}},
	}
}

func (f function) yaql() yaql.Function {
	sig := make([]string, len(f.params))
	for i, p := range f.params {
		sig[i] = camel(p.name) + ": " + p.typ
		if p.def != "" {
			sig[i] += "=" + p.def
		}
	}
	return yaql.Function{Sig: f.name + "(" + strings.Join(sig, ", ") + ")", Call: func(ctx context.Context, a *yaql.Args) (any, error) {
		in := &invocation{ctx: ctx, data: a.Var(""), args: make([]any, len(f.params))}
		for i := range in.args {
			in.args[i] = a.Value(i)
		}
		return f.call(in)
	}}
}

// camel is YAQL's spelling of a Python name.
func camel(s string) string {
	head, tail, ok := strings.Cut(s, "_")
	if !ok {
		return s
	}
	return head + strings.ToUpper(tail[:1]) + camel(tail[1:])
}

func (f function) jinja(c *jinja.Call) (any, error) {
	return f.fromJinja(c, c.Var("_"), c.Args)
}

// jinjaFilter is the function as a filter: the filtered value takes the place
// of the context, "x | json_pp".
func (f function) jinjaFilter(c *jinja.Call) (any, error) {
	return f.fromJinja(c, c.Args[0], c.Args[1:])
}

func (f function) fromJinja(c *jinja.Call, data any, args []any) (any, error) {
	in := &invocation{ctx: c.Context(), args: make([]any, len(f.params))}
	if len(args) > len(f.params) {
		return nil, fmt.Errorf("%s() takes %d arguments but %d were given", f.name, len(f.params), len(args))
	}
	given := make([]bool, len(f.params))
	var err error
	for i, a := range args {
		given[i] = true
		if in.args[i], err = fromJinja(a); err != nil {
			return nil, err
		}
	}
	if c.Kwargs != nil {
		if err := f.keywords(c.Kwargs, in, given); err != nil {
			return nil, err
		}
	}
	for i, p := range f.params {
		if p.def == "" && !given[i] {
			return nil, fmt.Errorf("%s() needs the argument %q", f.name, p.name)
		}
		if err := p.check(in.args[i]); err != nil && given[i] {
			return nil, fmt.Errorf("%s(): %w", f.name, err)
		}
	}
	if in.data, err = fromJinja(data); err != nil {
		return nil, err
	}
	v, err := f.call(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return toJinja(v), nil
}

func (f function) keywords(kw *jinja.Dict, in *invocation, given []bool) error {
	for k, v := range kw.All() {
		at := -1
		for i, p := range f.params {
			if p.name == k {
				at = i
			}
		}
		if at < 0 || given[at] {
			return fmt.Errorf("%s() does not take the argument %v", f.name, k)
		}
		x, err := fromJinja(v)
		if err != nil {
			return err
		}
		in.args[at], given[at] = x, true
	}
	return nil
}

// check is what YAQL's signatures check, for Jinja.
func (p param) check(v any) error {
	ok := true
	switch p.typ {
	case "str":
		_, ok = v.(string)
	case "str?":
		_, ok = v.(string)
		ok = ok || v == nil
	case "bool":
		_, ok = v.(bool)
	}
	if !ok {
		return fmt.Errorf("argument %q must be a %s", p.name, strings.TrimSuffix(p.typ, "?"))
	}
	return nil
}
