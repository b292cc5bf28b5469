package undercloud_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/store/storetest"
	"github.com/tripleo/tripleo/internal/undercloud"
)

// start runs an undercloud on a free port until the test ends.
func start(t *testing.T, cfg undercloud.Config) *undercloud.Undercloud {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	cfg.Provisioning.Namespace = "tripleo-test-absent" // no machines here
	u, err := undercloud.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		res, err := http.Get(u.BaseURL() + "/healthz") //nolint:noctx // a test
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return u
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("not healthy within 20 s")
		}
	}
}

func adminSession(t *testing.T, u *undercloud.Undercloud) *cloud.Session {
	t.Helper()
	rc, err := os.ReadFile(u.RCFile())
	if err != nil {
		t.Fatal(err)
	}
	var password string
	for line := range strings.SplitSeq(string(rc), "\n") {
		if p, ok := strings.CutPrefix(line, "export OS_PASSWORD="); ok {
			password = p
		}
	}
	c := cloud.New(cloud.Options{AuthURL: u.BaseURL() + "/identity/v3"})
	s, err := c.Password(t.Context(), "admin", password, "admin", "Default")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstStartMakesWhatTripleOExpects(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { firstStart(t, undercloud.Config{}) })
	t.Run("postgres", func(t *testing.T) { firstStart(t, undercloud.Config{Database: storetest.PostgresDSN(t)}) })
	t.Run("over TCP", func(t *testing.T) { firstStart(t, undercloud.Config{OverTCP: true}) })
}

func firstStart(t *testing.T, cfg undercloud.Config) {
	dir := t.TempDir()
	cfg.DataDir = dir
	u := start(t, cfg)
	s := adminSession(t, u)
	nova, err := s.Compute()
	if err != nil {
		t.Fatal(err)
	}
	page, err := flavors.ListDetail(nova, nil).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := flavors.ExtractFlavors(page)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 {
		t.Errorf("%d flavors, expected TripleO's six", len(all))
	}
	neutron, err := s.Network()
	if err != nil {
		t.Fatal(err)
	}
	page, err = subnets.List(neutron, subnets.ListOpts{Name: "ctlplane-subnet"}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	subs, err := subnets.ExtractSubnets(page)
	if err != nil || len(subs) != 1 || subs[0].CIDR != "192.168.24.0/24" {
		t.Errorf("subnets %+v, %v, expected ctlplane-subnet with 192.168.24.0/24", subs, err)
	}
	for _, name := range []string{"clouds.yaml", "undercloudrc", "secrets.json"} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, expected 0600", name, fi.Mode())
		}
	}
}

func TestDataFolderBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	start(t, undercloud.Config{DataDir: dir})
	_, err := undercloud.New(t.Context(), undercloud.Config{DataDir: dir, Listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second start on the same folder: %v, expected that it is in use", err)
	}
}

func TestConfigurationErrorsNameThePlace(t *testing.T) {
	for _, tc := range []struct{ reason, text, want string }{
		{"unknown key", "listn: 127.0.0.1:1\n", `unknown key "listn"`},
		{"wrong type", "provisioning:\n  port: many\n", ":2:"},
		{"not an address", "provisioning:\n  address: 192.168.24.300/24\n", "192.168.24.300/24"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "undercloud.yaml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := undercloud.LoadConfig(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "undercloud.yaml:") {
				t.Errorf("got %v, expected the file's name, the line and %q", err, tc.want)
			}
		})
	}
	if _, err := undercloud.New(t.Context(), undercloud.Config{DataDir: t.TempDir(), Listen: "0.0.0.0:8000"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the API without TLS was offered on all addresses")
	}
}
