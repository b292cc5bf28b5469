package deployment

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// listFile returns the entries of a YAML list of a plan.
func listFile(r *run, in input) (any, error) {
	list, ok, err := r.readListFile(in.str("container"), in.str("file"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("plan %s has no file %s", in.str("container"), in.str("file"))
	}
	return orEmpty(list), nil
}

// checkNetworkFiles checks that a plan has a template for every network, or the template that renders one.
func checkNetworkFiles(r *run, in input) (any, error) {
	names, err := r.listObjects(in.str("container"))
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, n := range in.list("network_data") {
		lower := firstText(text(n, "name_lower"), strings.ToLower(text(n, "name")))
		file := "network/" + lower + ".yaml"
		if !slices.Contains(names, file) && !slices.Contains(names, "network/network.network.j2.yaml") {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("Some networks have no template in plan %s: %s", in.str("container"), strings.Join(missing, ", ")) //nolint:staticcheck // the text clients know
	}
	return nil, nil
}

var networkName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// checkNetworksInput checks entries of network_data.yaml before they go into a plan.
func checkNetworksInput(_ *run, in input) (any, error) {
	var problems []string
	seen := map[string]bool{}
	for i, n := range in.list("networks") {
		name := text(n, "name")
		bad := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("network #%d %s: ", i, name)+fmt.Sprintf(format, args...))
		}
		if !networkName.MatchString(name) {
			bad("its name must be letters and digits")
			continue
		}
		if seen[name] {
			bad("it is there twice")
		}
		seen[name] = true
		for _, f := range []string{"ip_subnet", "ipv6_subnet"} {
			if v := text(n, f); v != "" {
				if _, err := netip.ParsePrefix(v); err != nil {
					bad("%s %q is no network", f, v)
				}
			}
		}
		for _, f := range []string{"enabled", "vip", "ipv6"} {
			if v := dig(n, f); v != nil {
				if _, ok := v.(bool); !ok {
					bad("%s must be true or false, not %v", f, v)
				}
			}
		}
		if v := intOf(dig(n, "vlan")); v < 0 || v > 4094 {
			bad("VLAN %d is not between 1 and 4094", v)
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("Invalid networks: %s", strings.Join(problems, "\n")) //nolint:staticcheck // the text clients know
	}
	return nil, nil
}

// deprecatedParameters compares what a plan sets with what its templates know: {deprecated: those set that the templates
// call deprecated, unused: those set that no template has, invalid_role_specific: those of a role that are not meant for one}.
func deprecatedParameters(r *run, in input) (any, error) {
	container := in.str("container")
	c := &checker{run: r, plan: container}
	user, err := c.parameters()
	if err != nil {
		return nil, err
	}
	tree, err := r.heatTree(container)
	if err != nil {
		return nil, err
	}
	roles, _, err := r.readListFile(container, rolesFile)
	if err != nil {
		return nil, err
	}
	_, names := byName(roles)
	return compareParameters(user, flattenTree(tree), names), nil
}

// ourParameter are parameters that the undercloud gives every plan, whether it has them or not.
var ourParameter = regexp.MustCompile(`^(DeployIdentifier|UpdateIdentifier|StackAction|RootStackName|node_admin_extra_ssh_keys|SwiftRing(Get|Put)Tempurl)$`)

// compareParameters is the pure part.
func compareParameters(user, flat *yaml11.OrderedMap, roles []string) *yaml11.OrderedMap {
	params, _ := dig(flat, "parameters").(*yaml11.OrderedMap)
	old := map[string]bool{}
	resources, _ := dig(flat, "resources").(*yaml11.OrderedMap)
	for _, res := range resources.All() {
		groups, _ := dig(res, "parameter_groups").([]any)
		for _, g := range groups {
			if text(g, "label") != "deprecated" {
				continue
			}
			list, _ := dig(g, "parameters").([]any)
			for _, p := range list {
				old[fmt.Sprint(p)] = true
			}
		}
	}
	deprecated, unused, invalid := []any{}, []any{}, []any{}
	for name, v := range user.All() {
		_, known := params.Get(name)
		role, isRole := strings.CutSuffix(name, "Parameters")
		switch {
		case old[name]:
			deprecated = append(deprecated, name)
		case !known && (!isRole || !slices.Contains(roles, role)) && !ourParameter.MatchString(name):
			unused = append(unused, name)
		}
		if !isRole || !slices.Contains(roles, role) {
			continue
		}
		m, _ := v.(*yaml11.OrderedMap)
		for inner := range m.All() {
			tags, _ := dig(params, inner, "tags").([]any)
			if !slices.Contains(tags, any("role_specific")) {
				invalid = append(invalid, inner)
			}
		}
	}
	return yaml11.MapOf("deprecated", deprecated, "unused", unused, "invalid_role_specific", invalid)
}

// fernetTargets returns what puts the fernet keys of a plan onto its nodes: {servers: [{id, name}], script}. The servers
// are those of the roles that run keystone.
func fernetTargets(r *run, in input) (any, error) {
	container := in.str("container")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	keys, _ := dig(env, "parameter_defaults", "KeystoneFernetKeys").(*yaml11.OrderedMap)
	if keys == nil {
		keys, _ = dig(env, "passwords", "KeystoneFernetKeys").(*yaml11.OrderedMap)
	}
	st, err := r.findStack(container)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return yaml11.MapOf("servers", []any{}, "script", ""), nil // not deployed: the plan has the keys
	}
	names, err := r.serverNames()
	if err != nil {
		return nil, err
	}
	out := outputs(st)
	servers := []any{}
	services, _ := dig(out, "EnabledServices").(*yaml11.OrderedMap)
	for role, list := range services.All() {
		l, _ := list.([]any)
		if !slices.Contains(l, any("keystone")) {
			continue
		}
		ids, _ := dig(out, "ServerIdData", "server_ids", role).([]any)
		for _, id := range ids {
			servers = append(servers, yaml11.MapOf("id", id, "name", firstText(names[fmt.Sprint(id)], fmt.Sprint(id))))
		}
	}
	script, err := fernetScript(keys)
	return yaml11.MapOf("servers", servers, "script", script), err
}

// fernetScript writes keys into their folder, each at once, the oldest last to go; pure.
func fernetScript(keys *yaml11.OrderedMap) (string, error) {
	var sb strings.Builder
	sb.WriteString("#!/bin/sh\nset -eu\numask 077\n")
	dir, names := "", []string{}
	for path, v := range keys.All() {
		i := strings.LastIndexByte(path, '/')
		if i <= 0 || !strings.HasPrefix(path, "/etc/keystone/") || strings.Contains(path, "..") {
			return "", fmt.Errorf("fernet key %q is not below /etc/keystone", path)
		}
		dir = path[:i]
		names = append(names, path[i+1:])
		q := shellQuote(path)
		fmt.Fprintf(&sb, "mkdir -p %s\nprintf %%s %s > %s.new\n", shellQuote(dir), shellQuote(text(v, "content")), q)
		fmt.Fprintf(&sb, "if id -u keystone >/dev/null 2>&1; then chown keystone:keystone %s %s.new; fi\nmv %s.new %s\n", shellQuote(dir), q, q, q)
	}
	if dir == "" {
		return "", fmt.Errorf("there are no fernet keys")
	}
	fmt.Fprintf(&sb, "for f in %s/*; do\n  case ${f##*/} in\n    %s) ;;\n    *) rm -f \"$f\" ;;\n  esac\ndone\n", shellQuote(dir), strings.Join(names, "|"))
	return sb.String(), nil
}

// updateTargets resolves what `nodes` of update_nodes names (server names, short host names, roles, or all; with commas)
// to servers of the plan's stack, in the order of their names: {servers: [{id, name}], playbook: the playbook is there}.
func updateTargets(r *run, in input) (any, error) {
	wanted := stringList(in.value("nodes"))
	c := &checker{run: r, plan: firstText(in.str("container"), "overcloud")}
	st, err := r.findStack(c.plan)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, fmt.Errorf("there is no stack %s", c.plan)
	}
	servers, err := c.stackServers()
	if err != nil {
		return nil, err
	}
	servers = withDeployedServers(servers, outputs(st))
	roles, _ := dig(outputs(st), "ServerIdData", "server_ids").(*yaml11.OrderedMap)
	out, missing := matchServers(servers, roles, wanted)
	if len(missing) > 0 {
		return nil, fmt.Errorf("stack %s has no servers named %s", c.plan, strings.Join(missing, ", "))
	}
	found := false
	if names, err := r.listObjects(overcloudConfigContainer); err == nil {
		found = slices.Contains(names, in.str("playbook"))
	} else if !isStatus(err, 404) {
		return nil, err
	}
	return yaml11.MapOf("servers", out, "playbook", found), nil
}

// withDeployedServers adds the servers of a stack that Nova does not know, because somebody else installed them.
func withDeployedServers(servers []any, out *yaml11.OrderedMap) []any {
	known := map[string]bool{}
	for _, s := range servers {
		known[text(s, "id")] = true
	}
	hosts, _ := dig(out, "RoleNetHostnameMap").(*yaml11.OrderedMap)
	for role, byNet := range hosts.All() {
		names, _ := dig(byNet, "ctlplane").([]any)
		ids, _ := dig(out, "ServerIdData", "server_ids", role).([]any)
		for i, n := range names {
			if i < len(ids) && !known[fmt.Sprint(ids[i])] {
				servers = append(servers, yaml11.MapOf("id", ids[i], "name", shortName(n)))
			}
		}
	}
	return servers
}

// matchServers finds the wanted ones; roles maps a role to the ids of its servers. Without such an output of the stack
// a role is known by the names of its servers.
func matchServers(servers []any, roles *yaml11.OrderedMap, wanted []string) (out []any, missing []string) {
	out = []any{}
	taken := map[string]bool{}
	sorted := slices.Clone(servers)
	slices.SortFunc(sorted, func(a, b any) int { return strings.Compare(text(a, "name"), text(b, "name")) })
	for _, w := range wanted {
		ok := false
		var ofRole []any
		isRole := false
		for role, ids := range roles.All() {
			if strings.EqualFold(role, w) {
				ofRole, isRole = ids.([]any)
			}
		}
		for _, s := range sorted {
			id, name := text(s, "id"), text(s, "name")
			short, _, _ := strings.Cut(name, ".")
			byRole := slices.Contains(ofRole, any(id)) || !isRole && strings.Contains(name, "-"+strings.ToLower(w)+"-")
			if w != "all" && w != "overcloud" && !strings.EqualFold(w, name) && !strings.EqualFold(w, short) && w != id && !byRole {
				continue
			}
			ok = true
			if !taken[id] {
				taken[id] = true
				out = append(out, yaml11.MapOf("id", id, "name", name))
			}
		}
		if !ok {
			missing = append(missing, w)
		}
	}
	return out, missing
}
