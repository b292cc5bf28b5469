package objectstore

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// web is how a container is shown to browsers: Swift's static web.
// Source: https://docs.openstack.org/swift/latest/middleware.html#staticweb.
type web struct {
	s     *Service
	r     *http.Request
	w     http.ResponseWriter
	c     *call
	index string
	errs  string
	lists bool
}

// staticWeb answers requests to a container that is a web site, when they come
// without a token or ask for it (X-Web-Mode); done is false for all others.
func (s *Service) staticWeb(w http.ResponseWriter, r *http.Request, c *call) (done bool, err error) {
	if c.con == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false, nil
	}
	_, known := auth.FromContext(r.Context())
	if known && !truthy(r.Header.Get("X-Web-Mode")) {
		return false, nil
	}
	m := c.con.meta
	site := &web{
		s: s, r: r, w: w, c: c, index: m["X-Container-Meta-Web-Index"], errs: m["X-Container-Meta-Web-Error"],
		lists: truthy(m["X-Container-Meta-Web-Listings"]),
	}
	if site.index == "" && !site.lists && site.errs == "" && m["X-Container-Meta-Web-Directory-Type"] == "" {
		return false, nil
	}
	return true, site.serve()
}

func (v *web) serve() error {
	path := rawPath(v.r)
	if v.c.object == "" || strings.HasSuffix(path, "/") {
		if v.c.object == "" && !strings.HasSuffix(path, "/") {
			return v.redirect()
		}
		prefix := v.c.object
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		return v.folder(prefix)
	}
	err := v.object(v.c.object, http.StatusOK)
	if status(err) != http.StatusNotFound {
		return v.fail(err)
	}
	// A folder without the slash behind its name?
	if v.index != "" {
		if v.allowed(reading) == nil && v.exists(v.c.object+"/"+v.index) {
			return v.redirect()
		}
	}
	if v.lists && v.hasFolder(v.c.object+"/") {
		return v.redirect()
	}
	return v.fail(err)
}

func (v *web) redirect() error {
	v.w.Header().Set("Location", api.BaseURL(v.r)+prefixOf(v.r)+rawPath(v.r)+"/")
	v.w.WriteHeader(http.StatusMovedPermanently)
	return nil
}

func (v *web) folder(prefix string) error {
	if v.index != "" {
		err := v.object(prefix+v.index, http.StatusOK)
		if status(err) != http.StatusNotFound {
			return v.fail(err)
		}
	}
	if !v.lists {
		if err := v.allowed(reading); err != nil {
			return v.fail(err)
		}
		return v.fail(noContainer(store.ErrNotFound))
	}
	if err := v.allowed(listing); err != nil {
		return v.fail(err)
	}
	return v.list(prefix)
}

func (v *web) allowed(want intent) error { return v.s.authorizeHere(v.r, v.c, want) }

// object sends one object with the given status.
func (v *web) object(name string, code int) error {
	if err := v.allowed(reading); err != nil {
		return err
	}
	c := *v.c
	c.object = name
	o, body, err := v.s.openObject(v.r.Context(), c.target, "")
	if err != nil {
		return err
	}
	defer func() { body.Close() }()
	if o, body, err = v.s.follow(v.r, &c, o, body, func(target) {}); err != nil {
		return err
	}
	if err := v.s.segmentsAllowed(v.r, &c, o); err != nil {
		return err
	}
	kind := v.c.con.meta["X-Container-Meta-Web-Directory-Type"]
	if kind == "" {
		kind = "application/directory"
	}
	if code == http.StatusOK && o.size == 0 && strings.EqualFold(o.contentType, kind) { // stands for a folder
		return noContainer(store.ErrNotFound)
	}
	objectHeaders(v.w.Header(), o, body.etag)
	if code == http.StatusOK {
		return v.s.send(v.w, v.r, o, body)
	}
	v.w.Header().Set("Content-Length", itoa(body.size))
	return v.s.copyOut(v.w, v.r, body, byteRange{0, body.size}, code)
}

// fail answers with the site's own page for an error, if it has one.
func (v *web) fail(err error) error {
	code := status(err)
	if err == nil || v.errs == "" || code != http.StatusNotFound && code != http.StatusUnauthorized {
		return err
	}
	if e := v.object(fmt.Sprintf("%d%s", code, v.errs), code); e == nil {
		return nil
	}
	return err
}

func (v *web) exists(name string) bool {
	_, err := v.s.lookup(v.r.Context(), target{v.c.account, v.c.container, name}, "")
	return err == nil
}

func (v *web) hasFolder(prefix string) bool {
	if v.allowed(listing) != nil {
		return false
	}
	entries, err := v.entries(prefix, 1)
	return err == nil && len(entries) > 0
}

func (v *web) entries(prefix string, limit int) ([]entry, error) {
	q := &listingQuery{prefix: prefix, delimiter: "/", limit: limit}
	var out []entry
	err := v.s.db.View(v.r.Context(), func(tx *store.Tx) (err error) {
		out, err = q.run(func(b bounds, limit int, take func(*entry) bool) error {
			where, args := b.where(false)
			return each(tx, take, func(scan func(...any) error) (*entry, error) {
				e := &entry{}
				return e, scan(&e.Name, &e.Bytes, &e.ContentType, store.Time(&e.Modified))
			}, `SELECT name, size, content_type, modified FROM objectstore_objects WHERE account = ? AND container = ?`+where,
				append([]any{v.c.account, v.c.container}, append(args, limit)...)...)
		})
		return err
	})
	return out, err
}

// list shows a folder as a page.
func (v *web) list(prefix string) error {
	entries, err := v.entries(prefix, maxListing)
	if err != nil {
		return err
	}
	if len(entries) == 0 && prefix != "" {
		return v.fail(noContainer(store.ErrNotFound))
	}
	m := v.c.con.meta
	label := m["X-Container-Meta-Web-Listings-Label"]
	if label == "" {
		label = "/v1/" + v.c.account + "/" + v.c.container
	}
	title := html.EscapeString("Listing of " + label + "/" + prefix)
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html>\n <head>\n  <title>" + title + "</title>\n")
	if css := m["X-Container-Meta-Web-Listings-Css"]; css != "" {
		href := strings.Repeat("../", strings.Count(prefix, "/")) + escapePath(css)
		if strings.HasPrefix(css, "http://") || strings.HasPrefix(css, "https://") || strings.HasPrefix(css, "/") {
			href = css
		}
		fmt.Fprintf(&b, "  <link rel=\"stylesheet\" type=\"text/css\" href=\"%s\" />\n", html.EscapeString(href))
	}
	b.WriteString(" </head>\n <body>\n  <h1 id=\"title\">" + title + "</h1>\n  <table id=\"listing\">\n" +
		"   <tr id=\"heading\"><th class=\"colname\">Name</th><th class=\"colsize\">Size</th><th class=\"coldate\">Date</th></tr>\n")
	if prefix != "" {
		b.WriteString("   <tr id=\"parent\" class=\"item\"><td class=\"colname\"><a href=\"../\">../</a></td><td class=\"colsize\">&nbsp;</td><td class=\"coldate\">&nbsp;</td></tr>\n")
	}
	for i := range entries {
		e := &entries[i]
		name, class, size, date := strings.TrimPrefix(e.Name+e.Subdir, prefix), "item subdir", "&nbsp;", "&nbsp;"
		if e.Subdir == "" {
			class = "item type-" + strings.NewReplacer("/", " type-", ".", "-", ";", " ", "\"", "").Replace(e.ContentType)
			size, date = humanBytes(e.Bytes), e.Modified.UTC().Format("2006-01-02 15:04:05")
		}
		fmt.Fprintf(&b, "   <tr class=\"%s\"><td class=\"colname\"><a href=\"%s\">%s</a></td><td class=\"colsize\">%s</td><td class=\"coldate\">%s</td></tr>\n",
			html.EscapeString(class), html.EscapeString(hrefOf(name)), html.EscapeString(name), size, date)
	}
	b.WriteString("  </table>\n </body>\n</html>\n")
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=UTF-8")
	h.Set("Content-Length", itoa(int64(b.Len())))
	v.w.WriteHeader(http.StatusOK)
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write([]byte(b.String())) // the client may have gone
	}
	return nil
}

// hrefOf is a relative reference to a name: one that cannot be taken for a
// scheme, another host or a query.
func hrefOf(name string) string {
	ref := strings.NewReplacer("%2F", "/", ":", "%3A").Replace(url.PathEscape(name))
	if strings.HasPrefix(ref, "/") || ref == "" {
		return "./" + ref
	}
	return ref
}

func humanBytes(n int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.0f%s", f, units[i])
}
