package baremetal

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

// Port is a network card of a node.
type Port struct {
	UUID                string         `json:"uuid"`
	Address             string         `json:"address"` // MAC, lower case with colons
	NodeUUID            string         `json:"node_uuid"`
	PortgroupUUID       string         `json:"portgroup_uuid"`
	Name                string         `json:"name"`
	PXEEnabled          bool           `json:"pxe_enabled"`
	PhysicalNetwork     string         `json:"physical_network"`
	LocalLinkConnection map[string]any `json:"local_link_connection"`
	Extra               map[string]any `json:"extra"`
	InternalInfo        map[string]any `json:"internal_info"`
	IsSmartNIC          bool           `json:"is_smartnic"`
	CreatedAt           time.Time      `json:"created_at"`
	UpdatedAt           time.Time      `json:"updated_at"`
}

// Keys of internal_info, as Ironic names them.
const (
	infoTenantVIF  = "tenant_vif_port_id"
	infoProvisPort = "provisioning_vif_port_id" // a Neutron port of our own, for the ramdisk
)

// vif is the Neutron port attached to the card itself for the instance.
func (p *Port) vif() string {
	if v, _ := p.InternalInfo[infoTenantVIF].(string); v != "" {
		return v
	}
	v, _ := p.Extra["vif_port_id"].(string) // the way of old Nova
	return v
}

func normMAC(s string) (string, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return "", api.Invalid("Expected a MAC address but received %s.", s)
	}
	return hw.String(), nil
}

func portsOf(tx *store.Tx, node string) ([]*Port, error) {
	var out []*Port
	err := tx.Each(func(scan func(...any) error) error {
		p := &Port{}
		if err := scan(store.JSON(p)); err != nil {
			return err
		}
		out = append(out, p)
		return nil
	}, `SELECT doc FROM baremetal_ports WHERE node_uuid = ? ORDER BY id`, node)
	return out, err
}

func (s *Service) ports(ctx context.Context, node string) (out []*Port, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		out, err = portsOf(tx, node)
		return err
	})
	return out, err
}

func portByUUID(tx *store.Tx, id string) (*Port, error) {
	if _, err := uuid.Parse(id); err != nil {
		return nil, api.Invalid("Expected a UUID but received %s.", id)
	}
	p := &Port{}
	err := tx.Get([]any{store.JSON(p)}, `SELECT doc FROM baremetal_ports WHERE uuid = ?`, strings.ToLower(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Port %s could not be found.", id).Named("PortNotFound")
	}
	return p, err
}

func savePort(tx *store.Tx, p *Port) error {
	_, err := tx.Exec(`UPDATE baremetal_ports SET address = ?, node_uuid = ?, portgroup_uuid = ?, doc = ? WHERE uuid = ?`,
		p.Address, p.NodeUUID, p.PortgroupUUID, store.JSON(p), p.UUID)
	return macConflict(err, p)
}

func macConflict(err error, p *Port) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A port with MAC address %s already exists.", p.Address).Named("MACAlreadyExists").Wrap(err)
	}
	return err
}

func portSince() map[string]int {
	return map[string]int{"internal_info": 18, "local_link_connection": 19, "pxe_enabled": 19, "portgroup_uuid": 24,
		"physical_network": 34, "is_smartnic": 53, "name": 88}
}

// wire turns a resource into its JSON document with links, ISO times and null
// for empty strings; fields newer than the microversion are left out.
func (s *Service) wire(v any, collection, id string, since map[string]int, minor int) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	for k, val := range m {
		if str, ok := val.(string); ok && str == "" {
			m[k] = nil
		}
		if strings.HasSuffix(k, "_at") {
			m[k] = wireTimeOf(val)
		}
		if min, ok := since[k]; ok && minor < min {
			delete(m, k)
		}
	}
	m["links"] = links(s.cfg.BaseURL, collection, id)
	return m, nil
}

func (s *Service) portFilter(tx *store.Tx, r *http.Request) (filter, error) {
	var f filter
	q := r.URL.Query()
	node := q.Get("node")
	if node == "" {
		node = q.Get("node_uuid")
	}
	if node == "" {
		node = r.PathValue("node")
	}
	if node != "" {
		n, err := nodeByIdent(tx, node)
		if err != nil {
			return f, err
		}
		f.add("node_uuid = ?", n.UUID)
	}
	if v := q.Get("address"); v != "" {
		mac, err := normMAC(v)
		if err != nil {
			return f, err
		}
		f.add("address = ?", mac)
	}
	group := q.Get("portgroup")
	if group == "" {
		group = r.PathValue("portgroup")
	}
	if group != "" {
		pg, err := portgroupGroup().find(s, tx, group)
		if err != nil {
			return f, err
		}
		f.add("portgroup_uuid = ?", pg.id())
	}
	return f, nil
}

func (s *Service) listPorts(w http.ResponseWriter, r *http.Request) error {
	detail, err := wantBool("detail", r.URL.Query().Get("detail"))
	if err != nil {
		return err
	}
	return s.writePorts(w, r, detail || strings.HasSuffix(r.URL.Path, "/detail"))
}

func (s *Service) writePorts(w http.ResponseWriter, r *http.Request, detail bool) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	full, err := s.wire(&Port{}, "ports", "", portSince(), minor(r))
	if err != nil {
		return err
	}
	fields, err := fieldList(r, full)
	if err != nil {
		return err
	}
	list, last := []any{}, ""
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		f, err := s.portFilter(tx, r)
		if err != nil {
			return err
		}
		return listRows(tx, "baremetal_ports", f, page, "", func(scan func(...any) error) error {
			var id int64
			p := &Port{}
			if err := scan(&id, store.JSON(p)); err != nil {
				return err
			}
			doc, err := s.wire(p, "ports", p.UUID, portSince(), minor(r))
			if err != nil {
				return err
			}
			switch {
			case len(fields) > 0:
				doc = pick(doc, fields)
			case !detail:
				doc = pick(doc, []string{"uuid", "address", "links"})
			}
			list, last = append(list, doc), p.UUID
			return nil
		})
	})
	if err != nil {
		return err
	}
	return s.writePage(w, r, "ports", list, page.Limit, last)
}

func (s *Service) getPort(w http.ResponseWriter, r *http.Request) error {
	var p *Port
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		p, err = portByUUID(tx, r.PathValue("port"))
		return err
	})
	if err != nil {
		return err
	}
	doc, err := s.wire(p, "ports", p.UUID, portSince(), minor(r))
	if err != nil {
		return err
	}
	fields, err := fieldList(r, doc)
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		doc = pick(doc, fields)
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (p *Port) set(doc map[string]any) (err error) {
	for k, v := range doc {
		switch k {
		case "address":
			str, _ := v.(string)
			p.Address, err = normMAC(str)
		case "node_uuid":
			p.NodeUUID, err = wantString(k, v, 36)
		case "portgroup_uuid":
			p.PortgroupUUID, err = wantString(k, v, 36)
		case "name":
			p.Name, err = wantString(k, v, 255)
		case "physical_network":
			p.PhysicalNetwork, err = wantString(k, v, 64)
		case "pxe_enabled":
			p.PXEEnabled, err = wantBool(k, v)
		case "is_smartnic":
			p.IsSmartNIC, err = wantBool(k, v)
		case "extra":
			p.Extra, err = wantMap(k, v)
		case "local_link_connection":
			p.LocalLinkConnection, err = wantMap(k, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func portWritable() map[string]bool {
	return map[string]bool{"address": true, "node_uuid": true, "portgroup_uuid": true, "physical_network": true,
		"pxe_enabled": true, "is_smartnic": true, "extra": true, "local_link_connection": true, "name": true}
}

func (s *Service) createPort(w http.ResponseWriter, r *http.Request) error {
	var in map[string]any
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	p := &Port{UUID: uuid.NewString(), PXEEnabled: true, Extra: map[string]any{}, InternalInfo: map[string]any{},
		LocalLinkConnection: map[string]any{}, CreatedAt: s.now()}
	if v, ok := in["uuid"].(string); ok && v != "" {
		if _, err := uuid.Parse(v); err != nil {
			return api.Invalid("uuid is %q, expected a UUID", v)
		}
		p.UUID = strings.ToLower(v)
	}
	delete(in, "uuid")
	for k := range in {
		if !portWritable()[k] {
			return api.Invalid("Unknown or read-only field %q in the new port", k)
		}
		if err := fieldKnown(k, portSince(), minor(r)); err != nil {
			return err
		}
	}
	if in["pxe_enabled"] == nil {
		delete(in, "pxe_enabled")
	}
	if err := p.set(in); err != nil {
		return err
	}
	if p.Address == "" || p.NodeUUID == "" {
		return api.Invalid("address and node_uuid are required")
	}
	err := s.change(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, p.NodeUUID)
		if err != nil {
			return api.Invalid("Node %s could not be found.", p.NodeUUID).Wrap(err)
		}
		p.NodeUUID = n.UUID
		if n.locked() {
			return s.lockedError(n)
		}
		if err := p.fitsPortgroup(tx, in["pxe_enabled"] != nil && p.PXEEnabled); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO baremetal_ports (uuid, address, node_uuid, portgroup_uuid, doc) VALUES (?, ?, ?, ?, ?)`,
			p.UUID, p.Address, p.NodeUUID, p.PortgroupUUID, store.JSON(p))
		s.cfg.Bus.PublishTx(tx, topic(n.UUID))
		return macConflict(err, p)
	})
	if err != nil {
		return err
	}
	doc, err := s.wire(p, "ports", p.UUID, portSince(), minor(r))
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v1/ports/"+p.UUID)
	return api.WriteJSON(w, http.StatusCreated, doc)
}

func (s *Service) patchPort(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	ops, err := readPatch(data)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := fieldKnown(op.root(), portSince(), minor(r)); err != nil {
			return err
		}
	}
	var p *Port
	err = s.change(r.Context(), func(tx *store.Tx) error {
		if p, err = portByUUID(tx, r.PathValue("port")); err != nil {
			return err
		}
		n, err := nodeByIdent(tx, p.NodeUUID)
		if err != nil {
			return err
		}
		if n.locked() {
			return s.lockedError(n)
		}
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		var doc map[string]any
		if err := json.Unmarshal(b, &doc); err != nil {
			return err
		}
		if err := applyPatch(doc, ops, portWritable()); err != nil {
			return err
		}
		old := *p
		if err := p.set(doc); err != nil {
			return err
		}
		if p.NodeUUID != old.NodeUUID {
			if _, err := nodeByIdent(tx, p.NodeUUID); err != nil {
				return api.Invalid("Node %s could not be found.", p.NodeUUID).Wrap(err)
			}
		}
		changed := p.PXEEnabled != old.PXEEnabled || p.PortgroupUUID != old.PortgroupUUID || p.vif() != old.vif()
		if err := p.fitsPortgroup(tx, changed && (p.PXEEnabled || p.vif() != "")); err != nil {
			return err
		}
		if p.Address != old.Address && n.InstanceUUID != "" && !n.Maintenance && n.ProvisionState == states.Active {
			return api.Conflict("Cannot update the address of port %s on node %s: it is active.", p.UUID, n.UUID)
		}
		p.UpdatedAt = s.now()
		return savePort(tx, p)
	})
	if err != nil {
		return err
	}
	doc, err := s.wire(p, "ports", p.UUID, portSince(), minor(r))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) deletePort(w http.ResponseWriter, r *http.Request) error {
	err := s.change(r.Context(), func(tx *store.Tx) error {
		p, err := portByUUID(tx, r.PathValue("port"))
		if err != nil {
			return err
		}
		n, err := nodeByIdent(tx, p.NodeUUID)
		if err != nil {
			return err
		}
		if n.locked() {
			return s.lockedError(n)
		}
		if p.vif() != "" && n.InstanceUUID != "" && !n.Maintenance {
			return api.Conflict("Cannot delete port %s as it is bound to VIF %s.", p.UUID, p.vif())
		}
		_, err = tx.Exec(`DELETE FROM baremetal_ports WHERE uuid = ?`, p.UUID)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// fitsPortgroup checks that a port's group is one of its node, that all ports
// of the group are on one physical network, and that a port which is to be used
// by itself (PXE, a VIF) is in no group that forbids it.
func (p *Port) fitsPortgroup(tx *store.Tx, alone bool) error {
	if p.PortgroupUUID == "" {
		return nil
	}
	pg := &Portgroup{}
	err := tx.Get([]any{store.JSON(pg)}, `SELECT doc FROM baremetal_portgroups WHERE uuid = ?`, p.PortgroupUUID)
	if errors.Is(err, store.ErrNotFound) {
		return api.Invalid("Portgroup %s could not be found.", p.PortgroupUUID).Wrap(err)
	}
	if err != nil {
		return err
	}
	if pg.NodeUUID != p.NodeUUID {
		return api.Invalid("Port %s and portgroup %s belong to different nodes.", p.UUID, pg.UUID)
	}
	if alone && !pg.StandalonePortsSupported {
		return api.Conflict("Port group %s doesn't support standalone ports (standalone_ports_supported is false): port %s, which has pxe_enabled or a VIF of its own, can not be a member of it.", pg.UUID, p.UUID)
	}
	members, err := portsOf(tx, p.NodeUUID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.PortgroupUUID == pg.UUID && m.UUID != p.UUID && m.PhysicalNetwork != p.PhysicalNetwork {
			return api.Conflict("Port with physical network %q can not become a member of portgroup %s, whose ports have the physical network %q.",
				p.PhysicalNetwork, pg.UUID, m.PhysicalNetwork).Named("PortgroupPhysnetInconsistent")
		}
	}
	return nil
}
