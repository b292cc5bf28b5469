package identity_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // TOTP and S3 signatures are made with it
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// call makes a request with a token and returns the status and the answer.
func call(t *testing.T, c *gophercloud.ServiceClient, method, path string, body any) (int, map[string]any) {
	t.Helper()
	var out map[string]any
	opts := &gophercloud.RequestOpts{JSONBody: body, OkCodes: []int{200, 201, 202, 204, 400, 401, 403, 404, 409}, KeepResponseBody: false}
	if method == http.MethodGet || body != nil && method != http.MethodDelete {
		opts.JSONResponse = &out
	}
	res, err := c.Request(t.Context(), method, c.ServiceURL()+path, opts)
	if res == nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, out
}

// second mounts another identity service with other settings on the same
// database and returns a function that asks it for a token.
func second(t *testing.T, s *identitytest.Server, cfg identity.Config) func(auth map[string]any) (int, string) {
	t.Helper()
	cfg.DB, cfg.Bus, cfg.Tokens, cfg.Keys, cfg.BaseURL = s.DB, s.Bus, s.Tokens, s.Keys, s.URL+"/second"
	cfg.Catalog = identitytest.Catalog(s.URL)
	cfg.Bootstrap = identity.Bootstrap{AdminPassword: identitytest.AdminPassword, ServicePassword: identitytest.ServicePassword}
	svc, err := identity.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/second", svc.Handler())
	p := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	return func(auth map[string]any) (int, string) {
		res, err := p.Request(context.Background(), http.MethodPost, s.URL+"/second/v3/auth/tokens", &gophercloud.RequestOpts{
			JSONBody: map[string]any{"auth": map[string]any{"identity": auth}}, OkCodes: []int{201, 400, 401, 403},
		})
		if res == nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode, res.Header.Get("X-Subject-Token")
	}
}

func password(id, pw string) map[string]any {
	return map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{"id": id, "password": pw}}}
}

func TestLockoutAndExpiry(t *testing.T) {
	s := identitytest.Start(t)
	bob := s.User("bob", "demo", "member")
	var ahead atomic.Int64
	login := second(t, s, identity.Config{
		Now:       func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Passwords: identity.PasswordRules{LockoutAttempts: 3, LockoutDuration: time.Minute, ExpiresAfter: 24 * time.Hour},
	})
	want := func(reason, pw string, status int) {
		t.Helper()
		if got, _ := login(password(bob.UserID, pw)); got != status {
			t.Errorf("%s: status %d, expected %d", reason, got, status)
		}
	}
	for range 3 {
		want("a wrong password", "wrong", 401)
	}
	want("the right one while the account is locked", "bob", 401)
	ahead.Store(int64(-time.Hour))
	want("a clock that steps back opens nothing", "bob", 401)
	ahead.Store(int64(2 * time.Minute))
	want("after the lock", "bob", 201)
	want("a wrong one counts anew", "wrong", 401)
	want("and does not lock at once", "bob", 201)

	admin := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	if status, _ := call(t, admin, http.MethodPatch, "users/"+bob.UserID, map[string]any{"user": map[string]any{"password": "fresh"}}); status != 200 {
		t.Fatalf("set password: status %d", status)
	}
	want("a new password", "fresh", 201)
	ahead.Store(int64(25 * time.Hour))
	want("an expired password", "fresh", 401)
	if status, _ := call(t, admin, http.MethodPatch, "users/"+bob.UserID, map[string]any{"user": map[string]any{"options": map[string]any{"ignore_password_expiry": true}}}); status != 200 {
		t.Fatalf("set option: status %d", status)
	}
	want("a user whose password does not expire", "fresh", 201)
}

func TestTOTP(t *testing.T) {
	s := identitytest.Start(t)
	bob := s.User("bob", "demo", "member")
	c := must[*gophercloud.ServiceClient](t)(bob.Identity())
	key := []byte("12345678901234567890")
	if status, _ := call(t, c, http.MethodPost, "credentials", map[string]any{"credential": map[string]any{
		"type": "totp", "blob": base32.StdEncoding.EncodeToString(key), "user_id": bob.UserID,
	}}); status != 201 {
		t.Fatalf("make credential: status %d", status)
	}
	at := time.Unix(1_700_000_000, 0)
	login := second(t, s, identity.Config{Now: func() time.Time { return at }})
	totp := func(code string) map[string]any {
		return map[string]any{"methods": []string{"totp"}, "totp": map[string]any{"user": map[string]any{"id": bob.UserID, "passcode": code}}}
	}
	code := func(step int64) string { // RFC 6238
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(at.Unix()/30+step)) //nolint:gosec // positive
		m := hmac.New(sha1.New, key)
		m.Write(b[:])
		sum := m.Sum(nil)
		return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1e6)
	}
	for _, tc := range []struct {
		reason, code string
		status       int
	}{
		{"two steps old", code(-2), 401},
		{"the step before", code(-1), 201},
		{"of now", code(0), 201},
		{"the same again", code(0), 401},
		{"of the future", code(1), 401},
		{"nothing", "", 401},
	} {
		if got, _ := login(totp(tc.code)); got != tc.status {
			t.Errorf("a code %s: status %d, expected %d", tc.reason, got, tc.status)
		}
	}
}

func TestAccessRulesAreEnforced(t *testing.T) {
	s := identitytest.Start(t)
	alice := s.User("alice", "demo", "member")
	c := must[*gophercloud.ServiceClient](t)(alice.Identity())
	status, out := call(t, c, http.MethodPost, "users/"+alice.UserID+"/application_credentials", map[string]any{"application_credential": map[string]any{
		"name": "narrow", "unrestricted": true, "access_rules": []map[string]any{{"service": "identity", "method": "GET", "path": "/v3/regions"}},
	}})
	if status != 201 {
		t.Fatalf("make credential: status %d", status)
	}
	cred := out["application_credential"].(map[string]any)
	login := second(t, s, identity.Config{})
	got, token := login(map[string]any{"methods": []string{"application_credential"}, "application_credential": map[string]any{"id": cred["id"], "secret": cred["secret"]}})
	if got != 201 {
		t.Fatalf("log in: status %d", got)
	}
	narrow := *c.ProviderClient
	narrow.SetToken(token)
	n := *c
	n.ProviderClient = &narrow
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "regions", 200},
		{http.MethodGet, "regions/regionOne", 403},
		{http.MethodGet, "users/" + alice.UserID, 403},
		{http.MethodGet, "auth/projects", 403},
	} {
		if status, _ := call(t, &n, tc.method, tc.path, nil); status != tc.status {
			t.Errorf("%s %s with access rules: status %d, expected %d", tc.method, tc.path, status, tc.status)
		}
	}
	rule := cred["access_rules"].([]any)[0].(map[string]any)["id"].(string)
	if status, _ := call(t, c, http.MethodDelete, "users/"+alice.UserID+"/access_rules/"+rule, nil); status != 403 {
		t.Errorf("an access rule in use was deleted: status %d", status)
	}
}

func TestS3Token(t *testing.T) {
	s := identitytest.Start(t)
	alice := s.User("alice", "demo", "member")
	c := must[*gophercloud.ServiceClient](t)(alice.Identity())
	_, out := call(t, c, http.MethodPost, "users/"+alice.UserID+"/credentials/OS-EC2", map[string]any{"tenant_id": alice.ProjectID})
	cred := out["credential"].(map[string]any)
	text := "GET\n\n\nSat, 28 Nov 2026 21:00:00 +0000\n/bucket/object"
	m := hmac.New(sha1.New, []byte(cred["secret"].(string)))
	m.Write([]byte(text))
	body := map[string]any{"credentials": map[string]any{
		"access": cred["access"], "token": base64.StdEncoding.EncodeToString([]byte(text)), "signature": base64.StdEncoding.EncodeToString(m.Sum(nil)),
	}}
	service := must[*gophercloud.ServiceClient](t)(must[*cloudSession](t)(s.Cloud.Service(t.Context())).Identity())
	if status, out := call(t, service, http.MethodPost, "s3tokens", body); status != 200 || out["token"].(map[string]any)["user"].(map[string]any)["id"] != alice.UserID {
		t.Errorf("a good signature: status %d, %v", status, out)
	}
	if status, _ := call(t, c, http.MethodPost, "s3tokens", body); status != 403 {
		t.Errorf("who is no service may not turn a signature into a token: status %d", status)
	}
	body["credentials"].(map[string]any)["signature"] = "AAAA"
	if status, _ := call(t, service, http.MethodPost, "s3tokens", body); status != 401 {
		t.Errorf("a wrong signature: status %d", status)
	}
}

func TestPolicyFile(t *testing.T) {
	s := identitytest.Start(t)
	_, err := identity.New(identity.Config{
		DB: s.DB, Bus: s.Bus, Tokens: s.Tokens, Keys: s.Keys, BaseURL: s.URL, Policy: identity.PolicyFile{Name: "p.yaml", Data: []byte("identity:get_usr: '@'")},
		Bootstrap: identity.Bootstrap{AdminPassword: identitytest.AdminPassword, ServicePassword: identitytest.ServicePassword},
	})
	if err == nil {
		t.Error("a mistyped action was accepted")
	}
}

// A user's own passwords: which are refused, when, and that a password of
// somebody else's choice is only good to change it.
func TestPasswordChanges(t *testing.T) {
	s := identitytest.Start(t)
	bob := s.User("bob", "demo", "member")
	admin := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	var ahead atomic.Int64
	login := second(t, s, identity.Config{
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Passwords: identity.PasswordRules{
			UniqueLast: 3, MinimumAge: time.Hour, ChangeUponFirstUse: true, Regex: "^.*[0-9]$", RegexDescription: "a digit at the end",
		},
	})
	request := func(method, path string, body map[string]any) int {
		t.Helper()
		res, err := admin.ProviderClient.Request(t.Context(), method, s.URL+"/second/v3/users/"+bob.UserID+path, &gophercloud.RequestOpts{
			JSONBody: map[string]any{"user": body}, OkCodes: []int{200, 204, 400, 401, 403, 409},
		})
		if res == nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	change := func(reason, from, to string, status int) {
		t.Helper()
		if got := request(http.MethodPost, "/password", map[string]any{"original_password": from, "password": to}); got != status {
			t.Errorf("%s, %s to %s: status %d, expected %d", reason, from, to, got, status)
		}
	}
	if got := request(http.MethodPatch, "", map[string]any{"password": "given"}); got != 400 {
		t.Errorf("a password of another form than the rule's: status %d, expected 400", got)
	}
	if got := request(http.MethodPatch, "", map[string]any{"password": "given0"}); got != 200 {
		t.Fatalf("set password: status %d", got)
	}
	if got, _ := login(password(bob.UserID, "given0")); got != 401 {
		t.Errorf("a password that an administrator chose: status %d, expected 401 until it is changed", got)
	}
	change("a wrong original", "other0", "own1", 401)
	change("the same password", "given0", "given0", 400)
	change("at once, because it has to be changed", "given0", "own1", 204)
	if got, _ := login(password(bob.UserID, "own1")); got != 201 {
		t.Errorf("the user's own password: status %d, expected 201", got)
	}
	change("before the minimum age", "own1", "own2", 400)
	later := func() { ahead.Add(int64(2 * time.Hour)) }
	later()
	change("without the form", "own1", "own", 400)
	change("in time", "own1", "own2", 204)
	later()
	change("the one before the last", "own2", "given0", 400)
	change("the last one", "own2", "own1", 400)
	change("a new one", "own2", "own3", 204)
	later()
	change("one that has been used long ago", "own3", "given0", 204)
}
