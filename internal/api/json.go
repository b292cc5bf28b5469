package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// ReadJSON decodes the request's body into v. Errors name the place: the
// field or the byte offset.
func ReadJSON(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read request body: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return Invalid("the request body is empty, a JSON document is expected")
	}
	return DecodeJSON(data, v)
}

// DecodeJSON is ReadJSON for a document at hand.
func DecodeJSON(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return Invalid("malformed JSON at byte %d: %s", syntax.Offset, syntax.Error()).Wrap(err)
	case errors.As(err, &typ):
		return Invalid("JSON field %q holds a %s, expected %s", typ.Field, typ.Value, typ.Type).Wrap(err)
	default:
		return Invalid("malformed JSON: %s", err.Error()).Wrap(err)
	}
}

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the client may have gone; nobody is left to tell
	return nil
}

// Page is how a list was asked for.
type Page struct {
	Limit     int // 0: no limit was asked for
	Marker    string
	SortKeys  []string
	SortDirs  []string // "asc" or "desc", as many as SortKeys
	Ascending bool     // of the first key
}

// ParsePage reads limit, marker, sort_key, sort_dir, sort_keys, sort_dirs and
// sort=key:dir,…. A limit above maxLimit is cut to it (0: no bound).
func ParsePage(r *http.Request, maxLimit int) (Page, error) {
	q := r.URL.Query()
	p := Page{Marker: q.Get("marker")}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return p, Invalid("query parameter limit is %q, expected a non-negative integer", s)
		}
		p.Limit = n
	}
	if maxLimit > 0 && (p.Limit == 0 || p.Limit > maxLimit) {
		p.Limit = maxLimit
	}
	keys := append(split(q["sort_key"]), split(q["sort_keys"])...)
	dirs := append(split(q["sort_dir"]), split(q["sort_dirs"])...)
	for _, pair := range split(q["sort"]) {
		key, dir, _ := strings.Cut(pair, ":")
		keys, dirs = append(keys, key), append(dirs, dir)
	}
	for i, key := range keys {
		dir := "asc"
		if i < len(dirs) && dirs[i] != "" {
			dir = strings.ToLower(dirs[i])
		}
		if dir != "asc" && dir != "desc" {
			return p, Invalid("sort direction is %q, expected asc or desc", dir)
		}
		p.SortKeys, p.SortDirs = append(p.SortKeys, key), append(p.SortDirs, dir)
	}
	if len(keys) == 0 && len(dirs) > 0 {
		p.SortDirs = dirs
	}
	p.Ascending = len(p.SortDirs) == 0 || p.SortDirs[0] == "asc"
	return p, nil
}

func split(values []string) []string {
	var out []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}
