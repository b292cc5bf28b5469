package deployment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const maxNumbers = 65536 // CPUs of a list

// numbersToRanges writes "0,1,2,8" as "0-2,8".
func numbersToRanges(s string) (string, error) {
	nums, err := numbers(s)
	if err != nil {
		return "", err
	}
	slices.Sort(nums)
	nums = slices.Compact(nums)
	var parts []string
	for i := 0; i < len(nums); {
		j := i
		for j+1 < len(nums) && nums[j+1] == nums[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, strconv.Itoa(nums[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", nums[i], nums[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ","), nil
}

func numbers(s string) ([]int, error) {
	var out []int
	for _, part := range strings.Split(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is no number of the list %q", part, s)
		}
		out = append(out, n)
	}
	return out, nil
}

// rangesToNumbers writes "0-3,^2,8" as "0,1,3,8": ^n leaves a number out.
func rangesToNumbers(s string) (string, error) {
	var in []int
	out := map[int]bool{}
	left := maxNumbers
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		without := strings.HasPrefix(part, "^")
		from, to, isRange := strings.Cut(strings.TrimPrefix(part, "^"), "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(strings.TrimSpace(from))
		b, err2 := strconv.Atoi(strings.TrimSpace(to))
		if err1 != nil || err2 != nil || a < 0 || b < a || b-a >= left {
			return "", fmt.Errorf("%q is no number or range of the list %q", part, s)
		}
		left -= b - a + 1
		for n := a; n <= b; n++ {
			if without {
				out[n] = true
			} else {
				in = append(in, n)
			}
		}
	}
	in = slices.DeleteFunc(in, func(n int) bool { return out[n] })
	slices.Sort(in)
	return joinNumbers(slices.Compact(in)), nil
}

func joinNumbers(nums []int) string {
	parts := make([]string, len(nums))
	for i, n := range nums {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

func convertNumbers(_ *run, in input) (any, error) { return numbersToRanges(in.str("num_list")) }
func convertRanges(_ *run, in input) (any, error)  { return rangesToNumbers(in.str("range_list")) }

// core is a physical core of introspection's numa_topology: its NUMA node and its thread siblings, as they are listed.
type core struct {
	node    int
	threads []int
}

func intOf(v any) int {
	switch x := v.(type) {
	case int64:
		return int(x)
	case float64:
		return int(x)
	case string:
		n, _ := strconv.Atoi(x) // what is no number is 0, as in the data of machines without it
		return n
	}
	return 0
}

// cores are those of the data, in its order.
func cores(data any) ([]core, error) {
	list, _ := dig(data, "numa_topology", "cpus").([]any)
	if len(list) == 0 {
		return nil, errors.New("Introspection data does not have numa_topology.cpus") //nolint:staticcheck // the text clients know
	}
	out := make([]core, len(list))
	for i, c := range list {
		out[i] = core{node: intOf(dig(c, "numa_node"))}
		sib, _ := dig(c, "thread_siblings").([]any)
		for _, t := range sib {
			out[i].threads = append(out[i].threads, intOf(t))
		}
		if len(out[i].threads) == 0 {
			return nil, fmt.Errorf("numa_topology.cpus[%d] has no thread_siblings", i)
		}
	}
	return out, nil
}

// hostCores is, of each NUMA node, the index of the core with the lowest thread: the host keeps it for itself.
func hostCores(all []core) map[int]int {
	out := map[int]int{}
	for i, c := range all {
		if j, ok := out[c.node]; !ok || slices.Min(c.threads) < slices.Min(all[j].threads) {
			out[c.node] = i
		}
	}
	return out
}

// hostCPUs are the threads of the cores that the host keeps, by NUMA node.
func hostCPUs(_ *run, in input) (any, error) {
	all, err := cores(in.value("inspect_data"))
	if err != nil {
		return nil, err
	}
	kept := hostCores(all)
	var nums []int
	for _, node := range slices.Sorted(maps.Keys(kept)) {
		nums = append(nums, all[kept[node]].threads...)
	}
	return joinNumbers(nums), nil
}

// dpdkCores picks for each NUMA node as many physical cores as numa_nodes_cores_count says, but not the host's, and returns
// all their threads.
func dpdkCores(_ *run, in input) (any, error) {
	all, err := cores(in.value("inspect_data"))
	if err != nil {
		return nil, err
	}
	counts := in.list("numa_nodes_cores_count")
	if len(counts) == 0 {
		return nil, errors.New("CPU physical cores count for each NUMA nodes is not available") //nolint:staticcheck // the text clients know
	}
	kept := hostCores(all)
	var out []int
	for node, c := range counts {
		want, have := intOf(c), 0
		for i, core := range all {
			if core.node == node && i != kept[node] && have < want {
				out = append(out, core.threads...)
				have++
			}
		}
		if have < want {
			return nil, fmt.Errorf("NUMA node %d has %d physical cores for DPDK, %d are wanted", node, have, want)
		}
	}
	return joinNumbers(out), nil
}

// dpdkNics finds the interfaces that os-net-config gives to DPDK, with their NUMA nodes and MTUs:
// [{name, numa_node, mtu}].
func dpdkNics(_ *run, in input) (any, error) {
	node := map[string]int{}
	nics, _ := dig(in.value("inspect_data"), "numa_topology", "nics").([]any)
	for _, n := range nics {
		node[text(n, "name")] = intOf(dig(n, "numa_node"))
	}
	names := nicNumbers(in.value("inspect_data"))
	switch inventory, _ := dig(in.value("inspect_data"), "inventory", "interfaces").([]any); {
	case len(inventory) == 0:
		return nil, errors.New("Introspection data does not have inventory.interfaces") //nolint:staticcheck // the text clients know
	case len(nics) == 0:
		return nil, errors.New("Introspection data does not have numa_topology.nics") //nolint:staticcheck // as above
	case len(names) == 0:
		return nil, errors.New("Unable to determine active interfaces (has_carrier)") //nolint:staticcheck // as above
	}
	def, err := in.integer("mtu_default", 1500)
	if err != nil {
		return nil, err
	}
	out := []any{}
	var problem error
	var walk func(v any, mtu int)
	walk = func(v any, mtu int) {
		switch x := v.(type) {
		case []any:
			for _, e := range x {
				walk(e, mtu)
			}
		case *yaml11.OrderedMap:
			kind := text(x, "type")
			if m := intOf(dig(x, "mtu")); m > 0 && (kind == "ovs_dpdk_port" || kind == "ovs_dpdk_bond") {
				mtu = m // what a bridge has is not its ports'
			}
			if kind == "ovs_dpdk_port" {
				members, _ := dig(x, "members").([]any)
				for _, m := range members {
					name := text(m, "name")
					if real := names[name]; real != "" {
						name = real
					}
					numa, ok := node[name]
					if !ok {
						problem = fmt.Errorf("Unable to determine NUMA node for DPDK NIC: %s", name) //nolint:staticcheck // the text clients know
						continue
					}
					out = append(out, yaml11.MapOf("name", name, "numa_node", numa, "mtu", mtu))
				}
				return
			}
			walk(dig(x, "members"), mtu)
		}
	}
	walk(in.value("network_configs"), def)
	return out, problem
}

// nicNumbers maps os-net-config's nic1, nic2, … to the names of the interfaces that have a carrier, embedded ones
// first, in their order.
func nicNumbers(data any) map[string]string {
	var embedded, others []string
	list, _ := dig(data, "inventory", "interfaces").([]any)
	for _, n := range list {
		name := text(n, "name")
		if !truthy(dig(n, "has_carrier")) || name == "" {
			continue
		}
		if strings.HasPrefix(name, "em") || strings.HasPrefix(name, "eno") || strings.HasPrefix(name, "eth") {
			embedded = append(embedded, name)
		} else {
			others = append(others, name)
		}
	}
	slices.SortFunc(embedded, natural)
	slices.SortFunc(others, natural)
	out := map[string]string{}
	for i, n := range append(embedded, others...) {
		out[fmt.Sprintf("nic%d", i+1)] = n
	}
	return out
}

// natural compares names with the numbers in them as numbers: eth2 is before eth10.
func natural(x, y string) int {
	digits := func(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
	for x != "" && y != "" {
		if n, m := digits(x), digits(y); n > 0 && m > 0 {
			a, b := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if c := cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Compare(len(x), len(y))
}

// dpdkSocketMemory computes the memory in MB that DPDK takes of each NUMA node: for each MTU of its interfaces, rounded up to the packet's
// buffer of 1024 bytes, (MTU + overhead) × packets, plus 500 MB; the minimum where there is no interface; in multiples of 1024.
func dpdkSocketMemory(_ *run, in input) (any, error) {
	overhead, err := in.integer("overhead", 800)
	if err != nil {
		return nil, err
	}
	packets, err := in.integer("packet_size_in_buffer", 4096*64)
	if err != nil {
		return nil, err
	}
	least, err := in.integer("minimum_socket_memory", 1500)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, n := range in.list("numa_nodes") {
		mtus := map[int]bool{}
		for _, nic := range in.list("dpdk_nics_numa_info") {
			if intOf(dig(nic, "numa_node")) == intOf(n) {
				mtus[intOf(dig(nic, "mtu"))] = true
			}
		}
		memory := 0
		for mtu := range mtus {
			memory += ((mtu+1023)/1024*1024 + overhead) * packets / (1 << 20)
		}
		if memory += 500; len(mtus) == 0 {
			memory = least
		}
		parts = append(parts, strconv.Itoa(int(math.Ceil(float64(memory)/1024))*1024))
	}
	return strings.Join(parts, ","), nil
}
