package image

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/store"
)

// upload answers PUT /v2/images/{id}/file.
func (s *Service) upload(w http.ResponseWriter, r *http.Request) error {
	return s.take(w, r, "saving", "active")
}

// stage answers PUT /v2/images/{id}/stage.
func (s *Service) stage(w http.ResponseWriter, r *http.Request) error {
	return s.take(w, r, "uploading", "staged")
}

// take receives an image's data: queued -> during -> after.
func (s *Service) take(w http.ResponseWriter, r *http.Request, during, after string) error {
	id, key := r.PathValue("id"), newKey()
	var m *image
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if m, err = changeable(tx, caller(r), id); err != nil {
			return err
		}
		if m.status != "queued" {
			return api.Conflict("Image status transition from %s to %s is not allowed", m.status, during)
		}
		if m.container == nil || m.disk == nil || *m.container == "" || *m.disk == "" {
			return api.Invalid("Properties disk_format, container_format must be set prior to saving data.")
		}
		m.status, m.blobKey = during, key
		if err := s.reserve(tx, key); err != nil {
			return err
		}
		return s.save(tx, m)
	})
	if err != nil {
		return err
	}
	got, err := s.receive(r.Context(), r.Body, r.ContentLength, key, m)
	if err == nil {
		err = s.finish(r.Context(), id, key, during, after, got)
	}
	if err != nil {
		s.giveUp(r.Context(), id, key)
		if errors.Is(err, io.ErrUnexpectedEOF) || r.Context().Err() != nil {
			return api.Invalid("the upload broke off").Wrap(err)
		}
		if errors.Is(err, blob.ErrFull) {
			return api.TooLarge("Image storage media is full: there is not enough space for image %s.", id).Wrap(err)
		}
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// received is what became of the data.
type received struct {
	size, virtual int64
	md5, sha512   string
}

// receive checks and stores an image's data; length is how many bytes there
// should be, negative if that is not known.
func (s *Service) receive(ctx context.Context, data io.Reader, length int64, key string, m *image) (received, error) {
	var got received
	head := make([]byte, headSize)
	n, err := io.ReadFull(data, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return got, err
	}
	short := err != nil
	head = head[:n]
	if *m.container != "compressed" {
		if got.virtual, err = inspect(*m.disk, head); err != nil {
			return got, err
		}
	}
	body := io.Reader(bytes.NewReader(head))
	if !short {
		body = io.MultiReader(body, io.LimitReader(data, maxImage))
	}
	h := newHasher(body)
	info, err := s.blobs.Put(ctx, key, h)
	sum := h.close()
	if err != nil {
		return got, err
	}
	if length >= 0 && info.Size != length {
		return got, io.ErrUnexpectedEOF
	}
	got.size, got.md5, got.sha512 = info.Size, info.MD5, hex.EncodeToString(sum)
	if *m.disk == "raw" && *m.container != "compressed" {
		got.virtual = got.size
	}
	return got, nil
}

// finish makes the received data the image's, unless the image was deleted
// meanwhile; also is done in the same transaction.
func (s *Service) finish(ctx context.Context, id, key, during, after string, got received, also ...func(*store.Tx) error) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		m, err := get(tx, id)
		if isNotFound(err) || err == nil && (m.status != during || m.blobKey != key) {
			return api.NotFound("image %s was deleted while its data arrived", id)
		}
		if err != nil {
			return err
		}
		if err := keep(tx, key); err != nil {
			return err
		}
		m.status, m.size, m.checksum, m.hash = after, &got.size, &got.md5, &got.sha512
		if got.virtual > 0 {
			m.virtualSize = &got.virtual
		}
		for _, f := range also {
			if err := f(tx); err != nil {
				return err
			}
		}
		s.cfg.Bus.PublishTx(tx, "image/"+id)
		if after == "active" {
			if err := s.tell(tx, m, "image.upload", "image.activate"); err != nil {
				return err
			}
		}
		return s.save(tx, m)
	})
}

// giveUp leaves the image queued and the data to the garbage job.
func (s *Service) giveUp(ctx context.Context, id, key string) {
	err := s.db.Tx(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE image_images SET status = 'queued', blob_key = '' WHERE id = ? AND blob_key = ? AND status IN ('saving', 'uploading')`, id, key)
		if err != nil {
			return err
		}
		return s.discard(tx, key, s.now())
	})
	if err != nil {
		s.cfg.Log.Error("cannot give up an upload; it will be collected later", "image", id, "error", err)
	}
}

// hasher passes data on and computes its SHA-512 in a goroutine of its own, so
// that it runs beside the store's MD5 and the writing.
type hasher struct {
	r      io.Reader
	chunks chan []byte
	free   chan []byte
	sum    chan []byte
}

const hashChunks = 8

func newHasher(r io.Reader) *hasher {
	h := &hasher{r: r, chunks: make(chan []byte, hashChunks), free: make(chan []byte, hashChunks+2), sum: make(chan []byte, 1)}
	go func() {
		sum := sha512.New()
		for c := range h.chunks {
			sum.Write(c)
			select {
			case h.free <- c:
			default:
			}
		}
		h.sum <- sum.Sum(nil)
	}()
	return h
}

func (h *hasher) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		var c []byte
		select {
		case c = <-h.free:
		default:
		}
		h.chunks <- append(c[:0], p[:n]...)
	}
	return n, err
}

// close returns the digest of what was read.
func (h *hasher) close() []byte {
	close(h.chunks)
	return <-h.sum
}

// download answers GET /v2/images/{id}/file, with ?format=raw what a disk would
// hold.
func (s *Service) download(w http.ResponseWriter, r *http.Request) error {
	var m *image
	format := r.URL.Query().Get("format")
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = visible(tx, caller(r), r.PathValue("id"))
		return err
	})
	switch {
	case err != nil:
		return err
	case format != "" && format != "raw":
		return api.Invalid("format is %q, expected raw", format)
	case m.status == "deactivated" && !caller(r).IsAdmin():
		return api.Forbidden("The requested image has been deactivated. Image data download is forbidden.")
	case !m.hasData():
		w.WriteHeader(http.StatusNoContent) // no data yet
		return nil
	case format == "raw" && (*m.disk != "raw" || *m.container != "bare"):
		return s.downloadRaw(w, r, m)
	}
	data := &blobReader{ctx: r.Context(), blobs: s.blobs, key: m.blobKey, size: *m.size}
	defer data.Close()
	serve(w, r, data, *m.checksum, *m.hash)
	return nil
}

// serve answers with data, or ranges of them. The entity tag is for who reads
// them in many ranges and must know that they stayed the same.
func serve(w http.ResponseWriter, r *http.Request, data io.ReadSeeker, md5, sha512 string) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Md5", md5)
	h.Set("Etag", `"`+md5+`"`)
	h.Set(hashHeader, sha512)
	http.ServeContent(bulkWriter{w}, r, "", time.Time{}, data)
}

// bulkWriter takes data in large pieces: http.ServeContent's own are 32 KiB, of
// which each costs a system call.
type bulkWriter struct{ http.ResponseWriter }

const bulkBuffer = 256 << 10 // bytes

// ReadFrom implements io.ReaderFrom, which io.Copy asks for.
func (w bulkWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, r, make([]byte, bulkBuffer))
}

// blobReader is a body as an io.ReadSeeker.
type blobReader struct {
	ctx       context.Context
	blobs     blob.Store
	key       string
	size, off int64
	open      io.ReadCloser
}

func (b *blobReader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += b.off
	case io.SeekEnd:
		off += b.size
	}
	if off != b.off {
		b.Close()
	}
	b.off = off
	return off, nil
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.off >= b.size {
		return 0, io.EOF
	}
	if b.open == nil {
		r, err := b.blobs.Get(b.ctx, b.key, b.off, -1)
		if err != nil {
			return 0, err
		}
		b.open = r
	}
	n, err := b.open.Read(p)
	b.off += int64(n)
	return n, err
}

// Close closes what is open.
func (b *blobReader) Close() {
	if b.open != nil {
		_ = b.open.Close() // only read from
		b.open = nil
	}
}

// transition moves an image to a state from one of those given.
func (s *Service) transition(r *http.Request, to string, from ...string) error {
	return s.db.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil || m.status == to {
			return err
		}
		for _, f := range from {
			if m.status == f {
				m.status = to
				s.cfg.Bus.PublishTx(tx, "image/"+m.id)
				if err := s.save(tx, m); err != nil {
					return err
				}
				return s.tell(tx, m, "image.update")
			}
		}
		return api.Conflict("Image status transition from %s to %s is not allowed", m.status, to)
	})
}

func (s *Service) deactivate(w http.ResponseWriter, r *http.Request) error {
	if err := s.transition(r, "deactivated", "active"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) reactivate(w http.ResponseWriter, r *http.Request) error {
	if err := s.transition(r, "active", "deactivated"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
