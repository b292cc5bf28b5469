package deployment

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// parametersUpdate puts parameters into the plan environment. With validate Heat checks the whole plan first, and the
// plan stays as it was when Heat refuses; the result is then that of get_flatten, else the plan environment.
func parametersUpdate(r *run, in input) (any, error) {
	container := in.str("container")
	params := in.mapping("parameters")
	if params == nil {
		return nil, errors.New("parameters must be a mapping")
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	before := env.Clone()
	key := in.str("key")
	sec := section(env, key).Clone()
	shallowUpdate(sec, params)
	env.Set(key, sec)
	if err := r.writePlanEnv(container, env); err != nil {
		return nil, err
	}
	if !in.boolean("validate") {
		return env, nil
	}
	flat, err := r.flatten(container, env)
	if err == nil {
		return flat, nil
	}
	if undo := r.writePlanEnv(container, before); undo != nil {
		err = errors.Join(err, undo)
	}
	return nil, fmt.Errorf("Error validating environment for plan %s: %w", container, err) //nolint:staticcheck // the text clients know
}

// parametersReset removes a section of the plan environment.
func parametersReset(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	env.Delete(in.str("key"))
	return env, r.writePlanEnv(container, env)
}

// parametersGet returns Heat's view of all parameters of a plan with its own parameter_defaults.
func parametersGet(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	tree, err := r.heatTree(container)
	if err != nil {
		return nil, err
	}
	defaults, _ := env.Get("parameter_defaults")
	return yaml11.MapOf("heat_resource_tree", tree, "environment_parameters", defaults), nil
}

func (r *run) heatTree(container string) (*yaml11.OrderedMap, error) {
	p, err := r.process(container)
	if err != nil {
		return nil, err
	}
	return r.validate(p)
}

func parametersGetFlatten(r *run, in input) (any, error) {
	env, err := r.readPlanEnv(in.str("container"))
	if err != nil {
		return nil, err
	}
	return r.flatten(in.str("container"), env)
}

func (r *run) flatten(container string, env *yaml11.OrderedMap) (*yaml11.OrderedMap, error) {
	tree, err := r.heatTree(container)
	if err != nil {
		return nil, err
	}
	defaults, _ := env.Get("parameter_defaults")
	return yaml11.MapOf("heat_resource_tree", flattenTree(tree), "environment_parameters", defaults), nil
}

// flattenTree turns Heat's nested validation answer into flat maps of resources (by random ids) and parameters (by name).
func flattenTree(tree *yaml11.OrderedMap) *yaml11.OrderedMap {
	resources, params := yaml11.NewMap(), yaml11.NewMap()
	names := map[string]string{"Description": "description", "Type": "type", "ParameterGroups": "parameter_groups", "NoEcho": "noEcho",
		"Default": "default", "Label": "label", "Constraints": "constraints", "AllowedValues": "allowedValues", "Tags": "tags"}
	var walk func(name string, node any) string
	walk = func(name string, node any) string {
		id := uuid.NewString()
		flat := yaml11.MapOf("id", id, "name", name)
		resources.Set(id, flat)
		own := []any{}
		if ps, ok := dig(node, "Parameters").(*yaml11.OrderedMap); ok {
			for pname, p := range ps.All() {
				own = append(own, pname)
				entry := yaml11.MapOf("name", pname)
				if pm, ok := p.(*yaml11.OrderedMap); ok {
					for k, v := range pm.All() {
						if n := names[k]; n != "" {
							entry.Set(n, v)
						}
					}
				}
				params.Set(pname, entry)
			}
		}
		for _, k := range []string{"Description", "Type", "ParameterGroups"} {
			if v := dig(node, k); v != nil {
				flat.Set(names[k], v)
			}
		}
		flat.Set("parameters", own)
		children := []any{}
		if nested, ok := dig(node, "NestedParameters").(*yaml11.OrderedMap); ok {
			for child, cn := range nested.All() {
				children = append(children, walk(child, cn))
			}
		}
		flat.Set("resources", children)
		return id
	}
	walk("Root", tree)
	return yaml11.MapOf("resources", resources, "parameters", params)
}
