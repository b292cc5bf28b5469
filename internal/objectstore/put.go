package objectstore

import (
	"crypto/md5" //nolint:gosec // Swift's ETag
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// putObject answers PUT of an object: its content, a copy of another
// (X-Copy-From), the manifest of a large one, a link, or a version made
// current.
func (s *Service) putObject(w http.ResponseWriter, r *http.Request, c *call) error {
	q := r.URL.Query()
	switch {
	case r.Header.Get("X-Copy-From") != "":
		return s.copyFrom(w, r, c)
	case q.Has("extract-archive"):
		return s.extractArchive(w, r, c)
	case q.Get("multipart-manifest") == "put":
		return s.putManifest(w, r, c)
	case q.Has("version-id"):
		return s.putVersion(w, r, c)
	case r.ContentLength > maxObject:
		return api.TooLarge("Your request is too large: an object holds at most %d bytes; use a large object manifest", int64(maxObject))
	}
	if r.RequestURI != "" && r.ContentLength == 0 && r.Header.Get("Content-Length") == "" { // came over a socket without
		return &api.Error{Kind: api.KindLengthRequired, Message: "Missing Content-Length header."}
	}
	o, err := s.newObject(r, c.target)
	if err != nil {
		return err
	}
	if err := s.precheck(r, c); err != nil {
		return err
	}
	if o.link != nil {
		if err := s.pinLink(r, c, o.link); err != nil {
			return err
		}
		if r.Header.Get("Content-Type") == "" && o.link.Type != "" {
			o.contentType = o.link.Type
		}
	}
	b, err := s.receive(r.Context(), r.Body, r.ContentLength)
	if err != nil {
		return err
	}
	if o.link != nil && b.size > 0 {
		s.abandon(r.Context(), b)
		return api.Invalid("Symlink requests require a zero byte body")
	}
	if want := strings.Trim(r.Header.Get("Etag"), `"`); want != "" && !strings.EqualFold(want, b.etag) {
		s.abandon(r.Context(), b)
		return api.Unprocessable("the content's MD5 is %s, header ETag says %s", b.etag, want)
	}
	if err := s.commit(r, c, o, b); err != nil {
		return err
	}
	created(w, o)
	return nil
}

func created(w http.ResponseWriter, o *object) {
	h := w.Header()
	h["Etag"] = []string{o.etag}
	if o.slo != nil {
		h["Etag"] = []string{`"` + o.etag + `"`}
	}
	h.Set("Last-Modified", httpTime(o.modified))
	h.Set("X-Timestamp", timestamp(o.modified))
	if o.version != 0 {
		h.Set("X-Object-Version-Id", versionID(o.version))
	}
	h.Set("Content-Type", "text/html; charset=UTF-8")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// putVersion answers PUT with version-id.
func (s *Service) putVersion(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.ContentLength != 0 {
		return api.Invalid("PUT version-id requests require a zero byte body")
	}
	if err := versionAllowed(r, c, r.URL.Query().Get("version-id"), writing); err != nil {
		return err
	}
	var o *object
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		o, err = s.restore(tx, c.target, r.URL.Query().Get("version-id"))
		return err
	})
	if err != nil {
		return err
	}
	created(w, o)
	return nil
}

// precheck answers what need not wait for the body.
func (s *Service) precheck(r *http.Request, c *call) error {
	if c.con == nil {
		return noContainer(store.ErrNotFound)
	}
	if r.ContentLength <= maxInline && r.Header.Get("If-None-Match") == "" { // soon enough in the transaction
		return nil
	}
	return s.db.View(r.Context(), func(tx *store.Tx) error {
		if err := s.checkIfNone(tx, r, c.target); err != nil {
			return err
		}
		if r.ContentLength <= 0 {
			return nil
		}
		old, err := findRow(tx, c.target)
		if err != nil {
			return err
		}
		return s.checkQuota(tx, c.con, &object{target: c.target}, &body{size: r.ContentLength}, old)
	})
}

// checkIfNone honours If-None-Match: * of a PUT.
func (s *Service) checkIfNone(tx *store.Tx, r *http.Request, t target) error {
	switch v := r.Header.Get("If-None-Match"); v {
	case "":
		return nil
	case "*":
		_, err := s.get(tx, t)
		if err == nil {
			return api.PreconditionFailed("the object exists")
		}
		if isNotFound(err) {
			return nil
		}
		return err
	default:
		return api.Invalid("If-None-Match only supports *")
	}
}

// newObject makes the row of an object from the headers of its PUT.
func (s *Service) newObject(r *http.Request, t target) (*object, error) {
	o := &object{target: t, headers: meta{}}
	if err := s.applyHeaders(r, o); err != nil {
		return nil, err
	}
	o.contentType = r.Header.Get("Content-Type")
	if o.contentType == "" || truthy(r.Header.Get("X-Detect-Content-Type")) {
		o.contentType = guessType(t.object)
	}
	if strings.ContainsFunc(o.contentType, func(c rune) bool { return c < 0x20 }) {
		return nil, api.Invalid("Content-Type is malformed")
	}
	var err error
	if o.dlo, err = dloHeader(r.Header); err != nil {
		return nil, err
	}
	o.link, err = symlinkOf(r, t)
	return o, err
}

// dloHeader reads X-Object-Manifest: "" without.
func dloHeader(h http.Header) (string, error) {
	m := h.Get("X-Object-Manifest")
	if m == "" {
		return "", nil
	}
	m = strings.TrimPrefix(m, "/")
	text, err := unescape(m)
	if err != nil {
		return "", api.Invalid("X-Object-Manifest is %q: %v", m, err)
	}
	if con, prefix, ok := strings.Cut(text, "/"); !ok || con == "" || prefix == "" || strings.ContainsAny(m, "?&") || strings.HasPrefix(prefix, "/") {
		return "", api.Invalid("X-Object-Manifest must be in the format container/prefix")
	}
	return m, nil
}

// dloPlace is the container and prefix of a dynamic large object's segments;
// the header is kept as it was sent.
func dloPlace(manifest string) (container, prefix string) {
	text, err := unescape(manifest)
	if err != nil { // it was checked when it was set
		text = manifest
	}
	container, prefix, _ = strings.Cut(text, "/")
	return container, prefix
}

func guessType(name string) string {
	// Those of the plan's files, which Go's table leaves to the system.
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case "":
		return "application/octet-stream"
	case ".yaml", ".yml":
		return "application/x-yaml"
	case ".sh":
		return "application/x-sh"
	case ".py":
		return "text/x-python"
	case ".txt":
		return "text/plain"
	case ".wav":
		return "audio/x-wav"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
	}
	return "application/octet-stream"
}

// systemHeaders are those kept with an object besides its metadata.
func systemHeaders() []string {
	return []string{"Content-Encoding", "Content-Disposition", "Cache-Control", "Content-Language", "Expires", "X-Robots-Tag"}
}

// applyHeaders reads metadata and expiry of a PUT or POST.
func (s *Service) applyHeaders(r *http.Request, o *object) error {
	const prefix = "X-Object-Meta-"
	for name, values := range r.Header {
		if name == prefix {
			return api.Invalid("Metadata name cannot be empty")
		}
		if strings.HasPrefix(name, prefix) || slices.Contains(systemHeaders(), name) && values[0] != "" {
			o.headers[name] = values[0]
		}
	}
	if err := o.headers.check(prefix); err != nil {
		return err
	}
	var err error
	o.expires, err = s.expiry(r.Header)
	return err
}

// maxExpiry is as far as Swift looks ahead, in seconds since the epoch.
const maxExpiry = 9_999_999_999

func (s *Service) expiry(h http.Header) (time.Time, error) {
	now := s.now()
	for _, name := range []string{"X-Delete-After", "X-Delete-At"} {
		v := h.Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(v, "-"):
			n = maxExpiry
		case err != nil:
			return time.Time{}, api.Invalid("Non-integer %s", name)
		}
		if name == "X-Delete-After" {
			n = min(n, maxExpiry) + now.Unix()
		}
		at := time.Unix(min(n, maxExpiry), 0)
		if !at.After(now) {
			return time.Time{}, api.Invalid("%s in past", name)
		}
		return at, nil
	}
	return time.Time{}, nil
}

// ifDeleteAt honours X-If-Delete-At of a DELETE: only what expires then goes.
func ifDeleteAt(tx *store.Tx, r *http.Request, t target) error {
	v := r.Header.Get("X-If-Delete-At")
	if v == "" {
		return nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return api.Invalid("Bad X-If-Delete-At header value")
	}
	o, err := findRow(tx, t)
	if err != nil {
		return err
	}
	if o == nil || o.expires.Unix() != n {
		return api.PreconditionFailed("X-If-Delete-At does not match")
	}
	return nil
}

// commit makes a received body the content of its object.
func (s *Service) commit(r *http.Request, c *call, o *object, b *body) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		con, err := getContainer(tx, o.account, o.container)
		if err != nil {
			return noContainer(err)
		}
		if err := s.checkIfNone(tx, r, o.target); err != nil {
			return err
		}
		return s.put(tx, &con, o, b)
	})
	if err != nil {
		s.abandon(r.Context(), b)
	}
	return err
}

// postObject replaces an object's metadata.
func (s *Service) postObject(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("bulk-delete") {
		return s.bulkDelete(w, r, c)
	}
	if r.URL.Query().Has("version-id") {
		return api.Invalid("POST to a specific version is not allowed")
	}
	var link *symlink
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		o, err := s.get(tx, c.target)
		if err != nil {
			return noContainer(err)
		}
		link = o.link
		if r.Header.Get("X-Symlink-Target") != "" {
			return api.Invalid("A PUT request is required to set a symlink target")
		}
		old := *o
		o.headers = meta{}
		if err := s.applyHeaders(r, o); err != nil {
			return err
		}
		if t := r.Header.Get("Content-Type"); t != "" {
			o.contentType = t
		}
		if o.slo == nil {
			if o.dlo, err = dloHeader(r.Header); err != nil {
				return err
			}
		}
		o.modified = s.tick()
		if !o.modified.After(old.modified) {
			o.modified = old.modified.Add(tick)
		}
		return s.replace(tx, o, &old)
	})
	if err != nil {
		return err
	}
	if link != nil {
		w.Header().Set("Location", escapePath(link.target().path()))
		link.write(w.Header())
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTemporaryRedirect)
		fmt.Fprintf(w, "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.")
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteObject answers DELETE; with multipart-manifest=delete the segments of
// a static large object go too.
func (s *Service) deleteObject(w http.ResponseWriter, r *http.Request, c *call) error {
	q := r.URL.Query()
	if q.Has("bulk-delete") {
		return s.bulkDelete(w, r, c)
	}
	if q.Get("multipart-manifest") == "delete" {
		return s.deleteManifest(w, r, c)
	}
	if c.con == nil {
		return noContainer(store.ErrNotFound)
	}
	id := q.Get("version-id")
	if err := versionAllowed(r, c, id, writing); err != nil {
		return err
	}
	var res deleteResult
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		con, err := getContainer(tx, c.account, c.container)
		if err != nil {
			return err
		}
		if err := ifDeleteAt(tx, r, c.target); err != nil {
			return err
		}
		switch {
		case id == "" || id == "null" && con.meta[metaVersionsEnabled] == "":
			res, err = s.delete(tx, &con, c.target)
		default:
			res, err = s.deleteVersion(tx, c.target, id)
		}
		return err
	})
	if err != nil {
		return noContainer(err)
	}
	h := w.Header()
	if res.version != "" {
		h.Set("X-Object-Version-Id", res.version)
	}
	if res.current != "" {
		h.Set("X-Object-Current-Version-Id", res.current)
	}
	if res.missing {
		return noContainer(store.ErrNotFound)
	}
	h.Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// httpTime is a time as HTTP has it, rounded up so that nothing seems older
// than it is.
func httpTime(t time.Time) string {
	if t.Truncate(time.Second) != t {
		t = t.Truncate(time.Second).Add(time.Second)
	}
	return t.UTC().Format(http.TimeFormat)
}

func etagOf(parts []string) string {
	sum := md5.New() //nolint:gosec // Swift's ETag
	for _, p := range parts {
		fmt.Fprint(sum, p)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
