package hot

import (
	"crypto/md5"  //nolint:gosec // digest offers what Heat offers
	"crypto/sha1" //nolint:gosec // see above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

func containsString(s, sub string) bool { return strings.Contains(s, sub) }

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

// evalStrReplace replaces the longest key first, then in lexicographic order; inserted text is not
// looked at again. strict: every key must occur. empty: empty values are allowed.
func evalStrReplace(strict, empty bool) func(*Evaluator, any) (any, error) {
	return func(_ *Evaluator, arg any) (any, error) {
		m, ok := arg.(*Map)
		if !ok {
			return nil, fmt.Errorf("expected a map with template and params, got %s", KindOf(arg))
		}
		tv, _ := m.Get("template")
		pv, _ := m.Get("params")
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
			values[i] = replacement(v)
			if !empty && (values[i] == "" || values[i] == "{}" || values[i] == "[]") {
				return nil, fmt.Errorf("the value of %q is empty", k)
			}
		}
		used := make([]bool, len(keys))
		out := replaceAll(template, keys, values, used)
		if len(out) > maxText {
			return nil, fmt.Errorf("the result is larger than %d bytes", maxText)
		}
		if strict {
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
}

func replaceAll(s string, keys, values []string, used []bool) string {
	for i, k := range keys {
		if !strings.Contains(s, k) {
			continue
		}
		used[i] = true
		parts := strings.Split(s, k)
		for j, p := range parts {
			parts[j] = replaceAll(p, keys[i+1:], values[i+1:], used[i+1:])
		}
		return strings.Join(parts, values[i])
	}
	return s
}

// evalListJoin joins one list or several. Null items and lists count as nothing; containers become JSON.
func evalListJoin(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) < 2 {
		return nil, fmt.Errorf("expected [delimiter, list, ...], got %s", Show(arg))
	}
	delim := ""
	if l[0] != nil {
		if delim, ok = l[0].(string); !ok {
			return nil, fmt.Errorf("the delimiter must be a string, got %s", KindOf(l[0]))
		}
	}
	var items []string
	for _, x := range l[1:] {
		if x == nil || x == "" {
			continue
		}
		list, ok := x.([]any)
		if !ok {
			return nil, fmt.Errorf("must operate on a list, got %s %s", KindOf(x), Show(x))
		}
		for _, it := range list {
			if it == nil {
				items = append(items, "")
			} else if s, ok := it.(string); ok {
				items = append(items, s)
			} else {
				items = append(items, PyJSON(it, true))
			}
		}
	}
	return strings.Join(items, delim), nil
}

func evalStrSplit(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) < 2 || len(l) > 3 {
		return nil, fmt.Errorf("expected [delimiter, string] or [delimiter, string, index], got %s", Show(arg))
	}
	delim, ok := l[0].(string)
	if !ok || delim == "" {
		return nil, fmt.Errorf("the delimiter must be a string that is not empty, got %s", Show(l[0]))
	}
	text, ok := l[1].(string)
	if !ok {
		if l[1] != nil {
			return nil, fmt.Errorf("expected a string to split, got %s", KindOf(l[1]))
		}
		text = ""
	}
	var parts []any
	for _, p := range strings.Split(text, delim) {
		parts = append(parts, p)
	}
	if len(l) == 2 {
		return parts, nil
	}
	n, ok := ToNumber(l[2])
	i, isInt := n.(int64)
	if !ok || !isInt {
		return nil, fmt.Errorf("the index must be an integer, got %s", Show(l[2]))
	}
	if i < 0 || i >= int64(len(parts)) {
		return nil, fmt.Errorf("index %d is beyond the %d parts of %q", i, len(parts), text)
	}
	return parts[i], nil
}

func evalDigest(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) != 2 {
		return nil, fmt.Errorf("expected [algorithm, value], got %s", Show(arg))
	}
	text, ok := l[1].(string)
	if !ok {
		return nil, fmt.Errorf("expected a string to digest, got %s", KindOf(l[1]))
	}
	b := []byte(text)
	switch l[0] {
	case "md5":
		s := md5.Sum(b) //nolint:gosec // asked for by the template
		return hex.EncodeToString(s[:]), nil
	case "sha1":
		s := sha1.Sum(b) //nolint:gosec // asked for by the template
		return hex.EncodeToString(s[:]), nil
	case "sha224":
		s := sha256.Sum224(b)
		return hex.EncodeToString(s[:]), nil
	case "sha256":
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:]), nil
	case "sha384":
		s := sha512.Sum384(b)
		return hex.EncodeToString(s[:]), nil
	case "sha512":
		s := sha512.Sum512(b)
		return hex.EncodeToString(s[:]), nil
	}
	return nil, fmt.Errorf("algorithm must be md5, sha1, sha224, sha256, sha384 or sha512, got %s", Show(l[0]))
}

// evalMakeURL assembles a URL. Source: heat/engine/hot/functions.py, MakeURL.
func evalMakeURL(_ *Evaluator, arg any) (any, error) {
	m, ok := arg.(*Map)
	if !ok {
		return nil, fmt.Errorf("expected a map, got %s", KindOf(arg))
	}
	allowed := []string{"scheme", "username", "password", "host", "port", "path", "query", "fragment"}
	text := map[string]string{}
	for k, v := range m.All() {
		if !slices.Contains(allowed, k) {
			return nil, fmt.Errorf("unknown key %q%s", k, DidYouMean(k, allowed))
		}
		if k == "query" {
			continue
		}
		switch v.(type) {
		case *Map, []any:
			return nil, fmt.Errorf("%s must be a string, got %s", k, KindOf(v))
		case nil:
		default:
			text[k] = PyStr(v)
		}
	}
	if p := text["port"]; p != "" {
		n, ok := ToNumber(p)
		if i, isInt := n.(int64); !ok || !isInt || i < 0 || i > 65535 {
			return nil, fmt.Errorf("port must be a number from 0 to 65535, got %q", p)
		}
	}
	return buildURL(text, m)
}

func buildURL(text map[string]string, m *Map) (any, error) {
	var b strings.Builder
	if s := text["scheme"]; s != "" {
		b.WriteString(strings.TrimSuffix(s, ":") + ":")
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
		b.WriteString(p)
	}
	q, _ := m.Get("query")
	switch x := q.(type) {
	case nil:
	case *Map:
		var parts []string
		for k, v := range x.All() {
			parts = append(parts, url.QueryEscape(k)+"="+url.QueryEscape(replacement(v)))
		}
		slices.Sort(parts)
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

// urlQuote escapes as Python's urllib.parse.quote(s, safe=”).
func urlQuote(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
