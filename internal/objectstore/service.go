package objectstore

import (
	"context"
	"embed"
	"fmt"
	"html"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Bounds of what clients may send. Sizes are bytes.
const (
	maxObject        = 5 << 30
	maxInline        = 64 << 10 // bodies up to here live in the database
	maxAccountName   = 256
	maxContainerName = 256
	maxHeader        = 8192
	maxObjectName    = 1024
	maxListing       = 10_000
	maxLongPoll      = 120 * time.Second
	maxWaiters       = 50_000
	maxArchiveFiles  = 100_000
	maxArchiveBytes  = 8 << 30  // unpacked
	maxExpansion     = 256      // bytes that a byte of a compressed archive may become, behind
	freeExpansion    = 16 << 20 // so many
	maxBulkDelete    = 10_000
	maxSegments      = 1_000
)

const (
	kindGarbage = "objectstore.garbage"
	kindExpire  = "objectstore.expire"
	kindScrub   = "objectstore.scrub"
	jobKey      = "all"
)

// Config is what the service needs.
type Config struct {
	DB   *store.DB
	Bus  *notify.Bus
	Jobs *jobs.Queue
	Log  *slog.Logger
	Auth auth.Validator
	Blob blob.Store
	Now  func() time.Time
}

// Service is Swift.
type Service struct {
	cfg     Config
	db      *store.DB
	bus     *notify.Bus
	blobs   blob.Store
	now     func() time.Time
	waiters atomic.Int64
	stop    chan struct{} // closed when Run ends: long polls answer at once
	once    sync.Once
}

// New migrates the database and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("objectstore: %w", err)
	}
	ctx := context.Background()
	if err := cfg.DB.Migrate(ctx, "objectstore", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: cfg.DB, bus: cfg.Bus, blobs: cfg.Blob, now: cfg.Now, stop: make(chan struct{})}
	cfg.Jobs.Register(kindGarbage, 1, s.collectGarbage)
	cfg.Jobs.Register(kindExpire, 1, s.expireObjects)
	cfg.Jobs.Register(kindScrub, 1, s.scrub)
	return s, s.recover(ctx)
}

// Run waits for ctx to end and then has open long polls answered.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	s.once.Do(func() { close(s.stop) })
	return nil
}

// Handler answers Swift's API; paths begin at "/".
func (s *Service) Handler() http.Handler {
	inner := api.NewHandler(api.HandlerOptions{
		Service: "object-store", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault, MaxBody: -1,
	})
	return s.cors(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Trans-Id", s.transaction())
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		inner.ServeHTTP(w, reroute(r))
	}))
}

// transaction makes an id of Swift's form: "tx", 21 digits, "-" and the time.
func (s *Service) transaction() string {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")
	return fmt.Sprintf("tx%s-%010x", id[:21], s.now().Unix())
}

// NodeHandler answers only requests that carry a temporary URL's signature:
// what machines may reach.
func (s *Service) NodeHandler() http.Handler {
	inner := s.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hasTempURL(r) {
			fault(w, r, api.Fault{Status: http.StatusUnauthorized, Message: "a temporary URL is required here"})
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("X-Auth-Token")
		r.Header.Del("X-Storage-Token")
		inner.ServeHTTP(w, r)
	})
}

// fault writes Swift's error page.
func fault(w http.ResponseWriter, r *http.Request, f api.Fault) {
	h := w.Header()
	if f.Status == http.StatusUnauthorized {
		account, _, _ := strings.Cut(strings.TrimPrefix(rawPath(r), "/v1/"), "/")
		if account == "" {
			account = "unknown"
		}
		h.Set("Www-Authenticate", `Swift realm="`+account+`"`)
	}
	body, kind := f.Message, "text/plain; charset=UTF-8" // clients read these as they are
	if !strings.ContainsAny(body, "<>&") {
		kind = "text/html; charset=UTF-8" // as Swift says; what a browser could take for markup stays text
	}
	if !slices.Contains([]int{http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}, f.Status) ||
		strings.HasPrefix(body, "There was a conflict") {
		kind = "text/html; charset=UTF-8"
		body = "<html><h1>" + http.StatusText(f.Status) + "</h1><p>" + html.EscapeString(f.Message) + "</p></html>"
	}
	h.Set("Content-Type", kind)
	if f.Err != nil && f.Err.Type == deletedType {
		h.Set("Content-Type", deletedType)
	}
	for _, name := range []string{"Content-Length", "Etag", "Last-Modified", "Content-Encoding", "Content-Disposition"} {
		h.Del(name)
	}
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // the client may have gone
	}
}
