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

func (s *Service) routes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v2.1", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.1/{$}", Policy: api.Public, Handler: s.version},

		{Method: "GET", Pattern: "/v2.1/flavors", Policy: api.Reader, Handler: s.listFlavors},
		{Method: "GET", Pattern: "/v2.1/flavors/detail", Policy: api.Reader, Handler: s.listFlavorsDetail},
		{Method: "POST", Pattern: "/v2.1/flavors", Policy: api.Admin, Handler: s.createFlavor},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}", Policy: api.Reader, Handler: s.showFlavor},
		{Method: "PUT", Pattern: "/v2.1/flavors/{id}", Policy: api.Admin, Since: "2.55", Handler: s.updateFlavor},
		{Method: "DELETE", Pattern: "/v2.1/flavors/{id}", Policy: api.Admin, Handler: s.deleteFlavor},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-flavor-access", Policy: api.Admin, Handler: s.listAccess},
		{Method: "POST", Pattern: "/v2.1/flavors/{id}/action", Policy: api.Admin, Handler: s.flavorAction},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-extra_specs", Policy: api.Reader, Handler: s.listExtraSpecs},
		{Method: "POST", Pattern: "/v2.1/flavors/{id}/os-extra_specs", Policy: api.Admin, Handler: s.setExtraSpecs},
		{Method: "GET", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Reader, Handler: s.showExtraSpec},
		{Method: "PUT", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Admin, Handler: s.setExtraSpec},
		{Method: "DELETE", Pattern: "/v2.1/flavors/{id}/os-extra_specs/{key}", Policy: api.Admin, Handler: s.deleteExtraSpec},

		{Method: "GET", Pattern: "/v2.1/os-keypairs", Policy: api.Reader, Handler: s.listKeypairs},
		{Method: "POST", Pattern: "/v2.1/os-keypairs", Policy: api.Member, Handler: s.createKeypair},
		{Method: "GET", Pattern: "/v2.1/os-keypairs/{name}", Policy: api.Reader, Handler: s.showKeypair},
		{Method: "DELETE", Pattern: "/v2.1/os-keypairs/{name}", Policy: api.Member, Handler: s.deleteKeypair},

		{Method: "GET", Pattern: "/v2.1/servers", Policy: api.Reader, Handler: s.listServers},
		{Method: "GET", Pattern: "/v2.1/servers/detail", Policy: api.Reader, Handler: s.listServersDetail},
		{Method: "POST", Pattern: "/v2.1/servers", Policy: api.Member, Handler: s.createServer},
		{Method: "GET", Pattern: "/v2.1/servers/{id}", Policy: api.Reader, Handler: s.showServer},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}", Policy: api.Member, Handler: s.updateServer},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}", Policy: api.Member, Handler: s.deleteServer},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/action", Policy: api.Member, Handler: s.serverAction},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/ips", Policy: api.Reader, Handler: s.serverIPs},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Reader, Handler: s.serverMetadata},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Member, Handler: s.setServerMetadata},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/metadata", Policy: api.Member, Handler: s.setServerMetadata},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Reader, Handler: s.showMetadataItem},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Member, Handler: s.putMetadataItem},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/metadata/{key}", Policy: api.Member, Handler: s.deleteMetadataItem},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Reader, Since: "2.26", Handler: s.listServerTags},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Member, Since: "2.26", Handler: s.replaceServerTags},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/tags", Policy: api.Member, Since: "2.26", Handler: s.deleteServerTags},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Reader, Since: "2.26", Handler: s.serverTag},
		{Method: "PUT", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Member, Since: "2.26", Handler: s.serverTag},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/tags/{tag}", Policy: api.Member, Since: "2.26", Handler: s.serverTag},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/ips/{network}", Policy: api.Reader, Handler: s.serverNetworkIPs},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-interface", Policy: api.Reader, Handler: s.serverInterfaces},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/os-interface", Policy: api.Member, Handler: s.attachInterface},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-interface/{port}", Policy: api.Reader, Handler: s.showInterface},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-interface/{port}", Policy: api.Member, Handler: s.detachInterface},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-security-groups", Policy: api.Reader, Handler: s.serverGroups},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-instance-actions", Policy: api.Reader, Handler: s.listActions},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-instance-actions/{request}", Policy: api.Reader, Handler: s.showAction},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-server-password", Policy: api.Reader, Handler: s.serverPassword},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-server-password", Policy: api.Member, Handler: s.serverPassword},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/diagnostics", Policy: api.Admin, Handler: s.serverDiagnostics},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/remote-consoles", Policy: api.Member, Since: "2.6", Handler: s.remoteConsole},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-volume_attachments", Policy: api.Reader, Handler: s.noVolumes},
		{Method: "POST", Pattern: "/v2.1/servers/{id}/os-volume_attachments", Policy: api.Member, Handler: s.noVolumes},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/os-volume_attachments/{volume}", Policy: api.Reader, Handler: s.noVolumes},
		{Method: "DELETE", Pattern: "/v2.1/servers/{id}/os-volume_attachments/{volume}", Policy: api.Member, Handler: s.noVolumes},
		{Method: "GET", Pattern: "/v2.1/servers/{id}/migrations", Policy: api.Admin, Since: "2.23", Handler: s.serverMigrations},
		{Method: "GET", Pattern: "/v2.1/os-security-groups", Policy: api.Reader, Handler: s.listSecurityGroups},
		{Method: "GET", Pattern: "/v2.1/os-security-groups/{id}", Policy: api.Reader, Handler: s.listSecurityGroups},
		{Method: "GET", Pattern: "/v2.1/os-migrations", Policy: api.Admin, Handler: s.migrations},

		{Method: "GET", Pattern: "/v2.1/os-server-groups", Policy: api.Reader, Handler: s.listGroups},
		{Method: "POST", Pattern: "/v2.1/os-server-groups", Policy: api.Member, Handler: s.createGroup},
		{Method: "GET", Pattern: "/v2.1/os-server-groups/{id}", Policy: api.Reader, Handler: s.showGroup},
		{Method: "DELETE", Pattern: "/v2.1/os-server-groups/{id}", Policy: api.Member, Handler: s.deleteGroup},

		{Method: "GET", Pattern: "/v2.1/os-aggregates", Policy: api.Admin, Handler: s.listAggregates},
		{Method: "POST", Pattern: "/v2.1/os-aggregates", Policy: api.Admin, Handler: s.createAggregate},
		{Method: "GET", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.showAggregate},
		{Method: "PUT", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.updateAggregate},
		{Method: "DELETE", Pattern: "/v2.1/os-aggregates/{id}", Policy: api.Admin, Handler: s.deleteAggregate},
		{Method: "POST", Pattern: "/v2.1/os-aggregates/{id}/action", Policy: api.Admin, Handler: s.aggregateAction},

		{Method: "GET", Pattern: "/v2.1/os-services", Policy: api.Admin, Handler: s.listServices},
		{Method: "PUT", Pattern: "/v2.1/os-services/{id}", Policy: api.Admin, Handler: s.changeService},
		{Method: "DELETE", Pattern: "/v2.1/os-services/{id}", Policy: api.Admin, Handler: s.deleteService},

		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Reader, Handler: s.showQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}/detail", Policy: api.Reader, Handler: s.detailQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-sets/{project}/defaults", Policy: api.Reader, Handler: s.defaultQuota},
		{Method: "PUT", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Admin, Handler: s.putQuota},
		{Method: "DELETE", Pattern: "/v2.1/os-quota-sets/{project}", Policy: api.Admin, Handler: s.deleteQuota},
		{Method: "GET", Pattern: "/v2.1/os-quota-class-sets/{class}", Policy: api.Admin, Handler: s.quotaClass},
		{Method: "PUT", Pattern: "/v2.1/os-quota-class-sets/{class}", Policy: api.Admin, Handler: s.quotaClass},
		{Method: "GET", Pattern: "/v2.1/os-simple-tenant-usage", Policy: api.Admin, Handler: s.listUsage},
		{Method: "GET", Pattern: "/v2.1/os-simple-tenant-usage/{project}", Policy: api.Reader, Handler: s.showUsage},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/uptime", Policy: api.Admin, Handler: s.hypervisorUptime},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/search", Policy: api.Admin, Handler: s.searchHypervisors},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}/servers", Policy: api.Admin, Handler: s.searchHypervisors},

		{Method: "GET", Pattern: "/v2.1/os-hypervisors", Policy: api.Admin, Handler: s.listHypervisors},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/detail", Policy: api.Admin, Handler: s.listHypervisorsDetail},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/statistics", Policy: api.Admin, Handler: s.hypervisorStatistics},
		{Method: "GET", Pattern: "/v2.1/os-hypervisors/{id}", Policy: api.Admin, Handler: s.showHypervisor},
		{Method: "GET", Pattern: "/v2.1/os-availability-zone", Policy: api.Reader, Handler: s.listZones},
		{Method: "GET", Pattern: "/v2.1/os-availability-zone/detail", Policy: api.Admin, Handler: s.listZonesDetail},
		{Method: "GET", Pattern: "/v2.1/limits", Policy: api.Reader, Handler: s.showLimits},
		{Method: "GET", Pattern: "/v2.1/extensions", Policy: api.Reader, Handler: s.listExtensions},
	}
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
