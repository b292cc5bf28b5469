package identity

import (
	"fmt"
	"regexp"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// PasswordRules are Keystone's [security_compliance] options. The zero value
// asks nothing, as Keystone's defaults.
type PasswordRules struct {
	LockoutAttempts    int           // failed attempts before an account is locked; 0: never
	LockoutDuration    time.Duration // 0 means 30 min
	ExpiresAfter       time.Duration // 0: never
	UniqueLast         int           // how many passwords, the present one included, may not be taken again; 0: any may
	MinimumAge         time.Duration // before a user may change it again
	Regex              string
	RegexDescription   string
	ChangeUponFirstUse bool // a password that somebody else has set lets its user do nothing but change it
	regex              *regexp.Regexp
}

func (p *PasswordRules) prepare() error {
	if p.LockoutDuration == 0 {
		p.LockoutDuration = 30 * time.Minute
	}
	if p.Regex == "" {
		return nil
	}
	var err error
	if p.regex, err = regexp.Compile(p.Regex); err != nil {
		return fmt.Errorf("identity: password_regex: %w", err)
	}
	return nil
}

// fits checks a new password against the rule for its form.
func (p *PasswordRules) fits(password string) error {
	if len(password) > maxPassword {
		return api.Invalid("the password is longer than %d bytes", maxPassword)
	}
	if p.regex != nil && !p.regex.MatchString(password) {
		return api.Invalid("The password does not match the requirements: %s.", p.RegexDescription)
	}
	return nil
}

// option says whether a user has one of Keystone's resource options set.
func option(user document, name string) bool {
	options, _ := user["options"].(map[string]any)
	return options[name] == true
}

// credentialState is what is kept about a user's password beside its hash.
type credentialState struct {
	setAt, failedAt time.Time
	failures        int64
	mustChange      int64
}

func (s *Service) credentialState(tx *store.Tx, user string) (st credentialState, err error) {
	err = tx.Get([]any{store.Time(&st.setAt), &st.failures, store.Time(&st.failedAt), &st.mustChange},
		`SELECT password_at, failures, failed_at, must_change FROM identity_users WHERE id = ?`, user)
	return st, err
}

// locked says whether failed attempts keep an account closed. The clock may
// step: an attempt that lies in the future counts as one of just now.
func (s *Service) locked(user document, st credentialState) bool {
	p := &s.cfg.Passwords
	if p.LockoutAttempts == 0 || option(user, "ignore_lockout_failure_attempts") || st.failures < int64(p.LockoutAttempts) {
		return false
	}
	since := s.now().Sub(st.failedAt)
	return since < p.LockoutDuration
}

// noteAttempt counts a failed attempt, or forgets those before a good one.
func (s *Service) noteAttempt(tx *store.Tx, user string, st credentialState, ok bool) error {
	switch {
	case s.cfg.Passwords.LockoutAttempts == 0, ok && st.failures == 0:
		return nil
	case ok:
		_, err := tx.Exec(`UPDATE identity_users SET failures = 0, failed_at = 0 WHERE id = ?`, user)
		return err
	}
	now := s.now()
	if st.failures > 0 && now.Sub(st.failedAt) >= s.cfg.Passwords.LockoutDuration { // the lock is over: count anew
		_, err := tx.Exec(`UPDATE identity_users SET failures = 1, failed_at = ? WHERE id = ?`, store.At(now), user)
		return err
	}
	_, err := tx.Exec(`UPDATE identity_users SET failures = failures + 1, failed_at = ? WHERE id = ?`, store.At(now), user)
	return err
}

// expiry is when a password that was set at a time ends; zero: never.
func (s *Service) expiry(user document, setAt time.Time) time.Time {
	if s.cfg.Passwords.ExpiresAfter == 0 || setAt.IsZero() || option(user, "ignore_password_expiry") {
		return time.Time{}
	}
	return setAt.Add(s.cfg.Passwords.ExpiresAfter)
}

// usedBefore says whether a password is among the last ones of a user.
func (s *Service) usedBefore(tx *store.Tx, user, current, password string) (bool, error) {
	n := s.cfg.Passwords.UniqueLast
	if n == 0 {
		return false, nil
	}
	hashes, err := stringsOf(tx, `SELECT hash FROM identity_password_history WHERE user_id = ? ORDER BY set_at DESC LIMIT `+fmt.Sprint(n), user)
	if err != nil {
		return false, err
	}
	if current != "" {
		hashes = append([]string{current}, hashes...)
	}
	for _, h := range hashes[:min(n, len(hashes))] {
		if same, err := s.pass.check(h, password); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

// remember keeps what a new password may not be later, and when it was set.
func (s *Service) remember(tx *store.Tx, user, oldHash string, byOther bool) error {
	now := s.now()
	must := int64(0)
	if byOther && s.cfg.Passwords.ChangeUponFirstUse {
		must = 1
	}
	if _, err := tx.Exec(`UPDATE identity_users SET password_at = ?, must_change = ?, failures = 0, failed_at = 0 WHERE id = ?`, store.At(now), must, user); err != nil {
		return err
	}
	if s.cfg.Passwords.UniqueLast < 2 || oldHash == "" {
		return nil
	}
	if _, err := tx.Exec(`INSERT INTO identity_password_history (user_id, hash, set_at) VALUES (?, ?, ?)`, user, oldHash, store.At(now)); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM identity_password_history WHERE user_id = ? AND set_at NOT IN
		(SELECT set_at FROM identity_password_history WHERE user_id = ? ORDER BY set_at DESC LIMIT `+fmt.Sprint(s.cfg.Passwords.UniqueLast)+`)`, user, user)
	return err
}
