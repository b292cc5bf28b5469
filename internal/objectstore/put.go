package objectstore

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Swift's ETag
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// putObject answers PUT of an object: its content, a copy of another
// (X-Copy-From) or the manifest of a large one.
func (s *Service) putObject(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.Header.Get("X-Copy-From") != "" {
		return s.copyFrom(w, r, c)
	}
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	if r.URL.Query().Get("multipart-manifest") == "put" {
		return s.putManifest(w, r, c)
	}
	if r.ContentLength > maxObject {
		return api.TooLarge("an object holds at most %d bytes; use a large object manifest", int64(maxObject))
	}
	o, err := s.newObject(r, c.target)
	if err != nil {
		return err
	}
	if o.dlo != "" && !c.owner { // it would open other containers to whoever may write here
		return denied(r)
	}
	if err := s.precheck(r, c.target); err != nil {
		return err
	}
	b, err := s.receive(r.Context(), r.Body, r.ContentLength)
	if err != nil {
		return err
	}
	if want := strings.Trim(r.Header.Get("Etag"), `"`); want != "" && !strings.EqualFold(want, b.etag) {
		s.abandon(r.Context(), b)
		return api.Unprocessable("the content's MD5 is %s, header ETag says %s", b.etag, want)
	}
	if err := s.commit(r, o, b); err != nil {
		return err
	}
	created(w, o)
	return nil
}

func created(w http.ResponseWriter, o *object) {
	h := w.Header()
	h.Set("Etag", o.etag)
	h.Set("Last-Modified", httpTime(o.modified))
	h.Set("X-Timestamp", timestamp(o.modified))
	h.Set("Content-Type", "text/html; charset=UTF-8")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// precheck answers what need not wait for the body.
func (s *Service) precheck(r *http.Request, t target) error {
	return s.db.View(r.Context(), func(tx *store.Tx) error {
		if _, err := getContainer(tx, t.account, t.container); err != nil {
			return noContainer(err)
		}
		return s.checkIfNone(tx, r, t)
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
		return api.Invalid("If-None-Match of a PUT is %q, expected *", v)
	}
}

// newObject makes the row of an object from the headers of its PUT.
func (s *Service) newObject(r *http.Request, t target) (*object, error) {
	o := &object{target: t, headers: meta{}}
	if err := s.applyHeaders(r, o); err != nil {
		return nil, err
	}
	o.contentType = r.Header.Get("Content-Type")
	if detect := r.Header.Get("X-Detect-Content-Type"); o.contentType == "" || strings.EqualFold(detect, "true") {
		o.contentType = guessType(t.object)
	}
	if m := r.Header.Get("X-Object-Manifest"); m != "" {
		if _, prefix, ok := strings.Cut(strings.TrimPrefix(m, "/"), "/"); !ok || prefix == "" || strings.ContainsAny(m, "?&") {
			return nil, api.Invalid("X-Object-Manifest is %q, expected container/prefix", m)
		}
		o.dlo = strings.TrimPrefix(m, "/")
	}
	return o, nil
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
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
	}
	return "application/octet-stream"
}

// applyHeaders reads metadata and expiry of a PUT or POST.
func (s *Service) applyHeaders(r *http.Request, o *object) error {
	const prefix = "X-Object-Meta-"
	for name, values := range r.Header {
		keep := strings.HasPrefix(name, prefix) && len(name) > len(prefix)
		if (keep || name == "Content-Encoding" || name == "Content-Disposition") && values[0] != "" {
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

func (s *Service) expiry(h http.Header) (time.Time, error) {
	now := s.now()
	if v := h.Get("X-Delete-After"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			return time.Time{}, api.Invalid("X-Delete-After is %q, expected seconds", v)
		}
		return now.Add(time.Duration(min(n, 1<<32)) * time.Second), nil
	}
	v := h.Get("X-Delete-At")
	if v == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > 1<<40 {
		return time.Time{}, api.Invalid("X-Delete-At is %q, expected seconds since the epoch", v)
	}
	at := time.Unix(n, 0)
	if at.Before(now.Truncate(time.Second)) {
		return time.Time{}, api.Invalid("X-Delete-At is in the past")
	}
	return at, nil
}

// receive stores a body: a small one in memory, for the row's transaction, a
// large one in the blob store. length is what the client announced, -1 for
// unknown.
func (s *Service) receive(ctx context.Context, r io.Reader, length int64) (*body, error) {
	head := make([]byte, 0, 4<<10)
	if length >= 0 && length <= maxInline {
		head = make([]byte, 0, length+1)
	}
	buf := bytes.NewBuffer(head)
	n, err := io.Copy(buf, io.LimitReader(r, maxInline+1))
	if err != nil {
		return nil, clientGone(err)
	}
	var b *body
	if n <= maxInline {
		sum := md5.Sum(buf.Bytes()) //nolint:gosec // Swift's ETag
		b = &body{key: newKey(), inline: buf.Bytes(), etag: hex.EncodeToString(sum[:]), size: n}
		if b.inline == nil {
			b.inline = []byte{}
		}
	} else {
		rest := &bounded{r: io.MultiReader(buf, r), left: maxObject}
		if b, err = s.write(ctx, rest); err != nil {
			return nil, clientGone(err)
		}
	}
	if length >= 0 && b.size != length {
		s.abandon(ctx, b)
		return nil, api.Invalid("the body holds %d bytes, Content-Length says %d", b.size, length)
	}
	return b, nil
}

// clientGone calls a body that broke off the client's fault.
func clientGone(err error) error {
	var e *api.Error
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
		return api.Invalid("the request body broke off").Wrap(err)
	}
	if errors.As(err, &e) {
		return e
	}
	return err
}

// bounded fails, rather than ends, behind its limit.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, api.TooLarge("the body is larger than allowed")
	}
	return n, err
}

// commit makes a received body the content of its object.
func (s *Service) commit(r *http.Request, o *object, b *body) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := getContainer(tx, o.account, o.container); err != nil {
			return noContainer(err)
		}
		if err := s.checkIfNone(tx, r, o.target); err != nil {
			return err
		}
		return s.put(tx, o, b)
	})
	if err != nil {
		s.abandon(r.Context(), b)
	}
	return err
}

// put writes one object with its body, whose container exists.
func (s *Service) put(tx *store.Tx, o *object, b *body) error {
	old, err := getRow(tx, o.target)
	if isNotFound(err) {
		old = nil
	} else if err != nil {
		return err
	}
	manifest := o.slo
	etag, size := o.etag, o.size
	if err := s.claim(tx, o, b); err != nil {
		return err
	}
	if manifest != nil { // a manifest's object is what its segments make
		o.etag, o.size = etag, size
	}
	o.modified = s.now()
	if old != nil && !o.modified.After(old.modified) {
		o.modified = old.modified.Add(time.Microsecond)
	}
	return s.replace(tx, o, old)
}

// copyObject answers COPY: the Destination header says where to.
func (s *Service) copyObject(w http.ResponseWriter, r *http.Request, c *call) error {
	dest, err := parsePath("Destination", r.Header.Get("Destination"))
	if err != nil {
		return err
	}
	dest.account = c.account
	if a := r.Header.Get("Destination-Account"); a != "" {
		dest.account = a
	}
	if !ownerMay(r, dest.account, writing) {
		if err := s.byACL(r, dest, writing); err != nil {
			return err
		}
	}
	return s.copy(w, r, c.target, dest)
}

// copyFrom answers PUT with X-Copy-From.
func (s *Service) copyFrom(w http.ResponseWriter, r *http.Request, c *call) error {
	source, err := parsePath("X-Copy-From", r.Header.Get("X-Copy-From"))
	if err != nil {
		return err
	}
	source.account = c.account
	if a := r.Header.Get("X-Copy-From-Account"); a != "" {
		source.account = a
	}
	if !ownerMay(r, source.account, reading) {
		if err := s.byACL(r, source, reading); err != nil {
			return err
		}
	}
	return s.copy(w, r, source, c.target)
}

func (s *Service) copy(w http.ResponseWriter, r *http.Request, from, to target) error {
	src, err := s.lookup(r.Context(), from)
	if err != nil {
		return err
	}
	if err := s.segmentsAllowed(r, false, src); err != nil {
		return err
	}
	o, err := s.newObject(r, to)
	if err != nil {
		return err
	}
	o.dlo = "" // a copy has the content itself
	if r.Header.Get("Content-Type") == "" {
		o.contentType = src.contentType
	}
	if fresh := r.Header.Get("X-Fresh-Metadata"); !strings.EqualFold(fresh, "true") {
		for k, v := range src.headers {
			if _, ok := o.headers[k]; !ok {
				o.headers[k] = v
			}
		}
	}
	if err := s.precheck(r, to); err != nil {
		return err
	}
	content, err := s.content(r.Context(), src)
	if err != nil {
		return err
	}
	if content.size > maxObject {
		return api.TooLarge("the content of %s is larger than one object can be", from.path())
	}
	defer content.Close()
	b, err := s.receive(r.Context(), content, content.size)
	if err != nil {
		return err
	}
	if err := s.commit(r, o, b); err != nil {
		return err
	}
	h := w.Header()
	h.Set("X-Copied-From", from.container+"/"+from.object)
	h.Set("X-Copied-From-Account", from.account)
	h.Set("X-Copied-From-Last-Modified", httpTime(src.modified))
	created(w, o)
	return nil
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
		return target{}, api.PreconditionFailed("header %s is %q, expected container/object", header, v)
	}
	if err := checkName("container", c, maxContainerName); err != nil {
		return target{}, err
	}
	return target{container: c, object: o}, checkName("object", o, maxObjectName)
}

// postObject replaces an object's metadata.
func (s *Service) postObject(w http.ResponseWriter, r *http.Request, c *call) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		o, err := s.get(tx, c.target)
		if err != nil {
			return noContainer(err)
		}
		o.headers = meta{}
		if err := s.applyHeaders(r, o); err != nil {
			return err
		}
		if t := r.Header.Get("Content-Type"); t != "" {
			o.contentType = t
		}
		old := *o
		o.modified = s.now()
		return s.replace(tx, o, &old)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteObject answers DELETE; with multipart-manifest=delete the segments of
// a static large object go too.
func (s *Service) deleteObject(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Get("multipart-manifest") == "delete" {
		return s.deleteManifest(w, r, c)
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		o, err := s.get(tx, c.target)
		if err != nil {
			return noContainer(err)
		}
		return s.remove(tx, o)
	})
	if err != nil {
		return err
	}
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
