package collect

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
	"strings"
)

// maxAnswer bounds what a server answers to a request that is not for metadata.
const maxAnswer = 4 << 20

// Account is the user Heat made for one resource; it may read that resource's metadata and signal it.
type Account struct {
	AuthURL   string `json:"auth_url"`
	UserID    string `json:"user_id"`
	Password  string `json:"password"`
	ProjectID string `json:"project_id"`
	Region    string `json:"region_name,omitempty"`
}

// Session is a token and where the services are.
type Session struct {
	client *http.Client
	token  string
	urls   map[string]string // by service type
}

// Open asks Keystone for a token of the account.
func (a Account) Open(ctx context.Context, client *http.Client) (*Session, error) {
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{"id": a.UserID, "password": a.Password}}},
		"scope":    map[string]any{"project": map[string]any{"id": a.ProjectID}},
	}})
	if err != nil {
		return nil, err
	}
	base := strings.TrimRight(a.AuthURL, "/")
	base = strings.TrimSuffix(base, "/v2.0") // as Heat writes it for agents of old
	if !strings.HasSuffix(base, "/v3") {
		base += "/v3"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/auth/tokens", bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("auth_url cannot be parsed")
	}
	req.Header.Set("Content-Type", "application/json")
	header, data, err := answer(client, req, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("identity service: %w", err)
	}
	var out struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, Region, URL string }
			}
		}
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("identity service: %w", err)
	}
	s := &Session{client: client, token: header.Get("X-Subject-Token"), urls: map[string]string{}}
	for _, svc := range out.Token.Catalog {
		for _, e := range svc.Endpoints {
			if e.Interface == "public" && (a.Region == "" || e.Region == a.Region) {
				s.urls[svc.Type] = reachable(strings.TrimRight(e.URL, "/"), base)
			}
		}
	}
	return s, nil
}

// reachable puts the identity service's address in place of a loopback address: an undercloud that serves its clients on
// loopback names that in its catalog, and nodes reach its services where they reached the identity service.
func reachable(endpoint, identity string) string {
	e, err1 := url.Parse(endpoint)
	i, err2 := url.Parse(identity)
	if err1 != nil || err2 != nil {
		return endpoint
	}
	if ip := net.ParseIP(e.Hostname()); e.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		e.Scheme, e.Host = i.Scheme, i.Host
	}
	return e.String()
}

// URL is the address of a service with a path below it.
func (s *Session) URL(service string, path ...string) (string, error) {
	base, ok := s.urls[service]
	if !ok {
		return "", fmt.Errorf("the catalog has no %s service", service)
	}
	if len(path) > 0 && path[0] == "v2" { // some catalogs have the version, some have not
		base = strings.TrimSuffix(base, "/v2")
	}
	for _, p := range path {
		base += "/" + url.PathEscape(p)
	}
	return base, nil
}

// Call sends one request with the token and returns the body of a good answer.
func (s *Session) Call(ctx context.Context, method, address string, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("X-Auth-Token", s.token)
	req.Header.Set("Content-Type", "application/json")
	_, data, err := answer(s.client, req, maxMetadata)
	return data, err
}

// answer sends a request and reads the answer; one that is not 2xx is an error without its text, which may repeat secrets.
func answer(client *http.Client, req *http.Request, limit int64) (http.Header, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, safeURLError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case resp.StatusCode/100 != 2:
		return nil, nil, fmt.Errorf("the server answered %s", resp.Status)
	case err != nil:
		return nil, nil, safeURLError(err)
	case int64(len(data)) > limit:
		return nil, nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return resp.Header, data, nil
}
