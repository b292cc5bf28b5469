// Package switches configures the VLANs of a port where its cable ends. A
// driver brings one port of one switch into a wished state; every call may be
// repeated. The driver for real switches speaks gNMI with the OpenConfig
// models openconfig-interfaces and openconfig-vlan. The network service does not
// call it yet.
//
// Protocol: https://github.com/openconfig/reference/blob/master/rpc/gnmi/gnmi-specification.md
package switches

import (
	"context"
	"fmt"
	"slices"
)

// MaxVLAN is the highest usable VLAN (IEEE 802.1Q-2018, 9.6).
const MaxVLAN = 4094

// VLANs are those of a port; the zero value takes it off all of them.
type VLANs struct {
	Untagged int   // 0: frames without a tag are refused
	Tagged   []int // makes the port a trunk
}

// Driver is one switch.
type Driver interface {
	// SetPort gives a port, by the switch's name for it, these VLANs and no others.
	SetPort(ctx context.Context, port string, v VLANs) error
}

func (v VLANs) validate() error {
	if v.Untagged < 0 || v.Untagged > MaxVLAN {
		return fmt.Errorf("untagged VLAN is %d, expected 1 to %d, or 0 for none", v.Untagged, MaxVLAN)
	}
	for i, t := range v.Tagged {
		switch {
		case t < 1 || t > MaxVLAN:
			return fmt.Errorf("tagged VLAN is %d, expected 1 to %d", t, MaxVLAN)
		case t == v.Untagged:
			return fmt.Errorf("VLAN %d is both untagged and tagged", t)
		case slices.Contains(v.Tagged[:i], t):
			return fmt.Errorf("tagged VLAN %d is given twice", t)
		}
	}
	return nil
}
