package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrInvalidToken says that a token is malformed, expired, revoked or signed
// with an unknown key.
var ErrInvalidToken = errors.New("invalid token")

// Tokens signs and validates tokens. Several processes that share a key folder
// accept each other's tokens: the newest key signs, all keys validate, and a
// token of an unknown key has the folder read again.
type Tokens struct {
	dir     string
	keys    atomic.Pointer[keyRing]
	reload  sync.Mutex
	read    time.Time // when the folder was last read because of an unknown key
	now     func() time.Time
	revoked atomic.Pointer[func(*Identity) bool]
	seen    verified
}

// keyRing is what a key folder held at one time. It does not change.
type keyRing struct {
	signID string
	sign   *ecdsa.PrivateKey
	public map[string]*ecdsa.PublicKey
}

// reloadEvery bounds how often forged tokens can have the key folder read.
const reloadEvery = time.Second

type claims struct {
	jwt.RegisteredClaims
	UserName          string   `json:"un,omitempty"`
	UserDomainID      string   `json:"udi,omitempty"`
	UserDomainName    string   `json:"udn,omitempty"`
	ProjectID         string   `json:"pi,omitempty"`
	ProjectName       string   `json:"pn,omitempty"`
	ProjectDomainID   string   `json:"pdi,omitempty"`
	ProjectDomainName string   `json:"pdn,omitempty"`
	DomainID          string   `json:"di,omitempty"`
	DomainName        string   `json:"dn,omitempty"`
	System            bool     `json:"sys,omitempty"`
	Roles             []string `json:"r,omitempty"`
	Methods           []string `json:"m,omitempty"`
	TrustID           string   `json:"ti,omitempty"`
	TrustorID         string   `json:"tor,omitempty"`
	AppCredID         string   `json:"ac,omitempty"`
	OAuthID           string   `json:"oa,omitempty"`
	ParentAuditID     string   `json:"pa,omitempty"`

	Restricted  bool          `json:"res,omitempty"`
	AccessRules *[]AccessRule `json:"ar,omitempty"` // a list without rules allows nothing

	// IssuedMicro is the time of issue in microseconds since the epoch: iat
	// has seconds, too coarse to tell a token from one revoked just before it.
	IssuedMicro int64 `json:"iu,omitempty"`
}

// OpenTokens loads the signing keys (*.pem, newest name last) from folder dir,
// making the first one when there is none. Files are private (0600).
func OpenTokens(dir string) (*Tokens, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	t := &Tokens{dir: dir, now: time.Now}
	names, err := keyFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		if _, err := writeKey(dir, time.Now()); err != nil {
			return nil, err
		}
	}
	return t, t.readKeys()
}

func keyFiles(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	sort.Strings(names)
	return names, nil
}

func (t *Tokens) readKeys() error {
	names, err := keyFiles(t.dir)
	if err != nil {
		return err
	}
	ring := &keyRing{public: map[string]*ecdsa.PublicKey{}}
	for _, name := range names {
		key, err := readKey(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just retired it
		}
		if err != nil {
			return err
		}
		ring.signID = strings.TrimSuffix(filepath.Base(name), ".pem")
		ring.sign = key
		ring.public[ring.signID] = &key.PublicKey
	}
	if ring.sign == nil {
		return fmt.Errorf("token keys: folder %s has no key any more", t.dir)
	}
	t.keys.Store(ring)
	return nil
}

// key returns the public key of an id, looking into the folder once more for
// one that another process may have made.
func (t *Tokens) key(id string) *ecdsa.PublicKey {
	if key := t.keys.Load().public[id]; key != nil || id == "" {
		return key
	}
	t.reload.Lock()
	defer t.reload.Unlock()
	if now := time.Now(); now.Sub(t.read) >= reloadEvery {
		t.read = now
		_ = t.readKeys() // the keys at hand stay; the token is refused
	}
	return t.keys.Load().public[id]
}

const keyTime = "20060102T150405.000000"

// Rotate makes a new signing key once the newest one is older than maxAge, and
// removes keys whose tokens have all expired: those that stopped signing more
// than tokenLife ago. It takes up what other processes did to the folder.
func (t *Tokens) Rotate(maxAge, tokenLife time.Duration) error {
	t.reload.Lock()
	defer t.reload.Unlock()
	names, err := keyFiles(t.dir)
	if err != nil {
		return err
	}
	made := func(name string) time.Time {
		at, err := time.Parse(keyTime, strings.TrimSuffix(filepath.Base(name), ".pem"))
		if err != nil { // a key under the operator's own name
			return time.Time{}
		}
		return at
	}
	now := t.now()
	if len(names) == 0 || now.Sub(made(names[len(names)-1])) > maxAge {
		name, err := writeKey(t.dir, now)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	for i, name := range names[:len(names)-1] {
		if successor := made(names[i+1]); !made(name).IsZero() && now.Sub(successor) > tokenLife+time.Hour {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("retire token key: %w", err)
			}
		}
	}
	return t.readKeys()
}

func writeKey(dir string, now time.Time) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make token key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode token key: %w", err)
	}
	name := filepath.Join(dir, now.UTC().Format(keyTime)+".pem")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return name, nil // another process was faster
	}
	if err != nil {
		return "", fmt.Errorf("write token key: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write token key: %w", err)
	}
	return name, nil
}

func readKey(name string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(name) //nolint:gosec // the operator's own key folder
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("token key %s: no PEM block", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("token key %s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("token key %s: expected an ECDSA key on P-256", name)
	}
	return key, nil
}

// Issue signs a token for id. IssuedAt, ExpiresAt and AuditID must be set; the
// token is stored in id.Token.
func (t *Tokens) Issue(id *Identity) error {
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: id.UserID, ID: id.AuditID,
			IssuedAt: jwt.NewNumericDate(id.IssuedAt), ExpiresAt: jwt.NewNumericDate(id.ExpiresAt),
		},
		UserName: id.UserName, UserDomainID: id.UserDomainID, UserDomainName: id.UserDomainName,
		ProjectID: id.ProjectID, ProjectName: id.ProjectName,
		ProjectDomainID: id.ProjectDomainID, ProjectDomainName: id.ProjectDomainName,
		DomainID: id.DomainID, DomainName: id.DomainName, System: id.System,
		Roles: id.Roles, Methods: id.Methods, TrustID: id.TrustID, TrustorID: id.TrustorID,
		AppCredID: id.AppCredID, OAuthID: id.OAuthID, ParentAuditID: id.ParentAuditID, Restricted: id.Restricted, AccessRules: rulesClaim(id.AccessRules),
		IssuedMicro: id.IssuedAt.UnixMicro(),
	})
	ring := t.keys.Load()
	tok.Header["kid"] = ring.signID
	signed, err := tok.SignedString(ring.sign)
	if err != nil {
		return fmt.Errorf("sign token: %w", err)
	}
	id.Token = signed
	return nil
}

func rulesClaim(rules []AccessRule) *[]AccessRule {
	if rules == nil {
		return nil
	}
	return &rules
}

// SetRevoked installs the check for tokens that were revoked before they
// expired. It is called for every token that is otherwise valid.
func (t *Tokens) SetRevoked(f func(*Identity) bool) { t.revoked.Store(&f) }

// Validate implements Validator.
func (t *Tokens) Validate(_ context.Context, token string) (*Identity, error) {
	id, err := t.Parse(token)
	if err != nil {
		return nil, err
	}
	if f := t.revoked.Load(); f != nil && (*f)(id) {
		return nil, fmt.Errorf("%w: revoked", ErrInvalidToken)
	}
	return id, nil
}

// Parse checks signature and expiry only.
func (t *Tokens) Parse(token string) (*Identity, error) {
	var c claims
	if len(token) > 16<<10 {
		return nil, fmt.Errorf("%w: too long", ErrInvalidToken)
	}
	if seen, ok := t.seen.get(token); ok && t.keys.Load().public[seen.kid] == seen.key {
		if now := t.now(); now.Before(seen.id.ExpiresAt) && !now.Before(seen.nbf) {
			return seen.identity(token), nil
		} // else it is refused below, with the reason
	}
	parsed, err := jwt.ParseWithClaims(token, &c, func(tok *jwt.Token) (any, error) {
		kid, _ := tok.Header["kid"].(string)
		if key := t.key(kid); key != nil {
			return key, nil
		}
		return nil, errors.New("unknown key")
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(t.now))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	id := &Identity{
		UserID: c.Subject, UserName: c.UserName, UserDomainID: c.UserDomainID, UserDomainName: c.UserDomainName,
		ProjectID: c.ProjectID, ProjectName: c.ProjectName,
		ProjectDomainID: c.ProjectDomainID, ProjectDomainName: c.ProjectDomainName,
		DomainID: c.DomainID, DomainName: c.DomainName, System: c.System,
		Roles: c.Roles, Methods: c.Methods, TrustID: c.TrustID, TrustorID: c.TrustorID,
		AppCredID: c.AppCredID, OAuthID: c.OAuthID, AuditID: c.ID, ParentAuditID: c.ParentAuditID, Token: token, ExpiresAt: c.ExpiresAt.UTC(),
		Restricted: c.Restricted,
	}
	if c.AccessRules != nil {
		id.AccessRules = *c.AccessRules
		if id.AccessRules == nil {
			id.AccessRules = []AccessRule{}
		}
	}
	if c.IssuedMicro != 0 {
		id.IssuedAt = time.UnixMicro(c.IssuedMicro).UTC()
	} else if c.IssuedAt != nil {
		id.IssuedAt = c.IssuedAt.UTC()
	}
	seen := verifiedToken{id: *id}
	seen.kid, _ = parsed.Header["kid"].(string)
	if seen.key = t.keys.Load().public[seen.kid]; seen.key == nil {
		return id, nil // its key has just been retired
	}
	if c.NotBefore != nil {
		seen.nbf = c.NotBefore.Time
	}
	t.seen.put(token, seen)
	return seen.identity(token), nil
}
