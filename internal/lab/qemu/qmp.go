package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// qmpTimeout is how long QEMU may take to answer a command; under load it is slow, but not that slow.
	qmpTimeout = 30 * time.Second
	// maxQMPLine bounds a message of QEMU, in bytes.
	maxQMPLine = 4 << 20
)

// errQMPClosed says that QEMU has closed the connection: it ended.
var errQMPClosed = errors.New("QEMU has closed its control socket")

// qmp is a connection to a QEMU machine protocol server.
type qmp struct {
	conn net.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan qmpReply
	err     error

	events chan qmpEvent // closed when the connection ended
}

type qmpReply struct {
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	QMP    json.RawMessage `json:"QMP"`
}

// qmpError is QEMU's refusal of a command.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return e.Class + ": " + e.Desc }

// qmpEvent is something that happened in the machine.
type qmpEvent struct {
	Name string
	Data json.RawMessage
}

// newQMP takes over a connection and leaves the negotiation mode (qmp-spec 2.2, 4).
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, waiting: map[int]chan qmpReply{}, events: make(chan qmpEvent, 64)}
	go q.read()
	if err := q.run(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// Close ends the connection; the machine goes on.
func (q *qmp) Close() error { return q.conn.Close() }

// read sorts what comes until the connection ends.
func (q *qmp) read() {
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(make([]byte, 0, 4<<10), maxQMPLine)
	err := io.EOF
	for lines.Scan() {
		var m qmpReply
		if err = json.Unmarshal(lines.Bytes(), &m); err != nil {
			_ = q.conn.Close()
			break
		}
		switch {
		case m.Event != "":
			q.deliver(qmpEvent{m.Event, m.Data})
		case m.QMP != nil: // the greeting
		default:
			q.mu.Lock()
			ch := q.waiting[m.ID]
			delete(q.waiting, m.ID)
			q.mu.Unlock()
			if ch != nil {
				ch <- m
			}
		}
	}
	q.mu.Lock()
	q.err = fmt.Errorf("%w (%w)", errQMPClosed, err)
	for id, ch := range q.waiting {
		close(ch)
		delete(q.waiting, id)
	}
	q.mu.Unlock()
	close(q.events)
}

// deliver never blocks the reader: a machine that floods us with events loses
// the oldest ones.
func (q *qmp) deliver(e qmpEvent) {
	for {
		select {
		case q.events <- e:
			return
		default:
		}
		select {
		case <-q.events:
		default:
		}
	}
}

// run executes a command and decodes its result into out, if that is given.
func (q *qmp) run(ctx context.Context, command string, args, out any) error {
	ch := make(chan qmpReply, 1)
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return fmt.Errorf("QMP %s: %w", command, q.err)
	}
	q.next++
	id := q.next
	q.waiting[id] = ch
	q.mu.Unlock()
	msg := map[string]any{"execute": command, "id": id}
	if args != nil {
		msg["arguments"] = args
	}
	b, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case <-ctx.Done():
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
		return fmt.Errorf("QMP %s: %w", command, ctx.Err())
	case m, ok := <-ch:
		switch {
		case !ok:
			return fmt.Errorf("QMP %s: %w", command, errQMPClosed)
		case m.Error != nil:
			return fmt.Errorf("QMP %s: %w", command, m.Error)
		case out != nil:
			if err := json.Unmarshal(m.Return, out); err != nil {
				return fmt.Errorf("QMP %s: %w", command, err)
			}
		}
		return nil
	}
}
