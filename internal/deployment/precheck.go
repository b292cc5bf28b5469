package deployment

import (
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// report is what a check found: errors keep a deployment from starting, warnings do not.
type report struct{ errors, warnings []any }

func (p *report) fail(format string, args ...any) {
	p.errors = append(p.errors, fmt.Sprintf(format, args...))
}
func (p *report) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// result is {errors, warnings, …}; with errors it is the result of a failed action, as in the original.
func (p *report) result(more ...any) (any, error) {
	m := yaml11.MapOf(append([]any{"errors", orEmpty(p.errors), "warnings", orEmpty(p.warnings)}, more...)...)
	if len(p.errors) > 0 {
		return nil, &actions.FailureError{Result: yaml11.Plain(m)}
	}
	return m, nil
}

func orEmpty(l []any) []any {
	if l == nil {
		return []any{}
	}
	return l
}

// checkBootImages looks for the kernel and the ramdisk of the deployment: {kernel_id, ramdisk_id, errors, warnings}.
func checkBootImages(_ *run, in input) (any, error) {
	p := &report{}
	find := func(name, format string) any {
		var found []any
		for _, im := range in.list("images") {
			if text(im, "name") == name && (text(im, "disk_format") == format || text(im, "disk_format") == "") {
				found = append(found, dig(im, "id"))
			}
		}
		switch len(found) {
		case 0:
			p.fail("No image with the name '%s' found - make sure you have uploaded boot images.", name)
			return nil
		case 1:
		default:
			p.fail("Please make sure there is only one image named '%s' in glance.", name)
		}
		return found[0]
	}
	kernel, ramdisk := find(in.str("deploy_kernel_name"), "aki"), find(in.str("deploy_ramdisk_name"), "ari")
	return p.result("kernel_id", kernel, "ramdisk_id", ramdisk)
}

// checkFlavors finds the flavors of roles: roles_info is {role: [flavor, count]}; the result has
// flavors {name: [extra specs, count]}.
func checkFlavors(r *run, in input) (any, error) {
	all, err := r.flavors()
	if err != nil {
		return nil, err
	}
	p := &report{}
	out := yaml11.NewMap()
	for role, v := range in.mapping("roles_info").All() {
		pair, _ := v.([]any)
		if len(pair) != 2 {
			p.fail("roles_info: role %s must have a pair of flavor and count", role)
			continue
		}
		count := intOf(pair[1])
		if count == 0 {
			continue
		}
		name, _ := pair[0].(string)
		f := all[name]
		switch {
		case name == "":
			p.fail("Flavor for role %s is not set", role)
			continue
		case f == nil:
			p.fail("Flavor '%s' provided for the role '%s', does not exist", name, role)
			continue
		}
		specs, _ := dig(f, "extra_specs").(*yaml11.OrderedMap)
		if text(specs, "capabilities:boot_option") == "netboot" {
			p.warn("Flavor %s \"capabilities:boot_option\" is set to \"netboot\". Nodes will PXE boot from the ironic conductor instead of using a local bootloader. Make sure that enough nodes are marked with the \"boot_option\" capability set to \"netboot\".", name)
		}
		custom := false
		for k := range specs.All() {
			custom = custom || strings.HasPrefix(k, "resources:CUSTOM_")
		}
		if !custom {
			p.warn("Flavor %s does not have a custom resource class associated with it. Scheduling may not work", name)
		}
		old, _ := dig(out, name).([]any)
		if len(old) == 2 {
			count += intOf(old[1])
		}
		out.Set(name, []any{specs, count})
	}
	return p.result("flavors", out)
}

// checkNodeBoot compares a node's deployment images and boot option with what is wanted.
func checkNodeBoot(_ *run, in input) (any, error) {
	p := &report{}
	node := in.mapping("node")
	uuid := text(node, "uuid")
	for _, f := range [][3]string{{"deploy_kernel", "kernel_id", "kernel"}, {"deploy_ramdisk", "ramdisk_id", "ramdisk"}} {
		if got, want := text(node, "driver_info", f[0]), in.str(f[1]); want != "" && got != want {
			p.fail("Node %s has an incorrectly configured driver_info/%s. Expected \"%s\" but got \"%s\".", uuid, f[0], want, got)
		}
	}
	caps, err := ParseCapabilities(dig(node, "properties", "capabilities"))
	if err != nil {
		p.fail("Node %s: %v", uuid, err)
	} else if caps["boot_option"] != "local" {
		p.warn("Node %s is not configured to use boot from local disk: its capability boot_option is \"%s\".", uuid, caps["boot_option"])
	}
	return p.result()
}

// checkNodesCount compares how many nodes are asked for with how many there are.
func checkNodesCount(_ *run, in input) (any, error) {
	p := &report{}
	requested := 0
	params := in.mapping("parameters")
	for param, def := range in.mapping("default_role_counts").All() {
		n := intOf(def)
		if v, ok := params.Get(param); ok {
			n = intOf(v)
		} else if v := dig(in.value("stack"), "parameters", param); v != nil {
			n = intOf(v)
		}
		requested += n
	}
	available := len(in.list("associated_nodes")) + len(in.list("available_nodes"))
	hypervisors := intOf(dig(in.value("statistics"), "count"))
	enough := requested <= available
	if !enough {
		p.fail("Not enough baremetal nodes - available: %d, requested: %d", available, requested)
	} else if requested > hypervisors {
		p.fail("Only %d nodes are exposed to Nova of %d requests. Check that enough nodes are in 'available' state with maintenance mode off.", hypervisors, requested)
	}
	return p.result("result", yaml11.MapOf("statistics", in.value("statistics"), "enough_nodes", enough, "requested_count", requested, "available_count", available))
}

// verifyProfiles checks that there are enough nodes with the profiles that flavors ask for, free ones and those that have a server
// already; flavors is {name: [extra specs, count]}.
func verifyProfiles(_ *run, in input) (any, error) {
	p := &report{}
	bm := map[string]int{} // profile -> free nodes
	free := 0
	for _, n := range in.list("nodes") {
		if st := text(n, "provision_state"); st != "" && st != "available" && st != "active" {
			continue
		}
		caps, err := ParseCapabilities(dig(n, "properties", "capabilities"))
		if err != nil {
			p.fail("Node %s: %v", text(n, "uuid"), err)
			continue
		}
		bm[caps["profile"]]++
		free++
	}
	wanted := map[string]bool{}
	for name, v := range in.mapping("flavors").All() {
		pair, _ := v.([]any)
		if len(pair) != 2 {
			continue
		}
		count := intOf(pair[1])
		profile := text(pair[0], "capabilities:profile")
		if count == 0 {
			continue
		}
		wanted[profile] = true
		if profile == "" {
			if name == "baremetal" {
				p.warn("There are %d nodes of any profile for the flavor baremetal", free)
			} else {
				p.warn("Flavor %s has no capability profile: any node may become one of its role", name)
			}
			continue
		}
		if bm[profile] < count {
			p.fail("Only %d of %d requested ironic nodes are tagged to profile %s (for flavor %s). Recommendation: tag more nodes using openstack baremetal node set --property \"capabilities=profile:%s,boot_option:local\" <NODE ID>", bm[profile], count, profile, name, profile)
		} else if bm[profile] > count {
			p.warn("%d nodes with profile %s won't be used for deployment now", bm[profile]-count, profile)
		}
	}
	if len(wanted) > 0 {
		for profile, n := range bm {
			if profile != "" && !wanted[profile] {
				p.warn("There are %d ironic nodes with profile %s that is not used by any role", n, profile)
			}
		}
	}
	return p.result()
}
