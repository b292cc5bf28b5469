// Package placement is Placement 1.x: resource providers, their inventories,
// traits and aggregates, who has what allocated, and who could have it.
//
// Every bare-metal node that can carry a server is a provider of one unit of its
// resource class; what is deployed on it is its allocation. Those come from the
// bare-metal service at each request and cannot be changed here. Providers that
// clients make themselves are kept beside them.
//
// API reference: https://docs.openstack.org/api-ref/placement/.
package placement

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what the service is made of.
type Config struct {
	DB      *store.DB
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud
	BaseURL string
}

// Service is the placement service.
type Service struct{ cfg Config }

// New migrates the service's tables and returns the service.
func New(cfg Config) (*Service, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "placement", sub); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg}, nil
}

// Run blocks until ctx ends: there is nothing to do in between requests.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

const maxVersion = "1.39"

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "placement", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault,
		Versions: &api.Microversions{Type: "placement", Min: "1.0", Max: maxVersion},
	})
}

func (s *Service) routes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},

		{Method: "GET", Pattern: "/resource_providers", Policy: api.Service, Handler: s.listProviders},
		{Method: "POST", Pattern: "/resource_providers", Policy: api.Service, Handler: s.createProvider},
		{Method: "GET", Pattern: "/resource_providers/{rp}", Policy: api.Service, Handler: s.showProvider},
		{Method: "PUT", Pattern: "/resource_providers/{rp}", Policy: api.Service, Handler: s.updateProvider},
		{Method: "DELETE", Pattern: "/resource_providers/{rp}", Policy: api.Service, Handler: s.deleteProvider},
		{Method: "GET", Pattern: "/resource_providers/{rp}/inventories", Policy: api.Service, Handler: s.listInventories},
		{Method: "PUT", Pattern: "/resource_providers/{rp}/inventories", Policy: api.Service, Handler: s.putInventories},
		{Method: "DELETE", Pattern: "/resource_providers/{rp}/inventories", Policy: api.Service, Since: "1.5", Handler: s.deleteInventories},
		{Method: "POST", Pattern: "/resource_providers/{rp}/inventories", Policy: api.Service, Handler: s.putInventory},
		{Method: "GET", Pattern: "/resource_providers/{rp}/inventories/{class}", Policy: api.Service, Handler: s.showInventory},
		{Method: "PUT", Pattern: "/resource_providers/{rp}/inventories/{class}", Policy: api.Service, Handler: s.putInventory},
		{Method: "DELETE", Pattern: "/resource_providers/{rp}/inventories/{class}", Policy: api.Service, Handler: s.deleteInventories},
		{Method: "GET", Pattern: "/resource_providers/{rp}/usages", Policy: api.Service, Handler: s.providerUsages},
		{Method: "GET", Pattern: "/resource_providers/{rp}/allocations", Policy: api.Service, Handler: s.providerAllocations},
		{Method: "GET", Pattern: "/resource_providers/{rp}/aggregates", Policy: api.Service, Since: "1.1", Handler: s.listAggregates},
		{Method: "PUT", Pattern: "/resource_providers/{rp}/aggregates", Policy: api.Service, Since: "1.1", Handler: s.putAggregates},
		{Method: "GET", Pattern: "/resource_providers/{rp}/traits", Policy: api.Service, Since: "1.6", Handler: s.listProviderTraits},
		{Method: "PUT", Pattern: "/resource_providers/{rp}/traits", Policy: api.Service, Since: "1.6", Handler: s.putProviderTraits},
		{Method: "DELETE", Pattern: "/resource_providers/{rp}/traits", Policy: api.Service, Since: "1.6", Handler: s.putProviderTraits},

		{Method: "GET", Pattern: "/resource_classes", Policy: api.Service, Since: "1.2", Handler: s.listClasses},
		{Method: "POST", Pattern: "/resource_classes", Policy: api.Service, Since: "1.2", Handler: s.createClass},
		{Method: "GET", Pattern: "/resource_classes/{name}", Policy: api.Service, Since: "1.2", Handler: s.showClass},
		{Method: "PUT", Pattern: "/resource_classes/{name}", Policy: api.Service, Since: "1.2", Handler: s.putName(classes)},
		{Method: "DELETE", Pattern: "/resource_classes/{name}", Policy: api.Service, Since: "1.2", Handler: s.deleteName(classes)},
		{Method: "GET", Pattern: "/traits", Policy: api.Service, Since: "1.6", Handler: s.listTraits},
		{Method: "GET", Pattern: "/traits/{name}", Policy: api.Service, Since: "1.6", Handler: s.showTrait},
		{Method: "PUT", Pattern: "/traits/{name}", Policy: api.Service, Since: "1.6", Handler: s.putName(traits)},
		{Method: "DELETE", Pattern: "/traits/{name}", Policy: api.Service, Since: "1.6", Handler: s.deleteName(traits)},

		{Method: "GET", Pattern: "/allocations/{consumer}", Policy: api.Service, Handler: s.showAllocations},
		{Method: "PUT", Pattern: "/allocations/{consumer}", Policy: api.Service, Handler: s.putAllocations},
		{Method: "DELETE", Pattern: "/allocations/{consumer}", Policy: api.Service, Handler: s.deleteAllocations},
		{Method: "POST", Pattern: "/allocations", Policy: api.Service, Since: "1.13", Handler: s.postAllocations},
		{Method: "GET", Pattern: "/usages", Policy: api.Reader, Since: "1.9", Handler: s.projectUsages},
		{Method: "GET", Pattern: "/allocation_candidates", Policy: api.Service, Since: "1.10", Handler: s.listCandidates},
	}
}

func (s *Service) versions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"versions": []any{map[string]any{
		"id": "v1.0", "status": "CURRENT", "min_version": "1.0", "max_version": maxVersion,
		"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL}},
	}}})
}

// fault writes the envelope of the API working group's errors.
func fault(w http.ResponseWriter, r *http.Request, f api.Fault) {
	e := map[string]any{"status": f.Status, "title": http.StatusText(f.Status), "detail": f.Message, "request_id": f.RequestID}
	if api.AtLeast(r, "1.23") {
		e["code"] = f.Err.Type
		if f.Err.Type == "" {
			e["code"] = "placement.undefined_code"
		}
	}
	if f.Status == http.StatusNotAcceptable {
		e["min_version"], e["max_version"] = "1.0", maxVersion
	}
	_ = api.WriteJSON(w, f.Status, map[string]any{"errors": []any{e}})
}

const concurrent = "placement.concurrent_update"

func stale(p *provider, asked int) error {
	return api.Conflict("resource provider generation conflict for %s: actual: %d, given: %d", p.UUID, p.Generation, asked).Named(concurrent)
}
