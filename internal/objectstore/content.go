package objectstore

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/tripleo/tripleo/internal/api"
)

// content is what an object gives: its body, or the bodies of its segments one
// after the other. Nothing is opened before it is read.
type content struct {
	ctx   context.Context //nolint:containedctx // lives as long as the request it answers
	s     *Service
	parts []part
	size  int64
	etag  string
	depth int // of manifests within manifests

	off  int64
	open io.ReadCloser
	left int64 // of the open part
}

type part struct {
	o         *object // nil: to be looked up by at when its turn comes
	at        target
	off, size int64 // the piece of the object that counts
	etag      string
	data      []byte // given in the manifest itself
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
		case errors.Is(err, io.EOF):
			return n, io.ErrUnexpectedEOF
		default:
			return n, err
		}
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
		r, err := c.openPart(p, p.off+pos, p.size-pos)
		if err != nil {
			return err
		}
		c.open, c.left = r, p.size-pos
		return nil
	}
	return io.ErrUnexpectedEOF
}

func (c *content) openPart(p *part, off, n int64) (io.ReadCloser, error) {
	if p.data != nil {
		return io.NopCloser(bytes.NewReader(p.data[off : off+n])), nil
	}
	if p.o == nil {
		o, err := c.s.lookup(c.ctx, p.at, "")
		if err != nil {
			return nil, api.Conflict("segment %s cannot be read", p.at.path()).Wrap(err)
		}
		p.o = o
	}
	if p.o.slo == nil && p.o.dlo == "" && p.o.link == nil {
		if p.etag != "" && p.o.etag != p.etag {
			return nil, api.Conflict("segment %s has changed", p.at.path())
		}
		return c.s.open(c.ctx, p.o, off, n)
	}
	if c.depth >= maxNesting {
		return nil, api.Conflict("There was a conflict when trying to complete your request.").Wrap(errTooDeep)
	}
	o := p.o
	for hops := 0; o.link != nil; hops++ {
		to, err := c.s.lookup(c.ctx, o.link.target(), "")
		if err != nil || hops == maxLinks {
			return nil, api.Conflict("segment %s cannot be read", p.at.path()).Wrap(err)
		}
		o = to
	}
	sub, err := c.s.content(c.ctx, o)
	if err != nil {
		return nil, err
	}
	sub.depth = c.depth + 1
	if p.etag != "" && sub.etag != p.etag {
		return nil, api.Conflict("segment %s has changed", p.at.path())
	}
	sub.off = off
	return nested{sub}, nil
}

var errTooDeep = errors.New("manifests are nested too deeply") //nolint:gochecknoglobals // a sentinel

// nested is a manifest as the segment of another.
type nested struct{ *content }

func (n nested) Close() error { n.content.Close(); return nil }

// Close closes what is open; the content can be read on after a Seek.
func (c *content) Close() {
	if c != nil && c.open != nil {
		_ = c.open.Close() // only read from
		c.open = nil
	}
}

// content prepares an object's content for reading.
func (s *Service) content(ctx context.Context, o *object) (*content, error) {
	switch {
	case o.slo != nil:
		c := &content{ctx: ctx, s: s, size: o.size, etag: o.etag}
		for _, seg := range o.slo {
			c.parts = append(c.parts, part{at: seg.target(o.account), off: seg.Off, size: seg.Size, etag: seg.Hash, data: seg.Data})
		}
		return c, nil
	case o.dlo != "":
		c := &content{ctx: ctx, s: s}
		return c, s.dynamic(ctx, o, c)
	}
	return s.plain(ctx, o), nil
}

// plain is the content of an object's own body.
func (s *Service) plain(ctx context.Context, o *object) *content {
	c := &content{ctx: ctx, s: s, size: o.size, etag: o.etag}
	if o.slo != nil {
		c.size = 0
	}
	c.parts = []part{{o: &object{target: o.target, etag: o.etag, bodyKey: o.bodyKey, inline: o.inline, stored: o.stored, data: o.data}, size: c.size}}
	return c
}
