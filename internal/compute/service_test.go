package compute_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/attachinterfaces"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/compute"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/network"
)

// undercloud is Keystone, Neutron and Nova as they are, an Ironic with one node
// that deploys at once, and a Glance with one image.
type undercloud struct {
	*testing.T
	*identitytest.Server
	svc    *compute.Service
	ironic *ironic
	owner  atomic.Value // the image's project; unset: anybody
}

func newUndercloud(t *testing.T) *undercloud {
	t.Helper()
	srv := identitytest.Start(t)
	u := &undercloud{T: t, Server: srv, ironic: &ironic{state: "available"}}
	neutron, err := network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/network", PhysicalNetwork: "ctlplane"})
	if err != nil {
		t.Fatal(err)
	}
	u.svc, err = compute.New(compute.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud, BaseURL: srv.URL + "/compute", Region: "regionOne"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/network", neutron.Handler())
	srv.Mount("/compute", u.svc.Handler())
	srv.Mount("/baremetal", u.ironic)
	srv.Mount("/image", http.HandlerFunc(u.glance))
	srv.RunJobs()
	return u
}

const imageID = "11111111-1111-4111-8111-111111111111"

func (u *undercloud) glance(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if !strings.Contains(r.URL.Path, "/images/") {
		_, _ = fmt.Fprintf(w, `{"versions": [{"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": "http://%s/image/v2/"}]}]}`, r.Host)
		return
	}
	id, err := u.Tokens.Validate(r.Context(), r.Header.Get("X-Auth-Token"))
	owner, private := u.owner.Load().(string)
	if err != nil || private && id.ProjectID != owner && !id.HasRole("service") {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, `{"id": "`+imageID+`", "name": "overcloud-full", "status": "active"}`)
}

// ironic has one node.
type ironic struct {
	mu       sync.Mutex
	state    string
	instance string
	vifs     []string
	full     bool // no VIF can be attached
	patched  map[string]any
}

// told is the last value that was written at a path.
func (i *ironic) told(path string) any {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.patched[path]
}

func (i *ironic) set(fn func(*ironic)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fn(i)
}

func (i *ironic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	reply := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	node := func() map[string]any {
		n := map[string]any{"uuid": "n1", "name": "m1", "provision_state": i.state, "power_state": "power off", "instance_uuid": nil, "resource_class": "baremetal",
			"properties": map[string]any{"cpus": 4, "memory_mb": 4096, "local_gb": 40}}
		if i.instance != "" {
			n["instance_uuid"] = i.instance
		}
		return n
	}
	_, path, ok := strings.Cut(r.URL.Path, "/nodes")
	if !ok {
		_, _ = fmt.Fprintf(w, `{"default_version": {"id": "v1", "status": "CURRENT", "min_version": "1.1", "version": "1.81", "links": [{"rel": "self", "href": "http://%s/baremetal/v1/"}]},
			"versions": [{"id": "v1", "status": "CURRENT", "min_version": "1.1", "version": "1.81", "links": [{"rel": "self", "href": "http://%[1]s/baremetal/v1/"}]}]}`, r.Host)
		return
	}
	switch {
	case strings.HasSuffix(path, "/vifs") && r.Method == http.MethodGet:
		out := []any{}
		for _, v := range i.vifs {
			out = append(out, map[string]any{"id": v})
		}
		reply(map[string]any{"vifs": out})
	case strings.HasSuffix(path, "/vifs"):
		var in struct {
			ID string `json:"id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		if i.full {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		i.vifs = append(i.vifs, in.ID)
		w.WriteHeader(http.StatusNoContent)
	case strings.Contains(path, "/vifs/"):
		i.vifs = slices.DeleteFunc(i.vifs, func(v string) bool { return strings.HasSuffix(path, v) })
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(path, "/states/provision"):
		i.state = "active"
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPatch:
		var in []struct {
			Path  string `json:"path"`
			Value any    `json:"value"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		for _, op := range in {
			if i.patched == nil {
				i.patched = map[string]any{}
			}
			i.patched[op.Path] = op.Value
			if s, ok := op.Value.(string); ok && op.Path == "/instance_uuid" {
				i.instance = s
			}
		}
		reply(node())
	case path == "/n1":
		reply(node())
	case path == "" || path == "/detail":
		reply(map[string]any{"nodes": []any{node()}})
	default:
		http.NotFound(w, r)
	}
}

// user is one user's clients.
type user struct {
	*undercloud
	session       *cloud.Session
	nova, neutron *gophercloud.ServiceClient
}

func (u *undercloud) as(s *cloud.Session) *user {
	u.Helper()
	nova := must[*gophercloud.ServiceClient](u.T)(s.Compute())
	return &user{u, s, nova, must[*gophercloud.ServiceClient](u.T)(s.Network())}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (u *user) network(name, cidr string) string {
	u.Helper()
	n := must[*networks.Network](u.T)(networks.Create(u.Context(), u.neutron, networks.CreateOpts{Name: name}).Extract())
	must[*subnets.Subnet](u.T)(subnets.Create(u.Context(), u.neutron, subnets.CreateOpts{NetworkID: n.ID, CIDR: cidr, IPVersion: gophercloud.IPv4}).Extract())
	return n.ID
}

func (u *user) port(net string) string {
	u.Helper()
	return must[*ports.Port](u.T)(ports.Create(u.Context(), u.neutron, ports.CreateOpts{NetworkID: net}).Extract()).ID
}

// flavor makes one for everybody.
func (u *undercloud) flavor() string {
	u.Helper()
	disk := 10
	f := must[*flavors.Flavor](u.T)(flavors.Create(u.Context(), u.as(u.Admin()).nova, flavors.CreateOpts{Name: "f", RAM: 512, VCPUs: 1, Disk: &disk}).Extract())
	return f.ID
}

// boot makes a server and waits until it is active.
func (u *user) boot(networks any) string {
	u.Helper()
	s := must[*servers.Server](u.T)(servers.Create(u.Context(), u.nova, servers.CreateOpts{
		Name: "s", ImageRef: imageID, FlavorRef: u.flavor(), Networks: networks,
	}, nil).Extract())
	for range 500 {
		now := must[*servers.Server](u.T)(servers.Get(u.Context(), u.nova, s.ID).Extract())
		if now.Status == "ACTIVE" {
			return s.ID
		}
		if now.Status == "ERROR" {
			u.Fatal(now.Fault.Message)
		}
		u.Bus.Publish("baremetal/node/n1")
		time.Sleep(10 * time.Millisecond)
	}
	now := must[*servers.Server](u.T)(servers.Get(u.Context(), u.nova, s.ID).Extract())
	u.Fatalf("the server does not become active: %s, task %s, fault %v", now.Status, now.TaskState, now.Fault)
	return ""
}

func (u *user) attach(server string, opts attachinterfaces.CreateOpts) error {
	_, err := attachinterfaces.Create(u.Context(), u.nova, server, opts).Extract()
	return err
}

func status(t *testing.T, what string, err error, want int) {
	t.Helper()
	if !gophercloud.ResponseCodeIs(err, want) {
		t.Errorf("%s: %v, expected %d", what, err, want)
	}
}

func TestOnlyOwnFreePortsAreAttached(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	member, other := u.as(u.User("m", "p1", "member")), u.as(u.User("o", "p2", "member"))
	mine, theirs := member.network("mine", "192.0.2.0/24"), other.network("theirs", "198.51.100.0/24")
	id := member.boot([]servers.Network{{UUID: mine}})

	status(t, "network of another project", member.attach(id, attachinterfaces.CreateOpts{NetworkID: theirs}), 400)
	status(t, "port of another project", member.attach(id, attachinterfaces.CreateOpts{PortID: other.port(theirs)}), 400)

	port := member.port(mine)
	elsewhere := "another server"
	must[*ports.Port](t)(ports.Update(t.Context(), member.neutron, port, ports.UpdateOpts{DeviceID: &elsewhere}).Extract())
	status(t, "port of another server", member.attach(id, attachinterfaces.CreateOpts{PortID: port}), 409)
	flavor, _ := must[*servers.Server](t)(servers.Get(t.Context(), member.nova, id).Extract()).Flavor["id"].(string)
	_, err := servers.Create(t.Context(), member.nova, servers.CreateOpts{
		Name: "s2", ImageRef: imageID, FlavorRef: flavor,
		Networks: []servers.Network{{Port: port}},
	}, nil).Extract()
	status(t, "new server with the port of another", err, 409)

	none := ""
	must[*ports.Port](t)(ports.Update(t.Context(), member.neutron, port, ports.UpdateOpts{DeviceID: &none}).Extract())
	u.ironic.set(func(i *ironic) { i.full = true })
	status(t, "port for which the machine has no NIC", member.attach(id, attachinterfaces.CreateOpts{PortID: port}), 400)
	if p := must[*ports.Port](t)(ports.Get(t.Context(), member.neutron, port).Extract()); p.DeviceID != "" || p.DeviceOwner != "" {
		t.Errorf("a port that was not attached is of device %q, owner %q", p.DeviceID, p.DeviceOwner)
	}
	u.ironic.set(func(i *ironic) { i.full = false })
	if err := member.attach(id, attachinterfaces.CreateOpts{PortID: port}); err != nil {
		t.Fatal(err)
	}
	status(t, "port that the server has", member.attach(id, attachinterfaces.CreateOpts{PortID: port}), 409)
}

func TestOnlyImagesThatTheCallerSeesAreBooted(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	member := u.as(u.User("m", "p1", "member"))
	id := member.boot([]servers.Network{{UUID: member.network("mine", "192.0.2.0/24")}})
	u.owner.Store("another project")
	flavor, _ := must[*servers.Server](t)(servers.Get(t.Context(), member.nova, id).Extract()).Flavor["id"].(string)
	_, err := servers.Create(t.Context(), member.nova, servers.CreateOpts{Name: "s2", ImageRef: imageID, FlavorRef: flavor, Networks: "none"}, nil).Extract()
	status(t, "new server of a hidden image", err, 400)
	_, err = servers.Rebuild(t.Context(), member.nova, id, servers.RebuildOpts{ImageRef: imageID}).Extract()
	status(t, "rebuild of a hidden image", err, 400)
	u.owner.Store(member.session.ProjectID)
	if _, err := servers.Rebuild(t.Context(), member.nova, id, servers.RebuildOpts{ImageRef: imageID}).Extract(); err != nil {
		t.Error(err)
	}
}

// provisioning is the untagged network that machines ask for metadata from.
type provisioning struct{ networks.CreateOpts }

func (p provisioning) ToNetworkCreateMap() (map[string]any, error) {
	return map[string]any{"network": map[string]any{
		"name": p.Name, "shared": true, "provider:physical_network": "ctlplane", "provider:network_type": "flat",
	}}, nil
}

func TestMetadataIsOfTheServerThatAsks(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	admin, other := u.as(u.Admin()), u.as(u.User("o", "p2", "member"))
	ctlplane := must[*networks.Network](t)(networks.Create(t.Context(), admin.neutron, provisioning{networks.CreateOpts{Name: "ctlplane"}}).Extract())
	must[*subnets.Subnet](t)(subnets.Create(t.Context(), admin.neutron, subnets.CreateOpts{NetworkID: ctlplane.ID, CIDR: "192.168.24.0/24", IPVersion: gophercloud.IPv4}).Extract())
	own := admin.network("own", "192.168.25.0/24")
	id := admin.boot([]servers.Network{{UUID: ctlplane.ID}, {UUID: own}})

	ask := func(from string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "/openstack/latest/meta_data.json", nil)
		r.RemoteAddr = from + ":1234"
		w := httptest.NewRecorder()
		u.svc.MetadataHandler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	addresses := map[string]string{}
	pages := must[pagination.Page](t)(ports.List(admin.neutron, ports.ListOpts{DeviceID: id}).AllPages(t.Context()))
	for _, p := range must[[]ports.Port](t)(ports.ExtractPorts(pages)) {
		addresses[p.NetworkID] = p.FixedIPs[0].IPAddress
	}
	if code, body := ask(addresses[ctlplane.ID]); code != 200 || !strings.Contains(body, id) {
		t.Errorf("the server gets %d %s", code, body)
	}
	if code, _ := ask(addresses[own]); code != 404 {
		t.Errorf("from an address of a network without a wire: %d, expected 404", code)
	}
	fake := must[*ports.Port](t)(ports.Create(t.Context(), other.neutron, ports.CreateOpts{NetworkID: ctlplane.ID, DeviceID: id}).Extract())
	if code, _ := ask(fake.FixedIPs[0].IPAddress); code != 404 {
		t.Errorf("from a port that only says that it is the server's: %d, expected 404", code)
	}
}

func TestPortsOfAServerUnderWayAreLeftAlone(t *testing.T) {
	t.Parallel()
	u := newUndercloud(t)
	member := u.as(u.User("m", "p1", "member"))
	net := member.network("mine", "192.0.2.0/24")
	id := member.boot([]servers.Network{{UUID: net}})
	u.ironic.set(func(i *ironic) { i.state = "cleaning" }) // the rebuild waits for its end
	if _, err := servers.Rebuild(t.Context(), member.nova, id, servers.RebuildOpts{ImageRef: imageID}).Extract(); err != nil {
		t.Fatal(err)
	}
	for _, action := range []map[string]any{
		{"addSecurityGroup": map[string]any{"name": "default"}}, {"removeSecurityGroup": map[string]any{"name": "default"}},
		{"addFixedIp": map[string]any{"networkId": net}}, {"removeFixedIp": map[string]any{"address": "192.0.2.2"}},
	} {
		_, err := member.nova.Post(t.Context(), member.nova.ServiceURL("servers", id, "action"), action, nil, nil) //nolint:bodyclose // closed there, as no body is asked for
		status(t, fmt.Sprint(action), err, 409)
	}
}
