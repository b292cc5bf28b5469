package undercloud

import "github.com/tripleo/tripleo/internal/yaml11"

// Baremetal says how Ironic and the introspection treat machines; times are in
// seconds.
type Baremetal struct {
	PowerTimeout     int    // until a power change is seen; default 60
	CallbackTimeout  int    // until a ramdisk calls back; default 600
	InspectTimeout   int    // until introspection data come; default 600
	NoClean          bool   // leave partition tables and data when a node becomes available
	EraseDevices     bool   // erase whole disks then, not their metadata only
	ImagesAsUploaded bool   // force_raw_images: false
	FastTrack        bool   // keep a node's ramdisk running between its tasks
	BMCNamespace     string // network namespace from which BMCs are reached; default the provisioning one
	ConductorGroup   string // this process works on the nodes of that conductor_group
	EnrollDriver     string // hardware type of the nodes made of unknown machines; "" makes none
	Loaders          string // folder of the network boot loaders; default that of Debian's package ipxe
	ARM64Loader      string // file in it for UEFI machines with 64-bit ARM processors
	AddPorts         string // the cards introspection makes ports of: "pxe" (default), "active" or "all"
}

func (r *reader) baremetalSection(n *yaml11.Node, c *Baremetal) {
	if n == nil {
		return
	}
	n = r.section(n, "baremetal", "power_timeout", "callback_timeout", "inspect_timeout", "clean_metadata", "erase_devices", "force_raw_images",
		"fast_track", "bmc_namespace", "conductor_group", "enroll_driver", "add_ports", "loaders", "arm64_loader")
	r.number(n, "power_timeout", &c.PowerTimeout)
	r.number(n, "callback_timeout", &c.CallbackTimeout)
	r.number(n, "inspect_timeout", &c.InspectTimeout)
	clean, raw := true, true
	r.boolean(n, "clean_metadata", &clean)
	r.boolean(n, "force_raw_images", &raw)
	c.NoClean, c.ImagesAsUploaded = !clean, !raw
	r.boolean(n, "erase_devices", &c.EraseDevices)
	r.boolean(n, "fast_track", &c.FastTrack)
	r.text(n, "bmc_namespace", &c.BMCNamespace)
	r.text(n, "conductor_group", &c.ConductorGroup)
	r.choice(n, "enroll_driver", &c.EnrollDriver, "ipmi", "redfish")
	r.text(n, "loaders", &c.Loaders)
	r.text(n, "arm64_loader", &c.ARM64Loader)
	r.choice(n, "add_ports", &c.AddPorts, "pxe", "active", "all")
}

// cleanPriority is what a node's automated cleaning changes of the steps'
// priorities.
func (c *Baremetal) cleanPriority() map[string]int {
	if c.EraseDevices {
		return map[string]int{"deploy.erase_devices_metadata": 0}
	}
	return map[string]int{"deploy.erase_devices": 0}
}
