package deployment

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// byName indexes a list of mappings that have a name; the second result keeps their order.
func byName(list []any) (map[string]any, []string) {
	m := map[string]any{}
	var order []string
	for _, e := range list {
		n := text(e, "name")
		if m[n] == nil {
			order = append(order, n)
		}
		m[n] = e
	}
	return m, order
}

// mergeByName puts the entries of more into list: of equal names the later entry wins.
func mergeByName(list, more []any) []any {
	m, order := byName(append(slices.Clone(list), more...))
	out := make([]any, 0, len(order))
	for _, n := range order {
		out = append(out, m[n])
	}
	return out
}

// checkRole says what is wrong with an entry of roles_data.yaml: the types of the keys the original's schema knows;
// others are the plan's business.
func checkRole(i int, role any) []string {
	name := text(role, "name")
	if name == "" {
		return []string{fmt.Sprintf("role #%d has no name", i)}
	}
	var problems []string
	m, ok := role.(*yaml11.OrderedMap)
	if !ok {
		return []string{fmt.Sprintf("role #%d is no mapping", i)}
	}
	for key, v := range m.All() {
		ok, want := true, ""
		switch key {
		case "name", "HostnameFormatDefault", "description":
			_, ok = v.(string)
			want = "text"
		case "CountDefault", "upgrade_batch_size":
			_, ok = v.(int64)
			want = "a whole number"
		case "disable_constraints", "disable_upgrade_deployment":
			_, ok = v.(bool)
			want = "true or false"
		case "ServicesDefault", "tags", "networks", "networks_skip_config":
			switch v.(type) {
			case []any, *yaml11.OrderedMap: // networks may be a mapping to subnets
			default:
				ok = false
			}
			want = "a list"
		}
		if !ok {
			problems = append(problems, fmt.Sprintf("role %s: %s must be %s, not %v", name, key, want, v))
		}
	}
	return problems
}

// CheckRoles says everything that is wrong with the entries of a roles_data.yaml.
func CheckRoles(roles []any) error {
	var problems []string
	for i, role := range roles {
		problems = append(problems, checkRole(i, role)...)
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// validateRoles checks entries of roles_data.yaml: true, or an error that names every problem. A role need not be one of
// available_roles, because a plan may have roles of its own.
func validateRoles(_ *run, in input) (any, error) {
	if err := CheckRoles(in.list("roles")); err != nil {
		return nil, err
	}
	return true, nil
}

// updateRoles merges roles into those of the plan, or with replace_all replaces them: {roles}. One role at least must
// have the tag primary, because the plan's bootstrap nodes are of that role.
func updateRoles(_ *run, in input) (any, error) {
	if err := CheckRoles(in.list("roles")); err != nil {
		return nil, err
	}
	roles := in.list("roles")
	if !in.boolean("replace_all") {
		roles = mergeByName(in.list("current_roles"), roles)
	}
	primary := slices.ContainsFunc(roles, func(role any) bool {
		tags, _ := dig(role, "tags").([]any)
		return slices.Contains(tags, any("primary"))
	})
	if !primary {
		return nil, errors.New("At least one role must contain a 'primary' tag.") //nolint:staticcheck // the text clients know
	}
	// The original's order: by name, backwards.
	roles = slices.Clone(roles)
	slices.SortStableFunc(roles, func(a, b any) int { return strings.Compare(text(b, "name"), text(a, "name")) })
	return yaml11.MapOf("roles", roles), nil
}

// gatherRoles returns the entries of role_names: those of the plan before those it could have: {gathered_roles}.
func gatherRoles(_ *run, in input) (any, error) {
	have, _ := byName(in.list("current_roles"))
	could, _ := byName(in.list("available_roles"))
	out := []any{}
	var missing []string
	for _, n := range in.list("role_names") {
		name := fmt.Sprint(n)
		switch {
		case have[name] != nil:
			out = append(out, have[name])
		case could[name] != nil:
			out = append(out, could[name])
		default:
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("The following roles do not exist: %s", strings.Join(missing, ", ")) //nolint:staticcheck // the text clients know
	}
	return yaml11.MapOf("gathered_roles", out), nil
}

// updateNetworks merges networks into those of the plan, or replaces them: {network_data}.
func updateNetworks(_ *run, in input) (any, error) {
	networks := in.list("networks")
	for i, n := range networks {
		if text(n, "name") == "" {
			return nil, fmt.Errorf("network #%d has no name", i)
		}
	}
	if !in.boolean("replace_all") {
		networks = mergeByName(in.list("current_networks"), networks)
	}
	return yaml11.MapOf("network_data", networks), nil
}

// planFolder returns the entries of all YAML files of one folder of a plan: roles/ or networks/.
func planFolder(r *run, in input) (any, error) {
	container, folder := in.str("container"), strings.TrimSuffix(in.str("folder"), "/")+"/"
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, n := range names {
		if !strings.HasPrefix(n, folder) || !strings.HasSuffix(n, ".yaml") {
			continue
		}
		data, err := r.getObject(container, n)
		if err != nil {
			return nil, err
		}
		list, err := parseList(container+"/"+n, data)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// writePlanFile writes a value as YAML into a plan: what update_roles and update_networks end with.
func writePlanFile(r *run, in input) (any, error) {
	data, err := yaml11.Marshal(in.value("content"))
	if err != nil {
		return nil, err
	}
	return nil, r.putObject(in.str("container"), in.str("object"), data)
}

// keptFiles are files of a plan that belong to the operator: an update from a folder leaves them as they are.
func keptFiles() []string { return []string{planEnvFile, rolesFile, networksFile, excludesFile} }

// planUpdateFromDir puts the new and changed files of a folder (or of the built-in default plan) into a plan.
func planUpdateFromDir(r *run, in input) (any, error) {
	var data []byte
	var err error
	if dir := strings.TrimSuffix(in.str("templates_dir"), "/"); dir == "" || dir == stockTemplates {
		if r.cfg.Templates == nil {
			return nil, errors.New("this undercloud has no default templates")
		}
		data, err = tarTree(r.cfg.Templates)
	} else {
		data, err = r.localTemplates(dir)
	}
	if err != nil {
		return nil, err
	}
	container := in.str("container")
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	return nil, untar(data, func(name string, content []byte) error {
		if slices.Contains(names, name) {
			if slices.Contains(keptFiles(), name) {
				return nil
			}
			old, err := r.getObject(container, name)
			if err != nil || bytes.Equal(old, content) {
				return err
			}
		}
		return r.putObject(container, name, content)
	})
}

// noopKeys are the registry entries that package_update.update_stack maps to OS::Heat::None.
func (r *run) noopKeys(container string) ([]string, error) {
	keys := []string{"OS::TripleO::DeploymentSteps"}
	roles, err := r.roleNames(container)
	for _, n := range roles {
		keys = append(keys, "OS::TripleO::Tasks::"+n+"PreConfig", "OS::TripleO::Tasks::"+n+"PostConfig")
	}
	return keys, err
}

// roleNames are the roles of the live stack, or without one those of the plan.
func (r *run) roleNames(container string) ([]string, error) {
	st, err := r.findStack(container)
	if err != nil {
		return nil, err
	}
	if st != nil {
		if m, ok := dig(outputs(st), "RoleData").(*yaml11.OrderedMap); ok {
			return m.Keys(), nil
		}
	}
	roles, _, err := r.readListFile(container, rolesFile)
	_, names := byName(roles)
	return names, err
}

// removeNoopDeploystep undoes the mappings of update_stack, so that the next deployment runs its steps again.
func removeNoopDeploystep(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	keys, err := r.noopKeys(container)
	if err != nil {
		return nil, err
	}
	reg := section(env, "resource_registry").Clone()
	for _, k := range keys {
		if text(reg, k) == "OS::Heat::None" {
			reg.Delete(k)
		}
	}
	env.Set("resource_registry", reg)
	return nil, r.writePlanEnv(container, env)
}
