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
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrInvalidToken says that a token is malformed, expired, revoked or signed
// with an unknown key.
var ErrInvalidToken = errors.New("invalid token")

// Tokens signs and validates tokens. Several processes that share a key folder
// accept each other's tokens; the newest key signs, all keys validate.
type Tokens struct {
	signID  string
	sign    *ecdsa.PrivateKey
	keys    map[string]*ecdsa.PublicKey
	now     func() time.Time
	revoked atomic.Pointer[func(*Identity) bool]
}

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
	ParentAuditID     string   `json:"pa,omitempty"`

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
	names, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if len(names) == 0 {
		name, err := writeKey(dir, time.Now())
		if err != nil {
			return nil, err
		}
		names = []string{name}
	}
	sort.Strings(names)
	t := &Tokens{keys: map[string]*ecdsa.PublicKey{}, now: time.Now}
	for _, name := range names {
		key, err := readKey(name)
		if err != nil {
			return nil, err
		}
		t.signID = strings.TrimSuffix(filepath.Base(name), ".pem")
		t.sign = key
		t.keys[t.signID] = &key.PublicKey
	}
	return t, nil
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
	name := filepath.Join(dir, now.UTC().Format("20060102T150405.000000")+".pem")
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
		AppCredID: id.AppCredID, ParentAuditID: id.ParentAuditID,
		IssuedMicro: id.IssuedAt.UnixMicro(),
	})
	tok.Header["kid"] = t.signID
	signed, err := tok.SignedString(t.sign)
	if err != nil {
		return fmt.Errorf("sign token: %w", err)
	}
	id.Token = signed
	return nil
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
	_, err := jwt.ParseWithClaims(token, &c, func(tok *jwt.Token) (any, error) {
		kid, _ := tok.Header["kid"].(string)
		if key, ok := t.keys[kid]; ok {
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
		AppCredID: c.AppCredID, AuditID: c.ID, ParentAuditID: c.ParentAuditID, Token: token, ExpiresAt: c.ExpiresAt.UTC(),
	}
	if c.IssuedMicro != 0 {
		id.IssuedAt = time.UnixMicro(c.IssuedMicro).UTC()
	} else if c.IssuedAt != nil {
		id.IssuedAt = c.IssuedAt.UTC()
	}
	return id, nil
}
