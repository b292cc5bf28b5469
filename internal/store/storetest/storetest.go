// Package storetest opens throw-away databases for tests.
package storetest

import (
	"path/filepath"
	"testing"

	"github.com/tripleo/tripleo/internal/store"
)

// Open returns a new SQLite database in a temporary folder, closed at the end
// of the test.
func Open(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
