package objectstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// everybody accepts any token as the owner's.
type everybody struct{}

func (everybody) Validate(_ context.Context, token string) (*auth.Identity, error) {
	return &auth.Identity{UserID: "u", ProjectID: "p", Roles: []string{"member"}, Token: token}, nil
}

// benchServer serves as the undercloud does: an answer to a change leaves when
// the change is on the disk.
func benchServer(b *testing.B) (*httptest.Server, *http.Client, *store.DB) {
	b.Helper()
	db, bus, log := storetest.Open(b), notify.New(), slog.New(slog.DiscardHandler)
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		b.Fatal(err)
	}
	blobs, err := blob.OpenDir(filepath.Join(b.TempDir(), "blobs"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := objectstore.New(objectstore.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: everybody{}, Blob: blobs})
	if err != nil {
		b.Fatal(err)
	}
	h := s.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w = &syncing{w, func() error { return db.Sync(r.Context()) }}
		}
		h.ServeHTTP(w, r)
	}))
	b.Cleanup(srv.Close)
	return srv, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, db
}

type syncing struct {
	http.ResponseWriter
	sync func() error
}

func (s *syncing) WriteHeader(status int) {
	if s.sync() != nil {
		status = http.StatusInternalServerError
	}
	s.ResponseWriter.WriteHeader(status)
}

func send(b *testing.B, c *http.Client, method, url string, body io.Reader) {
	req, err := http.NewRequestWithContext(b.Context(), method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "t")
	res, err := c.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		b.Fatal(err)
	}
	if res.StatusCode >= 300 {
		b.Fatalf("%s %s: %s", method, url, res.Status)
	}
}

// BenchmarkSmall puts and gets objects of 4 KiB over 32 connections.
func BenchmarkSmall(b *testing.B) {
	srv, c, _ := benchServer(b)
	send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c", nil)
	body := strings.Repeat("x", 4096)
	var n atomic.Int64
	run := func(name, method string, content func() io.Reader) {
		b.Run(name, func(b *testing.B) {
			n.Store(0)
			b.SetBytes(4096)
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					send(b, c, method, fmt.Sprintf("%s/v1/AUTH_p/c/o%d", srv.URL, n.Add(1)%200), content())
				}
			})
		})
	}
	send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c/o0", strings.NewReader(body))
	run("put", "PUT", func() io.Reader { return strings.NewReader(body) })
	for i := range 200 {
		send(b, c, "PUT", fmt.Sprintf("%s/v1/AUTH_p/c/o%d", srv.URL, i), strings.NewReader(body))
	}
	run("get", "GET", func() io.Reader { return nil })
}

// BenchmarkLarge puts and gets one object of 1 GiB, and measures beside it what
// the disk takes (written and synced) and what a bare TCP connection carries
// over loopback.
func BenchmarkLarge(b *testing.B) {
	const size = 1 << 30
	chunk := make([]byte, 1<<20)
	_, _ = rand.Read(chunk)
	content := func() io.Reader { return io.LimitReader(endless(chunk), size) }
	b.Run("disk", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			for range size / len(chunk) {
				if _, err := f.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("loopback", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			loopback(b, content())
		}
	})
	srv, c, _ := benchServer(b)
	send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c", nil)
	b.Run("put", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c/big", content())
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			send(b, c, "GET", srv.URL+"/v1/AUTH_p/c/big", nil)
		}
	})
}

// endless repeats its bytes.
func endless(chunk []byte) io.Reader { return &repeated{chunk: chunk} }

type repeated struct {
	chunk []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.chunk[r.at:])
	r.at = (r.at + n) % len(r.chunk)
	return n, nil
}

func loopback(b *testing.B, content io.Reader) {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256<<10))
		}
		done <- err
	}()
	conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{conn}, content, make([]byte, 256<<10))
	if err := errors.Join(err, conn.Close(), <-done, l.Close()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkListing lists 10,000 of a million objects, and a thousand folders
// that stand for them.
func BenchmarkListing(b *testing.B) {
	srv, c, db := benchServer(b)
	send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c", nil)
	err := db.Tx(b.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO objectstore_objects (account, container, name, etag, size, content_type, modified, body_key, inline, stored, headers, dlo, slo, manifest_etag, link, expires, version)
			WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999999)
			SELECT 'AUTH_p', 'c', printf('folder%03d/object%06d', i / 1000, i), 'd41d8cd98f00b204e9800998ecf8427e', 0, 'text/plain', 1700000000000000 + i, '', 0, 0, '{}', '', '', '', '', 0, 0 FROM n`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, tc := range []struct{ name, query string }{
		{"10000-plain", ""},
		{"10000-json", "format=json&marker=folder500/object500000"},
		{"10000-reverse", "format=json&reverse=true"},
		{"1000-folders", "format=json&delimiter=/"},
		{"one-prefix", "format=json&prefix=folder777/&limit=100"},
	} {
		b.Run(tc.name, func(b *testing.B) {
			for range b.N {
				send(b, c, "GET", srv.URL+"/v1/AUTH_p/c?"+tc.query, nil)
			}
		})
	}
}
