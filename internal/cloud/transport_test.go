package cloud_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
)

const base = "http://undercloud.example:8000"

func client(h http.HandlerFunc) *http.Client {
	return &http.Client{Transport: cloud.NewLocal(base, h, http.DefaultTransport)}
}

func request(ctx context.Context, t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLocalAnswersAsASocketWould(t *testing.T) {
	c := client(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Seen", r.Host+" "+r.URL.Path+" "+r.URL.RawQuery)
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "not sent")
		_, _ = w.Write(append([]byte("got "), b...))
	})
	res, err := c.Do(request(t.Context(), t, http.MethodPost, "/a/b?c=d", strings.NewReader("hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusTeapot || string(b) != "got hello" {
		t.Errorf("%d %q", res.StatusCode, b)
	}
	if res.Header.Get("X-Seen") != "undercloud.example:8000 /a/b c=d" || res.Header.Get("X-Late") != "" {
		t.Errorf("headers %v: they must be those of the moment of WriteHeader", res.Header)
	}
}

func TestLocalStreams(t *testing.T) {
	sent := make(chan struct{})
	c := client(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("first"))
		<-sent // the rest only after the client has read
		_, _ = w.Write([]byte("second"))
	})
	res, err := c.Do(request(t.Context(), t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "first" {
		t.Fatalf("%q, %v", buf, err)
	}
	close(sent)
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(rest) != "second" {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestLocalEndsTheHandlerWhenTheClientGoesAway(t *testing.T) {
	ended := make(chan error, 1)
	c := client(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		<-r.Context().Done()
		_, err := w.Write([]byte("too late"))
		ended <- err
	})
	ctx, cancel := context.WithCancel(t.Context())
	res, err := c.Do(request(ctx, t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	cancel()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("read of a cancelled response: %v", err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the handler could write to a client that had gone")
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler never ended")
	}
}

func TestLocalTurnsAPanicIntoABrokenResponse(t *testing.T) {
	c := client(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	res, err := c.Do(request(t.Context(), t, http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a response that was cut off looked complete")
	}
}

func TestOtherHostsGoOverTheNetwork(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("remote")) }))
	defer srv.Close()
	c := client(func(http.ResponseWriter, *http.Request) { t.Error("a foreign host was answered here") })
	res, err := c.Get(srv.URL) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "remote" {
		t.Errorf("%q, %v", b, err)
	}
}
