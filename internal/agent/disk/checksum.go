package disk

import (
	"context"
	"crypto/md5"  // Glance's legacy checksum is MD5; Ironic sends it where no other is known
	"crypto/sha1" // accepted for images that were published with SHA-1
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"path"
	"strings"
)

// ErrChecksum means that the downloaded bytes are not those that were announced.
var ErrChecksum = errors.New("checksum mismatch")

// maxChecksumFile bounds a checksum file fetched from a URL.
const maxChecksumFile = 1 << 20

// Checksum is an expected digest in lower-case hex and its algorithm.
type Checksum struct{ Algo, Hex string }

// ParseChecksum takes Ironic's os_hash_algo and os_hash_value, or the older "checksum" whose algorithm shows
// in its length. The value may be a URL of a checksum file; see resolve.
func ParseChecksum(algo, value, legacy string) (Checksum, error) {
	c := Checksum{Algo: strings.ToLower(strings.TrimSpace(algo)), Hex: strings.TrimSpace(value)}
	if c.Hex == "" {
		c = Checksum{Hex: strings.TrimSpace(legacy)}
	}
	switch {
	case c.Hex == "":
		return c, errors.New("the image has no checksum (os_hash_value or checksum): it would be written unchecked")
	case isURL(c.Hex):
		return c, nil
	}
	return c.normalize()
}

func (c Checksum) normalize() (Checksum, error) {
	c.Hex = strings.ToLower(c.Hex)
	if c.Algo == "" {
		c.Algo = map[int]string{32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}[len(c.Hex)]
	}
	h, err := c.newHash()
	if err != nil {
		return c, err
	}
	if b, err := hex.DecodeString(c.Hex); err != nil || len(b) != h.Size() {
		return c, fmt.Errorf("%q is not a %s digest: %d hex digits are expected", c.Hex, c.Algo, 2*h.Size())
	}
	return c, nil
}

func (c Checksum) newHash() (hash.Hash, error) {
	switch c.Algo {
	case "md5":
		return md5.New(), nil // see above
	case "sha1":
		return sha1.New(), nil // see above
	case "sha256":
		return sha256.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("hash algorithm %q is unknown: md5, sha1, sha256, sha384 and sha512 are", c.Algo)
}

// verify compares the digest of what was read with the expected one.
func (c Checksum) verify(h hash.Hash, what string, n int64) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != c.Hex {
		return fmt.Errorf("%w: image %s: expected %s %s, the %d downloaded bytes have %s", ErrChecksum, what, c.Algo, c.Hex, n, got)
	}
	return nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// resolve fetches the checksum file if the checksum is a URL: either a single digest or lines "digest name" and
// "ALGO (name) = digest", of which the one naming the image's file counts.
func (c Checksum) resolve(ctx context.Context, client *http.Client, imageURL string) (Checksum, error) {
	if !isURL(c.Hex) {
		return c, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Hex, nil)
	if err != nil {
		return c, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return c, fmt.Errorf("fetch the checksum file: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("fetch the checksum file: the server answered %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxChecksumFile))
	if err != nil {
		return c, fmt.Errorf("fetch the checksum file: %w", err)
	}
	name := path.Base(strings.SplitN(imageURL, "?", 2)[0])
	digest := findDigest(string(body), name)
	if digest == "" {
		return c, fmt.Errorf("the checksum file has no line for %s", name)
	}
	return Checksum{Algo: c.Algo, Hex: digest}.normalize()
}

func findDigest(text, name string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 1 {
		if f := strings.Fields(lines[0]); len(f) == 1 {
			return f[0]
		}
	}
	for _, line := range lines {
		if digest, ok := strings.CutPrefix(line[strings.LastIndex(line, ")")+1:], " = "); ok && strings.Contains(line, "("+name+")") {
			return strings.TrimSpace(digest)
		}
		if f := strings.Fields(line); len(f) == 2 && path.Base(strings.TrimPrefix(f[1], "*")) == name {
			return f[0]
		}
	}
	return ""
}
