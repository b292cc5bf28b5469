package orchestration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stackevents"
	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stackresources"
	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stacks"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/orchestration"
)

// undercloud is Keystone, Swift, Neutron and Heat as they are, and a Nova and a Glance that answer as
// Nova and Glance do but boot nothing.
type undercloud struct {
	*testing.T
	*identitytest.Server
	admin *cloud.Session
	heat  *gophercloud.ServiceClient
	nova  *nova
}

func newUndercloud(t *testing.T) *undercloud {
	t.Helper()
	return newUndercloudWith(t, func(*orchestration.Config) {})
}

func newUndercloudWith(t *testing.T, change func(*orchestration.Config)) *undercloud {
	t.Helper()
	srv := identitytest.Start(t)
	u := &undercloud{T: t, Server: srv, nova: &nova{servers: map[string]map[string]any{}, publish: func(topic string) { srv.Bus.Publish(topic) }}}
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	swift, err := objectstore.New(objectstore.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Blob: blobs})
	if err != nil {
		t.Fatal(err)
	}
	neutron, err := network.New(network.Config{DB: srv.DB, Bus: srv.Bus, Log: srv.Log, Auth: srv.Tokens, BaseURL: srv.URL + "/network", PhysicalNetwork: "ctlplane"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := orchestration.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud,
		BaseURL: srv.URL + "/orchestration", NodeURL: srv.URL, AuthURL: srv.AuthURL, SafetyPoll: 20 * time.Second}
	change(&cfg)
	heat, err := orchestration.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/object-store", swift.Handler())
	srv.Mount("/network", neutron.Handler())
	zaqar, err := messaging.New(messaging.Config{DB: srv.DB, Bus: srv.Bus, Jobs: srv.Jobs, Log: srv.Log, Auth: srv.Tokens, Cloud: srv.Cloud, BaseURL: srv.URL + "/messaging"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Mount("/orchestration-cfn", heat.CFNHandler())
	srv.Mount("/messaging", zaqar.Handler())
	srv.Mount("/orchestration", heat.Handler())
	srv.Mount("/compute", u.nova)
	srv.Mount("/image", http.HandlerFunc(glance))
	srv.RunJobs()
	u.admin = srv.Admin()
	if u.heat, err = u.admin.Orchestration(); err != nil {
		t.Fatal(err)
	}
	return u
}

func glance(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if strings.Contains(r.URL.Path, "/images/") && !strings.HasSuffix(r.URL.Path, "/11111111-1111-4111-8111-111111111111") {
		http.NotFound(w, r)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/11111111-1111-4111-8111-111111111111") && r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"id": "11111111-1111-4111-8111-111111111111", "name": "overcloud-full", "status": "active"}`)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/images") {
		_, _ = fmt.Fprintf(w, `{"versions": [{"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": "http://%s/image/v2/"}]}]}`, r.Host)
		return
	}
	_, _ = io.WriteString(w, `{"images": [{"id": "11111111-1111-4111-8111-111111111111", "name": "overcloud-full", "status": "active"}]}`)
}

// nova answers as Nova does; servers become ACTIVE when boot is called.
type nova struct {
	mu      sync.Mutex
	servers map[string]map[string]any
	posts   int
	full    int // servers that fit; 0: any number
	actions []string
	publish func(topic string)
}

func (n *nova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2.1/")
	reply := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	id := strings.TrimPrefix(path, "servers/")
	switch {
	case path == "flavors/detail":
		reply(200, map[string]any{"flavors": []any{map[string]any{"id": "f1", "name": "baremetal"}, map[string]any{"id": "f2", "name": "control"}, map[string]any{"id": "f3", "name": "compute"}}})
	case path == "servers/detail":
		l := []any{}
		for _, s := range n.servers {
			l = append(l, s)
		}
		reply(200, map[string]any{"servers": l})
	case r.Method == http.MethodPost && path == "servers" && n.full > 0 && len(n.servers) >= n.full:
		reply(500, map[string]any{"computeFault": map[string]any{"code": 500, "message": "No valid host was found."}})
	case r.Method == http.MethodPost && path == "servers":
		var body map[string]map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		n.posts++
		s := body["server"]
		s["id"] = fmt.Sprintf("%08d-2222-4222-8222-222222222222", n.posts)
		s["status"], s["hints"] = "BUILD", body["os:scheduler_hints"]
		n.servers[s["id"].(string)] = s
		reply(202, map[string]any{"server": map[string]any{"id": s["id"]}})
	case n.servers[id] == nil && n.part(id, r, reply):
	case n.servers[id] == nil:
		reply(404, map[string]any{"itemNotFound": map[string]any{"code": 404, "message": "Instance could not be found."}})
	case r.Method == http.MethodGet:
		reply(200, map[string]any{"server": n.servers[id]})
	case r.Method == http.MethodDelete:
		delete(n.servers, id)
		w.WriteHeader(http.StatusNoContent)
		n.publish("compute/server/" + id)
	default:
		reply(200, map[string]any{"server": n.servers[id]})
	}
}

// boot waits until count servers were asked for and makes them reach a status.
func (u *undercloud) boot(count int, status string) []map[string]any {
	u.T.Helper()
	var out []map[string]any
	u.eventually(fmt.Sprintf("%d servers", count), func() bool {
		if pages, err := stacks.List(u.heat, nil).AllPages(context.Background()); err == nil {
			if list, _ := stacks.ExtractStacks(pages); len(list) > 0 && strings.HasSuffix(list[0].Status, "FAILED") {
				u.T.Fatal(u.overview())
			}
		}
		u.nova.mu.Lock()
		defer u.nova.mu.Unlock()
		out = nil
		for _, s := range u.nova.servers {
			out = append(out, s)
		}
		return len(out) == count
	})
	u.nova.mu.Lock()
	for _, s := range out {
		s["status"] = status
		s["addresses"] = map[string]any{"ctlplane": []any{map[string]any{"addr": "192.168.24.7", "version": 4}}}
		if status == "ERROR" {
			s["fault"] = map[string]any{"message": "No valid host was found.", "code": 500}
		}
	}
	u.nova.mu.Unlock()
	for _, s := range out {
		u.Bus.Publish("compute/server/" + s["id"].(string))
	}
	return out
}

// eventually asks again whenever something was published, a minute long.
func (u *undercloud) eventually(what string, ok func() bool) {
	u.T.Helper()
	sub := u.Bus.Subscribe("*")
	defer sub.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-sub.C():
		case <-tick.C:
		case <-limit:
			u.T.Fatalf("waiting for %s: %s", what, u.overview())
		}
	}
}

func (u *undercloud) overview() string {
	var b strings.Builder
	pages, err := stacks.List(u.heat, stacks.ListOpts{ShowNested: true}).AllPages(context.Background())
	if err != nil {
		return err.Error()
	}
	list, _ := stacks.ExtractStacks(pages)
	for _, s := range list {
		fmt.Fprintf(&b, "\n%s %s %s", s.Name, s.Status, s.StatusReason)
		pages, err := stackresources.List(u.heat, s.Name, s.ID, nil).AllPages(context.Background())
		if err != nil {
			continue
		}
		rs, _ := stackresources.ExtractResources(pages)
		for _, r := range rs {
			fmt.Fprintf(&b, "\n   %s %s %s %s", r.Name, r.Status, r.PhysicalID, r.StatusReason)
		}
	}
	return b.String()
}

// request calls Heat with a JSON body and returns status and answer.
func (u *undercloud) request(method, path string, body any) (int, map[string]any) {
	u.T.Helper()
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			u.T.Fatal(err)
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, u.heat.Endpoint+path, rd)
	if err != nil {
		u.T.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", u.admin.Provider.Token())
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		u.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	out := map[string]any{}
	_ = json.NewDecoder(resp.Body).Decode(&out)
	if l := resp.Header.Get("Location"); l != "" {
		out["location"] = l
	}
	return resp.StatusCode, out
}

func (u *undercloud) createStack(name string, body map[string]any) string {
	u.T.Helper()
	body["stack_name"] = name
	code, out := u.request("POST", "stacks", body)
	if code != 201 {
		u.T.Fatalf("create: %d %v", code, out)
	}
	return out["stack"].(map[string]any)["id"].(string)
}

// stack waits until the operation of a stack has ended.
func (u *undercloud) stack(name, want string) map[string]any {
	u.T.Helper()
	var st map[string]any
	u.eventually("stack "+name+" "+want, func() bool {
		pages, err := stacks.List(u.heat, stacks.ListOpts{Name: name, ShowDeleted: true}).AllPages(context.Background())
		if err != nil {
			u.T.Fatal(err)
		}
		list, _ := stacks.ExtractStacks(pages)
		if len(list) == 0 || strings.HasSuffix(list[0].Status, "IN_PROGRESS") {
			return false
		}
		if list[0].Status != want {
			u.T.Fatalf("stack is %s, want %s: %s", list[0].Status, want, u.overview())
		}
		_, out := u.request("GET", "stacks/"+name+"/"+list[0].ID, nil)
		st, _ = out["stack"].(map[string]any)
		return true
	})
	return st
}

func outputsOf(st map[string]any) map[string]any {
	out := map[string]any{}
	l, _ := st["outputs"].([]any)
	for _, o := range l {
		m := o.(map[string]any)
		out[m["output_key"].(string)] = m["output_value"]
	}
	return out
}

const simple = `heat_template_version: queens
description: two values
parameters:
  text: {type: string, default: hello}
  secret: {type: string, default: s3cret, hidden: true}
resources:
  a: {type: OS::Heat::Value, properties: {value: {get_param: text}}}
  b: {type: OS::Heat::RandomString, properties: {length: 12}, depends_on: a}
outputs:
  text: {description: the text, value: {get_attr: [a, value]}}
`

func TestStackLifecycle(t *testing.T) {
	u := newUndercloud(t)
	ctx := context.Background()
	tmpl := &stacks.Template{TE: stacks.TE{Bin: []byte(simple)}}
	made, err := stacks.Create(ctx, u.heat, stacks.CreateOpts{Name: "one", TemplateOpts: tmpl, Parameters: map[string]any{"text": "first"}, Tags: []string{"x", "y"}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	u.stack("one", "CREATE_COMPLETE")
	got, err := stacks.Get(ctx, u.heat, "one", made.ID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if got.Parameters["secret"] != "******" || got.Parameters["text"] != "first" || got.Outputs[0]["output_value"] != "first" || got.Description != "two values" || len(got.Tags) != 2 {
		t.Errorf("show: %+v", got)
	}
	code, out := u.request("GET", "stacks/one/resources?x=1", nil)
	if code != 302 || out["location"] != u.URL+"/orchestration/v1/"+u.admin.ProjectID+"/stacks/one/"+made.ID+"/resources?x=1" {
		t.Errorf("lookup: %d %v", code, out)
	}
	if res := stackresources.Find(ctx, u.heat, "one"); res.Err != nil {
		t.Errorf("gophercloud follows the redirect: %v", res.Err)
	}
	b, err := stackresources.Get(ctx, u.heat, "one", made.ID, "b").Extract()
	if err != nil || b.Status != "CREATE_COMPLETE" || b.Type != "OS::Heat::RandomString" || len(b.Attributes["value"].(string)) != 12 {
		t.Errorf("resource: %+v %v", b, err)
	}
	pages, err := stackevents.List(u.heat, "one", made.ID, nil).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	events, err := stackevents.ExtractEvents(pages)
	if err != nil || len(events) != 6 || events[0].ResourceStatus != "CREATE_IN_PROGRESS" || events[0].ResourceName != "one" {
		t.Errorf("%d events %+v %v", len(events), events, err)
	}
	if _, out := u.request("GET", "stacks/one/"+made.ID+"/events?limit=2&marker="+events[3].ID, nil); len(out["events"].([]any)) != 2 {
		t.Errorf("marker and limit: %v", out)
	}

	if err := stacks.UpdatePatch(ctx, u.heat, "one", made.ID, stacks.UpdateOpts{Parameters: map[string]any{"text": "second"}}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	st := u.stack("one", "UPDATE_COMPLETE")
	after, _ := stackresources.Get(ctx, u.heat, "one", made.ID, "b").Extract()
	if outputsOf(st)["text"] != "second" || after.Attributes["value"] != b.Attributes["value"] || after.Status != "CREATE_COMPLETE" {
		t.Errorf("update touched what did not change: %+v", after)
	}
	if err := stacks.Delete(ctx, u.heat, "one", made.ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	u.stack("one", "DELETE_COMPLETE")
	if code, _ := u.request("GET", "stacks/one", nil); code != 404 {
		t.Errorf("deleted stack found by name: %d", code)
	}
}

func TestFaults(t *testing.T) {
	u := newUndercloud(t)
	for _, tc := range []struct {
		reason string
		body   map[string]any
		code   int
		typ    string
		parts  []string
	}{
		{"every fault of a template is named with its place", map[string]any{"stack_name": "x", "template_file": "plan.yaml", "template": `heat_template_version: queens
resources:
  a: {type: OS::Heat::Value, properties: {valu: 1}}
  b: {type: OS::Heat::Nonsense}
  c: {type: OS::Heat::Value, properties: {value: {get_param: nope}}}
`}, 400, "StackValidationFailed", []string{"plan.yaml:5:62: ", `parameter "nope" is not defined`}},
		{"types and properties too", map[string]any{"stack_name": "x", "template_file": "plan.yaml", "template": `heat_template_version: queens
resources:
  a: {type: OS::Heat::Value, properties: {valu: 1}}
  b: {type: OS::Heat::Valeu}
`}, 400, "StackValidationFailed", []string{"plan.yaml:3:49: resources.a.properties.valu: unknown property \"valu\" (did you mean \"value\"?)", "plan.yaml:4:3: resources.b.type: the Resource Type (OS::Heat::Valeu) could not be found (did you mean \"OS::Heat::Value\"?)", "\"value\" is required"}},
		{"in nested templates as well", map[string]any{"stack_name": "x", "template": `heat_template_version: queens
resources:
  a: {type: n.yaml, properties: {p: 1}}
outputs: {o: {value: {get_attr: [a, missing]}}}
`, "files": map[string]any{"n.yaml": "heat_template_version: queens\nparameters: {p: {type: boolean}}\nresources: {v: {type: OS::Heat::RandomString, properties: {length: 1000}}}\n"}}, 400, "StackValidationFailed",
			[]string{"n.yaml:3:68: resources.v.properties.length: 1000 is out of range", `has no output "missing"`}},
		{"a missing parameter", map[string]any{"stack_name": "x", "template": "heat_template_version: queens\nparameters: {p: {type: string}}\n"}, 400, "UserParameterMissing", []string{"The parameter (p) was not provided"}},
		{"a bad name", map[string]any{"stack_name": "1x", "template": simple}, 400, "StackValidationFailed", []string{"Invalid stack name"}},
		{"no template", map[string]any{"stack_name": "x"}, 400, "HTTPBadRequest", []string{"No template"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			code, out := u.request("POST", "stacks", tc.body)
			e, _ := out["error"].(map[string]any)
			if code != tc.code || e["type"] != tc.typ || out["code"] != float64(tc.code) || out["title"] == nil || out["explanation"] == nil {
				t.Fatalf("%d %v", code, out)
			}
			for _, p := range tc.parts {
				if !strings.Contains(strings.ToLower(e["message"].(string)), strings.ToLower(p)) {
					t.Errorf("%q is not in %s", p, e["message"])
				}
			}
		})
	}
}

const serverTemplate = `heat_template_version: queens
parameters:
  code: {type: string, default: echo hi}
resources:
  net: {type: OS::Neutron::Net, properties: {name: inner, tags: [t]}}
  sub: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: 172.16.0.0/24, enable_dhcp: false, gateway_ip: ''}}
  port:
    type: OS::Neutron::Port
    properties: {network: {get_resource: net}, name: vip, fixed_ips: [{subnet: {get_resource: sub}, ip_address: 172.16.0.9}]}
  ud:
    type: OS::Heat::MultipartMime
    properties: {parts: [{config: {get_resource: cc}, type: text}]}
  cc: {type: OS::Heat::CloudConfig, properties: {cloud_config: {users: [admin]}}}
  server:
    type: OS::Nova::Server
    metadata: {os-collect-config: {command: refresh}}
    properties:
      name: ctl-0
      image: overcloud-full
      flavor: baremetal
      networks: [{network: ctlplane, subnet: ctlplane-subnet, fixed_ip: 192.168.24.7}]
      user_data_format: SOFTWARE_CONFIG
      user_data: {get_resource: ud}
      scheduler_hints: {"capabilities:node": "controller-0"}
      metadata: {a: b}
  config:
    type: OS::Heat::SoftwareConfig
    properties: {group: script, config: {get_param: code}, inputs: [{name: x, default: dx}, {name: y}], outputs: [{name: result}]}
  deploy:
    type: OS::Heat::SoftwareDeployment
    properties: {name: Step1, config: {get_resource: config}, server: {get_resource: server}, input_values: {y: 5}}
outputs:
  result: {value: {get_attr: [deploy, result]}}
  stdout: {value: {get_attr: [deploy, deploy_stdout]}}
  cidr: {value: {get_attr: [port, subnets, 0, cidr]}}
  vip: {value: {get_attr: [port, fixed_ips, 0, ip_address]}}
  addresses: {value: {get_attr: [server, networks, ctlplane]}}
  occ: {value: {get_attr: [server, os_collect_config]}}
`

func (u *undercloud) ctlplane() {
	u.T.Helper()
	ctx := context.Background()
	c, err := u.admin.Network()
	if err != nil {
		u.T.Fatal(err)
	}
	n, err := networks.Create(ctx, c, networks.CreateOpts{Name: "ctlplane"}).Extract()
	if err != nil {
		u.T.Fatal(err)
	}
	if _, err = subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: n.ID, Name: "ctlplane-subnet", CIDR: "192.168.24.0/24", IPVersion: 4}).Extract(); err != nil {
		u.T.Fatal(err)
	}
}

func (u *undercloud) ports() []ports.Port {
	u.T.Helper()
	c, err := u.admin.Network()
	if err != nil {
		u.T.Fatal(err)
	}
	pages, err := ports.List(c, nil).AllPages(context.Background())
	if err != nil {
		u.T.Fatal(err)
	}
	l, err := ports.ExtractPorts(pages)
	if err != nil {
		u.T.Fatal(err)
	}
	return l
}

// metadata reads what the node sees, by its own address.
func (u *undercloud) metadata(url string) map[string]any {
	u.T.Helper()
	resp, err := http.Get(url) //nolint:noctx // a test
	if err != nil {
		u.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		u.T.Fatalf("GET metadata: %d %s", resp.StatusCode, b)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		u.T.Fatalf("%v: %s", err, b)
	}
	return m
}

// deployments waits until the node sees count deployments.
func (u *undercloud) deployments(url string, count int, ok func(l []map[string]any) bool) []map[string]any {
	u.T.Helper()
	var out []map[string]any
	u.eventually(fmt.Sprintf("%d deployments in the metadata", count), func() bool {
		out = nil
		l, _ := u.metadata(url)["deployments"].([]any)
		for _, d := range l {
			out = append(out, d.(map[string]any))
		}
		return len(out) == count && (ok == nil || ok(out))
	})
	return out
}

func input(d map[string]any, name string) any {
	for _, i := range d["inputs"].([]any) {
		if m := i.(map[string]any); m["name"] == name {
			return m["value"]
		}
	}
	return nil
}

// signal reports the outcome of a deployment as the node's agent does.
func (u *undercloud) signal(d map[string]any, outputs map[string]any) {
	u.T.Helper()
	b, _ := json.Marshal(outputs)
	req, err := http.NewRequestWithContext(context.Background(), input(d, "deploy_signal_verb").(string), input(d, "deploy_signal_id").(string), bytes.NewReader(b))
	if err != nil {
		u.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.T.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= 300 {
		u.T.Fatalf("signal: %s", resp.Status)
	}
}

// metadataURL takes the address of the metadata out of a server's user data.
func metadataURL(t *testing.T, server map[string]any, parts ...string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(server["user_data"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(parts, "cfn-init-data") {
		if !strings.Contains(string(raw), p) {
			t.Errorf("no %q in user data\n%s", p, raw)
		}
	}
	_, rest, ok := strings.Cut(string(raw), `"metadata_url": "`)
	if !ok {
		t.Fatalf("no metadata_url in user data\n%s", raw)
	}
	url, _, _ := strings.Cut(rest, `"`)
	return url
}

func TestServerAndDeployment(t *testing.T) {
	u := newUndercloud(t)
	u.ctlplane()
	id := u.createStack("s", map[string]any{"template": serverTemplate, "template_file": "s.yaml"})
	server := u.boot(1, "ACTIVE")[0]
	if server["imageRef"] != "11111111-1111-4111-8111-111111111111" || server["flavorRef"] != "f1" || server["hints"].(map[string]any)["capabilities:node"] != "controller-0" {
		t.Errorf("server %v", server)
	}
	url := metadataURL(t, server, "#cloud-config\nusers:\n- admin")
	d := u.deployments(url, 1, nil)[0]
	if d["name"] != "Step1" || d["group"] != "script" || d["config"] != "echo hi" || input(d, "x") != "dx" || input(d, "y") != 5.0 || input(d, "deploy_action") != "CREATE" || input(d, "deploy_server_id") != server["id"] {
		t.Errorf("deployment %v", d)
	}
	if occ := u.metadata(url)["os-collect-config"].(map[string]any); occ["command"] != "refresh" || occ["request"].(map[string]any)["metadata_url"] != url {
		t.Errorf("os-collect-config %v", occ)
	}
	u.signal(d, map[string]any{"result": "fine", "deploy_stdout": "out", "deploy_stderr": "", "deploy_status_code": 0})
	st := u.stack("s", "CREATE_COMPLETE")
	o := outputsOf(st)
	if o["result"] != "fine" || o["stdout"] != "out" || o["cidr"] != "172.16.0.0/24" || o["vip"] != "172.16.0.9" || fmt.Sprint(o["addresses"]) != "[192.168.24.7]" {
		t.Errorf("outputs %v", o)
	}
	if n := len(u.ports()); n != 2 {
		t.Errorf("%d ports, want the VIP and the server's own", n)
	}

	// Nothing changed: nothing runs again.
	if code, out := u.request("PATCH", "stacks/s/"+id, map[string]any{}); code != 202 {
		t.Fatal(code, out)
	}
	u.stack("s", "UPDATE_COMPLETE")
	if again := u.deployments(url, 1, nil)[0]; again["id"] != d["id"] {
		t.Error("a deployment ran again although nothing changed")
	}

	// The config changed: the deployment runs again and fails.
	if code, out := u.request("PATCH", "stacks/s/"+id, map[string]any{"parameters": map[string]any{"code": "exit 3"}}); code != 202 {
		t.Fatal(code, out)
	}
	d2 := u.deployments(url, 1, func(l []map[string]any) bool { return l[0]["id"] != d["id"] })[0]
	if d2["config"] != "exit 3" || input(d2, "deploy_action") != "UPDATE" {
		t.Errorf("deployment %v", d2)
	}
	u.signal(d2, map[string]any{"deploy_stdout": "o", "deploy_stderr": "boom", "deploy_status_code": 3})
	st = u.stack("s", "UPDATE_FAILED")
	want := "Resource UPDATE failed: Error: resources.deploy: Deployment to server failed: deploy_status_code : Deployment exited with non-zero status code: 3 (s.yaml:29:3)"
	if st["stack_status_reason"] != want {
		t.Errorf("reason\n%s\nwant\n%s", st["stack_status_reason"], want)
	}
	_, out := u.request("GET", "software_deployments?server_id="+server["id"].(string), nil)
	if o := out["software_deployments"].([]any)[0].(map[string]any)["output_values"].(map[string]any); o["deploy_stderr"] != "boom" {
		t.Errorf("outputs of the failed deployment %v", o)
	}

	// Repaired: it runs again, the server stays.
	if code, out := u.request("PATCH", "stacks/s/"+id, map[string]any{"parameters": map[string]any{"code": "exit 0"}}); code != 202 {
		t.Fatal(code, out)
	}
	d3 := u.deployments(url, 1, func(l []map[string]any) bool { return l[0]["id"] != d2["id"] })[0]
	u.signal(d3, map[string]any{"deploy_status_code": 0, "result": "repaired"})
	if o := outputsOf(u.stack("s", "UPDATE_COMPLETE")); o["result"] != "repaired" {
		t.Errorf("outputs %v", o)
	}
	if u.nova.posts != 1 {
		t.Errorf("%d servers were created, want 1", u.nova.posts)
	}
	if code, _ := u.request("DELETE", "stacks/s/"+id, nil); code != 204 {
		t.Fatal(code)
	}
	u.stack("s", "DELETE_COMPLETE")
	if n := len(u.ports()); n != 0 {
		t.Errorf("%d ports are left: %v", n, u.ports())
	}
	u.nova.mu.Lock()
	defer u.nova.mu.Unlock()
	if len(u.nova.servers) != 0 {
		t.Errorf("servers are left: %v", u.nova.servers)
	}
}

func TestServerError(t *testing.T) {
	u := newUndercloud(t)
	u.createStack("s", map[string]any{"template_file": "plan.yaml", "template": `heat_template_version: queens
resources:
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: 1
      resource_def: {type: role.yaml}
`, "files": map[string]any{"role.yaml": "heat_template_version: queens\nresources:\n  Ctl: {type: OS::Nova::Server, properties: {flavor: baremetal, image: overcloud-full}}\n"}})
	u.boot(1, "ERROR")
	st := u.stack("s", "CREATE_FAILED")
	want := `Resource CREATE failed: Error: resources.group.resources[0].resources.Ctl: Went to status ERROR due to "Message: No valid host was found., Code: 500" (role.yaml:3:3)`
	if st["stack_status_reason"] != want {
		t.Errorf("reason\n%s\nwant\n%s", st["stack_status_reason"], want)
	}
	// The repair gives the failed server's machine back before it asks for another one.
	u.nova.full = 1
	if code, out := u.request("PATCH", "stacks/s/"+st["id"].(string), map[string]any{}); code != 202 {
		t.Fatal(code, out)
	}
	u.eventually("the second server", func() bool {
		u.nova.mu.Lock()
		defer u.nova.mu.Unlock()
		return u.nova.posts == 2
	})
	u.boot(1, "ACTIVE")
	u.stack("s", "UPDATE_COMPLETE")
}
