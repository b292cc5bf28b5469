package auth

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestVerifiedTokensAreCheckedAnew: that a signature was good is remembered, and
// nothing else.
func TestVerifiedTokensAreCheckedAnew(t *testing.T) {
	tokens := openTokens(t)
	now := time.Now()
	tokens.now = func() time.Time { return now }
	id := sample(now)
	if err := tokens.Issue(id); err != nil {
		t.Fatal(err)
	}
	first, err := tokens.Validate(t.Context(), id.Token)
	if err != nil {
		t.Fatal(err)
	}
	first.Roles[0], first.UserID = "admin", "root"
	second, err := tokens.Validate(t.Context(), id.Token)
	if err != nil || !slices.Equal(second.Roles, id.Roles) || second.UserID != id.UserID || second.Token != id.Token {
		t.Errorf("what one caller does to an identity is seen by the next: %+v, %v", second, err)
	}
	now = now.Add(2 * time.Hour)
	if _, err := tokens.Validate(t.Context(), id.Token); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("a remembered token that has expired: %v", err)
	}
	now = now.Add(-2 * time.Hour)
	tokens.SetRevoked(func(*Identity) bool { return true })
	if _, err := tokens.Validate(t.Context(), id.Token); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("a remembered token that was revoked: %v", err)
	}
}

// TestVerifiedIsBounded: any number of tokens needs no more memory than two
// generations, and what is in use stays.
func TestVerifiedIsBounded(t *testing.T) {
	var v verified
	v.put("in use", verifiedToken{kid: "k"})
	for i := range 10 * maxVerified {
		v.put("token "+time.Duration(i).String(), verifiedToken{})
		if _, ok := v.get("in use"); !ok {
			t.Fatalf("a token in use is forgotten after %d others", i)
		}
	}
	if n := len(v.young) + len(v.old); n > 2*maxVerified {
		t.Errorf("%d tokens are remembered", n)
	}
}
