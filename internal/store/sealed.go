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
	return unlock(tx.vault, data, owner)
}

func unlock(v Vault, data []byte, owner string) ([]byte, error) {
	text, ok := bytes.CutPrefix(data, []byte(sealed))
	if !ok {
		return data, nil
	}
	if v == nil {
		return nil, fmt.Errorf("column %s is encrypted, and there are no keys", owner)
	}
	out, err := v.Unlock(string(text), owner)
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

// Sealed is a column of SealedJSON that is opened when somebody wants it, and
// can be written back as it is. Whoever reads many rows to look at a few saves
// the decryption and decoding of the others.
type Sealed struct {
	vault Vault
	owner string
	text  string
}

// Unopened returns an empty Sealed to scan a column into; owner is its name.
func (tx *Tx) Unopened(owner string) Sealed { return Sealed{vault: tx.vault, owner: owner} }

// Scan implements sql.Scanner.
func (s *Sealed) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		s.text = ""
	case string:
		s.text = v
	case []byte:
		s.text = string(v)
	default:
		return fmt.Errorf("column %s holds %T, expected text", s.owner, src)
	}
	return nil
}

// Value implements driver.Valuer.
func (s Sealed) Value() (driver.Value, error) { return s.text, nil }

// Empty says whether the column holds nothing: {}, [], null or no text at all.
func (s Sealed) Empty() bool { return len(s.text) <= 2 || s.text == "null" }

// Open decodes what was written; v is a pointer. An empty column leaves it as it is.
func (s Sealed) Open(v any) error {
	b, err := unlock(s.vault, []byte(s.text), s.owner)
	if err != nil {
		return err
	}
	return jsonColumn{v}.Scan(b)
}

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
