// Package baremetaltest is a bare metal machine for tests: a Redfish controller
// on a socket and, when it is powered on with network boot, what firmware and
// the ramdisk's agent say over HTTP.
package baremetaltest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Machine is a machine. Change what is in Spoil, and read what is in Seen,
// through the methods of those names.
type Machine struct {
	MAC   string
	Boots string // base URL of the undercloud's node listener
	BMC   *httptest.Server

	mu     sync.Mutex
	power  string
	boot   map[string]any
	cancel context.CancelFunc
	spoil  Spoil
	seen   Seen
	media  string
}

// Spoil is how a machine behaves.
type Spoil struct {
	RefusePower bool                                                     // power commands are accepted and have no effect
	Hold        chan struct{}                                            // prepare_image waits for it when set
	Silent      bool                                                     // the ramdisk never calls back
	Corrupt     bool                                                     // the image is not read as it was sent
	DieAt       string                                                   // the ramdisk starts anew when it gets this command, once
	Controller  func(w http.ResponseWriter, r *http.Request) (done bool) // what the BMC does first
	Logs        []byte                                                   // what log.collect_system_logs returns
	Inspection  map[string]any                                           // what the ramdisk posts when it is to inspect
	Inspected   func(body []byte)                                        // gets it in place of the callback URL, when set
}

// Seen is what has happened to a machine.
type Seen struct {
	Power    string            // "On" or "Off"
	Boot     map[string]any    // the Redfish boot override
	Disk     []byte            // what prepare_image wrote
	Drive    any               // its config drive
	Args     map[string]string // kernel arguments of the last ramdisk
	Ramdisks int               // how often a ramdisk was booted
	Prepares int               // how often prepare_image was sent
	Answers  []int             // status codes of the inspection callback
	Steps    []string          // hardware steps the agent was sent, "interface.step"
	Media    string            // what was in the virtual CD drive when the power came on
	Rescue   string            // the hashed password of finalize_rescue
}

// Spoil changes how the machine behaves.
func (m *Machine) Spoil(fn func(s *Spoil)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(&m.spoil)
}

// Seen returns what has happened so far.
func (m *Machine) Seen() Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seen
	s.Power, s.Boot = m.power, maps.Clone(m.boot)
	return s
}

// NewMachine returns a machine that is off. boots is the base URL of the
// undercloud's node listener.
func NewMachine(t testing.TB, mac, boots string) *Machine {
	m := &Machine{MAC: mac, Boots: boots, power: "Off", boot: map[string]any{
		"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI"}}
	m.BMC = httptest.NewServer(http.HandlerFunc(m.redfish))
	t.Cleanup(func() { m.set("Off"); m.BMC.Close() })
	return m
}

// DriverInfo is the node's driver_info for driver redfish.
func (m *Machine) DriverInfo() map[string]any {
	return map[string]any{"redfish_address": m.BMC.URL, "redfish_system_id": "/redfish/v1/Systems/1", "redfish_username": "u",
		"redfish_password": "p", "redfish_auth_type": "basic"}
}

func (m *Machine) redfish(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	first := m.spoil.Controller
	m.mu.Unlock()
	if first != nil && first(w, r) {
		return
	}
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
			"VirtualMedia": map[string]any{"@odata.id": "/redfish/v1/Systems/1/VirtualMedia"},
			"Actions":      map[string]any{"#ComputerSystem.Reset": map[string]any{"target": "/redfish/v1/Systems/1/Reset"}}})
	case "PATCH /redfish/v1/Systems/1":
		m.mu.Lock()
		defer m.mu.Unlock()
		for k, v := range body["Boot"].(map[string]any) {
			m.boot[k] = v
		}
		w.WriteHeader(http.StatusNoContent)
	case "POST /redfish/v1/Systems/1/Reset":
		m.mu.Lock()
		refuse := m.spoil.RefusePower
		m.mu.Unlock()
		if !refuse {
			m.set(map[string]string{"On": "On", "ForceOff": "Off", "GracefulShutdown": "Off"}[body["ResetType"].(string)])
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		m.drive(w, r, body)
	}
}

// drive is the virtual CD drive.
func (m *Machine) drive(w http.ResponseWriter, r *http.Request, body map[string]any) {
	const at = "/redfish/v1/Systems/1/VirtualMedia"
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := func(v any) { w.Header().Set("Content-Type", "application/json"); _ = json.NewEncoder(w).Encode(v) }
	switch r.Method + " " + r.URL.Path {
	case "GET " + at:
		reply(map[string]any{"@odata.id": at, "Members": []any{map[string]any{"@odata.id": at + "/Cd"}}})
	case "GET " + at + "/Cd":
		reply(map[string]any{"@odata.id": at + "/Cd", "Id": "Cd", "MediaTypes": []any{"CD"}, "Inserted": m.media != "", "Image": m.media, "Actions": map[string]any{
			"#VirtualMedia.InsertMedia": map[string]any{"target": at + "/Cd/Insert"}, "#VirtualMedia.EjectMedia": map[string]any{"target": at + "/Cd/Eject"}}})
	case "POST " + at + "/Cd/Insert":
		m.media, _ = body["Image"].(string)
		w.WriteHeader(http.StatusNoContent)
	case "POST " + at + "/Cd/Eject":
		m.media = ""
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Media is what is in the virtual CD drive.
func (m *Machine) Media() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.media
}

// cdArgs reads the kernel arguments from isolinux.cfg of the CD in the drive.
func (m *Machine) cdArgs(ctx context.Context) map[string]string {
	code, cd := get(ctx, m.Media())
	_, rest, found := bytes.Cut(cd, []byte("  APPEND "))
	if code != http.StatusOK || !found {
		return nil
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	args := map[string]string{}
	for _, a := range strings.Fields(string(line)) {
		if k, v, ok := strings.Cut(a, "="); ok {
			args[k] = v
		}
	}
	return args
}

// set switches the machine.
func (m *Machine) set(power string) {
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
	m.seen.Media = m.media
	if target := m.boot["BootSourceOverrideTarget"]; power == "On" && (target == "Pxe" || target == "Cd" || target == "UefiHttp") && m.boot["BootSourceOverrideEnabled"] != "Disabled" {
		if m.boot["BootSourceOverrideEnabled"] == "Once" {
			m.boot["BootSourceOverrideEnabled"] = "Disabled"
		}
		ctx, cancel := context.WithCancel(context.Background())
		m.cancel = cancel
		go m.netboot(ctx)
	}
}

// Reset makes the ramdisk start anew, as after a panic.
func (m *Machine) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.netboot(ctx)
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

// dies says once that the ramdisk is to start anew at this command.
func (m *Machine) dies(command string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spoil.DieAt != command {
		return false
	}
	m.spoil.DieAt = ""
	return true
}

// netboot is firmware and ramdisk: script, then lookup and heartbeat, again
// and again until it succeeds, as machines do.
func (m *Machine) netboot(ctx context.Context) {
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

func (m *Machine) ramdisk(ctx context.Context) bool {
	if m.Seen().Boot["BootSourceOverrideTarget"] == "Cd" {
		args := m.cdArgs(ctx)
		return args != nil && m.booted(ctx, args)
	}
	code, script := get(ctx, m.Boots+"/baremetal/boot/"+strings.ReplaceAll(m.MAC, ":", "-")+".ipxe")
	if code != http.StatusOK {
		return false
	}
	args := map[string]string{}
	kernel := false
	for sc := bufio.NewScanner(strings.NewReader(string(script))); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "||")
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "kernel" && f[0] != "initrd" {
			continue
		}
		url := f[1]
		if f[0] == "initrd" {
			url = f[len(f)-1]
		}
		if code, _ := get(ctx, url); code != http.StatusOK {
			return false
		}
		if f[0] == "kernel" {
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
	return m.booted(ctx, args)
}

// booted is a ramdisk with its kernel arguments.
func (m *Machine) booted(ctx context.Context, args map[string]string) bool {
	m.mu.Lock()
	m.seen.Args = args
	m.seen.Ramdisks++
	spoil := m.spoil
	m.mu.Unlock()
	if spoil.Silent {
		return true
	}
	if target := args["ipa-inspection-callback-url"]; target != "" {
		m.inspect(ctx, target, spoil)
	}
	return m.serve(ctx, args)
}

// inspect posts the machine's data until somebody takes them.
func (m *Machine) inspect(ctx context.Context, target string, spoil Spoil) {
	data := map[string]any{"boot_interface": "01-" + strings.ReplaceAll(m.MAC, ":", "-"), "inventory": map[string]any{
		"interfaces": []any{map[string]any{"name": "eth0", "mac_address": m.MAC, "ipv4_address": "192.168.24.100", "has_carrier": true}},
		"cpu":        map[string]any{"count": 4, "architecture": "x86_64", "flags": []any{"vmx", "aes"}}, "memory": map[string]any{"physical_mb": 8192},
		"disks": []any{map[string]any{"name": "/dev/sda", "size": 40 << 30, "serial": "s1", "rotational": false},
			map[string]any{"name": "/dev/sdb", "size": 100 << 30, "serial": "s2", "rotational": true}},
		"boot": map[string]any{"current_boot_mode": "uefi"}, "bmc_address": "192.168.100.11"},
		"root_disk": map[string]any{"name": "/dev/sda", "size": 40 << 30}, "logs": "bG9ncw=="}
	maps.Copy(data, spoil.Inspection)
	body, _ := json.Marshal(data)
	if spoil.Inspected != nil {
		spoil.Inspected(body)
		return
	}
	for ctx.Err() == nil {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			m.mu.Lock()
			m.seen.Answers = append(m.seen.Answers, res.StatusCode)
			m.mu.Unlock()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// serve is the agent: it registers and takes commands until the machine is
// switched off.
func (m *Machine) serve(ctx context.Context, args map[string]string) bool {
	a := &agent{m: m, ctx: ctx}
	srv := httptest.NewServer(a)
	context.AfterFunc(ctx, srv.Close)
	for ctx.Err() == nil {
		code, b := get(ctx, args["ipa-api-url"]+"/v1/lookup?addresses="+m.MAC)
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
	m     *Machine
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
		if a.m.dies(in.Name) {
			go a.m.Reset()
			panic(http.ErrAbortHandler) // no answer
		}
		cmd := map[string]any{"id": fmt.Sprintf("c%d", len(a.cmds)), "command_name": in.Name, "command_status": "RUNNING"}
		a.cmds = append(a.cmds, cmd)
		switch in.Name {
		case "standby.prepare_image":
			go a.prepare(cmd, in.Params)
		case "standby.power_off":
			go a.m.set("Off")
		case "clean.get_clean_steps", "deploy.get_deploy_steps", "service.get_service_steps":
			kind, _, _ := strings.Cut(in.Name, ".")
			step := func(iface, name string, priority int) any {
				return map[string]any{"interface": iface, "step": name, "priority": priority, "abortable": true}
			}
			cmd["command_status"], cmd["command_result"] = "SUCCEEDED", map[string]any{
				"hardware_manager_version": map[string]any{"generic": "1"},
				kind + "_steps": map[string]any{"Generic": []any{step("deploy", "erase_devices", 10), step("deploy", "erase_devices_metadata", 99),
					step("deploy", "explode", 0), step("raid", "create_configuration", 0), step("raid", "delete_configuration", 0), step("raid", "apply_configuration", 0)}}}
		case "clean.execute_clean_step", "deploy.execute_deploy_step", "service.execute_service_step":
			cmd["command_status"] = "SUCCEEDED"
			st := in.Params["step"].(map[string]any)
			if st["step"] == "explode" {
				cmd["command_status"], cmd["command_error"] = "FAILED", map[string]any{"message": "it exploded"}
			}
			if st["step"] == "create_configuration" || st["step"] == "apply_configuration" {
				kind, _, _ := strings.Cut(in.Name, ".")
				cmd["command_result"] = map[string]any{kind + "_result": madeRAID(in.Params)}
			}
			a.m.mu.Lock()
			a.m.seen.Steps = append(a.m.seen.Steps, fmt.Sprintf("%s.%s", st["interface"], st["step"]))
			a.m.mu.Unlock()
		case "log.collect_system_logs":
			a.m.mu.Lock()
			logs := a.m.spoil.Logs
			a.m.mu.Unlock()
			cmd["command_status"], cmd["command_result"] = "SUCCEEDED", map[string]any{"system_logs": base64.StdEncoding.EncodeToString(logs)}
		case "rescue.finalize_rescue":
			cmd["command_status"] = "SUCCEEDED"
			a.m.mu.Lock()
			a.m.seen.Rescue, _ = in.Params["rescue_password"].(string)
			a.m.mu.Unlock()
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
	a.m.seen.Prepares++
	hold, corrupt := a.m.spoil.Hold, a.m.spoil.Corrupt
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
	a.m.seen.Disk, a.m.seen.Drive = b, params["configdrive"]
	a.m.mu.Unlock()
	set("command_status", "SUCCEEDED")
}

// madeRAID is the configuration that a step was sent with, as the agent says it of arrays that it has made.
func madeRAID(params map[string]any) map[string]any {
	node, _ := params["node"].(map[string]any)
	conf, _ := node["target_raid_config"].(map[string]any)
	list, _ := conf["logical_disks"].([]any)
	out := []any{}
	for i, v := range list {
		m, _ := v.(map[string]any)
		if m = maps.Clone(m); m["is_root_volume"] == true {
			m["root_device_hint"] = map[string]any{"name": fmt.Sprintf("/dev/md%d", i)}
		}
		out = append(out, m)
	}
	return map[string]any{"logical_disks": out}
}
