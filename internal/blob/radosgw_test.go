package blob_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/blob"
)

// cephConf is a cluster of one monitor and one OSD that keeps everything in
// memory, for nobody but this machine.
const cephConf = `[global]
fsid = %[2]s
mon initial members = a
mon host = %[3]s
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = %[1]s/keyring
run dir = %[1]s
crash dir = %[1]s
admin socket = %[1]s/$name.$pid.asok
log file = /dev/null
mon cluster log file = /dev/null
mon data = %[1]s/mon
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 1000
osd data = %[1]s/osd
osd objectstore = memstore
osd crush chooseleaf type = 0
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
`

// ceph is the cluster.
type ceph struct {
	t         *testing.T
	dir, conf string
}

func (c *ceph) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, append([]string{"-c", c.conf}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (c *ceph) run(name string, args ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if out, err := c.command(ctx, name, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (c *ceph) serve(name string, args ...string) {
	c.t.Helper()
	cmd := c.command(context.Background(), name, append(args, "-f")...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// freePort is one that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// startRadosGW runs Ceph's S3 server, which nobody here wrote, until the end of
// the test.
func startRadosGW(t *testing.T) blob.S3Config {
	t.Helper()
	for _, p := range []string{"ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph-authtool", "ceph"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIPPED, NOT TESTED ON CEPH'S RGW: %s is not installed (apt-get install radosgw ceph-mon ceph-osd)", p)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "rgw") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &ceph{t: t, dir: dir, conf: filepath.Join(dir, "ceph.conf")}
	if err := os.Mkdir(filepath.Join(dir, "osd"), 0o700); err != nil {
		t.Fatal(err)
	}
	fsid, gateway := uuid.NewString(), freePort(t)
	mon := fmt.Sprintf("[v2:127.0.0.1:%d/0,v1:127.0.0.1:%d/0]", freePort(t), freePort(t))
	if err := os.WriteFile(c.conf, fmt.Appendf(nil, cephConf, dir, fsid, mon), 0o600); err != nil {
		t.Fatal(err)
	}
	keyring, monmap := filepath.Join(dir, "keyring"), filepath.Join(dir, "monmap")
	c.run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
	for _, name := range []string{"client.admin", "client.rgw", "osd.0"} {
		c.run("ceph-authtool", keyring, "--gen-key", "-n", name, "--cap", "mon", "allow *", "--cap", "osd", "allow *")
	}
	c.run("monmaptool", "--create", "--addv", "a", strings.ReplaceAll(mon, "/0", ""), "--fsid", fsid, monmap)
	c.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
	c.serve("ceph-mon", "-i", "a")
	osd := uuid.NewString()
	c.run("ceph", "osd", "new", osd)
	c.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
	c.serve("ceph-osd", "-i", "0")
	c.run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", "--access-key=access", "--secret=secret")
	endpoint := fmt.Sprintf("127.0.0.1:%d", gateway)
	c.serve("radosgw", "-n", "client.rgw", "--rgw-frontends=beast endpoint="+endpoint)
	answers := func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		return res.Body.Close() == nil
	}
	tick := time.NewTicker(50 * time.Millisecond) // another process is starting: there is nothing to wait on
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !answers(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("radosgw does not answer")
		}
	}
	return blob.S3Config{Endpoint: endpoint, Prefix: "undercloud/", Region: "default", AccessKey: "access", SecretKey: "secret", Insecure: true}
}

// TestRadosGW holds Ceph's S3 server to what the folder and the other server do.
func TestRadosGW(t *testing.T) {
	if testing.Short() {
		t.Skip("tests with servers nobody here wrote run without -short")
	}
	config := startRadosGW(t)
	for name, test := range conformance() {
		t.Run(name, func(t *testing.T) {
			c := config
			c.Bucket = strings.ToLower(strings.ReplaceAll(name, " ", "-"))
			s, err := blob.OpenS3(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}
