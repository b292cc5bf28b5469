package messaging

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Pools and flavors are where Zaqar would spread queues over stores. Here all
// queues are in the one store; the objects are kept for clients that manage
// them.

type pool struct {
	URI     *string  `json:"uri"`
	Weight  *int64   `json:"weight"`
	Flavor  *string  `json:"flavor"`
	Options document `json:"options"`
}

func (p *pool) check() error {
	switch {
	case p.URI == nil || *p.URI == "":
		return api.Invalid("pool.uri is required")
	case p.Weight == nil || *p.Weight < 0:
		return api.Invalid("pool.weight is required and not negative")
	}
	if p.Flavor == nil {
		p.Flavor = new(string)
	}
	if p.Options == nil {
		p.Options = document{}
	}
	return checkMeta(p.Options)
}

func (p *pool) document(name string) document {
	return document{"href": "/v2/pools/" + name, "name": name, "uri": p.URI, "weight": p.Weight, "flavor": p.Flavor, "options": p.Options}
}

func scanPool(scan func(...any) error) (name string, p pool, err error) {
	p.URI, p.Weight, p.Flavor, p.Options = new(string), new(int64), new(string), document{}
	err = store.Wrap(scan(&name, p.URI, p.Weight, p.Flavor, store.JSON(&p.Options)))
	return name, p, err
}

const poolColumns = `name, uri, weight, flavor, options`

func findPool(tx *store.Tx, name string) (pool, error) {
	_, p, err := scanPool(tx.QueryRow(`SELECT `+poolColumns+` FROM messaging_pools WHERE name = ?`, name).Scan)
	if isNotFound(err) {
		return p, api.NotFound("Pool %s does not exist.", name).Wrap(err)
	}
	return p, err
}

func savePool(tx *store.Tx, name string, p pool) error {
	if err := p.check(); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO messaging_pools (`+poolColumns+`) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
		uri = excluded.uri, weight = excluded.weight, flavor = excluded.flavor, options = excluded.options`,
		name, *p.URI, *p.Weight, *p.Flavor, store.JSON(p.Options))
	return err
}

func (s *Service) putPool(w http.ResponseWriter, r *http.Request) error {
	var p pool
	if err := api.ReadJSON(r, &p); err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := checkQueue(name); err != nil {
		return err
	}
	if err := s.db.Tx(r.Context(), func(tx *store.Tx) error { return savePool(tx, name, p) }); err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/pools/"+name)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Service) getPool(w http.ResponseWriter, r *http.Request) error {
	var p pool
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		p, err = findPool(tx, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, p.document(r.PathValue("name")))
}

func (s *Service) patchPool(w http.ResponseWriter, r *http.Request) error {
	var patch, p pool
	if err := api.ReadJSON(r, &patch); err != nil {
		return err
	}
	name := r.PathValue("name")
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if p, err = findPool(tx, name); err != nil {
			return err
		}
		if patch.URI != nil {
			p.URI = patch.URI
		}
		if patch.Weight != nil {
			p.Weight = patch.Weight
		}
		if patch.Flavor != nil {
			p.Flavor = patch.Flavor
		}
		if patch.Options != nil {
			p.Options = patch.Options
		}
		return savePool(tx, name, p)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, p.document(name))
}

func (s *Service) deletePool(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM messaging_pools WHERE name = ?`, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listPools(w http.ResponseWriter, r *http.Request) error {
	docs := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			name, p, err := scanPool(scan)
			docs = append(docs, p.document(name))
			return err
		}, `SELECT `+poolColumns+` FROM messaging_pools ORDER BY name`)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"pools": docs, "links": []document{}})
}

type flavor struct {
	PoolList     []string `json:"pool_list"`
	Capabilities []string `json:"capabilities"`
}

func (f *flavor) document(name string) document {
	return document{"href": "/v2/flavors/" + name, "name": name, "pool_list": f.PoolList, "capabilities": f.Capabilities}
}

func findFlavor(tx *store.Tx, name string) (flavor, error) {
	f := flavor{PoolList: []string{}, Capabilities: []string{}}
	err := tx.Get([]any{store.JSON(&f.PoolList), store.JSON(&f.Capabilities)}, `SELECT pool_list, capabilities FROM messaging_flavors WHERE project = '' AND name = ?`, name)
	if isNotFound(err) {
		return f, api.NotFound("Flavor %s does not exist.", name).Wrap(err)
	}
	return f, err
}

// saveFlavor checks that the pools exist; the store has every capability.
func saveFlavor(tx *store.Tx, name string, f *flavor) error {
	for _, p := range f.PoolList {
		if _, err := findPool(tx, p); err != nil {
			return api.Invalid("flavor %s names pool %q, which does not exist", name, p).Wrap(err)
		}
	}
	if len(f.PoolList) == 0 {
		return api.Invalid("flavor.pool_list is required and may not be empty")
	}
	f.Capabilities = []string{"FIFO", "CLAIMS", "DURABILITY", "AOD", "HIGH_THROUGHPUT"}
	_, err := tx.Exec(`INSERT INTO messaging_flavors (project, name, pool_list, capabilities) VALUES ('', ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET pool_list = excluded.pool_list, capabilities = excluded.capabilities`,
		name, store.JSON(f.PoolList), store.JSON(f.Capabilities))
	return err
}

func (s *Service) putFlavor(w http.ResponseWriter, r *http.Request) error {
	return s.writeFlavor(w, r, http.StatusCreated, func(*store.Tx, string) error { return nil })
}

func (s *Service) patchFlavor(w http.ResponseWriter, r *http.Request) error {
	return s.writeFlavor(w, r, http.StatusOK, func(tx *store.Tx, name string) error {
		_, err := findFlavor(tx, name)
		return err
	})
}

func (s *Service) writeFlavor(w http.ResponseWriter, r *http.Request, status int, first func(*store.Tx, string) error) error {
	var f flavor
	if err := api.ReadJSON(r, &f); err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := checkQueue(name); err != nil {
		return err
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := first(tx, name); err != nil {
			return err
		}
		return saveFlavor(tx, name, &f)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/flavors/"+name)
	return api.WriteJSON(w, status, f.document(name))
}

func (s *Service) getFlavor(w http.ResponseWriter, r *http.Request) error {
	var f flavor
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		f, err = findFlavor(tx, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, f.document(r.PathValue("name")))
}

func (s *Service) deleteFlavor(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM messaging_flavors WHERE project = '' AND name = ?`, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listFlavors(w http.ResponseWriter, r *http.Request) error {
	docs := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var name string
			f := flavor{PoolList: []string{}, Capabilities: []string{}}
			err := scan(&name, store.JSON(&f.PoolList), store.JSON(&f.Capabilities))
			docs = append(docs, f.document(name))
			return err
		}, `SELECT name, pool_list, capabilities FROM messaging_flavors WHERE project = '' ORDER BY name`)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"flavors": docs, "links": []document{}})
}
