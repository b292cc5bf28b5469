package objectstore

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// maxFailures ends a bulk operation that goes wrong throughout.
const maxFailures = 1000

// bulkResult is Swift's answer to bulk operations: status 200, the outcome in
// the body.
type bulkResult struct {
	deletes        bool
	done, notFound int
	status, body   string
	errs           [][2]string
}

func (b *bulkResult) fail(name, status string) {
	b.errs = append(b.errs, [2]string{name, status})
	b.status = "400 Bad Request"
}

func (b *bulkResult) write(w http.ResponseWriter, r *http.Request) error {
	first, errs := "Number Files Created", b.errs
	if b.deletes {
		first = "Number Deleted"
	}
	if errs == nil {
		errs = [][2]string{}
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") || r.URL.Query().Get("format") == "json" {
		out := map[string]any{first: b.done, "Response Status": b.status, "Response Body": b.body, "Errors": errs}
		if b.deletes {
			out["Number Not Found"] = b.notFound
		}
		return api.WriteJSON(w, http.StatusOK, out)
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s: %d\n", first, b.done)
	if b.deletes {
		fmt.Fprintf(w, "Number Not Found: %d\n", b.notFound)
	}
	fmt.Fprintf(w, "Response Status: %s\nResponse Body: %s\nErrors:\n", b.status, b.body)
	for _, e := range errs {
		fmt.Fprintf(w, "%s, %s\n", e[0], e[1])
	}
	return nil
}

// bulkDelete removes the objects and empty containers named in the body, one
// percent-encoded path a line.
func (s *Service) bulkDelete(w http.ResponseWriter, r *http.Request, c *call) error {
	res := &bulkResult{deletes: true, status: "200 OK"}
	lines := bufio.NewScanner(io.LimitReader(r.Body, maxBulkDelete*3*(maxObjectName+maxContainerName)))
	lines.Buffer(nil, 16<<10)
	n := 0
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if n++; n > maxBulkDelete {
			return api.TooLarge("Maximum Bulk Deletes: %d per request", maxBulkDelete)
		}
		name, err := unescape(line)
		if err != nil {
			res.fail(line, "412 Precondition Failed")
			continue
		}
		t := target{account: c.account}
		t.container, t.object, _ = strings.Cut(strings.TrimPrefix(name, "/"), "/")
		err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
			if t.object == "" {
				return s.dropContainer(tx, t)
			}
			o, err := s.get(tx, t)
			if err != nil {
				return err
			}
			return s.remove(tx, o)
		})
		var e *api.Error
		switch {
		case err == nil:
			res.done++
		case isNotFound(err):
			res.notFound++
		case errors.As(err, &e):
			res.fail(line, fmt.Sprintf("%d %s", e.Status(), http.StatusText(e.Status())))
		default:
			return err
		}
		if len(res.errs) >= maxFailures {
			break
		}
	}
	if err := lines.Err(); err != nil {
		return clientGone(err)
	}
	if n == 0 {
		res.status, res.body = "400 Bad Request", "Invalid bulk delete."
	}
	return res.write(w, r)
}

// extractArchive unpacks a tar into the account, a container, or below a
// prefix of object names. Small files are stored many in one transaction.
func (s *Service) extractArchive(w http.ResponseWriter, r *http.Request, c *call) error {
	reader, err := decompress(r.Body, r.URL.Query().Get("extract-archive"))
	if err != nil {
		return err
	}
	proto, err := s.newObject(r, target{account: c.account, container: c.container, object: c.object})
	if err != nil {
		return err
	}
	x := &extraction{s: s, r: r, c: c, proto: proto, res: &bulkResult{status: "201 Created"}}
	err = x.run(tar.NewReader(&bounded{r: reader, left: maxArchiveBytes}))
	if err == nil {
		err = x.flush()
	}
	var e *api.Error
	switch {
	case errors.As(err, &e):
		x.res.status, x.res.body = fmt.Sprintf("%d %s", e.Status(), http.StatusText(e.Status())), e.Message
	case err != nil:
		return err
	case x.res.done == 0 && len(x.res.errs) == 0:
		x.res.status, x.res.body = "400 Bad Request", "Invalid Tar File: No Valid Files"
	}
	return x.res.write(w, r)
}

func decompress(r io.Reader, format string) (io.Reader, error) {
	switch format {
	case "tar":
		return r, nil
	case "tar.gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, api.Invalid("the archive is not gzip: %v", err).Wrap(err)
		}
		return z, nil
	case "tar.bz2":
		return bzip2.NewReader(r), nil
	}
	return nil, api.Invalid("extract-archive is %q, expected tar, tar.gz or tar.bz2", format)
}

// extraction is one archive on its way in.
type extraction struct {
	s     *Service
	r     *http.Request
	c     *call
	proto *object // what the request's headers say of every file
	res   *bulkResult

	pending []pendingFile
	size    int64
	files   int
}

type pendingFile struct {
	o *object
	b *body
}

// Bounds of one transaction of an extraction.
const (
	batchFiles = 200
	batchBytes = 4 << 20
)

func (x *extraction) run(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarError(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if x.files++; x.files > maxArchiveFiles {
			return api.TooLarge("the archive holds more than %d files", maxArchiveFiles)
		}
		to, ok := x.place(h.Name)
		switch {
		case !ok:
			x.res.fail(h.Name, "412 Precondition Failed")
		case h.Size > maxObject:
			x.res.fail(h.Name, "413 Request Entity Too Large")
		default:
			if err := x.take(t, h, to); err != nil {
				return err
			}
		}
		if len(x.res.errs) >= maxFailures {
			return api.Invalid("more than %d files could not be stored", maxFailures)
		}
	}
}

func tarError(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return api.Invalid("Invalid Tar File: %v", err).Wrap(err)
}

// place says which object a file of the archive becomes. A name with ".." in
// it becomes none.
func (x *extraction) place(name string) (target, bool) {
	for p := range strings.SplitSeq(name, "/") {
		if p == ".." {
			return target{}, false
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	full := strings.Join(nonEmpty(x.c.container, strings.Trim(x.c.object, "/"), name), "/")
	t := target{account: x.c.account}
	t.container, t.object, _ = strings.Cut(full, "/")
	if t.container == "" || t.object == "" ||
		checkName("container", t.container, maxContainerName) != nil || checkName("object", t.object, maxObjectName) != nil {
		return t, false
	}
	return t, true
}

func nonEmpty(in ...string) []string {
	var out []string
	for _, s := range in {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (x *extraction) take(t io.Reader, h *tar.Header, to target) error {
	o := *x.proto
	o.target = to
	o.contentType = guessType(to.object)
	o.headers = meta{}
	for k, v := range x.proto.headers {
		o.headers[k] = v
	}
	b, err := x.s.receive(x.r.Context(), t, h.Size)
	if err != nil {
		return tarError(err)
	}
	x.pending = append(x.pending, pendingFile{&o, b})
	x.size += int64(len(b.inline))
	if len(x.pending) >= batchFiles || x.size >= batchBytes {
		return x.flush()
	}
	return nil
}

func (x *extraction) flush() error {
	if len(x.pending) == 0 {
		return nil
	}
	err := x.s.db.Tx(x.r.Context(), func(tx *store.Tx) error {
		for _, p := range x.pending {
			if _, err := x.s.ensureContainer(tx, p.o.target); err != nil {
				return err
			}
			if err := x.s.put(tx, p.o, p.b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, p := range x.pending {
			x.s.abandon(x.r.Context(), p.b)
		}
		return err
	}
	x.res.done += len(x.pending)
	x.pending, x.size = x.pending[:0], 0
	return nil
}
