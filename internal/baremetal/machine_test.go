package baremetal_test

import (
	"bufio"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// machine is a whole machine in memory: a Redfish controller, and when it is
// powered on with network boot, what firmware and ramdisk say over HTTP.
type machine struct {
	t     *testing.T
	mac   string
	boots string // base URL of the node listener
	bmc   *httptest.Server

	mu        sync.Mutex
	power     string
	boot      map[string]any
	refuse    bool // the power command is accepted and has no effect
	cancel    context.CancelFunc
	disk      []byte            // what prepare_image wrote
	drive     any               // its configdrive
	args      map[string]string // kernel arguments of the last ramdisk
	ramdisks  int               // how often a ramdisk was booted
	prepares  int               // how often prepare_image was sent
	hold      chan struct{}     // prepare_image waits for it when set
	silent    bool              // the ramdisk never calls back
	corrupt   bool              // the disk flips a bit
	inspected func(body []byte) // gets the inspection data in place of the inspector
}

func newMachine(t *testing.T, mac string) *machine {
	m := &machine{t: t, mac: mac, power: "Off", boot: map[string]any{
		"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI"}}
	m.bmc = httptest.NewServer(http.HandlerFunc(m.redfish))
	t.Cleanup(func() { m.set("Off"); m.bmc.Close() })
	return m
}

func (m *machine) driverInfo() map[string]any {
	return map[string]any{"redfish_address": m.bmc.URL, "redfish_system_id": "/redfish/v1/Systems/1", "redfish_username": "u",
		"redfish_password": "p", "redfish_auth_type": "basic",
		"deploy_kernel": m.boots + "/kernel", "deploy_ramdisk": m.boots + "/ramdisk"}
}

func (m *machine) redfish(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	reply := func(v any) { w.Header().Set("Content-Type", "application/json"); _ = json.NewEncoder(w).Encode(v) }
	switch r.Method + " " + strings.TrimSuffix(r.URL.Path, "/") {
	case "GET /redfish/v1":
		reply(map[string]any{"@odata.id": "/redfish/v1/", "Systems": map[string]any{"@odata.id": "/redfish/v1/Systems"}})
	case "GET /redfish/v1/Systems/1":
		m.mu.Lock()
		defer m.mu.Unlock()
		reply(map[string]any{"@odata.id": "/redfish/v1/Systems/1", "PowerState": m.power, "Boot": m.boot,
			"Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{"target": "/redfish/v1/Systems/1/Reset"}}})
	case "PATCH /redfish/v1/Systems/1":
		m.mu.Lock()
		defer m.mu.Unlock()
		for k, v := range body["Boot"].(map[string]any) {
			m.boot[k] = v
		}
		w.WriteHeader(http.StatusNoContent)
	case "POST /redfish/v1/Systems/1/Reset":
		m.mu.Lock()
		refuse := m.refuse
		m.mu.Unlock()
		if !refuse {
			m.set(map[string]string{"On": "On", "ForceOff": "Off", "GracefulShutdown": "Off"}[body["ResetType"].(string)])
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// set switches the machine.
func (m *machine) set(power string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.power == power {
		return
	}
	m.power = power
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
	if power == "On" && m.boot["BootSourceOverrideTarget"] == "Pxe" && m.boot["BootSourceOverrideEnabled"] != "Disabled" {
		if m.boot["BootSourceOverrideEnabled"] == "Once" {
			m.boot["BootSourceOverrideEnabled"] = "Disabled"
		}
		ctx, cancel := context.WithCancel(context.Background())
		m.cancel = cancel
		go m.netboot(ctx)
	}
}

// reset makes the ramdisk start anew, as after a panic.
func (m *machine) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.netboot(ctx)
}

func (m *machine) powerState() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.power
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

// netboot is firmware and ramdisk: script, then lookup and heartbeat, again
// and again until it succeeds, as machines do.
func (m *machine) netboot(ctx context.Context) {
	for ctx.Err() == nil {
		if m.ramdisk(ctx) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *machine) ramdisk(ctx context.Context) bool {
	code, script := get(ctx, m.boots+"/baremetal/boot/"+strings.ReplaceAll(m.mac, ":", "-")+".ipxe")
	if code != http.StatusOK {
		return false
	}
	args := map[string]string{}
	kernel := false
	for sc := bufio.NewScanner(strings.NewReader(string(script))); sc.Scan(); {
		if f := strings.Fields(sc.Text()); len(f) > 1 && f[0] == "kernel" {
			kernel = true
			for _, a := range f[2:] {
				if k, v, ok := strings.Cut(a, "="); ok {
					args[k] = v
				}
			}
		}
	}
	if !kernel {
		return true // boots its disk
	}
	m.mu.Lock()
	m.args, m.ramdisks = args, m.ramdisks+1
	silent, inspected := m.silent, m.inspected
	m.mu.Unlock()
	if silent {
		return true
	}
	a := &agent{m: m, ctx: ctx}
	srv := httptest.NewServer(a)
	context.AfterFunc(ctx, srv.Close)
	if args["ipa-inspection-callback-url"] != "" && inspected != nil {
		inspected([]byte(fmt.Sprintf(`{"inventory": {"interfaces": [{"name": "eth0", "mac_address": %q}], "boot": {"current_boot_mode": "uefi"}}, "root_disk": {"name": "/dev/sda"}}`, m.mac)))
		return true
	}
	for ctx.Err() == nil {
		code, b := get(ctx, args["ipa-api-url"]+"/v1/lookup?addresses="+m.mac)
		var look struct {
			Node   struct{ UUID string }
			Config struct {
				Token string `json:"agent_token"`
			}
		}
		if code == http.StatusOK && json.Unmarshal(b, &look) == nil {
			a.token = look.Config.Token
			body := fmt.Sprintf(`{"callback_url": %q, "agent_version": "1", "agent_token": %q}`, srv.URL, a.token)
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, args["ipa-api-url"]+"/v1/heartbeat/"+look.Node.UUID, strings.NewReader(body))
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
				if res.StatusCode == http.StatusAccepted {
					return true
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return true
}

// agent is the API of the ramdisk's agent.
type agent struct {
	m     *machine
	ctx   context.Context //nolint:containedctx // the life of the ramdisk
	token string

	mu   sync.Mutex
	cmds []map[string]any
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.ctx.Err() != nil || r.URL.Query().Get("agent_token") != a.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	reply := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	id := strings.TrimPrefix(r.URL.Path, "/v1/commands/")
	switch {
	case r.Method == http.MethodPost:
		var in struct {
			Name   string         `json:"name"`
			Params map[string]any `json:"params"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		cmd := map[string]any{"id": fmt.Sprintf("c%d", len(a.cmds)), "command_name": in.Name, "command_status": "RUNNING"}
		a.cmds = append(a.cmds, cmd)
		switch in.Name {
		case "standby.prepare_image":
			go a.prepare(cmd, in.Params)
		case "standby.power_off":
			go a.m.set("Off")
		case "clean.get_clean_steps":
			cmd["command_status"], cmd["command_result"] = "SUCCEEDED", map[string]any{"hardware_manager_version": map[string]any{"generic": "1"}}
		case "clean.execute_clean_step":
			cmd["command_status"] = "SUCCEEDED"
			if in.Params["step"].(map[string]any)["step"] == "explode" {
				cmd["command_status"], cmd["command_error"] = "FAILED", map[string]any{"message": "it exploded"}
			}
		default:
			cmd["command_status"] = "SUCCEEDED"
		}
		reply(cmd)
	case id == "":
		reply(map[string]any{"commands": a.cmds})
	default:
		for _, c := range a.cmds {
			if c["id"] == id {
				reply(c)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}
}

// prepare downloads the image and checks it, like standby.prepare_image.
func (a *agent) prepare(cmd map[string]any, params map[string]any) {
	a.m.mu.Lock()
	a.m.prepares++
	hold, corrupt := a.m.hold, a.m.corrupt
	a.m.mu.Unlock()
	set := func(k string, v any) { a.mu.Lock(); defer a.mu.Unlock(); cmd[k] = v }
	if hold != nil {
		set("command_result", map[string]any{"progress": 42})
		select {
		case <-hold:
		case <-a.ctx.Done():
			return
		}
	}
	info := params["image_info"].(map[string]any)
	code, b := get(a.ctx, info["urls"].([]any)[0].(string))
	if code != http.StatusOK {
		set("command_error", map[string]any{"type": "ImageDownloadError", "code": 500, "message": fmt.Sprintf("answer %d", code)})
		set("command_status", "FAILED")
		return
	}
	if corrupt {
		b = append(b, 'x')
	}
	sum := sha512.Sum512(b)
	if got := hex.EncodeToString(sum[:]); got != info["os_hash_value"] {
		set("command_error", map[string]any{"type": "ImageChecksumError", "code": 500, "message": "Error verifying image checksum",
			"details": fmt.Sprintf("Image failed to verify against checksum. location: /dev/sda; image ID: %v; image checksum: %v; verification checksum: %s", info["id"], info["os_hash_value"], got)})
		set("command_status", "FAILED")
		return
	}
	a.m.mu.Lock()
	a.m.disk, a.m.drive = b, params["configdrive"]
	a.m.mu.Unlock()
	set("command_status", "SUCCEEDED")
}
