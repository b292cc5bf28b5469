package messaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// What is about one claim or a few messages does not read all messages there
// are, or all of a queue.
func TestIndexesAreUsed(t *testing.T) {
	db, bus := storetest.Open(t), notify.New()
	queue, err := jobs.New(db, bus, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{DB: db, Bus: bus, Jobs: queue}); err != nil {
		t.Fatal(err)
	}
	for q, want := range map[string]string{
		`UPDATE messaging_messages SET claim_expires = 0 WHERE ` + ofClaim:                                              "messaging_messages_claim (claim_id=?)",
		`SELECT seq FROM messaging_messages WHERE ` + ofClaim + ` ORDER BY seq`:                                         "messaging_messages_claim (claim_id=?)",
		`SELECT seq FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ? AND id IN (?, ?)` + inOrder: "(id=?)",
		`SELECT seq FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ? ORDER BY seq LIMIT ?`:       "messaging_messages_queue (project=? AND queue=?)",
		`DELETE FROM messaging_claims WHERE expires <= ?`:                                                               "messaging_claims_expires",
		`SELECT MIN(expires) FROM messaging_subscriptions`:                                                              "messaging_subscriptions_expires",
	} {
		var plan []string
		err := db.View(t.Context(), func(tx *store.Tx) error {
			return tx.Each(func(scan func(...any) error) error {
				var id, parent, unused int64
				var detail string
				err := scan(&id, &parent, &unused, &detail)
				plan = append(plan, detail)
				return err
			}, `EXPLAIN QUERY PLAN `+q, store.Args(slices.Repeat([]string{"1"}, strings.Count(q, "?")))...)
		})
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if !strings.Contains(strings.Join(plan, "; "), want) {
			t.Errorf("%s: SQLite plans %q, expected the index %s", q, plan, want)
		}
	}
}
