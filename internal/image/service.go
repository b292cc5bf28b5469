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
	"github.com/tripleo/tripleo/internal/auth/policy"
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

	PolicyName string // of PolicyData, for errors
	PolicyData []byte // an operator's policy file; empty: the defaults

	ImportFromPrivate bool // web-download may fetch from any address and port, not public ones only
}

// Service is Glance.
type Service struct {
	cfg   Config
	db    *store.DB
	blobs blob.Store
	rules *policy.Enforcer
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
	rules, err := newRules(cfg.PolicyName, cfg.PolicyData)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	s := &Service{cfg: cfg, db: cfg.DB, blobs: cfg.Blob, rules: rules, now: cfg.Now}
	cfg.Jobs.Register(kindGarbage, 1, s.collectGarbage)
	cfg.Jobs.Register(kindImport, imports, s.runImport)
	cfg.Jobs.Register(kindConvert, conversions, s.runConvert)
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
		Service: "image", Routes: s.routes(), Auth: s.cfg.Auth, Rules: s.rules, Log: s.cfg.Log, Fault: fault, MaxBody: -1, // readJSON bounds, and upload
	})
}

// on is a route that the rules decide on.
func on(method, pattern, action string, handler func(http.ResponseWriter, *http.Request) error) api.Route {
	return api.Route{Method: method, Pattern: pattern, Action: action, Handler: handler}
}

func (s *Service) routes() []api.Route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
		all, one                   = "/v2/images", "/v2/images/{id}"
	)
	// about is a route about one image.
	about := func(method, suffix, action string, handler func(http.ResponseWriter, *http.Request) error) api.Route {
		route := on(method, one+suffix, action, handler)
		route.Target = s.about
		return route
	}
	routes := []api.Route{
		{Method: get, Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: get, Pattern: "/versions", Policy: api.Public, Handler: s.versions},
		on(get, "/v2/schemas/{name}", "get_schema", s.schema),
		on(get, "/v2/schemas/metadefs/{name}", "get_schema", s.metadefSchema),
		on(get, "/v2/info/import", "get_import_info", s.importInfo),
		on(get, "/v2/info/stores", "get_stores_info", s.storesInfo),
		on(get, "/v2/info/usage", "get_images", s.usage),

		on(get, "/v2/tasks", "get_tasks", s.listTasks),
		on(post, "/v2/tasks", "tasks_api_access", s.createTask),
		on(get, "/v2/tasks/{id}", "get_task", s.showTask),

		on(post, all, "add_image", s.create),
		on(get, all, "get_images", s.list),
		about(get, "", "get_image", s.show),
		about(patch, "", "modify_image", s.update),
		about(del, "", "delete_image", s.delete),
		about(put, "/file", "upload_image", s.upload),
		about(get, "/file", "download_image", s.download),
		about(put, "/stage", "stage_image", s.stage),
		about(post, "/import", "import_image", s.importImage),
		about(get, "/tasks", "get_tasks", s.imageTasks),
		about(post, "/actions/deactivate", "deactivate", s.deactivate),
		about(post, "/actions/reactivate", "reactivate", s.reactivate),
		about(put, "/tags/{tag}", "modify_image", s.addTag),
		about(del, "/tags/{tag}", "modify_image", s.removeTag),
		about(post, "/members", "add_member", s.addMember),
		about(get, "/members", "get_members", s.listMembers),
		about(get, "/members/{member}", "get_member", s.showMember),
		about(put, "/members/{member}", "modify_member", s.setMember),
		about(del, "/members/{member}", "delete_member", s.removeMember),
	}
	return append(routes, s.metadefRoutes()...)
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
	for i, id := range []string{"v2.12", "v2.11", "v2.10", "v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"} {
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

func (s *Service) storesInfo(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"stores": []document{{"id": "blob", "description": "the undercloud's blob store", "default": "true"}}})
}

// usage answers GET /v2/info/usage: what the caller's project has. There are
// no quotas: -1 is no limit.
func (s *Service) usage(w http.ResponseWriter, r *http.Request) error {
	var images, bytes, staged, uploads int64
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Get([]any{&images, &bytes, &staged, &uploads}, `SELECT COUNT(*), COALESCE(SUM(size), 0),
			COALESCE(SUM(CASE WHEN status = 'staged' THEN size ELSE 0 END), 0), COALESCE(SUM(CASE WHEN status IN ('saving', 'uploading', 'importing') THEN 1 ELSE 0 END), 0)
			FROM image_images WHERE owner = ?`, caller(r).ProjectID)
	})
	if err != nil {
		return err
	}
	of := func(n int64) document { return document{"limit": -1, "usage": n} }
	const mib = 1 << 20
	return api.WriteJSON(w, http.StatusOK, document{"usage": document{
		"image_count_total": of(images), "image_size_total": of((bytes + mib - 1) / mib), "image_stage_total": of((staged + mib - 1) / mib), "image_count_uploading": of(uploads),
	}})
}
