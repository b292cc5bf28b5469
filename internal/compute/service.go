package compute

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what the service is made of.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud
	BaseURL string
	Region  string
}

// Service is the compute service.
type Service struct {
	cfg   Config
	board nodeBoard
}

const serverJob = "compute.server"

// New migrates the service's tables, registers its jobs and returns the
// service.
func New(cfg Config) (*Service, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "compute", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg}
	cfg.Jobs.Register(serverJob, 32, s.runServer)
	cfg.Jobs.Register(forgetJob, 1, s.forget)
	return s, nil
}

// Run blocks until ctx ends: all work is done by jobs.
func (s *Service) Run(ctx context.Context) error {
	err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error { return s.cfg.Jobs.Poke(tx, forgetJob, "old", nil) })
	if err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "compute", Routes: withRequestID(s.routes()), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault,
		Versions: &api.Microversions{Type: "compute", Min: "2.1", Max: "2.93", Legacy: "X-OpenStack-Nova-API-Version"},
	})
}

// withRequestID names the request in the header that Nova's clients look at.
func withRequestID(routes []api.Route) []api.Route {
	for i := range routes {
		next := routes[i].Handler
		routes[i].Handler = func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Compute-Request-Id", api.RequestID(r.Context()))
			return next(w, r)
		}
	}
	return routes
}

// faultNames are the envelopes Nova uses, by status.
var faultNames = map[int]string{ //nolint:gochecknoglobals // constant table
	http.StatusBadRequest: "badRequest", http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "forbidden",
	http.StatusNotFound: "itemNotFound", http.StatusMethodNotAllowed: "badMethod", http.StatusConflict: "conflictingRequest",
	http.StatusRequestEntityTooLarge: "overLimit", http.StatusServiceUnavailable: "serviceUnavailable",
}

func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	name := faultNames[f.Status]
	if name == "" {
		name = "computeFault"
	}
	_ = api.WriteJSON(w, f.Status, map[string]any{name: map[string]any{"code": f.Status, "message": f.Message}})
}

func (s *Service) versionDoc() map[string]any {
	return map[string]any{
		"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1", "updated": "2013-07-23T11:33:21Z",
		"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v2.1/"}},
	}
}

func (s *Service) versions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"versions": []any{s.versionDoc()}})
}

func (s *Service) version(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"version": s.versionDoc()})
}

func (s *Service) listExtensions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"extensions": []any{}})
}
