// Package notify wakes whoever waits for a change: engines, agents on a long
// poll, WebSockets. A notification names a topic and carries nothing: the
// reader looks at the store for what is true now. Notifications may be
// spurious and may be merged, but never lost while a subscription is open.
//
// A Bus serves one process; Share joins the buses of all processes that use one
// PostgreSQL database.
//
// Topics are slash-separated paths such as "baremetal/node/UUID". A
// subscription to "a/b/*" receives every topic below "a/b/".
package notify

import (
	"strings"
	"sync"

	"github.com/tripleo/tripleo/internal/store"
)

// Bus delivers notifications within one process, and to others after Share.
type Bus struct {
	mu     sync.Mutex
	exact  map[string]map[*Subscription]struct{}
	prefix map[string]map[*Subscription]struct{}
	seq    uint64            // counts publications
	last   map[string]uint64 // topic -> seq of its latest publication, recent ones only
	forgot uint64            // publications up to here may be missing from last

	listener func(tx *store.Tx, n Notification) error // nil: nobody hears notifications

	unsent map[string]struct{} // topics for other processes; nil: there are none
	send   chan struct{}       // says that unsent has something
}

// maxRemembered bounds how many topics Since can answer exactly for.
const maxRemembered = 1 << 16

// New returns an empty bus.
func New() *Bus {
	return &Bus{
		exact:  map[string]map[*Subscription]struct{}{},
		prefix: map[string]map[*Subscription]struct{}{},
		last:   map[string]uint64{},
	}
}

// Subscription receives the wake-ups of its topics.
type Subscription struct {
	bus    *Bus
	topics []string
	c      chan struct{}
}

// C delivers a value after at least one of the topics was published since the
// last receive. It is never closed.
func (s *Subscription) C() <-chan struct{} { return s.c }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	for _, t := range s.topics {
		set, key := s.bus.set(t)
		delete(set[key], s)
		if len(set[key]) == 0 {
			delete(set, key)
		}
	}
}

func (b *Bus) set(topic string) (map[string]map[*Subscription]struct{}, string) {
	if p, ok := strings.CutSuffix(topic, "/*"); ok {
		return b.prefix, p
	}
	return b.exact, topic
}

// Subscribe opens a subscription. Subscribe first, then read the state, then
// wait: so no change is missed.
func (b *Bus) Subscribe(topics ...string) *Subscription {
	s := &Subscription{bus: b, topics: topics, c: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range topics {
		set, key := b.set(t)
		if set[key] == nil {
			set[key] = map[*Subscription]struct{}{}
		}
		set[key][s] = struct{}{}
	}
	return s
}

// Publish wakes every subscription of the topics.
func (b *Bus) Publish(topics ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(topics)
	b.queue(topics)
}

// publish wakes the subscriptions in this process; b.mu is held.
func (b *Bus) publish(topics []string) {
	b.seq++
	if len(b.last) >= maxRemembered {
		clear(b.last)
		b.forgot = b.seq - 1
	}
	for _, t := range topics {
		b.last[t] = b.seq
		wake(b.exact[t])
		for i := len(t) - 1; i > 0; i-- {
			if t[i] == '/' {
				wake(b.prefix[t[:i]])
			}
		}
	}
}

// PublishTx publishes after tx has committed, and not at all if it rolls back.
func (b *Bus) PublishTx(tx *store.Tx, topics ...string) {
	tx.AfterCommit(func() { b.Publish(topics...) })
}

func wake(set map[*Subscription]struct{}) {
	for s := range set {
		select {
		case s.c <- struct{}{}:
		default:
		}
	}
}

// Seq returns the number of the latest publication, for Since.
func (b *Bus) Seq() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seq
}

// Since says whether any of the topics may have been published after the
// publication numbered seq. Prefix topics and topics forgotten for lack of
// room count as published when anything was.
func (b *Bus) Since(seq uint64, topics ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seq == seq {
		return false
	}
	for _, t := range topics {
		if strings.HasSuffix(t, "/*") || b.last[t] > seq || b.forgot > seq {
			return true
		}
	}
	return false
}
