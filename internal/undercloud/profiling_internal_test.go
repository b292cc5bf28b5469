package undercloud

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestProfilingIsForThisMachineOnly: any address that another machine reaches is refused, and there are profiles.
func TestProfilingIsForThisMachineOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "192.0.2.1:6060", "localhost:6060", ":6060", "6060"} {
		if l, err := openProfiling(t.Context(), address); err == nil || !strings.Contains(err.Error(), "profiling") {
			t.Errorf("%s: %v, expected it to be refused", address, err)
			if l != nil {
				_ = l.Close()
			}
		}
	}
	l, err := openProfiling(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	rec := httptest.NewRecorder()
	profilingHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap?debug=1", nil))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "heap profile") {
		t.Errorf("%d %.100s", rec.Code, rec.Body)
	}
}
