package vswitch

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tlvs takes an LLDP frame apart: type to value.
func tlvs(t *testing.T, f []byte) map[int]string {
	t.Helper()
	out := map[int]string{}
	for b := f[vnetLen+etherLen:]; ; {
		if len(b) < 2 {
			t.Fatalf("no end in %x", f)
		}
		head := binary.BigEndian.Uint16(b)
		kind, n := int(head>>9), int(head&0x1ff)
		if kind == tlvEnd {
			return out
		}
		if len(b) < 2+n {
			t.Fatalf("TLV %d of %d bytes is cut in %x", kind, n, f)
		}
		out[kind] = string(b[2 : 2+n])
		b = b[2+n:]
	}
}

func TestPortsAreAnnounced(t *testing.T) {
	sw, wires := build(t, map[string]Mode{"node0": Access(10), "node1": Trunk(0, 10, 20), "cut": Access(10)})
	for _, p := range sw.Ports() {
		if p.Name() == "cut" {
			p.SetLink(false)
		}
	}
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 0x53}
	sw.announce(Chassis{MAC: mac, Name: "lab"})
	for name, vlan := range map[string]string{"node0": "\x00\x0a", "node1": "\x00\x00"} {
		f := <-wires[name].sent
		want := slices.Concat([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}, mac, []byte{0x88, 0xcc})
		if diff := cmp.Diff([]byte(want), f[vnetLen:vnetLen+etherLen]); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[int]string{
			tlvChassisID: "\x04" + string(mac), tlvPortID: "\x05" + name, tlvTTL: "\x00\x79", tlvPortDesc: "port of " + name,
			tlvSystemName: "lab", tlvCapabilities: "\x00\x04\x00\x04", tlvOrganization: "\x00\x80\xc2\x01" + vlan,
		}, tlvs(t, f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if n := len(wires["cut"].sent); n != 0 {
		t.Errorf("%d frames went over a cable that is cut", n)
	}
	if err := sw.Announce(t.Context(), Chassis{MAC: mac[:5], Name: "lab"}, 1); err == nil {
		t.Error("a chassis with 5 bytes of MAC was accepted")
	}
}

func TestReservedAddressesAreNotForwarded(t *testing.T) {
	_, wires := build(t, map[string]Mode{"a": Access(1), "b": Access(1), "c": Access(1)})
	for last, forwarded := range map[byte]bool{0x00: false, 0x0e: false, 0x0f: false, 0x10: true, 0x20: true} {
		f := frame(net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, last}, macA, 0, "x")
		if got := deliver(wires, "a", f); (len(got) == 2) != forwarded || !forwarded && len(got) != 0 {
			t.Errorf("01:80:c2:00:00:%02x reached %d ports, forwarded is to be %t (IEEE 802.1Q-2018, table 8-1)", last, len(got), forwarded)
		}
	}
}
