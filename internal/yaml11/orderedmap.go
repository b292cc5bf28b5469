package yaml11

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
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

// MarshalJSON writes the keys in order; floats keep their point (1.0), so that they come back as floats.
func (m *OrderedMap) MarshalJSON() ([]byte, error) { return EncodeJSON(m) }

// EncodeJSON writes v as compact JSON with maps in their order and without HTML escapes.
func EncodeJSON(v any) ([]byte, error) { return appendJSON(nil, v) }

func appendJSON(b []byte, v any) ([]byte, error) {
	var err error
	switch x := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, x), nil
	case int64:
		return strconv.AppendInt(b, x, 10), nil
	case float64:
		if math.IsInf(x, 0) || math.IsNaN(x) {
			return nil, fmt.Errorf("%s cannot be written as JSON", FormatFloat(x))
		}
		return append(b, FormatFloat(x)...), nil
	case *OrderedMap:
		if x == nil {
			return append(b, "null"...), nil
		}
		b = append(b, '{')
		for i, k := range x.keys {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, k); err != nil {
				return nil, err
			}
			b = append(b, ':')
			if b, err = appendJSON(b, x.vals[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case []any:
		b = append(b, '[')
		for i, e := range x {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, e); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case string:
		if plainJSON(x) {
			b = append(b, '"')
			b = append(b, x...)
			return append(b, '"'), nil
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return append(b, bytes.TrimRight(buf.Bytes(), "\n")...), nil
}

func plainJSON(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
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
	case Opaque:
		return x
	}
	return fmt.Sprint(v)
}

// Opaque values are kept as they are by Normalize and FromValue; they cannot be written as YAML.
type Opaque interface{ YAMLOpaque() }

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

// YAQLKeys and YAQLLookup let package yaql read the map as it is.
func (m *OrderedMap) YAQLKeys() []any {
	out := make([]any, 0, m.Len())
	for k := range m.All() {
		out = append(out, k)
	}
	return out
}

// YAQLLookup returns the value of a key of any type; only strings are keys.
func (m *OrderedMap) YAQLLookup(key any) (any, bool) {
	k, ok := key.(string)
	if !ok {
		return nil, false
	}
	return m.Get(k)
}
