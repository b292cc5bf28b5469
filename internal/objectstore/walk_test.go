package objectstore

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestRoutesRefuseStrangers walks the contents page: every route but the two
// that tell nothing refuses who has no token, whose token is another
// project's, and, if it changes something, a reader.
func TestRoutesRefuseStrangers(t *testing.T) {
	tokens, err := auth.OpenTokens(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	db, bus := storetest.Open(t), notify.New()
	queue, err := jobs.New(db, bus, nil)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{DB: db, Bus: bus, Jobs: queue, Auth: tokens, Blob: blobs})
	if err != nil {
		t.Fatal(err)
	}
	token := func(project, role string) string {
		id := &auth.Identity{UserID: "u", ProjectID: project, Roles: []string{role}, AuditID: "a", IssuedAt: s.now(), ExpiresAt: s.now().AddDate(0, 0, 1)}
		if err := tokens.Issue(id); err != nil {
			t.Fatal(err)
		}
		return id.Token
	}
	names := map[string]string{"{account}": "AUTH_p", "{container}": "c", "{object}": "o"}
	for _, r := range s.routes() {
		if r.Pattern == "/info" || r.Pattern == "/healthcheck" {
			continue
		}
		path := r.Pattern
		for k, v := range names {
			path = strings.Replace(path, k, v, 1)
		}
		for _, tc := range []struct {
			reason, token string
			status        int
		}{
			{"no token", "", http.StatusUnauthorized},
			{"nonsense for a token", "x", http.StatusUnauthorized},
			{"another project's admin", token("q", "admin"), http.StatusForbidden},
			{"no role that counts", token("p", "heat_stack_user"), http.StatusForbidden},
			{"a reader", token("p", "reader"), http.StatusForbidden},
		} {
			if tc.reason == "a reader" && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == "COPY") {
				continue
			}
			for _, h := range map[string]http.Handler{"api": s.Handler(), "node": s.NodeHandler()} {
				req := httptest.NewRequestWithContext(t.Context(), r.Method, path, nil)
				if tc.token != "" {
					req.Header.Set("X-Auth-Token", tc.token)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				if w.Code != tc.status && w.Code != http.StatusUnauthorized {
					t.Errorf("%s %s with %s: status %d, expected %d", r.Method, path, tc.reason, w.Code, tc.status)
				}
			}
		}
	}
}
