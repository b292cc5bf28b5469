package hardware

import (
	"net/netip"
	"testing"
)

// A controller whose channel 1 is IPMB, 2 a LAN without an address, 3 one with addresses, 8 another one.
func TestBMCAddresses(t *testing.T) {
	lan := map[byte]bool{2: true, 3: true, 8: true}
	v6 := func(text string) []byte { return netip.MustParseAddr(text).AsSlice() }
	static := func(set, source byte, text string) []byte {
		return append(append([]byte{0x11, set, source}, v6(text)...), 64, 0)
	}
	asked := 0
	controller := func(netFn, cmd uint8, data ...byte) ([]byte, bool) {
		asked++
		channel := data[0]
		switch {
		case netFn == 0x06 && cmd == 0x42 && lan[channel]:
			return []byte{channel, 0x04, 0x01, 0x80, 0xf2, 0x1b, 0, 0, 0}, true
		case netFn == 0x06 && cmd == 0x42 && channel == 1:
			return []byte{channel, 0x01, 0x01, 0x80, 0xf2, 0x1b, 0, 0, 0}, true
		case netFn != 0x0c || cmd != 0x02 || !lan[channel]:
			return nil, false
		}
		switch [3]byte{channel, data[1], data[2]} {
		case [3]byte{2, 3, 0}:
			return []byte{0x11, 0, 0, 0, 0}, true
		case [3]byte{3, 3, 0}:
			return []byte{0x11, 192, 0, 2, 10}, true
		case [3]byte{8, 3, 0}:
			return []byte{0x11, 192, 0, 2, 99}, true
		case [3]byte{3, 56, 0}:
			return static(0, 0x00, "2001:db8::bad"), true // not in use
		case [3]byte{3, 56, 1}:
			return static(1, 0x80, "fe80::1"), true
		case [3]byte{3, 59, 0}:
			return static(0, 0x01, "2001:db8::10"), true
		case [3]byte{8, 56, 0}:
			return []byte{0x11, 0, 0x80}, true // cut off
		}
		return nil, false
	}
	v4, six := bmcAddresses(controller)
	if v4 != netip.MustParseAddr("192.0.2.10") || six != netip.MustParseAddr("2001:db8::10") {
		t.Errorf("addresses %s and %s", v4, six)
	}
	if asked > 60 {
		t.Errorf("%d questions", asked)
	}
	if v4, six = bmcAddresses(func(uint8, uint8, ...byte) ([]byte, bool) { return nil, false }); v4.IsValid() || six.IsValid() {
		t.Errorf("of no controller: %s and %s", v4, six)
	}
	if v4, six = bmcAddresses(func(uint8, uint8, ...byte) ([]byte, bool) { return []byte{0, 4}, true }); v4.IsValid() || six.IsValid() {
		t.Errorf("of short answers: %s and %s", v4, six)
	}
}
