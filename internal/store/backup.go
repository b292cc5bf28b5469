package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNoBackUp is what BackUp says of a database that has tools of its own for it.
var ErrNoBackUp = errors.New("a PostgreSQL database is backed up with pg_dump")

// BackUp writes a consistent copy of a SQLite database, while it is used, to a new file in dir and returns the file's
// name (https://www.sqlite.org/lang_vacuum.html#vacuuminto).
func (db *DB) BackUp(ctx context.Context, dir string) (string, error) {
	if db.dialect != dialectSQLite {
		return "", ErrNoBackUp
	}
	file := filepath.Join(dir, "undercloud.db")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) { // a repeated call
		return "", err
	}
	if _, err := db.read.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return "", fmt.Errorf("copy of the database to %s: %w", file, err)
	}
	return file, os.Chmod(file, 0o600)
}
