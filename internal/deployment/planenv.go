package deployment

import (
	"fmt"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	planEnvFile  = "plan-environment.yaml"
	rolesFile    = "roles_data.yaml"
	networksFile = "network_data.yaml"
	excludesFile = "j2_excludes.yaml"
	usageHeader  = "X-Container-Meta-Usage-Tripleo"
)

// parseMap reads a YAML mapping; an empty document is an empty mapping.
func parseMap(name string, data []byte) (*yaml11.OrderedMap, error) {
	node, _, err := yaml11.Parse(name, data, yaml11.Limits{})
	if err != nil {
		return nil, err
	}
	switch v := node.Value().(type) {
	case nil:
		return yaml11.NewMap(), nil
	case *yaml11.OrderedMap:
		return v, nil
	}
	return nil, fmt.Errorf("%s: expected a mapping at the top, found a %s", node.Pos(), node.Kind)
}

// readPlanEnv reads plan-environment.yaml; its name is always that of the container.
func (r *run) readPlanEnv(container string) (*yaml11.OrderedMap, error) {
	data, err := r.getObject(container, planEnvFile)
	if err != nil {
		return nil, fmt.Errorf("Error retrieving environment for plan %s: %w", container, err) //nolint:staticcheck // the text clients know
	}
	env, err := parseMap(container+"/"+planEnvFile, data)
	if err != nil {
		return nil, err
	}
	env.Set("name", container)
	return env, nil
}

// writePlanEnv replaces plan-environment.yaml and its mirrors: the Mistral environment of the plan's name, and one with
// the passwords, from which a plan that is made anew for a living stack has them.
func (r *run) writePlanEnv(container string, env *yaml11.OrderedMap) error {
	data, err := yaml11.Marshal(env)
	if err != nil {
		return err
	}
	if err := r.putObject(container, planEnvFile, data); err != nil {
		return err
	}
	vars := env.Clone()
	vars.Delete("passwords")
	if err := r.mirror(container, "Plan "+container, vars); err != nil {
		return err
	}
	if passwords, ok := dig(env, "passwords").(*yaml11.OrderedMap); ok && passwords.Len() > 0 {
		return r.mirror(passwordsEnv(container), "Passwords of plan "+container, passwords)
	}
	return nil
}

// passwordsEnv names the Mistral environment that has the passwords of a plan.
func passwordsEnv(container string) string { return "tripleo.passwords." + container }

// mirror writes the variables of a Mistral environment.
func (r *run) mirror(name, description string, vars *yaml11.OrderedMap) error {
	c, err := r.s.Workflow()
	if err != nil {
		return err
	}
	body := map[string]any{"name": name, "description": description, "variables": vars, "scope": "private"}
	_, err = r.request(c, "PUT", versioned(c, "v2", "environments"), body, nil)
	if isStatus(err, 404) {
		_, err = r.request(c, "POST", versioned(c, "v2", "environments"), body, nil)
	}
	if err != nil {
		return fmt.Errorf("workflow environment %s: %w", name, err)
	}
	return nil
}

// mirrored returns the variables of a Mistral environment, an empty map without one.
func (r *run) mirrored(name string) (*yaml11.OrderedMap, error) {
	c, err := r.s.Workflow()
	if err != nil {
		return nil, err
	}
	var out any
	_, err = r.request(c, "GET", versioned(c, "v2", "environments", name), nil, &out)
	if err != nil && !isStatus(err, 404) {
		return nil, err
	}
	vars := dig(out, "variables")
	if s, ok := vars.(string); ok { // as Mistral gives them
		if vars, err = yaml11.DecodeJSON([]byte(s)); err != nil {
			return nil, fmt.Errorf("variables of the workflow environment %s: %w", name, err)
		}
	}
	if m, ok := vars.(*yaml11.OrderedMap); ok {
		return m, nil
	}
	return yaml11.NewMap(), nil
}

func (r *run) dropEnvMirror(container string) error {
	c, err := r.s.Workflow()
	if err != nil {
		return err
	}
	for _, name := range []string{container, passwordsEnv(container), certificatesEnv(container)} {
		_, err = r.request(c, "DELETE", versioned(c, "v2", "environments", name), nil, nil)
		if err != nil && !isStatus(err, 404) {
			return err
		}
	}
	return nil
}

// section returns a mapping below key, and makes it if it is missing or null.
func section(env *yaml11.OrderedMap, key string) *yaml11.OrderedMap {
	if m, ok := dig(env, key).(*yaml11.OrderedMap); ok {
		return m
	}
	m := yaml11.NewMap()
	env.Set(key, m)
	return m
}

// deepMerge puts src into dst: mappings are merged, anything else is replaced.
func deepMerge(dst, src *yaml11.OrderedMap) {
	for k, v := range src.All() {
		sm, ok := v.(*yaml11.OrderedMap)
		if ok {
			if dm, ok := dig(dst, k).(*yaml11.OrderedMap); ok {
				dm = dm.Clone()
				deepMerge(dm, sm)
				dst.Set(k, dm)
				continue
			}
		}
		dst.Set(k, v)
	}
}

// shallowUpdate is dict.update.
func shallowUpdate(dst, src *yaml11.OrderedMap) {
	for k, v := range src.All() {
		dst.Set(k, v)
	}
}

// readListFile reads a YAML list of mappings from the plan; a missing file is an empty list and false.
func (r *run) readListFile(container, object string) ([]any, bool, error) {
	data, err := r.getObject(container, object)
	if isStatus(err, 404) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	list, err := parseList(container+"/"+object, data)
	return list, true, err
}

func parseList(name string, data []byte) ([]any, error) {
	node, _, err := yaml11.Parse(name, data, yaml11.Limits{})
	if err != nil {
		return nil, err
	}
	switch v := node.Value().(type) {
	case nil:
		return nil, nil
	case []any:
		for i, it := range v {
			if text(it, "name") == "" {
				pos := node.Pos()
				if i < len(node.Items) {
					pos = node.Items[i].Pos()
				}
				return nil, fmt.Errorf("%s: entry %d has no name", pos, i)
			}
		}
		return v, nil
	}
	return nil, fmt.Errorf("%s: expected a list at the top, found a %s", node.Pos(), node.Kind)
}
