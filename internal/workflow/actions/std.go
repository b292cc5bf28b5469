package actions

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
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/tripleo/tripleo/yaql"
)

// StdOptions configure the std.* actions.
type StdOptions struct {
	// AllowLocal lets std.http reach loopback and link-local addresses, where
	// the undercloud's own unprotected neighbours listen.
	AllowLocal bool
}

// Std returns the actions that come with the engine.
func Std(o StdOptions) []Action {
	return []Action{
		{Name: "std.noop", Description: "Does nothing.", Pure: true, Extra: true,
			Run: func(context.Context, *Context, map[string]any) (any, error) { return nil, nil }},
		{Name: "std.echo", Description: "Returns its output parameter.", Pure: true,
			Input: []Param{Req("output"), Opt("delay", int64(0))},
			Run:   func(_ context.Context, _ *Context, in map[string]any) (any, error) { return in["output"], nil }},
		{Name: "std.fail", Description: "Fails.", Pure: true, Input: []Param{Opt("error_data", nil)},
			Run: func(_ context.Context, _ *Context, in map[string]any) (any, error) {
				if in["error_data"] != nil {
					return nil, &FailureError{Result: in["error_data"]}
				}
				return nil, errors.New("Fail action expected exception.") //nolint:revive,staticcheck // Mistral's wording
			}},
		{Name: "std.test_dict", Description: "Returns a dict of the given size.", Pure: true,
			Input: []Param{Opt("size", int64(0)), Opt("key_prefix", ""), Opt("val", "")},
			Run: func(_ context.Context, _ *Context, in map[string]any) (any, error) {
				out := yaql.NewMap(16)
				for i := range min(Int(in, "size", 0), 1_000_000) {
					out.Set(fmt.Sprintf("%s%d", String(in, "key_prefix"), i), in["val"])
				}
				return out, nil
			}},
		{Name: "std.async_noop", Description: "Waits until its result is given by the API.", Async: true, Extra: true,
			Run: func(context.Context, *Context, map[string]any) (any, error) { return nil, nil }},
		{Name: "std.sleep", Description: "Waits a number of seconds.", Input: []Param{Opt("seconds", int64(1))},
			Run: func(_ context.Context, c *Context, in map[string]any) (any, error) {
				left := time.Duration(Int(in, "seconds", 1))*time.Second - c.Now().Sub(c.Started)
				if left > 0 {
					return nil, Wait(left)
				}
				return nil, nil
			}},
		{Name: "std.http", Description: "Sends an HTTP request.", Input: httpParams(), Once: true, Run: o.http},
		{Name: "std.mistral_http", Description: "Sends an HTTP request; the receiver gives the result by the API.",
			Input: httpParams(), Once: true, Async: true, Run: o.http},
	}
}

func httpParams() []Param {
	return []Param{Req("url"), Opt("method", "GET"), Opt("params", nil), Opt("body", nil), Opt("json", nil), Opt("headers", nil),
		Opt("cookies", nil), Opt("auth", nil), Opt("timeout", nil), Opt("allow_redirects", nil), Opt("proxies", nil), Opt("verify", nil)}
}

const maxHTTPBody = 8 << 20

func (o StdOptions) http(ctx context.Context, c *Context, in map[string]any) (any, error) {
	req, err := httpRequest(ctx, c, in)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(Int(in, "timeout", 60)) * time.Second
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: o.guard}
	client := &http.Client{
		Timeout:   min(max(timeout, time.Second), time.Hour),
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
	}
	if v, set := in["allow_redirects"]; set && v != nil && !yaql.Truth(v) {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	start := c.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("Failed to send HTTP request: %w", err) //nolint:revive,staticcheck // Mistral's wording
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	}
	if len(body) > maxHTTPBody {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", req.URL.Host, maxHTTPBody)
	}
	var content any = string(body)
	if v, err := yaql.ParseJSON(body); err == nil {
		content = v
	}
	headers := yaql.NewMap(8)
	for _, k := range sortedKeys(resp.Header) {
		headers.Set(k, strings.Join(resp.Header[k], ", "))
	}
	out := yaql.MapOf("content", content, "status", int64(resp.StatusCode), "headers", headers, "url", resp.Request.URL.String(),
		"reason", http.StatusText(resp.StatusCode), "encoding", "utf-8", "elapsed", c.Now().Sub(start).Seconds())
	if resp.StatusCode < 200 || resp.StatusCode > 307 {
		return nil, &FailureError{Result: out}
	}
	return out, nil
}

func httpRequest(ctx context.Context, c *Context, in map[string]any) (*http.Request, error) {
	u, err := url.Parse(String(in, "url"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("url %q is not an http or https URL", String(in, "url"))
	}
	q := u.Query()
	for k, v := range Map(in, "params") {
		q.Set(k, yaql.Str(v))
	}
	u.RawQuery = q.Encode()
	var body io.Reader
	isJSON := false
	switch b := in["body"].(type) {
	case nil:
		if in["json"] != nil {
			data, err := json.Marshal(in["json"])
			if err != nil {
				return nil, err
			}
			body, isJSON = bytes.NewReader(data), true
		}
	case string:
		body = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body, isJSON = bytes.NewReader(data), true
	}
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(String(in, "method")), u.String(), body)
	if err != nil {
		return nil, err
	}
	if isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range Map(in, "headers") {
		req.Header.Set(k, yaql.Str(v))
	}
	req.Header.Set("Mistral-Workflow-Name", c.WorkflowName)
	req.Header.Set("Mistral-Workflow-Execution-Id", c.WorkflowExecutionID)
	req.Header.Set("Mistral-Task-Id", c.TaskID)
	req.Header.Set("Mistral-Action-Execution-Id", c.ActionExecutionID)
	for k, v := range Map(in, "cookies") {
		req.AddCookie(&http.Cookie{Name: k, Value: yaql.Str(v)}) //nolint:gosec // a request carries no attributes of cookies
	}
	if user, pass, ok := strings.Cut(String(in, "auth"), ":"); ok {
		req.SetBasicAuth(user, pass)
	}
	return req, nil
}

// guard refuses addresses of this machine and of the link, checked after name
// resolution so that a name cannot smuggle them in.
func (o StdOptions) guard(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return fmt.Errorf("address %q is not numeric", host)
	}
	if !o.AllowLocal && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsUnspecified()) {
		return fmt.Errorf("requests to %s are not allowed", ip)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
