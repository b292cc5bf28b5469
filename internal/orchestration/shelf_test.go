package orchestration_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// shelf is a REST service that keeps whatever is put into its collections, as OpenStack's services do: one
// object under its key, lists under the collection's name, actions below objects. It stands for services that
// an undercloud may have in its catalog but that are not ours.
type shelf struct {
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	keys    map[string]string         // key around an object
	calls   []string
}

func newShelf() *shelf {
	return &shelf{objects: map[string]map[string]any{}, keys: map[string]string{}}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := regexp.MustCompile(`^/v[0-9.]+/|^/`).ReplaceAllString(r.URL.Path, "")
	reply := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	if r.Method != http.MethodGet {
		s.calls = append(s.calls, r.Method+" "+regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(path, "ID")+" "+text(body))
	}
	wrap := func(p string) any {
		if k := s.keys[p]; k != "" {
			return map[string]any{k: s.objects[p]}
		}
		return s.objects[p]
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch o := s.objects[path]; {
	case r.Method == http.MethodGet && path == "":
		l := []any{}
		for _, v := range []string{"v2.0", "v3.0"} {
			l = append(l, map[string]any{"id": v, "status": "CURRENT", "links": []any{map[string]any{"rel": "self", "href": "http://" + r.Host + strings.TrimSuffix(r.RequestURI, "/") + "/" + v + "/"}}})
		}
		reply(200, map[string]any{"versions": l})
	case path == "extensions":
		l := []any{}
		for _, a := range []string{"router", "trunk", "qos", "security-group", "address-scope", "segment", "extraroute", "extraroute-atomic", "subnet_allocation", "quotas", "rbac-policies", "provider", "sfc", "taas", "vpnaas", "fwaas", "floating-ip-port-forwarding", "qos-bw-minimum-ingress", "qos-pps-minimum"} {
			l = append(l, map[string]any{"alias": a})
		}
		reply(200, map[string]any{"extensions": l})
	case o != nil && r.Method == http.MethodGet:
		reply(200, wrap(path))
	case o != nil && r.Method == http.MethodDelete:
		delete(s.objects, path)
		w.WriteHeader(http.StatusNoContent)
	case o != nil && (r.Method == http.MethodPut || r.Method == http.MethodPatch):
		for k, v := range inner(body, s.keys[path]) {
			o[k] = v
		}
		reply(200, wrap(path))
	case r.Method == http.MethodPost && name == "action":
		reply(200, map[string]any{})
	case r.Method == http.MethodPost:
		key := ""
		if len(body) == 1 {
			for k, v := range body {
				if _, ok := v.(map[string]any); ok {
					key = k
				}
			}
		}
		o := inner(body, key)
		id := uuid.NewString()
		for _, f := range []string{"id", "uuid"} {
			o[f] = id
		}
		o["status"], o["provisioning_status"] = "ACTIVE", "ACTIVE"
		s.objects[path+"/"+id], s.keys[path+"/"+id] = o, key
		reply(201, wrap(path+"/"+id))
	case r.Method == http.MethodPut: // an action
		reply(200, body)
	case r.Method == http.MethodGet && regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}$`).MatchString(path):
		reply(404, map[string]any{"error": map[string]any{"message": "no such object"}})
	case r.Method == http.MethodGet:
		l := []any{}
		for p, o := range s.objects {
			if rest, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(rest, "/") && (r.URL.Query().Get("name") == "" || o["name"] == r.URL.Query().Get("name")) {
				l = append(l, o)
			}
		}
		reply(200, map[string]any{strings.ReplaceAll(name, "-", "_"): l})
	default:
		reply(404, map[string]any{"error": map[string]any{"message": "no such object"}})
	}
}

func inner(body map[string]any, key string) map[string]any {
	if m, ok := body[key].(map[string]any); ok {
		return m
	}
	return body
}

// service puts a service of a type into the catalog, answered by h.
func (u *undercloud) service(typ string, h http.Handler) {
	u.T.Helper()
	u.Mount("/"+typ, h)
	keystone, err := u.admin.Identity()
	if err != nil {
		u.T.Fatal(err)
	}
	var made struct{ Service struct{ ID string } }
	if _, err := keystone.Post(u.T.Context(), keystone.ServiceURL("services"), map[string]any{"service": map[string]any{"type": typ, "name": typ}}, &made, nil); err != nil {
		u.T.Fatal(err)
	}
	if _, err := keystone.Post(u.T.Context(), keystone.ServiceURL("endpoints"), map[string]any{"endpoint": map[string]any{"service_id": made.Service.ID, "interface": "public",
		"url": u.URL + "/" + typ, "region_id": "regionOne"}}, nil, nil); err != nil {
		u.T.Fatal(err)
	}
}

// TestObjects makes, changes and deletes objects of services that are not ours, and looks at the calls.
func TestObjects(t *testing.T) {
	for _, tc := range []struct {
		name, service, create, update string
		calls                         []string // each is a part of a call
		made                          map[string]any
	}{
		{"router", "", `resources:
  n: {type: OS::Neutron::Net, properties: {name: out}}
  s: {type: OS::Neutron::Subnet, properties: {network: {get_resource: n}, cidr: 10.1.0.0/24, name: sub, gateway_ip: ""}}
  r: {type: OS::Neutron::Router, properties: {name: r, external_gateway_info: {network: {get_resource: n}, enable_snat: false}}}
  i: {type: OS::Neutron::RouterInterface, properties: {router_id: {get_resource: r}, subnet_id: {get_resource: s}}}
  f: {type: OS::Neutron::FloatingIP, properties: {floating_network: {get_resource: n}, value_specs: {a: b}}}
  p: {type: OS::Neutron::Port, properties: {network: {get_resource: n}, no_fixed_ips: true}}
  a: {type: OS::Neutron::FloatingIPAssociation, properties: {floatingip_id: {get_resource: f}, port_id: {get_resource: p}}}
  e: {type: OS::Neutron::ExtraRouteSet, properties: {router: {get_resource: r}, routes: [{destination: 10.2.0.0/24, nexthop: 10.1.0.5}]}}
outputs: {name: {value: {get_attr: [r, name]}}}
`, `resources:
  n: {type: OS::Neutron::Net, properties: {name: out}}
  r: {type: OS::Neutron::Router, properties: {name: r2}}
outputs: {name: {value: {get_attr: [r, name]}}}
`, []string{`"enable_snat":false`, "PUT routers/ID/add_router_interface", "PUT routers/ID/remove_router_interface", `POST floatingips {"floatingip":{"a":"b"`, `PUT floatingips/ID {"floatingip":{"port_id":"`, `PUT floatingips/ID {"floatingip":{"port_id":null`,
			"PUT routers/ID/add_extraroutes", "PUT routers/ID/remove_extraroutes", `"fixed_ips":[]`, `"gateway_ip":null`, `PUT routers/ID {"router":{"external_gateway_info":{},"name":"r2"}}`}, map[string]any{"name": "r"}},
		{"trunk", "", `resources:
  n: {type: OS::Neutron::Net}
  p: {type: OS::Neutron::Port, properties: {network: {get_resource: n}}}
  c: {type: OS::Neutron::Port, properties: {network: {get_resource: n}}}
  t: {type: OS::Neutron::Trunk, properties: {port: {get_resource: p}, sub_ports: [{port: {get_resource: c}, segmentation_type: vlan, segmentation_id: 9}]}}
  q: {type: OS::Neutron::QoSPolicy, properties: {name: slow}}
  b: {type: OS::Neutron::QoSBandwidthLimitRule, properties: {policy: {get_resource: q}, max_kbps: 100}}
  d: {type: OS::Neutron::QoSDscpMarkingRule, properties: {policy: {get_resource: q}, dscp_mark: 16}}
  x: {type: OS::Neutron::RBACPolicy, properties: {object_type: network, object_id: {get_resource: n}, action: access_as_shared, target_tenant: t}}
outputs: {st: {value: {get_attr: [t, show, status]}}}
`, `resources:
  n: {type: OS::Neutron::Net}
  p: {type: OS::Neutron::Port, properties: {network: {get_resource: n}}}
  c: {type: OS::Neutron::Port, properties: {network: {get_resource: n}}}
  t: {type: OS::Neutron::Trunk, properties: {port: {get_resource: p}, sub_ports: []}}
outputs: {st: {value: {get_attr: [t, show, status]}}}
`, []string{`"segmentation_id":9`, "PUT trunks/ID/remove_subports", "POST qos/policies/ID/bandwidth_limit_rules", `"max_kbps":100`, `POST qos/policies/ID/dscp_marking_rules {"dscp_marking_rule":{"dscp_mark":16}}`, "DELETE qos/policies/ID/bandwidth_limit_rules/ID", "POST rbac-policies"},
			map[string]any{"st": "ACTIVE"}},
		{"pools", "", `resources:
  s: {type: OS::Neutron::AddressScope, properties: {name: sc}}
  p: {type: OS::Neutron::SubnetPool, properties: {prefixes: [10.0.0.0/8], address_scope: sc}, depends_on: s}
  n: {type: OS::Neutron::ProviderNet, properties: {network_type: vlan, physical_network: ph, segmentation_id: "5"}}
  g: {type: OS::Neutron::Segment, properties: {network: {get_resource: n}, network_type: vlan, physical_network: ph, segmentation_id: 6}}
  m: {type: OS::Neutron::MeteringLabel}
`, "", []string{`"address_scope_id":"`, `"provider:network_type":"vlan"`, `"provider:segmentation_id":"5"`, `POST segments {"segment":{"description":"heat resource`, "POST metering/metering-labels"}, nil},
		{"octavia", "load-balancer", `resources:
  l: {type: OS::Octavia::LoadBalancer, properties: {vip_subnet: {get_resource: s}}}
  n: {type: OS::Neutron::Net}
  s: {type: OS::Neutron::Subnet, properties: {network: {get_resource: n}, cidr: 10.1.0.0/24}}
  i: {type: OS::Octavia::Listener, properties: {loadbalancer: {get_resource: l}, protocol: HTTP, protocol_port: 80}}
  p: {type: OS::Octavia::Pool, properties: {listener: {get_resource: i}, protocol: HTTP, lb_algorithm: ROUND_ROBIN}}
  m: {type: OS::Octavia::PoolMember, properties: {pool: {get_resource: p}, address: 10.1.0.7, protocol_port: 80, weight: 1}}
  h: {type: OS::Octavia::HealthMonitor, properties: {pool: {get_resource: p}, type: PING, delay: 1, timeout: 1, max_retries: 1}}
`, `resources:
  l: {type: OS::Octavia::LoadBalancer, properties: {vip_subnet: {get_resource: s}}}
  n: {type: OS::Neutron::Net}
  s: {type: OS::Neutron::Subnet, properties: {network: {get_resource: n}, cidr: 10.1.0.0/24}}
  i: {type: OS::Octavia::Listener, properties: {loadbalancer: {get_resource: l}, protocol: HTTP, protocol_port: 80, connection_limit: 5}}
`, []string{`"vip_subnet_id":"`, `"loadbalancer_id":"`, `POST lbaas/pools/ID/members {"member":{"address":"10.1.0.7"`, "DELETE lbaas/pools/ID/members/ID", `PUT lbaas/listeners/ID {"listener":{"connection_limit":5}}`}, nil},
		{"cinder", "block-storage", `resources:
  t: {type: OS::Cinder::VolumeType, properties: {name: fast, metadata: {a: b}}}
  v: {type: OS::Cinder::Volume, properties: {size: 1, volume_type: {get_resource: t}, description: d}}
outputs: {d: {value: {get_attr: [v, display_description]}}}
`, `resources:
  t: {type: OS::Cinder::VolumeType, properties: {name: fast, metadata: {a: b}}}
  v: {type: OS::Cinder::Volume, properties: {size: 2, volume_type: {get_resource: t}, description: e}}
outputs: {d: {value: {get_attr: [v, display_description]}}}
`, []string{`"extra_specs":{"a":"b"}`, `POST volumes {"volume":{"description":"d"`, `{"os-extend":{"new_size":2}}`, `PUT volumes/ID {"volume":{"description":"e"}}`}, map[string]any{"d": "d"}},
		{"designate", "dns", `resources:
  z: {type: OS::Designate::Zone, properties: {name: example.org., email: a@example.org}}
  r: {type: OS::Designate::RecordSet, properties: {zone: {get_resource: z}, name: www, type: A, records: [192.0.2.1]}}
`, "", []string{`POST zones {"description":"heat resource`, "POST zones/ID/recordsets", "DELETE zones/ID/recordsets/ID"}, nil},
		{"manila", "sharev2", `resources:
  t: {type: OS::Manila::ShareType, properties: {name: t, driver_handles_share_servers: false}}
  s: {type: OS::Manila::Share, properties: {share_protocol: NFS, size: 1, access_rules: [{access_to: 10.0.0.0/8, access_type: ip, access_level: rw}]}}
`, "", []string{`"driver_handles_share_servers":"False"`, `"share_proto":"NFS"`, `{"allow_access":{`}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := newUndercloud(t)
			s := newShelf()
			u.Mount("/network", s)
			if tc.service != "" {
				u.service(tc.service, s)
			}
			l := lifecycle{name: tc.name, reason: tc.name, create: hot + tc.create, made: tc.made}
			if tc.update != "" {
				l.update = hot + tc.update
			}
			u.live(l)
			s.mu.Lock()
			defer s.mu.Unlock()
			all := strings.Join(s.calls, "\n")
			for _, c := range tc.calls {
				if !strings.Contains(all, c) {
					t.Errorf("no call with %s", c)
				}
			}
			if len(s.objects) > 0 {
				t.Errorf("%d objects are left: %v", len(s.objects), s.objects)
			}
			if t.Failed() {
				t.Logf("calls:\n%s", all)
			}
		})
	}
}
