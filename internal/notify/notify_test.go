package notify_test

import (
	"errors"
	"testing"

	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func woken(s *notify.Subscription) bool {
	select {
	case <-s.C():
		return true
	default:
		return false
	}
}

func TestTopicsAndPrefixes(t *testing.T) {
	for _, tc := range []struct {
		reason, subscribed, published string
		want                          bool
	}{
		{"the topic itself", "a/b/c", "a/b/c", true},
		{"a neighbour", "a/b/c", "a/b/d", false},
		{"a prefix takes what is below", "a/b/*", "a/b/c", true},
		{"at any depth", "a/*", "a/b/c", true},
		{"but not the topic of its own name", "a/b/*", "a/b", false},
		{"nor words that begin alike", "a/b/*", "a/bc", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			bus := notify.New()
			s := bus.Subscribe("other", tc.subscribed)
			defer s.Close()
			bus.Publish(tc.published)
			if got := woken(s); got != tc.want {
				t.Errorf("woken %t, expected %t", got, tc.want)
			}
		})
	}
}

func TestWakeUpsMergeAndCloseEndsThem(t *testing.T) {
	bus := notify.New()
	s := bus.Subscribe("x")
	bus.Publish("x")
	bus.Publish("x")
	if !woken(s) || woken(s) {
		t.Error("two publications before a look are one wake-up")
	}
	s.Close()
	bus.Publish("x")
	if woken(s) {
		t.Error("woken after Close")
	}
}

func TestSinceKnowsWhatCameAfter(t *testing.T) {
	bus := notify.New()
	bus.Publish("x")
	seq := bus.Seq()
	if bus.Since(seq, "x") {
		t.Error("a publication from before counts")
	}
	bus.Publish("y")
	if bus.Since(seq, "x") || !bus.Since(seq, "x", "y") || !bus.Since(seq, "z/*") {
		t.Error("expected y and, to be safe, any prefix to count, but not x")
	}
}

func TestPublishTxOnlyAfterCommit(t *testing.T) {
	db, bus := storetest.Open(t), notify.New()
	s := bus.Subscribe("x")
	defer s.Close()
	broken := errors.New("broken")
	if err := db.Tx(t.Context(), func(tx *store.Tx) error { bus.PublishTx(tx, "x"); return broken }); !errors.Is(err, broken) || woken(s) {
		t.Errorf("%v; a rolled back transaction must wake nobody", err)
	}
	if err := db.Tx(t.Context(), func(tx *store.Tx) error {
		bus.PublishTx(tx, "x")
		if woken(s) {
			t.Error("woken before the commit")
		}
		return nil
	}); err != nil || !woken(s) {
		t.Errorf("%v; a committed transaction must wake", err)
	}
}
