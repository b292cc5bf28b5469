package deployment

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackupPaths(t *testing.T) {
	got, err := backupPaths(input{mustMap(t, "{p: '/home/stack/, ,/etc/x/,/home/stack,/etc/x'}")}, "p", "/data")
	if err != nil || !slices.Equal(got, []string{"/data", "/etc/x"}) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := backupPaths(input{mustMap(t, "{p: ''}")}, "p", "/data"); err != nil || len(got) > 0 {
		t.Errorf("no path is %v, %v", got, err)
	}
	if _, err := backupPaths(input{mustMap(t, "{p: etc}")}, "p", "/data"); err == nil {
		t.Error("a relative path")
	}
}

// TestBackupLeavesOut: excluded folders and files below a source are not in the tarball.
func TestBackupLeavesOut(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a", "no/b", "no/deep/c", "yes/d", "yes/e"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w := &backupWriter{r: &run{ctx: t.Context()}, tar: tar.NewWriter(&out), excluded: []string{filepath.Join(dir, "no"), filepath.Join(dir, "yes/e")}}
	if err := errors.Join(w.add(dir, "", false), w.tar.Close()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, "/"+h.Name)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if want := []string{"a", "yes/d"}; !slices.Equal(names, want) {
		t.Error(cmp.Diff(want, names))
	}
}
