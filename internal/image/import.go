package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	kindImport    = "image.import"
	imports       = 4           // that run at once
	maxRedirects  = 3           // of a download
	stallTimeout  = time.Minute // without any data
	importMethods = "glance-direct,web-download"
	storeName     = "blob"
	taskLife      = 48 * time.Hour // after which a finished task is forgotten
)

// importRequest is the body of POST /v2/images/{id}/import, and what the task
// of an import carries.
type importRequest struct {
	Method struct {
		Name string `json:"name"`
		URI  string `json:"uri,omitempty"`
	} `json:"method"`
	Stores    []string `json:"stores,omitempty"`
	AllStores bool     `json:"all_stores,omitempty"`
}

// importImage answers POST /v2/images/{id}/import. Staged data are the image's
// at once: nothing has to be moved. What comes from elsewhere is the work of a
// job, which goes on after a crash.
func (s *Service) importImage(w http.ResponseWriter, r *http.Request) error {
	var req importRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	from := "staged"
	switch req.Method.Name {
	case "glance-direct":
	case "web-download":
		from = "queued"
		if err := s.checkURI(req.Method.URI); err != nil {
			return err
		}
	default:
		return api.Invalid("Unknown import method name '%s', this cloud offers: %s", req.Method.Name, importMethods)
	}
	for _, name := range req.Stores {
		if name != storeName {
			return api.Conflict("Store %s does not exist; this cloud has: %s", name, storeName)
		}
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		if m.status != from {
			return api.Conflict("Image needs to be in '%s' state to use '%s' method", shownStatus(from), req.Method.Name)
		}
		if m.container == nil || m.disk == nil || *m.container == "" || *m.disk == "" {
			return api.Invalid("Properties disk_format, container_format must be set prior to importing data.")
		}
		m.status = "importing"
		if from == "staged" {
			m.status = "active"
			s.cfg.Bus.PublishTx(tx, "image/"+m.id)
		}
		delete(m.properties, failedImport)
		if err := s.save(tx, m); err != nil {
			return err
		}
		if m.status == "active" {
			if err := s.tell(tx, m, "image.upload", "image.activate"); err != nil {
				return err
			}
		}
		return s.startTask(tx, r, m.id, "api_image_import", req)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Service) startTask(tx *store.Tx, r *http.Request, image, kind string, req importRequest) error {
	c, now := caller(r), s.now()
	t := &task{
		id: uuid.NewString(), imageID: image, owner: c.ProjectID, userID: c.UserID, requestID: api.RequestID(r.Context()), kind: kind,
		status: "pending", input: req, created: now, updated: now,
	}
	if req.Method.Name == "glance-direct" {
		t.status, t.expires = "success", now.Add(taskLife)
		return t.insert(tx)
	}
	if err := t.insert(tx); err != nil {
		return err
	}
	return s.cfg.Jobs.Poke(tx, kindImport, t.id, nil)
}

// checkURI refuses what can never be fetched; where it leads is checked again
// at each connection.
func (s *Service) checkURI(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return api.Invalid("method.uri is %q, expected an http or https URL", uri)
	case u.User != nil:
		return api.Invalid("method.uri carries a user name or password, which would be stored and shown")
	case !s.cfg.ImportFromPrivate && u.Port() != "" && u.Port() != "80" && u.Port() != "443":
		return api.Invalid("method.uri has port %s, images are fetched from ports 80 and 443", u.Port())
	}
	return nil
}

// errForbiddenAddress says that a download would reach into the cloud itself.
var errForbiddenAddress = errors.New("the address is not a public one")

// public says whether an address may be fetched from: no loopback, private,
// link-local (metadata services), multicast or unspecified address, and no IPv4
// address hidden in an IPv6 one.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() {
		return false
	}
	for _, reserved := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "100::/64"} {
		if netip.MustParsePrefix(reserved).Contains(a) {
			return false
		}
	}
	return true
}

// downloader fetches images. The address is checked after names are resolved,
// when the connection is made, so that no name can change its meaning between
// check and use; redirects lead through the same check. There is no proxy,
// which would make connections for us that we cannot check.
func (s *Service) downloader() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !s.cfg.ImportFromPrivate {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !public(ap.Addr()) || ap.Port() != 80 && ap.Port() != 443 {
				return errForbiddenAddress
			}
			return nil
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, DisableKeepAlives: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			return s.checkURI(r.URL.String())
		},
	}
}

// runImport is the job of one task. It may run again from the start: data of a
// run before lies under another key and is garbage by then.
func (s *Service) runImport(ctx context.Context, job jobs.Job) jobs.Result {
	var t *task
	var m *image
	key := newKey()
	err := s.db.Tx(ctx, func(tx *store.Tx) (err error) {
		if t, err = getTask(tx, job.Key); err != nil || t.done() {
			return err
		}
		if m, err = get(tx, t.imageID); err != nil {
			return err
		}
		if t.status != "processing" {
			t.status, t.message = "processing", ""
			if err := s.saveTask(tx, t); err != nil {
				return err
			}
		}
		if m.status != "importing" { // another task or an upload has filled it
			t.status, t.message = "failure", "Import failed: the image is "+shownStatus(m.status)+"."
			return s.saveTask(tx, t)
		}
		if err := s.discard(tx, m.blobKey, s.now()); err != nil { // of a run that a crash ended
			return err
		}
		m.blobKey = key
		if err := s.reserve(tx, key); err != nil {
			return err
		}
		return s.save(tx, m)
	})
	switch {
	case isNotFound(err):
		return jobs.Done() // task or image were deleted
	case err != nil:
		return jobs.Fail(err)
	case t.done():
		return jobs.Done()
	}
	err = s.fetch(ctx, t, m, key)
	if ctx.Err() != nil {
		return jobs.Fail(ctx.Err()) // a shutdown: the next start begins again
	}
	if err != nil {
		err = s.failImport(ctx, t, key, err)
	}
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

// fetch downloads an image's data under key and makes them the image's.
func (s *Service) fetch(ctx context.Context, t *task, m *image, key string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxUpload, errors.New("the download took too long"))
	defer cancel()
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.input.Method.URI, nil)
	if err != nil {
		return err
	}
	res, err := s.downloader().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %d", res.StatusCode)
	}
	timer := time.AfterFunc(stallTimeout, func() { stalled(fmt.Errorf("no data for %s", stallTimeout)) })
	defer timer.Stop()
	got, err := s.receive(ctx, &watched{res.Body, timer}, res.ContentLength, key, m)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return s.finish(ctx, m.id, key, "importing", "active", got, func(tx *store.Tx) error {
		t.status, t.message = "success", ""
		return s.saveTask(tx, t)
	})
}

// failImport leaves the image queued, with the reason in its task.
func (s *Service) failImport(ctx context.Context, t *task, key string, failed error) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		t.status, t.message = "failure", importMessage(failed)
		m, err := get(tx, t.imageID)
		if err != nil && !isNotFound(err) {
			return err
		}
		if err == nil && m.status == "importing" && m.blobKey == key {
			m.status, m.blobKey = "queued", ""
			m.properties[failedImport] = storeName
			s.cfg.Bus.PublishTx(tx, "image/"+m.id)
			if err := s.save(tx, m); err != nil {
				return err
			}
		}
		if err := s.discard(tx, key, s.now()); err != nil {
			return err
		}
		return s.saveTask(tx, t)
	})
}

// failedImport is the property that names the stores an import failed for.
const failedImport = "os_glance_failed_import"

// importMessage tells why without telling what of the network lies behind.
func importMessage(err error) string {
	var e *api.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &e):
		return e.Message
	case errors.Is(err, errForbiddenAddress):
		return "Import failed: the URI leads to an address that images may not be fetched from."
	case errors.As(err, &dns):
		return "Import failed: the host name of the URI cannot be resolved."
	case strings.HasPrefix(err.Error(), "the server answered") || strings.HasPrefix(err.Error(), "no data for"):
		return "Import failed: " + err.Error() + "."
	}
	return "Import failed: the data could not be fetched."
}

// watched puts off a timer whenever data come.
type watched struct {
	r interface{ Read([]byte) (int, error) }
	t *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.t.Reset(stallTimeout)
	return n, err
}

func shownStatus(status string) string {
	if status == "staged" {
		return "uploading"
	}
	return status
}

func (s *Service) importInfo(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"import-methods": document{
		"description": "Import methods available.", "type": "array", "value": slices.Collect(strings.SplitSeq(importMethods, ",")),
	}})
}
