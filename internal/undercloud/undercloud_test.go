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
	client := &http.Client{Transport: transport(t, cfg)}
	deadline := time.Now().Add(60 * time.Second)
	for {
		res, err := client.Get(u.BaseURL() + "/healthz") //nolint:noctx // a test
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return u
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("not healthy within a minute")
		}
	}
}

// transport trusts the undercloud's authority, as clients with its clouds.yaml do.
func transport(t *testing.T, cfg undercloud.Config) *http.Transport {
	t.Helper()
	_, ca, err := cfg.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := cloud.Transport(ca)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func adminSession(t *testing.T, u *undercloud.Undercloud, cfg undercloud.Config) *cloud.Session {
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
	c := cloud.New(cloud.Options{AuthURL: u.BaseURL() + "/identity/v3", Transport: transport(t, cfg)})
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
	t.Run("TLS", func(t *testing.T) { firstStart(t, undercloud.Config{TLS: undercloud.TLS{Mode: "on"}}) })
	t.Run("TLS over TCP", func(t *testing.T) {
		firstStart(t, undercloud.Config{OverTCP: true, Host: "localhost", TLS: undercloud.TLS{Mode: "on"}})
	})
}

func firstStart(t *testing.T, cfg undercloud.Config) {
	dir := t.TempDir()
	cfg.DataDir = dir
	u := start(t, cfg)
	s := adminSession(t, u, cfg)
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
}

func TestEndpointIsProtectedOffLoopback(t *testing.T) {
	for _, tc := range []struct {
		reason  string
		cfg     undercloud.Config
		url, ca string
		fails   string
	}{
		{"loopback needs no TLS", undercloud.Config{Listen: "127.0.0.1:8000"}, "http://127.0.0.1:8000", "", ""},
		{"IPv6 loopback", undercloud.Config{Listen: "[::1]:8000"}, "http://[::1]:8000", "", ""},
		{"loopback with TLS asked for", undercloud.Config{TLS: undercloud.TLS{Mode: "on"}}, "https://127.0.0.1:8000", "/data/tls/ca.pem", ""},
		{"any other address has it", undercloud.Config{Listen: "192.0.2.1:8000"}, "https://192.0.2.1:8000", "/data/tls/ca.pem", ""},
		{"and cannot do without", undercloud.Config{Listen: "192.0.2.1:8000", TLS: undercloud.TLS{Mode: "off"}}, "", "", "only be offered on loopback"},
		{"all addresses need a name", undercloud.Config{Listen: "0.0.0.0:8000"}, "", "", "`host`"},
		{"no address is all addresses", undercloud.Config{Listen: ":8000"}, "", "", "`host`"},
		{"and take it", undercloud.Config{Listen: ":8000", Host: "cloud.example"}, "https://cloud.example:8000", "/data/tls/ca.pem", ""},
		{"given files", undercloud.Config{Listen: "192.0.2.1:443", TLS: undercloud.TLS{Cert: "c", Key: "k"}}, "https://192.0.2.1:443", "", ""},
		{"of an own authority", undercloud.Config{Listen: "192.0.2.1:443", TLS: undercloud.TLS{Cert: "c", Key: "k", CA: "/ca"}}, "https://192.0.2.1:443", "/ca", ""},
		{"half of the files", undercloud.Config{TLS: undercloud.TLS{Cert: "c"}}, "", "", "both or neither"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			tc.cfg.DataDir = "/data"
			url, ca, err := tc.cfg.Endpoint()
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("%v, expected an error with %q", err, tc.fails)
				}
				return
			}
			if err != nil || url != tc.url || ca != tc.ca {
				t.Errorf("%q trusted by %q, %v; expected %q by %q", url, ca, err, tc.url, tc.ca)
			}
		})
	}
}
