// Package vswitch is an Ethernet switch with VLANs in user space: access and
// trunk ports, MAC learning, flooding. The virtual lab plugs its machines'
// TAP devices into it, so that tagged networks exist on kernels that know
// nothing of 802.1Q.
//
// Frames travel with the TAP driver's offload header untouched, so one read
// and one write move up to 64 KiB of TCP: the switch is as fast as memory.
package vswitch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// MaxVLAN is the highest usable VLAN identifier (IEEE 802.1Q-2018, 9.6: 4095 is reserved).
	MaxVLAN = 4094
	// maxAddresses bounds the forwarding table; a full table is forgotten and learned anew.
	maxAddresses = 8192
	// maxFrame is the largest frame of a TAP with segmentation offload, in bytes.
	maxFrame = 65536 + 256
)

// Device carries whole frames in and out of a port. A frame is the driver's
// offload header (10 bytes, all zero when there is nothing to say) followed by
// Ethernet. Read returns one frame a call; Close ends a blocked Read.
type Device interface {
	io.ReadWriteCloser
}

// Mode says which VLANs a port belongs to and how they look on its wire.
type Mode struct {
	// Native is the VLAN of untagged frames, 1..4094; zero refuses them.
	Native uint16
	// Tagged lists the VLANs carried with a tag; empty makes an access port.
	Tagged []uint16
}

// Access is the mode of a port that sees one VLAN, without tags.
func Access(vid uint16) Mode { return Mode{Native: vid} }

// Trunk is the mode of a port that carries VLANs with tags, and native without.
func Trunk(native uint16, tagged ...uint16) Mode { return Mode{Native: native, Tagged: tagged} }

// Validate says what is wrong with a mode, if something is.
func (m Mode) Validate() error {
	if m.Native == 0 && len(m.Tagged) == 0 {
		return errors.New("a port needs a native VLAN or tagged VLANs")
	}
	if m.Native > MaxVLAN {
		return fmt.Errorf("native VLAN %d is not in 1..%d", m.Native, MaxVLAN)
	}
	for _, v := range m.Tagged {
		if v == 0 || v > MaxVLAN {
			return fmt.Errorf("tagged VLAN %d is not in 1..%d", v, MaxVLAN)
		}
		if v == m.Native {
			return fmt.Errorf("VLAN %d cannot be both native and tagged", v)
		}
	}
	return nil
}

// membership is a Mode made quick to ask.
type membership struct {
	mode   Mode
	tagged map[uint16]bool
}

func newMembership(m Mode) *membership {
	t := make(map[uint16]bool, len(m.Tagged))
	for _, v := range m.Tagged {
		t[v] = true
	}
	return &membership{mode: m, tagged: t}
}

func (m *membership) carries(vid uint16) bool { return vid == m.mode.Native || m.tagged[vid] }

// Stats counts the frames of a port.
type Stats struct {
	ReceivedFrames, SentFrames uint64
	ReceivedBytes, SentBytes   uint64
	// Dropped counts frames refused by the port's VLAN rules or by its device.
	Dropped uint64
}

// Port is a socket of the switch with a device plugged in.
type Port struct {
	name   string
	dev    Device
	sw     *Switch
	member atomic.Pointer[membership]
	up     atomic.Bool
	damage atomic.Pointer[damage]

	rxFrames, txFrames, rxBytes, txBytes, dropped atomic.Uint64
	done                                          chan struct{}
}

// Name returns the name the port was added with.
func (p *Port) Name() string { return p.name }

// Stats returns the port's counters.
func (p *Port) Stats() Stats {
	return Stats{
		ReceivedFrames: p.rxFrames.Load(), SentFrames: p.txFrames.Load(),
		ReceivedBytes: p.rxBytes.Load(), SentBytes: p.txBytes.Load(), Dropped: p.dropped.Load(),
	}
}

// SetMode moves the port to other VLANs; what it had learned is forgotten.
func (p *Port) SetMode(m Mode) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("port %s: %w", p.name, err)
	}
	m.Tagged = slices.Clone(m.Tagged)
	p.member.Store(newMembership(m))
	p.sw.forget(p)
	return nil
}

// Isolate takes the port off every VLAN: nothing passes.
func (p *Port) Isolate() {
	p.member.Store(newMembership(Mode{}))
	p.sw.forget(p)
}

// Mode returns the port's VLANs; the zero value is that of an isolated port.
func (p *Port) Mode() Mode { return p.member.Load().mode }

// SetLink connects (true) or cuts (false) the port's cable.
func (p *Port) SetLink(up bool) {
	p.up.Store(up)
	if !up {
		p.sw.forget(p)
	}
}

// Close unplugs the port and waits until its reader has ended.
func (p *Port) Close() error {
	p.sw.remove(p)
	p.Damage(Damage{})
	err := p.dev.Close()
	<-p.done
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// station is a MAC address on a VLAN, packed: 12 bits of VLAN, 48 of address.
type station uint64

func stationOf(vid uint16, mac []byte) station {
	return station(uint64(vid)<<48 | uint64(binary.BigEndian.Uint16(mac))<<32 | uint64(binary.BigEndian.Uint32(mac[2:])))
}

// Switch forwards frames between its ports. Its zero value is ready to use.
type Switch struct {
	mu    sync.Mutex // guards changes; readers take the snapshots
	ports atomic.Pointer[[]*Port]
	table atomic.Pointer[map[station]*Port]
}

// New returns a switch without ports.
func New() *Switch { return &Switch{} }

// AddPort plugs dev in and starts forwarding its frames. The port owns dev.
func (s *Switch) AddPort(name string, dev Device, mode Mode) (*Port, error) {
	if err := mode.Validate(); err != nil {
		return nil, fmt.Errorf("port %s: %w", name, err)
	}
	mode.Tagged = slices.Clone(mode.Tagged)
	p := &Port{name: name, dev: dev, sw: s, done: make(chan struct{})}
	p.member.Store(newMembership(mode))
	p.up.Store(true)
	s.mu.Lock()
	ports := append(slices.Clone(s.snapshot()), p)
	s.ports.Store(&ports)
	s.mu.Unlock()
	go p.receive()
	return p, nil
}

// Close unplugs every port.
func (s *Switch) Close() error {
	var errs []error
	for _, p := range s.snapshot() {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Ports returns the ports in the order they were added.
func (s *Switch) Ports() []*Port { return slices.Clone(s.snapshot()) }

func (s *Switch) snapshot() []*Port {
	if p := s.ports.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Switch) remove(p *Port) {
	s.mu.Lock()
	ports := slices.DeleteFunc(slices.Clone(s.snapshot()), func(o *Port) bool { return o == p })
	s.ports.Store(&ports)
	s.mu.Unlock()
	s.forget(p)
}

func (s *Switch) lookup(st station) *Port {
	if t := s.table.Load(); t != nil {
		return (*t)[st]
	}
	return nil
}

// learn notes where a station is. The table is copied on change: changes are
// rare (a machine appears or moves), questions are as many as frames.
func (s *Switch) learn(st station, p *Port) {
	if s.lookup(st) == p {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[station]*Port{}
	if t := s.table.Load(); t != nil && len(*t) < maxAddresses {
		maps.Copy(next, *t)
	}
	next[st] = p
	s.table.Store(&next)
}

func (s *Switch) forget(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if t == nil {
		return
	}
	next := maps.Clone(*t)
	maps.DeleteFunc(next, func(_ station, o *Port) bool { return o == p })
	s.table.Store(&next)
}

// receive forwards what comes in at p until its device is closed.
func (p *Port) receive() {
	defer close(p.done)
	buf := make([]byte, vlanTagLen+vnetLen+maxFrame)
	for {
		n, err := p.dev.Read(buf[vlanTagLen:])
		if err != nil {
			return
		}
		if n < vnetLen+etherLen || !p.up.Load() {
			p.dropped.Add(1)
			continue
		}
		if d := p.damage.Load(); d != nil && !d.pass(n-vnetLen) {
			p.dropped.Add(1)
			continue
		}
		p.rxFrames.Add(1)
		p.rxBytes.Add(uint64(n - vnetLen))
		p.forward(buf[:vlanTagLen+n])
	}
}

// forward sends one frame on its way. buf begins with vlanTagLen spare bytes,
// then the offload header, then Ethernet; it is the port's own and is rewritten.
func (p *Port) forward(buf []byte) {
	hdr := parseVnet(buf[vlanTagLen:])
	eth := buf[headroom:]
	m := p.member.Load()
	vid, tagged := vlanOf(eth)
	if tagged {
		// Pop the tag: inside the switch every frame is untagged with its VLAN beside it.
		copy(eth[vlanTagLen:], eth[:addrsLen])
		eth = eth[vlanTagLen:]
		hdr = hdr.shift(-vlanTagLen)
		if vid == 0 { // priority tag: no VLAN, means native
			vid = m.mode.Native
		} else if !m.tagged[vid] {
			p.dropped.Add(1)
			return
		}
	} else {
		vid = m.mode.Native
	}
	if vid == 0 || len(eth) < etherLen || reserved(eth) {
		p.dropped.Add(1)
		return
	}
	hdr = finishChecksum(hdr, eth)
	if eth[6]&1 == 0 {
		p.sw.learn(stationOf(vid, eth[6:12]), p)
	}
	// The frame with room for a tag in front; out is where Ethernet starts in it.
	out := len(buf) - len(eth)
	if eth[0]&1 == 0 {
		if to := p.sw.lookup(stationOf(vid, eth[:6])); to != nil {
			if to != p {
				to.send(buf, out, hdr, vid)
			}
			return
		}
	}
	for _, to := range p.sw.snapshot() {
		if to != p {
			to.send(buf, out, hdr, vid)
		}
	}
}

// send writes the frame at buf[at:] out of p, tagged if p carries vid so. It
// leaves buf[at:] as it found it, for the next port of a flood.
func (p *Port) send(buf []byte, at int, hdr vnetHeader, vid uint16) {
	m := p.member.Load()
	if !m.carries(vid) || !p.up.Load() {
		return
	}
	start := at - vnetLen
	if vid != m.mode.Native {
		start -= vlanTagLen
		hdr = hdr.shift(vlanTagLen)
		copy(buf[at-vlanTagLen:], buf[at:at+addrsLen])
		binary.BigEndian.PutUint16(buf[at+addrsLen-vlanTagLen:], etherTypeVLAN)
		binary.BigEndian.PutUint16(buf[at+addrsLen-vlanTagLen+2:], vid)
	}
	hdr.put(buf[start:])
	write := p.dev.Write
	if d := p.damage.Load(); d != nil {
		write = d.delay
	}
	n, err := write(buf[start:])
	if vid != m.mode.Native {
		// The tag overwrote the end of the addresses: put them back.
		copy(buf[at:], buf[at-vlanTagLen:at+addrsLen-vlanTagLen])
	}
	if err != nil {
		p.dropped.Add(1)
		return
	}
	p.txFrames.Add(1)
	p.txBytes.Add(uint64(n - vnetLen))
}
