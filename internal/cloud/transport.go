package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Transport is a transport over the network that also trusts the authorities of
// a PEM file; caFile "" trusts only the system's.
func Transport(caFile string) (*http.Transport, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority: %s holds no certificate in PEM form", caFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// Local is a round-tripper that answers requests to one base URL from a
// handler in this process and sends all others over the network. It does what
// a socket would: the same handler chain with its authentication and limits,
// streamed bodies, cancellation; only the copying through the kernel is spared.
type Local struct {
	base    string // "http://host:port"
	handler http.Handler
	remote  http.RoundTripper
}

// NewLocal routes requests that begin with base (scheme://host:port) to handler.
func NewLocal(base string, handler http.Handler, remote http.RoundTripper) *Local {
	return &Local{base: strings.TrimSuffix(base, "/"), handler: handler, remote: remote}
}

// RoundTrip implements http.RoundTripper.
func (l *Local) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme+"://"+r.URL.Host != l.base {
		return l.remote.RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if length := wireLength(in); length != "" {
		in.Header.Set("Content-Length", length)
	}
	pr, pw := io.Pipe()
	w := &localWriter{header: http.Header{}, body: pw, ready: make(chan struct{})}
	go func() {
		defer func() {
			p := recover()
			w.WriteHeader(http.StatusOK) // a handler that wrote nothing
			_ = in.Body.Close()
			if p != nil {
				_ = pw.CloseWithError(fmt.Errorf("handler aborted: %v", p))
				return
			}
			_ = pw.Close()
		}()
		l.handler.ServeHTTP(w, in)
	}()
	select {
	case <-w.ready:
	case <-r.Context().Done():
		_ = pr.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	stop := make(chan struct{})
	go func() { // a cancelled request ends the handler's writes
		select {
		case <-r.Context().Done():
			_ = pr.CloseWithError(r.Context().Err())
		case <-stop:
		}
	}()
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &localBody{PipeReader: pr, err: r.Context().Err, stop: sync.OnceFunc(func() { close(stop) })},
		ContentLength: -1, Request: r,
	}, nil
}

// wireLength is the Content-Length that net/http's client would send: always
// that of a known body, and 0 for the methods that are expected to have one.
func wireLength(r *http.Request) string {
	switch {
	case r.ContentLength > 0:
		return strconv.FormatInt(r.ContentLength, 10)
	case r.Body == http.NoBody && (r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch):
		return "0"
	}
	return ""
}

type localBody struct {
	*io.PipeReader
	err  func() error // of the request's context
	stop func()
}

func (b *localBody) Read(p []byte) (int, error) {
	if err := b.err(); err != nil {
		return 0, err
	}
	n, err := b.PipeReader.Read(p)
	if errors.Is(err, io.EOF) {
		b.stop()
	}
	return n, err
}

func (b *localBody) Close() error {
	b.stop()
	return b.PipeReader.Close()
}

type localWriter struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	once         sync.Once
	ready        chan struct{}
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		return // informational responses stay here
	}
	w.once.Do(func() {
		w.status = status
		w.sent = w.header.Clone()
		close(w.ready)
	})
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush implements http.Flusher; nothing is buffered.
func (w *localWriter) Flush() { w.WriteHeader(http.StatusOK) }
