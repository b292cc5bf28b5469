package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func migration(text string) fstest.MapFS {
	return fstest.MapFS{"001_things.sql": {Data: []byte(text)}}
}

const things = `CREATE TABLE things (
	id {{autoid}},
	name TEXT NOT NULL UNIQUE,
	body {{blob}},
	doc TEXT NOT NULL,
	at BIGINT NOT NULL
);
CREATE INDEX things_at ON things (at);
`

func setUp(t *testing.T, db *store.DB) {
	t.Helper()
	for range 2 { // the second time nothing happens
		if err := db.Migrate(t.Context(), "test", migration(things)); err != nil {
			t.Fatal(err)
		}
	}
}

func insert(tx *store.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO things (name, body, doc, at) VALUES (?, ?, ?, ?)`, name, []byte{0, 1, 255}, store.JSON(map[string]any{"n": name}), store.At(time.Now()))
	return err
}

func TestRoundTripAndErrors(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		setUp(t, db)
		at := time.Date(2026, 2, 3, 4, 5, 6, 123456000, time.UTC)
		err := db.Tx(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO things (name, body, doc, at) VALUES (?, ?, '{"question": "?"}', ?)`, "a", []byte{0, 1, 255}, store.At(at))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(t.Context(), func(tx *store.Tx) error {
			var body []byte
			var doc map[string]string
			var got time.Time
			if err := tx.Get([]any{&body, store.JSON(&doc), store.Time(&got)}, `SELECT body, doc, at FROM things WHERE name = ?`, "a"); err != nil {
				return err
			}
			if len(body) != 3 || body[2] != 255 || doc["question"] != "?" || !got.Equal(at) {
				t.Errorf("read back %v %v %v", body, doc, got)
			}
			return tx.Get([]any{&body}, `SELECT body FROM things WHERE name = ?`, "nobody")
		})
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a missing row: %v, expected ErrNotFound", err)
		}
		if err := db.Tx(t.Context(), func(tx *store.Tx) error { return insert(tx, "a") }); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a second row of the same name: %v, expected ErrConflict", err)
		}
	})
}

func TestAfterCommitRunsOnlyAfterCommit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		setUp(t, db)
		ran := 0
		broken := errors.New("broken")
		err := db.Tx(t.Context(), func(tx *store.Tx) error {
			tx.AfterCommit(func() { ran++ })
			return errors.Join(insert(tx, "rolled back"), broken)
		})
		if !errors.Is(err, broken) || ran != 0 {
			t.Errorf("%v, ran %d times after a rollback", err, ran)
		}
		if err := db.Tx(t.Context(), func(tx *store.Tx) error {
			tx.AfterCommit(func() { ran++ })
			return insert(tx, "kept")
		}); err != nil || ran != 1 {
			t.Errorf("%v, ran %d times after a commit", err, ran)
		}
		var n int
		if err := db.View(t.Context(), func(tx *store.Tx) error { return tx.Get([]any{&n}, `SELECT COUNT(*) FROM things`) }); err != nil || n != 1 {
			t.Errorf("%d rows, %v, expected the one that was kept", n, err)
		}
	})
}

func TestConcurrentWritersAndReaders(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		setUp(t, db)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 20 {
					if err := db.Tx(t.Context(), func(tx *store.Tx) error { return insert(tx, fmt.Sprintf("%d-%d", w, i)) }); err != nil {
						t.Error(err)
						return
					}
					var n int
					if err := db.View(t.Context(), func(tx *store.Tx) error {
						return tx.Each(func(scan func(...any) error) error { return scan(&n) }, `SELECT COUNT(*) FROM things`)
					}); err != nil || n < i+1 {
						t.Errorf("%d rows after own %d, %v", n, i+1, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestOpenRefusesOtherDatabases(t *testing.T) {
	if _, err := store.Open(t.Context(), "mysql://x"); err == nil {
		t.Error("mysql was accepted")
	}
}

func BenchmarkInsert(b *testing.B) {
	db := storetest.Open(b)
	if err := db.Migrate(b.Context(), "test", migration(things)); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if err := db.Tx(b.Context(), func(tx *store.Tx) error { return insert(tx, fmt.Sprint(i)) }); err != nil {
			b.Fatal(err)
		}
	}
}
