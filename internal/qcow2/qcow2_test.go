package qcow2_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/qcow2"
)

func TestHostileQcow2(t *testing.T) {
	header := func(change func(h []byte)) []byte {
		h := make([]byte, qcow2.HeaderSize)
		copy(h, qcow2.Magic)
		h[7], h[23] = 3, 16 // version 3, clusters of 64 KiB, a disk of 16 MiB
		copy(h[24:], []byte{0, 0, 0, 0, 1, 0, 0, 0})
		h[39] = 1
		change(h)
		return h
	}
	tests := []struct {
		reason    string
		change    func(h []byte)
		wantError string
	}{
		{"a plain one", func([]byte) {}, ""},
		{"backing file: would read the agent's own files", func(h []byte) { h[15] = 200 }, "backing file"},
		{"external data file", func(h []byte) { h[79] = 4 }, "features 0x4"},
		{"encryption", func(h []byte) { h[35] = 2 }, "encrypted"},
		{"huge clusters", func(h []byte) { h[23] = 60 }, "cluster size"},
		{"huge disk", func(h []byte) { h[24] = 0x7f }, "virtual size"},
		{"huge L1 table", func(h []byte) { h[36] = 0x7f }, "L1 table"},
		{"future version", func(h []byte) { h[7] = 9 }, "version 9"},
	}
	for _, tt := range tests {
		err := qcow2.Check(header(tt.change))
		if tt.wantError == "" && err != nil || tt.wantError != "" && (err == nil || !strings.Contains(err.Error(), tt.wantError)) {
			t.Errorf("%s: %v, want %q", tt.reason, err, tt.wantError)
		}
	}
}
