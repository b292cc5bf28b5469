package switches

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// MaxTogether is the most ports that one call sets.
const MaxTogether = 64

// Change is what one port is to have.
type Change struct {
	Port Port
	VLANs
}

// Batcher is a Driver that sets several ports by one call: all of them or, when
// it returns an error, none.
type Batcher interface {
	SetPorts(ctx context.Context, changes []Change) error
}

// sessions bounds the calls of a switch. Who finds no session free waits, and
// those that wait go together in the next call: switches take seconds to commit
// a configuration, however much of it is new.
type sessions struct {
	driver  Driver
	timeout time.Duration
	free    chan struct{} // holds a token for each session in use

	mu      sync.Mutex
	waiting []*waiter
}

type waiter struct {
	ctx    context.Context
	change Change
	done   chan struct{}
	err    error
}

func newSessions(d Driver, n int, timeout time.Duration) *sessions {
	return &sessions{driver: d, timeout: timeout, free: make(chan struct{}, n)}
}

// Set gives a port VLANs, as Driver's SetPort does, when a session is free. The
// switch's timeout counts from then.
func (s *Switch) Set(ctx context.Context, port Port, v VLANs) error { return s.calls.set(ctx, port, v) }

// Read tells which VLANs a port has; known is false for a driver that cannot tell.
func (s *Switch) Read(ctx context.Context, port Port) (v VLANs, known bool, err error) {
	r, ok := s.Driver.(Reader)
	if !ok {
		return VLANs{}, false, nil
	}
	select {
	case s.calls.free <- struct{}{}:
	case <-ctx.Done():
		return VLANs{}, true, ctx.Err()
	}
	defer func() { <-s.calls.free }()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	v, err = r.Port(ctx, port)
	return v, true, err
}

func (s *sessions) set(ctx context.Context, port Port, v VLANs) error {
	w := &waiter{ctx: ctx, change: Change{port, v}, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	select {
	case s.free <- struct{}{}:
		s.serve()
		<-s.free
	case <-w.done:
	case <-ctx.Done():
		if s.leave(w) {
			return ctx.Err()
		}
	}
	<-w.done // it is in a call that is under way, if not done
	return w.err
}

// leave takes out who waits; false: its call has begun.
func (s *sessions) leave(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, w)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
	return i >= 0
}

// serve makes the call for those that wait.
func (s *sessions) serve() {
	s.mu.Lock()
	n := min(len(s.waiting), MaxTogether)
	batch := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	s.mu.Unlock()
	if len(batch) > 1 && s.together(batch) {
		return
	}
	for _, w := range batch {
		ctx, cancel := context.WithTimeout(w.ctx, s.timeout)
		w.err = s.driver.SetPort(ctx, w.change.Port, w.change.VLANs)
		cancel()
		close(w.done)
	}
}

// together makes one call for several ports. It is not the end if the switch
// refuses them: then each is asked for by itself, because one may be the reason.
func (s *sessions) together(batch []*waiter) bool {
	b, ok := s.driver.(Batcher)
	if !ok {
		return false
	}
	changes := make([]Change, len(batch))
	for i, w := range batch {
		changes[i] = w.change
	}
	ctx, cancel := context.WithTimeout(batch[0].ctx, s.timeout)
	defer cancel()
	err := b.SetPorts(ctx, changes)
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrInvalid) {
		return false
	}
	for _, w := range batch {
		w.err = err
		close(w.done)
	}
	return true
}
