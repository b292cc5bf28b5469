package switches_test

import (
	"testing"

	"github.com/tripleo/tripleo/internal/network/switches"
)

// FuzzParseSwitched: whatever a switch tells, the answer is bounded, and what it
// says of a trunk are VLANs.
func FuzzParseSwitched(f *testing.F) {
	for _, seed := range []string{
		`{"openconfig-vlan:interface-mode":"ACCESS","openconfig-vlan:access-vlan":7}`,
		`{"interface-mode":"TRUNK","native-vlan":1,"trunk-vlans":[3,"10..12","20"]}`,
		`{"interface-mode":"TRUNK","trunk-vlans":["1..4094","1..4094"]}`, `{"a:b:c":1}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := switches.ParseSwitched(text)
		if err != nil && (v.Untagged != 0 || v.Tagged != nil) {
			t.Errorf("%+v with the error %v", v, err)
		}
		if len(v.Tagged) > switches.MaxVLAN+1 {
			t.Errorf("%d VLANs", len(v.Tagged))
		}
		for _, n := range v.Tagged {
			if n < 1 || n > switches.MaxVLAN {
				t.Errorf("VLAN %d", n)
			}
		}
	})
}
