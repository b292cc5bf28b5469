package baremetal

import (
	"context"

	"golang.org/x/crypto/bcrypt"

	"github.com/tripleo/tripleo/internal/api"
)

// Limits of a rescue password: bcrypt reads no more than 72 bytes.
const maxRescuePassword = 72

// setRescuePassword keeps a hash of the password in crypt(3)'s form, for the
// ramdisk only.
func (n *Node) setRescuePassword(password string) error {
	if password == "" {
		return api.Invalid("A non-empty \"rescue_password\" is required when setting target provision state to rescue")
	}
	if len(password) > maxRescuePassword {
		return api.Invalid("rescue_password has %d bytes, at most %d are taken", len(password), maxRescuePassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	n.Secrets.RescuePassword = string(hash)
	return nil
}

// finalizeRescue lets the ramdisk set up the rescue user (IPA's extension
// "rescue").
func finalizeRescue(ctx context.Context, w *work) outcome {
	_, out := w.command(ctx, "rescue.finalize_rescue", func() (map[string]any, error) {
		return map[string]any{"rescue_password": w.n.Secrets.RescuePassword, "hashed": true}, nil
	})
	return out
}

// handOver forgets the password, which the ramdisk has by now.
func handOver(ctx context.Context, w *work) outcome {
	return brokenOr(w.save(ctx, func(n *Node) { n.Secrets.RescuePassword = "" }), done())
}
