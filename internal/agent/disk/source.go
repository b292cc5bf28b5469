package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrImageChanged means that the server's copy changed while it was being read.
var ErrImageChanged = errors.New("the image changed on the server while it was read")

// Source is an image on an HTTP server. A broken connection is taken up again where it broke, with Range and
// If-Match, as long as the outage is shorter than Patience: an image server may restart under a deployment.
type Source struct {
	URL    string
	Client *http.Client
	Log    *slog.Logger
	// Patience bounds one outage; zero means ten minutes.
	Patience time.Duration
	// Backoff returns how long to wait before attempt n (from 1) of one outage; nil means 1, 2, 4 … 15 s.
	Backoff func(n int) time.Duration

	size int64 // -1 unknown
	etag string
	body io.ReadCloser
	off  int64

	brokenAt int64 // where the connection broke last
	breaks   int   // how often in a row it broke there
}

// maxBreaks is how often in a row a download may break at the same byte. An
// outage lets bytes through between its breaks, or refuses connections; a
// server that answers and then breaks off before the same byte each time
// cannot read its own copy.
const maxBreaks = 5

// statusError is an answer that no retry will better.
type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return "the image server answered " + e.status }

// open sends the GET for everything from off on.
func (s *Source) open(ctx context.Context, off int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return err
	}
	// The bytes as they are stored: the checksum is theirs.
	req.Header.Set("Accept-Encoding", "identity")
	if off > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(off, 10)+"-")
		if s.etag != "" {
			req.Header.Set("If-Match", s.etag)
		}
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return err
	}
	if err := s.accept(resp, off); err != nil {
		return errors.Join(err, resp.Body.Close())
	}
	s.body, s.off = resp.Body, off
	return nil
}

func (s *Source) accept(resp *http.Response, off int64) error {
	etag := resp.Header.Get("ETag")
	switch {
	case off == 0 && resp.StatusCode == http.StatusOK:
		s.size, s.etag = resp.ContentLength, etag
		return nil
	case off > 0 && resp.StatusCode == http.StatusPartialContent:
		if etag != s.etag {
			return ErrImageChanged
		}
		if want := "bytes " + strconv.FormatInt(off, 10) + "-"; !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			return fmt.Errorf("the image server answered range %q to a request for %q", resp.Header.Get("Content-Range"), want)
		}
		return nil
	case off > 0 && resp.StatusCode == http.StatusPreconditionFailed:
		return ErrImageChanged
	case off > 0 && resp.StatusCode == http.StatusOK:
		// A server without ranges starts over: what was read already is skipped, the checksum is over all of it.
		if etag != s.etag {
			return ErrImageChanged
		}
		_, err := io.CopyN(io.Discard, resp.Body, off)
		return err
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("the image server answered %s", resp.Status) // worth another try
	}
	return &statusError{resp.StatusCode, resp.Status}
}

// Start opens the image at its beginning, with patience. Size is known afterwards.
func (s *Source) Start(ctx context.Context) error {
	if err := s.closeBody(); err != nil {
		s.Log.Debug("close image body", "err", err)
	}
	s.size, s.etag, s.brokenAt, s.breaks = -1, "", 0, 0
	return s.retry(ctx, nil, func() error { return s.open(ctx, 0) })
}

// Size is the length announced by the server in bytes, -1 if it did not say.
func (s *Source) Size() int64 { return s.size }

// Reader returns the bytes from the beginning; Start must have succeeded.
func (s *Source) Reader(ctx context.Context) io.Reader { return &sourceReader{ctx, s} }

type sourceReader struct {
	ctx context.Context // io.Reader has no other way to be cancelled
	s   *Source
}

// Read implements io.Reader and hides outages.
func (r *sourceReader) Read(p []byte) (int, error) {
	s := r.s
	for {
		n, err := s.body.Read(p)
		s.off += int64(n)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && (s.size < 0 || s.off >= s.size):
			return 0, io.EOF
		case r.ctx.Err() != nil:
			return 0, r.ctx.Err()
		case s.stuck():
			return 0, fmt.Errorf("the image server broke off before byte %d of %d %d times in a row; its own copy of the image may be damaged: %w", s.off, s.size, maxBreaks, redactURL(err))
		case !s.pause(r.ctx):
			return 0, r.ctx.Err()
		case s.off == 0:
			err = s.retry(r.ctx, err, func() error { return s.open(r.ctx, 0) })
		default:
			off := s.off
			err = s.retry(r.ctx, err, func() error { return s.open(r.ctx, off) })
		}
		if err != nil {
			return 0, err
		}
	}
}

// stuck counts a break of the connection and says whether it is one too many
// at this place.
func (s *Source) stuck() bool {
	if s.off != s.brokenAt {
		s.brokenAt, s.breaks = s.off, 0
	}
	s.breaks++
	return s.breaks >= maxBreaks
}

// pause waits after a break at the place of the one before; false when ctx ends.
func (s *Source) pause(ctx context.Context) bool {
	if s.breaks < 2 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(s.backoff(s.breaks - 1)):
		return true
	}
}

// retry repeats f until it succeeds, fails for good or patience ends. cause is what broke the connection.
func (s *Source) retry(ctx context.Context, cause error, f func() error) error {
	patience := s.Patience
	if patience == 0 {
		patience = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = s.closeBodyIf(cause)
	for n := 1; ; n++ {
		err := f()
		var final *statusError
		if err == nil || errors.As(err, &final) || errors.Is(err, ErrImageChanged) {
			return err
		}
		wait := s.backoff(n)
		s.Log.Warn("image download interrupted, trying again", "err", redactURL(err), "after", wait, "attempt", n)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("gave up on the image after %s: %w", patience, redactURL(err))
		case <-t.C:
		}
	}
}

func (s *Source) backoff(n int) time.Duration {
	if s.Backoff != nil {
		return s.Backoff(n)
	}
	return min(time.Second<<min(n-1, 4), 15*time.Second)
}

func (s *Source) closeBodyIf(cause error) error {
	if cause == nil {
		return nil
	}
	return s.closeBody()
}

func (s *Source) closeBody() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// Close ends the download.
func (s *Source) Close() error { return s.closeBody() }

// ReadAt implements io.ReaderAt by range requests; Start must have succeeded.
func (s *Source) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	if s.size >= 0 && off >= s.size {
		return 0, io.EOF
	}
	end := off + int64(len(p))
	if s.size >= 0 {
		end = min(end, s.size)
	}
	var n int
	err := s.retry(ctx, nil, func() error {
		var err error
		n, err = s.getRange(ctx, p[:end-off], off)
		return err
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (s *Source) getRange(ctx context.Context, p []byte, off int64) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))
	if s.etag != "" {
		req.Header.Set("If-Match", s.etag)
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if off == 0 && resp.StatusCode == http.StatusOK && resp.ContentLength == int64(len(p)) {
		return io.ReadFull(resp.Body, p)
	}
	if resp.StatusCode == http.StatusOK {
		return 0, &statusError{resp.StatusCode, "200 OK to a range request: a qcow2 image needs a server that knows Range"}
	}
	if resp.StatusCode == http.StatusPartialContent {
		if tag := resp.Header.Get("ETag"); tag != s.etag {
			return 0, ErrImageChanged
		}
		return io.ReadFull(resp.Body, p)
	}
	if resp.StatusCode == http.StatusPreconditionFailed {
		return 0, ErrImageChanged
	}
	if resp.StatusCode >= 500 {
		return 0, fmt.Errorf("the image server answered %s", resp.Status)
	}
	return 0, &statusError{resp.StatusCode, resp.Status}
}

// redactURL drops the query of a URL in an error: a TempURL's signature is a secret.
func redactURL(err error) error {
	var u interface{ Unwrap() error }
	text := err.Error()
	i := strings.Index(text, "?")
	if i < 0 || !errors.As(err, &u) {
		return err
	}
	end := strings.IndexAny(text[i:], "\" ")
	if end < 0 {
		end = len(text) - i
	}
	return &redactedError{text[:i] + text[i+end:], u.Unwrap()}
}

type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }
