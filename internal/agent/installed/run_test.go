package installed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// cloud is what a node sees of the undercloud: its metadata object with long poll, and signal objects.
type cloud struct {
	mu       sync.Mutex
	etag     int
	body     string
	changed  chan struct{}
	signals  map[string][]string
	refuse   int // so many signals are answered with 503
	refusals int
}

func newCloud(t *testing.T) (*cloud, *httptest.Server) {
	c := &cloud{changed: make(chan struct{}), signals: map[string][]string{}, body: `{}`}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return c, s
}

func (c *cloud) set(body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body, c.etag = body, c.etag+1
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cloud) signal(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.signals[name]
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		data, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refusals < c.refuse {
			c.refusals++
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		c.signals[r.URL.Path] = append(c.signals[r.URL.Path], string(data))
		w.WriteHeader(http.StatusCreated)
		return
	}
	for {
		c.mu.Lock()
		etag, body, changed := fmt.Sprintf("%q", fmt.Sprint(c.etag)), c.body, c.changed
		c.mu.Unlock()
		if r.Header.Get("If-None-Match") != etag {
			w.Header().Set("ETag", etag)
			_, _ = io.WriteString(w, body)
			return
		}
		if r.Header.Get("X-Long-Poll") == "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func deployment(server, id, group, config string, outputs ...string) map[string]any {
	in := func(name, value string) map[string]any {
		return map[string]any{"name": name, "type": "String", "value": value}
	}
	var outs []map[string]any
	for _, o := range outputs {
		outs = append(outs, map[string]any{"name": o, "type": "String"})
	}
	return map[string]any{
		"id": id, "name": "name-" + id, "group": group, "config": config, "outputs": outs, "options": map[string]any{},
		"inputs": []any{in("who", "you"), in("deploy_signal_id", server+"/signal/"+id), in("deploy_signal_verb", "PUT"),
			in("deploy_signal_transport", "TEMP_URL_SIGNAL")},
	}
}

func metadata(t *testing.T, deployments ...map[string]any) string {
	data, err := json.Marshal(map[string]any{"deployments": deployments})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func newNode(t *testing.T, server string) Options {
	root := t.TempDir()
	drive := t.TempDir()
	latest := filepath.Join(drive, "openstack/latest")
	if err := os.MkdirAll(latest, 0o755); err != nil {
		t.Fatal(err)
	}
	userData := "Content-Type: multipart/mixed; boundary=\"==x==\"\nMIME-Version: 1.0\n\n--==x==\nContent-Type: text/cloud-config\n\n#cloud-config\n" +
		"--==x==\nContent-Type: text/x-cfninitdata; charset=\"us-ascii\"\nContent-Transfer-Encoding: 7bit\nContent-Disposition: attachment; filename=\"cfn-init-data\"\n\n" +
		`{"os-collect-config": {"request": {"metadata_url": "` + server + `/metadata"}, "collectors": ["ec2", "request", "local"]}, "deployments": []}` + "\n--==x==--\n"
	for name, text := range map[string]string{"meta_data.json": `{"uuid": "u-1", "hostname": "over-controller-0.localdomain"}`, "user_data": userData} {
		if err := os.WriteFile(filepath.Join(latest, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Host: host.NewReal(root), ConfigDrive: drive}
}

// start runs the agent until the test is over or stop is called.
func start(t *testing.T, opt Options) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opt) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestAgentFollowsItsMetadata(t *testing.T) {
	c, s := newCloud(t)
	c.set(metadata(t,
		deployment(s.URL, "a", "script", "#!/bin/sh\necho hello $who\nprintf done > $heat_outputs_path.result\n", "result"),
		deployment(s.URL, "b", "script", "#!/bin/sh\necho first; echo cause >&2; exit 3\n"),
		deployment(s.URL, "c", "apply-config", `{"hosts": ["192.168.24.7 over-controller-0 over-controller-0.localdomain"]}`),
		deployment(s.URL, "d", "salt", "x"),
	))
	opt := newNode(t, s.URL)
	start(t, opt)
	want := map[string]map[string]any{
		"a": {"deploy_stdout": "hello you\n", "deploy_stderr": "", "deploy_status_code": 0.0, "result": "done"},
		"b": {"deploy_stdout": "first\n", "deploy_stderr": "cause\n", "deploy_status_code": 3.0},
		"c": {"deploy_stdout": "/etc/hosts has 1 known hosts\n", "deploy_stderr": "", "deploy_status_code": 0.0},
		"d": {"deploy_stdout": "", "deploy_stderr": "deployment name-d: this node has no hook for config group \"salt\"\n", "deploy_status_code": 1.0},
	}
	for id, w := range want {
		eventually(t, "signal of "+id, func() bool { return len(c.signal("/signal/"+id)) > 0 })
		var got map[string]any
		if err := json.Unmarshal([]byte(c.signal("/signal/" + id)[0]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("signal of %s: -want +got\n%s", id, diff)
		}
	}
	if got, _ := opt.Host.ReadFile("/etc/hostname"); string(got) != "over-controller-0\n" {
		t.Errorf("host name %q", got)
	}
	if got, _ := opt.Host.ReadFile("/etc/hosts"); !strings.Contains(string(got), "192.168.24.7 over-controller-0 over-controller-0.localdomain\n") || strings.Contains(string(got), "127.0.1.1") {
		t.Errorf("/etc/hosts:\n%s", got)
	}
	// A change is pushed, and what is done is not done again.
	c.set(metadata(t, deployment(s.URL, "a", "script", "exit 9"), deployment(s.URL, "e", "script", "echo new")))
	eventually(t, "signal of e", func() bool { return len(c.signal("/signal/e")) > 0 })
	if n := len(c.signal("/signal/a")); n != 1 {
		t.Errorf("deployment a was signaled %d times", n)
	}
	info, err := os.Stat(opt.Host.Path("/var/lib/tripleo-agent/deployments/a.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v %v", info, err)
	}
}

func TestAgentGoesOnAfterAKill(t *testing.T) {
	c, s := newCloud(t)
	opt := newNode(t, s.URL)
	mark := opt.Host.Path("/started")
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s ]; then echo again; exit 0; fi\ntouch %[1]s\nexec sleep 600\n", mark)
	c.set(metadata(t, deployment(s.URL, "slow", "script", script)))
	stop := start(t, opt)
	eventually(t, "the script is running", func() bool { return opt.Host.Exists("/started") })
	stop()
	if got := c.signal("/signal/slow"); got != nil {
		t.Fatalf("a hook that was cut off was signaled: %s", got)
	}
	c.refuse = 2 // and the server is not quite there yet
	start(t, opt)
	eventually(t, "signal after the restart", func() bool { return len(c.signal("/signal/slow")) > 0 })
	if got := c.signal("/signal/slow")[0]; !strings.Contains(got, `"deploy_stdout":"again\n"`) {
		t.Errorf("signal %s", got)
	}
	if c.refusals != 2 {
		t.Errorf("%d refused signals, want 2", c.refusals)
	}
}

func TestResultIsSentAfterARestart(t *testing.T) {
	c, s := newCloud(t)
	opt := newNode(t, s.URL)
	c.refuse = 1 << 30
	c.set(metadata(t, deployment(s.URL, "x", "script", "echo once >> "+opt.Host.Path("/count"))))
	stop := start(t, opt)
	eventually(t, "a refused signal", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.refusals > 0 })
	stop()
	c.mu.Lock()
	c.refuse = 0
	c.mu.Unlock()
	start(t, opt)
	eventually(t, "the signal", func() bool { return len(c.signal("/signal/x")) > 0 })
	if got, _ := opt.Host.ReadFile("/count"); string(got) != "once\n" {
		t.Errorf("the script ran %d times, want once", strings.Count(string(got), "once"))
	}
}

// TestTemplates: templates are rendered over the metadata and the configs of deployments of group os-apply-config before
// the scripts of phase configure run, which see both as files.
func TestTemplates(t *testing.T) {
	c, s := newCloud(t)
	opt := newNode(t, s.URL)
	for name, text := range map[string]string{
		"usr/libexec/os-apply-config/templates/etc/x.conf":     "{{db.host}} {{level}}\n",
		"usr/libexec/os-apply-config/templates/etc/x.conf.oac": "mode: 0600\n",
		"usr/libexec/os-refresh-config/configure.d/10-look":    "#!/bin/sh\ncat " + opt.Host.Path("etc/x.conf") + " >" + opt.Host.Path("seen") + "\ncat $(echo $OS_CONFIG_FILES | tr : ' ') >" + opt.Host.Path("files") + "\n",
	} {
		p := opt.Host.Path(name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	config := deployment(s.URL, "a", "os-apply-config", "")
	config["config"] = map[string]any{"db": map[string]any{"host": "10.0.0.1"}}
	data, err := json.Marshal(map[string]any{"level": 7, "db": map[string]any{"host": "old"}, "deployments": []any{config}})
	if err != nil {
		t.Fatal(err)
	}
	c.set(string(data))
	opt.Once = true
	if err := Run(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"seen": "10.0.0.1 7\n", "files": `"host":"10.0.0.1"`} {
		if got, err := os.ReadFile(opt.Host.Path(name)); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %q %v, expected %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(opt.Host.Path("etc/x.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v %v", info, err)
	}
}

// TestUnit: a machine that joins has the unit of the machines from our images.
func TestUnit(t *testing.T) {
	want, err := os.ReadFile("../../imagebuild/overlay/usr/lib/systemd/system/tripleo-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(unit)); diff != "" {
		t.Errorf("-image +join\n%s", diff)
	}
}
