package baremetal

import (
	"context"
	"errors"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// attachment is what a VIF can be attached to: a card, or a portgroup with its
// cards.
type attachment struct {
	group   *Portgroup // nil: a single card
	members []*Port    // one, or the portgroup's
}

func (a attachment) id() string {
	if a.group != nil {
		return a.group.UUID
	}
	return a.members[0].UUID
}

// name is for messages: the portgroup, or the card's MAC.
func (a attachment) name() string {
	if a.group != nil {
		return "portgroup " + a.group.UUID
	}
	return a.members[0].Address
}

// address is the MAC that the VIF takes over; "" when the VIF keeps its own
// (a portgroup without address).
func (a attachment) address() string {
	if a.group != nil {
		return a.group.Address
	}
	return a.members[0].Address
}

func (a attachment) vif() string {
	if a.group != nil {
		v, _ := a.group.InternalInfo[infoTenantVIF].(string)
		return v
	}
	return a.members[0].vif()
}

func (a attachment) pxe() bool {
	for _, p := range a.members {
		if p.PXEEnabled {
			return true
		}
	}
	return false
}

// profile is binding:profile of the VIF: where its cables end, and how they
// are bonded.
func (a attachment) profile() map[string]any {
	var cables []any
	for _, p := range a.members {
		if len(p.LocalLinkConnection) > 0 && !p.unmanaged() {
			cables = append(cables, p.LocalLinkConnection)
		}
	}
	if len(cables) == 0 {
		return nil
	}
	out := map[string]any{"local_link_information": cables}
	if a.group != nil {
		out["local_group_information"] = map[string]any{"id": a.group.UUID, "name": a.group.Name, "bond_mode": a.group.Mode, "bond_properties": a.group.Properties}
	}
	return out
}

// setVIF notes the VIF, "" for none.
func (a attachment) setVIF(tx *store.Tx, vif string) error {
	if a.group != nil {
		if a.group.InternalInfo == nil {
			a.group.InternalInfo = map[string]any{}
		}
		a.group.InternalInfo[infoTenantVIF] = vif
		if vif == "" {
			delete(a.group.InternalInfo, infoTenantVIF)
		}
		_, err := tx.Exec(`UPDATE baremetal_portgroups SET doc = ? WHERE uuid = ?`, store.JSON(a.group), a.group.UUID)
		return err
	}
	p := a.members[0]
	if p.InternalInfo == nil {
		p.InternalInfo = map[string]any{}
	}
	p.InternalInfo[infoTenantVIF] = vif
	if vif == "" {
		delete(p.InternalInfo, infoTenantVIF)
		delete(p.Extra, "vif_port_id")
	}
	return savePort(tx, p)
}

// attachments lists what VIFs of a node can be attached to: portgroups, then
// the cards that are in none.
func attachments(tx *store.Tx, node string) ([]attachment, error) {
	ports, err := portsOf(tx, node)
	if err != nil {
		return nil, err
	}
	var out []attachment
	err = tx.Each(func(scan func(...any) error) error {
		pg := &Portgroup{}
		if err := scan(store.JSON(pg)); err != nil {
			return err
		}
		a := attachment{group: pg}
		for _, p := range ports {
			if p.PortgroupUUID == pg.UUID {
				a.members = append(a.members, p)
			}
		}
		if len(a.members) > 0 {
			out = append(out, a)
		}
		return nil
	}, `SELECT doc FROM baremetal_portgroups WHERE node_uuid = ? ORDER BY id`, node)
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		if p.PortgroupUUID == "" {
			out = append(out, attachment{members: []*Port{p}})
		}
	}
	return out, nil
}

func (s *Service) attachmentsOf(ctx context.Context, node string) (out []attachment, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		out, err = attachments(tx, node)
		return err
	})
	return out, err
}

func (s *Service) listVIFs(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	all, err := s.attachmentsOf(r.Context(), n.UUID)
	if err != nil {
		return err
	}
	list := []any{}
	for _, a := range all {
		if v := a.vif(); v != "" {
			list = append(list, map[string]any{"id": v})
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"vifs": list})
}

// attachVIF binds a Neutron port to a free portgroup or card of the node: the
// one named by port_uuid or portgroup_uuid, else PXE-enabled ones first. The
// Neutron port takes over its MAC address.
func (s *Service) attachVIF(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ID        string `json:"id"`
		Port      string `json:"port_uuid"`
		Portgroup string `json:"portgroup_uuid"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.ID == "" {
		return api.Invalid("id (of the VIF) is missing")
	}
	if in.Port != "" && in.Portgroup != "" {
		return api.Invalid("Cannot specify both port_uuid and portgroup_uuid")
	}
	var to attachment
	var node *Node
	err := s.change(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		if n.locked() {
			return s.lockedError(n)
		}
		node = n
		all, err := attachments(tx, n.UUID)
		if err != nil {
			return err
		}
		if to, err = freeAttachment(all, in.ID, in.Port+in.Portgroup, n.UUID); err != nil {
			return err
		}
		s.cfg.Bus.PublishTx(tx, topic(n.UUID))
		return to.setVIF(tx, in.ID)
	})
	if err != nil {
		return err
	}
	if node.Interfaces["network"] != "noop" && to.address() != "" {
		if err := s.network.takeMAC(r.Context(), in.ID, to.address()); err != nil {
			return errors.Join(s.networkFault(in.ID, err), s.dropVIF(r.Context(), node.UUID, in.ID))
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func freeAttachment(all []attachment, vif, wanted, node string) (attachment, error) {
	var free *attachment
	for i, a := range all {
		if a.vif() == vif {
			return a, api.Conflict("Unable to attach VIF because VIF %s is already attached to Ironic port or portgroup %s", vif, a.id()).Named("VifAlreadyAttached")
		}
		if a.vif() != "" || wanted != "" && a.id() != wanted {
			continue
		}
		if free == nil || a.pxe() && !free.pxe() {
			free = &all[i]
		}
	}
	if free == nil {
		return attachment{}, api.Invalid("Unable to attach VIF %s to node %s, no free physical ports are available", vif, node).Named("NoFreePhysicalPorts")
	}
	return *free, nil
}

// dropVIF forgets a VIF that is attached to the node.
func (s *Service) dropVIF(ctx context.Context, node, vif string) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		all, err := attachments(tx, node)
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.vif() == vif {
				return a.setVIF(tx, "")
			}
		}
		return nil
	})
}

func (s *Service) detachVIF(w http.ResponseWriter, r *http.Request) error {
	vif := r.PathValue("vif")
	var n *Node
	attached := false
	err := s.change(r.Context(), func(tx *store.Tx) (err error) {
		if n, err = nodeByIdent(tx, r.PathValue("node")); err != nil {
			return err
		}
		if n.locked() {
			return s.lockedError(n)
		}
		all, err := attachments(tx, n.UUID)
		for _, a := range all {
			attached = attached || a.vif() == vif
		}
		return err
	})
	if err != nil {
		return err
	}
	if !attached {
		return api.Invalid("Unable to detach VIF %s from node %s because it is not attached to it.", vif, n.UUID).Named("VifNotAttached")
	}
	if err := s.dropVIF(r.Context(), n.UUID, vif); err != nil {
		return err
	}
	if n.Interfaces["network"] != "noop" {
		if err := s.network.unbind(r.Context(), vif); err != nil {
			return s.networkFault(vif, err)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) networkFault(vif string, err error) error {
	return api.Invalid("VIF %s: the network service refused: %s", vif, err.Error()).Wrap(err)
}
