package store

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestKeptStatements: a statement may be used again while its rows are open,
// more texts than are kept may be used, and a table may change under them.
func TestKeptStatements(t *testing.T) {
	db, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.Tx(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE a (x BIGINT NOT NULL); CREATE TABLE b (y BIGINT NOT NULL)`)
		return err
	}))
	must(db.Tx(t.Context(), func(tx *Tx) error {
		for i := range 5 {
			if _, err := tx.Exec(`INSERT INTO a (x) VALUES (?)`, i); err != nil {
				return err
			}
		}
		return nil
	}))
	const all = `SELECT x FROM a ORDER BY x`
	pairs := 0
	must(db.View(t.Context(), func(tx *Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var i int
			if err := scan(&i); err != nil {
				return err
			}
			return tx.Each(func(scan func(...any) error) error { pairs++; var j int; return scan(&j) }, all)
		}, all)
	}))
	if pairs != 25 {
		t.Errorf("%d pairs of 5 x 5: a query within itself loses rows", pairs)
	}
	must(db.Tx(t.Context(), func(tx *Tx) error {
		for i := range maxStatements + 50 {
			var n int
			if err := tx.Get([]any{&n}, fmt.Sprintf(`SELECT COUNT(*) + %d FROM a`, i)); err != nil || n != 5+i {
				t.Errorf("statement %d: %d %v", i, n, err)
			}
		}
		return nil
	}))
	must(db.Tx(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`ALTER TABLE a ADD COLUMN z BIGINT NOT NULL DEFAULT 7`)
		return err
	}))
	const wide = `SELECT * FROM a WHERE x = ?`
	for range 2 {
		must(db.View(t.Context(), func(tx *Tx) error {
			var x, z int
			if err := tx.Get([]any{&x, &z}, wide, 3); err != nil || x != 3 || z != 7 {
				t.Errorf("after the table has changed: %d %d %v", x, z, err)
			}
			return nil
		}))
	}
	if err := db.View(t.Context(), func(tx *Tx) error { var n int; return tx.Get([]any{&n}, `SELECT nonsense`) }); err == nil {
		t.Error("nonsense is a statement")
	}
}

func BenchmarkGet(b *testing.B) {
	db, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "test.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if err := db.Tx(b.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE a (x BIGINT NOT NULL PRIMARY KEY, doc TEXT NOT NULL)`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO a (x, doc) VALUES (1, '{}')`)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	if err := db.View(b.Context(), func(tx *Tx) error {
		for b.Loop() {
			var doc string
			if err := tx.Get([]any{&doc}, `SELECT doc FROM a WHERE x = ?`, 1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}
