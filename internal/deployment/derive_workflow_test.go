package deployment_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/deployment/deploymenttest"
)

// introspected is what the ramdisk found on a machine with two NUMA nodes of three cores with two threads each.
const introspected = `{"cpus": 12, "memory_mb": 65536,
 "inventory": {"cpu": {"count": 12, "model_name": "Intel(R) Xeon(R)", "flags": ["pdpe1gb"]}, "memory": {"physical_mb": 65536},
  "interfaces": [{"name": "ens1", "has_carrier": true}, {"name": "ens2", "has_carrier": true}]},
 "numa_topology": {"ram": [{"numa_node": 0, "size_kb": 1}, {"numa_node": 1, "size_kb": 1}],
  "nics": [{"name": "ens1", "numa_node": 0}, {"name": "ens2", "numa_node": 0}],
  "cpus": [{"cpu": 0, "numa_node": 0, "thread_siblings": [0, 6]}, {"cpu": 1, "numa_node": 0, "thread_siblings": [1, 7]}, {"cpu": 2, "numa_node": 0, "thread_siblings": [2, 8]},
   {"cpu": 0, "numa_node": 1, "thread_siblings": [3, 9]}, {"cpu": 1, "numa_node": 1, "thread_siblings": [4, 10]}, {"cpu": 2, "numa_node": 1, "thread_siblings": [5, 11]}]}}`

// TestDeriveParameters: from the flavor of a role to its nodes, their introspection and the plan; the role without
// such services gets nothing, a second run replaces what the first one derived, and what cannot be is said. Inspector
// is a stand-in that knows one document.
func TestDeriveParameters(t *testing.T) {
	srv := deploymenttest.Start(t)
	r := &rig{t: t, s: srv.Admin(), patience: time.Minute}
	var err error
	r.wf, err = r.s.Workflow()
	must(t, err)
	r.sw, err = r.s.ObjectStore()
	must(t, err)
	asked := ""
	srv.Mount("/introspection", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case q.URL.Path == "/":
			_, _ = fmt.Fprint(w, `{"versions": [{"id": "v1", "status": "CURRENT", "version": "1.12", "min_version": "1.0", "links": [{"rel": "self", "href": "`+srv.URL+`/introspection/v1"}]}]}`)
		case strings.HasSuffix(q.URL.Path, "/data"):
			asked = q.URL.Path
			_, _ = fmt.Fprint(w, introspected)
		default:
			http.NotFound(w, q)
		}
	}))
	files := tinyPlan()
	files["roles_data.yaml"] = "- {name: Controller, CountDefault: 1}\n- {name: Compute, CountDefault: 1}\n- {name: Idle, CountDefault: 0}\n"
	files["overcloud.j2.yaml"] = `heat_template_version: queens
parameters:
{% for role in roles %}
  {{role.name}}Count: {type: number, default: {{role.CountDefault}}}
  {{role.name}}Services: {type: comma_delimited_list, default: []}
  Overcloud{{role.name}}Flavor: {type: string, default: baremetal}
{% endfor %}
resources:
{% for role in roles %}
  {{role.name}}:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: {{role.name}}Count}
      resource_def: {type: role.yaml}
{% endfor %}
`
	files["role.yaml"] = "heat_template_version: queens\nresources:\n  NetworkConfig: {type: net.yaml}\n"
	files["net.yaml"] = `heat_template_version: queens
resources:
  OsNetConfigImpl:
    type: OS::Heat::SoftwareConfig
    properties:
      group: script
      config:
        str_replace:
          template: "mkdir -p /etc/os-net-config\necho '$network_config' >/etc/os-net-config/config.json\n"
          params:
            $network_config:
              network_config:
              - type: ovs_user_bridge
                name: br-link
                members:
                - {type: ovs_dpdk_port, name: dpdk0, mtu: 9000, members: [{type: interface, name: nic2}]}
`
	files["environments/base.yaml"] = `parameter_defaults:
  ComputeServices: ['OS::TripleO::Services::NovaCompute', 'OS::TripleO::Services::ComputeNeutronOvsDpdk']
  OvercloudComputeFlavor: compute
`
	r.upload("tiny", files)
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "tiny", "validate_stack": false})
	nova, err := r.s.Compute()
	must(t, err)
	okay := &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}
	var flavor struct {
		Flavor struct {
			ID string `json:"id"`
		} `json:"flavor"`
	}
	_, err = nova.Post(t.Context(), nova.ServiceURL("flavors"), map[string]any{"flavor": map[string]any{"name": "compute", "ram": 4096, "vcpus": 1, "disk": 40}}, &flavor, okay)
	must(t, err)
	_, err = nova.Post(t.Context(), nova.ServiceURL("flavors", flavor.Flavor.ID, "os-extra_specs"), map[string]any{"extra_specs": map[string]any{"capabilities:profile": "compute"}}, nil, okay)
	must(t, err)
	in := map[string]any{"plan": "tiny", "queue_name": "", "user_inputs": map[string]any{"num_phy_cores_per_numa_node_for_pmd": 1, "huge_page_allocation_percentage": 50}}
	const workflow = "tripleo.derive_params.v1.derive_parameters"
	state, out, info := r.run(workflow, in)
	if text := fmt.Sprint(info, out); state != "ERROR" || !strings.Contains(text, "Compute") || !strings.Contains(text, "profile compute") {
		t.Errorf("without a node: %s %s", state, text)
	}
	r.ok("tripleo.baremetal.v1.register_or_update", map[string]any{"initial_state": "manageable", "nodes_json": []any{
		map[string]any{"pm_type": "fake-hardware", "name": "n0", "mac": []any{"52:54:00:25:00:01"}, "capabilities": "profile:control"},
		map[string]any{"pm_type": "fake-hardware", "name": "n1", "mac": []any{"52:54:00:25:00:02"}, "capabilities": "profile:compute"}}})
	r.ok("tripleo.baremetal.v1.provide", map[string]any{"node_uuids": []any{"n0", "n1"}})
	want := map[string]any{"ComputeParameters": map[string]any{
		"OvsDpdkCoreList": "0,3,6,9", "OvsPmdCoreList": "1,4,7,10", "OvsDpdkSocketMemory": "3072,2048", "NovaVcpuPinSet": "2,5,8,11",
		"NovaComputeCpuSharedSet": "0,3,6,9", "NovaReservedHostMemory": 4096.0, "IsolCpusList": "1-2,4-5,7-8,10-11",
		"KernelArgs": "default_hugepagesz=1GB hugepagesz=1G hugepages=30 intel_iommu=on iommu=pt isolcpus=1-2,4-5,7-8,10-11"}}
	if diff := cmp.Diff(want, r.ok(workflow, in)["result"]); diff != "" {
		t.Errorf("derived: %s", diff)
	}
	if !strings.HasPrefix(asked, "/v1/introspection/") {
		t.Errorf("Inspector was asked for %q", asked)
	}
	if _, env := r.object("tiny", "plan-environment.yaml"); !strings.Contains(env, "derived_parameters:") || !strings.Contains(env, "OvsPmdCoreList: '1,4,7,10'") {
		_, env, _ = strings.Cut(env, "derived_parameters:")
		t.Errorf("the plan:\n%s", env)
	}
	in["user_inputs"] = map[string]any{"num_phy_cores_per_numa_node_for_pmd": 1, "huge_page_allocation_percentage": 10}
	r.ok(workflow, in)
	if _, env := r.object("tiny", "plan-environment.yaml"); strings.Count(env, "hugepages=") != 1 || !strings.Contains(env, "hugepages=6 ") {
		_, env, _ = strings.Cut(env, "derived_parameters:")
		t.Errorf("the plan after a second run:\n%s", env)
	}
	if got := r.action("tripleo.parameters.get", map[string]any{"container": "tiny"}); !strings.Contains(fmt.Sprint(got), "hugepages=6 ") {
		t.Errorf("Heat does not hear of them: %v", got)
	}
	in["user_inputs"] = map[string]any{"num_phy_cores_per_numa_node_for_pmd": 3}
	state, out, info = r.run(workflow, in)
	if text := fmt.Sprint(info, out); state != "ERROR" || !strings.Contains(text, "NUMA node 0 has 2 physical cores") {
		t.Errorf("more cores than there are: %s %s", state, text)
	}
}
