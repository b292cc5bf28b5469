// Command compare puts one load on a service and prints what it did with it, so
// that ours and OpenStack's own can be measured alike (scripts/compare.sh starts
// both). Every load ends by itself: -seconds for each kind of request. It speaks
// to loopback only.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is the service under load.
type target struct {
	client  *http.Client
	url     string
	token   string
	auth    string // body of a request for a token
	seconds time.Duration
	workers int
}

// answered is what one request came to.
type answered struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; kept bodies are bounded, others are read and dropped.
func (t *target) do(method, path string, header map[string]string, body io.Reader, keep bool) (answered, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, t.url+path, body)
	if err != nil {
		return answered{}, err
	}
	if t.token != "" {
		req.Header.Set("X-Auth-Token", t.token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = res.Body.Close() }()
	out := answered{status: res.StatusCode, header: res.Header}
	if keep {
		out.body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	} else {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", method, path, res.Status, out.body)
	}
	return out, err
}

// load runs fn from all workers until the time is over and prints how many ended
// a second; units is what one call counts for.
func (t *target) load(name string, units int, fn func(worker, n int) error) error {
	var done atomic.Int64
	var failed error
	var once sync.Once
	var all sync.WaitGroup
	began := time.Now()
	for w := range t.workers {
		all.Go(func() {
			for n := 0; time.Since(began) < t.seconds; n++ {
				if err := fn(w, n); err != nil {
					once.Do(func() { failed = err })
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if failed != nil {
		return fmt.Errorf("%s: %w", name, failed)
	}
	fmt.Printf("  %-34s %10.0f /s\n", name, float64(done.Load()*int64(units))/time.Since(began).Seconds())
	return nil
}

// stream moves size bytes once each way and prints MB a second.
func (t *target) stream(put, get string, size int64, header map[string]string) error {
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block) // never fails
	began := time.Now()
	if _, err := t.do(http.MethodPut, put, header, io.LimitReader(&repeat{block: block}, size), false); err != nil {
		return err
	}
	fmt.Printf("  %-34s %10.0f MB/s\n", fmt.Sprintf("put %d MB", size/1e6), float64(size)/1e6/time.Since(began).Seconds())
	began = time.Now()
	if _, err := t.do(http.MethodGet, get, nil, nil, false); err != nil {
		return err
	}
	fmt.Printf("  %-34s %10.0f MB/s\n", fmt.Sprintf("get %d MB", size/1e6), float64(size)/1e6/time.Since(began).Seconds())
	return nil
}

// repeat reads one block again and again.
type repeat struct {
	block []byte
	at    int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// objects: Swift. The url is the account's.
func objects(t *target) error {
	if _, err := t.do(http.MethodPut, "/compare", nil, nil, true); err != nil {
		return err
	}
	small := strings.Repeat("x", 4096)
	name := func(w, n int) string { return fmt.Sprintf("/compare/o%d-%d", w, n%50) }
	err := t.load("put 4 KiB", 1, func(w, n int) error {
		_, err := t.do(http.MethodPut, name(w, n), nil, strings.NewReader(small), true)
		return err
	})
	if err != nil {
		return err
	}
	err = t.load("get 4 KiB", 1, func(w, n int) error {
		_, err := t.do(http.MethodGet, fmt.Sprintf("/compare/o%d-0", w), nil, nil, false)
		return err
	})
	if err != nil {
		return err
	}
	return t.stream("/compare/big", "/compare/big", 1e9, nil)
}

// tokens: Keystone. The url ends in /v3.
func tokens(t *target) error {
	jsonType := map[string]string{"Content-Type": "application/json"}
	var last atomic.Value
	err := t.load("token by password", 1, func(int, int) error {
		a, err := t.do(http.MethodPost, "/auth/tokens", jsonType, strings.NewReader(t.auth), true)
		if err == nil {
			last.Store(a.header.Get("X-Subject-Token"))
		}
		return err
	})
	if err != nil {
		return err
	}
	token, _ := last.Load().(string)
	t.token = token
	return t.load("token validated", 1, func(int, int) error {
		_, err := t.do(http.MethodGet, "/auth/tokens", map[string]string{"X-Subject-Token": token}, nil, true)
		return err
	})
}

func run() error {
	service := flag.String("service", "", "objects or tokens")
	address := flag.String("url", "", "endpoint, on loopback")
	token := flag.String("token", os.Getenv("COMPARE_TOKEN"), "token of every request (environment COMPARE_TOKEN)")
	auth := flag.String("auth", "", "file with the body of a request for a token")
	seconds := flag.Duration("seconds", 8*time.Second, "time for each kind of request, at most a minute")
	workers := flag.Int("connections", 32, "connections, at most 64")
	flag.Parse()
	u, err := url.Parse(*address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("url %q: expected an address of loopback", *address)
	}
	if *seconds > time.Minute || *workers < 1 || *workers > 64 {
		return errors.New("-seconds is at most 1m, -connections 1 to 64")
	}
	t := &target{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, url: strings.TrimSuffix(*address, "/"), token: *token, seconds: *seconds, workers: *workers}
	if *auth != "" {
		b, err := os.ReadFile(*auth)
		if err != nil {
			return err
		}
		t.auth = string(b)
	}
	kinds := map[string]func(*target) error{"objects": objects, "tokens": tokens}
	if kinds[*service] == nil {
		return fmt.Errorf("-service %q: expected objects or tokens", *service)
	}
	return kinds[*service](t)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
