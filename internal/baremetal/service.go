package baremetal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/baremetal/boot"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/netns"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// The microversions served.
const (
	minVersion = "1.1"
	maxVersion = "1.87"
	header     = "X-OpenStack-Ironic-API-Version"
)

// DefaultKernelAppend makes the ramdisk tell what it does on the serial line
// too, which is the console a BMC shows.
const DefaultKernelAppend = "ipa-debug=1 console=tty0 console=ttyS0,115200n8"

// Config is what the service needs and how it behaves. Zero values of the
// second part get the defaults named.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud // image and network service; nil: only URLs and network_interface noop
	BaseURL string       // public address of this service
	NodeURL string       // the undercloud as machines see it, without service prefix

	BMCNetns  string // network namespace the controllers are reached from; "" is the current one
	NodeNetns string // network namespace the ramdisks are reached from
	// ListenTFTP opens the TFTP socket on the provisioning side; nil: no TFTP.
	// It is tried again until it succeeds.
	ListenTFTP func() (net.PacketConn, error)
	TFTPRoot   string // folder with iPXE's binaries; default /usr/lib/ipxe (Debian's package ipxe)
	CacheDir   string // folder for kernels and ramdisks; required to serve them from the image service
	LogsDir    string // folder for what ramdisks logged before a failure; "": it is not fetched
	BIOSLoader string // default undionly.kpxe
	UEFILoader string // default snponly.efi
	// MediaLoaders are the boot loaders of virtual media; defaults: Debian's packages.
	MediaLoaders boot.Loaders
	// ARM64Loader is for UEFI machines with 64-bit ARM processors; default snponly-arm64.efi.
	ARM64Loader string

	Hostname             string // of this conductor; default the machine's
	ConductorGroup       string // of this conductor: it takes nodes of that conductor_group
	DefaultResourceClass string // default "baremetal"
	ProvisioningNetwork  string // default "ctlplane"
	DeployKernel         string // default "bm-deploy-kernel"
	DeployRamdisk        string // default "bm-deploy-ramdisk"
	InspectionURL        string // where a ramdisk posts its data; default NodeURL/introspection/v1/continue
	InspectionCollectors string // default "default,logs,pci-devices,numa-topology"
	KernelAppend         string // further kernel arguments of the ramdisk; default DefaultKernelAppend
	FileURLFolders       []string
	ImagesAsUploaded     bool           // machines get qcow2 images as they are, not the image service's raw form of them
	AutomatedClean       bool           // clean a node before it becomes available
	CleanPriority        map[string]int // of steps of automated cleaning; default {"deploy.erase_devices": 0}: metadata only
	FastTrack            bool           // keep a ramdisk running between tasks
	Discovery            bool           // machines that nobody knows boot the ramdisk and are inspected

	LockWait          time.Duration // how long a request waits for a node that is worked on; default 3 s as Ironic's three attempts
	PowerTimeout      time.Duration // to reach a power state or set a boot device; default 60 s
	PowerRetry        time.Duration // between two commands for the same state; default 15 s
	PowerPoll         time.Duration // between two looks at the state; default 1 s
	SoftOffTimeout    time.Duration // the ramdisk's own power off, then the BMC; default 30 s
	CallbackTimeout   time.Duration // from power on to the ramdisk's heartbeat; default 30 min
	InspectTimeout    time.Duration // from power on to its data; default 30 min
	WriteImageTimeout time.Duration // default 2 h
	CleanTimeout      time.Duration // all clean steps together; default 2 h
	CommandTimeout    time.Duration // any other command of the agent; default 10 min
	NetworkTimeout    time.Duration // other services unreachable; default 2 min
	CloudRetry        time.Duration // default 3 s
	AgentPoll         time.Duration // default 1 s
	AgentLost         time.Duration // silence of a ramdisk that was there; default 2 min
	SyncInterval      time.Duration // of the power states; default 60 s, negative: never
	Workers           int           // nodes worked on at once; default 64

	Now func() time.Time // default time.Now
}

func (c *Config) defaults() {
	text := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	text(&c.TFTPRoot, "/usr/lib/ipxe")
	text(&c.BIOSLoader, "undionly.kpxe")
	text(&c.UEFILoader, "snponly.efi")
	text(&c.ARM64Loader, "snponly-arm64.efi")
	text(&c.DefaultResourceClass, "baremetal")
	text(&c.ProvisioningNetwork, "ctlplane")
	text(&c.DeployKernel, "bm-deploy-kernel")
	text(&c.DeployRamdisk, "bm-deploy-ramdisk")
	text(&c.InspectionURL, strings.TrimSuffix(c.NodeURL, "/")+"/introspection/v1/continue")
	text(&c.InspectionCollectors, "default,logs,pci-devices,numa-topology")
	text(&c.KernelAppend, DefaultKernelAppend)
	if c.Hostname == "" {
		c.Hostname, _ = os.Hostname()
		text(&c.Hostname, "undercloud")
	}
	for p, v := range map[*time.Duration]time.Duration{
		&c.LockWait: 3 * time.Second, &c.PowerTimeout: time.Minute, &c.PowerRetry: 15 * time.Second, &c.PowerPoll: time.Second, &c.SoftOffTimeout: 30 * time.Second,
		&c.CallbackTimeout: 30 * time.Minute, &c.InspectTimeout: 30 * time.Minute, &c.WriteImageTimeout: 2 * time.Hour,
		&c.CleanTimeout: 2 * time.Hour, &c.CommandTimeout: 10 * time.Minute, &c.NetworkTimeout: 2 * time.Minute,
		&c.CloudRetry: 3 * time.Second, &c.AgentPoll: time.Second, &c.AgentLost: 2 * time.Minute, &c.SyncInterval: time.Minute,
	} {
		if *p == 0 {
			*p = v
		}
	}
	if c.Workers == 0 {
		c.Workers = 64
	}
	if c.CleanPriority == nil {
		c.CleanPriority = map[string]int{"deploy.erase_devices": 0}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Service is the bare metal service.
type Service struct {
	cfg      Config
	log      *slog.Logger
	drivers  *drivers.Set
	network  *neutron
	cache    *boot.Cache
	dialNode func(ctx context.Context, network, addr string) (net.Conn, error)
	started  time.Time
	others   atomic.Pointer[[]conductor] // as of the last beat

	discovered discoveries
}

// New migrates the tables, registers the engine's jobs and returns the
// service. It starts nothing.
func New(cfg Config) (*Service, error) {
	cfg.defaults()
	if cfg.DB == nil || cfg.Bus == nil || cfg.Jobs == nil || cfg.Auth == nil {
		return nil, errors.New("baremetal: DB, Bus, Jobs and Auth are required")
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "baremetal", sub); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: cfg.Log.With("service", "baremetal"),
		drivers:  drivers.New(drivers.Options{Dial: netns.Dialer(cfg.BMCNetns), Log: cfg.Log, Now: cfg.Now}),
		network:  &neutron{cloud: cfg.Cloud, name: cfg.ProvisioningNetwork},
		cache:    &boot.Cache{Dir: cfg.CacheDir, Keep: 14 * 24 * time.Hour},
		dialNode: netns.Dialer(cfg.NodeNetns),
	}
	s.started = s.now()
	cfg.Jobs.Register(jobKind(cfg.ConductorGroup), cfg.Workers, s.handle)
	return s, nil
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC() }

// Run works until ctx is done: power sync, TFTP, idle BMC sessions. The
// engine itself runs in the job queue.
func (s *Service) Run(ctx context.Context) error {
	if err := s.resume(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end was asked for, what it broke off is no failure
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.drivers.Run(ctx) })
	g.Go(func() error { return s.syncPower(ctx) })
	g.Go(func() error { return s.runTFTP(ctx) })
	g.Go(func() error { return s.pruneCache(ctx) })
	g.Go(func() error { return s.beat(ctx) })
	return g.Wait()
}

// pruneCache removes kernels and ramdisks that nobody boots any more, and what
// was lent to unknown machines.
func (s *Service) pruneCache(ctx context.Context) error {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		if err := s.cache.Prune(s.now()); err != nil {
			s.log.Warn("cannot prune the image cache", "error", err)
		}
		s.pruneDiscoveries(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// runTFTP serves TFTP, opening the socket again whenever it is lost: the
// provisioning side (the virtual lab's namespace, say) may come and go.
func (s *Service) runTFTP(ctx context.Context) error {
	if s.cfg.ListenTFTP == nil {
		return nil
	}
	if _, err := os.Stat(s.cfg.TFTPRoot); err != nil {
		s.log.Warn("no iPXE binaries for TFTP: install Debian's package ipxe, or set the folder", "folder", s.cfg.TFTPRoot)
	}
	server := &boot.TFTP{FS: os.DirFS(s.cfg.TFTPRoot), Log: s.log}
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	said := ""
	for ctx.Err() == nil {
		conn, err := s.cfg.ListenTFTP()
		if err == nil {
			s.log.Info("TFTP is open", "address", conn.LocalAddr().String())
			said = ""
			err = server.Serve(ctx, conn)
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			s.log.Info("TFTP waits for its socket", "reason", err)
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return nil
}

// Handler serves the API. A path without version is one of v1, and a slash at
// its end means nothing, as in Ironic.
func (s *Service) Handler() http.Handler {
	h := s.v1Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(r.URL.Path, "/")
		if path != "" && path != "/v1" && !strings.HasPrefix(path, "/v1/") {
			path = "/v1" + path
		}
		if path != "" && path != r.URL.Path {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = path, ""
		}
		h.ServeHTTP(w, r)
	})
}

// since answers status to requests of versions before 1.first: the few routes
// that older versions hide in another way than by 404.
func since(first, status int, h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if minor(r) < first {
			return writeStatus(w, status, fmt.Sprintf("this needs API version 1.%d or later", first))
		}
		return h(w, r)
	}
}

func (s *Service) v1Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "baremetal", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: writeFault, MaxBody: maxBody,
		Versions: &api.Microversions{Type: "baremetal", Min: minVersion, Max: maxVersion, Legacy: header},
	})
}

// maxBody bounds a request: a config drive of 64 MiB in base64.
const maxBody = 100 << 20

// NodeHandler serves what machines may reach: lookup, heartbeat and the boot
// files. An agent that names no API version gets the latest.
func (s *Service) NodeHandler() http.Handler {
	return api.NewHandler(api.HandlerOptions{
		Service: "baremetal", Routes: s.nodeRoutes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: writeFault, MaxBody: 1 << 20,
		Versions: &api.Microversions{Type: "baremetal", Min: minVersion, Max: maxVersion, Default: maxVersion, Legacy: header},
	})
}

func (s *Service) routes() []api.Route {
	const node = "/v1/nodes/{node}"
	routes := []api.Route{
		{Method: "GET", Pattern: "/{$}", Policy: api.Public, Handler: s.root},
		{Method: "GET", Pattern: "/v1", Policy: api.Public, Handler: s.v1},
		{Method: "GET", Pattern: "/v1/{$}", Policy: api.Public, Handler: s.v1},

		{Method: "GET", Pattern: "/v1/nodes", Policy: api.Reader, Handler: s.listNodes},
		{Method: "GET", Pattern: "/v1/nodes/{$}", Policy: api.Reader, Handler: s.listNodes},
		{Method: "GET", Pattern: "/v1/nodes/detail", Policy: api.Reader, Handler: s.listNodesDetail},
		{Method: "POST", Pattern: "/v1/nodes", Policy: api.Service, Handler: s.createNode},
		{Method: "GET", Pattern: node, Policy: api.Reader, Handler: s.getNode},
		{Method: "PATCH", Pattern: node, Policy: api.Service, Handler: s.patchNode},
		{Method: "DELETE", Pattern: node, Policy: api.Service, Handler: s.deleteNode},
		{Method: "GET", Pattern: node + "/validate", Policy: api.Reader, Handler: s.validateNode},
		{Method: "GET", Pattern: node + "/states", Policy: api.Reader, Handler: s.getStates},
		{Method: "PUT", Pattern: node + "/states/power", Policy: api.Service, Handler: s.setPower},
		{Method: "PUT", Pattern: node + "/states/provision", Policy: api.Service, Handler: s.setProvision},
		{Method: "PUT", Pattern: node + "/states/raid", Policy: api.Service, Since: "1.12", Handler: s.setRAID},
		{Method: "PUT", Pattern: node + "/maintenance", Policy: api.Service, Handler: s.setMaintenance},
		{Method: "DELETE", Pattern: node + "/maintenance", Policy: api.Service, Handler: s.unsetMaintenance},
		{Method: "GET", Pattern: node + "/management/boot_device", Policy: api.Reader, Handler: s.getBootDevice},
		{Method: "PUT", Pattern: node + "/management/boot_device", Policy: api.Service, Handler: s.setBootDevice},
		{Method: "GET", Pattern: node + "/management/boot_device/supported", Policy: api.Reader, Handler: s.supportedBootDevices},
		{Method: "GET", Pattern: node + "/vifs", Policy: api.Reader, Since: "1.28", Handler: s.listVIFs},
		{Method: "POST", Pattern: node + "/vifs", Policy: api.Service, Since: "1.28", Handler: s.attachVIF},
		{Method: "DELETE", Pattern: node + "/vifs/{vif}", Policy: api.Service, Since: "1.28", Handler: s.detachVIF},
		{Method: "GET", Pattern: node + "/traits", Policy: api.Reader, Handler: since(37, http.StatusNotAcceptable, s.getTraits)},
		{Method: "PUT", Pattern: node + "/traits", Policy: api.Service, Handler: since(37, http.StatusMethodNotAllowed, s.changeTraits)},
		{Method: "DELETE", Pattern: node + "/traits", Policy: api.Service, Since: "1.37", Handler: s.changeTraits},
		{Method: "PUT", Pattern: node + "/traits/{trait}", Policy: api.Service, Handler: since(37, http.StatusMethodNotAllowed, s.changeTraits)},
		{Method: "DELETE", Pattern: node + "/traits/{trait}", Policy: api.Service, Since: "1.37", Handler: s.changeTraits},
		{Method: "GET", Pattern: node + "/history", Policy: api.Reader, Since: "1.78", Handler: s.listHistory},
		{Method: "GET", Pattern: node + "/history/{event}", Policy: api.Reader, Since: "1.78", Handler: s.getHistory},
		{Method: "GET", Pattern: node + "/inventory", Policy: api.Reader, Since: "1.81", Handler: s.getInventory},
		{Method: "GET", Pattern: node + "/ports", Policy: api.Reader, Handler: s.listPorts},
		{Method: "GET", Pattern: node + "/ports/detail", Policy: api.Reader, Handler: s.listPorts},
		{Method: "GET", Pattern: node + "/allocation", Policy: api.Reader, Since: "1.52", Handler: s.nodeAllocation},
		{Method: "DELETE", Pattern: node + "/allocation", Policy: api.Service, Since: "1.52", Handler: s.deleteNodeAllocation},

		{Method: "GET", Pattern: "/v1/ports", Policy: api.Reader, Handler: s.listPorts},
		{Method: "GET", Pattern: "/v1/ports/detail", Policy: api.Reader, Handler: s.listPorts},
		{Method: "POST", Pattern: "/v1/ports", Policy: api.Service, Handler: s.createPort},
		{Method: "GET", Pattern: "/v1/ports/{port}", Policy: api.Reader, Handler: s.getPort},
		{Method: "PATCH", Pattern: "/v1/ports/{port}", Policy: api.Service, Handler: s.patchPort},
		{Method: "DELETE", Pattern: "/v1/ports/{port}", Policy: api.Service, Handler: s.deletePort},

		{Method: "GET", Pattern: "/v1/drivers", Policy: api.Reader, Handler: s.listDrivers},
		{Method: "GET", Pattern: "/v1/drivers/{driver}", Policy: api.Reader, Handler: s.getDriver},
		{Method: "GET", Pattern: "/v1/drivers/{driver}/properties", Policy: api.Reader, Handler: s.driverProperties},
		{Method: "GET", Pattern: "/v1/conductors", Policy: api.Reader, Since: "1.49", Handler: s.listConductors},
		{Method: "GET", Pattern: "/v1/conductors/{host}", Policy: api.Reader, Since: "1.49", Handler: s.getConductor},

		{Method: "GET", Pattern: "/v1/allocations", Policy: api.Reader, Since: "1.52", Handler: s.listAllocations},
		{Method: "POST", Pattern: "/v1/allocations", Policy: api.Service, Since: "1.52", Handler: s.createAllocation},
		{Method: "GET", Pattern: "/v1/allocations/{allocation}", Policy: api.Reader, Since: "1.52", Handler: s.getAllocation},
		{Method: "PATCH", Pattern: "/v1/allocations/{allocation}", Policy: api.Service, Since: "1.57", Handler: s.patchAllocation},
		{Method: "DELETE", Pattern: "/v1/allocations/{allocation}", Policy: api.Service, Since: "1.52", Handler: s.deleteAllocation},

		{Method: "GET", Pattern: "/v1/lookup", Policy: api.Public, Handler: s.lookup},
		{Method: "POST", Pattern: "/v1/heartbeat/{node}", Policy: api.Public, Handler: s.heartbeat},
		{Method: "POST", Pattern: "/v1/continue_inspection", Policy: api.Service, Handler: s.continueInspection},
	}
	routes = append(routes, s.managementRoutes()...)
	routes = append(routes, s.relatedRoutes()...)
	routes = append(routes, chassisGroup().routes(s, "")...)
	routes = append(routes, portgroupGroup().routes(s, "1.23")...)
	routes = append(routes, deployTemplateGroup().routes(s, "1.55")...)
	routes = append(routes, connectorGroup().routes(s, "1.32")...)
	return append(routes, targetGroup().routes(s, "1.32")...)
}

// managementRoutes are what a node's interfaces offer beside its states.
func (s *Service) managementRoutes() []api.Route {
	const node = "/v1/nodes/{node}"
	routes := []api.Route{
		{Method: "PUT", Pattern: node + "/states/boot_mode", Policy: api.Service, Since: "1.76", Handler: s.setBootMode},
		{Method: "PUT", Pattern: node + "/states/secure_boot", Policy: api.Service, Since: "1.76", Handler: s.setSecureBoot},
		{Method: "GET", Pattern: node + "/states/console", Policy: api.Service, Handler: s.getConsole},
		{Method: "GET", Pattern: "/v1/nodes/states/console/{node}", Policy: api.Service, Handler: s.getConsole}, // as old clients ask
		{Method: "PUT", Pattern: node + "/states/console", Policy: api.Service, Handler: s.setConsole},
		{Method: "GET", Pattern: node + "/console", Policy: api.Public, Handler: s.serveConsole},
		{Method: "PUT", Pattern: node + "/management/inject_nmi", Policy: api.Service, Since: "1.29", Handler: s.injectNMI},
		{Method: "GET", Pattern: node + "/management/indicators", Policy: api.Reader, Since: "1.63", Handler: s.listIndicatorComponents},
		{Method: "GET", Pattern: node + "/management/indicators/{component}", Policy: api.Reader, Since: "1.63", Handler: s.listIndicators},
		{Method: "GET", Pattern: node + "/management/indicators/{component}/{indicator}", Policy: api.Reader, Since: "1.63", Handler: s.getIndicator},
		{Method: "PUT", Pattern: node + "/management/indicators/{component}/{indicator}", Policy: api.Service, Since: "1.63", Handler: s.setIndicator},
		{Method: "GET", Pattern: node + "/bios", Policy: api.Reader, Since: "1.40", Handler: s.listBIOS},
		{Method: "GET", Pattern: node + "/bios/{setting}", Policy: api.Reader, Since: "1.40", Handler: s.getBIOS},
		{Method: "GET", Pattern: node + "/firmware", Policy: api.Reader, Since: "1.86", Handler: s.listFirmware},
		{Method: "GET", Pattern: node + "/vendor_passthru/methods", Policy: api.Service, Handler: s.listPassthru},
		{Method: "GET", Pattern: "/v1/drivers/{driver}/vendor_passthru/methods", Policy: api.Service, Handler: s.listDriverPassthru},
		{Method: "GET", Pattern: "/v1/drivers/{driver}/raid/logical_disk_properties", Policy: api.Reader, Since: "1.12", Handler: s.raidLogicalDiskProperties},
	}
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, end := range []string{"", "/{method}"} {
			routes = append(routes,
				api.Route{Method: m, Pattern: node + "/vendor_passthru" + end, Policy: api.Service, Handler: s.callPassthru},
				api.Route{Method: m, Pattern: "/v1/drivers/{driver}/vendor_passthru" + end, Policy: api.Service, Handler: s.callDriverPassthru})
		}
	}
	return routes
}

// relatedRoutes list resources below those they belong to, and what is neither
// node nor collection.
func (s *Service) relatedRoutes() []api.Route {
	const node = "/v1/nodes/{node}"
	return []api.Route{
		{Method: "GET", Pattern: node + "/portgroups", Policy: api.Reader, Since: "1.24", Handler: portgroupGroup().list(s)},
		{Method: "GET", Pattern: node + "/portgroups/detail", Policy: api.Reader, Since: "1.24", Handler: portgroupGroup().list(s)},
		{Method: "GET", Pattern: "/v1/portgroups/{portgroup}/ports", Policy: api.Reader, Since: "1.24", Handler: s.listPorts},
		{Method: "GET", Pattern: "/v1/portgroups/{portgroup}/ports/detail", Policy: api.Reader, Since: "1.24", Handler: s.listPorts},
		{Method: "GET", Pattern: "/v1/chassis/{chassis}/nodes", Policy: api.Reader, Handler: s.listNodes},
		{Method: "GET", Pattern: "/v1/chassis/{chassis}/nodes/detail", Policy: api.Reader, Handler: s.listNodesDetail},
		{Method: "GET", Pattern: node + "/children", Policy: api.Reader, Since: "1.83", Handler: s.listNodes},
		{Method: "GET", Pattern: "/v1/volume", Policy: api.Reader, Since: "1.32", Handler: s.volumeRoot},
		{Method: "GET", Pattern: node + "/volume", Policy: api.Reader, Since: "1.32", Handler: s.volumeRoot},
		{Method: "GET", Pattern: node + "/volume/connectors", Policy: api.Reader, Since: "1.32", Handler: connectorGroup().list(s)},
		{Method: "GET", Pattern: node + "/volume/targets", Policy: api.Reader, Since: "1.32", Handler: targetGroup().list(s)},
		{Method: "GET", Pattern: "/v1/shards", Policy: api.Reader, Since: "1.82", Handler: s.listShards},
		{Method: "POST", Pattern: "/v1/events", Policy: api.Service, Since: "1.54", Handler: s.postEvents},
	}
}

func (s *Service) nodeRoutes() []api.Route {
	return []api.Route{
		{Method: "GET", Pattern: "/v1/lookup", Policy: api.Public, Handler: s.lookup},
		{Method: "POST", Pattern: "/v1/heartbeat/{node}", Policy: api.Public, Handler: s.heartbeat},
		{Method: "GET", Pattern: "/boot/{file}", Policy: api.Public, Handler: s.bootScript},
		{Method: "GET", Pattern: "/boot/loaders/{file}", Policy: api.Public, Handler: s.bootLoader},
		{Method: "GET", Pattern: "/boot/discovery/{kind}", Policy: api.Public, Handler: s.discoveryFile},
		{Method: "GET", Pattern: "/boot/{node}/{kind}", Policy: api.Public, Handler: s.bootFile},
		{Method: "GET", Pattern: "/boot/media/{node}/{file}", Policy: api.Public, Handler: s.nodeMedia},
		{Method: "GET", Pattern: "/boot/images/{node}/{token}", Policy: api.Public, Handler: s.nodeImage},
	}
}

// minor is the negotiated microversion 1.minor.
func minor(r *http.Request) int {
	_, m, _ := strings.Cut(api.Version(r), ".")
	n, err := strconv.Atoi(m)
	if err != nil {
		return 1
	}
	return n
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}" // strings and numbers always encode
	}
	return string(b)
}
