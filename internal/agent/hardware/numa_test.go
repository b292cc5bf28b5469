package hardware

import (
	"encoding/json"
	"testing"
	"testing/fstest"
)

func TestNUMATopology(t *testing.T) {
	const n = "devices/system/node/"
	sys := fstest.MapFS{
		n + "online": text("0-1"), n + "possible": text("0-1"),
		n + "node0/meminfo": text("\nNode 0 MemTotal:       98765432 kB\nNode 0 MemFree:   1 kB"), n + "node1/meminfo": text("Node 1 MemTotal:       33554432 kB"),
		n + "node0/cpulist": text("0,2,4"), n + "node0/cpumap": text("15"),
		n + "node0/cpu0/topology/core_id": text("0"), n + "node0/cpu4/topology/core_id": text("0"), n + "node0/cpu2/topology/core_id": text("1"),
		n + "node0/cpu6/online":           text("0"), // switched off
		n + "node1/cpu1/topology/core_id": text("0"),
		"class/net/eth0/type":             text("1"), "class/net/eth0/device/numa_node": text("1"),
		"class/net/eth1/type": text("1"), "class/net/eth1/tun_flags": text("0x1002"),
	}
	got, err := NUMATopology(sys)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got)
	want := `{"ram":[{"numa_node":0,"size_kb":98765432},{"numa_node":1,"size_kb":33554432}],` +
		`"cpus":[{"cpu":0,"numa_node":0,"thread_siblings":[0,4]},{"cpu":1,"numa_node":0,"thread_siblings":[2]},{"cpu":0,"numa_node":1,"thread_siblings":[1]}],` +
		`"nics":[{"name":"eth0","numa_node":1},{"name":"eth1","numa_node":-1}]}`
	if err != nil || string(b) != want {
		t.Errorf("%v\n got %s\nwant %s", err, b, want)
	}
	for _, sys := range []fstest.MapFS{{}, {n + "online": text("0")}} {
		if _, err := NUMATopology(sys); err == nil {
			t.Errorf("a topology was made of %v", sys)
		}
	}
}
