package image_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/clienttest"
)

// TestClients runs every image verb of Debian's client, which nobody here
// wrote, and what of the older glance client an undercloud's scripts use.
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
	sh := clienttest.Start(t, s.ClientEnv()...)
	run := func(want string, args ...string) string {
		t.Helper()
		return strings.TrimSpace(sh.Run(want, "openstack", append([]string{"image"}, args...)...))
	}
	run("bm-deploy-kernel", "create", "--file", "vmlinuz", "--public", "--disk-format", "aki", "--container-format", "aki",
		"--min-disk", "1", "--min-ram", "2", "--property", "os_distro=debian", "--protected", "bm-deploy-kernel")
	run("active", "list", "--name", "bm-deploy-kernel", "--long", "--sort", "name:asc,status:desc")
	run("300000", "show", "bm-deploy-kernel")
	run("300K", "show", "--human-readable", "bm-deploy-kernel")
	run("", "set", "--property", "hypervisor_type=baremetal", "--tag", "x", "--os-version", "12", "--unprotected", "--hidden", "bm-deploy-kernel")
	run("baremetal", "show", "bm-deploy-kernel")
	run("bm-deploy-kernel", "list", "--hidden", "--tag", "x", "--property", "os_version=12")
	if out := run("", "list", "-f", "value", "-c", "Name"); out != "" {
		t.Errorf("a hidden image is listed: %q", out)
	}
	run("", "set", "--deactivate", "--unhidden", "bm-deploy-kernel")
	run("deactivated", "list", "--status", "deactivated", "--public")
	run("", "set", "--activate", "bm-deploy-kernel")
	run("", "save", "--file", "back", "bm-deploy-kernel")
	if got, err := os.ReadFile("back"); err != nil || string(got) != data {
		t.Errorf("image save gave %d bytes (%v), expected %d", len(got), err, len(data))
	}
	run("", "unset", "--tag", "x", "--property", "hypervisor_type", "bm-deploy-kernel")
	if out := run("", "show", "bm-deploy-kernel"); strings.Contains(out, "baremetal") {
		t.Errorf("a property that was unset is shown: %s", out)
	}
	run("queued", "create", "--shared", "empty")
	guests := strings.TrimSpace(sh.Run("", "openstack", "project", "create", "guests", "-f", "value", "-c", "id"))
	run("pending", "add", "project", "empty", "guests")
	run(guests, "member", "list", "empty", "-f", "value")
	run("", "set", "--accept", "--project", "guests", "empty")
	run("accepted", "member", "list", "empty")
	run("", "remove", "project", "empty", "guests")
	run("imported", "create", "--import", "--file", "vmlinuz", "--disk-format", "raw", "imported")
	run("active", "show", "imported")
	run("", "delete", "bm-deploy-kernel", "empty", "imported")
	if out := run("", "list", "-f", "value", "-c", "Name"); out != "" {
		t.Errorf("images that were deleted are listed: %q", out)
	}
	sh.EveryVerb("python_openstackclient", "openstack.image.v2", nil)

	if out := s.Client("glance", "image-create", "--name", "g", "--disk-format", "raw", "--container-format", "bare", "--file", "vmlinuz"); !strings.Contains(out, "raw") {
		t.Errorf("glance image-create printed %q", out)
	}
	if out := s.Client("glance", "image-list"); !strings.Contains(out, " g ") {
		t.Errorf("glance image-list printed %q", out)
	}
}
