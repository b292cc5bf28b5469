package deployment

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// What the formulas assume unless user_inputs says otherwise, as TripleO's documentation of derived parameters has it.
const (
	gibPerOSD       = 3.0 // gb_per_osd
	coresPerOSD     = 1.0 // cores_per_osd
	gibPerGuest     = 0.5 // gb_overhead_per_guest
	reservedHostMiB = 4096
	hostOverheadMTU = 800 // overhead
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

// userInt is an integer of user_inputs; what is no integer is an error in the words that clients know.
func (d *derivation) userInt(name string, def int64) (int, error) {
	v := dig(d.user, name)
	if v == nil {
		v = def
	}
	n, ok := v.(int64)
	if !ok || n < 0 {
		return 0, fmt.Errorf("%s user input '%v' is invalid", name, v)
	}
	return int(n), nil
}

// needed is an integer that only the operator knows.
func (d *derivation) needed(name string) (int, error) {
	n, err := d.userInt(name, 0)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s user input is not provided", name)
	}
	return n, err
}

// userNumber is a number of user_inputs.
func (d *derivation) userNumber(name string, def float64) (float64, error) {
	switch v := dig(d.user, name).(type) {
	case nil:
		return def, nil
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	default:
		return 0, fmt.Errorf("'%v' is not a valid %s value.", v, name) //nolint:staticcheck // the text clients know
	}
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
	pmdCores, err := d.needed("num_phy_cores_per_numa_node_for_pmd")
	if err != nil {
		return err
	}
	overhead, err := d.userInt("overhead", hostOverheadMTU)
	if err != nil {
		return err
	}
	counts, numa := []any{}, []any{}
	for _, n := range nodes {
		count := 1
		if slices.ContainsFunc(nics, func(nic any) bool { return intOf(dig(nic, "numa_node")) == n }) {
			count = pmdCores
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
	memory, err := dpdkSocketMemory(r, newInput(map[string]any{"dpdk_nics_numa_info": nics, "numa_nodes": numa, "overhead": overhead, "packet_size_in_buffer": packetsOfBuffer, "minimum_socket_memory": 1500}))
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
		return errors.New("Unable to combine host and dpdk cpus list") //nolint:staticcheck // the text clients know
	}
	used, err := cpuSet(hostList, text(d.params, "OvsPmdCoreList"))
	if err != nil {
		return err
	}
	hosts, err := cpuSet(hostList)
	if err != nil {
		return err
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
		return errors.New("Unable to determine nova vcpu pin set") //nolint:staticcheck // the text clients know
	}
	pin, err := numbersToRanges(joinNumbers(guests))
	if err != nil {
		return err
	}
	iso, err := numbersToRanges(joinNumbers(isolated))
	if err != nil {
		return err
	}
	reserved, err := d.userInt("host_mem_default", reservedHostMiB)
	if err != nil {
		return err
	}
	args, err := d.kernelArgs(iso)
	if err != nil {
		return err
	}
	d.params.Delete("SriovHostCpusList") // only a step on the way
	d.params.Set("NovaVcpuPinSet", pin)
	d.params.Set("NovaComputeCpuSharedSet", hostList)
	d.params.Set("NovaReservedHostMemory", int64(reserved))
	d.params.Set("IsolCpusList", iso)
	d.params.Set("KernelArgs", args)
	return nil
}

// cpuSet are the CPUs of lists of ranges; an empty list has none.
func cpuSet(lists ...string) (map[int]bool, error) {
	out := map[int]bool{}
	for _, l := range lists {
		if l == "" {
			continue
		}
		plain, err := rangesToNumbers(l)
		if err != nil {
			return nil, err
		}
		nums, err := numbers(plain)
		if err != nil {
			return nil, err
		}
		for _, n := range nums {
			out[n] = true
		}
	}
	return out, nil
}

// kernelArgs gives guests huge pages of 1 GiB: a share of the memory but for the 4 GiB of the host.
func (d *derivation) kernelArgs(isolated string) (string, error) {
	flags, _ := dig(d.hw, "inventory", "cpu", "flags").([]any)
	if !slices.Contains(flags, any("pdpe1gb")) {
		return "", errors.New("default huge page size 1GB is not supported")
	}
	memory := intOf(dig(d.hw, "inventory", "memory", "physical_mb"))
	if memory == 0 {
		return "", errors.New("Unable to determine total memory") //nolint:staticcheck // the text clients know
	}
	share, err := d.needed("huge_page_allocation_percentage")
	if err != nil {
		return "", err
	}
	pages := (memory/1024 - 4) * share / 100
	if pages <= 0 {
		return "", errors.New("Unable to determine huge pages") //nolint:staticcheck // the text clients know
	}
	iommu := ""
	if strings.HasPrefix(text(d.hw, "inventory", "cpu", "model_name"), "Intel") {
		iommu = "intel_iommu=on iommu=pt"
	}
	return fmt.Sprintf("default_hugepagesz=1GB hugepagesz=1G hugepages=%d %s isolcpus=%s", pages, iommu, isolated), nil
}

// hci sets how much of a hyper-converged host Nova leaves to Ceph. Without a profile nothing is derived.
func (d *derivation) hci(_ *run) error {
	name := text(d.user, "hci_profile")
	if name == "" {
		return nil
	}
	profile, _ := dig(d.user, "hci_profile_config", name).(*yaml11.OrderedMap)
	if profile.Len() == 0 {
		return fmt.Errorf("'%s' is not a valid HCI profile.", name) //nolint:staticcheck // the text clients know
	}
	of := &derivation{user: profile}
	guestMB, err1 := of.userNumber("average_guest_memory_size_in_mb", 0)
	guestUse, err2 := of.userNumber("average_guest_cpu_utilization_percentage", 0)
	perGuest, err3 := d.userNumber("gb_overhead_per_guest", gibPerGuest)
	perOSD, err4 := d.userNumber("gb_per_osd", gibPerOSD)
	coresOf, err5 := d.userNumber("cores_per_osd", coresPerOSD)
	if err := cmp.Or(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	if guestUse <= 0 || guestMB/1024+perGuest <= 0 {
		return fmt.Errorf("profile %s: average_guest_cpu_utilization_percentage and the memory of a guest must be more than 0", name)
	}
	osds := d.osds()
	if osds == 0 {
		return errors.New("No Ceph OSDs found in the overcloud definition ('ceph::profile::params::osds').") //nolint:staticcheck // the text clients know
	}
	memory := intOf(dig(d.hw, "memory_mb"))
	if memory == 0 {
		return errors.New("Unable to determine the amount of physical memory (no 'memory_mb' found in introspection_data).") //nolint:staticcheck // as above
	}
	cpus, err := d.guestCPUs()
	if err != nil {
		return err
	}
	ceph := perOSD * float64(osds)
	guests := math.Trunc((float64(memory)/1024 - ceph) / (guestMB/1024 + perGuest))
	reserved := 1024 * int64(ceph+guests*perGuest)
	ratio := float64(cpus-int(coresOf*float64(osds))) / (guestUse / 100) / float64(cpus)
	switch {
	case float64(reserved) > 0.8*float64(memory):
		return fmt.Errorf("%d MB is not enough memory to run hyperconverged.", memory) //nolint:staticcheck // as above
	case ratio < 0.5:
		return fmt.Errorf("%d CPU cores are not enough to run hyperconverged.", cpus) //nolint:staticcheck // as above
	}
	d.params.Set("NovaReservedHostMemory", reserved)
	extra := yaml11.NewMap()
	if m, ok := dig(d.out, d.role+"ExtraConfig").(*yaml11.OrderedMap); ok {
		extra = m.Clone()
	}
	extra.Set("nova::cpu_allocation_ratio", ratio)
	d.out.Set(d.role+"ExtraConfig", extra)
	return nil
}

// osds is how many disks Ceph gets on a node: by CephAnsibleDisksConfig, else by hieradata.
func (d *derivation) osds() int {
	env := d.in.value("environment_parameters")
	for _, disks := range []any{dig(env, "CephAnsibleDisksConfig"), dig(d.in.value("heat_resource_tree"), "parameters", "CephAnsibleDisksConfig", "default")} {
		devices, _ := dig(disks, "devices").([]any)
		volumes, _ := dig(disks, "lvm_volumes").([]any)
		if n := len(devices) + len(volumes); n > 0 {
			return n
		}
	}
	for _, key := range []string{d.role + "ExtraConfig", "ExtraConfig"} {
		if m, ok := dig(env, key, "ceph::profile::params::osds").(*yaml11.OrderedMap); ok {
			return m.Len()
		}
	}
	return 0
}

// guestCPUs is how many CPUs guests have: those of NovaVcpuPinSet of the role, of all roles, or derived before; else all.
func (d *derivation) guestCPUs() (int, error) {
	env := d.in.value("environment_parameters")
	for _, v := range []any{dig(env, d.key, "NovaVcpuPinSet"), dig(env, "NovaVcpuPinSet"), dig(d.params, "NovaVcpuPinSet")} {
		list, _ := v.(string)
		if l, ok := v.([]any); ok {
			list = strings.Join(stringList(l), ",")
		}
		if list == "" {
			continue
		}
		set, err := cpuSet(list)
		return len(set), err
	}
	n := intOf(dig(d.hw, "cpus"))
	if n == 0 {
		return 0, errors.New("Unable to determine the number of CPU cores (no 'cpus' found in introspection_data).") //nolint:staticcheck // the text clients know
	}
	return n, nil
}
