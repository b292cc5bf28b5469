package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// OS-EP-FILTER: which endpoints the catalog of a project has. A project with
// associations of its own, or through endpoint groups, gets those only; one
// without gets the whole catalog.

// link is a set of pairs between projects and endpoints or endpoint groups.
type link struct {
	table string
	e     func(s *Service) *entity // what the project is linked to
}

func endpointLink() link {
	return link{"identity_project_endpoints", func(s *Service) *entity { return s.entities.endpoints }}
}

func groupLink() link {
	return link{"identity_project_endpoint_groups", func(s *Service) *entity { return s.entities.endpointGroups }}
}

// handle adds, checks or removes a pair by the request's method.
func (l link) handle(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		project, other := r.PathValue("project"), r.PathValue("id")
		var doc document
		err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
			if doc, err = l.e(s).get(tx, other); err != nil {
				return err
			}
			if _, err := s.entities.projects.get(tx, project); err != nil {
				return err
			}
			var n int64
			switch r.Method {
			case http.MethodPut:
				tx.AfterCommit(s.forgetCatalog)
				_, err = tx.Exec(`INSERT INTO `+l.table+` (project_id, endpoint_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, project, other)
				return err
			case http.MethodDelete:
				tx.AfterCommit(s.forgetCatalog)
				n, err = tx.Exec(`DELETE FROM `+l.table+` WHERE project_id = ? AND endpoint_id = ?`, project, other)
			default:
				err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM `+l.table+` WHERE project_id = ? AND endpoint_id = ?`, project, other)
			}
			if err == nil && n == 0 {
				return api.NotFound("%s %s is not associated with project %s.", l.e(s).singular, other, project)
			}
			return err
		})
		if err != nil {
			return err
		}
		if r.Method == http.MethodGet && l.table == groupLink().table {
			return l.e(s).reply(w, http.StatusOK, doc)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// of lists what a project is linked to.
func (l link) of(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var docs []document
		err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
			project := r.PathValue("project")
			if _, err := s.entities.projects.get(tx, project); err != nil {
				return err
			}
			docs, err = l.e(s).list(tx, ` WHERE id IN (SELECT endpoint_id FROM `+l.table+` WHERE project_id = ?) ORDER BY id`, project)
			if err != nil || l.table != endpointLink().table {
				return err
			}
			return s.addGrouped(tx, project, &docs)
		})
		if err != nil {
			return err
		}
		return l.e(s).replyList(w, r, docs)
	}
}

// projects lists the projects that something is linked to.
func (l link) projects(s *Service) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var docs []document
		err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
			if _, err := l.e(s).get(tx, r.PathValue("id")); err != nil {
				return err
			}
			docs, err = s.entities.projects.list(tx, ` WHERE id IN (SELECT project_id FROM `+l.table+` WHERE endpoint_id = ?) ORDER BY id`, r.PathValue("id"))
			return err
		})
		if err != nil {
			return err
		}
		return s.entities.projects.replyList(w, r, docs)
	}
}

// addGrouped adds the endpoints a project has through endpoint groups.
func (s *Service) addGrouped(tx *store.Tx, project string, docs *[]document) error {
	groups, err := s.entities.endpointGroups.list(tx, ` WHERE id IN (SELECT endpoint_id FROM identity_project_endpoint_groups WHERE project_id = ?)`, project)
	if err != nil || len(groups) == 0 {
		return err
	}
	have := map[any]bool{}
	for _, d := range *docs {
		have[d["id"]] = true
	}
	all, err := s.entities.endpoints.list(tx, ` ORDER BY id`)
	for _, ep := range all {
		for _, g := range groups {
			if !have[ep["id"]] && inGroup(ep, g) {
				have[ep["id"]] = true
				*docs = append(*docs, ep)
			}
		}
	}
	return err
}

func inGroup(endpoint, group document) bool {
	filters, _ := group["filters"].(map[string]any)
	for k, want := range filters {
		if endpoint[k] != want {
			return false
		}
	}
	return true
}

// groupEndpoints lists the endpoints of an endpoint group.
func (s *Service) groupEndpoints(w http.ResponseWriter, r *http.Request) error {
	out := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		group, err := s.entities.endpointGroups.get(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		all, err := s.entities.endpoints.list(tx, ` ORDER BY id`)
		for _, ep := range all {
			if inGroup(ep, group) {
				out = append(out, ep)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.endpoints.replyList(w, r, out)
}

// allowedEndpoints returns the ids of the endpoints a project's catalog has;
// nil means all.
func (s *Service) allowedEndpoints(tx *store.Tx, project string) (map[string]bool, error) {
	if project == "" {
		return nil, nil
	}
	docs, err := s.entities.endpoints.list(tx, ` WHERE id IN (SELECT endpoint_id FROM identity_project_endpoints WHERE project_id = ?)`, project)
	if err == nil {
		err = s.addGrouped(tx, project, &docs)
	}
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	out := map[string]bool{}
	for _, d := range docs {
		out[str(d["id"])] = true
	}
	return out, nil
}

// policyAssociation puts, checks or deletes what a policy document is for: an
// endpoint, a service, or a service in a region.
func (s *Service) policyAssociation(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	key := []any{r.PathValue("endpoint"), r.PathValue("service"), r.PathValue("region")}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.entities.policies.get(tx, id); err != nil {
			return err
		}
		for i, e := range []*entity{s.entities.endpoints, s.entities.services, s.entities.regions} {
			if key[i] != "" {
				if _, err := e.get(tx, str(key[i])); err != nil {
					return err
				}
			}
		}
		var n int64
		var err error
		switch r.Method {
		case http.MethodPut:
			_, err := tx.Exec(`INSERT INTO identity_policy_associations (endpoint_id, service_id, region_id, policy_id) VALUES (?, ?, ?, ?)
				ON CONFLICT (endpoint_id, service_id, region_id) DO UPDATE SET policy_id = excluded.policy_id`, append(key, id)...)
			return err
		case http.MethodDelete:
			n, err = tx.Exec(`DELETE FROM identity_policy_associations WHERE endpoint_id = ? AND service_id = ? AND region_id = ? AND policy_id = ?`, append(key, id)...)
		default:
			err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_policy_associations WHERE endpoint_id = ? AND service_id = ? AND region_id = ? AND policy_id = ?`, append(key, id)...)
		}
		if err == nil && n == 0 {
			return api.NotFound("Could not find policy association of policy %s.", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// endpointPolicy answers GET /v3/endpoints/{id}/OS-ENDPOINT-POLICY/policy: that
// of the endpoint, else of its service in its region or one above, else of its
// service.
func (s *Service) endpointPolicy(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		ep, err := s.entities.endpoints.get(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		keys := [][3]string{{str(ep["id"]), "", ""}}
		for region := str(ep["region_id"]); region != "" && len(keys) < 16; {
			keys = append(keys, [3]string{"", str(ep["service_id"]), region})
			up, err := s.entities.regions.get(tx, region)
			if err != nil {
				return err
			}
			region = str(up["parent_region_id"])
		}
		keys = append(keys, [3]string{"", str(ep["service_id"]), ""})
		for _, k := range keys {
			var id string
			err := tx.Get([]any{&id}, `SELECT policy_id FROM identity_policy_associations WHERE endpoint_id = ? AND service_id = ? AND region_id = ?`, k[0], k[1], k[2])
			if isNotFound(err) {
				continue
			}
			if err == nil {
				doc, err = s.entities.policies.get(tx, id)
			}
			return err
		}
		return api.NotFound("No policy is associated with endpoint %s.", r.PathValue("id"))
	})
	if err != nil {
		return err
	}
	return s.entities.policies.reply(w, http.StatusOK, doc)
}

// policyEndpoints answers GET /v3/policies/{id}/OS-ENDPOINT-POLICY/endpoints.
func (s *Service) policyEndpoints(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		id := r.PathValue("id")
		if _, err := s.entities.policies.get(tx, id); err != nil {
			return err
		}
		docs, err = s.entities.endpoints.list(tx, ` WHERE EXISTS (SELECT 1 FROM identity_policy_associations a WHERE a.policy_id = ? AND
			(a.endpoint_id = identity_endpoints.id OR a.service_id = identity_endpoints.service_id AND (a.region_id = '' OR a.region_id = identity_endpoints.region_id))) ORDER BY id`, id)
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.endpoints.replyList(w, r, docs)
}
