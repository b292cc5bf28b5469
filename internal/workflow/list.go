package workflow

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
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

// listParams are the query parameters that are no filters.
func listParam(key string) bool {
	switch key {
	case "limit", "marker", "sort_keys", "sort_dirs", "fields", "all_projects", "include_output", "project_id", "nulls":
		return true
	}
	return false
}

// reply filters, sorts and pages resources and writes them under a key.
func (s *Service) reply(w http.ResponseWriter, r *http.Request, key string, items []*yaql.Map, defaultSort string) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	items, err = filtered(items, q)
	if err != nil {
		return err
	}
	if len(page.SortKeys) == 0 {
		page.SortKeys, page.SortDirs = []string{defaultSort}, []string{"asc"}
	}
	sortBy(items, page.SortKeys, page.SortDirs)
	if page.Marker != "" {
		at := -1
		for i, it := range items {
			if it.Value("id") == page.Marker {
				at = i
			}
		}
		if at < 0 {
			return api.Invalid("marker %q is not an id of the list", page.Marker)
		}
		items = items[at+1:]
	}
	out := yaql.NewMap(2)
	next := ""
	if page.Limit > 0 && len(items) > page.Limit {
		items = items[:page.Limit]
		q.Set("marker", fmt.Sprint(items[page.Limit-1].Value("id")))
		next = s.cfg.BaseURL + r.URL.Path + "?" + q.Encode()
	}
	if f := q.Get("fields"); f != "" {
		items = selected(items, strings.Split(f, ","))
	}
	list := make([]any, len(items))
	for i, it := range items {
		list[i] = it
	}
	out.Set(key, list)
	if next != "" {
		out.Set("next", next)
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func selected(items []*yaql.Map, fields []string) []*yaql.Map {
	out := make([]*yaql.Map, len(items))
	for i, it := range items {
		m := yaql.NewMap(len(fields) + 1)
		for _, f := range append([]string{"id"}, fields...) {
			if v, ok := it.Get(strings.TrimSpace(f)); ok {
				m.Set(strings.TrimSpace(f), v)
			}
		}
		out[i] = m
	}
	return out
}

// filtered keeps the items that fit all filters: "name=x" or "name=op:x" with
// eq, neq, gt, gte, lt, lte, has, in, nin; "tags=a,b" needs all of the tags.
func filtered(items []*yaql.Map, q url.Values) ([]*yaql.Map, error) {
	for key, vals := range q {
		if listParam(key) {
			continue
		}
		for _, want := range vals {
			var keep []*yaql.Map
			for _, it := range items {
				have, known := it.Get(key)
				if !known {
					return nil, api.Invalid("unknown filter %q", key)
				}
				if fits(have, want) {
					keep = append(keep, it)
				}
			}
			items = keep
		}
	}
	return items, nil
}

func fits(have any, want string) bool {
	op, arg, ok := strings.Cut(want, ":")
	switch op {
	case "eq", "neq", "gt", "gte", "lt", "lte", "has", "in", "nin":
	default:
		ok = false
	}
	if !ok {
		op, arg = "eq", want
	}
	if tags, isList := have.([]any); isList {
		for _, t := range strings.Split(arg, ",") {
			found := false
			for _, h := range tags {
				found = found || fmt.Sprint(h) == t
			}
			if !found {
				return op == "neq"
			}
		}
		return op != "neq"
	}
	text := ""
	if have != nil {
		text = fmt.Sprint(have)
	}
	switch op {
	case "neq":
		return text != arg
	case "has":
		return strings.Contains(text, arg)
	case "in", "nin":
		for _, v := range strings.Split(arg, ",") {
			if text == v {
				return op == "in"
			}
		}
		return op == "nin"
	case "gt":
		return text > arg
	case "gte":
		return text >= arg
	case "lt":
		return text < arg
	case "lte":
		return text <= arg
	}
	if b, isBool := have.(bool); isBool {
		v, err := strconv.ParseBool(arg)
		return err == nil && v == b
	}
	return text == arg || have == nil && arg == "null"
}

func sortBy(items []*yaql.Map, keys, dirs []string) {
	if len(dirs) > 0 && dirs[0] == "desc" {
		slices.Reverse(items) // they come oldest first: equal keys are newest first then
	}
	sort.SliceStable(items, func(i, j int) bool {
		for n, k := range keys {
			a, b := fmt.Sprint(items[i].Value(k)), fmt.Sprint(items[j].Value(k))
			if a == b {
				continue
			}
			if n < len(dirs) && dirs[n] == "desc" {
				return a > b
			}
			return a < b
		}
		return false
	})
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
