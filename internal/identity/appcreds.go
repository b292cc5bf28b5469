package identity

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

type appCredential struct {
	id, userID, projectID, name, description, hash string
	roles                                          []string
	expires                                        time.Time
	unrestricted                                   bool
	rules                                          []string // ids of access rules; nil: none were given, so that all requests are allowed
}

func (c *appCredential) expired(now time.Time) bool {
	return !c.expires.IsZero() && !c.expires.After(now)
}

const appCredColumns = `id, user_id, project_id, name, COALESCE(description, ''), secret_hash, roles, expires_at, unrestricted, access_rules`

func scanAppCred(scan func(...any) error) (*appCredential, error) {
	var c appCredential
	var unrestricted int64
	err := scan(&c.id, &c.userID, &c.projectID, &c.name, &c.description, &c.hash, store.JSON(&c.roles), store.Time(&c.expires), &unrestricted, store.JSON(&c.rules))
	c.unrestricted = unrestricted != 0
	return &c, store.Wrap(err)
}

func (s *Service) appCred(tx *store.Tx, id string) (*appCredential, error) {
	c, err := scanAppCred(tx.QueryRow(`SELECT `+appCredColumns+` FROM identity_app_credentials WHERE id = ?`, id).Scan)
	if isNotFound(err) {
		return nil, api.NotFound("Could not find Application Credential: %s.", id).Wrap(err)
	}
	return c, err
}

// byAppCred proves an application credential, named by id or by name and user.
func (s *Service) byAppCred(r *http.Request, p *principal, id, name string, user *userRef, secret string) (string, error) {
	var userID string
	if id == "" {
		if user == nil {
			return "", api.Invalid("application_credential needs an id, or a name and a user")
		}
		doc, err := s.findUser(r, *user)
		if err != nil {
			return "", unauthorized().Wrap(err)
		}
		userID = str(doc["id"])
	}
	cred := &appCredential{}
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if id != "" {
			cred, err = s.appCred(tx, id)
			return err
		}
		cred, err = scanAppCred(tx.QueryRow(`SELECT `+appCredColumns+` FROM identity_app_credentials WHERE user_id = ? AND name = ?`, userID, name).Scan)
		return err
	})
	if err != nil && !isNotFound(err) {
		return "", err
	}
	hash := ""
	if err == nil {
		hash = cred.hash
	}
	ok, checkErr := s.pass.check(hash, secret)
	switch {
	case checkErr != nil:
		return "", checkErr
	case err != nil || !ok || cred.expired(s.now()):
		return "", unauthorized().Wrap(err)
	}
	p.appCred = cred
	return cred.userID, nil
}

// scopeAppCred gives the token the credential's own project and roles.
func (s *Service) scopeAppCred(tx *store.Tx, id *auth.Identity, c *appCredential, scope scopeRequest) error {
	if scope.Domain != nil || scope.System != nil || scope.Trust != nil || scope.Project != nil && scope.Project.ID != c.projectID {
		return unauthorized()
	}
	project, err := s.entities.projects.get(tx, c.projectID)
	if err != nil {
		return unauthorized().Wrap(err)
	}
	if err := s.describeProject(tx, id, project); err != nil {
		return err
	}
	roles, err := s.held(tx, c.userID, c.projectID, c.roles)
	if err != nil {
		return err
	}
	id.AppCredID, id.Restricted = c.id, !c.unrestricted
	if id.AccessRules, err = s.accessRules(tx, c.rules); err != nil {
		return err
	}
	if !c.expires.IsZero() && c.expires.Before(id.ExpiresAt) {
		id.ExpiresAt = c.expires
	}
	return setRoles(id, roles)
}

func (s *Service) showAppCred(tx *store.Tx, c *appCredential) (document, error) {
	roles := []document{}
	for _, id := range c.roles {
		d, err := s.entities.roles.get(tx, id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		roles = append(roles, document{"id": id, "name": d["name"], "domain_id": nil})
	}
	doc := document{
		"id": c.id, "name": c.name, "description": c.description, "project_id": c.projectID, "user_id": c.userID, "roles": roles,
		"expires_at": naiveTime(c.expires), "unrestricted": c.unrestricted, "system": nil,
		"links": document{"self": s.base + "/users/" + c.userID + "/application_credentials/" + c.id},
	}
	if c.rules != nil {
		shown, err := s.showAccessRules(tx, c.rules)
		if err != nil {
			return nil, err
		}
		doc["access_rules"] = shown
	}
	return doc, nil
}

// naiveTime is how Keystone writes the expiry of an application credential:
// without Z, though it is UTC.
func naiveTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

type appCredRequest struct {
	Cred struct {
		Name         string               `json:"name"`
		Description  string               `json:"description"`
		Secret       string               `json:"secret"`
		ExpiresAt    *string              `json:"expires_at"`
		Roles        []nameOrID           `json:"roles"`
		Unrestricted bool                 `json:"unrestricted"`
		AccessRules  *[]accessRuleRequest `json:"access_rules"`
	} `json:"application_credential"`
}

// createAppCred answers POST /v3/users/{user}/application_credentials: for the
// caller's own user and the project of its token.
func (s *Service) createAppCred(w http.ResponseWriter, r *http.Request) error {
	var req appCredRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	c, in := caller(r), &req.Cred
	switch {
	case c.ProjectID == "":
		return api.Invalid("an application credential belongs to a project: the token is not scoped to one")
	case c.Restricted || c.AppCredID != "" && c.AccessRules != nil || c.TrustID != "":
		return api.Forbidden("Using method 'application_credential' is not allowed for managing additional application credentials.")
	case in.Name == "":
		return api.Invalid("application_credential.name is required and may not be empty")
	case len(in.Name) > 255:
		return api.Invalid("application_credential.name is longer than 255 characters")
	}
	expires, err := parseExpiry("application_credential.expires_at", in.ExpiresAt, s.now())
	if err != nil {
		return err
	}
	if in.Secret == "" {
		var b [64]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		in.Secret = base64.RawURLEncoding.EncodeToString(b[:])
	}
	hash, err := s.pass.hash(in.Secret)
	if err != nil {
		return err
	}
	cred := &appCredential{
		id: newID(), userID: c.UserID, projectID: c.ProjectID, name: in.Name, description: in.Description,
		hash: hash, expires: expires, unrestricted: in.Unrestricted,
	}
	var doc document
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := s.appCredRoles(tx, c, cred, in.Roles); err != nil {
			return err
		}
		unrestricted := int64(0)
		if cred.unrestricted {
			unrestricted = 1
		}
		if in.AccessRules != nil {
			if cred.rules, err = s.takeAccessRules(tx, c.UserID, *in.AccessRules); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO identity_app_credentials (id, user_id, project_id, name, description, secret_hash, roles, expires_at, unrestricted, access_rules)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, cred.id, cred.userID, cred.projectID, cred.name, cred.description, cred.hash,
			store.JSON(cred.roles), store.At(cred.expires), unrestricted, store.JSON(cred.rules))
		if isConflict(err) {
			return api.Conflict("application credential %q exists already", cred.name).Wrap(err)
		}
		if err != nil {
			return err
		}
		doc, err = s.showAppCred(tx, cred)
		return err
	})
	if err != nil {
		return err
	}
	doc["secret"] = in.Secret
	return api.WriteJSON(w, http.StatusCreated, document{"application_credential": doc})
}

// appCredRoles gives the credential the roles asked for, which the user must
// have on the project; all of the token's if none are named.
func (s *Service) appCredRoles(tx *store.Tx, c *auth.Identity, cred *appCredential, want []nameOrID) error {
	have, err := s.rolesByName(tx, c.Roles)
	if err != nil {
		return err
	}
	if len(want) > 0 && c.AppCredID == "" {
		if have, err = s.effectiveRoles(tx, c.UserID, "project", c.ProjectID); err != nil {
			return err
		}
	}
	for _, h := range have {
		named := slices.ContainsFunc(want, func(n nameOrID) bool { return n.ID == h.ID || n.ID == "" && n.Name == h.Name })
		if named || len(want) == 0 {
			cred.roles = append(cred.roles, h.ID)
		}
	}
	if len(want) > 0 && len(cred.roles) != len(want) {
		return api.Invalid("application_credential.roles names a role that the user does not have on the project")
	}
	return nil
}

func (s *Service) listAppCreds(w http.ResponseWriter, r *http.Request) error {
	user, name := r.PathValue("user"), r.URL.Query().Get("name")
	docs := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			c, err := scanAppCred(scan)
			if err != nil {
				return err
			}
			doc, err := s.showAppCred(tx, c)
			docs = append(docs, doc)
			return err
		}, `SELECT `+appCredColumns+` FROM identity_app_credentials WHERE user_id = ? AND (? = '' OR name = ?) ORDER BY name`, user, name, name)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"application_credentials": docs, "links": s.listLinks(r)})
}

// oneAppCred answers GET and DELETE of one application credential.
func (s *Service) oneAppCred(w http.ResponseWriter, r *http.Request) error {
	user := r.PathValue("user")
	var doc document
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		c, err := s.appCred(tx, r.PathValue("id"))
		if err == nil && c.userID != user {
			err = api.NotFound("Could not find Application Credential: %s.", r.PathValue("id"))
		}
		if err != nil {
			return err
		}
		if r.Method != http.MethodDelete {
			doc, err = s.showAppCred(tx, c)
			return err
		}
		if caller(r).Restricted {
			return api.Forbidden("Using method 'application_credential' is not allowed for managing additional application credentials.")
		}
		if _, err := tx.Exec(`DELETE FROM identity_app_credentials WHERE id = ?`, c.id); err != nil {
			return err
		}
		return s.revoke(tx, "appcred", c.id)
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, document{"application_credential": doc})
}
