package qemu

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMedia: what is put into the drive of a machine that is off is what its next QEMU gets.
func TestMedia(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a.iso" && r.URL.Path != "/b.iso" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(r.URL.Path))
	}))
	defer srv.Close()
	m := &Machine{cfg: Config{Dir: t.TempDir(), Fetch: srv.Client()}, log: slog.New(slog.DiscardHandler)}
	for _, name := range []string{"/a.iso", "/b.iso"} {
		if err := m.InsertMedia(t.Context(), srv.URL+name); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(m.cfg.Dir, m.iso))
		if err != nil || string(got) != name || m.Media() != srv.URL+name {
			t.Errorf("in the drive is %q of %s, %v; want %s", got, m.Media(), err, name)
		}
	}
	if err := m.InsertMedia(t.Context(), srv.URL+"/c.iso"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an image that is not there: %v", err)
	}
	if m.Media() != srv.URL+"/b.iso" {
		t.Errorf("in the drive is %q, want the image of before", m.Media())
	}
	for range 2 {
		if err := m.EjectMedia(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(m.cfg.Dir)
	if err != nil || len(left) > 0 || m.Media() != "" {
		t.Errorf("after ejection: %v in the folder, %q in the drive, %v", left, m.Media(), err)
	}
}
