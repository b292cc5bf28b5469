package identity

import (
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// timeFormat is Keystone's: microseconds and Z.
const timeFormat = "2006-01-02T15:04:05.000000Z"

func isoTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeFormat)
}

// createToken answers POST /v3/auth/tokens.
func (s *Service) createToken(w http.ResponseWriter, r *http.Request) error {
	var req authRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	p, err := s.identify(r, &req)
	if err != nil {
		return err
	}
	id, err := s.issue(r, p, req.Auth.Scope)
	if err != nil {
		return err
	}
	return s.replyToken(w, r, http.StatusCreated, id)
}

func (s *Service) replyToken(w http.ResponseWriter, r *http.Request, status int, id *auth.Identity) error {
	body, err := s.tokenBody(r, id)
	if err != nil {
		return err
	}
	w.Header().Set("X-Subject-Token", id.Token)
	w.Header().Set("Vary", "X-Auth-Token")
	w.Header().Set("Cache-Control", "no-store")
	return api.WriteJSON(w, status, document{"token": body})
}

// tokenBody describes a token as Keystone does.
func (s *Service) tokenBody(r *http.Request, id *auth.Identity) (document, error) {
	audit := []string{id.AuditID}
	if id.ParentAuditID != "" {
		audit = append(audit, id.ParentAuditID)
	}
	body := document{
		"methods": id.Methods, "audit_ids": audit,
		"issued_at": isoTime(id.IssuedAt), "expires_at": isoTime(id.ExpiresAt),
		"user": document{
			"id": id.UserID, "name": id.UserName, "password_expires_at": s.passwordExpiry(r, id.UserID),
			"domain": document{"id": id.UserDomainID, "name": id.UserDomainName},
		},
	}
	scoped := true
	switch {
	case id.ProjectID != "":
		body["project"] = document{
			"id": id.ProjectID, "name": id.ProjectName,
			"domain": document{"id": id.ProjectDomainID, "name": id.ProjectDomainName},
		}
		body["is_domain"] = false
	case id.DomainID != "":
		body["domain"] = document{"id": id.DomainID, "name": id.DomainName}
	case id.System:
		body["system"] = document{"all": true}
	default:
		scoped = false
	}
	if !scoped {
		return body, nil
	}
	var allowed map[string]bool
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		roles, err := s.rolesByName(tx, id.Roles)
		body["roles"] = roles
		if err != nil {
			return err
		}
		if allowed, err = s.allowedEndpoints(tx, id.ProjectID); err != nil {
			return err
		}
		providers, err := s.entities.serviceProviders.list(tx, ` WHERE enabled = 1 ORDER BY id`)
		if err != nil {
			return err
		}
		if len(providers) > 0 {
			list := []document{}
			for _, p := range providers {
				list = append(list, document{"id": p["id"], "auth_url": p["auth_url"], "sp_url": p["sp_url"]})
			}
			body["service_providers"] = list
		}
		if id.TrustID != "" {
			t, err := s.trust(tx, id.TrustID)
			if err != nil {
				return err
			}
			body["OS-TRUST:trust"] = document{
				"id": t.id, "impersonation": t.impersonation,
				"trustor_user": document{"id": t.trustor}, "trustee_user": document{"id": t.trustee},
			}
		}
		if id.AppCredID != "" {
			c, err := s.appCred(tx, id.AppCredID)
			if err != nil {
				return err
			}
			described := document{"id": c.id, "name": c.name, "restricted": !c.unrestricted}
			if id.AccessRules != nil {
				if described["access_rules"], err = s.showAccessRules(tx, c.rules); err != nil {
					return err
				}
			}
			body["application_credential"] = described
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.URL.Query().Has("nocatalog") {
		return body, nil
	}
	catalog, err := s.loadCatalog(r.Context())
	if err != nil {
		return nil, err
	}
	body["catalog"] = renderCatalog(catalog, id.ProjectID, id.UserID, allowed)
	return body, nil
}

// passwordExpiry is when a user's password ends, as a token tells it.
func (s *Service) passwordExpiry(r *http.Request, user string) any {
	if s.cfg.Passwords.ExpiresAfter == 0 {
		return nil
	}
	var at time.Time
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		doc, err := s.entities.users.get(tx, user)
		if err != nil {
			return err
		}
		st, err := s.credentialState(tx, user)
		at = s.expiry(doc, st.setAt)
		return err
	})
	if err != nil {
		return nil // a hint, no more
	}
	return isoTime(at)
}

func (s *Service) rolesByName(tx *store.Tx, names []string) ([]role, error) {
	out := []role{}
	err := tx.Each(func(scan func(...any) error) error {
		var r role
		err := scan(&r.ID, &r.Name)
		out = append(out, r)
		return err
	}, `SELECT id, name FROM identity_roles WHERE name IN `+store.In(len(names))+` ORDER BY name`, store.Args(names)...)
	return out, err
}

// subject validates X-Subject-Token; the rules have decided who may ask.
func (s *Service) subject(r *http.Request) (*auth.Identity, error) {
	token := r.Header.Get("X-Subject-Token")
	if token == "" {
		return nil, api.Invalid("header X-Subject-Token is missing")
	}
	id, err := s.tokens.Validate(r.Context(), token)
	if err != nil {
		return nil, api.NotFound("Failed to validate token").Wrap(err)
	}
	return id, nil
}

// getToken answers GET and HEAD /v3/auth/tokens.
func (s *Service) getToken(w http.ResponseWriter, r *http.Request) error {
	id, err := s.subject(r)
	if err != nil {
		return err
	}
	return s.replyToken(w, r, http.StatusOK, id)
}

// deleteToken answers DELETE /v3/auth/tokens.
func (s *Service) deleteToken(w http.ResponseWriter, r *http.Request) error {
	id, err := s.subject(r)
	if err != nil {
		return err
	}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.revoke(tx, "audit", id.AuditID) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// replyProjects lists the projects a user can scope a token to.
func (s *Service) replyProjects(w http.ResponseWriter, r *http.Request, userID string) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		all, err := s.entities.projects.list(tx, ` WHERE enabled = 1 ORDER BY id`)
		if err != nil {
			return err
		}
		docs = []document{}
		for _, p := range all {
			roles, err := s.effectiveRoles(tx, userID, "project", str(p["id"]))
			if err != nil {
				return err
			}
			if len(roles) > 0 {
				docs = append(docs, p)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.entities.projects.replyList(w, r, docs)
}

// authProjects answers GET /v3/auth/projects.
func (s *Service) authProjects(w http.ResponseWriter, r *http.Request) error {
	return s.replyProjects(w, r, caller(r).UserID)
}

// authDomains answers GET /v3/auth/domains.
func (s *Service) authDomains(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		all, err := s.entities.domains.list(tx, ` WHERE enabled = 1 ORDER BY id`)
		if err != nil {
			return err
		}
		docs = []document{}
		for _, d := range all {
			roles, err := s.effectiveRoles(tx, caller(r).UserID, "domain", str(d["id"]))
			if err != nil {
				return err
			}
			if len(roles) > 0 {
				docs = append(docs, d)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.entities.domains.replyList(w, r, docs)
}

// authSystem answers GET /v3/auth/system.
func (s *Service) authSystem(w http.ResponseWriter, r *http.Request) error {
	out := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		roles, err := s.effectiveRoles(tx, caller(r).UserID, "system", "all")
		if len(roles) > 0 {
			out = append(out, document{"all": true})
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"system": out, "links": s.listLinks(r)})
}
