// Package auth knows who is calling: the identity that a token stands for, its
// way through a request's context, and the tokens themselves (JWS signed with
// ES256, as Keystone's "jws" provider makes them).
//
// The identity service issues tokens; every service validates them here,
// without a call and without a table, and asks Revoked for the few that were
// taken back before their time.
package auth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Identity is what a token says about its bearer. Exactly one of ProjectID,
// DomainID and System is set for a scoped token, none for an unscoped one.
type Identity struct {
	UserID, UserName, UserDomainID, UserDomainName string

	ProjectID, ProjectName, ProjectDomainID, ProjectDomainName string

	DomainID, DomainName string
	System               bool

	Roles         []string // names, implied roles included
	Methods       []string // "password", "token", "application_credential", …
	TrustID       string   // the trust the token was made from
	TrustorID     string   // who gave that trust
	AppCredID     string
	OAuthID       string       // the OAuth access token it was made with
	Restricted    bool         // made from an application credential that may not make or delete others, nor trusts
	AccessRules   []AccessRule // the only requests an application credential may make; nil: any
	AuditID       string       // unique for each token
	ParentAuditID string       // audit id of the first token of a chain of rescoped tokens

	Token     string // the token itself; never logged
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// HasRole says whether the identity has one of the roles.
func (i *Identity) HasRole(names ...string) bool {
	for _, n := range names {
		if slices.Contains(i.Roles, n) {
			return true
		}
	}
	return false
}

// IsAdmin says whether the identity has the role admin.
func (i *Identity) IsAdmin() bool { return i.HasRole("admin") }

// AccessRule allows requests to one service.
type AccessRule struct {
	Service string `json:"s"` // service type, e.g. "compute"
	Method  string `json:"m"`
	Path    string `json:"p"` // below the service's endpoint; * and {name} stand for one segment, ** for any number
}

// MayRequest says whether the access rules, if there are any, allow a request.
func (i *Identity) MayRequest(service, method, path string) bool {
	if i.AccessRules == nil {
		return true
	}
	return slices.ContainsFunc(i.AccessRules, func(r AccessRule) bool {
		sameMethod := r.Method == method || r.Method == http.MethodGet && method == http.MethodHead
		return sameMethod && sameService(r.Service, service) && matchPath(segments(r.Path), segments(path))
	})
}

// sameService knows the services that go by two types.
func sameService(rule, service string) bool {
	return rule == service || rule == "workflowv2" && service == "workflow" || rule == "workflow" && service == "workflowv2"
}

func segments(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

func matchPath(pattern, path []string) bool {
	for i, p := range pattern {
		if p == "**" {
			for n := i; n <= len(path); n++ {
				if matchPath(pattern[i+1:], path[n:]) {
					return true
				}
			}
			return false
		}
		if i >= len(path) {
			return false
		}
		wild := p == "*" || strings.HasPrefix(p, "{") && strings.HasSuffix(p, "}")
		if path[i] == ".." || !wild && p != path[i] {
			return false
		}
	}
	return len(pattern) == len(path)
}

// Validator turns a token into the identity behind it. The error is
// ErrInvalidToken for a token that is malformed, expired or revoked.
type Validator interface {
	Validate(ctx context.Context, token string) (*Identity, error)
}

type contextKey struct{}

// NewContext returns a context that carries id.
func NewContext(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the identity of the caller of the current request.
func FromContext(ctx context.Context) (*Identity, bool) {
	id, ok := ctx.Value(contextKey{}).(*Identity)
	return id, ok
}
