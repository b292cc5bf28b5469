package image_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/tasks"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/image"
)

// TestWebDownload imports from a server of its own, which some of the images
// may be fetched from and others not.
func TestWebDownload(t *testing.T) {
	for _, tc := range []struct {
		reason, path string
		private      bool
		status, task string
	}{
		{"data that come", "/good", true, "active", "success"},
		{"a redirect is followed", "/moved", true, "active", "success"},
		{"the server has no such file", "/missing", true, "queued", "failure"},
		{"less than was promised", "/short", true, "queued", "failure"},
		{"redirects without end", "/loop", true, "queued", "failure"},
		{"a redirect to a file", "/file", true, "queued", "failure"},
		{"content that is not what was declared", "/qcow2", true, "queued", "failure"},
		{"an address inside the cloud", "/good", false, "queued", "failure"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			s := identitytest.Start(t)
			blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blobs"))
			if err != nil {
				t.Fatal(err)
			}
			svc, err := image.New(image.Config{
				DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Blob: blobs, BaseURL: s.URL + "/image", ImportFromPrivate: tc.private,
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Mount("/image", svc.Handler())
			web := httptest.NewServer(http.HandlerFunc(serveImages))
			defer web.Close()
			c := client(t, s.Admin())
			m := create(t, c, images.CreateOpts{Name: "i", DiskFormat: "raw", ContainerFormat: "bare"})
			uri := web.URL + tc.path
			if !tc.private { // a port that would be allowed; nobody listens and nobody is asked
				uri = "http://127.0.0.1" + tc.path
			}
			if err := imageimport.Create(t.Context(), c, m.ID, imageimport.CreateOpts{Name: imageimport.WebDownloadMethod, URI: uri}).ExtractErr(); err != nil {
				t.Fatal(err)
			}
			sub := s.Bus.Subscribe("image/" + m.ID)
			defer sub.Close()
			s.RunJobs()
			<-sub.C()
			got, err := images.Get(t.Context(), c, m.ID).Extract()
			if err != nil || string(got.Status) != tc.status {
				t.Errorf("the image is %v (%v), expected %s", got, err, tc.status)
			}
			checkTask(t, c, tc.task)
		})
	}
}

func serveImages(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/good":
		_, _ = w.Write([]byte(strings.Repeat("data", 1000)))
	case "/moved":
		http.Redirect(w, r, "/good", http.StatusFound)
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "/file":
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	case "/short":
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("abc"))
	case "/qcow2":
		_, _ = w.Write([]byte("QFI\xfb" + strings.Repeat("\x00", 200)))
	default:
		http.NotFound(w, r)
	}
}

func checkTask(t *testing.T, c *gophercloud.ServiceClient, want string) {
	t.Helper()
	pages, err := tasks.List(c, tasks.ListOpts{}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := tasks.ExtractTasks(pages)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d tasks (%v), expected one", len(list), err)
	}
	got, err := tasks.Get(t.Context(), c, list[0].ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != want || want == "failure" && got.Message == "" {
		t.Errorf("the task is %s (%s), expected %s", got.Status, got.Message, want)
	}
}
