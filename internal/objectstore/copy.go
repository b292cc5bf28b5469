package objectstore

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// copyObject answers COPY: the Destination header says where to.
func (s *Service) copyObject(w http.ResponseWriter, r *http.Request, c *call) error {
	dest, err := parsePath("Destination", r.Header.Get("Destination"))
	if err != nil {
		return err
	}
	if dest.account, err = copyAccount(r, "Destination-Account", c.account); err != nil {
		return err
	}
	to := &call{target: dest}
	if err := s.load(r, to); err != nil {
		return err
	}
	// A source that does not exist is told first.
	return s.copy(w, r, c, to, func() error { return s.authorizeHere(r, to, writing) })
}

// copyFrom answers PUT with X-Copy-From.
func (s *Service) copyFrom(w http.ResponseWriter, r *http.Request, c *call) error {
	header := r.Header.Get("X-Copy-From")
	if r.ContentLength > 0 {
		return api.Invalid("Copy requests require a zero byte body")
	}
	header, query, _ := strings.Cut(header, "?")
	source, err := parsePath("X-Copy-From", header)
	if err != nil {
		return err
	}
	if source.account, err = copyAccount(r, "X-Copy-From-Account", c.account); err != nil {
		return err
	}
	if query != "" { // "container/object?version-id=…"
		r = r.Clone(r.Context())
		r.URL.RawQuery += "&" + query
	}
	from := &call{target: source}
	if err := s.load(r, from); err != nil {
		return err
	}
	if err := s.authorizeHere(r, from, reading); err != nil {
		return err
	}
	return s.copy(w, r, from, c, func() error { return nil })
}

func copyAccount(r *http.Request, header, unset string) (string, error) {
	v := r.Header.Get(header)
	if v == "" {
		return unset, nil
	}
	account, err := unescape(v)
	if err != nil || strings.Contains(account, "/") {
		return "", api.PreconditionFailed("Account name cannot contain slashes")
	}
	return account, nil
}

// copy makes an object of another's content. What is copied of a manifest is
// its content, unless the request asks for the manifest; of a symlink, what it
// leads to, unless it asks for the link.
func (s *Service) copy(w http.ResponseWriter, r *http.Request, from, to *call, allowed func() error) error {
	q := r.URL.Query()
	if err := versionAllowed(r, from, q.Get("version-id"), reading); err != nil {
		return err
	}
	src, body, err := s.openObject(r.Context(), from.target, q.Get("version-id"))
	if err != nil {
		return err
	}
	defer func() { body.Close() }()
	if src.contentType == deletedType && q.Has("version-id") {
		return api.NotFound("The resource could not be found.")
	}
	if err := allowed(); err != nil {
		return err
	}
	keepLink := q.Get("symlink") == "get"
	if !keepLink {
		if src, body, err = s.follow(r, from, src, body, func(target) {}); err != nil {
			return err
		}
	}
	if err := s.segmentsAllowed(r, from, src); err != nil {
		return err
	}
	if status := precondition(r, body.etag, src.modified); status != 0 && r.Header.Get("If-None-Match") != "*" {
		w.WriteHeader(status)
		return nil
	}
	o, err := s.copiedRow(r, src, to)
	if err != nil {
		return err
	}
	if err := s.precheck(r, to); err != nil {
		return err
	}
	asManifest := q.Get("multipart-manifest") == "get"
	switch {
	case asManifest && src.slo != nil:
		o.slo, o.etag, o.size, o.manifestETag = src.slo, src.etag, src.size, src.manifestETag
	case asManifest && src.dlo != "":
		body, o.dlo = s.plain(r.Context(), src), src.dlo
	case keepLink:
		o.link = src.link
	}
	if o.slo != nil {
		if res, err := s.revalidate(r, to, o); err != nil {
			return err
		} else if len(res.errs) > 0 {
			return res.refuse(w, r)
		}
		body = s.plain(r.Context(), &object{etag: emptyMD5})
	}
	if body.size > maxObject {
		return api.TooLarge("the content of %s is larger than one object can be", from.path())
	}
	content, length, err := copiedRange(r, body)
	if err != nil {
		return err
	}
	b, err := s.receive(r.Context(), content, length)
	if err != nil {
		return err
	}
	if err := s.commit(r, to, o, b); err != nil {
		return err
	}
	h := w.Header()
	h.Set("X-Copied-From", escapePath(from.container+"/"+from.object))
	h.Set("X-Copied-From-Account", escapePath(from.account))
	h.Set("X-Copied-From-Last-Modified", httpTime(src.modified))
	for name, v := range o.headers {
		h.Set(name, v)
	}
	h.Del("Content-Encoding")
	created(w, o)
	return nil
}

// copiedRange is what of the source is copied: the piece that Range names.
func copiedRange(r *http.Request, body *content) (io.Reader, int64, error) {
	v := r.Header.Get("Range")
	if v == "" {
		return body, body.size, nil
	}
	ranges, err := parseRanges(v, body.size)
	switch {
	case errors.Is(err, errNoRange):
		return body, body.size, nil
	case err != nil || len(ranges) != 1:
		return nil, 0, api.Invalid("a copy takes one range of the source, Range is %q", v)
	}
	_, _ = body.Seek(ranges[0].off, io.SeekStart) // it never fails
	return io.LimitReader(body, ranges[0].n), ranges[0].n, nil
}

// revalidate checks that the segments of a copied manifest are there in the
// account it is copied to.
func (s *Service) revalidate(r *http.Request, to *call, o *object) (*bulkResult, error) {
	res := &bulkResult{slo: true}
	var wanted []wantedSegment
	for _, g := range o.slo {
		size := g.Full
		wanted = append(wanted, wantedSegment{Path: g.Path, Etag: g.Hash, Size: &size, Rng: g.Rng, Data: base64.StdEncoding.EncodeToString(g.Data)})
	}
	s.mayRead(r, to, wanted, res)
	if len(res.errs) > 0 {
		return res, nil
	}
	return res, s.db.View(r.Context(), func(tx *store.Tx) error { return s.assemble(tx, o, wanted, res) })
}

// copiedRow makes the row of a copy: with the source's metadata, over which
// the request's go; only with those if X-Fresh-Metadata says so.
func (s *Service) copiedRow(r *http.Request, src *object, to *call) (*object, error) {
	o, err := s.newObject(r, to.target)
	if err != nil {
		return nil, err
	}
	if r.Header.Get("Content-Type") == "" {
		o.contentType = src.contentType
	}
	if truthy(r.Header.Get("X-Fresh-Metadata")) {
		return o, nil
	}
	for k, v := range src.headers {
		if _, ok := o.headers[k]; !ok {
			o.headers[k] = v
		}
	}
	if o.expires.IsZero() {
		o.expires = src.expires
	}
	return o, o.headers.check("X-Object-Meta-")
}

// parsePath reads a "container/object" header, which may be percent-encoded
// and begin with a slash.
func parsePath(header, v string) (target, error) {
	text, err := unescape(v)
	if err != nil {
		return target{}, api.PreconditionFailed("header %s is %q: %v", header, v, err)
	}
	c, o, ok := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	if !ok || c == "" || o == "" {
		return target{}, api.PreconditionFailed("%s header must be of the form <container name>/<object name>", header)
	}
	if err := checkName("container", c, maxContainerName); err != nil {
		return target{}, err
	}
	return target{container: c, object: o}, checkName("object", o, maxObjectName)
}
