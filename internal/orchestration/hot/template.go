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
	Mappings    *Map // CloudFormation: Mappings; nil if there are none
	Generated   bool // made by the engine, see ParseGenerated

	dialect    *dialect
	conditions map[string]*Expr
	condNames  []string
	params     map[string]*Parameter
	resources  map[string]*ResourceDef
	root       *yaml11.Node
	faulty     bool // something in it could not be read: what is not defined may be what is missing
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

// MaxTemplate is the most bytes that a template or environment may have.
const MaxTemplate = 8 << 20

func limits() yaml11.Limits { return yaml11.Limits{MaxBytes: MaxTemplate, MaxDepth: 200} }

// Parse reads a template. file is the name shown in messages. The error is an Errors with everything that
// is wrong; what could be read is returned beside it, so that the rest of it can be looked at too.
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
	d, _ := dialectOf(keyHOT, "wallaby")
	t := &Template{File: pos, root: root, Version: "wallaby", dialect: d, Generated: true,
		conditions: map[string]*Expr{}, params: map[string]*Parameter{}, resources: map[string]*ResourceDef{}}
	var errs Errors
	for _, section := range []string{"resources", "outputs"} {
		p := &templateParser{t: t, errs: &errs, ex: exprParser{errs: &errs}}
		if section == "outputs" {
			p.ex.d = d
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
	if err := t.readVersion(root); err != nil {
		return nil, Errors{err}
	}
	var errs Errors
	p := &templateParser{t: t, errs: &errs, ex: exprParser{d: t.dialect, errs: &errs}}
	for _, pr := range root.Pairs {
		p.section(pr)
	}
	p.checkReferences()
	if t.faulty = len(errs) > 0; !t.faulty {
		p.checkCycles()
	}
	t.markHidden()
	return t, errs.Or()
}

// readVersion finds the language of a template. Exactly one key may name it.
func (t *Template) readVersion(root *yaml11.Node) *Error {
	var key string
	var at *yaml11.Node
	for _, k := range []string{keyHOT, keyAWS, keyHeat} {
		n := root.Get(k)
		if n == nil || n.Kind == yaml11.Map || n.Kind == yaml11.Seq {
			continue
		}
		if key != "" {
			return errAt(n, k, "ambiguous versions: %s is given too", key)
		}
		key, at = k, n
	}
	if key == "" {
		return errAt(root, "", "heat_template_version is missing, expected one of %s (or %s: %s)", strings.Join(VersionNames(), ", "), keyAWS, awsDate)
	}
	t.Version = PyStr(at.Value())
	var ok bool
	if t.dialect, ok = dialectOf(key, t.Version); !ok {
		var known []string
		for _, v := range Versions() {
			for _, n := range append([]string{v.Name}, v.Aliases...) {
				if s, ok := strings.CutPrefix(n, key+"."); ok {
					known = append(known, s)
				}
			}
		}
		return errAt(at, key, "The template version is invalid: \"%s: %s\". %q should be one of: %s", key, t.Version, key, strings.Join(known, ", "))
	}
	return nil
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
	return append(out, t.PseudoParameters()...)
}

// PseudoParameters returns the parameters that every stack has, by their names in the template's language.
func (t *Template) PseudoParameters() []string {
	if t.dialect.cfn {
		return []string{"AWS::StackName", "AWS::StackId", "AWS::Region"}
	}
	return PseudoParameters()
}

func (t *Template) pseudo(name string) bool { return slices.Contains(t.PseudoParameters(), name) }

// CloudFormation tells whether the template is written in the language of AWS.
func (t *Template) CloudFormation() bool { return t.dialect.cfn }

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

// PseudoParameters returns the parameters that every stack has, by their names in HOT.
func PseudoParameters() []string { return []string{"OS::stack_name", "OS::stack_id", "OS::project_id"} }

type templateParser struct {
	t    *Template
	errs *Errors
	ex   exprParser

	lenient bool // parameters that are not defined are found when they are needed
}

func (p *templateParser) fail(n *yaml11.Node, path, format string, args ...any) {
	*p.errs = append(*p.errs, errAt(n, path, format, args...))
}

func (p *templateParser) section(pr yaml11.Pair) {
	n, names := pr.Value, p.t.dialect.names
	known := []string{names.description, names.groups, names.parameters, names.conditions, names.resources, names.outputs, names.mappings}
	known = slices.DeleteFunc(known, func(s string) bool { return s == "" })
	switch pr.Key {
	case keyHOT, keyAWS, keyHeat:
		if (pr.Key == keyHOT) == p.t.dialect.cfn {
			p.fail(pr.KeyNode, pr.Key, "unknown section %q", pr.Key)
		}
		return
	}
	if !slices.Contains(known, pr.Key) {
		p.fail(pr.KeyNode, pr.Key, "unknown section %q%s", pr.Key, DidYouMean(pr.Key, known))
		return
	}
	if n.Kind == yaml11.Null {
		return
	}
	switch pr.Key {
	case names.description:
		if n.Kind == yaml11.Map || n.Kind == yaml11.Seq {
			p.fail(n, pr.Key, "must be a string, got a %s", n.Kind)
			return
		}
		p.t.Description = PyStr(n.Value())
	case names.groups:
		p.groups(n)
	default:
		p.entries(pr)
	}
}

// entries reads a section that is a map of names.
func (p *templateParser) entries(pr yaml11.Pair) {
	n, names := pr.Value, p.t.dialect.names
	if n.Kind == yaml11.Seq && len(n.Items) == 0 && pr.Key != names.conditions {
		return // an empty section, as Heat has it
	}
	if n.Kind != yaml11.Map {
		p.fail(n, pr.Key, "must be a map of names, got a %s", n.Kind)
		return
	}
	read := map[string]func(yaml11.Pair){names.parameters: p.parameter, names.conditions: p.condition, names.resources: p.resource, names.outputs: p.output}[pr.Key]
	switch {
	case pr.Key == names.mappings:
		p.t.Mappings = n.Value().(*Map)
		return
	case pr.Key == names.conditions && !p.t.dialect.hasConditions():
		since := "heat_template_version newton (2016-10-14)"
		if p.t.dialect.cfn {
			since = keyAWS
		}
		p.fail(pr.KeyNode, pr.Key, "conditions exist only since %s, the template says %s", since, p.t.Version)
		return
	}
	for _, e := range n.Pairs {
		read(e)
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
			} else if p.declared(p.t.dialect.names.parameters, name) == nil {
				p.fail(it, "parameter_groups", "parameter %q is not defined%s", name, DidYouMean(name, p.declaredNames(p.t.dialect.names.parameters)))
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

// declared returns the entry of a section as written, right or wrong: a reference to an entry that is
// wrong itself is no second fault.
func (p *templateParser) declared(section, name string) *yaml11.Node {
	return p.t.root.Get(section).Get(name)
}

func (p *templateParser) declaredNames(section string) []string {
	var out []string
	if n := p.t.root.Get(section); n != nil {
		for _, pr := range n.Pairs {
			out = append(out, pr.Key)
		}
	}
	return out
}

func (p *templateParser) condition(pr yaml11.Pair) {
	path := p.t.dialect.names.conditions + "." + pr.Key
	e := p.ex.condition(pr.Value, path)
	if _, isBool := e.lit.(bool); e.kind != exprCall && !isBool {
		p.fail(pr.Value, path, "a condition must be a boolean or a function that gives one, got %s", kindOfExpr(e))
	}
	p.t.conditions[pr.Key] = e
	p.t.condNames = append(p.t.condNames, pr.Key)
}

// resourceKey is a key of a resource.
type resourceKey struct {
	hot, cfn string
	since    string // HOT version; the rest may be used in every
	kinds    string // what the value may be besides a function, for messages; "" for no check
}

func resourceKeys() []resourceKey {
	return []resourceKey{
		{"type", "Type", "", ""}, {"description", "Description", "", ""}, {"properties", "Properties", "", "map"}, {"metadata", "Metadata", "", "map"},
		{"depends_on", "DependsOn", "", ""}, {"deletion_policy", "DeletionPolicy", "", "string"}, {"update_policy", "UpdatePolicy", "", "map"},
		{"external_id", "", newton, "string"}, {"condition", "Condition", newton, ""},
	}
}

// resourceKey returns the meaning of a key of a resource, "" if the version has none such.
func (p *templateParser) resourceKey(key string) (resourceKey, bool) {
	d := p.t.dialect
	for _, k := range resourceKeys() {
		if d.cfn && k.cfn == key && (key != "Condition" || d.hasConditions()) || !d.cfn && k.hot == key && k.since <= d.date {
			return k, true
		}
	}
	return resourceKey{}, false
}

func (p *templateParser) resource(pr yaml11.Pair) {
	path := p.t.dialect.names.resources + "." + pr.Key
	n := pr.Value
	if n.Kind != yaml11.Map {
		p.fail(n, path, "a resource must be a map, got a %s", n.Kind)
		return
	}
	if strings.Contains(pr.Key, "/") || pr.Key == "" {
		p.fail(pr.KeyNode, path, "the name of a resource must not be empty or contain /")
	}
	r := &ResourceDef{Name: pr.Key, Pos: pr.KeyNode.Pos(), expr: &Expr{node: pr.KeyNode, path: path}}
	typed := false
	for _, f := range n.Pairs {
		k, ok := p.resourceKey(f.Key)
		typed = typed || k.hot == "type"
		if !ok {
			p.unknownResourceKey(f, path)
		} else {
			p.resourceField(r, k, f.Value, path+"."+f.Key)
		}
	}
	if !typed {
		p.fail(pr.KeyNode, path, "type is missing")
	}
	p.t.resources[r.Name] = r
	p.t.Resources = append(p.t.Resources, r)
}

// unknownResourceKey refuses a key; in CloudFormation templates Heat ignores what it does not know.
func (p *templateParser) unknownResourceKey(f yaml11.Pair, path string) {
	if p.t.dialect.cfn {
		return
	}
	var keys []string
	for _, k := range resourceKeys() {
		if k.hot == f.Key {
			p.fail(f.KeyNode, path, "%q exists only since heat_template_version %s, the template says %s", f.Key, k.since, p.t.Version)
			return
		}
		keys = append(keys, k.hot)
	}
	p.fail(f.KeyNode, path, "%q is not a key of a resource%s", f.Key, DidYouMean(f.Key, keys))
}

func (p *templateParser) resourceField(r *ResourceDef, k resourceKey, n *yaml11.Node, path string) {
	switch k.hot {
	case "type":
		if n.Kind != yaml11.String || n.Raw == "" {
			p.fail(n, path, "must be a string that is not empty, got %s", n.Kind)
			return
		}
		r.Type, _ = n.Value().(string)
		return
	case "description":
		if n.Kind == yaml11.Map || n.Kind == yaml11.Seq {
			p.fail(n, path, "must be a string, got a %s", n.Kind)
			return
		}
		r.Description = text(n)
		return
	case "condition":
		r.Condition = p.ex.condition(n, path)
		p.conditionKind(r.Condition)
		return
	case "depends_on":
		r.DependsOn = (&exprParser{errs: p.errs}).parse(n, path) // a name or names, no functions
		return
	}
	e := p.ex.parse(n, path)
	if ok := map[string]bool{"map": e.kind == exprMap, "string": isString(e.lit)}[k.kinds]; !ok && e.kind != exprCall && n.Kind != yaml11.Null {
		p.fail(n, path, "must be a %s, got %s", k.kinds, kindOfExpr(e))
		return
	}
	switch k.hot {
	case "properties":
		if n.Kind != yaml11.Null {
			r.Properties = e
		}
	case "metadata":
		r.Metadata = e
	case "deletion_policy":
		if s, ok := e.lit.(string); ok && !p.policyAllowed(s) {
			p.fail(n, path, "must be Delete, Retain or Snapshot%s, got %q", map[bool]string{true: " (also in lower case)"}[p.t.dialect.lowerPolicies()], s)
		}
		r.DeletionPolicy = e
	case "update_policy":
		r.UpdatePolicy = e
	case "external_id":
		r.ExternalID = e
	}
}

// lowerPolicies tells whether deletion policies may be written in lower case.
func (d *dialect) lowerPolicies() bool { return !d.cfn && d.date >= newton }

func (p *templateParser) policyAllowed(s string) bool {
	return slices.Contains([]string{"Delete", "Retain", "Snapshot"}, s) ||
		p.t.dialect.lowerPolicies() && slices.Contains([]string{"delete", "retain", "snapshot"}, s)
}

// conditionKind refuses literals that can be no condition.
func (p *templateParser) conditionKind(e *Expr) {
	switch e.lit.(type) {
	case nil, bool, string:
		if e.kind == exprLit || e.kind == exprCall {
			return
		}
	}
	*p.errs = append(*p.errs, e.errorf("a condition must be a boolean or the name of a condition, got %s", kindOfExpr(e)))
}

func (p *templateParser) output(pr yaml11.Pair) {
	path := p.t.dialect.names.outputs + "." + pr.Key
	if pr.Value.Kind != yaml11.Map {
		p.fail(pr.Value, path, "an output must be a map, got a %s", pr.Value.Kind)
		return
	}
	o := &Output{Name: pr.Key, Pos: pr.KeyNode.Pos()}
	for _, f := range pr.Value.Pairs { // Heat does not look at other keys
		key := f.Key
		if p.t.dialect.cfn {
			key = map[string]string{"Description": "description", "Value": "value", "Condition": "condition"}[key]
		}
		if key == "condition" && !p.t.dialect.hasConditions() {
			key = ""
		}
		switch key {
		case "description":
			o.Description = text(f.Value)
		case "value":
			o.Value = p.ex.parse(f.Value, path+"."+f.Key)
		case "condition":
			o.Condition = p.ex.condition(f.Value, path+"."+f.Key)
			p.conditionKind(o.Condition)
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

// markHidden finds the expressions that hold the value of a hidden parameter.
func (t *Template) markHidden() {
	if !slices.ContainsFunc(t.Parameters, func(p *Parameter) bool { return p.Hidden }) {
		return
	}
	for _, n := range t.condNames {
		t.mark(t.conditions[n])
	}
	for _, r := range t.Resources {
		for _, e := range []*Expr{r.Condition, r.Properties, r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
			t.mark(e)
		}
	}
	for _, o := range t.Outputs {
		t.mark(o.Condition)
		t.mark(o.Value)
	}
}

func (t *Template) mark(e *Expr) bool {
	if e == nil {
		return false
	}
	for _, s := range e.subs {
		e.hidden = t.mark(s) || e.hidden
	}
	e.hidden = t.mark(e.arg) || e.hidden
	if e.kind == exprCall && (e.fn.role == roleParam || e.fn.role == roleRef) {
		name, literal := literalName(e.arg)
		prm := t.params[name]
		e.hidden = e.hidden || !literal || prm != nil && prm.Hidden
	}
	return e.hidden
}

// checkReferences finds names that are not defined, where they are written literally and no condition can
// keep them from being used: what a condition hides is checked when the condition holds.
func (p *templateParser) checkReferences() {
	t, names := p.t, p.t.dialect.names
	add := func(e *Error) { *p.errs = append(*p.errs, e) }
	for _, n := range t.condNames {
		p.checkExpr(t.conditions[n])
	}
	for name := range t.params {
		if r := t.resources[name]; r != nil {
			add(r.expr.errorf("the name is that of a parameter too"))
		}
	}
	for _, r := range t.Resources {
		p.checkCondition(r.Condition)
		if r.Condition == nil {
			for _, e := range []*Expr{r.Properties, r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
				p.checkExpr(e)
			}
		}
		for _, d := range dependsOn(r) {
			if d.name == "" {
				add(d.at.errorf("depends_on must be a name or a list of names, got %s", kindOfExpr(d.at)))
			} else if p.declared(names.resources, d.name) == nil {
				add(d.at.errorf("resource %q is not defined%s", d.name, DidYouMean(d.name, t.ResourceNames())))
			} else if d.name == r.Name {
				add(d.at.errorf("resource %q depends on itself", d.name))
			}
		}
	}
	for _, o := range t.Outputs {
		p.checkCondition(o.Condition)
		if o.Condition == nil {
			p.lenient = true // Heat makes such a stack; the output has an error
			p.checkExpr(o.Value)
			p.lenient = false
		}
	}
}

// checkCondition checks an expression that stands for a condition.
func (p *templateParser) checkCondition(e *Expr) {
	if e == nil {
		return
	}
	if s, ok := e.lit.(string); ok && e.kind == exprLit && p.declared(p.t.dialect.names.conditions, s) == nil {
		*p.errs = append(*p.errs, e.errorf("condition %q is not defined%s", s, DidYouMean(s, p.t.condNames)))
	}
	p.checkExpr(e)
}

func (p *templateParser) checkExpr(e *Expr) {
	e.walk(func(x *Expr) bool {
		if x.kind != exprCall {
			return true
		}
		if x.faulty {
			return false
		}
		switch x.fn.role {
		case roleIf:
			if x.arg.kind == exprList && len(x.arg.subs) > 0 {
				p.checkCondition(x.arg.subs[0])
			}
			return false
		case roleLogic:
			for _, s := range logicArgs(x) {
				p.checkCondition(s)
			}
			return false
		}
		if err := p.reference(x); err != nil {
			*p.errs = append(*p.errs, err)
		}
		return true
	})
}

// logicArgs returns the conditions that not, and, or are about.
func logicArgs(x *Expr) []*Expr {
	if x.arg.kind == exprList && x.fn.name != "not" {
		return x.arg.subs
	}
	return []*Expr{x.arg}
}

// reference checks the name that a call refers to, if it is written literally.
func (p *templateParser) reference(x *Expr) *Error {
	t, names := p.t, p.t.dialect.names
	name, ok := literalName(x.arg)
	if !ok {
		return nil
	}
	param := p.declared(names.parameters, name) != nil || t.pseudo(name)
	resource := p.declared(names.resources, name) != nil
	switch x.fn.role {
	case roleParam:
		if !param && !p.lenient {
			return x.arg.errorf("parameter %q is not defined%s", name, DidYouMean(name, t.ParameterNames()))
		}
	case roleRef:
		if !param && !resource {
			return x.arg.errorf("%q is neither a parameter nor a resource%s", name, DidYouMean(name, append(t.ParameterNames(), t.ResourceNames()...)))
		}
	case roleResource, roleAttr:
		if !resource {
			return x.arg.errorf("resource %q is not defined%s", name, DidYouMean(name, t.ResourceNames()))
		}
	}
	return nil
}

// literalName returns the literal first name of an argument "name" or [name, ...].
func literalName(arg *Expr) (string, bool) {
	if arg.kind == exprList && len(arg.subs) > 0 {
		arg = arg.subs[0]
	}
	s, ok := arg.lit.(string)
	return s, ok && arg.kind == exprLit
}
