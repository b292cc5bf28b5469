package baremetal

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

// How conductors show that they live, Ironic's defaults.
const (
	conductorBeat  = 10 * time.Second
	conductorAlive = time.Minute
)

// conductor is a process of this service that works on nodes.
type conductor struct {
	Hostname, Group  string
	Created, Updated time.Time
}

func (s *Service) alive(c conductor) bool { return s.now().Sub(c.Updated) < conductorAlive }

// beat registers this process as a conductor and keeps its row fresh.
func (s *Service) beat(ctx context.Context) error {
	t := time.NewTicker(conductorBeat)
	defer t.Stop()
	for {
		now := store.At(s.now())
		err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO baremetal_conductors (hostname, conductor_group, created_at, updated_at) VALUES (?, ?, ?, ?)
				ON CONFLICT (hostname) DO UPDATE SET conductor_group = excluded.conductor_group, updated_at = excluded.updated_at`,
				s.cfg.Hostname, s.cfg.ConductorGroup, now, now)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.log.Error("cannot register as a conductor", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func conductors(tx *store.Tx) (out []conductor, err error) {
	err = tx.Each(func(scan func(...any) error) error {
		var c conductor
		err := scan(&c.Hostname, &c.Group, store.Time(&c.Created), store.Time(&c.Updated))
		out = append(out, c)
		return err
	}, `SELECT hostname, conductor_group, created_at, updated_at FROM baremetal_conductors ORDER BY hostname`)
	return out, err
}

// groupServed says whether a living conductor is in the group.
func (s *Service) groupServed(tx *store.Tx, group string) (bool, error) {
	if group == s.cfg.ConductorGroup {
		return true, nil
	}
	list, err := conductors(tx)
	return slices.ContainsFunc(list, func(c conductor) bool { return c.Group == group && s.alive(c) }), err
}

func (s *Service) conductorDoc(c conductor, detail bool) map[string]any {
	m := map[string]any{
		"hostname": c.Hostname, "alive": s.alive(c), "conductor_group": c.Group,
		"links": links(s.cfg.BaseURL, "conductors", c.Hostname),
	}
	if detail {
		var names []string
		for _, h := range drivers.HardwareTypes() {
			names = append(names, h.Name)
		}
		slices.Sort(names)
		m["drivers"], m["created_at"], m["updated_at"] = names, wireTime(c.Created), wireTime(c.Updated)
	}
	return m
}

func (s *Service) allConductors(r *http.Request) (list []conductor, err error) {
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		list, err = conductors(tx)
		return err
	})
	if !slices.ContainsFunc(list, func(c conductor) bool { return c.Hostname == s.cfg.Hostname }) { // not yet registered
		list = append(list, conductor{Hostname: s.cfg.Hostname, Group: s.cfg.ConductorGroup, Created: s.started, Updated: s.now()})
	}
	return list, err
}

func (s *Service) listConductors(w http.ResponseWriter, r *http.Request) error {
	full := s.conductorDoc(conductor{}, true)
	detail, fields, err := listView(r, full)
	if err != nil {
		return err
	}
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	if _, err := sortColumn(page, "hostname", "conductor_group", "alive"); err != nil {
		return err
	}
	list, err := s.allConductors(r)
	if err != nil {
		return err
	}
	if !page.Ascending {
		slices.Reverse(list)
	}
	if page.Marker != "" {
		i := slices.IndexFunc(list, func(c conductor) bool { return c.Hostname == page.Marker })
		if i < 0 {
			return api.NotFound("Conductor %s could not be found.", page.Marker).Named("ConductorNotFound")
		}
		list = list[i+1:]
	}
	if page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
	}
	out, last := []any{}, ""
	for _, c := range list {
		doc := s.conductorDoc(c, detail || len(fields) > 0)
		if len(fields) > 0 {
			doc = pick(doc, fields)
		}
		out, last = append(out, doc), c.Hostname
	}
	return s.writePage(w, r, "conductors", out, page.Limit, last)
}

func (s *Service) getConductor(w http.ResponseWriter, r *http.Request) error {
	list, err := s.allConductors(r)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(c conductor) bool { return c.Hostname == r.PathValue("host") })
	if i < 0 {
		return api.NotFound("Conductor %s could not be found.", r.PathValue("host")).Named("ConductorNotFound")
	}
	doc := s.conductorDoc(list[i], true)
	fields, err := fieldList(r, doc)
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		doc = pick(doc, fields)
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

// listShards counts the nodes of each shard.
func (s *Service) listShards(w http.ResponseWriter, r *http.Request) error {
	list := []any{}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var name string
			var count int64
			if err := scan(&name, &count); err != nil {
				return err
			}
			list = append(list, map[string]any{"name": nilIfEmpty(name), "count": count})
			return nil
		}, `SELECT shard, COUNT(*) FROM baremetal_nodes GROUP BY shard ORDER BY COUNT(*) DESC, shard`)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"shards": list})
}
