package yaql

// The lambdas of where, select and the like are mostly small: $.name, $.n > 1,
// $.state = up and $.cpus > 10. They are called once for each item, so that what
// can be decided before the first item is: a compiled lambda is a chain of Go
// closures that computes what eval computes, with the same steps, limits and
// errors.

// fast is a compiled lambda of one argument.
type fast func(arg any) (any, error)

// maxFast bounds the nesting of what is compiled; deeper bodies are walked.
const maxFast = 30

func (ev *evaluator) twoSteps() error {
	if err := ev.step(); err != nil {
		return err
	}
	return ev.step()
}

// compile returns the closure of a body, or nil when it is not made of $,
// constants, attributes and operators.
func (ev *evaluator) compile(n node, depth int) fast {
	if depth > maxFast {
		return nil
	}
	switch n := n.(type) {
	case *constNode:
		return ev.constant(n, n.val)
	case *wordNode:
		return ev.constant(n, n.val)
	case *varNode:
		if n.index == 1 {
			return func(arg any) (any, error) {
				if err := ev.step(); err != nil {
					return nil, ev.at(n, err)
				}
				return arg, nil
			}
		}
	case *dotNode:
		return ev.compileDot(n, depth)
	case *unaryNode:
		return ev.compileUnary(n, depth)
	case *binaryNode:
		return ev.compileBinary(n, depth)
	}
	return nil
}

func (ev *evaluator) constant(n node, val any) fast {
	return func(any) (any, error) {
		if err := ev.step(); err != nil {
			return nil, ev.at(n, err)
		}
		return val, nil
	}
}

func (ev *evaluator) compileDot(n *dotNode, depth int) fast {
	word, ok := n.member.(*wordNode)
	if !ok {
		return nil
	}
	name := word.name
	if v, ok := n.recv.(*varNode); ok && v.index == 1 && !n.safe { // $.name
		return func(arg any) (any, error) {
			if err := ev.twoSteps(); err != nil { // of the dot and of $
				return nil, ev.at(n, err)
			}
			if m, ok := arg.(*Map); ok {
				if i := m.findString(name); i >= 0 {
					return norm(m.vals[i]), nil
				}
			}
			got, err := ev.attribute(arg, name)
			if err != nil {
				return nil, ev.at(n, err)
			}
			return got, nil
		}
	}
	recv := ev.compile(n.recv, depth+1)
	if recv == nil {
		return nil
	}
	return func(arg any) (any, error) {
		if err := ev.step(); err != nil {
			return nil, ev.at(n, err)
		}
		v, err := recv(arg)
		if err != nil {
			return nil, err
		}
		if n.safe && v == nil {
			return nil, nil
		}
		got, err := ev.attribute(v, name)
		if err != nil {
			return nil, ev.at(n, err)
		}
		return got, nil
	}
}

func (ev *evaluator) compileUnary(n *unaryNode, depth int) fast {
	x := ev.compile(n.x, depth+1)
	if x == nil {
		return nil
	}
	return func(arg any) (any, error) {
		if err := ev.step(); err != nil {
			return nil, ev.at(n, err)
		}
		v, err := x(arg)
		if err == nil {
			v, err = ev.unary(n.op, v)
		}
		if err != nil {
			return nil, ev.at(n, err)
		}
		return v, nil
	}
}

func (ev *evaluator) compileBinary(n *binaryNode, depth int) fast {
	if n.op == "->" {
		return nil
	}
	l, r := ev.compile(n.l, depth+1), ev.compile(n.r, depth+1)
	if l == nil || r == nil {
		return nil
	}
	if n.op == "and" || n.op == "or" {
		return ev.compileLogic(n, l, r)
	}
	if val, ok := constantOf(n.r); ok {
		if f := ev.besideConstant(n, l, val); f != nil {
			return f
		}
	}
	keys := ev.opts.IterableDicts && (n.op == "in" || n.op == "+")
	return func(arg any) (any, error) {
		if err := ev.step(); err != nil {
			return nil, ev.at(n, err)
		}
		x, err := l(arg)
		if err != nil {
			return nil, err
		}
		y, err := r(arg)
		if err != nil {
			return nil, err
		}
		if keys {
			x, y = ev.keysBeside(n.op, x, y)
		}
		v, err := ev.binary(n.op, x, y)
		if err != nil {
			return nil, ev.at(n, err)
		}
		return v, nil
	}
}

func (ev *evaluator) compileLogic(n *binaryNode, l, r fast) fast {
	decides := n.op == "or" // the left operand is the result when it is as true as this
	return func(arg any) (any, error) {
		if err := ev.step(); err != nil {
			return nil, ev.at(n, err)
		}
		x, err := l(arg)
		if err != nil {
			return nil, err
		}
		if truth, ok := x.(bool); ok && truth == decides || !ok && Truth(x) == decides {
			return x, nil
		}
		return r(arg)
	}
}

func constantOf(n node) (any, bool) {
	switch n := n.(type) {
	case *constNode:
		return n.val, true
	case *wordNode:
		return n.val, true
	}
	return nil, false
}

// besideConstant is an operator whose right operand is known: of the commonest
// kinds, else nil.
func (ev *evaluator) besideConstant(n *binaryNode, l fast, val any) fast {
	slow := func(x any) (any, error) {
		v, err := ev.binary(n.op, x, val)
		if err != nil {
			return nil, ev.at(n, err)
		}
		return v, nil
	}
	var quick func(x any) (any, error)
	switch c := val.(type) {
	case string:
		if n.op != "=" && n.op != "!=" {
			return nil
		}
		same := n.op == "="
		quick = func(x any) (any, error) {
			if s, ok := x.(string); ok {
				return (s == c) == same, nil
			}
			return slow(x)
		}
	case int64:
		quick = besideInt(n.op, c, slow)
	}
	if quick == nil {
		return nil
	}
	return func(arg any) (any, error) {
		if err := ev.twoSteps(); err != nil { // of the operator and of the constant
			return nil, ev.at(n, err)
		}
		x, err := l(arg)
		if err != nil {
			return nil, err
		}
		return quick(x)
	}
}

// besideInt is an operator whose right operand is an integer; slow does what it
// does not.
func besideInt(op string, c int64, slow func(any) (any, error)) func(any) (any, error) {
	var test func(x int64) bool
	switch op {
	case "=":
		test = func(x int64) bool { return x == c }
	case "!=":
		test = func(x int64) bool { return x != c }
	case "<":
		test = func(x int64) bool { return x < c }
	case ">":
		test = func(x int64) bool { return x > c }
	case "<=":
		test = func(x int64) bool { return x <= c }
	case ">=":
		test = func(x int64) bool { return x >= c }
	case "+":
		return func(x any) (any, error) {
			if n, ok := x.(int64); ok {
				if s := n + c; (s > n) == (c > 0) || c == 0 {
					return s, nil
				}
			}
			return slow(x)
		}
	case "-":
		return func(x any) (any, error) {
			if n, ok := x.(int64); ok {
				if d := n - c; (d < n) == (c > 0) || c == 0 {
					return d, nil
				}
			}
			return slow(x)
		}
	default:
		return nil
	}
	return func(x any) (any, error) {
		if n, ok := x.(int64); ok {
			return test(n), nil
		}
		return slow(x)
	}
}
