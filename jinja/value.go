package jinja

import (
	"fmt"
	"iter"
	"math"
	"math/big"
	"reflect"
	"sort"
	"strings"
)

// Markup is a string that is already safe to put into HTML; autoescaping leaves it alone.
type Markup string

// Tuple is Python's immutable list.
type Tuple []any

// List is Python's list: mutable, shared by reference.
type List struct{ Items []any }

// NewList makes a list of the given items, which are kept as they are.
func NewList(items ...any) *List { return &List{Items: items} }

// Dict is Python's dict: keys keep the order of their first insertion. Shared by reference.
type Dict struct {
	entries []entry
	index   map[any]int
	dead    int
	source  Mapping // not read yet
}

// Mapping is a dictionary of the caller's own type that knows its order. As a variable it becomes a *Dict whose
// entries are read when a template first looks at them, level by level: what no template touches costs nothing.
type Mapping interface{ All() iter.Seq2[any, any] }

// load reads the entries of a dictionary that came as a Mapping.
func (d *Dict) load() {
	if d.source == nil {
		return
	}
	src := d.source
	d.source = nil
	for k, v := range src.All() {
		_ = d.Set(FromGo(k), FromGo(v)) // an unhashable key cannot be looked up by a template
	}
}

type entry struct {
	key, val any
	live     bool
}

// NewDict makes a dictionary of alternating keys and values. It panics if a key is unhashable.
func NewDict(pairs ...any) *Dict {
	d := &Dict{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := d.Set(pairs[i], pairs[i+1]); err != nil {
			panic(err)
		}
	}
	return d
}

// Len is the number of keys.
func (d *Dict) Len() int {
	d.load()
	return len(d.entries) - d.dead
}

// Get returns the value of a key.
func (d *Dict) Get(key any) (any, bool) {
	d.load()
	h, err := hashKey(key)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[h]
	if !ok {
		return nil, false
	}
	return d.entries[i].val, true
}

// Set inserts a key at the end, or replaces the value of an existing one in its place.
// A list or dictionary cannot be a key.
func (d *Dict) Set(key, val any) error {
	d.load()
	h, err := hashKey(key)
	if err != nil {
		return err
	}
	if i, ok := d.index[h]; ok {
		d.entries[i].val = val
		return nil
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[h] = len(d.entries)
	d.entries = append(d.entries, entry{key, val, true})
	return nil
}

// Delete removes a key and tells whether it was there.
func (d *Dict) Delete(key any) bool {
	d.load()
	h, err := hashKey(key)
	if err != nil {
		return false
	}
	i, ok := d.index[h]
	if !ok {
		return false
	}
	delete(d.index, h)
	d.entries[i] = entry{}
	d.dead++
	if d.dead > 16 && d.dead > len(d.entries)/2 {
		d.compact()
	}
	return true
}

func (d *Dict) compact() {
	kept := make([]entry, 0, d.Len())
	for _, e := range d.entries {
		if e.live {
			if h, err := hashKey(e.key); err == nil {
				d.index[h] = len(kept)
			}
			kept = append(kept, e)
		}
	}
	d.entries, d.dead = kept, 0
}

// All iterates over keys and values in order.
func (d *Dict) All() iter.Seq2[any, any] {
	d.load()
	return func(yield func(any, any) bool) {
		for _, e := range d.entries {
			if e.live && !yield(e.key, e.val) {
				return
			}
		}
	}
}

// Keys returns the keys in order.
func (d *Dict) Keys() []any {
	out := make([]any, 0, d.Len())
	for k := range d.All() {
		out = append(out, k)
	}
	return out
}

// Has tells whether there is an equal key; a value that cannot be a key is an error.
func (d *Dict) Has(key any) (bool, error) {
	d.load()
	h, err := hashKey(key)
	if err != nil {
		return false, err
	}
	_, ok := d.index[h]
	return ok, nil
}

// Copy makes a shallow copy.
func (d *Dict) Copy() *Dict {
	n := &Dict{index: make(map[any]int, d.Len())}
	for k, v := range d.All() {
		_ = n.Set(k, v) // the key was hashable in d
	}
	return n
}

type noneKey struct{}
type bigKey string
type tupleKey string
type objKey struct{ p any }

// hashKey maps equal Python values (1, 1.0 and True) to one Go map key.
func hashKey(v any) (any, error) {
	switch x := v.(type) {
	case nil:
		return noneKey{}, nil
	case string:
		return x, nil
	case Markup:
		return string(x), nil
	case bool:
		if x {
			return 1, nil
		}
		return 0, nil
	case int:
		return x, nil
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<62 {
			return int(x), nil
		}
		return x, nil
	case *big.Int:
		return bigKey(x.String()), nil
	case Tuple:
		var sb strings.Builder
		for _, it := range x {
			h, err := hashKey(it)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&sb, "%T:%v\x00", h, h)
		}
		return tupleKey(sb.String()), nil
	case *List, *Dict, *dictView:
		return nil, typeErrorf("unhashable type: '%s'", typeName(v))
	case *Undefined:
		if x.strict {
			return nil, x.err()
		}
		return objKey{"undefined"}, nil
	}
	if reflect.TypeOf(v).Comparable() {
		return objKey{v}, nil
	}
	return nil, typeErrorf("unhashable type: '%s'", typeName(v))
}

// FromGo turns a Go value into the value a template sees. Values of this package are kept by reference.
func FromGo(v any) any {
	switch x := v.(type) {
	case nil, bool, int, float64, string, Markup, *List, *Dict, Tuple, *big.Int, *Undefined, *Func, *dictView, *generator, *rangeValue, *Macro, *namespace, Object:
		return x
	case []any:
		l := &List{Items: make([]any, len(x))}
		for i, it := range x {
			l.Items[i] = FromGo(it)
		}
		return l
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		d := &Dict{}
		for _, k := range keys {
			_ = d.Set(k, FromGo(x[k])) // strings are hashable
		}
		return d
	case Mapping:
		return &Dict{source: x}
	}
	return fromReflect(reflect.ValueOf(v))
}

func fromReflect(rv reflect.Value) any {
	switch rv.Kind() {
	case reflect.Bool:
		return rv.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int(rv.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return normBig(new(big.Int).SetUint64(rv.Uint()))
	case reflect.Float32, reflect.Float64:
		return rv.Float()
	case reflect.String:
		return rv.String()
	case reflect.Pointer, reflect.Interface:
		if rv.IsNil() {
			return nil
		}
		return FromGo(rv.Elem().Interface())
	case reflect.Slice, reflect.Array:
		l := &List{Items: make([]any, rv.Len())}
		for i := range l.Items {
			l.Items[i] = FromGo(rv.Index(i).Interface())
		}
		return l
	case reflect.Map:
		d := &Dict{}
		keys := rv.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
		for _, k := range keys {
			_ = d.Set(FromGo(k.Interface()), FromGo(rv.MapIndex(k).Interface())) // unhashable keys cannot be Go keys of these kinds
		}
		return d
	case reflect.Struct:
		d := &Dict{}
		for i := range rv.NumField() {
			if f := rv.Type().Field(i); f.IsExported() {
				_ = d.Set(f.Name, FromGo(rv.Field(i).Interface()))
			}
		}
		return d
	}
	return rv.Interface()
}

// Object is a value of the caller's own type: attributes are looked up by GetAttr, printing is by String.
type Object interface {
	// GetAttr returns an attribute; false means that there is none.
	GetAttr(name string) (any, bool)
	String() string
}

// Func is a function that a template may call.
type Func struct {
	Name string
	// Fn gets the positional arguments and the keyword arguments of the call.
	Fn func(c *Call) (any, error)
}

// Call is one call of a function, filter, test or method.
type Call struct {
	// Name of what is called, for messages.
	Name string
	// Args are the positional arguments. For a filter or a test the first is the value itself.
	Args []any
	// Kwargs are the keyword arguments in the order of the call; nil when there are none.
	Kwargs *Dict
	rt     *runtime
	sc     *scope
}

// dictView is what keys(), values() and items() of a dict return.
type dictView struct {
	d    *Dict
	kind string // keys, values, items
}

func (v *dictView) items() []any {
	out := make([]any, 0, v.d.Len())
	for k, val := range v.d.All() {
		switch v.kind {
		case "keys":
			out = append(out, k)
		case "values":
			out = append(out, val)
		default:
			out = append(out, Tuple{k, val})
		}
	}
	return out
}

// rangeValue is Python's range object.
type rangeValue struct{ start, stop, step int }

func (r *rangeValue) len() int {
	if r.step > 0 {
		if r.start >= r.stop {
			return 0
		}
		return (r.stop-r.start-1)/r.step + 1
	}
	if r.start <= r.stop {
		return 0
	}
	return (r.start-r.stop-1)/(-r.step) + 1
}

func (r *rangeValue) at(i int) int { return r.start + i*r.step }

// generator is a sequence that can be read once, as filters like map return.
type generator struct {
	name string
	next func() (any, bool, error)
}

// namespace is what namespace() makes: the only value whose attributes a template can set.
type namespace struct{ vars *Dict }

type loopControl int

const (
	ctlNone loopControl = iota
	ctlBreak
	ctlContinue
)

// typeName is Python's name of the type of v.
func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case Markup:
		return "Markup"
	case *List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *dictView:
		return "dict_" + x.kind
	case *rangeValue:
		return "range"
	case *generator:
		return "generator"
	case *Undefined:
		return "Undefined"
	case *Macro:
		return "Macro"
	case *namespace:
		return "Namespace"
	case *Func:
		return "function"
	case *loopContext:
		return "LoopContext"
	}
	return fmt.Sprintf("%T", v)
}
