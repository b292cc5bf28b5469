package yaql

// Values may share parts, so that a few steps can describe more elements than
// there are atoms: let(a => [$a, $a]) again and again. Whoever walks such a
// value (equality, str(), the result) would never end. A part can be used twice
// only through a variable, so that values are measured when they are bound to
// one; each part is measured once.

// maxNodes bounds the elements of a value, shared parts counted each time.
const maxNodes = 4 << 20

// smallPart is a number of elements that are counted anew each time.
const smallPart = 16

func allScalar(parts []any) bool {
	for _, p := range parts {
		if !scalar(p) {
			return false
		}
	}
	return true
}

type partKey struct {
	first *any
	n     int
	m     *Map
}

// bind checks the size of a value that is about to be bound to a variable.
func (ev *evaluator) bind(v any) error {
	if scalar(v) {
		return nil
	}
	if ev.measure(v, 0) > maxNodes {
		return errorf(ErrLimit, "a value has more than %d elements", maxNodes)
	}
	return nil
}

// measure counts the elements of a value; more than maxNodes is only a bound.
func (ev *evaluator) measure(v any, depth int) int {
	var key partKey
	var parts []any
	switch x := v.(type) {
	case []any:
		parts = x
		if len(x) > 0 {
			key = partKey{first: &x[0], n: len(x)}
		}
	case *Map:
		parts, key = x.vals, partKey{m: x}
	case *Set:
		parts = x.items
		if len(parts) > 0 {
			key = partKey{first: &parts[0], n: len(parts)}
		}
	default:
		return 1
	}
	if len(parts) == 0 {
		return 1
	}
	if len(parts) <= smallPart && allScalar(parts) {
		return len(parts) + 1 // cheaper to count than to remember
	}
	if n, ok := ev.sizes[key]; ok {
		return n
	}
	if depth > maxJSONDepth {
		return maxNodes + 1
	}
	n := 1
	for _, p := range parts {
		if scalar(p) {
			n++
		} else {
			n += ev.measure(p, depth+1)
		}
		if n > maxNodes {
			break
		}
	}
	if ev.sizes == nil {
		ev.sizes = make(map[partKey]int)
	}
	ev.sizes[key] = n
	return n
}
