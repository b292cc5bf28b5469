package vswitch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"
)

// The Link Layer Discovery Protocol (IEEE 802.1AB-2016): what a switch tells the
// machines at its ports, so that introspection learns where a cable ends.
const (
	etherTypeLLDP = 0x88cc

	tlvEnd          = 0
	tlvChassisID    = 1
	tlvPortID       = 2
	tlvTTL          = 3
	tlvPortDesc     = 4
	tlvSystemName   = 5
	tlvCapabilities = 7
	tlvOrganization = 127

	chassisMAC    = 4      // 8.5.2.2: subtype of a chassis ID that is a MAC address
	portInterface = 5      // 8.5.3.2: subtype of a port ID that is an interface's name
	capBridge     = 1 << 2 // 8.5.8.1

	// lldpTTL is how long neighbours believe what they heard, in seconds (9.2.5.22: 4 times the default interval, and one).
	lldpTTL = 121
	// maxTLV is the longest text of a TLV here; names are cut there (8.5.3.3, 8.5.6.2: 255 bytes).
	maxTLV = 255
)

// nearestBridge is where LLDP goes: no bridge passes it on (7.1).
var nearestBridge = [6]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e} //nolint:gochecknoglobals // constant address

// reserved says whether an address is one that no bridge forwards: those of
// IEEE 802.1Q-2018, table 8-1.
func reserved(dst []byte) bool {
	return [5]byte(dst[:5]) == [5]byte(nearestBridge[:5]) && dst[5] < 0x10
}

// Chassis is who the switch says that it is.
type Chassis struct {
	MAC  net.HardwareAddr // of 6 bytes
	Name string
}

// Announce tells the machine at every port where it is plugged in, at once and
// then in this interval, until ctx ends.
func (s *Switch) Announce(ctx context.Context, c Chassis, every time.Duration) error {
	if len(c.MAC) != 6 {
		return fmt.Errorf("chassis of switch %q: MAC %q has %d bytes, expected 6", c.Name, c.MAC, len(c.MAC))
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		s.announce(c)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *Switch) announce(c Chassis) {
	for _, p := range s.snapshot() {
		if !p.up.Load() {
			continue
		}
		f := lldpFrame(c, p.name, p.Mode().Native)
		write := p.dev.Write
		if d := p.damage.Load(); d != nil {
			write = d.delay
		}
		n, err := write(f)
		if err != nil {
			p.dropped.Add(1)
			continue
		}
		p.txFrames.Add(1)
		p.txBytes.Add(uint64(n - vnetLen))
	}
}

// lldpFrame is what one port says, behind an empty offload header; native is
// its VLAN without tags, 0 if it has none (IEEE 802.1Q-2018, D.2.1).
func lldpFrame(c Chassis, port string, native uint16) []byte {
	f := slices.Concat(make([]byte, vnetLen), nearestBridge[:], c.MAC)
	f = binary.BigEndian.AppendUint16(f, etherTypeLLDP)
	f = appendTLV(f, tlvChassisID, append([]byte{chassisMAC}, c.MAC...))
	f = appendTLV(f, tlvPortID, append([]byte{portInterface}, port[:min(len(port), maxTLV)]...))
	f = appendTLV(f, tlvTTL, binary.BigEndian.AppendUint16(nil, lldpTTL))
	description := "port of " + port
	f = appendTLV(f, tlvPortDesc, []byte(description[:min(len(description), maxTLV)]))
	f = appendTLV(f, tlvSystemName, []byte(c.Name[:min(len(c.Name), maxTLV)]))
	f = appendTLV(f, tlvCapabilities, []byte{0, capBridge, 0, capBridge})
	f = appendTLV(f, tlvOrganization, binary.BigEndian.AppendUint16([]byte{0x00, 0x80, 0xc2, 1}, native))
	f = appendTLV(f, tlvEnd, nil)
	for len(f) < vnetLen+60 { // the shortest frame of Ethernet, without its checksum
		f = append(f, 0)
	}
	return f
}

// appendTLV adds a type of 7 bits, a length of 9 and the value (8.4).
func appendTLV(f []byte, kind int, value []byte) []byte {
	f = binary.BigEndian.AppendUint16(f, uint16(kind<<9|len(value))) //nolint:gosec // kinds fit 7 bits, values 9
	return append(f, value...)
}
