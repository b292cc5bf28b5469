package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

type projectRef struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Domain *domainRef `json:"domain"`
}

type scopeRequest struct {
	Project *projectRef `json:"project"`
	Domain  *domainRef  `json:"domain"`
	System  *struct {
		All bool `json:"all"`
	} `json:"system"`
	Trust *struct {
		ID string `json:"id"`
	} `json:"OS-TRUST:trust"`
	unscoped bool // "unscoped" was asked for by that word
}

func parseScope(raw json.RawMessage) (scopeRequest, error) {
	var scope scopeRequest
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" {
		return scope, nil
	}
	if raw[0] == '"' {
		if string(raw) != `"unscoped"` {
			return scope, api.Invalid(`auth.scope is %s, expected an object or "unscoped"`, raw)
		}
		scope.unscoped = true
		return scope, nil
	}
	if err := api.DecodeJSON(raw, &scope); err != nil {
		return scope, err
	}
	n := 0
	for _, set := range []bool{scope.Project != nil, scope.Domain != nil, scope.System != nil, scope.Trust != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return scope, api.Invalid("auth.scope names %d scopes, expected one of project, domain, system and OS-TRUST:trust", n)
	}
	return scope, nil
}

func newAuditID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func asAPI(err error, target **api.Error) bool { return errors.As(err, target) }

func setRoles(id *auth.Identity, roles []role) error {
	if len(roles) == 0 {
		return unauthorized().Wrap(errors.New("the user has no role in the scope asked for"))
	}
	for _, r := range roles {
		id.Roles = append(id.Roles, r.Name)
	}
	return nil
}

// describeProject puts an enabled project of an enabled domain into id.
func (s *Service) describeProject(tx *store.Tx, id *auth.Identity, project document) error {
	domain, err := s.entities.domains.get(tx, str(project["domain_id"]))
	if err != nil {
		return unauthorized().Wrap(err)
	}
	if project["enabled"] != true || domain["enabled"] != true {
		return unauthorized().Wrap(errors.New("the project or its domain is disabled"))
	}
	id.ProjectID, id.ProjectName = str(project["id"]), str(project["name"])
	id.ProjectDomainID, id.ProjectDomainName = str(domain["id"]), str(domain["name"])
	return nil
}

func (s *Service) scopeProject(tx *store.Tx, id *auth.Identity, ref *projectRef) error {
	project, err := s.findProject(tx, ref)
	if err != nil {
		return err
	}
	if err := s.describeProject(tx, id, project); err != nil {
		return err
	}
	roles, err := s.effectiveRoles(tx, id.UserID, "project", id.ProjectID)
	if err != nil {
		return err
	}
	return setRoles(id, roles)
}

func (s *Service) findProject(tx *store.Tx, ref *projectRef) (document, error) {
	if ref.ID != "" {
		doc, err := s.entities.projects.get(tx, ref.ID)
		if isNotFound(err) {
			return nil, unauthorized().Wrap(err)
		}
		return doc, err
	}
	if ref.Domain == nil {
		return nil, api.Invalid("a project's name needs its domain: auth.scope.project.domain is missing")
	}
	domain, err := s.findDomain(tx, *ref.Domain)
	if err == nil {
		domain, err = s.entities.projects.find(tx, `domain_id = ? AND name = ?`, domain["id"], ref.Name)
	}
	if isNotFound(err) {
		return nil, unauthorized().Wrap(err)
	}
	return domain, err
}

func (s *Service) scopeDomain(tx *store.Tx, id *auth.Identity, ref domainRef) error {
	domain, err := s.findDomain(tx, ref)
	if isNotFound(err) || err == nil && domain["enabled"] != true {
		return unauthorized().Wrap(err)
	}
	if err != nil {
		return err
	}
	id.DomainID, id.DomainName = str(domain["id"]), str(domain["name"])
	roles, err := s.effectiveRoles(tx, id.UserID, "domain", id.DomainID)
	if err != nil {
		return err
	}
	return setRoles(id, roles)
}

func (s *Service) scopeSystem(tx *store.Tx, id *auth.Identity) error {
	id.System = true
	roles, err := s.effectiveRoles(tx, id.UserID, "system", "all")
	if err != nil {
		return err
	}
	return setRoles(id, roles)
}

// scopeDefault is a request that names no scope: the user's default project
// if there is one with a role, else an unscoped token.
func (s *Service) scopeDefault(tx *store.Tx, id *auth.Identity, userID string) error {
	user, err := s.entities.users.get(tx, userID)
	if err != nil {
		return err
	}
	pid := str(user["default_project_id"])
	if pid == "" {
		return nil
	}
	roles, err := s.effectiveRoles(tx, userID, "project", pid)
	if err != nil || len(roles) == 0 {
		return err
	}
	project, err := s.entities.projects.get(tx, pid)
	if err != nil {
		if isNotFound(err) {
			return nil
		}
		return err
	}
	if project["enabled"] != true {
		return nil
	}
	if err := s.describeProject(tx, id, project); err != nil {
		return err
	}
	return setRoles(id, roles)
}

// scopeTrust makes a token of a trust: with impersonation it is the
// trustor's, and always it has the trust's project and roles, as far as the
// trustor still holds them.
func (s *Service) scopeTrust(tx *store.Tx, id *auth.Identity, trustID string) error {
	t, err := s.trust(tx, trustID)
	if err != nil || t.trustee != id.UserID {
		return unauthorized().Wrap(err)
	}
	if t.projectID == "" {
		return api.Forbidden("trust %s names no project", trustID)
	}
	trustor := auth.Identity{}
	if err := s.describeUser(tx, &trustor, t.trustor); err != nil {
		return api.Forbidden("Trustor is disabled.").Wrap(err)
	}
	if t.impersonation {
		id.UserID, id.UserName = trustor.UserID, trustor.UserName
		id.UserDomainID, id.UserDomainName = trustor.UserDomainID, trustor.UserDomainName
	}
	project, err := s.entities.projects.get(tx, t.projectID)
	if err != nil {
		return unauthorized().Wrap(err)
	}
	if err := s.describeProject(tx, id, project); err != nil {
		return err
	}
	roles, err := s.held(tx, t.trustor, t.projectID, t.roles)
	if err != nil {
		return err
	}
	if err := setRoles(id, roles); err != nil {
		return err
	}
	id.TrustID, id.TrustorID = t.id, t.trustor
	if !t.expires.IsZero() && t.expires.Before(id.ExpiresAt) {
		id.ExpiresAt = t.expires
	}
	if t.remaining != nil {
		n, err := tx.Exec(`UPDATE identity_trusts SET remaining_uses = remaining_uses - 1 WHERE id = ? AND remaining_uses > 0`, t.id)
		if err != nil {
			return err
		}
		if n == 0 {
			return api.Forbidden("trust %s has no uses left", t.id)
		}
	}
	return nil
}

// held expands the role ids of a trust or application credential and refuses
// when the user has lost one of them.
func (s *Service) held(tx *store.Tx, userID, projectID string, ids []string) ([]role, error) {
	have, err := s.effectiveRoles(tx, userID, "project", projectID)
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{}
	for _, r := range have {
		owned[r.ID] = true
	}
	for _, id := range ids {
		if !owned[id] {
			return nil, api.Forbidden("user %s no longer has role %s on project %s", userID, id, projectID)
		}
	}
	return s.expandRoles(tx, ids)
}
