package objectstore

import (
	"archive/tar"
	"compress/bzip2"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"path"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// mustJSON encodes what cannot fail: text, numbers and lists of them.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("objectstore: encode a result: %v", err))
	}
	return data
}

// extractArchive unpacks a tar into the account, a container, or below a
// prefix of object names. Small files are stored many in one transaction.
func (s *Service) extractArchive(w http.ResponseWriter, r *http.Request, c *call) error {
	res := &bulkResult{status: "201 Created"}
	packed := &counted{r: r.Body}
	reader, err := decompress(packed, r.URL.Query().Get("extract-archive"))
	if err != nil {
		if status(err) == http.StatusBadRequest && !knownArchive(r.URL.Query().Get("extract-archive")) {
			return err
		}
		res.status, res.body = "400 Bad Request", "Invalid Tar File: "+err.Error()
		return res.write(w, r)
	}
	proto, err := s.newObject(r, target{account: c.account, container: c.container, object: c.object})
	if err != nil {
		return err
	}
	x := &extraction{s: s, r: r, c: c, proto: proto, res: res, allowed: map[string]string{}}
	err = x.run(tar.NewReader(&bounded{r: &unpacked{r: reader, packed: packed}, left: maxArchiveBytes}))
	if err == nil {
		err = x.flush()
	} else {
		x.abandon()
	}
	var e *api.Error
	switch {
	case errors.As(err, &e):
		res.status, res.body = fmt.Sprintf("%d %s", e.Status(), http.StatusText(e.Status())), e.Message
	case err != nil:
		return err
	case res.done == 0 && len(res.errs) == 0:
		res.status, res.body = "400 Bad Request", "Invalid Tar File: No Valid Files"
	case len(res.errs) > 0 && res.done == 0 && allStatus(res.errs, "401"):
		res.status = "401 Unauthorized"
	}
	return res.write(w, r)
}

func allStatus(errs [][2]string, prefix string) bool {
	for _, e := range errs {
		if !strings.HasPrefix(e[1], prefix) {
			return false
		}
	}
	return true
}

func knownArchive(format string) bool {
	return format == "tar" || format == "tar.gz" || format == "tar.bz2"
}

func decompress(r io.Reader, format string) (io.Reader, error) {
	switch format {
	case "tar":
		return r, nil
	case "tar.gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, api.Invalid("the archive is not gzip").Wrap(err)
		}
		return z, nil
	case "tar.bz2":
		return bzip2.NewReader(r), nil
	}
	return nil, api.Invalid("Unsupported archive format %q, expected tar, tar.gz or tar.bz2", format)
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// unpacked fails when much more comes out of an archive than went in: that is
// made to fill the disk.
type unpacked struct {
	r      io.Reader
	packed *counted
	n      int64
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if u.n += int64(n); u.n > freeExpansion+maxExpansion*u.packed.n {
		return 0, api.TooLarge("the archive becomes more than %d times as long when it is unpacked", maxExpansion)
	}
	return n, err
}

// extraction is one archive on its way in.
type extraction struct {
	s       *Service
	r       *http.Request
	c       *call
	proto   *object // what the request's headers say of every file
	res     *bulkResult
	allowed map[string]string // container -> "" or why nothing may be put there

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
		if h.Typeflag != tar.TypeReg { // folders are prefixes; links and devices are nothing here
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
			if why := x.check(to); why != "" {
				x.res.fail(h.Name, why)
			} else if err := x.take(t, h, to); err != nil {
				return err
			}
		}
		if len(x.res.errs) >= maxFailures {
			return api.Invalid("Max failures exceeded: %d files could not be stored", maxFailures)
		}
	}
}

// check says why nothing may be put into a container, or "".
func (x *extraction) check(to target) string {
	why, ok := x.allowed[to.container]
	if !ok {
		if err := x.s.authorize(x.r, x.c, to, writing); err != nil {
			why = fmt.Sprintf("%d %s", status(err), http.StatusText(status(err)))
		}
		x.allowed[to.container] = why
	}
	return why
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
	for k, v := range h.PAXRecords { // extended attributes, as Swift reads them
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr.user.meta."); ok {
			o.headers[textproto.CanonicalMIMEHeaderKey("X-Object-Meta-"+name)] = v
		}
	}
	if kind := h.PAXRecords["SCHILY.xattr.user.mime_type"]; kind != "" && !strings.ContainsFunc(kind, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		o.contentType = kind
	}
	if err := checkAttributes(o.headers); err != nil {
		x.res.fail(h.Name, "400 Bad Request")
		return nil //nolint:nilerr // told to the client
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

// checkAttributes refuses metadata of an archive that no header could bring.
func checkAttributes(m meta) error {
	for name := range m {
		if strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' }) {
			return api.Invalid("metadata name %q is malformed", name)
		}
	}
	return m.check("X-Object-Meta-")
}

// flush stores what is pending. If all of it together cannot be stored, each
// file is tried, so that those that can are.
func (x *extraction) flush() error {
	pending := x.pending
	x.pending, x.size = nil, 0
	if len(pending) == 0 {
		return nil
	}
	err := x.store(pending)
	if err == nil {
		x.res.done += len(pending)
		return nil
	}
	for i, p := range pending {
		err := x.store([]pendingFile{p})
		switch code := status(err); {
		case err == nil:
			x.res.done++
		case code == http.StatusInternalServerError:
			for _, rest := range pending[i:] {
				x.s.abandon(x.r.Context(), rest.b)
			}
			return err
		default:
			x.s.abandon(x.r.Context(), p.b)
			x.res.fail("/"+p.o.container+"/"+p.o.object, fmt.Sprintf("%d %s", code, http.StatusText(code)))
		}
	}
	return nil
}

func (x *extraction) store(files []pendingFile) error {
	return x.s.db.Tx(x.r.Context(), func(tx *store.Tx) error {
		for _, p := range files {
			if _, err := x.s.ensureContainer(tx, p.o.target); err != nil {
				return err
			}
			con, err := getContainer(tx, p.o.account, p.o.container)
			if err != nil {
				return err
			}
			if err := x.s.put(tx, &con, p.o, p.b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *extraction) abandon() {
	for _, p := range x.pending {
		x.s.abandon(x.r.Context(), p.b)
	}
	x.pending = nil
}
