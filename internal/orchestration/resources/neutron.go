package resources

import (
	"context"
	"net/url"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// copyProps puts the named properties that have a value into a body.
func copyProps(b *Map, p *Props, names ...string) *Map {
	for _, n := range names {
		if v := p.Get(n); v != nil {
			b.Set(n, v)
		}
	}
	return b
}

// neutronObjects are the types of Neutron that are one object of a collection.
func neutronObjects() []object {
	out := []object{
		{Type: "OS::Neutron::Net", Path: "networks", Key: "network", Find: map[string]string{"qos_policy": "qos/policies"}, Rename: map[string]string{"dhcp_agent_ids": ""}, After: netAgents},
		{Type: "OS::Neutron::ProviderNet", Path: "networks", Key: "network", Rename: map[string]string{"network_type": "provider:network_type",
			"physical_network": "provider:physical_network", "segmentation_id": "provider:segmentation_id", "router_external": "router:external"}},
		{Type: "OS::Neutron::Subnet", Path: "subnets", Key: "subnet", Find: map[string]string{"network": "networks", "subnetpool": "subnetpools", "segment": "segments"}, Body: subnetBody},
		{Type: "OS::Neutron::Port", Path: "ports", Key: "port", Find: map[string]string{"network": "networks", "qos_policy": "qos/policies"},
			Rename: map[string]string{"replacement_policy": "", "no_fixed_ips": ""}, Body: portBody, Attr: portAttr},
		{Type: "OS::Neutron::SubnetPool", Path: "subnetpools", Key: "subnetpool", Find: map[string]string{"address_scope": "address-scopes"}},
		{Type: "OS::Neutron::AddressScope", Path: "address-scopes", Key: "address_scope", Plain: true},
		{Type: "OS::Neutron::Segment", Path: "segments", Key: "segment", Find: map[string]string{"network": "networks"}},
		{Type: "OS::Neutron::Router", Path: "routers", Key: "router", Rename: map[string]string{"l3_agent_ids": "", "external_gateway_info": ""}, Body: routerBody, After: routerAgents},
		{Type: "OS::Neutron::FloatingIP", Path: "floatingips", Key: "floatingip", NoName: true, Find: map[string]string{"floating_network": "networks", "floating_subnet": "subnets", "port_id": "ports"},
			Rename: map[string]string{"port_id": "port_id", "floating_subnet": "subnet_id"}},
		{Type: "OS::Neutron::FloatingIPPortForward", Path: "floatingips/{floating_ip}/port_forwardings", Key: "port_forwarding", NoName: true, Find: map[string]string{"internal_port": "ports"}, Body: forwardBody},
		{Type: "OS::Neutron::SecurityGroup", Path: "security-groups", Key: "security_group", Rename: map[string]string{"rules": ""}, After: groupRules},
		{Type: "OS::Neutron::SecurityGroupRule", Path: "security-group-rules", Key: "security_group_rule", NoName: true, Method: "-",
			Find: map[string]string{"security_group": "security-groups", "remote_group": "security-groups"}, Body: ruleBody},
		{Type: "OS::Neutron::RBACPolicy", Path: "rbac-policies", Key: "rbac_policy", List: "rbac_policies", NoName: true, Plain: true},
		{Type: "OS::Neutron::QoSPolicy", Path: "qos/policies", Key: "policy", List: "policies"},
		{Type: "OS::Neutron::MeteringLabel", Path: "metering/metering-labels", Key: "metering_label", Method: "-"},
		{Type: "OS::Neutron::MeteringRule", Path: "metering/metering-label-rules", Key: "metering_label_rule", NoName: true, Plain: true, Method: "-"},
		{Type: "OS::Neutron::Trunk", Path: "trunks", Key: "trunk", Find: map[string]string{"port": "ports"}, Rename: map[string]string{"sub_ports": ""}, Body: trunkBody, After: trunkPorts},
		{Type: "OS::Neutron::VPNService", Path: "vpn/vpnservices", Key: "vpnservice", Find: map[string]string{"subnet": "subnets", "router": "routers"}},
		{Type: "OS::Neutron::IPsecSiteConnection", Path: "vpn/ipsec-site-connections", Key: "ipsec_site_connection"},
		{Type: "OS::Neutron::IKEPolicy", Path: "vpn/ikepolicies", Key: "ikepolicy", List: "ikepolicies"},
		{Type: "OS::Neutron::IPsecPolicy", Path: "vpn/ipsecpolicies", Key: "ipsecpolicy", List: "ipsecpolicies"},
		{Type: "OS::Neutron::Firewall", Path: "fw/firewalls", Key: "firewall"},
		{Type: "OS::Neutron::FirewallPolicy", Path: "fw/firewall_policies", Key: "firewall_policy", List: "firewall_policies"},
		{Type: "OS::Neutron::FirewallRule", Path: "fw/firewall_rules", Key: "firewall_rule"},
		{Type: "OS::Neutron::TaaS::TapService", Path: "taas/tap_services", Key: "tap_service", Find: map[string]string{"port": "ports"}},
		{Type: "OS::Neutron::TaaS::TapFlow", Path: "taas/tap_flows", Key: "tap_flow", Find: map[string]string{"port": "ports", "tap_service": "taas/tap_services"},
			Rename: map[string]string{"port": "source_port"}},
		{Type: "OS::Neutron::FlowClassifier", Path: "sfc/flow_classifiers", Key: "flow_classifier", Find: map[string]string{"logical_source_port": "ports", "logical_destination_port": "ports"},
			Rename: map[string]string{"logical_source_port": "logical_source_port", "logical_destination_port": "logical_destination_port"}},
		{Type: "OS::Neutron::PortPair", Path: "sfc/port_pairs", Key: "port_pair", Find: map[string]string{"ingress": "ports", "egress": "ports"}, Rename: map[string]string{"ingress": "ingress", "egress": "egress"}},
		{Type: "OS::Neutron::PortPairGroup", Path: "sfc/port_pair_groups", Key: "port_pair_group"},
		{Type: "OS::Neutron::PortChain", Path: "sfc/port_chains", Key: "port_chain"},
	}
	for name, kind := range map[string]string{"BandwidthLimit": "bandwidth_limit", "DscpMarking": "dscp_marking", "MinimumBandwidth": "minimum_bandwidth", "MinimumPacketRate": "minimum_packet_rate"} {
		out = append(out, object{Type: "OS::Neutron::QoS" + name + "Rule", Path: "qos/policies/{policy}/" + kind + "_rules", Key: kind + "_rule", NoName: true, Plain: true,
			Find: map[string]string{"policy": "qos/policies"}, Rename: map[string]string{"tenant_id": ""}})
	}
	return out
}

func subnetBody(_ context.Context, r *Resource, _ client, b *Map, changed map[string]bool) error {
	if v, ok := b.Get("gateway_ip"); ok && v == "" { // an empty text asks for no gateway
		b.Set("gateway_ip", nil)
	}
	if changed["allocation_pools"] && !r.Props.Has("allocation_pools") { // pools that are taken away leave none, as in Heat
		b.Set("allocation_pools", []any{})
	}
	if changed == nil && r.Props.Has("subnetpool") && !r.Props.Has("cidr") {
		b.Delete("cidr")
	}
	return nil
}

func portBody(ctx context.Context, r *Resource, c client, b *Map, changed map[string]bool) error {
	network := str(b, "network_id")
	if v, ok := b.Get("fixed_ips"); ok {
		l, _ := v.([]any)
		ips, err := fixedIPs(ctx, c, network, l)
		if err != nil {
			return err
		}
		b.Set("fixed_ips", ips)
		if len(ips) == 0 && changed == nil {
			b.Delete("fixed_ips")
		}
	}
	if r.Props.Bool("no_fixed_ips") && (changed == nil || changed["no_fixed_ips"]) {
		b.Set("fixed_ips", []any{})
	}
	if v, ok := b.Get("security_groups"); ok {
		l, _ := v.([]any)
		ids, err := c.findAll(ctx, "security-groups", l)
		if err != nil {
			return err
		}
		b.Set("security_groups", ids)
	}
	for k, v := range b.All() {
		if v == nil && changed != nil && k != "qos_policy_id" {
			b.Delete(k)
		}
	}
	if v, ok := b.Get("allowed_address_pairs"); ok {
		pairs := []any{}
		for _, p := range v.([]any) {
			pair := yaml11.NewMap()
			for k, e := range p.(*Map).All() {
				if e != nil {
					pair.Set(k, e)
				}
			}
			pairs = append(pairs, pair)
		}
		b.Set("allowed_address_pairs", pairs)
	}
	return nil
}

// fixedIPs turns {subnet, ip_address} into what Neutron takes: subnets by id, looked for in the network if
// that is known.
func fixedIPs(ctx context.Context, c client, network string, l []any) ([]any, error) {
	out := []any{}
	for _, v := range l {
		m := v.(*Map)
		ip := yaml11.NewMap()
		if sub := str(m, "subnet"); sub != "" {
			in := "subnets"
			if network != "" {
				in += "?network_id=" + url.QueryEscape(network)
			}
			id, err := c.find(ctx, in, sub)
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

func portAttr(ctx context.Context, _ *Resource, c client, m *Map, name string) (any, bool, error) {
	switch name {
	case "subnets":
		v, err := portSubnets(ctx, c, m)
		return v, true, err
	case "ip_address": // so that a plain port can stand for a VIP template (inventory 7)
		v, _ := m.Get("fixed_ips")
		return hot.Dig(v, []any{int64(0), "ip_address"}), true, nil
	case "network":
		n, err := c.call(ctx, "GET", "networks/"+url.PathEscape(str(m, "network_id")), nil)
		return submap(n, "network"), true, err
	}
	return nil, false, nil
}

// portSubnets returns the subnets of a port's addresses, whole: templates read their cidr.
func portSubnets(ctx context.Context, c client, port *Map) (any, error) {
	out := []any{}
	for _, ip := range items(port, "fixed_ips") {
		s, err := c.call(ctx, "GET", "subnets/"+str(ip, "subnet_id"), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, submap(s, "subnet"))
	}
	return out, nil
}

func routerBody(ctx context.Context, r *Resource, c client, b *Map, changed map[string]bool) error {
	if changed != nil && !changed["external_gateway_info"] {
		return nil
	}
	gw := r.Props.Map("external_gateway_info")
	if gw == nil {
		if changed != nil {
			b.Set("external_gateway_info", yaml11.NewMap())
		}
		return nil
	}
	network, err := c.find(ctx, "networks", str(gw, "network"))
	if err != nil {
		return err
	}
	info := yaml11.MapOf("network_id", network)
	if v, ok := gw.Get("enable_snat"); ok && v != nil {
		info.Set("enable_snat", v)
	}
	if l, ok := get(gw, "external_fixed_ips").([]any); ok && len(l) > 0 {
		ips, err := fixedIPs(ctx, c, network, l)
		if err != nil {
			return err
		}
		info.Set("external_fixed_ips", ips)
	}
	b.Set("external_gateway_info", info)
	return nil
}

func forwardBody(ctx context.Context, _ *Resource, c client, b *Map, _ map[string]bool) error {
	if id := str(b, "internal_port_id"); id != "" {
		if _, has := b.Get("internal_ip_address"); !has {
			m, err := c.call(ctx, "GET", "ports/"+id, nil)
			if err != nil {
				return err
			}
			v, _ := submap(m, "port").Get("fixed_ips")
			b.Set("internal_ip_address", hot.Dig(v, []any{int64(0), "ip_address"}))
		}
	}
	if v, ok := b.Get("internal_port_number"); ok {
		b.Delete("internal_port_number")
		b.Set("internal_port", v)
	}
	return nil
}

// netAgents and routerAgents put an object on the agents that are named.
func netAgents(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	return agents(ctx, r, c, changed, "dhcp_agent_ids", "dhcp-agents", "dhcp-networks", "network_id")
}

func routerAgents(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	return agents(ctx, r, c, changed, "l3_agent_ids", "l3-agents", "l3-routers", "router_id")
}

func agents(ctx context.Context, r *Resource, c client, changed map[string]bool, prop, list, path, field string) error {
	if !r.Props.Has(prop) && !changed[prop] {
		return nil
	}
	one := map[string]string{"dhcp-agents": "networks/", "l3-agents": "routers/"}[list] + r.PhysicalID + "/" + list
	m, err := c.call(ctx, "GET", one, nil)
	if err != nil {
		return err
	}
	want := r.Props.List(prop)
	var have []any
	for _, a := range items(m, "agents") {
		id := str(a, "id")
		have = append(have, id)
		if !hasText(want, id) {
			if err := c.remove(ctx, "agents/"+url.PathEscape(id)+"/"+path+"/"+r.PhysicalID); err != nil {
				return err
			}
		}
	}
	for _, id := range want {
		if !hasText(have, hot.PyStr(id)) {
			if _, err := c.call(ctx, "POST", "agents/"+url.PathEscape(hot.PyStr(id))+"/"+path, yaml11.MapOf(field, r.PhysicalID)); err != nil {
				return err
			}
		}
	}
	return nil
}

func trunkBody(ctx context.Context, r *Resource, c client, b *Map, changed map[string]bool) error {
	if changed != nil {
		return nil
	}
	l, err := subPorts(ctx, r.Props, c)
	b.Set("sub_ports", l)
	return err
}

func subPorts(ctx context.Context, p *Props, c client) ([]any, error) {
	out := []any{}
	for _, v := range p.List("sub_ports") {
		m := v.(*Map)
		id, err := c.find(ctx, "ports", str(m, "port"))
		if err != nil {
			return nil, err
		}
		tag, _ := m.Get("segmentation_id")
		out = append(out, yaml11.MapOf("port_id", id, "segmentation_type", str(m, "segmentation_type"), "segmentation_id", tag))
	}
	return out, nil
}

// trunkPorts brings the subports of a trunk to what the template says.
func trunkPorts(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	if !changed["sub_ports"] {
		return nil
	}
	want, err := subPorts(ctx, r.Props, c)
	if err != nil {
		return err
	}
	m, err := c.call(ctx, "GET", "trunks/"+r.PhysicalID, nil)
	if err != nil {
		return err
	}
	have := items(submap(m, "trunk"), "sub_ports")
	same := func(a, b *Map) bool { return str(a, "port_id") == str(b, "port_id") && hot.Equal(a, b) }
	var drop, add []any
	for _, h := range have {
		found := false
		for _, w := range want {
			found = found || same(h, w.(*Map))
		}
		if !found {
			drop = append(drop, yaml11.MapOf("port_id", str(h, "port_id")))
		}
	}
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || same(h, w.(*Map))
		}
		if !found {
			add = append(add, w)
		}
	}
	for _, e := range []struct {
		verb string
		l    []any
	}{{"remove_subports", drop}, {"add_subports", add}} {
		if len(e.l) > 0 {
			if _, err := c.call(ctx, "PUT", "trunks/"+r.PhysicalID+"/"+e.verb, yaml11.MapOf("sub_ports", e.l)); err != nil {
				return err
			}
		}
	}
	return nil
}
