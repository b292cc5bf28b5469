package identity

import (
	"context"
	"errors"

	"github.com/tripleo/tripleo/internal/store"
)

// bootstrap makes sure that everything is there that a first token needs. It
// runs at every start and changes only what differs: a password is set again
// when the configured one is no longer accepted.
func (s *Service) bootstrap(ctx context.Context) error {
	b := s.cfg.Bootstrap
	hashes, err := s.bootstrapHashes(ctx)
	if err != nil {
		return err
	}
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO identity_domains (id, name, description, enabled, extra) VALUES (?, 'Default', 'The default domain', 1, '{}') ON CONFLICT DO NOTHING`, defaultDomain); err != nil {
			return err
		}
		roles := map[string]string{}
		for _, name := range []string{"admin", "manager", "member", "reader", "service", "heat_stack_user"} {
			id, err := s.ensure(tx, s.entities.roles, document{"name": name}, `name = ?`, name)
			if err != nil {
				return err
			}
			roles[name] = id
		}
		for _, pair := range [][2]string{{"admin", "manager"}, {"manager", "member"}, {"member", "reader"}} {
			if _, err := tx.Exec(`INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, roles[pair[0]], roles[pair[1]]); err != nil {
				return err
			}
		}
		if err := s.bootstrapUser(tx, "admin", hashes["admin"], "admin", roles["admin"]); err != nil {
			return err
		}
		admin, err := s.entities.users.find(tx, `domain_id = ? AND name = 'admin'`, defaultDomain)
		if err != nil {
			return err
		}
		if err := s.grant(tx, assignment{"user", str(admin["id"]), "system", "all", roles["admin"], false}); err != nil {
			return err
		}
		if err := s.bootstrapUser(tx, b.ServiceUser, hashes[b.ServiceUser], "service", roles["admin"], roles["service"]); err != nil {
			return err
		}
		return s.writeCatalog(tx)
	})
}

// bootstrapHashes hashes the configured passwords that are not in force yet,
// outside the transaction because hashing is slow.
func (s *Service) bootstrapHashes(ctx context.Context) (map[string]string, error) {
	b := s.cfg.Bootstrap
	if b.AdminPassword == "" || b.ServicePassword == "" {
		return nil, errors.New("the passwords of admin and of the service user are not configured")
	}
	out := map[string]string{}
	for user, password := range map[string]string{"admin": b.AdminPassword, b.ServiceUser: b.ServicePassword} {
		var current string
		err := s.db.View(ctx, func(tx *store.Tx) error {
			return tx.Get([]any{&current}, `SELECT COALESCE(password_hash, '') FROM identity_users WHERE domain_id = ? AND name = ?`, defaultDomain, user)
		})
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		if current != "" {
			ok, err := s.pass.check(current, password)
			if err != nil {
				return nil, err
			}
			if ok {
				continue
			}
		}
		if out[user], err = s.pass.hash(password); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ensure returns the id of the document found by where, made from doc if there
// is none.
func (s *Service) ensure(tx *store.Tx, e *entity, doc document, where string, args ...any) (string, error) {
	found, err := e.find(tx, where, args...)
	if err == nil {
		return str(found["id"]), nil
	}
	if !isNotFound(err) {
		return "", err
	}
	if err := e.fill(doc); err != nil {
		return "", err
	}
	if err := e.insert(tx, doc); err != nil {
		return "", err
	}
	return str(doc["id"]), nil
}

func (s *Service) bootstrapUser(tx *store.Tx, name, hash, project string, roles ...string) error {
	projectID, err := s.ensure(tx, s.entities.projects,
		document{"name": project, "domain_id": defaultDomain, "parent_id": defaultDomain}, `domain_id = ? AND name = ?`, defaultDomain, project)
	if err != nil {
		return err
	}
	userID, err := s.ensure(tx, s.entities.users, document{"name": name, "domain_id": defaultDomain}, `domain_id = ? AND name = ?`, defaultDomain, name)
	if err != nil {
		return err
	}
	if hash != "" {
		if _, err := tx.Exec(`UPDATE identity_users SET password_hash = ?, enabled = 1 WHERE id = ?`, hash, userID); err != nil {
			return err
		}
	}
	for _, role := range roles {
		if err := s.grant(tx, assignment{"user", userID, "project", projectID, role, false}); err != nil {
			return err
		}
	}
	return nil
}
