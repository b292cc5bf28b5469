package network

import (
	"net/netip"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

// Routers, their interfaces and floating IPs are kept as Neutron keeps them, so
// that templates and clients find what they know. Nothing here forwards
// packets: on bare metal that is the fabric's work.

func routerKind() *resource {
	return &resource{
		kind: "router", plural: "routers", path: "routers", quota: true,
		missing: "Router %s could not be found", missingType: "RouterNotFound",
		inUse: "Router %s still has ports", inUseType: "RouterInUse",
		attrs: described(
			attr{name: "admin_state_up", parse: boolean, def: true, mode: both},
			attr{name: "external_gateway_info", parse: orNull(gatewayInfo), def: nil, mode: both | unlist},
			attr{name: "routes", parse: listOf(object(fields{"destination": prefix, "nexthop": address}, "destination", "nexthop")), def: []any{}, mode: both | unlist},
			attr{name: "distributed", parse: boolean, def: false, mode: both | forAdms},
			attr{name: "ha", parse: boolean, def: false, mode: both | forAdms},
			attr{name: "availability_zone_hints", parse: zoneHints, def: []any{}, mode: post},
			attr{name: "flavor_id", parse: orNull(id), def: nil, mode: post},
			attr{name: "status"}, attr{name: "availability_zones"},
		),
		prepare: prepareRouter, stored: storedRouter, release: releaseRouter,
		view: func(c *call, d doc) error {
			d["availability_zones"] = []any{}
			if g := d.str("gw_port_id"); g != "" {
				p, err := c.load(c.s.kinds["port"], g)
				if err != nil {
					return err
				}
				info, _ := d["external_gateway_info"].(map[string]any)
				ips := []any{}
				for _, ip := range fixedIPs(p) {
					ips = append(ips, map[string]any{"subnet_id": ip.SubnetID, "ip_address": ip.IPAddress})
				}
				out := doc(info).clone()
				out["external_fixed_ips"] = ips
				d["external_gateway_info"] = map[string]any(out)
			}
			delete(d, "gw_port_id")
			return nil
		},
	}
}

func gatewayInfo(v any) (any, string) {
	m, ok := v.(map[string]any)
	if ok && len(m) == 0 {
		return nil, ""
	}
	out, why := object(fields{
		"network_id": id, "enable_snat": boolean, "external_fixed_ips": orNull(fixedIPList), "qos_policy_id": orNull(id),
	}, "network_id")(v)
	if why != "" {
		return nil, why
	}
	parsed, _ := out.(map[string]any)
	if _, ok := parsed["enable_snat"]; !ok {
		parsed["enable_snat"] = true
	}
	return parsed, ""
}

func prepareRouter(c *call, d, old doc) error {
	d["status"] = "ACTIVE"
	for _, key := range []string{"distributed", "ha"} {
		if v, ok := c.given[key]; ok && v == true {
			return api.Invalid("%s routers do not exist here: no router of this service forwards packets", key)
		}
	}
	if d["flavor_id"] != nil {
		return api.NotFound("Flavor %s could not be found.", d.str("flavor_id")).Named("FlavorNotFound")
	}
	if info, ok := d["external_gateway_info"].(map[string]any); ok && !c.admin() {
		if _, given := c.given["external_gateway_info"]; given {
			raw, _ := c.given["external_gateway_info"].(map[string]any)
			if _, snat := raw["enable_snat"]; snat {
				return api.Forbidden("(rule:%s_router and rule:%s_router:external_gateway_info:enable_snat) is disallowed by policy", verbOf(old), verbOf(old))
			}
			for _, ip := range (doc(info)).docs("external_fixed_ips") {
				if ip.str("ip_address") != "" {
					return api.Forbidden("(rule:%s_router:external_gateway_info:external_fixed_ips) is disallowed by policy", verbOf(old))
				}
			}
		}
	}
	return nil
}

func storedRouter(c *call, d, old doc) error {
	if _, given := c.given["external_gateway_info"]; given {
		if err := c.setGateway(d, old); err != nil {
			return err
		}
	}
	if _, given := c.given["routes"]; given {
		return c.checkRoutes(d)
	}
	return nil
}

// setGateway connects a router to an external network by a port of its own.
func (c *call) setGateway(d, old doc) error {
	info, _ := d["external_gateway_info"].(map[string]any)
	want := doc(info)
	if g := d.str("gw_port_id"); g != "" {
		p, err := c.load(c.s.kinds["port"], g)
		if err != nil {
			return err
		}
		same := p.str("network_id") == want.str("network_id")
		if !same {
			if err := c.floatingThrough(d); err != nil {
				return err
			}
		}
		if same && want["external_fixed_ips"] == nil {
			return nil
		}
		if err := c.removePort(g); err != nil {
			return err
		}
		delete(d, "gw_port_id")
	}
	if _, err := c.tx.Exec(`DELETE FROM network_refs WHERE from_id = ? AND role = 'gateway'`, d.id()); err != nil {
		return err
	}
	if info != nil {
		n, err := c.see(c.s.kinds["network"], want.str("network_id"))
		if err != nil {
			return err
		}
		shown, err := c.shown(c.s.kinds["network"], n)
		if err != nil {
			return err
		}
		if !shown.flag("router:external") {
			return api.Invalid("Bad router request: Network %s is not an external network.", n.id()).Named("BadRequest")
		}
		given := map[string]any{"network_id": n.id(), "device_id": d.id(), "device_owner": ownerGateway, "admin_state_up": true}
		if ips := want["external_fixed_ips"]; ips != nil {
			given["fixed_ips"] = ips
		}
		p, err := c.makePort(given, "")
		if err != nil {
			return err
		}
		d["gw_port_id"] = p.id()
		if err := c.refer(d.id(), "gateway", n.id()); err != nil {
			return err
		}
	}
	return c.resave(c.s.kinds["router"], d)
}

// resave stores a thing again within the change that is under way.
func (c *call) resave(k *resource, d doc) error {
	revision := d.num("revision_number")
	d["revision_number"] = revision - 1
	return c.save(k, d, d)
}

// makePort makes a port for something else, with the rights of the service.
func (c *call) makePort(given map[string]any, project string) (doc, error) {
	saved, who := c.given, c.who
	admin := *who
	admin.Roles = append(slices.Clone(who.Roles), "admin")
	c.who = &admin
	defer func() { c.given, c.who = saved, who }()
	given["project_id"] = project
	k := *c.s.kinds["port"]
	k.quota = false
	d, err := c.accept(&k, given, nil)
	if err != nil {
		return nil, err
	}
	d["project_id"] = project
	return d, c.add(&k, d)
}

func releaseRouter(c *call, d doc) error {
	have, err := c.interfaces(d.id())
	if err != nil {
		return err
	}
	if len(have) > 0 {
		return api.Conflict("Router %s still has ports", d.id()).Named("RouterInUse")
	}
	if g := d.str("gw_port_id"); g != "" {
		return c.removePort(g)
	}
	return nil
}

// interfaces are the ports by which a router is connected to networks.
func (c *call) interfaces(router string) ([]doc, error) {
	ports, err := c.find(c.s.kinds["port"], ` AND device_id = ? ORDER BY id`, router)
	return slices.DeleteFunc(ports, func(p doc) bool { return p.str("device_owner") != ownerRouter }), err
}

func (c *call) routerSubnets(d doc) ([]doc, error) {
	ports, err := c.interfaces(d.id())
	if err != nil {
		return nil, err
	}
	if g := d.str("gw_port_id"); g != "" {
		p, err := c.load(c.s.kinds["port"], g)
		if err != nil {
			return nil, err
		}
		ports = append(ports, p)
	}
	var out []doc
	for _, p := range ports {
		for _, ip := range fixedIPs(p) {
			sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
			if err != nil {
				return nil, err
			}
			out = append(out, sub)
		}
	}
	return out, nil
}

func (c *call) checkRoutes(d doc) error {
	if len(d.list("routes")) > 30 {
		return api.Invalid("Unable to complete operation for %s. The number of routes exceeds the maximum 30.", d.id()).Named("RoutesExhausted")
	}
	subs, err := c.routerSubnets(d)
	if err != nil {
		return err
	}
	for _, r := range d.docs("routes") {
		via, err := netip.ParseAddr(r.str("nexthop"))
		reachable := err == nil && slices.ContainsFunc(subs, func(s doc) bool {
			p, err := netip.ParsePrefix(s.str("cidr"))
			return err == nil && p.Contains(via)
		})
		if !reachable {
			return api.Invalid("Invalid format for routes: %s, the nexthop is not connected with router", show(map[string]any(r))).Named("InvalidRoutes")
		}
	}
	return nil
}

// addInterface connects a router to a subnet, or to the subnets of a port.
func addInterface(c *call, d doc, in map[string]any) (any, error) {
	subnet, port := doc(in).str("subnet_id"), doc(in).str("port_id")
	for key, v := range map[string]string{"subnet_id": subnet, "port_id": port} {
		if _, why := id(v); v != "" && why != "" {
			return nil, badInput(key, why)
		}
	}
	switch {
	case subnet != "" && port != "":
		return nil, api.Invalid("Bad router request: Cannot specify both subnet-id and port-id.").Named("BadRequest")
	case port != "":
		return c.addByPort(d, port)
	case subnet != "":
		return c.addBySubnet(d, subnet)
	default:
		return nil, api.Invalid("Bad router request: Either subnet_id or port_id must be specified.").Named("BadRequest")
	}
}

func (c *call) addByPort(d doc, id string) (any, error) {
	p, err := c.own(c.s.kinds["port"], id)
	if err != nil {
		return nil, err
	}
	if p.str("device_id") != "" && p.str("device_id") != d.id() || isRouterPort(p) {
		return nil, api.Conflict("Port %s is already acquired by another DHCP agent, router or machine: %s", id, p.str("device_id")).Named("PortInUse")
	}
	ips := fixedIPs(p)
	if len(ips) == 0 {
		return nil, api.Invalid("Bad router request: Port %s must have at least one fixed IP.", id).Named("BadRequest")
	}
	var subs []any
	for _, ip := range ips {
		sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
		if err != nil {
			return nil, err
		}
		if err := c.mayConnect(d, sub); err != nil {
			return nil, err
		}
		subs = append(subs, sub.id())
	}
	next := p.clone()
	next["device_id"], next["device_owner"] = d.id(), ownerRouter
	if err := c.save(c.s.kinds["port"], next, p); err != nil {
		return nil, err
	}
	return interfaceAnswer(d, next, subs), c.touch(c.s.kinds["router"], d.id())
}

func (c *call) addBySubnet(d doc, id string) (any, error) {
	sub, err := c.see(c.s.kinds["subnet"], id)
	if err != nil {
		return nil, err
	}
	if sub.str("gateway_ip") == "" {
		return nil, api.Invalid("Bad router request: Subnet for router interface must have a gateway IP.").Named("BadRequest")
	}
	if err := c.mayConnect(d, sub); err != nil {
		return nil, err
	}
	p, err := c.makePort(map[string]any{
		"network_id": sub.str("network_id"), "device_id": d.id(), "device_owner": ownerRouter, "admin_state_up": true,
		"fixed_ips": []any{map[string]any{"subnet_id": id, "ip_address": sub.str("gateway_ip")}},
	}, d.project())
	if err != nil {
		return nil, err
	}
	return interfaceAnswer(d, p, []any{id}), c.touch(c.s.kinds["router"], d.id())
}

func interfaceAnswer(d, p doc, subs []any) map[string]any {
	return map[string]any{
		"id": d.id(), "project_id": d.project(), "tenant_id": d.project(), "port_id": p.id(), "network_id": p.str("network_id"),
		"subnet_id": subs[0], "subnet_ids": subs, "tags": []any{},
	}
}

// mayConnect: a router has one interface on a subnet, and none of its subnets
// overlap.
func (c *call) mayConnect(d, sub doc) error {
	have, err := c.routerSubnets(d)
	if err != nil {
		return err
	}
	mine, err := netip.ParsePrefix(sub.str("cidr"))
	if err != nil {
		return err
	}
	for _, h := range have {
		if h.id() == sub.id() {
			return api.Invalid("Bad router request: Router already has a port on subnet %s.", sub.id()).Named("BadRequest")
		}
		if p, err := netip.ParsePrefix(h.str("cidr")); err == nil && p.Overlaps(mine) {
			return api.Invalid("Bad router request: Cidr %s of subnet %s overlaps with cidr %s of subnet %s.", mine, sub.id(), p, h.id()).Named("BadRequest")
		}
	}
	return nil
}

func removeInterface(c *call, d doc, in map[string]any) (any, error) {
	subnet, port := doc(in).str("subnet_id"), doc(in).str("port_id")
	if subnet == "" && port == "" {
		return nil, api.Invalid("Bad router request: Either subnet_id or port_id must be specified.").Named("BadRequest")
	}
	ports, err := c.interfaces(d.id())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(ports, func(p doc) bool {
		onSubnet := slices.ContainsFunc(fixedIPs(p), func(ip FixedIP) bool { return ip.SubnetID == subnet })
		return (port == "" || p.id() == port) && (subnet == "" || onSubnet)
	})
	if i < 0 {
		if port != "" {
			if _, err := c.see(c.s.kinds["port"], port); err != nil {
				return nil, api.NotFound("Router %s does not have an interface with id %s", d.id(), port).Named("RouterInterfaceNotFound")
			}
			if subnet != "" {
				return nil, api.Conflict("Subnet ID mismatch: port %s has no address of subnet %s", port, subnet).Named("SubnetMismatchForPort")
			}
			return nil, api.NotFound("Router %s does not have an interface with id %s", d.id(), port).Named("RouterInterfaceNotFound")
		}
		return nil, api.NotFound("Router %s has no interface on subnet %s", d.id(), subnet).Named("RouterInterfaceNotFoundForSubnet")
	}
	p := ports[i]
	var subs []any
	for _, ip := range fixedIPs(p) {
		subs = append(subs, ip.SubnetID)
		if err := c.interfaceNeeded(d, p, ip); err != nil {
			return nil, err
		}
	}
	if err := c.removePort(p.id()); err != nil {
		return nil, err
	}
	return interfaceAnswer(d, p, subs), c.touch(c.s.kinds["router"], d.id())
}

// interfaceNeeded keeps an interface by which a route or a floating IP goes.
func (c *call) interfaceNeeded(d, p doc, ip FixedIP) error {
	sub, err := c.load(c.s.kinds["subnet"], ip.SubnetID)
	if err != nil {
		return err
	}
	pre, err := netip.ParsePrefix(sub.str("cidr"))
	if err != nil {
		return err
	}
	for _, r := range d.docs("routes") {
		if via, err := netip.ParseAddr(r.str("nexthop")); err == nil && pre.Contains(via) {
			return api.Conflict("Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", sub.id(), d.id()).Named("RouterInterfaceInUseByRoute")
		}
	}
	used, err := c.floatingOf(d.id())
	if err != nil {
		return err
	}
	for _, f := range used {
		if fixed, err := netip.ParseAddr(f.str("fixed_ip_address")); err == nil && pre.Contains(fixed) {
			return api.Conflict("Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", sub.id(), d.id()).Named("RouterInterfaceInUseByFloatingIP")
		}
	}
	return nil
}

// extraRoutes adds or removes routes of a router (extension
// extraroute-atomic).
func extraRoutes(add bool) func(c *call, d doc, in map[string]any) (any, error) {
	return func(c *call, d doc, in map[string]any) (any, error) {
		inner, _ := in["router"].(map[string]any)
		parsed, why := c.s.kinds["router"].attr("routes").parse(inner["routes"])
		if why != "" {
			return nil, badInput("routes", why)
		}
		next := d.clone()
		routes := d.docs("routes")
		for _, r := range (doc{"r": parsed}).docs("r") {
			same := func(o doc) bool {
				return o.str("destination") == r.str("destination") && o.str("nexthop") == r.str("nexthop")
			}
			routes = slices.DeleteFunc(routes, same)
			if add {
				routes = append(routes, r)
			}
		}
		list := []any{}
		for _, r := range routes {
			list = append(list, map[string]any(r))
		}
		next["routes"] = list
		if err := c.checkRoutes(next); err != nil {
			return nil, err
		}
		if err := c.save(c.s.kinds["router"], next, d); err != nil {
			return nil, err
		}
		shown, err := c.shown(c.s.kinds["router"], next)
		return map[string]any{"router": shown}, err
	}
}
