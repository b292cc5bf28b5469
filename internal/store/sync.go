package store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// syncer makes commits survive a loss of power. SQLite in WAL mode with
// synchronous=NORMAL survives the death of the process at any moment, but
// leaves commits in the system's cache until a checkpoint
// (https://www.sqlite.org/pragma.html#pragma_synchronous). Flushing the log
// after a commit is what synchronous=FULL would do, once for each; here all
// that wait share one flush.
type syncer struct {
	commits atomic.Uint64 // commits so far
	flush   func() error  // flushes the log
	close   func() error

	mu     sync.Mutex
	synced uint64        // commits known to be on the disk
	next   *syncing      // the flush that has not begun; others may join it
	busy   chan struct{} // cap 1: held by the flush under way
}

type syncing struct {
	done chan struct{}
	err  error
}

// newWALSyncer flushes the write-ahead log of a SQLite database, which is one
// file for as long as the database is open.
func newWALSyncer(database string) *syncer {
	var open sync.Mutex
	var wal *os.File
	flush := func() error {
		open.Lock()
		defer open.Unlock()
		if wal == nil {
			f, err := os.OpenFile(database+"-wal", os.O_RDWR, 0) //nolint:gosec // beside the database
			if err != nil {
				return fmt.Errorf("flush the write-ahead log: %w", err)
			}
			wal = f
		}
		return wal.Sync()
	}
	closeLog := func() error {
		open.Lock()
		defer open.Unlock()
		if wal == nil {
			return nil
		}
		return wal.Close()
	}
	return &syncer{busy: make(chan struct{}, 1), flush: flush, close: closeLog}
}

// Sync returns once everything that was committed before the call is on the
// disk. It costs nothing when it is there already. A PostgreSQL server does
// this at each commit (synchronous_commit).
func (db *DB) Sync(ctx context.Context) error {
	if db.sync == nil {
		return nil
	}
	return db.sync.wait(ctx)
}

func (s *syncer) wait(ctx context.Context) error {
	want := s.commits.Load()
	s.mu.Lock()
	if s.synced >= want {
		s.mu.Unlock()
		return nil
	}
	mine := s.next
	if mine == nil {
		mine = &syncing{done: make(chan struct{})}
		s.next = mine
		go s.run(mine)
	}
	s.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run waits for the flush under way and then does the next one, for all that
// have come to wait for it until it begins.
func (s *syncer) run(mine *syncing) {
	s.busy <- struct{}{}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	upTo := s.commits.Load()
	mine.err = s.flush()
	if mine.err == nil {
		s.mu.Lock()
		s.synced = max(s.synced, upTo)
		s.mu.Unlock()
	}
	<-s.busy
	close(mine.done)
}
