package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

type container struct {
	name              string
	meta              meta
	created, modified time.Time
	objects, bytes    int64
}

// object is a row of objectstore_objects.
type object struct {
	target
	etag        string
	size        int64 // of the content; for a static large object the sum of its segments
	contentType string
	modified    time.Time
	bodyKey     string // "" for an empty body
	inline      bool
	stored      int64 // bytes under bodyKey
	headers     meta
	dlo         string // "container/prefix" of a dynamic large object
	slo         []sloSegment
	expires     time.Time
	data        []byte // content of an inline body, when it was read with the row
}

const (
	containerColumns = `name, meta, created, modified, objects, bytes`
	objectColumns    = `name, etag, size, content_type, modified, body_key, inline, stored, headers, dlo, slo, expires`
)

func scanContainer(scan func(...any) error) (container, error) {
	c := container{meta: meta{}}
	err := scan(&c.name, store.JSON(&c.meta), store.Time(&c.created), store.Time(&c.modified), &c.objects, &c.bytes)
	return c, store.Wrap(err)
}

func getContainer(tx *store.Tx, account, name string) (container, error) {
	return scanContainer(tx.QueryRow(`SELECT `+containerColumns+` FROM objectstore_containers WHERE account = ? AND name = ?`, account, name).Scan)
}

func getAccountMeta(tx *store.Tx, account string) (meta, error) {
	m := meta{}
	err := tx.Get([]any{store.JSON(&m)}, `SELECT meta FROM objectstore_accounts WHERE name = ?`, account)
	if isNotFound(err) {
		return m, nil // an account begins to exist with its first use
	}
	return m, err
}

func (s *Service) ensureAccount(tx *store.Tx, account string) error {
	_, err := tx.Exec(`INSERT INTO objectstore_accounts (name, meta, created) VALUES (?, '{}', ?) ON CONFLICT DO NOTHING`, account, store.At(s.now()))
	return err
}

// ensureContainer makes the container; made is false when it exists.
func (s *Service) ensureContainer(tx *store.Tx, t target) (made bool, err error) {
	if err := s.ensureAccount(tx, t.account); err != nil {
		return false, err
	}
	now := store.At(s.now())
	n, err := tx.Exec(`INSERT INTO objectstore_containers (account, name, meta, created, modified, objects, bytes)
		VALUES (?, ?, '{}', ?, ?, 0, 0) ON CONFLICT DO NOTHING`, t.account, t.container, now, now)
	return n > 0, err
}

func scanObject(t target, scan func(...any) error) (*object, error) {
	o := &object{target: t, headers: meta{}}
	var inline int64
	err := scan(&o.object, &o.etag, &o.size, &o.contentType, store.Time(&o.modified), &o.bodyKey, &inline, &o.stored,
		store.JSON(&o.headers), &o.dlo, store.JSON(&o.slo), store.Time(&o.expires))
	o.inline = inline != 0
	return o, store.Wrap(err)
}

// getRow returns an object's row, expired or not.
func getRow(tx *store.Tx, t target) (*object, error) {
	return scanObject(t, tx.QueryRow(`SELECT `+objectColumns+` FROM objectstore_objects WHERE account = ? AND container = ? AND name = ?`,
		t.account, t.container, t.object).Scan)
}

// get returns an object that has not expired.
func (s *Service) get(tx *store.Tx, t target) (*object, error) {
	o, err := getRow(tx, t)
	if err == nil && !o.expires.IsZero() && !o.expires.After(s.now()) {
		return nil, store.ErrNotFound
	}
	return o, err
}

func (t target) topics() []string {
	base := "objectstore/" + t.account + "/" + t.container
	if t.object == "" {
		return []string{base}
	}
	return []string{base, base + "/" + t.object}
}

// replace writes an object's row, frees the body it had before and keeps the
// container's counts. The container must exist.
func (s *Service) replace(tx *store.Tx, o *object, old *object) error {
	inline := int64(0)
	if o.inline {
		inline = 1
	}
	slo := any("")
	if o.slo != nil {
		slo = store.JSON(o.slo)
	}
	_, err := tx.Exec(`INSERT INTO objectstore_objects (account, container, `+objectColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, container, name) DO UPDATE SET etag = excluded.etag, size = excluded.size, content_type = excluded.content_type,
			modified = excluded.modified, body_key = excluded.body_key, inline = excluded.inline, stored = excluded.stored,
			headers = excluded.headers, dlo = excluded.dlo, slo = excluded.slo, expires = excluded.expires`,
		o.account, o.container, o.object, o.etag, o.size, o.contentType, store.At(o.modified), o.bodyKey, inline, o.stored,
		store.JSON(o.headers), o.dlo, slo, store.At(o.expires))
	if err != nil {
		return err
	}
	count, size := int64(1), o.size
	if old != nil {
		count, size = 0, o.size-old.size
		if old.bodyKey != o.bodyKey {
			if err := s.free(tx, old); err != nil {
				return err
			}
		}
	}
	if err := s.tally(tx, o.target, count, size); err != nil {
		return err
	}
	if !o.expires.IsZero() {
		if err := s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, o.expires); err != nil {
			return err
		}
	}
	s.bus.PublishTx(tx, o.topics()...)
	return nil
}

// tally keeps the container's counts for a changed object.
func (s *Service) tally(tx *store.Tx, t target, count, size int64) error {
	_, err := tx.Exec(`UPDATE objectstore_containers SET objects = objects + ?, bytes = bytes + ?, modified = ? WHERE account = ? AND name = ?`,
		count, size, store.At(s.now()), t.account, t.container)
	return err
}

// remove deletes an object's row and frees its body.
func (s *Service) remove(tx *store.Tx, o *object) error {
	if _, err := tx.Exec(`DELETE FROM objectstore_objects WHERE account = ? AND container = ? AND name = ?`, o.account, o.container, o.object); err != nil {
		return err
	}
	if err := s.free(tx, o); err != nil {
		return err
	}
	if err := s.tally(tx, o.target, -1, -o.size); err != nil {
		return err
	}
	s.bus.PublishTx(tx, o.topics()...)
	return nil
}

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
	return "objects/" + id[:2] + "/" + id
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

// recover gives up the bodies that were being written when the process ended,
// if no other process can be writing, and plans the jobs.
func (s *Service) recover(ctx context.Context) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		if !tx.Shared() {
			if _, err := tx.Exec(`UPDATE objectstore_garbage SET after = ?`, store.At(s.now())); err != nil {
				return err
			}
		}
		if err := s.cfg.Jobs.Poke(tx, kindGarbage, jobKey, nil); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, kindExpire, jobKey, nil)
	})
}

// collectGarbage is the job that deletes bodies nobody names.
func (s *Service) collectGarbage(ctx context.Context, _ jobs.Job) jobs.Result {
	var keys []string
	var next time.Time
	err := s.db.View(ctx, func(tx *store.Tx) error {
		keys, next = nil, time.Time{}
		err := tx.Each(func(scan func(...any) error) error {
			var k string
			err := scan(&k)
			keys = append(keys, k)
			return err
		}, `SELECT key FROM objectstore_garbage WHERE after <= ? ORDER BY after LIMIT 1000`, store.At(s.now()))
		if err != nil || len(keys) > 0 {
			return err
		}
		err = tx.Get([]any{store.Time(&next)}, `SELECT MIN(after) FROM objectstore_garbage`)
		if isNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	for _, k := range keys {
		if err := s.blobs.Delete(ctx, k); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return jobs.Fail(err)
		}
	}
	if len(keys) > 0 {
		err = s.db.Tx(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM objectstore_garbage WHERE key IN `+store.In(len(keys)), store.Args(keys)...)
			return err
		})
		if err != nil {
			return jobs.Fail(err)
		}
		return jobs.After(0)
	}
	if next.IsZero() {
		return jobs.Done()
	}
	return jobs.After(max(0, next.Sub(s.now())))
}

// expireObjects is the job that deletes objects whose X-Delete-At has come.
func (s *Service) expireObjects(ctx context.Context, _ jobs.Job) jobs.Result {
	var next time.Time
	removed := 0
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		removed, next = 0, time.Time{}
		var due []target
		err := tx.Each(func(scan func(...any) error) error {
			var t target
			err := scan(&t.account, &t.container, &t.object)
			due = append(due, t)
			return err
		}, `SELECT account, container, name FROM objectstore_objects WHERE expires > 0 AND expires <= ? ORDER BY expires LIMIT 500`, store.At(s.now()))
		if err != nil {
			return err
		}
		for _, t := range due {
			o, err := getRow(tx, t)
			if err != nil {
				return err
			}
			if err := s.remove(tx, o); err != nil {
				return err
			}
			removed++
		}
		if removed > 0 {
			return nil
		}
		return tx.Get([]any{store.Time(&next)}, `SELECT MIN(expires) FROM objectstore_objects WHERE expires > 0`)
	})
	switch {
	case err != nil:
		return jobs.Fail(err)
	case removed > 0:
		return jobs.After(0)
	case next.IsZero():
		return jobs.Done()
	}
	return jobs.After(max(0, next.Sub(s.now())))
}
