package image_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Glance's checksum
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/members"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/image"
)

func start(t *testing.T) (*identitytest.Server, *blob.Dir) {
	t.Helper()
	s := identitytest.Start(t)
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	svc, err := image.New(image.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Blob: blobs, BaseURL: s.URL + "/image"})
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/image", svc.Handler())
	return s, blobs
}

func client(t *testing.T, s *cloud.Session) *gophercloud.ServiceClient {
	t.Helper()
	c, err := s.Image()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t *testing.T, c *gophercloud.ServiceClient, o images.CreateOpts) *images.Image {
	t.Helper()
	m, err := images.Create(t.Context(), c, o).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantStatus(t *testing.T, what string, err error, status int) {
	t.Helper()
	if !gophercloud.ResponseCodeIs(err, status) {
		t.Errorf("%s: got %v, expected status %d", what, err, status)
	}
}

func TestLife(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	c := client(t, s.Admin())
	m := create(t, c, images.CreateOpts{
		Name: "overcloud-full", DiskFormat: "raw", ContainerFormat: "compressed", Tags: []string{"b", "a"},
		Properties: map[string]string{"kernel_id": "k", "hw_firmware_type": "uefi"},
	})
	if m.Status != "queued" || m.Properties["kernel_id"] != "k" {
		t.Errorf("new image is %+v, expected it queued with its properties", m)
	}
	data := bytes.Repeat([]byte("tripleo "), 100_000)
	if err := imagedata.Upload(ctx, c, m.ID, bytes.NewReader(data)).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	got, err := images.Get(ctx, c, m.ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	md, sha := md5.Sum(data), sha512.Sum512(data) //nolint:gosec // Glance's checksum
	if got.Status != "active" || got.SizeBytes != int64(len(data)) || got.Checksum != hex.EncodeToString(md[:]) ||
		got.Properties["os_hash_algo"] != "sha512" || got.Properties["os_hash_value"] != hex.EncodeToString(sha[:]) {
		t.Errorf("uploaded image is %+v", got)
	}
	wantStatus(t, "second upload", imagedata.Upload(ctx, c, m.ID, bytes.NewReader(data)).ExtractErr(), http.StatusConflict)
	body, err := imagedata.Download(ctx, c, m.ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(back, data) {
		t.Errorf("%d bytes came back (%v), %d were sent", len(back), err, len(data))
	}
	res, err := c.Get(ctx, c.ServiceURL("images", m.ID, "file"), nil, &gophercloud.RequestOpts{
		MoreHeaders: map[string]string{"Range": "bytes=8-15"}, OkCodes: []int{206}, KeepResponseBody: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	part, err := io.ReadAll(res.Body)
	if err != nil || string(part) != "tripleo " {
		t.Errorf("range is %q (%v)", part, err)
	}
	got, err = images.Update(ctx, c, m.ID, images.UpdateOpts{
		images.ReplaceImageName{NewName: "renamed"}, images.ReplaceImageProtected{NewProtected: true},
		images.UpdateImageProperty{Op: images.AddOp, Name: "os_distro", Value: "debian"},
		images.UpdateImageProperty{Op: images.RemoveOp, Name: "kernel_id"},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "renamed" || got.Properties["os_distro"] != "debian" || got.Properties["kernel_id"] != nil {
		t.Errorf("patched image is %+v", got)
	}
	wantStatus(t, "deleting a protected image", images.Delete(ctx, c, m.ID).ExtractErr(), http.StatusForbidden)
	if _, err := images.Update(ctx, c, m.ID, images.UpdateOpts{images.ReplaceImageProtected{NewProtected: false}}).Extract(); err != nil {
		t.Fatal(err)
	}
	if err := images.Delete(ctx, c, m.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	_, err = images.Get(ctx, c, m.ID).Extract()
	wantStatus(t, "a deleted image", err, http.StatusNotFound)
}

// qcow2 makes a version 3 header.
func qcow2(backing, incompatible uint64) []byte {
	h := make([]byte, 512)
	copy(h, "QFI\xfb")
	binary.BigEndian.PutUint32(h[4:], 3)
	binary.BigEndian.PutUint64(h[8:], backing)
	binary.BigEndian.PutUint64(h[24:], 10<<30)
	binary.BigEndian.PutUint64(h[72:], incompatible)
	return h
}

func vmdk(kind string) []byte {
	h := make([]byte, 2048)
	copy(h, "KDMV")
	binary.LittleEndian.PutUint64(h[28:], 1)
	binary.LittleEndian.PutUint64(h[36:], 2)
	copy(h[512:], "# Disk DescriptorFile\ncreateType=\""+kind+"\"\n")
	return h
}

func TestContentIsInspected(t *testing.T) {
	s, blobs := start(t)
	s.RunJobs()
	ctx := t.Context()
	c := client(t, s.Admin())
	for _, tc := range []struct {
		reason, disk, container string
		data                    []byte
		status                  int // 0: accepted
	}{
		{"plain qcow2", "qcow2", "bare", qcow2(0, 0), 0},
		{"qcow2 with a backing file", "qcow2", "bare", qcow2(512, 0), 400},
		{"qcow2 with an external data file", "qcow2", "bare", qcow2(0, 4), 400},
		{"qcow2 with unknown features", "qcow2", "bare", qcow2(0, 1<<40), 400},
		{"qcow2 cut off", "qcow2", "bare", qcow2(0, 0)[:40], 400},
		{"declared qcow2, is not", "qcow2", "bare", []byte("hello"), 400},
		{"declared raw, is qcow2", "raw", "bare", qcow2(512, 0), 400},
		{"raw", "raw", "bare", bytes.Repeat([]byte{1}, 200_000), 0},
		{"compressed is not looked into", "qcow2", "compressed", []byte("(zstd)"), 0},
		{"sparse VMDK", "vmdk", "bare", vmdk("streamOptimized"), 0},
		{"flat VMDK names other files", "vmdk", "bare", vmdk("monolithicFlat"), 400},
		{"VMDK that is a descriptor only", "vmdk", "bare", []byte("# Disk DescriptorFile\ncreateType=\"monolithicSparse\"\n"), 400},
		{"declared raw, is a VMDK descriptor", "raw", "bare", []byte("\n# Disk DescriptorFile\n"), 400},
		{"declared ISO, is not", "iso", "bare", []byte("hello"), 400},
		{"kernel", "aki", "aki", []byte("MZ"), 0},
	} {
		m := create(t, c, images.CreateOpts{Name: tc.reason, DiskFormat: tc.disk, ContainerFormat: tc.container})
		err := imagedata.Upload(ctx, c, m.ID, bytes.NewReader(tc.data)).ExtractErr()
		want := images.ImageStatusActive
		if tc.status != 0 {
			wantStatus(t, tc.reason, err, tc.status)
			want = images.ImageStatusQueued
		} else if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
		}
		got, err := images.Get(ctx, c, m.ID).Extract()
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != want {
			t.Errorf("%s: image is %s, expected %s", tc.reason, got.Status, want)
		}
		if err := images.Delete(ctx, c, m.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	}
	waitEmpty(t, blobs)
}

func waitEmpty(t *testing.T, blobs *blob.Dir) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		if err := blobs.List(t.Context(), "", func(string, blob.Info) error { left++; return nil }); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d bodies are left", left)
		case <-tick.C:
		}
	}
}

func TestVisibility(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	owner, other := s.User("owner", "one", "member"), s.User("other", "two", "member")
	reader := s.User("rita", "one", "reader")
	oc, xc, rc := client(t, owner), client(t, other), client(t, reader)
	private, shared := images.ImageVisibilityPrivate, images.ImageVisibilityShared
	a := create(t, oc, images.CreateOpts{Name: "private", Visibility: &private})
	b := create(t, oc, images.CreateOpts{Name: "shared", Visibility: &shared})
	public := images.ImageVisibilityPublic
	_, err := images.Create(ctx, oc, images.CreateOpts{Name: "public", Visibility: &public}).Extract()
	wantStatus(t, "a member makes an image public", err, http.StatusForbidden)
	p := create(t, client(t, s.Admin()), images.CreateOpts{Name: "public", Visibility: &public})

	names := func(c *gophercloud.ServiceClient) []string {
		pages, err := images.List(c, images.ListOpts{Sort: "name:asc"}).AllPages(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all, err := images.ExtractImages(pages)
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, m := range all {
			out = append(out, m.Name)
		}
		return out
	}
	check := func(what string, c *gophercloud.ServiceClient, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, names(c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("the owner's project", oc, "private", "public", "shared")
	check("a reader of it", rc, "private", "public", "shared")
	check("another project", xc, "public")
	_, err = images.Get(ctx, xc, a.ID).Extract()
	wantStatus(t, "another project's private image", err, http.StatusNotFound)
	_, err = images.Get(ctx, xc, b.ID).Extract()
	wantStatus(t, "an image not yet shared", err, http.StatusNotFound)
	wantStatus(t, "deleting what one only sees", images.Delete(ctx, xc, p.ID).ExtractErr(), http.StatusForbidden)
	wantStatus(t, "a reader deletes", images.Delete(ctx, rc, a.ID).ExtractErr(), http.StatusForbidden)

	if _, err := members.Create(ctx, oc, b.ID, other.ProjectID).Extract(); err != nil {
		t.Fatal(err)
	}
	if _, err := images.Get(ctx, xc, b.ID).Extract(); err != nil {
		t.Errorf("a shared image can be read before it is accepted: %v", err)
	}
	check("before accepting", xc, "public")
	if _, err := members.Update(ctx, xc, b.ID, other.ProjectID, members.UpdateOpts{Status: "accepted"}).Extract(); err != nil {
		t.Fatal(err)
	}
	check("after accepting", xc, "public", "shared")
	_, err = members.Update(ctx, oc, b.ID, other.ProjectID, members.UpdateOpts{Status: "rejected"}).Extract()
	wantStatus(t, "the owner answers for the member", err, http.StatusForbidden)
}

func TestListing(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	c := client(t, s.Admin())
	hidden := true
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		o := images.CreateOpts{Name: name, Tags: []string{[]string{"even", "odd"}[i%2]}, Properties: map[string]string{"n": name}}
		if name == "e" {
			o.Hidden = &hidden
		}
		create(t, c, o)
	}
	for _, tc := range []struct{ reason, query, want string }{
		{"newest first, hidden ones not", "", "d c b a"},
		{"by name", "sort=name:asc", "a b c d"},
		{"old sort keys", "sort_key=name&sort_dir=desc", "d c b a"},
		{"name", "name=b", "b"},
		{"in", "name=in:a,c&sort=name:asc", "a c"},
		{"tag", "tag=odd&sort=name:asc", "b d"},
		{"property", "n=c", "c"},
		{"unknown property", "m=c", ""},
		{"hidden", "os_hidden=true", "e"},
		{"status", "status=active", ""},
		{"created", "created_at=lt:2001-01-01T00:00:00Z", ""},
	} {
		var out struct{ Images []struct{ Name string } }
		if _, err := c.Get(ctx, c.ServiceURL("images")+"?"+tc.query, &out, nil); err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		var got []string
		for _, m := range out.Images {
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, expected %s", tc.reason, got, tc.want)
		}
	}
	n := 0
	err := images.List(c, images.ListOpts{Limit: 3}).EachPage(ctx, func(context.Context, pagination.Page) (bool, error) { n++; return true, nil })
	if err != nil || n != 2 {
		t.Errorf("%d pages (%v), expected 2", n, err)
	}
	_, err = c.Get(ctx, c.ServiceURL("images")+"?limit=x", nil, nil)
	wantStatus(t, "bad limit", err, http.StatusBadRequest)
}

func TestImportAndDeactivate(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	c := client(t, s.Admin())
	m := create(t, c, images.CreateOpts{Name: "i", DiskFormat: "raw", ContainerFormat: "bare"})
	if err := imagedata.Stage(ctx, c, m.ID, strings.NewReader("data")).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "an import method we do not have", imageimport.Create(ctx, c, m.ID, imageimport.CreateOpts{Name: "copy-image", URI: "http://192.0.2.1/"}).ExtractErr(), http.StatusBadRequest)
	if err := imageimport.Create(ctx, c, m.ID, imageimport.CreateOpts{Name: imageimport.GlanceDirectMethod}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	got, err := images.Get(ctx, c, m.ID).Extract()
	if err != nil || got.Status != "active" {
		t.Errorf("imported image is %v (%v), expected active", got, err)
	}
	if _, err := c.Post(ctx, c.ServiceURL("images", m.ID, "actions", "deactivate"), nil, nil, &gophercloud.RequestOpts{OkCodes: []int{204}}); err != nil {
		t.Fatal(err)
	}
	_, err = images.Update(ctx, c, m.ID, images.UpdateOpts{images.UpdateImageProperty{Op: images.ReplaceOp, Name: "status", Value: "active"}}).Extract()
	wantStatus(t, "setting what is read-only", err, http.StatusForbidden)
}

// TestInterruptedUpload starts the service anew, as after a crash, while data
// arrives: the image is queued again and takes another upload.
func TestInterruptedUpload(t *testing.T) {
	s, blobs := start(t)
	s.RunJobs()
	ctx := t.Context()
	c := client(t, s.Admin())
	m := create(t, c, images.CreateOpts{Name: "i", DiskFormat: "raw", ContainerFormat: "bare"})
	body, feed := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- imagedata.Upload(ctx, c, m.ID, body).ExtractErr() }()
	if _, err := feed.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	waitStatus(t, c, m.ID, images.ImageStatusSaving)
	if _, err := image.New(image.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Blob: blobs, BaseURL: s.URL + "/image"}); err != nil {
		t.Fatal(err)
	}
	waitStatus(t, c, m.ID, images.ImageStatusQueued)
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("an upload that was given up reports success")
	}
	if err := imagedata.Upload(ctx, c, m.ID, strings.NewReader("data")).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	waitStatus(t, c, m.ID, images.ImageStatusActive)
	if err := images.Delete(ctx, c, m.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	waitEmpty(t, blobs)
}

func waitStatus(t *testing.T, c *gophercloud.ServiceClient, id string, want images.ImageStatus) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := images.Get(t.Context(), c, id).Extract()
		if err != nil {
			t.Fatal(err)
		}
		if m.Status == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("image is %s, expected %s", m.Status, want)
		case <-tick.C:
		}
	}
}
