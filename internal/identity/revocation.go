package identity

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

const topicRevocations = "identity/revocations"

// revocations is what ends tokens before their time. A key names the tokens
// ("audit/ID", "chain/ID", "user/ID", "project/ID", "domain/ID", "trust/ID",
// "appcred/ID", "oauth/ID", "grant/USER/TARGET"); those issued at or before
// the moment kept with it are void.
type revocations struct {
	mu     sync.RWMutex
	before map[string]time.Time
}

func newRevocations() *revocations { return &revocations{before: map[string]time.Time{}} }

func (v *revocations) has(id *auth.Identity) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if len(v.before) == 0 {
		return false
	}
	hit := func(kind, key string) bool {
		if key == "" {
			return false
		}
		at, ok := v.before[kind+"/"+key]
		return ok && !id.IssuedAt.After(at)
	}
	grant := func(target string) bool { return target != "" && hit("grant", id.UserID+"/"+target) }
	system := ""
	if id.System {
		system = "system"
	}
	return hit("audit", id.AuditID) || hit("chain", id.ParentAuditID) || hit("chain", id.AuditID) ||
		hit("user", id.UserID) || hit("user", id.TrustorID) || hit("project", id.ProjectID) || hit("domain", id.DomainID) ||
		hit("domain", id.UserDomainID) || hit("trust", id.TrustID) || hit("appcred", id.AppCredID) || hit("oauth", id.OAuthID) ||
		grant(id.ProjectID) || grant(id.DomainID) || grant(system)
}

func (v *revocations) add(key string, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at.After(v.before[key]) {
		v.before[key] = at
	}
}

// revoke voids the tokens named by the words of the key, issued until now.
func (s *Service) revoke(tx *store.Tx, key ...string) error {
	name, now := strings.Join(key, "/"), s.now()
	_, err := tx.Exec(`INSERT INTO identity_revocations (id, key, issued_before, expires_at) VALUES (?, ?, ?, ?)`,
		newID(), name, store.At(now), store.At(now.Add(s.cfg.TokenLife+time.Hour)))
	if err != nil {
		return err
	}
	tx.AfterCommit(func() { s.revoked.add(name, now) })
	s.cfg.Bus.PublishTx(tx, topicRevocations)
	return nil
}

func (s *Service) loadRevocations(ctx context.Context) error {
	return s.db.View(ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var key string
			var at time.Time
			if err := scan(&key, store.Time(&at)); err != nil {
				return err
			}
			s.revoked.add(key, at)
			return nil
		}, `SELECT key, issued_before FROM identity_revocations WHERE expires_at > ?`, store.At(s.now()))
	})
}

func (s *Service) pruneRevocations(ctx context.Context) error {
	now := s.now()
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM identity_revocations WHERE expires_at <= ?`, store.At(now))
		return err
	})
	s.revoked.mu.Lock()
	defer s.revoked.mu.Unlock()
	for key, at := range s.revoked.before {
		if at.Add(s.cfg.TokenLife + time.Hour).Before(now) {
			delete(s.revoked.before, key)
		}
	}
	return err
}
