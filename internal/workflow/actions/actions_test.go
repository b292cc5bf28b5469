package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
)

func TestCheckInput(t *testing.T) {
	a := Action{Name: "x.y", Input: []Param{Req("a"), Opt("b", int64(2))}}
	got, err := a.Check(map[string]any{"a": 1})
	if err != nil || cmp.Diff(map[string]any{"a": 1, "b": int64(2)}, got) != "" {
		t.Errorf("defaults: %v %v", got, err)
	}
	_, err = a.Check(map[string]any{"c": 1})
	if err == nil || err.Error() != "Invalid input [name=x.y, class=Action, missing=['a'], unexpected=['c']]" {
		t.Errorf("got %v", err)
	}
	if s := a.Signature(); s != "a, b=2" {
		t.Errorf("signature %q", s)
	}
}

func TestNamesAreUniqueAndComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range append(Std(StdOptions{}), OpenStack()...) {
		if seen[a.Name] || a.Description == "" || a.Run == nil {
			t.Errorf("action %s is doubled or incomplete", a.Name)
		}
		seen[a.Name] = true
	}
	// What tripleo-common's workbooks call (inventory 3.4).
	for _, name := range strings.Fields(`baremetal_introspection.introspect baremetal_introspection.wait_for_finish baremetal_introspection.get_status
		baremetal_introspection.get_data glance.images_list mistral.environments_get std.echo std.noop heat.stacks_get heat.stacks_list
		heat.stacks_delete heat.stacks_output_show nova.servers_list nova.hypervisors_find nova.hypervisors_statistics ironic.node_list
		ironic.node_get ironic.node_set_provision_state ironic.node_set_power_state ironic.node_set_target_raid_config swift.head_container
		swift.get_object swift.put_container swift.put_object swift.get_container swift.head_object swift.delete_object
		swift.delete_container zaqar.queue_post zaqar.claim_messages zaqar.delete_messages`) {
		if !seen[name] {
			t.Errorf("action %s is missing", name)
		}
	}
}

// session reaches every service at one server, under /<type>/.
func session(t *testing.T, h http.HandlerFunc) *Context {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	p := &gophercloud.ProviderClient{}
	p.SetToken("token")
	p.EndpointLocator = func(o gophercloud.EndpointOpts) (string, error) { return srv.URL + "/" + o.Type + "/", nil }
	return &Context{Session: &cloud.Session{Provider: p, ProjectID: "p"}, Now: time.Now, Started: time.Now(), ActionExecutionID: "a"}
}

func run(t *testing.T, c *Context, name string, in map[string]any) (any, error) {
	t.Helper()
	reg, err := NewRegistry(OpenStack())
	if err != nil {
		t.Fatal(err)
	}
	a := reg.Get(name)
	checked, err := a.Check(in)
	if err != nil {
		t.Fatal(err)
	}
	return a.Run(t.Context(), c, checked)
}

func TestRequests(t *testing.T) {
	tests := []struct {
		reason, action string
		in             map[string]any
		answer         map[string]string // "METHOD path?query" -> body
		want           string            // of fmt
	}{
		{"node lists follow their pages", "ironic.node_list", map[string]any{"fields": []any{"uuid", "name"}, "maintenance": false}, map[string]string{
			"GET /baremetal/v1/nodes?fields=uuid%2Cname&maintenance=false": `{"nodes":[{"uuid":"1"}],"next":"/baremetal/v1/nodes?marker=1"}`,
			"GET /baremetal/v1/nodes?marker=1":                             `{"nodes":[{"uuid":"2"}]}`}, "[map[uuid:1] map[uuid:2]]"},
		{"a stack is deleted by name and id", "heat.stacks_delete", map[string]any{"stack_id": "over"}, map[string]string{
			"GET /orchestration/stacks/over":      `{"stack":{"stack_name":"over","id":"7"}}`,
			"DELETE /orchestration/stacks/over/7": ``}, "<nil>"},
		{"numbers stay integers", "nova.hypervisors_statistics", nil, map[string]string{
			"GET /compute/v2.1/os-hypervisors/statistics": `{"hypervisor_statistics":{"count":3,"x":1.5}}`}, "map[_info:map[count:3 x:1.5] _loaded:true count:3 x:1.5]"},
		{"find wants exactly one", "nova.hypervisors_find", map[string]any{"hypervisor_hostname": "b"}, map[string]string{
			"GET /compute/os-hypervisors/detail": `{"hypervisors":[{"id":1,"hypervisor_hostname":"a"},{"id":2,"hypervisor_hostname":"b"}]}`},
			"map[_info:map[hypervisor_hostname:b id:2] _loaded:true hypervisor_hostname:b id:2]"},
		{"claims carry ids", "zaqar.claim_messages", map[string]any{"queue_name": "q"}, map[string]string{
			"POST /message/v2/queues/q/claims": `{"messages":[{"href":"/v2/queues/q/messages/77?claim_id=1","body":1}]}`},
			"[map[_id:77 body:1 href:/v2/queues/q/messages/77?claim_id=1 id:77]]"},
	}
	for _, tt := range tests {
		c := session(t, func(w http.ResponseWriter, r *http.Request) {
			body, ok := tt.answer[r.Method+" "+r.URL.RequestURI()]
			if !ok {
				t.Errorf("%s: unexpected %s %s", tt.reason, r.Method, r.URL.RequestURI())
				w.WriteHeader(http.StatusTeapot)
				return
			}
			if body == "" {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = w.Write([]byte(body))
		})
		got, err := run(t, c, tt.action, tt.in)
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%s: got %v, %v; want %s", tt.reason, got, err, tt.want)
		}
	}
}

func TestFaultsSayTheServicesWords(t *testing.T) {
	for body, want := range map[string]string{
		`{"error_message":"{\"faultstring\": \"Node x is locked\", \"debuginfo\": null}"}`:            "Node x is locked (HTTP 409",
		`{"itemNotFound":{"code":404,"message":"no server"}}`:                                         "no server (HTTP 409",
		`{"explanation":"e","error":{"message":"The Stack (x) could not be found.","traceback":"t"}}`: "The Stack (x) could not be found. (HTTP 409",
		`<html>x</html>`: "Conflict (HTTP 409",
	} {
		c := session(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(body))
		})
		_, err := run(t, c, "ironic.node_get", map[string]any{"node_id": "x"})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

func TestWaitForFinishHoldsNoWorker(t *testing.T) {
	finished := "false"
	c := session(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"finished":` + finished + `,"error":null}`))
	})
	in := map[string]any{"uuids": []any{"n1"}, "retry_interval": int64(7)}
	_, err := run(t, c, "baremetal_introspection.wait_for_finish", in)
	if after, topics, ok := Waits(err); !ok || after != 7*time.Second || topics[0] != "baremetal/node/n1" {
		t.Errorf("got %v", err)
	}
	finished = "true"
	if got, err := run(t, c, "baremetal_introspection.wait_for_finish", in); err != nil || fmt.Sprint(got) != "map[n1:map[error:<nil> finished:true]]" {
		t.Errorf("got %v %v", got, err)
	}
}

func TestHTTPGuard(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte(`{"a":1}`))
	}))
	defer srv.Close()
	call := func(o StdOptions, url string) (any, error) {
		return o.http(context.Background(), &Context{Now: time.Now}, map[string]any{"url": url, "method": "GET"})
	}
	if _, err := call(StdOptions{}, srv.URL); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("loopback is reached: %v", err)
	}
	for _, tt := range []struct {
		network string
		taken   bool
	}{{"127.0.0.0/8", true}, {"169.254.0.0/16", false}} {
		_, err := call(StdOptions{Allowed: []netip.Prefix{netip.MustParsePrefix(tt.network)}}, srv.URL)
		if (err == nil) != tt.taken {
			t.Errorf("with %s allowed: %v", tt.network, err)
		}
	}
	got, err := call(StdOptions{AllowLocal: true}, srv.URL)
	if err != nil || !strings.Contains(fmt.Sprint(got), "200") {
		t.Errorf("got %v %v", got, err)
	}
	var f *FailureError
	if _, err := call(StdOptions{AllowLocal: true}, srv.URL+"/bad"); !errors.As(err, &f) {
		t.Errorf("status 500: %v", err)
	}
}
