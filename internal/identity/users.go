package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func showUser(doc document) {
	delete(doc, "password_hash")
	delete(doc, "password")
	if _, ok := doc["password_expires_at"]; !ok {
		doc["password_expires_at"] = nil
	}
	if doc["options"] == nil {
		doc["options"] = document{}
	}
	if doc["default_project_id"] == nil {
		delete(doc, "default_project_id")
	}
}

// userIncoming replaces a password by its hash.
func (s *Service) userIncoming(tx *store.Tx, old, doc document) error {
	if err := s.domainIncoming(tx, old, doc); err != nil {
		return err
	}
	if old == nil {
		doc["password_hash"] = nil
	} else {
		doc["password_hash"] = old["password_hash"]
	}
	switch p := doc["password"].(type) {
	case nil:
	case string:
		if err := s.cfg.Passwords.fits(p); err != nil {
			return err
		}
		hash, err := s.pass.hash(p)
		if err != nil {
			return err
		}
		doc["password_hash"] = hash
	default:
		return api.Invalid("user.password is a %T, expected a string", p)
	}
	delete(doc, "password")
	delete(doc, "password_expires_at")
	if pid := str(doc["default_project_id"]); pid != "" && pid == str(doc["domain_id"]) {
		return api.Invalid("user.default_project_id is a domain, expected a project")
	}
	return checkUserOptions(doc)
}

// checkUserOptions knows Keystone's resource options of users; null removes one.
func checkUserOptions(doc document) error {
	if doc["options"] == nil {
		return nil
	}
	options, ok := doc["options"].(map[string]any)
	if !ok {
		return api.Invalid("user.options is %v, expected an object", doc["options"])
	}
	for name, v := range options {
		_, isBool := v.(bool)
		_, isList := v.([]any)
		switch name {
		case "ignore_change_password_upon_first_use", "ignore_password_expiry", "ignore_lockout_failure_attempts", "lock_password",
			"multi_factor_auth_enabled", "ignore_user_inactivity":
			if !isBool && v != nil {
				return api.Invalid("user.options.%s is %v, expected true or false", name, v)
			}
		case "multi_factor_auth_rules":
			if !isList && v != nil {
				return api.Invalid("user.options.%s is %v, expected a list of lists of methods", name, v)
			}
		default:
			return api.Invalid("user.options has no option %q", name)
		}
		if v == nil {
			delete(options, name)
		}
	}
	return nil
}

func (s *Service) userChanged(tx *store.Tx, old, doc document) error {
	id := str(doc["id"])
	if doc["password_hash"] != old["password_hash"] {
		if err := s.remember(tx, id, str(old["password_hash"]), true); err != nil {
			return err
		}
	}
	if doc["enabled"] == true && old["enabled"] == false { // an administrator's way to open a locked account
		if _, err := tx.Exec(`UPDATE identity_users SET failures = 0, failed_at = 0 WHERE id = ?`, id); err != nil {
			return err
		}
	}
	if doc["enabled"] == false && old["enabled"] == true {
		if err := s.revokeTrustee(tx, id); err != nil {
			return err
		}
	}
	if doc["enabled"] == false || doc["password_hash"] != old["password_hash"] {
		return s.revoke(tx, "user", id)
	}
	return nil
}

// revokeTrustee ends the tokens a user has made from others' trusts, which
// name the trustor and not the user.
func (s *Service) revokeTrustee(tx *store.Tx, userID string) error {
	ids, err := stringsOf(tx, `SELECT id FROM identity_trusts WHERE trustee_user_id = ?`, userID)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.revoke(tx, "trust", id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) userDeleting(tx *store.Tx, doc document) error {
	id := str(doc["id"])
	if err := s.revokeTrustee(tx, id); err != nil {
		return err
	}
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE actor_type = 'user' AND actor_id = ?`,
		`DELETE FROM identity_credentials WHERE user_id = ?`,
		`DELETE FROM identity_trusts WHERE trustor_user_id = ?`,
		`DELETE FROM identity_trusts WHERE trustee_user_id = ?`,
	} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	return s.revoke(tx, "user", id)
}

// changePassword is a user's own change: POST /v3/users/{id}/password.
func (s *Service) changePassword(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		User struct {
			Password string `json:"password"`
			Original string `json:"original_password"`
		} `json:"user"`
	}
	if err := api.ReadJSON(r, &body); err != nil {
		return err
	}
	id, now := r.PathValue("id"), body.User.Password
	user, err := s.viewDoc(r, s.entities.users, id)
	if err != nil {
		return unauthorized().Wrap(err)
	}
	if _, err := s.provePassword(r, user, body.User.Original, true); err != nil {
		return err
	}
	if now == "" {
		return api.Invalid("user.password is required and may not be empty")
	}
	if option(user, "lock_password") {
		return api.Invalid("the password of user %s is locked and cannot be changed by its user", id)
	}
	if err := s.cfg.Passwords.fits(now); err != nil {
		return err
	}
	hash, err := s.pass.hash(now)
	if err != nil {
		return err
	}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.ownPassword(tx, user, now, hash) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ownPassword sets a password that its user has chosen, if the rules allow it.
func (s *Service) ownPassword(tx *store.Tx, user document, password, hash string) error {
	id, current := str(user["id"]), str(user["password_hash"])
	st, err := s.credentialState(tx, id)
	if err != nil {
		return err
	}
	if age := s.now().Sub(st.setAt); st.mustChange == 0 && s.cfg.Passwords.MinimumAge > 0 && age < s.cfg.Passwords.MinimumAge {
		return api.Invalid("Cannot change password before minimum age %s is met.", s.cfg.Passwords.MinimumAge)
	}
	used, err := s.usedBefore(tx, id, current, password)
	if err != nil {
		return err
	}
	if used {
		return api.Invalid("Changed password cannot be identical to the last %d.", s.cfg.Passwords.UniqueLast)
	}
	if n, err := tx.Exec(`UPDATE identity_users SET password_hash = ? WHERE id = ? AND password_hash = ?`, hash, id, current); err != nil || n == 0 {
		if err == nil {
			err = api.Conflict("the password of user %s was changed at the same time", id)
		}
		return err
	}
	if err := s.remember(tx, id, current, false); err != nil {
		return err
	}
	return s.revoke(tx, "user", id)
}

func (s *Service) viewDoc(r *http.Request, e *entity, id string) (doc document, err error) {
	err = s.db.View(r.Context(), func(tx *store.Tx) error {
		doc, err = e.get(tx, id)
		return err
	})
	return doc, err
}

// userProjects lists the projects a user has a role on.
func (s *Service) userProjects(w http.ResponseWriter, r *http.Request) error {
	return s.replyProjects(w, r, r.PathValue("id"))
}

func (s *Service) userGroups(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if _, err := s.entities.users.get(tx, id); err != nil {
			return err
		}
		docs, err = s.entities.groups.list(tx, ` WHERE id IN (SELECT group_id FROM identity_group_members WHERE user_id = ?) ORDER BY id`, id)
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.groups.replyList(w, r, s.entities.groups.shown(r, docs))
}

func (s *Service) groupUsers(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if _, err := s.entities.groups.get(tx, r.PathValue("id")); err != nil {
			return err
		}
		docs, err = s.entities.users.list(tx, ` WHERE id IN (SELECT user_id FROM identity_group_members WHERE group_id = ?) ORDER BY id`, r.PathValue("id"))
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.users.replyList(w, r, s.entities.users.shown(r, docs))
}

func (s *Service) memberIDs(tx *store.Tx, group string) ([]string, error) {
	return stringsOf(tx, `SELECT user_id FROM identity_group_members WHERE group_id = ?`, group)
}

// stringsOf returns the only column of a query's rows.
func stringsOf(tx *store.Tx, q string, args ...any) ([]string, error) {
	var out []string
	err := tx.Each(func(scan func(...any) error) error {
		var v string
		err := scan(&v)
		out = append(out, v)
		return err
	}, q, args...)
	return out, err
}

// groupMember adds, checks or removes a member by the request's method.
func (s *Service) groupMember(w http.ResponseWriter, r *http.Request) error {
	group, user := r.PathValue("id"), r.PathValue("user")
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.entities.groups.get(tx, group); err != nil {
			return err
		}
		if _, err := s.entities.users.get(tx, user); err != nil {
			return err
		}
		var n int64
		var err error
		switch r.Method {
		case http.MethodPut:
			_, err = tx.Exec(`INSERT INTO identity_group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, group, user)
			return err
		case http.MethodDelete:
			if n, err = tx.Exec(`DELETE FROM identity_group_members WHERE group_id = ? AND user_id = ?`, group, user); err == nil {
				err = s.revoke(tx, "user", user)
			}
		default:
			err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_group_members WHERE group_id = ? AND user_id = ?`, group, user)
		}
		if err == nil && n == 0 {
			return api.NotFound("User %s is not a member of group %s.", user, group)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
