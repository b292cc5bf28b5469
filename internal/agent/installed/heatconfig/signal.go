package heatconfig

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

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
)

const (
	// maxSignal is the size heat-config-notify trims a signal to; Heat takes bodies up to 1 MiB by default.
	maxSignal     = 950_000
	signalTimeout = 60 * time.Second
	minRetry      = time.Second
	maxRetry      = 30 * time.Second
)

// signal says where a result goes; Heat puts it into the inputs of a deployment.
type signal struct {
	Transport string `json:"transport,omitempty"`
	URL       string `json:"url,omitempty"` // of CFN_SIGNAL and TEMP_URL_SIGNAL; signed, hence secret
	Verb      string `json:"verb,omitempty"`
	// Of HEAT_SIGNAL and ZAQAR_SIGNAL, which have no such URL.
	Account  collect.Account `json:"account,omitzero"`
	StackID  string          `json:"stack_id,omitempty"` // NAME/ID
	Resource string          `json:"resource,omitempty"`
	Queue    string          `json:"queue,omitempty"`
}

func signalOf(d hooks.Deployment) signal {
	s := signal{
		Transport: d.InputText("deploy_signal_transport"),
		URL:       d.InputText("deploy_signal_id"),
		Verb:      strings.ToUpper(d.InputText("deploy_signal_verb")),
	}
	if s.Verb == "" {
		s.Verb = http.MethodPost
	}
	if s.URL != "" {
		return s
	}
	s.Account = collect.Account{AuthURL: d.InputText("deploy_auth_url"), UserID: d.InputText("deploy_user_id"), Password: d.InputText("deploy_password"),
		ProjectID: d.InputText("deploy_project_id"), Region: d.InputText("deploy_region_name")}
	if s.Queue = d.InputText("deploy_queue_id"); s.Queue == "" {
		s.StackID, s.Resource = d.InputText("deploy_stack_id"), d.InputText("deploy_resource_name")
	}
	return s
}

// none tells that nobody waits for the result.
func (s signal) none() bool { return s.URL == "" && s.Account.AuthURL == "" }

// Signals sends results until ctx ends, each until the server has accepted it or the deployment is no longer in the node's
// metadata. It sends at once what is new and repeats what was refused after 1 s, doubling to 30 s.
func (r *Runner) Signals(ctx context.Context) {
	retry := time.Duration(0)
	for {
		if r.sendAll(ctx) {
			retry = 0
		} else {
			retry = min(max(2*retry, minRetry), maxRetry)
		}
		var again <-chan time.Time
		if retry > 0 {
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-again:
		}
	}
}

// sendAll sends every open result once; true when none is left.
func (r *Runner) sendAll(ctx context.Context) bool {
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	clean := true
	for _, rec := range r.all() {
		if rec.Signaled || (listed != nil && !listed[rec.ID]) {
			continue
		}
		if err := r.send(ctx, rec); err != nil {
			r.cfg.Log.Warn("result not accepted, will be sent again", "deployment", rec.Name, "error", err)
			clean = false
			continue
		}
		rec.Signaled = true
		if err := r.save(rec); err != nil {
			r.cfg.Log.Error("result was accepted but that cannot be kept", "deployment", rec.Name, "error", err)
			clean = false
		}
	}
	return clean
}

func (r *Runner) send(ctx context.Context, rec record) error {
	body, err := signalBody(rec.Outputs)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	if rec.Signal.URL == "" {
		return r.sendAsUser(ctx, rec.Signal, body)
	}
	req, err := http.NewRequestWithContext(ctx, rec.Signal.Verb, rec.Signal.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("deploy_signal_id is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.cfg.Client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the signed URL
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("server answered %s", resp.Status)
	}
	return nil
}

// messageTTL is how long a result may wait in a queue, in seconds.
const messageTTL = 600

// sendAsUser signals as the user Heat made for the deployment: through Heat's API or into its queue.
func (r *Runner) sendAsUser(ctx context.Context, s signal, body []byte) error {
	session, err := s.Account.Open(ctx, r.cfg.Client)
	if err != nil {
		return err
	}
	if s.Queue == "" {
		stack, id, _ := strings.Cut(s.StackID, "/")
		address, err := session.URL("orchestration", "stacks", stack, id, "resources", s.Resource, "signal")
		if err != nil {
			return err
		}
		_, err = session.Call(ctx, http.MethodPost, address, nil, body)
		return err
	}
	address, err := session.URL("messaging", "v2", "queues", s.Queue, "messages")
	if err != nil {
		return err
	}
	messages, err := json.Marshal(map[string]any{"messages": []any{map[string]any{"ttl": messageTTL, "body": json.RawMessage(body)}}})
	if err != nil {
		return err
	}
	_, err = session.Call(ctx, http.MethodPost, address, http.Header{"Client-Id": {"00000000-0000-4000-8000-000000000001"}}, messages)
	return err
}

// signalBody is the flat JSON Heat expects. When it is too long, the two streams lose their beginnings, because errors
// are at the end.
func signalBody(outputs map[string]any) ([]byte, error) {
	body, err := json.Marshal(outputs)
	if err != nil || len(body) <= maxSignal {
		return body, err
	}
	cut := make(map[string]any, len(outputs))
	for k, v := range outputs {
		cut[k] = v
	}
	for _, key := range []string{"deploy_stdout", "deploy_stderr"} {
		text, _ := cut[key].(string)
		for len(body) > maxSignal && text != "" {
			// JSON may write a byte as six; cutting what is too much, and at least a little, ends soon.
			drop := min(len(text), max((len(body)-maxSignal)/6, 4096))
			text = strings.ToValidUTF8(text[drop:], "")
			cut[key] = text
			if body, err = json.Marshal(cut); err != nil {
				return nil, err
			}
		}
	}
	if len(body) <= maxSignal {
		return body, nil
	}
	// Sent as it is, it would be refused for ever and the deployment would hang.
	text, _ := cut["deploy_stderr"].(string)
	return json.Marshal(map[string]any{
		"deploy_stdout": cut["deploy_stdout"], "deploy_status_code": 1,
		"deploy_stderr": fmt.Sprintf("%s\nthe outputs are %d bytes, a signal may have %d\n", text, len(body), maxSignal),
	})
}

// Flush sends every open result once and fails when one was not accepted.
func (r *Runner) Flush(ctx context.Context) error {
	if r.sendAll(ctx) {
		return nil
	}
	return errors.New("not every result was accepted")
}
