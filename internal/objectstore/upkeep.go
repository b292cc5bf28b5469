package objectstore

import (
	"context"
	"errors"
	"time"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// recover gives up the bodies that were being written when the process ended,
// if no other process can be writing, and plans the jobs.
func (s *Service) recover(ctx context.Context) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		if !tx.Shared() {
			if _, err := tx.Exec(`UPDATE objectstore_garbage SET after = ?`, store.At(s.now())); err != nil {
				return err
			}
		}
		for _, kind := range []string{kindGarbage, kindExpire} {
			if err := s.cfg.Jobs.Poke(tx, kind, jobKey, nil); err != nil {
				return err
			}
		}
		return s.cfg.Jobs.PokeAt(tx, kindScrub, jobKey, nil, s.now().Add(scrubEvery))
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
	if len(keys) == 0 {
		return again(next, s.now())
	}
	// That nobody names them must be on the disk before they are gone from it.
	if err := s.db.Sync(ctx); err != nil {
		return jobs.Fail(err)
	}
	for _, k := range keys {
		if err := s.blobs.Delete(ctx, k); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return jobs.Fail(err)
		}
	}
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM objectstore_garbage WHERE key IN `+store.In(len(keys)), store.Args(keys)...)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(0)
}

func again(next, now time.Time) jobs.Result {
	if next.IsZero() {
		return jobs.Done()
	}
	return jobs.After(max(0, next.Sub(now)))
}

// expireObjects is the job that deletes objects whose X-Delete-At has come.
// They have been invisible since then.
func (s *Service) expireObjects(ctx context.Context, _ jobs.Job) jobs.Result {
	var next time.Time
	removed := 0
	err := s.db.Tx(ctx, func(tx *store.Tx) (err error) {
		next = time.Time{}
		if removed, err = s.expireSome(tx); err != nil || removed > 0 {
			return err
		}
		return tx.Get([]any{store.Time(&next)}, `SELECT MIN(expires) FROM objectstore_objects WHERE expires > 0`)
	})
	switch {
	case err != nil:
		return jobs.Fail(err)
	case removed > 0:
		return jobs.After(0)
	}
	return again(next, s.now())
}

func (s *Service) expireSome(tx *store.Tx) (int, error) {
	var due []target
	err := tx.Each(func(scan func(...any) error) error {
		var t target
		err := scan(&t.account, &t.container, &t.object)
		due = append(due, t)
		return err
	}, `SELECT account, container, name FROM objectstore_objects WHERE expires > 0 AND expires <= ? ORDER BY expires LIMIT 500`, store.At(s.now()))
	if err != nil {
		return 0, err
	}
	for _, t := range due {
		o, err := getRow(tx, t)
		if err != nil {
			return 0, err
		}
		if o.version != 0 { // what expires is that it is current; the version stays
			err = s.archive(tx, o)
		} else {
			err = s.remove(tx, o)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// Scrubbing reads every body once in a while, so that rot is known before the
// body is needed, and finds bodies that no row names.
const (
	scrubEvery = 7 * 24 * time.Hour
	scrubBatch = 200 // keys a look into the database
)

// scrub is the job that checks all bodies.
func (s *Service) scrub(ctx context.Context, _ jobs.Job) jobs.Result {
	var batch []string
	flush := func() error {
		err := s.checkBodies(ctx, batch)
		batch = batch[:0]
		return err
	}
	err := s.blobs.List(ctx, bodyPrefix, func(key string, info blob.Info) error {
		if s.now().Sub(info.Modified) < 2*maxUpload { // it may be on its way to a row
			return nil
		}
		if batch = append(batch, key); len(batch) < scrubBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(scrubEvery)
}

// checkBodies verifies the bodies that rows name and makes garbage of others.
func (s *Service) checkBodies(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	named := map[string]target{}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		clear(named)
		for _, table := range []string{"objectstore_objects", "objectstore_versions"} {
			err := tx.Each(func(scan func(...any) error) error {
				var key string
				var t target
				err := scan(&key, &t.account, &t.container, &t.object)
				named[key] = t
				return err
			}, `SELECT body_key, account, container, name FROM `+table+` WHERE inline = 0 AND body_key <> '' AND body_key IN `+store.In(len(keys)), store.Args(keys)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		t, ok := named[key]
		if !ok {
			if err := s.orphan(ctx, key); err != nil {
				return err
			}
			continue
		}
		err := blob.Verify(ctx, s.blobs, key)
		switch {
		case errors.Is(err, blob.ErrCorrupt):
			s.cfg.Log.Error("an object's body is corrupt; upload the object again", "object", t.path(), "key", key, "error", err)
		case errors.Is(err, blob.ErrNotFound): // replaced or deleted meanwhile
		case err != nil:
			return err
		}
	}
	return nil
}

// orphan has a body collected that no row names.
func (s *Service) orphan(ctx context.Context, key string) error {
	s.cfg.Log.Warn("a body that no object has is collected", "key", key)
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		now := s.now()
		if _, err := tx.Exec(`INSERT INTO objectstore_garbage (key, after) VALUES (?, ?) ON CONFLICT DO NOTHING`, key, store.At(now)); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, kindGarbage, jobKey, nil)
	})
}
