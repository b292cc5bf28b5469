package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

const (
	claimBatch = 64
	idlePoll   = 5 * time.Second // safety net behind the wake-ups
)

// Run claims and runs jobs until ctx ends, then waits for the handlers.
func (q *Queue) Run(ctx context.Context) error {
	err := q.recover(ctx)
	if ctx.Err() != nil {
		return nil // stopped before it began
	}
	if err != nil {
		return err
	}
	renew := time.NewTicker(lease / 3)
	defer renew.Stop()
	defer q.wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renew.C:
			q.renew(ctx)
			continue
		case <-q.wakeups:
		case <-timer.C:
		}
		next := q.dispatch(ctx)
		timer.Reset(next)
	}
}

// recover takes up what an earlier run of this process left: with SQLite every
// lease is ours, so all claimed jobs and all that waited for topics are due.
// With PostgreSQL other processes may hold leases; those that lapse are
// claimed by dispatch.
func (q *Queue) recover(ctx context.Context) error {
	now := q.now().UnixMicro()
	return q.db.Tx(ctx, func(tx *store.Tx) error {
		held := int64(never)
		if tx.Shared() {
			held = now
		}
		_, err := tx.Exec(`UPDATE jobs SET lease_until = 0, owner = '', run_at = ?
			WHERE lease_until > 0 AND lease_until < ?`, now, held)
		if err != nil {
			return fmt.Errorf("recover jobs: %w", err)
		}
		_, err = tx.Exec(`UPDATE jobs SET run_at = ? WHERE topics <> '' AND lease_until = 0 AND run_at > ?`, now, now)
		return err
	})
}

func (q *Queue) renew(ctx context.Context) {
	until := q.now().Add(lease).UnixMicro()
	err := q.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE jobs SET lease_until = ? WHERE owner = ? AND lease_until > 0`, until, q.owner)
		return err
	})
	if err != nil && ctx.Err() == nil {
		q.log.Error("cannot renew job leases", "error", err)
	}
}

// dispatch starts all due jobs there is room for and returns how long to wait
// for the next one.
func (q *Queue) dispatch(ctx context.Context) time.Duration {
	for {
		free := q.freeKinds()
		if len(free) == 0 {
			return idlePoll // a finishing handler wakes us
		}
		claimed, next, err := q.claim(ctx, free)
		if err != nil {
			if ctx.Err() == nil {
				q.log.Error("cannot claim jobs", "error", err)
			}
			return time.Second
		}
		for _, j := range claimed {
			q.start(ctx, j)
		}
		if len(claimed) < claimBatch {
			return next
		}
	}
}

func (q *Queue) freeKinds() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := map[string]int{}
	for name, k := range q.kinds {
		if n := k.limit - k.running; n > 0 {
			free[name] = n
		}
	}
	return free
}

func (q *Queue) claim(ctx context.Context, free map[string]int) ([]Job, time.Duration, error) {
	kinds := make([]any, 0, len(free))
	for k := range free {
		kinds = append(kinds, k)
	}
	now := q.now()
	var claimed []Job
	next := idlePoll
	err := q.db.Tx(ctx, func(tx *store.Tx) error {
		claimed, next = nil, idlePoll
		room := make(map[string]int, len(free))
		for k, n := range free {
			room[k] = n
		}
		take := func(scan func(...any) error) error {
			var j Job
			var payload string
			if err := scan(&j.Kind, &j.Key, &payload, &j.Attempt); err != nil {
				return err
			}
			if room[j.Kind] > 0 {
				room[j.Kind]--
				j.Payload = json.RawMessage(payload)
				claimed = append(claimed, j)
			}
			return nil
		}
		// What is due is read in the order of the index and nothing else is looked at: jobs that wait are many. The
		// expression keeps SQLite from walking through all jobs of each kind.
		args := append([]any{now.UnixMicro()}, kinds...)
		for _, due := range []string{"lease_until = 0 AND run_at <= ?", "lease_until > 0 AND lease_until < ?"} {
			err := tx.Each(take, `SELECT kind, key, payload, attempt FROM jobs WHERE `+due+` AND kind || '' IN `+store.In(len(kinds))+
				` ORDER BY run_at LIMIT 64`+tx.SkipLocked(), args...)
			if err != nil {
				return err
			}
		}
		until := now.Add(lease).UnixMicro()
		for _, j := range claimed {
			if _, err := tx.Exec(`UPDATE jobs SET lease_until = ?, owner = ?, run_at = ?, topics = ''
				WHERE kind = ? AND key = ?`, until, q.owner, int64(never), j.Kind, j.Key); err != nil {
				return err
			}
		}
		if len(claimed) > 0 {
			return nil
		}
		return q.untilNext(tx, now, kinds, &next)
	})
	if len(claimed) > 0 && len(claimed) < claimBatch {
		next = 0 // look once more: others may be due just now
	}
	return claimed, next, err
}

func (q *Queue) untilNext(tx *store.Tx, now time.Time, kinds []any, next *time.Duration) error {
	var at int64
	err := tx.Get([]any{&at}, `SELECT run_at FROM jobs WHERE lease_until = 0 AND kind || '' IN `+store.In(len(kinds))+` ORDER BY run_at LIMIT 1`, kinds...)
	if errors.Is(err, store.ErrNotFound) || at == never {
		return nil
	}
	if err != nil {
		return err
	}
	*next = min(idlePoll, max(0, time.UnixMicro(at).Sub(now)))
	return nil
}

func (q *Queue) start(ctx context.Context, j Job) {
	q.mu.Lock()
	k := q.kinds[j.Kind]
	k.running++
	q.dropWaiter(jobID(j.Kind, j.Key))
	q.mu.Unlock()
	q.wg.Go(func() {
		seq := q.bus.Seq()
		res := q.call(ctx, k.handler, j)
		if ctx.Err() == nil || res.kind == resultDone {
			q.finish(context.WithoutCancel(ctx), ctx, j, res, seq)
		} else {
			q.release(context.WithoutCancel(ctx), j)
		}
		q.mu.Lock()
		k.running--
		q.mu.Unlock()
		q.wake()
	})
}

func (q *Queue) call(ctx context.Context, h Handler, j Job) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("job handler panicked", "kind", j.Kind, "key", j.Key, "panic", p, "stack", string(debug.Stack()))
			res = Fail(fmt.Errorf("panic: %v", p))
		}
	}()
	return h(ctx, j)
}

// release gives an interrupted job back, to be run at the next start.
func (q *Queue) release(ctx context.Context, j Job) {
	err := q.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE jobs SET lease_until = 0, owner = '', run_at = ? WHERE kind = ? AND key = ? AND owner = ?`,
			q.now().UnixMicro(), j.Kind, j.Key, q.owner)
		return err
	})
	if err != nil {
		q.log.Error("cannot release job", "kind", j.Kind, "key", j.Key, "error", err)
	}
}

func (q *Queue) finish(ctx, runCtx context.Context, j Job, res Result, seq uint64) {
	now := q.now()
	at, topics, attempt := int64(never), "", 0
	switch res.kind {
	case resultDone:
	case resultAfter:
		at = now.Add(res.delay).UnixMicro()
		if len(res.topics) > 0 {
			b, err := json.Marshal(res.topics)
			if err == nil {
				topics = string(b)
			}
			q.await(runCtx, j, res.topics, seq)
		}
	case resultFail:
		attempt = j.Attempt + 1
		delay := min(time.Minute, time.Second<<min(attempt-1, 6))
		at = now.Add(delay).UnixMicro()
		if !errors.Is(res.err, context.Canceled) {
			q.log.Warn("job failed, it will be tried again", "kind", j.Kind, "key", j.Key, "attempt", attempt, "in", delay, "error", res.err)
		}
	}
	err := q.db.Tx(ctx, func(tx *store.Tx) error {
		if at == never {
			n, err := tx.Exec(`DELETE FROM jobs WHERE kind = ? AND key = ? AND owner = ? AND run_at = ?`, j.Kind, j.Key, q.owner, int64(never))
			if err != nil || n > 0 {
				return err
			}
		}
		_, err := tx.Exec(`UPDATE jobs SET lease_until = 0, owner = '', attempt = ?, topics = ?,
			run_at = CASE WHEN run_at < ? THEN run_at ELSE ? END
			WHERE kind = ? AND key = ? AND owner = ?`, attempt, topics, at, at, j.Kind, j.Key, q.owner)
		return err
	})
	if err != nil {
		q.log.Error("cannot finish job", "kind", j.Kind, "key", j.Key, "error", err)
	}
}

// await wakes the job when one of the topics is published.
func (q *Queue) await(ctx context.Context, j Job, topics []string, seq uint64) {
	sub := q.bus.Subscribe(topics...)
	missed := q.bus.Since(seq, topics...)
	ctx, cancel := context.WithCancel(ctx)
	id := jobID(j.Kind, j.Key)
	q.mu.Lock()
	q.dropWaiter(id)
	q.waiting[id] = &waiter{sub: sub, cancel: cancel}
	q.mu.Unlock()
	q.wg.Go(func() {
		if !missed {
			select {
			case <-ctx.Done():
				return
			case <-sub.C():
			}
		}
		err := q.db.Tx(context.WithoutCancel(ctx), func(tx *store.Tx) error {
			now := q.now().UnixMicro()
			_, err := tx.Exec(`UPDATE jobs SET run_at = ? WHERE kind = ? AND key = ? AND run_at > ?`, now, j.Kind, j.Key, now)
			tx.AfterCommit(q.wake)
			return err
		})
		if err != nil {
			q.log.Error("cannot wake job", "kind", j.Kind, "key", j.Key, "error", err)
		}
	})
}

// dropWaiter ends an open wait; q.mu is held.
func (q *Queue) dropWaiter(id string) {
	if w := q.waiting[id]; w != nil {
		w.cancel()
		w.sub.Close()
		delete(q.waiting, id)
	}
}
