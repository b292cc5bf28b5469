package compute_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	ironicports "github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/compute"
	"github.com/tripleo/tripleo/internal/crashtest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/placement"
	"github.com/tripleo/tripleo/internal/store"
)

// processConfig is what a compute service in a process of its own is told, in
// config.json of its folder.
type processConfig struct{ DSN, AuthURL, KeyDir string }

// fromNova marks the requests of such a process.
const fromNova = "X-From-Nova"

type marked struct{ name string }

func (m marked) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(fromNova, m.name)
	return http.DefaultTransport.RoundTrip(r)
}

// TestServeUntilKilled is the process that other tests kill. Who changes nodes
// tells it at /wake, as a bus does within one process.
func TestServeUntilKilled(t *testing.T) {
	crashtest.ServeUntilKilled(t, func(dir string) http.Handler {
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		var cfg processConfig
		if err == nil {
			err = json.Unmarshal(data, &cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
		db := must[*store.DB](t)(store.Open(t.Context(), cfg.DSN))
		log, bus := slog.New(slog.DiscardHandler), notify.New()
		queue := must[*jobs.Queue](t)(jobs.New(db, bus, log))
		tokens := must[*auth.Tokens](t)(auth.OpenTokens(cfg.KeyDir))
		svc := must[*compute.Service](t)(compute.New(compute.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: tokens, Region: "regionOne", Cloud: cloud.New(cloud.Options{
			AuthURL: cfg.AuthURL, Region: "regionOne", User: "tripleo", Password: identitytest.ServicePassword, Project: "service", Domain: "Default",
			Transport: marked{filepath.Base(dir)},
		})}))
		go func() { _ = queue.Run(t.Context()) }()
		mux := http.NewServeMux()
		mux.Handle("/", svc.Handler())
		mux.HandleFunc("/wake", func(_ http.ResponseWriter, r *http.Request) { bus.Publish(r.URL.Query()["topic"]...) })
		return mux
	})
}

// yard is Keystone, Neutron, Placement and Ironic as they are, with machines of
// the fake driver, a Glance of one image, and compute services in processes
// of their own, any of which may die.
type yard struct {
	*undercloud
	dsn    string
	nodes  []string
	netID  string
	member *user
	admin  *user
	metal  *gophercloud.ServiceClient

	mu        sync.Mutex
	processes []*process
	turn      int
	watch     func(r *http.Request, next http.Handler, w http.ResponseWriter) bool // true: it has dealt with the request
}

type process struct {
	dir    string
	victim *crashtest.Victim
}

func newYard(t *testing.T, dsn string, machines, processes int) *yard {
	t.Helper()
	srv := identitytest.Start(t)
	y := &yard{undercloud: &undercloud{T: t, Server: srv}, dsn: dsn}
	neutron := must[*network.Service](t)(network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/network", PhysicalNetwork: "ctlplane"}))
	metal := must[*baremetal.Service](t)(baremetal.New(baremetal.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/baremetal", NodeURL: srv.URL, CacheDir: t.TempDir(), Hostname: "undercloud", SyncInterval: -1, PowerPoll: time.Millisecond, AgentPoll: time.Millisecond}))
	placed := must[*placement.Service](t)(placement.New(placement.Config{DB: srv.DB, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud, BaseURL: srv.URL + "/placement"}))
	srv.Mount("/network", y.watched(neutron.Handler()))
	srv.Mount("/baremetal", y.watched(metal.Handler()))
	srv.Mount("/placement", placed.Handler())
	srv.Mount("/image", http.HandlerFunc(y.glance))
	srv.Mount("/compute", http.HandlerFunc(y.nova))
	srv.RunJobs()
	for i := range processes {
		dir := filepath.Join(t.TempDir(), fmt.Sprintf("nova%d", i))
		data := must[[]byte](t)(json.Marshal(processConfig{DSN: dsn, AuthURL: srv.AuthURL, KeyDir: srv.KeyDir}))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		y.processes = append(y.processes, &process{dir, crashtest.Start(t, dir)})
	}
	y.admin, y.member = y.as(srv.Admin()), y.as(srv.User("m", "p1", "member"))
	y.metal = must[*gophercloud.ServiceClient](t)(y.admin.session.Baremetal())
	ctlplane := must[*networks.Network](t)(networks.Create(t.Context(), y.admin.neutron, provisioning{networks.CreateOpts{Name: "ctlplane"}}).Extract())
	must[*subnets.Subnet](t)(subnets.Create(t.Context(), y.admin.neutron, subnets.CreateOpts{NetworkID: ctlplane.ID, CIDR: "192.168.24.0/24", IPVersion: gophercloud.IPv4}).Extract())
	y.netID = ctlplane.ID
	for i := range machines {
		y.enroll(i)
	}
	return y
}

func (y *yard) enroll(i int) {
	y.Helper()
	ctx := y.Context()
	no := false
	n := must[*nodes.Node](y.T)(nodes.Create(ctx, y.metal, nodes.CreateOpts{
		Driver: "fake-hardware", Name: fmt.Sprintf("m%d", i), ResourceClass: "baremetal", NetworkInterface: "flat", AutomatedClean: &no,
		Properties: map[string]any{"cpus": 4, "memory_mb": 4096, "local_gb": 40},
	}).Extract())
	for nic := range 4 {
		must[*ironicports.Port](y.T)(ironicports.Create(ctx, y.metal, ironicports.CreateOpts{NodeUUID: n.UUID, Address: fmt.Sprintf("52:54:00:00:%02x:%02x", i, nic), PhysicalNetwork: "ctlplane"}).Extract())
	}
	for target, end := range map[nodes.TargetProvisionState]string{nodes.TargetManage: "manageable"} {
		y.provision(n.UUID, target, end)
	}
	y.provision(n.UUID, nodes.TargetProvide, "available")
	y.nodes = append(y.nodes, n.UUID)
}

func (y *yard) provision(id string, target nodes.TargetProvisionState, end string) {
	y.Helper()
	if err := nodes.ChangeProvisionState(y.Context(), y.metal, id, nodes.ProvisionStateOpts{Target: target}).ExtractErr(); err != nil {
		y.Fatal(err)
	}
	y.until("node "+id+" is "+end, func() bool { return y.node(id).ProvisionState == end })
}

func (y *yard) node(id string) *nodes.Node {
	y.Helper()
	return must[*nodes.Node](y.T)(nodes.Get(y.Context(), y.metal, id).Extract())
}

// until waits for what other processes do, and wakes them meanwhile.
func (y *yard) until(what string, done func() bool) {
	y.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); {
		if time.Now().After(deadline) {
			y.Fatalf("not within 90 s: %s", what)
		}
		y.wake()
		time.Sleep(10 * time.Millisecond) // other processes work
	}
}

func (y *yard) wake() {
	q := url.Values{}
	for _, id := range y.nodes {
		q.Add("topic", "baremetal/node/"+id)
	}
	y.mu.Lock()
	var all []*crashtest.Victim
	for _, p := range y.processes {
		all = append(all, p.victim)
	}
	y.mu.Unlock()
	for _, v := range all {
		v.Try(http.MethodPost, "/wake?"+q.Encode(), nil) // it may be dead
	}
}

// nova hands a request to one of the compute services.
func (y *yard) nova(w http.ResponseWriter, r *http.Request) {
	y.mu.Lock()
	y.turn++
	to, err := url.Parse(y.processes[y.turn%len(y.processes)].victim.URL)
	y.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.URL.Path = r.URL.Path },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	proxy.ServeHTTP(w, r)
}

// watched lets a test see, and refuse, what compute services ask others for.
func (y *yard) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		y.mu.Lock()
		watch := y.watch
		y.mu.Unlock()
		if watch == nil || r.Header.Get(fromNova) == "" || !watch(r, next, w) {
			next.ServeHTTP(w, r)
		}
	})
}

func (y *yard) watching(watch func(r *http.Request, next http.Handler, w http.ResponseWriter) bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.watch = watch
}

// restart kills a process, if it lives, and starts it again on what is left.
func (y *yard) restart(p *process) {
	p.victim.Kill()
	v := crashtest.Start(y.T, p.dir)
	y.mu.Lock()
	defer y.mu.Unlock()
	p.victim = v
}

// audit says what does not fit together once nothing is under way: nodes and
// ports of servers that there are not, servers without their node.
func (y *yard) audit(outside map[string]bool) []string {
	y.Helper()
	ctx := y.Context()
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	carries := map[string]string{} // server -> node
	known := map[string]bool{}
	taken := map[string]string{}
	for _, s := range y.all() {
		known[s.ID] = true
		if s.HypervisorHostname == "" {
			continue
		}
		if other := taken[s.HypervisorHostname]; other != "" {
			bad("node %s is that of servers %s and %s", s.HypervisorHostname, other, s.ID)
		}
		taken[s.HypervisorHostname], carries[s.ID] = s.ID, s.HypervisorHostname
	}
	attached := map[string]string{}
	for _, id := range y.nodes {
		n := y.node(id)
		switch {
		case n.InstanceUUID == "" && n.ProvisionState != "available":
			bad("node %s is %s without an instance", n.Name, n.ProvisionState)
		case n.InstanceUUID != "" && !outside[n.InstanceUUID] && carries[n.InstanceUUID] != id:
			bad("node %s (%s) is taken by %s, which is no server or elsewhere", n.Name, n.ProvisionState, n.InstanceUUID)
		}
		for _, v := range must[[]nodes.VIF](y.T)(nodes.ListVirtualInterfaces(ctx, y.metal, id).Extract()) {
			attached[v.ID] = n.InstanceUUID
		}
	}
	for s, n := range carries {
		if y.node(n).InstanceUUID != s {
			bad("server %s is on node %s, which is taken by %q", s, n, y.node(n).InstanceUUID)
		}
	}
	for _, p := range y.ports("") {
		if strings.HasPrefix(p.DeviceOwner, "compute:") && !known[p.DeviceID] {
			bad("port %s (%s) is of server %s, which there is not", p.Name, p.ID, p.DeviceID)
		}
		if on, ok := attached[p.ID]; ok && on != p.DeviceID {
			bad("port %s of %q is attached to the node of %q", p.Name, p.DeviceID, on)
		}
		delete(attached, p.ID)
	}
	for id, s := range attached {
		bad("port %s, attached to the node of %q, is gone", id, s)
	}
	return append(wrong, y.auditPlacement()...)
}

// auditPlacement compares allocations with the nodes.
func (y *yard) auditPlacement() (wrong []string) {
	y.Helper()
	c := *y.metal
	c.Endpoint = y.URL + "/placement/"
	for _, id := range y.nodes {
		var out struct {
			Allocations map[string]any `json:"allocations"`
		}
		res, err := c.Request(y.Context(), http.MethodGet, c.Endpoint+"resource_providers/"+id+"/allocations", &gophercloud.RequestOpts{JSONResponse: &out})
		if err != nil {
			y.Fatal(err)
		}
		_ = res.Body.Close()
		n := y.node(id)
		if _, ok := out.Allocations[n.InstanceUUID]; len(out.Allocations) > 1 || n.InstanceUUID != "" && !ok || n.InstanceUUID == "" && len(out.Allocations) > 0 {
			wrong = append(wrong, fmt.Sprintf("placement has %v for node %s, which is taken by %q", out.Allocations, n.Name, n.InstanceUUID))
		}
	}
	return wrong
}

func (y *yard) all() []servers.Server {
	y.Helper()
	return must[[]servers.Server](y.T)(y.list())
}

// list is all for a time when the process may be dead.
func (y *yard) list() ([]servers.Server, error) {
	page, err := servers.List(y.admin.nova, servers.ListOpts{AllTenants: true}).AllPages(y.Context())
	if err != nil {
		return nil, err
	}
	return servers.ExtractServers(page)
}

// ports are those of a server, or all.
func (y *yard) ports(server string) []ports.Port {
	y.Helper()
	page, err := ports.List(y.admin.neutron, ports.ListOpts{DeviceID: server}).AllPages(y.Context())
	if err != nil {
		y.Fatal(err)
	}
	return must[[]ports.Port](y.T)(ports.ExtractPorts(page))
}

// unanswered carries out a request and loses the answer.
func unanswered(next http.Handler, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	next.ServeHTTP(httptest.NewRecorder(), r)
}
