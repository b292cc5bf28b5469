package drivers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

func newSet(t *testing.T, o drivers.Options) *drivers.Set {
	t.Helper()
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	o.Spacing = -1
	s := drivers.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// startBMC runs go-ipmi's reference BMC on a loopback socket.
func startBMC(t *testing.T, suites ...types.CipherSuiteID) (addr *net.UDPAddr, stop func()) {
	t.Helper()
	return startBMCWith(t, mock.New(), suites...)
}

func startBMCWith(t *testing.T, machine *mock.HAL, suites ...types.CipherSuiteID) (addr *net.UDPAddr, stop func()) {
	t.Helper()
	b := bmc.New(bmc.DeviceInfo{DeviceID: 1, IPMIVersion: 0x20}, [16]byte{1}, machine)
	if len(suites) > 0 {
		b.SetCipherSuites(suites)
	}
	u, err := b.Users.Add(2, "admin")
	if err != nil {
		t.Fatal(err)
	}
	u.SetPassword([]byte("secret"))
	u.Enabled = true
	u.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelAdministrator, Enabled: true}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(b, udp.Wrap(conn, udp.WithReadTimeout(50*time.Millisecond)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); _ = conn.Close(); <-done })
	t.Cleanup(stop)
	return conn.LocalAddr().(*net.UDPAddr), stop
}

func ipmiInfo(a *net.UDPAddr) map[string]any {
	return map[string]any{
		"ipmi_address": a.IP.String(), "ipmi_port": float64(a.Port), "ipmi_username": "admin", "ipmi_password": "secret",
	}
}

func machine(t *testing.T, s *drivers.Set, driver string, info map[string]any) drivers.Machine {
	t.Helper()
	m, err := s.Machine(drivers.Target{NodeUUID: "n1", Driver: driver, Info: info})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exercise is what every driver has to be able to do.
func exercise(t *testing.T, m drivers.Machine) {
	t.Helper()
	ctx := t.Context()
	power := func(want drivers.Power) {
		t.Helper()
		if got, err := m.Power(ctx); err != nil || got != want {
			t.Fatalf("power: got %q %v, want %q", got, err, want)
		}
	}
	set := func(a drivers.Action) {
		t.Helper()
		if err := m.SetPower(ctx, a); err != nil {
			t.Fatalf("set power %s: %v", a, err)
		}
	}
	set(drivers.Off)
	power(drivers.PowerOff)
	set(drivers.On)
	power(drivers.PowerOn)
	set(drivers.Reset)
	power(drivers.PowerOn)
	for _, d := range []drivers.BootDevice{
		{Device: drivers.DevicePXE, Mode: drivers.BootModeUEFI},
		{Device: drivers.DeviceDisk, Persistent: true, Mode: drivers.BootModeBIOS},
		{Device: drivers.DevicePXE, Persistent: true, Mode: drivers.BootModeUEFI},
	} {
		if err := m.SetBootDevice(ctx, d); err != nil {
			t.Fatalf("set boot device %+v: %v", d, err)
		}
		got, err := m.BootDevice(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("boot device (-set +read):\n%s", diff)
		}
	}
	set(drivers.Off)
	power(drivers.PowerOff)
}

func TestIPMI(t *testing.T) {
	for _, c := range []struct {
		name   string
		suites []types.CipherSuiteID
		reason string
	}{
		{"suite 17", []types.CipherSuiteID{17, 3}, "the preferred suite"},
		{"suite 3 only", []types.CipherSuiteID{3}, "an old BMC: the driver falls back from 17"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := startBMC(t, c.suites...)
			exercise(t, machine(t, newSet(t, drivers.Options{}), "ipmi", ipmiInfo(addr)))
		})
	}
}

func TestIPMIWrongPassword(t *testing.T) {
	addr, _ := startBMC(t)
	info := ipmiInfo(addr)
	info["ipmi_password"] = "wr0ng-pass"
	_, err := machine(t, newSet(t, drivers.Options{}), "ipmi", info).Power(t.Context())
	if !errors.Is(err, drivers.ErrAuth) {
		t.Errorf("got %v, want ErrAuth", err)
	}
	if err != nil && strings.Contains(err.Error(), "wr0ng-pass") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestIPMISessionIsReusedAndReplaced(t *testing.T) {
	addr, stop := startBMC(t)
	var dials atomic.Int32
	s := newSet(t, drivers.Options{Timeout: 8 * time.Second, Dial: func(ctx context.Context, network, a string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, a)
	}})
	m := machine(t, s, "ipmi", ipmiInfo(addr))
	for range 5 {
		if _, err := m.Power(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("5 reads opened %d sockets, want 1", n)
	}
	stop()
	if _, err := m.Power(t.Context()); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("dead BMC: got %v, want ErrUnreachable", err)
	}
}

// echo is a machine whose serial console repeats what is typed.
type echo struct {
	mu      sync.Mutex
	pending []byte
}

func (e *echo) ReadAvailable(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(p, e.pending)
	e.pending = e.pending[n:]
	return n, nil
}

func (e *echo) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = append(e.pending, p...)
	return len(p), nil
}

func (e *echo) Close() error                    { return nil }
func (e *echo) SendBreak(context.Context) error { return nil }

func TestIPMIConsole(t *testing.T) {
	m := mock.New()
	m.SetConsole(&mock.Console{Conn: &echo{}})
	addr, _ := startBMCWith(t, m)
	set := newSet(t, drivers.Options{})
	target := drivers.Target{NodeUUID: "n1", Driver: "ipmi", Info: ipmiInfo(addr)}
	ctx, cancel := context.WithCancel(t.Context())
	in, typed := io.Pipe()
	shown, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := set.Console(ctx, target, in, out)
		_ = out.CloseWithError(err)
		done <- err
	}()
	go func() { _, _ = typed.Write([]byte("login: ")) }()
	got := make([]byte, 7)
	if _, err := io.ReadFull(shown, got); err != nil || string(got) != "login: " {
		t.Errorf("the console said %q %v", got, err)
	}
	// Power stays within reach meanwhile.
	if _, err := machine(t, set, "ipmi", ipmiInfo(addr)).Power(ctx); err != nil {
		t.Errorf("power beside a console: %v", err)
	}
	cancel()
	_ = typed.Close()
	if err := <-done; err != nil {
		t.Errorf("the end of the console: %v", err)
	}
	if err := set.Console(t.Context(), drivers.Target{Driver: "redfish"}, in, out); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("a console over Redfish: %v", err)
	}
}

// TestDeadBMCDelaysNobody: an operation on a controller that never answers is
// bounded and others go on meanwhile.
func TestDeadBMCDelaysNobody(t *testing.T) {
	dead, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // swallows everything
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	alive, _ := startBMC(t)
	s := newSet(t, drivers.Options{Timeout: 2 * time.Second})
	began := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			_, err := machine(t, s, "ipmi", ipmiInfo(dead.LocalAddr().(*net.UDPAddr))).Power(context.Background())
			if !errors.Is(err, drivers.ErrUnreachable) {
				t.Errorf("dead BMC: got %v, want ErrUnreachable", err)
			}
		})
	}
	if _, err := machine(t, s, "ipmi", ipmiInfo(alive)).Power(t.Context()); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 1500*time.Millisecond {
		t.Errorf("a living BMC answered after %v beside a dead one", d)
	}
	wg.Wait()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("three operations on one dead BMC took %v, each is bounded to 2 s, waiting for its turn included", d)
	}
}

// redfishBMC is a small Redfish service with one system and session login.
type redfishBMC struct {
	mu    sync.Mutex
	power string
	boot  map[string]any
}

func (b *redfishBMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reply := func(v any) { w.Header().Set("Content-Type", "application/json"); _ = json.NewEncoder(w).Encode(v) }
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	link := func(id string) map[string]any { return map[string]any{"@odata.id": id} }
	if r.URL.Path != "/redfish/v1/" && r.URL.Path != "/redfish/v1" && r.URL.Path != "/redfish/v1/SessionService/Sessions" && r.Header.Get("X-Auth-Token") != "tok" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + strings.TrimSuffix(r.URL.Path, "/") {
	case "GET /redfish/v1":
		reply(map[string]any{"@odata.id": "/redfish/v1/", "Systems": link("/redfish/v1/Systems"),
			"Links": map[string]any{"Sessions": link("/redfish/v1/SessionService/Sessions")}})
	case "POST /redfish/v1/SessionService/Sessions":
		if body["UserName"] != "admin" || body["Password"] != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Auth-Token", "tok")
		w.Header().Set("Location", "/redfish/v1/SessionService/Sessions/1")
		w.WriteHeader(http.StatusCreated)
		reply(map[string]any{})
	case "GET /redfish/v1/Systems":
		reply(map[string]any{"Members": []any{link("/redfish/v1/Systems/1")}, "Members@odata.count": 1})
	case "GET /redfish/v1/Systems/1":
		reply(map[string]any{"@odata.id": "/redfish/v1/Systems/1", "Id": "1", "PowerState": b.power, "Boot": b.boot,
			"Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{"target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"}}})
	case "PATCH /redfish/v1/Systems/1":
		for k, v := range body["Boot"].(map[string]any) {
			b.boot[k] = v
		}
		w.WriteHeader(http.StatusNoContent)
	case "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset":
		switch body["ResetType"] {
		case "On", "ForceRestart":
			b.power = "On"
		case "ForceOff", "GracefulShutdown":
			b.power = "Off"
		}
		w.WriteHeader(http.StatusNoContent)
	case "DELETE /redfish/v1/SessionService/Sessions/1":
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestRedfish(t *testing.T) {
	for _, c := range []struct {
		name, system, reason string
	}{
		{"system named", "/redfish/v1/Systems/1", "the usual instackenv"},
		{"only system", "", "redfish_system_id may be left out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(&redfishBMC{power: "Off", boot: map[string]any{
				"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI"}})
			defer srv.Close()
			info := map[string]any{"redfish_address": srv.URL, "redfish_username": "admin", "redfish_password": "secret"}
			if c.system != "" {
				info["redfish_system_id"] = c.system
			}
			exercise(t, machine(t, newSet(t, drivers.Options{}), "redfish", info))
		})
	}
}

func TestRedfishErrors(t *testing.T) {
	srv := httptest.NewServer(&redfishBMC{power: "Off", boot: map[string]any{}})
	defer srv.Close()
	s := newSet(t, drivers.Options{Timeout: time.Second})
	for _, c := range []struct {
		reason string
		info   map[string]any
		want   error
	}{
		{"wrong password", map[string]any{"redfish_address": srv.URL, "redfish_username": "admin", "redfish_password": "x"}, drivers.ErrAuth},
		{"nobody listens", map[string]any{"redfish_address": "http://127.0.0.1:1", "redfish_username": "admin", "redfish_password": "x"}, drivers.ErrUnreachable},
	} {
		if _, err := machine(t, s, "redfish", c.info).Power(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.reason, err, c.want)
		}
	}
}

func TestFake(t *testing.T) {
	s := newSet(t, drivers.Options{})
	exercise(t, machine(t, s, "fake-hardware", nil))
	m, err := s.Machine(drivers.Target{NodeUUID: "n2", Driver: "fake-hardware", Known: drivers.PowerOn})
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := m.Power(t.Context()); p != drivers.PowerOn {
		t.Errorf("a fake machine known to be on is %q after a restart", p)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		driver string
		info   map[string]any
		want   string // part of the error, "" for none
		reason string
	}{
		{"ipmi", map[string]any{}, "ipmi_address is missing", "required"},
		{"ipmi", map[string]any{"ipmi_address": "192.0.2.1"}, "", "everything else has a default"},
		{"ipmi", map[string]any{"ipmi_address": "192.0.2.1", "ipmi_port": "70000"}, "ipmi_port", "not a port"},
		{"ipmi", map[string]any{"ipmi_address": "192.0.2.1", "ipmi_cipher_suite": "x"}, "ipmi_cipher_suite", "not a number"},
		{"ipmi", map[string]any{"ipmi_address": "192.0.2.1", "ipmi_priv_level": "ROOT"}, "ipmi_priv_level", "no such level"},
		{"ipmi", map[string]any{"ipmi_address": "192.0.2.1", "ipmi_password": strings.Repeat("x", 21)}, "ipmi_password", "20 bytes in IPMI 2.0"},
		{"redfish", map[string]any{}, "redfish_address is missing", "required"},
		{"redfish", map[string]any{"redfish_address": "192.0.2.1"}, "", "https by default"},
		{"redfish", map[string]any{"redfish_address": "ftp://x"}, "redfish_address", "wrong scheme"},
		{"redfish", map[string]any{"redfish_address": "192.0.2.1", "redfish_system_id": "1"}, "redfish_system_id", "a path is expected"},
		{"ilo", map[string]any{}, "no hardware type", "not enabled"},
	} {
		err := drivers.Validate(c.driver, c.info)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
			t.Errorf("%s %v: got %q, want %q (%s)", c.driver, c.info, got, c.want, c.reason)
		}
	}
}

func TestHardwareTypesAreComplete(t *testing.T) {
	for _, h := range drivers.HardwareTypes() {
		for _, i := range drivers.InterfaceNames() {
			if h.Default(i) == "" {
				t.Errorf("%s has no %s interface", h.Name, i)
			}
			if err := h.CheckInterface(i, h.Default(i)); err != nil {
				t.Error(err)
			}
		}
		if err := h.CheckInterface("deploy", "iscsi"); err == nil {
			t.Errorf("%s accepts a deploy interface it does not have", h.Name)
		}
	}
}
