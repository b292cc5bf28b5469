package baremetal

import (
	"errors"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

// Portgroup is a bond of ports.
type Portgroup struct {
	base
	Name                     string         `json:"name"`
	Address                  string         `json:"address"`
	NodeUUID                 string         `json:"node_uuid"`
	StandalonePortsSupported bool           `json:"standalone_ports_supported"`
	Mode                     string         `json:"mode"`
	Properties               map[string]any `json:"properties"`
	InternalInfo             map[string]any `json:"internal_info"`
}

func portgroupGroup() group {
	return group{
		name: "portgroups", path: "portgroups", title: "Portgroup", notFound: "PortgroupNotFound", table: "baremetal_portgroups", named: true,
		writable: []string{"name", "address", "node_uuid", "standalone_ports_supported", "mode", "properties", "extra"},
		summary:  []string{"uuid", "name", "address", "links"}, sortable: []string{"uuid", "name", "address", "node_uuid"},
		empty: func(*Service) groupItem { return &Portgroup{Mode: "active-backup", StandalonePortsSupported: true} },
		narrow: func(s *Service, tx *store.Tx, r *http.Request, f *filter) error {
			if v := r.URL.Query().Get("address"); v != "" {
				mac, err := normMAC(v)
				if err != nil {
					return err
				}
				f.add("address = ?", mac)
			}
			return ofNode(s, tx, r, f)
		},
		free: func(s *Service, tx *store.Tx, item groupItem) error {
			var used int64
			if err := tx.Get([]any{&used}, `SELECT COUNT(*) FROM baremetal_ports WHERE portgroup_uuid = ?`, item.id()); err != nil {
				return err
			}
			if used > 0 {
				return api.Invalid("Portgroup %s is not empty: %d ports belong to it.", item.id(), used).Named("PortgroupNotEmpty")
			}
			pg, ok := item.(*Portgroup)
			if !ok {
				return nil
			}
			n, err := nodeByIdent(tx, pg.NodeUUID)
			if err != nil {
				return err
			}
			if n.locked() {
				return s.lockedError(n)
			}
			return nil
		},
	}
}

func (p *Portgroup) set(doc map[string]any) (err error) {
	for k, v := range doc {
		switch k {
		case "name":
			p.Name, err = wantString(k, v, 255)
			if err == nil && p.Name != "" && !namePattern().MatchString(p.Name) {
				err = api.Invalid("Cannot create or rename a portgroup with invalid name '%s'", p.Name)
			}
		case "node_uuid":
			p.NodeUUID, err = wantString(k, v, 36)
		case "mode":
			p.Mode, err = wantString(k, v, 255)
		case "address":
			if p.Address = ""; v != nil && v != "" { // one without an address is no error
				str, _ := v.(string)
				p.Address, err = normMAC(str)
			}
		case "standalone_ports_supported":
			p.StandalonePortsSupported, err = wantBool(k, v)
		case "properties":
			p.Properties, err = wantMap(k, v)
		case "extra":
			p.Extra, err = wantMap(k, v)
		}
		if err != nil {
			return err
		}
	}
	if p.NodeUUID == "" {
		return api.Invalid("node_uuid is required")
	}
	if p.Mode == "" {
		p.Mode = "active-backup"
	}
	return nil
}

func (p *Portgroup) insert(s *Service, tx *store.Tx) error {
	n, err := nodeByIdent(tx, p.NodeUUID)
	if isNotFound(err) {
		return api.Invalid("Node %s could not be found.", p.NodeUUID).Wrap(err)
	}
	if err != nil {
		return err
	}
	if n.locked() {
		return s.lockedError(n)
	}
	p.NodeUUID = n.UUID
	_, err = tx.Exec(`INSERT INTO baremetal_portgroups (uuid, name, address, node_uuid, doc) VALUES (?, ?, ?, ?, ?)`,
		p.UUID, null(p.Name), null(p.Address), p.NodeUUID, store.JSON(p))
	return p.conflict(err)
}

func (p *Portgroup) update(s *Service, tx *store.Tx) error {
	n, err := nodeByIdent(tx, p.NodeUUID)
	if err != nil {
		return err
	}
	if n.locked() {
		return s.lockedError(n)
	}
	if n.ProvisionState == states.Active && n.InstanceUUID != "" && !n.Maintenance {
		return api.Conflict("Portgroup %s can not be updated while node %s is %s; set maintenance mode first.", p.UUID, n.UUID, n.ProvisionState)
	}
	if err := p.bearsPorts(tx); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE baremetal_portgroups SET name = ?, address = ?, node_uuid = ?, doc = ? WHERE uuid = ?`,
		null(p.Name), null(p.Address), p.NodeUUID, store.JSON(p), p.UUID)
	return p.conflict(err)
}

// bearsPorts checks, when standalone ports become forbidden, that no port of the group is used by itself.
func (p *Portgroup) bearsPorts(tx *store.Tx) error {
	old := &Portgroup{}
	if err := tx.Get([]any{store.JSON(old)}, `SELECT doc FROM baremetal_portgroups WHERE uuid = ?`, p.UUID); err != nil {
		return err
	}
	if p.StandalonePortsSupported || !old.StandalonePortsSupported {
		return nil
	}
	ports, err := portsOf(tx, old.NodeUUID)
	if err != nil {
		return err
	}
	for _, m := range ports {
		if m.PortgroupUUID == p.UUID && (m.PXEEnabled || m.vif() != "") {
			return api.Conflict("standalone_ports_supported can not be set to false on portgroup %s: its port %s has pxe_enabled or a VIF of its own.", p.UUID, m.UUID)
		}
	}
	return nil
}

func (p *Portgroup) conflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A portgroup with the name %q, the address %q or the UUID %s already exists.", p.Name, p.Address, p.UUID).Wrap(err)
	}
	return err
}
