package auth

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openTokens(t *testing.T) *Tokens {
	t.Helper()
	tokens, err := OpenTokens(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func sample(now time.Time) *Identity {
	return &Identity{
		UserID: "u", UserName: "alice", UserDomainID: "default", ProjectID: "p", Roles: []string{"member", "reader"},
		Methods: []string{"password"}, AuditID: "audit", TrustID: "t", TrustorID: "o",
		IssuedAt: now.Truncate(time.Microsecond).UTC(), ExpiresAt: now.Add(time.Hour).Truncate(time.Second).UTC(),
	}
}

func TestTokenRoundTrip(t *testing.T) {
	tokens := openTokens(t)
	want := sample(time.Now())
	if err := tokens.Issue(want); err != nil {
		t.Fatal(err)
	}
	got, err := tokens.Validate(t.Context(), want.Token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the time of issue keeps its microseconds and nothing is lost (-want +got):\n%s", diff)
	}
}

func TestTokenRefused(t *testing.T) {
	tokens := openTokens(t)
	good := sample(time.Now())
	if err := tokens.Issue(good); err != nil {
		t.Fatal(err)
	}
	old := sample(time.Now().Add(-2 * time.Hour))
	if err := tokens.Issue(old); err != nil {
		t.Fatal(err)
	}
	foreign := sample(time.Now())
	if err := openTokens(t).Issue(foreign); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good.Token, ".")
	enc := base64.RawURLEncoding.EncodeToString
	for _, tc := range []struct{ reason, token string }{
		{"empty", ""},
		{"not a token", "gAAAA"},
		{"expired", old.Token},
		{"signed by a key we do not have", foreign.Token},
		{"signature cut off", parts[0] + "." + parts[1] + "."},
		{"algorithm none", enc([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."},
		{"claims changed after signing", parts[0] + "." + enc([]byte(`{"sub":"root","exp":99999999999}`)) + "." + parts[2]},
		{"too long to look at", good.Token + strings.Repeat("A", 16<<10)},
	} {
		if _, err := tokens.Validate(t.Context(), tc.token); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%s: error is %v, expected ErrInvalidToken", tc.reason, err)
		}
	}
	tokens.SetRevoked(func(id *Identity) bool { return id.AuditID == "audit" })
	if _, err := tokens.Validate(t.Context(), good.Token); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("revoked: error is %v, expected ErrInvalidToken", err)
	}
}

func TestTokensShareAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	a, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := sample(time.Now())
	if err := a.Issue(id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Validate(t.Context(), id.Token); err != nil {
		t.Errorf("two processes with one key folder accept each other's tokens: %v", err)
	}
}
