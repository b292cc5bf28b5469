package identity

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Access rules are what an application credential may request. They belong to
// its user, who may name one by its id in another credential. Tokens carry
// them, and every service checks them (auth.Identity.MayRequest).

type accessRuleRequest struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Method  string `json:"method"`
	Path    string `json:"path"`
}

// maxAccessRules bounds how many a token has to carry.
const maxAccessRules = 64

func (a *accessRuleRequest) check() error {
	switch {
	case a.Service == "" || len(a.Service) > 255:
		return api.Invalid("access rule service is %q, expected a service type", a.Service)
	case !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, a.Method):
		return api.Invalid("access rule method is %q, expected GET, HEAD, POST, PUT, PATCH or DELETE", a.Method)
	case !strings.HasPrefix(a.Path, "/") || len(a.Path) > 128:
		return api.Invalid("access rule path is %q, expected at most 128 characters that begin with /", a.Path)
	}
	return nil
}

// takeAccessRules makes the rules that a user does not have yet and returns the
// ids of all.
func (s *Service) takeAccessRules(tx *store.Tx, user string, in []accessRuleRequest) ([]string, error) {
	if len(in) > maxAccessRules {
		return nil, api.Invalid("application_credential.access_rules has %d rules, at most %d are allowed", len(in), maxAccessRules)
	}
	ids := []string{}
	for _, a := range in {
		var id string
		var err error
		if a.ID != "" {
			err = tx.Get([]any{&id}, `SELECT id FROM identity_access_rules WHERE user_id = ? AND id = ?`, user, a.ID)
			if isNotFound(err) {
				return nil, api.NotFound("Could not find Access Rule: %s.", a.ID)
			}
		} else {
			if err := a.check(); err != nil {
				return nil, err
			}
			if _, err := tx.Exec(`INSERT INTO identity_access_rules (id, user_id, service, method, path) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
				newID(), user, a.Service, a.Method, a.Path); err != nil {
				return nil, err
			}
			err = tx.Get([]any{&id}, `SELECT id FROM identity_access_rules WHERE user_id = ? AND service = ? AND method = ? AND path = ?`, user, a.Service, a.Method, a.Path)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// accessRules returns the rules as tokens carry them; nil stays nil.
func (s *Service) accessRules(tx *store.Tx, ids []string) ([]auth.AccessRule, error) {
	if ids == nil {
		return nil, nil
	}
	out := []auth.AccessRule{}
	err := tx.Each(func(scan func(...any) error) error {
		var a auth.AccessRule
		err := scan(&a.Service, &a.Method, &a.Path)
		out = append(out, a)
		return err
	}, `SELECT service, method, path FROM identity_access_rules WHERE id IN `+store.In(len(ids))+` ORDER BY id`, store.Args(ids)...)
	return out, err
}

func (s *Service) showAccessRules(tx *store.Tx, ids []string) ([]document, error) {
	return s.findAccessRules(tx, `id IN `+store.In(len(ids)), store.Args(ids)...)
}

func (s *Service) findAccessRules(tx *store.Tx, where string, args ...any) ([]document, error) {
	out := []document{}
	err := tx.Each(func(scan func(...any) error) error {
		var id, service, method, path string
		err := scan(&id, &service, &method, &path)
		out = append(out, document{"id": id, "service": service, "method": method, "path": path})
		return err
	}, `SELECT id, service, method, path FROM identity_access_rules WHERE `+where+` ORDER BY id`, args...)
	return out, err
}

func (s *Service) listAccessRules(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		q := r.URL.Query()
		docs, err = s.findAccessRules(tx, `user_id = ? AND (? = '' OR service = ?) AND (? = '' OR method = ?) AND (? = '' OR path = ?)`, r.PathValue("user"),
			q.Get("service"), q.Get("service"), q.Get("method"), q.Get("method"), q.Get("path"), q.Get("path"))
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range docs {
		s.linkAccessRule(r, d)
	}
	return api.WriteJSON(w, http.StatusOK, document{"access_rules": docs, "links": s.listLinks(r)})
}

func (s *Service) linkAccessRule(r *http.Request, doc document) {
	doc["links"] = document{"self": s.base + "/users/" + r.PathValue("user") + "/access_rules/" + str(doc["id"])}
}

// oneAccessRule answers GET and DELETE of one rule; one that a credential names
// stays.
func (s *Service) oneAccessRule(w http.ResponseWriter, r *http.Request) error {
	user, id := r.PathValue("user"), r.PathValue("id")
	var docs []document
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if docs, err = s.findAccessRules(tx, `user_id = ? AND id = ?`, user, id); err != nil {
			return err
		}
		if len(docs) == 0 {
			return api.NotFound("Could not find Access Rule: %s.", id)
		}
		if r.Method != http.MethodDelete {
			return nil
		}
		used := false
		err = tx.Each(func(scan func(...any) error) error {
			var ids []string
			err := scan(store.JSON(&ids))
			used = used || slices.Contains(ids, id)
			return err
		}, `SELECT access_rules FROM identity_app_credentials WHERE user_id = ?`, user)
		if err != nil {
			return err
		}
		if used {
			return api.Forbidden("Could not delete access rule %s: it is in use by an application credential.", id)
		}
		_, err = tx.Exec(`DELETE FROM identity_access_rules WHERE id = ?`, id)
		return err
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.linkAccessRule(r, docs[0])
	return api.WriteJSON(w, http.StatusOK, document{"access_rule": docs[0]})
}
