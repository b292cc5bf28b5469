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
	path := "parameters." + pr.Key
	n := pr.Value
	if n.Kind != yaml11.Map {
		p.fail(n, path, "a parameter must be a map, got a %s", n.Kind)
		return
	}
	if slices.Contains(PseudoParameters(), pr.Key) {
		p.fail(pr.KeyNode, path, "%q is reserved", pr.Key)
	}
	before := len(*p.errs)
	prm := &Parameter{Name: pr.Key, Pos: pr.KeyNode.Pos(), node: n}
	keys := []string{"type", "default", "description", "constraints", "hidden", "label", "immutable", "tags"}
	for _, f := range n.Pairs {
		switch f.Key {
		case "type":
			prm.Type = text(f.Value)
			types := []string{TypeString, TypeNumber, TypeJSON, TypeList, TypeBool}
			if !slices.Contains(types, prm.Type) {
				p.fail(f.Value, path+".type", "unknown type %q, expected one of %s", prm.Type, strings.Join(types, ", "))
			}
		case "default":
			prm.Default, prm.HasDefault = f.Value.Value(), f.Value.Kind != yaml11.Null
			if f.Value.Kind == yaml11.Null {
				prm.HasDefault = false
			}
		case "description":
			prm.Description = text(f.Value)
		case "label":
			prm.Label = text(f.Value)
		case "hidden":
			prm.Hidden = p.flag(f.Value, path+".hidden")
		case "immutable":
			prm.Immutable = p.flag(f.Value, path+".immutable")
		case "tags":
			for _, it := range f.Value.Items {
				prm.Tags = append(prm.Tags, text(it))
			}
		case "constraints":
			prm.Constraints = p.constraints(f.Value, path+".constraints")
		default:
			p.fail(f.KeyNode, path, "%q is not a key of a parameter%s", f.Key, DidYouMean(f.Key, keys))
		}
	}
	if n.Get("type") == nil {
		p.fail(pr.KeyNode, path, "type is missing")
		return
	}
	if prm.HasDefault && len(*p.errs) == before {
		if _, err := prm.Parse(prm.Default); err != nil {
			p.fail(n.Get("default"), path+".default", "%v", err)
		}
	}
	p.t.params[prm.Name] = prm
	p.t.Parameters = append(p.t.Parameters, prm)
}

func (p *templateParser) flag(n *yaml11.Node, path string) bool {
	b, ok := ToBool(n.Value())
	if !ok {
		p.fail(n, path, "must be a boolean, got %s", Show(n.Value()))
	}
	return b
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
	for _, c := range p.Constraints {
		if err := c.Check(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// ConvertParameter reads v as a parameter of type typ. Source: heat/engine/parameters.py.
func ConvertParameter(typ string, v any) (any, error) {
	switch typ {
	case TypeString:
		switch v.(type) {
		case *Map, []any:
			return nil, fmt.Errorf("expected a string, got %s", KindOf(v))
		}
		return v, nil
	case TypeNumber:
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
		if !ok {
			return v, nil
		}
		if strings.TrimSpace(s) == "" {
			return s, nil
		}
		d, err := yaml11.DecodeJSON([]byte(s))
		if err != nil {
			return nil, fmt.Errorf("value must be valid JSON: %w", err)
		}
		return d, nil
	case TypeList:
		switch x := v.(type) {
		case []any:
			return x, nil
		case string:
			out := []any{}
			if x != "" {
				for _, s := range strings.Split(x, ",") {
					out = append(out, strings.TrimSpace(s))
				}
			}
			return out, nil
		case *Map:
			return nil, fmt.Errorf("expected a list or text with commas, got a map")
		}
		return []any{PyStr(v)}, nil
	}
	return v, nil
}

// empty is the value of a parameter without default while a template is only validated.
func (p *Parameter) empty() any { return Unknown{} }

// Given is a set of parameter values with the place they come from, for messages.
type Given struct {
	Value any
	From  string // such as "environment parameters" or file:line:column; may be ""
}

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
				msg = fmt.Sprintf("parameter '%s' is invalid: the value does not meet its type or constraints", p.Name)
			}
			errs = append(errs, &Error{Pos: p.Pos, Path: "parameters." + p.Name, Msg: msg, Err: err})
			continue
		}
		out[p.Name] = parsed
	}
	if !unknownOK {
		for name := range given.All() {
			if t.params[name] == nil {
				errs = append(errs, &Error{Pos: t.File, Msg: fmt.Sprintf("the parameter (%s) was not defined in template%s", name, DidYouMean(name, t.ParameterNames()))})
			}
		}
	}
	return out, errs.Or()
}
