package engine

import (
	"context"
	"fmt"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// maxValidated bounds the nested stacks that one validation looks into.
const maxValidated = 5000

// Tree is a template with everything nested in it, computed as far as parameters alone allow.
type Tree struct {
	Template *hot.Template
	Params   map[string]any
	Given    *Map // parameters as the resource above gave them
	Nodes    []*Node
}

// Node is one resource of a Tree.
type Node struct {
	Def    *hot.ResourceDef
	Target string // type after the registry
	Type   *resources.Type
	Props  *Map
	Deps   []string
	Nested *Tree
}

// Validate checks a template tree without making anything: types, properties, references, parameters,
// at every level. lenient accepts missing parameters. All faults are returned at once.
func (e *Engine) Validate(ctx context.Context, t *hot.Template, env *hot.Environment, files map[string]string, given *Map, lenient bool) (*Tree, error) {
	v := &validator{e: e, ctx: ctx, files: files, lenient: lenient, seen: map[string]bool{}}
	tree := v.tree(t, env, given, 0)
	return tree, v.errs.Or()
}

type validator struct {
	e       *Engine
	ctx     context.Context //nolint:containedctx // lives as long as one call of Validate
	files   map[string]string
	lenient bool
	errs    hot.Errors
	seen    map[string]bool
	count   int
}

// add collects faults; the same fault of a template that is used many times counts once.
func (v *validator) add(err error) {
	for _, e := range hot.List(err) {
		if key := e.Error(); !v.seen[key] {
			v.seen[key] = true
			v.errs = append(v.errs, e)
		}
	}
}

type staticScope struct {
	v      *validator
	t      *hot.Template
	env    *hot.Environment
	params map[string]any
	types  map[string]*resources.Type
}

func (s *staticScope) Param(name string) (any, bool) {
	switch name {
	case "OS::stack_name", "OS::stack_id", "OS::project_id":
		return hot.Unknown{}, true
	}
	p, ok := s.params[name]
	return p, ok
}

func (s *staticScope) Resource(string) (any, error) { return hot.Unknown{}, nil }

func (s *staticScope) Attr(res, attr string, _ []any) (any, error) {
	if s.t.Generated || attr == "" {
		return hot.Unknown{}, nil
	}
	typ := s.types[res]
	if typ == nil {
		return hot.Unknown{}, nil
	}
	if hot.IsTemplate(typ.Name) {
		for _, a := range typ.Attrs {
			if a.Name == attr {
				return hot.Unknown{}, nil
			}
		}
		if attr == "OS::stack_id" || attr == "show" || len(attr) > 9 && attr[:9] == "resource." {
			return hot.Unknown{}, nil
		}
		return nil, missingOutputError{res, typ.Name, attr}
	}
	if typ.Nested != nil {
		return hot.Unknown{}, nil
	}
	return hot.Unknown{}, typ.KnownAttr(attr)
}

func (s *staticScope) File(name string) (string, bool) { f, ok := s.v.files[name]; return f, ok }
func (s *staticScope) Facade(string) (any, error)      { return hot.Unknown{}, nil }
func (s *staticScope) Yaql(x string, d any, budget *hot.YaqlBudget) (any, error) {
	return s.v.e.yaql.Eval(s.v.ctx, x, d, budget)
}

func (v *validator) tree(t *hot.Template, env *hot.Environment, given *Map, depth int) *Tree {
	v.count++
	tree := &Tree{Template: t, Given: given}
	params, err := t.Values(given, env.Defaults, v.lenient, t.Generated)
	if err != nil {
		v.add(err)
	}
	if params == nil {
		return tree
	}
	if depth == 0 {
		v.add(customParams(v.ctx, resources.CheckerOf(v.ctx), t, params))
	}
	for _, p := range t.Parameters {
		if _, ok := params[p.Name]; !ok {
			params[p.Name] = hot.Unknown{}
		}
	}
	tree.Params = params
	scope := &staticScope{v: v, t: t, env: env, params: params, types: map[string]*resources.Type{}}
	ev := hot.NewEvaluator(t, scope)
	mappings := map[string]*hot.Mapping{}
	for _, def := range t.Resources {
		on, err := ev.Enabled(def)
		if err != nil {
			v.add(err)
			continue
		}
		if !on {
			continue
		}
		n := &Node{Def: def}
		target, used, err := env.Registry.Resolve(def.Type, def.Name)
		if err == nil {
			n.Target, mappings[def.Name] = target, used
			n.Type, err = v.e.typeOf(target, v.files)
		}
		if err != nil {
			v.add(placeType(def, err))
			continue
		}
		if err := resources.CheckerOf(v.ctx).Available(v.ctx, n.Type); err != nil && !resources.Transient(err) {
			v.add(placeType(def, err))
			continue
		}
		scope.types[def.Name] = n.Type
		tree.Nodes = append(tree.Nodes, n)
	}
	for _, n := range tree.Nodes {
		v.node(ev, env, n, mappings[n.Def.Name], depth)
	}
	for _, o := range t.Outputs {
		on, err := ev.OutputEnabled(o)
		if err == nil && on {
			_, err = ev.Value(o.Value)
		}
		for _, e := range hot.List(err) {
			if !hot.Undefined(e) { // the output will have that error, as in Heat
				v.add(e)
			}
		}
	}
	return tree
}

func (v *validator) node(ev *hot.Evaluator, env *hot.Environment, n *Node, used *hot.Mapping, depth int) {
	uses, err := ev.Dependencies(n.Def)
	if err != nil {
		v.add(err)
		return
	}
	for d := range uses.Resources {
		n.Deps = append(n.Deps, d)
	}
	raw, err := ev.Value(n.Def.Properties)
	if err != nil {
		v.add(err)
		return
	}
	m, ok := raw.(*Map)
	if !ok {
		if _, unknown := raw.(hot.Unknown); unknown {
			return
		}
		m = yaml11.NewMap()
	}
	n.Props = m
	props, err := resources.NewProps(n.Type, m, propPlace(n.Def))
	if err != nil {
		v.add(err)
		return
	}
	if depth == 0 && n.Type.Probe != nil && !v.lenient {
		if err := resources.CheckerOf(v.ctx).Probe(v.ctx, n.Type, props, v.files, forChild(env)); err != nil && !resources.Transient(err) {
			v.add(placeType(n.Def, err))
		}
	}
	if depth == 0 { // what a nested stack names may be made by then; it is checked when its turn comes, as in Heat
		if err := resources.CheckerOf(v.ctx).Check(v.ctx, props, propPlace(n.Def)); !resources.Transient(err) { // a service that is away makes no value wrong
			v.add(err)
		}
	}
	for _, e := range []*hot.Expr{n.Def.Metadata, n.Def.UpdatePolicy, n.Def.DeletionPolicy} {
		if _, err := ev.Value(e); err != nil {
			v.add(err)
		}
	}
	if dp, err := ev.Value(n.Def.DeletionPolicy); err == nil && !hot.HasUnknown(dp) {
		policy, err := hot.Policy(dp)
		if err == nil {
			err = snapshotPolicy(policy, n.Type)
		}
		if err != nil {
			v.add(&hot.Error{Pos: n.Def.DeletionPolicy.Pos(), Path: n.Def.DeletionPolicy.Path(), Msg: err.Error()})
		}
	}
	if n.Type.Nested == nil || v.count > maxValidated {
		return
	}
	if depth >= v.e.cfg.Limits.Depth {
		v.add(&hot.Error{Pos: n.Def.Pos, Path: "resources." + n.Def.Name, Msg: fmt.Sprintf("recursion depth exceeds %d: stacks are nested too deeply", v.e.cfg.Limits.Depth)})
		return
	}
	v.nested(n, props, env, used, depth)
}

func (v *validator) nested(n *Node, props *resources.Props, env *hot.Environment, used *hot.Mapping, depth int) {
	if !hot.IsTemplate(n.Target) && !countable(n, props) {
		return
	}
	res := &resources.Resource{ID: "00000000-0000-0000-0000-000000000000", Name: n.Def.Name, TypeName: n.Type.Name, Type: n.Type, StackName: "stack", Props: props,
		Data: map[string]any{}, Pos: n.Def.Pos, Action: Create}
	nested, err := n.Type.Nested(res, nil)
	if err != nil {
		v.add(&hot.Error{Pos: n.Def.Pos, Path: "resources." + n.Def.Name, Msg: err.Error()})
		return
	}
	if nested.FromFiles {
		text, ok := v.files[nested.File]
		if !ok { // it is read from the web when the resource is made
			return
		}
		nested.Text = text
	}
	var t *hot.Template
	if nested.Template == nil {
		t, err = v.e.parseCached(nested.File, nested.Text)
	} else {
		t, err = nested.Parse(nested.File)
	}
	if err != nil {
		v.add(err)
		return
	}
	params := nested.Params
	if params == nil {
		params = yaml11.NewMap()
	}
	n.Nested = v.tree(t, env.Child(params, n.Def.Name, used), params, depth+1)
}

// countable tells whether the members of a group are known, and that there are any. A property that is
// Unknown (a list of servers, say) leaves them open.
func countable(n *Node, props *resources.Props) bool {
	for _, name := range []string{"count", "resources", "servers", "template", "resource_def", "removal_policies"} {
		switch v := props.Get(name).(type) {
		case hot.Unknown:
			return false
		case []any:
			if name == "resources" && hot.HasUnknown(v) {
				return false
			}
		case *Map:
			if name == "resource_def" {
				if t, _ := v.Get("type"); hot.HasUnknown(t) {
					return false
				}
			}
		}
	}
	return true
}

// customParams asks the services whether parameters meet their custom constraints.
func customParams(ctx context.Context, c *resources.Checker, t *hot.Template, params map[string]any) error {
	var errs hot.Errors
	for _, p := range t.Parameters {
		for _, l := range p.Constraints {
			if l.Custom == "" {
				continue
			}
			err := c.Meets(ctx, l.Custom, params[p.Name])
			if resources.Transient(err) { // the resource that needs the value will tell
				continue
			}
			if err != nil && p.Hidden {
				err = fmt.Errorf("the value does not meet the constraint %s", l.Custom)
			}
			if err != nil {
				errs = append(errs, &hot.Error{Pos: p.Pos, Path: "parameters." + p.Name, Msg: fmt.Sprintf("parameter '%s' is invalid: %v", p.Name, err), Err: err})
			}
		}
	}
	return errs.Or()
}
