package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// maxConsole is how large a console's log grows before it is moved aside, in bytes.
const maxConsole = 16 << 20

// consoleLog keeps what a machine prints in a file and lets others follow.
type consoleLog struct {
	path string

	mu      sync.Mutex
	f       *os.File
	size    int64
	turn    int           // counts moves aside
	changed chan struct{} // closed at the next write
}

func openConsoleLog(path string) (*consoleLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, fmt.Errorf("console log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("console log: %w", err), f.Close())
	}
	return &consoleLog{path: path, f: f, size: fi.Size(), changed: make(chan struct{})}, nil
}

// Write implements io.Writer. A full log becomes path.1.
func (c *consoleLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+int64(len(p)) > maxConsole {
		if err := os.Rename(c.path, c.path+".1"); err != nil {
			return 0, fmt.Errorf("console log: %w", err)
		}
		f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, fileMode)
		if err != nil {
			return 0, fmt.Errorf("console log: %w", err)
		}
		_ = c.f.Close()
		c.f, c.size, c.turn = f, 0, c.turn+1
	}
	n, err := c.f.Write(p)
	c.size += int64(n)
	close(c.changed)
	c.changed = make(chan struct{})
	return n, err
}

// copyTo writes the log to w, and what comes after it until ctx is done if follow is set.
func (c *consoleLog) copyTo(ctx context.Context, w io.Writer, follow bool, flush func()) error {
	return c.copyFrom(ctx, w, position{turn: -1}, follow, flush)
}

// position is a place in the log.
type position struct {
	turn int
	off  int64
}

// end is where the next write goes.
func (c *consoleLog) end() position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return position{c.turn, c.size}
}

func (c *consoleLog) copyFrom(ctx context.Context, w io.Writer, p position, follow bool, flush func()) error {
	buf := make([]byte, 32<<10)
	for {
		c.mu.Lock()
		if p.turn != c.turn {
			p = position{turn: c.turn}
		}
		n, err := c.f.ReadAt(buf, p.off)
		changed := c.changed
		c.mu.Unlock()
		if n > 0 {
			p.off += int64(n)
			if _, err := w.Write(buf[:n]); err != nil {
				return fmt.Errorf("console: %w", err)
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("console: %w", err)
		}
		if !follow {
			return nil
		}
		flush()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (c *consoleLog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.f.Close()
}

// serialLine is a machine's serial line as its BMC has it.
type serialLine struct {
	log   *consoleLog
	input func([]byte) error
}

// Follow implements bmc.SerialLine.
func (l serialLine) Follow(ctx context.Context, w io.Writer) (wait func() error) {
	from, done := l.log.end(), make(chan error, 1)
	go func() { done <- l.log.copyFrom(ctx, w, from, true, func() {}) }()
	return func() error { return <-done }
}

// Type implements bmc.SerialLine.
func (l serialLine) Type(keys []byte) error { return l.input(keys) }
