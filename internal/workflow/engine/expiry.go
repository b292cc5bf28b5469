package engine

import (
	"context"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// Expiry says which ended root executions are deleted, with all below them.
type Expiry struct {
	OlderThan   time.Duration // since the end; 0 keeps all
	MaxFinished int           // how many stay; 0 is no bound
	Interval    time.Duration // between looks; default 30 minutes, or OlderThan if shorter
}

// expiryBatch bounds what one transaction deletes.
const expiryBatch = 20

func (x Expiry) on() bool { return x.OlderThan > 0 || x.MaxFinished > 0 }

// PlanExpiry makes sure that the look for expired executions comes.
func (e *Engine) PlanExpiry(ctx context.Context) error {
	if !e.expiry.on() {
		return nil
	}
	return e.db.Tx(ctx, func(tx *store.Tx) error { return e.jobs.Poke(tx, KindExpiry, "", nil) })
}

// expire deletes what has expired, oldest first.
func (e *Engine) expire(ctx context.Context, _ jobs.Job) jobs.Result {
	if !e.expiry.on() {
		return jobs.Done()
	}
	for {
		n, err := e.expireBatch(ctx)
		if err != nil {
			return jobs.Fail(err)
		}
		if n == 0 {
			break
		}
		e.log.Info("deleted expired executions", "count", n)
	}
	every := e.expiry.Interval
	if every <= 0 {
		every = 30 * time.Minute
		if d := e.expiry.OlderThan; d > 0 && d < every {
			every = d
		}
	}
	return jobs.After(every)
}

func (e *Engine) expireBatch(ctx context.Context) (int, error) {
	n := 0
	err := e.db.Tx(ctx, func(tx *store.Tx) error {
		n = 0
		list, err := e.expired(tx)
		for _, x := range list {
			if err := e.deleteTx(tx, x); err != nil {
				return err
			}
			n++
		}
		return err
	})
	return n, err
}

func (e *Engine) expired(tx *store.Tx) ([]*Execution, error) {
	const ended = `root_id = '' AND finalized = 1 AND state IN ('SUCCESS', 'ERROR', 'CANCELLED')`
	where, args := `finished_at < ?`, []any{store.At(e.now().Add(-e.expiry.OlderThan))}
	if e.expiry.OlderThan <= 0 {
		where, args = `1 = 0`, nil
	}
	if e.expiry.MaxFinished > 0 {
		where += ` OR id IN (SELECT id FROM workflow_executions WHERE ` + ended + ` ORDER BY finished_at DESC, id LIMIT 1000000 OFFSET ?)`
		args = append(args, e.expiry.MaxFinished)
	}
	var out []*Execution
	err := tx.Each(func(scan func(...any) error) error {
		x, err := scanExecution(tx, scan)
		out = append(out, x)
		return err
	}, `SELECT `+executionColumns+` FROM workflow_executions WHERE `+ended+` AND (`+where+`) ORDER BY finished_at LIMIT ?`, append(args, expiryBatch)...)
	return out, err
}
