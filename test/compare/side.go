package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// requestTime is how long one request may take, a gibibyte's transfer included.
const requestTime = 5 * time.Minute

// keptBody is the most that is kept of an answer's body, in bytes.
const keptBody = 8 << 20

// side is one of the two services under load, and what was made in it.
type side struct {
	name    string
	client  *http.Client
	url     string
	token   string
	auth    string // body of a request for a token
	seconds time.Duration
	workers int
	// sessions are those of the service's processes.
	sessions map[string]bool

	mu   sync.Mutex
	made []string // ids of small images that a measure made and another shows
	big  string   // the image that was uploaded last
}

// answered is what one request came to.
type answered struct {
	header http.Header
	body   []byte
}

// jsonType is the header of a JSON body.
var jsonType = map[string]string{"Content-Type": "application/json"}

// do sends a request; kept bodies are bounded, others are read and dropped. Any
// status above 299 is an error.
func (s *side) do(method, path string, header map[string]string, body io.Reader, keep bool) (answered, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return answered{}, err
	}
	if s.token != "" {
		req.Header.Set("X-Auth-Token", s.token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = res.Body.Close() }()
	out := answered{header: res.Header}
	if keep || res.StatusCode >= 300 {
		out.body, err = io.ReadAll(io.LimitReader(res.Body, keptBody))
	} else {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %.300s", method, path, res.Status, out.body)
	}
	return out, err
}

// document sends a JSON body, if there is one, and reads the answer into out, if it is not nil.
func (s *side) document(method, path string, header map[string]string, body string, out any) error {
	all := map[string]string{"Content-Type": "application/json"}
	for k, v := range header {
		all[k] = v
	}
	a, err := s.do(method, path, all, strings.NewReader(body), true)
	if err != nil || out == nil || len(a.body) == 0 {
		return err
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("%s %s: answer is not the expected JSON: %w", method, path, err)
	}
	return nil
}

// load runs fn from all workers until the time is over; fn answers how many units
// it did.
func (s *side) load(fn func(worker, n int) (int, error)) (work, error) {
	var done atomic.Int64
	var failed error
	var once sync.Once
	var all sync.WaitGroup
	began := time.Now()
	for w := range s.workers {
		all.Go(func() {
			for n := 0; time.Since(began) < s.seconds; n++ {
				units, err := fn(w, n)
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				done.Add(int64(units))
			}
		})
	}
	all.Wait()
	if failed != nil {
		return work{}, failed
	}
	return work{float64(done.Load()), time.Since(began)}, nil
}

// timed runs fn, which moves size bytes, once; units are MB (10^6 bytes).
func timed(size int64, fn func() error) (work, error) {
	began := time.Now()
	err := fn()
	return work{float64(size) / 1e6, time.Since(began)}, err
}

// setSessions takes the value of a flag.
func (s *side) setSessions(value string) error {
	s.sessions = map[string]bool{}
	for id := range strings.SplitSeq(value, ",") {
		if n, err := strconv.Atoi(id); err != nil || n < 1 {
			return fmt.Errorf("session %q: expected a number above 0", id)
		}
		s.sessions[id] = true
	}
	return nil
}

// tick is the unit of processor time in /proc (USER_HZ, see proc(5)).
const tick = 10 * time.Millisecond

// processor is how much processor time the processes of some sessions have spent so far.
func processor(sessions map[string]bool) (time.Duration, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, p := range processes {
		b, err := os.ReadFile(p) //nolint:gosec // a file of /proc
		if err != nil {
			continue // it has ended
		}
		// The fields behind the name, which stands in parentheses: session is the 4th, utime and stime the 12th and 13th.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) < 13 || !sessions[fields[3]] {
			continue
		}
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", p, err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// random is a body of size bytes that no one can compress or leave holes in.
func random(size int64) io.Reader {
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block) // never fails
	return io.LimitReader(&repeat{block: block}, size)
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
