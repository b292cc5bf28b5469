package compute

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// What servers took is forgotten some time after their end, not before, and
// never while they run.
func TestOldUsageIsForgotten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		queue, err := jobs.New(db, notify.New(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		svc, err := New(Config{DB: db, Jobs: queue})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		left := map[string]int{}
		err = db.Tx(t.Context(), func(tx *store.Tx) error {
			for id, end := range map[string]time.Time{"runs": {}, "old": now.Add(-time.Hour), "new": now.Add(time.Hour)} {
				if err := account(tx, &Server{ID: id, Created: now.Add(-2 * time.Hour)}, end); err != nil {
					return err
				}
				if _, err := tx.Exec(`INSERT INTO compute_actions (server_id, request_id, doc) VALUES (?, ?, ?)`, id, "req", store.JSON(actionDoc{})); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			err = svc.forgetBefore(t.Context(), now)
		}
		if err == nil {
			err = db.View(t.Context(), func(tx *store.Tx) error {
				return tx.Each(func(scan func(...any) error) error {
					var id string
					err := scan(&id)
					left[id]++
					return err
				}, `SELECT server_id FROM compute_usage UNION ALL SELECT server_id FROM compute_actions`)
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(left) != 2 || left["runs"] != 2 || left["new"] != 2 {
			t.Errorf("left are %v, expected usage and actions of the server that runs and of the new one", left)
		}
	})
}
