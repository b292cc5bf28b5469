package objectstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClients runs Debian's clients, which nobody here wrote.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	e := start(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("tree/sub", 0o750); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789", 30_000)
	for name, content := range map[string]string{"tree/a.yaml": "a: 1\n", "tree/sub/b.yaml": "b: 2\n", "big": big} {
		if err := os.WriteFile(filepath.FromSlash(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string, args ...string) {
		t.Helper()
		if out := e.Client(args[0], args[1:]...); !strings.Contains(out, want) {
			t.Errorf("%s printed %q, expected it to hold %q", strings.Join(args, " "), out, want)
		}
	}
	run("plan", "openstack", "container", "create", "plan")
	run("big", "openstack", "object", "create", "plan", "big")
	run("big", "openstack", "object", "list", "plan")
	run("300000", "openstack", "object", "show", "plan", "big")
	run("", "openstack", "container", "set", "--property", "Usage-Tripleo=plan", "plan")
	run("Usage-Tripleo", "openstack", "container", "show", "plan")
	run("", "openstack", "object", "save", "--file", "back", "plan", "big")
	if got, err := os.ReadFile("back"); err != nil || string(got) != big {
		t.Errorf("object save gave %d bytes (%v), expected %d", len(got), err, len(big))
	}
	run("plan", "openstack", "container", "list")
	run("", "openstack", "object", "store", "account", "set", "--property", "Temp-URL-Key=k")
	run("", "openstack", "object", "store", "account", "show")
	run("", "openstack", "object", "delete", "plan", "big")

	run("tree/sub/b.yaml", "swift", "upload", "plan", "tree")
	run("tree/a.yaml", "swift", "list", "plan")
	run("segmented", "swift", "upload", "--use-slo", "--segment-size", "100000", "--object-name", "segmented", "plan", "big")
	run("", "swift", "download", "plan", "segmented", "-o", "segback")
	if got, err := os.ReadFile("segback"); err != nil || string(got) != big {
		t.Errorf("download of a segmented object gave %d bytes (%v), expected %d", len(got), err, len(big))
	}
	run("", "swift", "copy", "-d", "/plan/copy", "plan", "segmented")
	run("Objects: 4", "swift", "stat", "plan")
	path := strings.TrimSpace(e.Client("swift", "tempurl", "GET", "60", e.account+"/plan/tree/a.yaml", "k"))
	if got := e.want(200, e.do(nil, "GET", path, "")); got.body != "a: 1\n" {
		t.Errorf("the client's temporary URL gave %q", got.body)
	}
	run("", "swift", "post", "plan", "-r", ".r:*")
	run("", "swift", "delete", "plan")
	run("", "openstack", "container", "list")
}
