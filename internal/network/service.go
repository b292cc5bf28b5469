package network

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/network/dhcp"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what the service is made of.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Log     *slog.Logger
	Auth    auth.Validator
	BaseURL string

	// PhysicalNetwork is the flat physical network whose ports the DHCP server
	// answers for.
	PhysicalNetwork string
	// DHCPAddress is the undercloud's own address there.
	DHCPAddress netip.Addr
	// ListenDHCP opens UDP port 67 on the provisioning network. It is tried
	// again until it succeeds: the interface may appear later. nil: no DHCP.
	ListenDHCP func() (net.PacketConn, error)
	// ListenBoot opens UDP port 4011 there, where PXE clients ask again. nil: nobody answers.
	ListenBoot func() (net.PacketConn, error)
	// DHCPProxy leaves addresses to another DHCP server of that network.
	DHCPProxy bool
}

// Service is the network service.
type Service struct {
	cfg Config
}

// New migrates the service's tables and returns the service.
func New(cfg Config) (*Service, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "network", sub); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg}, nil
}

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "network", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault,
	})
}

func (s *Service) routes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v2.0", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.0/{$}", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.0/extensions", Policy: api.Reader, Handler: s.listExtensions},
		{Method: "GET", Pattern: "/v2.0/extensions/{alias}", Policy: api.Reader, Handler: s.showExtension},

		{Method: "GET", Pattern: "/v2.0/networks", Policy: api.Reader, Handler: s.listNetworks},
		{Method: "POST", Pattern: "/v2.0/networks", Policy: api.Member, Handler: s.createNetwork},
		{Method: "GET", Pattern: "/v2.0/networks/{id}", Policy: api.Reader, Handler: show(s, networkKind())},
		{Method: "PUT", Pattern: "/v2.0/networks/{id}", Policy: api.Member, Handler: update(s, networkKind(), changeNetwork)},
		{Method: "DELETE", Pattern: "/v2.0/networks/{id}", Policy: api.Member, Handler: remove(s, networkKind(), dropNetwork)},

		{Method: "GET", Pattern: "/v2.0/subnets", Policy: api.Reader, Handler: s.listSubnets},
		{Method: "POST", Pattern: "/v2.0/subnets", Policy: api.Member, Handler: s.createSubnet},
		{Method: "GET", Pattern: "/v2.0/subnets/{id}", Policy: api.Reader, Handler: show(s, subnetKind())},
		{Method: "PUT", Pattern: "/v2.0/subnets/{id}", Policy: api.Member, Handler: update(s, subnetKind(), changeSubnet)},
		{Method: "DELETE", Pattern: "/v2.0/subnets/{id}", Policy: api.Member, Handler: remove(s, subnetKind(), dropSubnet)},

		{Method: "GET", Pattern: "/v2.0/ports", Policy: api.Reader, Handler: s.listPorts},
		{Method: "POST", Pattern: "/v2.0/ports", Policy: api.Member, Handler: s.createPort},
		{Method: "GET", Pattern: "/v2.0/ports/{id}", Policy: api.Reader, Handler: show(s, portKind())},
		{Method: "PUT", Pattern: "/v2.0/ports/{id}", Policy: api.Member, Handler: update(s, portKind(), s.changePort)},
		{Method: "DELETE", Pattern: "/v2.0/ports/{id}", Policy: api.Member, Handler: remove(s, portKind(), s.dropPort)},

		{Method: "PUT", Pattern: "/v2.0/{kind}/{id}/tags", Policy: api.Member, Handler: s.replaceTags},
		{Method: "GET", Pattern: "/v2.0/{kind}/{id}/tags", Policy: api.Reader, Handler: s.listTags},
	}
}

// fault writes Neutron's envelope.
func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	typ := f.Err.Type
	if typ == "" {
		typ = map[int]string{
			http.StatusBadRequest: "HTTPBadRequest", http.StatusNotFound: "HTTPNotFound",
			http.StatusConflict: "Conflict", http.StatusForbidden: "PolicyNotAuthorized",
			http.StatusUnauthorized: "HTTPUnauthorized",
		}[f.Status]
	}
	_ = api.WriteJSON(w, f.Status, map[string]any{
		"NeutronError": map[string]any{"type": typ, "message": f.Message, "detail": ""},
	})
}

func (s *Service) versions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"versions": []any{map[string]any{
		"id": "v2.0", "status": "CURRENT",
		"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v2.0/"}},
	}}})
}

func (s *Service) version(w http.ResponseWriter, _ *http.Request) error {
	var resources []any
	for _, name := range []string{"networks", "subnets", "ports"} {
		resources = append(resources, map[string]any{
			"name": name[:len(name)-1], "collection": name,
			"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v2.0/" + name}},
		})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resources": resources})
}

// Run serves DHCP until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	server := &dhcp.Server{Address: s.cfg.DHCPAddress, Lookup: s.dhcpHost, LeaseTime: time.Hour, Proxy: s.cfg.DHCPProxy, Log: s.cfg.Log}
	var wg sync.WaitGroup
	wg.Go(func() { s.serveSocket(ctx, "DHCP", s.cfg.ListenDHCP, server.Serve) })
	wg.Go(func() { s.serveSocket(ctx, "PXE boot requests", s.cfg.ListenBoot, server.ServeBoot) })
	wg.Wait()
	<-ctx.Done()
	return nil
}

// serveSocket serves what comes to a socket, opened again whenever it is lost.
func (s *Service) serveSocket(ctx context.Context, what string, open func() (net.PacketConn, error), serve func(context.Context, net.PacketConn) error) {
	if open == nil {
		return
	}
	reported := false
	for ctx.Err() == nil {
		conn, err := open()
		if err == nil {
			s.cfg.Log.Info("serving "+what, "physical_network", s.cfg.PhysicalNetwork, "address", s.cfg.DHCPAddress, "proxy", s.cfg.DHCPProxy)
			err = errors.Join(serve(ctx, conn), conn.Close())
			reported = false
		} else if !reported {
			s.cfg.Log.Info("the provisioning network is not there yet", "for", what, "reason", err)
			reported = true
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("socket", "for", what, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}
