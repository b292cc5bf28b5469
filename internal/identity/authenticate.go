package identity

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

type domainRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type userRef struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Domain   *domainRef `json:"domain"`
	Password string     `json:"password"`
}

type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User userRef `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
			TOTP *struct {
				User struct {
					userRef
					Passcode string `json:"passcode"`
				} `json:"user"`
			} `json:"totp"`
			AppCred *struct {
				ID     string   `json:"id"`
				Name   string   `json:"name"`
				User   *userRef `json:"user"`
				Secret string   `json:"secret"`
			} `json:"application_credential"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// principal is who has proved to be calling, before any scope.
type principal struct {
	userID  string
	methods []string
	parent  *auth.Identity // of method token
	appCred *appCredential // of method application_credential
	oauth   *oauthToken    // of method oauth1
	expires time.Time
}

func unauthorized() *api.Error {
	return api.Unauthorized("The request you have made requires authentication.")
}

// maxMethods bounds how many methods one request may name.
const maxMethods = 4

// identify proves every method of the request; all must name the same user.
func (s *Service) identify(r *http.Request, req *authRequest) (*principal, error) {
	ident := &req.Auth.Identity
	if len(ident.Methods) == 0 || len(ident.Methods) > maxMethods {
		return nil, api.Invalid("auth.identity.methods holds %d methods, expected 1 to %d", len(ident.Methods), maxMethods)
	}
	p := &principal{expires: s.now().Add(s.cfg.TokenLife).Truncate(time.Second)}
	for _, method := range ident.Methods {
		var userID string
		var err error
		switch {
		case method == "password" && ident.Password != nil:
			userID, err = s.byPassword(r, ident.Password.User)
		case method == "totp" && ident.TOTP != nil:
			userID, err = s.byTOTP(r, ident.TOTP.User.userRef, ident.TOTP.User.Passcode)
		case method == "token" && ident.Token != nil:
			userID, err = s.byToken(r, p, ident.Token.ID)
		case method == "application_credential" && ident.AppCred != nil:
			userID, err = s.byAppCred(r, p, ident.AppCred.ID, ident.AppCred.Name, ident.AppCred.User, ident.AppCred.Secret)
		case method == "oauth1":
			userID, err = s.byOAuth(r, p)
		case method == "password" || method == "token" || method == "totp" || method == "application_credential":
			return nil, api.Invalid("auth.identity.%s is missing though methods names it", method)
		default:
			return nil, unauthorized().Wrap(api.Invalid("authentication method %q is unknown", method))
		}
		if err != nil {
			return nil, err
		}
		if p.userID != "" && p.userID != userID {
			return nil, unauthorized()
		}
		p.userID = userID
		p.methods = append(p.methods, method)
	}
	return p, nil
}

// findUser looks a user up by id, or by name and domain.
func (s *Service) findUser(r *http.Request, u userRef) (document, error) {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if u.ID != "" {
			doc, err = s.entities.users.get(tx, u.ID)
			return err
		}
		if u.Domain == nil {
			return api.Invalid("a user's name needs its domain: user.domain is missing")
		}
		domain, err := s.findDomain(tx, *u.Domain)
		if err != nil {
			return err
		}
		doc, err = s.entities.users.find(tx, `domain_id = ? AND name = ?`, domain["id"], u.Name)
		return err
	})
	return doc, err
}

func (s *Service) findDomain(tx *store.Tx, d domainRef) (document, error) {
	if d.ID != "" {
		return s.entities.domains.get(tx, d.ID)
	}
	return s.entities.domains.find(tx, `name = ?`, d.Name)
}

func (s *Service) byPassword(r *http.Request, u userRef) (string, error) {
	user, err := s.findUser(r, u)
	if err != nil && !isNotFound(err) {
		var bad *api.Error
		if asAPI(err, &bad) && bad.Kind != api.KindNotFound {
			return "", err
		}
	}
	if err != nil {
		user = nil
	}
	return s.provePassword(r, user, u.Password, false)
}

// provePassword checks a password against a user's, under the rules for
// lockout and expiry. A user that does not exist (nil) takes as long. Who wants
// to change a password may prove one that has expired.
func (s *Service) provePassword(r *http.Request, user document, password string, toChange bool) (string, error) {
	ok, err := s.pass.check(str(user["password_hash"]), password)
	if err != nil {
		return "", err
	}
	if user == nil {
		return "", unauthorized()
	}
	id := str(user["id"])
	var st credentialState
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		st, err = s.credentialState(tx, id)
		return err
	})
	if err != nil {
		return "", err
	}
	if s.locked(user, st) {
		return "", unauthorized().Wrap(errors.New("the account is locked after failed attempts"))
	}
	if s.cfg.Passwords.LockoutAttempts > 0 && (!ok || st.failures > 0) {
		err := s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.noteAttempt(tx, id, st, ok) })
		if err != nil {
			return "", err
		}
	}
	if !ok || user["enabled"] != true {
		return "", unauthorized()
	}
	if toChange {
		return id, nil
	}
	if at := s.expiry(user, st.setAt); !at.IsZero() && !at.After(s.now()) {
		return "", api.Unauthorized("The password is expired and needs to be changed for user: %s.", id)
	}
	if st.mustChange != 0 && !option(user, "ignore_change_password_upon_first_use") {
		return "", api.Unauthorized("The password needs to be changed for user: %s.", id)
	}
	return id, nil
}

func (s *Service) byToken(r *http.Request, p *principal, token string) (string, error) {
	id, err := s.tokens.Validate(r.Context(), token)
	if err != nil {
		return "", api.NotFound("Could not find token.").Wrap(err) // as Keystone: 401 is for who did not prove a user
	}
	if delegated(id) {
		return "", api.Forbidden("a token made from a trust, an application credential or by OAuth cannot be exchanged for another")
	}
	p.parent = id
	p.expires = id.ExpiresAt // a chain of tokens ends when its first one does
	return id.UserID, nil
}

// delegated says whether a token has only what its user gave away: by a trust,
// an application credential or OAuth.
func delegated(c *auth.Identity) bool {
	return c.TrustID != "" || c.AppCredID != "" || c.OAuthID != ""
}

// notByOAuth keeps who acts by OAuth from making what lasts longer, or may do
// more, than their access token.
func notByOAuth(handler func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if caller(r).OAuthID != "" {
			return api.Forbidden("A token by OAuth cannot make trusts or credentials.")
		}
		return handler(w, r)
	}
}

// notDelegated keeps who acts by what a user gave away from changing what has all of the user's power.
func notDelegated(handler func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if delegated(caller(r)) {
			return api.Forbidden("A token by a trust, an application credential or OAuth cannot change credentials.")
		}
		return handler(w, r)
	}
}

// issue makes the token for a principal in the scope the request asks for.
func (s *Service) issue(r *http.Request, p *principal, rawScope json.RawMessage) (*auth.Identity, error) {
	scope, err := parseScope(rawScope)
	if err != nil {
		return nil, err
	}
	now := s.now()
	id := &auth.Identity{
		Methods: p.methods, IssuedAt: now, ExpiresAt: p.expires, AuditID: newAuditID(),
	}
	if p.parent != nil {
		id.ParentAuditID = p.parent.ParentAuditID
		if id.ParentAuditID == "" {
			id.ParentAuditID = p.parent.AuditID
		}
		id.Methods = union(p.methods, p.parent.Methods)
	}
	work := s.db.View
	if scope.Trust != nil {
		work = s.db.Tx // a trust may count its uses
	}
	err = work(r.Context(), func(tx *store.Tx) error {
		if err := s.describeUser(tx, id, p.userID); err != nil {
			return err
		}
		switch {
		case p.appCred != nil:
			return s.scopeAppCred(tx, id, p.appCred, scope)
		case p.oauth != nil && !scope.unscoped && (scope.Project != nil || scope.Trust != nil || scope.Domain != nil || scope.System != nil):
			return api.Forbidden("a token by OAuth is for the project of its access token, no scope may be asked for")
		case p.oauth != nil:
			return s.scopeOAuth(tx, id, p.oauth)
		case scope.Trust != nil:
			return s.scopeTrust(tx, id, scope.Trust.ID)
		case scope.Project != nil:
			return s.scopeProject(tx, id, scope.Project)
		case scope.Domain != nil:
			return s.scopeDomain(tx, id, *scope.Domain)
		case scope.System != nil:
			return s.scopeSystem(tx, id)
		case scope.unscoped:
			return nil
		default:
			return s.scopeDefault(tx, id, p.userID)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := s.tokens.Issue(id); err != nil {
		return nil, err
	}
	return id, nil
}

// describeUser puts an enabled user of an enabled domain into id.
func (s *Service) describeUser(tx *store.Tx, id *auth.Identity, userID string) error {
	user, err := s.entities.users.get(tx, userID)
	if err != nil {
		return unauthorized().Wrap(err)
	}
	domain, err := s.entities.domains.get(tx, str(user["domain_id"]))
	if err != nil {
		return unauthorized().Wrap(err)
	}
	if user["enabled"] != true || domain["enabled"] != true {
		return unauthorized()
	}
	if !factorsSuffice(user, id.Methods) {
		return unauthorized().Wrap(errors.New("the user's rules ask for more methods of authentication"))
	}
	id.UserID, id.UserName = userID, str(user["name"])
	id.UserDomainID, id.UserDomainName = str(domain["id"]), str(domain["name"])
	return nil
}

// factorsSuffice checks a user's multi_factor_auth_rules: one of the sets of
// methods must have been proved. A token or an application credential stands
// for what was proved before it.
func factorsSuffice(user document, proved []string) bool {
	options, _ := user["options"].(map[string]any)
	sets, _ := options["multi_factor_auth_rules"].([]any)
	if len(sets) == 0 || options["multi_factor_auth_enabled"] == false {
		return true
	}
	for _, m := range proved {
		if m == "token" || m == "application_credential" || m == "ec2credential" || m == "oauth1" {
			return true
		}
	}
	for _, set := range sets {
		methods, _ := set.([]any)
		all := len(methods) > 0
		for _, m := range methods {
			all = all && slices.Contains(proved, str(m))
		}
		if all {
			return true
		}
	}
	return false
}

func union(a, b []string) []string {
	out := append([]string(nil), a...)
	for _, s := range b {
		found := false
		for _, o := range out {
			found = found || o == s
		}
		if !found {
			out = append(out, s)
		}
	}
	return out
}
