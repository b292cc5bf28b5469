package sim

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

// undercloud plays the other side: boot script, inspector, Ironic's agent API,
// an image, a metadata object and signals. What arrives is sent to the test.
type undercloud struct {
	*httptest.Server
	inspected  chan map[string]any
	heartbeats chan map[string]string
	signals    chan string
}

const token = "agent-token"

func newUndercloud(t *testing.T) *undercloud {
	t.Helper()
	u := &undercloud{inspected: make(chan map[string]any, 8), heartbeats: make(chan map[string]string, 64), signals: make(chan string, 8)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /baremetal/boot/{file}", func(w http.ResponseWriter, r *http.Request) {
		if want := "52-54-00-24-00-01.ipxe"; r.PathValue("file") != want {
			t.Errorf("boot script %q, want %q", r.PathValue("file"), want)
		}
		fmt.Fprintf(w, "#!ipxe\nkernel %s/kernel ipa-api-url=%s/baremetal ipa-inspection-callback-url=%s/introspection/v1/continue x\ninitrd %s/initrd\nboot\n", u.URL, u.URL, u.URL, u.URL)
	})
	blob := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.Repeat([]byte("x"), 1<<20)))
	}
	for _, p := range []string{"/kernel", "/initrd", "/image"} {
		mux.HandleFunc("GET "+p, blob)
	}
	mux.HandleFunc("POST /introspection/v1/continue", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		u.inspected <- in
		fmt.Fprint(w, `{"uuid":"n1"}`)
	})
	mux.HandleFunc("GET /baremetal/v1/lookup", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("addresses") != "52:54:00:24:00:01" {
			t.Errorf("lookup by %q", r.URL.RawQuery)
		}
		fmt.Fprintf(w, `{"node":{"uuid":"n1"},"config":{"heartbeat_timeout":300,"agent_token":%q}}`, token)
	})
	mux.HandleFunc("POST /baremetal/v1/heartbeat/n1", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		u.heartbeats <- in
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /metadata", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			<-r.Context().Done() // a long poll that nothing ends
			return
		}
		w.Header().Set("ETag", `"1"`)
		fmt.Fprintf(w, `{"deployments":[{"id":"d1","name":"one","inputs":[{"name":"deploy_signal_id","value":"%s/signal?sig=secret"},{"name":"deploy_signal_verb","value":"PUT"}],"outputs":[{"name":"answer"}]}]}`, u.URL)
	})
	mux.HandleFunc("PUT /signal", func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		u.signals <- string(b)
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.CloseClientConnections)
	t.Cleanup(u.Close)
	return u
}

func start(t *testing.T, u *undercloud, failures float64) (*machine.Machine, string) {
	t.Helper()
	info := bmc.Info{Name: "node-0", UUID: "6b1d2f3a-0001-4c5d-8e9f-52540024b001", CPUs: 4, MemoryMiB: 6144, DiskBytes: 20 << 30, Serial: "SIM1"}
	var hw *Machine
	agents := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hw.ServeHTTP(w, r) }))
	t.Cleanup(agents.Close)
	log := slog.New(slog.DiscardHandler)
	hw = New(Config{
		Info: info, MAC: "52:54:00:24:00:01", NodeURL: u.URL, CallbackURL: agents.URL + "/" + info.UUID, Address: "10.128.0.1",
		Speed: 2000, FailureRate: failures, Seed: 1, Client: u.Client(), Log: log, Now: time.Now,
	})
	m := machine.New(machine.Options{Info: info, Hardware: hw, Console: io.Discard, Log: log, Now: time.Now, Devices: []bmc.BootDevice{bmc.Disk, bmc.PXE, bmc.CDROM}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m, agents.URL + "/" + info.UUID
}

// command posts a command to the agent and waits for its end.
func command(t *testing.T, agent, name string, params any) job {
	t.Helper()
	b, err := json.Marshal(map[string]any{"name": name, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, agent+"/v1/commands?wait=true&agent_token="+token, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var j job
	if err := json.NewDecoder(res.Body).Decode(&j); err != nil {
		t.Fatal(err)
	}
	return j
}

// configDrive makes a config drive as Nova does: iso9660, gzip, base64.
func configDrive(t *testing.T, metadata string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "drive.iso")
	d, err := diskfs.Create(file, 8<<20, diskfs.SectorSizeDefault)
	if err != nil {
		t.Fatal(err)
	}
	d.LogicalBlocksize = 2048
	fsys, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: "config-2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Mkdir("openstack/latest"); err != nil {
		t.Fatal(err)
	}
	user := "Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/x-cfninitdata; charset=\"us-ascii\"\nContent-Disposition: attachment; filename=\"cfn-init-data\"\n\n" +
		fmt.Sprintf(`{"os-collect-config":{"request":{"metadata_url":%q},"collectors":["ec2","request","local"]},"deployments":[]}`, metadata) + "\n--b--\n"
	for name, text := range map[string]string{"meta_data.json": `{"uuid":"i1","hostname":"overcloud-0"}`, "user_data": user} {
		f, err := fsys.OpenFile("openstack/latest/"+name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	iso, ok := fsys.(*iso9660.FileSystem)
	if !ok {
		t.Fatal("no iso9660 file system")
	}
	if err := iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "config-2"}); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(img); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func TestWholeLife(t *testing.T) {
	for _, tt := range []struct {
		name     string
		failures float64
		code     float64
	}{{"success", 0, 0}, {"seeded failure", 1, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUndercloud(t)
			m, agent := start(t, u, tt.failures)
			if err := m.SetBoot(bmc.BootOverride{Device: bmc.PXE}); err != nil {
				t.Fatal(err)
			}
			if err := m.Power(bmc.On); err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal((<-u.inspected)["inventory"])
			if err != nil {
				t.Fatal(err)
			}
			var inv hardware.Inventory
			if err := json.Unmarshal(raw, &inv); err != nil || inv.CPU.Count != 4 || inv.Disks[0].Size != 20<<30 || inv.Interfaces[0].MACAddress != "52:54:00:24:00:01" {
				t.Errorf("inventory: %v, %s", err, raw)
			}
			want := map[string]string{"callback_url": agent, "agent_version": agentVersion, "agent_token": token}
			if diff := cmp.Diff(want, <-u.heartbeats); diff != "" {
				t.Errorf("heartbeat (-want +got):\n%s", diff)
			}
			image := map[string]any{"image_info": map[string]any{"id": "img", "urls": []string{u.URL + "/image"}, "os_hash_algo": "sha256", "os_hash_value": strings.Repeat("ab", 32)}, "configdrive": configDrive(t, u.URL+"/metadata")}
			if j := command(t, agent, "standby.prepare_image", image); j.Status != "SUCCEEDED" {
				t.Fatalf("prepare_image = %+v %v", j, j.Error)
			}
			<-u.heartbeats // at once when a command has ended
			// The next boot is from disk: the one-time override is used up.
			if j := command(t, agent, "standby.run_image", nil); j.Status != "SUCCEEDED" {
				t.Fatalf("run_image = %+v", j)
			}
			var signal map[string]any
			if err := json.Unmarshal([]byte(<-u.signals), &signal); err != nil {
				t.Fatal(err)
			}
			if signal["deploy_status_code"] != tt.code || signal["answer"] != "" {
				t.Errorf("signal = %v, want status code %v and the declared output", signal, tt.code)
			}
			if st := m.Status(); st.Phase != "disk" || st.Detail != "runs overcloud-0" {
				t.Errorf("status = %q %q", st.Phase, st.Detail)
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	u := newUndercloud(t)
	m, agent := start(t, u, 0)
	if err := m.SetBoot(bmc.BootOverride{Device: bmc.PXE}); err != nil {
		t.Fatal(err)
	}
	if err := m.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	<-u.heartbeats
	info := func(url, hash string) any {
		return map[string]any{"image_info": map[string]any{"id": "img", "urls": []string{url}, "os_hash_algo": "sha256", "os_hash_value": hash}}
	}
	good := strings.Repeat("ab", 32)
	tests := []struct {
		name   string
		params any
		want   string
		reason string
	}{
		{"standby.prepare_image", info(u.URL+"/missing", good), "404", "an image that is not there"},
		{"standby.prepare_image", info(u.URL+"/image", "zz"), "", "a checksum that is none"},
		{"clean.execute_clean_step", map[string]any{"step": map[string]any{"step": "polish"}}, "polish", "an unknown step"},
		{"standby.prepare_image", map[string]any{"image_info": map[string]any{"id": "img", "os_hash_algo": "sha256", "os_hash_value": good}}, "no address", "an image without address"},
	}
	for _, tt := range tests {
		j := command(t, agent, tt.name, tt.params)
		if j.Status != "FAILED" || j.Error == nil || !strings.Contains(j.Error.Details, tt.want) {
			t.Errorf("%s: %+v %v, want FAILED with %q", tt.reason, j, j.Error, tt.want)
		}
	}
	res, err := http.Get(agent + "/v1/status?agent_token=wrong")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token got %s", res.Status)
	}
}

func TestNothingInstalled(t *testing.T) {
	u := newUndercloud(t)
	m, _ := start(t, u, 0)
	if err := m.Power(bmc.On); err != nil { // disk first, empty, then the network
		t.Fatal(err)
	}
	<-u.heartbeats
	if st := m.Status(); st.Phase != "ramdisk" {
		t.Errorf("phase %q, want the ramdisk: an empty disk gives way to the network", st.Phase)
	}
}
