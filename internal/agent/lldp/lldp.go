// Package lldp hears what switches tell the machine by the Link Layer Discovery
// Protocol (IEEE 802.1AB-2016). It only splits a message into its TLVs; what
// they mean is read by the introspection, as with ironic-python-agent.
package lldp

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// EtherType of LLDP (7.3).
	EtherType = 0x88cc

	headerLen = 14 // destination, source, EtherType
	tlvEnd    = 0
	// maxTLVs bounds one message; ironic-inspector's hooks read some twenty kinds.
	maxTLVs = 256
)

// TLV is one statement of a switch: its type (0-127) and its value (at most 511 bytes, 8.4).
type TLV struct {
	Type  uint8
	Value []byte
}

// MarshalJSON writes [type, value in hexadecimal], as ironic-python-agent does.
func (t TLV) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{t.Type, hex.EncodeToString(t.Value)})
}

// Errors of Parse.
var (
	ErrNotLLDP = errors.New("not an LLDP frame")
	ErrCut     = errors.New("the LLDP message is cut off")
)

// Parse splits an Ethernet frame, without its checksum, into the TLVs before
// the end mark. A message that is cut off, or that has more than 256 TLVs, is
// returned as far as it goes, with ErrCut. The values are parts of frame.
func Parse(frame []byte) ([]TLV, error) {
	if len(frame) < headerLen {
		return nil, fmt.Errorf("%w: %d bytes, expected at least %d", ErrNotLLDP, len(frame), headerLen)
	}
	if kind := binary.BigEndian.Uint16(frame[headerLen-2:]); kind != EtherType { // the kernel has taken a VLAN tag off
		return nil, fmt.Errorf("%w: EtherType %#04x, expected %#04x", ErrNotLLDP, kind, EtherType)
	}
	var out []TLV
	for rest := frame[headerLen:]; len(out) < maxTLVs; {
		if len(rest) < 2 {
			return out, fmt.Errorf("%w after %d TLVs: no end mark", ErrCut, len(out))
		}
		head := binary.BigEndian.Uint16(rest)
		t, n := uint8(head>>9), int(head&0x1ff) //nolint:gosec // 7 bits
		if t == tlvEnd {
			return out, nil
		}
		if len(rest) < 2+n {
			return out, fmt.Errorf("%w: TLV %d of type %d says %d bytes, %d are there", ErrCut, len(out)+1, t, n, len(rest)-2)
		}
		out = append(out, TLV{Type: t, Value: rest[2 : 2+n]})
		rest = rest[2+n:]
	}
	return out, fmt.Errorf("%w: more than %d TLVs", ErrCut, maxTLVs)
}

// mandatory says whether a message has what each must begin with: chassis, port
// and time to live (8.1), in this order and the last one not zero, which would
// mean that the neighbour is gone (8.5.4.1).
func mandatory(tlvs []TLV) bool {
	if len(tlvs) < 3 || len(tlvs[2].Value) < 2 {
		return false
	}
	for i, t := range tlvs[:3] {
		if int(t.Type) != i+1 {
			return false
		}
	}
	return binary.BigEndian.Uint16(tlvs[2].Value) != 0
}
