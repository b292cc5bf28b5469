package identity_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// benchToken measures requests to Keystone over a socket.
func benchToken(b *testing.B, ready func(b *testing.B, s *identitytest.Server) func() *http.Request, want int) {
	s := identitytest.Start(b)
	next := ready(b, s)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			res, err := client.Do(next())
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != want {
				b.Errorf("answer %d, want %d", res.StatusCode, want)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func request(method, url, body string, header ...string) *http.Request {
	req, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // a benchmark
	if err != nil {
		panic(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func adminToken(b *testing.B, s *identitytest.Server) string {
	b.Helper()
	c, err := s.Admin().Identity()
	if err != nil {
		b.Fatal(err)
	}
	return c.TokenID
}

const byPassword = `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "` +
	identitytest.AdminPassword + `"}}}, "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}`

// BenchmarkIssueByPassword is bound by the password hash, on purpose.
func BenchmarkIssueByPassword(b *testing.B) {
	benchToken(b, func(_ *testing.B, s *identitytest.Server) func() *http.Request {
		return func() *http.Request {
			return request(http.MethodPost, s.URL+"/identity/v3/auth/tokens", byPassword, "Content-Type", "application/json")
		}
	}, http.StatusCreated)
}

// BenchmarkIssueByToken rescopes a token.
func BenchmarkIssueByToken(b *testing.B) {
	benchToken(b, func(b *testing.B, s *identitytest.Server) func() *http.Request {
		body := `{"auth": {"identity": {"methods": ["token"], "token": {"id": "` + adminToken(b, s) + `"}}, "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}`
		return func() *http.Request {
			return request(http.MethodPost, s.URL+"/identity/v3/auth/tokens", body, "Content-Type", "application/json")
		}
	}, http.StatusCreated)
}

// BenchmarkValidateToken is what another service asks.
func BenchmarkValidateToken(b *testing.B) {
	benchToken(b, func(b *testing.B, s *identitytest.Server) func() *http.Request {
		token := adminToken(b, s)
		return func() *http.Request {
			return request(http.MethodGet, s.URL+"/identity/v3/auth/tokens", "", "X-Auth-Token", token, "X-Subject-Token", token)
		}
	}, http.StatusOK)
}
