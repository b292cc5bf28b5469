package yaml11

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// OrderedMap is a mapping that remembers the order in which keys were first set, as Python's dict does.
// The zero value is not usable; see NewMap. It is not safe for concurrent writes.
type OrderedMap struct {
	keys []string
	vals map[string]any
}

// NewMap returns an empty map.
func NewMap() *OrderedMap { return &OrderedMap{vals: make(map[string]any)} }

// MapOf returns a map of key, value, key, value…; it panics if a key is no string. For literals in code.
func MapOf(kv ...any) *OrderedMap {
	m := NewMap()
	for i := 0; i+1 < len(kv); i += 2 {
		m.Set(kv[i].(string), kv[i+1])
	}
	return m
}

// Len returns the number of keys; a nil map has none.
func (m *OrderedMap) Len() int {
	if m == nil {
		return 0
	}
	return len(m.keys)
}

// Get returns the value of key and whether it is there.
func (m *OrderedMap) Get(key string) (any, bool) {
	if m == nil {
		return nil, false
	}
	v, ok := m.vals[key]
	return v, ok
}

// Set gives key a value; a key that was there keeps its place.
func (m *OrderedMap) Set(key string, v any) {
	if _, ok := m.vals[key]; !ok {
		m.keys = append(m.keys, key)
	}
	m.vals[key] = v
}

// Delete removes key if it is there.
func (m *OrderedMap) Delete(key string) {
	if _, ok := m.vals[key]; !ok {
		return
	}
	delete(m.vals, key)
	m.keys = slices.DeleteFunc(m.keys, func(k string) bool { return k == key })
}

// Keys returns a copy of the keys in order.
func (m *OrderedMap) Keys() []string {
	if m == nil {
		return nil
	}
	return slices.Clone(m.keys)
}

// All iterates in order. The map must not be changed meanwhile.
func (m *OrderedMap) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if m == nil {
			return
		}
		for _, k := range m.keys {
			if !yield(k, m.vals[k]) {
				return
			}
		}
	}
}

// Clone returns a copy that shares the values.
func (m *OrderedMap) Clone() *OrderedMap {
	c := NewMap()
	for k, v := range m.All() {
		c.Set(k, v)
	}
	return c
}

// MarshalJSON writes the keys in order.
func (m *OrderedMap) MarshalJSON() ([]byte, error) {
	if m == nil {
		return []byte("null"), nil
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range m.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		kb, err := marshalJSON(k)
		if err != nil {
			return nil, err
		}
		vb, err := marshalJSON(m.vals[k])
		if err != nil {
			return nil, err
		}
		b.Write(kb)
		b.WriteByte(':')
		b.Write(vb)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// UnmarshalJSON reads an object; values become what DecodeJSON returns.
func (m *OrderedMap) UnmarshalJSON(data []byte) error {
	v, err := DecodeJSON(data)
	if err != nil {
		return err
	}
	o, ok := v.(*OrderedMap)
	if !ok {
		return fmt.Errorf("expected a JSON object, got %T", v)
	}
	*m = *o
	return nil
}

// DecodeJSON reads one JSON value as nil, bool, int64, float64, string, []any or *OrderedMap. Integers
// that do not fit int64 become float64.
func DecodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeJSONValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("data after the JSON value")
	}
	return v, nil
}

func decodeJSONValue(dec *json.Decoder, depth int) (any, error) {
	if depth > defaultDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d", defaultDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	switch t := tok.(type) {
	case json.Number:
		return jsonNumber(t), nil
	case json.Delim:
		if t == '[' {
			out := []any{}
			for dec.More() {
				v, err := decodeJSONValue(dec, depth+1)
				if err != nil {
					return nil, err
				}
				out = append(out, v)
			}
			_, err := dec.Token()
			return out, err
		}
		m := NewMap()
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				return nil, fmt.Errorf("decode JSON: %w", err)
			}
			v, err := decodeJSONValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			m.Set(k.(string), v)
		}
		_, err := dec.Token()
		return m, err
	}
	return tok, nil
}

func jsonNumber(n json.Number) any {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}

// Normalize returns v with every container as []any or *OrderedMap and every number as int64 or float64.
// A map[string]any gets its keys in sorted order. Values already normal are returned as they are.
func Normalize(v any) any { return normal(v) }

func normal(v any) any {
	switch x := v.(type) {
	case nil, bool, int64, float64, string:
		return x
	case int:
		return int64(x)
	case int32:
		return int64(x)
	case uint32:
		return int64(x)
	case uint64:
		return int64(x) //nolint:gosec // values beyond int64 do not occur in templates
	case float32:
		return float64(x)
	case json.Number:
		return jsonNumber(x)
	case *OrderedMap:
		if x == nil {
			return nil
		}
		out := NewMap()
		for k, e := range x.All() {
			out.Set(k, normal(e))
		}
		return out
	case map[string]any:
		return sortedMap(x)
	case map[string]string:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = e
		}
		return sortedMap(m)
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = normal(e)
		}
		return out
	case []string:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = e
		}
		return out
	case []map[string]any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = normal(e)
		}
		return out
	case json.RawMessage:
		d, err := DecodeJSON(x)
		if err != nil {
			return string(x)
		}
		return d
	}
	return fmt.Sprint(v)
}

func sortedMap(x map[string]any) *OrderedMap {
	keys := make([]string, 0, len(x))
	for k := range x {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	m := NewMap()
	for _, k := range keys {
		m.Set(k, normal(x[k]))
	}
	return m
}

// Plain returns v with every *OrderedMap turned into map[string]any, for libraries that want that.
func Plain(v any) any {
	switch x := v.(type) {
	case *OrderedMap:
		out := make(map[string]any, x.Len())
		for k, e := range x.All() {
			out[k] = Plain(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = Plain(e)
		}
		return out
	}
	return v
}
