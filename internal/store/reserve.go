package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tripleo/tripleo/internal/diskspace"
)

// spare keeps SQLite off the reserve of its disk: what makes the database
// larger is refused there, so that something can still be deleted.
type spare struct {
	database string       // its path
	plenty   atomic.Int64 // until when there is room enough, in nanoseconds of Unix time
}

// near is how much room there has to be for no questions to be asked: the log
// holds pages that the database's file has yet to grow by (1,000 of 4 KiB are
// moved at a time, more while a reader holds the log).
const near = 64 << 20 // bytes

// look is for how long a disk that had room enough is taken to have it.
const look = 20 * time.Millisecond

type freeingKey struct{}

// Freeing is ctx for what gives space back in the end: its transactions may use
// the reserve of the disk even if they make the database larger for now.
func Freeing(ctx context.Context) context.Context { return context.WithValue(ctx, freeingKey{}, true) }

func (s *spare) room() int64 { return diskspace.Room(filepath.Dir(s.database)) }

// scarce says whether a transaction has to be watched.
func (s *spare) scarce() bool {
	now := time.Now().UnixNano()
	if now < s.plenty.Load() {
		return false
	}
	if s.room() <= near {
		return true
	}
	s.plenty.Store(now + int64(look))
	return false
}

// guarded is fn, with ErrFull when it made the database larger though only the
// reserve is left.
func (s *spare) guarded(fn func(tx *Tx) error) func(tx *Tx) error {
	return func(tx *Tx) error {
		if s == nil || tx.ctx.Value(freeingKey{}) != nil || !s.scarce() {
			return fn(tx)
		}
		before, _, err := s.pages(tx)
		if err == nil {
			err = fn(tx)
		}
		if err != nil {
			return err
		}
		after, unwritten, err := s.pages(tx)
		if err == nil && after > before && s.room() < unwritten {
			err = fmt.Errorf("%w: the rest of the disk is kept for deleting", ErrFull)
		}
		return err
	}
}

// pages is how many pages the database has, empty ones (which it fills again)
// among them, and how many bytes its file has yet to grow by.
func (s *spare) pages(tx *Tx) (count, unwritten int64, err error) {
	var size int64
	if err := tx.Get([]any{&count}, "PRAGMA page_count"); err != nil {
		return 0, 0, err
	}
	if err := tx.Get([]any{&size}, "PRAGMA page_size"); err != nil {
		return 0, 0, err
	}
	fi, err := os.Stat(s.database)
	if err != nil {
		return 0, 0, fmt.Errorf("size of the database: %w", err)
	}
	return count, max(0, count*size-fi.Size()), nil
}
