package identity

import (
	"net/http"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// trust is one delegation: the trustee may act with the trustor's roles on one
// project. Role ids are those given, without implied ones.
type trust struct {
	id, trustor, trustee, projectID, redelegated string
	impersonation                                bool
	expires                                      time.Time
	remaining                                    *int64
	roles                                        []string
	redelegation                                 int64
}

const trustColumns = `id, trustor_user_id, trustee_user_id, COALESCE(project_id, ''), COALESCE(redelegated_trust_id, ''), impersonation, expires_at, remaining_uses, roles, redelegation_count`

func scanTrust(scan func(...any) error) (*trust, error) {
	var t trust
	var impersonation int64
	err := scan(&t.id, &t.trustor, &t.trustee, &t.projectID, &t.redelegated, &impersonation,
		store.Time(&t.expires), &t.remaining, store.JSON(&t.roles), &t.redelegation)
	t.impersonation = impersonation != 0
	return &t, store.Wrap(err)
}

// trust returns a trust that is neither deleted nor expired.
func (s *Service) trust(tx *store.Tx, id string) (*trust, error) {
	t, err := scanTrust(tx.QueryRow(`SELECT `+trustColumns+` FROM identity_trusts WHERE id = ? AND deleted_at = 0`, id).Scan)
	if isNotFound(err) || err == nil && !t.expires.IsZero() && !t.expires.After(s.now()) {
		return nil, api.NotFound("Could not find trust: %s.", id).Wrap(err)
	}
	return t, err
}

func (s *Service) showTrust(tx *store.Tx, t *trust, withRoles bool) (document, error) {
	var project, parent any
	if t.projectID != "" {
		project = t.projectID
	}
	if t.redelegated != "" {
		parent = t.redelegated
	}
	doc := document{
		"id": t.id, "trustor_user_id": t.trustor, "trustee_user_id": t.trustee, "project_id": project,
		"impersonation": t.impersonation, "expires_at": isoTime(t.expires), "deleted_at": nil,
		"remaining_uses": t.remaining, "redelegated_trust_id": parent, "redelegation_count": t.redelegation,
		"links": document{"self": s.base + "/OS-TRUST/trusts/" + t.id},
	}
	if !withRoles {
		return doc, nil
	}
	roles := []document{}
	for _, id := range t.roles {
		ref, err := s.roleRef(tx, id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		roles = append(roles, ref)
	}
	doc["roles"] = roles
	doc["roles_links"] = document{"self": s.base + "/OS-TRUST/trusts/" + t.id + "/roles", "next": nil, "previous": nil}
	return doc, nil
}

type trustRequest struct {
	Trust struct {
		Trustor           string     `json:"trustor_user_id"`
		Trustee           string     `json:"trustee_user_id"`
		ProjectID         string     `json:"project_id"`
		Impersonation     *bool      `json:"impersonation"`
		ExpiresAt         *string    `json:"expires_at"`
		RemainingUses     *int64     `json:"remaining_uses"`
		AllowRedelegation bool       `json:"allow_redelegation"`
		RedelegationCount *int64     `json:"redelegation_count"`
		Roles             []nameOrID `json:"roles"`
	} `json:"trust"`
}

type nameOrID struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// maxRedelegation is how often a trust may be passed on.
const maxRedelegation = 3

// createTrust answers POST /v3/OS-TRUST/trusts. Only the trustor may make one.
//
// A caller who acts by a trust may make another only if that trust allows
// redelegation, or for the same trustee: then nobody gains anything, and a
// workflow that acts for a user can start a stack that goes on acting for it.
func (s *Service) createTrust(w http.ResponseWriter, r *http.Request) error {
	var req trustRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	c, in := caller(r), &req.Trust
	if c.Restricted || c.AccessRules != nil {
		return api.Forbidden("a restricted application credential may not create trusts")
	}
	if in.Impersonation == nil {
		return api.Invalid("trust.impersonation is required")
	}
	expires, err := parseExpiry("trust.expires_at", in.ExpiresAt, s.now())
	if err != nil {
		return err
	}
	if in.RemainingUses != nil && *in.RemainingUses < 1 {
		return api.Invalid("trust.remaining_uses is %d, expected a positive number or null", *in.RemainingUses)
	}
	t := &trust{
		id: newID(), trustor: in.Trustor, trustee: in.Trustee, projectID: in.ProjectID,
		impersonation: *in.Impersonation, expires: expires, remaining: in.RemainingUses,
	}
	if in.AllowRedelegation {
		t.redelegation = maxRedelegation
		if n := in.RedelegationCount; n != nil {
			t.redelegation = max(0, min(*n, maxRedelegation))
		}
	}
	var doc document
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := s.checkTrust(tx, c, t, in.Roles); err != nil {
			return err
		}
		impersonation := int64(0)
		if t.impersonation {
			impersonation = 1
		}
		_, err := tx.Exec(`INSERT INTO identity_trusts (id, trustor_user_id, trustee_user_id, project_id, redelegated_trust_id,
			impersonation, expires_at, remaining_uses, roles, redelegation_count, deleted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
			t.id, t.trustor, t.trustee, t.projectID, t.redelegated, impersonation, store.At(t.expires), t.remaining, store.JSON(t.roles), t.redelegation)
		if err != nil {
			return err
		}
		doc, err = s.showTrust(tx, t, true)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, document{"trust": doc})
}

func (s *Service) checkTrust(tx *store.Tx, c *auth.Identity, t *trust, roles []nameOrID) error {
	if _, err := s.entities.users.get(tx, t.trustee); err != nil {
		return err
	}
	if len(roles) == 0 {
		return api.Forbidden("a trust delegates at least one role: trust.roles is empty")
	}
	if t.projectID == "" {
		return api.Invalid("trust.project_id is required: the roles are held on a project")
	}
	held, err := s.effectiveRoles(tx, t.trustor, "project", t.projectID)
	if err != nil {
		return err
	}
	for _, want := range roles {
		i := slices.IndexFunc(held, func(h role) bool {
			return want.ID != "" && h.ID == want.ID || want.ID == "" && h.Name == want.Name
		})
		if i < 0 {
			return api.Forbidden("the trustor does not have role %q on project %s", want.ID+want.Name, t.projectID)
		}
		t.roles = append(t.roles, held[i].ID)
	}
	if c.TrustID == "" {
		return nil
	}
	parent, err := s.trust(tx, c.TrustID)
	if err != nil {
		return err
	}
	if parent.projectID != t.projectID {
		return api.Forbidden("a trust can only be passed on for its own project")
	}
	allowed, err := s.expandRoles(tx, parent.roles)
	if err != nil {
		return err
	}
	for _, id := range t.roles {
		if !slices.ContainsFunc(allowed, func(a role) bool { return a.ID == id }) {
			return api.Forbidden("the trust acted by does not hold role %s", id)
		}
	}
	if !parent.expires.IsZero() && (t.expires.IsZero() || t.expires.After(parent.expires)) {
		t.expires = parent.expires
	}
	if parent.trustee == t.trustee {
		t.redelegation = min(t.redelegation, parent.redelegation)
		return nil
	}
	if parent.redelegation < 1 {
		return api.Forbidden("the trust acted by does not allow redelegation")
	}
	t.redelegated, t.redelegation = parent.id, min(t.redelegation, parent.redelegation-1)
	return nil
}

func parseExpiry(name string, v *string, now time.Time) (time.Time, error) {
	if v == nil || *v == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999"} {
		if at, err := time.Parse(layout, *v); err == nil {
			if !at.After(now) {
				return time.Time{}, api.Invalid("%s is %s, which is past", name, *v)
			}
			return at.UTC(), nil
		}
	}
	return time.Time{}, api.Invalid("%s is %q, expected an ISO 8601 time such as 2030-01-02T03:04:05.000000Z", name, *v)
}

// visibleTrust returns a trust that the caller is a party of.
func (s *Service) visibleTrust(tx *store.Tx, r *http.Request) (*trust, error) {
	t, err := s.trust(tx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (s *Service) getTrust(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		t, err := s.visibleTrust(tx, r)
		if err != nil {
			return err
		}
		doc, err = s.showTrust(tx, t, true)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"trust": doc})
}

func (s *Service) listTrusts(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	trustor, trustee := q.Get("trustor_user_id"), q.Get("trustee_user_id")
	docs := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			t, err := scanTrust(scan)
			if err != nil {
				return err
			}
			doc, err := s.showTrust(tx, t, false)
			docs = append(docs, doc)
			return err
		}, `SELECT `+trustColumns+` FROM identity_trusts WHERE deleted_at = 0 AND (expires_at = 0 OR expires_at > ?)
			AND (? = '' OR trustor_user_id = ?) AND (? = '' OR trustee_user_id = ?) ORDER BY id`,
			store.At(s.now()), trustor, trustor, trustee, trustee)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"trusts": docs, "links": s.listLinks(r)})
}

// deleteTrust ends a trust, those made from it, and their tokens.
func (s *Service) deleteTrust(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		t, err := s.trust(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		ids, err := stringsOf(tx, `WITH RECURSIVE down (id) AS (SELECT CAST(? AS TEXT)
			UNION SELECT t.id FROM identity_trusts t JOIN down ON t.redelegated_trust_id = down.id) SELECT id FROM down`, t.id)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := tx.Exec(`DELETE FROM identity_trusts WHERE id = ?`, id); err != nil {
				return err
			}
			if err := s.revoke(tx, "trust", id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) trustRoles(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		t, err := s.visibleTrust(tx, r)
		if err != nil {
			return err
		}
		doc, err = s.showTrust(tx, t, true)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"roles": doc["roles"], "links": s.listLinks(r)})
}

func (s *Service) trustRole(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		t, err := s.visibleTrust(tx, r)
		if err != nil {
			return err
		}
		if !slices.Contains(t.roles, r.PathValue("role")) {
			return api.NotFound("Could not find role: %s.", r.PathValue("role"))
		}
		doc, err = s.roleRef(tx, r.PathValue("role"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"role": doc})
}
