package objectstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// everybody accepts any token as the owner's.
type everybody struct{}

func (everybody) Validate(_ context.Context, token string) (*auth.Identity, error) {
	return &auth.Identity{UserID: "u", ProjectID: "p", Roles: []string{"member"}, Token: token}, nil
}

func benchServer(b *testing.B) (*httptest.Server, *http.Client) {
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
	srv := httptest.NewServer(s.Handler())
	b.Cleanup(srv.Close)
	return srv, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
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
	srv, c := benchServer(b)
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

// BenchmarkLarge puts and gets one object of 256 MiB.
func BenchmarkLarge(b *testing.B) {
	srv, c := benchServer(b)
	send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c", nil)
	const size = 256 << 20
	chunk := make([]byte, 1<<20)
	_, _ = rand.Read(chunk)
	b.Run("put", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			parts := make([]io.Reader, size/len(chunk))
			for i := range parts {
				parts[i] = strings.NewReader(string(chunk))
			}
			send(b, c, "PUT", srv.URL+"/v1/AUTH_p/c/big", io.MultiReader(parts...))
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			send(b, c, "GET", srv.URL+"/v1/AUTH_p/c/big", nil)
		}
	})
}
