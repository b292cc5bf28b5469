package firmware

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

const (
	// maxUnpacked bounds an initramfs' contents in bytes.
	maxUnpacked = 4 << 30
	// maxArchives bounds the archives strung together in one initrd.
	maxArchives = 16
)

// Unpack unpacks an initrd into dir as the kernel does (Documentation/
// driver-api/early-userspace/buffer-format.rst): a sequence of newc archives,
// padded with zeros, each plain or compressed (gzip, zstd, xz). scratch is a
// folder for the decompressed archive.
func Unpack(initrd io.ReaderAt, size int64, dir, scratch string) error {
	off := int64(0)
	for range maxArchives {
		off = skipZeros(initrd, off, size)
		if off >= size {
			return nil
		}
		var magic [6]byte
		if _, err := initrd.ReadAt(magic[:], off); err != nil {
			return fmt.Errorf("initrd: at byte %d: %w", off, err)
		}
		if bytes.HasPrefix(magic[:], []byte("07070")) {
			n, err := unpackArchive(io.NewSectionReader(initrd, off, size-off), dir)
			if err != nil {
				return fmt.Errorf("initrd: archive at byte %d: %w", off, err)
			}
			off += n
			continue
		}
		// A compressed archive reaches to the end.
		if err := unpackCompressed(io.NewSectionReader(initrd, off, size-off), magic[:], dir, scratch); err != nil {
			return fmt.Errorf("initrd: at byte %d: %w", off, err)
		}
		return nil
	}
	return fmt.Errorf("initrd: more than %d archives", maxArchives)
}

func skipZeros(r io.ReaderAt, off, size int64) int64 {
	b := bufio.NewReader(io.NewSectionReader(r, off, size-off))
	for {
		c, err := b.ReadByte()
		if err != nil || c != 0 {
			return off
		}
		off++
	}
}

// decompressor picks the format by its magic number.
func decompressor(r io.Reader, magic []byte) (io.Reader, func(), error) {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(bufio.NewReader(r))
		return z, func() {}, err
	}
	return nil, nil, fmt.Errorf("neither a newc archive nor gzip, zstd or xz (magic % x)", magic)
}

func unpackCompressed(r io.Reader, magic []byte, dir, scratch string) error {
	z, done, err := decompressor(r, magic)
	if err != nil {
		return err
	}
	defer done()
	f, err := os.CreateTemp(scratch, "initramfs-*")
	if err != nil {
		return fmt.Errorf("scratch file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("unlink scratch file: %w", err)
	}
	w := &limited{w: f, left: maxUnpacked}
	if _, err := io.Copy(w, z); err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	return Unpack(f, maxUnpacked-w.left, dir, scratch)
}

// tracker notes how far an archive was read.
type tracker struct {
	r   io.ReaderAt
	end int64
}

func (t *tracker) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.r.ReadAt(p, off)
	t.end = max(t.end, off+int64(n))
	return n, err
}

// unpackArchive unpacks one newc archive and returns its length.
func unpackArchive(r io.ReaderAt, dir string) (int64, error) {
	t := &tracker{r: r}
	rr := cpio.Newc.Reader(t)
	for {
		rec, err := rr.ReadRecord()
		if errors.Is(err, io.EOF) {
			return t.end, trailerSeen(r, t.end)
		}
		if err != nil {
			return 0, err
		}
		rec.Name = strings.TrimPrefix(filepath.Clean("/"+rec.Name), "/")
		if rec.Name == "" {
			continue // the root itself
		}
		if err := insideRoot(dir, rec.Name); err != nil {
			return 0, err
		}
		if err := cpio.CreateFileInRoot(rec, dir, true); err != nil && !errors.Is(err, os.ErrExist) {
			return 0, fmt.Errorf("unpack %s: %w", rec.Name, err)
		}
	}
}

// trailerSeen tells a complete archive, which ends with a record of that name,
// from one that was cut off.
func trailerSeen(r io.ReaderAt, end int64) error {
	const name = "TRAILER!!!"
	from := max(0, end-int64(2*len(name)))
	tail := make([]byte, end-from)
	if _, err := r.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the trailer: %w", err)
	}
	if !bytes.Contains(tail, []byte(name)) {
		return fmt.Errorf("cut off after %d bytes: %w", end, io.ErrUnexpectedEOF)
	}
	return nil
}

// insideRoot refuses a name whose parent folders lead out of dir by a symbolic
// link: an archive is not trusted.
func insideRoot(dir, name string) error {
	p := dir
	parts := strings.Split(name, "/")
	if last := filepath.Join(dir, name); isSymlink(last) {
		// A later record replaces an earlier link instead of writing through it.
		if err := os.Remove(last); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	for _, part := range parts[:len(parts)-1] {
		p = filepath.Join(p, part)
		fi, err := os.Lstat(p)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
		if fi.Mode()&os.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(p)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(strings.TrimPrefix(p, dir+"/")), target)) {
			return fmt.Errorf("unpack %s: it leads through the link %s -> %s out of the archive", name, p, target)
		}
	}
	return nil
}

func isSymlink(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode()&os.ModeSymlink != 0
}
