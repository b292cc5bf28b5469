package deployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// scaleDeleteNode removes nodes from the stack of a plan: by the ids or the names of their servers, or any physical id
// within their members of a role's group. The roles' counts go down and the members are named in <Role>RemovalPolicies.
func scaleDeleteNode(r *run, in input) (any, error) {
	container := in.str("container")
	timeout, err := in.integer("timeout", 240)
	if err != nil {
		return nil, err
	}
	st, begun, err := r.idleStack(container)
	if err != nil || begun {
		return nil, err
	}
	if st == nil {
		return nil, fmt.Errorf("there is no stack %s", container)
	}
	all, err := r.resources(st, stackDepth)
	if err != nil {
		return nil, err
	}
	names, err := r.serverNames()
	if err != nil {
		return nil, err
	}
	wanted := []string{}
	for _, n := range in.list("nodes") {
		wanted = append(wanted, fmt.Sprint(n))
	}
	if len(wanted) == 0 {
		return nil, errors.New("nodes names no node")
	}
	params, err := scaleDown(all, names, wanted)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", container, err)
	}
	update := newInput(map[string]any{"container": container, "parameters": params, "key": "parameter_defaults", "validate": true})
	if _, err := parametersUpdate(r, update); err != nil {
		return nil, err
	}
	return nil, r.patchStack(container, st, timeout, params.Keys())
}

// scaleDown finds the group members that stand for nodes and returns the parameters that remove them; pure.
func scaleDown(all []resource, names map[string]string, wanted []string) (*yaml11.OrderedMap, error) {
	owner := map[string]int{} // nested stack -> the resource that stands for it
	for i, res := range all {
		if id := firstText(res.nested, res.physicalID); id != "" {
			owner[id] = i
		}
	}
	members := map[string][]string{} // role -> members to remove
	found := map[string]bool{}
	for _, res := range all {
		isServer := strings.HasSuffix(res.typ, "Server") // OS::TripleO::<Role>Server, DeployedServer, OS::Nova::Server
		for _, w := range wanted {
			if res.physicalID != w && (!isServer || names[res.physicalID] != w) {
				continue
			}
			group, member, ok := memberOf(all, owner, res)
			if !ok {
				continue
			}
			found[w] = true
			if !slices.Contains(members[group], member) {
				members[group] = append(members[group], member)
			}
		}
	}
	missing := slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return found[w] })
	if len(missing) > 0 {
		return nil, fmt.Errorf("Couldn't find following instances: %s", strings.Join(missing, ",")) //nolint:staticcheck // the text clients know
	}
	params := yaml11.NewMap()
	roles := make([]string, 0, len(members))
	for role := range members {
		roles = append(roles, role)
	}
	slices.Sort(roles)
	for _, role := range roles {
		list := []any{}
		slices.Sort(members[role])
		for _, m := range members[role] {
			list = append(list, m)
		}
		params.Set(role+"Count", strconv.Itoa(groupSize(all, owner, role)-len(list)))
		params.Set(role+"RemovalPolicies", []any{yaml11.MapOf("resource_list", list)})
		params.Set(role+"RemovalPoliciesMode", "append")
	}
	return params, nil
}

var memberName = regexp.MustCompile(`^\d+$`)

// memberOf walks up from a resource to the member of a role's group: the group is a resource of the root stack.
func memberOf(all []resource, owner map[string]int, res resource) (group, member string, ok bool) {
	for range 20 {
		i, up := owner[res.stackID]
		if memberName.MatchString(res.name) {
			if up {
				if _, nested := owner[all[i].stackID]; !nested {
					return all[i].name, res.name, true
				}
			}
		}
		if !up {
			return "", "", false
		}
		res = all[i]
	}
	return "", "", false
}

// groupSize counts the members of a role's group.
func groupSize(all []resource, owner map[string]int, role string) int {
	n := 0
	for _, res := range all {
		if !memberName.MatchString(res.name) {
			continue
		}
		if group, member, ok := memberOf(all, owner, res); ok && group == role && member == res.name {
			if i, up := owner[res.stackID]; up && all[i].name == role {
				n++
			}
		}
	}
	return n
}

// patchStack updates a live stack with the plan; what clear names is taken from the plan again. Breakpoints are removed.
func (r *run) patchStack(container string, st *yaml11.OrderedMap, timeout int, clearParams []string) error {
	p, err := r.process(container)
	if err != nil {
		return err
	}
	env := p.environment.Clone()
	reg := section(env, "resource_registry").Clone()
	res := section(reg, "resources").Clone()
	deepMerge(res, yaml11.MapOf("*", yaml11.MapOf("*", yaml11.MapOf("UpdateDeployment", yaml11.MapOf("hooks", []any{})))))
	reg.Set("resources", res)
	env.Set("resource_registry", reg)
	body := yaml11.MapOf("template", p.template, "environment", env, "files", p.files, "timeout_mins", timeout,
		"clear_parameters", clearParams, "template_file", p.templateFile)
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	if _, err := r.request(c, http.MethodPatch, c.ServiceURL("stacks", container, text(st, "id")), body, nil, 202); err != nil {
		return r.explain(container, err)
	}
	return nil
}

// updateStack makes the plan one that changes templates and parameters but runs no configuration on the nodes, and
// updates the stack with it: the first half of a minor update.
func updateStack(r *run, in input) (any, error) {
	container := in.str("container")
	timeout, err := in.integer("timeout", 240)
	if err != nil {
		return nil, err
	}
	st, begun, err := r.idleStack(container)
	switch {
	case err != nil:
		return nil, err
	case st == nil:
		return nil, fmt.Errorf("there is no stack %s to update", container)
	case begun:
		return accepted(container, st, "UPDATE"), nil
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	params := section(env, "parameter_defaults").Clone()
	if p := in.str("ceph_ansible_playbook"); p != "" {
		params.Set("CephAnsiblePlaybook", p)
	}
	params.Set("StackAction", "UPDATE")
	now := r.ac.Started.Unix() // the same when this action is run again
	params.Set("UpdateIdentifier", strconv.FormatInt(now, 10))
	if !in.boolean("skip_deploy_identifier") {
		params.Set("DeployIdentifier", now)
	}
	env.Set("parameter_defaults", params)
	keys, err := r.noopKeys(container)
	if err != nil {
		return nil, err
	}
	reg := section(env, "resource_registry").Clone()
	for _, k := range keys {
		reg.Set(k, "OS::Heat::None")
	}
	env.Set("resource_registry", reg)
	if err := r.writePlanEnv(container, env); err != nil {
		return nil, err
	}
	p, err := r.process(container)
	if err != nil {
		return nil, err
	}
	body := yaml11.MapOf("template", p.template, "environment", p.environment, "files", p.files, "timeout_mins", timeout, "disable_rollback", true, "template_file", p.templateFile)
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	if _, err := r.request(c, http.MethodPut, c.ServiceURL("stacks", container, text(st, "id")), body, nil, 202); err != nil {
		return nil, r.explain(container, err)
	}
	return accepted(container, st, "UPDATE"), nil
}

// networkConfigOf returns what os-net-config will be told on the nodes of a role, from a preview of the stack.
func networkConfigOf(r *run, in input) (any, error) {
	container, role := in.str("container"), in.str("role_name")
	p, err := r.process(container)
	if err != nil {
		return nil, err
	}
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	body := yaml11.MapOf("stack_name", container+"-TEMP", "template", p.template, "environment", p.environment, "files", p.files)
	var out any
	if _, err := r.request(c, http.MethodPost, c.ServiceURL("stacks", "preview"), body, &out); err != nil {
		return nil, r.explain(container, err)
	}
	script := findNetScript(dig(out, "stack", "resources"), container+"-TEMP-"+role, 0)
	if script == "" {
		return nil, fmt.Errorf("Unable to determine network config for role '%s'.", role) //nolint:staticcheck // the text clients know
	}
	_, rest, ok := strings.Cut(script, `{"network_config"`)
	config, _, ok2 := strings.Cut(rest, "'")
	if !ok || !ok2 || !json.Valid([]byte(`{"network_config"`+config)) {
		return nil, fmt.Errorf("Unable to determine network config for role '%s': its script holds no network_config", role) //nolint:staticcheck // as above
	}
	v, err := yaml11.DecodeJSON([]byte(`{"network_config"` + config))
	if err != nil {
		return nil, err
	}
	return dig(v, "network_config"), nil
}

// findNetScript looks in the nested lists of a preview for the os-net-config script of a role.
func findNetScript(v any, stack string, depth int) string {
	if depth > 2*stackDepth {
		return ""
	}
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			if s := findNetScript(e, stack, depth+1); s != "" {
				return s
			}
		}
	case *yaml11.OrderedMap:
		where, err := url.PathUnescape(text(x, "resource_identity", "stack_name"))
		if text(x, "resource_name") == "OsNetConfigImpl" && err == nil && strings.Contains(where, stack) {
			return text(x, "properties", "config")
		}
	}
	return ""
}
