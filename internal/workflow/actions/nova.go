package actions

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

func novaRows() []rest {
	return []rest{
		{name: "nova.servers_create", desc: "Creates a server.", method: "POST", path: "servers", wrap: "server", unwrap: "server", extra: true},
		{name: "nova.servers_delete", desc: "Deletes a server.", method: "DELETE", path: "servers/{server}", input: required("server")},
		{name: "nova.hypervisors_statistics", desc: "Sums up all hypervisors.", method: "GET", path: "os-hypervisors/statistics", unwrap: "hypervisor_statistics"},
		{name: "nova.hypervisors_get", desc: "Shows a hypervisor.", method: "GET", path: "os-hypervisors/{hypervisor}", unwrap: "hypervisor", input: required("hypervisor")},
		{name: "nova.flavors_create", desc: "Creates a flavor.", method: "POST", path: "flavors", wrap: "flavor", unwrap: "flavor", extra: true},
		{name: "nova.flavors_delete", desc: "Deletes a flavor.", method: "DELETE", path: "flavors/{flavor}", input: required("flavor")},
		{name: "nova.keypairs_create", desc: "Creates a key pair.", method: "POST", path: "os-keypairs", wrap: "keypair", unwrap: "keypair", input: params(required("name"), optional("public_key"))},
		{name: "nova.keypairs_delete", desc: "Deletes a key pair.", method: "DELETE", path: "os-keypairs/{key}", input: required("key")},
		{name: "nova.services_list", desc: "Lists compute services.", method: "GET", path: "os-services", unwrap: "services", query: []string{"host", "binary"}, input: optional("host", "binary")},
	}
}

func novaActions() []Action {
	kinds := []struct {
		name, path, key, one string
		shape                func(m map[string]any) map[string]any
	}{
		{"servers", "servers/detail", "servers", "server", serverObject},
		{"flavors", "flavors/detail", "flavors", "flavor", object},
		{"hypervisors", "os-hypervisors/detail", "hypervisors", "hypervisor", object},
		{"keypairs", "os-keypairs", "keypairs", "keypair", func(m map[string]any) map[string]any {
			inner, _ := m["keypair"].(map[string]any)
			return object(inner)
		}},
	}
	var out []Action
	for _, k := range kinds {
		list := func(ctx context.Context, c *Context, filters map[string]any) ([]any, error) {
			return novaList(ctx, c, k.path, k.key, k.shape, filters)
		}
		find := func(ctx context.Context, c *Context, in map[string]any) ([]any, error) {
			all, err := list(ctx, c, nil)
			return matching(all, in), err
		}
		out = append(out,
			Action{Name: "nova." + k.name + "_list", Description: "Lists " + k.name + ".", Extra: true,
				Input: []Param{Opt("detailed", true), Opt("search_opts", nil), Opt("marker", nil), Opt("limit", nil)},
				Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
					filters := map[string]any{"marker": in["marker"], "limit": in["limit"]}
					for name, v := range Map(in, "search_opts") {
						filters[name] = v
					}
					return list(ctx, c, filters)
				}},
			Action{Name: "nova." + k.name + "_findall", Description: "Finds " + k.name + " by their attributes.", Extra: true,
				Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) { return find(ctx, c, in) }},
			Action{Name: "nova." + k.name + "_find", Description: "Finds the only " + k.one + " with the given attributes.", Extra: true,
				Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
					found, err := find(ctx, c, in)
					if err != nil {
						return nil, err
					}
					switch len(found) {
					case 1:
						return found[0], nil
					case 0:
						return nil, fmt.Errorf("No %s matching %s. (HTTP 404)", k.one, yaql.Str(in)) //nolint:revive,staticcheck // novaclient's wording
					}
					return nil, fmt.Errorf("%d %s match %s, not one", len(found), k.name, yaql.Str(in))
				}})
		if k.name != "hypervisors" { // that one is a row
			path := strings.TrimSuffix(k.path, "/detail")
			out = append(out, Action{Name: "nova." + k.name + "_get", Description: "Shows a " + k.one + ".", Input: required(k.one),
				Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
					client, err := clientFor(c, (*cloud.Session).Compute)
					if err != nil {
						return nil, err
					}
					got, err := (&sender{client}).send(ctx, http.MethodGet, nil, path, String(in, k.one))
					if err != nil {
						return nil, err
					}
					m, _ := unwrap(got, k.one).(map[string]any)
					if k.name == "servers" {
						return serverObject(m), nil
					}
					return object(m), nil
				}})
		}
	}
	return append(out, novaVerbs()...)
}

func novaVerbs() []Action {
	var out []Action
	for verb, body := range map[string]map[string]any{"start": {"os-start": nil}, "stop": {"os-stop": nil}, "reboot": {"reboot": map[string]any{"type": "SOFT"}}} {
		out = append(out, Action{Name: "nova.servers_" + verb, Description: "Sends " + verb + " to a server.", Input: required("server"),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				client, err := clientFor(c, (*cloud.Session).Compute)
				if err != nil {
					return nil, err
				}
				return (&sender{client}).send(ctx, http.MethodPost, body, "servers", String(in, "server"), "action")
			}})
	}
	return out
}

func novaList(ctx context.Context, c *Context, path, key string, shape func(map[string]any) map[string]any, filters map[string]any) ([]any, error) {
	client, err := clientFor(c, (*cloud.Session).Compute)
	if err != nil {
		return nil, err
	}
	got, err := rest{path: path, method: http.MethodGet, unwrap: key, pages: true, extra: true}.run(ctx, client, filters)
	if err != nil {
		return nil, err
	}
	items, _ := got.([]any)
	for i, it := range items {
		m, _ := it.(map[string]any)
		items[i] = shape(m)
	}
	return items, nil
}

// object is a client's object as Mistral dumps it: the attributes, and all of
// them again under _info.
func object(m map[string]any) map[string]any {
	out := make(map[string]any, len(m)+2)
	for k, v := range m {
		out[k] = v
	}
	out["_info"] = m
	out["_loaded"] = true
	return out
}

// serverObject adds networks: {name: [addresses]}.
func serverObject(m map[string]any) map[string]any {
	out := object(m)
	networks := map[string]any{}
	addresses, _ := m["addresses"].(map[string]any)
	for name, list := range addresses {
		ips := []any{}
		entries, _ := list.([]any)
		for _, e := range entries {
			if a, ok := e.(map[string]any); ok {
				ips = append(ips, a["addr"])
			}
		}
		networks[name] = ips
	}
	out["networks"] = networks
	return out
}

func matching(items []any, want map[string]any) []any {
	out := []any{}
	for _, it := range items {
		m, _ := it.(map[string]any)
		ok := true
		for k, v := range want {
			ok = ok && yaql.Str(m[k]) == yaql.Str(v)
		}
		if ok {
			out = append(out, it)
		}
	}
	return out
}
