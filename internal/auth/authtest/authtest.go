// Package authtest stands in for the identity service in tests of one other
// service: a fixed set of tokens.
package authtest

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/auth"
)

// Validator accepts the tokens that are its keys.
type Validator map[string]*auth.Identity

// Validate implements auth.Validator.
func (v Validator) Validate(_ context.Context, token string) (*auth.Identity, error) {
	if id, ok := v[token]; ok {
		return id, nil
	}
	return nil, auth.ErrInvalidToken
}

// Default has the tokens "admin" (project "p-admin", all roles), "member" and
// "reader" (project "p-user") and "other" (a member of project "p-other").
func Default() Validator {
	id := func(token, project string, roles ...string) *auth.Identity {
		return &auth.Identity{
			UserID: "u-" + token, UserName: token, UserDomainID: "default", UserDomainName: "Default",
			ProjectID: project, ProjectName: project, ProjectDomainID: "default", ProjectDomainName: "Default",
			Roles: roles, Token: token,
		}
	}
	return Validator{
		"admin":  id("admin", "p-admin", "admin", "member", "reader"),
		"member": id("member", "p-user", "member", "reader"),
		"reader": id("reader", "p-user", "reader"),
		"other":  id("other", "p-other", "member", "reader"),
	}
}

// Client returns a gophercloud client of the service at endpoint (which ends
// in "/") with one of the validator's tokens.
func Client(endpoint, serviceType, token string) *gophercloud.ServiceClient {
	p := &gophercloud.ProviderClient{}
	p.SetToken(token)
	return &gophercloud.ServiceClient{ProviderClient: p, Endpoint: endpoint, ResourceBase: endpoint, Type: serviceType}
}
