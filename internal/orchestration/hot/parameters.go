package hot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Parameter is a declared parameter.
type Parameter struct {
	Name        string
	Type        string // string, number, json, comma_delimited_list or boolean
	Label       string
	Description string
	Default     any
	HasDefault  bool
	Hidden      bool
	Immutable   bool
	Tags        []string
	Constraints []Constraint
	Pos         string
	node        *yaml11.Node

	constraintText string // ConstraintDescription
}

// Parameter types of HOT.
const (
	TypeString = "string"
	TypeNumber = "number"
	TypeJSON   = "json"
	TypeList   = "comma_delimited_list"
	TypeBool   = "boolean"
)

func (p *templateParser) parameter(pr yaml11.Pair) {
	path := p.t.dialect.names.parameters + "." + pr.Key
	n := pr.Value
	if n.Kind != yaml11.Map {
		p.fail(n, path, "a parameter must be a map, got a %s", n.Kind)
		return
	}
	if p.t.pseudo(pr.Key) {
		p.fail(pr.KeyNode, path, "%q is reserved", pr.Key)
	}
	before := len(*p.errs)
	prm := &Parameter{Name: pr.Key, Pos: pr.KeyNode.Pos(), node: n}
	typed := false
	for _, f := range n.Pairs {
		typed = typed || f.Key == "type" || f.Key == "Type"
		if p.t.dialect.cfn {
			p.cfnParameterKey(prm, f, path)
		} else {
			p.hotParameterKey(prm, f, path)
		}
	}
	if !typed {
		p.fail(pr.KeyNode, path, "type is missing")
		return
	}
	for i := range prm.Constraints {
		if c := &prm.Constraints[i]; !c.suits(prm.Type) && c.node != nil {
			p.fail(c.node, path, "constraint %s cannot be used with type %s", c.Kind, prm.Type)
		}
	}
	if prm.HasDefault && len(*p.errs) == before {
		if _, err := prm.Parse(prm.Default); err != nil {
			at := n.Get("default")
			if at == nil {
				at = n.Get("Default")
			}
			if prm.Hidden {
				p.fail(at, path+".default", "the value does not meet its type or constraints")
				return
			}
			p.fail(at, path+".default", "%v", err)
		}
	}
	p.t.params[prm.Name] = prm
	p.t.Parameters = append(p.t.Parameters, prm)
}

func (p *templateParser) hotParameterKey(prm *Parameter, f yaml11.Pair, path string) {
	keys := []string{"type", "default", "description", "constraints", "hidden", "label", "immutable"}
	if p.t.dialect.date >= queens {
		keys = append(keys, "tags")
	}
	switch {
	case f.Key == "schema": // known to Heat and without a meaning
	case !slices.Contains(keys, f.Key):
		since := ""
		if f.Key == "tags" {
			since = " (tags exist since heat_template_version queens)"
		}
		p.fail(f.KeyNode, path, "%q is not a key of a parameter%s%s", f.Key, DidYouMean(f.Key, keys), since)
	case f.Key == "type":
		prm.Type = text(f.Value)
		types := []string{TypeString, TypeNumber, TypeJSON, TypeList, TypeBool}
		if f.Value.Kind != yaml11.String || !slices.Contains(types, prm.Type) {
			p.fail(f.Value, path+".type", "unknown type %q, expected one of %s", prm.Type, strings.Join(types, ", "))
		}
	case f.Key == "default":
		prm.Default, prm.HasDefault = f.Value.Value(), f.Value.Kind != yaml11.Null
	case f.Key == "description":
		prm.Description = text(f.Value)
	case f.Key == "label":
		prm.Label = text(f.Value)
	case f.Key == "hidden":
		prm.Hidden = truthy(f.Value.Value())
	case f.Key == "immutable":
		prm.Immutable = truthy(f.Value.Value())
	case f.Key == "tags":
		if f.Value.Kind != yaml11.Seq {
			p.fail(f.Value, path+".tags", "must be a list, got a %s", f.Value.Kind)
		}
		for _, it := range f.Value.Items {
			prm.Tags = append(prm.Tags, text(it))
		}
	case f.Key == "constraints":
		prm.Constraints = p.constraints(f.Value, path+".constraints")
	}
}

// truthy is Python's truth of a value, which is how Heat reads hidden and immutable.
func truthy(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case *Map:
		return x.Len() > 0
	}
	f, _ := number(v)
	return f != 0
}

// cfnParameterKey reads a key of a CloudFormation parameter.
func (p *templateParser) cfnParameterKey(prm *Parameter, f yaml11.Pair, path string) {
	keys := []string{"Type", "Default", "NoEcho", "AllowedValues", "AllowedPattern", "MaxLength", "MinLength", "MaxValue", "MinValue", "Description",
		"ConstraintDescription", "Label"}
	at := path + "." + f.Key
	switch f.Key {
	case "Type":
		types := map[string]string{"String": TypeString, "Number": TypeNumber, "CommaDelimitedList": TypeList, "Json": TypeJSON, "Boolean": TypeBool}
		if prm.Type = types[text(f.Value)]; prm.Type == "" {
			p.fail(f.Value, at, "unknown type %q, expected one of %s", text(f.Value), "String, Number, CommaDelimitedList, Json, Boolean")
		}
	case "Default":
		prm.Default, prm.HasDefault = f.Value.Value(), f.Value.Kind != yaml11.Null
	case "Description":
		prm.Description = text(f.Value)
	case "Label":
		prm.Label = text(f.Value)
	case "NoEcho":
		prm.Hidden = strings.EqualFold(text(f.Value), "true")
	case "MinLength", "MaxLength", "MinValue", "MaxValue":
		n, ok := ToNumber(f.Value.Value())
		v, isNum := number(n)
		if !ok || !isNum {
			p.fail(f.Value, at, "must be a number, got %s", Show(f.Value.Value()))
			return
		}
		kind := map[string]string{"Length": "length", "Value": "range"}[f.Key[3:]]
		c := prm.constraint(kind, f.Value)
		if f.Key[:3] == "Min" {
			c.Min = &v
		} else {
			c.Max = &v
		}
	case "AllowedValues", "AllowedPattern":
		c := prm.constraint(map[string]string{"AllowedValues": "allowed_values", "AllowedPattern": "allowed_pattern"}[f.Key], f.Value)
		if err := c.read(f.Value.Value()); err != nil {
			p.fail(f.Value, at, "%v", err)
		}
	case "ConstraintDescription":
		prm.constraintText = text(f.Value)
		for i := range prm.Constraints {
			prm.Constraints[i].Description = prm.constraintText
		}
	default:
		p.fail(f.KeyNode, path, "%q is not a key of a parameter%s", f.Key, DidYouMean(f.Key, keys))
	}
}

// constraint returns the constraint of a kind, made if there is none.
func (p *Parameter) constraint(kind string, at *yaml11.Node) *Constraint {
	for i := range p.Constraints {
		if p.Constraints[i].Kind == kind {
			return &p.Constraints[i]
		}
	}
	p.Constraints = append(p.Constraints, Constraint{Kind: kind, Description: p.constraintText, node: at})
	return &p.Constraints[len(p.Constraints)-1]
}

// Parse turns a given value into the value get_param returns and checks the constraints that need no
// service. null stands for "not given" and gives nil.
func (p *Parameter) Parse(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	v, err := ConvertParameter(p.Type, v)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok && p.Type == TypeJSON && s == "" {
		return v, nil
	}
	for _, c := range p.Constraints {
		if err := c.Check(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// ConvertParameter reads v as a parameter of type typ.
func ConvertParameter(typ string, v any) (any, error) {
	switch typ {
	case TypeString:
		return pyRepr(v, true), nil
	case TypeNumber:
		if b, ok := v.(bool); ok { // a number in Python
			return b, nil
		}
		if n, ok := ToNumber(v); ok {
			return n, nil
		}
		return nil, fmt.Errorf("expected a number, got %s %s", KindOf(v), Show(v))
	case TypeBool:
		if b, ok := ToBool(v); ok {
			return b, nil
		}
		return nil, fmt.Errorf("expected a boolean, got %s %s", KindOf(v), Show(v))
	case TypeJSON:
		s, ok := v.(string)
		if !ok || s == "" {
			return v, nil
		}
		d, err := yaml11.DecodeJSON([]byte(s))
		if err != nil {
			return nil, fmt.Errorf("value must be valid JSON: %w", err)
		}
		return d, nil
	case TypeList:
		out := []any{}
		switch x := v.(type) {
		case []any:
			for _, it := range x {
				out = append(out, pyRepr(it, true))
			}
		case string:
			if x != "" {
				out = split(x, ",")
			}
		default:
			return nil, fmt.Errorf("expected a list or text with commas, got %s", KindOf(v))
		}
		return out, nil
	}
	return v, nil
}

// empty is the value of a parameter without default while a template is only validated.
func (p *Parameter) empty() any { return Unknown{} }

// Values computes the value of every declared parameter. given are explicit values, defaults those of
// parameter_defaults. lenient leaves missing ones Unknown. unknownOK allows given names that the template
// does not declare.
func (t *Template) Values(given, defaults *Map, lenient, unknownOK bool) (map[string]any, error) {
	var errs Errors
	out := make(map[string]any, len(t.Parameters))
	for _, p := range t.Parameters {
		v, ok := given.Get(p.Name)
		if !ok || v == nil {
			v, ok = defaults.Get(p.Name)
		}
		if HasUnknown(v) {
			out[p.Name] = Unknown{}
			continue
		}
		if !ok || v == nil {
			switch {
			case p.HasDefault:
				v = p.Default
			case lenient:
				out[p.Name] = p.empty()
				continue
			default:
				errs = append(errs, &Error{Pos: p.Pos, Path: "parameters." + p.Name, Msg: fmt.Sprintf("the parameter (%s) was not provided", p.Name)})
				continue
			}
		}
		parsed, err := p.Parse(v)
		if err != nil {
			msg := fmt.Sprintf("parameter '%s' is invalid: %v", p.Name, err)
			if p.Hidden {
				msg, err = fmt.Sprintf("parameter '%s' is invalid: the value does not meet its type or constraints", p.Name), nil
			}
			errs = append(errs, &Error{Pos: p.Pos, Path: "parameters." + p.Name, Msg: msg, Err: err})
			continue
		}
		out[p.Name] = parsed
	}
	if !unknownOK && !t.faulty {
		for name := range given.All() {
			if t.params[name] == nil {
				errs = append(errs, &Error{Pos: t.File, Msg: fmt.Sprintf("the parameter (%s) was not defined in template%s", name, DidYouMean(name, t.ParameterNames()))})
			}
		}
	}
	return out, errs.Or()
}
