package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

// routes is the contents page. Resources that belong to a user, and documents
// that their own user may read, are Authenticated here and checked against the
// caller in their handlers.
func (s *Service) routes() []api.Route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete // GET answers HEAD too
	)
	e := &s.entities
	routes := []api.Route{
		{Method: get, Pattern: "/{$}", Policy: api.Public, Handler: s.getVersions},
		{Method: get, Pattern: "/v3", Policy: api.Public, Handler: s.getVersion},
		{Method: get, Pattern: "/v3/{$}", Policy: api.Public, Handler: s.getVersion},

		{Method: post, Pattern: "/v3/auth/tokens", Policy: api.Public, Handler: s.createToken},
		{Method: get, Pattern: "/v3/auth/tokens", Policy: api.Authenticated, Handler: s.getToken},
		{Method: del, Pattern: "/v3/auth/tokens", Policy: api.Authenticated, Handler: s.deleteToken},
		{Method: get, Pattern: "/v3/auth/catalog", Policy: api.Authenticated, Handler: s.getCatalog},
		{Method: get, Pattern: "/v3/auth/projects", Policy: api.Authenticated, Handler: s.authProjects},
		{Method: get, Pattern: "/v3/auth/domains", Policy: api.Authenticated, Handler: s.authDomains},
		{Method: get, Pattern: "/v3/auth/system", Policy: api.Authenticated, Handler: s.authSystem},

		{Method: post, Pattern: "/v3/users/{id}/password", Policy: api.Public, Handler: s.changePassword},
		{Method: get, Pattern: "/v3/users/{id}/projects", Policy: api.Authenticated, Handler: s.userProjects},
		{Method: get, Pattern: "/v3/users/{id}/groups", Policy: api.Authenticated, Handler: s.userGroups},
		{Method: get, Pattern: "/v3/groups/{id}/users", Policy: api.Admin, Handler: s.groupUsers},
		{Method: put, Pattern: "/v3/groups/{id}/users/{user}", Policy: api.Admin, Handler: s.groupMember},
		{Method: get, Pattern: "/v3/groups/{id}/users/{user}", Policy: api.Admin, Handler: s.groupMember},
		{Method: del, Pattern: "/v3/groups/{id}/users/{user}", Policy: api.Admin, Handler: s.groupMember},

		{Method: get, Pattern: "/v3/role_assignments", Policy: api.Authenticated, Handler: s.listAssignments},
		{Method: get, Pattern: "/v3/role_inferences", Policy: api.Admin, Handler: s.inferences},
		{Method: get, Pattern: "/v3/roles/{id}/implies", Policy: api.Admin, Handler: s.inferences},
		{Method: get, Pattern: "/v3/roles/{id}/implies/{implied}", Policy: api.Admin, Handler: s.implication},
		{Method: put, Pattern: "/v3/roles/{id}/implies/{implied}", Policy: api.Admin, Handler: s.implication},
		{Method: del, Pattern: "/v3/roles/{id}/implies/{implied}", Policy: api.Admin, Handler: s.implication},

		{Method: post, Pattern: "/v3/OS-TRUST/trusts", Policy: api.Authenticated, Handler: s.createTrust},
		{Method: get, Pattern: "/v3/OS-TRUST/trusts", Policy: api.Authenticated, Handler: s.listTrusts},
		{Method: get, Pattern: "/v3/OS-TRUST/trusts/{id}", Policy: api.Authenticated, Handler: s.getTrust},
		{Method: del, Pattern: "/v3/OS-TRUST/trusts/{id}", Policy: api.Authenticated, Handler: s.deleteTrust},
		{Method: get, Pattern: "/v3/OS-TRUST/trusts/{id}/roles", Policy: api.Authenticated, Handler: s.trustRoles},
		{Method: get, Pattern: "/v3/OS-TRUST/trusts/{id}/roles/{role}", Policy: api.Authenticated, Handler: s.trustRole},

		{Method: post, Pattern: "/v3/users/{user}/application_credentials", Policy: api.Authenticated, Handler: s.createAppCred},
		{Method: get, Pattern: "/v3/users/{user}/application_credentials", Policy: api.Authenticated, Handler: s.listAppCreds},
		{Method: get, Pattern: "/v3/users/{user}/application_credentials/{id}", Policy: api.Authenticated, Handler: s.oneAppCred},
		{Method: del, Pattern: "/v3/users/{user}/application_credentials/{id}", Policy: api.Authenticated, Handler: s.oneAppCred},

		{Method: post, Pattern: "/v3/ec2tokens", Policy: api.Service, Handler: s.createEC2Token},
		{Method: post, Pattern: "/v3/users/{user}/credentials/OS-EC2", Policy: api.Authenticated, Handler: s.createEC2},
		{Method: get, Pattern: "/v3/users/{user}/credentials/OS-EC2", Policy: api.Authenticated, Handler: s.listEC2},
		{Method: get, Pattern: "/v3/users/{user}/credentials/OS-EC2/{access}", Policy: api.Authenticated, Handler: s.oneEC2},
		{Method: del, Pattern: "/v3/users/{user}/credentials/OS-EC2/{access}", Policy: api.Authenticated, Handler: s.oneEC2},

		// A region may be put under an id of the client's choice.
		{Method: put, Pattern: "/v3/regions/{id}", Policy: api.Admin, Handler: s.putRegion},
	}
	for _, k := range []*entity{e.domains, e.projects, e.users, e.groups, e.roles, e.regions, e.services, e.endpoints, e.credentials} {
		read, list := api.Admin, api.Admin
		if k.own != nil {
			read = api.Authenticated
		}
		if k == e.regions {
			list = api.Authenticated
		}
		all, one := "/v3/"+k.plural, "/v3/"+k.plural+"/{id}"
		routes = append(routes,
			api.Route{Method: post, Pattern: all, Policy: api.Admin, Handler: k.handleCreate},
			api.Route{Method: get, Pattern: all, Policy: list, Handler: k.handleList},
			api.Route{Method: get, Pattern: one, Policy: read, Handler: k.handleGet},
			api.Route{Method: patch, Pattern: one, Policy: api.Admin, Handler: k.handleUpdate},
			api.Route{Method: del, Pattern: one, Policy: api.Admin, Handler: k.handleDelete},
		)
	}
	return append(routes, s.assignmentRoutes()...)
}
