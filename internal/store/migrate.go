package store

import (
	"context"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"time"
)

const migrationsTable = `CREATE TABLE IF NOT EXISTS schema_migrations (
	service TEXT NOT NULL,
	version BIGINT NOT NULL,
	applied_at BIGINT NOT NULL,
	PRIMARY KEY (service, version)
)`

// Migrate brings the tables of one service up to date. fsys holds files named
// NNN_words.sql; each is applied once, in order, in one transaction. In them
// {{blob}} stands for the binary type, {{name}} for text that is compared and
// sorted by its bytes, and {{autoid}} for a self-numbering primary key column
// type. Statements are separated by lines that end in ';'.
func (db *DB) Migrate(ctx context.Context, service string, fsys fs.FS) error {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return fmt.Errorf("list migrations of %s: %w", service, err)
	}
	sort.Strings(names)
	return db.Tx(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(migrationsTable); err != nil {
			return fmt.Errorf("create schema_migrations: %w", err)
		}
		for _, name := range names {
			if err := applyOne(tx, service, fsys, name); err != nil {
				return fmt.Errorf("migration %s/%s: %w", service, name, err)
			}
		}
		return nil
	})
}

func applyOne(tx *Tx, service string, fsys fs.FS, name string) error {
	number, _, _ := strings.Cut(name, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return fmt.Errorf("name must begin with a number and '_': %w", err)
	}
	n, err := tx.Exec(`INSERT INTO schema_migrations (service, version, applied_at)
		SELECT CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT)
		WHERE NOT EXISTS (SELECT 1 FROM schema_migrations WHERE service = ? AND version = ?)`,
		service, version, time.Now().UnixMicro(), service, version)
	if err != nil || n == 0 {
		return err
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	blob, bytewise, autoid := "BLOB", "TEXT", "INTEGER PRIMARY KEY AUTOINCREMENT"
	if tx.dialect == dialectPostgres {
		blob, bytewise, autoid = "BYTEA", `TEXT COLLATE "C"`, "BIGSERIAL PRIMARY KEY"
	}
	sqlText := strings.NewReplacer("{{blob}}", blob, "{{name}}", bytewise, "{{autoid}}", autoid).Replace(string(text))
	for _, stmt := range strings.Split(sqlText, ";\n") {
		if strings.TrimSpace(stmt) == "" {
			continue
		}
		if _, err := tx.Exec(stmt); err != nil {
			return fmt.Errorf("%q: %w", firstLine(stmt), err)
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
