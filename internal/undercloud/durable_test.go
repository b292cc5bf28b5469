package undercloud

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswersWaitForTheDisk(t *testing.T) {
	for _, tc := range []struct {
		reason, method string
		answer         func(w http.ResponseWriter)
		syncs          int
		fails          bool
		status         int
	}{
		{"a read waits for nothing", "GET", func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, 0, false, 200},
		{"a change", "POST", func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = w.Write([]byte("id-1")) }, 1, false, 201},
		{"a change that writes no status", "PUT", func(w http.ResponseWriter) { _, _ = w.Write([]byte("id-1")) }, 1, false, 200},
		{"a change that writes nothing", "DELETE", func(http.ResponseWriter) {}, 1, false, 200},
		{"a refusal changed nothing", "POST", func(w http.ResponseWriter) { w.WriteHeader(http.StatusConflict) }, 0, false, 409},
		{"a disk that fails", "POST", func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = w.Write([]byte("id-1")) }, 1, true, 500},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := httptest.NewRecorder()
			syncs := 0
			h := durable(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tc.answer(w) }), func(context.Context) error {
				if w.Body.Len() > 0 {
					t.Error("bytes left before the change was on the disk")
				}
				syncs++
				if tc.fails {
					return errors.New("disk")
				}
				return nil
			})
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, "/", nil))
			if w.Code != tc.status || syncs != tc.syncs || tc.fails && strings.Contains(w.Body.String(), "id-1") {
				t.Errorf("status %d %q after %d flushes, expected %d after %d", w.Code, w.Body, syncs, tc.status, tc.syncs)
			}
		})
	}
}
