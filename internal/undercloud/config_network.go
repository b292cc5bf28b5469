package undercloud

import (
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/network"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Network is the configuration of the network service.
type Network struct {
	VLANs     []network.VLANRange // for networks of which nothing else is said
	Switches  []Switch            // none: somebody else configures them
	FlatVLANs map[string]int      // of flat networks on the switches, by physical network
}

// networkSection reads the section "network".
func (r *reader) networkSection(n *yaml11.Node, c *Network) {
	if n == nil {
		return
	}
	n = r.section(n, "network", "vlan_ranges", "flat_vlans", "switches")
	r.flatVLANs(n, c)
	r.switchList(n.Get("switches"), c)
	var ranges []string
	r.texts(n, "vlan_ranges", &ranges)
	for _, text := range ranges {
		v, err := vlanRange(text)
		if err != nil {
			r.errorf(n.Get("vlan_ranges"), "network.vlan_ranges: %v", err)
			continue
		}
		c.VLANs = append(c.VLANs, v)
	}
}

// vlanRange reads "physical_network:first:last", as ML2's network_vlan_ranges.
func vlanRange(text string) (network.VLANRange, error) {
	parts := strings.Split(text, ":")
	var v network.VLANRange
	if len(parts) != 3 {
		return v, fmt.Errorf("%q, expected PHYSICAL_NETWORK:FIRST:LAST", text)
	}
	v.PhysicalNetwork = parts[0]
	_, err1 := fmt.Sscan(parts[1], &v.First)
	_, err2 := fmt.Sscan(parts[2], &v.Last)
	if err1 != nil || err2 != nil || v.PhysicalNetwork == "" || v.First < 1 || v.Last > 4094 || v.First > v.Last {
		return v, fmt.Errorf("%q, expected PHYSICAL_NETWORK:FIRST:LAST with 1 ≤ FIRST ≤ LAST ≤ 4094", text)
	}
	return v, nil
}
