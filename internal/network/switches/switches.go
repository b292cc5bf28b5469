// Package switches configures the VLANs of a port where its cable ends. A
// driver brings one port of one switch into a wished state; every call may be
// repeated. The driver for real switches speaks gNMI with the OpenConfig
// models openconfig-interfaces and openconfig-vlan; Noop leaves a switch to
// somebody else. Fabric finds the switch and the port of a cable as Ironic
// tells it (local_link_connection).
//
// Protocol: https://github.com/openconfig/reference/blob/master/rpc/gnmi/gnmi-specification.md
package switches

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// MaxVLAN is the highest usable VLAN (IEEE 802.1Q-2018, 9.6).
const MaxVLAN = 4094

// ErrRefused marks an error of a switch that has understood and will not: no
// such port, a wrong password. Other errors may pass by themselves.
var ErrRefused = errors.New("the switch refuses")

// ErrInvalid marks VLANs or ports that no switch is asked for.
var ErrInvalid = errors.New("invalid")

// VLANs are those of a port; the zero value takes it off all of them.
type VLANs struct {
	Untagged int   `json:"untagged,omitempty"` // 0: frames without a tag are refused
	Tagged   []int `json:"tagged,omitempty"`   // makes the port a trunk
}

// Equal says whether v and o are the same VLANs, in whatever order.
func (v VLANs) Equal(o VLANs) bool {
	return v.Untagged == o.Untagged && slices.Equal(slices.Sorted(slices.Values(v.Tagged)), slices.Sorted(slices.Values(o.Tagged)))
}

// Port is an interface of a switch.
type Port struct {
	Name string // as the switch calls it
	// Aggregate says that it is a link aggregation: the VLANs are the bond's,
	// not those of its members.
	Aggregate bool
}

// Driver is one switch.
type Driver interface {
	// SetPort gives a port these VLANs and no others. An error that is
	// ErrRefused will stay until somebody changes something.
	SetPort(ctx context.Context, port Port, v VLANs) error
}

// Reader is a Driver that can tell which VLANs a port has.
type Reader interface {
	Port(ctx context.Context, port Port) (VLANs, error)
}

// Noop is a switch that somebody else configures: whatever is wished is taken
// as done.
type Noop struct{}

// SetPort implements Driver.
func (Noop) SetPort(context.Context, Port, VLANs) error { return nil }

// Validate says what is wrong with the VLANs, if something is.
func (v VLANs) Validate() error {
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
