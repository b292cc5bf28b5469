package ramdisk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxAnswer bounds an answer of Ironic's or inspector's, in bytes.
	maxAnswer = 8 << 20
	// apiVersion is the microversion asked for: heartbeat knows agent_token from 1.62 on.
	apiVersion    = "1.68"
	versionHeader = "X-OpenStack-Ironic-API-Version"
	// requestTimeout bounds one request to Ironic or inspector.
	requestTimeout = 60 * time.Second
)

// Node is what the agent keeps of the node Ironic knows this machine as.
type Node struct {
	UUID string `json:"uuid"`
	// TargetRAID is what create_configuration makes.
	TargetRAID json.RawMessage `json:"target_raid_config"`
	// Properties is nil in an abbreviated node, which then says nothing about hints.
	Properties *struct {
		RootDevice map[string]any `json:"root_device"`
	} `json:"properties"`
	InstanceInfo struct {
		RootDevice map[string]any `json:"root_device"`
	} `json:"instance_info"`
}

// hints are the root device hints in force: an instance's own before the node's.
func (n Node) hints() map[string]any {
	if len(n.InstanceInfo.RootDevice) > 0 {
		return n.InstanceInfo.RootDevice
	}
	if n.Properties == nil {
		return nil
	}
	return n.Properties.RootDevice
}

// lookupAnswer is the body of GET /v1/lookup.
type lookupAnswer struct {
	Node   Node `json:"node"`
	Config struct {
		HeartbeatTimeout   int    `json:"heartbeat_timeout"` // seconds
		AgentToken         string `json:"agent_token"`
		AgentTokenRequired bool   `json:"agent_token_required"`
	} `json:"config"`
}

// httpError is an answer other than success.
type httpError struct {
	code int
	text string
}

func (e *httpError) Error() string { return e.text }

// call does one JSON request; out may be nil. The body is never part of the error, the server's message is.
func (a *agent) call(ctx context.Context, method, target string, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set(versionHeader, apiVersion)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.o.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return &httpError{resp.StatusCode, fmt.Sprintf("%s: %s", resp.Status, faultText(data))}
	}
	if out == nil || len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("understand the answer: %w", err)
	}
	return nil
}

// faultText digs the message out of Ironic's and inspector's fault envelopes; Ironic's error_message may be
// JSON inside a JSON string.
func faultText(data []byte) string {
	var f struct {
		ErrorMessage json.RawMessage `json:"error_message"`
		Error        struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	text := strings.TrimSpace(string(data))
	if json.Unmarshal(data, &f) == nil {
		if f.Error.Message != "" {
			text = f.Error.Message
		} else if len(f.ErrorMessage) > 0 {
			inner := []byte(f.ErrorMessage)
			var s string
			if json.Unmarshal(inner, &s) == nil {
				text, inner = s, []byte(s)
			}
			var fault struct {
				Faultstring string `json:"faultstring"`
			}
			if json.Unmarshal(inner, &fault) == nil && fault.Faultstring != "" {
				text = fault.Faultstring
			}
		}
	}
	const limit = 500
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return text
}

// lookup asks Ironic until it knows the machine. A machine that nobody knows has nothing else to do, so it asks
// for as long as it runs, at most every 30 seconds.
func (a *agent) lookup(ctx context.Context, macs []string, uuid string) (lookupAnswer, error) {
	q := url.Values{"addresses": {strings.Join(macs, ",")}}
	if uuid != "" {
		q.Set("node_uuid", uuid)
	}
	target := a.o.Config.APIURL + "/v1/lookup?" + q.Encode()
	for n := 1; ; n++ {
		var answer lookupAnswer
		err := a.call(ctx, http.MethodGet, target, nil, &answer)
		if err == nil && answer.Node.UUID == "" {
			err = errors.New("the answer names no node")
		}
		if err == nil {
			a.log.Info("node found", "node", answer.Node.UUID, "heartbeat_timeout", answer.Config.HeartbeatTimeout)
			return answer, nil
		}
		wait := a.o.Backoff(n, 30*time.Second)
		a.log.Warn("lookup failed, trying again", "err", err, "attempt", n, "after", wait)
		if err := sleep(ctx, wait); err != nil {
			return answer, err
		}
	}
}

// heartbeat tells Ironic once where the agent listens.
func (a *agent) heartbeat(ctx context.Context) error {
	body := map[string]any{"callback_url": a.callbackURL, "agent_version": a.o.Version}
	if a.token != "" {
		body["agent_token"] = a.token
	}
	return a.call(ctx, http.MethodPost, a.o.Config.APIURL+"/v1/heartbeat/"+url.PathEscape(a.node().UUID), body, nil)
}

// heartbeats runs until ctx ends. Three heartbeats fit into the timeout; 10 % of jitter keeps a rack that was
// powered on at once from knocking at once. A failed one is repeated within seconds: Ironic may be restarting,
// or the node is locked for a moment (409).
func (a *agent) heartbeats(ctx context.Context, timeout time.Duration) error {
	for failed := 0; ; {
		err := a.heartbeat(ctx)
		wait := time.Duration(float64(timeout) / 3 * (0.9 + 0.2*a.o.Random()))
		if err != nil {
			failed++
			wait = min(wait, a.o.Backoff(failed, 10*time.Second))
			a.log.Warn("heartbeat failed", "err", err, "after", wait)
		} else {
			failed = 0
			a.log.Debug("heartbeat", "next", wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-a.beat: // a command ended
			t.Stop()
		case <-t.C:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
