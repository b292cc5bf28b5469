package network

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func TestAgentOutOfServiceAnswersNoDHCP(t *testing.T) {
	s, err := New(Config{DB: storetest.Open(t), Bus: notify.New(), Auth: authtest.Default(), Log: slog.New(slog.DiscardHandler), PhysicalNetwork: "ctlplane"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	c := authtest.Client(srv.URL+"/", "network", "admin")
	c.ResourceBase += "v2.0/"
	call := func(method, path, kind string, in map[string]any) string {
		t.Helper()
		var out map[string]map[string]any
		if _, err := c.Request(t.Context(), method, c.ServiceURL(path), &gophercloud.RequestOpts{
			JSONBody: map[string]any{kind: in}, JSONResponse: &out, OkCodes: []int{http.StatusOK, http.StatusCreated},
		}); err != nil {
			t.Fatal(err)
		}
		id, _ := out[kind]["id"].(string)
		return id
	}
	n := call("POST", "networks", "network", map[string]any{"provider:physical_network": "ctlplane", "provider:network_type": "flat"})
	call("POST", "subnets", "subnet", map[string]any{"network_id": n, "cidr": "192.168.24.0/24", "ip_version": 4})
	call("POST", "subnets", "subnet", map[string]any{"network_id": n, "cidr": "2001:db8::/64", "ip_version": 6, "ipv6_address_mode": "dhcpv6-stateful", "ipv6_ra_mode": "dhcpv6-stateful"})
	mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	call("POST", "ports", "port", map[string]any{"network_id": n, "mac_address": mac.String()})
	for _, on := range []bool{true, false, true} {
		call("PUT", "agents/"+agentID, "agent", map[string]any{"admin_state_up": on})
		four, err4 := s.dhcpHost(t.Context(), mac)
		six, err6 := s.dhcpHost6(t.Context(), mac)
		told, errRA := s.advertisement(t.Context())
		if err4 != nil || err6 != nil || errRA != nil {
			t.Fatal(err4, err6, errRA)
		}
		if (four != nil) != on || (six != nil) != on || (told != nil) != on {
			t.Errorf("admin_state_up %t: DHCP %v, DHCPv6 %v, router advertisement %v", on, four, six, told)
		}
	}
}
