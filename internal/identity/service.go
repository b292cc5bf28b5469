package identity

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// CatalogEntry is one service of the undercloud itself.
type CatalogEntry struct {
	Type string // OpenStack service type
	Name string // service name, e.g. "nova"
	URL  string // public, internal and admin alike; may contain %(project_id)s
}

// Bootstrap says who exists from the first start on.
type Bootstrap struct {
	AdminPassword   string // of user admin
	ServiceUser     string // "" means tripleo
	ServicePassword string
}

// Config is what the service needs.
type Config struct {
	DB        *store.DB
	Bus       *notify.Bus
	Log       *slog.Logger
	Tokens    *auth.Tokens
	Keys      *seal.Keys // encrypt credentials at rest
	BaseURL   string     // as clients reach it, e.g. http://127.0.0.1:8000/identity
	Region    string     // "" means regionOne
	Catalog   []CatalogEntry
	Bootstrap Bootstrap
	TokenLife time.Duration // 0 means 4 h
	KeyLife   time.Duration // after which a new key signs tokens, and one encrypts credentials; 0 means 30 days
	Passwords PasswordRules
	Policy    PolicyFile
	Now       func() time.Time
}

// PolicyFile is an operator's policy file: oslo.policy's YAML.
type PolicyFile struct {
	Name string // for errors
	Data []byte // empty: the defaults
}

// Service is Keystone.
type Service struct {
	cfg      Config
	db       *store.DB
	tokens   *auth.Tokens
	now      func() time.Time
	base     string // ".../v3"
	pass     *passwords
	revoked  *revocations
	rules    *policy.Enforcer
	entities entities

	mu      sync.Mutex
	catalog []catalogService // nil: to be read again
}

// New migrates and bootstraps the database and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Tokens == nil {
		return nil, errors.New("identity: no token keys")
	}
	if cfg.Keys == nil {
		return nil, errors.New("identity: no keys for credentials")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Region == "" {
		cfg.Region = "regionOne"
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = 4 * time.Hour
	}
	if cfg.KeyLife == 0 {
		cfg.KeyLife = 30 * 24 * time.Hour
	}
	if err := cfg.Passwords.prepare(); err != nil {
		return nil, err
	}
	enforcer, err := newRules(cfg.Policy.Name, cfg.Policy.Data)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if cfg.Bootstrap.ServiceUser == "" {
		cfg.Bootstrap.ServiceUser = "tripleo"
	}
	pass, err := newPasswords()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, db: cfg.DB, tokens: cfg.Tokens, now: cfg.Now,
		base: strings.TrimSuffix(cfg.BaseURL, "/") + "/v3", pass: pass, revoked: newRevocations(), rules: enforcer,
	}
	s.entities = newEntities(s)
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	ctx := context.Background()
	if err := s.db.Migrate(ctx, "identity", sub); err != nil {
		return nil, err
	}
	if err := s.reseal(ctx); err != nil {
		return nil, fmt.Errorf("identity: keys of credentials: %w", err)
	}
	if err := s.bootstrap(ctx); err != nil {
		return nil, fmt.Errorf("identity bootstrap: %w", err)
	}
	if err := s.loadRevocations(ctx); err != nil {
		return nil, err
	}
	s.tokens.SetRevoked(s.revoked.has)
	return s, nil
}

// Handler answers Keystone's API; paths begin at "/".
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "identity", Routes: s.routes(), Auth: s.tokens, Rules: s.rules, Log: s.cfg.Log, Fault: fault, MaxBody: 1 << 20,
	})
}

// NodeHandler serves what machines may reach: tokens, which the users of orchestration's resources need to
// signal and to read their metadata.
func (s *Service) NodeHandler() http.Handler {
	var routes []api.Route
	for _, r := range s.routes() {
		if r.Policy == api.Public && (r.Method == http.MethodGet || r.Pattern == "/v3/auth/tokens") {
			routes = append(routes, r)
		}
	}
	return api.NewHandler(api.HandlerOptions{Service: "identity", Routes: routes, Auth: s.tokens, Log: s.cfg.Log, Fault: fault, MaxBody: 1 << 20})
}

// Run keeps the revocations of other processes at hand and drops expired rows,
// until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	sub := s.cfg.Bus.Subscribe(topicRevocations)
	defer sub.Close()
	prune := time.NewTicker(10 * time.Minute)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C():
			if err := s.loadRevocations(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("cannot read token revocations", "error", err)
			}
		case <-prune.C:
			if err := s.pruneRevocations(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("cannot prune token revocations", "error", err)
			}
			if err := s.tokens.Rotate(s.cfg.KeyLife, s.cfg.TokenLife); err != nil {
				s.cfg.Log.Error("cannot rotate the keys of tokens", "error", err)
			}
			if err := s.reseal(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("cannot rotate the keys of credentials", "error", err)
			}
		}
	}
}

// fault writes Keystone's error envelope.
func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Title   string `json:"title"`
	}
	_ = api.WriteJSON(w, f.Status, map[string]body{"error": {f.Status, f.Message, http.StatusText(f.Status)}})
}

// caller returns the identity of an authenticated request.
func caller(r *http.Request) *auth.Identity {
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return &auth.Identity{}
	}
	return id
}
