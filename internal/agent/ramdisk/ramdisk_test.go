package ramdisk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/lldp"
)

const (
	nodeUUID = "11111111-2222-3333-4444-555555555555"
	token    = "s3cret"
	diskSize = 64 << 20
)

// ironic is as much of Ironic, inspector and an image server as an agent sees, and keeps what it was told.
type ironic struct {
	t      *testing.T
	server *httptest.Server
	images map[string][]byte
	beats  chan map[string]any

	mu         sync.Mutex
	failLookup int // answer so many lookups with 404
	failBeat   int // answer so many heartbeats with 409
	lookups    []string
	inspected  map[string]any
	rootDevice map[string]any
}

func newIronic(t *testing.T) *ironic {
	t.Helper()
	i := &ironic{t: t, images: map[string][]byte{}, beats: make(chan map[string]any, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /baremetal/v1/lookup", i.lookup)
	mux.HandleFunc("POST /baremetal/v1/heartbeat/{uuid}", i.heartbeat)
	mux.HandleFunc("POST /introspection/v1/continue", i.inspect)
	mux.HandleFunc("GET /image/{name}", func(w http.ResponseWriter, r *http.Request) {
		body, ok := i.images[r.PathValue("name")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	return i
}

func (i *ironic) lookup(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lookups = append(i.lookups, r.URL.RawQuery)
	if len(i.lookups) <= i.failLookup {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error_message": "{\"faultstring\": \"Node could not be found.\"}"}`)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"node":   map[string]any{"uuid": nodeUUID, "properties": map[string]any{"root_device": i.rootDevice}},
		"config": map[string]any{"heartbeat_timeout": 300, "agent_token": token, "agent_token_required": true},
	})
}

func (i *ironic) heartbeat(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.PathValue("uuid") != nodeUUID {
		i.t.Errorf("heartbeat for %s", r.PathValue("uuid"))
	}
	if i.failBeat > 0 {
		i.failBeat--
		http.Error(w, `{"error_message": {"faultstring": "Node is locked"}}`, http.StatusConflict)
		return
	}
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		i.t.Error(err)
	}
	w.WriteHeader(http.StatusAccepted)
	i.beats <- body
}

func (i *ironic) inspect(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.inspected == nil { // the first try meets an inspector that is starting
		i.inspected = map[string]any{}
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&i.inspected); err != nil {
		i.t.Error(err)
	}
	writeJSON(w, http.StatusOK, map[string]string{"uuid": nodeUUID})
}

// machine is a running agent with two disks.
type machine struct {
	t      *testing.T
	url    string
	small  string // file of /dev/sda
	large  string // file of /dev/sdb
	action chan Action
	failed chan error
	logs   *LogBuffer
}

func machineFS(mib int64) (proc, sys, dev fstest.MapFS) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	proc = fstest.MapFS{
		"cpuinfo": text("processor\t: 0\nmodel name\t: Test CPU\ncpu MHz\t\t: 2400.000\nflags\t\t: fpu vmx\n\nprocessor\t: 1"),
		"meminfo": text("MemTotal:        4194304 kB"),
		"cmdline": text("quiet ipa-agent-token=" + token + " x=y"),
	}
	sectors := func(n int64) *fstest.MapFile { return text(fmt.Sprint(n << 11)) }
	sys = fstest.MapFS{
		"block/sda/size": sectors(mib), "block/sda/queue/rotational": text("1"), "block/sda/device/model": text("SMALL"),
		"block/sdb/size": sectors(2 * mib), "block/sdb/queue/rotational": text("0"), "block/sdb/device/model": text("LARGE"),
		"class/net/eth0/type": text("1"), "class/net/eth0/address": text("52:54:00:24:00:01"),
		"class/net/eth0/carrier": text("1"), "class/net/eth0/tun_flags": text("0x1002"),
		"class/net/lo/type": text("772"), "class/net/lo/address": text("00:00:00:00:00:00"),
	}
	dev = fstest.MapFS{"sda": text(""), "sdb": text("")}
	return proc, sys, dev
}

func start(t *testing.T, i *ironic, change func(o *Options)) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, small: filepath.Join(dir, "sda"), large: filepath.Join(dir, "sdb"),
		action: make(chan Action, 1), failed: make(chan error, 1), logs: NewLogBuffer(io.Discard)}
	for _, name := range []string{m.small, m.large} {
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, diskSize); err != nil {
			t.Fatal(err)
		}
	}
	// The sizes Ironic sees are those of real disks; the files behind them are smaller to keep the test fast.
	proc, sys, dev := machineFS(8 << 10)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.url = "http://" + listener.Addr().String()
	o := Options{
		Config:  Config{APIURL: i.server.URL + "/baremetal", Collectors: []string{"default", "logs"}},
		Sources: hardware.Sources{Proc: proc, Sys: sys, Dev: dev, Architecture: "x86_64"},
		Log:     slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Logs: m.logs,
		Client: i.server.Client(), Listener: listener,
		AdvertiseIP: func(context.Context, string) (string, error) { return "127.0.0.1", nil },
		OpenDisk: func(path string) (disk.Device, error) {
			return disk.Open(map[string]string{"/dev/sda": m.small, "/dev/sdb": m.large}[path])
		},
		Version: Version, Now: time.Now, Random: rand.Float64, Grace: time.Millisecond,
		Backoff: func(int, time.Duration) time.Duration { return time.Millisecond },
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		action, err := Run(ctx, o)
		if err != nil {
			m.failed <- err
			return
		}
		m.action <- action
	}()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

// beat waits for the next heartbeat.
func (m *machine) beat(i *ironic) map[string]any {
	m.t.Helper()
	select {
	case b := <-i.beats:
		return b
	case err := <-m.failed:
		m.t.Fatalf("the agent ended: %v", err)
	case <-time.After(20 * time.Second):
		m.t.Fatalf("no heartbeat; log:\n%s", m.logs.Bytes())
	}
	return nil
}

type answer struct {
	code    int
	ID      string          `json:"id"`
	Name    string          `json:"command_name"`
	Params  json.RawMessage `json:"command_params"`
	Status  string          `json:"command_status"`
	Result  map[string]any  `json:"command_result"`
	Error   *commandError   `json:"command_error"`
	Type    string          `json:"type"`
	Details string          `json:"details"`
}

func (m *machine) do(method, path string, body any) answer {
	m.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		m.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, bytes.NewReader(data))
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{code: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		m.t.Fatalf("%s %s: %s, %v", method, path, resp.Status, err)
	}
	return a
}

// command runs one as Ironic does and waits for its end.
func (m *machine) command(name string, params any) answer {
	m.t.Helper()
	return m.do(http.MethodPost, "/v1/commands/?wait=true&agent_token="+token, map[string]any{"name": name, "params": params})
}

func image(t *testing.T) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{ProtectiveMBR: true, LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 20479, Type: gpt.LinuxFilesystem, Name: "root"}}}
	w, err := file.New(f, false).Writable()
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Write(w, 16<<20); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[3<<20:], "the operating system")
	return b
}

func sha(b []byte) string {
	s := sha512.Sum512(b)
	return hex.EncodeToString(s[:])
}

func packed(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func TestDeployment(t *testing.T) {
	i := newIronic(t)
	i.failLookup, i.failBeat = 2, 1
	i.rootDevice = map[string]any{"model": "large"}
	img := image(t)
	i.images["os"] = img
	m := start(t, i, nil)

	first := m.beat(i)
	want := map[string]any{"callback_url": m.url, "agent_version": Version, "agent_token": token}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("heartbeat: %s", diff)
	}
	if got := i.lookups[0]; got != "addresses=52%3A54%3A00%3A24%3A00%3A01" {
		t.Errorf("lookup %q: the loopback has no place there", got)
	}

	steps := m.command("deploy.get_deploy_steps", map[string]any{"node": map[string]any{"uuid": nodeUUID}, "ports": []any{}})
	if steps.Status != statusSucceeded || steps.Result["deploy_steps"].(map[string]any)[managerClass] == nil {
		t.Errorf("deploy steps: %+v", steps)
	}
	m.beat(i)

	params := map[string]any{
		"image_info": map[string]any{"id": "img", "node_uuid": nodeUUID, "urls": []string{i.server.URL + "/image/os?temp_url_sig=hidden"},
			"os_hash_algo": "sha512", "os_hash_value": sha(img), "disk_format": "raw", "container_format": "bare"},
		"configdrive": packed(t, []byte("the config drive")),
	}
	got := m.command("standby.prepare_image", params)
	if got.Status != statusSucceeded || !strings.HasPrefix(fmt.Sprint(got.Result["result"]), "prepare_image: image (img) written to device /dev/sdb root_uuid=") {
		t.Fatalf("prepare_image: %+v, error %+v", got, got.Error)
	}
	if strings.Contains(string(got.Params), "hidden") || strings.Contains(string(got.Params), params["configdrive"].(string)) {
		t.Errorf("secrets in %s", got.Params)
	}
	m.beat(i) // at once, not after a third of 300 s
	m.checkDisk(img)

	if got := m.command("standby.get_partition_uuids", nil); got.Result["root uuid"] == nil || got.Result["disk identifier"] == nil {
		t.Errorf("partition UUIDs: %+v", got.Result)
	}
	if got := m.command("image.install_bootloader", map[string]any{"root_uuid": "x"}); got.Status != statusSucceeded {
		t.Errorf("install_bootloader on BIOS: %+v", got.Error)
	}
	if got := m.command("image.install_bootloader", map[string]any{"target_boot_mode": "uefi"}); got.Status != statusFailed ||
		!strings.Contains(got.Error.Details, "no EFI system partition") {
		t.Errorf("install_bootloader on UEFI without an ESP: %+v", got)
	}
	if got := m.command("standby.run_image", nil); got.Status != statusSucceeded {
		t.Errorf("run_image: %+v", got.Error)
	}
	if action := <-m.action; action != ActionReboot {
		t.Errorf("action %q", action)
	}
}

func (m *machine) checkDisk(img []byte) {
	m.t.Helper()
	d, err := disk.Open(m.large)
	if err != nil {
		m.t.Fatal(err)
	}
	defer d.Close()
	layout, err := disk.ReadLayout(d)
	if err != nil {
		m.t.Fatal(err)
	}
	last := layout.Partitions[len(layout.Partitions)-1]
	conf := make([]byte, len("the config drive"))
	if _, err := d.ReadAt(conf, last.Start); err != nil || string(conf) != "the config drive" || last.Name != disk.ConfigDriveName {
		m.t.Errorf("config drive %q in %+v (%v)", conf, last, err)
	}
	body := make([]byte, 1<<20)
	if _, err := d.ReadAt(body, 3<<20); err != nil || !bytes.Equal(body, img[3<<20:4<<20]) {
		m.t.Errorf("the image is not on the disk (%v)", err)
	}
	if b, err := os.ReadFile(m.small); err != nil || !bytes.HasPrefix(b, []byte("old")) {
		m.t.Errorf("the other disk was touched (%v)", err)
	}
}

func TestFailures(t *testing.T) {
	i := newIronic(t)
	img := image(t)
	i.images["os"] = img
	m := start(t, i, nil)
	m.beat(i)
	info := func(change func(info map[string]any)) map[string]any {
		v := map[string]any{"id": "img", "urls": []string{i.server.URL + "/image/os"}, "os_hash_algo": "sha512",
			"os_hash_value": sha(img), "disk_format": "raw", "container_format": "bare"}
		change(v)
		return map[string]any{"image_info": v}
	}
	tests := []struct {
		reason, command string
		params          any
		wantType        string
		wantDetails     string
	}{
		{"wrong checksum, both named", "standby.cache_image", info(func(v map[string]any) { v["os_hash_value"] = sha(nil) }),
			"ImageChecksumError", "expected sha512 " + sha(nil) + ", the 16777216 downloaded bytes have " + sha(img)},
		{"image is gone", "standby.cache_image", info(func(v map[string]any) { v["urls"] = []string{i.server.URL + "/image/none"} }), "ImageWriteError", "404"},
		{"no checksum at all", "standby.cache_image", info(func(v map[string]any) { delete(v, "os_hash_value") }), "InvalidCommandParamsError", "no checksum"},
		{"partition image", "standby.cache_image", info(func(v map[string]any) { v["image_type"] = "partition" }), "InvalidCommandParamsError", "whole disk"},
		{"parameters of the wrong shape", "standby.cache_image", map[string]any{"image_info": 7}, "InvalidCommandParamsError", "image_info"},
		{"unknown clean step", "clean.execute_clean_step", map[string]any{"step": map[string]any{"step": "polish"}}, "HardwareManagerMethodNotFound", "polish"},
		{"hints that no disk satisfies", "deploy.execute_deploy_step", map[string]any{
			"step": map[string]any{"step": "write_image", "args": info(func(map[string]any) {})},
			"node": map[string]any{"uuid": nodeUUID, "properties": map[string]any{"root_device": map[string]any{"model": "none"}}}},
			"DeviceNotFound", `/dev/sda: model is "SMALL", the hint wants "none"; /dev/sdb`},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got := m.command(tt.command, tt.params)
			if got.Status != statusFailed || got.Error == nil || got.Error.Type != tt.wantType || !strings.Contains(got.Error.Details, tt.wantDetails) {
				t.Errorf("%+v, error %+v", got, got.Error)
			}
		})
	}
	if b, err := os.ReadFile(m.small); err != nil || !bytes.Equal(b[:1<<20], make([]byte, 1<<20)) {
		t.Errorf("a disk whose image was wrong still has a start that might boot (%v)", err)
	}
	mismatch := m.command("clean.execute_clean_step", map[string]any{"step": map[string]any{"step": "erase_devices_metadata"},
		"clean_version": map[string]any{managerName: "0.0"}})
	if mismatch.Status != statusVersionMismatch {
		t.Errorf("clean version mismatch: %+v", mismatch)
	}
	if got := m.command("no.such_command", nil); got.code != http.StatusBadRequest || got.Type != "InvalidCommandError" {
		t.Errorf("unknown command: %+v", got)
	}
	bad := m.do(http.MethodPost, "/v1/commands?wait=true&agent_token=wrong", map[string]any{"name": "standby.sync"})
	if bad.code != http.StatusUnauthorized {
		t.Errorf("wrong token: %d", bad.code)
	}
	if got := m.do(http.MethodGet, "/v1/commands/none", nil); got.code != http.StatusNotFound {
		t.Errorf("unknown command id: %d", got.code)
	}
	if got := m.do(http.MethodPost, "/v1/commands?agent_token="+token, map[string]any{}); got.code != http.StatusBadRequest {
		t.Errorf("no name: %d", got.code)
	}
}

func TestOneCommandAtATime(t *testing.T) {
	i := newIronic(t)
	release := make(chan struct{})
	var once sync.Once
	open := func() { once.Do(func() { close(release) }) }
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2097152")
		_, _ = w.Write(make([]byte, 1<<20))
		w.(http.Flusher).Flush()
		<-release
		_, _ = w.Write(make([]byte, 1<<20))
	}))
	defer slow.Close()
	defer open()
	m := start(t, i, nil)
	m.beat(i)
	zero := make([]byte, 2<<20)
	got := m.do(http.MethodPost, "/v1/commands?agent_token="+token, map[string]any{"name": "standby.cache_image",
		"params": map[string]any{"image_info": map[string]any{"id": "z", "urls": []string{slow.URL}, "os_hash_algo": "sha512", "os_hash_value": sha(zero), "disk_format": "raw"}}})
	if got.code != http.StatusOK || got.Status != statusRunning {
		t.Fatalf("an asynchronous command answers at once: %+v", got)
	}
	busy := m.command("standby.sync", nil)
	if busy.code != http.StatusConflict || busy.Type != "AgentIsBusy" || !strings.Contains(busy.Details, "standby.cache_image") {
		t.Errorf("second command: %+v", busy)
	}
	// Half of the image has been sent, so half of the progress must appear.
	for deadline := time.Now().Add(20 * time.Second); ; {
		now := m.do(http.MethodGet, "/v1/commands/"+got.ID, nil)
		if p, _ := now.Result["progress"].(float64); p >= 49 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no progress: %+v", now)
		}
	}
	open()
	end := m.do(http.MethodGet, "/v1/commands/"+got.ID+"?wait=true", nil)
	if end.Status != statusSucceeded {
		t.Errorf("%+v, %+v", end, end.Error)
	}
}

func TestInspection(t *testing.T) {
	i := newIronic(t)
	m := start(t, i, func(o *Options) {
		o.Config.InspectionURL = i.server.URL + "/introspection/v1/continue"
		o.Sources.BootIF = "01-52-54-00-24-00-01"
	})
	m.beat(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	if !strings.Contains(i.lookups[0], "node_uuid="+nodeUUID) {
		t.Errorf("lookup %q does not use what the inspector answered", i.lookups[0])
	}
	var got struct {
		Inventory hardware.Inventory `json:"inventory"`
		RootDisk  hardware.Disk      `json:"root_disk"`
		BootIF    string             `json:"boot_interface"`
		Logs      string             `json:"logs"`
		Error     string             `json:"error"`
	}
	b, err := json.Marshal(i.inspected)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Inventory.CPU.Count != 2 || got.Inventory.Memory.PhysicalMB != 4096 || len(got.Inventory.Disks) != 2 || len(got.Inventory.Interfaces) != 1 {
		t.Errorf("inventory %+v", got.Inventory)
	}
	if got.RootDisk.Name != "/dev/sda" || got.BootIF != "52:54:00:24:00:01" || got.Error != "" {
		t.Errorf("root disk %q, boot interface %q, error %q", got.RootDisk.Name, got.BootIF, got.Error)
	}
	files := untar(t, got.Logs)
	if !strings.Contains(files["agent.log"]+files["proc/cpuinfo"], "Test CPU") || strings.Contains(files["proc/cmdline"], token) {
		t.Errorf("logs: %v", files)
	}
}

// What the switches said is in the inventory and, for the collector lldp, beside it, in ironic-python-agent's form.
func TestInspectionTellsTheSwitch(t *testing.T) {
	i := newIronic(t)
	var asked time.Duration
	m := start(t, i, func(o *Options) {
		o.Config.InspectionURL = i.server.URL + "/introspection/v1/continue"
		o.Config.Collectors, o.Config.CollectLLDP, o.Config.LLDPTimeout = []string{"default", "lldp"}, true, 7*time.Second
		o.ListenLLDP = func(_ context.Context, timeout time.Duration) map[string][]lldp.TLV {
			asked = timeout
			return map[string][]lldp.TLV{"eth0": {{Type: 1, Value: []byte{4, 2, 0, 0, 0, 0, 1}}, {Type: 2, Value: []byte("\x05p1")}}}
		}
	})
	m.beat(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	want := []any{[]any{1.0, "04020000000001"}, []any{2.0, "057031"}}
	if diff := cmp.Diff(map[string]any{"eth0": want}, i.inspected["lldp_raw"]); diff != "" || asked != 7*time.Second {
		t.Errorf("lldp_raw %s, listened for %s", diff, asked)
	}
	inv, _ := i.inspected["inventory"].(map[string]any)
	nics, _ := inv["interfaces"].([]any)
	if len(nics) != 1 {
		t.Fatalf("interfaces %v", inv["interfaces"])
	}
	nic, _ := nics[0].(map[string]any)
	if diff := cmp.Diff(want, nic["lldp"]); diff != "" {
		t.Error(diff)
	}
}

// Nobody listens unless the kernel arguments ask for it.
func TestInspectionDoesNotListenUnasked(t *testing.T) {
	i := newIronic(t)
	m := start(t, i, func(o *Options) {
		o.Config.InspectionURL = i.server.URL + "/introspection/v1/continue"
		o.ListenLLDP = func(context.Context, time.Duration) map[string][]lldp.TLV {
			t.Error("the agent listened")
			return nil
		}
	})
	m.beat(i)
}

func TestInspectionRefused(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error": {"message": "no such node"}}`)
	}))
	defer s.Close()
	m := start(t, newIronic(t), func(o *Options) { o.Config = Config{InspectionURL: s.URL, Collectors: []string{"default"}} })
	if err := <-m.failed; !strings.Contains(err.Error(), "no such node") {
		t.Errorf("error %v", err)
	}
}

func untar(t *testing.T, text string) map[string]string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(data)
	}
}

// TestServiceSteps: a machine that carries an instance offers no step that runs by itself, does those it is told to, and
// refuses those of cleaning.
func TestServiceSteps(t *testing.T) {
	i := newIronic(t)
	m := start(t, i, nil)
	m.beat(i)
	node := map[string]any{"uuid": nodeUUID}
	steps := m.command("service.get_service_steps", map[string]any{"node": node, "ports": []any{}})
	all, _ := steps.Result["service_steps"].(map[string]any)[managerClass].([]any)
	if len(all) == 0 {
		t.Fatalf("no service steps: %+v", steps)
	}
	for _, s := range all {
		if s := s.(map[string]any); s["priority"] != 0.0 {
			t.Errorf("step %v has priority %v", s["step"], s["priority"])
		}
	}
	step := map[string]any{"step": "erase_devices_metadata", "interface": "deploy"}
	got := m.command("service.execute_service_step", map[string]any{"step": step, "node": node, "ports": []any{}})
	if got.Status != statusSucceeded || !cmp.Equal(got.Result["service_step"], any(step)) {
		t.Errorf("%+v, %+v", got, got.Error)
	}
	got = m.command("service.execute_service_step", map[string]any{"step": map[string]any{"step": "erase_devices"}, "node": node, "ports": []any{}})
	if got.Status == statusSucceeded {
		t.Errorf("a step of cleaning was done to a machine in service: %+v", got)
	}
}

func TestCleaning(t *testing.T) {
	i := newIronic(t)
	m := start(t, i, nil)
	m.beat(i)
	steps := m.command("clean.get_clean_steps", map[string]any{"node": map[string]any{"uuid": nodeUUID}, "ports": []any{}})
	var names []string
	for _, s := range steps.Result["clean_steps"].(map[string]any)[managerClass].([]any) {
		names = append(names, s.(map[string]any)["step"].(string))
	}
	if diff := cmp.Diff([]string{"erase_devices", "erase_devices_metadata", "erase_devices_express"}, names); diff != "" {
		t.Error(diff)
	}
	for _, name := range names {
		for _, file := range []string{m.small, m.large} {
			if err := os.WriteFile(file, bytes.Repeat([]byte("data"), diskSize/4), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		step := map[string]any{"step": name, "interface": "deploy"}
		got := m.command("clean.execute_clean_step", map[string]any{"step": step, "node": map[string]any{"uuid": nodeUUID}, "ports": []any{},
			"clean_version": map[string]any{managerName: managerVersion}})
		if got.Status != statusSucceeded || !cmp.Equal(got.Result["clean_step"], any(step)) {
			t.Errorf("%s: %+v, %+v", name, got, got.Error)
		}
		for _, file := range []string{m.small, m.large} {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b[:1<<20], make([]byte, 1<<20)) || !bytes.Equal(b[len(b)-1<<20:], make([]byte, 1<<20)) {
				t.Errorf("%s left metadata on %s", name, filepath.Base(file))
			}
		}
	}
	logs := m.command("log.collect_system_logs", nil)
	if files := untar(t, logs.Result["system_logs"].(string)); !strings.Contains(files["agent.log"], "disk erased") {
		t.Errorf("logs: %v", files)
	}
	if got := m.command("standby.power_off", nil); got.Status != statusSucceeded {
		t.Errorf("power_off: %+v", got)
	}
	if action := <-m.action; action != ActionPowerOff {
		t.Errorf("action %q", action)
	}
}

func TestParseCmdline(t *testing.T) {
	tests := []struct {
		reason, text string
		want         Params
	}{
		{"words and values", "quiet a=1  b=x=y\n", Params{"quiet": "", "a": "1", "b": "x=y"}},
		{"quoted value", `a="one two" b`, Params{"a": "one two", "b": ""}},
		{"quoted argument", `"a=one two" b`, Params{"a": "one two", "b": ""}},
		{"the last one counts", "a=1 a=2", Params{"a": "2"}},
		{"init's own arguments", "a -- b=1", Params{"a": ""}},
		{"nothing", "", Params{}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseCmdline(tt.text)); diff != "" {
			t.Errorf("%s: %s", tt.reason, diff)
		}
	}
}

func TestConfigFrom(t *testing.T) {
	c, err := ConfigFrom(ParseCmdline("ipa-api-url=http://192.168.24.1:8088/baremetal/ BOOTIF=01-52-54-00-24-00-01 ipa-debug ipa-insecure=0"))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{APIURL: "http://192.168.24.1:8088/baremetal", BootMAC: "52:54:00:24:00:01", Debug: true, Collectors: []string{"default", "logs"}, LLDPTimeout: 30 * time.Second}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	for args, want := range map[string]time.Duration{"ipa-collect-lldp=1": 30 * time.Second, "ipa-collect-lldp=1 ipa-lldp-timeout=2.5": 2500 * time.Millisecond,
		"ipa-inspection-collectors=default,lldp ipa-lldp-timeout=0": 0, "ipa-collect-lldp=1 ipa-collect-lldp=0": -1} {
		c, err := ConfigFrom(ParseCmdline("ipa-api-url=http://x " + args))
		if err != nil || c.CollectLLDP != (want >= 0) || want >= 0 && c.LLDPTimeout != want {
			t.Errorf("%s: listens %v for %s, %v", args, c.CollectLLDP, c.LLDPTimeout, err)
		}
	}
	for _, bad := range []string{"quiet", "ipa-api-url=mdns", "ipa-api-url=ftp://x", "ipa-api-url=http://x ipa-lldp-timeout=soon",
		"ipa-api-url=http://x ipa-lldp-timeout=-1", "ipa-api-url=http://x ipa-lldp-timeout=NaN", "ipa-api-url=http://x ipa-lldp-timeout=601"} {
		if _, err := ConfigFrom(ParseCmdline(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	for _, s := range []string{"a=1 b", `a="b c"`, `"`, "--", "\x00", `a="`, "= ="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for k := range ParseCmdline(s) {
			if k == "" || strings.ContainsRune(k, '=') {
				t.Errorf("key %q in %q", k, s)
			}
		}
		_, _ = ConfigFrom(ParseCmdline(s))
	})
}

func TestLogBufferKeepsTheEnd(t *testing.T) {
	b := NewLogBuffer(io.Discard)
	line := strings.Repeat("x", 1023) + "\n"
	for range 3 * maxLog / 1024 {
		if _, err := io.WriteString(b, line); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(b, "end\n"); err != nil {
		t.Fatal(err)
	}
	got := b.Bytes()
	if len(got) > maxLog || len(got) < maxLog/4 || !bytes.HasSuffix(got, []byte("end\n")) || got[0] != 'x' || len(got)%1024 != 4 {
		t.Errorf("%d bytes kept, starting with %q", len(got), got[:10])
	}
}

func TestWithoutSecrets(t *testing.T) {
	in := `{"configdrive":"aaa","node":{"driver_info":{"ipmi_password":"p"},"n":12345678901234567890},"urls":["http://h/x?sig=1"]}`
	want := `{"configdrive":"***","node":{"driver_info":"***","n":12345678901234567890},"urls":["http://h/x?***"]}`
	if got := string(withoutSecrets(json.RawMessage(in))); got != want {
		t.Errorf("%s", got)
	}
}
