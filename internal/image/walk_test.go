package image

import (
	"net/http"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
)

// TestRoutePolicies walks the contents page: only versions are public, and
// what changes an image needs more than a reader.
func TestRoutePolicies(t *testing.T) {
	for _, r := range (&Service{}).routes() {
		public := r.Pattern == "/{$}" || r.Pattern == "/versions"
		if (r.Policy == api.Public) != public {
			t.Errorf("%s %s has policy %d", r.Method, r.Pattern, r.Policy)
		}
		if r.Method != http.MethodGet && r.Policy != api.Member && r.Policy != api.Admin {
			t.Errorf("%s %s changes something but has policy %d", r.Method, r.Pattern, r.Policy)
		}
	}
}
