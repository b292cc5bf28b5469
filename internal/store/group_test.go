package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func numbers(t *testing.T, db *store.DB) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`CREATE TABLE numbers (n BIGINT PRIMARY KEY)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func addNumber(tx *store.Tx, n int) error {
	_, err := tx.Exec(`INSERT INTO numbers (n) VALUES (?)`, n)
	return err
}

func count(t *testing.T, db *store.DB) (n int) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) error { return tx.Get([]any{&n}, `SELECT COUNT(*) FROM numbers`) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGroupKeepsItsMembersApart: many at once, of which some fail, panic or
// collide; each sees what it did, and only what succeeded is there.
func TestGroupKeepsItsMembersApart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		numbers(t, db)
		own := errors.New("own")
		var announced, good atomic.Int32
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				panicked := true
				defer func() {
					if p := recover(); (p != nil) != (i%10 == 3) || p != nil && p != fmt.Sprint("panic ", i) {
						t.Errorf("%d panicked with %v", i, p)
					}
					if panicked != (i%10 == 3) {
						t.Errorf("%d returned: %t", i, !panicked)
					}
				}()
				err := db.Group(t.Context(), func(tx *store.Tx) error {
					tx.AfterCommit(func() { announced.Add(1) })
					err := addNumber(tx, i/2) // two want each number
					switch {
					case i%10 == 3:
						panic(fmt.Sprint("panic ", i))
					case i%10 == 5 && err == nil:
						return own
					}
					return err
				})
				panicked = false
				switch {
				case err == nil:
					good.Add(1)
				case !errors.Is(err, store.ErrConflict) && !(i%10 == 5 && errors.Is(err, own)):
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if got := count(t, db); got != int(good.Load()) || announced.Load() != good.Load() || got != 100 {
			t.Errorf("%d rows, %d announced, %d succeeded, expected 100 of each", got, announced.Load(), good.Load())
		}
	})
}

// TestGroupSharesACommit: who comes while another is under way goes together,
// with what was remembered; a failure in between is forgotten.
func TestGroupSharesACommit(t *testing.T) {
	db := storetest.Open(t)
	numbers(t, db)
	type key struct{}
	var mu sync.Mutex
	seen := map[*store.Tx][]int{}
	begun, on := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Group(t.Context(), func(*store.Tx) error { close(begun); <-on; return nil })
	})
	<-begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Group(gone, func(*store.Tx) error { t.Error("somebody who has left was run"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits and leaves: %v", err)
	}
	for i := range 20 {
		wg.Go(func() {
			err := db.Group(t.Context(), func(tx *store.Tx) error {
				n, _ := tx.Memo(key{}, func() any { return new(int) }).(*int)
				*n++
				mu.Lock()
				seen[tx] = append(seen[tx], *n)
				mu.Unlock()
				if err := addNumber(tx, i); err != nil {
					return err
				}
				if i == 7 {
					return errors.New("undone")
				}
				return nil
			})
			if (err != nil) != (i == 7) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	for db.Waiting() < 20 {
		// they are on their way
	}
	close(on)
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("20 that waited at once had %d transactions, expected one", len(seen))
	}
	for _, ns := range seen {
		fresh := 0
		for i, n := range ns {
			if n == 1 {
				fresh++
			} else if n != ns[i-1]+1 {
				t.Errorf("the memo counted %v", ns)
			}
		}
		if fresh > 2 || fresh < 1 {
			t.Errorf("the memo was made %d times in %v, expected once, and once after what was undone", fresh, ns)
		}
	}
	if got := count(t, db); got != 19 {
		t.Errorf("%d rows, expected 19", got)
	}
}
