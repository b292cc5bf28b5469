package lldp

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// frame is an Ethernet frame to the nearest bridge with the given rest.
func frame(body ...byte) []byte {
	return append([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc}, body...)
}

// What each message begins with: chassis 02:00:00:00:00:01, port "p1", 120 s.
func begin() []byte {
	return []byte{0x02, 7, 4, 2, 0, 0, 0, 0, 1, 0x04, 3, 5, 'p', '1', 0x06, 2, 0, 120}
}

func TestParse(t *testing.T) {
	long := append(begin(), 0xfe|0x01, 0xff) // type 127, 511 bytes
	long = append(long, make([]byte, 511)...)
	many := begin()
	for range maxTLVs {
		many = append(many, 0x08, 0)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  int // TLVs
		err   error
		whole bool // begins as a message must
	}{
		{"padding follows the end mark", frame(append(begin(), make([]byte, 30)...)...), 3, nil, true},
		{"longest value", frame(append(long, 0, 0)...), 4, nil, true},
		{"no end mark", frame(begin()...), 3, ErrCut, true},
		{"value runs out of the frame", frame(append(begin(), 0x0a, 9, 's')...), 3, ErrCut, true},
		{"half a header", frame(append(begin(), 0x0a)...), 3, ErrCut, true},
		{"too many", frame(many...), maxTLVs, ErrCut, true},
		{"neighbour is leaving (time to live 0)", frame(0x02, 7, 4, 2, 0, 0, 0, 0, 1, 0x04, 3, 5, 'p', '1', 0x06, 2, 0, 0, 0, 0), 3, nil, false},
		{"port before chassis", frame(0x04, 3, 5, 'p', '1', 0x02, 7, 4, 2, 0, 0, 0, 0, 1, 0x06, 2, 0, 120, 0, 0), 3, nil, false},
		{"empty message", frame(0, 0), 0, nil, false},
		{"another protocol", append(slices.Clone(frame()[:12]), 0x08, 0x00, 1, 2, 3), 0, ErrNotLLDP, false},
		{"shorter than a header", []byte{1, 2, 3}, 0, ErrNotLLDP, false},
	} {
		got, err := Parse(c.frame)
		if len(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d TLVs and %v, expected %d and %v", c.name, len(got), err, c.want, c.err)
		}
		if mandatory(got) != c.whole {
			t.Errorf("%s: mandatory says %v", c.name, !c.whole)
		}
	}
}

func TestWireFormat(t *testing.T) {
	tlvs, err := Parse(frame(append(begin(), 0, 0)...))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(tlvs)
	if want := `[[1,"04020000000001"],[2,"057031"],[3,"0078"]]`; err != nil || string(got) != want {
		t.Errorf("%s %v, expected %s", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(append(begin(), 0, 0)...))
	f.Add(frame(append(begin(), 0xff, 0xff)...))
	f.Add(frame())
	f.Fuzz(func(t *testing.T, in []byte) {
		tlvs, err := Parse(in)
		total := headerLen
		for _, v := range tlvs {
			if v.Type == tlvEnd || v.Type > 127 || len(v.Value) > 511 {
				t.Fatalf("TLV %d of %d bytes", v.Type, len(v.Value))
			}
			total += 2 + len(v.Value)
		}
		if total > len(in) && len(tlvs) > 0 || len(tlvs) > maxTLVs {
			t.Fatalf("%d TLVs of %d bytes from %d", len(tlvs), total, len(in))
		}
		if err == nil && len(in) < headerLen+2 {
			t.Fatal("a frame without an end mark was taken")
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal("an error without text")
		}
		mandatory(tlvs)
	})
}
