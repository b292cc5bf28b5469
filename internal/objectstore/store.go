package objectstore

import (
	"errors"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

type container struct {
	name              string
	meta              meta
	created, modified time.Time
	objects, bytes    int64

	versions, versionBytes int64 // those that are not current, delete markers included
}

// object is a row of objectstore_objects or objectstore_versions.
type object struct {
	target
	etag         string
	size         int64 // of the content; for a static large object the sum of its segments
	contentType  string
	modified     time.Time
	bodyKey      string // "" for an empty body
	inline       bool
	stored       int64 // bytes under bodyKey
	headers      meta
	dlo          string // "container/prefix" of a dynamic large object
	slo          []sloSegment
	manifestETag string // MD5 of a static large object's manifest
	link         *symlink
	expires      time.Time
	version      int64 // 0 is Swift's "null": written while versioning was off

	data []byte // content of an inline body, when it was read with the row
}

const (
	containerColumns = `name, meta, created, modified, objects, bytes, versions, version_bytes`
	objectColumns    = `name, etag, size, content_type, modified, body_key, inline, stored, headers, dlo, slo, manifest_etag, link, expires, version`
)

func scanContainer(scan func(...any) error) (container, error) {
	c := container{meta: meta{}}
	err := scan(&c.name, store.JSON(&c.meta), store.Time(&c.created), store.Time(&c.modified), &c.objects, &c.bytes, &c.versions, &c.versionBytes)
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
	n, err := tx.Exec(`INSERT INTO objectstore_containers (account, name, meta, created, modified, objects, bytes, versions, version_bytes)
		VALUES (?, ?, '{}', ?, ?, 0, 0, 0, 0) ON CONFLICT DO NOTHING`, t.account, t.container, now, now)
	return n > 0, err
}

func scanObject(t target, scan func(...any) error) (*object, error) {
	o := &object{target: t, headers: meta{}}
	var inline int64
	err := scan(&o.object, &o.etag, &o.size, &o.contentType, store.Time(&o.modified), &o.bodyKey, &inline, &o.stored,
		store.JSON(&o.headers), &o.dlo, store.JSON(&o.slo), &o.manifestETag, store.JSON(&o.link), store.Time(&o.expires), &o.version)
	o.inline = inline != 0
	return o, store.Wrap(err)
}

// row returns the columns of objectColumns.
func (o *object) row() []any {
	inline := int64(0)
	if o.inline {
		inline = 1
	}
	slo, link := any(""), any("")
	if o.slo != nil {
		slo = store.JSON(o.slo)
	}
	if o.link != nil {
		link = store.JSON(o.link)
	}
	return []any{
		o.object, o.etag, o.size, o.contentType, store.At(o.modified), o.bodyKey, inline, o.stored,
		store.JSON(o.headers), o.dlo, slo, o.manifestETag, link, store.At(o.expires), o.version,
	}
}

// getRow returns an object's row, expired or not.
func getRow(tx *store.Tx, t target) (*object, error) {
	return scanObject(t, tx.QueryRow(`SELECT `+objectColumns+` FROM objectstore_objects WHERE account = ? AND container = ? AND name = ?`,
		t.account, t.container, t.object).Scan)
}

// findRow is getRow with nil for an object that does not exist.
func findRow(tx *store.Tx, t target) (*object, error) {
	o, err := getRow(tx, t)
	if isNotFound(err) {
		return nil, nil //nolint:nilnil // the two are told apart by callers
	}
	return o, err
}

func (s *Service) expired(o *object) bool { return !o.expires.IsZero() && !o.expires.After(s.now()) }

// get returns an object that has not expired.
func (s *Service) get(tx *store.Tx, t target) (*object, error) {
	o, err := getRow(tx, t)
	if err == nil && s.expired(o) {
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

// put makes b the content of o, keeping what was there before if the container
// wants that. The container must exist.
func (s *Service) put(tx *store.Tx, con *container, o *object, b *body) error {
	old, err := findRow(tx, o.target)
	if err != nil {
		return err
	}
	if err := s.checkQuota(tx, con, o, b, old); err != nil {
		return err
	}
	manifest, etag, size := o.slo, o.etag, o.size
	if err := s.claim(tx, o, b); err != nil {
		return err
	}
	if manifest != nil { // a manifest's object is what its segments make
		o.etag, o.size = etag, size
	}
	o.modified = s.tick()
	if old != nil && !o.modified.After(old.modified) {
		o.modified = old.modified.Add(tick)
	}
	if old != nil && s.expired(old) && con.versioning() == versioningOff {
		return s.replace(tx, o, old)
	}
	if old, err = s.keepVersion(tx, con, o, old); err != nil {
		return err
	}
	return s.replace(tx, o, old)
}

// tick is the precision of Swift's timestamps.
const tick = 10 * time.Microsecond

func (s *Service) tick() time.Time { return s.now().Truncate(tick) }

// replace writes an object's row, frees the body it had before and keeps the
// container's counts. The container must exist.
func (s *Service) replace(tx *store.Tx, o *object, old *object) error {
	_, err := tx.Exec(`INSERT INTO objectstore_objects (account, container, `+objectColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, container, name) DO UPDATE SET etag = excluded.etag, size = excluded.size, content_type = excluded.content_type,
			modified = excluded.modified, body_key = excluded.body_key, inline = excluded.inline, stored = excluded.stored,
			headers = excluded.headers, dlo = excluded.dlo, slo = excluded.slo, manifest_etag = excluded.manifest_etag,
			link = excluded.link, expires = excluded.expires, version = excluded.version`,
		append([]any{o.account, o.container}, o.row()...)...)
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

// tallyVersions is tally for what is not current.
func (s *Service) tallyVersions(tx *store.Tx, t target, count, size int64) error {
	_, err := tx.Exec(`UPDATE objectstore_containers SET versions = versions + ?, version_bytes = version_bytes + ? WHERE account = ? AND name = ?`,
		count, size, t.account, t.container)
	return err
}

// unlink removes an object's row; its body is the caller's business.
func (s *Service) unlink(tx *store.Tx, o *object) error {
	if _, err := tx.Exec(`DELETE FROM objectstore_objects WHERE account = ? AND container = ? AND name = ?`, o.account, o.container, o.object); err != nil {
		return err
	}
	s.bus.PublishTx(tx, o.topics()...)
	return s.tally(tx, o.target, -1, -o.size)
}

// remove deletes an object's row and frees its body.
func (s *Service) remove(tx *store.Tx, o *object) error {
	if err := s.unlink(tx, o); err != nil {
		return err
	}
	return s.free(tx, o)
}

// checkQuota holds an upload against the quotas of its container and account.
// What Swift counts may lag; here the counts are those of this transaction.
func (s *Service) checkQuota(tx *store.Tx, con *container, o *object, b *body, old *object) error {
	size := b.size
	if o.slo != nil {
		size = o.size
	}
	grow, more := size, int64(1)
	if old != nil {
		more = 0
	}
	if old != nil && con.versioning() != versioningEnabled { // which keeps the old as well
		grow -= old.size
	}
	if limit, ok := con.meta.quota("X-Container-Meta-Quota-Bytes"); ok && con.bytes+con.versionBytes+grow > limit && grow > 0 {
		return api.TooLarge("Upload exceeds quota.")
	}
	if limit, ok := con.meta.quota("X-Container-Meta-Quota-Count"); ok && con.objects+more > limit && more > 0 {
		return api.TooLarge("Upload exceeds quota.")
	}
	account, err := getAccountMeta(tx, o.account)
	if err != nil {
		return err
	}
	limit, ok := account.quota("X-Account-Meta-Quota-Bytes")
	if !ok || grow <= 0 {
		return nil
	}
	var used int64
	if err := tx.Get([]any{&used}, `SELECT COALESCE(SUM(bytes + version_bytes), 0) FROM objectstore_containers WHERE account = ?`, o.account); err != nil {
		return err
	}
	if used+grow > limit {
		return api.TooLarge("Upload exceeds quota.")
	}
	return nil
}
