package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// byteRange is a piece of content.
type byteRange struct{ off, n int64 }

func (b byteRange) header(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", b.off, b.off+b.n-1, size)
}

// Bounds of what a Range header may ask for, so that a small request cannot
// cost much: as in Swift, more than these are answered as if none were asked
// for is not safe, so they are refused.
const (
	maxRanges        = 50
	maxOverlapping   = 2
	maxNonAscending  = 8
	copyBufferLength = 256 << 10
)

var (
	errNoRange      = errors.New("no range")            //nolint:gochecknoglobals // a sentinel
	errUnsatisfying = errors.New("range not satisfied") //nolint:gochecknoglobals // a sentinel
)

// parseRanges reads a Range header (RFC 9110, section 14.2). errNoRange for a
// header to be passed over.
func parseRanges(header string, size int64) ([]byteRange, error) {
	unit, text, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return nil, errNoRange
	}
	var out []byteRange
	specs := 0
	for spec := range strings.SplitSeq(text, ",") {
		spec = strings.TrimSpace(spec)
		if spec == "" {
			continue
		}
		specs++
		first, last, ok := strings.Cut(spec, "-")
		if !ok {
			return nil, errNoRange
		}
		r, err := oneRange(strings.TrimSpace(first), strings.TrimSpace(last), size)
		if err != nil {
			return nil, err
		}
		if r.n > 0 {
			out = append(out, r)
		}
	}
	if specs == 0 {
		return nil, errNoRange
	}
	if len(out) == 0 || tooMany(out) {
		return nil, errUnsatisfying
	}
	return out, nil
}

func oneRange(first, last string, size int64) (byteRange, error) {
	number := func(v string) (int64, error) {
		if v == "" || strings.ContainsFunc(v, func(c rune) bool { return c < '0' || c > '9' }) {
			return 0, errNoRange
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, errNoRange
		}
		return n, nil
	}
	if first == "" { // the last bytes
		n, err := number(last)
		n = min(n, size)
		return byteRange{size - n, n}, err
	}
	a, err := number(first)
	if err != nil {
		return byteRange{}, err
	}
	b := size - 1
	if last != "" {
		if b, err = number(last); err != nil {
			return byteRange{}, err
		}
		if b < a {
			return byteRange{}, errNoRange
		}
		b = min(b, size-1)
	}
	return byteRange{a, max(0, b-a+1)}, nil
}

func tooMany(ranges []byteRange) bool {
	if len(ranges) > maxRanges {
		return true
	}
	overlapping, descending := 0, 0
	for i, r := range ranges {
		for _, o := range ranges[:i] {
			if r.off < o.off+o.n && o.off < r.off+r.n {
				overlapping++
				break
			}
		}
		if i > 0 && r.off < ranges[i-1].off {
			descending++
		}
	}
	return overlapping > maxOverlapping || descending > maxNonAscending
}

// serveContent writes the content, or the ranges of it that the request asks
// for. What fails once bytes have left breaks the connection off, so that the
// client does not take half for the whole.
func (s *Service) serveContent(w http.ResponseWriter, r *http.Request, o *object, body *content) error {
	h := w.Header()
	whole := []byteRange{{0, body.size}}
	ranges, err := whole, errNoRange
	if v := r.Header.Get("Range"); v != "" {
		ranges, err = parseRanges(v, body.size)
	}
	switch {
	case errors.Is(err, errUnsatisfying) && body.size > 0:
		h.Set("Content-Range", "bytes */"+itoa(body.size))
		h.Set("Content-Type", "text/html; charset=UTF-8")
		page := "<html><h1>Requested Range Not Satisfiable</h1><p>The Range requested is not available.</p></html>"
		h.Set("Content-Length", strconv.Itoa(len(page)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, page) // the client may have gone
		}
		return nil
	case err != nil:
		h.Set("Content-Length", itoa(body.size))
		return s.copyOut(w, r, body, whole[0], http.StatusOK)
	case len(ranges) > 1 && o.dlo != "": // as in Swift, which learns the segments while it sends them
		h.Set("Content-Length", itoa(body.size))
		return s.copyOut(w, r, body, whole[0], http.StatusOK)
	case len(ranges) == 1:
		h.Set("Content-Range", ranges[0].header(body.size))
		h.Set("Content-Length", itoa(ranges[0].n))
		return s.copyOut(w, r, body, ranges[0], http.StatusPartialContent)
	}
	return s.serveParts(w, r, o, body, ranges)
}

// serveParts answers with several ranges as multipart/byteranges.
func (s *Service) serveParts(w http.ResponseWriter, r *http.Request, o *object, body *content, ranges []byteRange) error {
	boundary := strings.ReplaceAll(uuid.NewString(), "-", "")
	write := func(to io.Writer, part func(byteRange) error) error {
		m := multipart.NewWriter(to)
		if err := m.SetBoundary(boundary); err != nil {
			return err
		}
		for _, b := range ranges {
			_, err := m.CreatePart(textproto.MIMEHeader{"Content-Type": {o.contentType}, "Content-Range": {b.header(body.size)}})
			if err == nil {
				err = part(b)
			}
			if err != nil {
				return err
			}
		}
		return m.Close()
	}
	var length counter
	if err := write(&length, func(b byteRange) error { length += counter(b.n); return nil }); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "multipart/byteranges; boundary="+boundary)
	w.Header().Set("Content-Length", itoa(int64(length)))
	w.WriteHeader(http.StatusPartialContent)
	if r.Method == http.MethodHead {
		return nil
	}
	err := write(w, func(b byteRange) error {
		_, _ = body.Seek(b.off, io.SeekStart) // it never fails
		_, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(body, b.n), make([]byte, copyBufferLength))
		return err
	})
	s.brokeOff(r.Context(), o.path(), err)
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

type onlyWriter struct{ io.Writer }

// copyOut sends one range. The first bytes are read before the status is said,
// so that a body that cannot be read is an error and no broken answer.
func (s *Service) copyOut(w http.ResponseWriter, r *http.Request, body *content, b byteRange, status int) error {
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	_, _ = body.Seek(b.off, io.SeekStart) // it never fails
	buf := make([]byte, min(copyBufferLength, b.n))
	first := 0
	if b.n > 0 {
		var err error
		if first, err = body.Read(buf); err != nil {
			return err
		}
	}
	w.WriteHeader(status)
	_, err := w.Write(buf[:first])
	if err == nil && b.n > int64(first) {
		_, err = io.CopyBuffer(onlyWriter{w}, io.LimitReader(body, b.n-int64(first)), buf)
	}
	s.brokeOff(r.Context(), r.URL.Path, err)
	return nil
}

// brokeOff logs that not all was sent. The server ends a connection over which
// less came than Content-Length says.
func (s *Service) brokeOff(ctx context.Context, path string, err error) {
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("an object could not be sent to its end", "object", path, "error", err)
	}
}
