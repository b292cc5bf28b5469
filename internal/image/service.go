package image

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Bounds, in bytes.
const (
	maxJSON  = 1 << 20
	maxImage = 1 << 40
)

const (
	kindGarbage = "image.garbage"
	jobKey      = "all"
)

// Config is what the service needs.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Blob    blob.Store
	BaseURL string // as clients reach it, e.g. http://127.0.0.1:8000/image
	Now     func() time.Time
}

// Service is Glance.
type Service struct {
	cfg   Config
	db    *store.DB
	blobs blob.Store
	now   func() time.Time
}

// New migrates the database and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	ctx := context.Background()
	if err := cfg.DB.Migrate(ctx, "image", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: cfg.DB, blobs: cfg.Blob, now: cfg.Now}
	cfg.Jobs.Register(kindGarbage, 1, s.collectGarbage)
	return s, s.recover(ctx)
}

// Run waits for ctx to end: all work is in requests and jobs.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Handler answers Glance's API; paths begin at "/".
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "image", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault, MaxBody: -1, // readJSON bounds, and upload
	})
}

func (s *Service) routes() []api.Route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
		all, one                   = "/v2/images", "/v2/images/{id}"
	)
	return []api.Route{
		{Method: get, Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: get, Pattern: "/versions", Policy: api.Public, Handler: s.versions},
		{Method: get, Pattern: "/v2/schemas/{name}", Policy: api.Authenticated, Handler: s.schema},
		{Method: get, Pattern: "/v2/info/import", Policy: api.Authenticated, Handler: s.importInfo},
		{Method: get, Pattern: "/v2/info/stores", Policy: api.Authenticated, Handler: s.storesInfo},

		{Method: post, Pattern: all, Policy: api.Member, Handler: s.create},
		{Method: get, Pattern: all, Policy: api.Reader, Handler: s.list},
		{Method: get, Pattern: one, Policy: api.Reader, Handler: s.show},
		{Method: patch, Pattern: one, Policy: api.Member, Handler: s.update},
		{Method: del, Pattern: one, Policy: api.Member, Handler: s.delete},
		{Method: put, Pattern: one + "/file", Policy: api.Member, Handler: s.upload},
		{Method: get, Pattern: one + "/file", Policy: api.Reader, Handler: s.download},
		{Method: put, Pattern: one + "/stage", Policy: api.Member, Handler: s.stage},
		{Method: post, Pattern: one + "/import", Policy: api.Member, Handler: s.importStaged},
		{Method: post, Pattern: one + "/actions/deactivate", Policy: api.Admin, Handler: s.deactivate},
		{Method: post, Pattern: one + "/actions/reactivate", Policy: api.Admin, Handler: s.reactivate},
		{Method: put, Pattern: one + "/tags/{tag}", Policy: api.Member, Handler: s.addTag},
		{Method: del, Pattern: one + "/tags/{tag}", Policy: api.Member, Handler: s.removeTag},
		{Method: post, Pattern: one + "/members", Policy: api.Member, Handler: s.addMember},
		{Method: get, Pattern: one + "/members", Policy: api.Reader, Handler: s.listMembers},
		{Method: get, Pattern: one + "/members/{member}", Policy: api.Reader, Handler: s.showMember},
		{Method: put, Pattern: one + "/members/{member}", Policy: api.Member, Handler: s.setMember},
		{Method: del, Pattern: one + "/members/{member}", Policy: api.Member, Handler: s.removeMember},
	}
}

// fault writes Glance's error page.
func fault(w http.ResponseWriter, r *http.Request, f api.Fault) {
	title := fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status))
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s<br /><br />\n\n\n\n </body>\n</html>",
			title, title, html.EscapeString(f.Message)) // the client may have gone
	}
}

func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxJSON)
	return api.ReadJSON(r, v)
}

func caller(r *http.Request) *auth.Identity {
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return &auth.Identity{}
	}
	return id
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

type document = map[string]any

// versions answers GET / (300) and GET /versions (200).
func (s *Service) versions(w http.ResponseWriter, r *http.Request) error {
	versions := []document{}
	for i, id := range []string{"v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"} {
		status := "SUPPORTED"
		if i == 0 {
			status = "CURRENT"
		}
		versions = append(versions, document{"id": id, "status": status, "links": []document{{"rel": "self", "href": s.cfg.BaseURL + "/v2/"}}})
	}
	status := http.StatusMultipleChoices
	if r.URL.Path == "/versions" {
		status = http.StatusOK
	}
	return api.WriteJSON(w, status, document{"versions": versions})
}

func (s *Service) importInfo(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"import-methods": document{
		"description": "Import methods available.", "type": "array", "value": []string{"glance-direct"},
	}})
}

func (s *Service) storesInfo(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"stores": []document{{"id": "blob", "description": "the undercloud's blob store", "default": "true"}}})
}
