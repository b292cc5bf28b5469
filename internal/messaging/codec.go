package messaging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/tripleo/tripleo/internal/api"
)

// A socket speaks JSON in text frames and MessagePack in binary frames, each
// answered in kind, as Zaqar's.

// maxDepth bounds how deep a MessagePack value nests.
const maxDepth = 64

// decodeFrame returns a frame's JSON.
func decodeFrame(kind websocket.MessageType, data []byte) ([]byte, error) {
	if kind == websocket.MessageText {
		return data, nil
	}
	d := msgpack.NewDecoder(bytes.NewReader(data))
	v, err := unpack(d, maxDepth)
	if err != nil {
		return nil, api.Invalid("malformed MessagePack: %v", err)
	}
	return json.Marshal(v)
}

// encodeFrame encodes a reply or notification.
func encodeFrame(kind websocket.MessageType, v any) []byte {
	text := marshal(v)
	if kind == websocket.MessageText {
		return text
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var plain any
	var out bytes.Buffer
	if err := dec.Decode(&plain); err == nil {
		e := msgpack.NewEncoder(&out)
		e.SetSortMapKeys(true)
		e.UseCompactInts(true)
		err = e.Encode(numbers(plain))
		if err == nil {
			return out.Bytes()
		}
	}
	return nil
}

// numbers turns json.Number into integers where they are, else floats.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = numbers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = numbers(x)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

// unpack decodes one value. It does by hand what the library does by
// recursion without bound.
func unpack(d *msgpack.Decoder, depth int) (any, error) {
	code, err := d.PeekCode()
	if err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch {
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		n, err := d.DecodeMapLen()
		if err != nil {
			return nil, err
		}
		out := document{} // not of n: a claim of billions costs nothing
		for range n {
			key, err := d.DecodeString()
			if err != nil {
				return nil, fmt.Errorf("a key of a map: %w", err)
			}
			if out[key], err = unpack(d, depth-1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		n, err := d.DecodeArrayLen()
		if err != nil {
			return nil, err
		}
		out := []any{}
		for range n {
			v, err := unpack(d, depth-1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case msgpcode.IsExt(code):
		return nil, fmt.Errorf("extension type 0x%x is not expected", code)
	}
	v, err := d.DecodeInterface()
	if err != nil {
		return nil, err
	}
	switch x := v.(type) {
	case []byte:
		if !utf8.Valid(x) {
			return nil, fmt.Errorf("binary data of %d bytes that are not UTF-8", len(x))
		}
		return string(x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("%v is no number of JSON", x)
		}
	case float32:
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("%v is no number of JSON", x)
		}
	}
	return v, nil
}
