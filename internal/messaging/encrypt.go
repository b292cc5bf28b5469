package messaging

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/seal"
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
	bodies, err := hkdf.Key(sha256.New, secret, nil, "tripleo messaging: encrypted queues", seal.KeySize)
	if err != nil {
		return err
	}
	s.bodies, err = seal.NewBox(bodies)
	return err
}

// seal encrypts a body for the store. It is bound to the message or delivery it
// belongs to.
func (s *Service) seal(body []byte, owner string) string {
	return sealedPrefix + s.bodies.Seal(body, owner)
}

// open returns a body as it was posted.
func (s *Service) open(stored, owner string) (json.RawMessage, error) {
	text, sealed := strings.CutPrefix(stored, sealedPrefix)
	if !sealed {
		return json.RawMessage(stored), nil
	}
	body, err := s.bodies.Open(text, owner)
	if err != nil {
		return nil, api.Unavailable("an encrypted message cannot be read: the key of this undercloud is not the one it was written with").Wrap(err)
	}
	return body, nil
}
