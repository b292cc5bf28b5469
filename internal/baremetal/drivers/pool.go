package drivers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// session is an open conversation with a controller.
type session interface {
	Machine
	close(ctx context.Context)
}

// pool keeps at most one session a controller and serialises its use.
type pool struct {
	o  Options
	mu sync.Mutex
	m  map[string]*entry
}

type entry struct {
	lock chan struct{} // capacity 1: held while the controller is spoken to
	sess session
	last time.Time // end of the last operation
	refs int       // under pool.mu: users and waiters
}

func newPool(o Options) *pool { return &pool{o: o, m: map[string]*entry{}} }

// with runs fn on the controller's session, opening one if needed. A session
// that has broken (the controller was reset, say) is replaced once.
func (p *pool) with(ctx context.Context, key string, open func(context.Context) (session, error), fn func(context.Context, session) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	e, err := p.acquire(ctx, key)
	if err != nil {
		return err
	}
	defer p.releaseEntry(key, e)
	if wait := p.o.Spacing - p.o.Now().Sub(e.last); wait > 0 && !e.last.IsZero() {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return unreachable(ctx.Err())
		case <-t.C:
		}
	}
	for fresh := false; ; {
		if e.sess == nil {
			fresh = true
			if e.sess, err = open(ctx); err != nil {
				e.sess = nil
				return classify(ctx, err)
			}
		}
		err = fn(ctx, e.sess)
		e.last = p.o.Now()
		if err == nil || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrConfig) {
			return err
		}
		// Whatever happened, the session's state is in doubt.
		go e.sess.close(context.WithoutCancel(ctx))
		e.sess = nil
		if fresh || ctx.Err() != nil {
			return classify(ctx, err)
		}
	}
}

func (p *pool) acquire(ctx context.Context, key string) (*entry, error) {
	p.mu.Lock()
	e := p.m[key]
	if e == nil {
		e = &entry{lock: make(chan struct{}, 1)}
		p.m[key] = e
	}
	e.refs++
	p.mu.Unlock()
	select {
	case e.lock <- struct{}{}:
		return e, nil
	case <-ctx.Done():
		p.unref(key, e)
		return nil, unreachable(fmt.Errorf("other operations on this BMC are under way: %w", ctx.Err()))
	}
}

func (p *pool) releaseEntry(key string, e *entry) {
	<-e.lock
	p.unref(key, e)
}

func (p *pool) unref(key string, e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.refs--
	if e.refs == 0 && e.sess == nil && p.m[key] == e {
		delete(p.m, key)
	}
}

// closeIdle closes the sessions that no one has used for the given time.
func (p *pool) closeIdle(ctx context.Context, idle time.Duration) {
	p.mu.Lock()
	var dead []session
	for key, e := range p.m {
		if e.refs == 0 && e.sess != nil && p.o.Now().Sub(e.last) >= idle {
			dead = append(dead, e.sess)
			delete(p.m, key)
		}
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range dead {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			s.close(ctx)
		})
	}
	wg.Wait()
}

func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

// classify makes a timeout recognisable, whatever library reported it.
func classify(ctx context.Context, err error) error {
	if errors.Is(err, ErrAuth) || errors.Is(err, ErrUnreachable) {
		return err
	}
	var ne net.Error
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) {
		return unreachable(err)
	}
	return err
}

// pooled is a Machine over the pool.
type pooled struct {
	pool *pool
	key  string
	open func(context.Context) (session, error)
}

func (p *pooled) Power(ctx context.Context) (power Power, err error) {
	err = p.pool.with(ctx, p.key, p.open, func(ctx context.Context, s session) error {
		power, err = s.Power(ctx)
		return err
	})
	return power, err
}

func (p *pooled) SetPower(ctx context.Context, a Action) error {
	return p.pool.with(ctx, p.key, p.open, func(ctx context.Context, s session) error { return s.SetPower(ctx, a) })
}

func (p *pooled) BootDevice(ctx context.Context) (d BootDevice, err error) {
	err = p.pool.with(ctx, p.key, p.open, func(ctx context.Context, s session) error {
		d, err = s.BootDevice(ctx)
		return err
	})
	return d, err
}

func (p *pooled) SetBootDevice(ctx context.Context, d BootDevice) error {
	return p.pool.with(ctx, p.key, p.open, func(ctx context.Context, s session) error { return s.SetBootDevice(ctx, d) })
}
