package auth

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// verified remembers tokens whose signature was good, as a signature costs more
// than anything else of a small request. Times and revocation are checked anew,
// and a token is forgotten with its key.
type verified struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]verifiedToken
}

type verifiedToken struct {
	id  Identity
	kid string
	key *ecdsa.PublicKey
	nbf time.Time // zero: none
}

// maxVerified bounds what is remembered: two generations of so many tokens.
const maxVerified = 2048

func (v *verified) get(token string) (verifiedToken, bool) {
	sum := sha256.Sum256([]byte(token))
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.young[sum]
	if ok {
		return t, true
	}
	if t, ok = v.old[sum]; ok {
		v.add(sum, t)
	}
	return t, ok
}

func (v *verified) put(token string, t verifiedToken) {
	t.id.Token = "" // the caller has it
	v.mu.Lock()
	defer v.mu.Unlock()
	v.add(sha256.Sum256([]byte(token)), t)
}

func (v *verified) add(sum [sha256.Size]byte, t verifiedToken) {
	if v.young == nil || len(v.young) >= maxVerified {
		v.young, v.old = map[[sha256.Size]byte]verifiedToken{}, v.young
	}
	v.young[sum] = t
}

// identity returns a copy that the caller may change, for a token that is in
// force.
func (t verifiedToken) identity(token string) *Identity {
	id := t.id
	id.Token = token
	id.Roles, id.Methods, id.AccessRules = slices.Clone(id.Roles), slices.Clone(id.Methods), slices.Clone(id.AccessRules)
	return &id
}
