package hooks

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func object(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const inventory = `{"cpu": {"count": 2, "architecture": "x86_64", "flags": ["svm", "pdpe1gb", "other"]}, "memory": {"physical_mb": 4096},
	"disks": [{"name": "/dev/sda", "size": 42949672960, "model": "QEMU HARDDISK", "serial": "A1", "rotational": true, "wwn": "0x1"},
		{"name": "/dev/nvme0n1", "size": 107374182400, "model": "Samsung SSD 970", "serial": "B2", "rotational": false}],
	"interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:01", "ipv4_address": "192.168.24.10"},
		{"name": "eth1", "mac_address": "52:54:00:00:00:02"}, {"name": "bad", "mac_address": "xx"}],
	"boot": {"current_boot_mode": "bios"}, "bmc_address": "10.0.0.1"}`

func TestRun(t *testing.T) {
	data := map[string]any{"inventory": object(t, inventory), "boot_interface": "01-52-54-00-00-00-01", "root_disk": map[string]any{"name": "/dev/sda", "size": float64(40 << 30)}}
	res, err := Run(Options{AddPorts: "pxe"}, data, map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		Properties:   map[string]any{"cpus": "2", "memory_mb": "4096", "cpu_arch": "x86_64", "local_gb": "39"},
		Capabilities: map[string]string{"boot_mode": "bios", "cpu_vt": "true", "cpu_hugepages_1g": "true"},
		Ports:        []Port{{MAC: "52:54:00:00:00:01", PXE: true}},
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"52:54:00:00:00:01"}, data["macs"]); diff != "" || data["ipmi_address"] != "10.0.0.1" || data["local_gb"] != float64(39) {
		t.Errorf("derived data: %v %v %v", data["macs"], data["ipmi_address"], data["local_gb"])
	}
	if all := data["all_interfaces"].(map[string]any); len(all) != 2 {
		t.Errorf("all_interfaces %v, want the two with valid MACs", all)
	}
}

func TestAddPorts(t *testing.T) {
	for _, c := range []struct {
		add, boot string
		want      int
		reason    string
	}{
		{"pxe", "52:54:00:00:00:02", 1, "the card that booted, though it has no address"},
		{"pxe", "", 1, "unknown boot card: those with an address"},
		{"active", "52:54:00:00:00:02", 1, "those with an address"},
		{"all", "", 2, "all valid ones"},
	} {
		data := map[string]any{"inventory": object(t, inventory), "boot_interface": c.boot}
		res, err := Run(Options{AddPorts: c.add}, data, map[string]any{})
		if err != nil || len(res.Ports) != c.want {
			t.Errorf("%s: %v %v, want %d (%s)", c.add, res.Ports, err, c.want, c.reason)
		}
	}
}

func TestRootDeviceHints(t *testing.T) {
	for _, c := range []struct {
		hints  string
		want   string // name, or "" for none
		reason string
	}{
		{`{"serial": "B2"}`, "/dev/nvme0n1", "exact"},
		{`{"serial": "b2"}`, "/dev/nvme0n1", "case does not matter"},
		{`{"size": 40}`, "/dev/sda", "size is in GiB"},
		{`{"size": ">= 50"}`, "/dev/nvme0n1", "operator"},
		{`{"size": ">= 10"}`, "/dev/sda", "the smallest of those that fit"},
		{`{"size": "= 50"}`, "/dev/nvme0n1", "= means at least"},
		{`{"size": "!= 40"}`, "/dev/nvme0n1", "not"},
		{`{"rotational": false}`, "/dev/nvme0n1", "boolean"},
		{`{"rotational": "true"}`, "/dev/sda", "boolean as text"},
		{`{"model": "samsung ssd 970"}`, "/dev/nvme0n1", "text with spaces is no operator"},
		{`{"model": "<in> ssd"}`, "/dev/nvme0n1", "part of the text"},
		{`{"model": "<all-in> samsung 970"}`, "/dev/nvme0n1", "all parts"},
		{`{"name": "s== /dev/sda"}`, "/dev/sda", "text comparison"},
		{`{"name": "<or> /dev/sdx <or> /dev/sda"}`, "/dev/sda", "one of"},
		{`{"wwn": "0x1", "serial": "B2"}`, "", "all hints must hold"},
		{`{"vendor": "x"}`, "", "a disk without the field does not fit"},
	} {
		var disks []map[string]any
		disks = append(disks, objects(object(t, inventory)["disks"])...)
		d, err := matchHints(disks, object(t, c.hints))
		name, _ := d["name"].(string)
		if name != c.want || (c.want == "") != (err != nil) {
			t.Errorf("%s: got %q %v, want %q (%s)", c.hints, name, err, c.want, c.reason)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{`{"error": "on fire"}`, "on fire"},
		{`{}`, "no inventory"},
		{`{"inventory": {"interfaces": []}}`, "lacks cpus, memory_mb, cpu_arch"},
		{`{"inventory": {"cpu": {"count": 1, "architecture": "x"}, "memory": {"physical_mb": 1}, "interfaces": [{"name": "e", "mac_address": "?"}]}}`, `interface 0 ("e") has MAC "?"`},
	} {
		_, err := Run(Options{AddPorts: "pxe"}, object(t, c.data), map[string]any{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.data, err, c.want)
		}
	}
}
