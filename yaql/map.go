package yaql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"time"
)

// Map is a dictionary that keeps insertion order and takes any value as key,
// with Python's notion of equality (1, 1.0 and true are one key).
// The zero value is an empty map. A Map must not be changed while it is used
// as data of an evaluation.
type Map struct {
	keys []any
	vals []any
	idx  map[any]int // built when the map has more than smallMap keys
}

const smallMap = 8

// NewMap returns an empty map with room for n entries.
func NewMap(n int) *Map {
	return &Map{keys: make([]any, 0, n), vals: make([]any, 0, n)}
}

// MapOf returns a map of the given alternating keys and values.
func MapOf(kv ...any) *Map {
	m := NewMap(len(kv) / 2)
	for i := 0; i+1 < len(kv); i += 2 {
		m.Set(kv[i], kv[i+1])
	}
	return m
}

func (m *Map) find(k any) int {
	if m == nil {
		return -1
	}
	if s, ok := k.(string); ok {
		return m.findString(s)
	}
	h := hashKey(k)
	if m.idx != nil {
		if i, ok := m.idx[h]; ok {
			return i
		}
		return -1
	}
	for i, have := range m.keys {
		if hashKey(have) == h {
			return i
		}
	}
	return -1
}

// findString is find for the most common type of key.
func (m *Map) findString(k string) int {
	if m.idx != nil {
		if i, ok := m.idx[k]; ok {
			return i
		}
		return -1
	}
	for i, have := range m.keys {
		if s, ok := have.(string); ok && s == k {
			return i
		}
	}
	return -1
}

// Set stores v under k. An existing key keeps its place.
func (m *Map) Set(k, v any) {
	k = norm(k)
	if i := m.find(k); i >= 0 {
		m.vals[i] = v
		return
	}
	m.keys = append(m.keys, k)
	m.vals = append(m.vals, v)
	if m.idx != nil {
		m.idx[hashKey(k)] = len(m.keys) - 1
	} else if len(m.keys) > smallMap {
		m.reindex()
	}
}

func (m *Map) reindex() {
	m.idx = make(map[any]int, len(m.keys)*2)
	for i, k := range m.keys {
		m.idx[hashKey(k)] = i
	}
}

// Get returns the value stored under k.
func (m *Map) Get(k any) (any, bool) {
	if i := m.find(norm(k)); i >= 0 {
		return m.vals[i], true
	}
	return nil, false
}

// Value returns the value stored under k, or nil.
func (m *Map) Value(k any) any {
	v, _ := m.Get(k)
	return v
}

// Delete removes k. It is O(n).
func (m *Map) Delete(k any) {
	i := m.find(norm(k))
	if i < 0 {
		return
	}
	m.keys = append(m.keys[:i:i], m.keys[i+1:]...)
	m.vals = append(m.vals[:i:i], m.vals[i+1:]...)
	if m.idx != nil {
		m.reindex()
	}
}

// Len returns the number of entries.
func (m *Map) Len() int {
	if m == nil {
		return 0
	}
	return len(m.keys)
}

// Keys returns the keys in order.
func (m *Map) Keys() []any {
	if m == nil {
		return nil
	}
	return append([]any(nil), m.keys...)
}

// All iterates over the entries in order.
func (m *Map) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		if m == nil {
			return
		}
		for i, k := range m.keys {
			if !yield(k, m.vals[i]) {
				return
			}
		}
	}
}

// Clone returns a shallow copy.
func (m *Map) Clone() *Map {
	c := NewMap(m.Len() + 1)
	for k, v := range m.All() {
		c.Set(k, v)
	}
	return c
}

// MarshalJSON writes the entries in order; keys become strings as Python's
// json.dumps makes them.
func (m *Map) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, m); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// UnmarshalJSON reads an object, keeping the order of its keys.
func (m *Map) UnmarshalJSON(data []byte) error {
	v, err := ParseJSON(data)
	if err != nil {
		return err
	}
	got, ok := v.(*Map)
	if !ok {
		return fmt.Errorf("yaql: JSON %s is not an object", typeName(v))
	}
	*m = *got
	return nil
}

// JSON encodes a value compactly, without HTML escapes, keeping the order of
// maps. Sets become arrays, times RFC 3339, timespans seconds.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, v any) error {
	switch v := norm(v).(type) {
	case []any:
		return writeJSONList(b, v)
	case *Set:
		return writeJSONList(b, v.items)
	case string:
		writeJSONString(b, v)
	case int64:
		fmt.Fprintf(b, "%d", v)
	case float64:
		return writeJSONFloat(b, v)
	case time.Time:
		writeJSONString(b, v.Format(time.RFC3339Nano))
	case Timespan:
		return writeJSONFloat(b, v.Seconds())
	case *Regex:
		writeJSONString(b, v.source)
	default:
		if m, ok := asMapping(v); ok {
			return writeJSONMap(b, m)
		}
		return writeJSONOther(b, v)
	}
	return nil
}

func writeJSONOther(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("yaql: encode %s as JSON: %w", typeName(v), err)
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}

func writeJSONFloat(b *bytes.Buffer, f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("yaql: %v cannot be written as JSON", f)
	}
	s := pyFloat(f)
	b.WriteString(s)
	return nil
}

func writeJSONString(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string never fails
	b.Truncate(b.Len() - 1)
}

func writeJSONList(b *bytes.Buffer, items []any) error {
	b.WriteByte('[')
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeJSON(b, it); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeJSONMap(b *bytes.Buffer, m mapping) error {
	b.WriteByte('{')
	first, err := true, error(nil)
	m.each(func(k, v any) bool {
		if !first {
			b.WriteByte(',')
		}
		first = false
		writeJSONString(b, jsonKey(k))
		b.WriteByte(':')
		err = writeJSON(b, v)
		return err == nil
	})
	b.WriteByte('}')
	return err
}

// jsonKey is how Python's json.dumps writes a key that is not a string.
func jsonKey(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case nil:
		return "null"
	case bool:
		if k {
			return "true"
		}
		return "false"
	}
	return pyStr(k)
}

const maxJSONDepth = 500

// ParseJSON decodes one JSON value into this package's values: objects become
// *Map in their order (the last of equal keys wins), whole numbers int64,
// others float64.
func ParseJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("yaql: data after the JSON value at offset %d", d.InputOffset())
	}
	return v, nil
}

func readJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("yaql: JSON nested deeper than %d at offset %d", maxJSONDepth, d.InputOffset())
	}
	tok, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("yaql: JSON at offset %d: %w", d.InputOffset(), err)
	}
	switch t := tok.(type) {
	case json.Delim:
		if t == '[' {
			return readJSONList(d, depth)
		}
		return readJSONMap(d, depth)
	case json.Number:
		return jsonNumber(t), nil
	}
	return tok, nil
}

func readJSONList(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func readJSONMap(d *json.Decoder, depth int) (any, error) {
	m := NewMap(4)
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("yaql: JSON at offset %d: %w", d.InputOffset(), err)
		}
		v, err := readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		m.Set(k, v)
	}
	_, err := d.Token()
	return m, err
}

func jsonNumber(n json.Number) any {
	if !strings.ContainsAny(string(n), ".eE") {
		if i, err := n.Int64(); err == nil {
			return i
		}
	}
	f, err := n.Float64()
	if err != nil {
		return string(n)
	}
	return f
}
