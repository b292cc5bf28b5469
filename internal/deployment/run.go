package deployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Config is what the actions need besides the caller's session.
type Config struct {
	// Templates is the default plan, for use_default_templates.
	Templates fs.FS
	// WorkDir is the folder in which actions keep what only this host has: checkouts, Ansible's runs, backups. Actions
	// that need one fail when it is "".
	WorkDir string
	// NodeURL is the undercloud's address as machines see it; "" for the catalog's.
	NodeURL string
	// BackUpDatabase writes a consistent copy of the undercloud's database to a new file below dir and returns its name.
	BackUpDatabase func(ctx context.Context, dir string) (string, error)
	// Vault locks keys of certificate authorities; without one there are none.
	Vault Vault
	// Undercloud are facts about this undercloud for its validations.
	Undercloud Undercloud
}

// Undercloud is what validations look at besides the APIs.
type Undercloud struct {
	DataDir string   // whose free space is looked at
	Certs   []string // PEM files whose end of validity is looked at
}

// run is one call of an action: the caller's session, who calls, and the configuration.
type run struct {
	ctx context.Context
	s   *cloud.Session
	ac  *actions.Context
	cfg *Config
}

// input is what an action was called with; absent names read as null.
type input struct{ m *yaml11.OrderedMap }

func newInput(v map[string]any) input {
	m, ok := yaml11.Normalize(v).(*yaml11.OrderedMap)
	if !ok {
		m = yaml11.NewMap()
	}
	return input{m}
}

func (in input) value(name string) any { v, _ := in.m.Get(name); return v }

func (in input) str(name string) string {
	switch v := in.value(name).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func (in input) boolean(name string) bool { return truthy(in.value(name)) }

func (in input) integer(name string, def int) (int, error) {
	switch v := in.value(name).(type) {
	case nil:
		return def, nil
	case int64:
		return int(v), nil
	case float64:
		return int(v), nil
	case string:
		var n int
		if _, err := fmt.Sscanf(v, "%d", &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s must be a number, not %v", name, in.value(name))
}

func (in input) mapping(name string) *yaml11.OrderedMap {
	m, _ := in.value(name).(*yaml11.OrderedMap)
	return m
}

func (in input) list(name string) []any { l, _ := in.value(name).([]any); return l }

// truthy is Python's idea of truth.
func truthy(v any) bool {
	switch x := v.(type) {
	case nil:
		return false
	case bool:
		return x
	case int64:
		return x != 0
	case float64:
		return x != 0
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case *yaml11.OrderedMap:
		return x.Len() > 0
	}
	return true
}

// text reads a string of a nested mapping.
func text(v any, keys ...string) string {
	switch x := dig(v, keys...).(type) {
	case nil:
		return ""
	case string:
		return x
	default:
		return fmt.Sprint(x)
	}
}

// dig walks nested mappings; nil when a key is missing.
func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(*yaml11.OrderedMap)
		if !ok {
			return nil
		}
		v, _ = m.Get(k)
	}
	return v
}

// request is one REST call; out, if not nil, gets the JSON answer as ordered data.
func (r *run) request(c *gophercloud.ServiceClient, method, url string, body any, out *any, codes ...int) (http.Header, error) {
	opts := &gophercloud.RequestOpts{OkCodes: codes, KeepResponseBody: true}
	if len(codes) == 0 {
		opts.OkCodes = []int{200, 201, 202, 204}
	}
	if body != nil {
		opts.JSONBody = body
	}
	resp, err := c.Request(r.ctx, method, url, opts)
	if err != nil {
		return nil, faultOf(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return resp.Header, nil
	}
	data, err := readLimited(resp.Body, maxBody)
	if err != nil {
		return nil, err
	}
	*out, err = yaml11.DecodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	return resp.Header, nil
}

// fault is an API error in words a person can use; it keeps the status for isStatus.
type fault struct {
	status int
	msg    string
	cause  error
}

func (f *fault) Error() string { return f.msg }
func (f *fault) Unwrap() error { return f.cause }

// faultOf takes the message out of the service's fault envelope.
func faultOf(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	return &fault{status: code.Actual, msg: faultText(code.Actual, code.Body), cause: err}
}

func faultText(status int, body []byte) string {
	var v map[string]any
	if json.Unmarshal(body, &v) == nil {
		if s := findMessage(v, 0); s != "" {
			return s
		}
	}
	s := strings.TrimSpace(string(body))
	if s == "" || len(s) > 2000 {
		return fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	}
	return s
}

// findMessage knows the envelopes: {"error":{"message"}}, {"faultstring"}, {"error_message"}, {"itemNotFound":{"message"}}…
// Heat's has a general "explanation" beside the error's own message, which is the better one.
func findMessage(v any, depth int) string {
	if s := findText(v, depth, "message", "faultstring", "error_message"); s != "" {
		return s
	}
	return findText(v, depth, "explanation", "description")
}

func findText(v any, depth int, keys ...string) string {
	m, ok := v.(map[string]any)
	if !ok || depth > 3 {
		return ""
	}
	for _, k := range keys {
		if s, ok := m[k].(string); ok && s != "" {
			var inner map[string]any
			if json.Unmarshal([]byte(s), &inner) == nil { // Ironic wraps JSON in a string
				if t := findMessage(inner, depth+1); t != "" {
					return t
				}
			}
			return s
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if s := findText(m[k], depth+1, keys...); s != "" {
			return s
		}
	}
	return ""
}

func isStatus(err error, status int) bool {
	var f *fault
	return errors.As(err, &f) && f.status == status
}

// versioned is a URL below the API version of a service, whether its endpoint ends with the version or not.
func versioned(c *gophercloud.ServiceClient, version string, parts ...string) string {
	base := strings.TrimSuffix(c.ResourceBaseURL(), "/")
	if !strings.HasSuffix(base, "/"+version) {
		base += "/" + version
	}
	return base + "/" + strings.Join(parts, "/")
}
