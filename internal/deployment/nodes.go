package deployment

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// driver says how a pm_type of instackenv.json becomes an Ironic driver.
type driver struct {
	match     *regexp.Regexp
	prefix    string            // of driver_info keys
	port      string            // default BMC port, part of its identity
	mandatory []string          // pm_* fields
	fixed     map[string]string // pm_* field -> driver_info key, where it is not prefix + field
}

// drivers is tripleo-common's table of what can be registered.
func drivers() []driver {
	re := func(s string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + s + `)$`) }
	userPass := []string{"pm_addr", "pm_user", "pm_password"}
	return []driver{
		{match: re(`ipmi|.*_ipmitool`), prefix: "ipmi", port: "623", mandatory: []string{"pm_addr"},
			fixed: map[string]string{"pm_addr": "ipmi_address", "pm_user": "ipmi_username", "pm_password": "ipmi_password", "pm_port": "ipmi_port"}},
		{match: re(`redfish`), prefix: "redfish", mandatory: append([]string{"pm_system_id"}, userPass...),
			fixed: map[string]string{"pm_addr": "redfish_address", "pm_user": "redfish_username", "pm_password": "redfish_password", "pm_system_id": "redfish_system_id", "pm_verify_ca": "redfish_verify_ca"}},
		{match: re(`idrac|.*_drac`), prefix: "drac", mandatory: userPass,
			fixed: map[string]string{"pm_addr": "drac_address", "pm_user": "drac_username", "pm_password": "drac_password", "pm_port": "drac_port"}},
		{match: re(`ilo|.*_ilo`), prefix: "ilo", mandatory: userPass},
		{match: re(`irmc|.*_irmc`), prefix: "irmc", mandatory: userPass},
		{match: re(`cisco-ucs-managed|.*_ucs`), prefix: "ucs", mandatory: append([]string{"pm_service_profile"}, userPass...),
			fixed: map[string]string{"pm_addr": "ucs_hostname", "pm_service_profile": "ucs_service_profile"}},
		{match: re(`xclarity`), prefix: "xclarity", mandatory: append([]string{"pm_hardware_id"}, userPass...),
			fixed: map[string]string{"pm_addr": "xclarity_manager_ip", "pm_hardware_id": "xclarity_hardware_id"}},
		{match: re(`staging-ovirt`), prefix: "ovirt", mandatory: append([]string{"pm_vm_name"}, userPass...), fixed: map[string]string{"pm_vm_name": "ovirt_vm_name"}},
		{match: re(`fake|fake_pxe|fake_agent|fake-hardware`)},
	}
}

func driverFor(pmType string) *driver {
	for _, d := range drivers() {
		if d.match.MatchString(pmType) {
			return &d
		}
	}
	return nil
}

// infoKey is the name in driver_info of a pm_* field.
func (d *driver) infoKey(field string) string {
	if k := d.fixed[field]; k != "" {
		return k
	}
	if d.prefix == "" {
		return ""
	}
	suffix := map[string]string{"pm_addr": "address", "pm_user": "username", "pm_password": "password", "pm_port": "port"}[field]
	if suffix == "" {
		return ""
	}
	return d.prefix + "_" + suffix
}

// driverInfo translates the pm_* fields of a node.
func (d *driver) driverInfo(node *yaml11.OrderedMap) *yaml11.OrderedMap {
	out := yaml11.NewMap()
	for k, v := range node.All() {
		key := ""
		switch {
		case strings.HasPrefix(k, "pm_") && k != "pm_type":
			key = d.infoKey(k)
		case d.prefix != "" && strings.HasPrefix(k, d.prefix+"_"): // an option of the driver by its own name
			key = k
		}
		if key != "" {
			out.Set(key, v)
		}
	}
	if a := text(out, "redfish_address"); a != "" && !strings.Contains(a, "://") {
		out.Set("redfish_address", "https://"+a)
	}
	return out
}

// identity is what is unique about a BMC: driver family, address, port, and the system behind it.
func (d *driver) identity(info any) string {
	if d.prefix == "" {
		return ""
	}
	addr := text(info, d.infoKey("pm_addr"))
	if addr == "" {
		return ""
	}
	port := text(info, d.prefix+"_port")
	if port == "" {
		port = d.port
	}
	addr = strings.TrimSuffix(addr, "/")
	if d.prefix == "redfish" && !strings.Contains(addr, "://") {
		addr = "https://" + addr
	}
	id := d.prefix + " " + addr + " " + port
	for _, extra := range []string{"pm_system_id", "pm_vm_name", "pm_hardware_id", "pm_service_profile"} {
		if k := d.fixed[extra]; k != "" {
			id += " " + text(info, k)
		}
	}
	return id
}

var macPattern = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)

// nodePorts returns the MACs of a node in the order given: `ports` (of {address}) or `mac`.
func nodePorts(node *yaml11.OrderedMap) []*yaml11.OrderedMap {
	var out []*yaml11.OrderedMap
	if list, ok := dig(node, "ports").([]any); ok {
		for _, p := range list {
			switch x := p.(type) {
			case *yaml11.OrderedMap:
				x = x.Clone()
				x.Set("address", strings.ToLower(text(x, "address")))
				out = append(out, x)
			case string:
				out = append(out, yaml11.MapOf("address", strings.ToLower(x)))
			}
		}
		return out
	}
	switch x := dig(node, "mac").(type) {
	case []any:
		for _, m := range x {
			out = append(out, yaml11.MapOf("address", strings.ToLower(fmt.Sprint(m))))
		}
	case string:
		out = append(out, yaml11.MapOf("address", strings.ToLower(x)))
	}
	return out
}

// Fields of a node that are no driver options.
const knownFields = " name uuid capabilities cpu memory disk arch mac ports root_device platform resource_class kernel_id ramdisk_id properties extra " +
	"bios_interface boot_interface console_interface deploy_interface inspect_interface management_interface network_interface " +
	"power_interface raid_interface rescue_interface storage_interface vendor_interface conductor_group traits "

// cleanNodes copies nodes without comments.
func cleanNodes(nodes []any) ([]*yaml11.OrderedMap, error) {
	out := make([]*yaml11.OrderedMap, len(nodes))
	for i, n := range nodes {
		m, ok := n.(*yaml11.OrderedMap)
		if !ok {
			return nil, fmt.Errorf("Invalid node data: node #%d is no mapping", i) //nolint:staticcheck // the text clients know
		}
		c := yaml11.NewMap()
		for k, v := range m.All() {
			if !strings.HasPrefix(k, "_comment") {
				c.Set(k, v)
			}
		}
		out[i] = c
	}
	return out, nil
}

// checkNodes says everything that is wrong with the nodes of an instackenv.json, in one error.
func checkNodes(nodes []*yaml11.OrderedMap) error {
	var problems []string
	macs, bmcs, names := map[string]int{}, map[string]int{}, map[string]int{}
	for i, n := range nodes {
		bad := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("node #%d: ", i)+fmt.Sprintf(format, args...))
		}
		pmType := text(n, "pm_type")
		if pmType == "" {
			return fmt.Errorf("Invalid node data: node #%d: pm_type is missing", i) //nolint:staticcheck // the text clients know
		}
		d := driverFor(pmType)
		if d == nil {
			return fmt.Errorf("Invalid node data: node #%d: unknown pm_type %q (ironic driver)", i, pmType) //nolint:staticcheck // as above
		}
		for _, f := range d.mandatory {
			if text(n, f) == "" {
				bad("missing mandatory field %s", f)
			}
		}
		for _, p := range nodePorts(n) {
			mac := text(p, "address")
			if !macPattern.MatchString(mac) {
				bad("invalid MAC address %q", mac)
			} else if j, ok := macs[mac]; ok {
				bad("MAC address %s is also that of node #%d", mac, j)
			} else {
				macs[mac] = i
			}
		}
		if id := d.identity(d.driverInfo(n)); id != "" {
			if j, ok := bmcs[id]; ok {
				bad("the BMC %s is also that of node #%d", id, j)
			}
			bmcs[id] = i
		}
		if name := text(n, "name"); name != "" {
			if j, ok := names[name]; ok {
				bad("the name %q is also that of node #%d", name, j)
			}
			names[name] = i
		}
		if text(n, "platform") != "" && text(n, "arch") == "" {
			bad("platform needs arch")
		}
		if _, err := ParseCapabilities(dig(n, "capabilities")); err != nil {
			bad("%s", err)
		}
		if v, ok := n.Get("root_device"); ok {
			if _, ok := v.(*yaml11.OrderedMap); !ok {
				bad("root_device must be a mapping of hints")
			}
		}
		for k := range n.All() {
			known := strings.Contains(knownFields, " "+k+" ") || k == "pm_type" || d.infoKey(k) != "" || d.prefix != "" && strings.HasPrefix(k, d.prefix+"_") || d.prefix == "" && strings.HasPrefix(k, "pm_")
			if !known {
				bad("unknown field %s", k)
			}
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("Invalid node data: %s", strings.Join(problems, "\n")) //nolint:staticcheck // as above
	}
	return nil
}

// ParseCapabilities reads "a:b,c:d" or a mapping.
func ParseCapabilities(v any) (map[string]string, error) {
	out := map[string]string{}
	switch x := v.(type) {
	case nil:
	case *yaml11.OrderedMap:
		for k, val := range x.All() {
			out[k] = fmt.Sprint(val)
		}
	case string:
		for _, part := range strings.Split(x, ",") {
			if part == "" {
				continue
			}
			k, val, ok := strings.Cut(part, ":")
			if !ok || k == "" {
				return nil, fmt.Errorf("capabilities: %q is not key:value", part)
			}
			out[k] = val
		}
	default:
		return nil, fmt.Errorf("capabilities must be text or a mapping")
	}
	return out, nil
}

// JoinCapabilities writes capabilities as Ironic keeps them, sorted.
func JoinCapabilities(caps map[string]string) string {
	parts := make([]string, 0, len(caps))
	for k, v := range caps {
		parts = append(parts, k+":"+v)
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// nodeBody is the Ironic node of an entry of instackenv.json.
func nodeBody(n *yaml11.OrderedMap, bootOption, kernel, ramdisk string) (*yaml11.OrderedMap, error) {
	d := driverFor(text(n, "pm_type"))
	info := d.driverInfo(n)
	if k := firstText(text(n, "kernel_id"), kernel); k != "" {
		info.Set("deploy_kernel", k)
	}
	if k := firstText(text(n, "ramdisk_id"), ramdisk); k != "" {
		info.Set("deploy_ramdisk", k)
	}
	caps, err := ParseCapabilities(dig(n, "capabilities"))
	if err != nil {
		return nil, err
	}
	if bootOption != "" && caps["boot_option"] == "" {
		caps["boot_option"] = bootOption
	}
	props := yaml11.NewMap()
	for _, f := range [][2]string{{"cpu", "cpus"}, {"memory", "memory_mb"}, {"disk", "local_gb"}, {"arch", "cpu_arch"}} {
		if v := text(n, f[0]); v != "" {
			props.Set(f[1], v)
		}
	}
	if m, ok := dig(n, "properties").(*yaml11.OrderedMap); ok {
		shallowUpdate(props, m)
	}
	if v, ok := n.Get("root_device"); ok {
		props.Set("root_device", v)
	}
	props.Set("capabilities", JoinCapabilities(caps))
	body := yaml11.MapOf("driver", text(n, "pm_type"), "driver_info", info, "properties", props,
		"resource_class", firstText(text(n, "resource_class"), "baremetal"))
	if text(n, "name") != "" {
		body.Set("name", text(n, "name"))
	}
	if p := text(n, "platform"); p != "" {
		body.Set("extra", yaml11.MapOf("tripleo_platform", p))
	}
	for k, v := range n.All() {
		if strings.HasSuffix(k, "_interface") || k == "conductor_group" {
			body.Set(k, v)
		}
	}
	return body, nil
}
