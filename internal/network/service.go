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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/network/dhcp"
	"github.com/tripleo/tripleo/internal/network/switches"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// VLANRange are the VLANs of a physical network that networks may be given of
// which nothing else is said; First and Last belong to it.
type VLANRange struct {
	PhysicalNetwork string
	First, Last     int
}

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
	// ListenDHCP6 opens UDP port 547 there for the groups of DHCPv6 servers, and
	// ListenRouter an ICMPv6 socket of hop limit 255 for that of routers. nil: no IPv6.
	ListenDHCP6, ListenRouter func() (net.PacketConn, error)
	// DHCPProxy leaves addresses to another DHCP server of that network.
	DHCPProxy bool
	// Unknown is told of a DHCP client that no port is for, and may make one
	// through the API; nil: such clients get no answer.
	Unknown func(ctx context.Context, mac net.HardwareAddr) error
	// VLANs are for projects' networks.
	VLANs []VLANRange

	// Switches are those whose ports this service configures; none: somebody
	// else does, and a port is ACTIVE as soon as it is bound. They need Jobs.
	Switches []switches.Switch
	// FlatVLANs are the VLANs of flat networks on those switches, by physical network.
	FlatVLANs map[string]int
	Jobs      *jobs.Queue
	// Cloud reaches the bare metal service, which is told of bound ports; nil: it is not.
	Cloud *cloud.Cloud
}

// Service is the network service.
type Service struct {
	cfg             Config
	all             []*resource
	kinds           map[string]*resource
	fabric          *switches.Fabric // nil: no switches
	dhcpUp, dhcp6Up atomic.Bool

	mac   func() (string, error) // makes an address for a port
	began string
}

type handler = func(http.ResponseWriter, *http.Request) error

// New migrates the service's tables and returns the service.
func New(cfg Config) (*Service, error) {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "network", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, kinds: map[string]*resource{}, began: stampSpace(), mac: newMAC}
	s.all = append([]*resource{
		networkKind(), subnetKind(), poolKind(), scopeKind(), segmentKind(), portKind(), trunkKind(), groupKind(), ruleKind(), addressGroupKind(),
		routerKind(), floatingKind(), policyKind(), rbacKind(),
	}, qosRuleKinds()...)
	for _, k := range s.all {
		s.kinds[k.kind] = k
	}
	s.kinds["agent"] = agentKind()
	return s, s.registerSwitches()
}

// stampSpace is how agents write times.
func stampSpace() string { return time.Now().UTC().Format("2006-01-02 15:04:05") }

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "network", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault,
	})
}

func (s *Service) routes() []api.Route {
	routes := []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v2.0", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.0/{$}", Policy: api.Public, Handler: s.version},
		{Method: "GET", Pattern: "/v2.0/extensions", Policy: api.Reader, Handler: s.listExtensions},
		{Method: "GET", Pattern: "/v2.0/extensions/{alias}", Policy: api.Reader, Handler: s.showExtension},

		{Method: "PUT", Pattern: "/v2.0/subnetpools/{id}/add_prefixes", Policy: api.Member, Handler: s.action(s.kinds["subnetpool"], addPrefixes)},
		{Method: "PUT", Pattern: "/v2.0/subnetpools/{id}/remove_prefixes", Policy: api.Member, Handler: s.action(s.kinds["subnetpool"], removePrefixes)},
		{Method: "PUT", Pattern: "/v2.0/address-groups/{id}/add_addresses", Policy: api.Member, Handler: s.action(s.kinds["address_group"], addAddresses)},
		{Method: "PUT", Pattern: "/v2.0/address-groups/{id}/remove_addresses", Policy: api.Member, Handler: s.action(s.kinds["address_group"], removeAddresses)},
		{Method: "PUT", Pattern: "/v2.0/routers/{id}/add_router_interface", Policy: api.Member, Handler: s.action(s.kinds["router"], addInterface)},
		{Method: "PUT", Pattern: "/v2.0/routers/{id}/remove_router_interface", Policy: api.Member, Handler: s.action(s.kinds["router"], removeInterface)},
		{Method: "PUT", Pattern: "/v2.0/routers/{id}/add_extraroutes", Policy: api.Member, Handler: s.action(s.kinds["router"], extraRoutes(true))},
		{Method: "PUT", Pattern: "/v2.0/routers/{id}/remove_extraroutes", Policy: api.Member, Handler: s.action(s.kinds["router"], extraRoutes(false))},
		{Method: "PUT", Pattern: "/v2.0/trunks/{id}/add_subports", Policy: api.Member, Handler: s.action(s.kinds["trunk"], addSubPorts)},
		{Method: "PUT", Pattern: "/v2.0/trunks/{id}/remove_subports", Policy: api.Member, Handler: s.action(s.kinds["trunk"], removeSubPorts)},
		{Method: "GET", Pattern: "/v2.0/trunks/{id}/get_subports", Policy: api.Reader, Handler: s.getSubPorts},

		{Method: "GET", Pattern: "/v2.0/quotas", Policy: api.Admin, Handler: s.listQuotas},
		{Method: "GET", Pattern: "/v2.0/quotas/{project}", Policy: api.Reader, Handler: s.showQuotas},
		{Method: "GET", Pattern: "/v2.0/quotas/{project}/default", Policy: api.Reader, Handler: s.defaultQuotas},
		{Method: "GET", Pattern: "/v2.0/quotas/{project}/details.json", Policy: api.Reader, Handler: s.detailQuotas},
		{Method: "GET", Pattern: "/v2.0/quotas/{project}/details", Policy: api.Reader, Handler: s.detailQuotas},
		{Method: "PUT", Pattern: "/v2.0/quotas/{project}", Policy: api.Admin, Handler: s.putQuotas},
		{Method: "DELETE", Pattern: "/v2.0/quotas/{project}", Policy: api.Admin, Handler: s.deleteQuotas},

		{Method: "GET", Pattern: "/v2.0/agents", Policy: api.Reader, Handler: s.listAgents},
		{Method: "GET", Pattern: "/v2.0/agents/{id}", Policy: api.Admin, Handler: s.oneAgent},
		{Method: "PUT", Pattern: "/v2.0/agents/{id}", Policy: api.Admin, Handler: s.oneAgent},
		{Method: "DELETE", Pattern: "/v2.0/agents/{id}", Policy: api.Admin, Handler: s.oneAgent},
		{Method: "GET", Pattern: "/v2.0/availability_zones", Policy: api.Reader, Handler: s.listZones},
		{Method: "GET", Pattern: "/v2.0/network-ip-availabilities", Policy: api.Admin, Handler: s.listAvailability},
		{Method: "GET", Pattern: "/v2.0/network-ip-availabilities/{id}", Policy: api.Admin, Handler: s.showAvailability},
		{Method: "GET", Pattern: "/v2.0/service-providers", Policy: api.Reader, Handler: s.listProviders},
		{Method: "GET", Pattern: "/v2.0/auto-allocated-topology/{project}", Policy: api.Member, Handler: s.autoTopology},
		{Method: "DELETE", Pattern: "/v2.0/auto-allocated-topology/{project}", Policy: api.Member, Handler: s.deleteTopology},
	}
	for _, k := range s.all {
		if !k.nested {
			routes = append(routes, s.resourceRoutes(k)...)
		}
	}
	return withJSONSuffix(append(routes, s.qosRoutes()...))
}

// resourceRoutes are the five calls that every kind of thing has.
func (s *Service) resourceRoutes(k *resource) []api.Route {
	read, write := api.Reader, api.Member
	if k.admin {
		read, write = api.Admin, api.Admin
	}
	base := "/v2.0/" + k.path
	routes := []api.Route{
		{Method: "GET", Pattern: base, Policy: read, Handler: s.listResource(k)},
		{Method: "POST", Pattern: base, Policy: write, Handler: s.postResource(k)},
		{Method: "GET", Pattern: base + "/{id}", Policy: read, Handler: s.getResource(k)},
		{Method: "DELETE", Pattern: base + "/{id}", Policy: write, Handler: s.deleteResource(k)},
	}
	if !k.noPut {
		routes = append(routes, api.Route{Method: "PUT", Pattern: base + "/{id}", Policy: write, Handler: s.putResource(k)})
	}
	if !k.plain && !k.noPut && !k.admin {
		routes = append(routes, s.tagRoutes(k, k.path)...)
		if k.path != k.plural && strings.HasSuffix(k.path, "/"+k.plural) { // policies, by both names
			routes = append(routes, s.tagRoutes(k, k.plural)...)
		}
	}
	return routes
}

// withJSONSuffix serves lists as PATH.json too, which old clients ask for.
func withJSONSuffix(routes []api.Route) []api.Route {
	out := routes
	for _, r := range routes {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Pattern, "/v2.0/") && !strings.Contains(r.Pattern, "{") && !strings.HasSuffix(r.Pattern, "/") {
			r.Pattern += ".json"
			out = append(out, r)
		}
	}
	return out
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
	for _, k := range s.all {
		if !k.nested {
			resources = append(resources, map[string]any{
				"name": k.kind, "collection": k.path,
				"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v2.0/" + k.path}},
			})
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resources": resources})
}

// Run serves DHCP and looks after the switches until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &dhcp.Server{Address: s.cfg.DHCPAddress, Lookup: s.dhcpHost, LeaseTime: time.Hour, Proxy: s.cfg.DHCPProxy, Log: s.cfg.Log}
	var wg sync.WaitGroup
	wg.Go(func() {
		s.serveSocket(ctx, "DHCP", s.cfg.ListenDHCP, func(ctx context.Context, conn net.PacketConn) error {
			s.dhcpUp.Store(true)
			defer s.dhcpUp.Store(false)
			return server.Serve(ctx, conn)
		})
	})
	wg.Go(func() { s.serveSocket(ctx, "PXE boot requests", s.cfg.ListenBoot, server.ServeBoot) })
	six := &dhcp.Server6{Name: s.cfg.PhysicalNetwork, Lookup: s.dhcpHost6, LeaseTime: time.Hour, Log: s.cfg.Log}
	wg.Go(func() {
		s.serveSocket(ctx, "DHCPv6", s.cfg.ListenDHCP6, func(ctx context.Context, conn net.PacketConn) error {
			s.dhcp6Up.Store(true)
			defer s.dhcp6Up.Store(false)
			return six.Serve(ctx, conn)
		})
	})
	wg.Go(func() {
		s.serveSocket(ctx, "router advertisements", s.cfg.ListenRouter, func(ctx context.Context, conn net.PacketConn) error {
			return dhcp.Advertise(ctx, conn, s.advertisement)
		})
	})
	var err error
	wg.Go(func() {
		if err = s.startSwitches(ctx); err != nil {
			cancel()
		}
	})
	wg.Wait()
	<-ctx.Done()
	return err
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
