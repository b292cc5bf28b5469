// Package hooks turns what a ramdisk found into what a node is to be: the
// processing hooks of ironic-inspector that TripleO runs (ramdisk_error,
// root_disk_selection, scheduler, validate_interfaces, capabilities, lldp_basic,
// local_link_connection, pci_devices, extra_hardware). It is pure: data in,
// changes out.
package hooks

import (
	"errors"
	"fmt"
	"net"
	"sort"
	"strings"
)

// Options choose between the hooks' behaviours.
type Options struct {
	AddPorts   string // "pxe" (the card that booted, if known), "active" (cards with an address) or "all"
	PCIAliases []PCIAlias
}

// Port is a card the node is to have.
type Port struct {
	MAC  string
	PXE  bool
	Link map[string]any // local_link_connection that the switch told by LLDP; nil if it did not
}

// Result is what the hooks found.
type Result struct {
	Properties   map[string]any    // cpus, cpu_arch, memory_mb, local_gb
	Capabilities map[string]string // boot_mode, cpu_*
	Ports        []Port
}

// Run applies all hooks to data, which gets the derived fields inspector adds
// (root_disk, local_gb, cpus, interfaces, macs, …). node is the Ironic node.
// Every problem found is in the error, one a line.
func Run(o Options, data, node map[string]any) (Result, error) {
	res := Result{Properties: map[string]any{}, Capabilities: map[string]string{}}
	if text, _ := data["error"].(string); text != "" {
		return res, fmt.Errorf("the ramdisk reported an error: %s", text)
	}
	inv, ok := data["inventory"].(map[string]any)
	if !ok {
		return res, errors.New("the data has no inventory")
	}
	if addr, _ := inv["bmc_address"].(string); addr != "" && data["ipmi_address"] == nil {
		data["ipmi_address"] = addr
	}
	var problems []error
	if err := rootDisk(data, inv, node); err != nil {
		problems = append(problems, err)
	}
	if err := scheduler(data, inv, &res); err != nil {
		problems = append(problems, err)
	}
	if err := interfaces(o, data, inv, &res); err != nil {
		problems = append(problems, err)
	}
	capabilities(inv, &res)
	pciDevices(o, data, &res)
	extraHardware(data)
	return res, errors.Join(problems...)
}

func objects(v any) []map[string]any {
	list, _ := v.([]any)
	out := make([]map[string]any, 0, len(list))
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// rootDisk picks the disk by the node's hints; without hints the ramdisk's own
// choice stands.
func rootDisk(data, inv, node map[string]any) error {
	props, _ := node["properties"].(map[string]any)
	hints, _ := props["root_device"].(map[string]any)
	if len(hints) > 0 {
		disk, err := matchHints(objects(inv["disks"]), hints)
		if err != nil {
			return err
		}
		data["root_disk"] = disk
	}
	if disk, ok := data["root_disk"].(map[string]any); ok {
		// One GiB less, so that partitioning never hits the end.
		data["local_gb"] = max(0, float64(int64(asFloat(disk["size"]))/gib-1))
	} else {
		data["local_gb"] = float64(0)
	}
	return nil
}

func scheduler(data, inv map[string]any, res *Result) error {
	cpu, _ := inv["cpu"].(map[string]any)
	mem, _ := inv["memory"].(map[string]any)
	var missing []string
	num := func(field string, v any) {
		n := asFloat(v)
		if n <= 0 {
			missing = append(missing, field)
			return
		}
		data[field] = n
		res.Properties[field] = fmt.Sprintf("%d", int64(n))
	}
	num("cpus", cpu["count"])
	num("memory_mb", mem["physical_mb"])
	if arch, _ := cpu["architecture"].(string); arch != "" {
		data["cpu_arch"], res.Properties["cpu_arch"] = arch, arch
	} else {
		missing = append(missing, "cpu_arch")
	}
	if gb := asFloat(data["local_gb"]); gb >= 0 {
		res.Properties["local_gb"] = fmt.Sprintf("%d", int64(gb))
	}
	if len(missing) > 0 {
		return fmt.Errorf("the inventory lacks %s", strings.Join(missing, ", "))
	}
	return nil
}

// BootMAC reads the card the ramdisk was booted from: a MAC, in pxelinux's
// form (with hardware type and dashes) too.
func BootMAC(data map[string]any) string {
	inv, _ := data["inventory"].(map[string]any)
	boot, _ := inv["boot"].(map[string]any)
	for _, v := range []any{data["boot_interface"], boot["pxe_interface"]} {
		s, _ := v.(string)
		s = strings.ReplaceAll(s, "-", ":")
		if strings.Count(s, ":") == 6 { // 01:…
			s = s[3:]
		}
		if hw, err := net.ParseMAC(s); err == nil && len(hw) == 6 {
			return hw.String()
		}
	}
	return ""
}

// MACs lists the valid MAC addresses of the inventory.
func MACs(data map[string]any) []string {
	inv, _ := data["inventory"].(map[string]any)
	var out []string
	for _, i := range objects(inv["interfaces"]) {
		s, _ := i["mac_address"].(string)
		if hw, err := net.ParseMAC(s); err == nil && len(hw) == 6 {
			out = append(out, hw.String())
		}
	}
	return out
}

func interfaces(o Options, data, inv map[string]any, res *Result) error {
	bootMAC := BootMAC(data)
	all, chosen := map[string]any{}, map[string]any{}
	var macs []string
	links := map[string]map[string]any{}
	raw, _ := data["lldp_raw"].(map[string]any) // of the ramdisk's collector lldp, by interface
	parsed := map[string]any{}
	var problems []string
	for n, i := range objects(inv["interfaces"]) {
		name, _ := i["name"].(string)
		address, _ := i["mac_address"].(string)
		hw, err := net.ParseMAC(address)
		if name == "" || err != nil || len(hw) != 6 {
			problems = append(problems, fmt.Sprintf("interface %d (%q) has MAC %q", n, name, address))
			continue
		}
		mac := hw.String()
		ip := i["ipv4_address"]
		if ip == nil || ip == "" {
			ip = i["ipv6_address"]
		}
		said := lldp(i["lldp"])
		if len(said) == 0 {
			said = lldp(raw[name])
		}
		if len(said) > 0 {
			parsed[name] = said
		}
		entry := map[string]any{"ip": ip, "mac": mac, "client_id": i["client_id"], "pxe": mac == bootMAC, "lldp_processed": said}
		links[mac] = localLink(said)
		all[name] = entry
		if lacks(o.AddPorts, bootMAC, mac, ip) {
			continue
		}
		chosen[name] = entry
		macs = append(macs, mac)
	}
	data["all_interfaces"], data["interfaces"] = all, chosen
	if len(parsed) > 0 {
		data["parsed_lldp"] = parsed // Ironic's own hook calls it so
	}
	sort.Strings(macs)
	list := make([]any, len(macs))
	for k, m := range macs {
		list[k] = m
		res.Ports = append(res.Ports, Port{MAC: m, PXE: bootMAC == "" || m == bootMAC, Link: links[m]})
	}
	data["macs"] = list
	if len(macs) == 0 {
		return fmt.Errorf("no suitable interface was found among %d (add_ports %s) %s", len(all), o.AddPorts, strings.Join(problems, "; "))
	}
	return nil
}

// lacks says why not to take a card.
func lacks(addPorts, bootMAC, mac string, ip any) bool {
	hasIP := ip != nil && ip != ""
	switch addPorts {
	case "all":
		return false
	case "pxe":
		if bootMAC != "" {
			return mac != bootMAC
		}
		return !hasIP
	default:
		return !hasIP
	}
}

// cpuFlags is inspector's default mapping of CPU flags to capabilities.
func cpuFlags() map[string]string {
	return map[string]string{"vmx": "cpu_vt", "svm": "cpu_vt", "aes": "cpu_aes", "pse": "cpu_hugepages", "pdpe1gb": "cpu_hugepages_1g", "smx": "cpu_txt"}
}

func capabilities(inv map[string]any, res *Result) {
	boot, _ := inv["boot"].(map[string]any)
	if mode, _ := boot["current_boot_mode"].(string); mode != "" {
		res.Capabilities["boot_mode"] = mode
	}
	cpu, _ := inv["cpu"].(map[string]any)
	flags, _ := cpu["flags"].([]any)
	for _, f := range flags {
		s, _ := f.(string)
		if c, ok := cpuFlags()[s]; ok {
			res.Capabilities[c] = "true"
		}
	}
}
