package hot_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// TestImplied: what needs what though no reference says so.
func TestImplied(t *testing.T) {
	tm, _, err := hot.Parse("t", []byte(`heat_template_version: wallaby
parameters: {public: {type: string, default: public}}
resources:
  net: {type: OS::Neutron::Net}
  other: {type: OS::Neutron::Net}
  subnet: {type: OS::Neutron::Subnet, properties: {network_id: {get_resource: net}, cidr: 10.0.0.0/24}}
  elsewhere: {type: OS::Neutron::Subnet, properties: {network: {get_resource: other}, cidr: 10.0.1.0/24}}
  port: {type: OS::Neutron::Port, properties: {network: {get_resource: net}}}
  server: {type: OS::Nova::Server, properties: {flavor: f, networks: [{network: {get_resource: other}}, {port: {get_resource: port}}]}}
  router: {type: OS::Neutron::Router, properties: {external_gateway_info: {network: {get_param: public}}}}
  link: {type: OS::Neutron::RouterInterface, properties: {router_id: {get_resource: router}, subnet: {get_resource: subnet}}}
  computed: {type: OS::Neutron::Subnet, properties: {network: "n1999000", cidr: 10.0.2.0/24}}
  computed port: {type: OS::Neutron::Port, properties: {network: {yaql: {expression: "'n' + str(range(2000).sum())", data: {}}}}}
  routes: {type: OS::Neutron::ExtraRouteSet, properties: {router: {get_resource: router}, routes: []}}
  address: {type: OS::Neutron::FloatingIP, properties: {floating_network: public, port_id: {get_resource: port}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	ev := hot.NewEvaluator(tm, &scope{params: map[string]any{"public": "public"}, attrs: yaml11.NewMap(), yaql: hot.NewYaql()})
	got := map[string][]string{}
	for _, r := range tm.Resources {
		if names := ev.Implied(r); len(names) > 0 {
			got[r.Name] = names
		}
	}
	want := map[string][]string{"port": {"subnet"}, "server": {"elsewhere"}, "routes": {"link"}, "address": {"link", "router"}, "computed port": {"computed"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
