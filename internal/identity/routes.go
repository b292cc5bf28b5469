package identity

import (
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

const (
	get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete // GET answers HEAD too
)

// on is a route that the rules decide on.
func on(method, pattern, action string, target targeter, handler func(http.ResponseWriter, *http.Request) error) api.Route {
	return api.Route{Method: method, Pattern: "/v3" + pattern, Action: "identity:" + action, Target: target, Handler: handler}
}

// routes is the contents page.
func (s *Service) routes() []api.Route {
	routes := []api.Route{
		{Method: get, Pattern: "/{$}", Policy: api.Public, Handler: s.getVersions},
		{Method: get, Pattern: "/v3", Policy: api.Public, Handler: s.getVersion},
		{Method: get, Pattern: "/v3/{$}", Policy: api.Public, Handler: s.getVersion},

		// What everybody may ask about themselves.
		{Method: post, Pattern: "/v3/auth/tokens", Policy: api.Public, Handler: s.createToken},
		{Method: get, Pattern: "/v3/auth/catalog", Policy: api.Authenticated, Handler: s.getCatalog},
		{Method: get, Pattern: "/v3/auth/projects", Policy: api.Authenticated, Handler: s.authProjects},
		{Method: get, Pattern: "/v3/auth/domains", Policy: api.Authenticated, Handler: s.authDomains},
		{Method: get, Pattern: "/v3/auth/system", Policy: api.Authenticated, Handler: s.authSystem},
		{Method: post, Pattern: "/v3/users/{id}/password", Policy: api.Public, Handler: s.changePassword},

		on(get, "/auth/tokens", "validate_token", s.aboutToken, s.getToken),
		on(del, "/auth/tokens", "revoke_token", s.aboutToken, s.deleteToken),
		on(post, "/ec2tokens", "ec2_validate", nil, s.ec2Tokens),
		on(post, "/s3tokens", "s3_validate", nil, s.s3Tokens),

		// A region may be put under an id of the client's choice.
		on(put, "/regions/{id}", "create_region", nil, s.putRegion),

		{Method: post, Pattern: "/v3/OS-OAUTH1/request_token", Policy: api.Public, Handler: s.createRequestToken},
		{Method: post, Pattern: "/v3/OS-OAUTH1/access_token", Policy: api.Public, Handler: s.createAccessToken},
		on(put, "/OS-OAUTH1/authorize/{id}", "authorize_request_token", nil, s.authorizeRequestToken),
		on(get, "/OS-TRUST/trusts", "list_trusts", s.aboutTrust, s.listTrusts),
		on(get, "/OS-TRUST/trusts/{$}", "list_trusts", s.aboutTrust, s.listTrusts),
		on(post, "/OS-TRUST/trusts", "create_trust", s.aboutTrust, notByOAuth(s.createTrust)),
		on(get, "/OS-TRUST/trusts/{id}", "get_trust", s.aboutTrust, s.getTrust),
		on(del, "/OS-TRUST/trusts/{id}", "delete_trust", s.aboutTrust, s.deleteTrust),
		on(get, "/OS-TRUST/trusts/{id}/roles", "get_trust", s.aboutTrust, s.trustRoles),
		on(get, "/OS-TRUST/trusts/{id}/roles/{role}", "get_trust", s.aboutTrust, s.trustRole),

		on(get, "/role_assignments", "list_role_assignments", s.aboutAssignments, s.listAssignments),
		on(get, "/role_inferences", "list_role_inference_rules", nil, s.inferences),
		on(get, "/roles/{id}/implies", "list_implied_roles", nil, s.inferences),
		on(get, "/roles/{id}/implies/{implied}", "get_implied_role", nil, s.implication),
		on(put, "/roles/{id}/implies/{implied}", "create_implied_role", nil, s.implication),
		on(del, "/roles/{id}/implies/{implied}", "delete_implied_role", nil, s.implication),
	}
	routes = append(routes, s.userRoutes()...)
	routes = append(routes, s.projectRoutes()...)
	routes = append(routes, s.domainConfigRoutes()...)
	routes = append(routes, s.catalogRoutes()...)
	routes = append(routes, s.limitRoutes()...)
	for _, k := range s.entities.all() {
		routes = append(routes, k.routes()...)
	}
	return append(routes, s.assignmentRoutes()...)
}

// routes are the five of a kind of resource.
func (e *entity) routes() []api.Route {
	all, one := "/"+e.collection(), "/"+e.collection()+"/{id}"
	createMethod, createAt := post, all
	if e.putID {
		createMethod, createAt = put, one
	}
	var list targeter
	if e.inDomain {
		list = ownDomain
	}
	about := func(verb string) targeter {
		if slices.Contains(e.openlyMissing, verb) {
			return found(e.s.about(e, "id"))
		}
		return e.s.about(e, "id")
	}
	create, listAll, show, update, remove := e.handleCreate, e.handleList, e.handleGet, e.handleUpdate, e.handleDelete
	if e == e.s.entities.projects {
		create, listAll, show = e.s.createProject, e.s.listProjects, e.s.getProject
		update, remove = e.s.domainToo(update), e.s.domainToo(remove)
	}
	if e == e.s.entities.credentials {
		create, update = notByOAuth(create), notDelegated(update)
	}
	return []api.Route{
		on(createMethod, createAt, "create_"+e.singular, e.fromBody, create),
		on(get, all, "list_"+e.plural, list, listAll),
		on(get, one, "get_"+e.singular, about("get"), show),
		on(patch, one, "update_"+e.singular, about("update"), update),
		on(del, one, "delete_"+e.singular, about("delete"), remove),
	}
}

func (s *Service) userRoutes() []api.Route {
	e := &s.entities
	user, group := s.about(e.users, "id"), s.about(e.groups, "id")
	member := both(group, s.about(e.users, "user"))
	const creds, rules, ec2 = "/users/{user}/application_credentials", "/users/{user}/access_rules", "/users/{user}/credentials/OS-EC2"
	return []api.Route{
		on(get, "/users/{id}/projects", "list_user_projects", user, s.userProjects),
		on(get, "/users/{id}/groups", "list_groups_for_user", user, s.userGroups),
		on(get, "/users/{id}/OS-OAUTH1/access_tokens", "list_access_tokens", user, s.listAccessTokens),
		on(get, "/users/{id}/OS-OAUTH1/access_tokens/{token}", "get_access_token", user, s.getAccessToken),
		on(del, "/users/{id}/OS-OAUTH1/access_tokens/{token}", "delete_access_token", user, s.deleteAccessToken),
		on(get, "/users/{id}/OS-OAUTH1/access_tokens/{token}/roles", "list_access_token_roles", user, s.accessTokenRoles),
		on(get, "/users/{id}/OS-OAUTH1/access_tokens/{token}/roles/{role}", "get_access_token_role", user, s.accessTokenRoles),
		on(get, "/groups/{id}/users", "list_users_in_group", group, s.groupUsers),
		on(put, "/groups/{id}/users/{user}", "add_user_to_group", member, s.groupMember),
		on(get, "/groups/{id}/users/{user}", "check_user_in_group", member, s.groupMember),
		on(del, "/groups/{id}/users/{user}", "remove_user_from_group", member, s.groupMember),

		on(post, creds, "create_application_credential", pathUser, notByOAuth(s.createAppCred)),
		on(get, creds, "list_application_credentials", pathUser, s.listAppCreds),
		on(get, creds+"/{id}", "get_application_credential", s.aboutAppCred, s.oneAppCred),
		on(del, creds+"/{id}", "delete_application_credential", s.aboutAppCred, s.oneAppCred),
		on(get, rules, "list_access_rules", pathUser, s.listAccessRules),
		on(get, rules+"/{id}", "get_access_rule", pathUser, s.oneAccessRule),
		on(del, rules+"/{id}", "delete_access_rule", pathUser, s.oneAccessRule),
		on(post, ec2, "ec2_create_credential", pathUser, notByOAuth(s.createEC2)),
		on(get, ec2, "ec2_list_credentials", pathUser, s.listEC2),
		on(get, ec2+"/{access}", "ec2_get_credential", s.aboutEC2, s.oneEC2),
		on(del, ec2+"/{access}", "ec2_delete_credential", s.aboutEC2, s.oneEC2),
	}
}

func (s *Service) projectRoutes() []api.Route {
	project := s.about(s.entities.projects, "id")
	const tags, tag = "/projects/{id}/tags", "/projects/{id}/tags/{tag}"
	return []api.Route{
		on(get, tags, "list_project_tags", project, s.projectTags),
		on(put, tags, "update_project_tags", project, s.projectTags),
		on(del, tags, "delete_project_tags", project, s.projectTags),
		on(get, tag, "get_project_tag", project, s.projectTag),
		on(put, tag, "update_project_tags", project, s.projectTag),
		on(del, tag, "delete_project_tags", project, s.projectTag),
	}
}

func (s *Service) domainConfigRoutes() []api.Route {
	const compliance = "get_security_compliance_domain_config"
	out := []api.Route{
		on(get, "/domains/{id}/config/security_compliance", compliance, nil, s.securityCompliance),
		on(get, "/domains/{id}/config/security_compliance/{option}", compliance, nil, s.securityCompliance),
		on(get, "/domains/config/default", "get_domain_config_default", nil, s.domainConfigDefault("")),
	}
	for group := range domainConfigDefaults() { // by name: a pattern for any group would clash with those of a domain
		out = append(out,
			on(get, "/domains/config/"+group+"/default", "get_domain_config_default", nil, s.domainConfigDefault(group)),
			on(get, "/domains/config/"+group+"/{option}/default", "get_domain_config_default", nil, s.domainConfigDefault(group)),
		)
	}
	for _, suffix := range []string{"", "/{group}", "/{group}/{option}"} {
		out = append(out,
			on(get, "/domains/{id}/config"+suffix, "get_domain_config", nil, s.domainConfig),
			on(patch, "/domains/{id}/config"+suffix, "update_domain_config", nil, s.domainConfig),
			on(del, "/domains/{id}/config"+suffix, "delete_domain_config", nil, s.domainConfig),
			on(put, "/domains/{id}/config"+suffix, "create_domain_config", nil, s.domainConfig),
		)
	}
	return out
}

func (s *Service) catalogRoutes() []api.Route {
	const filter, groups = "/OS-EP-FILTER", "/OS-EP-FILTER/endpoint_groups/{id}"
	endpoint, group := endpointLink(), groupLink()
	out := []api.Route{
		on(get, filter+"/projects/{project}/endpoints", "list_project_endpoints", nil, endpoint.of(s)),
		on(get, filter+"/endpoints/{id}/projects", "list_project_endpoints", nil, endpoint.projects(s)),
		on(get, filter+"/projects/{project}/endpoint_groups", "list_endpoint_groups", nil, group.of(s)),
		on(get, groups+"/projects", "list_endpoint_groups", nil, group.projects(s)),
		on(get, groups+"/endpoints", "list_endpoint_groups", nil, s.groupEndpoints),
		on(get, "/endpoints/{id}/OS-ENDPOINT-POLICY/policy", "get_policy_association", nil, s.endpointPolicy),
		on(get, "/policies/{id}/OS-ENDPOINT-POLICY/endpoints", "list_policy_associations", nil, s.policyEndpoints),
	}
	for _, verb := range [][2]string{{put, "create"}, {get, "get"}, {del, "delete"}} {
		out = append(out,
			on(verb[0], filter+"/projects/{project}/endpoints/{id}", verb[1]+"_project_endpoint", nil, endpoint.handle(s)),
			on(verb[0], groups+"/projects/{project}", verb[1]+"_endpoint_group", nil, group.handle(s)),
		)
		for _, what := range []string{"endpoints/{endpoint}", "services/{service}", "services/{service}/regions/{region}"} {
			out = append(out, on(verb[0], "/policies/{id}/OS-ENDPOINT-POLICY/"+what, verb[1]+"_policy_association", nil, s.policyAssociation))
		}
	}
	const protocols = "/OS-FEDERATION/identity_providers/{id}/protocols"
	return append(out,
		on(get, protocols, "list_protocols", nil, s.listProtocols),
		on(put, protocols+"/{protocol}", "create_protocol", nil, s.protocolHandler),
		on(get, protocols+"/{protocol}", "get_protocol", nil, s.protocolHandler),
		on(patch, protocols+"/{protocol}", "update_protocol", nil, s.protocolHandler),
		on(del, protocols+"/{protocol}", "delete_protocol", nil, s.protocolHandler),
	)
}

func (s *Service) limitRoutes() []api.Route {
	registered, limits := s.entities.registeredLimits, s.entities.limits
	return []api.Route{
		on(post, "/registered_limits", "create_registered_limit", nil, registered.createLimits),
		on(get, "/registered_limits", "list_registered_limits", nil, registered.handleList),
		on(get, "/registered_limits/{id}", "get_registered_limit", nil, registered.handleGet),
		on(patch, "/registered_limits/{id}", "update_registered_limit", nil, registered.handleUpdate),
		on(del, "/registered_limits/{id}", "delete_registered_limit", nil, registered.handleDelete),
		on(get, "/limits/model", "get_limit_model", nil, s.limitModel),
		on(post, "/limits", "create_limit", nil, limits.createLimits),
		on(get, "/limits", "list_limits", nil, s.listLimits),
		on(get, "/limits/{id}", "get_limit", s.aboutLimit, limits.handleGet),
		on(patch, "/limits/{id}", "update_limit", nil, limits.handleUpdate),
		on(del, "/limits/{id}", "delete_limit", nil, limits.handleDelete),
	}
}
