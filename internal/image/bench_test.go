package image_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tripleo/tripleo/internal/crashtest"
)

// startBench serves the data of a new folder.
func startBench(b *testing.B) *victim {
	b.Helper()
	h, queue := serveDir(b, b.TempDir(), nil)
	done := make(chan error, 1)
	go func() { done <- queue.Run(b.Context()) }()
	b.Cleanup(func() {
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	srv := httptest.NewServer(h)
	b.Cleanup(srv.Close)
	return &victim{&crashtest.Victim{URL: srv.URL}, b}
}

// send sends a request and drops the answer's body; another status than the
// one expected ends the benchmark.
func send(b *testing.B, want int, method, url string, body io.Reader) {
	req, err := http.NewRequestWithContext(b.Context(), method, url, body)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", "member")
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode != want {
		b.Fatalf("%s %s: %s, %v; expected %d", method, url, res.Status, err, want)
	}
}

// BenchmarkData uploads and downloads 256 MiB that have no empty place.
func BenchmarkData(b *testing.B) {
	const size = 256 * mib
	v := startBench(b)
	data := make([]byte, mib)
	_, _ = rand.Read(data) // never fails
	var id string
	b.Run("upload", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			var readers []io.Reader
			for range size / mib {
				readers = append(readers, bytes.NewReader(data))
			}
			id = v.create("raw")
			send(b, http.StatusNoContent, "PUT", v.URL+"/v2/images/"+id+"/file", io.MultiReader(readers...))
		}
	})
	b.Run("download", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			send(b, http.StatusOK, "GET", v.URL+"/v2/images/"+id+"/file", nil)
		}
	})
}

// BenchmarkList lists a thousand images.
func BenchmarkList(b *testing.B) {
	v := startBench(b)
	for i := range 1000 {
		if v.create("raw") == "" {
			b.Fatalf("image %d was not created", i)
		}
	}
	for _, limit := range []int{25, 1000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			for range b.N {
				send(b, http.StatusOK, "GET", fmt.Sprintf("%s/v2/images?limit=%d", v.URL, limit), nil)
			}
		})
	}
}
