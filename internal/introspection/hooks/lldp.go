package hooks

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// TLV types of LLDP (IEEE 802.1AB-2016, table 8-1) and the organizations whose
// TLVs are read.
const (
	tlvChassisID    = 1
	tlvPortID       = 2
	tlvPortDesc     = 4
	tlvSystemName   = 5
	tlvSystemDesc   = 6
	tlvCapabilities = 7
	tlvManagement   = 8
	tlvOrganization = 127

	ouiDot1 = "\x00\x80\xc2" // IEEE 802.1
	ouiDot3 = "\x00\x12\x0f" // IEEE 802.3
)

// maxTLVs bounds what is read of one interface.
const maxTLVs = 256

// lldp decodes what the ramdisk heard from the switch: raw is a list of
// [type, value in hexadecimal]. The names of the result are ironic-inspector's
// (its plugin lldp_basic). TLVs that cannot be read are passed over.
func lldp(raw any) map[string]any {
	out := map[string]any{}
	list, _ := raw.([]any)
	for _, entry := range list[:min(len(list), maxTLVs)] {
		pair, _ := entry.([]any)
		if len(pair) != 2 {
			continue
		}
		kind, isNum := pair[0].(float64)
		text, _ := pair[1].(string)
		v, err := hex.DecodeString(text)
		if !isNum || err != nil {
			continue
		}
		tlv(out, int(kind), v)
	}
	return out
}

func tlv(out map[string]any, kind int, v []byte) {
	switch kind {
	case tlvChassisID:
		if id := chassisID(v); id != "" {
			out["switch_chassis_id"] = id
		}
	case tlvPortID:
		if id := portID(v); id != "" {
			out["switch_port_id"] = id
		}
	case tlvPortDesc:
		out["switch_port_description"] = string(v)
	case tlvSystemName:
		out["switch_system_name"] = string(v)
	case tlvSystemDesc:
		out["switch_system_description"] = string(v)
	case tlvCapabilities:
		if len(v) >= 4 {
			out["switch_capabilities_support"] = capabilityNames(binary.BigEndian.Uint16(v))
			out["switch_capabilities_enabled"] = capabilityNames(binary.BigEndian.Uint16(v[2:]))
		}
	case tlvManagement:
		if len(v) > 2 && int(v[0]) <= len(v)-1 {
			if a := networkAddress(v[1 : 1+v[0]]); a != "" {
				old, _ := out["switch_mgmt_addresses"].([]any)
				out["switch_mgmt_addresses"] = append(old, a)
			}
		}
	case tlvOrganization:
		if len(v) > 4 {
			organization(out, string(v[:3]), v[3], v[4:])
		}
	}
}

// chassisID reads table 8-2: subtypes 4 (MAC address), 5 (network address) and
// the textual ones.
func chassisID(v []byte) string {
	if len(v) < 2 {
		return ""
	}
	switch v[0] {
	case 4:
		return macText(v[1:])
	case 5:
		return networkAddress(v[1:])
	case 1, 2, 3, 6, 7:
		return string(v[1:])
	}
	return ""
}

// portID reads table 8-3: subtypes 3 (MAC address), 4 (network address) and the
// textual ones.
func portID(v []byte) string {
	if len(v) < 2 {
		return ""
	}
	switch v[0] {
	case 3:
		return macText(v[1:])
	case 4:
		return networkAddress(v[1:])
	case 1, 2, 5, 7:
		return string(v[1:])
	}
	return ""
}

func macText(v []byte) string {
	if len(v) != 6 {
		return ""
	}
	return net.HardwareAddr(v).String()
}

// networkAddress reads an IANA address family number (1 IPv4, 2 IPv6) and the
// address.
func networkAddress(v []byte) string {
	if len(v) < 5 {
		return ""
	}
	a, ok := netip.AddrFromSlice(v[1:])
	if !ok || v[0] == 1 != a.Is4() {
		return ""
	}
	return a.String()
}

// capabilityNames names the bits of table 8-4.
func capabilityNames(bits uint16) []any {
	names := []string{"Other", "Repeater", "Bridge", "WLAN Access Point", "Router", "Telephone", "DOCSIS cable device", "Station only",
		"C-VLAN component of a VLAN Bridge", "S-VLAN component of a VLAN Bridge", "Two-port MAC Relay (TPMR)"}
	out := []any{}
	for i, n := range names {
		if bits&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// organization reads the TLVs of 802.1 (annex D: port VLAN, VLAN names, link
// aggregation) and of 802.3 (annex of 802.3: link aggregation, frame size).
func organization(out map[string]any, oui string, subtype byte, v []byte) {
	switch {
	case oui == ouiDot1 && subtype == 1 && len(v) >= 2:
		out["switch_port_untagged_vlan_id"] = int(binary.BigEndian.Uint16(v))
	case oui == ouiDot1 && subtype == 3 && len(v) >= 3 && int(v[2]) <= len(v)-3:
		old, _ := out["switch_port_vlans"].([]any)
		out["switch_port_vlans"] = append(old, map[string]any{"id": int(binary.BigEndian.Uint16(v)), "name": string(v[3 : 3+v[2]])})
	case (oui == ouiDot1 && subtype == 7 || oui == ouiDot3 && subtype == 3) && len(v) >= 5:
		out["switch_port_link_aggregation_support"] = v[0]&1 != 0
		out["switch_port_link_aggregation_enabled"] = v[0]&2 != 0
		out["switch_port_link_aggregation_id"] = int(binary.BigEndian.Uint32(v[1:]))
	case oui == ouiDot3 && subtype == 1 && len(v) >= 5:
		out["switch_port_autonegotiation_support"] = v[0]&1 != 0
		out["switch_port_autonegotiation_enabled"] = v[0]&2 != 0
	case oui == ouiDot3 && subtype == 4 && len(v) >= 2:
		out["switch_port_mtu"] = int(binary.BigEndian.Uint16(v))
	}
}

// localLink is the port's local_link_connection that LLDP tells: the hook
// local_link_connection. nil if it tells too little.
func localLink(processed map[string]any) map[string]any {
	chassis, _ := processed["switch_chassis_id"].(string)
	port, _ := processed["switch_port_id"].(string)
	if hw, err := net.ParseMAC(chassis); err != nil || len(hw) != 6 || port == "" {
		return nil // Ironic takes a MAC as switch_id
	}
	out := map[string]any{"switch_id": strings.ToLower(chassis), "port_id": port}
	if name, _ := processed["switch_system_name"].(string); name != "" {
		out["switch_info"] = name
	}
	return out
}

// PCIAlias counts devices under a name: the hook pci_devices makes a capability
// of it.
type PCIAlias struct {
	Name, VendorID, ProductID string
}

// pciDevices counts the machine's PCI devices by alias. data.pci_devices is the
// ramdisk's list of {vendor_id, product_id}.
func pciDevices(o Options, data map[string]any, res *Result) {
	counts := map[string]int{}
	for _, d := range objects(data["pci_devices"]) {
		vendor, _ := d["vendor_id"].(string)
		product, _ := d["product_id"].(string)
		if i := slices.IndexFunc(o.PCIAliases, func(a PCIAlias) bool {
			return strings.EqualFold(a.VendorID, vendor) && strings.EqualFold(a.ProductID, product)
		}); i >= 0 {
			counts[o.PCIAliases[i].Name]++
		}
	}
	for name, n := range counts {
		res.Capabilities[name] = fmt.Sprint(n)
	}
}

// extraHardware turns the output of the hardware-detect tool, a list of
// [class, device, attribute, value], into nested objects under "extra", as the
// hook extra_hardware does; entries of other lengths are passed over.
func extraHardware(data map[string]any) {
	list, ok := data["data"].([]any)
	if !ok {
		return
	}
	extra := map[string]any{}
	child := func(m map[string]any, key any) map[string]any {
		k := fmt.Sprint(key)
		sub, ok := m[k].(map[string]any)
		if !ok {
			sub = map[string]any{}
			m[k] = sub
		}
		return sub
	}
	for _, entry := range list {
		if e, _ := entry.([]any); len(e) == 4 {
			child(child(extra, e[0]), e[1])[fmt.Sprint(e[2])] = e[3]
		}
	}
	data["extra"] = extra
	delete(data, "data")
}
