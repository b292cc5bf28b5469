package image

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Glance's default and largest page.
const (
	defaultLimit = 25
	maxLimit     = 1000
)

// list answers GET /v2/images. An undercloud holds few images, so filters and
// order are applied to all that the caller sees.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if !q.Has("limit") {
		page.Limit = defaultLimit
	}
	match, err := filter(q)
	if err != nil {
		return err
	}
	var found []*image
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		found, err = listed(tx, caller(r), q)
		return err
	})
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(m *image) bool { return !match(m) })
	if err := order(found, page); err != nil {
		return err
	}
	if page.Marker != "" {
		i := slices.IndexFunc(found, func(m *image) bool { return m.id == page.Marker })
		if i < 0 {
			return api.Invalid("Invalid marker %s: no such image in the list", page.Marker)
		}
		found = found[i+1:]
	}
	out := document{"schema": "/v2/schemas/images", "first": "/v2/images" + query(q, "")}
	if len(found) > page.Limit {
		found = found[:page.Limit]
		if page.Limit > 0 {
			out["next"] = "/v2/images" + query(q, found[len(found)-1].id)
		}
	}
	docs := []document{}
	for _, m := range found {
		docs = append(docs, m.document())
	}
	out["images"] = docs
	return api.WriteJSON(w, http.StatusOK, out)
}

func query(q url.Values, marker string) string {
	out := url.Values{}
	for k, v := range q {
		if k != "marker" {
			out[k] = v
		}
	}
	if marker != "" {
		out.Set("marker", marker)
	}
	if len(out) == 0 {
		return ""
	}
	return "?" + out.Encode()
}

// listed returns the images that belong into the caller's list: those of its
// project, public ones, and those shared with it and accepted; for
// administrators those of all projects but the community's of others.
func listed(tx *store.Tx, c *auth.Identity, q url.Values) ([]*image, error) {
	memberStatus := q.Get("member_status")
	if memberStatus == "" {
		memberStatus = "accepted"
	}
	shared := map[string]bool{}
	err := tx.Each(func(scan func(...any) error) error {
		var id, status string
		err := scan(&id, &status)
		shared[id] = memberStatus == "all" || status == memberStatus
		return err
	}, `SELECT image_id, status FROM image_members WHERE member_id = ?`, c.ProjectID)
	if err != nil {
		return nil, err
	}
	var out []*image
	err = tx.Each(func(scan func(...any) error) error {
		m, err := scanImage(scan)
		if err != nil {
			return err
		}
		mine := c.ProjectID != "" && m.owner == c.ProjectID
		switch m.visibility {
		case "public":
		case "community":
			if !mine && q.Get("visibility") != "community" && q.Get("visibility") != "all" {
				return nil
			}
		case "shared":
			if !mine && !shared[m.id] && !seesAll(c) {
				return nil
			}
		default:
			if !mine && !seesAll(c) {
				return nil
			}
		}
		out = append(out, m)
		return nil
	}, `SELECT `+imageColumns+` FROM image_images`)
	return out, err
}

// filter makes the test of a list's query.
func filter(q url.Values) (func(*image) bool, error) {
	var tests []func(*image) bool
	for name, values := range q {
		v := values[0]
		var test func(*image) bool
		var err error
		switch name {
		case "limit", "marker", "sort", "sort_key", "sort_dir", "sort_keys", "sort_dirs", "member_status", "os_hidden":
			continue
		case "visibility":
			if v == "all" {
				continue
			}
			test = func(m *image) bool { return m.visibility == v }
		case "size_min", "size_max":
			n, perr := strconv.ParseInt(v, 10, 64)
			if perr != nil {
				return nil, api.Invalid("query parameter %s is %q, expected an integer", name, v)
			}
			least := name == "size_min"
			test = func(m *image) bool { return m.size != nil && (least && *m.size >= n || !least && *m.size <= n) }
		case "tag":
			test = func(m *image) bool {
				return !slices.ContainsFunc(values, func(t string) bool { return !slices.Contains(m.tags, t) })
			}
		case "created_at", "updated_at":
			test, err = timeFilter(name, v)
		case "protected":
			want := strings.EqualFold(v, "true")
			test = func(m *image) bool { return m.protected == want }
		default:
			test = textFilter(name, v)
		}
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	hidden := strings.EqualFold(q.Get("os_hidden"), "true")
	return func(m *image) bool {
		for _, t := range tests {
			if !t(m) {
				return false
			}
		}
		return m.hidden == hidden
	}, nil
}

// attribute returns an attribute as text; ok is false if the image has none.
func (m *image) attribute(name string) (string, bool) {
	text := func(p *string) (string, bool) {
		if p == nil {
			return "", false
		}
		return *p, true
	}
	number := func(p *int64) (string, bool) {
		if p == nil {
			return "", false
		}
		return strconv.FormatInt(*p, 10), true
	}
	switch name {
	case "id":
		return m.id, true
	case "name":
		return text(m.name)
	case "owner":
		return m.owner, true
	case "status":
		return m.status, true
	case "container_format":
		return text(m.container)
	case "disk_format":
		return text(m.disk)
	case "checksum":
		return text(m.checksum)
	case "os_hash_value":
		return text(m.hash)
	case "min_disk":
		return number(&m.minDisk)
	case "min_ram":
		return number(&m.minRAM)
	case "size":
		return number(m.size)
	}
	v, ok := m.properties[name]
	return v, ok
}

// textFilter is "value" or "in:a,b".
func textFilter(name, v string) func(*image) bool {
	want := []string{v}
	if list, ok := strings.CutPrefix(v, "in:"); ok {
		want = strings.Split(list, ",")
		for i := range want {
			want[i] = strings.Trim(want[i], `"`)
		}
	}
	return func(m *image) bool {
		got, ok := m.attribute(name)
		return ok && slices.Contains(want, got)
	}
}

// timeFilter is "gte:2020-01-02T03:04:05Z" with gt, gte, lt, lte, eq or neq.
func timeFilter(name, v string) (func(*image) bool, error) {
	op, text, ok := strings.Cut(v, ":")
	at, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil {
		if at, err = time.Parse(time.RFC3339, v); err != nil {
			return nil, api.Invalid("query parameter %s is %q, expected OPERATOR:TIME as in gte:2020-01-02T03:04:05Z", name, v)
		}
		op = "eq"
	}
	return func(m *image) bool {
		got := m.created
		if name == "updated_at" {
			got = m.updated
		}
		c := got.Truncate(time.Second).Compare(at)
		switch op {
		case "gt":
			return c > 0
		case "gte":
			return c >= 0
		case "lt":
			return c < 0
		case "lte":
			return c <= 0
		case "neq":
			return c != 0
		}
		return c == 0
	}, nil
}

// order sorts by the keys asked for; newest first without any.
func order(images []*image, p api.Page) error {
	keys, dirs := p.SortKeys, p.SortDirs
	if len(keys) == 0 {
		keys = []string{"created_at"}
		if len(dirs) == 0 {
			dirs = []string{"desc"}
		}
	}
	allowed := []string{"name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at", "visibility", "owner", "min_disk", "min_ram"}
	for _, k := range keys {
		if !slices.Contains(allowed, k) {
			return api.Invalid("sort key is %q, expected one of %s", k, strings.Join(allowed, ", "))
		}
	}
	slices.SortStableFunc(images, func(a, b *image) int {
		for i, k := range keys {
			c := compare(a, b, k)
			if i < len(dirs) && dirs[i] == "desc" {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return -cmp.Compare(a.id, b.id)
	})
	return nil
}

func compare(a, b *image, key string) int {
	number := func(p *int64) int64 {
		if p == nil {
			return -1
		}
		return *p
	}
	switch key {
	case "created_at":
		return a.created.Compare(b.created)
	case "updated_at":
		return a.updated.Compare(b.updated)
	case "size":
		return cmp.Compare(number(a.size), number(b.size))
	case "min_disk":
		return cmp.Compare(a.minDisk, b.minDisk)
	case "min_ram":
		return cmp.Compare(a.minRAM, b.minRAM)
	case "visibility":
		return cmp.Compare(a.visibility, b.visibility)
	}
	x, _ := a.attribute(key)
	y, _ := b.attribute(key)
	return cmp.Compare(x, y)
}
