package undercloud

import (
	"context"
	"net/http"
)

// durable holds back the answer to a request that changes something until what
// it committed is on the disk, so that nothing acknowledged is lost when the
// power fails. It stands at the sockets only: services that call each other in
// process share one log, and lose its tail together.
func durable(h http.Handler, sync func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			h.ServeHTTP(w, r)
		default:
			d := &durableWriter{ResponseWriter: w, sync: func() error { return sync(r.Context()) }}
			h.ServeHTTP(d, r)
			d.decide(http.StatusOK) // a handler that wrote nothing
		}
	})
}

type durableWriter struct {
	http.ResponseWriter
	sync    func() error
	decided bool
	failed  bool
}

// decide settles what the answer is before its first byte leaves.
func (d *durableWriter) decide(status int) {
	if d.decided {
		return
	}
	d.decided = true
	if status < http.StatusBadRequest && d.sync() != nil {
		d.failed = true
		d.Header().Del("Content-Length")
		http.Error(d.ResponseWriter, "the change could not be made durable; it may or may not have been made", http.StatusInternalServerError)
		return
	}
	d.ResponseWriter.WriteHeader(status)
}

// WriteHeader implements http.ResponseWriter.
func (d *durableWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		d.ResponseWriter.WriteHeader(status)
		return
	}
	d.decide(status)
}

func (d *durableWriter) Write(p []byte) (int, error) {
	d.decide(http.StatusOK)
	if d.failed {
		return len(p), nil
	}
	return d.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (d *durableWriter) Flush() {
	d.decide(http.StatusOK)
	if f, ok := d.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (d *durableWriter) Unwrap() http.ResponseWriter { return d.ResponseWriter }
