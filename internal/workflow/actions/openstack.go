package actions

import (
	"context"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
)

// OpenStack returns the actions of the OpenStack services, under the names,
// parameters and with the results that Mistral gives them.
func OpenStack() []Action {
	out := tableActions()
	at := make(map[string]int, len(out)) // one of our own stands in place of the table's
	for i := range out {
		at[out[i].Name] = i
	}
	add := func(a Action) {
		i, listed := at[a.Name]
		if !listed {
			at[a.Name] = len(out)
			if takesRegion(a.Name) {
				a.Input = withParams(a.Input, []Param{Opt("action_region", "")})
				a = inRegion(a)
			}
			out = append(out, a)
			return
		}
		a.Input = withParams(a.Input, out[i].Input)
		out[i] = inRegion(a)
	}
	for _, svc := range []struct {
		open opener
		rows []rest
		own  []Action
	}{
		{(*cloud.Session).Orchestration, heatRows(), append(heatActions(), snapshotActions()...)},
		{(*cloud.Session).Baremetal, ironicRows(), ironicActions()},
		{(*cloud.Session).Compute, novaRows(), novaActions()},
		{(*cloud.Session).Image, glanceRows(), glanceActions()},
		{(*cloud.Session).Workflow, mistralRows(), mistralActions()},
		{(*cloud.Session).Introspection, introspectionRows(), introspectionActions()},
		{(*cloud.Session).Network, neutronRows(), nil},
		{(*cloud.Session).Identity, keystoneRows(), nil},
		{nil, nil, swiftActions()},
		{nil, nil, zaqarActions()},
		{nil, nil, cinderActions()},
	} {
		for _, row := range svc.rows {
			if _, listed := at[row.name]; !listed {
				add(row.action(svc.open))
			}
		}
		for _, a := range svc.own {
			add(a)
		}
	}
	return out
}

// takesRegion reports whether the actions of the action's project do.
func takesRegion(action string) bool {
	service, _, _ := strings.Cut(action, ".")
	return slices.ContainsFunc(projects(), func(p project) bool { return p.name == service && p.region })
}

func optional(names ...string) []Param {
	out := make([]Param, len(names))
	for i, n := range names {
		out[i] = Opt(n, nil)
	}
	return out
}

func required(names ...string) []Param {
	out := make([]Param, len(names))
	for i, n := range names {
		out[i] = Req(n)
	}
	return out
}

func params(lists ...[]Param) []Param {
	var out []Param
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

var _ opener = (func(*cloud.Session) (*gophercloud.ServiceClient, error))(nil)

func glanceRows() []rest {
	return []rest{
		{name: "glance.images_list", desc: "Lists images.", method: "GET", path: "images", unwrap: "images", pages: true, extra: true,
			query: []string{"limit", "marker", "sort_key", "sort_dir", "name", "visibility", "member_status", "owner", "status", "tag"},
			input: optional("limit", "marker", "sort_key", "sort_dir", "name", "visibility", "member_status", "owner", "status", "tag")},
		{name: "glance.images_get", desc: "Shows an image.", method: "GET", path: "images/{image_id}", input: required("image_id")},
		{name: "glance.images_delete", desc: "Deletes an image.", method: "DELETE", path: "images/{image_id}", input: required("image_id")},
		{name: "glance.images_create", desc: "Registers an image without data.", method: "POST", path: "images", wrap: "-", extra: true},
	}
}

func neutronRows() []rest {
	var out []rest
	for _, r := range []struct{ one, many, path string }{{"network", "networks", "networks"}, {"subnet", "subnets", "subnets"}, {"port", "ports", "ports"},
		{"router", "routers", "routers"}, {"security_group", "security_groups", "security-groups"}, {"floatingip", "floatingips", "floatingips"}} {
		out = append(out,
			rest{name: "neutron.list_" + r.many, desc: "Lists " + r.many + ".", method: "GET", path: r.path, extra: true},
			rest{name: "neutron.show_" + r.one, desc: "Shows a " + r.one + ".", method: "GET", path: r.path + "/{" + r.one + "}", input: required(r.one)},
			rest{name: "neutron.create_" + r.one, desc: "Creates a " + r.one + "; body is the whole request.", method: "POST", path: r.path, wrap: "body", input: required("body")},
			rest{name: "neutron.update_" + r.one, desc: "Updates a " + r.one + "; body is the whole request.", method: "PUT", path: r.path + "/{" + r.one + "}", wrap: "body", input: required(r.one, "body")},
			rest{name: "neutron.delete_" + r.one, desc: "Deletes a " + r.one + ".", method: "DELETE", path: r.path + "/{" + r.one + "}", input: required(r.one)})
	}
	return out
}

func keystoneRows() []rest {
	var out []rest
	for _, r := range []struct{ one, many string }{{"project", "projects"}, {"user", "users"}, {"role", "roles"}, {"domain", "domains"},
		{"group", "groups"}, {"service", "services"}, {"endpoint", "endpoints"}, {"region", "regions"}} {
		out = append(out,
			rest{name: "keystone." + r.many + "_list", desc: "Lists " + r.many + ".", method: "GET", path: r.many, unwrap: r.many, extra: true},
			rest{name: "keystone." + r.many + "_get", desc: "Shows a " + r.one + ".", method: "GET", path: r.many + "/{" + r.one + "}", unwrap: r.one, input: required(r.one)},
			rest{name: "keystone." + r.many + "_create", desc: "Creates a " + r.one + ".", method: "POST", path: r.many, wrap: r.one, unwrap: r.one, extra: true},
			rest{name: "keystone." + r.many + "_update", desc: "Updates a " + r.one + ".", method: "PATCH", path: r.many + "/{" + r.one + "}", wrap: r.one, unwrap: r.one, extra: true, input: required(r.one)},
			rest{name: "keystone." + r.many + "_delete", desc: "Deletes a " + r.one + ".", method: "DELETE", path: r.many + "/{" + r.one + "}", input: required(r.one)})
	}
	return out
}

// withParams adds those parameters of more that own lacks.
func withParams(own, more []Param) []Param {
	out := append([]Param(nil), own...)
	for _, p := range more {
		if !slices.ContainsFunc(own, func(o Param) bool { return o.Name == p.Name }) {
			p.Required = false
			out = append(out, p)
		}
	}
	return out
}

// inRegion makes an action heed action_region.
func inRegion(a Action) Action {
	run := a.Run
	a.Run = func(ctx context.Context, c *Context, in map[string]any) (any, error) {
		region := String(in, "action_region")
		delete(in, "action_region")
		if region != "" && c.Session != nil {
			other := *c
			other.Session = c.Session.InRegion(region)
			c = &other
		}
		return run(ctx, c, in)
	}
	return a
}
