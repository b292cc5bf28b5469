package store

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// maxGroup bounds the transactions that share a commit, and so how long the
// first of them waits for the others.
const maxGroup = 64

// group collects transactions that wait for SQLite's one writer.
type group struct {
	mu      sync.Mutex
	busy    bool // somebody leads
	waiting []*member
}

// member is one transaction of a group. Its caller waits for done, or for lead,
// which makes it the one that runs those that wait.
type member struct {
	ctx   context.Context
	fn    func(tx *Tx) error
	lead  chan struct{}
	done  chan struct{}
	leads bool // lead is closed; guarded by the group's mutex

	err      error
	panicked any
}

// Group is Tx for short transactions of which many come at once. Those that
// wait for SQLite's one writer at the same time are run one after the other and
// committed together, which costs a fraction; each is undone by itself when its
// fn fails, and none returns before the commit. On PostgreSQL, where writers do
// not wait for each other, it is Tx.
func (db *DB) Group(ctx context.Context, fn func(tx *Tx) error) error {
	if db.dialect != dialectSQLite || db.fail.Load() != nil || db.spare.scarce() { // a full disk is each one's own affair
		return db.Tx(ctx, fn)
	}
	g := &db.group
	m := &member{ctx: ctx, fn: fn, lead: make(chan struct{}), done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	if !g.busy {
		g.busy, m.leads = true, true
		close(m.lead)
	}
	g.mu.Unlock()
	select {
	case <-m.lead:
		db.leadGroup(m)
	case <-m.done:
	case <-ctx.Done():
		if g.leave(m) {
			return ctx.Err()
		}
		select { // it is under way, or this one's turn to lead
		case <-m.lead:
			db.leadGroup(m)
		case <-m.done:
		}
	}
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.err
}

// leave takes a member out that has not begun; false: it has.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i < 0 || m.leads {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// leadGroup runs the members that wait, of which first is one, and hands over
// to the next.
func (db *DB) leadGroup(first *member) {
	g := &db.group
	g.mu.Lock()
	n := min(len(g.waiting), maxGroup)
	members := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		if g.busy = len(g.waiting) > 0; g.busy {
			g.waiting[0].leads = true
			close(g.waiting[0].lead)
		}
		g.mu.Unlock()
		for _, m := range members {
			close(m.done)
		}
	}()
	// Who leads may go away; the others' work does not.
	err := db.Tx(context.WithoutCancel(first.ctx), func(tx *Tx) error {
		if len(members) == 1 { // nobody to be kept apart from
			members[0].run(tx)
			return members[0].failure()
		}
		for _, m := range members {
			if err := m.runApart(tx); err != nil {
				return err
			}
		}
		return nil
	})
	for _, m := range members {
		if m.err == nil {
			m.err = err
		}
	}
}

var errPanicked = errors.New("the transaction's function panicked")

// run calls the member's function and keeps what comes of it.
func (m *member) run(tx *Tx) {
	m.err, m.panicked = m.ctx.Err(), nil
	if m.err != nil {
		return
	}
	defer func() { m.panicked = recover() }()
	m.err = m.fn(tx)
}

func (m *member) failure() error {
	if m.panicked != nil {
		return errPanicked
	}
	return m.err
}

// runApart is run that is undone by itself. An error is the transaction's.
func (m *member) runApart(tx *Tx) error {
	if _, err := tx.Exec(`SAVEPOINT member`); err != nil {
		return err
	}
	after := len(tx.after)
	m.run(tx)
	if m.failure() != nil {
		tx.after, tx.memo = tx.after[:after], nil
		if _, err := tx.Exec(`ROLLBACK TO member`); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`RELEASE member`)
	return err
}

// Memo returns a value that lives as long as the transaction, made when it is
// first asked for. It may hold what was read, for all that share the
// transaction (see Group); when one of them is undone, it is forgotten. Keys are
// types of their own, as with context.WithValue.
func (tx *Tx) Memo(key any, make func() any) any {
	v, ok := tx.memo[key]
	if !ok {
		if tx.memo == nil {
			tx.memo = map[any]any{}
		}
		v = make()
		tx.memo[key] = v
	}
	return v
}
