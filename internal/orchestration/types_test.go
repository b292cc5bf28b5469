package orchestration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// lifecycle creates a stack, updates it and deletes it, looking at the outputs each time.
type lifecycle struct {
	name, reason   string
	create, update string         // templates; update "" is none
	made, updated  map[string]any // outputs wanted; nil values must only be there
}

func (u *undercloud) live(l lifecycle) {
	u.T.Helper()
	id := u.createStack(l.name, map[string]any{"template": l.create})
	compare := func(st map[string]any, want map[string]any) {
		u.T.Helper()
		got := outputsOf(st)
		for k, v := range want {
			g, ok := got[k]
			if !ok || v == nil && g == nil || v != nil && text(v) != text(g) {
				u.T.Errorf("%s (%s): output %s is %s, want %s", l.name, l.reason, k, text(g), text(v))
			}
		}
	}
	compare(u.stack(l.name, "CREATE_COMPLETE"), l.made)
	if l.update != "" {
		if code, out := u.request("PUT", "stacks/"+l.name+"/"+id, map[string]any{"template": l.update}); code != 202 {
			u.T.Fatalf("%s: update: %d %v", l.name, code, out)
		}
		compare(u.stack(l.name, "UPDATE_COMPLETE"), l.updated)
	}
	if code, out := u.request("DELETE", "stacks/"+l.name+"/"+id, nil); code != 204 {
		u.T.Fatalf("%s: delete: %d %v", l.name, code, out)
	}
	u.stack(l.name, "DELETE_COMPLETE")
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

const hot = "heat_template_version: wallaby\n"

// TestNetworkTypes makes, changes and deletes objects of our own Neutron.
func TestNetworkTypes(t *testing.T) {
	u := newUndercloud(t)
	template := func(name string) string {
		return hot + `resources:
  n: {type: OS::Neutron::Net, properties: {name: ` + name + `, tags: [blue], value_specs: {"provider:network_type": flat, "provider:physical_network": ctlplane}}}
  s: {type: OS::Neutron::Subnet, properties: {network: {get_resource: n}, cidr: 10.7.0.0/24, gateway_ip: 10.7.0.1, dns_nameservers: [10.7.0.2]}}
  p: {type: OS::Neutron::Port, properties: {network_id: {get_resource: n}, fixed_ips: [{subnet_id: {get_resource: s}, ip_address: 10.7.0.9}]}}
outputs:
  ip: {value: {get_attr: [p, fixed_ips, 0, ip_address]}}
  cidr: {value: {get_attr: [p, subnets, 0, cidr]}}
  name: {value: {get_attr: [n, name]}}
  tags: {value: {get_attr: [n, show, tags]}}
`
	}
	u.live(lifecycle{name: "net", reason: "old names of properties, tags, values of addresses", create: template("a"), update: template("b"),
		made: map[string]any{"ip": "10.7.0.9", "cidr": "10.7.0.0/24", "name": "a", "tags": []string{"blue"}}, updated: map[string]any{"name": "b"}})
}

// TestIdentityTypes makes, changes and deletes objects of a real Keystone.
func TestIdentityTypes(t *testing.T) {
	u := newUndercloud(t)
	template := func(role, description string) string {
		return hot + `resources:
  domain: {type: OS::Keystone::Domain, properties: {name: blue}}
  project: {type: OS::Keystone::Project, properties: {name: bp, domain: {get_resource: domain}, description: ` + description + `}}
  r1: {type: OS::Keystone::Role, properties: {name: first}}
  r2: {type: OS::Keystone::Role, properties: {name: second}}
  group: {type: OS::Keystone::Group, properties: {name: bg, domain: {get_resource: domain}}}
  user: {type: OS::Keystone::User, properties: {name: bu, domain: {get_resource: domain}, password: secret, default_project: {get_resource: project}, groups: [{get_resource: group}],
    roles: [{role: {get_resource: ` + role + `}, project: {get_resource: project}}]}}
  grant: {type: OS::Keystone::GroupRoleAssignment, properties: {group: {get_resource: group}, roles: [{role: {get_resource: r1}, domain: {get_resource: domain}}]}}
  region: {type: OS::Keystone::Region, properties: {id: east, description: d}}
  service: {type: OS::Keystone::Service, properties: {name: probe, type: probe}}
  endpoint: {type: OS::Keystone::Endpoint, properties: {service: {get_resource: service}, interface: public, url: "http://192.0.2.1/", region: {get_resource: region}}}
outputs:
  project: {value: {get_attr: [project, name]}}
  description: {value: {get_attr: [project, show, description]}}
  user: {value: {get_resource: user}}
  region: {value: {get_resource: region}}
`
	}
	id := u.createStack("id", map[string]any{"template": template("r1", "one")})
	out := outputsOf(u.stack("id", "CREATE_COMPLETE"))
	if out["project"] != "bp" || out["description"] != "one" || out["region"] != "east" {
		t.Errorf("outputs %v", out)
	}
	keystone, err := u.admin.Identity()
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		var body struct {
			List []struct {
				Role struct{ Name string }
			} `json:"role_assignments"`
		}
		if _, err := keystone.Get(t.Context(), keystone.ServiceURL("role_assignments")+"?include_names=true&user.id="+out["user"].(string), &body, nil); err != nil {
			t.Fatal(err)
		}
		s := ""
		for _, a := range body.List {
			s += a.Role.Name + " "
		}
		return s
	}
	if got := names(); got != "first " {
		t.Errorf("roles of the user: %s", got)
	}
	if code, o := u.request("PUT", "stacks/id/"+id, map[string]any{"template": template("r2", "two")}); code != 202 {
		t.Fatal(code, o)
	}
	if o := outputsOf(u.stack("id", "UPDATE_COMPLETE")); o["description"] != "two" {
		t.Errorf("outputs %v", o)
	}
	if got := names(); got != "second " {
		t.Errorf("roles of the user after the update: %s", got)
	}
	u.request("DELETE", "stacks/id/"+id, nil)
	u.stack("id", "DELETE_COMPLETE")
}

// TestMessagingTypes makes queues and what hangs on them with a real Zaqar.
func TestMessagingTypes(t *testing.T) {
	u := newUndercloud(t)
	u.live(lifecycle{name: "zaqar", reason: "queue, subscription and signed address",
		create: hot + `resources:
  q: {type: OS::Zaqar::Queue, properties: {name: mail, metadata: {a: 1}}}
  s: {type: OS::Zaqar::Subscription, properties: {queue_name: {get_resource: q}, subscriber: "http://127.0.0.1:1/hook", ttl: 3600}}
  u: {type: OS::Zaqar::SignedQueueURL, properties: {queue: {get_resource: q}, paths: [messages], methods: [GET], ttl: 60}}
outputs:
  id: {value: {get_attr: [q, queue_id]}}
  sub: {value: {get_resource: s}}
  query: {value: {get_attr: [u, query_str]}}
  methods: {value: {get_attr: [u, methods]}}
`, update: hot + `resources:
  q: {type: OS::Zaqar::Queue, properties: {name: mail, metadata: {a: 2}}}
  s: {type: OS::Zaqar::Subscription, properties: {queue_name: {get_resource: q}, subscriber: "http://127.0.0.1:1/hook2", ttl: 3600}}
outputs:
  meta: {value: {get_attr: [q, show, a]}}
`, made: map[string]any{"id": "mail", "sub": nil, "query": nil, "methods": []string{"GET"}}, updated: map[string]any{"meta": nil}})
}

// TestUnavailable wants Heat's words for types whose service the catalog does not have.
func TestUnavailable(t *testing.T) {
	u := newUndercloud(t)
	for _, tc := range []struct{ typ, props, service string }{
		{"OS::Cinder::Volume", "{size: 1}", "cinder"}, {"OS::Octavia::LoadBalancer", "{vip_subnet: x}", "octavia"}, {"OS::Designate::Zone", "{name: a.b.}", "designate"},
		{"OS::Barbican::Secret", "{}", "barbican"}, {"OS::Manila::ShareType", "{name: a, driver_handles_share_servers: true}", "manila"}, {"OS::Senlin::Cluster", "{profile: p}", "senlin"},
	} {
		code, out := u.request("POST", "stacks", map[string]any{"stack_name": "x", "template": hot + "resources: {r: {type: \"" + tc.typ + "\", properties: " + tc.props + "}}"})
		want := "Service " + tc.service + " is not available for resource type " + tc.typ
		if code != 400 || !strings.Contains(text(out), want) {
			t.Errorf("%s: %d %v", tc.typ, code, out)
		}
		if code, out := u.request("GET", "resource_types/"+tc.typ, nil); code != 400 || !strings.Contains(text(out), want) {
			t.Errorf("show of %s: %d %v", tc.typ, code, out)
		}
	}
}

// TestTypeViews compares lists, schemas and templates with what Heat shows.
func TestTypeViews(t *testing.T) {
	u := newUndercloud(t)
	list := func(query string) string {
		code, out := u.request("GET", "resource_types"+query, nil)
		if code != 200 {
			t.Fatalf("%s: %d %v", query, code, out)
		}
		return text(out["resource_types"])
	}
	for _, tc := range []struct {
		query     string
		has, lack []string
	}{
		{"", []string{"OS::Nova::Server", "OS::Heat::AutoScalingGroup", "AWS::CloudFormation::Stack", "OS::Keystone::User"}, []string{"OS::Heat::HARestarter", "OS::Heat::SoftwareDeployments", "OS::Cinder::Volume", "OS::Sahara::Job"}},
		{"?name=OS::Neutron::P", []string{"OS::Neutron::Port", "OS::Neutron::ProviderNet"}, []string{"OS::Neutron::Net\"", "OS::Neutron::Router", "OS::Heat::RandomString"}},
		{"?name=(", nil, []string{"OS::"}},
		{"?support_status=UNSUPPORTED", nil, []string{"OS::Nova::Server"}},
		{"?with_description=true&name=OS::Heat::None", []string{`"resource_type":"OS::Heat::None"`, "description"}, nil},
	} {
		got := list(tc.query)
		for _, h := range tc.has {
			if !strings.Contains(got, h) {
				t.Errorf("%q lacks %s", tc.query, h)
			}
		}
		for _, l := range tc.lack {
			if strings.Contains(got, l) {
				t.Errorf("%q has %s", tc.query, l)
			}
		}
	}
	if code, _ := u.request("GET", "resource_types?support_status=FINE", nil); code != 400 {
		t.Errorf("unknown status: %d", code)
	}
	code, out := u.request("GET", "resource_types/OS::Heat::ResourceGroup", nil)
	if code != 200 || !strings.Contains(text(out), `"index_var":{"constraints":[{"length":{"min":3}}],"default":"%index%"`) || !strings.Contains(text(out), `"removal_policies_mode"`) {
		t.Errorf("schema: %d %v", code, out)
	}
	if code, out = u.request("GET", "resource_types/OS::Neutron::Port", nil); code != 200 || strings.Contains(text(out), `"network_id":{"constraints`) {
		t.Errorf("hidden properties are not shown: %d %v", code, out)
	}
	if code, out = u.request("GET", "resource_types/OS::Heat::HARestarter", nil); code != 400 {
		t.Errorf("hidden type: %d %v", code, out)
	}
	code, out = u.request("GET", "resource_types/OS::Heat::RandomString/template?template_type=hot", nil)
	if code != 200 || !strings.Contains(text(out), `"range":{"max":512,"min":1}`) || !strings.Contains(text(out), `"OS::stack_id":{"value":{"get_resource":"RandomString"}}`) {
		t.Errorf("HOT: %d %v", code, text(out))
	}
	code, out = u.request("GET", "resource_types/OS::Heat::RandomString/template", nil)
	if code != 200 || !strings.Contains(text(out), `"MaxValue":512`) || !strings.Contains(text(out), `"Fn::Split":[",",{"Ref":"character_classes"}]`) {
		t.Errorf("CloudFormation: %d %v", code, text(out))
	}
	if code, _ = u.request("GET", "resource_types/OS::Heat::RandomString/template?template_type=x", nil); code != 400 {
		t.Errorf("unknown template type: %d", code)
	}
}

// TestConstraints wants values refused that the services do not know, where they stand, before anything is
// made; and values that were unknown then when the resource's turn comes.
func TestConstraints(t *testing.T) {
	u := newUndercloud(t)
	for _, tc := range []struct{ reason, template, want string }{
		{"image", "resources: {s: {type: OS::Nova::Server, properties: {flavor: control, image: nope}}}", "The Image (nope) could not be found"},
		{"flavor", "resources: {s: {type: OS::Nova::Server, properties: {flavor: nope}}}", "nope"},
		{"network", "resources: {p: {type: OS::Neutron::Port, properties: {network: nope}}}", "could not be found"},
		{"address", "resources: {p: {type: OS::Neutron::Port, properties: {network: {get_resource: n}, fixed_ips: [{ip_address: 1.2.3.400}]}}, n: {type: OS::Neutron::Net}}", "fixed_ips.0.ip_address"},
		{"CIDR", "resources: {p: {type: OS::Neutron::Subnet, properties: {network: {get_resource: n}, cidr: 1.2.3}}, n: {type: OS::Neutron::Net}}", "CIDR"},
		{"role", "resources: {p: {type: OS::Keystone::GroupRoleAssignment, properties: {group: nope}}}", "nope"},
		{"parameter", "parameters: {f: {type: string, default: nope, constraints: [{custom_constraint: nova.flavor}]}}", "parameters.f"},
		{"MAC of a parameter", "parameters: {f: {type: string, default: zz, constraints: [{custom_constraint: mac_addr}]}}", "MAC"},
		{"queue", "resources: {s: {type: OS::Zaqar::Subscription, properties: {queue_name: nope, subscriber: x}}}", ""},
	} {
		code, out := u.request("POST", "stacks", map[string]any{"stack_name": "x", "template": hot + tc.template})
		if tc.want == "" {
			continue // Zaqar makes queues when they are used
		}
		if code != 400 || !strings.Contains(text(out), tc.want) {
			t.Errorf("%s: %d %v", tc.reason, code, out)
		}
	}
	u.createStack("late", map[string]any{"template": hot + `resources:
  v: {type: OS::Heat::Value, properties: {value: nope}}
  t: {type: OS::Heat::TestResource, properties: {value: nope}}
  p: {type: OS::Neutron::Port, properties: {network: {get_attr: [t, output]}}}
`})
	if st := u.stack("late", "CREATE_FAILED"); !strings.Contains(text(st), "could not be found") {
		t.Errorf("late check: %v", st)
	}
}

// fetch sends a request without a token.
func (u *undercloud) fetch(method, url, body string) (int, string) {
	u.T.Helper()
	req, err := http.NewRequestWithContext(u.T.Context(), method, url, strings.NewReader(body))
	if err != nil {
		u.T.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.T.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		u.T.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// members counts the resources of a group's stack by the value they have.
func (u *undercloud) members(stack, group string) map[string]int {
	u.T.Helper()
	_, out := u.request("GET", "stacks/"+stack, nil)
	loc := strings.TrimPrefix(fmt.Sprint(out["location"]), u.heat.Endpoint)
	_, out = u.request("GET", loc+"/resources?nested_depth=2&with_detail=true", nil)
	count := map[string]int{}
	l, _ := out["resources"].([]any)
	for _, r := range l {
		m := r.(map[string]any)
		if m["parent_resource"] == group {
			a, _ := m["attributes"].(map[string]any)
			count[fmt.Sprint(a["output"])]++
		}
	}
	return count
}

// TestScaling grows and shrinks a group by signals to its policies.
func TestScaling(t *testing.T) {
	u := newUndercloud(t)
	template := func(value string, desired int) string {
		return fmt.Sprintf(hot+`resources:
  asg: {type: OS::Heat::AutoScalingGroup, properties: {min_size: 1, max_size: 4, desired_capacity: %d, rolling_updates: {min_in_service: 1, max_batch_size: 2},
    resource: {type: OS::Heat::TestResource, properties: {value: %s}}}}
  up: {type: OS::Heat::ScalingPolicy, properties: {auto_scaling_group_id: {get_resource: asg}, adjustment_type: change_in_capacity, scaling_adjustment: 1}}
  down: {type: OS::Heat::ScalingPolicy, properties: {auto_scaling_group_id: {get_resource: asg}, adjustment_type: exact_capacity, scaling_adjustment: 0, cooldown: 60}}
outputs:
  up: {value: {get_attr: [up, alarm_url]}}
  down: {value: {get_attr: [down, alarm_url]}}
  signal: {value: {get_attr: [up, signal_url]}}
  size: {value: {get_attr: [asg, current_size]}}
  values: {value: {get_attr: [asg, outputs_list, output]}}
`, desired, value)
	}
	id := u.createStack("scale", map[string]any{"template": template("a", 2)})
	out := outputsOf(u.stack("scale", "CREATE_COMPLETE"))
	if out["size"] != 2.0 || text(out["values"]) != `["a","a"]` {
		t.Fatalf("outputs %v", out)
	}
	size := func(want int) {
		t.Helper()
		u.eventually(fmt.Sprintf("a group of %d", want), func() bool {
			_, o := u.request("GET", "stacks/scale/"+id+"/outputs/values", nil)
			l, _ := o["output"].(map[string]any)["output_value"].([]any)
			return len(l) == want
		})
	}
	if code, body := u.fetch("POST", out["up"].(string), "{}"); code != 200 {
		t.Fatalf("signal: %d %s", code, body)
	}
	size(3)
	if code, body := u.fetch("POST", strings.Replace(out["up"].(string), "Signature=", "Signature=x", 1), "{}"); code != 401 {
		t.Errorf("a wrong signature: %d %s", code, body)
	}
	if code, o := u.request("POST", "stacks/scale/"+id+"/resources/up/signal", map[string]any{}); code != 200 {
		t.Fatal(code, o)
	}
	size(4)
	if code, o := u.request("PUT", "stacks/scale/"+id, map[string]any{"template": template("b", 2)}); code != 202 {
		t.Fatal(code, o)
	}
	u.stack("scale", "UPDATE_COMPLETE")
	if got := u.members("scale", "asg"); got["b"] != 2 || len(got) != 1 {
		t.Errorf("members after the rolling update: %v", got)
	}
	if code, _ := u.fetch("POST", out["down"].(string), ""); code != 200 {
		t.Fatal("signal of down")
	}
	size(1) // not 0: min_size
	u.request("DELETE", "stacks/scale/"+id, nil)
	u.stack("scale", "DELETE_COMPLETE")
}

// TestRollingGroup updates a ResourceGroup batch by batch and looks at every state of its stack.
func TestRollingGroup(t *testing.T) {
	u := newUndercloud(t)
	template := func(value string, count int) string {
		return fmt.Sprintf(hot+`resources:
  g: {type: OS::Heat::ResourceGroup, update_policy: {rolling_update: {min_in_service: 2, max_batch_size: 1}},
    properties: {count: %d, resource_def: {type: OS::Heat::TestResource, properties: {value: "%s%%index%%"}}}}
outputs:
  refs: {value: {get_attr: [g, refs]}}
  values: {value: {get_attr: [g, output]}}
`, count, value)
	}
	id := u.createStack("roll", map[string]any{"template": template("a", 3)})
	u.stack("roll", "CREATE_COMPLETE")
	if code, o := u.request("PUT", "stacks/roll/"+id, map[string]any{"template": template("b", 3)}); code != 202 {
		t.Fatal(code, o)
	}
	out := outputsOf(u.stack("roll", "UPDATE_COMPLETE"))
	if text(out["values"]) != `["b0","b1","b2"]` {
		t.Errorf("values %v", out["values"])
	}
	_, ev := u.request("GET", "stacks/roll/"+id+"/events?nested_depth=2&resource_action=UPDATE&resource_status=COMPLETE", nil)
	updates := strings.Count(text(ev), `"resource_type":"OS::Heat::TestResource"`)
	if updates != 3 {
		t.Errorf("%d members were updated in place, want 3", updates)
	}
	_, ev = u.request("GET", "stacks/roll/"+id+"/events?nested_depth=2&resource_action=UPDATE&resource_status=IN_PROGRESS", nil)
	if batches := strings.Count(text(ev), `"resource_type":"OS::Heat::ResourceGroup"`); batches < 1 {
		t.Errorf("%d updates of the group: %v", batches, ev)
	}
}
