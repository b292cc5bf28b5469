package ipmi

import (
	"context"
	"errors"
	"sync"

	"github.com/bougou/go-ipmi/pkg/hal"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// maxWaiting is how much of the serial line's output may wait for a client that
// does not acknowledge it, in bytes; what comes after it waits in the console's log.
const maxWaiting = 64 << 10

// serial gives the serial line to Serial over LAN (IPMI v2.0, 15). That only
// one session has it at a time is the reference server's business.
type serial struct {
	sys  bmc.System
	line bmc.SerialLine
}

// Open implements hal.ConsoleHAL.
func (s serial) Open(context.Context) (hal.ConsoleConn, error) {
	// The context is that of Activate Payload, the line is kept until it is closed.
	ctx, stop := context.WithCancel(context.Background())
	c := &console{serial: s, stop: stop, out: &output{ctx: ctx, room: make(chan struct{}, 1)}}
	c.wait = s.line.Follow(ctx, c.out)
	return c, nil
}

// console is the serial line while a payload is active.
type console struct {
	serial
	out  *output
	stop context.CancelFunc
	wait func() error
}

// ReadAvailable implements hal.ConsoleConn. A dead BMC sends nothing.
func (c *console) ReadAvailable(p []byte) (int, error) {
	// The pump that asks must not wait: with a context that is over, a slow BMC
	// says so at once, and only a dead one has another error.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.sys.Gate(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return 0, nil
	}
	return c.out.take(p), nil
}

// Write implements hal.ConsoleConn. As on a real line, what is typed while
// nobody is at the other end is lost, which is no error of the line.
func (c *console) Write(p []byte) (int, error) {
	_ = c.line.Type(p)
	return len(p), nil
}

// SendBreak implements hal.ConsoleConn.
func (c *console) SendBreak(context.Context) error { return hal.ErrNotSupported }

// Close implements hal.ConsoleConn.
func (c *console) Close() error {
	c.stop()
	if err := c.wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// output keeps what the machine has printed until it is taken.
type output struct {
	ctx  context.Context // done when the line is closed
	room chan struct{}   // signals that something was taken

	mu      sync.Mutex
	waiting []byte
}

// Write implements io.Writer; it waits for room.
func (o *output) Write(p []byte) (int, error) {
	written := 0
	for {
		o.mu.Lock()
		n := min(len(p)-written, maxWaiting-len(o.waiting))
		o.waiting = append(o.waiting, p[written:written+n]...)
		o.mu.Unlock()
		if written += n; written == len(p) {
			return written, nil
		}
		select {
		case <-o.ctx.Done():
			return written, o.ctx.Err()
		case <-o.room:
		}
	}
}

func (o *output) take(p []byte) int {
	o.mu.Lock()
	n := copy(p, o.waiting)
	o.waiting = o.waiting[n:]
	o.mu.Unlock()
	if n > 0 {
		select {
		case o.room <- struct{}{}:
		default: // it is signalled already
		}
	}
	return n
}
