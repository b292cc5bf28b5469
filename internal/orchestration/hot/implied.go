package hot

import "slices"

// Implied names the resources that r needs though it does not refer to them, as
// Heat's own types say of each other: a port needs the subnets of its network,
// a route the interface of its router, a floating IP the way out. Two
// properties are the same if they are the same value or name the same resource.
func (ev *Evaluator) Implied(r *ResourceDef) []string {
	im := implied{ev}
	var out []string
	add := func(names []string) { out = append(out, names...) }
	switch r.Type {
	case "OS::Neutron::Port", "OS::Neutron::RouterGateway":
		add(im.subnets(im.key(r.Properties, "network", "network_id")))
	case "OS::Neutron::Router":
		add(im.subnets(im.key(r.Properties.property("external_gateway_info"), "network")))
	case "OS::Nova::Server":
		if list := r.Properties.property("networks"); list != nil && list.kind == exprList {
			for _, item := range list.subs {
				add(im.subnets(im.key(item, "network", "uuid")))
			}
		}
	case "OS::Neutron::ExtraRoute", "OS::Neutron::ExtraRouteSet":
		router := im.key(r.Properties, "router", "router_id")
		add(im.all(func(o *ResourceDef) bool {
			return (o.Type == "OS::Neutron::RouterInterface" || o.Type == "OS::Neutron::RouterGateway") && same(router, im.key(o.Properties, "router", "router_id"))
		}))
	case "OS::Neutron::FloatingIP":
		network := im.key(r.Properties, "floating_network", "floating_network_id")
		add(im.all(func(o *ResourceDef) bool {
			switch o.Type {
			case "OS::Neutron::RouterGateway":
				return same(network, im.key(o.Properties, "network", "network_id"))
			case "OS::Neutron::Router":
				return same(network, im.key(o.Properties.property("external_gateway_info"), "network"))
			default:
				return false
			}
		}))
		add(im.interfaces(im.key(r.Properties, "port_id")))
	case "OS::Neutron::FloatingIPAssociation":
		add(im.interfaces(im.key(r.Properties, "port_id")))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type implied struct{ ev *Evaluator }

func (im implied) all(want func(o *ResourceDef) bool) (names []string) {
	for _, o := range im.ev.T.Resources {
		if want(o) {
			names = append(names, o.Name)
		}
	}
	return names
}

// subnets are those of a network.
func (im implied) subnets(network string) []string {
	return im.all(func(o *ResourceDef) bool {
		return o.Type == "OS::Neutron::Subnet" && same(network, im.key(o.Properties, "network", "network_id"))
	})
}

// interfaces are those of routers on the network of a port of the template.
func (im implied) interfaces(port string) []string {
	for _, p := range im.ev.T.Resources {
		if p.Type != "OS::Neutron::Port" || port != "r:"+p.Name {
			continue
		}
		subnets := im.subnets(im.key(p.Properties, "network", "network_id"))
		return im.all(func(o *ResourceDef) bool {
			if o.Type != "OS::Neutron::RouterInterface" {
				return false
			}
			on := im.key(o.Properties, "subnet", "subnet_id")
			return slices.ContainsFunc(subnets, func(s string) bool { return on == "r:"+s })
		})
	}
	return nil
}

func same(a, b string) bool { return a != "" && a == b }

// property returns the expression of one key of a map; nil if there is none.
func (e *Expr) property(name string) *Expr {
	if e == nil || e.kind != exprMap {
		return nil
	}
	if i := slices.Index(e.keys, name); i >= 0 && i < len(e.subs) {
		return e.subs[i]
	}
	return nil
}

// key identifies what the first of the properties that is there stands for: a
// resource ("r:name") or a value ("v:…"); "" if that cannot be known.
func (im implied) key(e *Expr, names ...string) string {
	for _, n := range names {
		p := e.property(n)
		if p == nil {
			continue
		}
		if p.kind == exprCall && (p.fn.role == roleResource || p.fn.role == roleRef) {
			if name, ok := literalName(p.arg); ok && im.ev.T.Resource(name) != nil {
				return "r:" + name
			}
		}
		if _, ok := im.ev.keys[p]; !ok {
			im.ev.keys[p] = im.value(p)
		}
		return im.ev.keys[p]
	}
	return ""
}

// value is the key of a property that names no resource.
func (im implied) value(p *Expr) string {
	v, err := staticEvaluator(im.ev).Value(p)
	if err != nil {
		return "" // what is wrong with it is said elsewhere
	}
	if s, ok := v.(string); ok && s != "" {
		return "v:" + s
	}
	return ""
}
