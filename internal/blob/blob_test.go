package blob_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/blob"
)

func open(t *testing.T, dir string) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestPutGet(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "blobs"))
	ctx := t.Context()
	info, err := d.Put(ctx, "a/b/c", strings.NewReader("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (blob.Info{Size: 10, MD5: "781e5e245d69b566979b86e28d23f2c7"}); info != want {
		t.Errorf("put returned %+v, expected %+v", info, want)
	}
	for _, tc := range []struct {
		reason string
		off, n int64
		want   string
	}{
		{"all", 0, -1, "0123456789"},
		{"from the middle", 5, -1, "56789"},
		{"a piece", 2, 3, "234"},
		{"more than there is", 8, 100, "89"},
		{"nothing", 3, 0, ""},
		{"behind the end", 20, -1, ""},
	} {
		r, err := d.Get(ctx, "a/b/c", tc.off, tc.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if string(got) != tc.want {
			t.Errorf("%s: %q, expected %q", tc.reason, got, tc.want)
		}
	}
	if err := d.Delete(ctx, "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(ctx, "a/b/c"); err != nil {
		t.Errorf("deleting what is not there is no error: %v", err)
	}
	if _, err := d.Get(ctx, "a/b/c", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get of a deleted body: %v, expected ErrNotFound", err)
	}
	if _, err := d.Stat(ctx, "a/b/c"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("stat of a deleted body: %v, expected ErrNotFound", err)
	}
}

func TestBrokenPutIsInvisible(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	d := open(t, dir)
	broken := errors.New("broken")
	if _, err := d.Put(t.Context(), "k", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("put returned %v, expected the reader's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Put(ctx, "k", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context returned %v", err)
	}
	if got := list(t, d, ""); len(got) != 0 {
		t.Errorf("%v can be seen", got)
	}
	// What a killed process leaves is removed by the next one.
	if err := os.WriteFile(filepath.Join(dir, ".tmp", "left"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil || len(entries) != 0 {
		t.Errorf("%v left of interrupted writers (%v)", entries, err)
	}
}

func list(t *testing.T, d *blob.Dir, prefix string) []string {
	t.Helper()
	got := []string{}
	err := d.List(t.Context(), prefix, func(key string, _ blob.Info) error {
		got = append(got, key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(got)
	return got
}

func TestList(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "blobs"))
	for _, k := range []string{"objects/1", "objects/2", "images/1"} {
		if _, err := d.Put(t.Context(), k, strings.NewReader(k)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"objects/1", "objects/2"}, list(t, d, "objects/")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func TestKeysStayInTheFolder(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "blobs"))
	for _, k := range []string{"", "..", "../x", "a/../b", "/etc/passwd", "a//b", ".tmp/x", "a/./b", "a b", "a\x00b", "ä"} {
		if _, err := d.Put(t.Context(), k, strings.NewReader("x")); err == nil {
			t.Errorf("key %q was accepted", k)
		}
	}
}
