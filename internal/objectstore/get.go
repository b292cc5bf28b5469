package objectstore

import (
	"context"
	"io"
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

// lookup returns an object with its inline body.
func (s *Service) lookup(ctx context.Context, t target) (*object, error) {
	var o *object
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if o, err = s.get(tx, t); err != nil {
			return noContainer(err)
		}
		return o.load(tx)
	})
	return o, err
}

// getObject answers GET and HEAD of an object, at once or by long poll.
func (s *Service) getObject(w http.ResponseWriter, r *http.Request, c *call) error {
	o, content, err := s.await(r, c)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := s.segmentsAllowed(r, c.tempURL, o); err != nil {
		return err
	}
	h := w.Header()
	objectHeaders(h, o, content.etag)
	if c.tempURL {
		for name := range h {
			if strings.HasPrefix(name, "X-Object-Meta-") && !strings.HasPrefix(name, "X-Object-Meta-Public-") {
				h.Del(name)
			}
		}
		tempURLDisposition(h, r, o)
	}
	if r.URL.Query().Get("multipart-manifest") == "get" && o.slo != nil && !c.tempURL {
		return s.writeManifest(w, o)
	}
	if status := precondition(r, content.etag, o.modified); status != 0 {
		h.Del("Content-Length")
		w.WriteHeader(status)
		return nil
	}
	r = plainRange(r, content.etag, o.modified)
	if h.Get("Content-Encoding") != "" && r.Header.Get("Range") == "" { // ServeContent would leave it out
		h.Set("Content-Length", strconv.FormatInt(content.size, 10))
	}
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
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
	modified = modified.Truncate(time.Second)
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

// plainRange leaves http.ServeContent only the Range header to look at: the
// conditions are ours because Swift's ETags have no quotes.
func plainRange(r *http.Request, etag string, modified time.Time) *http.Request {
	r = r.Clone(r.Context())
	if v := r.Header.Get("If-Range"); v != "" {
		at, err := http.ParseTime(v)
		same := err == nil && modified.Truncate(time.Second).Equal(at)
		if !same && strings.Trim(v, `"`) != etag {
			r.Header.Del("Range")
		}
	}
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		r.Header.Del(name)
	}
	return r
}

// await returns the object as soon as it differs from If-None-Match, or when
// the time of X-Long-Poll is over; without that header, at once.
func (s *Service) await(r *http.Request, c *call) (*object, *content, error) {
	patience := longPoll(r)
	if patience == 0 {
		return s.openObject(r.Context(), c.target)
	}
	if s.waiters.Add(1) > maxWaiters {
		s.waiters.Add(-1)
		return s.openObject(r.Context(), c.target)
	}
	defer s.waiters.Add(-1)
	topics := c.topics()
	sub := s.bus.Subscribe(topics[len(topics)-1])
	defer sub.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		o, content, err := s.openObject(r.Context(), c.target)
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

func (s *Service) openObject(ctx context.Context, t target) (*object, *content, error) {
	o, err := s.lookup(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.content(ctx, o)
	return o, c, err
}

// content is what an object gives: its body, or the bodies of its segments one
// after the other. Nothing is opened before it is read.
type content struct {
	ctx   context.Context
	s     *Service
	parts []part
	size  int64
	etag  string

	off  int64
	open io.ReadCloser
	left int64 // of the open part
}

type part struct {
	o         *object // nil: to be looked up by at when its turn comes
	at        target
	off, size int64 // the piece of the object that counts
	etag      string
}

func (c *content) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += c.off
	case io.SeekEnd:
		off += c.size
	}
	if off != c.off {
		c.Close()
	}
	c.off = off
	return off, nil
}

func (c *content) Read(p []byte) (int, error) {
	for {
		if c.open == nil {
			if c.off >= c.size {
				return 0, io.EOF
			}
			if err := c.next(); err != nil {
				return 0, err
			}
		}
		n, err := c.open.Read(p[:min(int64(len(p)), c.left)])
		c.off += int64(n)
		c.left -= int64(n)
		switch {
		case c.left == 0:
			c.Close()
			if n > 0 {
				return n, nil
			}
			continue
		case err == io.EOF: //nolint:errorlint // io.Reader returns it bare
			return n, io.ErrUnexpectedEOF
		}
		return n, err
	}
}

// next opens the part that holds the current offset.
func (c *content) next() error {
	pos := c.off
	for i := range c.parts {
		p := &c.parts[i]
		if pos >= p.size {
			pos -= p.size
			continue
		}
		if p.o == nil {
			o, err := c.s.lookup(c.ctx, p.at)
			if err != nil {
				return err
			}
			if o.etag != p.etag {
				return api.Conflict("segment %s has changed", p.at.path())
			}
			if o.slo != nil || o.dlo != "" {
				return api.Conflict("segment %s is a manifest itself", p.at.path())
			}
			p.o = o
		}
		r, err := c.s.open(c.ctx, p.o, p.off+pos, p.size-pos)
		if err != nil {
			return err
		}
		c.open, c.left = r, p.size-pos
		return nil
	}
	return io.ErrUnexpectedEOF
}

// Close closes what is open; the content can be read on after a Seek.
func (c *content) Close() {
	if c.open != nil {
		_ = c.open.Close() // only read from
		c.open = nil
	}
}

// content prepares an object's content for reading.
func (s *Service) content(ctx context.Context, o *object) (*content, error) {
	c := &content{ctx: ctx, s: s, size: o.size, etag: o.etag}
	switch {
	case o.slo != nil:
		for _, seg := range o.slo {
			c.parts = append(c.parts, part{at: seg.target(o.account), off: seg.Off, size: seg.Size, etag: seg.Hash})
		}
	case o.dlo != "":
		return c, s.dynamic(ctx, o, c)
	default:
		c.parts = []part{{o: o, size: o.size}}
	}
	return c, nil
}
