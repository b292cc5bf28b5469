package network_test

import (
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func start(t testing.TB, cfg network.Config) (client func(token string) *gophercloud.ServiceClient, svc *network.Service) {
	t.Helper()
	cfg.DB, cfg.Bus, cfg.Auth = storetest.Open(t), notify.New(), authtest.Default()
	cfg.Log = slog.New(slog.DiscardHandler)
	svc, err := network.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(svc.Handler())
	t.Cleanup(srv.Close)
	return func(token string) *gophercloud.ServiceClient {
		c := authtest.Client(srv.URL+"/", "network", token)
		c.ResourceBase += "v2.0/"
		return c
	}, svc
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ctlplane(t testing.TB, c *gophercloud.ServiceClient, cidr string) (*networks.Network, *subnets.Subnet) {
	t.Helper()
	n := must[*networks.Network](t)(networks.Create(t.Context(), c, extraNetwork{networks.CreateOpts{Name: "ctlplane"}}).Extract())
	s := must[*subnets.Subnet](t)(subnets.Create(t.Context(), c, subnets.CreateOpts{
		NetworkID: n.ID, CIDR: cidr, IPVersion: gophercloud.IPv4, Name: "ctlplane-subnet",
		DNSNameservers: []string{"192.168.24.1"},
	}).Extract())
	return n, s
}

type extraNetwork struct{ networks.CreateOpts }

func (e extraNetwork) ToNetworkCreateMap() (map[string]any, error) {
	m, err := e.CreateOpts.ToNetworkCreateMap()
	if err == nil {
		m["network"].(map[string]any)["provider:physical_network"] = "ctlplane"
		m["network"].(map[string]any)["provider:network_type"] = "flat"
	}
	return m, err
}

func TestConcurrentPortsNeverShareAnAddress(t *testing.T) {
	client, _ := start(t, network.Config{})
	c := client("admin")
	n, _ := ctlplane(t, c, "192.168.24.0/26") // 61 addresses without the gateway
	var mu sync.Mutex
	seen, refused := map[string]bool{}, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 9 {
				p, err := ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n.ID}).Extract()
				mu.Lock()
				switch {
				case err != nil:
					refused++
					if !gophercloud.ResponseCodeIs(err, 409) {
						t.Error(err)
					}
				case seen[p.FixedIPs[0].IPAddress]:
					t.Errorf("%s was given twice", p.FixedIPs[0].IPAddress)
				default:
					seen[p.FixedIPs[0].IPAddress] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 61 || refused != 11 {
		t.Errorf("%d addresses given and %d requests refused, expected 61 and 11", len(seen), refused)
	}
}

func TestFixedAddressConflictsAndComesBackAfterDelete(t *testing.T) {
	client, _ := start(t, network.Config{})
	c := client("admin")
	n, s := ctlplane(t, c, "192.168.24.0/24")
	opts := ports.CreateOpts{NetworkID: n.ID, FixedIPs: []ports.IP{{SubnetID: s.ID, IPAddress: "192.168.24.7"}}}
	p := must[*ports.Port](t)(ports.Create(t.Context(), c, opts).Extract())
	if _, err := ports.Create(t.Context(), c, opts).Extract(); !gophercloud.ResponseCodeIs(err, 409) {
		t.Errorf("second port with the same address: %v, expected 409", err)
	}
	if err := networks.Delete(t.Context(), c, n.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, 409) {
		t.Errorf("delete of a network in use: %v, expected 409", err)
	}
	if err := ports.Delete(t.Context(), c, p.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	must[*ports.Port](t)(ports.Create(t.Context(), c, opts).Extract())
}

func TestOtherProjectsAndReadersAreKeptOut(t *testing.T) {
	client, _ := start(t, network.Config{})
	n := must[*networks.Network](t)(networks.Create(t.Context(), client("member"), networks.CreateOpts{Name: "mine"}).Extract())
	if _, err := networks.Get(t.Context(), client("other"), n.ID).Extract(); !gophercloud.ResponseCodeIs(err, 404) {
		t.Errorf("another project sees the network: %v", err)
	}
	if _, err := networks.Get(t.Context(), client("reader"), n.ID).Extract(); err != nil {
		t.Errorf("a reader of the project must see it: %v", err)
	}
	if err := networks.Delete(t.Context(), client("reader"), n.ID).ExtractErr(); !gophercloud.ResponseCodeIs(err, 403) {
		t.Errorf("delete by a reader: %v, expected 403", err)
	}
}

func TestPortsOfOtherProjectsDoNotHoldARouter(t *testing.T) {
	client, _ := start(t, network.Config{})
	router := must[*routers.Router](t)(routers.Create(t.Context(), client("member"), routers.CreateOpts{Name: "r"}).Extract())
	other := client("other")
	n := must[*networks.Network](t)(networks.Create(t.Context(), other, networks.CreateOpts{Name: "theirs"}).Extract())
	for _, owner := range []string{"", "network:router_interface"} {
		_, err := ports.Create(t.Context(), other, ports.CreateOpts{NetworkID: n.ID, DeviceID: router.ID, DeviceOwner: owner}).Extract()
		if !gophercloud.ResponseCodeIs(err, 409) {
			t.Errorf("new port with owner %q of another project's router: %v, expected 409", owner, err)
		}
	}
	p := must[*ports.Port](t)(ports.Create(t.Context(), other, ports.CreateOpts{NetworkID: n.ID}).Extract())
	if _, err := ports.Update(t.Context(), other, p.ID, ports.UpdateOpts{DeviceID: &router.ID}).Extract(); !gophercloud.ResponseCodeIs(err, 409) {
		t.Errorf("port that becomes one of another project's router: %v, expected 409", err)
	}
	must[*ports.Port](t)(ports.Update(t.Context(), client("admin"), p.ID, ports.UpdateOpts{DeviceID: &router.ID}).Extract())
	if err := routers.Delete(t.Context(), client("member"), router.ID).ExtractErr(); err != nil {
		t.Errorf("delete of a router whose id a port has that is not its interface: %v", err)
	}
}

func TestAddressesOfEverySubnetFollowANewMAC(t *testing.T) {
	client, _ := start(t, network.Config{})
	c := client("admin")
	n := must[*networks.Network](t)(networks.Create(t.Context(), c, networks.CreateOpts{Name: "n"}).Extract())
	for _, cidr := range []string{"2001:db8:1::/64", "2001:db8:2::/64"} {
		must[*subnets.Subnet](t)(subnets.Create(t.Context(), c, subnets.CreateOpts{
			NetworkID: n.ID, CIDR: cidr, IPVersion: gophercloud.IPv6, IPv6AddressMode: "slaac", IPv6RAMode: "slaac",
		}).Extract())
	}
	p := must[*ports.Port](t)(ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n.ID, MACAddress: "52:54:00:00:00:01"}).Extract())
	moved := "52:54:00:00:00:02"
	p = must[*ports.Port](t)(ports.Update(t.Context(), c, p.ID, ports.UpdateOpts{MACAddress: &moved}).Extract())
	var have []string
	for _, ip := range p.FixedIPs {
		have = append(have, ip.IPAddress)
	}
	slices.Sort(have)
	if want := []string{"2001:db8:1:0:5054:ff:fe00:2", "2001:db8:2:0:5054:ff:fe00:2"}; !slices.Equal(have, want) {
		t.Errorf("the port has %v, want %v", have, want)
	}
}
