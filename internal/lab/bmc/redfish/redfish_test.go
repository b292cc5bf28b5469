package redfish_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/bmc/redfish"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/machine/machinetest"
)

const (
	user, password = "admin", "s3cret"
	systemPath     = "/redfish/v1/Systems/1"
)

func start(t *testing.T) (*machine.Machine, *machinetest.Hardware, *httptest.Server) {
	t.Helper()
	m, hw := machinetest.New(t)
	h := redfish.New(redfish.Options{
		Systems: []redfish.Entry{{ID: "1", System: m}}, User: user, Password: password,
		UUID: m.Info().UUID, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return m, hw, srv
}

func TestGofish(t *testing.T) {
	for _, basic := range []bool{true, false} {
		m, hw, srv := start(t)
		c, err := gofish.ConnectContext(t.Context(), gofish.ClientConfig{Endpoint: srv.URL, Username: user, Password: password, BasicAuth: basic})
		if err != nil {
			t.Fatalf("connect (basic %v): %v", basic, err)
		}
		systems, err := c.Service.Systems()
		if err != nil || len(systems) != 1 {
			t.Fatalf("systems: %v, %v", systems, err)
		}
		sys := systems[0]
		if sys.PowerState != schemas.OffPowerState || sys.UUID != m.Info().UUID || sys.ProcessorSummary.Count == nil || *sys.ProcessorSummary.Count != 4 {
			t.Errorf("system read as power %q, UUID %q, %v processors", sys.PowerState, sys.UUID, sys.ProcessorSummary.Count)
		}
		if err := sys.SetBoot(&schemas.Boot{BootSourceOverrideTarget: schemas.PxeBootSource, BootSourceOverrideEnabled: schemas.OnceBootSourceOverrideEnabled}); err != nil {
			t.Fatalf("set boot: %v", err)
		}
		if got, want := m.Boot(), (bmc.BootOverride{Device: bmc.PXE}); got != want {
			t.Errorf("override = %+v, want %+v", got, want)
		}
		if _, err := sys.Reset(schemas.OnResetType); err != nil {
			t.Fatalf("reset On: %v", err)
		}
		if order := <-hw.Boots; order[0] != bmc.PXE {
			t.Errorf("booted from %v, want the network", order)
		}
		if _, err := sys.Reset(schemas.ForceOffResetType); err != nil {
			t.Fatalf("reset ForceOff: %v", err)
		}
		<-hw.Stops
		managers, err := c.Service.Managers()
		if err != nil || len(managers) != 1 {
			t.Errorf("managers: %v, %v", managers, err)
		}
		chassis, err := c.Service.Chassis()
		if err != nil || len(chassis) != 1 {
			t.Errorf("chassis: %v, %v", chassis, err)
		}
		nics, err := sys.EthernetInterfaces()
		if err != nil || len(nics) != 1 || nics[0].MACAddress != "52:54:00:24:00:01" {
			t.Errorf("interfaces: %v, %v", nics, err)
		}
		c.Logout()
	}
}

type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func do(t *testing.T, srv *httptest.Server, method, path, body string, edit func(*http.Request)) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	if edit != nil {
		edit(req)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &r.body); err != nil {
			t.Fatalf("%s %s answered no JSON: %q", method, path, b)
		}
	}
	return r
}

func TestStatusCodes(t *testing.T) {
	_, _, srv := start(t)
	anonymous := func(r *http.Request) { r.Header.Del("Authorization") }
	wrong := func(r *http.Request) { r.SetBasicAuth(user, "wrong") }
	stale := func(r *http.Request) { r.Header.Set("If-Match", `"0000"`) }
	tests := []struct {
		method, path, body string
		edit               func(*http.Request)
		want               int
		reason             string
	}{
		{"GET", "/redfish/v1/", "", anonymous, 200, "the service root needs no authentication (DSP0266 13.3.4)"},
		{"GET", "/redfish", "", anonymous, 200, "nor does the version object"},
		{"GET", "/redfish/v1/Systems", "", anonymous, 401, "everything else does"},
		{"GET", "/redfish/v1/Systems", "", wrong, 401, "wrong password"},
		{"GET", "/redfish/v1/Systems/", "", nil, 200, "a trailing slash is the same resource"},
		{"GET", "/redfish/v1/Systems/2", "", nil, 404, "no such system"},
		{"PATCH", systemPath, `{"Boot":{"BootSourceOverrideTarget":"Pxe"}}`, stale, 412, "an outdated ETag"},
		{"PATCH", systemPath, `{"Boot":{"BootSourceOverrideTarget":"Moon"}}`, nil, 400, "unknown boot source"},
		{"PATCH", systemPath, `{"Boot":{"BootSourceOverrideTarget":"Cd"}}`, nil, 400, "no such device in this machine"},
		{"PATCH", systemPath, `{"Boot":`, nil, 400, "malformed JSON"},
		{"POST", systemPath + "/Actions/ComputerSystem.Reset", `{"ResetType":"Explode"}`, nil, 400, "unknown reset type"},
		{"POST", systemPath + "/Actions/ComputerSystem.Reset", `{"ResetType":"PowerCycle"}`, nil, 409, "a machine that is off cannot be cycled"},
		{"POST", "/redfish/v1/SessionService/Sessions", `{"UserName":"admin","Password":"no"}`, anonymous, 401, "wrong password"},
		{"POST", systemPath + "/Actions/ComputerSystem.Reset", `{"x":"` + strings.Repeat("a", 70000) + `"}`, nil, 413, "a body has a limit"},
	}
	for _, tt := range tests {
		if got := do(t, srv, tt.method, tt.path, tt.body, tt.edit); got.status != tt.want {
			t.Errorf("%s %s = %d %v, want %d: %s", tt.method, tt.path, got.status, got.body, tt.want, tt.reason)
		}
	}
}

func TestConditionalPatch(t *testing.T) {
	m, _, srv := start(t)
	tag := do(t, srv, "GET", systemPath, "", nil).header.Get("ETag")
	with := func(r *http.Request) { r.Header.Set("If-Match", tag) }
	body := `{"Boot":{"BootSourceOverrideTarget":"Hdd","BootSourceOverrideEnabled":"Continuous","BootSourceOverrideMode":"UEFI"}}`
	r := do(t, srv, "PATCH", systemPath, body, with)
	if r.status != 200 {
		t.Fatalf("PATCH with the current ETag = %d %v", r.status, r.body)
	}
	if got, want := m.Boot(), (bmc.BootOverride{Device: bmc.Disk, Persistent: true, UEFI: true}); got != want {
		t.Errorf("override = %+v, want %+v", got, want)
	}
	if again := do(t, srv, "PATCH", systemPath, body, with); again.status != 412 {
		t.Errorf("PATCH with the used ETag = %d, want 412: the resource has changed", again.status)
	}
}

func TestSessions(t *testing.T) {
	_, _, srv := start(t)
	r := do(t, srv, "POST", "/redfish/v1/SessionService/Sessions", `{"UserName":"admin","Password":"s3cret"}`, func(r *http.Request) { r.Header.Del("Authorization") })
	token, loc := r.header.Get("X-Auth-Token"), r.header.Get("Location")
	if r.status != 201 || token == "" || loc == "" {
		t.Fatalf("create session = %d, token %q, location %q", r.status, token, loc)
	}
	use := func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Auth-Token", token) }
	if got := do(t, srv, "GET", systemPath, "", use); got.status != 200 {
		t.Errorf("GET with the token = %d", got.status)
	}
	if got := do(t, srv, "DELETE", loc, "", use); got.status != 204 {
		t.Errorf("DELETE session = %d", got.status)
	}
	if got := do(t, srv, "GET", systemPath, "", use); got.status != 401 {
		t.Errorf("GET after logout = %d, want 401", got.status)
	}
}

func TestDeadBMCIsSilent(t *testing.T) {
	m, _, srv := start(t)
	m.SetFault(machine.BMCDead, true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/redfish/v1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := srv.Client().Do(req); err == nil {
		_ = res.Body.Close()
		t.Errorf("a dead BMC answered %d", res.StatusCode)
	}
}
