// Package e2e_test drives the built programs as an operator does: real
// processes, real protocols, clients that nobody here wrote.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// house is an undercloud process with its surroundings.
type house struct {
	t      *testing.T
	dir    string
	bin    string
	port   int
	config string
	server *exec.Cmd
	exited chan error
}

// newHouse prepares a data folder and starts an undercloud in it.
func newHouse(t *testing.T, port int, config string) *house {
	t.Helper()
	bin, err := filepath.Abs("../../bin/tripleo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	h := &house{t: t, dir: t.TempDir(), bin: bin, port: port}
	h.config = filepath.Join(h.dir, "undercloud.yaml")
	if err := os.WriteFile(h.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	t.Cleanup(func() {
		h.kill(syscall.SIGTERM)
		if t.Failed() {
			h.showLog()
		}
	})
	return h
}

func (h *house) data() string { return filepath.Join(h.dir, "undercloud") }

func (h *house) start() {
	h.t.Helper()
	if err := os.MkdirAll(h.data(), 0o700); err != nil {
		h.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(h.dir, "undercloud.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	h.server = exec.CommandContext(context.Background(), h.bin, "undercloud", "up", "--foreground",
		"--data-dir", h.data(), "--listen", fmt.Sprintf("127.0.0.1:%d", h.port), "--config", h.config)
	h.server.Stdout, h.server.Stderr = log, log
	h.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.server.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(h.server, h.exited)
	h.until("the undercloud answers /healthz", 30*time.Second, func() (bool, string) {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", h.port)) //nolint:noctx // a test
		if err != nil {
			return false, err.Error()
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK, res.Status
	})
}

// kill sends a signal and waits for the process's end.
func (h *house) kill(sig syscall.Signal) {
	if h.server == nil {
		return
	}
	_ = h.server.Process.Signal(sig)
	select {
	case <-h.exited:
	case <-time.After(20 * time.Second):
		_ = h.server.Process.Kill()
		<-h.exited
		h.t.Error("the undercloud did not stop within 20 s")
	}
	h.server = nil
}

func (h *house) showLog() {
	data, err := os.ReadFile(filepath.Join(h.dir, "undercloud.log"))
	if err != nil {
		h.t.Log(err)
		return
	}
	lines := strings.Split(string(data), "\n")
	h.t.Logf("the undercloud's log ends with:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

// until waits for a condition; the poll is for processes that cannot notify us.
func (h *house) until(what string, limit time.Duration, done func() (bool, string)) {
	h.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, state := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within %s, last: %s", what, limit, state)
		}
		time.Sleep(50 * time.Millisecond) // see above
	}
}

func (h *house) env() []string {
	env := []string{"OS_CLIENT_CONFIG_FILE=" + filepath.Join(h.data(), "clouds.yaml"), "OS_CLOUD=undercloud", "HOME=" + h.dir, "COLUMNS=200"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OS_") && !strings.HasPrefix(kv, "HOME=") {
			env = append(env, kv)
		}
	}
	return env
}

// command runs a program and returns its standard output and whether it
// succeeded; all output is in text.
func (h *house) command(limit time.Duration, name string, args ...string) (stdout, text string, err error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = h.dir, h.env()
	var out, all sharedBuffer
	cmd.Stdout = io.MultiWriter(&out, &all)
	cmd.Stderr = &all
	err = cmd.Run()
	return out.String(), all.String(), err
}

// sharedBuffer takes what a program writes to both of its outputs.
type sharedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *sharedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// tripleo runs our command line and fails the test when it fails.
func (h *house) tripleo(limit time.Duration, args ...string) string {
	h.t.Helper()
	begin := time.Now()
	out, text, err := h.command(limit, h.bin, args...)
	if err != nil {
		h.t.Fatalf("tripleo %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	h.t.Logf("tripleo %s: %s", strings.Join(args, " "), time.Since(begin).Round(time.Millisecond))
	return out
}

// tripleoFails runs our command line, expects it to fail, and returns all it
// said.
func (h *house) tripleoFails(limit time.Duration, args ...string) string {
	h.t.Helper()
	_, text, err := h.command(limit, h.bin, args...)
	if err == nil {
		h.t.Fatalf("tripleo %s succeeded, a failure was expected:\n%s", strings.Join(args, " "), text)
	}
	return text
}

// openstack runs Debian's client and decodes what it prints as JSON, if it
// prints any.
func (h *house) openstack(args ...string) any {
	h.t.Helper()
	out := h.openstackText(append(args, "-f", "json")...)
	if strings.TrimSpace(out) == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		h.t.Fatalf("openstack %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

func (h *house) openstackText(args ...string) string {
	h.t.Helper()
	out, text, err := h.command(2*time.Minute, "openstack", args...)
	if err != nil {
		h.t.Fatalf("openstack %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

// rows reads a list command's rows.
func rows(t *testing.T, v any) []map[string]any {
	t.Helper()
	list, ok := v.([]any)
	if !ok {
		t.Fatalf("%T, expected a list", v)
	}
	out := make([]map[string]any, len(list))
	for i, e := range list {
		if out[i], ok = e.(map[string]any); !ok {
			t.Fatalf("row %d is %T, expected an object", i, e)
		}
	}
	return out
}
