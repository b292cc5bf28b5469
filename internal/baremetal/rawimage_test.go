package baremetal_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/image"
)

// glance is a real image service, and uploads to it.
func glance(t *testing.T) (s *identitytest.Server, upload func(name string, data []byte)) {
	t.Helper()
	s = identitytest.Start(t)
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	svc, err := image.New(image.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Blob: blobs, BaseURL: s.URL + "/image"})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/image", svc.Handler())
	s.RunJobs()
	c, err := s.Admin().Image()
	if err != nil {
		t.Fatal(err)
	}
	public := images.ImageVisibilityPublic
	return s, func(name string, data []byte) {
		t.Helper()
		m, err := images.Create(t.Context(), c, images.CreateOpts{Name: name, DiskFormat: "qcow2", ContainerFormat: "bare", Visibility: &public}).Extract()
		if err != nil {
			t.Fatal(err)
		}
		if err := imagedata.Upload(t.Context(), c, m.ID, bytes.NewReader(data)).ExtractErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// Machines are written from the raw form of a qcow2 image, or from the image
// itself where the operator wants that; damage shows before a machine boots.
func TestDeployQcow2(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("SKIPPED, NO QCOW2 IMAGE TO TEST WITH: qemu-img is not installed (apt-get install qemu-utils)")
	}
	disk, random := make([]byte, 5<<20), rand.NewChaCha8([32]byte{})
	_, _ = random.Read(disk[1<<20 : 2<<20])
	in, out := filepath.Join(t.TempDir(), "raw"), filepath.Join(t.TempDir(), "qcow2")
	if err := os.WriteFile(in, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", in, out).CombinedOutput(); err != nil { //nolint:gosec // constants
		t.Fatalf("%v: %s", err, msg)
	}
	qcow2, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	cloud, upload := glance(t)
	upload("sound", qcow2)
	upload("cut", qcow2[:len(qcow2)/2])
	for _, tc := range []struct {
		reason, image string
		asUploaded    bool
		disk          []byte
		says          string // of last_error, where it fails
	}{
		{"the raw form", "sound", false, disk, ""},
		{"as it was uploaded", "sound", true, qcow2, ""},
		{"a damaged one", "cut", false, nil, "cannot be converted to raw"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			h := newHarness(t, func(c *baremetal.Config) { c.Cloud, c.ImagesAsUploaded = cloud.Cloud, tc.asUploaded })
			m, id := h.enroll()
			h.prepareDeploy(id)
			if _, err := nodes.Update(t.Context(), h.client, id, nodes.UpdateOpts{
				nodes.UpdateOperation{Op: nodes.ReplaceOp, Path: "/instance_info", Value: map[string]any{"image_source": tc.image, "root_gb": 10}},
			}).Extract(); err != nil {
				t.Fatal(err)
			}
			h.verb(id, nodes.TargetActive, withDrive)
			if tc.disk == nil {
				n := h.untilState(id, "deploy failed")
				if !strings.Contains(n.LastError, tc.says) || m.Seen().Ramdisks != 0 {
					t.Errorf("last error %q after %d boots, expected %q before any", n.LastError, m.Seen().Ramdisks, tc.says)
				}
				return
			}
			h.untilState(id, "active")
			if seen := m.Seen(); !bytes.Equal(seen.Disk, tc.disk) {
				t.Errorf("the machine got %d bytes, expected the %d of %s", len(seen.Disk), len(tc.disk), tc.reason)
			}
		})
	}
}
