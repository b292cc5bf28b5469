package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

const (
	cdSector = 2048
	// cdChunk is how much of a CD is fetched at once, maxChunks how often in one look at it: what is in its folders
	// and what its loader is told are some kilobytes.
	cdChunk   = 64 << 10
	maxChunks = 64
	// maxConfig bounds a boot loader's configuration, in bytes.
	maxConfig = 64 << 10
	maxMedia  = 8 << 30
	cdConfig  = "isolinux/isolinux.cfg"
)

// The machine has a virtual CD drive, which its Redfish service shows.
var _ bmc.Drive = (*Machine)(nil)

// Media implements bmc.Drive.
func (m *Machine) Media() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.media
}

// InsertMedia implements bmc.Drive. As controllers that fetch a CD piece by
// piece do, it takes an address from which a CD can be read now and reads the
// rest when the machine boots from it.
func (m *Machine) InsertMedia(ctx context.Context, url string) error {
	if _, err := m.openCD(ctx, url); err != nil {
		return fmt.Errorf("insert the medium: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.media = url
	return nil
}

// EjectMedia implements bmc.Drive.
func (m *Machine) EjectMedia() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.media = ""
	return nil
}

// bootCD starts the ramdisk of the CD in the drive, with the arguments that the CD's boot loader has for it.
func (m *Machine) bootCD(ctx context.Context, b machine.Board) (machine.Outcome, error) {
	url := m.Media()
	if url == "" {
		return 0, errors.New("there is no medium in the drive")
	}
	b.Phase("cd", "")
	cd, err := m.openCD(ctx, url)
	if err != nil {
		return 0, err
	}
	args, err := loaderArgs(cd)
	if err != nil {
		return 0, err
	}
	b.Phase("ramdisk", args)
	if err := m.wait(ctx, kernelTime); err != nil {
		return 0, err
	}
	return m.runRamdisk(ctx, args)
}

func (m *Machine) openCD(ctx context.Context, url string) (*iso9660.FileSystem, error) {
	size, err := m.sizeOf(ctx, url)
	if err != nil {
		return nil, err
	}
	cd, err := iso9660.Read(&remote{m: m, ctx: ctx, url: url, size: size}, size, 0, cdSector)
	if err != nil {
		return nil, fmt.Errorf("not a CD: %w", err)
	}
	return cd, nil
}

// loaderArgs reads what isolinux gives the kernel.
func loaderArgs(cd *iso9660.FileSystem) (string, error) {
	f, err := cd.OpenFile(cdConfig, os.O_RDONLY)
	if err != nil {
		return "", fmt.Errorf("the CD has no %s: %w", cdConfig, err)
	}
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(io.LimitReader(f, maxConfig))
	lines.Buffer(nil, maxConfig)
	for lines.Scan() {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if strings.EqualFold(word, "APPEND") {
			return strings.TrimSpace(rest), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("%s of the CD: %w", cdConfig, err)
	}
	return "", fmt.Errorf("%s of the CD has no APPEND", cdConfig)
}

// sizeOf asks how long a file is.
func (m *Machine) sizeOf(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return 0, errors.New("the address cannot be parsed") // it holds a secret
	}
	res, err := m.cfg.Client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server answered %s", res.Status)
	}
	if res.ContentLength <= 0 || res.ContentLength > maxMedia {
		return 0, fmt.Errorf("the medium has %d bytes, expected 1 to %d", res.ContentLength, int64(maxMedia))
	}
	return res.ContentLength, nil
}

// remote reads a CD from its server as it is needed.
type remote struct {
	m      *Machine
	ctx    context.Context //nolint:containedctx // of the one look at the CD; the library's readers take none
	url    string
	size   int64
	pos    int64
	chunks map[int64][]byte
}

// ReadAt implements io.ReaderAt.
func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= r.size {
			return n, io.EOF
		}
		c, err := r.chunk(at / cdChunk)
		if err != nil {
			return n, err
		}
		if int64(len(c)) <= at%cdChunk {
			return n, io.ErrUnexpectedEOF
		}
		n += copy(p[n:], c[at%cdChunk:])
	}
	return n, nil
}

func (r *remote) chunk(i int64) ([]byte, error) {
	if c, ok := r.chunks[i]; ok {
		return c, nil
	}
	if len(r.chunks) >= maxChunks {
		return nil, fmt.Errorf("more than %d bytes of the CD would have to be read", maxChunks*cdChunk)
	}
	first := i * cdChunk
	c, err := r.m.fetchRange(r.ctx, r.url, first, min(first+cdChunk, r.size)-first)
	if err != nil {
		return nil, err
	}
	if r.chunks == nil {
		r.chunks = map[int64][]byte{}
	}
	r.chunks[i] = c
	return c, nil
}

// Read implements io.Reader.
func (r *remote) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (r *remote) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.pos
	case io.SeekEnd:
		off += r.size
	}
	if off < 0 {
		return r.pos, fmt.Errorf("seek to %d", off)
	}
	r.pos = off
	return off, nil
}

// Stat, Close, Sys, Writable and Path are what the library wants of a file.
func (r *remote) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

// Close implements io.Closer.
func (r *remote) Close() error { return nil }

// Sys says that there is no file of the operating system.
func (r *remote) Sys() (*os.File, error) { return nil, backend.ErrNotSuitable }

// Writable says that a CD cannot be written.
func (r *remote) Writable() (backend.WritableFile, error) {
	return nil, backend.ErrIncorrectOpenMode
}

// Path says that there is none.
func (r *remote) Path() string { return "" }
