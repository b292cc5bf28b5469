package network_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// two are two processes' services on one database.
func two(t *testing.T, db *store.DB) []*gophercloud.ServiceClient {
	t.Helper()
	var out []*gophercloud.ServiceClient
	for range 2 {
		s, err := network.New(network.Config{DB: db, Auth: authtest.Default(), BaseURL: "http://network"})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(s.Handler())
		t.Cleanup(srv.Close)
		c := authtest.Client(srv.URL+"/", "network", "admin")
		c.ResourceBase += "v2.0/"
		out = append(out, c)
	}
	return out
}

// TestTwoProcessesGiveNoAddressAndNoPrefixTwice: ports and subnets of a pool are
// made and deleted through two services until both have run out.
func TestTwoProcessesGiveNoAddressAndNoPrefixTwice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		clients := two(t, db)
		n, sub := ctlplane(t, clients[0], "192.168.24.0/26") // 61 addresses
		pool := must[*subnetpools.SubnetPool](t)(subnetpools.Create(t.Context(), clients[0], subnetpools.CreateOpts{
			Name: "p", Prefixes: []string{"10.0.0.0/24"}, DefaultPrefixLen: 28,
		}).Extract()) // 16 subnets
		var wg sync.WaitGroup
		for w := range 6 {
			c := clients[w%2]
			wg.Go(func() {
				for i := range 12 {
					p, err := ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n.ID}).Extract()
					if err != nil && !gophercloud.ResponseCodeIs(err, 409) {
						t.Error(err)
					}
					if err == nil && i%4 == 0 {
						if err := ports.Delete(t.Context(), c, p.ID).ExtractErr(); err != nil {
							t.Error(err)
						}
					}
				}
				for i := range 3 {
					other, err := networks.Create(t.Context(), c, networks.CreateOpts{Name: fmt.Sprint("n", w, i)}).Extract()
					if err != nil {
						t.Error(err)
						return
					}
					_, err = subnets.Create(t.Context(), c, subnets.CreateOpts{NetworkID: other.ID, SubnetPoolID: pool.ID, IPVersion: gophercloud.IPv4}).Extract()
					if err != nil && !gophercloud.ResponseCodeIs(err, 400) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		checkPorts(t, clients[1], n.ID, sub.ID)
		checkPrefixes(t, clients[1], pool.ID)
	})
}

func checkPorts(t *testing.T, c *gophercloud.ServiceClient, network, subnet string) {
	t.Helper()
	pages, err := ports.List(c, ports.ListOpts{NetworkID: network}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := ports.ExtractPorts(pages)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range all {
		for _, ip := range p.FixedIPs {
			if ip.SubnetID != subnet || seen[ip.IPAddress] {
				t.Errorf("port %s has %s of subnet %s: given twice, or of another subnet", p.ID, ip.IPAddress, ip.SubnetID)
			}
			seen[ip.IPAddress] = true
		}
	}
	if len(seen) < 50 {
		t.Errorf("%d addresses are given, expected almost all of the 61", len(seen))
	}
}

func checkPrefixes(t *testing.T, c *gophercloud.ServiceClient, pool string) {
	t.Helper()
	pages, err := subnets.List(c, subnets.ListOpts{SubnetPoolID: pool}).AllPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := subnets.ExtractSubnets(pages)
	if err != nil {
		t.Fatal(err)
	}
	var given []netip.Prefix
	for _, s := range all {
		p := netip.MustParsePrefix(s.CIDR)
		for _, other := range given {
			if p.Overlaps(other) {
				t.Errorf("%s and %s overlap", p, other)
			}
		}
		given = append(given, p)
	}
	if len(given) != 16 {
		t.Errorf("%d subnets of /28, expected the 16 that a /24 holds", len(given))
	}
}

// BenchmarkPorts makes ports in a /12, many at a time, as a deployment of many
// machines does.
func BenchmarkPorts(b *testing.B) {
	db := storetest.Open(b)
	s, err := network.New(network.Config{DB: db, Auth: authtest.Default(), BaseURL: "http://network"})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	b.Cleanup(srv.Close)
	c := authtest.Client(srv.URL+"/", "network", "admin")
	c.ResourceBase += "v2.0/"
	n, _ := ctlplane(b, c, "172.16.0.0/12")
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ports.Create(b.Context(), c, ports.CreateOpts{NetworkID: n.ID}).Extract(); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ports/s")
}
