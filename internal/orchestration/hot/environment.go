package hot

import (
	"fmt"
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

func environmentSections() []string {
	return []string{"parameters", "parameter_defaults", "parameter_merge_strategies", "resource_registry", "encrypted_param_names", "event_sinks"}
}

func (e *Environment) mergeNode(root *yaml11.Node) error { return e.mergeWith(root, nil) }

// mergeWith puts one file over e. m may be nil: later values replace earlier ones.
func (e *Environment) mergeWith(root *yaml11.Node, m *merger) error {
	if root.Kind == yaml11.Null {
		return nil
	}
	if root.Kind != yaml11.Map {
		return Errors{errAt(root, "", "an environment must be a map, got a %s", root.Kind)}
	}
	var errs Errors
	for _, pr := range root.Pairs {
		n := pr.Value
		if !slices.Contains(environmentSections(), pr.Key) {
			errs = append(errs, errAt(pr.KeyNode, pr.Key, "unknown section %q%s", pr.Key, DidYouMean(pr.Key, environmentSections())))
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
			errs = append(errs, m.params(e.Parameters, n, root.Get("parameter_merge_strategies"), pr.Key)...)
		case "parameter_defaults":
			errs = append(errs, m.params(e.Defaults, n, root.Get("parameter_merge_strategies"), pr.Key)...)
		case "parameter_merge_strategies":
			errs = append(errs, checkStrategies(n)...)
		case "resource_registry":
			errs = append(errs, e.Registry.mergeNode(n, "resource_registry")...)
		case "encrypted_param_names":
			e.EncryptedParams = n.Value().([]any)
		case "event_sinks":
			errs = append(errs, checkSinks(n)...)
			e.EventSinks = append(slices.Clone(e.EventSinks), n.Value().([]any)...)
		}
	}
	return errs.Or()
}

// checkSinks wants sinks of the one type there is, a Zaqar queue.
func checkSinks(n *yaml11.Node) Errors {
	var errs Errors
	for i, it := range n.Items {
		at := fmt.Sprintf("event_sinks.%d", i)
		if typ := text(it.Get("type")); typ != "zaqar-queue" {
			errs = append(errs, errAt(it, at, "type must be zaqar-queue, got %q", typ))
		}
		if text(it.Get("target")) == "" {
			errs = append(errs, errAt(it, at, "target, the name of a queue, is missing"))
		}
		for _, pr := range it.Pairs {
			if !slices.Contains([]string{"type", "target", "ttl"}, pr.Key) {
				errs = append(errs, errAt(pr.KeyNode, at, "unknown key %q, expected type, target or ttl", pr.Key))
			}
		}
	}
	return errs
}

// Merge puts other over e, as later environment files go over earlier ones.
func (e *Environment) Merge(other *Environment) {
	overwrite(e.Parameters, other.Parameters)
	overwrite(e.Defaults, other.Defaults)
	e.Registry.merge(other.Registry)
	if other.EncryptedParams != nil {
		e.EncryptedParams = other.EncryptedParams
	}
	if other.EventSinks != nil {
		e.EventSinks = other.EventSinks
	}
}

func overwrite(dst, src *Map) {
	for k, v := range src.All() {
		dst.Set(k, v)
	}
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
