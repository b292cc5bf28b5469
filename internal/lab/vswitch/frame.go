package vswitch

import "encoding/binary"

// Offsets and sizes of the two headers a frame carries here: the one of the
// Linux TUN/TAP driver (struct virtio_net_hdr) and Ethernet with 802.1Q.
const (
	// vnetLen is the size of struct virtio_net_hdr in bytes.
	vnetLen = 10
	// headroom is what a port leaves free before the Ethernet header, so that
	// a tag can be pushed and the driver's header written without copying.
	headroom = vnetLen + vlanTagLen

	etherLen   = 14 // two addresses and a type
	vlanTagLen = 4
	addrsLen   = 12

	etherTypeVLAN = 0x8100
	etherTypeIPv4 = 0x0800

	vnetFlagNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	vnetGSONone       = 0 // VIRTIO_NET_HDR_GSO_NONE

	ipProtoUDP = 17
)

// vnetHeader is struct virtio_net_hdr: how much of a frame's work (checksum,
// segmentation) its sender left to the receiver.
type vnetHeader struct {
	flags      uint8
	gsoType    uint8
	hdrLen     uint16
	gsoSize    uint16
	csumStart  uint16
	csumOffset uint16
}

func parseVnet(b []byte) vnetHeader {
	return vnetHeader{
		flags:      b[0],
		gsoType:    b[1],
		hdrLen:     binary.LittleEndian.Uint16(b[2:]),
		gsoSize:    binary.LittleEndian.Uint16(b[4:]),
		csumStart:  binary.LittleEndian.Uint16(b[6:]),
		csumOffset: binary.LittleEndian.Uint16(b[8:]),
	}
}

func (h vnetHeader) put(b []byte) {
	b[0], b[1] = h.flags, h.gsoType
	binary.LittleEndian.PutUint16(b[2:], h.hdrLen)
	binary.LittleEndian.PutUint16(b[4:], h.gsoSize)
	binary.LittleEndian.PutUint16(b[6:], h.csumStart)
	binary.LittleEndian.PutUint16(b[8:], h.csumOffset)
}

// shift moves the offsets that count from the start of the frame by n bytes,
// because a VLAN tag of that size was inserted (n > 0) or removed (n < 0).
func (h vnetHeader) shift(n int) vnetHeader {
	if h.flags&vnetFlagNeedsCsum != 0 {
		h.csumStart = uint16(int(h.csumStart) + n)
	}
	if h.gsoType != vnetGSONone {
		h.hdrLen = uint16(int(h.hdrLen) + n)
	}
	return h
}

// finishChecksum computes the transport checksum of a single UDP datagram
// whose sender left it to the hardware. Raw-socket receivers (DHCP clients)
// see the bytes as they are, so for them no hardware ever would.
func finishChecksum(h vnetHeader, eth []byte) vnetHeader {
	if h.flags&vnetFlagNeedsCsum == 0 || h.gsoType != vnetGSONone {
		return h
	}
	if len(eth) < etherLen+20 || binary.BigEndian.Uint16(eth[12:]) != etherTypeIPv4 || eth[etherLen+9] != ipProtoUDP {
		return h
	}
	start, at := int(h.csumStart), int(h.csumStart)+int(h.csumOffset)
	if start < etherLen || at+2 > len(eth) {
		return h
	}
	sum := ^fold(checksum(eth[start:]))
	if sum == 0 {
		sum = 0xffff // RFC 768: an all-zero checksum means "none"
	}
	binary.BigEndian.PutUint16(eth[at:], sum)
	h.flags &^= vnetFlagNeedsCsum
	h.csumStart, h.csumOffset = 0, 0
	return h
}

func checksum(b []byte) uint32 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// vlanOf returns the VLAN of a tagged frame; tagged is false for an untagged one.
func vlanOf(eth []byte) (vid uint16, tagged bool) {
	if len(eth) < etherLen+vlanTagLen || binary.BigEndian.Uint16(eth[addrsLen:]) != etherTypeVLAN {
		return 0, false
	}
	return binary.BigEndian.Uint16(eth[addrsLen+2:]) & 0x0fff, true
}
