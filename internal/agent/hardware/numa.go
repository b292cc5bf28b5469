package hardware

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// NUMA is the machine's topology in the shape of ironic-python-agent's
// collector numa-topology, which ironic-inspector's hooks and TripleO's derived
// parameters read. Sizes in KiB; a card whose node is not known has -1, as in
// the kernel.
type NUMA struct {
	RAM  []NUMARAM `json:"ram"`
	CPUs []NUMACPU `json:"cpus"`
	NICs []NUMANIC `json:"nics"`
}

// NUMARAM is the memory of a node.
type NUMARAM struct {
	Node   int   `json:"numa_node"`
	SizeKB int64 `json:"size_kb"`
}

// NUMACPU is a physical core: its number within its node, and the logical
// processors that are its threads.
type NUMACPU struct {
	CPU      int   `json:"cpu"`
	Node     int   `json:"numa_node"`
	Siblings []int `json:"thread_siblings"`
}

// NUMANIC is a card.
type NUMANIC struct {
	Name string `json:"name"`
	Node int    `json:"numa_node"`
}

// maxCPUs bounds what is looked at of a node; the kernel's own limit is 8192.
const maxCPUs = 8192

// NUMATopology reads the nodes below /sys/devices/system/node. A kernel that
// shows none has no topology, which is an error.
func NUMATopology(sys fs.FS) (NUMA, error) {
	const base = "devices/system/node"
	entries, err := fs.ReadDir(sys, base)
	if err != nil {
		return NUMA{}, fmt.Errorf("NUMA topology: %w", err)
	}
	t := NUMA{RAM: []NUMARAM{}, CPUs: []NUMACPU{}, NICs: []NUMANIC{}}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), "node")
		node, err := strconv.Atoi(digits)
		if !ok || err != nil {
			continue
		}
		dir := base + "/" + e.Name()
		ram := NUMARAM{Node: node}
		for line := range strings.Lines(string(readFile(sys, dir+"/meminfo"))) {
			if _, rest, ok := strings.Cut(line, "MemTotal:"); ok {
				ram.SizeKB, _ = strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			}
		}
		t.RAM = append(t.RAM, ram)
		t.CPUs = append(t.CPUs, cores(sys, dir, node)...)
	}
	if len(t.RAM) == 0 {
		return NUMA{}, fmt.Errorf("NUMA topology: the kernel shows no node in %s", base)
	}
	slices.SortFunc(t.RAM, func(a, b NUMARAM) int { return a.Node - b.Node })
	for _, name := range PhysicalNames(sys) {
		node, err := strconv.Atoi(readLine(sys, "class/net/"+name+"/device/numa_node"))
		if err != nil {
			node = -1
		}
		t.NICs = append(t.NICs, NUMANIC{name, node})
	}
	return t, nil
}

// cores groups the processors of a node by the core that they are threads of.
func cores(sys fs.FS, dir string, node int) []NUMACPU {
	entries, err := fs.ReadDir(sys, dir)
	if err != nil {
		return nil
	}
	byCore := map[int]*NUMACPU{}
	for _, e := range entries[:min(len(entries), maxCPUs)] {
		digits, ok := strings.CutPrefix(e.Name(), "cpu")
		thread, err := strconv.Atoi(digits)
		if !ok || err != nil {
			continue
		}
		id, err := strconv.Atoi(readLine(sys, dir+"/"+e.Name()+"/topology/core_id"))
		if err != nil {
			continue // it is switched off
		}
		core, ok := byCore[id]
		if !ok {
			core = &NUMACPU{CPU: id, Node: node}
			byCore[id] = core
		}
		core.Siblings = append(core.Siblings, thread)
	}
	var out []NUMACPU
	for _, core := range byCore {
		slices.Sort(core.Siblings)
		out = append(out, *core)
	}
	slices.SortFunc(out, func(a, b NUMACPU) int { return a.CPU - b.CPU })
	return out
}
