package vswitch

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wire is an in-memory device: what the switch sends is kept in sent, what a
// test puts in arrives at the switch.
type wire struct {
	in     chan []byte
	sent   chan []byte
	closed chan struct{}
}

func newWire() *wire {
	return &wire{in: make(chan []byte), sent: make(chan []byte, 64), closed: make(chan struct{})}
}

func (w *wire) Read(b []byte) (int, error) {
	select {
	case f := <-w.in:
		return copy(b, f), nil
	case <-w.closed:
		return 0, os.ErrClosed
	}
}

func (w *wire) Write(b []byte) (int, error) {
	select {
	case w.sent <- append([]byte(nil), b...):
		return len(b), nil
	default:
		return 0, errors.New("full")
	}
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

var _ io.ReadWriteCloser = (*wire)(nil)

var (
	macA = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xb}
	all  = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// frame builds an offload header and an Ethernet frame; vid 0 leaves it untagged.
func frame(dst, src net.HardwareAddr, vid uint16, payload string) []byte {
	f := slices.Concat(make([]byte, vnetLen), dst, src)
	if vid != 0 {
		f = binary.BigEndian.AppendUint16(f, etherTypeVLAN)
		f = binary.BigEndian.AppendUint16(f, vid)
	}
	f = binary.BigEndian.AppendUint16(f, 0x88b5) // local experimental
	return append(f, payload...)
}

// deliver puts one frame in at port from and returns what every port sent. The
// reader takes the second, refused, frame only after it is done with the first.
func deliver(wires map[string]*wire, from string, f []byte) map[string][]byte {
	wires[from].in <- f
	wires[from].in <- make([]byte, 1)
	got := map[string][]byte{}
	for name, w := range wires {
		select {
		case s := <-w.sent:
			got[name] = s
		default:
		}
	}
	return got
}

func build(t *testing.T, modes map[string]Mode) (*Switch, map[string]*wire) {
	t.Helper()
	sw, wires := New(), map[string]*wire{}
	for name, m := range modes {
		w := newWire()
		if _, err := sw.AddPort(name, w, m); err != nil {
			t.Fatal(err)
		}
		wires[name] = w
	}
	t.Cleanup(func() { _ = sw.Close() })
	return sw, wires
}

func TestVLANs(t *testing.T) {
	modes := map[string]Mode{
		"a10": Access(10), "b10": Access(10), "c20": Access(20),
		"trunk": Trunk(0, 10, 20), "hybrid": Trunk(10, 20), "narrow": Trunk(0, 30),
	}
	untagged, tag10, tag20 := frame(all, macA, 0, "x"), frame(all, macA, 10, "x"), frame(all, macA, 20, "x")
	tests := []struct {
		name   string
		from   string
		in     []byte
		want   map[string][]byte
		reason string
	}{
		{"access floods its VLAN only", "a10", untagged, map[string][]byte{"b10": untagged, "trunk": tag10, "hybrid": untagged},
			"VLAN 20 and 30 must not see VLAN 10; a trunk sees the tag, a native port does not"},
		{"access refuses a tag", "a10", tag20, map[string][]byte{}, "a machine must not hop VLANs by tagging"},
		{"access refuses even its own tag", "a10", tag10, map[string][]byte{}, "an access port speaks untagged"},
		{"priority tag means native", "a10", withVID(tag10, 0), map[string][]byte{"b10": untagged, "trunk": tag10, "hybrid": untagged}, "802.1Q: VID 0 carries priority only"},
		{"trunk sorts by tag", "trunk", tag20, map[string][]byte{"c20": untagged, "hybrid": tag20}, "the tag chooses the VLAN"},
		{"trunk without native refuses untagged", "trunk", untagged, map[string][]byte{}, "there is no VLAN to put it in"},
		{"trunk refuses a VLAN it does not carry", "narrow", tag10, map[string][]byte{}, "ingress filtering"},
		{"native of a hybrid port", "hybrid", untagged, map[string][]byte{"a10": untagged, "b10": untagged, "trunk": tag10}, "untagged is the native VLAN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, wires := build(t, modes)
			if diff := cmp.Diff(tt.want, deliver(wires, tt.from, tt.in)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

func withVID(f []byte, vid uint16) []byte {
	g := append([]byte(nil), f...)
	binary.BigEndian.PutUint16(g[vnetLen+addrsLen+2:], vid)
	return g
}

func TestLearning(t *testing.T) {
	sw, wires := build(t, map[string]Mode{"a": Access(1), "b": Access(1), "c": Access(1), "d": Access(2)})
	ab, ba := frame(macB, macA, 0, "ab"), frame(macA, macB, 0, "ba")
	if diff := cmp.Diff(map[string][]byte{"b": ab, "c": ab}, deliver(wires, "a", ab)); diff != "" {
		t.Errorf("an unknown address is flooded (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"a": ba}, deliver(wires, "b", ba)); diff != "" {
		t.Errorf("a learned address is not (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"b": ab}, deliver(wires, "c", ab)); diff != "" {
		t.Errorf("A moved to port c; B is still known (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{"c": ba}, deliver(wires, "b", ba)); diff != "" {
		t.Errorf("a moved address is followed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]byte{}, deliver(wires, "d", ba)); diff != "" {
		t.Errorf("an address of another VLAN is unknown here, and nobody else is in VLAN 2 (-want +got):\n%s", diff)
	}
	for _, p := range sw.Ports() {
		if p.Name() == "c" {
			if err := p.SetMode(Access(2)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(map[string][]byte{"a": ba}, deliver(wires, "b", ba)); diff != "" {
		t.Errorf("what was learned at a port that changed VLAN is forgotten (-want +got):\n%s", diff)
	}
}

func TestOffloadHeaderFollowsTag(t *testing.T) {
	_, wires := build(t, map[string]Mode{"a": Access(10), "trunk": Trunk(0, 10)})
	f := frame(all, macA, 0, "0123456789")
	vnetHeader{flags: vnetFlagNeedsCsum, gsoType: 1, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}.put(f)
	out := deliver(wires, "a", f)["trunk"]
	want := vnetHeader{flags: vnetFlagNeedsCsum, gsoType: 1, hdrLen: 58, gsoSize: 1448, csumStart: 38, csumOffset: 16}
	if diff := cmp.Diff(want, parseVnet(out), cmp.AllowUnexported(vnetHeader{})); diff != "" {
		t.Errorf("offsets count from the frame's start, a tag moves them by 4 (-want +got):\n%s", diff)
	}
	back := deliver(wires, "trunk", out)["a"]
	if diff := cmp.Diff(f, back); diff != "" {
		t.Errorf("there and back is the same frame (-want +got):\n%s", diff)
	}
}

func TestUDPChecksumIsFinished(t *testing.T) {
	_, wires := build(t, map[string]Mode{"a": Access(1), "b": Access(1)})
	ip := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	udp := []byte{0, 67, 0, 68, 0, 12, 0, 0, 'd', 'a', 't', 'a'}
	// The sender leaves the pseudo-header's sum in the field, as Linux does.
	pseudo := fold(checksum(ip[12:20]) + ipProtoUDP + uint32(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], pseudo)
	header := make([]byte, vnetLen)
	vnetHeader{flags: vnetFlagNeedsCsum, csumStart: 34, csumOffset: 6}.put(header)
	f := slices.Concat(header, all, macA, []byte{0x08, 0x00}, ip, udp)
	out := deliver(wires, "a", f)["b"]
	if h := parseVnet(out); h.flags != 0 {
		t.Errorf("flags = %d, want 0: nothing is left to do", h.flags)
	}
	seg := out[vnetLen+etherLen+20:]
	if sum := fold(checksum(out[vnetLen+etherLen+12:vnetLen+etherLen+20]) + ipProtoUDP + uint32(len(seg)) + checksum(seg)); sum != 0xffff {
		t.Errorf("checksum over datagram and pseudo-header = %#x, want 0xffff (RFC 768)", sum)
	}
}

func TestModeIsChecked(t *testing.T) {
	for _, m := range []Mode{{}, Access(4095), Trunk(0, 0), Trunk(1, 4096), Trunk(7, 7)} {
		if _, err := New().AddPort("p", newWire(), m); err == nil {
			t.Errorf("mode %+v was accepted", m)
		}
	}
}

func TestLinkDown(t *testing.T) {
	sw, wires := build(t, map[string]Mode{"a": Access(1), "b": Access(1)})
	for _, p := range sw.Ports() {
		p.SetLink(p.Name() != "b")
	}
	if got := deliver(wires, "a", frame(all, macA, 0, "x")); len(got) != 0 {
		t.Errorf("a port without link sent %v", got)
	}
	if got := deliver(wires, "b", frame(all, macB, 0, "x")); len(got) != 0 {
		t.Errorf("a port without link received: %v", got)
	}
}

func FuzzForward(f *testing.F) {
	f.Add(frame(all, macA, 10, "x"))
	f.Add(make([]byte, vnetLen+etherLen))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < vnetLen+etherLen || len(in) > maxFrame {
			return
		}
		sw := New()
		out := newWire()
		to := &Port{dev: out, sw: sw}
		to.member.Store(newMembership(Trunk(5, 10)))
		to.up.Store(true)
		from := &Port{dev: newWire(), sw: sw}
		from.member.Store(newMembership(Trunk(10, 5)))
		sw.ports.Store(&[]*Port{to, from})
		from.forward(append(make([]byte, vlanTagLen), in...))
	})
}

func TestDamage(t *testing.T) {
	sw, wires := build(t, map[string]Mode{"a": Access(1), "b": Access(1)})
	damage := func(name string, d Damage) {
		for _, p := range sw.Ports() {
			if p.Name() == name {
				p.Damage(d)
			}
		}
	}
	f := frame(all, macA, 0, "x")
	damage("b", Damage{Loss: 1})
	if got := deliver(wires, "a", f); len(got) != 0 {
		t.Errorf("a cable that loses everything delivered %v", got)
	}
	damage("b", Damage{})
	if got := deliver(wires, "a", f); len(got) != 1 {
		t.Errorf("a repaired cable delivered %v", got)
	}
}

// TestSlowCable: a slow cable takes what its queue holds and loses the rest,
// without holding up the switch.
func TestSlowCable(t *testing.T) {
	wire := newWire()
	d := &damage{Damage: Damage{BytesPerSecond: 1}, dev: wire, queue: make(chan []byte, slowQueue), stop: make(chan struct{})}
	f := frame(all, macA, 0, "x")
	for i := range slowQueue {
		if n, err := d.delay(f); err != nil || n != len(f) {
			t.Fatalf("frame %d: %d, %v", i, n, err)
		}
	}
	if _, err := d.delay(f); err == nil {
		t.Error("a full queue took another frame")
	}
	close(d.stop)
	d.wait(1 << 30) // does not wait for a cable that was repaired
}
