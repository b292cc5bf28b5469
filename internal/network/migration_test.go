package network_test

import (
	"net/http/httptest"
	"os"
	"testing"
	"testing/fstest"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestDataOfBeforeIsKept: what the tables of the first version held is there
// under the second.
func TestDataOfBeforeIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		first, err := os.ReadFile("migrations/001_network.sql")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context(), "network", fstest.MapFS{"001_network.sql": {Data: first}}); err != nil {
			t.Fatal(err)
		}
		err = db.Tx(t.Context(), func(tx *store.Tx) error {
			for _, q := range []string{
				`INSERT INTO network_networks (id, project_id, name, doc) VALUES ('11111111-1111-1111-1111-111111111111', 'p-admin', 'ctlplane', '{"id": "11111111-1111-1111-1111-111111111111", "project_id": "p-admin", "name": "ctlplane", "mtu": 1500, "provider:network_type": "flat", "provider:physical_network": "ctlplane"}')`,
				`INSERT INTO network_subnets (id, network_id, project_id, name, cidr, last_address, doc) VALUES ('s', '11111111-1111-1111-1111-111111111111', 'p-admin', 'sub', '192.0.2.0/24', '192.0.2.5',
					'{"id": "s", "network_id": "11111111-1111-1111-1111-111111111111", "project_id": "p-admin", "cidr": "192.0.2.0/24", "ip_version": 4, "gateway_ip": "192.0.2.1", "allocation_pools": [{"start": "192.0.2.5", "end": "192.0.2.9"}], "enable_dhcp": true}')`,
				`INSERT INTO network_ports (id, network_id, project_id, name, mac, device_id, doc) VALUES ('p', '11111111-1111-1111-1111-111111111111', 'p-admin', 'port', '52:54:00:00:00:01', 'd',
					'{"id": "p", "network_id": "11111111-1111-1111-1111-111111111111", "project_id": "p-admin", "mac_address": "52:54:00:00:00:01", "device_id": "d", "fixed_ips": [{"subnet_id": "s", "ip_address": "192.0.2.5"}]}')`,
				`INSERT INTO network_addresses (subnet_id, address, port_id) VALUES ('s', '192.0.2.5', 'p')`,
			} {
				if _, err := tx.Exec(q); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := network.New(network.Config{DB: db, Auth: authtest.Default(), BaseURL: "http://network"})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(s.Handler())
		t.Cleanup(srv.Close)
		c := authtest.Client(srv.URL+"/", "network", "admin")
		c.ResourceBase += "v2.0/"
		if n := must[*networks.Network](t)(networks.Get(t.Context(), c, "11111111-1111-1111-1111-111111111111").Extract()); len(n.Subnets) != 1 {
			t.Errorf("the network has the subnets %v, expected the one of before", n.Subnets)
		}
		if p := must[*ports.Port](t)(ports.Get(t.Context(), c, "p").Extract()); len(p.FixedIPs) != 1 || p.FixedIPs[0].IPAddress != "192.0.2.5" {
			t.Errorf("the port has %v", p.FixedIPs)
		}
		next := must[*ports.Port](t)(ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: "11111111-1111-1111-1111-111111111111"}).Extract())
		if next.FixedIPs[0].IPAddress != "192.0.2.6" {
			t.Errorf("a new port got %s, expected the address after the last one", next.FixedIPs[0].IPAddress)
		}
	})
}
