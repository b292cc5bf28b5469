package actions

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tripleo/tripleo/yaql"
)

func httpParams() []Param {
	return []Param{Req("url"), Opt("method", "GET"), Opt("params", nil), Opt("body", nil), Opt("json", nil), Opt("headers", nil),
		Opt("cookies", nil), Opt("auth", nil), Opt("timeout", nil), Opt("allow_redirects", nil), Opt("proxies", nil), Opt("verify", nil)}
}

const (
	maxHTTPBody    = 8 << 20
	maxHTTPTime    = time.Hour
	defaultTimeout = 60 * time.Second // of a request without timeout; Mistral's would wait forever
)

// mistralHTTP adds the headers by which the receiver finds the way back.
func (o StdOptions) mistralHTTP(ctx context.Context, c *Context, in map[string]any) (any, error) {
	headers := map[string]any{}
	for k, v := range Map(in, "headers") {
		headers[k] = v
	}
	for k, v := range map[string]string{"Mistral-Workflow-Name": c.WorkflowName, "Mistral-Workflow-Execution-Id": c.WorkflowExecutionID,
		"Mistral-Task-Id": c.TaskID, "Mistral-Action-Execution-Id": c.ActionExecutionID, "Mistral-Callback-URL": "/v2/action_executions/" + c.ActionExecutionID} {
		headers[k] = v
	}
	with := make(map[string]any, len(in))
	for k, v := range in {
		with[k] = v
	}
	with["headers"] = headers
	return o.http(ctx, c, with)
}

func (o StdOptions) http(ctx context.Context, c *Context, in map[string]any) (any, error) {
	req, err := httpRequest(ctx, in)
	if err != nil {
		return nil, err
	}
	transport, err := o.transport(in)
	if err != nil {
		return nil, err
	}
	history := []any{}
	client := &http.Client{Timeout: duration(in["timeout"], defaultTimeout, maxHTTPTime), Transport: transport,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case !Bool(in, "allow_redirects"): // also when it is not given, as in Mistral
				return http.ErrUseLastResponse
			case len(via) > 30:
				return errors.New("more than 30 redirects")
			}
			history = append(history, yaql.MapOf("status", int64(next.Response.StatusCode), "url", via[len(via)-1].URL.Redacted()))
			return nil
		}}
	start := c.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("Failed to send HTTP request: %w", withoutQuery(err)) //nolint:revive,staticcheck // Mistral's wording
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHTTPBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	}
	if len(body) > maxHTTPBody {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", req.URL.Host, maxHTTPBody)
	}
	out := httpResult(resp, body)
	out.Set("history", history)
	out.Set("elapsed", c.Now().Sub(start).Seconds())
	if resp.StatusCode < 200 || resp.StatusCode >= 307 {
		return nil, &FailureError{Result: out}
	}
	return out, nil
}

// httpResult is the answer as workflows index it.
func httpResult(resp *http.Response, body []byte) *yaql.Map {
	headers := yaql.NewMap(8)
	for _, k := range sortedKeys(resp.Header) {
		headers.Set(k, strings.Join(resp.Header[k], ", "))
	}
	cookies := yaql.NewMap(0)
	for _, ck := range resp.Cookies() {
		cookies.Set(ck.Name, ck.Value)
	}
	encoding := charset(resp.Header.Get("Content-Type"))
	var content any
	if v, err := yaql.ParseJSON(body); err == nil {
		content = v
	} else {
		content = decodeText(body, encoding)
	}
	_, reason, _ := strings.Cut(resp.Status, " ")
	return yaql.MapOf("content", content, "status", int64(resp.StatusCode), "headers", headers, "url", resp.Request.URL.Redacted(),
		"reason", reason, "encoding", orNil(encoding), "cookies", cookies)
}

// charset is the encoding a content type names or implies (RFC 2616 section 3.7.1).
func charset(contentType string) string {
	kind, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return ""
	case params["charset"] != "":
		return params["charset"]
	case strings.HasPrefix(kind, "text/"):
		return "ISO-8859-1"
	case kind == "application/json":
		return "utf-8"
	}
	return ""
}

func decodeText(b []byte, encoding string) string {
	if utf8.Valid(b) {
		return string(b)
	}
	if e := strings.ToLower(encoding); e == "iso-8859-1" || e == "latin-1" || e == "latin1" {
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		return string(runes)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// withoutQuery keeps what a query may carry (signatures, tokens) out of an error.
func withoutQuery(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("%s %s: %w", u.Op, stripQuery(u.URL), u.Err)
	}
	return err
}

// duration reads seconds, whole or not; what is none or too much is bounded.
func duration(v any, def, most time.Duration) time.Duration {
	var d time.Duration
	switch x := v.(type) {
	case int64:
		d = time.Duration(min(x, int64(most/time.Second))) * time.Second
	case float64:
		d = time.Duration(min(x, most.Seconds()) * float64(time.Second))
	}
	if d <= 0 {
		return def
	}
	return min(d, most)
}

func (o StdOptions) transport(in map[string]any) (*http.Transport, error) {
	t := &http.Transport{DialContext: o.dialer().DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 256 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}}
	switch v := in["verify"].(type) {
	case nil:
	case bool:
		t.TLSClientConfig.InsecureSkipVerify = !v //nolint:gosec // the workflow's author asks for it by verify: false
	default:
		return nil, errors.New("verify is true or false; a bundle of CA certificates is the server's to configure")
	}
	proxies := map[string]*url.URL{}
	for scheme, v := range Map(in, "proxies") {
		u, err := url.Parse(yaql.Str(v))
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the proxy of %s is no URL", scheme)
		}
		proxies[scheme] = u
	}
	t.Proxy = func(r *http.Request) (*url.URL, error) { return proxies[r.URL.Scheme], nil }
	return t, nil
}

func httpRequest(ctx context.Context, in map[string]any) (*http.Request, error) {
	u, err := url.Parse(String(in, "url"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("url %q is not an http or https URL", stripQuery(String(in, "url")))
	}
	if err := addParams(u, in["params"]); err != nil {
		return nil, err
	}
	data, kind, err := httpBody(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(String(in, "method")), u.String(), bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("method %q: %w", String(in, "method"), withoutQuery(err))
	}
	if data == nil {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for k, v := range Map(in, "headers") {
		if strings.EqualFold(k, "Host") {
			req.Host = yaql.Str(v)
			continue
		}
		req.Header.Set(k, yaql.Str(v))
	}
	for k, v := range Map(in, "cookies") {
		req.AddCookie(&http.Cookie{Name: k, Value: yaql.Str(v)}) //nolint:gosec // a request carries no attributes of cookies
	}
	if user, pass, ok := strings.Cut(String(in, "auth"), ":"); ok {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+pass)))
	}
	return req, nil
}

// addParams adds a dict of values or lists, or ready text, to the query.
func addParams(u *url.URL, v any) error {
	switch x := v.(type) {
	case nil:
	case string:
		u.RawQuery = strings.Trim(u.RawQuery+"&"+x, "&")
	case map[string]any:
		q := u.Query()
		for k, item := range x {
			list, many := item.([]any)
			if !many {
				list = []any{item}
			}
			for _, it := range list {
				if it != nil {
					q.Add(k, yaql.Str(it))
				}
			}
		}
		u.RawQuery = q.Encode()
	default:
		return fmt.Errorf("params is a dict or a string, not %s", yaql.Str(v))
	}
	return nil
}

// httpBody returns the body and the content type it implies. A body that is a
// dict is sent as JSON, without saying so, as Mistral does.
func httpBody(in map[string]any) (data []byte, kind string, err error) {
	body, asJSON := in["body"], in["json"]
	if yaql.Truth(body) && yaql.Truth(asJSON) {
		return nil, "", errors.New("Only one of the parameters 'json' and 'body' can be passed") //nolint:revive,staticcheck // Mistral's wording
	}
	switch b := body.(type) {
	case nil:
		if asJSON == nil {
			return nil, "", nil
		}
		data, err = yaql.JSON(asJSON)
		return data, "application/json", err
	case string:
		return []byte(b), "", nil
	default:
		data, err = yaql.JSON(b)
		return data, "", err
	}
}
