// Package seal encrypts what lies in a database with keys that lie outside of
// it: who has a copy of the database alone has no secrets.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// KeySize is the length of a key in bytes: AES-256.
const KeySize = 32

// ErrUnreadable says that a text was sealed with another key, for another
// owner, or was changed since.
var ErrUnreadable = errors.New("cannot be decrypted")

// Box seals with one key (AES-256-GCM, a random nonce for each text).
type Box struct{ aead cipher.AEAD }

// NewBox makes a box of a key of KeySize bytes.
func NewBox(key []byte) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("seal: a key of %d bytes, expected %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Box{aead}, nil
}

// Seal encrypts data for an owner, such as the id of the row it lies in: moved
// to another row it cannot be opened. The result is text (base64).
func (b *Box) Seal(data []byte, owner string) string {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(data)+b.aead.Overhead())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawStdEncoding.EncodeToString(b.aead.Seal(nonce, nonce, data, []byte(owner)))
}

// Open returns what Seal was given; the error is ErrUnreadable.
func (b *Box) Open(sealed, owner string) ([]byte, error) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	n := b.aead.NonceSize()
	if err != nil || len(raw) < n {
		return nil, fmt.Errorf("%w: no sealed text", ErrUnreadable)
	}
	data, err := b.aead.Open(nil, raw[:n], raw[n:], []byte(owner))
	if err != nil {
		return nil, fmt.Errorf("%w: another key or owner, or damage", ErrUnreadable)
	}
	return data, nil
}
