package network

import (
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

func trunkKind() *resource {
	return &resource{
		kind: "trunk", plural: "trunks", path: "trunks", quota: true,
		missing: "Trunk %s could not be found.", missingType: "TrunkNotFound",
		inUse: "Trunk %s is currently in use.", inUseType: "TrunkInUse",
		attrs: described(
			attr{name: "port_id", parse: id, mode: post | need, ref: "port"},
			attr{name: "admin_state_up", parse: boolean, def: true, mode: both},
			attr{name: "sub_ports", parse: listOf(subPort), def: []any{}, mode: post | unlist},
			attr{name: "status"},
		),
		prepare: prepareTrunk,
		stored: func(c *call, d, old doc) error {
			if old != nil {
				return nil
			}
			if err := c.holdSubPorts(d, d.docs("sub_ports")); err != nil {
				return err
			}
			return c.rewire(d.str("port_id"))
		},
		release: func(c *call, d doc) error {
			if err := enabled(d); err != nil {
				return err
			}
			p, err := c.load(c.s.kinds["port"], d.str("port_id"))
			if err != nil {
				return err
			}
			if isBound(p) {
				return api.Conflict("Trunk %s is currently in use.", d.id()).Named("TrunkInUse")
			}
			return c.dropSubPorts(d, d.docs("sub_ports"))
		},
		view: func(c *call, d doc) error {
			p, err := c.load(c.s.kinds["port"], d.str("port_id"))
			if err == nil {
				d["status"] = trunkStatus(p)
			}
			return err
		},
	}
}

// trunkStatus follows the parent port: a trunk is built while its switches
// are.
func trunkStatus(parent doc) string {
	switch {
	case parent.str("binding:vif_type") == vifFailed:
		return statusError
	case !isBound(parent):
		return "DOWN"
	case parent.str("status") == "DOWN" && parent.flag("admin_state_up"):
		return "BUILD"
	default:
		return "ACTIVE"
	}
}

func subPort(v any) (any, string) {
	return object(fields{"port_id": id, "segmentation_type": oneOf("vlan", "inherit"), "segmentation_id": integer(1, maxVLAN)}, "port_id")(v)
}

func prepareTrunk(c *call, d, old doc) error {
	if old != nil {
		return nil
	}
	p, err := c.own(c.s.kinds["port"], d.str("port_id"))
	if err != nil {
		return err
	}
	if owner, err := c.trunkOf(p.id()); err != nil || owner != "" {
		if err == nil {
			err = api.Conflict("Port %s is currently a parent port or a subport for trunk %s and is not eligible for use as a parent port.", p.id(), owner).Named("ParentPortInUse")
		}
		return err
	}
	if isBound(p) && p.str("binding:vnic_type") != "baremetal" {
		return api.Conflict("Port %s is in use and not eligible for use as a parent port.", p.id()).Named("ParentPortInUse")
	}
	next, err := c.checkSubPorts(d, nil, d.docs("sub_ports"))
	if err != nil {
		return err
	}
	d["sub_ports"], d["status"] = next, "DOWN"
	return c.mayTag(p, d.docs("sub_ports"))
}

// trunkOf returns the trunk that a port is parent or subport of.
func (c *call) trunkOf(port string) (string, error) {
	for _, role := range []string{"port_id", "subport"} {
		ids, err := c.referrers(port, role)
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			if _, err := c.load(c.s.kinds["trunk"], id); err == nil {
				return id, nil
			} else if !isNotFound(err) {
				return "", err
			}
		}
	}
	return "", nil
}

// checkSubPorts checks new subports against each other and those there are.
func (c *call) checkSubPorts(trunk doc, have, more []doc) ([]any, error) {
	out, vlans := []any{}, map[int]bool{}
	for _, s := range have {
		vlans[s.num("segmentation_id")] = true
	}
	for _, s := range more {
		if s.str("segmentation_type") != "inherit" && (s["segmentation_type"] == nil || s["segmentation_id"] == nil) {
			return nil, api.Invalid("Invalid input for operation: Invalid subport details for port %s: segmentation_type and segmentation_id are expected.", s.str("port_id")).Named("InvalidInput")
		}
		if s["segmentation_id"] != nil && vlans[s.num("segmentation_id")] {
			return nil, duplicateVLAN(trunk, s)
		}
	}
	seen := map[int]bool{}
	for _, s := range more {
		if s["segmentation_id"] != nil && seen[s.num("segmentation_id")] {
			return nil, duplicateVLAN(trunk, s)
		}
		seen[s.num("segmentation_id")] = true
	}
	for _, s := range more {
		p, err := c.own(c.s.kinds["port"], s.str("port_id"))
		if err != nil {
			return nil, err
		}
		if owner, err := c.trunkOf(p.id()); err != nil || owner != "" || p.id() == trunk.str("port_id") {
			if err == nil {
				err = api.Conflict("Port %s is currently a parent port or a subport for trunk %s.", p.id(), owner).Named("TrunkPortInUse")
			}
			return nil, err
		}
		if isBound(p) || p.str("device_id") != "" && p.str("device_owner") != ownerTrunk {
			return nil, api.Conflict("Port %s is in use and not eligible for use as a subport.", p.id()).Named("PortInUse")
		}
		if s.str("segmentation_type") == "inherit" {
			n, err := c.load(c.s.kinds["network"], p.str("network_id"))
			if err != nil {
				return nil, err
			}
			if n.str("provider:network_type") != "vlan" {
				return nil, api.Invalid("Invalid input for operation: network %s of port %s has no VLAN to inherit.", n.id(), p.id()).Named("InvalidInput")
			}
			s = doc{"port_id": p.id(), "segmentation_type": "vlan", "segmentation_id": n["provider:segmentation_id"]}
		}
		if vlans[s.num("segmentation_id")] {
			return nil, duplicateVLAN(trunk, s)
		}
		vlans[s.num("segmentation_id")] = true
		if slices.ContainsFunc(out, func(o any) bool { m, _ := o.(map[string]any); return m["port_id"] == p.id() }) {
			return nil, api.Conflict("Port %s is given twice.", p.id()).Named("DuplicateSubPort")
		}
		out = append(out, map[string]any(s))
	}
	return out, nil
}

func duplicateVLAN(trunk, s doc) error {
	return api.Conflict("segmentation_type vlan and segmentation_id %d already in use on trunk %s.", s.num("segmentation_id"), trunk.id()).Named("DuplicateSubPort")
}

// enabled keeps a trunk that is administratively down as it is.
func enabled(t doc) error {
	if t.flag("admin_state_up") {
		return nil
	}
	return api.Conflict("Trunk %s is currently disabled.", t.id()).Named("TrunkDisabled")
}

func (c *call) holdSubPorts(trunk doc, subs []doc) error {
	for _, s := range subs {
		if err := c.refer(trunk.id(), "subport", s.str("port_id")); err != nil {
			return err
		}
		if err := c.setOwner(s.str("port_id"), trunk.id(), ownerTrunk); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) setOwner(port, device, owner string) error {
	p, err := c.lock(c.s.kinds["port"], port)
	if err != nil {
		return err
	}
	next := p.clone()
	next["device_id"], next["device_owner"] = device, owner
	if c.s.fabric != nil && owner == "" { // its parent's binding was its own
		next["binding:host_id"], next["binding:vif_type"], next["status"] = "", "unbound", "DOWN"
	}
	return c.save(c.s.kinds["port"], next, p)
}

func (c *call) dropSubPorts(trunk doc, subs []doc) error {
	for _, s := range subs {
		if _, err := c.tx.Exec(`DELETE FROM network_refs WHERE from_id = ? AND role = 'subport' AND to_id = ?`, trunk.id(), s.str("port_id")); err != nil {
			return err
		}
		if err := c.setOwner(s.str("port_id"), "", ""); err != nil {
			return err
		}
	}
	return nil
}

// releaseTrunkPort keeps the ports of trunks.
func (c *call) releaseTrunkPort(p doc) error {
	owner, err := c.trunkOf(p.id())
	if err == nil && owner != "" {
		err = api.Conflict("Port %s is currently a parent port or a subport for trunk %s.", p.id(), owner).Named("PortInUseAsTrunkParent")
	}
	return err
}

// trunkDetails shows a parent port's subports (extension trunk-details).
func (c *call) trunkDetails(p doc) error {
	ids, err := c.referrers(p.id(), "port_id")
	if err != nil {
		return err
	}
	for _, id := range ids {
		t, err := c.load(c.s.kinds["trunk"], id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		subs := []any{}
		for _, s := range t.docs("sub_ports") {
			sp, err := c.load(c.s.kinds["port"], s.str("port_id"))
			if err != nil {
				return err
			}
			s["mac_address"] = sp["mac_address"]
			subs = append(subs, map[string]any(s))
		}
		p["trunk_details"] = map[string]any{"trunk_id": t.id(), "sub_ports": subs}
	}
	return nil
}

func subPortsIn(in map[string]any) ([]doc, error) {
	if inner, ok := in["trunk"].(map[string]any); ok {
		in = inner
	}
	parsed, why := listOf(subPort)(in["sub_ports"])
	if why != "" {
		return nil, badInput("sub_ports", why)
	}
	return doc{"s": parsed}.docs("s"), nil
}

func addSubPorts(c *call, t doc, in map[string]any) (any, error) {
	if err := enabled(t); err != nil {
		return nil, err
	}
	more, err := subPortsIn(in)
	if err != nil {
		return nil, err
	}
	checked, err := c.checkSubPorts(t, t.docs("sub_ports"), more)
	if err != nil {
		return nil, err
	}
	parent, err := c.load(c.s.kinds["port"], t.str("port_id"))
	if err != nil {
		return nil, err
	}
	if err := c.mayTag(parent, doc{"s": checked}.docs("s")); err != nil {
		return nil, err
	}
	next := t.clone()
	next["sub_ports"] = append(slices.Clone(t.list("sub_ports")), checked...)
	if err := c.holdSubPorts(next, doc{"s": checked}.docs("s")); err != nil {
		return nil, err
	}
	return c.answerTrunk(next, t)
}

func removeSubPorts(c *call, t doc, in map[string]any) (any, error) {
	if err := enabled(t); err != nil {
		return nil, err
	}
	gone, err := subPortsIn(in)
	if err != nil {
		return nil, err
	}
	have := t.docs("sub_ports")
	for _, g := range gone {
		i := slices.IndexFunc(have, func(s doc) bool { return s.str("port_id") == g.str("port_id") })
		if i < 0 {
			return nil, api.NotFound("SubPort on trunk %s with parent port %s could not be found.", t.id(), g.str("port_id")).Named("SubPortNotFound")
		}
		have = slices.Delete(have, i, i+1)
	}
	next := t.clone()
	left := []any{}
	for _, s := range have {
		left = append(left, map[string]any(s))
	}
	next["sub_ports"] = left
	if err := c.dropSubPorts(t, gone); err != nil {
		return nil, err
	}
	return c.answerTrunk(next, t)
}

// answerTrunk stores a trunk whose subports changed.
func (c *call) answerTrunk(next, old doc) (any, error) {
	if err := c.save(c.s.kinds["trunk"], next, old); err != nil {
		return nil, err
	}
	if err := c.rewire(next.str("port_id")); err != nil {
		return nil, err
	}
	shown, err := c.shown(c.s.kinds["trunk"], next)
	return shown, err
}

func (s *Service) getSubPorts(w http.ResponseWriter, r *http.Request) error {
	var out []any
	err := s.in(r, false, func(c *call) error {
		t, err := c.see(c.s.kinds["trunk"], r.PathValue("id"))
		if err == nil {
			out = append([]any{}, t.list("sub_ports")...)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"sub_ports": out})
}
