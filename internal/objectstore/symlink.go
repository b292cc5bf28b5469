package objectstore

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// maxLinks is how many symlinks may lead to an object.
const maxLinks = 2

// symlink is where a symlink object leads to. With an ETag it is static: it
// only ever gives that content.
type symlink struct {
	Account   string `json:"account"`
	Container string `json:"container"`
	Object    string `json:"object"`
	ETag      string `json:"etag,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
	Foreign   bool   `json:"foreign,omitempty"` // the account was named
	Type      string `json:"type,omitempty"`    // content type of a static link's target
	SLO       string `json:"slo,omitempty"`     // what gives the target, if it is a static large object, its ETag
}

func (l *symlink) target() target { return target{l.Account, l.Container, l.Object} }

func escapePath(p string) string { return (&url.URL{Path: p}).EscapedPath() }

// write sets the headers that tell of the link itself.
func (l *symlink) write(h http.Header) {
	h.Set("X-Symlink-Target", escapePath(l.Container+"/"+l.Object))
	if l.Foreign {
		h.Set("X-Symlink-Target-Account", l.Account)
	}
	if l.ETag != "" {
		h["X-Symlink-Target-Etag"] = []string{l.ETag}
		h.Set("X-Symlink-Target-Bytes", itoa(l.Bytes))
	}
}

// symlinkOf reads a PUT's symlink headers; nil without.
func symlinkOf(r *http.Request, t target) (*symlink, error) {
	h := r.Header
	if h.Get("X-Symlink-Target") == "" {
		if h.Get("X-Symlink-Target-Account") != "" || h.Get("X-Symlink-Target-Etag") != "" {
			return nil, api.Invalid("X-Symlink-Target is missing")
		}
		return nil, nil //nolint:nilnil // no link
	}
	if r.ContentLength > 0 {
		return nil, api.Invalid("Symlink requests require a zero byte body")
	}
	to, err := parsePath("X-Symlink-Target", h.Get("X-Symlink-Target"))
	if err != nil || strings.HasPrefix(h.Get("X-Symlink-Target"), "/") {
		return nil, api.PreconditionFailed("X-Symlink-Target header must be of the form <container name>/<object name>")
	}
	l := &symlink{Account: t.account, Container: to.container, Object: to.object, ETag: strings.Trim(h.Get("X-Symlink-Target-Etag"), `"`)}
	if a := h.Get("X-Symlink-Target-Account"); a != "" {
		if l.Account, err = unescape(a); err != nil || strings.Contains(l.Account, "/") {
			return nil, api.PreconditionFailed("Account name cannot contain slashes")
		}
		l.Foreign = true
	}
	if l.target() == t {
		return nil, api.Invalid("Symlink cannot target itself")
	}
	return l, nil
}

// pinLink checks that what a static symlink leads to is there with the ETag.
func (s *Service) pinLink(r *http.Request, c *call, l *symlink) error {
	if l.ETag == "" {
		return nil
	}
	if err := s.authorize(r, c, l.target(), reading); err != nil {
		return err
	}
	o, err := s.lookup(r.Context(), l.target(), "")
	if status(err) == http.StatusNotFound {
		return api.Conflict("X-Symlink-Target does not exist")
	}
	if err != nil {
		return err
	}
	if have := o.rawETag(); have != l.ETag {
		return api.Conflict("Object Etag '%s' does not match X-Symlink-Target-Etag header '%s'", have, l.ETag)
	}
	l.Bytes, l.Type = o.size, o.contentType
	if o.slo != nil {
		l.SLO = o.etag
	}
	if o.link != nil && o.link.ETag != "" {
		l.Bytes = o.link.Bytes
	}
	return nil
}

// rawETag is the ETag of what an object's row itself holds: that of a
// manifest, not of what it stands for.
func (o *object) rawETag() string {
	switch {
	case o.slo != nil:
		return o.manifestETag
	case o.link != nil && o.link.ETag != "":
		return o.link.ETag
	}
	return o.etag
}

// follow returns what a chain of symlinks leads to; o and its content itself if
// it is no link. at is told each place on the way, also when it is the last.
func (s *Service) follow(r *http.Request, c *call, o *object, body *content, at func(target)) (*object, *content, error) {
	for hops := 0; o.link != nil; hops++ {
		body.Close()
		link := o.link
		at(link.target())
		if hops == maxLinks {
			return nil, nil, api.Conflict("Too many levels of symbolic links, maximum allowed is %d", maxLinks)
		}
		if err := s.authorize(r, c, link.target(), reading); err != nil {
			return nil, nil, err
		}
		var err error
		if o, body, err = s.openObject(r.Context(), link.target(), ""); err != nil {
			return nil, nil, err
		}
		if link.ETag != "" && o.rawETag() != link.ETag {
			body.Close()
			return nil, nil, api.Conflict("Object Etag '%s' does not match X-Symlink-Target-Etag header '%s'", o.rawETag(), link.ETag)
		}
	}
	return o, body, nil
}

// resolve follows symlinks in a transaction, without asking who may.
func (s *Service) resolve(tx *store.Tx, t target) (*object, error) {
	o, err := s.get(tx, t)
	for hops := 0; err == nil && o.link != nil; hops++ {
		if hops == maxLinks {
			return nil, api.Conflict("Too many levels of symbolic links, maximum allowed is %d", maxLinks)
		}
		o, err = s.get(tx, o.link.target())
	}
	return o, err
}
