package actions

import (
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/yaql"
)

// Masked stands in place of a secret that is shown or logged.
const Masked = "***"

// Mask returns a copy of v, the input or output of an action, in which the
// values of keys that name secrets (password, auth_token, X-Auth-Token, ...)
// are replaced, at any depth. A key that names a secret masks text and numbers
// only when it is a container: {"passwords": {"a": "x"}} is masked below.
func Mask(v any) any { return mask(v, false, 0) }

const maxMaskDepth = 64

func mask(v any, secret bool, depth int) any {
	if depth > maxMaskDepth {
		return Masked
	}
	switch x := v.(type) {
	case nil, bool:
		return v
	case *yaql.Map:
		out := yaql.NewMap(x.Len())
		for k, item := range x.All() {
			out.Set(k, mask(item, secret || secretKey(yaql.Str(k)), depth+1))
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			out[k] = mask(item, secret || secretKey(k), depth+1)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = mask(item, secret, depth+1)
		}
		return out
	case string:
		if secret && x != "" {
			return Masked
		}
		return maskText(x)
	default:
		if secret {
			return Masked
		}
		return v
	}
}

// maskText hides the password in a URL and a private key in a text.
func maskText(s string) string {
	if strings.Contains(s, "PRIVATE KEY-----") {
		return Masked
	}
	if strings.Contains(s, "://") && strings.Contains(s, "@") {
		if u, err := url.Parse(s); err == nil && u.User != nil {
			return u.Redacted()
		}
	}
	return s
}

// secretKey reports whether a key names a secret. The names are those that
// oslo.utils masks, and the headers that carry tokens.
func secretKey(key string) bool {
	k := strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(key))
	switch k {
	case "authorization", "proxyauthorization", "cookie", "cookies", "setcookie", "auth", "token", "adminpass", "configdrive", "sshkey", "secretuuid", "xsubjecttoken":
		return true
	}
	for _, part := range []string{"password", "passwd", "passphrase", "authtoken", "xauthtoken", "secret", "privatekey", "accesstoken", "refreshtoken",
		"servicetoken", "apikey", "credential", "fernetkey", "encryptionkey", "tempurlkey"} {
		if strings.Contains(k, part) {
			return true
		}
	}
	return strings.HasSuffix(k, "key") && strings.Contains(k, "migrationssh")
}
