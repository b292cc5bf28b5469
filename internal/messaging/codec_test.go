package messaging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"
)

func TestMessagePackIsJSONsEqual(t *testing.T) {
	const text = `{"a":[1,-2,3.5,"x",null,true],"big":1234567890123,"deep":{"y":{}}}`
	packed := encodeFrame(websocket.MessageBinary, json.RawMessage(text))
	back, err := decodeFrame(websocket.MessageBinary, packed)
	if err != nil || string(back) != text {
		t.Errorf("%s (%v), expected %s", back, err, text)
	}
	var n map[string]any
	if err := msgpack.Unmarshal(packed, &n); err != nil {
		t.Fatal(err)
	}
	if _, isInt := n["big"].(int64); !isInt {
		if _, isUint := n["big"].(uint64); !isUint {
			t.Errorf("a whole number arrives as %T", n["big"])
		}
	}
}

func TestMessagePackIsBounded(t *testing.T) {
	for _, tc := range []struct {
		reason string
		data   []byte
		want   string
	}{
		{"arrays in arrays without end", bytes.Repeat([]byte{0x91}, 1<<20), "nested deeper"},
		{"a map that claims four billion entries", []byte{0xdf, 0xff, 0xff, 0xff, 0xff}, "EOF"},
		{"an array that claims four billion", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, "EOF"},
		{"a text that claims four gigabytes", []byte{0xdb, 0xff, 0xff, 0xff, 0xff, 'x'}, "EOF"},
		{"a key that is no text", []byte{0x81, 0x01, 0x02}, "key of a map"},
		{"an extension", []byte{0xd4, 0x01, 0x00}, "extension"},
		{"binary that is no text", []byte{0xc4, 0x01, 0xff}, "UTF-8"},
		{"nothing", nil, "EOF"},
	} {
		if _, err := decodeFrame(websocket.MessageBinary, tc.data); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, expected an error with %q", tc.reason, err, tc.want)
		}
	}
}

func FuzzMessagePack(f *testing.F) {
	f.Add(encodeFrame(websocket.MessageBinary, document{"action": "authenticate", "headers": document{"a": "b"}, "body": []any{1, 2.5, nil}}))
	f.Add([]byte{0x91, 0x81, 0xa1, 'k', 0xc0})
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := decodeFrame(websocket.MessageBinary, data)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Errorf("%x became %q, which is no JSON", data, text)
		}
	})
}
