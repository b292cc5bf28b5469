package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
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
	return &Context{Session: &cloud.Session{Provider: p, ProjectID: "p"}, UserID: "me", ProjectID: "p", Now: time.Now, Started: time.Now(), ActionExecutionID: "a"}
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
		{"a snapshot is made below the stack", "heat.stacks_snapshot", map[string]any{"stack_id": "over", "name": "n"}, map[string]string{
			"GET /orchestration/stacks/over":                           `{"stack":{"stack_name":"over","id":"7"}}`,
			`POST /orchestration/stacks/over/7/snapshots {"name":"n"}`: `{"snapshot":{"id":"s"}}`}, "map[snapshot:map[id:s]]"},
		{"a snapshot needs no name", "heat.stacks_snapshot", map[string]any{"stack_id": "over"}, map[string]string{
			"GET /orchestration/stacks/over":                 `{"stack":{"stack_name":"over","id":"7"}}`,
			`POST /orchestration/stacks/over/7/snapshots {}`: `{"snapshot":{"id":"s"}}`}, "map[snapshot:map[id:s]]"},
		{"snapshots are listed", "heat.stacks_snapshot_list", map[string]any{"stack_id": "over"}, map[string]string{
			"GET /orchestration/stacks/over":             `{"stack":{"stack_name":"over","id":"7"}}`,
			"GET /orchestration/stacks/over/7/snapshots": `{"snapshots":[]}`}, "map[snapshots:[]]"},
		{"a snapshot is shown", "heat.stacks_snapshot_show", map[string]any{"stack_id": "over", "snapshot_id": "s"}, map[string]string{
			"GET /orchestration/stacks/over":               `{"stack":{"stack_name":"over","id":"7"}}`,
			"GET /orchestration/stacks/over/7/snapshots/s": `{"snapshot":{"id":"s"}}`}, "map[snapshot:map[id:s]]"},
		{"a snapshot is deleted, not the stack", "heat.stacks_snapshot_delete", map[string]any{"stack_id": "over", "snapshot_id": "s"}, map[string]string{
			"GET /orchestration/stacks/over":                  `{"stack":{"stack_name":"over","id":"7"}}`,
			"DELETE /orchestration/stacks/over/7/snapshots/s": ``}, "<nil>"},
		{"a stack is restored from its snapshot", "heat.stacks_restore", map[string]any{"stack_id": "over", "snapshot_id": "s"}, map[string]string{
			"GET /orchestration/stacks/over":                        `{"stack":{"stack_name":"over","id":"7"}}`,
			"POST /orchestration/stacks/over/7/snapshots/s/restore": ``}, "<nil>"},
		{"a stack is abandoned by DELETE", "heat.stacks_abandon", map[string]any{"stack_id": "over"}, map[string]string{
			"GET /orchestration/stacks/over":              `{"stack":{"stack_name":"over","id":"7"}}`,
			"DELETE /orchestration/stacks/over/7/abandon": `{"name":"over"}`}, "map[name:over]"},
		{"a stack is exported", "heat.stacks_export", map[string]any{"stack_id": "over"}, map[string]string{
			"GET /orchestration/stacks/over":          `{"stack":{"stack_name":"over","id":"7"}}`,
			"GET /orchestration/stacks/over/7/export": `{"name":"over"}`}, "map[name:over]"},
		{"a zone is found by its name", "designate.recordsets_list", map[string]any{"zone": "a.org.", "criterion": map[string]any{"type": "A"}}, map[string]string{
			"GET /dns/v2/zones?name=a.org.":          `{"zones":[{"id":"z1"}]}`,
			"GET /dns/v2/zones/z1/recordsets?type=A": `{"recordsets":[{"id":"r"}]}`}, "[map[id:r]]"},
		{"a zone's id is not looked up", "designate.zones_delete", map[string]any{"zone": "6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f0e"}, map[string]string{
			"DELETE /dns/v2/zones/6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f0e": ``}, "<nil>"},
		{"a record set is found within its zone", "designate.recordsets_update", map[string]any{"zone": "a.org.", "recordset": "w.a.org.", "values": map[string]any{"ttl": int64(5)}}, map[string]string{
			"GET /dns/v2/zones?name=a.org.":                 `{"zones":[{"id":"z1"}]}`,
			"GET /dns/v2/zones/z1/recordsets?name=w.a.org.": `{"recordsets":[{"id":"r1"}]}`,
			`PUT /dns/v2/zones/z1/recordsets/r1 {"ttl":5}`:  `{"id":"r1"}`}, "map[id:r1]"},
		{"a zone is abandoned by POST", "designate.zones_abandon", map[string]any{"zone": "a.org."}, map[string]string{
			"GET /dns/v2/zones?name=a.org.":       `{"zones":[{"id":"z1"}]}`,
			"POST /dns/v2/zones/z1/tasks/abandon": ``}, "<nil>"},
		{"who calls is the user of an application credential", "keystone.application_credentials_create", map[string]any{"name": "n", "expires_at": "2030-01-01T00:00:00"}, map[string]string{
			`POST /identity/v3/users/me/application_credentials {"application_credential":{"expires_at":"2030-01-01T00:00:00","name":"n","unrestricted":false}}`: `{"application_credential":{"id":"a"}}`},
			"map[_info:map[id:a] _loaded:true id:a]"},
		{"another user is named", "keystone.application_credentials_list", map[string]any{"user": "u"}, map[string]string{
			"GET /identity/v3/users/u/application_credentials": `{"application_credentials":[]}`}, "[]"},
		{"who calls changes the own password", "keystone.users_update_password", map[string]any{"old_password": "o", "new_password": "n"}, map[string]string{
			`POST /identity/v3/users/me/password {"user":{"original_password":"o","password":"n"}}`: ``}, "<nil>"},
		{"a member is the caller's project", "mistral.members_get", map[string]any{"resource_id": "w", "resource_type": "workflow"}, map[string]string{
			"GET /workflowv2/v2/workflows/w/members/p": `{"status":"accepted"}`}, "map[status:accepted]"},
		{"an image is changed by what differs", "glance.images_update", map[string]any{"image_id": "i", "name": "b", "os": "x", "min_disk": int64(1), "remove_props": []any{"old", "none", "name"}}, map[string]string{
			"GET /image/v2/images/i": `{"id":"i","name":"a","min_disk":1,"old":"o"}`,
			`PATCH /image/v2/images/i [{"op":"replace","path":"/name","value":"b"},{"op":"add","path":"/os","value":"x"},{"op":"remove","path":"/old"}]`: `{"id":"i","name":"b"}`},
			"map[id:i name:b]"},
		{"locations are removed from the last on", "glance.images_delete_locations", map[string]any{"image_id": "i", "url_set": []any{"a", "c"}}, map[string]string{
			"GET /image/v2/images/i": `{"id":"i","locations":[{"url":"a"},{"url":"b"},{"url":"c"}]}`,
			`PATCH /image/v2/images/i [{"op":"remove","path":"/locations/2"},{"op":"remove","path":"/locations/0"}]`: `{"id":"i"}`}, "map[id:i]"},
		{"each key is a request", "nova.servers_delete_meta", map[string]any{"server": "s", "keys": []any{"a", "b"}}, map[string]string{
			"DELETE /compute/v2.1/servers/s/metadata/a": ``, "DELETE /compute/v2.1/servers/s/metadata/b": ``}, "<nil>"},
		{"a tenant's usage", "nova.usage_list", map[string]any{"start": "2026-01-01", "end": "2026-02-01", "detailed": true}, map[string]string{
			"GET /compute/v2.1/os-simple-tenant-usage?detailed=1&end=2026-02-01&start=2026-01-01": `{"tenant_usages":[]}`}, "[]"},
		{"a consumer of OAuth", "keystone.oauth1.consumers_create", map[string]any{"description": "d"}, map[string]string{
			`POST /identity/v3/OS-OAUTH1/consumers {"consumer":{"description":"d"}}`: `{"consumer":{"id":"c"}}`}, "map[_info:map[id:c] _loaded:true id:c]"},
		{"a resource is marked", "heat.resources_mark_unhealthy", map[string]any{"stack_id": "over", "resource_name": "r", "mark_unhealthy": true, "resource_status_reason": "x"}, map[string]string{
			"GET /orchestration/stacks/over": `{"stack":{"stack_name":"over","id":"7"}}`,
			`PATCH /orchestration/stacks/over/7/resources/r {"mark_unhealthy":true,"resource_status_reason":"x"}`: ``}, "<nil>"},
		{"an image is all of the answer", "glance.images_get", map[string]any{"image_id": "i"}, map[string]string{
			"GET /image/v2/images/i": `{"id":"i","self":"/v2/images/i"}`}, "map[id:i self:/v2/images/i]"},
		{"a page's links are not its items", "trove.datastores_list", nil, map[string]string{
			"GET /database/datastores": `{"datastores":[{"name":"d"}],"links":[]}`}, "[map[_info:map[name:d] _loaded:true name:d]]"},
		{"numbers stay integers", "nova.hypervisors_statistics", nil, map[string]string{
			"GET /compute/v2.1/os-hypervisors/statistics": `{"hypervisor_statistics":{"count":3,"x":1.5}}`}, "map[_info:map[count:3 x:1.5] _loaded:true count:3 x:1.5]"},
		{"find wants exactly one", "nova.hypervisors_find", map[string]any{"hypervisor_hostname": "b"}, map[string]string{
			"GET /compute/os-hypervisors/detail": `{"hypervisors":[{"id":1,"hypervisor_hostname":"a"},{"id":2,"hypervisor_hostname":"b"}]}`},
			"map[_info:map[hypervisor_hostname:b id:2] _loaded:true hypervisor_hostname:b id:2]"},
		{"a change is laid over what is there", "glance.metadefs_tag_update", map[string]any{"namespace": "n", "tag_name": "t", "name": "u"}, map[string]string{
			"GET /image/v2/metadefs/namespaces/n/tags/t":              `{"name":"t","created_at":"c","updated_at":"u"}`,
			`PUT /image/v2/metadefs/namespaces/n/tags/t {"name":"u"}`: `{"name":"u"}`}, "map[name:u]"},
		{"a rule keeps what is not given of it", "aodh.alarm_update", map[string]any{"alarm_id": "a", "alarm_update": map[string]any{"name": "n", "threshold_rule": map[string]any{"threshold": int64(2)}}}, map[string]string{
			"GET /alarming/v2/alarms/a": `{"name":"m","threshold_rule":{"threshold":1,"meter":"x"}}`,
			`PUT /alarming/v2/alarms/a {"name":"n","threshold_rule":{"meter":"x","threshold":2}}`: `{"name":"n"}`}, "map[name:n]"},
		{"a reference is an address", "barbican.secrets_retrieve", map[string]any{"secret_ref": "http://k:9311/v1/secrets/s1"}, map[string]string{
			"GET /key-manager/v1/secrets/s1/payload": "text"}, "text"},
		{"measures of several metrics", "gnocchi.measures_aggregation", map[string]any{"metrics": []any{"a", "b"}, "aggregation": "mean"}, map[string]string{
			"GET /metric/v1/aggregation/metric?aggregation=mean&metric=a&metric=b&refresh=False": `[]`}, "[]"},
		{"measures of what a query finds", "gnocchi.measures_aggregation", map[string]any{"metrics": "cpu", "query": map[string]any{"=": map[string]any{"id": "x"}}, "resource_type": "instance"}, map[string]string{
			`POST /metric/v1/aggregation/resource/instance/metric/cpu?refresh=False {"=":{"id":"x"}}`: `[]`}, "[]"},
		{"a metric of a resource", "gnocchi.metric_get", map[string]any{"metric": "cpu", "resource_id": "r"}, map[string]string{
			"GET /metric/v1/resource/generic/r/metric/cpu": `{"id":"m"}`}, "map[id:m]"},
		{"the encryption of each type", "cinder.volume_encryption_types_find", map[string]any{"cipher": "aes"}, map[string]string{
			"GET /volumev3/types":              `{"volume_types":[{"id":"1"},{"id":"2"}]}`,
			"GET /volumev3/types/1/encryption": `{}`, "GET /volumev3/types/2/encryption": `{"volume_type_id":"2","cipher":"aes"}`},
			"map[_info:map[cipher:aes volume_type_id:2] _loaded:true cipher:aes volume_type_id:2]"},
		{"a search in the list of an object", "trove.users_find", map[string]any{"instance": "i", "name": "u"}, map[string]string{
			"GET /database/instances/i/users": `{"users":[{"name":"t"},{"name":"u"}]}`}, "map[_info:map[name:u] _loaded:true name:u]"},
		{"keywords are the object's fields", "magnum.clusters_create", map[string]any{"name": "c"}, map[string]string{
			`POST /container-infra/v1/clusters {"name":"c"}`: `{"uuid":"u"}`}, "map[uuid:u]"},
		{"a location's metadata", "glance.images_update_location", map[string]any{"image_id": "i", "url": "a", "metadata": map[string]any{"k": "v"}}, map[string]string{
			"GET /image/v2/images/i": `{"id":"i","locations":[{"url":"a","metadata":{}}]}`,
			`PATCH /image/v2/images/i [{"op":"replace","path":"/locations","value":[{"metadata":{"k":"v"},"url":"a"}]}]`: `{"id":"i"}`}, "map[id:i]"},
		{"a template of Vitrage is read", "vitrage.template_validate", map[string]any{"template_str": "a: 1"}, map[string]string{
			`POST /rca/v1/template/ {"params":null,"template_type":null,"templates":[[null,{"a":1}]]}`: `{"results":[]}`}, "map[results:[]]"},
		{"an aggregate of names of ours", "designate.recordset_list_all_zones", nil, map[string]string{
			"GET /dns/v2/recordsets": `{"recordsets":[]}`}, "[]"},
		{"claims carry ids", "zaqar.claim_messages", map[string]any{"queue_name": "q"}, map[string]string{
			"POST /message/v2/queues/q/claims": `{"messages":[{"href":"/v2/queues/q/messages/77?claim_id=1","body":1}]}`},
			"[map[_id:77 body:1 href:/v2/queues/q/messages/77?claim_id=1 id:77]]"},
	}
	for _, tt := range tests {
		c := session(t, func(w http.ResponseWriter, r *http.Request) {
			sent, _ := io.ReadAll(r.Body)
			body, ok := tt.answer[r.Method+" "+r.URL.RequestURI()]
			if !ok {
				body, ok = tt.answer[r.Method+" "+r.URL.RequestURI()+" "+string(sent)]
			}
			if !ok {
				t.Errorf("%s: unexpected %s %s %s", tt.reason, r.Method, r.URL.RequestURI(), sent)
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

func TestWaitForProvisionStateHoldsNoWorker(t *testing.T) {
	answer := `{"uuid":"u","provision_state":"deploying","target_provision_state":"active"}`
	c := session(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
	in := map[string]any{"node_ident": "n", "expected_state": "active", "timeout": int64(60)}
	if after, topics, ok := Waits(second(run(t, c, "ironic.node_wait_for_provision_state", in))); !ok || after != 2*time.Second || topics[0] != "baremetal/node/u" {
		t.Errorf("waits %v, %s %v", ok, after, topics)
	}
	start := c.Started
	c.Now = func() time.Time { return start.Add(time.Minute) }
	if err := second(run(t, c, "ironic.node_wait_for_provision_state", in)); err == nil || err.Error() != "Node(s) n failed to reach state active in 60 seconds" {
		t.Errorf("after the timeout: %v", err)
	}
	answer = `{"uuid":"u","provision_state":"deploy failed","target_provision_state":"active","last_error":"x"}`
	if err := second(run(t, c, "ironic.node_wait_for_provision_state", in)); err == nil || !strings.Contains(err.Error(), "in state deploy failed, and has error: x") {
		t.Errorf("failed: %v", err)
	}
	answer = `{"uuid":"u","provision_state":"active"}`
	if err := second(run(t, c, "ironic.node_wait_for_provision_state", in)); err != nil {
		t.Errorf("active: %v", err)
	}
}

func TestAllocationWaitHoldsNoWorker(t *testing.T) {
	answer := `{"state":"allocating"}`
	c := session(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/baremetal/v1/allocations/a" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		_, _ = w.Write([]byte(answer))
	})
	in := map[string]any{"allocation_id": "a", "timeout": int64(60), "poll_interval": int64(3)}
	if after, _, ok := Waits(second(run(t, c, "ironic.allocation_wait", in))); !ok || after != 3*time.Second {
		t.Errorf("waits %v, %s", ok, after)
	}
	start := c.Started
	c.Now = func() time.Time { return start.Add(time.Minute) }
	if err := second(run(t, c, "ironic.allocation_wait", in)); err == nil || err.Error() != "Allocation a failed to become active in 60 seconds" {
		t.Errorf("after the timeout: %v", err)
	}
	if _, _, ok := Waits(second(run(t, c, "ironic.allocation_wait", map[string]any{"allocation_id": "a"}))); !ok {
		t.Error("timeout 0 has ended the wait")
	}
	answer = `{"state":"error","last_error":"no node"}`
	if err := second(run(t, c, "ironic.allocation_wait", in)); err == nil || err.Error() != "Allocation a failed: no node" {
		t.Errorf("failed: %v", err)
	}
	answer = `{"state":"active","node_uuid":"n"}`
	if got, err := run(t, c, "ironic.allocation_wait", in); err != nil || fmt.Sprint(got) != "map[node_uuid:n state:active]" {
		t.Errorf("active: %v %v", got, err)
	}
}

func second(_ any, err error) error { return err }

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

// TestRegions: every action of a project that is in several regions takes one.
func TestRegions(t *testing.T) {
	for _, a := range OpenStack() {
		has := slices.ContainsFunc(a.Input, func(p Param) bool { return p.Name == "action_region" })
		if takesRegion(a.Name) && !has {
			t.Errorf("%s takes no action_region", a.Name)
		}
	}
}
