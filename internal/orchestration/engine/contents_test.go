package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// TestContentsGoWithTheirLastConfig: a content that two configs have is there until both are gone.
func TestContentsGoWithTheirLastConfig(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("long ", 2000)
	stored := func() (n int) {
		t.Helper()
		if err := h.db.View(t.Context(), func(tx *store.Tx) error { return tx.Get([]any{&n}, "SELECT COUNT(*) FROM heat_contents") }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	drop := func(id string) {
		t.Helper()
		err := h.db.Tx(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("DELETE FROM heat_configs WHERE id = ?", id)
			return err
		})
		if err == nil {
			err = h.e.Purge(t.Context(), -time.Hour) // as if an hour had passed
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err := h.db.Tx(t.Context(), func(tx *store.Tx) error {
		return errors.Join(h.e.PutConfig(tx, &resources.Config{ID: "one", Config: long}), h.e.PutConfig(tx, &resources.Config{ID: "two", Config: long}),
			h.e.PutConfig(tx, &resources.Config{ID: "short", Config: "short"}))
	})
	if err != nil || stored() != 1 {
		t.Fatalf("%d contents are stored, expected 1: %v", stored(), err)
	}
	drop("one")
	err = h.db.View(t.Context(), func(tx *store.Tx) error {
		list, err := h.e.FindConfigs(tx, "1 = 1 ORDER BY id")
		if len(list) != 2 || list[0].Config != "short" || list[1].Config != long {
			t.Errorf("configs are %v", list)
		}
		return err
	})
	if err != nil || stored() != 1 {
		t.Errorf("%d contents are stored, expected the one that is used: %v", stored(), err)
	}
	if drop("two"); stored() != 0 {
		t.Errorf("%d contents are left, expected none", stored())
	}
}
