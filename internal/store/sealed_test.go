package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestSealedColumns writes secrets with keys and looks for them in the database, on both databases.
func TestSealedColumns(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		exec := func(q string, args func(tx *store.Tx) []any) {
			t.Helper()
			if err := db.Tx(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(q, args(tx)...)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		none := func(*store.Tx) []any { return nil }
		exec("CREATE TABLE s (id TEXT, j TEXT, t TEXT)", none)
		exec("INSERT INTO s VALUES ('old', '{\"a\":\"plain\"}', 'plain')", none)
		keys, err := seal.OpenKeys(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		db.Protect(keys)
		text := "hunter2"
		exec("INSERT INTO s VALUES ('new', ?, ?)", func(tx *store.Tx) []any {
			return []any{tx.SealedJSON(map[string]string{"a": "hunter2"}, "s.j"), tx.SealedText(&text, "s.t")}
		})
		exec("INSERT INTO s VALUES ('empty', ?, '')", func(tx *store.Tx) []any { return []any{tx.SealedJSON(map[string]string{}, "s.j")} })
		read := func(id, owner string) (j map[string]string, s, rawJ, rawT string, err error) {
			err = db.View(ctx, func(tx *store.Tx) error {
				if err := tx.Get([]any{&rawJ, &rawT}, "SELECT j, t FROM s WHERE id = ?", id); err != nil {
					return err
				}
				return tx.Get([]any{tx.SealedJSON(&j, owner), tx.SealedText(&s, "s.t")}, "SELECT j, t FROM s WHERE id = ?", id)
			})
			return j, s, rawJ, rawT, err
		}
		if j, s, _, _, err := read("old", "s.j"); err != nil || j["a"] != "plain" || s != "plain" {
			t.Error("written before there were keys:", j, s, err)
		}
		if j, s, rawJ, rawT, err := read("new", "s.j"); err != nil || j["a"] != "hunter2" || s != "hunter2" || strings.Contains(rawJ+rawT, "hunter2") {
			t.Error("sealed:", j, s, rawJ, rawT, err)
		}
		if _, _, rawJ, _, err := read("empty", "s.j"); err != nil || rawJ != "{}" {
			t.Error("nothing to seal:", rawJ, err)
		}
		if _, _, _, _, err := read("new", "s.other"); !errors.Is(err, seal.ErrUnreadable) {
			t.Error("another column's text:", err)
		}
		db.Protect(nil)
		if _, _, _, _, err := read("new", "s.j"); err == nil || !strings.Contains(err.Error(), "there are no keys") {
			t.Error("without keys:", err)
		}
	})
}
