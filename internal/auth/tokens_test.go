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
		Methods: []string{"password"}, AuditID: "audit", TrustID: "t", TrustorID: "o", OAuthID: "a",
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

// TestRotation lets two processes share a folder across a rotation.
func TestRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var both [2]*Tokens
	for i := range both {
		var err error
		if both[i], err = OpenTokens(dir); err != nil {
			t.Fatal(err)
		}
	}
	a, b := both[0], both[1]
	old := sample(time.Now())
	if err := a.Issue(old); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(48 * time.Hour)
	a.now = func() time.Time { return later }
	rotate := func(maxAge time.Duration) {
		t.Helper()
		if err := a.Rotate(maxAge, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	first := a.keys.Load().signID
	rotate(72 * time.Hour)
	if a.keys.Load().signID != first {
		t.Error("a key younger than its age limit was replaced")
	}
	rotate(24 * time.Hour)
	if a.keys.Load().signID == first {
		t.Error("a key older than its age limit still signs")
	}
	fresh := sample(time.Now())
	if err := a.Issue(fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Validate(t.Context(), fresh.Token); err != nil {
		t.Errorf("the other process finds the new key by itself: %v", err)
	}
	if _, err := b.Validate(t.Context(), old.Token); err != nil {
		t.Errorf("tokens of the key before stay valid: %v", err)
	}
	later = later.Add(3 * time.Hour)
	rotate(24 * time.Hour)
	if names, err := keyFiles(dir); err != nil || len(names) != 1 {
		t.Errorf("the folder holds %v (%v), expected the key without valid tokens to be gone", names, err)
	}
	if err := b.Rotate(24*time.Hour*365, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Validate(t.Context(), old.Token); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("a retired key still validates: %v", err)
	}
}

func TestAccessRules(t *testing.T) {
	id := &Identity{AccessRules: []AccessRule{
		{"compute", "GET", "/v2.1/servers/{id}"}, {"image", "POST", "/v2/images"}, {"object-store", "PUT", "/v1/*/c/**"},
	}}
	for _, tc := range []struct {
		reason, service, method, path string
		want                          bool
	}{
		{"exact", "image", "POST", "/v2/images", true},
		{"one segment", "compute", "GET", "/v2.1/servers/x", true},
		{"HEAD goes with GET", "compute", "HEAD", "/v2.1/servers/x", true},
		{"one segment is not two", "compute", "GET", "/v2.1/servers/x/y", false},
		{"fewer segments", "compute", "GET", "/v2.1/servers", false},
		{"another method", "compute", "DELETE", "/v2.1/servers/x", false},
		{"another service", "image", "GET", "/v2.1/servers/x", false},
		{"any number of segments", "object-store", "PUT", "/v1/AUTH_p/c/a/b", true},
		{"none of them too", "object-store", "PUT", "/v1/AUTH_p/c", true},
		{"no way up", "compute", "GET", "/v2.1/servers/..", false},
	} {
		if got := id.MayRequest(tc.service, tc.method, tc.path); got != tc.want {
			t.Errorf("%s: %s %s is %v, expected %v", tc.reason, tc.method, tc.path, got, tc.want)
		}
	}
	if !(&Identity{}).MayRequest("image", "GET", "/") || (&Identity{AccessRules: []AccessRule{}}).MayRequest("image", "GET", "/") {
		t.Error("no list allows everything, an empty list nothing")
	}
	tokens := openTokens(t)
	for _, rules := range [][]AccessRule{nil, {}, id.AccessRules} {
		in := sample(time.Now())
		in.AccessRules, in.Restricted = rules, true
		if err := tokens.Issue(in); err != nil {
			t.Fatal(err)
		}
		out, err := tokens.Parse(in.Token)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in, out); diff != "" {
			t.Errorf("the token loses rules (-want +got):\n%s", diff)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	tokens, id := benchTokens(b)
	for b.Loop() {
		if err := tokens.Issue(id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	tokens, id := benchTokens(b)
	for b.Loop() {
		if _, err := tokens.Validate(b.Context(), id.Token); err != nil {
			b.Fatal(err)
		}
	}
}

func benchTokens(b *testing.B) (*Tokens, *Identity) {
	b.Helper()
	tokens, err := OpenTokens(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	id := sample(time.Now())
	if err := tokens.Issue(id); err != nil {
		b.Fatal(err)
	}
	return tokens, id
}
