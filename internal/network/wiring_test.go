package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/lab/vswitch/openconfig"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/network/switches"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

const (
	leafMAC    = "00:1c:73:aa:bb:01"
	idleVLAN   = 666
	flatVLAN   = 7
	testSocket = "leaf.sock"
)

// socket is a machine's card that nothing comes from.
type socket struct {
	closed chan struct{}
	once   sync.Once
}

func (s *socket) Read([]byte) (int, error)    { <-s.closed; return 0, os.ErrClosed }
func (s *socket) Write(b []byte) (int, error) { return len(b), nil }
func (s *socket) Close() error                { s.once.Do(func() { close(s.closed) }); return nil }

// leaf is a switch with four ports whose management can be broken.
type leaf struct {
	t        *testing.T
	sw       *vswitch.Switch
	address  string
	srv      *grpc.Server
	calls    atomic.Int32 // changes asked for
	at, most atomic.Int32 // calls under way, and the most there were

	mu     sync.Mutex
	before func(ctx context.Context) error // of each change; nil: go on
}

func newLeaf(t *testing.T) *leaf {
	t.Helper()
	dir, err := os.MkdirTemp("", "leaf") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := &leaf{t: t, address: filepath.Join(dir, testSocket)}
	l.plugIn()
	l.serve()
	t.Cleanup(func() { l.stop(); _ = l.sw.Close() })
	return l
}

// plugIn makes the switch as it leaves the factory.
func (l *leaf) plugIn() {
	if l.sw != nil {
		_ = l.sw.Close()
	}
	l.sw = vswitch.New()
	for i := range 4 {
		if _, err := l.sw.AddPort(fmt.Sprintf("eth%d", i+1), &socket{closed: make(chan struct{})}, vswitch.Access(1)); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *leaf) serve() {
	l.t.Helper()
	_ = os.Remove(l.address)
	listener, err := (&net.ListenConfig{}).Listen(l.t.Context(), "unix", l.address)
	if err != nil {
		l.t.Fatal(err)
	}
	l.srv = grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if _, ok := req.(*gnmi.SetRequest); ok {
			l.calls.Add(1)
			now := l.at.Add(1)
			defer l.at.Add(-1)
			for most := l.most.Load(); now > most && !l.most.CompareAndSwap(most, now); most = l.most.Load() {
				continue
			}
			l.mu.Lock()
			before := l.before
			l.mu.Unlock()
			if before != nil {
				if err := before(ctx); err != nil {
					return nil, err
				}
			}
		}
		return next(ctx, req)
	}))
	gnmi.RegisterGNMIServer(l.srv, &openconfig.Server{Switch: l.sw, User: "admin", Password: "right"})
	go func() { _ = l.srv.Serve(listener) }()
}

func (l *leaf) stop() { l.srv.Stop() }

func (l *leaf) breaks(before func(ctx context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = before
}

// has says what ports have, as "eth1 10", "eth2 10+20,30", "eth3 -".
func (l *leaf) has() []string {
	var out []string
	for _, p := range l.sw.Ports() {
		m := p.Mode()
		text := fmt.Sprint(m.Native)
		if m.Native == 0 {
			text = "-"
		}
		if len(m.Tagged) > 0 {
			text += "+" + strings.Trim(strings.ReplaceAll(fmt.Sprint(m.Tagged), " ", ","), "[]")
		}
		out = append(out, p.Name()+" "+text)
	}
	return out
}

// wires is a network service with the leaf, which may die and start again.
type wires struct {
	t    *testing.T
	db   *store.DB
	leaf *leaf
	bus  *notify.Bus
	c    *gophercloud.ServiceClient
	stop func()
	tune func(*switches.Switch)
}

func newWires(t *testing.T, db *store.DB, tune func(*switches.Switch)) *wires {
	t.Helper()
	w := &wires{t: t, db: db, leaf: newLeaf(t), tune: tune}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *wires) start() {
	w.t.Helper()
	driver, err := switches.NewGNMI("unix:"+w.leaf.address, insecure.NewCredentials(), "admin", func() (string, error) { return "right", nil })
	if err != nil {
		w.t.Fatal(err)
	}
	sw := switches.Switch{Name: "leaf1", ID: leafMAC, Driver: driver, DefaultVLAN: idleVLAN, Retry: time.Millisecond}
	if w.tune != nil {
		w.tune(&sw)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.bus = notify.New()
	queue, err := jobs.New(w.db, w.bus, log)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := network.New(network.Config{DB: w.db, Bus: w.bus, Jobs: queue, Log: log, Auth: authtest.Default(), Switches: []switches.Switch{sw}, FlatVLANs: map[string]int{"rack": flatVLAN}})
	if err != nil {
		w.t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	w.c = authtest.Client(srv.URL+"/", "network", "admin")
	w.c.ResourceBase += "v2.0/"
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := queue.Run(ctx); err != nil && ctx.Err() == nil {
			w.t.Error(err)
		}
	})
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() {
		srv.Close()
		cancel()
		wg.Wait()
		_ = driver.Close()
	})
}

func (w *wires) network(vlan int) string {
	w.t.Helper()
	return send(w.t, w.c, "POST", "networks", object{"network": object{"provider:network_type": "vlan", "provider:physical_network": "rack", "provider:segmentation_id": vlan}}).id("network")
}

func bound(links ...string) object {
	out := object{"binding:host_id": "node-1", "binding:vnic_type": "baremetal"}
	var list []object
	for _, l := range links {
		list = append(list, object{"switch_id": leafMAC, "port_id": l, "switch_info": "leaf1"})
	}
	out["binding:profile"] = object{"local_link_information": list}
	return out
}

func (w *wires) port(network string, more object) string {
	w.t.Helper()
	in := object{"network_id": network}
	for k, v := range more {
		in[k] = v
	}
	return send(w.t, w.c, "POST", "ports", object{"port": in}).id("port")
}

func (w *wires) put(path, kind string, in object) object {
	w.t.Helper()
	return send(w.t, w.c, "PUT", path, object{kind: in})
}

func (w *wires) drop(port string) {
	w.t.Helper()
	if _, err := w.c.Delete(w.t.Context(), w.c.ServiceURL("ports", port), nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wires) get(port string) object {
	w.t.Helper()
	out, _ := send(w.t, w.c, "GET", "ports/"+port, nil).in("port").(map[string]any)
	return out
}

// until waits for a port's status, woken by its topic.
func (w *wires) until(port, status string) object {
	w.t.Helper()
	sub := w.bus.Subscribe("network/port/" + port)
	defer sub.Close()
	deadline := time.After(30 * time.Second)
	for {
		p := w.get(port)
		if p["status"] == status {
			return p
		}
		select {
		case <-sub.C():
		case <-deadline:
			w.t.Fatalf("port is %v (%v %v) after 30 s, expected %s; the switch has %v", p["status"], p["binding:vif_type"], p["binding:vif_details"], status, w.leaf.has())
		}
	}
}

// settles waits until the switch has what it should.
func (w *wires) settles(reason string, want ...string) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		diff := cmp.Diff(want, w.leaf.has())
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s (-want +got):\n%s", reason, diff)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestPortsAreWiredWhereTheirCablesEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWires(t, db, nil)
		ten, twenty := w.network(10), w.network(20)
		p := w.port(ten, nil)
		if got := w.get(p); got["status"] != "DOWN" || got["binding:vif_type"] != "unbound" {
			t.Errorf("a port that is not bound: %v %v", got["status"], got["binding:vif_type"])
		}
		if got := w.put("ports/"+p, "port", bound("eth1")).in("port", "status"); got != "DOWN" {
			t.Errorf("a port whose switch was not asked yet is %v", got)
		}
		if got := w.until(p, "ACTIVE"); got["binding:vif_type"] != "other" {
			t.Errorf("binding:vif_type is %v", got["binding:vif_type"])
		}
		w.settles("one port is bound", "eth1 10", "eth2 1", "eth3 1", "eth4 1")

		calls := w.leaf.calls.Load()
		if got := w.put("ports/"+p, "port", bound("eth1")).in("port", "status"); got != "ACTIVE" {
			t.Errorf("the same binding once more: %v, expected it to be ACTIVE at once", got)
		}
		if got := w.put("ports/"+p, "port", object{"name": "x"}).in("port", "status"); got != "ACTIVE" || w.leaf.calls.Load() != calls {
			t.Errorf("another name: %v, %d calls of the switch, expected %d", got, w.leaf.calls.Load(), calls)
		}

		bond := w.port(twenty, bound("eth2", "eth3"))
		w.until(bond, "ACTIVE")
		w.settles("a bond", "eth1 10", "eth2 20", "eth3 20", "eth4 1")
		w.put("ports/"+bond, "port", bound("eth3", "eth4"))
		w.until(bond, "ACTIVE")
		w.settles("the bond has moved", "eth1 10", "eth2 666", "eth3 20", "eth4 20")

		w.put("ports/"+bond, "port", object{"admin_state_up": false})
		w.settles("down by the administrator", "eth1 10", "eth2 666", "eth3 666", "eth4 666")
		if got := w.get(bond); got["status"] != "DOWN" {
			t.Errorf("a port that is down is %v", got["status"])
		}
		w.put("ports/"+bond, "port", object{"admin_state_up": true})
		w.until(bond, "ACTIVE")

		if got := w.put("ports/"+p, "port", object{"binding:host_id": "", "binding:profile": object{}}).in("port", "status"); got != "DOWN" {
			t.Errorf("an unbound port is %v", got)
		}
		w.drop(bond)
		w.settles("nobody has a port", "eth1 666", "eth2 666", "eth3 666", "eth4 666")

		flat := send(t, w.c, "POST", "networks", object{"network": object{"provider:network_type": "flat", "provider:physical_network": "rack"}}).id("network")
		w.until(w.port(flat, bound("eth4")), "ACTIVE")
		w.settles("a flat network", "eth1 666", "eth2 666", "eth3 666", "eth4 7")
	})
}

// TestLastClaimHasThePort: a node's port on the cleaning network and its
// tenant's end at one switch port.
func TestLastClaimHasThePort(t *testing.T) {
	w := newWires(t, storetest.Open(t), nil)
	tenant := w.port(w.network(10), bound("eth1"))
	w.until(tenant, "ACTIVE")
	cleaning := w.port(w.network(20), bound("eth1"))
	w.until(cleaning, "ACTIVE")
	w.until(tenant, "DOWN")
	w.settles("the later port has it", "eth1 20", "eth2 1", "eth3 1", "eth4 1")
	w.drop(cleaning)
	w.until(tenant, "ACTIVE")
	w.settles("the earlier one has it again", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
}

func TestTrunksOfBareMetal(t *testing.T) {
	w := newWires(t, storetest.Open(t), nil)
	parent := w.port(w.network(10), nil)
	sub := func(vlan int) (string, object) {
		id := w.port(w.network(vlan), nil)
		return id, object{"port_id": id, "segmentation_type": "vlan", "segmentation_id": vlan}
	}
	first, one := sub(20)
	second, two := sub(30)
	third, wrong := sub(40)
	wrong["segmentation_id"] = 41
	trunk := send(t, w.c, "POST", "trunks", object{"trunk": object{"port_id": parent, "sub_ports": []object{one}}}).id("trunk")
	w.put("ports/"+parent, "port", bound("eth1"))
	w.until(parent, "ACTIVE")
	w.settles("bound with one subport", "eth1 10+20", "eth2 1", "eth3 1", "eth4 1")
	if got := w.get(first); got["status"] != "ACTIVE" || got["binding:host_id"] != "node-1" {
		t.Errorf("the subport is %v on %v", got["status"], got["binding:host_id"])
	}
	send(t, w.c, "PUT", "trunks/"+trunk+"/add_subports", object{"sub_ports": []object{two}})
	w.until(second, "ACTIVE")
	w.settles("a subport more", "eth1 10+20,30", "eth2 1", "eth3 1", "eth4 1")
	if got := send(t, w.c, "GET", "trunks/"+trunk, nil).in("trunk", "status"); got != "ACTIVE" {
		t.Errorf("the trunk is %v", got)
	}
	_, err := w.c.Put(t.Context(), w.c.ServiceURL("trunks", trunk, "add_subports"), object{"sub_ports": []object{wrong}}, nil, nil)
	if !gophercloud.ResponseCodeIs(err, 400) || !strings.Contains(err.Error(), "expected 40") {
		t.Errorf("a subport whose tag is not its network's VLAN: %v", err)
	}
	send(t, w.c, "PUT", "trunks/"+trunk+"/remove_subports", object{"sub_ports": []object{{"port_id": first}}})
	w.until(parent, "ACTIVE")
	w.settles("a subport less", "eth1 10+30", "eth2 1", "eth3 1", "eth4 1")
	if got := w.get(first); got["status"] != "DOWN" || got["binding:vif_type"] != "unbound" {
		t.Errorf("the subport that was taken out is %v %v", got["status"], got["binding:vif_type"])
	}
	w.put("ports/"+parent, "port", object{"binding:host_id": ""})
	w.until(second, "DOWN")
	w.settles("nobody", "eth1 666", "eth2 1", "eth3 1", "eth4 1")

	other := w.port(w.network(50), nil)
	send(t, w.c, "POST", "trunks", object{"trunk": object{"port_id": other, "sub_ports": []object{{"port_id": third, "segmentation_type": "vlan", "segmentation_id": 41}}}})
	w.put("ports/"+other, "port", bound("eth2"))
	if got := w.get(other); got["binding:vif_type"] != "binding_failed" || !strings.Contains(fmt.Sprint(got["binding:vif_details"]), "expected 40") {
		t.Errorf("a trunk with a wrong tag: %v %v", got["binding:vif_type"], got["binding:vif_details"])
	}
}

func TestBindingsThatCannotBe(t *testing.T) {
	w := newWires(t, storetest.Open(t), func(s *switches.Switch) { s.PhysicalNetworks = []string{"rack"} })
	ten := w.network(10)
	local := send(t, w.c, "POST", "networks", object{"network": object{"provider:network_type": "local"}}).id("network")
	elsewhere := send(t, w.c, "POST", "networks", object{"network": object{"provider:network_type": "vlan", "provider:physical_network": "row", "provider:segmentation_id": 5}}).id("network")
	for _, tt := range []struct {
		reason, network string
		links           any
		want            string
	}{
		{"another switch", ten, []object{{"switch_id": "00:1c:73:aa:bb:99", "port_id": "eth1"}}, "00:1c:73:aa:bb:99"},
		{"no port", ten, []object{{"switch_id": leafMAC}}, "local_link_information[0]: port_id"},
		{"one of two is wrong", ten, []object{{"switch_id": leafMAC, "port_id": "eth1"}, {"switch_id": "x", "port_id": "eth1"}}, "local_link_information[1]"},
		{"not a list", ten, "eth1", "expected a list"},
		{"too many", ten, make([]object, 17), "at most 16"},
		{"a network without a wire", local, []object{{"switch_id": leafMAC, "port_id": "eth1"}}, "has no VLAN"},
		{"a network of another wire", elsewhere, []object{{"switch_id": leafMAC, "port_id": "eth1"}}, `"row"`},
		{"a port that the switch does not have", ten, []object{{"switch_id": leafMAC, "port_id": "eth9"}}, `no interface "eth9"`},
	} {
		in := bound()
		in["binding:profile"] = object{"local_link_information": tt.links}
		p := w.port(tt.network, in)
		got := w.until(p, "ERROR")
		if got["binding:vif_type"] != "binding_failed" || !strings.Contains(fmt.Sprint(got["binding:vif_details"]), tt.want) {
			t.Errorf("%s: %v %v, expected the reason %q", tt.reason, got["binding:vif_type"], got["binding:vif_details"], tt.want)
		}
	}
	w.settles("nothing was touched", "eth1 1", "eth2 1", "eth3 1", "eth4 1")
	p := w.port(ten, bound("eth9"))
	w.until(p, "ERROR")
	w.put("ports/"+p, "port", bound("eth1")) // the cable was somewhere else
	w.until(p, "ACTIVE")
	member := authtest.Client(strings.TrimSuffix(w.c.Endpoint, "/")+"/", "network", "member")
	member.ResourceBase += "v2.0/"
	mine := send(t, member, "POST", "networks", object{"network": object{}}).id("network")
	theirs := w.port(mine, nil)
	if got := send(t, member, "GET", "ports/"+theirs, nil).in("port", "binding:vif_details"); got != nil {
		t.Errorf("a member sees binding:vif_details: %v", got)
	}
	unmanaged := w.port(ten, object{"binding:host_id": "node-2", "binding:vnic_type": "baremetal"})
	if got := w.get(unmanaged); got["status"] != "ACTIVE" {
		t.Errorf("a port of which no cable is known is %v, expected ACTIVE: somebody else wires it", got["status"])
	}
}

func TestSwitchThatFailsAndRecovers(t *testing.T) {
	for _, tt := range []struct {
		reason string
		fail   func(l *leaf)
		repair func(l *leaf)
		want   string
	}{
		{"it is off", func(l *leaf) { l.stop() }, func(l *leaf) { l.serve() }, "Unavailable"},
		{"it is slow", func(l *leaf) {
			l.breaks(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		}, func(l *leaf) { l.breaks(nil) }, "DeadlineExceeded"},
		{"it refuses", func(l *leaf) {
			l.breaks(func(context.Context) error { return status.Error(codes.PermissionDenied, "not by you") })
		}, func(l *leaf) { l.breaks(nil) }, "not by you"},
		{"it is busy", func(l *leaf) {
			l.breaks(func(context.Context) error { return status.Error(codes.Aborted, "the configuration is locked") })
		}, func(l *leaf) { l.breaks(nil) }, "locked"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			w := newWires(t, storetest.Open(t), func(s *switches.Switch) { s.GiveUp, s.Timeout = 20*time.Millisecond, 50*time.Millisecond })
			tt.fail(w.leaf)
			p := w.port(w.network(10), bound("eth1"))
			got := w.until(p, "ERROR")
			if got["binding:vif_type"] != "binding_failed" || !strings.Contains(fmt.Sprint(got["binding:vif_details"]), tt.want) || !strings.Contains(fmt.Sprint(got["binding:vif_details"]), `switch "leaf1", port "eth1"`) {
				t.Errorf("%v %v, expected the switch, the port and %q", got["binding:vif_type"], got["binding:vif_details"], tt.want)
			}
			tt.repair(w.leaf)
			if got := w.until(p, "ACTIVE"); got["binding:vif_type"] != "other" || fmt.Sprint(got["binding:vif_details"]) != "map[]" {
				t.Errorf("after the repair: %v %v", got["binding:vif_type"], got["binding:vif_details"])
			}
			w.settles("repaired", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
		})
	}
}

// TestSwitchThatForgets: a switch comes back as from the factory.
func TestSwitchThatForgets(t *testing.T) {
	w := newWires(t, storetest.Open(t), func(s *switches.Switch) { s.Resync = 10 * time.Millisecond })
	p := w.port(w.network(10), bound("eth1"))
	w.until(p, "ACTIVE")
	w.leaf.stop()
	w.leaf.plugIn()
	w.leaf.serve()
	w.settles("it has learnt it again", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
	w.until(p, "ACTIVE")
}

// TestWishesThatChangeOnTheWay: only the last one counts, however slow the
// switch is about the first.
func TestWishesThatChangeOnTheWay(t *testing.T) {
	w := newWires(t, storetest.Open(t), nil)
	begun, on := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.leaf.breaks(func(context.Context) error {
		once.Do(func() { close(begun); <-on })
		return nil
	})
	p := w.port(w.network(10), bound("eth1"))
	<-begun
	w.drop(p)
	next := w.port(w.network(20), bound("eth1"))
	close(on)
	w.until(next, "ACTIVE")
	w.settles("the last wish", "eth1 20", "eth2 1", "eth3 1", "eth4 1")
}

func TestSessionsOfASwitchAreBounded(t *testing.T) {
	w := newWires(t, storetest.Open(t), func(s *switches.Switch) { s.Sessions = 2 })
	both := make(chan struct{}, 2)
	w.leaf.breaks(func(ctx context.Context) error {
		select { // the first two have to be there at once
		case both <- struct{}{}:
			for len(both) < 2 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		default:
		}
		return nil
	})
	var ids []string
	for i := range 4 {
		ids = append(ids, w.port(w.network(10+i), bound(fmt.Sprintf("eth%d", i+1))))
	}
	for _, id := range ids {
		w.until(id, "ACTIVE")
	}
	if got := w.leaf.most.Load(); got != 2 {
		t.Errorf("%d calls at once, expected 2", got)
	}
}

// TestUndercloudDies: what was under way is taken up by the next process.
func TestUndercloudDies(t *testing.T) {
	dead := errors.New("killed")
	open := func(t *testing.T) *store.DB {
		t.Helper()
		db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "n.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	t.Run("while the switch works", func(t *testing.T) {
		w := newWires(t, open(t), nil)
		begun := make(chan struct{}, 1)
		w.leaf.breaks(func(ctx context.Context) error { begun <- struct{}{}; <-ctx.Done(); return ctx.Err() })
		p := w.port(w.network(10), bound("eth1"))
		<-begun
		w.stop()
		w.leaf.breaks(nil)
		w.start()
		w.until(p, "ACTIVE")
		w.settles("taken up", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
	})
	t.Run("after the switch, before it was written down", func(t *testing.T) {
		w := newWires(t, open(t), nil)
		var gone atomic.Bool
		reached := make(chan struct{}, 1)
		w.leaf.breaks(func(context.Context) error {
			gone.Store(true)
			select {
			case reached <- struct{}{}:
			default:
			}
			return nil
		})
		ten := w.network(10)
		w.db.FailCommits(func(bool) error {
			if gone.Load() {
				return dead
			}
			return nil
		})
		p := w.port(ten, bound("eth1"))
		<-reached
		w.settles("the switch has done it", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
		w.stop()
		w.db.FailCommits(func(bool) error { return nil })
		w.leaf.breaks(nil)
		w.start()
		w.until(p, "ACTIVE")
	})
	t.Run("and the switches are others afterwards", func(t *testing.T) {
		w := newWires(t, open(t), func(s *switches.Switch) { s.ID = "00:1c:73:aa:bb:02"; s.Info = "another" })
		p := w.port(w.network(10), bound("eth1"))
		w.until(p, "ERROR")
		w.stop()
		w.tune = nil
		w.start()
		w.until(p, "ACTIVE")
		w.settles("adopted", "eth1 10", "eth2 1", "eth3 1", "eth4 1")
		w.stop()
		w.tune = func(s *switches.Switch) { s.Name = "another"; s.ID = "00:1c:73:aa:bb:02" }
		w.start()
		w.until(p, "ERROR")
	})
}
