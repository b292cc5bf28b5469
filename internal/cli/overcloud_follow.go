package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	lookEvery   = 5 * time.Second // at the execution itself, should a message be lost
	wireTimeout = 20 * time.Second
	maxFrame    = 64 << 20
)

// message is a message of a workflow on the queue.
type message struct {
	typ     string
	payload *yaml11.OrderedMap
}

// outcome is how an execution ended.
type outcome struct {
	id, state, info string
	last            *yaml11.OrderedMap // payload of the last message of the workflow itself
}

// failed is the error of a workflow that did not succeed; nil if it did.
func (r *outcome) failed(name string) error {
	status := str(lookup(r.last, "status"))
	if status == "SUCCESS" || (status == "" && r.state == "SUCCESS") {
		return nil
	}
	text := firstNonEmpty(problem(lookup(r.last, "message")), problem(r.info), "no reason given")
	if !strings.HasPrefix(text, "\n") {
		text = " " + text
	}
	return fmt.Errorf("workflow %s failed:%s", name, text)
}

// messages subscribes to the queue and returns what comes until ctx is done.
func (o *operator) messages(ctx context.Context) (<-chan message, error) {
	frames := make(chan message, 256)
	connected := make(chan error, 1)
	go o.listen(ctx, defaultQueue, frames, connected)
	select {
	case err := <-connected:
		if err != nil {
			return nil, fmt.Errorf("queue %s: %w", defaultQueue, err)
		}
		return frames, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// workflow starts an execution and follows it to its end. Its messages are shown (show nil: they are not).
// The subscription is made before the start, so that no message is missed.
func (o *operator) workflow(ctx context.Context, name string, input map[string]any, show *progress) (*outcome, error) {
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	frames, err := o.messages(lctx)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	c, err := o.s.Workflow()
	if err != nil {
		return nil, err
	}
	v, _, err := o.call(ctx, c, http.MethodPost, below(c, "v2", "executions"), map[string]any{"workflow_name": name, "input": string(text)}, nil)
	if err != nil {
		return nil, fmt.Errorf("workflow %s: %w", name, err)
	}
	return o.attach(ctx, name, str(lookup(v, "id")), frames, show)
}

// attach follows a started execution.
func (o *operator) attach(ctx context.Context, name, id string, frames <-chan message, show *progress) (*outcome, error) {
	out := &outcome{id: id}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	second := time.NewTicker(time.Second) // times that are shown go on
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case m := <-frames:
			if !belongs(m.payload, id) {
				continue
			}
			if show != nil {
				show.show(m)
			}
			if m.typ != name && str(lookup(m.payload, "execution_id")) != id {
				continue
			}
			out.last = m.payload
			if s := str(lookup(m.payload, "status")); s != "" && s != "RUNNING" {
				return out, o.settle(ctx, out)
			}
		case <-second.C:
			if show != nil {
				show.redraw()
			}
		case <-tick.C:
			state, info, err := o.executionState(ctx, id)
			var api *apiError
			switch {
			case errors.As(err, &api) && api.status < 500:
				return out, err
			case err == nil && state != "RUNNING" && state != "PAUSED" && state != "IDLE":
				out.state, out.info = state, info
				out.drain(id, name, frames, show)
				return out, nil
			}
		}
	}
}

// drain takes what has been received already.
func (r *outcome) drain(id, name string, frames <-chan message, show *progress) {
	for {
		select {
		case m := <-frames:
			if belongs(m.payload, id) {
				if show != nil {
					show.show(m)
				}
				if m.typ == name || str(lookup(m.payload, "execution_id")) == id {
					r.last = m.payload
				}
			}
		default:
			return
		}
	}
}

// settle reads the state of an execution whose last message has come; it ends a moment after that.
func (o *operator) settle(ctx context.Context, out *outcome) error {
	state, info, err := o.executionState(ctx, out.id)
	if err == nil {
		out.state, out.info = state, info
	}
	return nil
}

func belongs(p *yaml11.OrderedMap, id string) bool {
	for _, path := range [][]string{{"execution_id"}, {"root_execution_id"}, {"execution", "id"}, {"execution", "root_execution_id"}} {
		if str(lookup(p, path...)) == id {
			return true
		}
	}
	return false
}

func (o *operator) executionState(ctx context.Context, id string) (state, info string, err error) {
	c, err := o.s.Workflow()
	if err != nil {
		return "", "", err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v2", "executions", id), nil, nil)
	if err != nil {
		return "", "", err
	}
	return str(lookup(v, "state")), str(lookup(v, "state_info")), nil
}

// listen keeps a subscription to a queue and hands over its messages; after a lost connection it makes a new one.
func (o *operator) listen(ctx context.Context, queue string, frames chan<- message, connected chan<- error) {
	first := true
	wait := 200 * time.Millisecond
	for ctx.Err() == nil {
		conn, err := o.subscribe(ctx, queue)
		if first {
			first = false
			connected <- err
			if err != nil {
				return
			}
		}
		if err == nil {
			wait = 200 * time.Millisecond
			readFrames(ctx, conn, frames)
			_ = conn.CloseNow()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// subscribe speaks Zaqar's WebSocket protocol up to a subscription.
func (o *operator) subscribe(ctx context.Context, queue string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	endpoint, err := o.websocketURL()
	if err != nil {
		return nil, err
	}
	opts := &websocket.DialOptions{HTTPClient: &http.Client{Transport: o.s.Provider.HTTPClient.Transport}}
	conn, _, err := websocket.Dial(ctx, endpoint, opts) //nolint:bodyclose // the library closes it
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	conn.SetReadLimit(maxFrame)
	client := uuid.NewString()
	for _, step := range []struct {
		action string
		body   map[string]any
	}{
		{"authenticate", map[string]any{}},
		{"queue_create", map[string]any{"queue_name": queue}},
		{"subscription_create", map[string]any{"queue_name": queue, "ttl": 10000}},
	} {
		frame := map[string]any{"action": step.action, "body": step.body,
			"headers": map[string]any{"Client-ID": client, "X-Project-ID": o.s.ProjectID, "X-Auth-Token": o.s.Provider.Token()}}
		if err := exchange(ctx, conn, step.action, frame); err != nil {
			_ = conn.CloseNow()
			return nil, err
		}
	}
	return conn, nil
}

func exchange(ctx context.Context, conn *websocket.Conn, action string, frame map[string]any) error {
	data, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, data); err != nil {
		return err
	}
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", action, err)
		}
		v, err := yaml11.DecodeJSON(data)
		if err != nil {
			return fmt.Errorf("%s: %w", action, err)
		}
		if lookup(v, "headers") == nil {
			continue // a notification for an earlier subscription
		}
		switch status := str(lookup(v, "headers", "status")); status {
		case "200", "201", "204":
			return nil
		default:
			return fmt.Errorf("%s: status %s %s", action, status, str(lookup(v, "body", "error")))
		}
	}
}

func readFrames(ctx context.Context, conn *websocket.Conn, frames chan<- message) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		v, err := yaml11.DecodeJSON(data)
		if err != nil {
			continue // not for us
		}
		p, ok := lookup(v, "body", "payload").(*yaml11.OrderedMap)
		if !ok {
			continue
		}
		select {
		case frames <- message{str(lookup(v, "body", "type")), p}:
		case <-ctx.Done():
			return
		}
	}
}
