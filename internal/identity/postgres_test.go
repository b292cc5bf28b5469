package identity_test

import (
	"testing"

	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestOnPostgres runs what depends on the database on the other one.
func TestOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("tests with servers nobody here wrote run without -short")
	}
	storetest.OnPostgres(t, map[string]func(*testing.T){
		"bootstrap": TestBootstrapTwice, "scopes": TestTokenScopes, "revocation": TestRevocation, "trusts": TestTrust,
		"application credentials": TestApplicationCredential, "groups": TestGroupsAndInheritance, "others": TestOthersAreRefused,
		"passwords": TestLockoutAndExpiry, "TOTP": TestTOTP, "access rules": TestAccessRulesAreEnforced, "S3": TestS3Token, "at rest": TestCredentialsAtRest,
	})
}
