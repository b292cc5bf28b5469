package baremetal

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

// VolumeConnector is how a node shows itself to a storage network.
type VolumeConnector struct {
	base
	NodeUUID    string `json:"node_uuid"`
	Type        string `json:"type"` // "iqn", "ip", "mac", "wwnn", "wwpn", "port", "portgroup"
	ConnectorID string `json:"connector_id"`
}

// VolumeTarget is a volume that a node boots from or uses.
type VolumeTarget struct {
	base
	NodeUUID   string         `json:"node_uuid"`
	VolumeType string         `json:"volume_type"` // "iscsi", "fibre_channel", …
	VolumeID   string         `json:"volume_id"`
	BootIndex  int            `json:"boot_index"`
	Properties map[string]any `json:"properties"`
}

func connectorGroup() group {
	return group{
		name: "connectors", path: "volume/connectors", title: "Volume connector", notFound: "VolumeConnectorNotFound",
		table: "baremetal_volume_connectors", writable: []string{"node_uuid", "type", "connector_id", "extra"},
		summary: []string{"uuid", "node_uuid", "type", "connector_id", "links"}, sortable: []string{"uuid", "node_uuid", "type", "connector_id"},
		empty: func(*Service) groupItem { return &VolumeConnector{} }, narrow: ofNode,
		free: func(s *Service, tx *store.Tx, item groupItem) error {
			if c, ok := item.(*VolumeConnector); ok {
				return s.volumesChangeable(tx, c.NodeUUID, "volume connector deletion")
			}
			return nil
		},
	}
}

func targetGroup() group {
	return group{
		name: "targets", path: "volume/targets", title: "Volume target", notFound: "VolumeTargetNotFound",
		table: "baremetal_volume_targets", writable: []string{"node_uuid", "volume_type", "volume_id", "boot_index", "properties", "extra"},
		summary:  []string{"uuid", "node_uuid", "volume_type", "boot_index", "volume_id", "links"},
		sortable: []string{"uuid", "node_uuid", "boot_index"},
		empty:    func(*Service) groupItem { return &VolumeTarget{BootIndex: -1} }, narrow: ofNode,
		free: func(s *Service, tx *store.Tx, item groupItem) error {
			if t, ok := item.(*VolumeTarget); ok {
				return s.volumesChangeable(tx, t.NodeUUID, "volume target deletion")
			}
			return nil
		},
	}
}

// volumesChangeable says why an action on a node's connectors and targets is
// refused: as in Ironic the machine has to be off.
func (s *Service) volumesChangeable(tx *store.Tx, ident, action string) error {
	n, err := s.volumeNode(tx, ident)
	if err != nil {
		return err
	}
	if n.PowerState == drivers.PowerOn {
		return api.Invalid("The requested action \"%s\" can not be performed on node \"%s\" while it is in state \"%s\".", action, n.UUID, n.PowerState).Named("InvalidStateRequested")
	}
	return nil
}

func (s *Service) volumeNode(tx *store.Tx, ident string) (*Node, error) {
	n, err := nodeByIdent(tx, ident)
	if isNotFound(err) {
		return nil, api.Invalid("Node %s could not be found.", ident).Wrap(err)
	}
	if err == nil && n.locked() {
		err = s.lockedError(n)
	}
	return n, err
}

func (c *VolumeConnector) set(doc map[string]any) (err error) {
	for k, v := range doc {
		switch k {
		case "node_uuid":
			c.NodeUUID, err = wantString(k, v, 36)
		case "type":
			c.Type, err = wantString(k, v, 32)
		case "connector_id":
			c.ConnectorID, err = wantString(k, v, 255)
		case "extra":
			c.Extra, err = wantMap(k, v)
		}
		if err != nil {
			return err
		}
	}
	if !has([]string{"iqn", "ip", "mac", "wwnn", "wwpn", "port", "portgroup"}, c.Type) {
		return api.Invalid("type is %q, expected iqn, ip, mac, wwnn, wwpn, port or portgroup", c.Type)
	}
	if c.NodeUUID == "" || c.ConnectorID == "" {
		return api.Invalid("node_uuid, type and connector_id are required")
	}
	return nil
}

func (c *VolumeConnector) insert(s *Service, tx *store.Tx) error {
	n, err := s.volumeNode(tx, c.NodeUUID)
	if err != nil {
		return err
	}
	c.NodeUUID = n.UUID
	_, err = tx.Exec(`INSERT INTO baremetal_volume_connectors (uuid, node_uuid, type, connector_id, doc) VALUES (?, ?, ?, ?, ?)`,
		c.UUID, c.NodeUUID, c.Type, c.ConnectorID, store.JSON(c))
	return c.conflict(err)
}

func (c *VolumeConnector) update(s *Service, tx *store.Tx) error {
	if err := s.volumesChangeable(tx, c.NodeUUID, "volume connector update"); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE baremetal_volume_connectors SET node_uuid = ?, type = ?, connector_id = ?, doc = ? WHERE uuid = ?`,
		c.NodeUUID, c.Type, c.ConnectorID, store.JSON(c), c.UUID)
	return c.conflict(err)
}

func (c *VolumeConnector) conflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A volume connector with type '%s' and connector ID '%s' already exists.", c.Type, c.ConnectorID).Named("VolumeConnectorTypeAndIdAlreadyExists").Wrap(err)
	}
	return err
}

func (t *VolumeTarget) set(doc map[string]any) (err error) {
	for k, v := range doc {
		switch k {
		case "node_uuid":
			t.NodeUUID, err = wantString(k, v, 36)
		case "volume_type":
			t.VolumeType, err = wantString(k, v, 64)
		case "volume_id":
			t.VolumeID, err = wantString(k, v, 255)
		case "boot_index":
			err = t.setBootIndex(v)
		case "properties":
			t.Properties, err = wantMap(k, v)
		case "extra":
			t.Extra, err = wantMap(k, v)
		}
		if err != nil {
			return err
		}
	}
	if t.NodeUUID == "" || t.VolumeType == "" || t.VolumeID == "" || t.BootIndex < 0 {
		return api.Invalid("node_uuid, volume_type, volume_id and boot_index are required")
	}
	return nil
}

func (t *VolumeTarget) setBootIndex(v any) error {
	switch n := v.(type) {
	case float64:
		t.BootIndex = int(n)
		if n == float64(int(n)) && n >= 0 {
			return nil
		}
	case string:
		if i, err := strconv.Atoi(n); err == nil && i >= 0 {
			t.BootIndex = i
			return nil
		}
	}
	return api.Invalid("boot_index is %v, expected a non-negative integer", v)
}

func (t *VolumeTarget) insert(s *Service, tx *store.Tx) error {
	n, err := s.volumeNode(tx, t.NodeUUID)
	if err != nil {
		return err
	}
	t.NodeUUID = n.UUID
	_, err = tx.Exec(`INSERT INTO baremetal_volume_targets (uuid, node_uuid, boot_index, doc) VALUES (?, ?, ?, ?)`,
		t.UUID, t.NodeUUID, t.BootIndex, store.JSON(t))
	return t.conflict(err)
}

func (t *VolumeTarget) update(s *Service, tx *store.Tx) error {
	if err := s.volumesChangeable(tx, t.NodeUUID, "volume target update"); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE baremetal_volume_targets SET node_uuid = ?, boot_index = ?, doc = ? WHERE uuid = ?`,
		t.NodeUUID, t.BootIndex, store.JSON(t), t.UUID)
	return t.conflict(err)
}

func (t *VolumeTarget) conflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A volume target with boot index '%d' for the same node already exists.", t.BootIndex).Named("VolumeTargetBootIndexAlreadyExists").Wrap(err)
	}
	return err
}

// volumeRoot serves /v1/volume and a node's /volume: links to what is below.
func (s *Service) volumeRoot(w http.ResponseWriter, r *http.Request) error {
	at := "volume"
	if ident := r.PathValue("node"); ident != "" {
		n, err := s.node(r.Context(), ident)
		if err != nil {
			return err
		}
		at = "nodes/" + n.UUID + "/volume"
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{
		"links":      links(s.cfg.BaseURL, at, ""),
		"connectors": links(s.cfg.BaseURL, at, "connectors"), "targets": links(s.cfg.BaseURL, at, "targets"),
	})
}
