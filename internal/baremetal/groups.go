package baremetal

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// group describes a small collection: chassis, portgroups, deploy templates,
// volume connectors and targets differ only in their fields and in what their
// items check.
type group struct {
	name     string // in the answer: {"chassis": […]}
	path     string // below /v1
	title    string // in errors: "Chassis … could not be found."
	notFound string // class of that fault
	table    string
	writable []string
	summary  []string
	sortable []string
	named    bool // items may be addressed by name
	empty    func(s *Service) groupItem
	// narrow adds the filters of a list; nil: there are none.
	narrow func(s *Service, tx *store.Tx, r *http.Request, f *filter) error
	// free says why an item may not be deleted; nil: it always may.
	free func(s *Service, tx *store.Tx, item groupItem) error
}

// groupItem is an item of a group; it encodes to its API document.
type groupItem interface {
	id() string
	// set takes the fields of a client's document and validates the item.
	set(doc map[string]any) error
	insert(s *Service, tx *store.Tx) error
	update(s *Service, tx *store.Tx) error
	touch(id string, t time.Time) // id only when it is new
}

// base is what all items have.
type base struct {
	UUID      string         `json:"uuid"`
	Extra     map[string]any `json:"extra"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
}

func (b *base) id() string { return b.UUID }

func (b *base) touch(id string, t time.Time) {
	if id != "" {
		b.UUID, b.CreatedAt = id, t
		return
	}
	b.UpdatedAt = t
}

func (g group) isWritable() map[string]bool {
	m := map[string]bool{}
	for _, k := range g.writable {
		m[k] = true
	}
	return m
}

func (g group) find(s *Service, tx *store.Tx, ident string) (groupItem, error) {
	item := g.empty(s)
	column := "uuid"
	if _, err := uuid.Parse(ident); err != nil {
		if !g.named {
			return nil, api.Invalid("Expected a UUID but received %s.", ident)
		}
		column = "name"
	}
	err := tx.Get([]any{store.JSON(item)}, `SELECT doc FROM `+g.table+` WHERE `+column+` = ?`, ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("%s %s could not be found.", g.title, ident).Named(g.notFound).Wrap(err)
	}
	return item, err
}

func (g group) wire(s *Service, r *http.Request, item groupItem) (map[string]any, error) {
	doc, err := s.wire(item, g.path, item.id(), nil, minor(r))
	if err != nil {
		return nil, err
	}
	switch g.path {
	case "chassis":
		doc["nodes"] = links(s.cfg.BaseURL, "chassis/"+item.id(), "nodes")
	case "portgroups":
		if minor(r) >= 24 {
			doc["ports"] = links(s.cfg.BaseURL, "portgroups/"+item.id(), "ports")
		}
		if minor(r) < 26 {
			delete(doc, "mode")
		}
	}
	return doc, nil
}

func (g group) write(s *Service, w http.ResponseWriter, r *http.Request, status int, item groupItem) error {
	doc, err := g.wire(s, r, item)
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
	return api.WriteJSON(w, status, doc)
}

// listView reads detail and fields of a request for a list; full is a document
// with every field.
func listView(r *http.Request, full map[string]any) (detail bool, fields []string, err error) {
	if detail, err = wantBool("detail", r.URL.Query().Get("detail")); err != nil {
		return false, nil, err
	}
	detail = detail || strings.HasSuffix(r.URL.Path, "/detail")
	if fields, err = fieldList(r, full); err != nil {
		return false, nil, err
	}
	if detail && len(fields) > 0 {
		return false, nil, api.Invalid("Can't fetch a subset of fields with 'detail' set")
	}
	return detail, fields, nil
}

// sortColumn is the column to sort a list by, "" for the order of creation.
func sortColumn(page api.Page, columns ...string) (string, error) {
	if len(page.SortKeys) == 0 || page.SortKeys[0] == "id" || page.SortKeys[0] == "created_at" {
		return "", nil
	}
	if k := page.SortKeys[0]; !slices.Contains(columns, k) {
		return "", api.Invalid("The sort_key value %q is invalid for sorting", k)
	}
	return page.SortKeys[0], nil
}

func (g group) list(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		page, err := api.ParsePage(r, maxLimit)
		if err != nil {
			return err
		}
		order, err := sortColumn(page, g.sortable...)
		if err != nil {
			return err
		}
		full, err := g.wire(s, r, g.empty(s))
		if err != nil {
			return err
		}
		detail, fields, err := listView(r, full)
		if err != nil {
			return err
		}
		list, last := []any{}, ""
		err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
			var f filter
			if g.narrow != nil {
				if err := g.narrow(s, tx, r, &f); err != nil {
					return err
				}
			}
			return listRows(tx, g.table, f, page, order, func(scan func(...any) error) error {
				var id int64
				item := g.empty(s)
				if err := scan(&id, store.JSON(item)); err != nil {
					return err
				}
				doc, err := g.wire(s, r, item)
				if err != nil {
					return err
				}
				switch {
				case len(fields) > 0:
					doc = pick(doc, fields)
				case !detail:
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

// newUUID takes the UUID a client gives to a new resource out of its document.
func newUUID(in map[string]any) (string, error) {
	v, ok := in["uuid"]
	delete(in, "uuid")
	if !ok || v == nil {
		return uuid.NewString(), nil
	}
	text, _ := v.(string)
	id, err := uuid.Parse(text)
	if err != nil {
		return "", api.Invalid("uuid is %v, expected a UUID", v)
	}
	return id.String(), nil
}

func (g group) create(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in map[string]any
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		id, err := newUUID(in)
		if err != nil {
			return err
		}
		for k := range in {
			if !slices.Contains(g.writable, k) {
				return api.Invalid("Unknown or read-only field %q", k)
			}
		}
		item := g.empty(s)
		item.touch(id, s.now())
		if err := item.set(in); err != nil {
			return err
		}
		if err := s.change(r.Context(), func(tx *store.Tx) error { return item.insert(s, tx) }); err != nil {
			return err
		}
		w.Header().Set("Location", s.cfg.BaseURL+"/v1/"+g.path+"/"+item.id())
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
		err = s.change(r.Context(), func(tx *store.Tx) error {
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
			if err := applyPatch(doc, ops, g.isWritable()); err != nil {
				return err
			}
			if err := item.set(doc); err != nil {
				return err
			}
			item.touch("", s.now())
			return item.update(s, tx)
		})
		if err != nil {
			return err
		}
		return g.write(s, w, r, http.StatusOK, item)
	}
}

func (g group) remove(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.change(r.Context(), func(tx *store.Tx) error {
			item, err := g.find(s, tx, r.PathValue("id"))
			if err != nil {
				return err
			}
			if g.free != nil {
				if err := g.free(s, tx, item); err != nil {
					return err
				}
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
	at := "/v1/" + g.path
	return []api.Route{
		{Method: "GET", Pattern: at, Policy: api.Reader, Since: since, Handler: g.list(s)},
		{Method: "GET", Pattern: at + "/detail", Policy: api.Reader, Since: since, Handler: g.list(s)},
		{Method: "POST", Pattern: at, Policy: api.Service, Since: since, Handler: g.create(s)},
		{Method: "GET", Pattern: at + "/{id}", Policy: api.Reader, Since: since, Handler: g.get(s)},
		{Method: "PATCH", Pattern: at + "/{id}", Policy: api.Service, Since: since, Handler: g.patch(s)},
		{Method: "DELETE", Pattern: at + "/{id}", Policy: api.Service, Since: since, Handler: g.remove(s)},
	}
}

// ofNode narrows a list to the node that the path or the query names.
func ofNode(_ *Service, tx *store.Tx, r *http.Request, f *filter) error {
	node := r.PathValue("node")
	if node == "" {
		node = r.URL.Query().Get("node")
	}
	if node == "" {
		return nil
	}
	n, err := nodeByIdent(tx, node)
	if err != nil {
		return err
	}
	f.add("node_uuid = ?", n.UUID)
	return nil
}
