package resources

import (
	"context"
	"net/url"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// keystoneObjects are the types of Keystone that are one object of a collection.
func keystoneObjects() []object {
	inDomain := map[string]string{"domain": "domains"}
	return []object{
		{Type: "OS::Keystone::Project", Path: "projects", Key: "project", Method: "PATCH", Find: map[string]string{"domain": "domains", "parent": "projects"},
			Rename: map[string]string{"tags": "tags"}},
		{Type: "OS::Keystone::Domain", Path: "domains", Key: "domain", Method: "PATCH", Before: func(ctx context.Context, r *Resource, c client) error {
			_, err := c.call(ctx, "PATCH", "domains/"+url.PathEscape(r.PhysicalID), yaml11.MapOf("domain", yaml11.MapOf("enabled", false)))
			return err
		}},
		{Type: "OS::Keystone::Group", Path: "groups", Key: "group", Method: "PATCH", Find: inDomain, Rename: map[string]string{"roles": ""}, After: assignRoles("groups")},
		{Type: "OS::Keystone::User", Path: "users", Key: "user", Method: "PATCH", Find: map[string]string{"domain": "domains", "default_project": "projects"},
			Rename: map[string]string{"roles": "", "groups": ""}, After: userLinks},
		{Type: "OS::Keystone::Role", Path: "roles", Key: "role", Method: "PATCH", Find: inDomain},
		{Type: "OS::Keystone::Service", Path: "services", Key: "service", Method: "PATCH"},
		{Type: "OS::Keystone::Endpoint", Path: "endpoints", Key: "endpoint", Method: "PATCH", Find: map[string]string{"service": "services"}},
		{Type: "OS::Keystone::Region", Path: "regions", Key: "region", Method: "PATCH", NoName: true, Rename: map[string]string{"parent_region": "parent_region_id"}},
	}
}

func userLinks(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	if changed == nil || changed["groups"] {
		if err := userGroups(ctx, r, c); err != nil {
			return err
		}
	}
	return assignRoles("users")(ctx, r, c, changed)
}

// userGroups makes the user a member of the groups of the template, and of no group it was in because of an
// earlier one.
func userGroups(ctx context.Context, r *Resource, c client) error {
	want, err := c.findAll(ctx, "groups", r.Props.List("groups"))
	if err != nil {
		return err
	}
	had, _ := r.Data["groups"].([]any)
	for _, g := range had {
		if !hasText(want, hot.PyStr(g)) {
			if err := c.remove(ctx, "groups/"+hot.PyStr(g)+"/users/"+r.PhysicalID); err != nil {
				return err
			}
		}
	}
	for _, g := range want {
		if _, err := c.call(ctx, "PUT", "groups/"+hot.PyStr(g)+"/users/"+r.PhysicalID, nil); err != nil {
			return err
		}
	}
	r.Data["groups"] = want
	return r.Host.Save(ctx, r)
}

// assignRoles gives the object itself, a user or a group, the roles of its property roles.
func assignRoles(kind string) func(context.Context, *Resource, client, map[string]bool) error {
	return func(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
		if changed != nil && !changed["roles"] {
			return nil
		}
		return grant(ctx, r, c, kind, r.PhysicalID)
	}
}

// grant makes the assignments of the property roles and takes those back that an earlier template wanted.
func grant(ctx context.Context, r *Resource, c client, kind, id string) error {
	want := []any{}
	for _, v := range r.Props.List("roles") {
		path, err := grantPath(ctx, c, v.(*Map), kind, id)
		if err != nil {
			return err
		}
		want = append(want, path)
	}
	had, _ := r.Data["grants"].([]any)
	both := append([]any{}, had...)
	r.Data["grants"] = append(both, want...) // what may exist from now on
	if err := r.Host.Save(ctx, r); err != nil {
		return err
	}
	for _, p := range had {
		if !hasText(want, hot.PyStr(p)) {
			if err := c.remove(ctx, hot.PyStr(p)); err != nil {
				return err
			}
		}
	}
	for _, p := range want {
		if _, err := c.call(ctx, "PUT", hot.PyStr(p), nil); err != nil {
			return err
		}
	}
	r.Data["grants"] = want
	return r.Host.Save(ctx, r)
}

func grantPath(ctx context.Context, c client, m *Map, kind, id string) (string, error) {
	role, err := c.find(ctx, "roles", str(m, "role"))
	if err != nil {
		return "", err
	}
	project, domain := str(m, "project"), str(m, "domain")
	in, name := "projects", project
	switch {
	case project != "" && domain != "" || project == "" && domain == "":
		return "", Failed("Specify either project or domain for role %s", str(m, "role"))
	case domain != "":
		in, name = "domains", domain
	}
	scope, err := c.find(ctx, in, name)
	if err != nil {
		return "", err
	}
	return in + "/" + url.PathEscape(scope) + "/" + kind + "/" + url.PathEscape(id) + "/roles/" + url.PathEscape(role), nil
}

// roleAssignment is OS::Keystone::UserRoleAssignment and GroupRoleAssignment.
func roleAssignment(name, prop, kind string) *Type {
	set := func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.client(ctx)
		if err != nil {
			return Step{}, err
		}
		id, err := c.find(ctx, kind, r.Props.Str(prop))
		if err != nil {
			return Step{}, err
		}
		if err := grant(ctx, r, c, kind, id); err != nil {
			return Step{}, err
		}
		return Done(), r.SetID(ctx, id)
	}
	return &Type{Name: name, Create: set, Update: set, Attr: noAttr,
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.client(ctx)
			if err != nil {
				return Step{}, err
			}
			l, _ := r.Data["grants"].([]any)
			for _, p := range l {
				if err := c.remove(ctx, hot.PyStr(p)); err != nil {
					return Step{}, err
				}
			}
			return Done(), nil
		},
	}
}

func keystoneTypes() []*Type {
	return []*Type{roleAssignment("OS::Keystone::UserRoleAssignment", "user", "users"), roleAssignment("OS::Keystone::GroupRoleAssignment", "group", "groups")}
}
