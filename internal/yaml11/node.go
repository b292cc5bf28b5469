package yaml11

import "fmt"

// Kind says what a Node holds.
type Kind uint8

// The kinds of a Node. Scalars are resolved as YAML 1.1.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Seq
	Map
)

// String returns the name a person would use for the kind.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "boolean"
	case Int:
		return "integer"
	case Float:
		return "number"
	case String:
		return "string"
	case Seq:
		return "list"
	case Map:
		return "map"
	}
	return "unknown"
}

// Node is one value of a document with its place. Nodes reached through an alias are shared: treat a
// tree as read-only.
type Node struct {
	Kind   Kind
	File   string // name given to Parse
	Line   int    // 1-based
	Column int    // 1-based
	Raw    string // text of a scalar before resolution
	Quoted bool   // scalar was quoted or a block scalar
	Items  []*Node
	Pairs  []Pair // in order of first appearance, each key once

	scalar any
	size   int // number of nodes below and including this one, aliases expanded
}

// Pair is one entry of a mapping. Key is the text of the key as JSON would write it (true, null, 1).
type Pair struct {
	Key     string
	KeyNode *Node
	Value   *Node
}

// Pos returns "file:line:column", only the file where the line is not known.
func (n *Node) Pos() string {
	if n == nil {
		return ""
	}
	if n.Line == 0 {
		return n.File
	}
	if n.File == "" {
		return fmt.Sprintf("%d:%d", n.Line, n.Column)
	}
	return fmt.Sprintf("%s:%d:%d", n.File, n.Line, n.Column)
}

// Get returns the value of key in a mapping, nil if n is no mapping or has no such key.
func (n *Node) Get(key string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	for i := range n.Pairs {
		if n.Pairs[i].Key == key {
			return n.Pairs[i].Value
		}
	}
	return nil
}

// Value returns the node as Go data: nil, bool, int64, float64, string, []any or *OrderedMap.
// Each call makes fresh containers, also for aliased parts.
func (n *Node) Value() any {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case Seq:
		out := make([]any, len(n.Items))
		for i, it := range n.Items {
			out[i] = it.Value()
		}
		return out
	case Map:
		m := NewMap()
		for _, p := range n.Pairs {
			m.Set(p.Key, p.Value.Value())
		}
		return m
	default:
		return n.scalar
	}
}

// FromValue builds a node tree from Go data (see Value; map[string]any and int are accepted too), every
// node at the place of at.
func FromValue(at *Node, v any) *Node {
	n := &Node{size: 1}
	if at != nil {
		n.File, n.Line, n.Column = at.File, at.Line, at.Column
	}
	switch x := normal(v).(type) {
	case nil:
		n.Kind = Null
	case bool:
		n.Kind, n.scalar = Bool, x
	case int64:
		n.Kind, n.scalar = Int, x
	case float64:
		n.Kind, n.scalar = Float, x
	case string:
		n.Kind, n.scalar, n.Raw, n.Quoted = String, x, x, true
	case Opaque:
		n.scalar = x
	case []any:
		n.Kind = Seq
		for _, e := range x {
			n.Items = append(n.Items, FromValue(at, e))
		}
	case *OrderedMap:
		n.Kind = Map
		for k, e := range x.All() {
			kn := &Node{Kind: String, scalar: k, Raw: k, File: n.File, Line: n.Line, Column: n.Column, size: 1}
			n.Pairs = append(n.Pairs, Pair{Key: k, KeyNode: kn, Value: FromValue(at, e)})
		}
	}
	return n
}
