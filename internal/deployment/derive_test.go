package deployment

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// hardware is a machine with two NUMA nodes of four cores with two threads each, as introspection lists them: in no order.
const hardware = `
cpus: 16
memory_mb: 131072
inventory:
  cpu: {count: 16, model_name: Intel(R) Xeon(R), flags: [sse, pdpe1gb]}
  memory: {physical_mb: 131072}
  interfaces:
  - {name: ens10, has_carrier: true}
  - {name: ens2, has_carrier: true}
  - {name: ens3, has_carrier: false}
  - {name: eno1, has_carrier: true}
numa_topology:
  ram: [{numa_node: 1, size_kb: 1}, {numa_node: 0, size_kb: 1}]
  nics: [{name: ens2, numa_node: 0}, {name: ens10, numa_node: 1}, {name: eno1, numa_node: 0}]
  cpus:
  - {cpu: 2, numa_node: 0, thread_siblings: [2, 10]}
  - {cpu: 9, numa_node: 1, thread_siblings: [7, 15]}
  - {cpu: 1, numa_node: 0, thread_siblings: [0, 8]}
  - {cpu: 4, numa_node: 1, thread_siblings: [5, 13]}
  - {cpu: 0, numa_node: 0, thread_siblings: [1, 9]}
  - {cpu: 5, numa_node: 1, thread_siblings: [12, 4]}
  - {cpu: 3, numa_node: 0, thread_siblings: [3, 11]}
  - {cpu: 6, numa_node: 1, thread_siblings: [6, 14]}
`

func derive(t *testing.T, f func(*run, input) (any, error), yaml string) (any, error) {
	t.Helper()
	in := mustMap(t, yaml)
	for _, k := range []string{"inspect_data", "hw_data"} {
		if v, ok := in.Get(k); ok && v == "hardware" {
			in.Set(k, mustMap(t, hardware))
		}
	}
	return f(&run{}, input{in})
}

// TestDeriveActions: the numbers are those of TripleO's formulas (Queens).
func TestDeriveActions(t *testing.T) {
	const nics = "[{type: ovs_user_bridge, mtu: 9000, members: [{type: ovs_dpdk_bond, mtu: 9000, members: [{type: ovs_dpdk_port, members: [{type: interface, name: nic2}]}, {type: ovs_dpdk_port, mtu: 1600, members: [{type: interface, name: nic3}]}]}]}, " +
		"{type: ovs_user_bridge, mtu: 9000, members: [{type: ovs_dpdk_port, members: [{type: interface, name: eno1}]}]}, {type: interface, name: nic1}]"
	for _, tt := range []struct {
		reason string
		f      func(*run, input) (any, error)
		in     string
		want   any
		err    string
	}{
		{"the core with the lowest thread of each node, threads as listed", hostCPUs, "inspect_data: hardware", "0,8,12,4", ""},
		{"no data", hostCPUs, "inspect_data: {}", nil, "Introspection data does not have numa_topology.cpus"},
		{"in the order of the data, without the host's", dpdkCores, "{inspect_data: hardware, numa_nodes_cores_count: [2, 1]}", "2,10,1,9,7,15", ""},
		{"too many", dpdkCores, "{inspect_data: hardware, numa_nodes_cores_count: [4]}", nil, "NUMA node 0 has 3 physical cores for DPDK, 4 are wanted"},
		{"no counts", dpdkCores, "{inspect_data: hardware, numa_nodes_cores_count: []}", nil, "cores count for each NUMA nodes is not available"},
		{"nicN in natural order, a port's MTU, a bond's, but no bridge's", dpdkNics, "{inspect_data: hardware, network_configs: " + nics + "}",
			[]any{map[string]any{"name": "ens2", "numa_node": 0, "mtu": 9000}, map[string]any{"name": "ens10", "numa_node": 1, "mtu": 1600}, map[string]any{"name": "eno1", "numa_node": 0, "mtu": 1500}}, ""},
		{"an interface that introspection did not find", dpdkNics, "{inspect_data: hardware, network_configs: [{type: ovs_user_bridge, members: [{type: ovs_dpdk_port, members: [{name: x9}]}]}]}", nil, "Unable to determine NUMA node for DPDK NIC: x9"},
		{"no interfaces", dpdkNics, "{inspect_data: {}, network_configs: []}", nil, "does not have inventory.interfaces"},
		{"no NUMA", dpdkNics, "{inspect_data: {inventory: {interfaces: [{name: a}]}}, network_configs: []}", nil, "does not have numa_topology.nics"},
		{"no carrier", dpdkNics, "{inspect_data: {inventory: {interfaces: [{name: a}]}, numa_topology: {nics: [{name: a, numa_node: 0}]}}, network_configs: []}", nil, "Unable to determine active interfaces"},
		// 1500 -> (2048+800)*0.25 = 712+500; 9000 -> (9216+800)*0.25 = 2504, and 1600 as 1500: 2504+712+500
		{"memory for each MTU", dpdkSocketMemory, "{dpdk_nics_numa_info: [{numa_node: 0, mtu: 1500}, {numa_node: 1, mtu: 9000}, {numa_node: 1, mtu: 9000}, {numa_node: 1, mtu: 1600}], numa_nodes: [0, 1, 2], overhead: 800, packet_size_in_buffer: 262144}", "2048,4096,2048", ""},
		{"a small MTU is less than the minimum of others", dpdkSocketMemory, "{dpdk_nics_numa_info: [{numa_node: 0, mtu: 500}], numa_nodes: [0], overhead: 800, packet_size_in_buffer: 262144, minimum_socket_memory: 3000}", "1024", ""},
		{"numbers", convertNumbers, "num_list: ' 8, 1,0,2, 9'", "0-2,8-9", ""},
		{"no number", convertNumbers, "num_list: 1,x", nil, `"x" is no number`},
		{"ranges", convertRanges, "range_list: 0-3,^2,8", "0,1,3,8", ""},
		{"a range backwards", convertRanges, "range_list: 5-3", nil, `"5-3" is no number or range`},
	} {
		got, err := derive(t, tt.f, tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v %v, want %q", tt.reason, got, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, yaml11.Plain(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.reason, err, diff)
		}
	}
}

func TestNaturalOrder(t *testing.T) {
	for _, tt := range [][2]string{{"eth2", "eth10"}, {"eth2", "eth2a"}, {"a1b2", "a1b10"}, {"a", "b"}, {"", "a"}, {"em01", "em2"}} {
		if natural(tt[0], tt[1]) >= 0 || natural(tt[1], tt[0]) <= 0 || natural(tt[0], tt[0]) != 0 {
			t.Errorf("%v", tt)
		}
	}
}

// TestDeriveFormulas: parameters of a role from hardware and what the operator says, in the words of TripleO where it cannot be.
func TestDeriveFormulas(t *testing.T) {
	const network = "network_configs: [{type: ovs_user_bridge, members: [{type: ovs_dpdk_port, members: [{type: interface, name: ens2}]}]}]"
	const hci = "kind: hci, role_name: Hci, hw_data: hardware, environment_parameters: {CephAnsibleDisksConfig: {devices: [a, b], lvm_volumes: [c]}}, user_inputs: {hci_profile: many, hci_profile_config: {many: {average_guest_memory_size_in_mb: 1024, average_guest_cpu_utilization_percentage: 20}}"
	for _, tt := range []struct{ reason, in, want, err string }{
		{"DPDK: the user's cores where there is an interface, else one", "{kind: dpdk, role_name: Compute, hw_data: hardware, user_inputs: {num_phy_cores_per_numa_node_for_pmd: 2}, " + network + "}",
			`{"ComputeParameters": {"OvsPmdCoreList": "1-2,7,9-10,15", "OvsDpdkCoreList": "0,4,8,12", "OvsDpdkSocketMemory": "2048,2048"}}`, ""},
		{"DPDK without the number of cores", "{kind: dpdk, role_name: Compute, hw_data: hardware, " + network + "}", "", "num_phy_cores_per_numa_node_for_pmd user input is not provided"},
		{"DPDK with a wrong one", "{kind: dpdk, role_name: Compute, hw_data: hardware, user_inputs: {num_phy_cores_per_numa_node_for_pmd: two}, " + network + "}", "", "num_phy_cores_per_numa_node_for_pmd user input 'two' is invalid"},
		{"SR-IOV", "{kind: sriov, role_name: Compute, hw_data: hardware, derived_parameters: {ComputeParameters: {X: 1}, Other: 2}}", `{"ComputeParameters": {"X": 1, "SriovHostCpusList": "0,4,8,12"}, "Other": 2}`, ""},
		{"host after SR-IOV: (128-4) GiB * 50%", "{kind: host, role_name: Compute, hw_data: hardware, user_inputs: {huge_page_allocation_percentage: 50}, derived_parameters: {ComputeParameters: {SriovHostCpusList: '0,4,8,12'}}}",
			`{"ComputeParameters": {"NovaVcpuPinSet": "1-3,5-7,9-11,13-15", "NovaComputeCpuSharedSet": "0,4,8,12", "NovaReservedHostMemory": 4096, "IsolCpusList": "1-3,5-7,9-11,13-15", "KernelArgs": "default_hugepagesz=1GB hugepagesz=1G hugepages=62 intel_iommu=on iommu=pt isolcpus=1-3,5-7,9-11,13-15"}}`, ""},
		{"host after DPDK: its cores are isolated, not the guests'", "{kind: host, role_name: Compute, hw_data: hardware, user_inputs: {huge_page_allocation_percentage: 10, host_mem_default: 2048}, derived_parameters: {ComputeParameters: {OvsDpdkCoreList: '0,4,8,12', OvsPmdCoreList: '1-2,9-10'}}}",
			`{"ComputeParameters": {"OvsDpdkCoreList": "0,4,8,12", "OvsPmdCoreList": "1-2,9-10", "NovaVcpuPinSet": "3,5-7,11,13-15", "NovaComputeCpuSharedSet": "0,4,8,12", "NovaReservedHostMemory": 2048, "IsolCpusList": "1-3,5-7,9-11,13-15", "KernelArgs": "default_hugepagesz=1GB hugepagesz=1G hugepages=12 intel_iommu=on iommu=pt isolcpus=1-3,5-7,9-11,13-15"}}`, ""},
		{"host without the CPUs it keeps", "{kind: host, role_name: Compute, hw_data: hardware}", "", "Unable to combine host and dpdk cpus list"},
		{"host without a share of memory", "{kind: host, role_name: Compute, hw_data: hardware, derived_parameters: {ComputeParameters: {OvsDpdkCoreList: '0'}}}", "", "huge_page_allocation_percentage user input is not provided"},
		{"a processor without pages of 1 GiB", "{kind: host, role_name: Compute, hw_data: {numa_topology: {cpus: [{numa_node: 0, thread_siblings: [0, 1]}]}}, derived_parameters: {ComputeParameters: {OvsDpdkCoreList: '0'}}}", "", "default huge page size 1GB is not supported"},
		{"all CPUs are taken", "{kind: host, role_name: Compute, hw_data: hardware, derived_parameters: {ComputeParameters: {OvsDpdkCoreList: '0-15'}}}", "", "Unable to determine nova vcpu pin set"},
		// 3 OSDs: 9 GiB; (128-9)/(1+0.5) = 79 guests; 1024*int(9+39.5); (16-3)/0.2/16
		{"hyper-converged", "{" + hci + "}}", `{"HciParameters": {"NovaReservedHostMemory": 49152}, "HciExtraConfig": {"nova::cpu_allocation_ratio": 4.0625}}`, ""},
		// the guests' CPUs are 8; 3 OSDs with 2 GiB and 1.5 cores each; (128-6)/(1+1) = 61 guests; 1024*int(6+61); (8-int(4.5))/0.2/8
		{"hyper-converged with other numbers", "{" + hci + ", gb_per_osd: 2, cores_per_osd: 1.5, gb_overhead_per_guest: 1}, derived_parameters: {HciParameters: {NovaVcpuPinSet: '8-15'}}}",
			`{"HciParameters": {"NovaVcpuPinSet": "8-15", "NovaReservedHostMemory": 68608}, "HciExtraConfig": {"nova::cpu_allocation_ratio": 2.5}}`, ""},
		{"hyper-converged without a profile", "{kind: hci, role_name: Hci, hw_data: hardware}", `{"HciParameters": {}}`, ""},
		{"a profile that is not there", "{kind: hci, role_name: Hci, hw_data: hardware, user_inputs: {hci_profile: few}}", "", "'few' is not a valid HCI profile."},
		{"a text as memory", "{kind: hci, role_name: Hci, hw_data: hardware, user_inputs: {hci_profile: p, hci_profile_config: {p: {average_guest_memory_size_in_mb: much}}}}", "", "'much' is not a valid average_guest_memory_size_in_mb value."},
		{"no OSDs", strings.Replace("{"+hci+"}}", "CephAnsibleDisksConfig", "Nothing", 1), "", "No Ceph OSDs found"},
		{"too much for Ceph", "{" + hci + ", gb_per_osd: 40}}", "", "131072 MB is not enough memory"},
		{"too few CPUs", "{" + hci + ", cores_per_osd: 5}}", "", "16 CPU cores are not enough"},
	} {
		got, err := derive(t, deriveFormula, tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v %v, want %q", tt.reason, yaml11.PyJSON(got, false), err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		if diff := cmp.Diff(yaml11.Plain(mustMap(t, tt.want)), yaml11.Plain(dig(got, "derived_parameters"))); diff != "" {
			t.Errorf("%s:\n%s", tt.reason, diff)
		}
	}
}
