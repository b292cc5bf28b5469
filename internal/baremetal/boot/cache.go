package boot

import (
	"context"
	"crypto/md5" //nolint:gosec // Glance's legacy checksum
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// Sum is a checksum as the image service gives it. An empty Hex is not
// checked.
type Sum struct {
	Algo string // md5, sha256 or sha512
	Hex  string
}

func (s Sum) hash() (hash.Hash, error) {
	switch s.Algo {
	case "md5":
		return md5.New(), nil
	case "sha256":
		return sha256.New(), nil
	case "", "sha512":
		return sha512.New(), nil
	default:
		return nil, fmt.Errorf("unknown hash algorithm %q", s.Algo)
	}
}

// Cache keeps kernels and ramdisks as local files, named by image id: an image
// never changes its bytes. Machines that boot at once share one download.
type Cache struct {
	Dir string
	// Keep is how long a file that nobody asked for stays. 0: for ever.
	Keep  time.Duration
	group singleflight.Group
}

const fetchTimeout = 10 * time.Minute

// Get returns the path of a local copy, made with open when there is none.
func (c *Cache) Get(ctx context.Context, id string, sum Sum, open func(ctx context.Context) (io.ReadCloser, error)) (string, error) {
	if id == "" || strings.ContainsAny(id, "/\\") || strings.HasPrefix(id, ".") {
		return "", fmt.Errorf("image id %q is no file name", id)
	}
	path := filepath.Join(c.Dir, id)
	if _, err := os.Stat(path); err == nil {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // only for Prune
		return path, nil
	}
	result := c.group.DoChan(id, func() (any, error) {
		// The download serves all who wait, not only who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return nil, c.fetch(ctx, path, sum, open)
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-result:
		return path, r.Err
	}
}

func (c *Cache) fetch(ctx context.Context, path string, sum Sum, open func(ctx context.Context) (io.ReadCloser, error)) (err error) {
	if _, err := os.Stat(path); err == nil {
		return nil // came between the caller's look and now
	}
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	h, err := sum.hash()
	if err != nil {
		return err
	}
	body, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	tmp, err := os.CreateTemp(c.Dir, ".part-*")
	if err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = io.Copy(io.MultiWriter(tmp, h), body)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); sum.Hex != "" && !strings.EqualFold(got, sum.Hex) {
		return fmt.Errorf("image %s has %s %s, expected %s", filepath.Base(path), sum.Algo, got, sum.Hex)
	}
	return os.Rename(tmp.Name(), path)
}

// Prune removes what nobody asked for during Keep, and parts of downloads that
// a crash has left.
func (c *Cache) Prune(now time.Time) error {
	if c.Keep <= 0 {
		return nil
	}
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > c.Keep {
			err = os.Remove(filepath.Join(c.Dir, e.Name()))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
