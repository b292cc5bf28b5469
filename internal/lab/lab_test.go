package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/container"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/netns"
)

func TestMain(m *testing.M) {
	if code, was := ChildMain(os.Args); was {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// testConfig is a small lab of its own name.
func testConfig(t *testing.T) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root (namespaces, loop devices)")
	}
	b := make([]byte, 3)
	_, _ = rand.Read(b)
	cfg := Config{Name: "labt-" + hex.EncodeToString(b), Dir: filepath.Join(t.TempDir(), "lab"), Nodes: 2, DiskGiB: 1}
	t.Cleanup(func() {
		if err := Down(context.Background(), cfg.Dir, false); err != nil {
			t.Error(err)
		}
		for _, what := range leftovers(t, cfg) {
			t.Errorf("left behind: %s", what)
		}
	})
	return cfg
}

// leftovers lists what is there of a lab.
func leftovers(t *testing.T, cfg Config) []string {
	t.Helper()
	var left []string
	names, err := container.LabNamespaces(cfg.Name)
	if err != nil {
		t.Fatal(err)
	}
	left = append(left, names...)
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + cfg.Name, "/sys/fs/cgroup/" + cfg.Name, cfg.Dir} {
		m, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, m...)
	}
	backs, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backs {
		if f, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(f), cfg.Dir) {
			left = append(left, b)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(cfg.Dir)) {
		left = append(left, "a mount below "+cfg.Dir)
	}
	if lockHolder(cfg.Dir) != 0 {
		left = append(left, "the lab process")
	}
	return left
}

func up(t *testing.T, cfg Config) *Status {
	t.Helper()
	st, err := Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestUpDown(t *testing.T) {
	cfg := testConfig(t)
	st := up(t, cfg)
	if len(st.Machines) != 2 || st.Namespace != cfg.Name || st.PID == os.Getpid() {
		t.Fatalf("status = %+v", st)
	}
	if _, err := Up(t.Context(), cfg); !errors.Is(err, ErrRunning) {
		t.Errorf("a second lab in the folder: %v, want ErrRunning", err)
	}
	elsewhere := cfg
	elsewhere.Dir = t.TempDir()
	if _, err := Up(t.Context(), elsewhere); !errors.Is(err, ErrRunning) {
		t.Errorf("a second lab of the name: %v, want ErrRunning", err)
	}
	if err := sweep(t.Context(), record{Config: elsewhere.WithDefaults()}, true); err != nil {
		t.Fatal(err)
	}
	if names, err := container.LabNamespaces(cfg.Name); err != nil || len(names) != 3 {
		t.Errorf("sweeping another folder took the running lab's namespaces: %v, %v", names, err)
	}
	var env struct{ Nodes []map[string]any }
	b, err := os.ReadFile(st.Instackenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatal(err)
	}
	var types []any
	for _, n := range env.Nodes {
		types = append(types, n["pm_type"], n["capabilities"])
	}
	if diff := cmp.Diff([]any{"ipmi", "profile:control", "redfish", "profile:compute"}, types); diff != "" {
		t.Errorf("instackenv.json (-want +got):\n%s", diff)
	}
	if fi, err := os.Stat(st.Instackenv); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("instackenv.json: %v, mode %v; it holds passwords", err, fi.Mode())
	}
	c := NewClient(cfg.Dir)
	powerOverIPMI(t, cfg, env.Nodes[0])
	powerOverRedfish(t, cfg, env.Nodes[1])
	eventually(t, "both machines look for a boot server", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && st.Machines[0].Phase == "pxe" && st.Machines[1].Phase == "pxe"
	})
	var out bytes.Buffer
	if err := c.Console(t.Context(), "node-0", &out, false); err != nil || !strings.Contains(out.String(), "PXE: 52:54:00:24:00:01") {
		t.Errorf("console: %v\n%s", err, out.String())
	}
	// Both protocols show the same machine.
	if err := c.Power(t.Context(), "node-0", bmc.Off); err != nil {
		t.Fatal(err)
	}
	eventually(t, "node-0 is off", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && !st.Machines[0].PoweredOn
	})
	if err := c.SetFault(t.Context(), "node-0", machine.PowerStuck, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Power(t.Context(), "node-0", bmc.On); err != nil {
		t.Fatal(err)
	}
	st, err = c.Status(t.Context())
	if err != nil || st.Machines[0].PoweredOn {
		t.Errorf("a stuck machine switched on: %v", err)
	}
	if err := Down(t.Context(), cfg.Dir, false); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, cfg); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func powerOverIPMI(t *testing.T, cfg Config, node map[string]any) {
	t.Helper()
	tool, err := exec.LookPath("ipmitool")
	if err != nil {
		t.Log("SKIPPED: ipmitool is not installed")
		if err := NewClient(cfg.Dir).Power(t.Context(), "node-0", bmc.On); err != nil {
			t.Fatal(err)
		}
		return
	}
	err = netns.Do(cfg.Name, func() error {
		cmd := exec.CommandContext(t.Context(), tool, "-I", "lanplus", "-C", "17", "-H", node["pm_addr"].(string), "-p", node["pm_port"].(string), "-U", node["pm_user"].(string), "-E", "power", "on")
		cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+node["pm_password"].(string))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func powerOverRedfish(t *testing.T, cfg Config, node map[string]any) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: netns.Dialer(cfg.Name), DisableKeepAlives: true}}
	url := node["pm_addr"].(string) + node["pm_system_id"].(string) + "/Actions/ComputerSystem.Reset"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"ResetType":"On"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(node["pm_user"].(string), node["pm_password"].(string))
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("reset = %s", res.Status)
	}
}

func TestCrashIsCleanedUp(t *testing.T) {
	cfg := testConfig(t)
	st := up(t, cfg)
	c := NewClient(cfg.Dir)
	if err := c.Power(t.Context(), "node-0", bmc.On); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(st.Instackenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lab is gone", func() bool { return lockHolder(cfg.Dir) == 0 })
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status of a killed lab: %v, want ErrNotRunning", err)
	}
	st = up(t, cfg)
	if st.Machines[0].PoweredOn {
		t.Error("a machine is on although its lab died")
	}
	second, err := os.ReadFile(st.Instackenv)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("the machines are the same as before (-want +got):\n%s", diff)
	}
	if err := unix.Kill(st.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lab is gone", func() bool { return lockHolder(cfg.Dir) == 0 })
	// The test's cleanup runs Down on the dead lab and looks for leftovers.
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{
		{Backend: "esx"}, {Firmware: []string{"coreboot"}}, {Accel: "hvf"}, {NICModel: "ne2k"}, {DiskBus: "mfm"}, {Nodes: 201}, {Nodes: -1}, {Name: "Bad Name"}, {Dir: "relative"}, {Dir: "/"}, {MTU: 100}, {MemoryMiB: 1}, {SimFailures: 2},
	} {
		if err := c.WithDefaults().Validate(); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if _, err := Up(t.Context(), Config{Nodes: -1}); err == nil {
		t.Error("Up takes an invalid configuration")
	}
}

func TestConsoleLogTurnsOver(t *testing.T) {
	c, err := openConsoleLog(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range maxConsole/len(chunk) + 1 {
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(c.path)
	if err != nil || fi.Size() != int64(len(chunk)) {
		t.Errorf("log: %v, %d bytes; want one chunk, the rest moved aside", err, fi.Size())
	}
	if fi, err := os.Stat(c.path + ".1"); err != nil || fi.Size() != maxConsole {
		t.Errorf("old log: %v", err)
	}
	var out bytes.Buffer
	if err := c.copyTo(t.Context(), &out, false, func() {}); err != nil || out.Len() != len(chunk) {
		t.Errorf("copy: %v, %d bytes", err, out.Len())
	}
}

// TestSerialLineFollowsFromNow: who takes the line does not get the machine's past.
func TestSerialLineFollowsFromNow(t *testing.T) {
	c, err := openConsoleLog(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	write := func(text string) {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	write("printed before\n")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	wait := serialLine{log: c}.Follow(ctx, w)
	write("printed after\n")
	buf := make([]byte, len("printed after\n"))
	if _, err := io.ReadFull(r, buf); err != nil || string(buf) != "printed after\n" {
		t.Errorf("%q, %v", buf, err)
	}
	cancel()
	if err := wait(); err != nil {
		t.Error(err)
	}
}

// TestSimulatedLab switches twenty machines on through their BMCs and counts
// who asks for a boot script.
func TestSimulatedLab(t *testing.T) {
	const nodes = 20
	asked := make(chan string, nodes)
	undercloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		_, _ = io.WriteString(w, "#!ipxe\npoweroff\n")
	}))
	t.Cleanup(undercloud.Close)
	cfg := Config{Name: "labt-sim", Dir: filepath.Join(t.TempDir(), "lab"), Backend: Sim, Nodes: nodes, NodeURL: undercloud.URL, SimSpeed: 5000, SimPort: freePorts(t)}
	t.Cleanup(func() {
		if err := Down(context.Background(), cfg.Dir, false); err != nil {
			t.Error(err)
		}
	})
	st := up(t, cfg)
	b, err := os.ReadFile(st.Instackenv)
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ Nodes []map[string]any }
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatal(err)
	}
	for _, n := range env.Nodes {
		url := n["pm_addr"].(string) + n["pm_system_id"].(string) + "/Actions/ComputerSystem.Reset"
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"ResetType":"On"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(n["pm_user"].(string), n["pm_password"].(string))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Fatalf("reset = %s", res.Status)
		}
	}
	seen := map[string]bool{}
	timeout := time.After(30 * time.Second)
	for len(seen) < nodes {
		select {
		case p := <-asked:
			seen[p] = true
		case <-timeout:
			t.Fatalf("%d of %d machines asked for their boot script", len(seen), nodes)
		}
	}
	c := NewClient(cfg.Dir)
	eventually(t, "all machines are off again, as the script said", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && !slices.ContainsFunc(st.Machines, func(m MachineStatus) bool { return m.PoweredOn })
	})
}

// freePorts finds two neighbouring ports.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return port
		}
	}
	t.Fatal("no two free ports")
	return 0
}
