package identity

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what HMAC-SHA1 of RFC 5849 is made with
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
)

// oauthRequest is what a request signed by OAuth 1.0a (RFC 5849) says of
// itself in its Authorization header.
type oauthRequest struct {
	consumer, token, nonce, verifier, signature string

	at   time.Time
	base string // the signature base string
}

// maxOAuthHeader bounds the Authorization header, in bytes.
const maxOAuthHeader = 8 << 10

// readOAuth reads the header of a request for address, the URL the client
// used, and checks that it is not old.
func readOAuth(r *http.Request, address string, now time.Time) (*oauthRequest, error) {
	header, ok := strings.CutPrefix(r.Header.Get("Authorization"), "OAuth ")
	if !ok || len(header) > maxOAuthHeader {
		return nil, api.Unauthorized("The request needs an Authorization header of OAuth 1.0a.")
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(header, ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		text, err := url.PathUnescape(strings.Trim(v, `"`))
		if !ok || err != nil || params[k] != "" {
			return nil, api.Invalid("the Authorization header holds %q, expected name=\"value\" once a name", strings.SplitN(part, "=", 2)[0])
		}
		params[k] = text
	}
	seconds, err := strconv.ParseInt(params["oauth_timestamp"], 10, 64)
	at := time.Unix(seconds, 0)
	switch {
	case params["oauth_signature_method"] != "HMAC-SHA1":
		return nil, api.Invalid("oauth_signature_method is %q, expected HMAC-SHA1", params["oauth_signature_method"])
	case params["oauth_version"] != "" && params["oauth_version"] != "1.0":
		return nil, api.Invalid("oauth_version is %q, expected 1.0", params["oauth_version"])
	case params["oauth_consumer_key"] == "" || params["oauth_nonce"] == "" || params["oauth_signature"] == "" || err != nil:
		return nil, api.Invalid("the Authorization header needs oauth_consumer_key, oauth_nonce, oauth_timestamp and oauth_signature")
	case now.Sub(at).Abs() > maxSkew:
		return nil, unauthorized().Wrap(api.Invalid("the request was signed at %s", at.UTC()))
	}
	return &oauthRequest{
		consumer: params["oauth_consumer_key"], token: params["oauth_token"], nonce: params["oauth_nonce"], verifier: params["oauth_verifier"],
		signature: params["oauth_signature"], at: at, base: oauthBase(r.Method, address, params, r.URL.Query()),
	}, nil
}

// oauthBase is the signature base string (RFC 5849, section 3.4.1): method,
// address and parameters, each escaped. A JSON body has no part in it.
func oauthBase(method, address string, params map[string]string, query url.Values) string {
	var pairs []string
	add := func(k, v string) { pairs = append(pairs, oauthEscape(k)+"="+oauthEscape(v)) }
	for k, v := range params {
		if k != "oauth_signature" && k != "realm" {
			add(k, v)
		}
	}
	for k, list := range query {
		for _, v := range list {
			add(k, v)
		}
	}
	slices.Sort(pairs)
	return method + "&" + oauthEscape(address) + "&" + oauthEscape(strings.Join(pairs, "&"))
}

// oauthEscape is the percent-encoding of section 3.6.
func oauthEscape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
	}
	return b.String()
}

// signedBy says whether the signature was made with these secrets (section
// 3.4.2).
func (q *oauthRequest) signedBy(consumerSecret, tokenSecret string) bool {
	want := mac(sha1.New, []byte(oauthEscape(consumerSecret)+"&"+oauthEscape(tokenSecret)), q.base)
	got, err := base64.StdEncoding.DecodeString(q.signature)
	return err == nil && hmac.Equal(want, got)
}
