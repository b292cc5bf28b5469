package identity_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/identity"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/store"
)

// sealedRows are what the database has of secrets, with the keys' ids.
func sealedRows(t *testing.T, s *identitytest.Server) (rows []string, keys map[string]int) {
	t.Helper()
	keys = map[string]int{}
	err := s.DB.View(t.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var text, key string
			if err := scan(&text, &key); err != nil {
				return err
			}
			rows, keys[key] = append(rows, text), keys[key]+1
			return nil
		}, `SELECT blob, COALESCE(key_id, '') FROM identity_credentials UNION ALL SELECT secret, COALESCE(key_id, '') FROM identity_consumers`)
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows, keys
}

// Credentials cannot be read in the database, those from before there were keys
// are encrypted at the next start, and all again when the key changes.
func TestCredentialsAtRest(t *testing.T) {
	s := identitytest.Start(t)
	bob := s.User("bob", "demo", "member")
	c := must[*gophercloud.ServiceClient](t)(bob.Identity())
	admin := must[*gophercloud.ServiceClient](t)(s.Admin().Identity())
	status, made := call(t, c, http.MethodPost, "credentials", map[string]any{"credential": map[string]any{"type": "cert", "blob": "the-secret", "user_id": bob.UserID, "key_id": "mine"}})
	if status != 201 {
		t.Fatalf("make a credential: %d", status)
	}
	one := made["credential"].(map[string]any)
	if status, _ := call(t, admin, http.MethodPost, "OS-OAUTH1/consumers", map[string]any{"consumer": map[string]any{}}); status != 201 {
		t.Fatalf("make a consumer: %d", status)
	}
	shown := func(when string) {
		t.Helper()
		_, got := call(t, c, http.MethodGet, "credentials/"+one["id"].(string), nil)
		if doc := got["credential"].(map[string]any); doc["blob"] != "the-secret" || doc["key_id"] != nil {
			t.Errorf("%s: %v", when, doc)
		}
	}
	shown("as it was made")
	rows, keys := sealedRows(t, s)
	if len(rows) != 2 || len(keys) != 1 || keys[""] != 0 || strings.Contains(strings.Join(rows, " "), "the-secret") {
		t.Errorf("the database has %v with keys %v, expected two rows that are encrypted with one key", rows, keys)
	}
	_, list := call(t, admin, http.MethodGet, "credentials?type=cert", nil)
	if got := list["credentials"].([]any); len(got) != 1 || got[0].(map[string]any)["blob"] != "the-secret" {
		t.Errorf("list: %v", got)
	}

	if err := s.DB.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE identity_credentials SET blob = 'the-secret', key_id = NULL`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	shown("from before there were keys")
	second(t, s, identity.Config{})
	if rows, keys := sealedRows(t, s); keys[""] != 0 || strings.Contains(strings.Join(rows, " "), "the-secret") {
		t.Errorf("after the next start the database has %v with keys %v", rows, keys)
	}
	second(t, s, identity.Config{Now: func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }})
	if _, rotated := sealedRows(t, s); len(rotated) != 1 || len(keys) != 1 || rotated[first(keys)] != 0 {
		t.Errorf("a month later the keys are %v, before %v: expected one other", rotated, keys)
	}
	shown("after another key")

	lost, err := seal.OpenKeys(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = identity.New(identity.Config{DB: s.DB, Bus: s.Bus, Tokens: s.Tokens, Keys: lost, BaseURL: s.URL,
		Bootstrap: identity.Bootstrap{AdminPassword: identitytest.AdminPassword, ServicePassword: identitytest.ServicePassword}})
	if err == nil || !strings.Contains(err.Error(), "encrypted with") {
		t.Errorf("a start without the keys: %v, expected it to say so", err)
	}
}

func first(m map[string]int) string {
	for k := range m {
		return k
	}
	return ""
}
