// Package ec2sig computes the signatures of Amazon's query APIs, versions 2 and 4, as they are used with EC2
// credentials of Keystone. It is pure: no I/O, no clock.
package ec2sig

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Request is what was signed.
type Request struct {
	Host, Verb, Path string            // Host as in the Host header; Path unescaped
	Params           map[string]string // of the query or the form
	Headers          map[string]string // needed for version 4 only
	BodyHash         string            // SHA-256 of the body in hex, version 4 only
}

// ErrVersion is a signature of a version that is not supported.
var ErrVersion = errors.New("the signature has an unknown version, expected 2 or 4")

// Header returns a header whatever its case.
func (r *Request) Header(name string) string {
	for k, v := range r.Headers {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// quote escapes everything but RFC 3986's unreserved characters.
func quote(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~", "*", "%2A").Replace(url.QueryEscape(s))
}

func (r *Request) query(without string) string {
	keys := make([]string, 0, len(r.Params))
	for k := range r.Params {
		if k != without {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = quote(k) + "=" + quote(r.Params[k])
	}
	return strings.Join(keys, "&")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// V2 returns the signature of version 2 with HmacSHA256.
func (r *Request) V2(secret string) string {
	text := r.Verb + "\n" + r.Host + "\n" + r.Path + "\n" + r.query("Signature")
	return base64.StdEncoding.EncodeToString(mac([]byte(secret), text))
}

// authorization splits the header of version 4 into its fields.
func (r *Request) authorization() map[string]string {
	out := map[string]string{}
	rest, ok := strings.CutPrefix(r.Header("Authorization"), "AWS4-HMAC-SHA256")
	if !ok {
		return out
	}
	for _, f := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		out[k] = v
	}
	return out
}

// Access returns the access key the request names, "" if it names none.
func (r *Request) Access() string {
	for _, k := range []string{"AWSAccessKeyId", "X-Amz-Credential"} {
		if v := r.Params[k]; v != "" {
			key, _, _ := strings.Cut(v, "/")
			return key
		}
	}
	key, _, _ := strings.Cut(r.authorization()["Credential"], "/")
	return key
}

// Signature returns the signature the request carries.
func (r *Request) Signature() string {
	for _, k := range []string{"Signature", "X-Amz-Signature"} {
		if v := r.Params[k]; v != "" {
			return v
		}
	}
	return r.authorization()["Signature"]
}

// Date returns when the request says it was signed, "" if it does not.
func (r *Request) Date() string {
	for _, v := range []string{r.Params["Timestamp"], r.Params["X-Amz-Date"], r.Header("X-Amz-Date")} {
		if v != "" {
			return v
		}
	}
	return ""
}

// V4 returns the signature of version 4.
func (r *Request) V4(secret string) (string, error) {
	credential, signed, without := r.authorization()["Credential"], r.authorization()["SignedHeaders"], ""
	if credential == "" {
		credential, signed, without = r.Params["X-Amz-Credential"], r.Params["X-Amz-SignedHeaders"], "X-Amz-Signature"
	}
	parts := strings.Split(credential, "/") // key, date, region, service, aws4_request
	if len(parts) != 5 || signed == "" {
		return "", ErrVersion
	}
	var headers strings.Builder
	for _, h := range strings.Split(signed, ";") {
		v := r.Header(h)
		if strings.EqualFold(h, "host") && v == "" {
			v = r.Host
		}
		headers.WriteString(strings.ToLower(h) + ":" + strings.Join(strings.Fields(v), " ") + "\n")
	}
	path := (&url.URL{Path: r.Path}).EscapedPath()
	body := r.BodyHash
	if body == "" {
		sum := sha256.Sum256(nil)
		body = hex.EncodeToString(sum[:])
	}
	params := r.Params
	if without == "" && r.Verb == "POST" { // parameters are in the body
		params = nil
	}
	canonical := strings.Join([]string{r.Verb, path, (&Request{Params: params}).query(without), headers.String(), signed, body}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	date := r.Params["X-Amz-Date"]
	if date == "" {
		date = r.Header("X-Amz-Date")
	}
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + strings.Join(parts[1:], "/") + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + secret)
	for _, p := range parts[1:] {
		key = mac(key, p)
	}
	return hex.EncodeToString(mac(key, text)), nil
}

// Valid tells whether the signature fits. A client that leaves the port out of the host it signs is right
// too: proxies and libraries differ there.
func (r *Request) Valid(secret, signature string) bool {
	hosts := []string{r.Host}
	if host, _, ok := strings.Cut(r.Host, ":"); ok {
		hosts = append(hosts, host)
	}
	for _, h := range hosts {
		c := *r
		c.Host = h
		want, err := c.V4(secret)
		if r.Params["SignatureVersion"] == "2" {
			want, err = c.V2(secret), nil
		}
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(signature)) == 1 {
			return true
		}
	}
	return false
}
