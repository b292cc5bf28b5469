package baremetal_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

type anyone struct{}

func (anyone) Validate(_ context.Context, token string) (*auth.Identity, error) {
	if token != "admin" {
		return nil, errors.New("invalid token")
	}
	return &auth.Identity{UserID: "u1", Roles: []string{"admin", "member", "reader"}}, nil
}

func get(ctx context.Context, url string) (int, []byte) {
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, b
}

// harness is a service on a database file, which can be stopped and started
// again in the middle of anything, behind listeners that stay.
type harness struct {
	t       *testing.T
	dir     string
	api     *httptest.Server
	node    *httptest.Server
	handler atomic.Pointer[http.Handler]
	nodes   atomic.Pointer[http.Handler]
	bus     *notify.Bus
	db      *store.DB
	stop    func()
	tune    func(*baremetal.Config)
	client  *gophercloud.ServiceClient
}

func newHarness(t *testing.T, tune func(*baremetal.Config)) *harness {
	t.Helper()
	h := &harness{t: t, dir: t.TempDir(), tune: tune}
	serve := func(p *atomic.Pointer[http.Handler]) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if f := p.Load(); f != nil {
				(*f).ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		}
	}
	h.api = httptest.NewServer(serve(&h.handler))
	h.node = httptest.NewServer(serve(&h.nodes))
	t.Cleanup(func() { h.node.Close(); h.api.Close() })
	h.start()
	t.Cleanup(func() { h.stop() })
	h.client = &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{TokenID: "admin"},
		Endpoint: h.api.URL + "/v1/", Type: "baremetal", Microversion: "1.81"}
	return h
}

func (h *harness) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(h.dir, "test.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.db, h.bus = db, notify.New()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	queue, err := jobs.New(db, h.bus, log)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := baremetal.Config{DB: db, Bus: h.bus, Jobs: queue, Log: log, Auth: anyone{}, BaseURL: h.api.URL, NodeURL: h.node.URL,
		CacheDir: filepath.Join(h.dir, "cache"), FileURLFolders: []string{h.dir}, Hostname: "undercloud",
		PowerPoll: 10 * time.Millisecond, PowerRetry: 50 * time.Millisecond, PowerTimeout: 5 * time.Second, AgentPoll: 10 * time.Millisecond,
		CallbackTimeout: 20 * time.Second, InspectTimeout: 20 * time.Second, AgentLost: time.Second, SoftOffTimeout: 2 * time.Second, CloudRetry: 10 * time.Millisecond, SyncInterval: -1}
	if h.tune != nil {
		h.tune(&cfg)
	}
	s, err := baremetal.New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	apiHandler, nodeHandler := s.Handler(), http.StripPrefix("/baremetal", s.NodeHandler())
	h.handler.Store(&apiHandler)
	h.nodes.Store(&nodeHandler)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := queue.Run(ctx); err != nil && ctx.Err() == nil {
			h.t.Error(err)
		}
	})
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		h.handler.Store(nil)
		h.nodes.Store(nil)
		cancel()
		wg.Wait()
		if err := db.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

func (h *harness) get(id string) *nodes.Node {
	h.t.Helper()
	n, err := nodes.Get(h.t.Context(), h.client, id).Extract()
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func (h *harness) verb(id string, target nodes.TargetProvisionState, opts ...func(*nodes.ProvisionStateOpts)) {
	h.t.Helper()
	o := nodes.ProvisionStateOpts{Target: target}
	for _, f := range opts {
		f(&o)
	}
	if err := nodes.ChangeProvisionState(h.t.Context(), h.client, id, o).ExtractErr(); err != nil {
		h.t.Fatalf("%s: %v", target, err)
	}
}

// until waits for a condition on a node, woken by its topic.
func (h *harness) until(id, what string, cond func(n *nodes.Node) bool) *nodes.Node {
	h.t.Helper()
	sub := h.bus.Subscribe("baremetal/node/" + id)
	defer sub.Close()
	deadline := time.After(30 * time.Second)
	for {
		n := h.get(id)
		if cond(n) {
			return n
		}
		select {
		case <-sub.C():
		case <-deadline:
			h.t.Fatalf("node did not reach %q within 30 s: state %s, step %v, last error %q", what, n.ProvisionState, n.DeployStep, n.LastError)
		}
	}
}

func (h *harness) untilState(id, state string) *nodes.Node {
	h.t.Helper()
	return h.until(id, state, func(n *nodes.Node) bool { return n.ProvisionState == state })
}

const testMAC = "52:54:00:24:00:01"

// enroll makes a machine and its node, and brings it to available.
func (h *harness) enroll() (*baremetaltest.Machine, string) {
	h.t.Helper()
	m := baremetaltest.NewMachine(h.t, testMAC, h.node.URL)
	info := m.DriverInfo()
	for _, kind := range []string{"kernel", "ramdisk"} {
		file := filepath.Join(h.dir, kind)
		if err := os.WriteFile(file, []byte(kind), 0o600); err != nil {
			h.t.Fatal(err)
		}
		info["deploy_"+kind] = "file://" + file
	}
	opts := nodes.CreateOpts{Name: "node-1", Driver: "redfish", DriverInfo: info, NetworkInterface: "noop",
		Properties: map[string]any{"capabilities": "boot_mode:uefi,profile:control"}, ResourceClass: "baremetal"}
	n, err := nodes.Create(h.t.Context(), h.client, opts).Extract()
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := ports.Create(h.t.Context(), h.client, ports.CreateOpts{NodeUUID: n.UUID, Address: strings.ToUpper(testMAC)}).Extract(); err != nil {
		h.t.Fatal(err)
	}
	h.verb(n.UUID, nodes.TargetManage)
	h.untilState(n.UUID, "manageable")
	return m, n.UUID
}

// image writes an image file and returns the instance_info to deploy it.
func (h *harness) image() ([]byte, map[string]any) {
	h.t.Helper()
	body := bytes.Repeat([]byte("overcloud"), 10_000)
	file := filepath.Join(h.dir, "image.raw")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		h.t.Fatal(err)
	}
	sum := sha512.Sum512(body)
	return body, map[string]any{"image_source": "file://" + file, "image_os_hash_algo": "sha512", "image_os_hash_value": hex.EncodeToString(sum[:]), "root_gb": 10}
}

func (h *harness) prepareDeploy(id string) []byte {
	h.t.Helper()
	h.verb(id, nodes.TargetProvide)
	h.untilState(id, "available")
	return h.deployInfo(id)
}

// deployInfo gives the node an instance.
func (h *harness) deployInfo(id string) []byte {
	h.t.Helper()
	body, info := h.image()
	_, err := nodes.Update(h.t.Context(), h.client, id, nodes.UpdateOpts{
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_uuid", Value: "0a6bbd5e-0d5f-4d9a-9d6b-6e3a1f0b6c01"},
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info", Value: info}}).Extract()
	if err != nil {
		h.t.Fatal(err)
	}
	return body
}

func withDrive(o *nodes.ProvisionStateOpts) {
	o.ConfigDrive = nodes.ConfigDrive{MetaData: map[string]any{"hostname": "controller-0"}, UserData: "#!/bin/sh\n"}
}

func TestDeployAndUndeploy(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	if n := h.get(id); n.PowerState != "power off" {
		t.Errorf("after verify power_state is %q", n.PowerState)
	}
	body := h.prepareDeploy(id)
	h.verb(id, nodes.TargetActive, withDrive)
	n := h.untilState(id, "active")
	if n.LastError != "" || n.Reservation != "" || n.TargetProvisionState != "" || n.PowerState != "power on" {
		t.Errorf("active node: last_error %q reservation %q target %q power %q", n.LastError, n.Reservation, n.TargetProvisionState, n.PowerState)
	}
	seen := m.Seen()
	if !bytes.Equal(seen.Disk, body) {
		t.Errorf("the disk holds %d bytes, want the image's %d", len(seen.Disk), len(body))
	}
	if drive, _ := seen.Drive.(string); len(drive) < 1000 {
		t.Errorf("the agent got the config drive %.100v", seen.Drive)
	}
	if seen.Boot["BootSourceOverrideTarget"] != "Hdd" || seen.Boot["BootSourceOverrideEnabled"] != "Continuous" || seen.Power != "On" || seen.Ramdisks != 1 {
		t.Errorf("the machine is %s with boot %v after %d ramdisks", seen.Power, seen.Boot, seen.Ramdisks)
	}
	if seen.Args["ipa-inspection-callback-url"] != "" || seen.Args["BOOTIF"] != "01-52-54-00-24-00-01" {
		t.Errorf("kernel arguments %v", seen.Args)
	}
	if code, script := get(t.Context(), h.node.URL+"/baremetal/boot/"+testMAC+".ipxe"); code != 200 || strings.Contains(string(script), "kernel") {
		t.Errorf("an active node is told to boot %d %s", code, script)
	}
	h.verb(id, nodes.TargetDeleted)
	n = h.untilState(id, "available")
	if m.Seen().Power != "Off" || n.InstanceUUID != "" || len(n.InstanceInfo) != 0 {
		t.Errorf("after undeploy: machine %s, instance %q %v", m.Seen().Power, n.InstanceUUID, n.InstanceInfo)
	}
}

func TestInspect(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	m.Spoil(func(s *baremetaltest.Spoil) {
		s.Inspected = func(body []byte) {
			req, _ := http.NewRequest(http.MethodPost, h.api.URL+"/v1/continue_inspection", bytes.NewReader(body))
			req.Header.Set("X-Auth-Token", "admin")
			res, err := http.DefaultClient.Do(req)
			if err != nil || res.StatusCode != http.StatusAccepted {
				t.Errorf("continue_inspection: %v %v", res, err)
				return
			}
			_ = res.Body.Close()
		}
	})
	h.verb(id, nodes.TargetInspect)
	n := h.until(id, "inspected", func(n *nodes.Node) bool { return n.ProvisionState == "manageable" && n.InspectionFinishedAt != nil })
	if m.Seen().Power != "Off" || n.LastError != "" {
		t.Errorf("after inspection the machine is %s, last error %q", m.Seen().Power, n.LastError)
	}
	inv, err := nodes.GetInventory(t.Context(), h.client, id).Extract()
	if err != nil || len(inv.Inventory.Interfaces) != 1 || inv.Inventory.Interfaces[0].MACAddress != testMAC {
		t.Errorf("inventory %+v %v", inv, err)
	}
	if got := m.Seen().Args["ipa-inspection-callback-url"]; got != h.node.URL+"/introspection/v1/continue" {
		t.Errorf("callback URL %q", got)
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		tune   func(*baremetal.Config)
		spoil  func(s *baremetaltest.Spoil)
		want   []string
		reason string
	}{
		{"checksum", nil, func(s *baremetaltest.Spoil) { s.Corrupt = true },
			[]string{"node-1", "step write-image", "verification checksum"}, "the agent's own words reach the operator"},
		{"power", func(c *baremetal.Config) { c.PowerTimeout = 300 * time.Millisecond }, func(s *baremetaltest.Spoil) { s.RefusePower = true },
			[]string{"node-1", "step power-on", "power on", "300ms"}, "bounded retries, then the step and the state"},
		{"silent ramdisk", func(c *baremetal.Config) { c.CallbackTimeout = 300 * time.Millisecond }, func(s *baremetaltest.Spoil) { s.Silent = true },
			[]string{"node-1", "step wait-agent", "did not call back within 300ms"}, "a ramdisk that never calls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, c.tune)
			m, id := h.enroll()
			h.prepareDeploy(id)
			m.Spoil(c.spoil)
			h.verb(id, nodes.TargetActive)
			n := h.untilState(id, "deploy failed")
			for _, w := range c.want {
				if !strings.Contains(n.LastError, w) {
					t.Errorf("last_error %q lacks %q (%s)", n.LastError, w, c.reason)
				}
			}
			// Repaired, the same node deploys.
			m.Spoil(func(s *baremetaltest.Spoil) { *s = baremetaltest.Spoil{} })
			if c.tune != nil {
				h.stop()
				h.tune = nil
				h.start()
			}
			h.verb(id, nodes.TargetActive)
			h.untilState(id, "active")
		})
	}
}

// TestRestartWhileWriting: the undercloud dies while the agent writes; the
// command goes on and its end is seen, without being sent again.
func TestRestartWhileWriting(t *testing.T) {
	h := newHarness(t, nil)
	m, id := h.enroll()
	h.prepareDeploy(id)
	hold := make(chan struct{})
	m.Spoil(func(s *baremetaltest.Spoil) { s.Hold = hold })
	h.verb(id, nodes.TargetActive)
	h.until(id, "progress", func(n *nodes.Node) bool { return n.DriverInternalInfo["deploy_progress"] == float64(42) })
	h.stop()
	h.start()
	close(hold)
	h.untilState(id, "active")
	if seen := m.Seen(); seen.Prepares != 1 || seen.Ramdisks != 1 {
		t.Errorf("prepare_image was sent %d times to %d ramdisks, want once", seen.Prepares, seen.Ramdisks)
	}
}

// TestRamdiskRestartWhileWriting: the ramdisk dies and comes back; the image
// is written again.
func TestRamdiskRestartWhileWriting(t *testing.T) {
	h := newHarness(t, func(c *baremetal.Config) { c.AgentLost = 10 * time.Second })
	m, id := h.enroll()
	h.prepareDeploy(id)
	hold := make(chan struct{})
	m.Spoil(func(s *baremetaltest.Spoil) { s.Hold = hold })
	h.verb(id, nodes.TargetActive)
	h.until(id, "progress", func(n *nodes.Node) bool { return n.DriverInternalInfo["deploy_progress"] == float64(42) })
	m.Spoil(func(s *baremetaltest.Spoil) { s.Hold = nil })
	m.Reset()
	h.untilState(id, "active")
	if seen := m.Seen(); seen.Prepares != 2 || seen.Ramdisks != 2 {
		t.Errorf("prepare_image was sent %d times to %d ramdisks, want 2 and 2", seen.Prepares, seen.Ramdisks)
	}
}

// TestRestartAtEveryStep stops the service whenever the node changes, for a
// whole deployment.
func TestRestartAtEveryStep(t *testing.T) {
	h := newHarness(t, nil)
	_, id := h.enroll()
	h.prepareDeploy(id)
	h.verb(id, nodes.TargetActive)
	seen := map[string]bool{}
	for range 200 {
		n := h.get(id)
		if n.ProvisionState == "active" || n.ProvisionState == "deploy failed" {
			break
		}
		step, _ := n.DeployStep["step"].(string)
		if !seen[step] {
			seen[step] = true
			h.stop()
			h.start()
			continue
		}
		h.until(id, "next step", func(n *nodes.Node) bool {
			s, _ := n.DeployStep["step"].(string)
			return s != step || n.ProvisionState == "active" || n.ProvisionState == "deploy failed"
		})
	}
	if n := h.get(id); n.ProvisionState != "active" {
		t.Fatalf("state %s, last error %q", n.ProvisionState, n.LastError)
	}
	if len(seen) < 5 {
		t.Errorf("the service was stopped in %d different steps only: %v", len(seen), seen)
	}
}

func refusePower(s *baremetaltest.Spoil) { s.RefusePower = true }
func silent(s *baremetaltest.Spoil)      { s.Silent = true }
