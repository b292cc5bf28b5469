package collect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxMetadata bounds a node's metadata object; Heat limits a request body to 4 MiB, a node's share is below that.
const maxMetadata = 32 << 20

// Waits of the request collector.
const (
	LongPoll      = 60 * time.Second // asked of the server by X-Long-Poll
	longPollSlack = 30 * time.Second // the request is given up this long after the server should have answered
	minBackoff    = 1 * time.Second
	maxBackoff    = 30 * time.Second
	quickAnswer   = LongPoll / 4 // a 304 sooner than this comes from a server that does not hold requests
)

// Request polls the node's metadata object. It has no state of its own beyond the validators of the last answer.
type Request struct {
	Client  *http.Client
	sum     [sha256.Size]byte // of the last body: a server without validators sends the same again and again
	etag    string
	lastMod string
	address string
	backoff time.Duration
}

// ErrNotModified says that the object is as it was.
var ErrNotModified = errors.New("not modified")

// Fetch asks once: the new map, or ErrNotModified, or what went wrong. With wait the server is asked to hold the request
// until the object changes (`X-Long-Poll`, seconds). A new URL starts without validators.
func (r *Request) Fetch(ctx context.Context, address string, wait bool) (map[string]any, error) {
	if address != r.address {
		r.address, r.etag, r.lastMod, r.sum = address, "", "", [sha256.Size]byte{}
	}
	ctx, cancel := context.WithTimeout(ctx, LongPoll+longPollSlack)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("metadata_url cannot be parsed") // the URL carries a signature: not into logs
	}
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
		if wait {
			req.Header.Set("X-Long-Poll", strconv.Itoa(int(LongPoll/time.Second)))
		}
	} else if r.lastMod != "" {
		req.Header.Set("If-Modified-Since", r.lastMod)
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, safeURLError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, ErrNotModified
	default:
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		return nil, fmt.Errorf("metadata server answered %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", safeURLError(err))
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("metadata: larger than %d bytes", maxMetadata)
	}
	m, err := ParseMap(data)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	sum := sha256.Sum256(data)
	same := sum == r.sum
	r.sum = sum
	r.etag, r.lastMod = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	if same {
		return nil, ErrNotModified
	}
	return m, nil
}

// Next tells how long to wait before the next Fetch, from how the last one ended and how long it took: not at all after
// news and after a poll that the server held, else a doubling time from 1 s to 30 s.
func (r *Request) Next(err error, took time.Duration) time.Duration {
	if err == nil || (errors.Is(err, ErrNotModified) && took >= quickAnswer) {
		r.backoff = 0
		return 0
	}
	r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
	return r.backoff
}

// safeURLError takes the URL out of an error of net/http: a TempURL is a secret.
func safeURLError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
