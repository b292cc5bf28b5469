// Package jobs is durable work: rows in the caller's transaction, run by
// handlers that may be interrupted at any moment and are then run again.
//
// A job is named by kind and key, and at most one handler runs for that pair
// at a time, in all processes together: an entity (a stack, an execution, a
// node) is an actor, and waking it is idempotent. A handler reads the state of
// its entity from the store, makes the next step durable, carries it out and
// says when it wants to run again. Waiting is a row, never a goroutine.
package jobs

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	never = math.MaxInt64 // run_at of a job that is running or has nothing planned
	lease = 30 * time.Second
)

// Job is one run of a job.
type Job struct {
	Kind, Key string
	Payload   json.RawMessage // "null" when none was given
	Attempt   int             // runs that failed since the last success
}

// Handler carries out one step of a job. It is re-entrant: it may be called
// again at any time, after a crash too. ctx ends when the process stops.
type Handler func(ctx context.Context, j Job) Result

type kindEntry struct {
	handler Handler
	limit   int
	running int
}

// Queue runs the jobs of one process.
type Queue struct {
	db    *store.DB
	bus   *notify.Bus
	log   *slog.Logger
	owner string
	now   func() time.Time

	mu      sync.Mutex
	kinds   map[string]*kindEntry
	waiting map[string]*waiter // kind+"\x00"+key -> open wait
	wakeups chan struct{}
	wg      sync.WaitGroup
}

type waiter struct {
	sub    *notify.Subscription
	cancel context.CancelFunc
}

// New prepares a queue on db. Nothing runs before Run.
func New(db *store.DB, bus *notify.Bus, log *slog.Logger) (*Queue, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(context.Background(), "jobs", sub); err != nil {
		return nil, err
	}
	return &Queue{
		db: db, bus: bus, log: log, owner: uuid.NewString(), now: time.Now,
		kinds: map[string]*kindEntry{}, waiting: map[string]*waiter{},
		wakeups: make(chan struct{}, 1),
	}, nil
}

// Register names the handler of a kind and how many of its jobs may run at
// once in this process. It is called before Run.
func (q *Queue) Register(kind string, concurrency int, h Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kinds[kind] = &kindEntry{handler: h, limit: max(1, concurrency)}
}

// Poke creates the job or wakes it: its handler runs as soon as tx has
// committed, once more if it is running now. A nil payload keeps the old one.
func (q *Queue) Poke(tx *store.Tx, kind, key string, payload any) error {
	return q.PokeAt(tx, kind, key, payload, q.now())
}

// headStart is how much earlier than now a job that goes first is due: longer than any other waits for its turn.
const headStart = time.Hour

// PokeFirst is Poke for a job that goes before those that wait for their turn,
// for what others wait for.
func (q *Queue) PokeFirst(tx *store.Tx, kind, key string) error {
	return q.PokeAt(tx, kind, key, nil, q.now().Add(-headStart))
}

// PokeAt is Poke for later: the job runs at the given time, or at the earlier
// time that is planned already.
func (q *Queue) PokeAt(tx *store.Tx, kind, key string, payload any, at time.Time) error {
	var text any
	if payload != nil {
		b, err := json.Marshal(payload)
		if err != nil {
			return fmt.Errorf("encode payload of job %s %s: %w", kind, key, err)
		}
		text = string(b)
	}
	due := at.UnixMicro()
	_, err := tx.Exec(`INSERT INTO jobs (kind, key, payload, run_at, lease_until, owner, attempt, topics)
		VALUES (?, ?, COALESCE(CAST(? AS TEXT), 'null'), ?, 0, '', 0, '')
		ON CONFLICT (kind, key) DO UPDATE SET
			payload = COALESCE(CAST(? AS TEXT), jobs.payload),
			run_at = CASE WHEN jobs.run_at < ? THEN jobs.run_at ELSE ? END`,
		kind, key, text, due, text, due, due)
	if err != nil {
		return fmt.Errorf("poke job %s %s: %w", kind, key, err)
	}
	tx.AfterCommit(q.wake)
	return nil
}

// Cancel removes a job's plans; a run under way goes on to its end.
func (q *Queue) Cancel(tx *store.Tx, kind, key string) error {
	if _, err := tx.Exec(`DELETE FROM jobs WHERE kind = ? AND key = ? AND lease_until = 0`, kind, key); err != nil {
		return err
	}
	_, err := tx.Exec(`UPDATE jobs SET run_at = ? WHERE kind = ? AND key = ?`, int64(never), kind, key)
	return err
}

func (q *Queue) wake() {
	select {
	case q.wakeups <- struct{}{}:
	default:
	}
}

func jobID(kind, key string) string { return kind + "\x00" + key }
