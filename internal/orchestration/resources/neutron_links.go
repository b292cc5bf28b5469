package resources

import (
	"context"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// neutronTypes are the types of Neutron that join objects instead of making one.
func neutronTypes() []*Type {
	return []*Type{routerInterface(), routerGateway(), floatingIPAssociation(), neutronQuota(), extraRoute(), extraRouteSet()}
}

// retryBusy turns a conflict into waiting while a resource that is in the way is being deleted too.
func retryBusy(r *Resource, err error) (Step, error) {
	if err == nil || isNotFound(err) {
		return Done(), nil
	}
	if status(err) == 409 && r.Host.Now().Sub(r.Begun) < maxBusy {
		return Wait(2 * time.Second), nil
	}
	return Step{}, err
}

// routerInterface puts a router on a subnet, or gives it a port. Its id is router:subnet_id=… or
// router:port_id=…, as Heat's.
func routerInterface() *Type {
	parts := func(ctx context.Context, r *Resource) (c client, router string, what *Map, err error) {
		if c, err = r.client(ctx); err != nil {
			return c, "", nil, err
		}
		if router = r.Str("router"); router != "" {
			return c, router, yaml11.MapOf(r.Str("key"), r.Str("id")), nil
		}
		if router, err = c.find(ctx, "routers", r.Props.Str("router")); err != nil {
			return c, "", nil, err
		}
		key, in, name := "subnet_id", "subnets", r.Props.Str("subnet")
		if p := r.Props.Str("port"); p != "" {
			key, in, name = "port_id", "ports", p
		}
		id, err := c.find(ctx, in, name)
		r.Data["router"], r.Data["key"], r.Data["id"] = router, key, id
		return c, router, yaml11.MapOf(key, id), err
	}
	return &Type{Name: "OS::Neutron::RouterInterface", DeleteFirst: true,
		Validate: func(p *Props) error {
			if p.Has("subnet") == p.Has("port") {
				return Failed("Either subnet or port must be specified, not both.")
			}
			return nil
		},
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, router, what, err := parts(ctx, r)
			if err != nil {
				return Step{}, err
			}
			if r.PhysicalID == "" {
				attempted := r.Data["creating"] == true
				r.Data["creating"] = true
				if err := r.SetID(ctx, router+":"+r.Str("key")+"="+r.Str("id")); err != nil {
					return Step{}, err
				}
				if _, err := c.call(ctx, "PUT", "routers/"+router+"/add_router_interface", what); err != nil && !(attempted && status(err) == 400) {
					r.PhysicalID = ""
					return Step{}, err
				}
			}
			return Done(), nil
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			if r.Data["creating"] != true {
				return Done(), nil
			}
			c, router, what, err := parts(ctx, r)
			if err != nil {
				return Step{}, err
			}
			_, err = c.call(ctx, "PUT", "routers/"+router+"/remove_router_interface", what)
			return retryBusy(r, err)
		},
		Attr: noAttr,
	}
}

func noAttr(context.Context, *Resource, string) (any, error) { return nil, nil }

// routerGateway gives a router its gateway (an old way; the router has a property for that).
func routerGateway() *Type {
	set := func(ctx context.Context, r *Resource, info any) error {
		c, err := r.service(ctx, "neutron")
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "PUT", "routers/"+url.PathEscape(r.Props.Str("router_id")), yaml11.MapOf("router", yaml11.MapOf("external_gateway_info", info)))
		return err
	}
	return &Type{Name: "OS::Neutron::RouterGateway", Client: "neutron", DeleteFirst: true, Attr: noAttr,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.service(ctx, "neutron")
			if err != nil {
				return Step{}, err
			}
			id, err := c.find(ctx, "networks", r.Props.Str("network"))
			if err != nil {
				return Step{}, err
			}
			if err := set(ctx, r, yaml11.MapOf("network_id", id)); err != nil {
				return Step{}, err
			}
			return Done(), r.SetID(ctx, r.Props.Str("router_id")+":"+id)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			if r.PhysicalID == "" {
				return Done(), nil
			}
			return retryBusy(r, set(ctx, r, yaml11.NewMap()))
		},
	}
}

func floatingIPAssociation() *Type {
	set := func(ctx context.Context, r *Resource, p *Props, port any) error {
		c, err := r.client(ctx)
		if err != nil {
			return err
		}
		b := yaml11.MapOf("port_id", port)
		if port != nil {
			copyProps(b, p, "fixed_ip_address")
		}
		_, err = c.call(ctx, "PUT", "floatingips/"+url.PathEscape(p.Str("floatingip_id")), yaml11.MapOf("floatingip", b))
		return err
	}
	join := func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.client(ctx)
		if err != nil {
			return Step{}, err
		}
		port, err := c.find(ctx, "ports", r.Props.Str("port_id"))
		if err != nil {
			return Step{}, err
		}
		if r.Changed["floatingip_id"] && r.Old != nil {
			if err := set(ctx, r, r.Old, nil); err != nil && !isNotFound(err) {
				return Step{}, err
			}
		}
		if err := set(ctx, r, r.Props, port); err != nil {
			return Step{}, err
		}
		return Done(), r.SetID(ctx, r.ID)
	}
	return &Type{Name: "OS::Neutron::FloatingIPAssociation", Create: join, Update: join, Attr: noAttr,
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			if r.PhysicalID == "" {
				return Done(), nil
			}
			if err := set(ctx, r, r.Props, nil); err != nil && !isNotFound(err) {
				return Step{}, err
			}
			return Done(), nil
		},
	}
}

// quota is a type that sets the quotas of a project and resets them when it goes.
func quota(name, path, key string) *Type {
	set := func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.client(ctx)
		if err != nil {
			return Step{}, err
		}
		if r.PhysicalID == "" {
			k, err := r.service(ctx, "keystone")
			if err != nil {
				return Step{}, err
			}
			id, err := k.find(ctx, "projects", r.Props.Str("project"))
			if err != nil {
				return Step{}, err
			}
			if err := r.SetID(ctx, id); err != nil {
				return Step{}, err
			}
		}
		b := yaml11.NewMap()
		for k, v := range r.Props.All().All() {
			if k != "project" && v != nil {
				b.Set(k, v)
			}
		}
		_, err = c.call(ctx, "PUT", path+"/"+r.PhysicalID, yaml11.MapOf(key, b))
		return Done(), err
	}
	return &Type{Name: name, Create: set, Update: set, Attr: noAttr,
		Validate: func(p *Props) error {
			if p.All().Len() < 2 {
				return Failed("At least one of the quotas must be specified.")
			}
			return nil
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.client(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, path+"/"+r.PhysicalID)
		},
	}
}

func neutronQuota() *Type { return quota("OS::Neutron::Quota", "quotas", "quota") }

// extraRoute adds one route to a router by writing its routes anew.
func extraRoute() *Type {
	change := func(ctx context.Context, r *Resource, add bool) error {
		c, err := r.client(ctx)
		if err != nil {
			return err
		}
		router := "routers/" + url.PathEscape(r.Props.Str("router_id"))
		m, err := c.call(ctx, "GET", router, nil)
		if err != nil {
			return err
		}
		mine := yaml11.MapOf("destination", r.Props.Str("destination"), "nexthop", r.Props.Str("nexthop"))
		routes := []any{}
		for _, e := range items(submap(m, "router"), "routes") {
			if str(e, "destination") != str(mine, "destination") || str(e, "nexthop") != str(mine, "nexthop") {
				routes = append(routes, e)
			}
		}
		if add {
			routes = append(routes, mine)
		}
		_, err = c.call(ctx, "PUT", router, yaml11.MapOf("router", yaml11.MapOf("routes", routes)))
		return err
	}
	return &Type{Name: "OS::Neutron::ExtraRoute", Attr: noAttr,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			if err := change(ctx, r, true); err != nil {
				return Step{}, err
			}
			return Done(), r.SetID(ctx, r.Props.Str("router_id")+":"+r.Props.Str("destination")+":"+r.Props.Str("nexthop"))
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			if r.PhysicalID == "" {
				return Done(), nil
			}
			return retryBusy(r, change(ctx, r, false))
		},
	}
}

// extraRouteSet adds routes with the calls of Neutron that leave the other routes alone.
func extraRouteSet() *Type {
	routes := func(p *Props) []any {
		out := []any{}
		for _, v := range p.List("routes") {
			out = append(out, yaml11.MapOf("destination", str(v.(*Map), "destination"), "nexthop", str(v.(*Map), "nexthop")))
		}
		return out
	}
	call := func(ctx context.Context, r *Resource, verb string, l []any) error {
		if len(l) == 0 {
			return nil
		}
		c, err := r.client(ctx)
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "PUT", "routers/"+url.PathEscape(r.PhysicalID)+"/"+verb, yaml11.MapOf("router", yaml11.MapOf("routes", l)))
		return err
	}
	return &Type{Name: "OS::Neutron::ExtraRouteSet", Attr: noAttr,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.client(ctx)
			if err != nil {
				return Step{}, err
			}
			id, err := c.find(ctx, "routers", r.Props.Str("router"))
			if err != nil {
				return Step{}, err
			}
			if err := r.SetID(ctx, id); err != nil {
				return Step{}, err
			}
			return Done(), call(ctx, r, "add_extraroutes", routes(r.Props))
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			if r.Old != nil {
				if err := call(ctx, r, "remove_extraroutes", routes(r.Old)); err != nil {
					return Step{}, err
				}
			}
			return Done(), call(ctx, r, "add_extraroutes", routes(r.Props))
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			if r.PhysicalID == "" {
				return Done(), nil
			}
			return retryBusy(r, call(ctx, r, "remove_extraroutes", routes(r.Props)))
		},
	}
}

func ruleBody(_ context.Context, _ *Resource, _ client, b *Map, _ map[string]bool) error {
	if v, ok := b.Get("protocol"); ok && (v == "any" || v == "") { // Neutron says null
		b.Delete("protocol")
	}
	return nil
}

// groupRules brings the rules of a security group to what the template says. Without egress rules of its
// own the two that Neutron makes for every group stay, as in Heat.
func groupRules(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	if changed != nil && !changed["rules"] {
		return nil
	}
	m, err := c.call(ctx, "GET", "security-groups/"+r.PhysicalID, nil)
	if err != nil {
		return err
	}
	var want []*Map
	egress := false
	for _, v := range r.Props.List("rules") {
		rule := groupRule(r, v.(*Map))
		egress = egress || str(rule, "direction") == "egress"
		want = append(want, rule)
	}
	if !egress {
		for _, e := range []string{"IPv4", "IPv6"} {
			want = append(want, yaml11.MapOf("security_group_id", r.PhysicalID, "direction", "egress", "ethertype", e))
		}
	}
	fields := []string{"direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id"}
	same := func(a, b *Map) bool {
		for _, f := range fields {
			if str(a, f) != str(b, f) {
				return false
			}
		}
		return true
	}
	have := items(submap(m, "security_group"), "security_group_rules")
	for _, h := range have {
		if !anyOf(want, func(w *Map) bool { return same(h, w) }) {
			if err := c.remove(ctx, "security-group-rules/"+str(h, "id")); err != nil {
				return err
			}
		}
	}
	for _, w := range want {
		if anyOf(have, func(h *Map) bool { return same(h, w) }) {
			continue
		}
		if _, err := c.call(ctx, "POST", "security-group-rules", yaml11.MapOf("security_group_rule", w)); err != nil {
			return err
		}
		have = append(have, w)
	}
	return nil
}

func groupRule(r *Resource, m *Map) *Map {
	rule := yaml11.MapOf("security_group_id", r.PhysicalID)
	for _, f := range []string{"direction", "ethertype", "port_range_min", "port_range_max", "remote_ip_prefix"} {
		if v, _ := m.Get(f); v != nil {
			rule.Set(f, v)
		}
	}
	if p := str(m, "protocol"); p != "" {
		rule.Set("protocol", p)
	}
	if str(m, "remote_mode") == "remote_group_id" {
		rule.Delete("remote_ip_prefix")
		group := str(m, "remote_group_id")
		if group == "" { // the group itself
			group = r.PhysicalID
		}
		rule.Set("remote_group_id", group)
	}
	return rule
}

func anyOf[T any](l []T, f func(T) bool) bool {
	for _, e := range l {
		if f(e) {
			return true
		}
	}
	return false
}
