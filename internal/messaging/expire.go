package messaging

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// expire is the job that removes what has outlived its time.
func (s *Service) expire(ctx context.Context, _ jobs.Job) jobs.Result {
	var next time.Time
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		next = time.Time{}
		now := store.At(s.now())
		for _, q := range []string{
			`DELETE FROM messaging_messages WHERE expires <= ?`,
			`UPDATE messaging_messages SET claim_id = '', claim_expires = 0 WHERE claim_id <> '' AND claim_expires <= ?`,
			`DELETE FROM messaging_claims WHERE expires <= ?`,
			`DELETE FROM messaging_deliveries WHERE expires <= ?`,
		} {
			if _, err := tx.Exec(q, now); err != nil {
				return err
			}
		}
		if err := s.dropSubscriptions(tx, `expires <= ?`, now); err != nil {
			return err
		}
		for _, table := range []string{"messages", "claims", "subscriptions"} {
			var at time.Time
			if err := tx.Get([]any{store.Time(&at)}, `SELECT MIN(expires) FROM messaging_`+table); err != nil {
				return err
			}
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return jobs.Fail(err)
	case next.IsZero():
		return jobs.Done()
	}
	return jobs.After(max(time.Second, next.Sub(s.now())))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(document{"body": document{"error": "the reply could not be encoded"}, "headers": document{"status": 500}})
	}
	return b
}
