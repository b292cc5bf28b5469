package hot

import (
	"crypto/md5"  //nolint:gosec // digest offers what Heat offers
	"crypto/sha1" //nolint:gosec // see above
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
)

// maxText bounds the text one function may make.
const maxText = 16 << 20

// replacement writes a value for str_replace: containers as JSON with sorted keys, null as "".
// Source: heat/engine/hot/functions.py, ReplaceJson.
func replacement(v any) string {
	switch v.(type) {
	case nil:
		return ""
	case *Map, []any:
		return PyJSON(v, true)
	}
	return PyStr(v)
}

// replaceRules are the differences between the ages of str_replace.
type replaceRules struct {
	plain  bool // containers are refused instead of written as JSON
	strict bool // every key must occur
	full   bool // empty values are refused
}

// evalStrReplace replaces the longest key first, then in lexicographic order; inserted text is not
// looked at again.
func evalStrReplace(rules replaceRules) func(*Evaluator, any) (any, error) {
	return func(_ *Evaluator, arg any) (any, error) {
		m, ok := arg.(*Map)
		if !ok {
			return nil, fmt.Errorf("expected a map with template and params, got %s", KindOf(arg))
		}
		template, _ := m.Get("template")
		params, _ := m.Get("params")
		return substitute(template, params, rules)
	}
}

func substitute(tv, pv any, rules replaceRules) (any, error) {
	template, ok := tv.(string)
	if !ok {
		return nil, fmt.Errorf("template must be a string, got %s", KindOf(tv))
	}
	params, ok := pv.(*Map)
	if !ok {
		return nil, fmt.Errorf("params must be a map, got %s", KindOf(pv))
	}
	keys := params.Keys()
	slices.SortStableFunc(keys, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	values := make([]string, len(keys))
	for i, k := range keys {
		if k == "" {
			return nil, errors.New("a key of params is empty")
		}
		v, _ := params.Get(k)
		switch v.(type) {
		case *Map, []any:
			if rules.plain {
				return nil, fmt.Errorf("the value of %q must be a string or a number, got %s", k, KindOf(v))
			}
		}
		values[i] = replacement(v)
		if rules.full && (values[i] == "" || values[i] == "{}" || values[i] == "[]") {
			return nil, fmt.Errorf("the value of %q is empty", k)
		}
	}
	used := make([]bool, len(keys))
	b := budget{left: maxText}
	out := replaceAll(template, keys, values, used, &b)
	if b.left < 0 {
		return nil, fmt.Errorf("the result is larger than %d bytes", maxText)
	}
	if rules.strict {
		var unused []string
		for i, k := range keys {
			if !used[i] {
				unused = append(unused, k)
			}
		}
		if len(unused) > 0 {
			return nil, fmt.Errorf("the following params were not found in the template: %s", strings.Join(unused, ","))
		}
	}
	return out, nil
}

// budget is what a function may still spend; below zero it gives up.
type budget struct{ left int }

func replaceAll(s string, keys, values []string, used []bool, b *budget) string {
	for i, k := range keys {
		if !strings.Contains(s, k) {
			continue
		}
		used[i] = true
		if b.left -= strings.Count(s, k) * len(values[i]); b.left < 0 {
			return ""
		}
		parts := strings.Split(s, k)
		for j, p := range parts {
			parts[j] = replaceAll(p, keys[i+1:], values[i+1:], used[i+1:], b)
		}
		return strings.Join(parts, values[i])
	}
	return s
}

// joinRules are the differences between the ages of list_join.
type joinRules struct {
	containers bool // maps and lists become JSON
	null       bool // null stands for an empty list
	empty      bool // "" too
}

// evalJoin joins one list or several. Null items are empty text.
func evalJoin(rules joinRules) func(*Evaluator, any) (any, error) {
	return func(_ *Evaluator, arg any) (any, error) {
		l, err := listOf(arg, 2, 0)
		if err != nil {
			return nil, err
		}
		delim, ok := l[0].(string)
		if !ok {
			return nil, fmt.Errorf("the delimiter must be a string, got %s", KindOf(l[0]))
		}
		var items []string
		size := 0
		for _, x := range l[1:] {
			if x == nil && rules.null || x == "" && rules.empty {
				continue
			}
			list, ok := x.([]any)
			if !ok {
				return nil, fmt.Errorf("must operate on a list, got %s %s", KindOf(x), Show(x))
			}
			for _, it := range list {
				s, err := joinItem(it, rules)
				if err != nil {
					return nil, err
				}
				if size += len(s) + len(delim); size > maxText {
					return nil, fmt.Errorf("the result is larger than %d bytes", maxText)
				}
				items = append(items, s)
			}
		}
		return strings.Join(items, delim), nil
	}
}

func joinItem(it any, rules joinRules) (string, error) {
	switch x := it.(type) {
	case nil:
		return "", nil
	case string:
		return x, nil
	case *Map, []any:
		if rules.containers {
			return PyJSON(x, true), nil
		}
		return "", fmt.Errorf("items to join must be strings, got %s %s", KindOf(it), Show(it))
	}
	return "", fmt.Errorf("items to join must be strings, maps or lists, got %s %s (str_replace writes numbers)", KindOf(it), Show(it))
}

func evalStrSplit(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 0)
	if err != nil {
		return nil, err
	}
	if l[1] == nil {
		return nil, nil
	}
	text, ok := l[1].(string)
	if !ok {
		return nil, fmt.Errorf("expected a string to split, got %s", KindOf(l[1]))
	}
	var parts []any
	switch delim := l[0].(type) {
	case nil: // at any white space, as Python's split without argument
		for _, f := range strings.Fields(text) {
			parts = append(parts, f)
		}
	case string:
		if delim == "" {
			return nil, errors.New("the delimiter is empty")
		}
		parts = split(text, delim)
	default:
		return nil, fmt.Errorf("the delimiter must be a string, got %s", KindOf(l[0]))
	}
	if len(l) == 2 {
		return parts, nil
	}
	i, err := toIndex(l[2])
	if err != nil {
		return nil, err
	}
	if i < 0 {
		i += int64(len(parts))
	}
	if i < 0 || i >= int64(len(parts)) {
		return nil, fmt.Errorf("index %s is beyond the %d parts of %q", Show(l[2]), len(parts), text)
	}
	return parts[i], nil
}

// toIndex reads an index as Python's int() does.
func toIndex(v any) (int64, error) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, nil
		}
		return 0, nil
	case float64:
		return int64(x), nil
	}
	if n, ok := ToNumber(v); ok {
		if i, ok := n.(int64); ok {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the index must be an integer, got %s", Show(v))
}

func split(text, delim string) []any {
	parts := strings.Split(text, delim)
	out := make([]any, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out
}

func evalDigest(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	name, ok := l[0].(string)
	if !ok {
		return nil, fmt.Errorf("the algorithm must be a string, got %s", KindOf(l[0]))
	}
	text, ok := l[1].(string)
	if !ok {
		return nil, fmt.Errorf("expected a string to digest, got %s", KindOf(l[1]))
	}
	sum := digests(strings.ToLower(name))
	if sum == nil {
		return nil, fmt.Errorf("unknown algorithm %q, expected md5, sha1, sha224, sha256, sha384, sha512, sha512_224, sha512_256, sha3_224, sha3_256, sha3_384, sha3_512, blake2b or blake2s", name)
	}
	return hex.EncodeToString(sum(latin1(text))), nil
}

// latin1 encodes text as Heat does before it digests it; text with other letters is digested as UTF-8,
// where Heat fails.
func latin1(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return []byte(s)
		}
		out = append(out, byte(r))
	}
	return out
}

// digests returns a hash by the name Python's hashlib gives it, nil if there is none.
func digests(name string) func([]byte) []byte {
	switch name {
	case "md5":
		return func(b []byte) []byte { s := md5.Sum(b); return s[:] } //nolint:gosec // asked for by the template
	case "sha1":
		return func(b []byte) []byte { s := sha1.Sum(b); return s[:] } //nolint:gosec // asked for by the template
	case "sha224":
		return func(b []byte) []byte { s := sha256.Sum224(b); return s[:] }
	case "sha256":
		return func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	case "sha384":
		return func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }
	case "sha512":
		return func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	case "sha512_224":
		return func(b []byte) []byte { s := sha512.Sum512_224(b); return s[:] }
	case "sha512_256":
		return func(b []byte) []byte { s := sha512.Sum512_256(b); return s[:] }
	case "sha3_224":
		return func(b []byte) []byte { s := sha3.Sum224(b); return s[:] }
	case "sha3_256":
		return func(b []byte) []byte { s := sha3.Sum256(b); return s[:] }
	case "sha3_384":
		return func(b []byte) []byte { s := sha3.Sum384(b); return s[:] }
	case "sha3_512":
		return func(b []byte) []byte { s := sha3.Sum512(b); return s[:] }
	case "blake2b":
		return func(b []byte) []byte { s := blake2b.Sum512(b); return s[:] }
	case "blake2s":
		return func(b []byte) []byte { s := blake2s.Sum256(b); return s[:] }
	}
	return nil
}

// evalMakeURL assembles a URL of its parts.
func evalMakeURL(_ *Evaluator, arg any) (any, error) {
	m, ok := arg.(*Map)
	if !ok {
		return nil, fmt.Errorf("expected a map, got %s", KindOf(arg))
	}
	allowed := []string{"scheme", "username", "password", "host", "port", "path", "query", "fragment"}
	text := map[string]string{}
	for k, v := range m.All() {
		switch s, isText := v.(string); {
		case !slices.Contains(allowed, k):
			return nil, fmt.Errorf("unknown key %q%s", k, DidYouMean(k, allowed))
		case k == "query":
		case k == "port":
			if n, ok := ToNumber(v); !ok {
				return nil, fmt.Errorf("port must be a number, got %s", Show(v))
			} else if f, _ := number(n); f < 1 || f > 65535 {
				return nil, fmt.Errorf("port must be from 1 to 65535, got %s", Show(v))
			}
			text[k] = PyStr(v)
		case !isText:
			return nil, fmt.Errorf("%s must be a string, got %s", k, KindOf(v))
		case k == "scheme" && strings.Contains(s, ":"):
			return nil, fmt.Errorf("scheme must not contain a colon, got %q", s)
		default:
			text[k] = s
		}
	}
	return buildURL(text, m)
}

func buildURL(text map[string]string, m *Map) (any, error) {
	var b strings.Builder
	if s := text["scheme"]; s != "" {
		b.WriteString(s + ":")
	}
	host, user := text["host"], text["username"]
	if host != "" || user != "" || text["port"] != "" || text["scheme"] != "" {
		b.WriteString("//")
	}
	if user != "" || text["password"] != "" {
		b.WriteString(urlQuote(user))
		if text["password"] != "" {
			b.WriteString(":" + urlQuote(text["password"]))
		}
		b.WriteByte('@')
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	b.WriteString(host)
	if text["port"] != "" {
		b.WriteString(":" + text["port"])
	}
	if p := text["path"]; p != "" {
		if b.Len() > 0 && !strings.HasPrefix(p, "/") {
			b.WriteByte('/')
		}
		b.WriteString(strings.ReplaceAll(urlQuote(p), "%2F", "/"))
	}
	q, _ := m.Get("query")
	switch x := q.(type) {
	case nil:
	case *Map:
		var parts []string
		for k, v := range x.All() {
			parts = append(parts, url.QueryEscape(k)+"="+url.QueryEscape(pyRepr(v, true)))
		}
		if len(parts) > 0 {
			b.WriteString("?" + strings.Join(parts, "&"))
		}
	default:
		return nil, fmt.Errorf("query must be a map, got %s", KindOf(q))
	}
	if f := text["fragment"]; f != "" {
		b.WriteString("#" + urlQuote(f))
	}
	return b.String(), nil
}

// pyRepr writes a value as Python's str() does at the top and repr() below.
func pyRepr(v any, top bool) string {
	var b strings.Builder
	switch x := v.(type) {
	case string:
		if top {
			return x
		}
		return "'" + strings.ReplaceAll(strings.ReplaceAll(x, "\\", "\\\\"), "'", "\\'") + "'"
	case []any:
		b.WriteByte('[')
		for i, e := range x {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(pyRepr(e, false))
		}
		b.WriteByte(']')
	case *Map:
		b.WriteByte('{')
		for i, k := range x.Keys() {
			if i > 0 {
				b.WriteString(", ")
			}
			e, _ := x.Get(k)
			b.WriteString(pyRepr(k, false) + ": " + pyRepr(e, false))
		}
		b.WriteByte('}')
	default:
		return PyStr(v)
	}
	return b.String()
}

// urlQuote escapes as Python's urllib.parse.quote(s, safe=”).
func urlQuote(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
