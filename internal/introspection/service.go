package introspection

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/introspection/hooks"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// The microversions served.
const (
	minVersion = "1.0"
	maxVersion = "1.18"
	header     = "X-OpenStack-Ironic-Inspector-API-Version"
)

// jobNode is the kind of this service's jobs; the key is the node's UUID.
const jobNode = "introspection.node"

// Config is what the service needs and how it behaves.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud // Ironic and Swift
	BaseURL string
	NodeURL string

	Timeout  time.Duration // of a whole introspection; default 1 h, ironic-inspector's
	Retry    time.Duration // another service is out of reach or the node locked; default 2 s
	Poll     time.Duration // safety net behind the node's topic; default 10 s
	AddPorts string        // "pxe" (default), "active" or "all"
	Workers  int           // introspections worked on at once; default 32
	// EnrollDriver makes nodes of machines that nobody knows, with this
	// hardware type, when their ramdisk reports: ironic-inspector's hook
	// "enroll". "" refuses them.
	EnrollDriver string
	PCIAliases   []hooks.PCIAlias
	Now          func() time.Time
}

// Service is the introspection service.
type Service struct {
	cfg  Config
	log  *slog.Logger
	opts hooks.Options
}

// New migrates the tables, registers the job kind and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.DB == nil || cfg.Bus == nil || cfg.Jobs == nil || cfg.Auth == nil || cfg.Cloud == nil {
		return nil, errors.New("introspection: DB, Bus, Jobs, Auth and Cloud are required")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Hour
	}
	if cfg.Retry == 0 {
		cfg.Retry = 2 * time.Second
	}
	if cfg.Poll == 0 {
		cfg.Poll = 10 * time.Second
	}
	if cfg.AddPorts == "" {
		cfg.AddPorts = "pxe"
	}
	if cfg.Workers == 0 {
		cfg.Workers = 32
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "introspection", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Log.With("service", "introspection"), opts: hooks.Options{AddPorts: cfg.AddPorts, PCIAliases: cfg.PCIAliases}}
	cfg.Jobs.Register(jobNode, cfg.Workers, s.handle)
	return s, nil
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC() }

// Run wakes the introspections that were under way; the work itself is done in
// the job queue.
func (s *Service) Run(ctx context.Context) error {
	err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		var ids []string
		err := tx.Each(func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `SELECT uuid FROM introspection_nodes WHERE finished = 0`)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.cfg.Jobs.Poke(tx, jobNode, id, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *Service) versions() *api.Microversions {
	return &api.Microversions{Type: "baremetal-introspection", Min: minVersion, Max: maxVersion, Default: maxVersion, Legacy: header}
}

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	const node = "/v1/introspection/{node}"
	return api.NewHandler(api.HandlerOptions{
		Service: "baremetal-introspection", Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: writeFault, Versions: s.versions(), MaxBody: maxData,
		Routes: []api.Route{
			{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.root},
			{Method: "GET", Pattern: "/v1", Policy: api.Public, Handler: s.v1},
			{Method: "GET", Pattern: "/v1/{$}", Policy: api.Public, Handler: s.v1},
			{Method: "GET", Pattern: "/v1/introspection", Policy: api.Reader, Handler: s.list},
			{Method: "GET", Pattern: node, Policy: api.Reader, Handler: s.status},
			{Method: "POST", Pattern: node, Policy: api.Service, Handler: s.start},
			{Method: "POST", Pattern: node + "/abort", Policy: api.Service, Handler: s.abort},
			{Method: "GET", Pattern: node + "/data", Policy: api.Reader, Handler: s.data},
			{Method: "GET", Pattern: node + "/data/unprocessed", Policy: api.Reader, Handler: s.unprocessed},
			{Method: "POST", Pattern: node + "/data/unprocessed", Policy: api.Service, Handler: s.reapply},
			{Method: "POST", Pattern: "/v1/continue", Policy: api.Public, Handler: s.proceed},
			{Method: "GET", Pattern: "/v1/rules", Policy: api.Reader, Handler: s.listRules},
			{Method: "POST", Pattern: "/v1/rules", Policy: api.Service, Handler: s.createRule},
			{Method: "DELETE", Pattern: "/v1/rules", Policy: api.Service, Handler: s.deleteRules},
			{Method: "GET", Pattern: "/v1/rules/{rule}", Policy: api.Reader, Handler: s.getRule},
			{Method: "DELETE", Pattern: "/v1/rules/{rule}", Policy: api.Service, Handler: s.deleteRule},
		},
	})
}

// NodeHandler serves what machines may reach: the ramdisk's callback.
func (s *Service) NodeHandler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "baremetal-introspection", Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: writeFault, Versions: s.versions(), MaxBody: maxData,
		Routes: []api.Route{{Method: "POST", Pattern: "/v1/continue", Policy: api.Public, Handler: s.proceed}},
	})
}

func writeFault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	_ = api.WriteJSON(w, f.Status, map[string]any{"error": map[string]any{"message": f.Message}})
}

func (s *Service) link(path string) []any {
	return []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + path}}
}

func (s *Service) root(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"versions": []any{
		map[string]any{"id": "v1", "status": "CURRENT", "version": maxVersion, "min_version": minVersion, "links": s.link("/v1")},
	}})
}

func (s *Service) v1(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resources": []any{
		map[string]any{"name": "introspection", "links": s.link("/v1/introspection")},
		map[string]any{"name": "rules", "links": s.link("/v1/rules")},
		map[string]any{"name": "continue", "links": s.link("/v1/continue")},
	}})
}
