package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
)

// ErrNotRunning says that no lab answers in a folder.
var ErrNotRunning = errors.New("no lab is running")

// Client talks to a running lab.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient returns a client of the lab in dir; "" means DefaultDir.
func NewClient(dir string) *Client {
	if dir == "" {
		dir = DefaultDir
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", SocketPath(dir))
	}
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, body)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) || (err != nil && ctx.Err() == nil && lockHolder(c.dir) == 0) {
		return nil, fmt.Errorf("%w in %s", ErrNotRunning, c.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if res.StatusCode >= 400 {
		defer func() { _ = res.Body.Close() }()
		var e struct{ Error string }
		if err := json.NewDecoder(io.LimitReader(res.Body, maxControlBody)).Decode(&e); err != nil || e.Error == "" {
			return nil, fmt.Errorf("lab: %s %s: %s", method, path, res.Status)
		}
		return nil, fmt.Errorf("lab: %s", e.Error)
	}
	return res, nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		body = bytes.NewReader(b)
	}
	res, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("lab: %s %s: %w", method, path, err)
	}
	return nil
}

// Status describes the lab and its machines.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	st := &Status{}
	if err := c.call(ctx, http.MethodGet, "/v1/status", nil, st); err != nil {
		return nil, err
	}
	return st, nil
}

// Power does to a machine what its BMC would do.
func (c *Client) Power(ctx context.Context, node string, a bmc.Action) error {
	return c.call(ctx, http.MethodPost, "/v1/machines/"+url.PathEscape(node)+"/power", map[string]bmc.Action{"Action": a}, nil)
}

// SetFault switches a fault of a machine on or off.
func (c *Client) SetFault(ctx context.Context, node string, f machine.Fault, on bool) error {
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	return c.call(ctx, method, "/v1/machines/"+url.PathEscape(node)+"/faults/"+url.PathEscape(string(f)), nil, nil)
}

// SetPort moves a machine's cable to other VLANs of the switch: native without
// a tag (0: none), tagged with one.
func (c *Client) SetPort(ctx context.Context, node string, native uint16, tagged []uint16) error {
	return c.call(ctx, http.MethodPut, "/v1/machines/"+url.PathEscape(node)+"/port", vswitch.Mode{Native: native, Tagged: tagged}, nil)
}

// Console copies what a machine printed to w, and, if follow is set, what it
// prints from then on until ctx is done.
func (c *Client) Console(ctx context.Context, node string, w io.Writer, follow bool) error {
	res, err := c.do(ctx, http.MethodGet, fmt.Sprintf("/v1/machines/%s/console?follow=%v", url.PathEscape(node), follow), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(w, res.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("lab: console: %w", err)
	}
	return nil
}

// Type writes to a machine's console as if typed there.
func (c *Client) Type(ctx context.Context, node string, keys []byte) error {
	res, err := c.do(ctx, http.MethodPost, "/v1/machines/"+url.PathEscape(node)+"/console", bytes.NewReader(keys))
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func (c *Client) shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/shutdown", nil, nil)
}
