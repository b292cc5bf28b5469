package messaging

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// sealedPrefix begins a body that is encrypted at rest; no JSON text begins so.
const sealedPrefix = "gcm1:"

// keys derives what signs URLs and what encrypts bodies from the service's secret.
func (s *Service) keys(secret []byte) error {
	if len(secret) == 0 { // good for this process's life; see Config.Secret
		secret = make([]byte, 32)
		_, _ = rand.Read(secret)
	}
	var err error
	if s.signKey, err = hkdf.Key(sha256.New, secret, nil, "tripleo messaging: pre-signed URLs", 32); err != nil {
		return err
	}
	bodies, err := hkdf.Key(sha256.New, secret, nil, "tripleo messaging: encrypted queues", 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(bodies)
	if err != nil {
		return err
	}
	s.bodies, err = cipher.NewGCM(block)
	return err
}

// seal encrypts a body for the store (AES-256-GCM). It is bound to the message
// or delivery it belongs to.
func (s *Service) seal(body []byte, owner string) string {
	nonce := make([]byte, s.bodies.NonceSize(), s.bodies.NonceSize()+len(body)+s.bodies.Overhead())
	_, _ = rand.Read(nonce)
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(s.bodies.Seal(nonce, nonce, body, []byte(owner)))
}

// open returns a body as it was posted.
func (s *Service) open(stored, owner string) (json.RawMessage, error) {
	text, sealed := strings.CutPrefix(stored, sealedPrefix)
	if !sealed {
		return json.RawMessage(stored), nil
	}
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err == nil && len(data) < s.bodies.NonceSize() {
		err = fmt.Errorf("%d bytes", len(data))
	}
	var body []byte
	if err == nil {
		n := s.bodies.NonceSize()
		body, err = s.bodies.Open(nil, data[:n], data[n:], []byte(owner))
	}
	if err != nil {
		return nil, api.Unavailable("an encrypted message cannot be read: the key of this undercloud is not the one it was written with").Wrap(err)
	}
	return body, nil
}
