package baremetal

import (
	"errors"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Chassis is a physical container of nodes.
type Chassis struct {
	base
	Description string `json:"description"`
}

func chassisGroup() group {
	return group{
		name: "chassis", path: "chassis", title: "Chassis", notFound: "ChassisNotFound", table: "baremetal_chassis",
		writable: []string{"description", "extra"}, summary: []string{"uuid", "description", "links"}, sortable: []string{"uuid"},
		empty: func(*Service) groupItem { return &Chassis{} },
		free: func(_ *Service, tx *store.Tx, item groupItem) error {
			var used int64
			if err := tx.Get([]any{&used}, `SELECT COUNT(*) FROM baremetal_nodes WHERE chassis_uuid = ?`, item.id()); err != nil {
				return err
			}
			if used > 0 {
				return api.Invalid("Chassis %s is not empty: %d nodes belong to it.", item.id(), used).Named("ChassisNotEmpty")
			}
			return nil
		},
	}
}

func chassisExists(tx *store.Tx, id string) error {
	if id == "" {
		return nil
	}
	var n int64
	err := tx.Get([]any{&n}, `SELECT id FROM baremetal_chassis WHERE uuid = ?`, id)
	if errors.Is(err, store.ErrNotFound) {
		return api.Invalid("Chassis %s could not be found.", id)
	}
	return err
}

func (c *Chassis) set(doc map[string]any) (err error) {
	if v, ok := doc["description"]; ok {
		if c.Description, err = wantString("description", v, 255); err != nil {
			return err
		}
	}
	c.Extra, err = wantMap("extra", doc["extra"])
	return err
}

func (c *Chassis) insert(_ *Service, tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO baremetal_chassis (uuid, doc) VALUES (?, ?)`, c.UUID, store.JSON(c))
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A chassis with UUID %s already exists.", c.UUID).Named("ChassisAlreadyExists").Wrap(err)
	}
	return err
}

func (c *Chassis) update(_ *Service, tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE baremetal_chassis SET doc = ? WHERE uuid = ?`, store.JSON(c), c.UUID)
	return err
}
