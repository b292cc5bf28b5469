package store

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
)

// Vault encrypts what lies in columns with keys that lie outside of the
// database. *seal.Keys is one.
type Vault interface {
	// Lock encrypts data for an owner; the text contains no quotes.
	Lock(data []byte, owner string) string
	// Unlock returns what Lock was given with the same owner.
	Unlock(text, owner string) ([]byte, error)
}

// Protect has the columns of SealedJSON, SealedText and SealBytes encrypted from
// now on. What was written before stays readable. It is called before the
// database is used.
func (db *DB) Protect(v Vault) { db.vault = v }

// sealed marks an encrypted column. Neither JSON nor a template begins with it.
const sealed = "\x1esealed:"

func (tx *Tx) lock(data []byte, owner string) []byte {
	if tx.vault == nil {
		return data
	}
	return []byte(sealed + tx.vault.Lock(data, owner))
}

func (tx *Tx) unlock(data []byte, owner string) ([]byte, error) {
	text, ok := bytes.CutPrefix(data, []byte(sealed))
	if !ok {
		return data, nil
	}
	if tx.vault == nil {
		return nil, fmt.Errorf("column %s is encrypted, and there are no keys", owner)
	}
	out, err := tx.vault.Unlock(string(text), owner)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", owner, err)
	}
	return out, nil
}

// SealBytes encrypts bytes for a column; owner is its name, such as
// "heat_raw.data".
func (tx *Tx) SealBytes(data []byte, owner string) []byte { return tx.lock(data, owner) }

// OpenBytes returns what SealBytes was given.
func (tx *Tx) OpenBytes(data []byte, owner string) ([]byte, error) { return tx.unlock(data, owner) }

// SealedText is a text column that is encrypted. s is read or written.
func (tx *Tx) SealedText(s *string, owner string) interface {
	sql.Scanner
	driver.Valuer
} {
	return textColumn{tx, s, owner}
}

type textColumn struct {
	tx    *Tx
	s     *string
	owner string
}

func (c textColumn) Value() (driver.Value, error) {
	return string(c.tx.lock([]byte(*c.s), c.owner)), nil
}

func (c textColumn) Scan(src any) error {
	b, err := c.tx.unlock(columnBytes(src), c.owner)
	*c.s = string(b)
	return err
}

func columnBytes(src any) []byte {
	switch s := src.(type) {
	case string:
		return []byte(s)
	case []byte:
		return s
	}
	return nil
}

// SealedJSON is JSON for a column that is encrypted; owner is its name. What
// holds nothing (null, {}, []) is written as it is.
func (tx *Tx) SealedJSON(v any, owner string) interface {
	sql.Scanner
	driver.Valuer
} {
	return sealedColumn{tx, v, owner}
}

type sealedColumn struct {
	tx    *Tx
	v     any
	owner string
}

func (c sealedColumn) Value() (driver.Value, error) {
	b, err := json.Marshal(c.v)
	if err != nil {
		return nil, fmt.Errorf("encode JSON column: %w", err)
	}
	if len(b) == 2 || string(b) == "null" {
		return string(b), nil
	}
	return string(c.tx.lock(b, c.owner)), nil
}

func (c sealedColumn) Scan(src any) error {
	b, err := c.tx.unlock(columnBytes(src), c.owner)
	if err != nil {
		return err
	}
	return jsonColumn{c.v}.Scan(b)
}
