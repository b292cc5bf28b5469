package drivers

import (
	"fmt"
	"slices"
	"sort"
)

// HardwareType is a driver as Ironic's API knows it: its interfaces, each with
// the implementations it supports, the first being the default.
type HardwareType struct {
	Name       string
	Interfaces map[string][]string // interface name -> implementations
	Properties map[string]string   // driver_info key -> description
}

// InterfaceNames lists the kinds of interface, in the order the API shows them.
func InterfaceNames() []string {
	return []string{
		"bios", "boot", "console", "deploy", "firmware", "inspect", "management", "network", "power", "raid",
		"rescue", "storage", "vendor",
	}
}

// Hardware returns a hardware type by name.
func Hardware(name string) (HardwareType, bool) {
	for _, h := range HardwareTypes() {
		if h.Name == name {
			return h, true
		}
	}
	return HardwareType{}, false
}

// HardwareTypes lists the enabled hardware types by name.
func HardwareTypes() []HardwareType {
	deployment := map[string]string{
		"deploy_kernel":                "Image (UUID, name or URL) of the kernel the ramdisk boots with. Default: the undercloud's bm-deploy-kernel.",
		"deploy_ramdisk":               "Image (UUID, name or URL) of the ramdisk. Default: the undercloud's bm-deploy-ramdisk.",
		"deploy_iso":                   "CD image (UUID, name or URL) that boots the ramdisk by virtual media, in place of one made of deploy_kernel and deploy_ramdisk.",
		"kernel_append_params":         "Kernel arguments of the ramdisk in place of the default ones.",
		"deploy_forces_oob_reboot":     "Whether the machine is switched off by its BMC after the image was written, not by the ramdisk. Default false.",
		"force_persistent_boot_device": "Whether the boot device is set for all coming boots: Default, Always or Never.",
	}
	types := []HardwareType{
		{
			Name: "fake-hardware",
			Interfaces: map[string][]string{
				"bios": {"fake", "no-bios"}, "boot": {"fake", "ipxe", "pxe"}, "console": {"fake", "no-console"},
				"deploy": {"fake", "direct", "ramdisk", "custom-agent"}, "firmware": {"no-firmware"},
				"inspect":    {"fake", "no-inspect", "agent", "inspector"},
				"management": {"fake", "noop"}, "network": {"noop", "flat", "neutron"}, "power": {"fake"},
				"raid": {"fake", "no-raid", "agent"}, "rescue": {"fake", "no-rescue", "agent"}, "storage": {"noop", "fake"}, "vendor": {"fake", "no-vendor"},
			},
		},
		{
			Name: "ipmi", Properties: ipmiProperties(),
			Interfaces: map[string][]string{
				"bios": {"no-bios"}, "boot": {"ipxe", "pxe", "http-ipxe"}, "console": {"no-console", "ipmitool-socat"},
				"deploy": {"direct", "ramdisk", "custom-agent"}, "firmware": {"no-firmware"}, "inspect": {"agent", "inspector", "no-inspect"},
				"management": {"ipmitool", "noop"}, "network": {"flat", "neutron", "noop"}, "power": {"ipmitool"},
				"raid": {"no-raid", "agent"}, "rescue": {"no-rescue", "agent"}, "storage": {"noop"}, "vendor": {"ipmitool", "no-vendor"},
			},
		},
		{
			Name: "redfish", Properties: redfishProperties(),
			Interfaces: map[string][]string{
				"bios": {"redfish", "no-bios"}, "boot": {"ipxe", "pxe", "http-ipxe", "redfish-virtual-media"}, "console": {"no-console"},
				"deploy": {"direct", "ramdisk", "custom-agent"}, "firmware": {"no-firmware"}, "inspect": {"agent", "inspector", "redfish", "no-inspect"},
				"management": {"redfish", "noop"}, "network": {"flat", "neutron", "noop"}, "power": {"redfish"},
				"raid": {"no-raid", "agent"}, "rescue": {"no-rescue", "agent"}, "storage": {"noop"}, "vendor": {"redfish", "no-vendor"},
			},
		},
	}
	for i := range types {
		if types[i].Properties == nil {
			types[i].Properties = map[string]string{}
		}
		for k, v := range deployment {
			types[i].Properties[k] = v
		}
	}
	sort.Slice(types, func(i, j int) bool { return types[i].Name < types[j].Name })
	return types
}

// Default returns the default implementation of an interface.
func (h HardwareType) Default(iface string) string {
	if impls := h.Interfaces[iface]; len(impls) > 0 {
		return impls[0]
	}
	return ""
}

// CheckInterface says whether the hardware type supports an implementation.
func (h HardwareType) CheckInterface(iface, impl string) error {
	if slices.Contains(h.Interfaces[iface], impl) {
		return nil
	}
	return fmt.Errorf("could not find the %s interface %q for hardware type %s; it has %v", iface, impl, h.Name, h.Interfaces[iface])
}
