package hot

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Template is a parsed template. It is immutable and may be shared.
type Template struct {
	File        string
	Version     string // as written, a date or a release name
	Description string
	Groups      []ParameterGroup
	Parameters  []*Parameter
	Resources   []*ResourceDef
	Outputs     []*Output
	Generated   bool // made by the engine, see ParseGenerated

	date       string
	conditions map[string]*Expr
	condNames  []string
	params     map[string]*Parameter
	resources  map[string]*ResourceDef
	root       *yaml11.Node
}

// ParameterGroup is advice for user interfaces and, with label deprecated, a list of old parameters.
type ParameterGroup struct {
	Label, Description string
	Parameters         []string
}

// ResourceDef is one entry of the resources section.
type ResourceDef struct {
	Name           string
	Type           string
	Description    string
	Properties     *Expr // a map, or a function that gives one; nil if absent
	Metadata       *Expr
	DependsOn      *Expr
	UpdatePolicy   *Expr
	DeletionPolicy *Expr
	ExternalID     *Expr
	Condition      *Expr
	Pos            string // file:line:column of the name
	expr           *Expr
}

// Output is one entry of the outputs section.
type Output struct {
	Name        string
	Description string
	Value       *Expr
	Condition   *Expr
	Pos         string
}

// Limits of a template text.
func limits() yaml11.Limits { return yaml11.Limits{MaxBytes: 8 << 20, MaxDepth: 200} }

// Parse reads a template. file is the name shown in messages. The error is an Errors with everything that
// is wrong.
func Parse(file string, text []byte) (*Template, yaml11.Warnings, error) {
	root, warnings, err := parseText(file, text)
	if err != nil {
		return nil, warnings, List(err)
	}
	t, err := fromNode(file, root)
	return t, warnings, err
}

// ParseValue reads a template that was sent as data (a JSON object in an API request).
func ParseValue(file string, v any) (*Template, error) {
	return fromNode(file, yaml11.FromValue(&yaml11.Node{File: file}, v))
}

// ParseGenerated reads a template the engine made itself: values in its resources are final (a map that
// looks like a function is not one), only its outputs call functions. pos is the place shown in messages.
func ParseGenerated(pos string, v any) (*Template, error) {
	root := yaml11.FromValue(&yaml11.Node{File: pos}, v)
	t := &Template{File: pos, root: root, Version: "wallaby", date: versionDate("wallaby"), Generated: true,
		conditions: map[string]*Expr{}, params: map[string]*Parameter{}, resources: map[string]*ResourceDef{}}
	var errs Errors
	for _, section := range []string{"resources", "outputs"} {
		p := &templateParser{t: t, errs: &errs, ex: exprParser{errs: &errs}}
		if section == "outputs" {
			p.ex.funcs = functionsOf(t.date)
		}
		if n := root.Get(section); n != nil {
			p.section(yaml11.Pair{Key: section, KeyNode: n, Value: n})
		}
	}
	return t, errs.Or()
}

// parseText reads JSON where the text is JSON, else YAML, as heat/common/template_format.py does.
func parseText(file string, text []byte) (*yaml11.Node, yaml11.Warnings, error) {
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) > 0 && t[0] == '{' && len(text) <= limits().MaxBytes && json.Valid(text) {
		return yaml11.ParseJSON(file, text, limits())
	}
	return yaml11.Parse(file, text, limits())
}

func fromNode(file string, root *yaml11.Node) (*Template, error) {
	t := &Template{File: file, root: root, conditions: map[string]*Expr{}, params: map[string]*Parameter{}, resources: map[string]*ResourceDef{}}
	if root.Kind != yaml11.Map {
		return nil, Errors{errAt(root, "", "a template must be a map, got a %s", root.Kind)}
	}
	v := root.Get("heat_template_version")
	if v == nil {
		return nil, Errors{errAt(root, "", "heat_template_version is missing, expected one of %s", strings.Join(VersionNames(), ", "))}
	}
	t.Version = PyStr(v.Value())
	if t.date = versionDate(t.Version); t.date == "" {
		return nil, Errors{errAt(v, "heat_template_version", "unknown version %q, expected one of %s", t.Version, strings.Join(VersionNames(), ", "))}
	}
	var errs Errors
	p := &templateParser{t: t, errs: &errs, ex: exprParser{funcs: functionsOf(t.date), errs: &errs}}
	for _, pr := range root.Pairs {
		p.section(pr)
	}
	if len(errs) == 0 {
		p.checkReferences()
	}
	if len(errs) == 0 {
		p.checkCycles()
	}
	return t, errs.Or()
}

// Parameter returns a declared parameter or nil.
func (t *Template) Parameter(name string) *Parameter { return t.params[name] }

// Resource returns a resource definition or nil.
func (t *Template) Resource(name string) *ResourceDef { return t.resources[name] }

// Condition returns the expression of a named condition or nil.
func (t *Template) Condition(name string) *Expr { return t.conditions[name] }

// ConditionNames returns the names in order.
func (t *Template) ConditionNames() []string { return t.condNames }

// ParameterNames returns the declared names in order, then the pseudo parameters.
func (t *Template) ParameterNames() []string {
	out := make([]string, 0, len(t.Parameters)+3)
	for _, p := range t.Parameters {
		out = append(out, p.Name)
	}
	return append(out, PseudoParameters()...)
}

// ResourceNames returns the names in order.
func (t *Template) ResourceNames() []string {
	out := make([]string, len(t.Resources))
	for i, r := range t.Resources {
		out[i] = r.Name
	}
	return out
}

// Value returns the whole template as data, for the API.
func (t *Template) Value() any { return t.root.Value() }

// PseudoParameters returns the parameters that every stack has.
func PseudoParameters() []string { return []string{"OS::stack_name", "OS::stack_id", "OS::project_id"} }

type templateParser struct {
	t    *Template
	errs *Errors
	ex   exprParser
}

func (p *templateParser) fail(n *yaml11.Node, path, format string, args ...any) {
	*p.errs = append(*p.errs, errAt(n, path, format, args...))
}

func (p *templateParser) section(pr yaml11.Pair) {
	n := pr.Value
	sections := []string{"heat_template_version", "description", "parameter_groups", "parameters", "conditions", "resources", "outputs"}
	if !slices.Contains(sections, pr.Key) {
		p.fail(pr.KeyNode, pr.Key, "unknown section %q%s", pr.Key, DidYouMean(pr.Key, sections))
		return
	}
	if n.Kind == yaml11.Null {
		return
	}
	switch pr.Key {
	case "description":
		if n.Kind == yaml11.Map || n.Kind == yaml11.Seq {
			p.fail(n, pr.Key, "must be a string, got a %s", n.Kind)
			return
		}
		p.t.Description = PyStr(n.Value())
	case "parameter_groups":
		p.groups(n)
	case "parameters", "conditions", "resources", "outputs":
		if n.Kind != yaml11.Map {
			p.fail(n, pr.Key, "must be a map of names, got a %s", n.Kind)
			return
		}
		if pr.Key == "conditions" && p.t.date < "2016-10-14" {
			p.fail(pr.KeyNode, pr.Key, "conditions exist only since heat_template_version newton (2016-10-14)")
			return
		}
		for _, e := range n.Pairs {
			switch pr.Key {
			case "parameters":
				p.parameter(e)
			case "conditions":
				p.condition(e)
			case "resources":
				p.resource(e)
			case "outputs":
				p.output(e)
			}
		}
	}
}

func (p *templateParser) groups(n *yaml11.Node) {
	if n.Kind != yaml11.Seq {
		p.fail(n, "parameter_groups", "must be a list, got a %s", n.Kind)
		return
	}
	seen := map[string]bool{}
	for _, g := range n.Items {
		if g.Kind != yaml11.Map {
			p.fail(g, "parameter_groups", "each group must be a map, got a %s", g.Kind)
			continue
		}
		group := ParameterGroup{Label: text(g.Get("label")), Description: text(g.Get("description"))}
		list := g.Get("parameters")
		if list == nil || list.Kind != yaml11.Seq {
			p.fail(g, "parameter_groups", "a group needs parameters, a list of names")
			continue
		}
		for _, it := range list.Items {
			name := text(it)
			if seen[name] {
				p.fail(it, "parameter_groups", "parameter %q is in two groups", name)
			}
			seen[name] = true
			group.Parameters = append(group.Parameters, name)
		}
		p.t.Groups = append(p.t.Groups, group)
	}
}

func text(n *yaml11.Node) string {
	if n == nil || n.Kind == yaml11.Null {
		return ""
	}
	return PyStr(n.Value())
}

func (p *templateParser) condition(pr yaml11.Pair) {
	e := p.ex.parse(pr.Value, "conditions."+pr.Key)
	e.walk(func(x *Expr) bool {
		if x.kind == exprCall && !x.fn.cond {
			*p.errs = append(*p.errs, x.errorf("function %s cannot be used in a condition", x.fn.name))
		}
		return true
	})
	p.t.conditions[pr.Key] = e
	p.t.condNames = append(p.t.condNames, pr.Key)
}

func (p *templateParser) resource(pr yaml11.Pair) {
	path := "resources." + pr.Key
	n := pr.Value
	if n.Kind != yaml11.Map {
		p.fail(n, path, "a resource must be a map, got a %s", n.Kind)
		return
	}
	if strings.Contains(pr.Key, "/") || pr.Key == "" {
		p.fail(pr.KeyNode, path, "the name of a resource must not be empty or contain /")
	}
	r := &ResourceDef{Name: pr.Key, Pos: pr.KeyNode.Pos(), expr: &Expr{node: pr.KeyNode, path: path}}
	keys := []string{"type", "description", "properties", "metadata", "depends_on", "deletion_policy", "update_policy", "external_id", "condition"}
	for _, f := range n.Pairs {
		e := func() *Expr { return p.ex.parse(f.Value, path+"."+f.Key) }
		switch f.Key {
		case "type":
			if f.Value.Kind != yaml11.String || f.Value.Raw == "" {
				p.fail(f.Value, path+".type", "must be a string that is not empty, got %s", f.Value.Kind)
				continue
			}
			r.Type, _ = f.Value.Value().(string)
		case "description":
			r.Description = text(f.Value)
		case "properties":
			if f.Value.Kind == yaml11.Null {
				continue
			}
			if r.Properties = e(); r.Properties.kind != exprMap && r.Properties.kind != exprCall {
				p.fail(f.Value, path+".properties", "must be a map, got a %s", f.Value.Kind)
			}
		case "metadata":
			r.Metadata = e()
		case "depends_on":
			r.DependsOn = e()
		case "deletion_policy":
			r.DeletionPolicy = e()
		case "update_policy":
			r.UpdatePolicy = e()
		case "external_id":
			r.ExternalID = e()
		case "condition":
			r.Condition = e()
		default:
			p.fail(f.KeyNode, path, "%q is not a key of a resource%s", f.Key, DidYouMean(f.Key, keys))
		}
	}
	if r.Type == "" && n.Get("type") == nil {
		p.fail(pr.KeyNode, path, "type is missing")
	}
	p.t.resources[r.Name] = r
	p.t.Resources = append(p.t.Resources, r)
}

func (p *templateParser) output(pr yaml11.Pair) {
	path := "outputs." + pr.Key
	if pr.Value.Kind != yaml11.Map {
		p.fail(pr.Value, path, "an output must be a map, got a %s", pr.Value.Kind)
		return
	}
	o := &Output{Name: pr.Key, Pos: pr.KeyNode.Pos()}
	keys := []string{"description", "value", "condition"}
	for _, f := range pr.Value.Pairs {
		switch f.Key {
		case "description":
			o.Description = text(f.Value)
		case "value":
			o.Value = p.ex.parse(f.Value, path+".value")
		case "condition":
			o.Condition = p.ex.parse(f.Value, path+".condition")
		default:
			p.fail(f.KeyNode, path, "%q is not a key of an output%s", f.Key, DidYouMean(f.Key, keys))
		}
	}
	if o.Value == nil {
		p.fail(pr.KeyNode, path, "value is missing")
	}
	p.t.Outputs = append(p.t.Outputs, o)
}

// exprs visits every expression of the template.
func (t *Template) exprs(visit func(*Expr) bool) {
	for _, n := range t.condNames {
		t.conditions[n].walk(visit)
	}
	for _, r := range t.Resources {
		for _, e := range []*Expr{r.Condition, r.Properties, r.Metadata, r.DependsOn, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
			e.walk(visit)
		}
	}
	for _, o := range t.Outputs {
		o.Condition.walk(visit)
		o.Value.walk(visit)
	}
}

// checkReferences finds names that are not defined, where they are written literally.
func (p *templateParser) checkReferences() {
	t := p.t
	add := func(e *Error) { *p.errs = append(*p.errs, e) }
	cond := func(e *Expr) {
		if e == nil || e.kind != exprLit {
			return
		}
		if s, ok := e.lit.(string); ok && t.conditions[s] == nil {
			add(e.errorf("condition %q is not defined%s", s, DidYouMean(s, t.condNames)))
		} else if _, isBool := e.lit.(bool); !ok && !isBool {
			add(e.errorf("a condition must be a boolean or the name of a condition, got %s", kindOfExpr(e)))
		}
	}
	t.exprs(func(e *Expr) bool {
		if e.kind != exprCall {
			return true
		}
		name, ok := literalName(e.arg)
		switch e.fn.name {
		case "get_param":
			if ok && t.params[name] == nil && !slices.Contains(PseudoParameters(), name) {
				add(e.arg.errorf("parameter %q is not defined%s", name, DidYouMean(name, t.ParameterNames())))
			}
		case "get_resource", "get_attr":
			if ok && t.resources[name] == nil {
				add(e.arg.errorf("resource %q is not defined%s", name, DidYouMean(name, t.ResourceNames())))
			}
		case "if":
			if e.arg.kind == exprList && len(e.arg.subs) > 0 {
				cond(e.arg.subs[0])
			}
		case "not":
			cond(e.arg)
		case "and", "or":
			for _, s := range e.arg.subs {
				cond(s)
			}
		}
		return true
	})
	for _, r := range t.Resources {
		cond(r.Condition)
		for _, d := range dependsOn(r) {
			if d.name == "" {
				add(d.at.errorf("depends_on must be a name or a list of names, got %s", kindOfExpr(d.at)))
			} else if t.resources[d.name] == nil {
				add(d.at.errorf("resource %q is not defined%s", d.name, DidYouMean(d.name, t.ResourceNames())))
			} else if d.name == r.Name {
				add(d.at.errorf("resource %q depends on itself", d.name))
			}
		}
	}
	for _, o := range t.Outputs {
		cond(o.Condition)
	}
}

// literalName returns the literal first name of an argument "name" or [name, ...].
func literalName(arg *Expr) (string, bool) {
	if arg.kind == exprList && len(arg.subs) > 0 {
		arg = arg.subs[0]
	}
	s, ok := arg.lit.(string)
	return s, ok && arg.kind == exprLit
}
