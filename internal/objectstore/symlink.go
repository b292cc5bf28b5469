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
	o, content, err := s.openObject(r.Context(), l.target(), "")
	for range maxLinks {
		if err == nil && o.link != nil {
			content.Close()
			o, content, err = s.openObject(r.Context(), o.link.target(), "")
		}
	}
	if err != nil {
		if status(err) == http.StatusNotFound {
			return api.Conflict("X-Symlink-Target does not exist")
		}
		return err
	}
	content.Close()
	if content.etag != l.ETag {
		return api.Conflict("Object Etag %q does not match X-Symlink-Target-Etag header %q", content.etag, l.ETag)
	}
	l.Bytes = content.size
	return nil
}

// follow returns what a chain of symlinks leads to and how it is called; o and
// its content itself if it is no link.
func (s *Service) follow(r *http.Request, c *call, o *object, body *content) (*object, *content, error) {
	for hops := 0; o.link != nil; hops++ {
		body.Close()
		if hops == maxLinks {
			return nil, nil, api.Conflict("Too many levels of symbolic links, maximum allowed is %d", maxLinks)
		}
		link := o.link
		if err := s.authorize(r, c, link.target(), reading); err != nil {
			return nil, nil, err
		}
		var err error
		if o, body, err = s.openObject(r.Context(), link.target(), ""); err != nil {
			return nil, nil, err
		}
		if link.ETag != "" && o.link == nil && body.etag != link.ETag {
			body.Close()
			return nil, nil, api.Conflict("Object Etag %q does not match X-Symlink-Target-Etag header %q", body.etag, link.ETag)
		}
	}
	return o, body, nil
}

// linkHere returns the link at t, if there is one.
func linkHere(tx *store.Tx, t target) (*symlink, error) {
	o, err := findRow(tx, t)
	if err != nil || o == nil {
		return nil, err
	}
	return o.link, nil
}
