package objectstore

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func unescape(v string) (string, error) { return url.PathUnescape(v) }

// lookup returns an object with its inline body: the current one, or that of a
// version id.
func (s *Service) lookup(ctx context.Context, t target, version string) (*object, error) {
	var o *object
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if version == "" {
			o, err = s.get(tx, t)
		} else {
			var v int64
			if v, err = parseVersionID(version); err != nil {
				return err
			}
			o, err = s.getVersion(tx, t, v)
		}
		if err != nil {
			return noContainer(err)
		}
		return o.load(tx)
	})
	return o, err
}

// getObject answers GET and HEAD of an object, at once or by long poll.
func (s *Service) getObject(w http.ResponseWriter, r *http.Request, c *call) error {
	q := r.URL.Query()
	version := ""
	if c.tempURL == "" { // which is for what is current
		version = q.Get("version-id")
	}
	if err := versionAllowed(r, c, version, reading); err != nil {
		return err
	}
	o, body, err := s.await(r, c, version)
	if err != nil {
		return err
	}
	defer func() { body.Close() }()
	h := w.Header()
	if o.contentType == deletedType && version != "" {
		h.Set("X-Object-Version-Id", version)
		return (&api.Error{Kind: api.KindNotFound, Message: "The resource could not be found.", Type: deletedType})
	}
	if o.version != 0 && version == "" {
		h.Set("Content-Location", escapePath(o.path())+"?version-id="+versionID(o.version))
	}
	if q.Get("symlink") == "get" && o.link != nil {
		o.link.write(h)
	} else if o.link != nil {
		o, body, err = s.follow(r, c, o, body, func(t target) { h.Set("Content-Location", escapePath(t.path())) })
		if err != nil {
			return err
		}
	}
	if o.version != 0 || version == "null" || o.target == c.target && c.con != nil && c.con.meta[metaVersionsEnabled] != "" {
		h.Set("X-Object-Version-Id", versionID(o.version))
	}
	if err := s.segmentsAllowed(r, c, o); err != nil {
		return err
	}
	if q.Get("multipart-manifest") == "get" && o.slo != nil {
		objectHeaders(h, o, o.manifestETag)
		h["Etag"] = []string{o.manifestETag} // of the manifest, not of what it gives: without quotes
		return s.writeManifest(w, r, o)
	}
	if q.Get("multipart-manifest") == "get" && o.dlo != "" {
		body.Close()
		body = s.plain(r.Context(), o)
	}
	objectHeaders(h, o, body.etag)
	if c.tempURL != "" {
		for name := range h {
			if strings.HasPrefix(name, "X-Object-Meta-") && !strings.HasPrefix(name, "X-Object-Meta-Public-") {
				h.Del(name)
			}
		}
		tempURLDisposition(h, r, o)
	}
	return s.send(w, r, o, body)
}

// versionAllowed checks a request with version-id: versions are for the
// account's own users.
func versionAllowed(r *http.Request, c *call, id string, want intent) error {
	switch {
	case id == "" || id == "null":
		return nil
	case c.tempURL != "":
		return api.Invalid("version-id is not allowed with a temporary URL")
	case c.con == nil || c.con.meta[metaVersionsEnabled] == "":
		return api.Invalid("version-aware operations require that the container is versioned")
	case !c.owner && !ownerMay(r, c.account, want):
		return denied(r)
	}
	return nil
}

// send answers with an object's content as the request's conditions and ranges
// want it.
func (s *Service) send(w http.ResponseWriter, r *http.Request, o *object, body *content) error {
	if status := precondition(r, body.etag, o.modified); status != 0 {
		w.Header().Del("Content-Length")
		w.WriteHeader(status)
		return nil
	}
	return s.serveContent(w, plainRange(r, body.etag, o.modified), o, body)
}

func objectHeaders(h http.Header, o *object, etag string) {
	o.headers.write(h, true)
	h.Set("Content-Type", o.contentType)
	h.Set("Last-Modified", httpTime(o.modified))
	h.Set("X-Timestamp", timestamp(o.modified))
	h.Set("Accept-Ranges", "bytes")
	h["Etag"] = []string{etag}
	if o.dlo != "" {
		h.Set("X-Object-Manifest", o.dlo)
		h["Etag"] = []string{`"` + etag + `"`}
	}
	if o.slo != nil {
		h.Set("X-Static-Large-Object", "True")
		h["Etag"] = []string{`"` + etag + `"`}
		h.Set("X-Manifest-Etag", o.manifestETag)
	}
	if !o.expires.IsZero() {
		h.Set("X-Delete-At", strconv.FormatInt(o.expires.Unix(), 10))
	}
}

// tempURLDisposition has browsers save what a temporary URL gives, unless the
// URL says inline.
func tempURLDisposition(h http.Header, r *http.Request, o *object) {
	q := r.URL.Query()
	if q.Has("inline") && !q.Has("filename") {
		h.Set("Content-Disposition", "inline")
		return
	}
	if q.Has("inline") {
		h.Set("Content-Disposition", "inline; "+dispositionName(q.Get("filename")))
		return
	}
	name := q.Get("filename")
	if name == "" {
		if h.Get("Content-Disposition") != "" {
			return
		}
		name = path.Base(strings.TrimRight(o.object, "/"))
	}
	h.Set("Content-Disposition", "attachment; "+dispositionName(name))
}

func dispositionName(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return -1
		}
		return c
	}, name)
	return `filename="` + strings.NewReplacer(`\`, `\\`, `"`, `%22`).Replace(plain) + `"; filename*=UTF-8''` + url.PathEscape(plain)
}

// precondition returns 304 or 412 if a condition of the request says so.
func precondition(r *http.Request, etag string, modified time.Time) int {
	h := r.Header
	if modified.Truncate(time.Second) != modified { // as Last-Modified says it
		modified = modified.Truncate(time.Second).Add(time.Second)
	}
	if v := h.Get("If-Match"); v != "" && !etagIn(v, etag) {
		return http.StatusPreconditionFailed
	}
	if v := h.Get("If-None-Match"); v != "" {
		if etagIn(v, etag) {
			return http.StatusNotModified
		}
	} else if at, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && !modified.After(at) {
		return http.StatusNotModified
	}
	if at, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && modified.After(at) {
		return http.StatusPreconditionFailed
	}
	return 0
}

func etagIn(list, etag string) bool {
	for v := range strings.SplitSeq(list, ",") {
		v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
		if v == "*" || strings.Trim(v, `"`) == etag {
			return true
		}
	}
	return false
}

// plainRange leaves of the conditions only the Range header, if it counts.
func plainRange(r *http.Request, etag string, modified time.Time) *http.Request {
	v := r.Header.Get("If-Range")
	if v == "" {
		return r
	}
	at, err := http.ParseTime(v)
	if err == nil && httpTime(modified) == httpTime(at) || strings.Trim(v, `"`) == etag {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	return r
}

// await returns the object as soon as it differs from If-None-Match, or when
// the time of X-Long-Poll is over; without that header, at once.
func (s *Service) await(r *http.Request, c *call, version string) (*object, *content, error) {
	patience := longPoll(r)
	if patience == 0 {
		return s.openObject(r.Context(), c.target, version)
	}
	if s.waiters.Add(1) > maxWaiters {
		s.waiters.Add(-1)
		return s.openObject(r.Context(), c.target, version)
	}
	defer s.waiters.Add(-1)
	topics := c.topics()
	sub := s.bus.Subscribe(topics[len(topics)-1])
	defer sub.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		o, content, err := s.openObject(r.Context(), c.target, version)
		if err != nil || !etagIn(r.Header.Get("If-None-Match"), content.etag) {
			return o, content, err
		}
		select {
		case <-sub.C():
			content.Close()
		case <-timer.C:
			return o, content, nil
		case <-s.stop:
			return o, content, nil
		case <-r.Context().Done():
			content.Close()
			return nil, nil, api.Invalid("the client went away").Wrap(r.Context().Err())
		}
	}
}

func longPoll(r *http.Request) time.Duration {
	n, err := strconv.Atoi(r.Header.Get("X-Long-Poll"))
	if err != nil || n <= 0 || r.Header.Get("If-None-Match") == "" {
		return 0
	}
	return min(time.Duration(min(n, 3600))*time.Second, maxLongPoll)
}

func (s *Service) openObject(ctx context.Context, t target, version string) (*object, *content, error) {
	o, err := s.lookup(ctx, t, version)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.content(ctx, o)
	return o, c, err
}
