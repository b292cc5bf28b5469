package workflow

import (
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/yaql"
)

// stamp is how Mistral's API writes times.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// tagList is never null.
func tagList(tags []string) []any {
	out := make([]any, len(tags))
	for i, t := range tags {
		out[i] = t
	}
	return out
}

// jsonText is the JSON-string form in which Mistral carries input and output.
func jsonText(v any) (string, error) {
	b, err := yaql.JSON(v)
	return string(b), err
}

// jsonField reads a field that may be a JSON string or the value itself.
func jsonField(v any, name string) (*yaql.Map, error) {
	switch x := v.(type) {
	case nil:
		return yaql.NewMap(0), nil
	case *yaql.Map:
		return x, nil
	case string:
		if strings.TrimSpace(x) == "" {
			return yaql.NewMap(0), nil
		}
		got, err := yaql.ParseJSON([]byte(x))
		if err != nil {
			return nil, api.Invalid("%s is not valid JSON: %v", name, err)
		}
		if got == nil {
			return yaql.NewMap(0), nil
		}
		if m, ok := got.(*yaql.Map); ok {
			return m, nil
		}
	}
	return nil, api.Invalid("%s must be a JSON object", name)
}

// body reads the request as an object, keeping the order of keys.
func body(r *http.Request) (*yaql.Map, error) {
	m := yaql.NewMap(0)
	if err := api.ReadJSON(r, m); err != nil {
		return nil, err
	}
	return m, nil
}

func str(m *yaql.Map, key string) string {
	switch v := m.Value(key).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return yaql.Str(v)
	}
}
