package baremetal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
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
		if err == nil {
			err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
				list, err := conductors(tx)
				if err == nil {
					s.others.Store(&list)
				}
				return err
			})
		}
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

// hostOf names the conductor that a node belongs to: one of those alive in its
// conductor group, the same whoever is asked (rendezvous hashing, so that one
// that comes or goes moves no other nodes than its own). Who works on the node
// is whoever takes its job first; Ironic's clients only look at the name.
func (s *Service) hostOf(n *Node) string {
	host, best := "", uint64(0)
	if list := s.others.Load(); list != nil {
		for _, c := range *list {
			if c.Group != n.ConductorGroup || !s.alive(c) {
				continue
			}
			sum := sha256.Sum256([]byte(c.Hostname + "\x00" + n.UUID))
			if weight := binary.BigEndian.Uint64(sum[:]); host == "" || weight > best {
				host, best = c.Hostname, weight
			}
		}
	}
	if host == "" && n.ConductorGroup == s.cfg.ConductorGroup { // not yet registered
		return s.cfg.Hostname
	}
	return host
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

// compareConductors orders conductors by a field, then by name, which no two
// have in common.
func (s *Service) compareConductors(key string, a, b conductor) int {
	first := 0
	switch key {
	case "conductor_group":
		first = strings.Compare(a.Group, b.Group)
	case "alive":
		if x, y := s.alive(a), s.alive(b); x != y {
			if first = 1; y {
				first = -1
			}
		}
	case "hostname":
	case "": // in the order of their creation
		first = a.Created.Compare(b.Created)
	case "updated_at":
		first = a.Updated.Compare(b.Updated)
	}
	return cmp.Or(first, strings.Compare(a.Hostname, b.Hostname))
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
	key, err := sortColumn(page, "hostname", "conductor_group", "alive", "updated_at")
	if err != nil {
		return err
	}
	list, err := s.allConductors(r)
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b conductor) int { return s.compareConductors(key, a, b) })
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
