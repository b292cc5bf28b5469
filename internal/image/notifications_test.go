package image_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// TestNotifications: every way an image becomes active, or changes, is told.
func TestNotifications(t *testing.T) {
	s, _ := start(t)
	var mu sync.Mutex
	var told []string
	s.Bus.Deliver(func(_ *store.Tx, n notify.Notification) error {
		if n.Exchange == "glance" {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, n.EventType)
		}
		return nil
	})
	c := client(t, s.Admin())
	m := create(t, c, images.CreateOpts{Name: "staged", ContainerFormat: "bare", DiskFormat: "raw"})
	for _, step := range []struct {
		method, path, contentType, body string
		want                            int
	}{
		{"PUT", "/stage", "application/octet-stream", "data", http.StatusNoContent},
		{"POST", "/import", "application/json", `{"method": {"name": "glance-direct"}}`, http.StatusAccepted},
		{"POST", "/actions/deactivate", "application/json", "", http.StatusNoContent},
		{"POST", "/actions/reactivate", "application/json", "", http.StatusNoContent},
	} {
		res, err := c.Request(t.Context(), step.method, c.ServiceURL("images", m.ID)+step.path, &gophercloud.RequestOpts{
			RawBody: strings.NewReader(step.body), MoreHeaders: map[string]string{"Content-Type": step.contentType}, OkCodes: []int{step.want},
		})
		if err != nil {
			t.Fatalf("%s %s: %v", step.method, step.path, err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"image.create", "image.upload", "image.activate", "image.update", "image.update"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
