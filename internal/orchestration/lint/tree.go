package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// scope answers for one use of a template: parameters as far as they are known, everything that exists only
// at run time Unknown.
type scope struct {
	l      *linter
	t      *hot.Template
	file   string
	params map[string]any
	types  map[string]*nodeType
}

// nodeType is the type of a resource: a native one or a template.
type nodeType struct {
	native *resources.Type
	file   *file
	name   string
}

// Param implements hot.Scope.
func (s *scope) Param(name string) (any, bool) {
	if v, ok := s.params[name]; ok {
		return v, true
	}
	return hot.Unknown{}, s.t.Parameter(name) != nil || strings.HasPrefix(name, "OS::")
}

// Resource implements hot.Scope.
func (*scope) Resource(string) (any, error) { return hot.Unknown{}, nil }

// Attr implements hot.Scope: attributes that the type cannot have are faults.
func (s *scope) Attr(res, attr string, _ []any) (any, error) {
	n := s.types[res]
	if n == nil || attr == "" || attr == "show" {
		return hot.Unknown{}, nil
	}
	switch {
	case n.file != nil:
		if n.file.t == nil || n.file.faulty || attr == "OS::stack_id" || strings.HasPrefix(attr, "resource.") {
			return hot.Unknown{}, nil
		}
		var names []string
		for _, o := range n.file.t.Outputs {
			names = append(names, o.Name)
		}
		if !slices.Contains(names, attr) {
			return nil, fmt.Errorf("%s has no output %q%s", n.name, attr, hot.DidYouMean(attr, names))
		}
	case n.native.Nested == nil: // members and nested stacks have more
		return hot.Unknown{}, n.native.KnownAttr(attr)
	}
	return hot.Unknown{}, nil
}

// File implements hot.Scope.
func (s *scope) File(name string) (string, bool) {
	text, err := s.l.in.Read(relative(s.file, name))
	if err != nil {
		return "", true // told by the look at the text
	}
	return text, true
}

// Facade implements hot.Scope.
func (*scope) Facade(string) (any, error) { return hot.Unknown{}, nil }

// Yaql implements hot.Scope.
func (s *scope) Yaql(expression string, data any, budget *hot.YaqlBudget) (any, error) {
	return s.l.yaql.Eval(s.l.ctx, expression, data, budget)
}

// use computes a template with the parameters that a resource (or the root) gives it.
func (l *linter) use(f *file, env *hot.Environment, given *Map, depth int) {
	if l.uses++; l.uses > maxUses || l.ctx.Err() != nil {
		return
	}
	t := f.t
	for name := range given.All() {
		f.given[name] = true
	}
	// Missing parameters of nested templates are told at the resource that should give them. Those of the
	// root may come later (passwords do), so that they are worth a warning if there are environments at all.
	params, err := t.Values(given, env.Defaults, true, depth > 0)
	l.errs(err, "parameter")
	for _, p := range t.Parameters {
		if v, ok := params[p.Name]; depth == 0 && ok && hot.HasUnknown(v) && len(l.in.Environments) > 0 {
			l.report(p.Pos, "parameters."+p.Name, Warning, "missing-parameter", "neither an environment nor a default gives parameter %q a value", p.Name)
		}
	}
	if params == nil {
		params = map[string]any{}
	}
	s := &scope{l: l, t: t, file: f.name, params: params, types: map[string]*nodeType{}}
	l.instance(s, env, depth)
}

// instance looks at the resources and outputs of a use.
func (l *linter) instance(s *scope, env *hot.Environment, depth int) {
	ev := hot.NewEvaluator(s.t, s)
	used := map[string]*hot.Mapping{}
	var enabled []*hot.ResourceDef
	for _, r := range s.t.Resources {
		target, m, err := env.Registry.Resolve(r.Type, r.Name)
		if err != nil {
			l.report(r.Pos, "resources."+r.Name, Error, "unknown-type", "%v", err)
			continue
		}
		if n := l.typeOf(s, r, target, m); n != nil {
			s.types[r.Name], used[r.Name] = n, m
		}
		on, err := ev.Enabled(r)
		l.errs(err, "condition")
		if err == nil && on && s.types[r.Name] != nil {
			enabled = append(enabled, r)
		}
	}
	for _, r := range enabled {
		l.resource(s, ev, env, r, used[r.Name], depth)
	}
	for _, o := range s.t.Outputs {
		on, err := ev.OutputEnabled(o)
		l.errs(err, "condition")
		if err == nil && on {
			_, err := ev.Value(o.Value)
			l.errs(err, "value")
		}
	}
}

// typeOf finds what a resolved type is; nil, and a fault, if there is none such.
func (l *linter) typeOf(s *scope, r *hot.ResourceDef, target string, m *hot.Mapping) *nodeType {
	if t := l.types[target]; t != nil {
		return &nodeType{native: t, name: target}
	}
	if !hot.IsTemplate(target) {
		names := make([]string, 0, len(l.types))
		for n := range l.types {
			names = append(names, n)
		}
		via := ""
		if target != r.Type {
			via = fmt.Sprintf(" (%s by the resource_registry)", r.Type)
		}
		l.report(r.Pos, "resources."+r.Name+".type", Error, "unknown-type", "resource type %s does not exist%s%s", target, via, hot.DidYouMean(target, names))
		return nil
	}
	if m == nil { // written in the template: relative to it
		target = relative(s.file, target)
	}
	f := l.load(target, r.Pos, nil)
	return &nodeType{file: f, name: target}
}

// at gives the place of a property for faults.
func at(r *hot.ResourceDef) func(path []string) *hot.Expr {
	return func(p []string) *hot.Expr {
		e := r.Properties
		for _, step := range p {
			if e = e.At(step); e == nil {
				return nil
			}
		}
		return e
	}
}

func (l *linter) resource(s *scope, ev *hot.Evaluator, env *hot.Environment, r *hot.ResourceDef, used *hot.Mapping, depth int) {
	if _, err := ev.Dependencies(r); err != nil {
		l.errs(err, "value")
		return
	}
	for _, e := range []*hot.Expr{r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
		_, err := ev.Value(e)
		l.errs(err, "value")
	}
	v, err := ev.Value(r.Properties)
	if err != nil {
		l.errs(err, "value")
		return
	}
	if _, unknown := v.(hot.Unknown); unknown {
		return
	}
	raw, ok := v.(*Map)
	if !ok {
		raw = yaml11.NewMap()
	}
	n := s.types[r.Name]
	if n.file != nil {
		l.template(n, env, r, raw, used, depth)
		return
	}
	props, err := resources.NewProps(n.native, raw, at(r))
	if err != nil {
		l.properties(err, r)
		return
	}
	if n.native.Nested != nil {
		l.group(s, n, env, r, props, used, depth)
	}
}

// properties adds faults of properties; without a place of their own they are at the resource.
func (l *linter) properties(err error, r *hot.ResourceDef) {
	for _, e := range hot.List(err) {
		pos, path, rule := e.Pos, e.Path, "property"
		if pos == "" {
			pos, path = r.Pos, strings.TrimSuffix("resources."+r.Name+".properties."+e.Path, ".")
		}
		switch {
		case strings.HasPrefix(e.Msg, "unknown property"):
			rule = "unknown-property"
		case strings.Contains(e.Msg, "is required"):
			rule = "missing-property"
		}
		l.report(pos, path, Error, rule, "%s", e.Msg)
	}
}

// template looks at a resource whose type is a template: its properties are the template's parameters.
func (l *linter) template(n *nodeType, env *hot.Environment, r *hot.ResourceDef, given *Map, used *hot.Mapping, depth int) {
	t := n.file.t
	if t == nil {
		return
	}
	path := "resources." + r.Name + ".properties"
	for name := range given.All() {
		if t.Parameter(name) == nil && !n.file.faulty {
			pos := r.Pos
			if e := r.Properties.Field(name); e != nil {
				pos = e.Pos()
			}
			l.report(pos, path+"."+name, Error, "unknown-property", "the template %s has no parameter %q%s", n.name, name, hot.DidYouMean(name, t.ParameterNames()))
		}
	}
	for _, p := range t.Parameters {
		v, ok := given.Get(p.Name)
		if _, inDefaults := env.Defaults.Get(p.Name); !ok && !p.HasDefault && !inDefaults {
			l.report(r.Pos, path+"."+p.Name, Error, "missing-property", "parameter %q of the template %s is required but not given", p.Name, n.name)
			continue
		}
		if !ok || v == nil || hot.HasUnknown(v) {
			continue
		}
		if _, err := p.Parse(v); err != nil {
			e := r.Properties.Field(p.Name)
			pos, msg := r.Pos, err.Error()
			if e != nil {
				pos = e.Pos()
			}
			if p.Hidden || e.Hidden() {
				msg = "the value does not meet the type or the constraints of the parameter (hidden)"
			}
			l.report(pos, path+"."+p.Name, Error, "constraint", "%s (parameter of %s)", msg, n.name)
			given = given.Clone()
			given.Set(p.Name, hot.Unknown{}) // told once is enough
		}
	}
	if depth >= maxDepth {
		l.report(r.Pos, "resources."+r.Name, Error, "depth", "stacks are nested more than %d deep", maxDepth)
		return
	}
	l.use(n.file, env.Child(given, r.Name, used), given, depth+1)
}

// group looks into what a group is made of, with one member if their number is not known.
func (l *linter) group(s *scope, n *nodeType, env *hot.Environment, r *hot.ResourceDef, props *resources.Props, used *hot.Mapping, depth int) {
	if hot.HasUnknown(props.All()) && !memberKnown(props) || depth >= maxDepth {
		return
	}
	res := &resources.Resource{ID: "00000000-0000-0000-0000-000000000000", Name: r.Name, TypeName: n.native.Name, StackName: "stack", Props: known(n.native, props),
		Data: map[string]any{}, Pos: r.Pos}
	nested, err := n.native.Nested(res, nil)
	if err != nil || nested == nil {
		if err != nil {
			l.report(r.Pos, "resources."+r.Name, Error, "property", "%v", err)
		}
		return
	}
	t, err := nested.Parse(r.Pos)
	if err != nil {
		l.errs(err, "syntax")
		return
	}
	given := nested.Params
	if given == nil {
		given = yaml11.NewMap()
	}
	params, err := t.Values(given, env.Defaults, true, true)
	l.errs(err, "parameter")
	inner := &scope{l: l, t: t, file: s.file, params: params, types: map[string]*nodeType{}}
	outer := l.member
	if outer.pos != r.Pos { // a group of groups stays the outermost
		l.member.pos, l.member.path = r.Pos, "resources."+r.Name
	}
	defer func() { l.member = outer }()
	if l.uses++; l.uses <= maxUses {
		l.instance(inner, env.Child(given, r.Name, used), depth+1)
	}
}

// memberKnown tells whether the definition of a group's members is known, whatever their number.
func memberKnown(props *resources.Props) bool {
	for _, name := range []string{"resource_def", "resource", "resources", "template"} {
		switch v := props.Get(name).(type) {
		case *Map:
			t, _ := v.Get("type")
			return !hot.HasUnknown(t)
		case []any:
			return !hot.HasUnknown(v)
		case string:
			return true
		}
	}
	return false
}

// known returns the properties of a group with those that only say how many there are set to one.
func known(t *resources.Type, props *resources.Props) *resources.Props {
	raw := props.Raw.Clone()
	for _, name := range []string{"count", "desired_capacity", "max_size", "min_size"} {
		if v, ok := raw.Get(name); ok {
			if i, isInt := v.(int64); hot.HasUnknown(v) || isInt && i > 3 {
				raw.Set(name, int64(1))
			}
		}
	}
	for _, name := range []string{"removal_policies", "update_policy"} {
		if v, ok := raw.Get(name); ok && hot.HasUnknown(v) {
			raw.Delete(name)
		}
	}
	p, err := resources.NewProps(t, raw, nil)
	if err != nil {
		return props
	}
	return p
}
