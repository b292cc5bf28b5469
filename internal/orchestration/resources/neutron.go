package resources

import (
	"context"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// neutronType fills in what the Neutron types share: one API object with a description by which a repeated
// creation finds it, updated by PUT, deleted by DELETE. As the undercloud's overrides of these types do,
// a property that cannot be updated makes the update fail instead of replacing the object (inventory 0).
func neutronType(t *Type, path, key string, body func(ctx context.Context, r *Resource, c client) (*Map, error)) *Type {
	t.NeverReplace, t.DeleteFirst = true, true
	t.Create = func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.network(ctx)
		if err != nil {
			return Step{}, err
		}
		if r.PhysicalID == "" {
			b, err := body(ctx, r, c)
			if err != nil {
				return Step{}, err
			}
			if _, err := r.createOnce(ctx, c, path, key, b); err != nil {
				return Step{}, err
			}
		}
		return neutronReady(ctx, r, c, path, key)
	}
	t.Update = func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.network(ctx)
		if err != nil {
			return Step{}, err
		}
		if len(r.Changed) > 0 {
			all, err := body(ctx, r, c)
			if err != nil {
				return Step{}, err
			}
			b := yaml11.NewMap()
			for _, name := range neutronUpdatable(key) {
				if v, ok := all.Get(name); ok {
					b.Set(name, v)
				}
			}
			if b.Len() > 0 {
				if _, err := c.call(ctx, "PUT", path+"/"+r.PhysicalID, yaml11.MapOf(key, b)); err != nil {
					return Step{}, err
				}
			}
		}
		return neutronReady(ctx, r, c, path, key)
	}
	neutronEnd(t, path, key)
	return t
}

// neutronEnd fills in deletion, checks and attributes.
func neutronEnd(t *Type, path, key string) {
	t.Delete = func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.network(ctx)
		if err != nil {
			return Step{}, err
		}
		if r.PhysicalID == "" && r.Data["creating"] == true {
			m, err := c.call(ctx, "GET", path+"?description="+url.QueryEscape(r.marker()), nil)
			if err != nil {
				return Step{}, err
			}
			for _, e := range items(m, key+"s") {
				if str(e, "description") == r.marker() {
					r.PhysicalID = str(e, "id")
				}
			}
		}
		if r.PhysicalID == "" {
			return Done(), nil
		}
		if err := c.remove(ctx, path+"/"+r.PhysicalID); err != nil {
			if status(err) == 409 { // something still uses it; its owner is being deleted too, as a rule
				if r.Host.Now().Sub(r.Begun) < 2*time.Minute {
					return Wait(2 * time.Second), nil
				}
			}
			return Step{}, err
		}
		return Done(), nil
	}
	t.Keep = func(ctx context.Context, r *Resource) (bool, error) {
		if r.PhysicalID == "" {
			return false, nil
		}
		c, err := r.network(ctx)
		if err != nil {
			return false, err
		}
		_, err = c.call(ctx, "GET", path+"/"+r.PhysicalID, nil)
		if isNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}
	t.Check = func(ctx context.Context, r *Resource) error {
		c, err := r.network(ctx)
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "GET", path+"/"+r.PhysicalID, nil)
		return err
	}
	if t.Attr == nil {
		t.Attr = func(ctx context.Context, r *Resource, name string) (any, error) {
			c, err := r.network(ctx)
			if err != nil {
				return nil, err
			}
			m, err := c.call(ctx, "GET", path+"/"+r.PhysicalID, nil)
			if err != nil {
				return nil, err
			}
			if name == "show" {
				return submap(m, key), nil
			}
			return get(m, key, name), nil
		}
	}
}

func neutronUpdatable(key string) []string {
	switch key {
	case "network":
		return []string{"name", "admin_state_up", "shared", "mtu", "port_security_enabled"}
	case "subnet":
		return []string{"name", "dns_nameservers", "gateway_ip", "enable_dhcp", "host_routes", "allocation_pools"}
	}
	return []string{"name", "admin_state_up", "fixed_ips", "allowed_address_pairs", "security_groups", "device_id", "device_owner", "binding:vnic_type", "port_security_enabled", "extra_dhcp_opts"}
}

// neutronReady sets the tags and, for what has a status, waits until the object is built.
func neutronReady(ctx context.Context, r *Resource, c client, path, key string) (Step, error) {
	if l, ok := r.Props.Get("tags").([]any); ok {
		if _, err := c.call(ctx, "PUT", path+"/"+r.PhysicalID+"/tags", yaml11.MapOf("tags", l)); err != nil {
			return Step{}, err
		}
	}
	m, err := c.call(ctx, "GET", path+"/"+r.PhysicalID, nil)
	if err != nil {
		return Step{}, err
	}
	switch st := hot.PyStr(get(m, key, "status")); st {
	case "ERROR":
		return Step{}, Failed("Went to status ERROR due to \"Unknown\"")
	case "BUILD":
		return Wait(2 * time.Second), nil
	}
	return Done(), nil
}

// copyProps puts the named properties that have a value into a body.
func copyProps(b *Map, p *Props, names ...string) *Map {
	for _, n := range names {
		if v := p.Get(n); v != nil {
			b.Set(n, v)
		}
	}
	return b
}

func valueSpecs(b *Map, p *Props) {
	for k, v := range p.Map("value_specs").All() {
		b.Set(k, v)
	}
}

func neutronAttrs(names ...string) []Attr {
	out := []Attr{}
	for _, n := range names {
		out = append(out, Attr{Name: n, Kind: Any, Doc: "Field " + n + " of the object."})
	}
	return out
}

func neutronNet() *Type {
	return neutronType(&Type{Name: "OS::Neutron::Net", Doc: "A network.",
		Props: []Prop{
			{Name: "name", Kind: String, Update: true, Doc: "Name."}, {Name: "admin_state_up", Kind: Boolean, Default: true, Update: true, Doc: "Administrative state."},
			{Name: "shared", Kind: Boolean, Default: false, Update: true, Doc: "All projects may use it."}, {Name: "tenant_id", Kind: String}, {Name: "dns_domain", Kind: String, Update: true},
			{Name: "value_specs", Kind: Mapping, Update: true, Default: yaml11.NewMap(), Doc: "More fields, such as provider:physical_network."},
			{Name: "tags", Kind: List, Update: true, Doc: "Tags."}, {Name: "mtu", Kind: Integer, Update: true}, {Name: "port_security_enabled", Kind: Boolean, Update: true},
			{Name: "dhcp_agent_ids", Kind: List, Update: true}, {Name: "qos_policy", Kind: String, Update: true}, {Name: "availability_zone_hints", Kind: List},
		},
		Attrs: neutronAttrs("name", "status", "subnets", "admin_state_up", "tenant_id", "mtu", "shared", "port_security_enabled", "segments", "l2_adjacency", "show"),
	}, "networks", "network", func(_ context.Context, r *Resource, _ client) (*Map, error) {
		b := yaml11.MapOf("name", r.PhysicalName(0))
		copyProps(b, r.Props, "name", "admin_state_up", "shared", "tenant_id", "dns_domain", "mtu", "port_security_enabled", "availability_zone_hints")
		valueSpecs(b, r.Props)
		return b, nil
	})
}

func neutronSubnet() *Type {
	pool := []Prop{{Name: "start", Kind: String, Required: true}, {Name: "end", Kind: String, Required: true}}
	modes := []string{"dhcpv6-stateful", "dhcpv6-stateless", "slaac"}
	return neutronType(&Type{Name: "OS::Neutron::Subnet", Doc: "A subnet.",
		Props: []Prop{
			{Name: "network", Kind: String, Doc: "Network by name or id."}, {Name: "network_id", Kind: String, Doc: "Network (old name)."},
			{Name: "cidr", Kind: String, Doc: "Address range."}, {Name: "name", Kind: String, Update: true, Doc: "Name."}, {Name: "subnetpool", Kind: String}, {Name: "prefixlen", Kind: Integer},
			{Name: "gateway_ip", Kind: String, Update: true, Doc: "Gateway; empty: none."}, {Name: "allocation_pools", Kind: List, Update: true, Sub: pool, Doc: "Ranges to allocate from."},
			{Name: "enable_dhcp", Kind: Boolean, Default: true, Update: true, Doc: "Serve DHCP."}, {Name: "ip_version", Kind: Integer, Default: int64(4), Doc: "4 or 6."},
			{Name: "ipv6_address_mode", Kind: String, Values: modes}, {Name: "ipv6_ra_mode", Kind: String, Values: modes},
			{Name: "host_routes", Kind: List, Update: true, Sub: []Prop{{Name: "destination", Kind: String, Required: true}, {Name: "nexthop", Kind: String, Required: true}}},
			{Name: "dns_nameservers", Kind: List, Update: true, Default: []any{}}, {Name: "tenant_id", Kind: String}, {Name: "segment", Kind: String, Update: true},
			{Name: "value_specs", Kind: Mapping, Update: true, Default: yaml11.NewMap()}, {Name: "tags", Kind: List, Update: true},
		},
		Attrs: neutronAttrs("name", "network_id", "cidr", "gateway_ip", "allocation_pools", "dns_nameservers", "enable_dhcp", "host_routes", "ip_version", "tenant_id", "show"),
	}, "subnets", "subnet", func(ctx context.Context, r *Resource, c client) (*Map, error) {
		net := r.Props.Str("network")
		if net == "" {
			net = r.Props.Str("network_id")
		}
		id, err := c.idOf(ctx, "networks", "networks", net)
		if err != nil {
			return nil, err
		}
		b := yaml11.MapOf("network_id", id, "name", r.PhysicalName(0))
		copyProps(b, r.Props, "name", "cidr", "allocation_pools", "enable_dhcp", "ip_version", "ipv6_address_mode", "ipv6_ra_mode", "host_routes", "dns_nameservers", "tenant_id", "prefixlen")
		if v := r.Props.Get("gateway_ip"); v == "" {
			b.Set("gateway_ip", nil)
		} else if v != nil {
			b.Set("gateway_ip", v)
		}
		valueSpecs(b, r.Props)
		return b, nil
	})
}

func fixedIPSchema() []Prop {
	return []Prop{{Name: "subnet", Kind: String}, {Name: "subnet_id", Kind: String}, {Name: "ip_address", Kind: String}}
}

func neutronPort() *Type {
	t := neutronType(&Type{Name: "OS::Neutron::Port", Doc: "A port.",
		Props: []Prop{
			{Name: "network", Kind: String, Doc: "Network by name or id."}, {Name: "network_id", Kind: String, Doc: "Network (old name)."}, {Name: "name", Kind: String, Update: true, Doc: "Name."},
			{Name: "fixed_ips", Kind: List, Update: true, Sub: fixedIPSchema(), Doc: "Addresses."}, {Name: "admin_state_up", Kind: Boolean, Default: true, Update: true},
			{Name: "mac_address", Kind: String}, {Name: "device_id", Kind: String, Update: true}, {Name: "device_owner", Kind: String, Update: true},
			{Name: "security_groups", Kind: List, Update: true}, {Name: "value_specs", Kind: Mapping, Update: true, Default: yaml11.NewMap()}, {Name: "tags", Kind: List, Update: true},
			{Name: "allowed_address_pairs", Kind: List, Update: true, Sub: []Prop{{Name: "ip_address", Kind: String, Required: true}, {Name: "mac_address", Kind: String}}},
			{Name: "replacement_policy", Kind: String, Default: "AUTO", Update: true, Values: []string{"AUTO", "REPLACE_ALWAYS"}}, {Name: "binding:vnic_type", Kind: String, Update: true},
			{Name: "port_security_enabled", Kind: Boolean, Update: true}, {Name: "qos_policy", Kind: String, Update: true}, {Name: "dns_name", Kind: String, Update: true},
			{Name: "propagate_uplink_status", Kind: Boolean},
		},
		Attrs: neutronAttrs("admin_state_up", "device_id", "device_owner", "fixed_ips", "mac_address", "name", "network_id", "security_groups", "status", "tenant_id",
			"allowed_address_pairs", "subnets", "port_security_enabled", "dns_assignment", "ip_address", "network", "show"),
	}, "ports", "port", portBody)
	plain := t.Attr
	t.Attr = func(ctx context.Context, r *Resource, name string) (any, error) {
		switch name {
		case "subnets":
			return portSubnets(ctx, r)
		case "ip_address": // so that a plain port can stand for a VIP template (inventory 7)
			v, err := plain(ctx, r, "fixed_ips")
			return hot.Dig(v, []any{int64(0), "ip_address"}), err
		case "network":
			c, err := r.network(ctx)
			if err != nil {
				return nil, err
			}
			id, err := plain(ctx, r, "network_id")
			if err != nil {
				return nil, err
			}
			m, err := c.call(ctx, "GET", "networks/"+url.PathEscape(hot.PyStr(id)), nil)
			return submap(m, "network"), err
		}
		return plain(ctx, r, name)
	}
	return t
}

func portBody(ctx context.Context, r *Resource, c client) (*Map, error) {
	net := r.Props.Str("network")
	if net == "" {
		net = r.Props.Str("network_id")
	}
	id, err := c.idOf(ctx, "networks", "networks", net)
	if err != nil {
		return nil, err
	}
	b := yaml11.MapOf("network_id", id, "name", r.PhysicalName(0))
	copyProps(b, r.Props, "name", "admin_state_up", "mac_address", "device_id", "device_owner", "security_groups", "allowed_address_pairs", "binding:vnic_type", "port_security_enabled", "dns_name")
	if l := r.Props.List("fixed_ips"); len(l) > 0 {
		ips, err := fixedIPs(ctx, c, id, l)
		if err != nil {
			return nil, err
		}
		b.Set("fixed_ips", ips)
	}
	valueSpecs(b, r.Props)
	return b, nil
}

// fixedIPs turns {subnet, ip_address} into what Neutron takes: subnets by id.
func fixedIPs(ctx context.Context, c client, network string, l []any) ([]any, error) {
	out := []any{}
	for _, v := range l {
		m := v.(*Map)
		ip := yaml11.NewMap()
		sub := str(m, "subnet")
		if sub == "" {
			sub = str(m, "subnet_id")
		}
		if sub != "" {
			id, err := c.idOf(ctx, "subnets?network_id="+url.QueryEscape(network), "subnets", sub)
			if err != nil {
				return nil, err
			}
			ip.Set("subnet_id", id)
		}
		if a := str(m, "ip_address"); a != "" {
			ip.Set("ip_address", a)
		}
		if ip.Len() > 0 {
			out = append(out, ip)
		}
	}
	return out, nil
}

// portSubnets returns the subnets of a port's addresses, whole: templates read their cidr.
func portSubnets(ctx context.Context, r *Resource) (any, error) {
	c, err := r.network(ctx)
	if err != nil {
		return nil, err
	}
	m, err := c.call(ctx, "GET", "ports/"+r.PhysicalID, nil)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, ip := range items(submap(m, "port"), "fixed_ips") {
		s, err := c.call(ctx, "GET", "subnets/"+str(ip, "subnet_id"), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, submap(s, "subnet"))
	}
	return out, nil
}
