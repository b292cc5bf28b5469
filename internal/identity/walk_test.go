package identity

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
)

// TestRoutePolicies walks the contents page: only what must answer without a
// token is public, and whatever changes the cloud needs admin unless it is a
// resource of the caller's own.
func TestRoutePolicies(t *testing.T) {
	s := &Service{}
	s.entities = newEntities(s)
	public := map[string]string{
		"GET /{$}":                     "version discovery",
		"GET /v3":                      "version discovery",
		"GET /v3/{$}":                  "version discovery",
		"POST /v3/auth/tokens":         "where tokens come from",
		"POST /v3/users/{id}/password": "proved by the old password",
	}
	own := []string{"/v3/auth/", "/v3/OS-TRUST/", "/v3/users/{user}/application_credentials", "/v3/users/{user}/credentials/OS-EC2"}
	for _, r := range s.routes() {
		name := r.Method + " " + r.Pattern
		switch {
		case r.Policy == api.Public:
			if public[name] == "" {
				t.Errorf("%s is public without a reason", name)
			}
		case r.Policy == api.Admin || r.Method == http.MethodGet:
		case name == "POST /v3/ec2tokens" && r.Policy == api.Service: // changes nothing; a service proves a signature with it
		default:
			mine := false
			for _, p := range own {
				mine = mine || strings.HasPrefix(r.Pattern, p)
			}
			if !mine {
				t.Errorf("%s changes the cloud but does not need admin", name)
			}
		}
	}
}
