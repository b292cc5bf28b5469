package identity

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238's default, which authenticator programs expect
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// One-time passcodes (RFC 6238) of credentials of type "totp", whose blob is
// the shared key in base32: six digits, a new one every 30 s, accepted in its
// own and in the next step, once.
const (
	totpStep   = 30 * time.Second
	totpDigits = 1_000_000
)

// passcode is the code of a key in a step.
func passcode(key []byte, step int64) string {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step)) //nolint:gosec // steps are counted from 1970
	mac := hmac.New(sha1.New, key)
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	off := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[off:])&0x7fffffff%totpDigits)
}

func totpKey(blob string) ([]byte, error) {
	clean := strings.ToUpper(strings.TrimRight(strings.ReplaceAll(blob, " ", ""), "="))
	return base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(clean)
}

// byTOTP proves a user by a passcode of one of its credentials.
func (s *Service) byTOTP(r *http.Request, u userRef, code string) (string, error) {
	user, err := s.findUser(r, u)
	if err != nil {
		var e *api.Error
		if asAPI(err, &e) && e.Kind == api.KindInvalid {
			return "", err
		}
		return "", unauthorized().Wrap(err)
	}
	id, good := str(user["id"]), false
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		st, err := s.credentialState(tx, id)
		if err != nil || s.locked(user, st) {
			return err
		}
		creds, err := s.entities.credentials.list(tx, ` WHERE user_id = ? AND type = 'totp' ORDER BY id`, id)
		if err != nil {
			return err
		}
		now := s.now().Unix() / int64(totpStep/time.Second)
		for _, c := range creds {
			key, err := totpKey(str(c["blob"]))
			if err != nil {
				continue
			}
			for _, step := range []int64{now, now - 1} {
				if subtle.ConstantTimeCompare([]byte(passcode(key, step)), []byte(code)) != 1 {
					continue
				}
				n, err := tx.Exec(`INSERT INTO identity_totp_used (credential_id, step) VALUES (?, ?) ON CONFLICT DO NOTHING`, c["id"], step)
				if err != nil {
					return err
				}
				good = good || n == 1
			}
		}
		if _, err := tx.Exec(`DELETE FROM identity_totp_used WHERE step < ?`, now-10); err != nil {
			return err
		}
		return s.noteAttempt(tx, id, st, good)
	})
	if err != nil {
		return "", err
	}
	if !good {
		return "", unauthorized()
	}
	return id, nil
}
