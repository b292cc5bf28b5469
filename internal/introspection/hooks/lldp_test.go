package hooks

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a switch sends, as Wireshark shows it: chassis 00:11:22:33:44:55, port
// "Ethernet1/7", VLAN 205 untagged, 101 named "storage", bridge and router,
// management address 10.0.0.2, frames of 9216 bytes.
func heard() []any {
	tlv := func(kind float64, hex string) any { return []any{kind, hex} }
	return []any{
		tlv(1, "04001122334455"), tlv(2, "0545746865726e6574312f37"), tlv(3, "0078"), tlv(4, "75706c696e6b"), tlv(5, "73772d31"), tlv(6, "4e4f53"),
		tlv(7, "00140004"), tlv(8, "05010a000002020000000000"), tlv(127, "0080c20100cd"), tlv(127, "0080c20300650773746f72616765"),
		tlv(127, "00120f042400"), tlv(127, "00120f010300000000"), tlv(127, "0080c2070300000005"), tlv(0, ""), tlv(1, "zz"), "noise",
	}
}

func TestLLDP(t *testing.T) {
	want := map[string]any{
		"switch_chassis_id": "00:11:22:33:44:55", "switch_port_id": "Ethernet1/7", "switch_port_description": "uplink", "switch_system_name": "sw-1",
		"switch_system_description": "NOS", "switch_capabilities_support": []any{"Bridge", "Router"}, "switch_capabilities_enabled": []any{"Bridge"},
		"switch_mgmt_addresses": []any{"10.0.0.2"}, "switch_port_untagged_vlan_id": 205, "switch_port_vlans": []any{map[string]any{"id": 101, "name": "storage"}},
		"switch_port_mtu": 9216, "switch_port_autonegotiation_support": true, "switch_port_autonegotiation_enabled": true,
		"switch_port_link_aggregation_support": true, "switch_port_link_aggregation_enabled": true, "switch_port_link_aggregation_id": 5,
	}
	got := lldp(heard())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"switch_id": "00:11:22:33:44:55", "port_id": "Ethernet1/7", "switch_info": "sw-1"}, localLink(got)); diff != "" {
		t.Error(diff)
	}
	if l := localLink(map[string]any{"switch_chassis_id": "core", "switch_port_id": "1"}); l != nil {
		t.Errorf("a chassis that is no MAC makes %v", l)
	}
}

func TestLinksReachThePorts(t *testing.T) {
	data := map[string]any{"inventory": object(t, inventory), "boot_interface": "52:54:00:00:00:01"}
	objects(data["inventory"].(map[string]any)["interfaces"])[0]["lldp"] = heard()
	res, err := Run(Options{AddPorts: "pxe"}, data, map[string]any{})
	if err != nil || len(res.Ports) != 1 || res.Ports[0].Link["port_id"] != "Ethernet1/7" {
		t.Errorf("ports %+v %v", res.Ports, err)
	}
	all := data["all_interfaces"].(map[string]any)["eth0"].(map[string]any)["lldp_processed"].(map[string]any)
	if all["switch_system_name"] != "sw-1" {
		t.Errorf("lldp_processed %v", all)
	}
}

// Newer ramdisks of ironic-python-agent send what they heard beside the inventory.
func TestLinksFromRawLLDP(t *testing.T) {
	data := map[string]any{"inventory": object(t, inventory), "boot_interface": "52:54:00:00:00:01", "lldp_raw": map[string]any{"eth0": heard(), "eth7": heard(), "eth8": "noise"}}
	res, err := Run(Options{AddPorts: "pxe"}, data, map[string]any{})
	if err != nil || len(res.Ports) != 1 || res.Ports[0].Link["switch_id"] != "00:11:22:33:44:55" {
		t.Errorf("ports %+v %v", res.Ports, err)
	}
	parsed := data["parsed_lldp"].(map[string]any)
	if eth0, _ := parsed["eth0"].(map[string]any); len(parsed) != 1 || eth0["switch_port_id"] != "Ethernet1/7" {
		t.Errorf("parsed_lldp %v", parsed)
	}
}

func TestPCIAndExtraHardware(t *testing.T) {
	data := map[string]any{"inventory": object(t, inventory),
		"pci_devices": []any{map[string]any{"vendor_id": "10DE", "product_id": "1db4"}, map[string]any{"vendor_id": "10de", "product_id": "1db4"}, map[string]any{"vendor_id": "8086", "product_id": "1521"}},
		"data":        []any{[]any{"cpu", "logical", "number", float64(4)}, []any{"disk", "sda", "size", "40"}, []any{"short"}}}
	res, err := Run(Options{AddPorts: "active", PCIAliases: []PCIAlias{{Name: "gpu", VendorID: "10de", ProductID: "1db4"}}}, data, map[string]any{})
	if err != nil || res.Capabilities["gpu"] != "2" {
		t.Errorf("capabilities %v %v", res.Capabilities, err)
	}
	want := map[string]any{"cpu": map[string]any{"logical": map[string]any{"number": float64(4)}}, "disk": map[string]any{"sda": map[string]any{"size": "40"}}}
	if diff := cmp.Diff(want, data["extra"]); diff != "" || data["data"] != nil {
		t.Errorf("%s, left: %v", diff, data["data"])
	}
}

func FuzzLLDP(f *testing.F) {
	f.Add(1, []byte{4, 0, 1, 2, 3, 4, 5})
	f.Add(8, []byte{5, 1, 10, 0, 0, 2})
	f.Add(127, []byte("\x00\x80\xc2\x03\x00\x65\x07storage"))
	f.Fuzz(func(_ *testing.T, kind int, v []byte) { tlv(map[string]any{}, kind, v) })
}
