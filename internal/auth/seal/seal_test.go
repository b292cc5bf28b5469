package seal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Keys {
	t.Helper()
	k, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	k := open(t, t.TempDir())
	id, sealed := k.Seal([]byte("secret"), "row/1")
	if got, err := k.Open(id, sealed, "row/1"); err != nil || string(got) != "secret" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, again := k.Seal([]byte("secret"), "row/1"); again == sealed || strings.Contains(sealed, "secret") {
		t.Error("the same secret looks the same twice, or can be read")
	}
	changed := []byte(sealed)
	changed[len(changed)/2] ^= 1
	for _, tc := range []struct{ reason, id, sealed, owner string }{
		{"moved to another row", id, sealed, "row/2"},
		{"changed", id, string(changed), "row/1"},
		{"cut off", id, sealed[:10], "row/1"},
		{"no base64", id, "!", "row/1"},
		{"a key that is not there", "other", sealed, "row/1"},
	} {
		if got, err := k.Open(tc.id, tc.sealed, tc.owner); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %q, %v", tc.reason, got, err)
		}
	}
}

// Two processes share a folder: what one seals with a key of its own making
// the other opens, and a key goes only when nothing needs it.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	first, sealed := a.Seal([]byte("one"), "o")
	now := time.Now()
	if id, err := a.Rotate(now.Add(time.Minute), time.Hour); err != nil || id != first {
		t.Fatalf("rotated too early: %s, %v", id, err)
	}
	later := now.Add(2 * time.Hour)
	second, err := a.Rotate(later, time.Hour)
	if err != nil || second == first {
		t.Fatalf("not rotated: %s, %v", second, err)
	}
	id, newer := a.Seal([]byte("two"), "o")
	if got, err := b.Open(id, newer, "o"); id != second || err != nil || string(got) != "two" {
		t.Errorf("the other process: %q with key %s, %v", got, id, err)
	}
	for _, tc := range []struct {
		reason string
		now    time.Time
		used   map[string]bool
		stays  bool
	}{
		{"just replaced: another process may still seal with it", later.Add(time.Hour), nil, true},
		{"used", later.Add(48 * time.Hour), map[string]bool{first: true}, true},
		{"of no use any more", later.Add(48 * time.Hour), nil, false},
	} {
		if err := a.Retire(tc.now, tc.used); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Open(first, sealed, "o"); (err == nil) != tc.stays {
			t.Errorf("%s: %v", tc.reason, err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("the folder holds %v, expected one key", names)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	names, _ := filepath.Glob(filepath.Join(dir, "*.key"))
	if len(names) != 1 {
		t.Fatalf("%v", names)
	}
	if st, err := os.Stat(names[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: a key is its owner's", st.Mode(), err)
	}
	if err := os.WriteFile(names[0], []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(dir); err == nil || !strings.Contains(err.Error(), names[0]) {
		t.Errorf("a damaged key: %v, expected an error that names it", err)
	}
}
