package hot

import (
	"slices"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Environment is what a stack is given besides its template.
type Environment struct {
	Parameters      *Map
	Defaults        *Map // parameter_defaults, seen at every level of nesting
	Registry        *Registry
	EncryptedParams []any
	EventSinks      []any
}

// NewEnvironment returns an empty environment.
func NewEnvironment() *Environment {
	return &Environment{Parameters: yaml11.NewMap(), Defaults: yaml11.NewMap(), Registry: NewRegistry()}
}

// ParseEnvironment reads an environment file.
func ParseEnvironment(file string, data []byte) (*Environment, yaml11.Warnings, error) {
	root, warnings, err := parseText(file, data)
	if err != nil {
		return nil, warnings, List(err)
	}
	env := NewEnvironment()
	if err := env.mergeNode(root); err != nil {
		return nil, warnings, err
	}
	return env, warnings, nil
}

// EnvironmentFromValue reads an environment sent as data. A string is parsed as a file.
func EnvironmentFromValue(name string, v any) (*Environment, error) {
	switch x := v.(type) {
	case nil:
		return NewEnvironment(), nil
	case string:
		env, _, err := ParseEnvironment(name, []byte(x))
		return env, err
	}
	env := NewEnvironment()
	if err := env.mergeNode(yaml11.FromValue(&yaml11.Node{File: name}, v)); err != nil {
		return nil, err
	}
	return env, nil
}

func (e *Environment) mergeNode(root *yaml11.Node) error {
	if root.Kind == yaml11.Null {
		return nil
	}
	if root.Kind != yaml11.Map {
		return Errors{errAt(root, "", "an environment must be a map, got a %s", root.Kind)}
	}
	var errs Errors
	sections := []string{"parameters", "parameter_defaults", "parameter_merge_strategies", "resource_registry", "encrypted_param_names", "event_sinks"}
	strategies, _ := valueOf(root.Get("parameter_merge_strategies")).(*Map)
	for _, pr := range root.Pairs {
		n := pr.Value
		if !slices.Contains(sections, pr.Key) {
			errs = append(errs, errAt(pr.KeyNode, pr.Key, "unknown section %q%s", pr.Key, DidYouMean(pr.Key, sections)))
			continue
		}
		if n.Kind == yaml11.Null {
			continue
		}
		if list := pr.Key == "encrypted_param_names" || pr.Key == "event_sinks"; list != (n.Kind == yaml11.Seq) || !list && n.Kind != yaml11.Map {
			errs = append(errs, errAt(n, pr.Key, "must be a %s, got a %s", map[bool]string{true: "list", false: "map"}[list], n.Kind))
			continue
		}
		switch pr.Key {
		case "parameters":
			mergeParams(e.Parameters, n.Value().(*Map), strategies)
		case "parameter_defaults":
			mergeParams(e.Defaults, n.Value().(*Map), strategies)
		case "resource_registry":
			errs = append(errs, e.Registry.mergeNode(n, "resource_registry")...)
		case "encrypted_param_names":
			e.EncryptedParams = n.Value().([]any)
		case "event_sinks":
			e.EventSinks = n.Value().([]any)
		}
	}
	return errs.Or()
}

func valueOf(n *yaml11.Node) any {
	if n == nil {
		return nil
	}
	return n.Value()
}

// mergeParams puts src over dst. Source of the strategies: heat/common/environment_util.py.
func mergeParams(dst, src, strategies *Map) {
	for k, v := range src.All() {
		how, ok := strategies.Get(k)
		if !ok {
			how, _ = strategies.Get("default")
		}
		old, had := dst.Get(k)
		if had {
			switch how {
			case "merge":
				v = mergeValue(old, v, false)
			case "deep_merge":
				v = mergeValue(old, v, true)
			}
		}
		dst.Set(k, v)
	}
}

func mergeValue(old, v any, deep bool) any {
	switch x := v.(type) {
	case *Map:
		o, ok := old.(*Map)
		if !ok {
			return v
		}
		out := o.Clone()
		for k, e := range x.All() {
			if prev, had := out.Get(k); had && deep {
				e = mergeValue(prev, e, true)
			}
			out.Set(k, e)
		}
		return out
	case []any:
		if o, ok := old.([]any); ok {
			return append(slices.Clone(o), x...)
		}
	case string:
		if o, ok := old.(string); ok {
			return o + "," + x
		}
	}
	return v
}

// Merge puts other over e, as later environment files go over earlier ones.
func (e *Environment) Merge(other *Environment) {
	mergeParams(e.Parameters, other.Parameters, nil)
	mergeParams(e.Defaults, other.Defaults, nil)
	e.Registry.merge(other.Registry)
	if other.EncryptedParams != nil {
		e.EncryptedParams = other.EncryptedParams
	}
	if other.EventSinks != nil {
		e.EventSinks = other.EventSinks
	}
}

// MergeFiles parses the named environment files in order out of files and merges them.
func MergeFiles(names []string, files map[string]string) (*Environment, error) {
	env := NewEnvironment()
	var errs Errors
	for _, name := range names {
		content, ok := files[name]
		if !ok {
			errs = append(errs, &Error{Pos: name, Msg: "environment file is not among the files"})
			continue
		}
		root, _, err := parseText(name, []byte(content))
		if err == nil {
			err = env.mergeNode(root)
		}
		errs = append(errs, List(err)...)
	}
	return env, errs.Or()
}

// Value returns the environment as data, as the API shows it.
func (e *Environment) Value() *Map {
	m := yaml11.NewMap()
	m.Set("parameters", e.Parameters)
	m.Set("parameter_defaults", e.Defaults)
	m.Set("resource_registry", e.Registry.Value())
	enc, sinks := e.EncryptedParams, e.EventSinks
	if enc == nil {
		enc = []any{}
	}
	if sinks == nil {
		sinks = []any{}
	}
	m.Set("encrypted_param_names", enc)
	m.Set("event_sinks", sinks)
	return m
}

// Child returns the environment of a nested stack: parameters given by the parent resource, the same
// defaults, the registry without the mapping that led here (or it would be found again without end).
func (e *Environment) Child(params *Map, resource string, used *Mapping) *Environment {
	return &Environment{Parameters: params, Defaults: e.Defaults, Registry: e.Registry.child(resource, used),
		EncryptedParams: e.EncryptedParams, EventSinks: e.EventSinks}
}
