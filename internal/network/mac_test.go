package network

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestChosenAddressThatIsTaken: among some thousand ports a MAC address drawn
// by lot is taken now and then; the port gets another one, and the IPv6 address
// that belongs to it.
func TestChosenAddressThatIsTaken(t *testing.T) {
	for _, six := range []bool{true, false} {
		storetest.Each(t, func(t *testing.T, db *store.DB) { testChosenAddressThatIsTaken(t, db, six) })
	}
}

func testChosenAddressThatIsTaken(t *testing.T, db *store.DB, six bool) {
	s, err := New(Config{DB: db, Auth: authtest.Default(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const taken, free = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
	drawn := 0
	s.mac = func() (string, error) {
		if drawn++; drawn == 4 {
			return free, nil
		}
		return taken, nil
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	c := authtest.Client(srv.URL+"/", "network", "admin")
	c.ResourceBase += "v2.0/"
	post := func(path, kind string, in map[string]any) string {
		t.Helper()
		var out map[string]map[string]any
		if _, err := c.Post(t.Context(), c.ServiceURL(path), map[string]any{kind: in}, &out, &gophercloud.RequestOpts{OkCodes: []int{http.StatusCreated}}); err != nil {
			t.Fatal(err)
		}
		id, _ := out[kind]["id"].(string)
		return id
	}
	n := post("networks", "network", map[string]any{})
	post("subnets", "subnet", map[string]any{"network_id": n, "cidr": "192.0.2.0/24", "ip_version": 4})
	each := 1
	if six {
		each = 2
		post("subnets", "subnet", map[string]any{"network_id": n, "cidr": "2001:db8::/64", "ip_version": 6, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"})
	}
	post("ports", "port", map[string]any{"network_id": n})
	id := post("ports", "port", map[string]any{"network_id": n, "allowed_address_pairs": []any{map[string]any{"ip_address": "203.0.113.1"}}})
	p, err := ports.Get(t.Context(), c, id).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if p.MACAddress != free || len(p.FixedIPs) != each || p.AllowedAddressPairs[0].MACAddress != free {
		t.Errorf("the port has %s, %v, %v, expected the free address", p.MACAddress, p.FixedIPs, p.AllowedAddressPairs)
	}
	for _, ip := range p.FixedIPs {
		if ip.IPAddress != "192.0.2.3" && ip.IPAddress != "2001:db8::f816:3eff:fe00:2" {
			t.Errorf("the port has %s, expected the next IPv4 address, and the IPv6 address of its MAC", ip.IPAddress)
		}
	}
	_, err = ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n}).Extract()
	if !gophercloud.ResponseCodeIs(err, http.StatusConflict) || !strings.Contains(err.Error(), "MacAddressInUse") {
		t.Errorf("no address is free: %v, expected 409 MacAddressInUse", err)
	}
	if drawn != 4+macTries {
		t.Errorf("%d addresses were drawn, expected %d", drawn, 4+macTries)
	}
	var left int
	err = db.View(t.Context(), func(tx *store.Tx) error {
		return tx.Get([]any{&left}, `SELECT COUNT(*) FROM network_allocations`)
	})
	if err != nil || left != 2*each {
		t.Errorf("%d addresses are allocated, %v, expected those of the two ports", left, err)
	}
}
