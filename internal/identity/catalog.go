package identity

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type catalogService struct {
	ID, Type, Name string
	Endpoints      []catalogEndpoint
}

type catalogEndpoint struct{ ID, Interface, Region, URL string }

// projectVars are the places of a URL template where the project goes.
const projectVars = "%(project_id)s %(tenant_id)s $(project_id)s $(tenant_id)s"

func trimTemplate(u string) string {
	return strings.NewReplacer("%(", "", ")s", "", "$(", "").Replace(u)
}

func (s *Service) forgetCatalog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog = nil
}

// loadCatalog returns the catalog's templates, from memory if nothing changed.
func (s *Service) loadCatalog(ctx context.Context) ([]catalogService, error) {
	s.mu.Lock()
	got := s.catalog
	s.mu.Unlock()
	if got != nil {
		return got, nil
	}
	got = []catalogService{}
	index := map[string]int{}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		err := tx.Each(func(scan func(...any) error) error {
			var c catalogService
			err := scan(&c.ID, &c.Type, &c.Name)
			index[c.ID] = len(got)
			got = append(got, c)
			return err
		}, `SELECT id, type, COALESCE(name, '') FROM identity_services WHERE enabled = 1 ORDER BY type, id`)
		if err != nil {
			return err
		}
		return tx.Each(func(scan func(...any) error) error {
			var service string
			var e catalogEndpoint
			err := scan(&service, &e.ID, &e.Interface, &e.Region, &e.URL)
			if i, ok := index[service]; ok {
				got[i].Endpoints = append(got[i].Endpoints, e)
			}
			return err
		}, `SELECT service_id, id, interface, COALESCE(region_id, ''), url FROM identity_endpoints WHERE enabled = 1 ORDER BY interface, id`)
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.catalog = got
	s.mu.Unlock()
	return got, nil
}

// renderCatalog fills the templates in; an endpoint that needs a project is
// left out where there is none, and one that is not among the allowed ones
// where not all are (nil).
func renderCatalog(catalog []catalogService, projectID, userID string, allowed map[string]bool) []document {
	pairs := []string{"%(user_id)s", userID, "$(user_id)s", userID}
	for v := range strings.FieldsSeq(projectVars) {
		pairs = append(pairs, v, projectID)
	}
	fill := strings.NewReplacer(pairs...)
	out := []document{}
	for _, c := range catalog {
		endpoints := []document{}
		for _, e := range c.Endpoints {
			if allowed != nil && !allowed[e.ID] || projectID == "" && needsProject(e.URL) {
				continue
			}
			endpoints = append(endpoints, document{
				"id": e.ID, "interface": e.Interface, "region": e.Region, "region_id": e.Region, "url": fill.Replace(e.URL),
			})
		}
		if allowed != nil && len(endpoints) == 0 {
			continue
		}
		out = append(out, document{"id": c.ID, "type": c.Type, "name": c.Name, "endpoints": endpoints})
	}
	return out
}

func needsProject(u string) bool {
	for v := range strings.FieldsSeq(projectVars) {
		if strings.Contains(u, v) {
			return true
		}
	}
	return false
}

func (s *Service) getCatalog(w http.ResponseWriter, r *http.Request) error {
	id := caller(r)
	if id.ProjectID == "" && id.DomainID == "" && !id.System {
		return api.Forbidden("a catalog belongs to a scoped token")
	}
	catalog, err := s.loadCatalog(r.Context())
	if err != nil {
		return err
	}
	var allowed map[string]bool
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		allowed, err = s.allowedEndpoints(tx, id.ProjectID)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{
		"catalog": renderCatalog(catalog, id.ProjectID, id.UserID, allowed), "links": s.listLinks(r),
	})
}

// fixedID derives an id that is the same at every start.
func fixedID(words ...string) string {
	return strings.ReplaceAll(uuid.NewSHA1(uuid.NameSpaceURL, []byte("tripleo:"+strings.Join(words, "/"))).String(), "-", "")
}

// writeCatalog makes the configured services and endpoints what the
// configuration says, and leaves alone what operators added.
func (s *Service) writeCatalog(tx *store.Tx) error {
	if _, err := tx.Exec(`INSERT INTO identity_regions (id, description, parent_region_id, extra) VALUES (?, '', NULL, '{}') ON CONFLICT DO NOTHING`, s.cfg.Region); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM identity_endpoints WHERE service_id IN (SELECT id FROM identity_services WHERE managed = 1)`); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM identity_services WHERE managed = 1`); err != nil {
		return err
	}
	for _, c := range s.cfg.Catalog {
		id := fixedID("service", c.Type)
		if _, err := tx.Exec(`INSERT INTO identity_services (id, type, name, description, enabled, managed, extra) VALUES (?, ?, ?, '', 1, 1, '{}')`,
			id, c.Type, c.Name); err != nil {
			return err
		}
		for _, face := range []string{"public", "internal", "admin"} {
			if _, err := tx.Exec(`INSERT INTO identity_endpoints (id, service_id, interface, region_id, url, enabled, extra) VALUES (?, ?, ?, ?, ?, 1, '{}')`,
				fixedID("endpoint", c.Type, face), id, face, s.cfg.Region, c.URL); err != nil {
				return err
			}
		}
	}
	return nil
}
