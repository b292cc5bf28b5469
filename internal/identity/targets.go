package identity

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/store"
)

// targeter says what a request is about, for the rules.
type targeter = func(r *http.Request) (policy.Target, error)

// describe adds a document's attributes to a target as target.KIND.NAME.
func describe(t policy.Target, kind string, doc document) {
	for k, v := range doc {
		switch v := v.(type) {
		case string:
			t["target."+kind+"."+k] = v
		case bool:
			t["target."+kind+"."+k] = map[bool]string{true: "True", false: "False"}[v]
		case nil:
			t["target."+kind+"."+k] = "None"
		}
	}
}

// about is the document named by a value of the path; without one that exists
// only its id is known.
func (s *Service) about(e *entity, param string) targeter {
	return func(r *http.Request) (policy.Target, error) {
		t := policy.Target{"target." + e.kind() + ".id": r.PathValue(param)}
		doc, err := s.viewDoc(r, e, r.PathValue(param))
		if err == nil {
			describe(t, e.kind(), doc)
		}
		return t, err
	}
}

// found is a target without which there is nothing to ask about.
func found(about targeter) targeter {
	return func(r *http.Request) (policy.Target, error) {
		t, err := about(r)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
}

// both joins two targets; what is missing of one does not hide the other.
func both(a, b targeter) targeter {
	return func(r *http.Request) (policy.Target, error) {
		t, err := a(r)
		if err != nil && !isMissing(err) {
			return nil, err
		}
		u, err2 := b(r)
		if err2 != nil && !isMissing(err2) {
			return nil, err2
		}
		for k, v := range u {
			t[k] = v
		}
		return t, nil
	}
}

func isMissing(err error) bool {
	var e *api.Error
	return isNotFound(err) || asAPI(err, &e) && e.Kind == api.KindNotFound
}

// pathUser is the user whose own resources a path is about.
func pathUser(r *http.Request) (policy.Target, error) {
	return policy.Target{"target.user.id": r.PathValue("user")}, nil
}

// aboutAppCred is the user of a path and, if the application credential is
// another's, that one: a path with one's own id opens nothing.
func (s *Service) aboutAppCred(r *http.Request) (policy.Target, error) {
	t, err := pathUser(r)
	if err != nil {
		return nil, err
	}
	err = s.db.View(r.Context(), func(tx *store.Tx) error {
		c, err := s.appCred(tx, r.PathValue("id"))
		if err == nil {
			t["target.user.id"] = c.userID
		}
		return err
	})
	if err != nil && !isMissing(err) {
		return nil, err
	}
	return t, nil
}

// aboutEC2 is the user whose EC2 credential a path names. What is not there is
// openly missing, as in Keystone: access keys cannot be guessed.
func (s *Service) aboutEC2(r *http.Request) (policy.Target, error) {
	t := policy.Target{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		doc, err := s.ec2Credential(tx, r)
		t["target.user.id"] = str(doc["user_id"])
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ownDomain is a list without further target: who is scoped to a domain asks
// for what is in it.
func ownDomain(r *http.Request) (policy.Target, error) {
	if d := caller(r).DomainID; d != "" {
		return policy.Target{"target.domain_id": d}, nil
	}
	return policy.Target{}, nil
}

// body reads the request's body, which the handler will read again.
func body(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read request body: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil // the handler says what is missing
	}
	return api.DecodeJSON(data, v)
}

// fromBody is the document a request wants to create.
func (e *entity) fromBody(r *http.Request) (policy.Target, error) {
	t := policy.Target{}
	var in map[string]json.RawMessage
	if err := body(r, &in); err != nil {
		return nil, err
	}
	var doc document
	if json.Unmarshal(in[e.singular], &doc) == nil {
		describe(t, e.kind(), doc)
	}
	if key := "target." + e.kind() + ".domain_id"; e.inDomain && (t[key] == "" || t[key] == "None") {
		t[key] = homeDomain(r)
	}
	if e.kind() == "project" && t["target.project.parent_id"] != "" {
		if up, err := e.s.viewDoc(r, e, t["target.project.parent_id"]); err == nil {
			t["target.project.domain_id"] = str(up["domain_id"])
		}
	}
	return t, nil
}

// aboutGrant is the actor, the role and the scope of an assignment.
func (s *Service) aboutGrant(actorType, targetType string) targeter {
	return func(r *http.Request) (policy.Target, error) {
		t := policy.Target{}
		err := s.db.View(r.Context(), func(tx *store.Tx) error {
			actor, err := map[string]*entity{"user": s.entities.users, "group": s.entities.groups}[actorType].get(tx, r.PathValue("actor"))
			if err == nil {
				t["target.actor.domain_id"] = str(actor["domain_id"])
				describe(t, actorType, actor)
			} else if !isMissing(err) {
				return err
			}
			switch targetType {
			case "domain":
				if _, err := s.entities.domains.get(tx, r.PathValue("target")); err == nil {
					t["target.scope.domain_id"] = r.PathValue("target")
				}
			case "project":
				if project, err := s.entities.projects.get(tx, r.PathValue("target")); err == nil {
					t["target.scope.domain_id"] = str(project["domain_id"])
				}
			}
			if id := r.PathValue("role"); id != "" {
				if role, err := s.entities.roles.get(tx, id); err == nil {
					describe(t, "role", role)
				}
			}
			return nil
		})
		return t, err
	}
}

// aboutToken is the token in X-Subject-Token, valid or not.
func (s *Service) aboutToken(r *http.Request) (policy.Target, error) {
	id, err := s.tokens.Parse(r.Header.Get("X-Subject-Token"))
	if err != nil {
		return policy.Target{}, nil //nolint:nilerr // who may ask about any token is told so by the handler
	}
	return policy.Target{"target.token.user_id": id.UserID}, nil
}

// aboutTrust is a trust by its id, the one to be made, or those asked for.
func (s *Service) aboutTrust(r *http.Request) (policy.Target, error) {
	t := policy.Target{}
	switch {
	case r.PathValue("id") != "":
		err := s.db.View(r.Context(), func(tx *store.Tx) error {
			found, err := s.trust(tx, r.PathValue("id"))
			if err == nil {
				t["target.trust.trustor_user_id"], t["target.trust.trustee_user_id"] = found.trustor, found.trustee
			}
			return err
		})
		if err != nil {
			return nil, err // ids of trusts cannot be guessed: who knows one may hear that it is gone
		}
		return t, nil
	case r.Method == http.MethodPost:
		var in trustRequest
		if err := body(r, &in); err != nil {
			return nil, err
		}
		t["target.trust.trustor_user_id"] = in.Trust.Trustor
		return t, nil
	}
	for _, p := range []string{"trustor_user_id", "trustee_user_id"} {
		if v := r.URL.Query().Get(p); v != "" {
			t["target.trust."+p] = v
		}
	}
	return t, nil
}

// aboutAssignments is the user or the project whose assignments are asked for.
func (s *Service) aboutAssignments(r *http.Request) (policy.Target, error) {
	t, err := ownDomain(r)
	q := r.URL.Query()
	if u := q.Get("user.id"); u != "" {
		t["target.user.id"] = u
	}
	if p := q.Get("scope.project.id"); p != "" && q.Has("include_subtree") {
		t["target.project.id"] = p
		if project, err := s.viewDoc(r, s.entities.projects, p); err == nil {
			t["target.domain_id"] = str(project["domain_id"])
		} else if isMissing(err) {
			delete(t, "target.domain_id")
		} else {
			return nil, err
		}
	}
	return t, err
}
