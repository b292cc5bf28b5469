package deployment

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// What Nova reserves on a host with Ceph's OSDs, as TripleO's documentation of hyper-converged nodes gives it.
const (
	gibPerOSD       = 3.0
	coresPerOSD     = 1.0
	gibPerGuest     = 0.5
	reservedHostMiB = 4096
	hostOverheadMTU = 800
	packetsOfBuffer = 4096 * 64
)

// deriveFormula computes the parameters of a role of one kind (dpdk, sriov, host, hci) from what introspection found:
// {derived_parameters}: those given, with what is new merged in.
func deriveFormula(r *run, in input) (any, error) {
	d := &derivation{in: in, role: in.str("role_name"), hw: in.value("hw_data"), user: in.mapping("user_inputs"), out: yaml11.NewMap()}
	if m := in.mapping("derived_parameters"); m != nil {
		d.out = m.Clone()
	}
	d.key = d.role + "Parameters"
	d.params = yaml11.NewMap()
	if m, ok := dig(d.out, d.key).(*yaml11.OrderedMap); ok {
		d.params = m.Clone()
	}
	kinds := map[string]func(*run) error{"dpdk": d.dpdk, "sriov": d.sriov, "host": d.host, "hci": d.hci}
	f := kinds[in.str("kind")]
	if f == nil {
		return nil, fmt.Errorf("kind must be dpdk, sriov, host or hci, not %q", in.str("kind"))
	}
	if err := f(r); err != nil {
		return nil, fmt.Errorf("role %s: %w", d.role, err)
	}
	d.out.Set(d.key, d.params)
	return yaml11.MapOf("derived_parameters", d.out), nil
}

type derivation struct {
	in          input
	role, key   string
	hw          any
	user        *yaml11.OrderedMap
	out, params *yaml11.OrderedMap
}

func (d *derivation) userInt(name string, def int) int {
	if v := dig(d.user, name); v != nil {
		return intOf(v)
	}
	return def
}

// numaNodes are the NUMA nodes with memory, in order.
func (d *derivation) numaNodes() ([]int, error) {
	list, _ := dig(d.hw, "numa_topology", "ram").([]any)
	var out []int
	for _, n := range list {
		out = append(out, intOf(dig(n, "numa_node")))
	}
	if len(out) == 0 {
		return nil, errors.New("introspection found no NUMA topology (collector numa-topology)")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (d *derivation) hostCPUs(r *run) (string, error) {
	v, err := hostCPUs(r, newInput(map[string]any{"inspect_data": d.hw}))
	s, _ := v.(string)
	return s, err
}

func (d *derivation) dpdk(r *run) error {
	nodes, err := d.numaNodes()
	if err != nil {
		return err
	}
	info, err := dpdkNics(r, newInput(map[string]any{"network_configs": d.in.value("network_configs"), "inspect_data": d.hw, "mtu_default": 1500}))
	if err != nil {
		return err
	}
	nics, _ := info.([]any)
	if len(nics) == 0 {
		return errors.New("os-net-config gives no interface to DPDK")
	}
	counts, numa := []any{}, []any{}
	for _, n := range nodes {
		count := 1
		if slices.ContainsFunc(nics, func(nic any) bool { return intOf(dig(nic, "numa_node")) == n }) {
			count = d.userInt("num_phy_cores_per_numa_node_for_pmd", 1)
		}
		for len(counts) < n {
			counts = append(counts, 0)
		}
		counts, numa = append(counts, count), append(numa, n)
	}
	pmd, err := dpdkCores(r, newInput(map[string]any{"inspect_data": d.hw, "numa_nodes_cores_count": counts}))
	if err != nil {
		return err
	}
	pmdRange, err := numbersToRanges(fmt.Sprint(pmd))
	if err != nil {
		return err
	}
	host, err := d.hostCPUs(r)
	if err != nil {
		return err
	}
	hostRange, err := numbersToRanges(host)
	if err != nil {
		return err
	}
	memory, err := dpdkSocketMemory(r, newInput(map[string]any{"dpdk_nics_numa_info": nics, "numa_nodes": numa, "overhead": hostOverheadMTU, "packet_size_in_buffer": packetsOfBuffer, "minimum_socket_memory": 1500}))
	if err != nil {
		return err
	}
	d.params.Set("OvsPmdCoreList", pmdRange)
	d.params.Set("OvsDpdkCoreList", hostRange)
	d.params.Set("OvsDpdkSocketMemory", memory)
	return nil
}

func (d *derivation) sriov(r *run) error {
	host, err := d.hostCPUs(r)
	if err != nil {
		return err
	}
	host, err = numbersToRanges(host)
	if err == nil {
		d.params.Set("SriovHostCpusList", host)
	}
	return err
}

// host leaves to guests what neither the host nor DPDK uses.
func (d *derivation) host(_ *run) error {
	all, err := cores(d.hw)
	if err != nil {
		return err
	}
	hostList := firstText(text(d.params, "OvsDpdkCoreList"), text(d.params, "SriovHostCpusList"))
	if hostList == "" {
		return errors.New("the CPUs of the host are not known: derive DPDK's or SR-IOV's parameters first")
	}
	used := map[int]bool{}
	hosts := map[int]bool{}
	for _, name := range []string{"OvsDpdkCoreList", "SriovHostCpusList", "OvsPmdCoreList"} {
		list := text(d.params, name)
		if list == "" {
			continue
		}
		plain, err := rangesToNumbers(list)
		if err != nil {
			return err
		}
		nums, err := numbers(plain)
		if err != nil {
			return err
		}
		for _, n := range nums {
			used[n] = true
			hosts[n] = hosts[n] || name != "OvsPmdCoreList"
		}
	}
	var guests, isolated []int
	for _, c := range all {
		for _, t := range c.threads {
			if !used[t] {
				guests = append(guests, t)
			}
			if !hosts[t] {
				isolated = append(isolated, t)
			}
		}
	}
	if len(guests) == 0 {
		return errors.New("no CPU is left for guests")
	}
	pin, err := numbersToRanges(joinNumbers(guests))
	if err != nil {
		return err
	}
	iso, err := numbersToRanges(joinNumbers(isolated))
	if err != nil {
		return err
	}
	memory := intOf(dig(d.hw, "inventory", "memory", "physical_mb"))
	pages := max(memory*d.userInt("huge_page_allocation_percentage", 50)/100/1024, 0)
	iommu := ""
	flags := strings.ToLower(text(d.hw, "inventory", "cpu", "model_name"))
	if strings.Contains(flags, "intel") {
		iommu = " intel_iommu=on"
	}
	d.params.Delete("SriovHostCpusList") // only a step on the way
	d.params.Set("NovaVcpuPinSet", []any{pin})
	d.params.Set("NovaComputeCpuSharedSet", []any{hostList})
	d.params.Set("NovaReservedHostMemory", reservedHostMiB)
	d.params.Set("IsolCpusList", iso)
	d.params.Set("KernelArgs", fmt.Sprintf("default_hugepagesz=1GB hugepagesz=1G hugepages=%d%s iommu=pt isolcpus=%s", pages, iommu, iso))
	return nil
}

// hci sets how much of a hyper-converged host Nova leaves to Ceph.
func (d *derivation) hci(_ *run) error {
	profile := dig(d.user, "hci_profile_config", firstText(text(d.user, "hci_profile"), "default"))
	guestMB := intOf(dig(profile, "average_guest_memory_size_in_mb"))
	guestUse := float64(intOf(dig(profile, "average_guest_cpu_utilization_percentage"))) / 100
	if guestMB <= 0 || guestUse <= 0 {
		return errors.New("user_inputs.hci_profile_config lacks average_guest_memory_size_in_mb or average_guest_cpu_utilization_percentage of the profile hci_profile")
	}
	disks, _ := dig(d.in.value("environment_parameters"), "CephAnsibleDisksConfig", "devices").([]any)
	osds := len(disks)
	if osds == 0 {
		if found, _ := dig(d.hw, "inventory", "disks").([]any); len(found) > 1 {
			osds = len(found) - 1 // all but the root disk
		}
	}
	memory := float64(intOf(dig(d.hw, "inventory", "memory", "physical_mb"))) / 1024
	count := float64(intOf(dig(d.hw, "inventory", "cpu", "count")))
	if osds == 0 || memory == 0 || count == 0 {
		return fmt.Errorf("%d OSDs, %v GiB of memory and %v CPUs: all must be known", osds, memory, count)
	}
	left := memory - gibPerOSD*float64(osds)
	guests := math.Floor(left / (float64(guestMB)/1024 + gibPerGuest))
	cpus := count - coresPerOSD*float64(osds)
	if guests < 1 || cpus <= 0 {
		return fmt.Errorf("%d OSDs leave no room for a guest of %d MB", osds, guestMB)
	}
	d.params.Set("NovaReservedHostMemory", int64(1024*(gibPerOSD*float64(osds)+guests*gibPerGuest)))
	extra := yaml11.NewMap()
	if m, ok := dig(d.out, d.role+"ExtraConfig").(*yaml11.OrderedMap); ok {
		extra = m.Clone()
	}
	extra.Set("nova::cpu_allocation_ratio", math.Floor(cpus/guestUse/count*100)/100)
	d.out.Set(d.role+"ExtraConfig", extra)
	return nil
}
