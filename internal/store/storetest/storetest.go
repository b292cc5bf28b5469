// Package storetest opens throw-away databases for tests.
package storetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tripleo/tripleo/internal/store"
)

// Open returns a new SQLite database in a temporary folder, or below OnPostgres
// a new PostgreSQL one, closed at the end of the test.
func Open(t testing.TB) *store.DB {
	t.Helper()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	if server := os.Getenv(serverVariable); server != "" {
		dsn = newDatabase(t, server)
	}
	db, err := store.Open(t.Context(), dsn)
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
