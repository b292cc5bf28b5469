package store

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestSyncIsSharedByAllThatWait(t *testing.T) {
	var flushes atomic.Int64
	begun, let := make(chan struct{}, 100), make(chan struct{})
	s := &syncer{busy: make(chan struct{}, 1), flush: func() error {
		flushes.Add(1)
		begun <- struct{}{}
		<-let
		return nil
	}}
	if err := s.wait(t.Context()); err != nil || flushes.Load() != 0 {
		t.Fatalf("%v after %d flushes: nothing was committed, nothing is flushed", err, flushes.Load())
	}
	s.commits.Add(1)
	first := make(chan error, 1)
	go func() { first <- s.wait(t.Context()) }()
	<-begun
	// While the first flush goes on, many commit and wait: one more flush serves them all.
	var wg sync.WaitGroup
	joined := make(chan struct{}, 50)
	for range 50 {
		wg.Go(func() {
			s.commits.Add(1)
			joined <- struct{}{}
			if err := s.wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for range 50 {
		<-joined
	}
	close(let)
	wg.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := flushes.Load(); n < 2 || n > 10 {
		t.Errorf("%d flushes for 51 commits, expected a few: at least one that began after the last commit", n)
	}
	before := flushes.Load()
	if err := s.wait(t.Context()); err != nil || flushes.Load() != before {
		t.Errorf("%v, %d flushes: all is on the disk already", err, flushes.Load()-before)
	}
}

func TestSyncThatFailsIsTriedAgain(t *testing.T) {
	broken := errors.New("disk")
	fail := true
	s := &syncer{busy: make(chan struct{}, 1), flush: func() error {
		if fail {
			return broken
		}
		return nil
	}}
	s.commits.Add(1)
	if err := s.wait(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v, expected the disk's error", err)
	}
	fail = false
	if err := s.wait(t.Context()); err != nil {
		t.Error(err)
	}
	s.commits.Add(1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.wait(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSyncOfADatabase(t *testing.T) {
	db, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Tx(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE t (x BIGINT)`); return err }); err != nil {
		t.Fatal(err)
	}
	if err := db.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	if db.sync.synced != db.sync.commits.Load() || db.sync.synced == 0 {
		t.Errorf("%d of %d commits are on the disk", db.sync.synced, db.sync.commits.Load())
	}
}

func BenchmarkCommitAndSync(b *testing.B) {
	db, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "s.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Tx(b.Context(), func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE t (x BIGINT)`); return err }); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := db.Tx(b.Context(), func(tx *Tx) error { _, err := tx.Exec(`INSERT INTO t VALUES (1)`); return err }); err != nil {
				b.Error(err)
			}
			if err := db.Sync(b.Context()); err != nil {
				b.Error(err)
			}
		}
	})
}
