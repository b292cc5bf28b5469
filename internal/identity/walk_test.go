package identity

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/policy"
)

func newTestService(t *testing.T) *Service {
	t.Helper()
	s := &Service{}
	s.entities = newEntities(s)
	var err error
	if s.rules, err = newRules("", nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRoutePolicies walks the contents page: only what must answer without a
// token is public, only what is about the caller itself is left to any token,
// and everything else has an action that the rules decide on.
func TestRoutePolicies(t *testing.T) {
	s := newTestService(t)
	open := map[string]string{
		"GET /{$}":                     "version discovery",
		"GET /v3":                      "version discovery",
		"GET /v3/{$}":                  "version discovery",
		"POST /v3/auth/tokens":         "where tokens come from",
		"POST /v3/users/{id}/password": "proved by the old password",
		"GET /v3/auth/catalog":         "the caller's own",

		"POST /v3/OS-OAUTH1/request_token": "proved by the consumer's signature",
		"POST /v3/OS-OAUTH1/access_token":  "proved by the consumer's signature",
		"GET /v3/auth/projects":            "the caller's own",
		"GET /v3/auth/domains":             "the caller's own",
		"GET /v3/auth/system":              "the caller's own",
	}
	for _, r := range s.routes() {
		name := r.Method + " " + r.Pattern
		if r.Action == "" && open[name] == "" {
			t.Errorf("%s has no action for the rules", name)
		}
		if r.Action != "" && !s.rules.Has(r.Action) {
			t.Errorf("%s has action %s, for which there is no rule", name, r.Action)
		}
		if r.Policy == api.Public && !strings.HasPrefix(open[name], "version") && !strings.HasPrefix(r.Method, "POST") {
			t.Errorf("%s is public", name)
		}
	}
}

// TestRolesAgainstRoutes asks the rules of every route as each persona, about a
// thing of somebody else in another domain.
func TestRolesAgainstRoutes(t *testing.T) {
	s := newTestService(t)
	id := func(system bool, project, domain string, roles ...string) *auth.Identity {
		return &auth.Identity{UserID: "me", UserDomainID: "mine", System: system, ProjectID: project, ProjectDomainID: "mine", DomainID: domain, Roles: roles}
	}
	personas := map[string]*auth.Identity{
		"project reader": id(false, "p", "", "reader"), "project member": id(false, "p", "", "member", "reader"),
		"project manager": id(false, "p", "", "manager", "member", "reader"),
		"domain admin":    id(false, "", "d", "admin", "manager", "member", "reader"),
		"system reader":   id(true, "", "", "reader"), "service": id(false, "service", "", "service"),
	}
	theirs := policy.Target{
		"target.user.id": "them", "target.user.domain_id": "theirs", "target.group.domain_id": "theirs", "target.project.id": "theirs",
		"target.project.domain_id": "theirs", "target.domain.id": "theirs", "target.credential.user_id": "them", "target.trust.trustor_user_id": "them",
		"target.trust.trustee_user_id": "them", "target.token.user_id": "them", "target.limit.project_id": "theirs", "target.actor.domain_id": "theirs",
		"target.scope.domain_id": "theirs", "target.role.name": "member", "target.role.domain_id": "None",
	}
	everybodys := []string{"identity:get_region", "identity:list_regions", "identity:get_registered_limit", "identity:list_registered_limits",
		"identity:get_limit_model", "identity:list_limits", "identity:list_credentials", "identity:get_security_compliance_domain_config",
		"identity:authorize_request_token"} // one gives what one has oneself
	service := []string{"identity:ec2_validate", "identity:s3_validate", "identity:revoke_token"}
	for _, r := range s.routes() {
		if r.Action == "" {
			continue
		}
		verb, _, _ := strings.Cut(strings.TrimPrefix(r.Action, "identity:"), "_")
		reads := verb == "get" || verb == "list" || verb == "check" || verb == "validate" || strings.HasPrefix(r.Action, "identity:ec2_get") || strings.HasPrefix(r.Action, "identity:ec2_list")
		for name, who := range personas {
			want := contains(everybodys, r.Action) || reads && (name == "system reader" || name == "service") || name == "service" && contains(service, r.Action)
			if (r.Action == "identity:list_credentials" || r.Action == "identity:authorize_request_token") && name == "domain admin" {
				want = false // a token for a domain is not for secrets
			}
			if got := s.rules.Allows(r.Action, who, theirs); got != want {
				t.Errorf("%s %s (%s) as %s about somebody else's: allowed is %v, expected %v", r.Method, r.Pattern, r.Action, name, got, want)
			}
		}
	}
}

func contains(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}
