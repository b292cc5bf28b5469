package baremetal_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/lab/vswitch/openconfig"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/network/switches"
)

// card is a machine's end of a cable that nothing comes from.
type card chan struct{}

func (c card) Read([]byte) (int, error)    { <-c; return 0, os.ErrClosed }
func (c card) Write(b []byte) (int, error) { return len(b), nil }
func (c card) Close() error                { close(c); return nil }

// rack is a machine with two cards at the ports eth1 and eth2 of a switch, and
// Keystone, Neutron and Ironic. Nothing but Neutron's events wakes Ironic: its
// own looks are an hour apart.
type rack struct {
	t               *testing.T
	sw              *vswitch.Switch
	machine         *baremetaltest.Machine
	dir             string
	ironic, neutron *gophercloud.ServiceClient

	mu  sync.Mutex
	ons []string // the VLANs of eth1 and eth2 whenever the machine was powered on
}

func newRack(t *testing.T) *rack {
	t.Helper()
	k := &rack{t: t, sw: vswitch.New(), dir: t.TempDir()}
	for _, name := range []string{"eth1", "eth2"} {
		if _, err := k.sw.AddPort(name, make(card), vswitch.Access(1)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = k.sw.Close() })
	dir, err := os.MkdirTemp("", "leaf") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "sw"))
	if err != nil {
		t.Fatal(err)
	}
	management := grpc.NewServer()
	gnmi.RegisterGNMIServer(management, &openconfig.Server{Switch: k.sw, User: "admin", Password: "right"})
	go func() { _ = management.Serve(l) }()
	t.Cleanup(management.Stop)
	driver, err := switches.NewGNMI("unix:"+l.Addr().String(), insecure.NewCredentials(), "admin", func() (string, error) { return "right", nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })

	srv := identitytest.Start(t)
	mux := http.NewServeMux()
	nodes := httptest.NewServer(mux)
	t.Cleanup(nodes.Close)
	neutron, err := network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Cloud: srv.Cloud, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/network",
		FlatVLANs: map[string]int{"ctlplane": 7}, Switches: []switches.Switch{{Name: "leaf1", Driver: driver, DefaultVLAN: 666, Sessions: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/network", neutron.Handler())
	ironic, err := baremetal.New(baremetal.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud, FileURLFolders: []string{k.dir},
		BaseURL: srv.URL + "/baremetal", NodeURL: nodes.URL, CacheDir: t.TempDir(), SyncInterval: -1, AutomatedClean: true,
		PowerPoll: 10 * time.Millisecond, AgentPoll: 10 * time.Millisecond, CloudRetry: time.Hour, NetworkTimeout: time.Minute, PowerTimeout: 20 * time.Second, CallbackTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/baremetal", ironic.Handler())
	mux.Handle("/baremetal/", http.StripPrefix("/baremetal", ironic.NodeHandler()))
	srv.RunJobs()
	admin := srv.Admin()
	if k.ironic, err = admin.Baremetal(); err != nil {
		t.Fatal(err)
	}
	if k.neutron, err = admin.Network(); err != nil {
		t.Fatal(err)
	}
	k.machine = baremetaltest.NewMachine(t, testMAC, nodes.URL)
	k.machine.Spoil(func(s *baremetaltest.Spoil) { s.Controller = k.watch })
	return k
}

// watch notes which VLANs the machine has when it is powered on.
func (k *rack) watch(_ http.ResponseWriter, r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if strings.HasSuffix(r.URL.Path, "/Reset") && strings.Contains(string(body), `"On"`) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ons = append(k.ons, k.vlans())
	}
	return false
}

func (k *rack) vlans() string {
	var out []string
	for _, p := range k.sw.Ports() {
		out = append(out, fmt.Sprint(p.Mode().Native))
	}
	return strings.Join(out, " ")
}

// powered checks the VLANs at each power on since the last call.
func (k *rack) powered(reason string, want ...string) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if diff := cmp.Diff(want, k.ons); diff != "" {
		k.t.Errorf("%s: VLANs of eth1 and eth2 at each power on (-want +got):\n%s", reason, diff)
	}
	k.ons = nil
}

func (k *rack) call(c *gophercloud.ServiceClient, method, path string, in any) map[string]any {
	k.t.Helper()
	var out map[string]any
	opts := &gophercloud.RequestOpts{JSONBody: in, OkCodes: []int{200, 201, 202, 204}, KeepResponseBody: true}
	res, err := c.Request(k.t.Context(), method, c.ServiceURL(path), opts)
	if err != nil {
		k.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			k.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return out
}

// network makes a VLAN, or with 0 the flat provisioning network, and its
// addresses.
func (k *rack) network(name string, vlan int) string {
	k.t.Helper()
	in := map[string]any{"name": name, "provider:physical_network": "ctlplane", "provider:network_type": "flat"}
	if vlan != 0 {
		in["provider:network_type"], in["provider:segmentation_id"] = "vlan", vlan
	}
	n, _ := k.call(k.neutron, "POST", "networks", map[string]any{"network": in})["network"].(map[string]any)
	id, _ := n["id"].(string)
	k.call(k.neutron, "POST", "subnets", map[string]any{"subnet": map[string]any{"network_id": id, "cidr": fmt.Sprintf("10.0.%d.0/24", vlan%250), "ip_version": 4}})
	return id
}

func (k *rack) enroll(more map[string]any) string {
	k.t.Helper()
	info := k.machine.DriverInfo()
	for _, kind := range []string{"kernel", "ramdisk"} {
		file := filepath.Join(k.dir, kind)
		if err := os.WriteFile(file, []byte(kind), 0o600); err != nil {
			k.t.Fatal(err)
		}
		info["deploy_"+kind] = "file://" + file
	}
	for key, v := range more {
		info[key] = v
	}
	id, _ := k.call(k.ironic, "POST", "nodes", map[string]any{"name": "node-1", "driver": "redfish", "driver_info": info, "network_interface": "neutron", "rescue_interface": "agent"})["uuid"].(string)
	k.verb(id, map[string]any{"target": "manage"})
	k.until(id, "manageable")
	return id
}

func (k *rack) verb(id string, in map[string]any) {
	k.t.Helper()
	k.call(k.ironic, "PUT", "nodes/"+id+"/states/provision", in)
}

// until waits for a state; the poll is short because the test is a client.
func (k *rack) until(id, state string) map[string]any {
	k.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		n := k.call(k.ironic, "GET", "nodes/"+id, nil)
		if n["provision_state"] == state && n["reservation"] == nil {
			return n
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("node is %v after a minute, expected %s; last error %v; the switch has %s", n["provision_state"], state, n["last_error"], k.vlans())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func link(port string) map[string]any { return map[string]any{"switch_info": "leaf1", "port_id": port} }

// TestNeutronInterfaceMovesTheCables: a bond of two cards goes from network to
// network, and the machine never has power on another one.
func TestNeutronInterfaceMovesTheCables(t *testing.T) {
	k := newRack(t)
	k.network("ctlplane", 0)
	cleaning, tenant := k.network("cleaning", 30), k.network("tenant", 10)
	k.network("rescuing", 40)
	id := k.enroll(map[string]any{"cleaning_network": cleaning, "rescuing_network": "rescuing"})
	group, _ := k.call(k.ironic, "POST", "portgroups", map[string]any{"node_uuid": id, "name": "bond", "address": testMAC, "mode": "802.3ad"})["uuid"].(string)
	for i, mac := range []string{testMAC, "52:54:00:24:00:02"} {
		k.call(k.ironic, "POST", "ports", map[string]any{"node_uuid": id, "address": mac, "portgroup_uuid": group, "local_link_connection": link(fmt.Sprintf("eth%d", i+1))})
	}
	k.verb(id, map[string]any{"target": "provide"})
	k.until(id, "available")
	k.powered("cleaning", "30 30")

	made, _ := k.call(k.neutron, "POST", "ports", map[string]any{"port": map[string]any{"network_id": tenant}})["port"].(map[string]any)
	vif, _ := made["id"].(string)
	k.call(k.ironic, "POST", "nodes/"+id+"/vifs", map[string]any{"id": vif})
	file := filepath.Join(k.dir, "image.raw")
	if err := os.WriteFile(file, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.call(k.ironic, "PATCH", "nodes/"+id, []any{map[string]any{"op": "add", "path": "/instance_info", "value": map[string]any{
		"image_source": "file://" + file, "image_os_hash_algo": "sha512", "image_os_hash_value": fmt.Sprintf("%x", sha512.Sum512([]byte("image"))), "root_gb": 10}}})
	k.verb(id, map[string]any{"target": "active"})
	k.until(id, "active")
	k.powered("deployment", "7 7", "10 10")
	port, _ := k.call(k.neutron, "GET", "ports/"+vif, nil)["port"].(map[string]any)
	profile, _ := port["binding:profile"].(map[string]any)
	if links, _ := profile["local_link_information"].([]any); len(links) != 2 || port["status"] != "ACTIVE" || port["mac_address"] != testMAC || port["binding:host_id"] != id {
		t.Errorf("the instance's port: %v", port)
	}

	k.verb(id, map[string]any{"target": "rescue", "rescue_password": "let me in"})
	k.until(id, "rescue")
	k.powered("rescue", "40 40")
	k.verb(id, map[string]any{"target": "unrescue"})
	k.until(id, "active")
	k.powered("back from rescue", "10 10")

	k.verb(id, map[string]any{"target": "deleted"})
	k.until(id, "available")
	k.powered("cleaning of what the instance left", "30 30")
	if port, _ = k.call(k.neutron, "GET", "ports/"+vif, nil)["port"].(map[string]any); port["status"] != "DOWN" || port["binding:vif_type"] != "unbound" {
		t.Errorf("the instance's port is left %v, %v", port["status"], port["binding:vif_type"])
	}
	list, _ := k.call(k.neutron, "GET", "ports", nil)["ports"].([]any)
	if len(list) != 1 {
		t.Errorf("%d ports are left, expected the instance's only: %v", len(list), list)
	}
	deadline := time.Now().Add(30 * time.Second)
	for k.vlans() != "666 666" {
		if time.Now().After(deadline) {
			t.Fatalf("the cables are left on %s, expected the default VLAN", k.vlans())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNeutronInterfaceSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		reason string
		link   map[string]any
		want   []string
	}{
		{"no cable is known", map[string]any{}, []string{"local_link_connection of port", testMAC, "no port_id", "no switch_id"}},
		{"half of it", map[string]any{"switch_info": "leaf1"}, []string{"no port_id"}},
		{"the switch has no such port", link("eth9"), []string{testMAC, "could not be put on network", `switch "leaf1", port "eth9"`, `no interface "eth9"`}},
		{"nobody knows the switch", map[string]any{"switch_id": "00:1c:73:aa:bb:cc", "port_id": "eth1"}, []string{"binding_failed", "00:1c:73:aa:bb:cc"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			k := newRack(t)
			k.network("ctlplane", 0)
			id := k.enroll(nil)
			k.call(k.ironic, "POST", "ports", map[string]any{"node_uuid": id, "address": testMAC, "local_link_connection": tt.link})
			k.verb(id, map[string]any{"target": "provide"})
			got := fmt.Sprint(k.until(id, "clean failed")["last_error"])
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("last_error %q, expected %q in it", got, want)
				}
			}
			k.powered("nothing was booted")
		})
	}
}
