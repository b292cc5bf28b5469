// Package blob keeps object bodies: large, immutable, named by a key that is
// never used for other content while somebody may read it. What is known about
// a body (names, metadata, who may read it) is in the store, not here.
//
// A body lies in a local folder (Dir) or in an S3 bucket (S3), in both with a
// checksum behind each block, so that no byte is handed out unverified and a
// range costs no more than the blocks it touches.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrNotFound says that there is no body under a key.
	ErrNotFound = errors.New("blob not found")
	// ErrCorrupt says that what is stored is not what was written.
	ErrCorrupt = errors.New("blob is corrupt")
	// ErrFull says that there is no space left for a body.
	ErrFull = errors.New("no space left for blobs")
)

// Info describes a body.
type Info struct {
	Size     int64     // bytes
	MD5      string    // hex; only Put knows it
	Modified time.Time // when it was stored; Put leaves it zero
}

// Store keeps bodies. Put is durable once it returns; a body that was not
// written to its end is never visible. Keys are slash-separated words of
// [A-Za-z0-9._-].
type Store interface {
	// Put stores all of r under key, replacing what was there.
	Put(ctx context.Context, key string, r io.Reader) (Info, error)
	// Get reads n bytes (n < 0: to the end) from offset off. Read fails with
	// ErrCorrupt in front of the first byte that is not as it was written.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (Info, error)
	// Delete removes a body; one that does not exist is no error.
	Delete(ctx context.Context, key string) error
	// List calls fn for each key that begins with prefix, in no order.
	List(ctx context.Context, prefix string, fn func(key string, info Info) error) error
	// Close releases what the store holds.
	Close() error
}

// Verify reads a body to its end; ErrCorrupt if it is not as it was written.
func Verify(ctx context.Context, s Store, key string) error {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// checkKey keeps keys from leaving the store's own name space.
func checkKey(key string) error {
	if key == "" || strings.HasPrefix(key, ".") {
		return fmt.Errorf("blob key %q is malformed", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("blob key %q is malformed", key)
		}
		for _, c := range part {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c)) {
				return fmt.Errorf("blob key %q is malformed", key)
			}
		}
	}
	return nil
}
