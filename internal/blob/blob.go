// Package blob keeps object bodies: large, immutable, named by a key that is
// never used for other content while somebody may read it. What is known about
// a body (names, metadata, who may read it) is in the store, not here.
package blob

import (
	"context"
	"crypto/md5" //nolint:gosec // Swift's and Glance's checksum, not a protection
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// ErrNotFound says that there is no body under a key.
var ErrNotFound = errors.New("blob not found")

// Info describes a body.
type Info struct {
	Size int64  // bytes
	MD5  string // hex; empty when not known
}

// Store keeps bodies. Put is durable once it returns; a body that was not
// written to its end is never visible. Keys are slash-separated words of
// [A-Za-z0-9._-].
type Store interface {
	// Put stores all of r under key, replacing what was there.
	Put(ctx context.Context, key string, r io.Reader) (Info, error)
	// Get reads n bytes (n < 0: to the end) from offset off.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (Info, error)
	// Delete removes a body; one that does not exist is no error.
	Delete(ctx context.Context, key string) error
	// List calls fn for each key that begins with prefix, in no order.
	List(ctx context.Context, prefix string, fn func(key string, info Info) error) error
	// Close releases what the store holds.
	Close() error
}

// Dir keeps bodies as files below a folder.
type Dir struct{ root *os.Root }

// OpenDir opens (and creates) folder dir.
func OpenDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(dir, tmpDir), 0o700); err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	d := &Dir{root: root}
	return d, d.clean()
}

const tmpDir = ".tmp"

// clean removes what interrupted writers left. Another process may be writing,
// so only files nobody can be writing any more would be safe to remove in a
// shared folder; a local folder belongs to one process.
func (d *Dir) clean() error {
	f, err := d.root.Open(tmpDir)
	if err != nil {
		return fmt.Errorf("blob folder: %w", err)
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("blob folder: %w", err)
	}
	for _, n := range names {
		_ = d.root.Remove(filepath.Join(tmpDir, n))
	}
	return nil
}

// Close implements Store.
func (d *Dir) Close() error { return d.root.Close() }

func path(key string) (string, error) {
	if key == "" || strings.HasPrefix(key, ".") {
		return "", fmt.Errorf("blob key %q is malformed", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("blob key %q is malformed", key)
		}
		for _, c := range part {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c)) {
				return "", fmt.Errorf("blob key %q is malformed", key)
			}
		}
	}
	return filepath.FromSlash(key), nil
}

// Put implements Store: the body is written aside, synced, then renamed.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) (Info, error) {
	name, err := path(key)
	if err != nil {
		return Info{}, err
	}
	tmp := filepath.Join(tmpDir, strings.ReplaceAll(key, "/", "+")+fmt.Sprintf(".%s", uuid.NewString()))
	f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Info{}, fmt.Errorf("write blob: %w", err)
	}
	sum := md5.New() //nolint:gosec // see above
	n, err := copyBody(ctx, io.MultiWriter(f, sum), r)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.publish(tmp, name)
	}
	if err != nil {
		_ = d.root.Remove(tmp)
		return Info{}, fmt.Errorf("write blob: %w", err)
	}
	return Info{Size: n, MD5: hex.EncodeToString(sum.Sum(nil))}, nil
}

func (d *Dir) publish(tmp, name string) error {
	dir := filepath.Dir(name)
	if err := d.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := d.root.Rename(tmp, name); err != nil {
		return err
	}
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func copyBody(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Get implements Store.
func (d *Dir) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	name, err := path(key)
	if err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, notFound(err)
	}
	if off > 0 {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return nil, errors.Join(fmt.Errorf("read blob: %w", err), f.Close())
		}
	}
	if n < 0 {
		return f, nil
	}
	return limited{io.LimitReader(f, n), f}, nil
}

type limited struct {
	io.Reader
	io.Closer
}

// Stat implements Store.
func (d *Dir) Stat(_ context.Context, key string) (Info, error) {
	name, err := path(key)
	if err != nil {
		return Info{}, err
	}
	fi, err := d.root.Stat(name)
	if err != nil {
		return Info{}, notFound(err)
	}
	return Info{Size: fi.Size()}, nil
}

// Delete implements Store.
func (d *Dir) Delete(_ context.Context, key string) error {
	name, err := path(key)
	if err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string, fn func(string, Info) error) error {
	return fs.WalkDir(d.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir():
			if p == tmpDir {
				return fs.SkipDir
			}
			return nil
		case !strings.HasPrefix(p, prefix):
			return nil
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(p, Info{Size: fi.Size()})
	})
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	return fmt.Errorf("read blob: %w", err)
}
