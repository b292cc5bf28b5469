package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) roleRef(tx *store.Tx, id string) (document, error) {
	d, err := s.entities.roles.get(tx, id)
	if err != nil {
		return nil, err
	}
	return document{"id": id, "name": d["name"], "links": document{"self": s.base + "/roles/" + id}}, nil
}

// inferences answers GET /v3/role_inferences and GET /v3/roles/{id}/implies.
func (s *Service) inferences(w http.ResponseWriter, r *http.Request) error {
	one := r.PathValue("id")
	var order []string
	rules := map[string][]document{}
	priors := map[string]document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		if one != "" {
			prior, err := s.roleRef(tx, one)
			if err != nil {
				return err
			}
			priors[one], rules[one], order = prior, []document{}, []string{one}
		}
		var pairs [][2]string
		err := tx.Each(func(scan func(...any) error) error {
			var p [2]string
			err := scan(&p[0], &p[1])
			pairs = append(pairs, p)
			return err
		}, `SELECT prior_id, implied_id FROM identity_implied_roles ORDER BY prior_id, implied_id`)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if one != "" && p[0] != one {
				continue
			}
			if priors[p[0]] == nil {
				if priors[p[0]], err = s.roleRef(tx, p[0]); err != nil {
					return err
				}
				order = append(order, p[0])
			}
			implied, err := s.roleRef(tx, p[1])
			if err != nil {
				return err
			}
			rules[p[0]] = append(rules[p[0]], implied)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list := []document{}
	for _, id := range order {
		list = append(list, document{"prior_role": priors[id], "implies": rules[id]})
	}
	if one != "" {
		return api.WriteJSON(w, http.StatusOK, document{"role_inference": list[0], "links": s.listLinks(r)})
	}
	return api.WriteJSON(w, http.StatusOK, document{"role_inferences": list, "links": s.listLinks(r)})
}

// implication makes, shows or removes one rule, by the request's method.
func (s *Service) implication(w http.ResponseWriter, r *http.Request) error {
	prior, implied := r.PathValue("id"), r.PathValue("implied")
	doc := document{}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		p, err := s.roleRef(tx, prior)
		if err != nil {
			return err
		}
		i, err := s.roleRef(tx, implied)
		if err != nil {
			return err
		}
		doc = document{"prior_role": p, "implies": i}
		var n int64
		switch r.Method {
		case http.MethodPut:
			if i["name"] == "admin" {
				return api.Forbidden("role admin may not be implied by another role")
			}
			above, err := s.entities.roles.get(tx, prior)
			if err != nil {
				return err
			}
			below, err := s.entities.roles.get(tx, implied)
			if err != nil {
				return err
			}
			if str(below["domain_id"]) != "" && str(above["domain_id"]) == "" {
				return api.Forbidden("role %s belongs to a domain and may not be implied by role %s, which belongs to none", implied, prior)
			}
			_, err = tx.Exec(`INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, prior, implied)
			return err
		case http.MethodDelete:
			if n, err = tx.Exec(`DELETE FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?`, prior, implied); err == nil {
				err = s.revokeHolders(tx, `role_id = ?`, prior)
			}
		default:
			err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?`, prior, implied)
		}
		if err == nil && n == 0 {
			return api.NotFound("%s does not imply %s.", prior, implied)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodPut:
		return api.WriteJSON(w, http.StatusCreated, document{"role_inference": doc})
	case http.MethodDelete, http.MethodHead:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, document{"role_inference": doc})
}
