package identity

import (
	"context"
	"maps"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Credentials (EC2 secrets, keys of one-time passcodes) and the secrets of
// consumers are encrypted at rest, with keys of the folder Config.Keys. The
// column key_id names the key; NULL is a row from before there were keys.
const keyColumn = "key_id"

// sealing returns a document as its row has it.
func (e *entity) sealing(doc document) document {
	if e.sealed == "" {
		return doc
	}
	row := maps.Clone(doc)
	text, ok := doc[e.sealed].(string)
	if !ok {
		row[keyColumn] = nil // values says what is wrong with it
		return row
	}
	row[keyColumn], row[e.sealed] = e.s.cfg.Keys.Seal([]byte(text), e.owner(doc))
	return row
}

// unsealed turns a row into the document.
func (e *entity) unsealed(doc document) error {
	if e.sealed == "" {
		return nil
	}
	key := str(doc[keyColumn])
	delete(doc, keyColumn)
	if key == "" {
		return nil
	}
	text, err := e.s.cfg.Keys.Open(key, str(doc[e.sealed]), e.owner(doc))
	if err != nil {
		return api.Unavailable("%s %v cannot be read: this undercloud has not the key it was encrypted with", e.singular, doc["id"]).Wrap(err)
	}
	doc[e.sealed] = string(text)
	return nil
}

func (e *entity) owner(doc document) string { return e.singular + "/" + str(doc["id"]) }

// resealBatch is how many rows a transaction encrypts anew.
const resealBatch = 100

// reseal encrypts everything with the newest key, which it makes when its time
// has come, and removes expired tokens of OAuth and keys that nothing needs any
// more.
func (s *Service) reseal(ctx context.Context) error {
	newest, err := s.cfg.Keys.Rotate(s.now(), s.cfg.KeyLife)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, e := range s.entities.all() {
		if e.sealed == "" {
			continue
		}
		for more := true; more; {
			if more, err = e.resealSome(ctx, newest); err != nil {
				return err
			}
		}
		err := s.db.View(ctx, func(tx *store.Tx) error { // another process may have sealed with an older key meanwhile
			ids, err := stringsOf(tx, `SELECT DISTINCT key_id FROM `+e.table+` WHERE key_id IS NOT NULL`)
			for _, id := range ids {
				used[id] = true
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	err = s.db.Tx(ctx, func(tx *store.Tx) error { // these live for a day at most and keep their key
		if _, err := tx.Exec(`DELETE FROM identity_oauth_tokens WHERE expires_at <> 0 AND expires_at <= ?`, store.At(s.now())); err != nil {
			return err
		}
		ids, err := stringsOf(tx, `SELECT DISTINCT key_id FROM identity_oauth_tokens WHERE key_id IS NOT NULL`)
		for _, id := range ids {
			used[id] = true
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.cfg.Keys.Retire(s.now(), used)
}

// resealSome encrypts some rows anew and says whether there may be more.
func (e *entity) resealSome(ctx context.Context, newest string) (more bool, err error) {
	err = e.s.db.Tx(ctx, func(tx *store.Tx) error {
		more = false
		docs, err := e.list(tx, ` WHERE key_id IS NULL OR key_id <> ? ORDER BY id LIMIT ?`+tx.ForUpdate(), newest, resealBatch)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if err := e.save(tx, d); err != nil {
				return err
			}
		}
		more = len(docs) == resealBatch
		return nil
	})
	return more, err
}
