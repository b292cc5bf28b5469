package network

import (
	"fmt"
	"math"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	maxName = 255
	maxDesc = 255
	maxVLAN = 4094
)

// described are the attributes that most kinds begin with.
func described(more ...attr) []attr {
	return append([]attr{
		{name: "name", parse: orEmpty(text(maxName)), def: "", mode: both},
		{name: "description", parse: orEmpty(text(maxDesc)), def: "", mode: both},
	}, more...)
}

func networkKind() *resource {
	return &resource{
		kind: "network", plural: "networks", path: "networks", shared: "network", quota: true,
		missing: "Network %s could not be found.", missingType: "NetworkNotFound",
		inUse: "Unable to complete operation on network %s. There are one or more ports still in use on the network.", inUseType: "NetworkInUse",
		attrs: described(
			attr{name: "admin_state_up", parse: boolean, def: true, mode: both},
			attr{name: "shared", parse: boolean, def: false, mode: both | setBy},
			attr{name: "router:external", parse: boolean, def: false, mode: both | setBy},
			attr{name: "is_default", parse: boolean, def: false, mode: both | setBy},
			attr{name: "mtu", parse: integer(0, 65535), def: float64(0), mode: both},
			attr{name: "port_security_enabled", parse: boolean, def: true, mode: both},
			attr{name: "availability_zone_hints", parse: zoneHints, def: []any{}, mode: post},
			attr{name: "dns_domain", parse: orEmpty(dnsName), def: "", mode: both},
			attr{name: "qos_policy_id", parse: orNull(id), def: nil, mode: both, ref: "policy"},
			attr{name: "provider:network_type", parse: orNull(text(32)), def: nil, mode: post | forAdms},
			attr{name: "provider:physical_network", parse: orNull(text(64)), def: nil, mode: post | forAdms},
			attr{name: "provider:segmentation_id", parse: orNull(integer(math.MinInt32, math.MaxInt32)), def: nil, mode: post | forAdms},
			attr{name: "status"}, attr{name: "subnets"}, attr{name: "availability_zones"},
			attr{name: "ipv4_address_scope"}, attr{name: "ipv6_address_scope"}, attr{name: "l2_adjacency"},
		),
		prepare: prepareNetwork, stored: storedNetwork, release: releaseNetwork, view: viewNetwork,
	}
}

func zoneHints(v any) (any, string) {
	out, why := listOf(text(255))(v)
	if why != "" {
		return nil, why
	}
	for _, z := range (doc{"": out}).strs("") {
		if z != zone {
			return nil, fmt.Sprintf("AvailabilityZone %s could not be found.", z)
		}
	}
	return out, ""
}

func prepareNetwork(c *call, d, old doc) error {
	if d.num("mtu") == 0 {
		d["mtu"] = 1500
	} else if d.num("mtu") < 68 {
		return badInput("mtu", fmt.Sprintf("'%d' is too small - must be at least '68'.", d.num("mtu")))
	}
	d["status"] = "ACTIVE"
	if old == nil {
		if err := c.defaultPolicy(d); err != nil {
			return err
		}
		return c.chooseSegment(d)
	}
	if _, given := c.given["router:external"]; given && old.flag("router:external") && !d.flag("router:external") {
		used, err := c.gatewaysOn(d.id())
		if err == nil && len(used) > 0 {
			err = api.Conflict("External network %s cannot be updated to be made non-external, since it has existing gateway ports.", d.id()).Named("ExternalNetworkInUse")
		}
		return err
	}
	return nil
}

// defaultPolicy gives a network its project's default QoS policy.
func (c *call) defaultPolicy(d doc) error {
	if d["qos_policy_id"] != nil {
		return nil
	}
	all, err := c.find(c.s.kinds["policy"], ` AND project_id = ?`, d.project())
	for _, p := range all {
		if p.flag("is_default") {
			d["qos_policy_id"] = p.id()
		}
	}
	return err
}

// chooseSegment completes and checks the provider attributes of a new network.
// A network of which nothing is said is a VLAN of the configured range, or, if
// there is none, local: it has addresses, but no wire.
func (c *call) chooseSegment(d doc) error {
	typ, phys := d.str("provider:network_type"), d.str("provider:physical_network")
	_, tagged := d["provider:segmentation_id"].(float64)
	if typ == "" {
		switch {
		case tagged:
			typ = "vlan"
		case phys != "":
			typ = "flat"
		case len(c.s.cfg.VLANs) > 0:
			typ, phys = "vlan", c.s.cfg.VLANs[0].PhysicalNetwork
		default:
			typ = "local"
		}
	}
	id := d.num("provider:segmentation_id")
	switch typ {
	case "local":
		if phys != "" || tagged {
			return api.Invalid("Invalid input for operation: provider:physical_network and provider:segmentation_id must not be specified for local network.").Named("InvalidInput")
		}
	case "flat":
		if tagged {
			return api.Invalid("Invalid input for operation: segmentation_id must not be specified for flat network.").Named("InvalidInput")
		}
	case "vlan":
		if phys == "" {
			if len(c.s.cfg.VLANs) == 0 {
				return api.Invalid("Invalid input for operation: physical_network required for VLAN provider network.").Named("InvalidInput")
			}
			phys = c.s.cfg.VLANs[0].PhysicalNetwork
		}
		if tagged && (id < 1 || id > maxVLAN) {
			return api.Invalid("Invalid input for operation: segmentation_id out of range (1 through %d).", maxVLAN).Named("InvalidInput")
		}
		if !tagged {
			var err error
			if id, err = c.freeVLAN(phys); err != nil {
				return err
			}
		}
		d["provider:segmentation_id"] = float64(id)
	default:
		return api.Invalid("Invalid input for operation: network_type value '%s' not supported, expected flat, vlan or local.", typ).Named("InvalidInput")
	}
	d["provider:network_type"] = typ
	if phys != "" {
		d["provider:physical_network"] = phys
	}
	return nil
}

// freeVLAN returns the lowest VLAN of the configured range of a physical
// network that no network has.
func (c *call) freeVLAN(phys string) (int, error) {
	taken := map[int]bool{}
	err := c.tx.Each(func(scan func(...any) error) error {
		var n int
		err := scan(&n)
		taken[n] = true
		return err
	}, `SELECT segmentation_id FROM network_segments WHERE physical_network = ?`, phys)
	if err != nil {
		return 0, err
	}
	for _, r := range c.s.cfg.VLANs {
		for n := r.First; r.PhysicalNetwork == phys && n <= r.Last; n++ {
			if !taken[n] {
				return n, nil
			}
		}
	}
	return 0, api.Conflict("Unable to create the network. No tenant network is available for allocation: every VLAN configured for physical network %s is in use.", phys).Named("NoNetworkAvailable")
}

func storedNetwork(c *call, d, old doc) error {
	if _, given := c.given["router:external"]; given {
		if err := c.share(c.s.kinds["network"], d, asExternal, d.flag("router:external")); err != nil {
			return err
		}
	}
	if old != nil {
		return nil
	}
	if d.flag("is_default") {
		if err := c.onlyDefault(d); err != nil {
			return err
		}
	}
	seg := doc{
		"id": newID(), "project_id": "", "name": nil, "network_id": d.id(), "network_type": d["provider:network_type"],
		"physical_network": d["provider:physical_network"], "segmentation_id": d["provider:segmentation_id"],
	}
	given := c.given
	c.given = map[string]any{}
	defer func() { c.given = given }()
	return c.add(c.s.kinds["segment"], seg)
}

func (c *call) onlyDefault(d doc) error {
	all, err := c.find(c.s.kinds["network"], ` AND id <> ?`, d.id())
	for _, other := range all {
		if other.flag("is_default") {
			return api.Conflict("A default external network already exists: %s.", other.id()).Named("DefaultExternalNetworkExists")
		}
	}
	return err
}

// takeSegment writes down which segment of a wire is whose.
func (c *call) takeSegment(seg doc) error {
	phys := seg.str("physical_network")
	if phys == "" || seg.str("network_type") == "local" {
		return nil
	}
	n, err := c.tx.Exec(`INSERT INTO network_segments (physical_network, segmentation_id, segment_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		phys, seg.num("segmentation_id"), seg.id())
	switch {
	case err != nil || n > 0:
		return err
	case seg.num("segmentation_id") == 0:
		return api.Conflict("Unable to create the flat network. Physical network %s is in use.", phys).Named("FlatNetworkInUse")
	default:
		return api.Conflict("Unable to create the network. The VLAN %d on physical network %s is in use.", seg.num("segmentation_id"), phys).Named("VlanIdInUse")
	}
}

func releaseNetwork(c *call, d doc) error {
	ports, err := c.children(c.s.kinds["port"], d.id())
	if err != nil {
		return err
	}
	ports, err = c.dropFloating(ports)
	if err != nil {
		return err
	}
	if len(ports) > 0 {
		return api.Conflict(c.s.kinds["network"].inUse, d.id()).Named("NetworkInUse")
	}
	subs, err := c.children(c.s.kinds["subnet"], d.id())
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if _, err := c.tx.Exec(`DELETE FROM network_resources WHERE id = ?`, sub.id()); err != nil {
			return err
		}
	}
	_, err = c.tx.Exec(`DELETE FROM network_resources WHERE parent_id = ? AND kind = 'segment'`, d.id())
	return err
}

func viewNetwork(c *call, d doc) error {
	ids := []any{}
	d["ipv4_address_scope"], d["ipv6_address_scope"] = nil, nil
	err := c.tx.Each(func(scan func(...any) error) error {
		sub := doc{}
		err := scan(store.JSON(&sub))
		ids = append(ids, sub.id())
		if scope := sub.str("address_scope_id"); scope != "" {
			d[fmt.Sprintf("ipv%d_address_scope", sub.num("ip_version"))] = scope
		}
		return err
	}, `SELECT doc FROM network_resources WHERE parent_id = ? AND kind = 'subnet' ORDER BY id`, d.id())
	d["subnets"], d["availability_zones"], d["l2_adjacency"] = ids, []any{zone}, true
	acts, shareErr := c.sharing(d.id())
	if shareErr != nil {
		return shareErr
	}
	d["router:external"] = d.flag("router:external") || acts[asExternal]
	if len(d.list("segments")) > 0 {
		delete(d, "segments")
	}
	return err
}

// segmentKind is a piece of a wire that a network spans (extension segment).
func segmentKind() *resource {
	return &resource{
		kind: "segment", plural: "segments", path: "segments", parent: "network_id", admin: true, unowned: true,
		missing: "Segment %s could not be found.", missingType: "SegmentNotFound",
		inUse: "Segment '%s' cannot be deleted: The segment is still associated with subnet(s).", inUseType: "SegmentInUse",
		attrs: []attr{
			{name: "network_id", parse: id, mode: post | need, ref: "network"},
			{name: "name", parse: orNull(text(maxName)), def: nil, mode: both},
			{name: "description", parse: orNull(text(maxDesc)), def: nil, mode: both},
			{name: "network_type", parse: oneOf("flat", "vlan", "local"), mode: post | need},
			{name: "physical_network", parse: orNull(text(64)), def: nil, mode: post},
			{name: "segmentation_id", parse: orNull(integer(1, maxVLAN)), def: nil, mode: post},
		},
		prepare: func(_ *call, d, _ doc) error {
			if d.str("network_type") == "vlan" && d["segmentation_id"] == nil {
				return api.Invalid("a vlan segment needs a segmentation_id")
			}
			return nil
		},
		stored: func(c *call, d, old doc) error {
			if old != nil {
				return nil
			}
			return c.takeSegment(d)
		},
	}
}
