package undercloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/undercloud"
)

// process is an undercloud that a test stops by itself.
type process struct {
	*undercloud.Undercloud
	stop func()
}

func startProcess(t *testing.T, cfg undercloud.Config) process {
	t.Helper()
	cfg.DataDir, cfg.Listen, cfg.Provisioning.Namespace = t.TempDir(), "127.0.0.1:0", "tripleo-test-absent"
	u, err := undercloud.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := u.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	p := process{u, func() { cancel(); <-done }}
	t.Cleanup(p.stop)
	return p
}

func (p process) call(t *testing.T, method, path, token string, body any) (int, map[string]any, http.Header) {
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = bytes.NewBufferString(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.BaseURL()+path, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	if _, text := body.(string); text {
		req.Header.Set("Content-Type", "text/plain")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	_ = json.NewDecoder(res.Body).Decode(&out)
	return res.StatusCode, out, res.Header
}

// until repeats a GET until done says so; the work is in other goroutines and
// processes, and the API is what shows it.
func (p process) until(t *testing.T, path, token string, done func(map[string]any) bool) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; {
		_, out, _ := p.call(t, http.MethodGet, path, token, nil)
		if done(out) {
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %v", path, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Two processes on one database: a token of one is good at the other, and what
// one began the other ends when the first is gone.
func TestProcessesOnOneDatabase(t *testing.T) {
	cfg := undercloud.Config{Database: storetest.PostgresDSN(t), Shared: t.TempDir()}
	a, b := startProcess(t, cfg), startProcess(t, cfg)
	session := adminSession(t, a.Undercloud, undercloud.Config{})
	token := session.Provider.Token()
	for _, p := range []process{a, b} {
		if code, _, _ := p.call(t, http.MethodGet, "/workflow/v2/executions", token, nil); code != http.StatusOK {
			t.Fatalf("%d, expected the token to be good in both processes", code)
		}
	}
	const definition = "version: '2.0'\nlong:\n  output: {r: <% $.r %>}\n  tasks:\n    wait: {action: std.async_noop, publish: {r: <% task().result %>}, on-success: last}\n    last: {action: std.noop}\n"
	if code, out, _ := a.call(t, http.MethodPost, "/workflow/v2/workflows", token, definition); code != http.StatusCreated {
		t.Fatalf("%d %v", code, out)
	}
	code, x, _ := a.call(t, http.MethodPost, "/workflow/v2/executions", token, map[string]any{"workflow_name": "long"})
	if code != http.StatusCreated {
		t.Fatalf("%d %v", code, x)
	}
	var action string
	b.until(t, "/workflow/v2/action_executions", token, func(out map[string]any) bool {
		list, _ := out["action_executions"].([]any)
		if len(list) == 0 {
			return false
		}
		m, _ := list[0].(map[string]any)
		action = fmt.Sprint(m["id"])
		return m["state"] == "RUNNING"
	})
	a.stop()
	if code, out, _ := b.call(t, http.MethodPut, "/workflow/v2/action_executions/"+action, token, map[string]any{"state": "SUCCESS", "output": map[string]any{"result": "done"}}); code != http.StatusOK {
		t.Fatalf("%d %v", code, out)
	}
	out := b.until(t, "/workflow/v2/executions/"+fmt.Sprint(x["id"]), token, func(out map[string]any) bool { return out["state"] != "RUNNING" })
	if out["state"] != "SUCCESS" {
		t.Errorf("%v, expected the second process to end what the first began", out)
	}
}
