package undercloud

import (
	"fmt"
	"os"
	"time"

	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Identity is what Keystone asks of passwords and who may do what.
type Identity struct {
	TokenHours int // how long a token lives; default 4
	KeyDays    int // after which a new key signs tokens; default 30
	Passwords  identity.PasswordRules
	PolicyFile string // oslo.policy YAML over the defaults
}

// Image is who may do what with images, and what an import may fetch.
type Image struct {
	PolicyFile      string
	ImportFromLocal bool // web-download may fetch from loopback and private addresses
}

// identitySection reads the section "identity".
func (r *reader) identitySection(n *yaml11.Node, c *Identity) {
	if n == nil {
		return
	}
	n = r.section(n, "identity", "token_hours", "key_days", "lockout_attempts", "lockout_duration", "password_expires_days", "unique_last_passwords",
		"minimum_password_age_days", "password_regex", "password_regex_description", "change_password_upon_first_use", "policy_file")
	var lockout, expires, age int
	r.number(n, "token_hours", &c.TokenHours)
	r.number(n, "key_days", &c.KeyDays)
	r.number(n, "lockout_attempts", &c.Passwords.LockoutAttempts)
	r.number(n, "lockout_duration", &lockout)
	r.number(n, "password_expires_days", &expires)
	r.number(n, "unique_last_passwords", &c.Passwords.UniqueLast)
	r.number(n, "minimum_password_age_days", &age)
	r.text(n, "password_regex", &c.Passwords.Regex)
	r.text(n, "password_regex_description", &c.Passwords.RegexDescription)
	r.boolean(n, "change_password_upon_first_use", &c.Passwords.ChangeUponFirstUse)
	r.text(n, "policy_file", &c.PolicyFile)
	const day = 24 * time.Hour
	c.Passwords.LockoutDuration = time.Duration(lockout) * time.Second
	c.Passwords.ExpiresAfter, c.Passwords.MinimumAge = time.Duration(expires)*day, time.Duration(age)*day
}

// imageSection reads the section "image".
func (r *reader) imageSection(n *yaml11.Node, c *Image) {
	if n == nil {
		return
	}
	n = r.section(n, "image", "policy_file", "import_from_private_addresses")
	r.text(n, "policy_file", &c.PolicyFile)
	r.boolean(n, "import_from_private_addresses", &c.ImportFromLocal)
}

// policyFile reads a policy file; name "" has none.
func policyFile(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return data, nil
}
