package resources

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// client is a gophercloud client of one service with answers in order.
type client struct{ *gophercloud.ServiceClient }

// call sends a request with a JSON body (nil: none) and returns the decoded answer.
func (c client) call(ctx context.Context, method, path string, body any) (*Map, error) {
	opts := &gophercloud.RequestOpts{KeepResponseBody: true, OkCodes: []int{200, 201, 202, 203, 204}}
	if body != nil {
		b, err := yaml11.EncodeJSON(yaml11.Normalize(body))
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		opts.JSONBody = json.RawMessage(b)
	}
	resp, err := c.Request(ctx, method, c.ServiceURL(path), opts)
	if err != nil {
		return nil, readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return yaml11.NewMap(), nil
	}
	v, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("answer of %s %s: %w", method, path, err)
	}
	m, ok := v.(*Map)
	if !ok {
		return yaml11.NewMap(), nil
	}
	return m, nil
}

// apiError is a fault of another service with its own words.
type apiError struct {
	status int
	msg    string
	err    error
}

func (e *apiError) Error() string { return e.msg }
func (e *apiError) Unwrap() error { return e.err }

// readable takes the message out of a service's fault envelope.
func readable(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	msg := strings.TrimSpace(string(code.Body))
	if v, derr := yaml11.DecodeJSON(code.Body); derr == nil {
		if found := findMessage(v, 0, "message", "faultstring", "detail"); found != "" {
			msg = found
		} else if found := findMessage(v, 0, "explanation"); found != "" { // Heat's says the same of every fault
			msg = found
		}
	}
	if msg == "" {
		msg = http.StatusText(code.Actual)
	}
	if len(msg) > 2000 {
		msg = msg[:2000]
	}
	return &apiError{code.Actual, fmt.Sprintf("%s (HTTP %d)", msg, code.Actual), err}
}

func findMessage(v any, depth int, keys ...string) string {
	m, ok := v.(*Map)
	if !ok || depth > 4 {
		return ""
	}
	for _, k := range keys {
		if s, ok := m.Get(k); ok {
			if text, isText := s.(string); isText && text != "" {
				return text
			}
		}
	}
	for _, e := range m.All() {
		if s := findMessage(e, depth+1, keys...); s != "" {
			return s
		}
	}
	return ""
}

func status(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// Transient tells whether an error may pass by itself: no connection, or a service that says so.
func Transient(err error) bool {
	switch status(err) {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		return code.Actual == http.StatusServiceUnavailable
	}
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isNotFound(err error) bool { return status(err) == http.StatusNotFound }

func get(m *Map, path ...string) any {
	var v any = m
	for _, p := range path {
		c, ok := v.(*Map)
		if !ok {
			return nil
		}
		v, _ = c.Get(p)
	}
	return v
}

func submap(m *Map, key string) *Map { v, _ := get(m, key).(*Map); return v }

func items(m *Map, key string) []*Map {
	l, _ := get(m, key).([]any)
	var out []*Map
	for _, v := range l {
		if e, ok := v.(*Map); ok {
			out = append(out, e)
		}
	}
	return out
}

func (r *Resource) network(ctx context.Context) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	c, err := s.Network()
	return client{c}, err
}

func (r *Resource) compute(ctx context.Context) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	c, err := s.Compute()
	return client{c}, err
}

func (r *Resource) image(ctx context.Context) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	c, err := s.Image()
	return client{c}, err
}

func (r *Resource) workflow(ctx context.Context) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	c, err := s.Workflow()
	return client{c}, err
}

// idOf finds a thing by id or name: list answers under key, path takes ?name=.
func (c client) idOf(ctx context.Context, path, key, nameOrID string) (string, error) {
	base, _, _ := strings.Cut(path, "?")
	byID := func() (bool, error) {
		_, err := c.call(ctx, "GET", base+"/"+url.PathEscape(nameOrID), nil)
		if isNotFound(err) || status(err) == 400 {
			return false, nil
		}
		return err == nil, err
	}
	if isID(nameOrID) {
		if ok, err := byID(); ok || err != nil {
			return nameOrID, err
		}
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	m, err := c.call(ctx, "GET", path+sep+"name="+url.QueryEscape(nameOrID), nil)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range items(m, key) {
		if str(e, "name") == nameOrID || str(e, "id") == nameOrID {
			found = append(found, str(e, "id"))
		}
	}
	what := strings.TrimSuffix(key, "s")
	switch len(found) {
	case 0:
		if nameOrID != "" && !isID(nameOrID) { // some ids are words, such as the domain "default"
			if ok, err := byID(); ok || err != nil {
				return nameOrID, err
			}
		}
		return "", &notFoundError{what, nameOrID}
	case 1:
		return found[0], nil
	}
	return "", Failed("There are %d %s named %s; use the id.", len(found), key, nameOrID)
}

// notFoundError is a name or id that stands for nothing.
type notFoundError struct{ what, name string }

func (e *notFoundError) Error() string {
	what := e.what
	if what != "" {
		what = strings.ToUpper(what[:1]) + what[1:]
	}
	return fmt.Sprintf("The %s (%s) could not be found.", what, e.name)
}

// isID tells whether s looks like the id of an object: a UUID, with or without dashes.
func isID(s string) bool {
	if len(s) == 32 {
		_, err := hex.DecodeString(s)
		return err == nil
	}
	return IsUUID(s)
}

// marker is the description by which a resource finds what it made before a crash.
func (r *Resource) marker() string { return "heat resource " + r.ID }

// remove deletes a thing; gone is fine.
func (c client) remove(ctx context.Context, path string) error {
	if _, err := c.call(ctx, "DELETE", path, nil); err != nil && !isNotFound(err) {
		return err
	}
	return nil
}

// swift is the object store of the stack's owner.
type swift struct {
	*gophercloud.ServiceClient
	account string
}

func (r *Resource) swift(ctx context.Context) (*swift, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.ObjectStore()
	if err != nil {
		return nil, err
	}
	return &swift{c, "AUTH_" + s.ProjectID}, nil
}

func (s *swift) do(ctx context.Context, method, path string, headers map[string]string, body []byte) ([]byte, http.Header, error) {
	opts := &gophercloud.RequestOpts{KeepResponseBody: true, MoreHeaders: headers, OkCodes: []int{200, 201, 202, 204}}
	if body != nil {
		opts.RawBody = bytes.NewReader(body)
	}
	resp, err := s.Request(ctx, method, s.ServiceURL(path), opts)
	if err != nil {
		return nil, nil, readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return data, resp.Header, err
}

func objectPath(container, object string) string {
	return url.PathEscape(container) + "/" + strings.ReplaceAll(url.PathEscape(object), "%2F", "/")
}

func (s *swift) putContainer(ctx context.Context, name string) error {
	_, _, err := s.do(ctx, "PUT", url.PathEscape(name), nil, []byte{})
	return err
}

func (s *swift) put(ctx context.Context, container, object string, body []byte) error {
	_, _, err := s.do(ctx, "PUT", objectPath(container, object), map[string]string{"Content-Type": "application/json"}, body)
	return err
}

func (s *swift) get(ctx context.Context, container, object string) ([]byte, error) {
	b, _, err := s.do(ctx, "GET", objectPath(container, object), nil, nil)
	return b, err
}

// drop deletes an object, then its container if that is empty.
func (s *swift) drop(ctx context.Context, container, object string) error {
	if _, _, err := s.do(ctx, "DELETE", objectPath(container, object), nil, nil); err != nil && !isNotFound(err) {
		return err
	}
	_, _, err := s.do(ctx, "DELETE", url.PathEscape(container), nil, nil)
	if err != nil && !isNotFound(err) && status(err) != http.StatusConflict {
		return err
	}
	return nil
}

// tempURLKey returns the account's key, set if absent. It is derived from a secret of the installation,
// so that two resources setting it at once set the same.
func (s *swift) tempURLKey(ctx context.Context, r *Resource) (string, error) {
	_, h, err := s.do(ctx, "HEAD", "", nil, nil)
	if err != nil && !isNotFound(err) {
		return "", fmt.Errorf("temp URL key: %w", err)
	}
	if k := h.Get("X-Account-Meta-Temp-Url-Key"); k != "" {
		return k, nil
	}
	secret, err := r.Host.Secret(ctx, "tempurl")
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(s.account))
	key := hex.EncodeToString(m.Sum(nil))
	if _, _, err := s.do(ctx, "POST", "", map[string]string{"X-Account-Meta-Temp-Url-Key": key}, []byte{}); err != nil {
		return "", fmt.Errorf("set temp URL key: %w", err)
	}
	return key, nil
}

// expires is when our temporary URLs end: as Heat's, never in practice.
const expires = 2147483647

// tempURL returns an address by which a machine may use one method on one object.
func (s *swift) tempURL(ctx context.Context, r *Resource, method, container, object string) (string, error) {
	key, err := s.tempURLKey(ctx, r)
	if err != nil {
		return "", err
	}
	path := "/v1/" + s.account + "/" + container + "/" + object
	m := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(m, "%s\n%d\n%s", method, expires, path)
	return fmt.Sprintf("%s/object-store/v1/%s/%s?temp_url_sig=%s&temp_url_expires=%d", r.Host.NodeURL(), s.account, objectPath(container, object), hex.EncodeToString(m.Sum(nil)), expires), nil
}

// topic is published when the object changes.
func (s *swift) topic(container, object string) string {
	return "objectstore/" + s.account + "/" + container + "/" + object
}

// patch sends a JSON patch of the given content type.
func (c client) patch(ctx context.Context, path, contentType string, ops []any) error {
	b, err := yaml11.EncodeJSON(ops)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	resp, err := c.Request(ctx, "PATCH", c.ServiceURL(path), &gophercloud.RequestOpts{RawBody: bytes.NewReader(b), KeepResponseBody: true,
		MoreHeaders: map[string]string{"Content-Type": contentType}, OkCodes: []int{200, 202, 204}})
	if err != nil {
		return readable(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.Body.Close()
}

// text returns a body that is not JSON.
func (c client) text(ctx context.Context, path string) (string, error) {
	resp, err := c.Request(ctx, "GET", c.ServiceURL(path), &gophercloud.RequestOpts{KeepResponseBody: true, MoreHeaders: map[string]string{"Accept": "*/*"}, OkCodes: []int{200}})
	if err != nil {
		return "", readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(b), err
}
