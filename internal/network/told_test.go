package network_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/network/switches"
)

// TestBareMetalIsTold: the events are those of Neutron's notifier
// (neutron.notifiers.ironic), and one that does not arrive is sent again.
func TestBareMetalIsTold(t *testing.T) {
	srv := identitytest.Start(t)
	events := make(chan map[string]any, 16)
	var refused atomic.Bool
	srv.Mount("/baremetal", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // clients look for the versions first
			_, _ = w.Write([]byte(`{"default_version": {"id": "v1", "status": "CURRENT", "min_version": "1.1", "version": "1.87", "links": []}, "versions": [{"id": "v1", "status": "CURRENT", "min_version": "1.1", "version": "1.87", "links": []}]}`))
			return
		}
		if !refused.Swap(true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var in struct{ Events []map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/events" || r.Header.Get("X-OpenStack-Ironic-API-Version") != "1.54" || len(in.Events) != 1 {
			t.Errorf("%s %s %v, version %s: %v", r.Method, r.URL.Path, in, r.Header.Get("X-OpenStack-Ironic-API-Version"), err)
		}
		for _, e := range in.Events {
			events <- e
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	s, err := network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Cloud: srv.Cloud, Auth: authtest.Default(), Log: slog.New(slog.DiscardHandler),
		Switches: []switches.Switch{{Name: "leaf1", Driver: switches.Noop{}}}})
	if err != nil {
		t.Fatal(err)
	}
	srv.RunJobs()
	api := httptest.NewServer(s.Handler())
	t.Cleanup(api.Close)
	c := authtest.Client(api.URL+"/", "network", "admin")
	c.ResourceBase += "v2.0/"
	n := send(t, c, "POST", "networks", object{"network": object{"provider:network_type": "vlan", "provider:physical_network": "rack", "provider:segmentation_id": 10}}).id("network")
	told := func(event, status, host string, of object) {
		t.Helper()
		want := map[string]any{"event": event, "port_id": of.id("port"), "mac_address": of.in("port", "mac_address"), "status": status, "device_id": "d", "binding:host_id": host, "binding:vnic_type": "baremetal"}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		select {
		case got := <-events:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		case <-ctx.Done():
			t.Fatalf("nobody was told of %s", event)
		}
	}
	send(t, c, "POST", "ports", object{"port": object{"network_id": n, "binding:host_id": "a hypervisor"}}) // of which Ironic hears nothing
	bind := object{"network_id": n, "device_id": "d", "binding:host_id": "h", "binding:vnic_type": "baremetal", "binding:profile": object{"local_link_information": []object{{"switch_info": "leaf1", "port_id": "eth1"}}}}
	p := send(t, c, "POST", "ports", object{"port": bind})
	told("network.bind_port", "ACTIVE", "h", p)
	send(t, c, "PUT", "ports/"+p.id("port"), object{"port": object{"name": "no news"}})
	send(t, c, "PUT", "ports/"+p.id("port"), object{"port": object{"binding:host_id": ""}})
	told("network.unbind_port", "DOWN", "", p)
	send(t, c, "PUT", "ports/"+p.id("port"), object{"port": object{"binding:host_id": "h", "binding:profile": object{"local_link_information": []object{{"switch_info": "none", "port_id": "eth1"}}}}})
	told("network.bind_port", "ERROR", "h", p)
	if _, err := c.Delete(t.Context(), c.ServiceURL("ports", p.id("port")), &gophercloud.RequestOpts{OkCodes: []int{http.StatusNoContent}}); err != nil {
		t.Fatal(err)
	}
	told("network.delete_port", "ERROR", "h", p)
}
