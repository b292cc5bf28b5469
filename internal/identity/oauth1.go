package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Delegation by OAuth 1.0a, Keystone's extension OS-OAUTH1: a consumer asks for
// a request token for a project, a user authorizes it with some of their roles
// there, and the consumer exchanges it for an access token, with which it gets
// tokens of that user, project and roles.

const (
	oauthRequestToken = "request"
	oauthAccessToken  = "access"

	requestTokenLife = 8 * time.Hour  // Keystone's defaults
	accessTokenLife  = 24 * time.Hour // as well
	verifierLength   = 8
)

// oauthToken is a request token or an access token. Roles are ids.
type oauthToken struct {
	id, kind, consumer, project, user, verifier, secret string

	roles   []string
	expires time.Time // zero: never
}

const oauthColumns = `id, kind, consumer_id, project_id, COALESCE(user_id, ''), roles, verifier, secret, COALESCE(key_id, ''), expires_at`

func (s *Service) scanOAuth(scan func(...any) error) (*oauthToken, error) {
	var t oauthToken
	var key string
	err := scan(&t.id, &t.kind, &t.consumer, &t.project, &t.user, store.JSON(&t.roles), &t.verifier, &t.secret, &key, store.Time(&t.expires))
	if err != nil {
		return nil, store.Wrap(err)
	}
	if key != "" {
		text, err := s.cfg.Keys.Open(key, t.secret, "oauth_token/"+t.id)
		if err != nil {
			return nil, api.Unavailable("the token %s cannot be read: this undercloud has not the key it was encrypted with", t.id).Wrap(err)
		}
		t.secret = string(text)
	}
	return &t, nil
}

// oauthToken returns a token that has not expired.
func (s *Service) oauthToken(tx *store.Tx, kind, id string) (*oauthToken, error) {
	t, err := s.scanOAuth(tx.QueryRow(`SELECT `+oauthColumns+` FROM identity_oauth_tokens WHERE id = ? AND kind = ?`, id, kind).Scan)
	if isNotFound(err) || err == nil && !t.expires.IsZero() && !t.expires.After(s.now()) {
		return nil, api.NotFound("Could not find %s token: %s.", kind, id).Wrap(err)
	}
	return t, err
}

func (s *Service) addOAuth(tx *store.Tx, t *oauthToken) error {
	key, sealed := s.cfg.Keys.Seal([]byte(t.secret), "oauth_token/"+t.id)
	var user any
	if t.user != "" {
		user = t.user
	}
	_, err := tx.Exec(`INSERT INTO identity_oauth_tokens (id, kind, consumer_id, project_id, user_id, roles, verifier, secret, key_id, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, t.id, t.kind, t.consumer, t.project, user, store.JSON(t.roles), t.verifier, sealed, key, store.At(t.expires))
	return err
}

// proveOAuth checks the signature of a request by its consumer, and with the
// token of the kind if one is named; a request counts once.
func (s *Service) proveOAuth(tx *store.Tx, q *oauthRequest, kind string) (*oauthToken, error) {
	consumer, err := s.entities.consumers.get(tx, q.consumer)
	if err != nil {
		return nil, unauthorized().Wrap(err)
	}
	t := &oauthToken{}
	if kind != "" {
		if t, err = s.oauthToken(tx, kind, q.token); err != nil {
			return nil, unauthorized().Wrap(err)
		}
	}
	if !q.signedBy(str(consumer["secret"]), t.secret) || kind != "" && t.consumer != q.consumer {
		return nil, unauthorized().Wrap(errors.New("the signature is not the consumer's"))
	}
	if _, err := tx.Exec(`DELETE FROM identity_oauth_nonces WHERE used_at < ?`, store.At(s.now().Add(-2*maxSkew))); err != nil {
		return nil, err
	}
	_, err = tx.Exec(`INSERT INTO identity_oauth_nonces (consumer_id, nonce, used_at) VALUES (?, ?, ?)`, q.consumer, q.nonce, store.At(s.now()))
	if errors.Is(err, store.ErrConflict) {
		return nil, unauthorized().Wrap(errors.New("the request was sent before"))
	}
	return t, err
}

func writeOAuth(w http.ResponseWriter, t *oauthToken) error {
	v := url.Values{"oauth_token": {t.id}, "oauth_token_secret": {t.secret}}
	if !t.expires.IsZero() {
		v.Set("oauth_expires_at", t.expires.UTC().Format(timeFormat))
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	// As Keystone writes it: ids are hexadecimal, and a time's colons need no escape in a form (WHATWG URL, 5.2 reads them).
	_, err := io.WriteString(w, strings.ReplaceAll(v.Encode(), "%3A", ":"))
	return err
}

// createRequestToken answers POST /OS-OAUTH1/request_token.
func (s *Service) createRequestToken(w http.ResponseWriter, r *http.Request) error {
	q, err := readOAuth(r, s.base+"/OS-OAUTH1/request_token", s.now())
	if err != nil {
		return err
	}
	project := r.Header.Get("Requested-Project-Id")
	if project == "" {
		return api.Invalid("the header Requested-Project-Id is missing")
	}
	t := &oauthToken{id: newID(), kind: oauthRequestToken, consumer: q.consumer, project: project, secret: newID(), expires: s.now().Add(requestTokenLife)}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.proveOAuth(tx, q, ""); err != nil {
			return err
		}
		if _, err := s.entities.projects.get(tx, project); err != nil {
			return err
		}
		return s.addOAuth(tx, t)
	})
	if err != nil {
		return err
	}
	return writeOAuth(w, t)
}

// authorizeRequestToken answers PUT /OS-OAUTH1/authorize/{id}: the caller gives
// some of their own roles on the project, which who acts by a delegation may
// not do.
func (s *Service) authorizeRequestToken(w http.ResponseWriter, r *http.Request) error {
	if delegated(caller(r)) {
		return api.Forbidden("Cannot authorize a request token with a token issued via delegation.")
	}
	var in struct {
		Roles []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"roles"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if len(in.Roles) == 0 {
		return api.Invalid("roles: expected a list with at least one role")
	}
	user := caller(r).UserID
	verifier := rand.Text()[:verifierLength]
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		t, err := s.oauthToken(tx, oauthRequestToken, r.PathValue("id"))
		if err != nil {
			return err
		}
		if t.user != "" {
			return api.Forbidden("The request token is authorized already.")
		}
		held, err := s.effectiveRoles(tx, user, "project", t.project)
		if err != nil {
			return err
		}
		for _, want := range in.Roles {
			i := slices.IndexFunc(held, func(h role) bool {
				return want.ID != "" && h.ID == want.ID || want.ID == "" && h.Name == want.Name
			})
			if i < 0 {
				return api.Forbidden("authorizing user does not have role required: %s", want.ID+want.Name)
			}
			t.roles = append(t.roles, held[i].ID)
		}
		_, err = tx.Exec(`UPDATE identity_oauth_tokens SET user_id = ?, roles = ?, verifier = ? WHERE id = ?`, user, store.JSON(t.roles), verifier, t.id)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"token": document{"oauth_verifier": verifier}})
}

// createAccessToken answers POST /OS-OAUTH1/access_token: an authorized request
// token is exchanged.
func (s *Service) createAccessToken(w http.ResponseWriter, r *http.Request) error {
	q, err := readOAuth(r, s.base+"/OS-OAUTH1/access_token", s.now())
	if err != nil {
		return err
	}
	var t *oauthToken
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		req, err := s.proveOAuth(tx, q, oauthRequestToken)
		if err != nil {
			return err
		}
		if req.user == "" || subtle.ConstantTimeCompare([]byte(req.verifier), []byte(q.verifier)) != 1 {
			return unauthorized().Wrap(errors.New("the request token is not authorized with this verifier"))
		}
		if _, err := tx.Exec(`DELETE FROM identity_oauth_tokens WHERE id = ?`, req.id); err != nil {
			return err
		}
		t = &oauthToken{id: newID(), kind: oauthAccessToken, consumer: req.consumer, project: req.project, user: req.user, roles: req.roles, secret: newID(),
			expires: s.now().Add(accessTokenLife)}
		return s.addOAuth(tx, t)
	})
	if err != nil {
		return err
	}
	return writeOAuth(w, t)
}

// byOAuth proves the method oauth1 of POST /auth/tokens; the access token
// decides the scope.
func (s *Service) byOAuth(r *http.Request, p *principal) (string, error) {
	q, err := readOAuth(r, s.base+"/auth/tokens", s.now())
	if err != nil {
		return "", err
	}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		p.oauth, err = s.proveOAuth(tx, q, oauthAccessToken)
		return err
	})
	if err != nil {
		return "", err
	}
	return p.oauth.user, nil
}

// scopeOAuth gives a token what the access token delegates, as far as the user
// still has it.
func (s *Service) scopeOAuth(tx *store.Tx, id *auth.Identity, t *oauthToken) error {
	project, err := s.entities.projects.get(tx, t.project)
	if isNotFound(err) {
		return unauthorized().Wrap(err)
	}
	if err != nil {
		return err
	}
	if err := s.describeProject(tx, id, project); err != nil {
		return err
	}
	held, err := s.effectiveRoles(tx, t.user, "project", t.project)
	if err != nil {
		return err
	}
	held = slices.DeleteFunc(held, func(h role) bool { return !slices.Contains(t.roles, h.ID) })
	id.OAuthID = t.id
	if !t.expires.IsZero() && t.expires.Before(id.ExpiresAt) {
		id.ExpiresAt = t.expires.Truncate(time.Second) // it cannot be taken back once its access token is gone
	}
	return setRoles(id, held)
}

// oauthDoc is an access token as its user sees it.
func (s *Service) oauthDoc(t *oauthToken) document {
	self := s.base + "/users/" + t.user + "/OS-OAUTH1/access_tokens/" + t.id
	return document{"id": t.id, "consumer_id": t.consumer, "project_id": t.project, "authorizing_user_id": t.user, "expires_at": isoTime(t.expires),
		"links": document{"self": self, "roles": self + "/roles"}}
}

func (s *Service) listAccessTokens(w http.ResponseWriter, r *http.Request) error {
	list := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			t, err := s.scanOAuth(scan)
			if err == nil && (t.expires.IsZero() || t.expires.After(s.now())) {
				list = append(list, s.oauthDoc(t))
			}
			return err
		}, `SELECT `+oauthColumns+` FROM identity_oauth_tokens WHERE user_id = ? AND kind = ? ORDER BY id`, r.PathValue("id"), oauthAccessToken)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"access_tokens": list,
		"links": document{"self": s.base + "/users/" + r.PathValue("id") + "/OS-OAUTH1/access_tokens", "next": nil, "previous": nil}})
}

// usersToken is the access token that the path names, which is the user's.
func (s *Service) usersToken(tx *store.Tx, r *http.Request) (*oauthToken, error) {
	t, err := s.oauthToken(tx, oauthAccessToken, r.PathValue("token"))
	if err == nil && t.user != r.PathValue("id") {
		return nil, api.NotFound("Could not find access token: %s.", t.id)
	}
	return t, err
}

func (s *Service) getAccessToken(w http.ResponseWriter, r *http.Request) error {
	var t *oauthToken
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		t, err = s.usersToken(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"access_token": s.oauthDoc(t)})
}

// deleteAccessToken ends an access token and the tokens made with it.
func (s *Service) deleteAccessToken(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		t, err := s.usersToken(tx, r)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM identity_oauth_tokens WHERE id = ?`, t.id); err != nil {
			return err
		}
		return s.revoke(tx, "oauth", t.id)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// consumerDeleting ends the tokens made with a consumer's access tokens, which
// go with their consumer.
func (s *Service) consumerDeleting(tx *store.Tx, doc document) error {
	ids, err := stringsOf(tx, `SELECT id FROM identity_oauth_tokens WHERE consumer_id = ? AND kind = ?`, doc["id"], oauthAccessToken)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.revoke(tx, "oauth", id); err != nil {
			return err
		}
	}
	return nil
}

// accessTokenRoles lists the roles an access token delegates, or the one named.
func (s *Service) accessTokenRoles(w http.ResponseWriter, r *http.Request) error {
	list := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		t, err := s.usersToken(tx, r)
		if err != nil {
			return err
		}
		for _, id := range t.roles {
			if one := r.PathValue("role"); one != "" && one != id {
				continue
			}
			role, err := s.entities.roles.get(tx, id)
			if isNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, document{"id": role["id"], "name": role["name"], "domain_id": role["domain_id"], "links": document{"self": s.base + "/roles/" + id}})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if one := r.PathValue("role"); one != "" {
		if len(list) == 0 {
			return api.NotFound("Could not find role: %s.", one)
		}
		return api.WriteJSON(w, http.StatusOK, document{"role": list[0]})
	}
	return api.WriteJSON(w, http.StatusOK, document{"roles": list, "links": document{"self": s.base + r.URL.Path, "next": nil, "previous": nil}})
}
