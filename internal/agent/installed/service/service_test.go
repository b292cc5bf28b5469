package service

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// machine is a folder as root, and systemd as far as the hook asks it.
type machine struct {
	*host.Host
	rec     *host.Recorder
	active  map[string]string // unit -> ActiveState
	enabled map[string]string
	fail    map[string]int // command prefix -> exit code
}

func newMachine(t *testing.T) *machine {
	m := &machine{rec: &host.Recorder{}, active: map[string]string{}, enabled: map[string]string{}, fail: map[string]int{}}
	m.rec.Answer = m.answer
	m.Host = host.New(t.TempDir(), m.rec)
	for name, text := range map[string]string{
		"/etc/passwd": fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\nme:x:%d:%d:me:/home/me:/bin/sh\n", os.Getuid(), os.Getgid()),
		"/etc/group":  fmt.Sprintf("root:x:0:\nmine:x:%d:\n", os.Getgid()),
	} {
		if _, err := m.Put(host.FileSpec{Path: name, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *machine) answer(c host.Command) (host.Result, error) {
	for prefix, code := range m.fail {
		if strings.HasPrefix(c.String(), prefix) {
			return host.Result{Code: code, Stdout: []byte("some output\n"), Stderr: []byte("it said topsecretpw\n")}, nil
		}
	}
	if c.Args[0] == "journalctl" {
		return host.Result{Stdout: []byte("line of " + c.Args[len(c.Args)-1] + "\n")}, nil
	}
	if c.Args[0] == "dpkg-query" {
		var out strings.Builder
		for _, p := range c.Args[3:] {
			if p != "absent" {
				fmt.Fprintf(&out, "%s installed 1.0\n", p)
			}
		}
		return host.Result{Stdout: []byte(out.String())}, nil
	}
	if c.Args[0] != "systemctl" {
		return host.Result{}, nil
	}
	unit := c.Args[len(c.Args)-1]
	switch c.Args[1] {
	case "show":
		state, file := m.active[unit], m.enabled[unit]
		if state == "" {
			state = "inactive"
		}
		if file == "" {
			file = "disabled"
		}
		return host.Result{Stdout: fmt.Appendf(nil, "LoadState=loaded\nActiveState=%s\nUnitFileState=%s\nResult=success\n", state, file)}, nil
	case "start", "restart", "reload":
		m.active[unit] = "active"
	case "stop":
		m.active[unit] = "inactive"
	case "enable":
		m.enabled[unit] = "enabled"
	}
	return host.Result{}, nil
}

// verbs are what the run did to units and with commands, without questions.
func (m *machine) verbs() []string {
	var out []string
	for _, c := range m.rec.Take() {
		if !strings.HasPrefix(c, "systemctl show") && !strings.HasPrefix(c, "dpkg-query") && !strings.HasPrefix(c, "journalctl") {
			out = append(out, strings.Replace(c, " --", "", 1))
		}
	}
	return out
}

func runHook(t *testing.T, m *machine, cfg Config, config string, inputs ...string) hooks.Result {
	t.Helper()
	cfg.Host, cfg.StateDir = m.Host, "/var/lib/tripleo-agent"
	cfg.Sleep = func(context.Context, time.Duration) error { return nil }
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := hooks.Deployment{ID: "1", Name: "Step", Group: "service", Config: json.RawMessage(config)}
	for i := 0; i+1 < len(inputs); i += 2 {
		v, _ := json.Marshal(inputs[i+1])
		d.Inputs = append(d.Inputs, hooks.Input{Name: inputs[i], Value: v})
	}
	var log bytes.Buffer
	res, err := h.Run(t.Context(), d, &log)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

const web = `{"step": 3, "services": [{"name": "web", "packages": ["web"],
  "files": [
    {"path": "/etc/web.conf", "ini": {"DEFAULT": {"x": %q}}, "owner": "me", "group": "mine", "mode": "0640"},
    {"path": "/etc/web.reload", "content": %q},
    {"path": "/etc/systemd/system/web.service.d/a.conf", "content": "[Service]"}],
  "commands": [{"name": "init", "command": ["web-init", "now"], "env": {"PW": "topsecretpw"}},
               {"name": "late", "command": "web-late | cat", "when": "after_units"}],
  "units": [{"name": "web.service", "reload_on": ["/etc/web.reload"]}]},
 {"name": "other", "files": [{"path": "/etc/other", "content": "o"}], "units": [{"name": "other.service"}]}]}`

func TestOnlyWhatChangedIsTouched(t *testing.T) {
	m := newMachine(t)
	steps := []struct {
		reason string
		config string
		before func()
		want   []string
	}{
		{"a new node: everything, in the schema's order", fmt.Sprintf(web, "1", "a"), nil, []string{
			"web-init now", "systemctl daemon-reload", "systemctl enable web.service", "systemctl start web.service", "/bin/sh -c web-late | cat",
			"systemctl enable other.service", "systemctl start other.service"}},
		{"the same again: nothing", fmt.Sprintf(web, "1", "a"), nil, nil},
		{"another option: that unit is restarted, the other is left", fmt.Sprintf(web, "2", "a"), nil, []string{"systemctl restart web.service"}},
		{"a file that needs a reload only", fmt.Sprintf(web, "2", "b"), nil, []string{"systemctl reload web.service"}},
		{"a unit that died is started", fmt.Sprintf(web, "2", "b"), func() { m.active["other.service"] = "inactive" }, []string{"systemctl start other.service"}},
		{"a start limit is cleared", fmt.Sprintf(web, "2", "b"), func() { m.active["other.service"] = "failed" },
			[]string{"systemctl reset-failed other.service", "systemctl start other.service"}},
		{"a file edited on the node is put back and its unit restarted", fmt.Sprintf(web, "2", "b"), func() {
			if err := os.WriteFile(m.Path("/etc/other"), []byte("edited"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"systemctl restart other.service"}},
		{"another command line is another command", strings.Replace(fmt.Sprintf(web, "2", "b"), `"now"`, `"then"`, 1), nil, []string{"web-init then"}},
	}
	for _, tt := range steps {
		if tt.before != nil {
			tt.before()
		}
		res := runHook(t, m, Config{}, tt.config)
		if res.Code != 0 {
			t.Fatalf("%s: code %d: %s", tt.reason, res.Code, res.Stderr)
		}
		if diff := cmp.Diff(tt.want, m.verbs()); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.reason, diff)
		}
	}
	info, err := os.Stat(m.Path("/etc/web.conf"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode: %v %v", info, err)
	}
}

func TestUnitIsRestartedAfterACrashBetweenWriteAndRestart(t *testing.T) {
	m := newMachine(t)
	runHook(t, m, Config{}, fmt.Sprintf(web, "1", "a"))
	m.verbs()
	m.fail["systemctl restart"] = 1 // stands for a machine that dies right after the file was written
	if res := runHook(t, m, Config{}, fmt.Sprintf(web, "2", "a")); res.Code != 1 {
		t.Fatalf("code %d", res.Code)
	}
	delete(m.fail, "systemctl restart")
	m.verbs()
	runHook(t, m, Config{}, fmt.Sprintf(web, "2", "a")) // the file is already right
	if diff := cmp.Diff([]string{"systemctl restart web.service"}, m.verbs()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestFailureNamesWhatMatters(t *testing.T) {
	m := newMachine(t)
	m.fail["web-init"] = 7
	res := runHook(t, m, Config{}, fmt.Sprintf(web, "1", "a"))
	if res.Code != 7 {
		t.Errorf("code %d, want the command's 7", res.Code)
	}
	for _, want := range []string{"service web, command init: exit code 7", "command: web-init now", "some output", "line of web.service"} {
		if !strings.Contains(res.Stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, res.Stderr)
		}
	}
	if strings.Contains(res.Stderr+res.Stdout, "topsecretpw") {
		t.Errorf("a secret is in the report:\n%s%s", res.Stdout, res.Stderr)
	}
	if !strings.Contains(res.Stderr, "it said ***") {
		t.Errorf("the masked line is missing:\n%s", res.Stderr)
	}
	if got := m.verbs(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "systemctl start") }) {
		t.Errorf("units were started after a failed command: %q", got)
	}
	// A repaired run does what is left, and the command once.
	delete(m.fail, "web-init")
	if res := runHook(t, m, Config{}, fmt.Sprintf(web, "1", "a")); res.Code != 0 {
		t.Errorf("repaired: %s", res.Stderr)
	}
}

func TestBootstrap(t *testing.T) {
	const config = `{"step": 3, "services": [
	  {"name": "a", "commands": [{"name": "sync", "command": ["sync"], "bootstrap_only": true}, {"name": "each", "command": ["each"]}]},
	  {"name": "b", "bootstrap_only": true, "commands": [{"name": "first", "command": ["first"]}]}]}`
	for _, tt := range []struct {
		reason string
		inputs []string
		want   []string
	}{
		{"the first node of the role", []string{"bootstrap_server_id", "s0", "deploy_server_id", "s0"}, []string{"sync", "each", "first"}},
		{"another node", []string{"bootstrap_server_id", "s0", "deploy_server_id", "s1"}, []string{"each"}},
		{"nobody said who is first", []string{"deploy_server_id", "s1"}, []string{"sync", "each", "first"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			m := newMachine(t)
			runHook(t, m, Config{}, config, tt.inputs...)
			if diff := cmp.Diff(tt.want, m.verbs()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestReferences(t *testing.T) {
	m := newMachine(t)
	facts := `{"node": {"hostname": "c-0", "index": 2, "ip": {"internal_api": "172.16.2.5"}}}`
	if _, err := m.Put(host.FileSpec{Path: FactsDir + "/node.json", Data: []byte(facts)}); err != nil {
		t.Fatal(err)
	}
	res := runHook(t, m, Config{}, `{"services": [{"name": "x", "files": [{"path": "/x", "content": "${node.hostname} ${node.index} ${node.ip.internal_api} ${input.step} $${node.hostname} ${HOME}"}]}]}`, "step", "4")
	got, _ := m.ReadFile("/x")
	if res.Code != 0 || string(got) != "c-0 2 172.16.2.5 4 ${node.hostname} ${HOME}\n" {
		t.Errorf("code %d, %q, %s", res.Code, got, res.Stderr)
	}
	res = runHook(t, m, Config{}, `{"services": [{"name": "x", "files": [{"path": "/x", "content": "${node.ip.tenant}"}]}]}`)
	if want := "config.services[0].files[0].content: nothing is known on this node for ${node.ip.tenant}"; res.Code != 1 || !strings.Contains(res.Stderr, want) {
		t.Errorf("code %d, %q, want %q", res.Code, res.Stderr, want)
	}
}

func TestBadSpecs(t *testing.T) {
	for _, tt := range []struct{ reason, config, want string }{
		{"a misspelt key must not be without effect", `{"services": [{"name": "x", "pakages": []}]}`, `service x (entry 0): json: unknown field "pakages"`},
		{"an octal number would be read as decimal", `{"services": [{"name": "x", "files": [{"path": "/a", "content": "", "mode": 640}]}]}`, "mode has to be octal text in quotes"},
		{"two contents", `{"services": [{"name": "x", "files": [{"path": "/a", "content": "", "ini": {}}]}]}`, "exactly one of content, ini, json, copy"},
		{"a relative path", `{"services": [{"name": "x", "files": [{"path": "a", "content": ""}]}]}`, "absolute path"},
		{"a circle", `{"services": [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}]}`, "services wait for each other: a after b after a"},
		{"twice", `{"services": [{"name": "a"}, {"name": "a"}]}`, "service a is there twice"},
		{"an unknown check", `{"services": [{"name": "a", "checks": [{"type": "icmp"}]}]}`, "type is http, tcp, unit, mysql or command"},
		{"a unit name that is an option", `{"services": [{"name": "a", "units": [{"name": "--now"}]}]}`, "no unit name"},
		{"no map", `[]`, "has to be a map"},
		{"a package that is not there and may not be installed", `{"services": [{"name": "a", "packages": ["absent"]}]}`, "service a, packages absent: not in the image"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			res := runHook(t, newMachine(t), Config{}, tt.config)
			if res.Code != 1 || !strings.Contains(res.Stderr, tt.want) {
				t.Errorf("code %d, stderr %q, want %q", res.Code, res.Stderr, tt.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	names := func(list []Service) string {
		var out []string
		for _, s := range list {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		reason string
		in     []Service
		want   string
	}{
		{"the role's order stays", []Service{{Name: "c"}, {Name: "a"}, {Name: "b"}}, "c a b"},
		{"after moves only what it has to", []Service{{Name: "a", After: []string{"c"}}, {Name: "b"}, {Name: "c"}}, "c a b"},
		{"a service of another step is no hindrance", []Service{{Name: "a", After: []string{"x"}}, {Name: "b"}}, "a b"},
		{"a chain", []Service{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"c"}}, {Name: "c"}}, "c b a"},
	} {
		got, err := order(tt.in)
		if err != nil || names(got) != tt.want {
			t.Errorf("%s: %q %v, want %q", tt.reason, names(got), err, tt.want)
		}
	}
}

func TestPurgeRemovesOldKeys(t *testing.T) {
	m := newMachine(t)
	const config = `{"services": [{"name": "k", "file_sets": [{"files": {%s}, "purge": "/keys"}]}]}`
	runHook(t, m, Config{}, fmt.Sprintf(config, `"/keys/0": {"content": "zero"}, "/keys/1": {"content": "one"}`))
	runHook(t, m, Config{}, fmt.Sprintf(config, `"/keys/0": {"content": "new"}, "/keys/2": {"content": "two"}`))
	entries, err := filepath.Glob(m.Path("/keys/*"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		data, _ := os.ReadFile(e)
		got = append(got, filepath.Base(e)+"="+string(data))
	}
	if diff := cmp.Diff([]string{"0=new", "2=two"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	// A plan that lost its keys must not lose the cloud's.
	runHook(t, m, Config{}, fmt.Sprintf(config, ``))
	if entries, _ := filepath.Glob(m.Path("/keys/*")); len(entries) != 2 {
		t.Errorf("an empty set removed keys: %q", entries)
	}
}

// TestCopies gives a service its own copy of a key; a new key is copied anew, and the unit that reads it is reloaded.
func TestCopies(t *testing.T) {
	m := newMachine(t)
	const config = `{"services": [{"name": "db", "files": [{"path": "/etc/db/key", "copy": "/etc/pki/node.key", "owner": "me", "group": "mine", "mode": "0600"}],
		"units": [{"name": "db.service", "restart_on": [], "reload_on": ["/etc/db/key"]}]}]}`
	if res := runHook(t, m, Config{}, config); res.Code != 1 || !strings.Contains(res.Stderr, "service db, file /etc/db/key") {
		t.Errorf("without a file to copy: %d %s", res.Code, res.Stderr)
	}
	for _, key := range []string{"alpha", "beta"} {
		if _, err := m.Put(host.FileSpec{Path: "/etc/pki/node.key", Data: []byte(key), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		res := runHook(t, m, Config{}, config)
		if res.Code != 0 || strings.Contains(res.Stdout, key) {
			t.Fatalf("code %d: %s%s", res.Code, res.Stdout, res.Stderr)
		}
		data, err := m.ReadFile("/etc/db/key")
		if err != nil || string(data) != key {
			t.Errorf("the copy has %q, %v, want %q", data, err, key)
		}
		fi, err := os.Stat(m.Path("/etc/db/key"))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		if want := map[string]string{"alpha": "started", "beta": "reloaded"}[key]; !strings.Contains(res.Stdout, want) {
			t.Errorf("the unit was not %s: %s", want, res.Stdout)
		}
	}
	for _, bad := range []string{`"copy": "relative"`, `"copy": "/a", "content": "b"`} {
		res := runHook(t, m, Config{}, `{"services": [{"name": "x", "files": [{"path": "/x", `+bad+`}]}]}`)
		if res.Code != 1 || !strings.Contains(res.Stderr, "exactly one of") {
			t.Errorf("%s: %d %s", bad, res.Code, res.Stderr)
		}
	}
}

// TestTrustIsReadAgain asks a server whose authority the node does not know, and comes to know while the agent runs.
func TestTrustIsReadAgain(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	m := newMachine(t)
	h, err := New(Config{Host: m.Host, StateDir: "/var/lib/tripleo-agent"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		resp, err := h.cfg.HTTP.Get(s.URL)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := ask(); err == nil {
		t.Fatal("an authority that nobody knows is trusted")
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if _, err := m.Put(host.FileSpec{Path: trustFile, Data: cert}); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
}

func TestChecksWait(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"version": "v3"}`))
	}))
	defer s.Close()
	m := newMachine(t)
	res := runHook(t, m, Config{HTTP: s.Client()}, fmt.Sprintf(`{"services": [{"name": "x", "checks": [{"type": "http", "url": %q, "contains": "v3"}]}]}`, s.URL))
	if res.Code != 0 || n != 3 {
		t.Errorf("code %d after %d tries: %s", res.Code, n, res.Stderr)
	}
	now := time.Unix(0, 0)
	m.Now = func() time.Time { now = now.Add(time.Second); return now }
	res = runHook(t, m, Config{HTTP: s.Client()}, fmt.Sprintf(`{"services": [{"name": "x", "checks": [{"type": "http", "url": %q, "status": [204], "timeout": "5"}]}]}`, s.URL))
	if want := "service x, check http " + s.URL + ": not so within 5s: "; res.Code != 1 || !strings.Contains(res.Stderr, want) {
		t.Errorf("code %d: %s", res.Code, res.Stderr)
	}
}

// A command may find that there is nothing to do, and a check may need a password that no log shows.
func TestCommandsSayWhetherTheyChangedAnything(t *testing.T) {
	m := newMachine(t)
	const config = `{"services": [{"name": "x", "commands": [{"name": "discover", "command": ["discover"], "always": true, "unchanged_codes": [1]}],
	  "checks": [{"type": "command", "command": "ask it", "env": {"OS_PASSWORD": "topsecretpw"}}]}]}`
	var asked []string
	m.rec.Answer = func(c host.Command) (host.Result, error) {
		if c.Args[0] == "/bin/sh" {
			asked = c.Env
		}
		return m.answer(c)
	}
	for _, tt := range []struct {
		reason    string
		code      int
		want, log string
	}{
		{"there was something", 0, "1 services, 1 changes", `"target":"discover","changed":true`},
		{"there was nothing", 1, "1 services, 0 changes", ""},
	} {
		m.fail = map[string]int{"discover": tt.code}
		res := runHook(t, m, Config{}, config)
		if res.Code != 0 || !strings.Contains(res.Stdout, tt.want) || !strings.Contains(res.Stdout, tt.log) {
			t.Errorf("%s: code %d\n%s%s", tt.reason, res.Code, res.Stdout, res.Stderr)
		}
	}
	if diff := cmp.Diff([]string{"OS_PASSWORD=topsecretpw"}, asked); diff != "" {
		t.Errorf("environment of the check: %s", diff)
	}
	m.fail = map[string]int{"discover": 2}
	if res := runHook(t, m, Config{}, config); res.Code != 2 {
		t.Errorf("another code is a failure, got %d: %s", res.Code, res.Stderr)
	}
}

func TestEachNode(t *testing.T) {
	var facts map[string]any
	if err := json.Unmarshal([]byte(`{"node": {"hostname": "b", "extra": {"port": 5672}, "nodes": [
	  {"name": "a", "fqdn": "a.x", "ip": {"ctlplane": "10.0.0.1", "internal_api": "172.16.0.1"}, "services": ["mysql", "rabbitmq"]},
	  {"name": "c", "fqdn": "c.x", "ip": {"ctlplane": "10.0.0.3"}, "services": ["mysql"]},
	  {"name": "b", "fqdn": "b.x", "ip": {"ctlplane": "10.0.0.2", "internal_api": "172.16.0.2"}, "services": ["mysql", "rabbitmq"]}]}}`), &facts); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ reason, spec, want, err string }{
		{"a list with what goes around it, references in it", `{"service": "rabbitmq", "network": "internal_api", "template": "u:p@%ip%:${node.extra.port}", "join": ",", "prefix": "rabbit://", "suffix": "/"}`,
			"rabbit://u:p@172.16.0.1:5672,u:p@172.16.0.2:5672/", ""},
		{"the first one is another, numbers count all", `{"service": "mysql", "template": "%index% %name% backup", "first": "%number% %fqdn%", "join": "; "}`, "1 a.x; 1 c backup; 2 b backup", ""},
		{"the others only", `{"service": "rabbitmq", "template": "%ip%", "others": true, "join": " "}`, "10.0.0.1", ""},
		{"a service that no node has", `{"service": "nobody", "template": "%ip%"}`, "", "no node of the facts has service \"nobody\""},
		{"a service that need not be there", `{"service": "nobody", "template": "%ip%", "prefix": "p", "optional": true}`, "", ""},
		{"a node without an address there", `{"service": "mysql", "network": "internal_api", "template": "%ip%"}`, "", "node c has no address on network \"internal_api\""},
		{"a misspelt key", `{"service": "mysql", "tmplate": "%ip%"}`, "", "unknown field"},
	} {
		var spec any
		if err := json.Unmarshal([]byte(tt.spec), &spec); err != nil {
			t.Fatal(err)
		}
		got, err := expand(map[string]any{"x": map[string]any{"each_node": spec}}, facts, "config", 0)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), "config.x.each_node: ") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.reason, err)
			}
			continue
		}
		if diff := cmp.Diff(any(map[string]any{"x": tt.want}), got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", tt.reason, err, diff)
		}
	}
}

// away is a database server that is not there.
type away struct{}

func (away) Open(MySQL) (*sql.DB, error) { return nil, errors.New("no server here") }

func TestDatabaseFailureIsReported(t *testing.T) {
	m := newMachine(t)
	res := runHook(t, m, Config{SQL: away{}}, `{"services": [{"name": "k", "mysql": {"databases": [{"name": "k"}]}}]}`)
	if want := "service k, mysql /run/mysqld/mysqld.sock: no server here"; res.Code != 1 || !strings.Contains(res.Stderr, want) {
		t.Errorf("code %d: %s", res.Code, res.Stderr)
	}
}

func TestNativeHash(t *testing.T) {
	// SELECT PASSWORD('mypass') of the MariaDB manual.
	if got, want := nativeHash("mypass"), "*6C8989366EAF75BB670AD8EA7A7FC1176A95CEF4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRabbitPasswordsAreNotArguments(t *testing.T) {
	m := newMachine(t)
	var stdin []string
	answer := m.rec.Answer
	m.rec.Answer = func(c host.Command) (host.Result, error) {
		switch {
		case slices.Contains(c.Args, "list_users"):
			return host.Result{Stdout: []byte(`[{"user":"guest","tags":["administrator"]}]`)}, nil
		case slices.Contains(c.Args, "list_vhosts"):
			return host.Result{Stdout: []byte(`[{"name":"/"}]`)}, nil
		case slices.Contains(c.Args, "list_permissions"):
			return host.Result{Stdout: []byte(`[]`)}, nil
		case slices.Contains(c.Args, "add_user"):
			stdin = append(stdin, string(c.Stdin))
		}
		return answer(c)
	}
	res := runHook(t, m, Config{}, `{"services": [{"name": "q", "rabbitmq": {"users": [{"name": "nova", "password": "hiddenpass"}], "absent_users": ["guest"]}}]}`)
	if res.Code != 0 {
		t.Fatal(res.Stderr)
	}
	want := []string{"rabbitmqctl --quiet await_startup --timeout 60", "rabbitmqctl --quiet list_vhosts --formatter json", "rabbitmqctl --quiet list_users --formatter json",
		"rabbitmqctl --quiet add_user -- nova", "rabbitmqctl --quiet list_permissions --vhost / --formatter json",
		"rabbitmqctl --quiet set_permissions --vhost / -- nova .* .* .*", "rabbitmqctl --quiet delete_user -- guest"}
	if diff := cmp.Diff(want, m.rec.Take()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"hiddenpass\n"}, stdin); diff != "" {
		t.Errorf("stdin: %s", diff)
	}
}
