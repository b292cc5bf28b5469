package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/diskspace"
)

// Dir keeps bodies as files below a folder.
type Dir struct {
	root  *os.Root
	frame *framing
}

// OpenDir opens (and creates) folder dir.
func OpenDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(dir, tmpDir), 0o700); err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob folder: %w", err)
	}
	d := &Dir{root: root, frame: newFraming()}
	return d, d.clean()
}

const tmpDir = ".tmp"

// writing is how old an unfinished file must be to be taken for a left one: a
// writer locks it right after it made it.
const writing = time.Minute

// clean removes what interrupted writers left: files that nobody has locked.
// Other processes may be writing to the same folder.
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
		d.removeLeft(filepath.Join(tmpDir, n))
	}
	return nil
}

// removeLeft removes one unfinished file; what cannot be removed costs space
// only and is tried again at the next start.
func (d *Dir) removeLeft(name string) {
	f, err := d.root.Open(name)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if fi, err := f.Stat(); err != nil || time.Since(fi.ModTime()) < writing {
		return
	}
	if lock(f, unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = d.root.Remove(name)
	}
}

// lock holds until f is closed, or its process ends.
func lock(f *os.File, how int) error { return unix.Flock(int(f.Fd()), how) } //nolint:gosec // a file descriptor

// Close implements Store.
func (d *Dir) Close() error { return d.root.Close() }

// Put implements Store: the body is written aside, synced, then renamed.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	tmp := filepath.Join(tmpDir, uuid.NewString())
	f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Info{}, writeError(err)
	}
	if err := lock(f, unix.LOCK_EX); err != nil {
		return Info{}, errors.Join(writeError(err), f.Close())
	}
	info, err := d.frame.encode(ctx, key, &early{f: f, folder: d.root.Name()}, r)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.publish(tmp, filepath.FromSlash(key))
	}
	if err != nil {
		_ = d.root.Remove(tmp)
		return Info{}, writeError(err)
	}
	return info, nil
}

func writeError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("write blob: %w (%w)", ErrFull, err)
	}
	return fmt.Errorf("write blob: %w", err)
}

// early has the kernel begin to write while more is coming, so that the sync at
// the end of a large body does not wait for all of it. It leaves the reserve of
// the disk alone.
type early struct {
	f              *os.File
	folder         string
	written, asked int64
}

const earlyBytes = 16 << 20

func (e *early) Write(p []byte) (int, error) {
	if diskspace.Room(e.folder) < int64(len(p)) {
		return 0, ErrFull
	}
	n, err := e.f.Write(p)
	e.written += int64(n)
	if e.written-e.asked >= earlyBytes {
		// Only a hint: whether the data reached the disk is what Sync says.
		_ = unix.SyncFileRange(int(e.f.Fd()), e.asked, e.written-e.asked, unix.SYNC_FILE_RANGE_WRITE) //nolint:gosec // a file descriptor
		e.asked = e.written
	}
	return n, err
}

// publish gives a synced file its name, durably, and the folders on the way
// theirs.
func (d *Dir) publish(tmp, name string) error {
	dir := filepath.Dir(name)
	fresh, err := d.folder(dir)
	if err != nil {
		return err
	}
	if err := d.root.Rename(tmp, name); err != nil {
		return err
	}
	for {
		if err := d.sync(dir); err != nil || fresh == 0 {
			return err
		}
		dir = filepath.Dir(dir)
		fresh--
	}
}

// folder makes dir and returns how many folders were missing.
func (d *Dir) folder(dir string) (int, error) {
	fresh := 0
	for at := dir; at != "."; at = filepath.Dir(at) {
		if _, err := d.root.Stat(at); err == nil {
			break
		}
		fresh++
	}
	if fresh == 0 {
		return 0, nil
	}
	return fresh, d.root.MkdirAll(dir, 0o700)
}

func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Store.
func (d *Dir) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	f, err := d.root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, notFound(err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(notFound(err), f.Close())
	}
	first, _ := span(off, n)
	if first > 0 {
		if _, err := f.Seek(first, io.SeekStart); err != nil {
			return nil, errors.Join(fmt.Errorf("read blob: %w", err), f.Close())
		}
	}
	return d.frame.decode(key, f, fi.Size(), off, n)
}

// Stat implements Store.
func (d *Dir) Stat(_ context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	fi, err := d.root.Stat(filepath.FromSlash(key))
	if err != nil {
		return Info{}, notFound(err)
	}
	size, err := dataSize(fi.Size())
	if err != nil {
		return Info{}, fmt.Errorf("blob %s: %w", key, err)
	}
	return Info{Size: size, Modified: fi.ModTime()}, nil
}

// Delete implements Store.
func (d *Dir) Delete(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := d.root.Remove(filepath.FromSlash(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// List implements Store. A body that is cut is listed with size -1.
func (d *Dir) List(ctx context.Context, prefix string, fn func(string, Info) error) error {
	return fs.WalkDir(d.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir():
			if p == tmpDir || p != "." && !strings.HasPrefix(p+"/", prefix) && !strings.HasPrefix(prefix, p+"/") {
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
		return fn(p, listed(fi.Size(), Info{Modified: fi.ModTime()}))
	})
}

func listed(stored int64, info Info) Info {
	var err error
	if info.Size, err = dataSize(stored); err != nil {
		info.Size = -1
	}
	return info
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	return fmt.Errorf("read blob: %w", err)
}
