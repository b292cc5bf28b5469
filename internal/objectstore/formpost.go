package objectstore

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// Bounds of a form, besides those that it signs.
const (
	maxFormField = 8 << 10 // bytes
	maxFormFiles = 1000
)

// formPost says whether a request is a browser's upload form, whose signature
// takes the place of a token.
func formPost(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data" && params["boundary"] != ""
}

// form is an upload form under way.
type form struct {
	s      *Service
	r      *http.Request
	t      target // the object is the prefix of the files' names
	fields map[string]string
	files  int
}

// formStatus is an answer of a form.
type formStatus struct {
	code    int
	message string
}

// formPost stores the files of a form whose fields are signed with a key of
// the account or container. Fields come before the files, as browsers send
// them in the order of the page.
// Source: https://docs.openstack.org/swift/latest/api/form_post_middleware.html.
func (s *Service) formPost(w http.ResponseWriter, r *http.Request, t target) error {
	reader, err := r.MultipartReader()
	if err != nil {
		return api.Invalid("the form cannot be read: %v", err).Wrap(err)
	}
	f := &form{s: s, r: r, t: t, fields: map[string]string{}}
	st, err := f.run(reader)
	if err != nil {
		return err
	}
	return f.answer(w, st)
}

func (f *form) run(reader *multipart.Reader) (formStatus, error) {
	st := formStatus{http.StatusCreated, ""}
	for {
		p, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return formStatus{http.StatusBadRequest, "invalid form"}, nil //nolint:nilerr // told to the client
		}
		if p.FileName() == "" {
			if len(f.fields) >= 100 {
				return formStatus{http.StatusBadRequest, "too many fields"}, nil
			}
			value, err := io.ReadAll(io.LimitReader(p, maxFormField+1))
			if err != nil || len(value) > maxFormField {
				return formStatus{http.StatusBadRequest, "invalid form"}, nil //nolint:nilerr // told to the client
			}
			f.fields[strings.ToLower(p.FormName())] = string(value)
			continue
		}
		if f.files == 0 {
			if st, err := f.check(); err != nil || st.code != 0 {
				return st, err
			}
		}
		if limit, _ := strconv.Atoi(f.fields["max_file_count"]); f.files >= min(limit, maxFormFiles) {
			return formStatus{http.StatusBadRequest, "max file count exceeded"}, nil
		}
		f.files++
		if st, err := f.take(p); err != nil || st.code != http.StatusCreated {
			return st, err
		}
	}
	if f.files == 0 {
		return formStatus{http.StatusBadRequest, "no files to process"}, nil
	}
	return st, nil
}

// check verifies the signature; a zero code lets the files in.
func (f *form) check() (formStatus, error) {
	for _, name := range []string{"max_file_size", "max_file_count", "expires"} {
		n, err := strconv.ParseInt(f.fields[name], 10, 64)
		switch {
		case f.fields[name] == "":
			return formStatus{}, api.Unauthorized("FormPost: %s is missing", name)
		case err != nil || n < 0:
			return formStatus{http.StatusBadRequest, name + " not an integer"}, nil //nolint:nilerr // told to the client
		case name == "expires" && n < f.s.now().Unix():
			return formStatus{}, api.Unauthorized("FormPost: Form Expired")
		}
	}
	sum, newHash, err := tempURLDigest(f.fields["signature"])
	if err != nil {
		return formStatus{}, api.Unauthorized("FormPost: Invalid Signature")
	}
	keys, err := f.s.tempURLKeys(f.r, f.t)
	if err != nil {
		return formStatus{}, err
	}
	paths := signedPaths(f.r, f.t)
	good := false
	for _, key := range keys {
		for _, path := range paths {
			mac := hmac.New(newHash, []byte(key.secret))
			fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n%s", path, f.fields["redirect"], f.fields["max_file_size"], f.fields["max_file_count"], f.fields["expires"])
			good = hmac.Equal(mac.Sum(nil), sum) || good
		}
	}
	if !good {
		return formStatus{}, api.Unauthorized("FormPost: Invalid Signature")
	}
	return formStatus{}, nil
}

func (f *form) take(p *multipart.Part) (formStatus, error) {
	name := p.FileName()
	if i := strings.LastIndexAny(name, `\`); i >= 0 { // old browsers send the whole path
		name = name[i+1:]
	}
	t := f.t
	if t.object == "" || strings.HasSuffix(rawPath(f.r), "/") && !strings.HasSuffix(t.object, "/") {
		if t.object != "" {
			t.object += "/"
		}
	}
	t.object += name
	if err := checkName("object", t.object, maxObjectName); err != nil {
		return formStatus{http.StatusBadRequest, "the file's name is malformed"}, nil //nolint:nilerr // told to the client
	}
	req := f.r.Clone(f.r.Context())
	req.Header = http.Header{}
	for _, h := range []string{"Content-Type", "Content-Encoding"} {
		if v := p.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	for field, header := range map[string]string{"x_delete_at": "X-Delete-At", "x_delete_after": "X-Delete-After"} {
		if v := f.fields[field]; v != "" {
			req.Header.Set(header, v)
		}
	}
	limit, _ := strconv.ParseInt(f.fields["max_file_size"], 10, 64)
	o, err := f.s.newObject(req, t)
	if err == nil {
		var b *body
		if b, err = f.s.receive(f.r.Context(), &bounded{r: p, left: min(limit, maxObject)}, -1); err == nil {
			err = f.s.commit(req, &call{target: t}, o, b)
		}
	}
	switch code := status(err); code {
	case http.StatusOK:
		return formStatus{http.StatusCreated, ""}, nil
	case http.StatusInternalServerError:
		return formStatus{}, err
	case http.StatusRequestEntityTooLarge:
		return formStatus{code, "max_file_size exceeded"}, nil
	default:
		return formStatus{code, http.StatusText(code)}, nil
	}
}

// answer sends the browser on to the form's redirect, with the outcome in its
// query, or says it as it is.
func (f *form) answer(w http.ResponseWriter, st formStatus) error {
	to := f.fields["redirect"]
	u, err := url.Parse(to)
	if to == "" || f.files == 0 && st.code == http.StatusCreated || err != nil {
		body := fmt.Sprintf("<h1>%d %s</h1>%s", st.code, http.StatusText(st.code), st.message)
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(st.code)
		_, _ = io.WriteString(w, body) // the client may have gone
		return nil                     //nolint:nilerr // a redirect that is none is passed over
	}
	q := u.Query()
	q.Set("status", strconv.Itoa(st.code))
	q.Set("message", st.message)
	u.RawQuery = q.Encode()
	w.Header().Set("Location", u.String())
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
