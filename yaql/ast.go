package yaql

// node is an expression. Positions are 1-based columns.
type node interface{ column() int }

type pos int

func (p pos) column() int { return int(p) }

type (
	constNode struct {
		pos
		val any
	}
	// wordNode is a bare word; its value is its text.
	wordNode struct {
		pos
		name string
		val  any // name, ready to be used as a value
	}
	// varNode is $name; index is n for $n (and 1 for $), else 0.
	varNode struct {
		pos
		name  string
		index int
	}
	listNode struct {
		pos
		items []node
	}
	mapNode struct {
		pos
		pairs []pair
	}
	callNode struct {
		pos
		name  string
		args  []node // nil entry: left out, as in f(,1)
		pairs []pair // name => value
	}
	// delegateNode calls a value: fn(args).
	delegateNode struct {
		pos
		fn    node
		args  []node
		pairs []pair
	}
	unaryNode struct {
		pos
		op string
		x  node
	}
	binaryNode struct {
		pos
		op   string
		l, r node
	}
	dotNode struct {
		pos
		recv, member node
		safe         bool // ?.
	}
	indexNode struct {
		pos
		recv node
		args []node
	}
)

// plain reports whether an expression only reads: no call, so that nothing in
// it can keep the context it is evaluated in.
func plain(n node) bool {
	switch n := n.(type) {
	case *constNode, *wordNode, *varNode:
		return true
	case *dotNode:
		_, word := n.member.(*wordNode)
		return word && plain(n.recv)
	case *unaryNode:
		return plain(n.x)
	case *binaryNode:
		return n.op != "->" && plain(n.l) && plain(n.r)
	}
	return false
}

type pair struct{ key, val node }
