package network

import (
	"net/netip"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

func floatingKind() *resource {
	return &resource{
		kind: "floatingip", plural: "floatingips", path: "floatingips", quota: true,
		missing: "Floating IP %s could not be found", missingType: "FloatingIPNotFound",
		inUse: "Floating IP %s is in use.", inUseType: "FloatingIPInUse",
		attrs: []attr{
			{name: "floating_network_id", parse: id, mode: post | need, ref: "network"},
			{name: "floating_ip_address", parse: orNull(address), def: nil, mode: post | setBy},
			{name: "subnet_id", parse: orNull(id), def: noDefault{}, mode: post | unlist, ref: "subnet"},
			{name: "port_id", parse: orNull(id), def: nil, mode: both, ref: "port"},
			{name: "fixed_ip_address", parse: orNull(address), def: nil, mode: both},
			{name: "description", parse: orEmpty(text(maxDesc)), def: "", mode: both},
			{name: "dns_name", parse: orEmpty(dnsName), def: "", mode: post},
			{name: "dns_domain", parse: orEmpty(dnsName), def: "", mode: post},
			{name: "qos_policy_id", parse: orNull(id), def: nil, mode: both, ref: "policy"},
			{name: "router_id"}, {name: "status"}, {name: "port_details", mode: unlist}, {name: "qos_network_policy_id"},
		},
		prepare: prepareFloating,
		release: func(c *call, d doc) error { return c.removePort(d.str("floating_port")) },
		view:    viewFloating,
	}
}

func prepareFloating(c *call, d, old doc) error {
	if old == nil {
		if err := c.floatingPort(d); err != nil {
			return err
		}
	}
	_, given := c.given["port_id"]
	if old != nil && len(c.given) == 0 { // an empty update ends the association
		d["port_id"], given = nil, true
	}
	if !given && old != nil {
		switch want, asked := c.given["fixed_ip_address"]; {
		case asked && want != nil:
			return errFixedAlone()
		case asked: // nothing is asked for: what is associated stays
			d["fixed_ip_address"] = old["fixed_ip_address"]
		}
		return nil
	}
	d["router_id"], d["status"] = nil, "DOWN"
	if d.str("port_id") == "" {
		if d["fixed_ip_address"] != nil && c.given["fixed_ip_address"] != nil {
			return errFixedAlone()
		}
		d["fixed_ip_address"], d["port_id"] = nil, nil
		return nil
	}
	if _, asked := c.given["fixed_ip_address"]; !asked {
		d["fixed_ip_address"] = nil
	}
	return c.associate(d)
}

// errFixedAlone refuses an address of a port that is not named: in updates too,
// where the port of before is not meant (Neutron's _check_and_get_fip_assoc).
func errFixedAlone() error {
	return api.Invalid("Invalid input for operation: fixed_ip_address cannot be specified without a port_id.").Named("InvalidInput")
}

// floatingPort takes the address of a new floating IP: a port on the external
// network holds it.
func (c *call) floatingPort(d doc) error {
	n, err := c.see(c.s.kinds["network"], d.str("floating_network_id"))
	if err != nil {
		return err
	}
	shown, err := c.shown(c.s.kinds["network"], n)
	if err != nil {
		return err
	}
	if !shown.flag("router:external") {
		return api.Invalid("Bad floatingip request: Network %s is not a valid external network.", n.id()).Named("BadRequest")
	}
	given := map[string]any{"network_id": n.id(), "device_owner": ownerFloating, "device_id": d.id(), "admin_state_up": true}
	ip := map[string]any{}
	if a := d.str("floating_ip_address"); a != "" {
		ip["ip_address"] = a
	}
	if sub := d.str("subnet_id"); sub != "" {
		ip["subnet_id"] = sub
	}
	if len(ip) > 0 {
		given["fixed_ips"] = []any{ip}
	}
	delete(d, "subnet_id")
	p, err := c.makePort(given, "")
	if err != nil {
		return err
	}
	ips := slices.DeleteFunc(fixedIPs(p), func(ip FixedIP) bool {
		a, err := netip.ParseAddr(ip.IPAddress)
		return err != nil || !a.Is4()
	})
	if len(ips) == 0 {
		return api.Invalid("Bad floatingip request: Network %s does not contain any IPv4 subnet.", n.id()).Named("BadRequest")
	}
	d["floating_ip_address"], d["floating_port"] = ips[0].IPAddress, p.id()
	return nil
}

// associate finds the fixed address and the router by which a floating IP
// reaches a port.
func (c *call) associate(d doc) error {
	p, err := c.load(c.s.kinds["port"], d.str("port_id"))
	if err != nil {
		return err
	}
	if p.project() != d.project() {
		return api.Invalid("Bad floatingip request: Cannot process floating IP association with Port %s, since that port is owned by a different project.", p.id()).Named("BadRequest")
	}
	ips := slices.DeleteFunc(fixedIPs(p), func(ip FixedIP) bool {
		a, err := netip.ParseAddr(ip.IPAddress)
		return err != nil || !a.Is4()
	})
	want := d.str("fixed_ip_address")
	switch {
	case want != "":
		ips = slices.DeleteFunc(ips, func(ip FixedIP) bool { return ip.IPAddress != want })
		if len(ips) == 0 {
			return api.Invalid("Bad floatingip request: Port %s does not have fixed ip %s.", p.id(), want).Named("BadRequest")
		}
	case len(ips) == 0:
		return api.Invalid("Bad floatingip request: Cannot add floating IP to port %s that has no fixed IPv4 addresses.", p.id()).Named("BadRequest")
	case len(ips) > 1:
		return api.Invalid("Bad floatingip request: Port %s has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a floating IP.", p.id()).Named("BadRequest")
	}
	d["fixed_ip_address"] = ips[0].IPAddress
	others, err := c.referrers(p.id(), "port_id")
	if err != nil {
		return err
	}
	for _, id := range others {
		f, err := c.load(c.s.kinds["floatingip"], id)
		if isNotFound(err) || id == d.id() {
			continue
		}
		if err != nil {
			return err
		}
		if f.str("fixed_ip_address") == ips[0].IPAddress && f.str("floating_network_id") == d.str("floating_network_id") {
			return api.Conflict("Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
				d.str("floating_ip_address"), d.id(), p.id(), ips[0].IPAddress, d.str("floating_network_id")).Named("FloatingIPPortAlreadyAssociated")
		}
	}
	router, err := c.routerBetween(ips[0].SubnetID, d.str("floating_network_id"))
	if err != nil {
		return err
	}
	if router == "" {
		return api.NotFound("External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.",
			d.str("floating_network_id"), ips[0].SubnetID, p.id()).Named("ExternalGatewayForFloatingIPNotFound")
	}
	d["router_id"], d["status"] = router, "ACTIVE"
	return nil
}

func (c *call) routerBetween(subnet, external string) (string, error) {
	ids, err := c.referrers(external, "gateway")
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		ports, err := c.interfaces(id)
		if err != nil {
			return "", err
		}
		for _, p := range ports {
			if slices.ContainsFunc(fixedIPs(p), func(ip FixedIP) bool { return ip.SubnetID == subnet }) {
				return id, nil
			}
		}
	}
	return "", nil
}

func viewFloating(c *call, d doc) error {
	delete(d, "floating_port")
	d["port_details"], d["qos_network_policy_id"] = nil, nil
	if id := d.str("port_id"); id != "" {
		p, err := c.load(c.s.kinds["port"], id)
		if err != nil {
			return err
		}
		d["port_details"] = map[string]any{
			"name": p["name"], "network_id": p["network_id"], "mac_address": p["mac_address"], "admin_state_up": p["admin_state_up"],
			"status": p["status"], "device_id": p["device_id"], "device_owner": p["device_owner"],
		}
	}
	return nil
}

// floatingOf are the floating IPs that go through a router.
func (c *call) floatingOf(router string) ([]doc, error) {
	all, err := c.find(c.s.kinds["floatingip"], "")
	return slices.DeleteFunc(all, func(f doc) bool { return f.str("router_id") != router }), err
}

func (c *call) floatingThrough(router doc) error {
	used, err := c.floatingOf(router.id())
	if err == nil && len(used) > 0 {
		err = api.Conflict("Gateway cannot be updated for router %s, since a gateway to external network is required by one or more floating IPs.", router.id()).Named("RouterExternalGatewayInUseByFloatingIp")
	}
	return err
}

// floatingOn takes floating IPs off an address that a port gives back: there may
// be one of each external network.
func (c *call) floatingOn(port, address string) error {
	ids, err := c.referrers(port, "port_id")
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, err := c.load(c.s.kinds["floatingip"], id)
		if isNotFound(err) || err == nil && f.str("fixed_ip_address") != address {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.dissociate(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) dissociate(f doc) error {
	next := f.clone()
	next["port_id"], next["fixed_ip_address"], next["router_id"], next["status"] = nil, nil, nil, "DOWN"
	return c.save(c.s.kinds["floatingip"], next, f)
}

// releaseFloating lets floating IPs go from a port that is deleted.
func (c *call) releaseFloating(p doc) error {
	ids, err := c.referrers(p.id(), "port_id")
	if err != nil {
		return err
	}
	for _, id := range ids {
		f, err := c.load(c.s.kinds["floatingip"], id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.dissociate(f); err != nil {
			return err
		}
	}
	return nil
}

// dropFloating deletes the floating IPs of an external network that lead
// nowhere, and returns the ports that are left.
func (c *call) dropFloating(ports []doc) ([]doc, error) {
	var left []doc
	for _, p := range ports {
		if p.str("device_owner") != ownerFloating {
			left = append(left, p)
			continue
		}
		f, err := c.load(c.s.kinds["floatingip"], p.str("device_id"))
		if err != nil {
			return nil, err
		}
		if f.str("port_id") != "" {
			left = append(left, p)
			continue
		}
		if err := c.destroy(c.s.kinds["floatingip"], f); err != nil {
			return nil, err
		}
	}
	return left, nil
}
