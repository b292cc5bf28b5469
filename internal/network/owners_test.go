package network_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/network"
)

// object is a part of an answer, by path of keys.
type object map[string]any

func send(t *testing.T, c *gophercloud.ServiceClient, method, path string, in any) object {
	t.Helper()
	out := object{}
	_, err := c.Request(t.Context(), method, c.ServiceURL(path), &gophercloud.RequestOpts{JSONBody: in, JSONResponse: &out, OkCodes: []int{200, 201}})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

func (o object) in(keys ...string) any {
	var v any = map[string]any(o)
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (o object) id(kind string) string { s, _ := o.in(kind, "id").(string); return s }

// external makes a network with a router to it, and an interface of the router
// at the given address of a subnet.
func external(t *testing.T, c *gophercloud.ServiceClient, name, cidr, inner, subnet, address string) (network string) {
	t.Helper()
	network = send(t, c, "POST", "networks", object{"network": object{"name": name, "router:external": true}}).id("network")
	send(t, c, "POST", "subnets", object{"subnet": object{"network_id": network, "cidr": cidr, "ip_version": 4}})
	router := send(t, c, "POST", "routers", object{"router": object{"external_gateway_info": object{"network_id": network}}}).id("router")
	port := send(t, c, "POST", "ports", object{"port": object{"network_id": inner, "fixed_ips": []object{{"subnet_id": subnet, "ip_address": address}}}}).id("port")
	send(t, c, "PUT", "routers/"+router+"/add_router_interface", object{"port_id": port})
	return network
}

func TestFloatingIPsOfAnAddressThatIsGivenBack(t *testing.T) {
	client, _ := start(t, network.Config{})
	c := client("admin")
	n, s := ctlplane(t, c, "192.168.24.0/24")
	nets := []string{
		external(t, c, "out-a", "203.0.113.0/25", n.ID, s.ID, "192.168.24.1"),
		external(t, c, "out-b", "203.0.113.128/25", n.ID, s.ID, "192.168.24.2"),
	}
	p := must[*ports.Port](t)(ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: n.ID, FixedIPs: []ports.IP{
		{SubnetID: s.ID, IPAddress: "192.168.24.10"}, {SubnetID: s.ID, IPAddress: "192.168.24.11"},
	}}).Extract())
	var ids []string
	for _, net := range nets {
		ids = append(ids, send(t, c, "POST", "floatingips", object{"floatingip": object{
			"floating_network_id": net, "port_id": p.ID, "fixed_ip_address": "192.168.24.10"}}).id("floatingip"))
	}
	_, err := c.Put(t.Context(), c.ServiceURL("floatingips", ids[0]), object{"floatingip": object{"fixed_ip_address": "10.9.9.9"}}, nil, nil)
	if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		t.Errorf("fixed address without a port: %v, expected 400", err)
	}
	if got := send(t, c, "PUT", "floatingips/"+ids[0], object{"floatingip": object{"fixed_ip_address": nil}}); got.in("floatingip", "fixed_ip_address") != "192.168.24.10" {
		t.Errorf("no address asked for: %v, expected the association to stay", got)
	}
	send(t, c, "PUT", "ports/"+p.ID, object{"port": object{"fixed_ips": []object{{"subnet_id": s.ID, "ip_address": "192.168.24.11"}}}})
	for _, id := range ids {
		got := send(t, c, "GET", "floatingips/"+id, nil)
		if got.in("floatingip", "port_id") != nil || got.in("floatingip", "status") != "DOWN" {
			t.Errorf("floating IP of an address that the port gave back: %v, expected none of them to be associated", got)
		}
	}
}

func TestOwnersOfNetworksTakePortsOffAndChangeNone(t *testing.T) {
	client, _ := start(t, network.Config{})
	n := must[*networks.Network](t)(networks.Create(t.Context(), client("member"), networks.CreateOpts{Name: "mine"}).Extract())
	p := send(t, client("admin"), "POST", "ports", object{"port": object{"network_id": n.ID}}).id("port")
	name := "taken"
	if _, err := ports.Update(t.Context(), client("member"), p, ports.UpdateOpts{Name: &name}).Extract(); !gophercloud.ResponseCodeIs(err, 403) {
		t.Errorf("change of another project's port by the owner of its network: %v, expected 403", err)
	}
	if _, err := ports.Update(t.Context(), client("other"), p, ports.UpdateOpts{Name: &name}).Extract(); !gophercloud.ResponseCodeIs(err, 404) {
		t.Errorf("change of a port that is not seen: %v, expected 404", err)
	}
	if err := ports.Delete(t.Context(), client("member"), p).ExtractErr(); err != nil {
		t.Errorf("delete of another project's port by the owner of its network: %v", err)
	}
}

// slowBody is a body that stops at its first read until the test lets it go on.
type slowBody struct {
	io.Reader
	once      sync.Once
	begun, on chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.once.Do(func() {
		close(b.begun)
		<-b.on
	})
	return b.Reader.Read(p)
}

func TestSlowClientOfARuleHoldsNobodyUp(t *testing.T) {
	client, svc := start(t, network.Config{})
	c := client("admin")
	policy := send(t, c, "POST", "qos/policies", object{"policy": object{"name": "slow"}}).id("policy")
	rules := "qos/policies/" + policy + "/bandwidth_limit_rules"
	rule := send(t, c, "POST", rules, object{"bandwidth_limit_rule": object{"max_kbps": 1000}}).id("bandwidth_limit_rule")
	body := &slowBody{Reader: strings.NewReader(`{"bandwidth_limit_rule": {"max_kbps": 2000}}`), begun: make(chan struct{}), on: make(chan struct{})}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2.0/"+rules+"/"+rule, body)
	r.Header.Set("X-Auth-Token", "admin")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { svc.Handler().ServeHTTP(w, r); close(done) }()
	<-body.begun
	send(t, c, "POST", "networks", object{"network": object{"name": "meanwhile"}}) // waits for no other's write
	close(body.on)
	<-done
	if w.Code != http.StatusOK {
		t.Fatalf("update of the rule: %d %s", w.Code, w.Body)
	}
	if got := send(t, c, "GET", rules+"/"+rule, nil).in("bandwidth_limit_rule", "max_kbps"); fmt.Sprint(got) != "2000" {
		t.Errorf("max_kbps is %v, expected 2000", got)
	}
}
