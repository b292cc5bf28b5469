package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/tripleo/tripleo/internal/api"
)

// passwords hashes and checks secrets with bcrypt over SHA-256 (so that no
// byte beyond bcrypt's 72 is ignored), and remembers the last successful check
// of each hash by a keyed digest, so that a service that authenticates often
// pays once.
type passwords struct {
	key   []byte
	dummy func() (string, error) // a hash nobody knows the password of, for users that do not exist
	mu    sync.Mutex
	good  map[string][32]byte // hash -> keyed digest of the password it accepted
}

const (
	hashPrefix    = "{bcrypt-sha256}"
	bcryptCost    = 10
	maxPassword   = 4096 // bytes, as Keystone's max_password_length
	maxRemembered = 10_000
)

func newPasswords() (*passwords, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	p := &passwords{key: key, good: map[string][32]byte{}}
	p.dummy = sync.OnceValues(func() (string, error) { return p.hash(rand.Text()) })
	return p, nil
}

func squeeze(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

func (p *passwords) hash(secret string) (string, error) {
	if len(secret) > maxPassword {
		return "", api.Invalid("the password is longer than %d bytes", maxPassword)
	}
	h, err := bcrypt.GenerateFromPassword(squeeze(secret), bcryptCost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return hashPrefix + string(h), nil
}

func (p *passwords) digest(hash, secret string) (out [32]byte) {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(hash))
	m.Write([]byte{0})
	m.Write([]byte(secret))
	m.Sum(out[:0])
	return out
}

// check says whether secret is the one hash was made from. An empty hash
// accepts nothing, and takes as long to say so.
func (p *passwords) check(hash, secret string) (bool, error) {
	if len(secret) > maxPassword {
		return false, nil
	}
	known := hash != ""
	if !known {
		dummy, err := p.dummy()
		if err != nil {
			return false, err
		}
		hash = dummy
	}
	digest := p.digest(hash, secret)
	p.mu.Lock()
	want, ok := p.good[hash]
	p.mu.Unlock()
	if ok && hmac.Equal(want[:], digest[:]) {
		return true, nil
	}
	plain, ok := strings.CutPrefix(hash, hashPrefix)
	if !ok {
		return false, errors.New("a password hash has an unknown format")
	}
	err := bcrypt.CompareHashAndPassword([]byte(plain), squeeze(secret))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check password: %w", err)
	}
	if !known {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.good) >= maxRemembered {
		clear(p.good)
	}
	p.good[hash] = digest
	return true, nil
}
