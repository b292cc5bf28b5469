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
	"slices"
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
	AuditID       string // unique for each token
	ParentAuditID string // audit id of the first token of a chain of rescoped tokens

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
