package image

import (
	"context"
	"crypto/md5" //nolint:gosec // Glance's checksum
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/qcow2"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	kindConvert = "image.convert"
	conversions = 1 // that run at once: each takes a processor
	// maxExpansion is how many bytes of data one byte of a qcow2 file may become,
	// empty space not counted: what needs more was made to fill the disk.
	maxExpansion = 64
	// convertPoll is after how many seconds to ask again for a conversion.
	convertPoll = 2
	// hashHeader carries the SHA-512 of the bytes that ?format=raw answers with;
	// the image document's is that of the file that was uploaded.
	hashHeader = "X-Image-Hash-Sha512"
)

// conversion is the raw form of an image's data, or why there is none.
type conversion struct {
	rawKey, message string
	size            int64 // bytes, empty space included
	md5, sha512     string
	chunks          chunkMap
}

func getConversion(tx *store.Tx, source string) (*conversion, error) {
	c := &conversion{}
	err := tx.Get([]any{&c.rawKey, &c.message, &c.size, &c.md5, &c.sha512, (*[]byte)(&c.chunks)},
		`SELECT raw_key, message, size, md5, sha512, chunks FROM image_conversions WHERE source_key = ?`, source)
	return c, err
}

func (c *conversion) insert(tx *store.Tx, source string) error {
	_, err := tx.Exec(`INSERT INTO image_conversions (source_key, raw_key, message, size, md5, sha512, chunks) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		source, c.rawKey, c.message, c.size, c.md5, c.sha512, append([]byte{}, c.chunks...))
	return err
}

// dropConversion forgets the raw form of data that go at the given time.
func (s *Service) dropConversion(tx *store.Tx, source string, at time.Time) error {
	if source == "" {
		return nil
	}
	c, err := getConversion(tx, source)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM image_conversions WHERE source_key = ?`, source); err != nil {
		return err
	}
	return s.discard(tx, c.rawKey, at)
}

// raw returns an image's data in raw form; none yet (nil) if they are being
// converted, which the first who asks begins.
func (s *Service) raw(ctx context.Context, m *image) (*conversion, error) {
	if *m.container != "bare" || *m.disk != "qcow2" {
		return nil, api.Conflict("Image %s has disk format %s in container format %s: only qcow2 in bare can be converted to raw.", m.id, *m.disk, *m.container)
	}
	var c *conversion
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		c, err = getConversion(tx, m.blobKey)
		return err
	})
	switch {
	case isNotFound(err):
		return nil, s.db.Tx(ctx, func(tx *store.Tx) error { return s.cfg.Jobs.Poke(tx, kindConvert, m.id, nil) })
	case err != nil:
		return nil, err
	case c.message != "":
		return nil, api.Conflict("Image %s cannot be converted to raw: %s", m.id, c.message)
	}
	return c, nil
}

// downloadRaw answers GET /v2/images/{id}/file?format=raw for data in another
// format.
func (s *Service) downloadRaw(w http.ResponseWriter, r *http.Request, m *image) error {
	c, err := s.raw(r.Context(), m)
	if err != nil {
		return err
	}
	if c == nil {
		w.Header().Set("Retry-After", strconv.Itoa(convertPoll))
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	data := &sparseReader{chunks: c.chunks, size: c.size, data: blobReader{ctx: r.Context(), blobs: s.blobs, key: c.rawKey, size: c.chunks.bytes(c.size)}}
	defer data.data.Close()
	serve(w, r, data, c.md5, c.sha512)
	return nil
}

// runConvert is the job of one image. What a run that a crash ended has written
// is garbage, as its key was reserved only.
func (s *Service) runConvert(ctx context.Context, job jobs.Job) jobs.Result {
	var m *image
	needed, key := false, newKey()
	err := s.db.Tx(ctx, func(tx *store.Tx) (err error) {
		if m, err = get(tx, job.Key); err != nil {
			return err
		}
		_, err = getConversion(tx, m.blobKey)
		needed = isNotFound(err) && m.hasData()
		if err != nil && !isNotFound(err) || !needed {
			return err
		}
		return s.reserve(tx, key)
	})
	if isNotFound(err) || err == nil && !needed {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	c, failed := s.convert(ctx, m, key)
	if ctx.Err() != nil {
		return jobs.Fail(ctx.Err()) // a shutdown: the next start begins again
	}
	var bad *imageError
	if failed != nil && !errors.As(failed, &bad) {
		err = s.db.Tx(ctx, func(tx *store.Tx) error { return s.discard(tx, key, s.now()) })
		return jobs.Fail(errors.Join(failed, err))
	}
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		now, err := get(tx, m.id)
		if err != nil && !isNotFound(err) {
			return err
		}
		s.cfg.Bus.PublishTx(tx, "image/"+m.id)
		gone := err != nil || now.blobKey != m.blobKey
		if gone || bad != nil {
			if err := s.discard(tx, key, s.now()); err != nil || gone {
				return err
			}
			c = &conversion{message: bad.Error()}
			return c.insert(tx, m.blobKey)
		}
		if err := keep(tx, key); err != nil {
			return err
		}
		return c.insert(tx, m.blobKey)
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

// imageError says that no other run would fare better.
type imageError struct{ error }

func (b *imageError) Unwrap() error { return b.error }

// convert writes the raw form of an image's data under key, without its empty
// chunks.
func (s *Service) convert(ctx context.Context, m *image, key string) (*conversion, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxUpload, fmt.Errorf("the conversion took longer than %s", maxUpload))
	defer cancel()
	in := &windowReader{data: blobReader{ctx: ctx, blobs: s.blobs, key: m.blobKey, size: *m.size}}
	defer in.data.Close()
	img, err := qcow2.Open(in)
	switch {
	case in.err != nil:
		return nil, in.err
	case err != nil:
		return nil, &imageError{err}
	case img.Size() > maxImage:
		return nil, &imageError{fmt.Errorf("its virtual size is %d bytes, expected at most %d", img.Size(), int64(maxImage))}
	}
	out := &packer{img: img, size: img.Size(), most: *m.size * maxExpansion, buf: make([]byte, chunkSize), chunks: newChunkMap(img.Size())}
	sum5, sum512 := md5.New(), sha512.New() //nolint:gosec // Glance's checksum
	out.hash = io.MultiWriter(sum5, sum512)
	_, err = s.blobs.Put(ctx, key, out)
	switch {
	case in.err != nil:
		return nil, in.err
	case out.err != nil:
		return nil, &imageError{out.err}
	case err != nil:
		return nil, err
	}
	return &conversion{rawKey: key, size: out.size, md5: hex.EncodeToString(sum5.Sum(nil)), sha512: hex.EncodeToString(sum512.Sum(nil)), chunks: out.chunks}, nil
}

// packer reads an image's chunks that are not empty, one behind the other.
type packer struct {
	img             *qcow2.Image
	size, off, most int64 // bytes; most is how many may come out
	buf, rest       []byte
	hash            io.Writer // of all, empty chunks included
	chunks          chunkMap
	out             int64
	err             error // what is wrong with the image
}

func (p *packer) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.off >= p.size {
			return 0, io.EOF
		}
		c := p.buf[:min(chunkSize, p.size-p.off)]
		if p.err = p.img.Read(c, p.off); p.err != nil {
			return 0, p.err
		}
		_, _ = p.hash.Write(c) // hashes never fail
		if !empty(c) {
			p.chunks.set(p.off / chunkSize)
			p.rest, p.out = c, p.out+int64(len(c))
		}
		p.off += int64(len(c))
		if p.out > p.most+chunkSize {
			p.err = fmt.Errorf("its data are more than %d times as long as the file", maxExpansion)
			return 0, p.err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// windowReader reads a body at any place, in windows, as the clusters of an
// image written in one go are neighbours.
type windowReader struct {
	data   blobReader
	window []byte
	at     int64
	err    error // of the store, not of the image
}

// ReadAt implements io.ReaderAt for one goroutine.
func (r *windowReader) ReadAt(p []byte, off int64) (int, error) {
	total := 0
	for total < len(p) {
		pos := off + int64(total)
		if pos < 0 || pos >= r.data.size {
			return total, io.EOF
		}
		if pos < r.at || pos >= r.at+int64(len(r.window)) {
			if err := r.fill(pos); err != nil {
				r.err = err
				return total, err
			}
		}
		total += copy(p[total:], r.window[pos-r.at:])
	}
	return total, nil
}

func (r *windowReader) fill(pos int64) error {
	buf := make([]byte, min(chunkSize, r.data.size-pos))
	body, err := r.data.blobs.Get(r.data.ctx, r.data.key, pos, int64(len(buf)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(body, buf)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	r.window, r.at = buf, pos
	return nil
}
