package notify

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// share joins a bus to the database until the test ends.
func share(t *testing.T, db *store.DB) *Bus {
	t.Helper()
	b := New()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := b.Subscribe("connected")
	defer s.Close()
	go func() { done <- b.Share(ctx, db, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, s, "the first connection wakes everybody")
	return b
}

func await(t *testing.T, s *Subscription, why string) {
	t.Helper()
	select {
	case <-s.C():
	case <-time.After(20 * time.Second):
		t.Fatalf("not woken: %s", why)
	}
}

func TestProcessesOfOneDatabaseWakeEachOther(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	open := func() *store.DB {
		db, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	db1, db2 := open(), open()
	a, b := share(t, db1), share(t, db2)
	sub := b.Subscribe("stack/*", "node/x")
	defer sub.Close()
	own := a.Subscribe("stack/*")
	defer own.Close()
	seq := b.Seq()

	a.Publish("stack/1")
	await(t, sub, "a topic below stack/ was published by the other process")
	await(t, own, "the publisher's own subscriber")
	if !b.Since(seq, "stack/1") || b.Since(b.Seq(), "stack/1") {
		t.Error("what another process published counts for Since like what this one did")
	}
	if err := db1.Tx(t.Context(), func(tx *store.Tx) error { a.PublishTx(tx, "node/x"); return nil }); err != nil {
		t.Fatal(err)
	}
	await(t, sub, "a topic published with a transaction")
	b.Publish("stack/2")
	await(t, own, "the other direction")

	idle := a.Subscribe("never/published")
	defer idle.Close()
	// A lost connection: after it is back, everybody is woken once and topics arrive again.
	if err := db1.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	await(t, idle, "the connection was lost, so anything may have been missed")
	await(t, sub, "the same in the other process")
	a.Publish("node/x")
	await(t, sub, "a topic after the connection was made again")
}

func TestBatchesAreBounded(t *testing.T) {
	var topics []string
	for i := range 2000 {
		topics = append(topics, fmt.Sprintf("topic/%d", i))
	}
	topics = append(topics, strings.Repeat("x", store.MaxNotification))
	seen := map[string]bool{}
	for _, text := range batches("self", topics) {
		if len(text) > store.MaxNotification {
			t.Errorf("a notification of %d bytes", len(text))
		}
		from, list, _ := strings.Cut(text, separator)
		if from != "self" {
			t.Errorf("sender %q", from)
		}
		for t := range strings.SplitSeq(list, separator) {
			seen[t] = true
		}
	}
	if len(seen) != 2001 || !seen[everything] {
		t.Errorf("%d topics arrive, expected 2000 and one wake-up of everybody for the one that is too long", len(seen))
	}
	if batches("self", nil) != nil {
		t.Error("nothing to say is nothing sent")
	}
}

func TestTooManyUnsentTopicsWakeEverybody(t *testing.T) {
	b := New()
	b.unsent, b.send = map[string]struct{}{}, make(chan struct{}, 1)
	for i := range maxUnsent + 10 {
		b.Publish(fmt.Sprintf("t/%d", i))
	}
	if n := len(b.unsent); n > 10 {
		t.Errorf("%d topics kept, expected the memory to be given back", n)
	}
	if _, ok := b.unsent[everything]; !ok {
		t.Error("the topics that were dropped wake nobody")
	}
}
