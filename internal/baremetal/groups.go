package baremetal

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Chassis is a physical container of nodes.
type Chassis struct {
	UUID        string         `json:"uuid"`
	Description string         `json:"description"`
	Extra       map[string]any `json:"extra"`
	CreatedAt   time.Time      `json:"created_at"`
	UpdatedAt   time.Time      `json:"updated_at"`
}

// Portgroup is a bond of ports.
type Portgroup struct {
	UUID                     string         `json:"uuid"`
	Name                     string         `json:"name"`
	Address                  string         `json:"address"`
	NodeUUID                 string         `json:"node_uuid"`
	StandalonePortsSupported bool           `json:"standalone_ports_supported"`
	Mode                     string         `json:"mode"`
	Properties               map[string]any `json:"properties"`
	Extra                    map[string]any `json:"extra"`
	InternalInfo             map[string]any `json:"internal_info"`
	CreatedAt                time.Time      `json:"created_at"`
	UpdatedAt                time.Time      `json:"updated_at"`
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

// group describes one of the two small collections, which differ only in
// their fields.
type group struct {
	name, table string
	writable    map[string]bool
	summary     []string
	empty       func(s *Service) groupItem
}

type groupItem interface {
	id() string
	set(doc map[string]any) error
	insert(tx *store.Tx) error
	update(tx *store.Tx) error
	touch(t time.Time)
}

func chassisGroup() group {
	return group{"chassis", "baremetal_chassis", map[string]bool{"description": true, "extra": true},
		[]string{"uuid", "description", "links"},
		func(s *Service) groupItem { return &Chassis{UUID: uuid.NewString(), CreatedAt: s.now()} }}
}

func portgroupGroup() group {
	return group{"portgroups", "baremetal_portgroups",
		map[string]bool{"name": true, "address": true, "node_uuid": true, "standalone_ports_supported": true, "mode": true, "properties": true, "extra": true},
		[]string{"uuid", "name", "address", "links"},
		func(s *Service) groupItem {
			return &Portgroup{UUID: uuid.NewString(), Mode: "active-backup", StandalonePortsSupported: true, CreatedAt: s.now()}
		}}
}

func (c *Chassis) id() string        { return c.UUID }
func (c *Chassis) touch(t time.Time) { c.UpdatedAt = t }
func (c *Chassis) set(doc map[string]any) (err error) {
	if v, ok := doc["description"]; ok {
		if c.Description, err = wantString("description", v, 255); err != nil {
			return err
		}
	}
	c.Extra, err = wantMap("extra", doc["extra"])
	return err
}

func (c *Chassis) insert(tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO baremetal_chassis (uuid, doc) VALUES (?, ?)`, c.UUID, store.JSON(c))
	return err
}

func (c *Chassis) update(tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE baremetal_chassis SET doc = ? WHERE uuid = ?`, store.JSON(c), c.UUID)
	return err
}

func (p *Portgroup) id() string        { return p.UUID }
func (p *Portgroup) touch(t time.Time) { p.UpdatedAt = t }
func (p *Portgroup) set(doc map[string]any) (err error) {
	for k, v := range doc {
		switch k {
		case "name":
			p.Name, err = wantString(k, v, 255)
		case "node_uuid":
			p.NodeUUID, err = wantString(k, v, 36)
		case "mode":
			p.Mode, err = wantString(k, v, 255)
		case "address":
			if p.Address = ""; v != nil {
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
	return nil
}

func (p *Portgroup) insert(tx *store.Tx) error {
	n, err := nodeByIdent(tx, p.NodeUUID)
	if err != nil {
		return err
	}
	p.NodeUUID = n.UUID
	_, err = tx.Exec(`INSERT INTO baremetal_portgroups (uuid, name, address, node_uuid, doc) VALUES (?, ?, ?, ?, ?)`,
		p.UUID, null(p.Name), null(p.Address), p.NodeUUID, store.JSON(p))
	return p.conflict(err)
}

func (p *Portgroup) update(tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE baremetal_portgroups SET name = ?, address = ?, node_uuid = ?, doc = ? WHERE uuid = ?`,
		null(p.Name), null(p.Address), p.NodeUUID, store.JSON(p), p.UUID)
	return p.conflict(err)
}

func (p *Portgroup) conflict(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("A portgroup with the name %q or the address %q already exists.", p.Name, p.Address).Wrap(err)
	}
	return err
}

func (g group) find(s *Service, tx *store.Tx, ident string) (groupItem, error) {
	item := g.empty(s)
	column := "uuid"
	if _, err := uuid.Parse(ident); err != nil && g.table == "baremetal_portgroups" {
		column = "name"
	}
	err := tx.Get([]any{store.JSON(item)}, `SELECT doc FROM `+g.table+` WHERE `+column+` = ?`, ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("%s %s could not be found.", strings.TrimSuffix(strings.ToUpper(g.name[:1])+g.name[1:], "s"), ident)
	}
	return item, err
}

func (g group) write(s *Service, w http.ResponseWriter, r *http.Request, status int, item groupItem) error {
	doc, err := s.wire(item, g.name, item.id(), nil, minor(r))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, doc)
}

func (g group) list(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		page, err := api.ParsePage(r, maxLimit)
		if err != nil {
			return err
		}
		detail, err := wantBool("detail", r.URL.Query().Get("detail"))
		if err != nil {
			return err
		}
		detail = detail || strings.HasSuffix(r.URL.Path, "/detail")
		list, last := []any{}, ""
		err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
			var f filter
			if node := r.URL.Query().Get("node"); node != "" && g.table == "baremetal_portgroups" {
				n, err := nodeByIdent(tx, node)
				if err != nil {
					return err
				}
				f.add("node_uuid = ?", n.UUID)
			}
			return listRows(tx, g.table, f, page, "", func(scan func(...any) error) error {
				var id int64
				item := g.empty(s)
				if err := scan(&id, store.JSON(item)); err != nil {
					return err
				}
				doc, err := s.wire(item, g.name, item.id(), nil, minor(r))
				if err != nil {
					return err
				}
				if !detail {
					doc = pick(doc, g.summary)
				}
				list, last = append(list, doc), item.id()
				return nil
			})
		})
		if err != nil {
			return err
		}
		return s.writePage(w, r, g.name, list, page.Limit, last)
	}
}

func (g group) get(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var item groupItem
		err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			item, err = g.find(s, tx, r.PathValue("id"))
			return err
		})
		if err != nil {
			return err
		}
		return g.write(s, w, r, http.StatusOK, item)
	}
}

func (g group) create(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in map[string]any
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		for k := range in {
			if !g.writable[k] {
				return api.Invalid("Unknown or read-only field %q", k)
			}
		}
		item := g.empty(s)
		if err := item.set(in); err != nil {
			return err
		}
		if err := s.cfg.DB.Tx(r.Context(), item.insert); err != nil {
			return err
		}
		return g.write(s, w, r, http.StatusCreated, item)
	}
}

func (g group) patch(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		ops, err := readPatch(data)
		if err != nil {
			return err
		}
		var item groupItem
		err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			if item, err = g.find(s, tx, r.PathValue("id")); err != nil {
				return err
			}
			b, err := json.Marshal(item)
			if err != nil {
				return err
			}
			var doc map[string]any
			if err := json.Unmarshal(b, &doc); err != nil {
				return err
			}
			if err := applyPatch(doc, ops, g.writable); err != nil {
				return err
			}
			if err := item.set(doc); err != nil {
				return err
			}
			item.touch(s.now())
			return item.update(tx)
		})
		if err != nil {
			return err
		}
		return g.write(s, w, r, http.StatusOK, item)
	}
}

func (g group) remove(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			item, err := g.find(s, tx, r.PathValue("id"))
			if err != nil {
				return err
			}
			var used int64
			if g.table == "baremetal_chassis" {
				err = tx.Get([]any{&used}, `SELECT COUNT(*) FROM baremetal_nodes WHERE chassis_uuid = ?`, item.id())
			} else {
				err = tx.Get([]any{&used}, `SELECT COUNT(*) FROM baremetal_ports WHERE portgroup_uuid = ?`, item.id())
			}
			if err != nil {
				return err
			}
			if used > 0 {
				return api.Conflict("%s %s is in use.", g.name, item.id())
			}
			_, err = tx.Exec(`DELETE FROM `+g.table+` WHERE uuid = ?`, item.id())
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (g group) routes(s *Service, since string) []api.Route {
	base := "/v1/" + g.name
	return []api.Route{
		{Method: "GET", Pattern: base, Policy: api.Reader, Since: since, Handler: g.list(s)},
		{Method: "GET", Pattern: base + "/detail", Policy: api.Reader, Since: since, Handler: g.list(s)},
		{Method: "POST", Pattern: base, Policy: api.Service, Since: since, Handler: g.create(s)},
		{Method: "GET", Pattern: base + "/{id}", Policy: api.Reader, Since: since, Handler: g.get(s)},
		{Method: "PATCH", Pattern: base + "/{id}", Policy: api.Service, Since: since, Handler: g.patch(s)},
		{Method: "DELETE", Pattern: base + "/{id}", Policy: api.Service, Since: since, Handler: g.remove(s)},
	}
}
