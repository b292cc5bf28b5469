package disk

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A server that cannot read its own copy beyond a byte breaks off there each
// time; the download ends instead of being taken up for ever.
func TestDownloadThatBreaksOffAtTheSameByte(t *testing.T) {
	const bad = 70_000
	image := bytes.Repeat([]byte("0123456789"), 10_000)
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.ServeContent(&breakingWriter{ResponseWriter: w, from: rangeStart(r), bad: bad}, r, "", time.Unix(1, 0), bytes.NewReader(image))
	}))
	defer server.Close()
	s := &Source{URL: server.URL, Client: server.Client(), Log: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return 0 }}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s.Reader(t.Context()))
	if err == nil || !strings.Contains(err.Error(), "broke off before byte 70000 of 100000") {
		t.Errorf("%v, expected the byte where it breaks off", err)
	}
	if len(got) != bad || !bytes.Equal(got, image[:bad]) {
		t.Errorf("%d bytes arrived, expected those before the break", len(got))
	}
	if requests < 2 || requests > 2*maxBreaks {
		t.Errorf("%d requests, expected a few", requests)
	}
}

func rangeStart(r *http.Request) int {
	n := 0
	for _, c := range strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-") {
		n = 10*n + int(c-'0')
	}
	return n
}

// breakingWriter aborts before it writes the bad byte.
type breakingWriter struct {
	http.ResponseWriter
	from, bad int
}

func (w *breakingWriter) Write(p []byte) (int, error) {
	if w.from+len(p) > w.bad {
		_, _ = w.ResponseWriter.Write(p[:w.bad-w.from])
		if f, ok := w.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(p)
	w.from += n
	return n, err
}
