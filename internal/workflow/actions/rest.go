package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

// opener opens the client of one service.
type opener func(*cloud.Session) (*gophercloud.ServiceClient, error)

// rest is an action that is one request: the table rows of the services.
type rest struct {
	name, desc string
	method     string
	path       string   // below the service's base; {x} is parameter x
	query      []string // parameters that become query parameters
	wrap       string   // key of the body that holds the body's parameters; "-" is no key
	unwrap     string   // key of the answer that is the result; "" is the whole answer
	pages      bool     // the answer is a list with links to more
	input      []Param
	extra      bool // further input goes where the input goes: query (GET) or body
}

func (d rest) action(open opener) Action {
	return Action{Name: d.name, Description: d.desc, Input: d.input, Extra: d.extra,
		Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
			client, err := clientFor(c, open)
			if err != nil {
				return nil, err
			}
			return d.run(ctx, client, in)
		}}
}

var errNoSession = errors.New("the action has no session to act with")

func clientFor(c *Context, open opener) (*gophercloud.ServiceClient, error) {
	if c.Session == nil {
		return nil, errNoSession
	}
	return open(c.Session)
}

func (d rest) run(ctx context.Context, client *gophercloud.ServiceClient, in map[string]any) (any, error) {
	used := map[string]bool{}
	path, err := expandPath(d.path, in, used)
	if err != nil {
		return nil, err
	}
	target := client.ServiceURL(strings.Split(path, "/")...)
	q := url.Values{}
	for _, name := range d.query {
		used[name] = true
		addQuery(q, name, in[name])
	}
	var body any
	if d.wrap != "" {
		fields := map[string]any{}
		for k, v := range in {
			if !used[k] && v != nil {
				fields[k] = v
			}
		}
		body = fields
		if d.wrap != "-" {
			body = map[string]any{d.wrap: fields}
		}
	} else if d.extra {
		for k, v := range in {
			if !used[k] {
				addQuery(q, k, v)
			}
		}
	}
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	if d.pages {
		return allPages(ctx, client, target, d.unwrap, in["limit"] != nil)
	}
	answer, _, err := request(ctx, client, d.method, target, body, nil)
	if err != nil {
		return nil, err
	}
	return unwrap(answer, d.unwrap), nil
}

func expandPath(path string, in map[string]any, used map[string]bool) (string, error) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if !strings.HasPrefix(p, "{") {
			continue
		}
		name := strings.Trim(p, "{}")
		used[name] = true
		v := String(in, name)
		if v == "" {
			return "", fmt.Errorf("parameter %s is empty", name)
		}
		parts[i] = url.PathEscape(v)
	}
	return strings.Join(parts, "/"), nil
}

// addQuery writes booleans as true/false and lists with commas; null is left out.
func addQuery(q url.Values, name string, v any) {
	switch x := v.(type) {
	case nil:
	case bool:
		q.Set(name, fmt.Sprint(x))
	case []any:
		parts := make([]string, len(x))
		for i, it := range x {
			parts[i] = yaql.Str(it)
		}
		q.Set(name, strings.Join(parts, ","))
	default:
		q.Set(name, yaql.Str(v))
	}
}

func unwrap(answer any, key string) any {
	if key == "" {
		return answer
	}
	m, ok := answer.(map[string]any)
	if !ok {
		return answer
	}
	return m[key]
}

// request sends one request and decodes the answer, if there is one; a text that
// the headers ask for comes as it is.
func request(ctx context.Context, client *gophercloud.ServiceClient, method, target string, body any, headers map[string]string) (any, http.Header, error) {
	opts := &gophercloud.RequestOpts{
		MoreHeaders: headers, KeepResponseBody: true,
		OkCodes: []int{200, 201, 202, 203, 204, 206, 300},
	}
	if body != nil {
		opts.JSONBody = body
	}
	resp, err := client.Request(ctx, method, target, opts)
	if err != nil {
		return nil, nil, readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer any
	switch {
	case resp.StatusCode == http.StatusNoContent || method == http.MethodHead:
	case strings.HasPrefix(headers["Accept"], "text/"):
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return string(text), resp.Header, err
	default:
		answer = decodeAnswer(resp.Body)
	}
	return answer, resp.Header, nil
}

// maxAnswer bounds what is read of a service's answer.
const maxAnswer = 64 << 20

// decodeAnswer reads JSON; an empty or plain answer is null.
func decodeAnswer(r io.Reader) any {
	d := json.NewDecoder(io.LimitReader(r, maxAnswer))
	d.UseNumber()
	var answer any
	if err := d.Decode(&answer); err != nil {
		return nil
	}
	return yaqlNumbers(answer)
}

// yaqlNumbers turns json.Number into int64 and float64.
func yaqlNumbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		f, err := x.Float64()
		if err != nil {
			return x.String()
		}
		return f
	case []any:
		for i := range x {
			x[i] = yaqlNumbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = yaqlNumbers(x[k])
		}
	}
	return v
}

// readable shows the service's own words instead of the raw answer.
func readable(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	msg := faultText(code.Body)
	if msg == "" {
		msg = http.StatusText(code.Actual)
	}
	return &serviceError{code.Actual, fmt.Sprintf("%s (HTTP %d, %s %s)", msg, code.Actual, code.Method, stripQuery(code.URL)), err}
}

type serviceError struct {
	status int
	msg    string
	err    error
}

func (e *serviceError) Error() string { return e.msg }
func (e *serviceError) Unwrap() error { return e.err }

// stripQuery keeps signatures out of messages.
func stripQuery(u string) string {
	u, _, _ = strings.Cut(u, "?")
	return u
}

// faultText finds the message in any of OpenStack's fault envelopes.
func faultText(body []byte) string {
	var v any
	if json.Unmarshal(body, &v) != nil {
		s := strings.TrimSpace(string(body))
		if len(s) > 500 || strings.HasPrefix(s, "<") {
			return ""
		}
		return s
	}
	return findText(v, 0)
}

func findText(v any, depth int) string {
	switch x := v.(type) {
	case string:
		var inner any
		if strings.HasPrefix(x, "{") && depth < 4 && json.Unmarshal([]byte(x), &inner) == nil {
			if s := findText(inner, depth+1); s != "" {
				return s // Ironic wraps JSON text into JSON
			}
		}
		return x
	case map[string]any:
		for _, key := range []string{"message", "faultstring", "error_message", "description", "NeutronError", "error", "explanation", "title"} {
			if inner, ok := x[key]; ok && depth < 4 {
				if s := findText(inner, depth+1); s != "" {
					return s
				}
			}
		}
		if len(x) == 1 && depth < 4 {
			for _, inner := range x {
				return findText(inner, depth+1)
			}
		}
	}
	return ""
}

const maxPages = 1000

// allPages follows "next" links in either of OpenStack's forms.
func allPages(ctx context.Context, client *gophercloud.ServiceClient, target, key string, one bool) (any, error) {
	out := []any{}
	for range maxPages {
		answer, _, err := request(ctx, client, http.MethodGet, target, nil, nil)
		if err != nil {
			return nil, err
		}
		m, _ := answer.(map[string]any)
		items, _ := m[key].([]any)
		out = append(out, items...)
		next := nextLink(m, key)
		if one || next == "" || len(items) == 0 {
			return out, nil
		}
		base, err := url.Parse(target)
		if err != nil {
			return nil, err
		}
		ref, err := url.Parse(next)
		if err != nil {
			return nil, fmt.Errorf("next link %q: %w", next, err)
		}
		if ref.Path != "" && !ref.IsAbs() && strings.HasPrefix(next, "/v") {
			ref = &url.URL{RawQuery: ref.RawQuery} // Glance: relative to the service
		}
		target = base.ResolveReference(ref).String()
	}
	return out, nil
}

func nextLink(m map[string]any, key string) string {
	if s, ok := m["next"].(string); ok {
		return s
	}
	for _, links := range []any{m[key+"_links"], m["links"]} {
		list, _ := links.([]any)
		for _, l := range list {
			if link, ok := l.(map[string]any); ok && link["rel"] == "next" {
				s, _ := link["href"].(string)
				return s
			}
		}
	}
	if l, ok := m["links"].(map[string]any); ok {
		s, _ := l["next"].(string)
		return s
	}
	return ""
}
