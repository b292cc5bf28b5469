package objectstore

import (
	"errors"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// entry is one line of a listing: an object, a container or, with Subdir set,
// a common prefix.
type entry struct {
	Name, Hash, ContentType, Subdir string
	Bytes                           int64
	Count                           *int64 // containers only
	Modified                        time.Time

	account      string
	container    string
	manifestETag string // static large objects only
	link         *symlink
	version      int64
	versioned    bool // the listing shows versions
	latest       bool
}

// listingQuery is how a listing was asked for.
type listingQuery struct {
	prefix, delimiter, marker, end string
	limit                          int
	reverse                        bool
	format                         string  // "plain", "json" or "xml"
	path                           *string // the older way to ask for one level
	versions                       bool
	versionMarker                  string
}

func parseListing(r *http.Request) (*listingQuery, error) {
	q := r.URL.Query()
	l := &listingQuery{
		prefix: q.Get("prefix"), delimiter: q.Get("delimiter"), marker: q.Get("marker"), end: q.Get("end_marker"), limit: maxListing,
		reverse: truthy(q.Get("reverse")), versions: q.Has("versions"), versionMarker: q.Get("version_marker"),
	}
	for name, values := range q {
		if !utf8.ValidString(values[0]) {
			return nil, api.Invalid("query parameter %q is not valid UTF-8", name)
		}
	}
	if q.Has("path") {
		path := q.Get("path")
		l.path = &path
		l.prefix, l.delimiter = "", "/"
		if path != "" {
			l.prefix = strings.TrimRight(path, "/") + "/"
		}
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err == nil && n > maxListing {
			return nil, api.PreconditionFailed("Maximum limit is %d", maxListing)
		}
		if err == nil && n >= 0 { // Swift passes over what is no number
			l.limit = n
		}
	}
	l.format = listingFormat(q.Get("format"), r.Header.Get("Accept"))
	if l.format == "" {
		return nil, api.NotAcceptable("listings come as text/plain, application/json or application/xml")
	}
	if l.versions {
		if l.format != "json" && (q.Get("format") != "" || r.Header.Get("Accept") != "" && !strings.Contains(r.Header.Get("Accept"), "*/*")) {
			return nil, api.NotAcceptable("a listing of versions comes as application/json")
		}
		l.format = "json"
	}
	return l, nil
}

func listingFormat(format, accept string) string {
	switch strings.ToLower(format) {
	case "json", "xml", "plain":
		return strings.ToLower(format)
	}
	if accept == "" {
		return "plain"
	}
	best, bestQ := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		weight := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				weight, _ = strconv.ParseFloat(v, 64) // 0 for nonsense
			}
		}
		name := map[string]string{
			"application/json": "json", "application/xml": "xml", "text/xml": "xml", "text/plain": "plain", "text/*": "plain", "*/*": "plain",
			"application/*": "json",
		}[strings.TrimSpace(kind)]
		if name != "" && weight > bestQ {
			best, bestQ = name, weight
		}
	}
	return best
}

// afterAll sorts behind every name that begins with what precedes it.
const afterAll = "\U0010FFFF\U0010FFFF"

// bounds are the names a fetch may return.
type bounds struct {
	from   string // name >= from, or > from if not inclusive; "" is no bound
	incl   bool
	before string // name < before; "" is no bound
}

// where returns the WHERE and ORDER clauses; LIMIT is the last argument.
func (b bounds) where(reverse bool) (string, []any) {
	where, args := "", []any{}
	if b.from != "" {
		op := " AND name > ?"
		if b.incl {
			op = " AND name >= ?"
		}
		where += op
		args = append(args, b.from)
	}
	if b.before != "" {
		where += " AND name < ?"
		args = append(args, b.before)
	}
	order := " ORDER BY name"
	if reverse {
		order += " DESC"
	}
	return where + order + " LIMIT ?", args
}

// errEnough ends the reading of rows.
var errEnough = errors.New("enough") //nolint:gochecknoglobals // a sentinel

// each calls take with every row of a query until it has enough.
func each(tx *store.Tx, take func(*entry) bool, read func(scan func(...any) error) (*entry, error), q string, args ...any) error {
	err := tx.Each(func(scan func(...any) error) error {
		e, err := read(scan)
		if err != nil {
			return err
		}
		if !take(e) {
			return errEnough
		}
		return nil
	}, q, args...)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// fetchFunc reads at most limit entries in order and gives them to take until
// that returns false.
type fetchFunc func(b bounds, limit int, take func(*entry) bool) error

// skipAfter is how many rows of one common prefix are read over before the
// rest of it is skipped by another query.
const skipAfter = 8

// run collects the entries. A common prefix costs skipAfter rows and one more
// query, however many rows it stands for.
func (l *listingQuery) run(fetch fetchFunc) ([]entry, error) {
	p := &page{l: l, out: []entry{}, b: bounds{from: l.marker, before: l.end}}
	if l.reverse {
		p.b = bounds{from: l.end, before: l.marker}
	}
	if l.prefix > p.b.from || l.prefix == p.b.from && l.marker == "" && !l.reverse {
		p.b.from, p.b.incl = l.prefix, true
	}
	if end := l.prefix + afterAll; l.prefix != "" && (p.b.before == "" || p.b.before > end) {
		p.b.before = end
	}
	batch := l.limit + 1
	if l.delimiter != "" {
		batch = 32
	}
	for len(p.out) < l.limit {
		p.rows, p.skipped = 0, false
		if err := fetch(p.b, batch, p.take); err != nil {
			return nil, err
		}
		switch {
		case p.skipped:
			batch = 32
		case p.rows < batch:
			return p.out, nil
		default: // a long run of objects
			batch = min(batch*4, l.limit+1)
		}
	}
	return p.out, nil
}

// page is a listing under way.
type page struct {
	l       *listingQuery
	out     []entry
	b       bounds
	rows    int
	same    int // rows of the current common prefix
	sub     string
	skipped bool // the bounds were moved over the rest of a common prefix
}

func (p *page) take(e *entry) bool {
	l := p.l
	if len(p.out) >= l.limit {
		return false
	}
	p.rows++
	if l.reverse {
		p.b.before = e.Name
	} else {
		p.b.from, p.b.incl = e.Name, false
	}
	sub := l.subdir(e.Name)
	switch {
	case l.path != nil && (e.Name == *l.path || e.Name == l.prefix):
		return true
	case sub == "", l.path != nil && sub == e.Name:
		p.out = append(p.out, *e)
		return len(p.out) < l.limit
	case sub != p.sub:
		p.sub, p.same = sub, 0
		if l.path == nil && sub != l.marker {
			p.out = append(p.out, entry{Subdir: sub})
		}
	}
	if p.same++; p.same < skipAfter {
		return true
	}
	p.skipped = true
	if l.reverse {
		p.b.before = sub // all of its names sort behind it; itself is shown by it
	} else {
		p.b.from, p.b.incl = sub+afterAll, false
	}
	return false
}

// subdir returns the common prefix a name is shown as, or "".
func (l *listingQuery) subdir(name string) string {
	if l.delimiter == "" {
		return ""
	}
	i := strings.Index(name[len(l.prefix):], l.delimiter)
	if i < 0 {
		return ""
	}
	return name[:len(l.prefix)+i+len(l.delimiter)]
}

// listVersions is the listing of a container with all versions: by name, then
// from the newest to the oldest; all the other way round in reverse.
func (s *Service) listVersions(tx *store.Tx, c *call, q *listingQuery) ([]entry, error) {
	var out []entry
	if q.versionMarker != "" && q.marker != "" { // the rest of the marker's versions
		after, err := parseVersionID(q.versionMarker)
		if err != nil {
			return nil, err
		}
		rest, err := versionsOf(tx, c, q.marker, q.reverse)
		if err != nil {
			return nil, err
		}
		for _, e := range rest {
			if behind := e.rank() < rankOf(after, rest); behind != q.reverse && e.version != after {
				out = append(out, e)
			}
		}
		out = out[:min(len(out), q.limit)]
	}
	names, err := q.run(func(b bounds, limit int, take func(*entry) bool) error {
		where, args := b.where(q.reverse)
		where = strings.TrimSuffix(where, " LIMIT ?")
		in := append([]any{c.account, c.container}, args...)
		order := " ORDER BY name"
		if q.reverse {
			order += " DESC"
		}
		return each(tx, take, func(scan func(...any) error) (*entry, error) {
			e := &entry{}
			return e, scan(&e.Name)
		}, `SELECT name FROM (SELECT name FROM objectstore_objects WHERE account = ? AND container = ?`+where+`) AS a
			UNION SELECT name FROM (SELECT DISTINCT name FROM objectstore_versions WHERE account = ? AND container = ?`+where+`) AS b`+order+` LIMIT ?`,
			append(append(append([]any{}, in...), in...), limit)...)
	})
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if len(out) >= q.limit {
			break
		}
		if n.Subdir != "" {
			out = append(out, n)
			continue
		}
		all, err := versionsOf(tx, c, n.Name, q.reverse)
		if err != nil {
			return nil, err
		}
		out = append(out, all[:min(len(all), q.limit-len(out))]...)
	}
	return out, nil
}

// rank orders versions: by id, and what has none by its time.
func (e *entry) rank() int64 {
	if e.version == 0 {
		return e.Modified.UnixMicro()
	}
	return e.version
}

func rankOf(version int64, all []entry) int64 {
	for i := range all {
		if all[i].version == version {
			return all[i].rank()
		}
	}
	return version
}

// versionsOf returns the versions of one object, the newest first.
func versionsOf(tx *store.Tx, c *call, name string, reverse bool) ([]entry, error) {
	var out []entry
	const columns = `name, etag, size, content_type, modified, manifest_etag, link, version`
	where := ` WHERE account = ? AND container = ? AND name = ?`
	hasCurrent := false
	err := tx.Each(func(scan func(...any) error) error {
		e := entry{account: c.account, versioned: true}
		var current int64
		err := scan(&current, &e.Name, &e.Hash, &e.Bytes, &e.ContentType, store.Time(&e.Modified), &e.manifestETag, store.JSON(&e.link), &e.version)
		e.latest = current == 1
		hasCurrent = hasCurrent || e.latest
		out = append(out, e)
		return err
	}, `SELECT 1, `+columns+` FROM objectstore_objects`+where+` UNION ALL SELECT 0, `+columns+` FROM objectstore_versions`+where,
		c.account, c.container, name, c.account, c.container, name)
	sort.Slice(out, func(i, j int) bool { return out[i].rank() > out[j].rank() })
	if len(out) > 0 && !hasCurrent && out[0].ContentType == deletedType {
		out[0].latest = true
	}
	if reverse {
		slices.Reverse(out)
	}
	return out, err
}
