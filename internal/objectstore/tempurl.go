package objectstore

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // one of TempURL's digests
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func hasTempURL(r *http.Request) bool {
	q := r.URL.Query()
	return q.Has("temp_url_sig") || q.Has("temp_url_expires")
}

func badTempURL() error { return api.Unauthorized("401 Unauthorized: Temp URL invalid") }

// checkTempURL verifies a temporary URL as Swift's middleware does: the digest
// of method, expiry and path with one of the account's or container's keys. It
// returns whose key it was, "account" or "container".
func (s *Service) checkTempURL(r *http.Request, t target) (string, error) {
	q := r.URL.Query()
	expires, err := tempURLTime(q.Get("temp_url_expires"))
	if err != nil || expires < s.now().Unix() {
		return "", badTempURL()
	}
	sum, newHash, err := tempURLDigest(q.Get("temp_url_sig"))
	if err != nil {
		return "", badTempURL()
	}
	if rng := q.Get("temp_url_ip_range"); rng != "" && !inRange(rng, r.RemoteAddr) {
		return "", badTempURL()
	}
	methods := []string{r.Method}
	if r.Method == http.MethodHead {
		methods = []string{http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost}
	}
	if r.Method == "COPY" {
		return "", badTempURL()
	}
	paths := signedPaths(r, t)
	if q.Has("temp_url_prefix") {
		prefix := q.Get("temp_url_prefix")
		if !strings.HasPrefix(t.object, prefix) {
			return "", badTempURL()
		}
		under := "/v1/" + t.account + "/" + t.container + "/" + prefix
		paths = []string{"prefix:" + under, "prefix:" + prefixOf(r) + under}
	}
	keys, err := s.tempURLKeys(r, t)
	if err != nil {
		return "", err
	}
	scope := ""
	for _, key := range keys {
		for _, method := range methods {
			for _, path := range paths {
				text := method + "\n" + strconv.FormatInt(expires, 10) + "\n" + path
				if rng := q.Get("temp_url_ip_range"); rng != "" {
					text = "ip=" + rng + "\n" + text
				}
				mac := hmac.New(newHash, []byte(key.secret))
				mac.Write([]byte(text))
				if hmac.Equal(mac.Sum(nil), sum) && scope != "account" {
					scope = key.scope
				}
			}
		}
	}
	if scope == "" {
		return "", badTempURL()
	}
	return scope, tempURLLimits(r)
}

// tempURLLimits refuses what would let the bearer reach other objects.
func tempURLLimits(r *http.Request) error {
	for _, name := range []string{"X-Object-Manifest", "X-Copy-From", "X-Symlink-Target"} {
		if r.Header.Get(name) != "" {
			return api.Invalid("header %s is not allowed with a temporary URL", name)
		}
	}
	q := r.URL.Query()
	if q.Has("extract-archive") || q.Has("multipart-manifest") && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return api.Invalid("extract-archive and multipart-manifest are not allowed with a temporary URL")
	}
	return nil
}

// signedPaths are the forms of a request's path that a signature may be over:
// decoded or as it was sent, with what stands before Swift's own or without.
func signedPaths(r *http.Request, t target) []string {
	paths := []string{t.path()}
	raw := rawPath(r)
	if raw != "" {
		paths = append(paths, raw)
	}
	if text, err := unescape(raw); err == nil { // with the slash at the end that names no object
		paths = append(paths, text)
	}
	if prefix := prefixOf(r); prefix != "" {
		for _, p := range paths {
			paths = append(paths, prefix+p)
		}
	}
	return paths
}

func tempURLTime(v string) (int64, error) {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		return n, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, v); err == nil {
			return at.Unix(), nil
		}
	}
	return 0, api.Invalid("temp_url_expires is not a time")
}

// tempURLDigest decodes a signature: hex, whose length tells the digest, or
// "sha256:BASE64".
func tempURLDigest(sig string) ([]byte, func() hash.Hash, error) {
	digests := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}
	if name, text, ok := strings.Cut(sig, ":"); ok {
		newHash := digests[name]
		if newHash == nil {
			return nil, nil, api.Invalid("unknown digest")
		}
		text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
		sum, err := base64.RawStdEncoding.DecodeString(text)
		return sum, newHash, err
	}
	sum, err := hex.DecodeString(sig)
	if err != nil {
		return nil, nil, err
	}
	newHash := map[int]func() hash.Hash{sha1.Size: sha1.New, sha256.Size: sha256.New, sha512.Size: sha512.New}[len(sum)]
	if newHash == nil {
		return nil, nil, api.Invalid("unknown digest")
	}
	return sum, newHash, nil
}

func inRange(rng, remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap()
	if prefix, err := netip.ParsePrefix(rng); err == nil {
		return prefix.Contains(addr)
	}
	one, err := netip.ParseAddr(rng)
	return err == nil && one == addr
}

// tempURLKey is a secret and what it belongs to.
type tempURLKey struct{ secret, scope string }

func (s *Service) tempURLKeys(r *http.Request, t target) ([]tempURLKey, error) {
	var keys []tempURLKey
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		account, err := getAccountMeta(tx, t.account)
		if err != nil {
			return err
		}
		c, err := getContainer(tx, t.account, t.container)
		if err != nil && !isNotFound(err) {
			return err
		}
		for _, suffix := range []string{"", "-2"} {
			for _, k := range []tempURLKey{
				{account["X-Account-Meta-Temp-Url-Key"+suffix], "account"},
				{c.meta["X-Container-Meta-Temp-Url-Key"+suffix], "container"},
			} {
				if k.secret != "" {
					keys = append(keys, k)
				}
			}
		}
		return nil
	})
	return keys, err
}
