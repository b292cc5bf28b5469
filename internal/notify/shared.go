package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
)

const (
	channel     = "tripleo"       // all processes of one database
	reconnect   = time.Second     // between attempts to listen again
	maxUnsent   = 1 << 16         // topics kept while the database does not answer
	everything  = "*"             // a sender that lost count of its topics
	separator   = "\n"            // between the sender and the topics of a notification
	sendTimeout = 5 * time.Second // for one batch
)

// Share carries publications between the processes that share db until ctx
// ends: what one publishes wakes the subscribers of all. On an embedded
// database there is nobody else, and it only waits.
//
// Topics are sent after their transaction has committed, merged into batches.
// A process that dies in between leaves others unwoken, and one whose
// connection is lost may miss some: after it has connected again all its
// subscribers are woken, and behind every wait stands its owner's slow poll.
func (b *Bus) Share(ctx context.Context, db *store.DB, log *slog.Logger) error {
	if !db.Shared() {
		<-ctx.Done()
		return nil
	}
	self := uuid.NewString()
	b.mu.Lock()
	b.unsent, b.send = map[string]struct{}{}, make(chan struct{}, 1)
	b.mu.Unlock()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		b.sendUnsent(ctx, db, self, log)
	}()
	defer func() { <-sent }()
	for {
		err := db.Listen(ctx, channel, b.wakeAll, func(text string) { b.hear(self, text) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped
		}
		log.Warn("notifications from other processes are interrupted; listening again", "error", err, "in", reconnect)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnect):
		}
	}
}

// hear publishes here what another process published.
func (b *Bus) hear(self, text string) {
	from, list, _ := strings.Cut(text, separator)
	if from == self {
		return
	}
	topics := strings.Split(list, separator)
	if slices.Contains(topics, everything) {
		b.wakeAll()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(topics)
}

// wakeAll wakes every subscription, because any of their topics may have been
// published unheard.
func (b *Bus) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	clear(b.last)
	b.forgot = b.seq
	for _, sets := range []map[string]map[*Subscription]struct{}{b.exact, b.prefix} {
		for _, set := range sets {
			wake(set)
		}
	}
}

// queue keeps topics for the other processes; b.mu is held.
func (b *Bus) queue(topics []string) {
	if b.send == nil {
		return
	}
	for _, t := range topics {
		b.unsent[t] = struct{}{}
	}
	if len(b.unsent) > maxUnsent {
		clear(b.unsent)
		b.unsent[everything] = struct{}{}
	}
	select {
	case b.send <- struct{}{}:
	default:
	}
}

func (b *Bus) takeUnsent() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	topics := make([]string, 0, len(b.unsent))
	for t := range b.unsent {
		topics = append(topics, t)
	}
	clear(b.unsent)
	return topics
}

// sendUnsent sends what is queued until ctx ends.
func (b *Bus) sendUnsent(ctx context.Context, db *store.DB, self string, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.send:
		}
		for _, text := range batches(self, b.takeUnsent()) {
			sending, cancel := context.WithTimeout(ctx, sendTimeout)
			err := db.Notify(sending, channel, text)
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("cannot notify the other processes; they find out by their polls", "error", err)
			}
		}
	}
}

// batches packs topics into notifications of at most store.MaxNotification
// bytes. A topic too long for one wakes everybody.
func batches(self string, topics []string) []string {
	var out []string
	text := self
	for _, t := range topics {
		if len(self)+len(separator)+len(t) > store.MaxNotification {
			t = everything
		}
		if len(text)+len(separator)+len(t) > store.MaxNotification {
			out = append(out, text)
			text = self
		}
		text += separator + t
	}
	if text != self {
		out = append(out, text)
	}
	return out
}
