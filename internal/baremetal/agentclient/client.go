// Package agentclient speaks the API that ironic-python-agent serves in the
// ramdisk (and our own agent in its place): commands are posted, run on, and
// are asked after by their id.
package agentclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Command statuses.
const (
	Running         = "RUNNING"
	Succeeded       = "SUCCEEDED"
	Failed          = "FAILED"
	VersionMismatch = "CLEAN_VERSION_MISMATCH"
)

// Errors that callers tell apart.
var (
	// ErrUnknownCommand says that the agent does not know the command's id: it
	// was started anew since.
	ErrUnknownCommand = errors.New("the agent does not know the command")
	// ErrBusy says that the agent runs another command.
	ErrBusy = errors.New("the agent is busy with another command")
	// ErrUnreachable says that the agent did not answer.
	ErrUnreachable = errors.New("the agent does not answer")
)

// Command is a command as the agent reports it.
type Command struct {
	ID     string         `json:"id"`
	Name   string         `json:"command_name"`
	Params map[string]any `json:"command_params"`
	Status string         `json:"command_status"`
	Error  *CommandError  `json:"command_error"`
	Result any            `json:"command_result"`
}

// CommandError is why a command failed.
type CommandError struct {
	Type    string `json:"type"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
}

// UnmarshalJSON takes an object, or plain text as old agents send.
func (e *CommandError) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		e.Message = text
		return nil
	}
	type plain struct {
		Type    string `json:"type"`
		Code    any    `json:"code"`
		Message string `json:"message"`
		Details string `json:"details"`
	}
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	e.Type, e.Message, e.Details = p.Type, p.Message, p.Details
	return nil
}

// Text is the error in one line.
func (e *CommandError) Text() string {
	if e == nil {
		return "the command failed without saying why"
	}
	switch {
	case e.Details != "" && e.Message != "" && !strings.Contains(e.Details, e.Message):
		return e.Message + ": " + e.Details
	case e.Details != "":
		return e.Details
	default:
		return e.Message
	}
}

// Progress reads the percentage out of the result of a running command.
func (c *Command) Progress() (percent int, ok bool) {
	m, isMap := c.Result.(map[string]any)
	if !isMap {
		return 0, false
	}
	p, ok := m["progress"].(float64)
	return int(p), ok
}

// Client speaks to one agent.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// Options configure New.
type Options struct {
	URL   string // the callback_url of its heartbeat
	Token string // the agent token, "" when none was issued
	CA    string // PEM of the certificate the agent serves with, for https
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

const (
	timeout     = 15 * time.Second
	maxResponse = 8 << 20 // bytes; log archives are the largest answers
)

// New returns a client of one agent.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("agent URL %q is not an http or https URL", o.URL)
	}
	tr := &http.Transport{DialContext: o.Dial, DisableKeepAlives: true}
	if u.Scheme == "https" {
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.CA != "" {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM([]byte(o.CA)) {
				return nil, errors.New("the agent's verify_ca holds no certificate")
			}
			tr.TLSClientConfig.RootCAs = pool
		}
	}
	return &Client{base: strings.TrimSuffix(o.URL, "/"), token: o.Token, http: &http.Client{Transport: tr, Timeout: timeout}}, nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in, out any) error {
	if q == nil {
		q = url.Values{}
	}
	if c.token != "" {
		q.Set("agent_token", c.token)
	}

	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode command: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+q.Encode(), body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error // its text has the URL, and that the token
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	}
	switch {
	case res.StatusCode == http.StatusNotFound:
		return ErrUnknownCommand
	case res.StatusCode == http.StatusConflict:
		return fmt.Errorf("%w: %s", ErrBusy, brief(data))
	case res.StatusCode >= 300:
		return fmt.Errorf("the agent at %s answered %d: %s", c.base, res.StatusCode, brief(data))
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the agent at %s answered what is not JSON: %w", c.base, err)
	}
	return nil
}

func brief(b []byte) string {
	var fault struct {
		Message string `json:"faultstring"`
		Details string `json:"details"`
	}
	if json.Unmarshal(b, &fault) == nil && fault.Message+fault.Details != "" {
		return strings.TrimSpace(fault.Message + " " + fault.Details)
	}
	return string(b[:min(len(b), 300)])
}

// Start posts a command; wait makes the agent answer only when it has ended.
func (c *Client) Start(ctx context.Context, name string, params map[string]any, wait bool) (*Command, error) {
	if params == nil {
		params = map[string]any{}
	}
	q := url.Values{"wait": {"false"}}
	if wait {
		q.Set("wait", "true")
	}
	cmd := &Command{}
	err := c.do(ctx, http.MethodPost, "/v1/commands/", q, map[string]any{"name": name, "params": params}, cmd)
	if err != nil {
		return nil, fmt.Errorf("agent command %s: %w", name, err)
	}
	return cmd, nil
}

// Get asks after a command.
func (c *Client) Get(ctx context.Context, id string) (*Command, error) {
	cmd := &Command{}
	if err := c.do(ctx, http.MethodGet, "/v1/commands/"+url.PathEscape(id), nil, nil, cmd); err != nil {
		return nil, err
	}
	return cmd, nil
}

// List returns all commands since the agent was started, oldest first.
func (c *Client) List(ctx context.Context) ([]Command, error) {
	var out struct {
		Commands []Command `json:"commands"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/commands/", nil, nil, &out)
	return out.Commands, err
}
