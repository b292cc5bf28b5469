package objectstore

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
)

// entry is one line of a listing: an object, a container or, with Subdir set,
// a common prefix.
type entry struct {
	Name, Hash, ContentType, Subdir string
	Bytes                           int64
	Count                           *int64 // containers only
	Modified                        time.Time
}

// listingQuery is how a listing was asked for.
type listingQuery struct {
	prefix, delimiter, marker, end string
	limit                          int
	reverse                        bool
	format                         string // "plain", "json" or "xml"
}

func parseListing(r *http.Request) (*listingQuery, error) {
	q := r.URL.Query()
	l := &listingQuery{
		prefix: q.Get("prefix"), delimiter: q.Get("delimiter"), marker: q.Get("marker"), end: q.Get("end_marker"), limit: maxListing,
	}
	if q.Has("path") { // the older way to ask for one level
		l.prefix, l.delimiter = q.Get("path"), "/"
		if l.prefix != "" && !strings.HasSuffix(l.prefix, "/") {
			l.prefix += "/"
		}
	}
	switch strings.ToLower(q.Get("reverse")) {
	case "true", "1", "yes", "on", "t", "y":
		l.reverse = true
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, api.PreconditionFailed("query parameter limit is %q, expected a non-negative integer", v)
		}
		if n > maxListing {
			return nil, api.PreconditionFailed("Maximum limit is %d", maxListing)
		}
		l.limit = n
	}
	l.format = listingFormat(q.Get("format"), r.Header.Get("Accept"))
	if l.format == "" {
		return nil, api.NotAcceptable("listings come as text/plain, application/json or application/xml")
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
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch strings.TrimSpace(kind) {
		case "application/json":
			return "json"
		case "application/xml", "text/xml":
			return "xml"
		case "text/plain", "text/*", "*/*":
			return "plain"
		}
	}
	return ""
}

// afterAll sorts behind every name that begins with what precedes it.
const afterAll = "\U0010FFFF\U0010FFFF"

// bounds returns the WHERE and ORDER clauses for names strictly between after
// and before ("" is no bound) that have the prefix; LIMIT is the last argument.
func (l *listingQuery) bounds(after, before string) (string, []any) {
	where, args := "", []any{}
	add := func(cond, v string) {
		if v != "" {
			where += cond
			args = append(args, v)
		}
	}
	add(" AND name >= ?", l.prefix)
	if l.prefix != "" {
		add(" AND name < ?", l.prefix+afterAll)
	}
	add(" AND name > ?", after)
	add(" AND name < ?", before)
	order := " ORDER BY name"
	if l.reverse {
		order += " DESC"
	}
	return where + order + " LIMIT ?", args
}

// run collects the entries. fetch returns rows in order; a common prefix is
// skipped with one more fetch behind it, however many rows it stands for.
func (l *listingQuery) run(fetch func(after, before string, limit int) ([]entry, error)) ([]entry, error) {
	out := []entry{}
	after, before := l.marker, l.end
	if l.reverse {
		after, before = l.end, l.marker
	}
	for len(out) < l.limit {
		want := l.limit - len(out)
		if l.delimiter != "" {
			want = min(want, 500) + 1
		}
		rows, err := fetch(after, before, want)
		if err != nil {
			return nil, err
		}
		last := ""
		for _, e := range rows {
			last = e.Name
			sub := l.subdir(e.Name)
			switch {
			case len(out) == l.limit:
			case sub == "":
				out = append(out, e)
			case len(out) > 0 && out[len(out)-1].Subdir == sub:
			case l.seen(sub):
			default:
				out = append(out, entry{Subdir: sub})
			}
		}
		if len(rows) < want {
			break
		}
		sub := l.subdir(last)
		switch {
		case l.reverse && sub != "":
			before = sub // all of its names sort behind it
		case l.reverse:
			before = last
		case sub != "":
			after = sub + afterAll
		default:
			after = last
		}
	}
	return out, nil
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

// seen says whether a common prefix lies on the page before the marker.
func (l *listingQuery) seen(sub string) bool {
	if l.marker == "" {
		return false
	}
	if l.reverse {
		return sub >= l.marker
	}
	return sub <= l.marker
}

const listingTime = "2006-01-02T15:04:05.000000"

// write sends the listing of an account or container.
func (l *listingQuery) write(w http.ResponseWriter, kind, name string, entries []entry) error {
	var body []byte
	var err error
	switch l.format {
	case "json":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		body, err = listingJSON(entries)
	case "xml":
		w.Header().Set("Content-Type", "application/xml; charset=utf-8")
		body = listingXML(kind, name, entries)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		var b bytes.Buffer
		for _, e := range entries {
			b.WriteString(e.Name + e.Subdir + "\n")
		}
		body = b.Bytes()
	}
	if err != nil {
		return err
	}
	if len(body) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client may have gone
	return nil
}

func listingJSON(entries []entry) ([]byte, error) {
	type item struct {
		Subdir       string  `json:"subdir,omitempty"`
		Name         string  `json:"name,omitempty"`
		Hash         *string `json:"hash,omitempty"`
		Count        *int64  `json:"count,omitempty"`
		Bytes        *int64  `json:"bytes,omitempty"`
		ContentType  string  `json:"content_type,omitempty"`
		LastModified string  `json:"last_modified,omitempty"`
	}
	out := make([]item, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Subdir != "" {
			out = append(out, item{Subdir: e.Subdir})
			continue
		}
		it := item{Name: e.Name, Count: e.Count, Bytes: &e.Bytes, ContentType: e.ContentType, LastModified: e.Modified.UTC().Format(listingTime)}
		if e.Count == nil {
			it.Hash = &e.Hash
		}
		out = append(out, it)
	}
	return json.Marshal(out)
}

func listingXML(kind, name string, entries []entry) []byte {
	esc := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
		return b.String()
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	fmt.Fprintf(&b, `<%s name="%s">`, kind, esc(name))
	for _, e := range entries {
		modified := e.Modified.UTC().Format(listingTime)
		switch {
		case e.Subdir != "":
			fmt.Fprintf(&b, `<subdir name="%s"><name>%s</name></subdir>`, esc(e.Subdir), esc(e.Subdir))
		case e.Count != nil:
			fmt.Fprintf(&b, `<container><name>%s</name><count>%d</count><bytes>%d</bytes><last_modified>%s</last_modified></container>`,
				esc(e.Name), *e.Count, e.Bytes, modified)
		default:
			fmt.Fprintf(&b, `<object><name>%s</name><hash>%s</hash><bytes>%d</bytes><content_type>%s</content_type><last_modified>%s</last_modified></object>`,
				esc(e.Name), esc(e.Hash), e.Bytes, esc(e.ContentType), modified)
		}
	}
	fmt.Fprintf(&b, `</%s>`, kind)
	return b.Bytes()
}
