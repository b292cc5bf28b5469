package network

import (
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// listWords are query parameters of a list that are no filters.
var listWords = []string{ //nolint:gochecknoglobals // constant table
	"fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse",
}

// tagFilters are those of extension standard-attr-tag.
var tagFilters = map[string]func(have, want []string) bool{ //nolint:gochecknoglobals // constant table
	"tags":         hasAll,
	"tags-any":     hasAny,
	"not-tags":     func(have, want []string) bool { return !hasAll(have, want) },
	"not-tags-any": func(have, want []string) bool { return !hasAny(have, want) },
}

func hasAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

func hasAny(have, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return slices.Contains(have, w) })
}

func (s *Service) listResource(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if k.kind == "security_group" {
			if err := s.ensureGroup(r); err != nil {
				return err
			}
		}
		where, args := k.narrow(r)
		return s.respondList(w, r, k, where, args)
	}
}

// ensureGroup makes the default security group of who asks for groups first.
func (s *Service) ensureGroup(r *http.Request) error {
	missing := false
	err := s.in(r, false, func(c *call) error {
		var n int
		err := c.tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_defaults WHERE project_id = ?`, c.who.ProjectID)
		missing = n == 0 && c.who.ProjectID != ""
		return err
	})
	if err != nil || !missing {
		return err
	}
	return s.in(r, true, func(c *call) error {
		_, err := c.defaultGroup(c.who.ProjectID)
		return err
	})
}

// narrow turns the filters that the database knows into a condition: all
// filters are applied afterwards, these only spare reading what they refuse.
func (k *resource) narrow(r *http.Request) (where string, args []any) {
	q := r.URL.Query()
	for param, column := range map[string]string{
		"id": "id", "name": "name", "project_id": "project_id", "tenant_id": "project_id",
		"device_id": "device_id", k.parent: "parent_id", "mac_address": "mac",
	} {
		values, ok := q[param]
		if !ok || param == "" || param == "name" && k.kind == "rbac_policy" {
			continue
		}
		marks := make([]string, len(values))
		for i, v := range values {
			if param == "mac_address" {
				v = strings.ToLower(v)
			}
			marks[i], args = "?", append(args, v)
		}
		where += " AND " + column + " IN (" + strings.Join(marks, ", ") + ")"
	}
	return where, args
}

func (s *Service) respondList(w http.ResponseWriter, r *http.Request, k *resource, where string, args []any) error {
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	if err := k.checkQuery(r, page); err != nil {
		return err
	}
	var out []doc
	err = s.in(r, false, func(c *call) error {
		found, err := c.find(k, where, args...)
		for _, d := range found {
			if ok, err := c.sees(k, d); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
			shown, err := c.shown(k, d)
			if err != nil {
				return err
			}
			if matches(shown, r) {
				out = append(out, shown)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return respondDocs(w, r, s.cfg.BaseURL+"/v2.0/"+k.path, k.plural, out, page)
}

// checkQuery refuses filters and sort keys that name no attribute (extensions
// filter-validation and sort-key-validation).
func (k *resource) checkQuery(r *http.Request, page api.Page) error {
	var bad []string
	for key := range r.URL.Query() {
		if _, isTag := tagFilters[key]; !isTag && !slices.Contains(listWords, key) && !k.filterable(key) {
			bad = append(bad, key)
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return api.Invalid("[%s] is invalid attribute for filtering", "'"+strings.Join(bad, "', '")+"'").Named("HTTPBadRequest")
	}
	for _, key := range page.SortKeys {
		if !k.filterable(key) {
			return api.Invalid("['%s'] is invalid attribute for sort_key", key).Named("HTTPBadRequest")
		}
	}
	return nil
}

func (k *resource) filterable(key string) bool {
	switch key {
	case "id", "project_id", "tenant_id", "created_at", "updated_at", "revision_number", "description", "changed_since", "shared":
		return true
	}
	if key == "ip_allocation" || strings.HasSuffix(key, "_substr") {
		return true
	}
	a := k.attr(key)
	return a != nil && a.mode&unlist == 0
}

// respondDocs sorts, pages and trims docs and writes them as {plural: […]}.
func respondDocs(w http.ResponseWriter, r *http.Request, base, plural string, docs []doc, page api.Page) error {
	if docs == nil {
		docs = []doc{}
	}
	if len(page.SortKeys) == 0 {
		page.SortKeys, page.SortDirs = []string{"id"}, []string{"asc"}
	} else if !slices.Contains(page.SortKeys, "id") { // equal keys need an order to be paged by
		page.SortKeys, page.SortDirs = append(page.SortKeys, "id"), append(page.SortDirs, "asc")
	}
	sort.SliceStable(docs, func(i, j int) bool {
		for n, key := range page.SortKeys {
			if c := compare(docs[i][key], docs[j][key]); c != 0 {
				return (c < 0) == (page.SortDirs[n] == "asc")
			}
		}
		return false
	})
	reverse := strings.EqualFold(r.URL.Query().Get("page_reverse"), "true")
	all := len(docs)
	docs, err := cut(docs, page, reverse)
	if err != nil {
		return err
	}
	out := map[string]any{}
	if page.Limit > 0 && all > 0 {
		if links := pageLinks(r, base, docs, page); len(links) > 0 {
			out[plural+"_links"] = links
		}
	}
	if fields := r.URL.Query()["fields"]; len(fields) > 0 {
		for i, d := range docs {
			docs[i] = only(d, fields)
		}
	}
	out[plural] = docs
	return api.WriteJSON(w, http.StatusOK, out)
}

func compare(a, b any) int {
	x, isNum := a.(float64)
	y, isNum2 := b.(float64)
	switch {
	case isNum && isNum2 && x < y:
		return -1
	case isNum && isNum2 && x > y:
		return 1
	case isNum && isNum2:
		return 0
	default:
		return strings.Compare(show(a), show(b))
	}
}

func cut(docs []doc, page api.Page, reverse bool) ([]doc, error) {
	if page.Marker != "" {
		i := slices.IndexFunc(docs, func(d doc) bool { return d["id"] == page.Marker })
		if i < 0 {
			return nil, api.Invalid("marker %s does not exist", page.Marker)
		}
		if reverse {
			docs = docs[:i]
		} else {
			docs = docs[i+1:]
		}
	}
	if page.Limit > 0 && len(docs) > page.Limit {
		if reverse {
			return docs[len(docs)-page.Limit:], nil
		}
		return docs[:page.Limit], nil
	}
	return docs, nil
}

// pageLinks are Neutron's: a next page after each full one, a previous page
// wherever a marker was given.
func pageLinks(r *http.Request, base string, docs []doc, page api.Page) []any {
	var links []any
	link := func(rel, marker string, reverse bool) {
		q := r.URL.Query()
		q.Del("page_reverse")
		q.Del("marker")
		if marker != "" {
			q.Set("marker", marker)
		}
		if reverse {
			q.Set("page_reverse", "True")
		}
		links = append(links, map[string]any{"rel": rel, "href": base + "?" + q.Encode()})
	}
	reverse := strings.EqualFold(r.URL.Query().Get("page_reverse"), "true")
	if len(docs) == 0 { // behind the end: back to the last page
		if page.Marker != "" && !reverse {
			link("previous", "", true)
		}
		return links
	}
	if len(docs) == page.Limit || reverse {
		link("next", docs[len(docs)-1].id(), false)
	}
	if page.Marker != "" || reverse {
		link("previous", docs[0].id(), true)
	}
	return links
}

func only(d doc, fields []string) doc {
	out := doc{}
	for _, f := range fields {
		if v, ok := d[f]; ok {
			out[f] = v
		}
	}
	return out
}

// matches applies the filters of a query: a parameter given several times
// matches any of its values; fixed_ips takes "ip_address=…", "subnet_id=…" and
// "ip_address_substr=…".
func matches(d doc, r *http.Request) bool {
	for key, values := range r.URL.Query() {
		if slices.Contains(listWords, key) {
			continue
		}
		var ok bool
		switch test, isTag := tagFilters[key]; {
		case isTag:
			ok = test(d.strs("tags"), split(values))
		case key == "fixed_ips":
			ok = matchFixedIPs(d, values)
		case key == "changed_since":
			ok = d.str("updated_at") >= strings.TrimSuffix(values[0], "Z")
		default:
			ok = matchOne(d[key], values)
		}
		if !ok {
			return false
		}
	}
	return true
}

func split(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

func matchOne(have any, values []string) bool {
	switch x := have.(type) {
	case []any:
		return slices.ContainsFunc(x, func(it any) bool { return slices.Contains(values, show(it)) })
	case []string:
		return hasAny(x, values)
	case nil:
		return slices.ContainsFunc(values, func(v string) bool { return v == "" || v == "None" || v == "null" })
	case bool:
		return slices.ContainsFunc(values, func(v string) bool {
			b, why := boolean(v)
			return why == "" && b == x
		})
	default:
		text := show(x)
		return slices.ContainsFunc(values, func(v string) bool { return v == text })
	}
}

func matchFixedIPs(d doc, values []string) bool {
	ips := fixedIPs(d)
	for _, v := range values {
		key, want, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(ips, func(ip FixedIP) bool {
			switch key {
			case "ip_address":
				return ip.IPAddress == want
			case "subnet_id":
				return ip.SubnetID == want
			case "ip_address_substr":
				return strings.Contains(ip.IPAddress, want)
			default:
				return false
			}
		}) {
			return false
		}
	}
	return true
}
