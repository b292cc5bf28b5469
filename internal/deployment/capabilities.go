package deployment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const capabilitiesFile = "capabilities-map.yaml"

// environmentPaths are the files a plan environment names.
func environmentPaths(env *yaml11.OrderedMap) []string {
	var out []string
	list, _ := dig(env, "environments").([]any)
	for _, e := range list {
		if p := text(e, "path"); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// capabilitiesGet returns the environments of a plan by topic, with what is enabled. Environments that the plan's
// capabilities-map.yaml does not name are in the topic Other.
func capabilitiesGet(r *run, in input) (any, error) {
	container := in.str("container")
	data, err := r.getObject(container, capabilitiesFile)
	if err != nil {
		return nil, fmt.Errorf("Error parsing capabilities-map.yaml: %w", err) //nolint:staticcheck // the text clients know
	}
	m, err := parseMap(container+"/"+capabilitiesFile, data)
	if err != nil {
		return nil, err
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	return capabilityTopics(m, environmentPaths(env), names), nil
}

func capabilityTopics(m *yaml11.OrderedMap, enabled, files []string) *yaml11.OrderedMap {
	known := map[string]bool{}
	out := yaml11.NewMap()
	topics, _ := dig(m, "topics").([]any)
	for _, topic := range topics {
		groups := []any{}
		list, _ := dig(topic, "environment_groups").([]any)
		for _, g := range list {
			envs := []any{}
			members, _ := dig(g, "environments").([]any)
			for _, e := range members {
				file := text(e, "file")
				known[file] = true
				envs = append(envs, yaml11.MapOf("title", dig(e, "title"), "description", dig(e, "description"), "file", file,
					"enabled", slices.Contains(enabled, file), "requires", dig(e, "requires")))
			}
			groups = append(groups, yaml11.MapOf("title", dig(g, "title"), "description", dig(g, "description"), "environments", envs))
		}
		out.Set(text(topic, "title"), yaml11.MapOf("title", dig(topic, "title"), "description", dig(topic, "description"), "environment_groups", groups))
	}
	other := []any{}
	slices.Sort(files)
	for _, f := range files {
		if known[f] || !strings.HasSuffix(f, ".yaml") || strings.HasSuffix(f, ".j2.yaml") || !strings.Contains(f, "environments/") && !strings.HasSuffix(f, "user-environment.yaml") {
			continue
		}
		e := yaml11.MapOf("title", f, "description", nil, "file", f, "enabled", slices.Contains(enabled, f), "requires", nil)
		other = append(other, yaml11.MapOf("title", f, "description", nil, "environments", []any{e}))
	}
	if len(other) > 0 {
		out.Set("Other", yaml11.MapOf("title", "Other", "description", nil, "environment_groups", other))
	}
	return out
}

// capabilitiesUpdate enables and disables environments of a plan: environments {path: bool}. With purge_missing those
// that are not named are disabled. What an enabled environment requires stands before it. The result is the plan environment.
func capabilitiesUpdate(r *run, in input) (any, error) {
	container := in.str("container")
	want := in.mapping("environments")
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	requires := map[string][]string{}
	if data, err := r.getObject(container, capabilitiesFile); err == nil {
		m, err := parseMap(container+"/"+capabilitiesFile, data)
		if err != nil {
			return nil, err
		}
		requires = requirements(m)
	} else if !isStatus(err, 404) {
		return nil, err
	}
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	for path, on := range want.All() {
		rendered := slices.Contains(names, strings.TrimSuffix(path, ".yaml")+".j2.yaml")
		if truthy(on) && !slices.Contains(names, path) && !rendered {
			return nil, fmt.Errorf("plan %s has no environment %s", container, path)
		}
	}
	list, _ := dig(env, "environments").([]any)
	env.Set("environments", orderEnvironments(list, want, in.boolean("purge_missing"), requires))
	return env, r.writePlanEnv(container, env)
}

// requirements are the files each environment of a capabilities map requires.
func requirements(m *yaml11.OrderedMap) map[string][]string {
	out := map[string][]string{}
	topics, _ := dig(m, "topics").([]any)
	for _, t := range topics {
		groups, _ := dig(t, "environment_groups").([]any)
		for _, g := range groups {
			envs, _ := dig(g, "environments").([]any)
			for _, e := range envs {
				req, _ := dig(e, "requires").([]any)
				for _, f := range req {
					out[text(e, "file")] = append(out[text(e, "file")], fmt.Sprint(f))
				}
			}
		}
	}
	return out
}

func orderEnvironments(list []any, want *yaml11.OrderedMap, purge bool, requires map[string][]string) []any {
	var kept []any
	seen := map[string]bool{}
	for _, e := range list {
		path := text(e, "path")
		v, named := want.Get(path)
		if path != "" && (named && !truthy(v) || purge && !named) {
			continue
		}
		kept = append(kept, e)
		seen[path] = true
	}
	for path, on := range want.All() {
		if truthy(on) && !seen[path] {
			kept = append(kept, yaml11.MapOf("path", path))
			seen[path] = true
		}
	}
	entries := map[string]any{}
	for _, e := range kept {
		entries[text(e, "path")] = e
	}
	out := []any{}
	placed := map[string]bool{}
	var place func(e any, depth int)
	place = func(e any, depth int) {
		path := text(e, "path")
		if path != "" && placed[path] {
			return
		}
		placed[path] = true
		for _, req := range requires[path] {
			if entries[req] != nil && depth < 100 {
				place(entries[req], depth+1)
			}
		}
		out = append(out, e)
	}
	for _, e := range kept {
		place(e, 0)
	}
	return out
}
