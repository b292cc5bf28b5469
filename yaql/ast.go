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

type pair struct{ key, val node }
