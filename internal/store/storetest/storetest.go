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
	db, err := store.Open(t.Context(), DSN(t))
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

// DSN is the address of the database that Open would make, for processes that
// a test starts.
func DSN(t testing.TB) string {
	t.Helper()
	if server := os.Getenv(serverVariable); server != "" {
		return newDatabase(t, server)
	}
	return "sqlite:" + filepath.Join(t.TempDir(), "test.db")
}
