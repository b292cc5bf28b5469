package identity

import (
	"maps"
	"strings"

	"github.com/tripleo/tripleo/internal/auth/policy"
)

// Who may do what. The names of the actions are Keystone's, and so is what they
// mean, with one decision: an admin of a project is admin of the cloud, as
// operators of an undercloud expect, while an admin of a domain is confined to
// its domain. A policy file can say otherwise, for instance
// cloud_admin: "role:admin and system_scope:all".
func baseRules() map[string]string {
	return map[string]string{
		"admin_required": "role:admin",
		"cloud_admin":    "role:admin and (system_scope:all or token_scope:project)",
		"cloud_reader":   "rule:cloud_admin or (role:reader and system_scope:all) or role:service",
		"anybody":        "",
		"owner":          "user_id:%(target.user.id)s",
		"domain_admin":   "role:admin or role:manager", // of the domain that the rest of a rule names
		"managed_role":   "'member':%(target.role.name)s or 'reader':%(target.role.name)s or 'manager':%(target.role.name)s",
		"role_here":      "domain_id:%(target.role.domain_id)s or 'None':%(target.role.domain_id)s",

		"not_domain":    "not token_scope:domain",
		"grant_checker": "rule:cloud_reader or (role:reader and rule:grant_here and rule:role_here)",
		"grant_reader":  "rule:cloud_reader or (role:reader and rule:grant_here)",
		"grant_admin":   "rule:cloud_admin or (rule:grant_here and rule:role_here and (role:admin or (role:manager and rule:managed_role)))",
		"grant_here":    "domain_id:%(target.actor.domain_id)s and domain_id:%(target.scope.domain_id)s",
	}
}

// crud gives the five actions of a kind of resource the same rules.
func crud(out map[string]string, singular, plural, read, write string) {
	out["identity:get_"+singular], out["identity:list_"+plural] = read, read
	for _, verb := range []string{"create", "update", "delete"} {
		out["identity:"+verb+"_"+singular] = write
	}
}

// rules is the whole of the defaults.
func rules() map[string]string {
	const (
		admin, reader, anybody = "rule:cloud_admin", "rule:cloud_reader", "rule:anybody"
		owner, ownerRead       = admin + " or rule:owner", reader + " or rule:owner"
	)
	out := baseRules()
	for _, kind := range [][2]string{
		{"domain", "domains"}, {"role", "roles"}, {"domain_role", "domain_roles"}, {"service", "services"}, {"endpoint", "endpoints"},
		{"policy", "policies"}, {"endpoint_group", "endpoint_groups"}, {"consumer", "consumers"}, {"domain_config", "domain_configs"},
		{"identity_provider", "identity_providers"}, {"mapping", "mappings"}, {"protocol", "protocols"}, {"service_provider", "service_providers"},
		{"implied_role", "implied_roles"}, {"policy_association", "policy_associations"}, {"project_endpoint", "project_endpoints"},
		{"limit", "limits"}, {"credential", "credentials"},
	} {
		crud(out, kind[0], kind[1], reader, admin)
	}
	crud(out, "region", "regions", anybody, admin)
	crud(out, "registered_limit", "registered_limits", anybody, admin)
	for _, kind := range [][2]string{{"user", "users"}, {"group", "groups"}, {"project", "projects"}} {
		here := "domain_id:%(target." + kind[0] + ".domain_id)s"
		crud(out, kind[0], kind[1], reader+" or (role:reader and "+here+")", admin+" or (rule:domain_admin and "+here+")")
		out["identity:list_"+kind[1]] = reader + " or (role:reader and domain_id:%(target.domain_id)s)"
	}
	readHere := func(kind string) string {
		return reader + " or (role:reader and domain_id:%(target." + kind + ".domain_id)s)"
	}
	adminHere := func(kind string) string {
		return admin + " or (rule:domain_admin and domain_id:%(target." + kind + ".domain_id)s)"
	}
	// A token for a domain is for managing it, not for secrets, its bearer's included.
	credential := " or (rule:not_domain and user_id:%(target.credential.user_id)s)"
	const ec2, ec2Read = admin + " or (rule:not_domain and rule:owner)", reader + " or (rule:not_domain and rule:owner)"
	trustee, trustor := " or user_id:%(target.trust.trustee_user_id)s", " or user_id:%(target.trust.trustor_user_id)s"
	maps.Copy(out, map[string]string{
		"identity:get_domain": reader + " or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s",
		"identity:get_user":   readHere("user") + " or rule:owner",

		"identity:list_user_projects":   readHere("user") + " or rule:owner",
		"identity:list_groups_for_user": readHere("user") + " or rule:owner",
		"identity:list_users_in_group":  readHere("group"),
		"identity:check_user_in_group":  reader + " or (role:reader and domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s)",
		"identity:add_user_to_group":    admin + " or (rule:domain_admin and domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s)",
		"identity:remove_user_from_group": admin +
			" or (rule:domain_admin and domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s)",

		"identity:get_project":         readHere("project") + " or project_id:%(target.project.id)s",
		"identity:list_project_tags":   readHere("project") + " or project_id:%(target.project.id)s",
		"identity:get_project_tag":     readHere("project") + " or project_id:%(target.project.id)s",
		"identity:update_project_tags": adminHere("project") + " or (role:admin and project_id:%(target.project.id)s)",
		"identity:delete_project_tags": adminHere("project") + " or (role:admin and project_id:%(target.project.id)s)",

		"identity:check_implied_role":        reader,
		"identity:list_role_inference_rules": reader,

		"identity:check_grant": "rule:grant_checker", "identity:list_grants": "rule:grant_reader",
		"identity:create_grant": "rule:grant_admin", "identity:revoke_grant": "rule:grant_admin",
		"identity:check_system_grant": reader, "identity:list_system_grants": reader,
		"identity:create_system_grant": admin, "identity:revoke_system_grant": admin,
		"identity:list_role_assignments": reader + " or (role:reader and domain_id:%(target.domain_id)s) or rule:owner" +
			" or (role:admin and project_id:%(target.project.id)s)",

		"identity:get_credential": reader + credential, "identity:list_credentials": reader + " or rule:not_domain", // each sees its own
		"identity:create_credential": admin + credential, "identity:update_credential": admin + credential, "identity:delete_credential": admin + credential,
		"identity:ec2_get_credential": ec2Read, "identity:ec2_list_credentials": ec2Read,
		"identity:ec2_create_credential": ec2, "identity:ec2_delete_credential": ec2,
		"identity:ec2_validate": admin + " or role:service", "identity:s3_validate": admin + " or role:service",

		"identity:get_access_rule": ownerRead, "identity:list_access_rules": ownerRead, "identity:delete_access_rule": owner,
		"identity:get_application_credential": ownerRead, "identity:list_application_credentials": ownerRead,
		"identity:create_application_credential": "rule:owner", "identity:delete_application_credential": owner,

		"identity:list_trusts":  reader + trustor + trustee,
		"identity:get_trust":    reader + trustor + trustee,
		"identity:create_trust": "user_id:%(target.trust.trustor_user_id)s",
		"identity:delete_trust": admin + trustor,

		"identity:validate_token": reader + " or user_id:%(target.token.user_id)s",
		"identity:revoke_token":   admin + " or role:service or user_id:%(target.token.user_id)s",

		"identity:get_limit": reader + " or domain_id:%(target.limit.domain_id)s or domain_id:%(target.limit.project.domain_id)s" +
			" or project_id:%(target.limit.project_id)s",
		"identity:list_limits":     anybody, // each sees its own
		"identity:get_limit_model": anybody,

		"identity:get_security_compliance_domain_config": anybody,
		"identity:get_domain_config_default":             reader,
	})
	oauthRules(out, owner, ownerRead)
	return out
}

// oauthRules are about what one gives of one's own.
func oauthRules(out map[string]string, owner, ownerRead string) {
	out["identity:authorize_request_token"], out["identity:delete_access_token"] = "rule:not_domain", owner
	for _, action := range []string{"list_access_tokens", "get_access_token", "list_access_token_roles", "get_access_token_role"} {
		out["identity:"+action] = ownerRead
	}
}

// newRules are the defaults with the operator's file over them.
func newRules(file string, data []byte) (*policy.Enforcer, error) {
	e, err := policy.New(rules())
	if err != nil || strings.TrimSpace(string(data)) == "" {
		return e, err
	}
	return e.Override(file, data)
}
