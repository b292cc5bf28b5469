package objectstore

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Swift's ETag
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/store"
)

// garbageDelay lets readers that have opened a body finish: a file that is
// deleted while it is read stays readable, an object of a remote store does not.
const garbageDelay = time.Second

// free gives up an object's body.
func (s *Service) free(tx *store.Tx, o *object) error {
	if o.bodyKey == "" {
		return nil
	}
	if o.inline {
		_, err := tx.Exec(`DELETE FROM objectstore_bodies WHERE key = ?`, o.bodyKey)
		return err
	}
	at := s.now().Add(garbageDelay)
	if _, err := tx.Exec(`INSERT INTO objectstore_garbage (key, after) VALUES (?, ?) ON CONFLICT DO NOTHING`, o.bodyKey, store.At(at)); err != nil {
		return err
	}
	return s.cfg.Jobs.PokeAt(tx, kindGarbage, jobKey, nil, at)
}

// maxUpload is how long one body may take to arrive.
const maxUpload = 24 * time.Hour

// body is content that is stored but not yet named by a row.
type body struct {
	key    string
	inline []byte // small content, to be written with the row
	etag   string
	size   int64
}

func newKey() string {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")
	return bodyPrefix + id[:2] + "/" + id
}

// bodyPrefix is before the keys of all bodies of this service.
const bodyPrefix = "objects/"

// receive stores a body: a small one in memory, for the row's transaction, a
// large one in the blob store. length is what the client announced, -1 for
// unknown.
func (s *Service) receive(ctx context.Context, r io.Reader, length int64) (*body, error) {
	head := make([]byte, 0, 4<<10)
	if length >= 0 && length <= maxInline {
		head = make([]byte, 0, length+bytes.MinRead)
	}
	buf := bytes.NewBuffer(head)
	n, err := io.Copy(buf, io.LimitReader(r, maxInline+1))
	if err != nil {
		return nil, clientGone(err)
	}
	var b *body
	if n <= maxInline {
		b = inlineBody(buf.Bytes())
	} else {
		rest := &bounded{r: io.MultiReader(buf, r), left: maxObject}
		if b, err = s.write(ctx, rest); err != nil {
			return nil, clientGone(err)
		}
	}
	if length >= 0 && b.size != length {
		s.abandon(ctx, b)
		return nil, api.Invalid("the body holds %d bytes, Content-Length says %d", b.size, length)
	}
	return b, nil
}

func inlineBody(data []byte) *body {
	sum := md5.Sum(data) //nolint:gosec // Swift's ETag
	if data == nil {
		data = []byte{}
	}
	return &body{key: newKey(), inline: data, etag: hex.EncodeToString(sum[:]), size: int64(len(data))}
}

// clientGone calls a body that broke off the client's fault (499, as in
// Swift), and a full disk what it is.
func clientGone(err error) error {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return api.Invalid("the request body broke off").Wrap(err)
	case errors.Is(err, blob.ErrFull):
		return api.Full("There was not enough space to save the resource.").Wrap(err)
	}
	return err
}

// bounded fails, rather than ends, behind its limit.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, api.TooLarge("the body is larger than allowed")
	}
	return n, err
}

// write stores a large body under a new key, which is garbage until claim.
func (s *Service) write(ctx context.Context, r io.Reader) (*body, error) {
	b := &body{key: newKey()}
	after := s.now().Add(maxUpload)
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO objectstore_garbage (key, after) VALUES (?, ?)`, b.key, store.At(after)); err != nil {
			return err
		}
		return s.cfg.Jobs.PokeAt(tx, kindGarbage, jobKey, nil, after)
	})
	if err != nil {
		return nil, err
	}
	info, err := s.blobs.Put(ctx, b.key, r)
	if err != nil {
		s.abandon(ctx, b)
		return nil, err
	}
	b.etag, b.size = info.MD5, info.Size
	return b, nil
}

// abandon gives a body up that no row will name.
func (s *Service) abandon(ctx context.Context, b *body) {
	if b == nil || b.key == "" || b.inline != nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`UPDATE objectstore_garbage SET after = ? WHERE key = ?`, store.At(s.now()), b.key); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, kindGarbage, jobKey, nil)
	})
	if err != nil {
		s.cfg.Log.Error("cannot give up an object body; it will be collected later", "key", b.key, "error", err)
	}
}

// claim makes a stored body belong to an object, in the row's transaction.
func (s *Service) claim(tx *store.Tx, o *object, b *body) error {
	o.bodyKey, o.stored, o.etag, o.size = b.key, b.size, b.etag, b.size
	switch {
	case b.size == 0 && b.inline != nil:
		o.bodyKey, o.inline = "", false
		return nil
	case b.inline != nil:
		o.inline = true
		_, err := tx.Exec(`INSERT INTO objectstore_bodies (key, body) VALUES (?, ?)`, b.key, b.inline)
		return err
	}
	o.inline = false
	n, err := tx.Exec(`DELETE FROM objectstore_garbage WHERE key = ?`, b.key)
	if err == nil && n == 0 {
		return fmt.Errorf("the body took longer than %s and was collected", maxUpload)
	}
	return err
}

// open reads n bytes of an object's own body from off.
func (s *Service) open(ctx context.Context, o *object, off, n int64) (io.ReadCloser, error) {
	if o.bodyKey == "" {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if !o.inline {
		return s.blobs.Get(ctx, o.bodyKey, off, n)
	}
	if o.data == nil {
		if err := s.db.View(ctx, o.load); err != nil {
			return nil, err
		}
	}
	data := o.data
	off = min(off, int64(len(data)))
	end := int64(len(data))
	if n >= 0 {
		end = min(end, off+n)
	}
	return io.NopCloser(bytes.NewReader(data[off:end])), nil
}

// load reads an inline body; in the transaction that read the row it cannot
// have been replaced meanwhile.
func (o *object) load(tx *store.Tx) error {
	if !o.inline || o.bodyKey == "" {
		return nil
	}
	return tx.Get([]any{&o.data}, `SELECT body FROM objectstore_bodies WHERE key = ?`, o.bodyKey)
}
