package compute

import (
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // the fingerprint format of the API
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
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

func (k Keypair) view(r *http.Request) map[string]any {
	v := map[string]any{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint}
	if api.AtLeast(r, "2.2") {
		v["type"] = k.Type
	}
	return v
}

// keyName is what names of keys are made of; '@' and '.' came with 2.92.
var keyName = regexp.MustCompile(`^[a-zA-Z0-9 _.@-]+$`) //nolint:gochecknoglobals // constant

// keyOwner is whose keys a request is about: the caller's, or, since 2.10, any
// user's for an administrator.
func keyOwner(r *http.Request, asked string) (string, error) {
	if asked == "" || !api.AtLeast(r, "2.10") || asked == caller(r).UserID {
		return caller(r).UserID, nil
	}
	if !caller(r).HasRole("admin", "service") {
		return "", api.Forbidden("only an administrator may work with the keys of another user")
	}
	return asked, nil
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
			Type      string `json:"type"`
			UserID    string `json:"user_id"`
		} `json:"keypair"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Keypair.Name == "" || len(in.Keypair.Name) > 255 {
		return api.Invalid("keypair name has %d characters, expected 1 to 255", len(in.Keypair.Name))
	}
	if !keyName.MatchString(in.Keypair.Name) || strings.TrimSpace(in.Keypair.Name) != in.Keypair.Name {
		return api.Invalid("Keypair data is invalid: Keypair name %q contains unsafe characters", in.Keypair.Name)
	}
	owner, err := keyOwner(r, in.Keypair.UserID)
	if err != nil {
		return err
	}
	if in.Keypair.Type == "x509" {
		return api.Invalid("keypair type x509 is for systems that take certificates; here keys are of type ssh")
	}
	if t := in.Keypair.Type; t != "" && t != "ssh" {
		return api.Invalid("Invalid input for field/attribute type. Value: %s. 'ssh' is expected.", t)
	}
	private := ""
	if in.Keypair.PublicKey == "" {
		if api.AtLeast(r, "2.92") {
			return api.Invalid("Invalid input for field/attribute keypair: since 2.92 a public_key is required")
		}
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
		UserID: owner, CreatedAt: time.Now().UTC().Format(api.TimeFormat),
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		have := func() (n int, err error) {
			err = tx.Get([]any{&n}, `SELECT COUNT(*) FROM compute_keypairs WHERE user_id = ?`, owner)
			return n, err
		}
		if err := checkBound(tx, caller(r).ProjectID, owner, "key_pairs", have, 1); err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO compute_keypairs (user_id, name, doc) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, k.UserID, k.Name, store.JSON(k))
		if err == nil && n == 0 {
			return api.Conflict("Key pair '%s' already exists.", k.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	view := k.view(r)
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
	owner, err := keyOwner(r, r.URL.Query().Get("user_id"))
	if err != nil {
		return err
	}
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return err
	}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var k Keypair
			err := scan(store.JSON(&k))
			if k.Name > page.Marker && len(out) < page.Limit {
				out = append(out, map[string]any{"keypair": k.view(r)})
			}
			return err
		}, `SELECT doc FROM compute_keypairs WHERE user_id = ? ORDER BY name`, owner)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"keypairs": out})
}

func (s *Service) showKeypair(w http.ResponseWriter, r *http.Request) error {
	var k *Keypair
	owner, err := keyOwner(r, r.URL.Query().Get("user_id"))
	if err != nil {
		return err
	}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		k, err = keypairOf(tx, owner, r.PathValue("name"))
		return err
	})
	if err != nil {
		return err
	}
	view := k.view(r)
	view["user_id"], view["created_at"], view["id"], view["deleted"] = k.UserID, k.CreatedAt, 0, false
	view["deleted_at"], view["updated_at"] = nil, nil
	return api.WriteJSON(w, http.StatusOK, map[string]any{"keypair": view})
}

func (s *Service) deleteKeypair(w http.ResponseWriter, r *http.Request) error {
	owner, err := keyOwner(r, r.URL.Query().Get("user_id"))
	if err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM compute_keypairs WHERE user_id = ? AND name = ?`, owner, r.PathValue("name"))
		if err == nil && n == 0 {
			return api.NotFound("Keypair %s not found for user %s", r.PathValue("name"), owner)
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
