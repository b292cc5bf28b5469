package yaql

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"
	"time"
)

// Timespan is a duration in microseconds, Python's timedelta.
type Timespan int64

// Microseconds in the larger units.
const (
	microsPerSecond = int64(1e6)
	microsPerDay    = 86400 * microsPerSecond
)

// Seconds returns the timespan in seconds.
func (t Timespan) Seconds() float64 { return float64(t) / 1e6 }

// Duration returns the timespan as a time.Duration (saturating at its range).
func (t Timespan) Duration() time.Duration {
	if t > Timespan(math.MaxInt64/1000) {
		return math.MaxInt64
	}
	if t < Timespan(math.MinInt64/1000) {
		return math.MinInt64
	}
	return time.Duration(t) * time.Microsecond
}

// Set is a set of values that keeps insertion order, with Python's equality.
type Set struct {
	items []any
	idx   map[any]struct{} // nil until needed
}

// NewSet returns a set of the given values.
func NewSet(items ...any) *Set {
	s := &Set{}
	for _, it := range items {
		s.add(it)
	}
	return s
}

func (s *Set) index() map[any]struct{} {
	if s.idx == nil {
		s.idx = make(map[any]struct{}, len(s.items))
		for _, it := range s.items {
			s.idx[hashKey(it)] = struct{}{}
		}
	}
	return s.idx
}

func (s *Set) add(v any) {
	v = norm(v)
	h, idx := hashKey(v), s.index()
	if _, ok := idx[h]; ok {
		return
	}
	idx[h] = struct{}{}
	s.items = append(s.items, v)
}

// Has reports whether v is in the set.
func (s *Set) Has(v any) bool {
	_, ok := s.index()[hashKey(norm(v))]
	return ok
}

// Len returns the number of members.
func (s *Set) Len() int { return len(s.items) }

// Items returns the members in order of insertion.
func (s *Set) Items() []any { return append([]any(nil), s.items...) }

// MarshalJSON writes the members as an array.
func (s *Set) MarshalJSON() ([]byte, error) { return JSON(s) }

// seq is a lazy sequence; it can be consumed once, like Python's generators.
type seq struct {
	next  func() (any, bool, error)
	again func() func() (any, bool, error) // instead of next: it can be read many times
	order *ordering                        // set by orderBy
}

// mapping is what a value must do to be a dictionary to the evaluator.
type mapping interface {
	get(k any) (any, bool)
	size() int
	each(func(k, v any) bool)
}

func (m *Map) get(k any) (any, bool) { return m.Get(k) }
func (m *Map) size() int             { return m.Len() }
func (m *Map) each(f func(k, v any) bool) {
	for k, v := range m.All() {
		if !f(k, v) {
			return
		}
	}
}

type goMap map[string]any

func (m goMap) get(k any) (any, bool) {
	s, ok := k.(string)
	if !ok {
		return nil, false
	}
	v, ok := m[s]
	return v, ok
}
func (m goMap) size() int { return len(m) }
func (m goMap) each(f func(k, v any) bool) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys) // Go's order is random; a result must not be
	for _, k := range keys {
		if !f(k, m[k]) {
			return
		}
	}
}

// Ordered is what other packages' ordered maps can implement to be taken as
// data without copying. Lookup must accept any of the keys.
type Ordered interface {
	YAQLKeys() []any
	YAQLLookup(key any) (any, bool)
}

type ordered struct{ Ordered }

func (o ordered) get(k any) (any, bool) { return o.YAQLLookup(k) }
func (o ordered) size() int             { return len(o.YAQLKeys()) }
func (o ordered) each(f func(k, v any) bool) {
	for _, k := range o.YAQLKeys() {
		v, _ := o.YAQLLookup(k)
		if !f(k, v) {
			return
		}
	}
}

func asMapping(v any) (mapping, bool) {
	switch v := v.(type) {
	case *Map:
		return v, v != nil
	case map[string]any:
		return goMap(v), true
	case Ordered:
		return ordered{v}, true
	}
	return nil, false
}

// norm brings a Go value given as data into the evaluator's types. Containers
// are not copied; their elements are brought in when they are reached.
func norm(v any) any {
	switch v.(type) {
	case nil, bool, int64, float64, string, []any, *Map: // the commonest first, without the look for interfaces
		return v
	}
	switch v := v.(type) {
	case *Set, *seq, map[string]any,
		time.Time, Timespan, *Regex, *Context, Ordered, *lambda:
		return v
	case int:
		return int64(v)
	case json.Number:
		return jsonNumber(v)
	case time.Duration:
		return Timespan(v / time.Microsecond)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	}
	return normReflect(v)
}

func normReflect(v any) any {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Bool:
		return r.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if u := r.Uint(); u <= math.MaxInt64 {
			return int64(u)
		}
		return float64(r.Uint())
	case reflect.Float32, reflect.Float64:
		return r.Float()
	case reflect.String:
		return r.String()
	case reflect.Slice, reflect.Array:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = norm(r.Index(i).Interface())
		}
		return out
	case reflect.Map:
		return normMap(r)
	case reflect.Pointer, reflect.Interface:
		if r.IsNil() {
			return nil
		}
	}
	return v
}

func normMap(r reflect.Value) any {
	keys := make([]any, 0, r.Len())
	vals := make(map[any]any, r.Len())
	for it := r.MapRange(); it.Next(); {
		k := norm(it.Key().Interface())
		keys = append(keys, k)
		vals[hashKey(k)] = it.Value().Interface()
	}
	sort.Slice(keys, func(i, j int) bool { return pyStr(keys[i]) < pyStr(keys[j]) })
	m := NewMap(len(keys))
	for _, k := range keys {
		m.Set(k, vals[hashKey(k)])
	}
	return m
}

type (
	nilKey   struct{}
	composed string // canonical text of a list, dict or set used as a key
)

// hashKey maps a value to a comparable key so that equal values (in Python's
// sense) have equal keys.
func hashKey(v any) any {
	switch v := v.(type) {
	case nil:
		return nilKey{}
	case string, int64, Timespan, *Regex:
		return v
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v)
		}
		return v
	case time.Time:
		return composed("t" + v.UTC().Format(time.RFC3339Nano))
	case []any:
		parts := make([]string, len(v))
		for i, it := range v {
			parts[i] = keyText(it)
		}
		return composed("[" + strings.Join(parts, ",") + "]")
	case *Set:
		parts := make([]string, len(v.items))
		for i, it := range v.items {
			parts[i] = keyText(it)
		}
		sort.Strings(parts)
		return composed("<" + strings.Join(parts, ",") + ">")
	}
	if m, ok := asMapping(v); ok {
		parts := make([]string, 0, m.size())
		m.each(func(k, x any) bool {
			parts = append(parts, keyText(k)+"="+keyText(x))
			return true
		})
		sort.Strings(parts)
		return composed("{" + strings.Join(parts, ",") + "}")
	}
	if n := norm(v); reflect.TypeOf(n) != reflect.TypeOf(v) {
		return hashKey(n)
	}
	if t := reflect.TypeOf(v); t.Comparable() {
		return v
	}
	return composed(fmt.Sprintf("%T@%p", v, v))
}

func keyText(v any) string {
	switch k := hashKey(norm(v)).(type) {
	case string:
		return fmt.Sprintf("%q", k)
	case composed:
		return string(k)
	default:
		return fmt.Sprintf("%T%v", k, k)
	}
}

// equal is Python's ==.
func equal(a, b any) bool {
	a, b = norm(a), norm(b)
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool, int64, float64:
		return equalNumber(a, b)
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equal(x[i], y[i]) {
				return false
			}
		}
		return true
	case *Set:
		y, ok := b.(*Set)
		return ok && x.Len() == y.Len() && subset(x, y)
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	case Timespan:
		y, ok := b.(Timespan)
		return ok && x == y
	case *Regex:
		y, ok := b.(*Regex)
		return ok && x.source == y.source && x.re.String() == y.re.String()
	}
	if m, ok := asMapping(a); ok {
		return equalMapping(m, b)
	}
	ta, tb := reflect.TypeOf(a), reflect.TypeOf(b)
	return ta == tb && ta.Comparable() && a == b
}

func equalNumber(a, b any) bool {
	switch b.(type) {
	case bool, int64, float64:
		return hashKey(a) == hashKey(b)
	}
	return false
}

func equalMapping(m mapping, b any) bool {
	n, ok := asMapping(b)
	if !ok || m.size() != n.size() {
		return false
	}
	same := true
	m.each(func(k, v any) bool {
		w, ok := n.get(k)
		same = ok && equal(v, w)
		return same
	})
	return same
}

func subset(a, b *Set) bool {
	for _, it := range a.items {
		if !b.Has(it) {
			return false
		}
	}
	return true
}

// Truth is Python's bool(v): null, false, 0, "" and empty containers are
// false. Lazy sequences are true.
func Truth(v any) bool {
	switch v := norm(v).(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case *Set:
		return v.Len() > 0
	case Timespan:
		return v != 0
	default:
		if m, ok := asMapping(v); ok {
			return m.size() > 0
		}
		return true
	}
}

// Plain turns a value into plain Go: map[string]any, []any, string, bool,
// int64, float64, nil. Keys become strings as in JSON, sets lists, times
// RFC 3339 text, timespans seconds. Other types are returned as they are.
func Plain(v any) any {
	switch v := norm(v).(type) {
	case []any:
		return plainList(v)
	case *Set:
		return plainList(v.items)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case Timespan:
		return v.Seconds()
	case *Regex:
		return v.source
	default:
		m, ok := asMapping(v)
		if !ok {
			return v
		}
		out := make(map[string]any, m.size())
		m.each(func(k, x any) bool {
			out[jsonKey(k)] = Plain(x)
			return true
		})
		return out
	}
}

func plainList(items []any) []any {
	out := make([]any, len(items))
	for i, it := range items {
		out[i] = Plain(it)
	}
	return out
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "float"
	case string:
		return "string"
	case []any:
		return "list"
	case *Set:
		return "set"
	case *seq:
		return "sequence"
	case time.Time:
		return "datetime"
	case Timespan:
		return "timespan"
	case *Regex:
		return "regex"
	case *Context:
		return "context"
	default:
		if _, ok := asMapping(v); ok {
			return "dict"
		}
		return fmt.Sprintf("%T", v)
	}
}
