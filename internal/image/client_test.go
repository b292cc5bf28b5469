package image_test

import (
	"os"
	"strings"
	"testing"
)

// TestClients runs Debian's clients, which nobody here wrote.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	s, _ := start(t)
	t.Chdir(t.TempDir())
	data := strings.Repeat("kernel", 50_000)
	if err := os.WriteFile("vmlinuz", []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want string, args ...string) {
		t.Helper()
		if out := s.Client(args[0], args[1:]...); !strings.Contains(out, want) {
			t.Errorf("%s printed %q, expected it to hold %q", strings.Join(args, " "), out, want)
		}
	}
	run("bm-deploy-kernel", "openstack", "image", "create", "--file", "vmlinuz", "--public", "--disk-format", "aki", "--container-format", "aki", "bm-deploy-kernel")
	run("active", "openstack", "image", "list", "--name", "bm-deploy-kernel")
	run("300000", "openstack", "image", "show", "bm-deploy-kernel")
	run("", "openstack", "image", "set", "--property", "hypervisor_type=baremetal", "--tag", "x", "bm-deploy-kernel")
	run("baremetal", "openstack", "image", "show", "bm-deploy-kernel")
	run("", "openstack", "image", "save", "--file", "back", "bm-deploy-kernel")
	if got, err := os.ReadFile("back"); err != nil || string(got) != data {
		t.Errorf("image save gave %d bytes (%v), expected %d", len(got), err, len(data))
	}
	run("queued", "openstack", "image", "create", "--private", "empty")
	run("", "openstack", "image", "unset", "--tag", "x", "bm-deploy-kernel")
	run("", "openstack", "image", "delete", "bm-deploy-kernel", "empty")
	run("raw", "glance", "image-create", "--name", "g", "--disk-format", "raw", "--container-format", "bare", "--file", "vmlinuz")
	run("g", "glance", "image-list")
}
