package network

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
)

// notFilters are query parameters of a list that do not name an attribute.
var notFilters = []string{ //nolint:gochecknoglobals // constant table
	"fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse",
}

// respondList filters, sorts, pages and trims items, as every list of the API
// does, and writes them as {plural: […]}.
func respondList[T any](w http.ResponseWriter, r *http.Request, base, plural string, items []T) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	docs := make([]map[string]any, 0, len(items))
	for _, it := range items {
		doc, err := asDoc(it)
		if err != nil {
			return err
		}
		if matches(doc, r) {
			docs = append(docs, doc)
		}
	}
	if len(page.SortKeys) == 0 {
		page.SortKeys, page.SortDirs = []string{"id"}, []string{"asc"}
	}
	sort.SliceStable(docs, func(i, j int) bool {
		for k, key := range page.SortKeys {
			a, b := fmt.Sprint(docs[i][key]), fmt.Sprint(docs[j][key])
			if a != b {
				return (a < b) == (page.SortDirs[k] == "asc")
			}
		}
		return false
	})
	out := map[string]any{}
	docs, more, err := cut(docs, page)
	if err != nil {
		return err
	}
	if more {
		q := r.URL.Query()
		q.Set("marker", fmt.Sprint(docs[len(docs)-1]["id"]))
		out[plural+"_links"] = []any{map[string]any{"rel": "next", "href": base + "/v2.0/" + plural + "?" + q.Encode()}}
	}
	if fields := r.URL.Query()["fields"]; len(fields) > 0 {
		for i, d := range docs {
			docs[i] = only(d, fields)
		}
	}
	out[plural] = docs
	return api.WriteJSON(w, http.StatusOK, out)
}

func cut(docs []map[string]any, page api.Page) ([]map[string]any, bool, error) {
	if page.Marker != "" {
		i := slices.IndexFunc(docs, func(d map[string]any) bool { return d["id"] == page.Marker })
		if i < 0 {
			return nil, false, api.Invalid("marker %s does not exist", page.Marker)
		}
		docs = docs[i+1:]
	}
	if page.Limit > 0 && len(docs) > page.Limit {
		return docs[:page.Limit], true, nil
	}
	return docs, false, nil
}

func asDoc(v any) (map[string]any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var doc map[string]any
	return doc, json.Unmarshal(b, &doc)
}

func only(doc map[string]any, fields []string) map[string]any {
	out := map[string]any{}
	for _, f := range fields {
		if v, ok := doc[f]; ok {
			out[f] = v
		}
	}
	return out
}

// matches applies the filters of a query: a parameter given several times
// matches any of its values; fixed_ips takes "ip_address=…" and "subnet_id=…".
func matches(doc map[string]any, r *http.Request) bool {
	for key, values := range r.URL.Query() {
		if slices.Contains(notFilters, key) {
			continue
		}
		if key == "tenant_id" {
			key = "project_id"
		}
		if key == "fixed_ips" {
			if !matchFixedIPs(doc, values) {
				return false
			}
			continue
		}
		if key == "tags" {
			if !matchTags(doc, values) {
				return false
			}
			continue
		}
		have, ok := doc[key]
		if !ok {
			return false
		}
		text := fmt.Sprint(have)
		if have == nil {
			text = ""
		}
		if !slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, text) && (v == text || isBool(v)) }) {
			return false
		}
	}
	return true
}

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

func matchFixedIPs(doc map[string]any, values []string) bool {
	ips, _ := doc["fixed_ips"].([]any)
	for _, v := range values {
		key, want, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(ips, func(ip any) bool {
			m, _ := ip.(map[string]any)
			return m[key] == want
		}) {
			return false
		}
	}
	return true
}

func matchTags(doc map[string]any, values []string) bool {
	tags, _ := doc["tags"].([]any)
	for _, v := range values {
		for want := range strings.SplitSeq(v, ",") {
			if !slices.Contains(tags, any(want)) {
				return false
			}
		}
	}
	return true
}

// visible says whether the caller may see a thing of a project.
func visible(r *http.Request, projectID string, shared bool) bool {
	id, ok := auth.FromContext(r.Context())
	return ok && (shared || id.IsAdmin() || id.HasRole("service") || id.ProjectID == projectID)
}

// owner returns the project a new thing belongs to: the one asked for, which
// only an administrator may choose, else the caller's.
func owner(r *http.Request, asked string) (string, error) {
	id, _ := auth.FromContext(r.Context())
	if asked == "" || asked == id.ProjectID {
		return id.ProjectID, nil
	}
	if !id.IsAdmin() && !id.HasRole("service") {
		return "", api.Forbidden("only an administrator may create resources for project %s", asked)
	}
	return asked, nil
}
