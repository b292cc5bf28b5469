package image

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
)

// TestRoutePolicies walks the contents page: only versions are public, every
// other route has an action, and what it takes is what the three roles have.
func TestRoutePolicies(t *testing.T) {
	enforcer, err := newRules("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range (&Service{}).routes() {
		name := r.Method + " " + r.Pattern
		if r.Pattern == "/{$}" || r.Pattern == "/versions" {
			continue
		}
		if r.Policy == api.Public || !enforcer.Has(r.Action) {
			t.Errorf("%s has action %q, for which there is no rule", name, r.Action)
		}
		vocabulary := strings.HasPrefix(r.Pattern, "/v2/metadefs/")
		data := strings.HasSuffix(r.Pattern, "/file")
		for role, want := range map[string]bool{
			"admin":  true,
			"member": r.Method == http.MethodGet || !vocabulary && r.Pattern != "/v2/tasks",
			"reader": r.Method == http.MethodGet && !data,
			"":       false,
		} {
			if got := enforcer.Allows(r.Action, &auth.Identity{Roles: []string{role}}, nil); got != want {
				t.Errorf("%s as %q: allowed is %v, expected %v", name, role, got, want)
			}
		}
	}
}

func TestPolicyFile(t *testing.T) {
	e, err := newRules("policy.yaml", []byte("deactivate: role:admin"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Allows("deactivate", &auth.Identity{Roles: []string{"member"}}, nil) {
		t.Error("the policy file has no effect")
	}
}
