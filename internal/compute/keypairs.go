package compute

import (
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // the fingerprint format of the API
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Keypair is an SSH public key of a user.
type Keypair struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	PublicKey   string `json:"public_key"`
	Fingerprint string `json:"fingerprint"`
	UserID      string `json:"user_id"`
	CreatedAt   string `json:"created_at"`
}

func (k Keypair) view() map[string]any {
	return map[string]any{
		"name": k.Name, "type": k.Type, "public_key": k.PublicKey, "fingerprint": k.Fingerprint,
	}
}

func fingerprint(key ssh.PublicKey) string {
	sum := md5.Sum(key.Marshal()) //nolint:gosec // see above
	var parts []string
	for _, b := range sum {
		parts = append(parts, hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}

func (s *Service) createKeypair(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Keypair struct {
			Name      string `json:"name"`
			PublicKey string `json:"public_key"`
		} `json:"keypair"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Keypair.Name == "" || len(in.Keypair.Name) > 255 {
		return api.Invalid("keypair name has %d characters, expected 1 to 255", len(in.Keypair.Name))
	}
	private := ""
	if in.Keypair.PublicKey == "" {
		var err error
		if in.Keypair.PublicKey, private, err = generateKey(); err != nil {
			return err
		}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(in.Keypair.PublicKey))
	if err != nil {
		return api.Invalid("Keypair data is invalid: public_key is not an OpenSSH public key").Wrap(err)
	}
	k := Keypair{
		Name: in.Keypair.Name, Type: "ssh", PublicKey: in.Keypair.PublicKey, Fingerprint: fingerprint(key),
		UserID: caller(r).UserID, CreatedAt: time.Now().UTC().Format(api.TimeFormat),
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO compute_keypairs (user_id, name, doc) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, k.UserID, k.Name, store.JSON(k))
		if err == nil && n == 0 {
			return api.Conflict("Key pair '%s' already exists.", k.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	view := k.view()
	view["user_id"] = k.UserID
	if private != "" {
		view["private_key"] = private
	}
	status := http.StatusOK
	if api.AtLeast(r, "2.2") {
		status = http.StatusCreated
	}
	return api.WriteJSON(w, status, map[string]any{"keypair": view})
}

func generateKey() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("generate key: %w", err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", fmt.Errorf("generate key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return "", "", fmt.Errorf("generate key: %w", err)
	}
	return string(ssh.MarshalAuthorizedKey(key)), string(pem.EncodeToMemory(block)), nil
}

func keypairOf(tx *store.Tx, userID, name string) (*Keypair, error) {
	var k Keypair
	if err := tx.Get([]any{store.JSON(&k)}, `SELECT doc FROM compute_keypairs WHERE user_id = ? AND name = ?`, userID, name); err != nil {
		return nil, notFound(err, "Keypair %s not found for user %s", name, userID)
	}
	return &k, nil
}

func (s *Service) listKeypairs(w http.ResponseWriter, r *http.Request) error {
	out := []any{}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var k Keypair
			err := scan(store.JSON(&k))
			out = append(out, map[string]any{"keypair": k.view()})
			return err
		}, `SELECT doc FROM compute_keypairs WHERE user_id = ? ORDER BY name`, caller(r).UserID)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"keypairs": out})
}

func (s *Service) showKeypair(w http.ResponseWriter, r *http.Request) error {
	var k *Keypair
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		k, err = keypairOf(tx, caller(r).UserID, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	view := k.view()
	view["user_id"], view["created_at"], view["id"], view["deleted"] = k.UserID, k.CreatedAt, 0, false
	view["deleted_at"], view["updated_at"] = nil, nil
	return api.WriteJSON(w, http.StatusOK, map[string]any{"keypair": view})
}

func (s *Service) deleteKeypair(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM compute_keypairs WHERE user_id = ? AND name = ?`, caller(r).UserID, r.PathValue("name"))
		if err == nil && n == 0 {
			return api.NotFound("Keypair %s not found for user %s", r.PathValue("name"), caller(r).UserID)
		}
		return err
	})
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if api.AtLeast(r, "2.2") {
		status = http.StatusNoContent
	}
	w.WriteHeader(status)
	return nil
}
