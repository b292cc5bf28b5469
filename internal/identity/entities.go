package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

const defaultDomain = "default"

type entities struct {
	domains, projects, users, groups, roles, regions, services, endpoints, credentials *entity

	policies, registeredLimits, limits, endpointGroups, consumers *entity

	providers, mappings, protocols, serviceProviders *entity
}

// all lists the kinds that have the five routes of a resource.
func (e *entities) all() []*entity {
	return []*entity{
		e.domains, e.projects, e.users, e.groups, e.roles, e.regions, e.services, e.endpoints, e.credentials,
		e.policies, e.endpointGroups, e.consumers, e.providers, e.mappings, e.serviceProviders,
	}
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }
func isConflict(err error) bool { return errors.Is(err, store.ErrConflict) }

func str(v any) string { s, _ := v.(string); return s }

// newEntities is the table of kinds.
func newEntities(s *Service) entities {
	e := entities{}
	e.actors(s)
	e.catalog(s)
	e.complements(s)
	e.federation(s)
	return e
}

func idField() field          { return field{name: "id"} }
func nameField(max int) field { return field{name: "name", required: true, max: max} }
func descriptionField() field { return field{name: "description", def: ""} }
func enabledField() field     { return field{name: "enabled", typ: boolean, def: true} }
func domainField() field      { return field{name: "domain_id", immutable: true} }

// actors are the kinds that say who may do what.
func (e *entities) actors(s *Service) {
	e.domains = &entity{
		s: s, singular: "domain", plural: "domains", table: "identity_domains",
		fields:  []field{idField(), nameField(64), descriptionField(), enabledField()},
		changed: s.domainChanged, deleting: s.domainDeleting, openlyMissing: []string{"update"},
	}
	e.projects = &entity{
		s: s, singular: "project", plural: "projects", table: "identity_projects", inDomain: true,
		fields:   []field{idField(), nameField(64), domainField(), {name: "parent_id", immutable: true}, descriptionField(), enabledField()},
		incoming: s.projectIncoming, changed: s.projectChanged, deleting: s.projectDeleting,
		show: func(doc document) {
			if doc["is_domain"] == nil {
				doc["is_domain"] = false
			}
			if doc["tags"] == nil {
				doc["tags"] = []any{}
			}
			if doc["options"] == nil {
				doc["options"] = document{}
			}
		},
	}
	e.users = &entity{
		s: s, singular: "user", plural: "users", table: "identity_users", inDomain: true,
		fields:   []field{idField(), nameField(255), domainField(), {name: "default_project_id"}, {name: "description"}, enabledField(), {name: "password_hash"}},
		incoming: s.userIncoming, changed: s.userChanged, deleting: s.userDeleting, show: showUser,
	}
	e.groups = &entity{
		s: s, singular: "group", plural: "groups", table: "identity_groups", inDomain: true,
		fields:   []field{idField(), nameField(255), domainField(), descriptionField()},
		incoming: s.domainIncoming, deleting: s.groupDeleting, openlyMissing: []string{"delete"},
	}
	e.roles = &entity{
		s: s, singular: "role", plural: "roles", table: "identity_roles",
		fields: []field{idField(), nameField(255), {name: "domain_id", immutable: true}, {name: "description"}},
		show: func(doc document) {
			if doc["options"] == nil {
				doc["options"] = document{}
			}
		},
		deleting: s.roleDeleting, openlyMissing: []string{"get", "update", "delete"},
	}
}

// catalog are the kinds that say where the services are, and credentials.
func (e *entities) catalog(s *Service) {
	e.regions = &entity{
		s: s, singular: "region", plural: "regions", table: "identity_regions",
		fields:   []field{{name: "id", clientID: true}, descriptionField(), {name: "parent_region_id"}},
		incoming: s.regionIncoming, deleting: s.regionDeleting,
	}
	e.services = &entity{
		s: s, singular: "service", plural: "services", table: "identity_services",
		fields:   []field{idField(), {name: "type", required: true}, {name: "name"}, {name: "description"}, enabledField()},
		incoming: s.catalogChanged,
		deleting: func(tx *store.Tx, _ document) error { return s.catalogChanged(tx, nil, nil) },
	}
	e.endpoints = &entity{
		s: s, singular: "endpoint", plural: "endpoints", table: "identity_endpoints",
		fields:   []field{idField(), {name: "service_id", required: true}, {name: "interface", required: true}, {name: "region_id"}, {name: "url", required: true}, enabledField()},
		incoming: s.endpointIncoming, openlyMissing: []string{"get", "update", "delete"},
		deleting: func(tx *store.Tx, _ document) error { return s.catalogChanged(tx, nil, nil) },
		show:     func(doc document) { doc["region"] = doc["region_id"] },
	}
	e.credentials = &entity{
		s: s, singular: "credential", plural: "credentials", table: "identity_credentials",
		fields: []field{idField(), {name: "user_id", required: true}, {name: "project_id"}, {name: "type", required: true}, {name: "blob", required: true}, {name: "trust_id"}, {name: keyColumn}},
		asked:  credentialAsked, incoming: s.credentialIncoming, sealed: "blob",
		listed: func(r *http.Request, doc document) bool {
			return caller(r).UserID == doc["user_id"] || s.rules.Allows("cloud_reader", caller(r), nil)
		},
	}
}

// domainIncoming puts a new document into a domain that exists.
func (s *Service) domainIncoming(tx *store.Tx, old, doc document) error {
	if old != nil {
		return nil
	}
	if str(doc["domain_id"]) == "" {
		doc["domain_id"] = defaultDomain
	}
	if _, err := s.entities.domains.get(tx, str(doc["domain_id"])); err != nil {
		return api.NotFound("Could not find domain: %v.", doc["domain_id"]).Wrap(err)
	}
	return nil
}

func (s *Service) domainChanged(tx *store.Tx, old, doc document) error {
	if old["enabled"] == true && doc["enabled"] == false {
		return s.revoke(tx, "domain", str(doc["id"]))
	}
	return nil
}

func (s *Service) domainDeleting(tx *store.Tx, doc document) error {
	if doc["id"] == defaultDomain {
		return api.Forbidden("the default domain cannot be deleted")
	}
	if doc["enabled"] == true {
		return api.Forbidden("Cannot delete a domain that is enabled, please disable it first.")
	}
	for _, e := range []*entity{s.entities.users, s.entities.groups, s.entities.projects} {
		if err := removeAll(tx, e, doc["id"]); err != nil {
			return err
		}
	}
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE target_type = 'domain' AND target_id = ?`,
		`DELETE FROM identity_limits WHERE domain_id = ?`,
		`DELETE FROM identity_roles WHERE domain_id = ?`,
		`DELETE FROM identity_providers WHERE domain_id = ?`,
	} {
		if _, err := tx.Exec(q, doc["id"]); err != nil {
			return err
		}
	}
	return s.revoke(tx, "domain", str(doc["id"]))
}

// removeAll removes all documents of a domain, children before their parents.
func removeAll(tx *store.Tx, e *entity, domain any) error {
	for {
		docs, err := e.list(tx, " WHERE domain_id = ?", domain)
		if err != nil || len(docs) == 0 {
			return err
		}
		left := 0
		for _, d := range docs {
			err := e.remove(tx, d)
			if errors.Is(err, errHasChildren) {
				left++
			} else if err != nil {
				return err
			}
		}
		if left == len(docs) {
			return fmt.Errorf("projects of domain %v form a cycle", domain)
		}
	}
}

func (s *Service) projectIncoming(tx *store.Tx, old, doc document) error {
	if doc["is_domain"] == true {
		return api.Invalid("project.is_domain cannot be changed")
	}
	delete(doc, "is_domain")
	if err := checkProjectTags(doc); err != nil {
		return err
	}
	if old != nil {
		return s.projectUpdating(tx, old, doc)
	}
	parent := str(doc["parent_id"])
	if parent == "" || parent == str(doc["domain_id"]) {
		if err := s.domainIncoming(tx, nil, doc); err != nil {
			return err
		}
		doc["parent_id"] = doc["domain_id"]
		return nil
	}
	up, err := s.entities.projects.get(tx, parent)
	if isNotFound(err) {
		up, err = s.entities.domains.get(tx, parent)
		if err != nil {
			return api.Invalid("parent project %s does not exist", parent).Wrap(err)
		}
		doc["domain_id"] = up["id"]
		return nil
	}
	if err != nil {
		return err
	}
	if d := str(doc["domain_id"]); d != "" && d != up["domain_id"] {
		return api.Invalid("project.domain_id is %q but the parent is in domain %v", d, up["domain_id"])
	}
	doc["domain_id"] = up["domain_id"]
	if up["enabled"] != true {
		return api.Forbidden("cannot create a project below project %s, which is disabled", parent)
	}
	above, err := s.above(tx, parent)
	if err != nil {
		return err
	}
	if len(above) >= maxProjectDepth-1 {
		return api.Forbidden("Max hierarchy depth of %d reached below project %s.", maxProjectDepth, parent)
	}
	return nil
}

// projectUpdating keeps the hierarchy whole: what is above an enabled project
// is enabled.
func (s *Service) projectUpdating(tx *store.Tx, old, doc document) error {
	if old["enabled"] == doc["enabled"] {
		return nil
	}
	if doc["enabled"] == true {
		if up, err := s.entities.projects.get(tx, str(doc["parent_id"])); err == nil && up["enabled"] != true {
			return api.Forbidden("Cannot enable project %v since it has disabled parents.", doc["id"])
		}
		return nil
	}
	var n int64
	if err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_projects WHERE parent_id = ? AND enabled = 1`, doc["id"]); err != nil {
		return err
	}
	if n > 0 {
		return api.Forbidden("Cannot disable project %v since its subtree contains enabled projects.", doc["id"])
	}
	return nil
}

func (s *Service) projectChanged(tx *store.Tx, old, doc document) error {
	if old["enabled"] == true && doc["enabled"] == false {
		return s.revoke(tx, "project", str(doc["id"]))
	}
	return nil
}

var errHasChildren = errors.New("project has children")

func (s *Service) projectDeleting(tx *store.Tx, doc document) error {
	var n int64
	if err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_projects WHERE parent_id = ?`, doc["id"]); err != nil {
		return err
	}
	if n > 0 {
		return api.Forbidden("Cannot delete the project %v since it is not a leaf in the hierarchy.", doc["id"]).Wrap(errHasChildren)
	}
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE target_type = 'project' AND target_id = ?`,
		`DELETE FROM identity_app_credentials WHERE project_id = ?`,
		`DELETE FROM identity_credentials WHERE project_id = ?`,
		`DELETE FROM identity_trusts WHERE project_id = ?`,
		`DELETE FROM identity_limits WHERE project_id = ?`,
		`UPDATE identity_users SET default_project_id = NULL WHERE default_project_id = ?`,
	} {
		if _, err := tx.Exec(q, doc["id"]); err != nil {
			return err
		}
	}
	return s.revoke(tx, "project", str(doc["id"]))
}

func (s *Service) groupDeleting(tx *store.Tx, doc document) error {
	members, err := s.memberIDs(tx, str(doc["id"]))
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := s.revoke(tx, "user", m); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`DELETE FROM identity_assignments WHERE actor_type = 'group' AND actor_id = ?`, doc["id"])
	return err
}

// roleDeleting ends the tokens of everybody who held the role.
func (s *Service) roleDeleting(tx *store.Tx, doc document) error {
	return s.revokeHolders(tx, `role_id = ?`, doc["id"])
}

func (s *Service) regionIncoming(tx *store.Tx, _, doc document) error {
	if p := str(doc["parent_region_id"]); p != "" {
		if _, err := s.entities.regions.get(tx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) regionDeleting(tx *store.Tx, doc document) error {
	var n int64
	err := tx.Get([]any{&n}, `SELECT (SELECT COUNT(*) FROM identity_regions WHERE parent_region_id = ?) + (SELECT COUNT(*) FROM identity_endpoints WHERE region_id = ?)`, doc["id"], doc["id"])
	if err == nil && n > 0 {
		return api.Conflict("region %v is in use", doc["id"])
	}
	return err
}

// catalogChanged has the catalog read again once tx has committed.
func (s *Service) catalogChanged(tx *store.Tx, _, _ document) error {
	tx.AfterCommit(s.forgetCatalog)
	return nil
}

func (s *Service) endpointIncoming(tx *store.Tx, _, doc document) error {
	tx.AfterCommit(s.forgetCatalog)
	if region := str(doc["region"]); region != "" { // the older name of the field, which makes regions as it goes
		if _, err := tx.Exec(`INSERT INTO identity_regions (id, description, parent_region_id, extra) VALUES (?, '', NULL, '{}') ON CONFLICT DO NOTHING`, region); err != nil {
			return err
		}
		doc["region_id"] = region
	}
	delete(doc, "region")
	if _, err := s.entities.services.get(tx, str(doc["service_id"])); err != nil {
		return api.Invalid("service %v does not exist", doc["service_id"]).Wrap(err)
	}
	switch doc["interface"] {
	case "public", "internal", "admin":
	default:
		return api.Invalid("endpoint.interface is %q, expected public, internal or admin", doc["interface"])
	}
	if u, err := url.Parse(trimTemplate(str(doc["url"]))); err != nil || u.Host == "" {
		return api.Invalid("endpoint.url is %q, expected an absolute URL", doc["url"])
	}
	if region := str(doc["region_id"]); region != "" {
		if _, err := s.entities.regions.get(tx, region); isNotFound(err) {
			return s.entities.regions.insert(tx, document{"id": region, "description": ""})
		} else if err != nil {
			return err
		}
	}
	return nil
}

// credentialAsked has a new credential bound to what its maker acts by, which is not the client's to say, and keeps
// credentials from being given to others. With an EC2 credential one signs as its user.
func credentialAsked(r *http.Request, doc document) error {
	c := caller(r)
	if r.Method == http.MethodPatch {
		if u, ok := doc["user_id"]; ok && u != c.UserID && !c.IsAdmin() {
			return api.Forbidden("credential.user_id cannot be changed to another user")
		}
		return nil
	}
	return bindCredential(c, doc)
}

// bindCredential makes what is signed with a credential do no more than the token that made it.
func bindCredential(c *auth.Identity, doc document) error {
	doc["trust_id"] = nil
	delete(doc, "app_cred_id")
	switch {
	case c.TrustID != "":
		doc["trust_id"] = c.TrustID
	case c.AppCredID != "":
		doc["app_cred_id"] = c.AppCredID
	default:
		return nil
	}
	if doc["type"] == "ec2" && c.UserID == doc["user_id"] && c.ProjectID != doc["project_id"] {
		return api.Forbidden("a delegated token makes EC2 credentials for its own project only")
	}
	return nil
}

func (s *Service) credentialIncoming(tx *store.Tx, old, doc document) error {
	for _, k := range []string{"trust_id", "app_cred_id"} {
		if old != nil && doc[k] != old[k] {
			return api.Invalid("credential.%s cannot be changed", k)
		}
	}
	if _, err := s.entities.users.get(tx, str(doc["user_id"])); err != nil {
		return api.Invalid("user %v does not exist", doc["user_id"]).Wrap(err)
	}
	return textBlob(doc)
}

// textBlob turns a blob that an older client sends as an object into text.
func textBlob(doc document) error {
	if blob, ok := doc["blob"].(map[string]any); ok {
		b, err := json.Marshal(blob)
		if err != nil {
			return err
		}
		doc["blob"] = string(b)
	}
	return nil
}

// putRegion answers PUT /v3/regions/{id}.
func (s *Service) putRegion(w http.ResponseWriter, r *http.Request) error {
	e := s.entities.regions
	doc, err := e.decode(r)
	if err != nil {
		return err
	}
	if id := str(doc["id"]); id != "" && id != r.PathValue("id") {
		return api.Invalid("region.id is %q but the path says %q", id, r.PathValue("id"))
	}
	doc["id"] = r.PathValue("id")
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := e.fill(doc); err != nil {
			return err
		}
		if err := s.regionIncoming(tx, nil, doc); err != nil {
			return err
		}
		return e.insert(tx, doc)
	})
	if err != nil {
		return err
	}
	return e.reply(w, http.StatusCreated, doc)
}
