package messaging

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/api"
)

// TestRoutePolicies walks both contents pages: what is public tells nothing,
// and what changes something needs more than a reader.
func TestRoutePolicies(t *testing.T) {
	for _, r := range (&Service{}).routes() {
		public := r.Pattern == "/{$}" || r.Pattern == "/v2" || r.Pattern == "/v2/{$}" || r.Pattern == "/v2/ping" || r.Pattern == "/v2/websocket"
		if (r.Policy == api.Public) != public {
			t.Errorf("%s %s has policy %d", r.Method, r.Pattern, r.Policy)
		}
		if r.Method != http.MethodGet && r.Policy != api.Member && r.Policy != api.StackMember && r.Policy != api.Admin {
			t.Errorf("%s %s changes something but has policy %d", r.Method, r.Pattern, r.Policy)
		}
	}
	for name, a := range actions() {
		harmless := strings.Contains(name, "_get") || strings.HasSuffix(name, "_list") || strings.HasPrefix(name, "subscription_")
		if a.read && !harmless {
			t.Errorf("action %s changes something but a reader may do it", name)
		}
	}
}
