package hooks

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// matchHints returns the smallest disk that satisfies all root device hints.
// Values may carry an operator, as Ironic describes it in "Specifying the disk
// for deployment (root device hints)".
func matchHints(disks []map[string]any, hints map[string]any) (map[string]any, error) {
	var fits []map[string]any
	for _, d := range disks {
		ok := true
		for name, want := range hints {
			m, err := hintHolds(name, d[name], want)
			if err != nil {
				return nil, fmt.Errorf("root device hint %s: %w", name, err)
			}
			ok = ok && m
		}
		if ok {
			fits = append(fits, d)
		}
	}
	if len(fits) == 0 {
		return nil, fmt.Errorf("no disks satisfied the root device hints %v", hints)
	}
	sort.SliceStable(fits, func(i, j int) bool { return asFloat(fits[i]["size"]) < asFloat(fits[j]["size"]) })
	return fits[0], nil
}

func asFloat(v any) float64 {
	switch n := v.(type) {
	case float64:
		return n
	case string:
		f, _ := strconv.ParseFloat(strings.TrimSpace(n), 64)
		return f
	default:
		return 0
	}
}

const gib = 1 << 30

func hintHolds(name string, have, want any) (bool, error) {
	if have == nil {
		return false, nil
	}
	switch w := want.(type) {
	case bool:
		b, _ := have.(bool)
		return b == w, nil
	case float64:
		if name == "size" { // hints are in GiB, disks in bytes
			return int64(asFloat(have))/gib == int64(w), nil
		}
		return asFloat(have) == w, nil
	case string:
		if b, ok := have.(bool); ok {
			return strings.EqualFold(strings.TrimSpace(w), strconv.FormatBool(b)), nil
		}
		text := strings.ToLower(strings.TrimSpace(fmt.Sprint(have)))
		if name == "size" {
			text = strconv.FormatInt(int64(asFloat(have))/gib, 10)
		}
		return hintOperator(text, strings.ToLower(strings.TrimSpace(w)), name == "size")
	default:
		return false, fmt.Errorf("%v is neither text, number nor boolean", want)
	}
}

// hintOperator compares text with "<operator> <value>…".
func hintOperator(have, expr string, numeric bool) (bool, error) {
	op, rest, ok := strings.Cut(expr, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case !ok:
		return have == expr, nil
	case op == "<in>":
		return strings.Contains(have, rest), nil
	case op == "<all-in>":
		for _, part := range strings.Split(rest, "<all-in>") {
			for _, word := range strings.Fields(part) {
				if !strings.Contains(have, word) {
					return false, nil
				}
			}
		}
		return true, nil
	case op == "<or>":
		for _, part := range strings.Split(rest, "<or>") {
			if have == strings.TrimSpace(part) {
				return true, nil
			}
		}
		return false, nil
	case strings.HasPrefix(op, "s") && isComparison(op[1:]):
		return holdsOrder(op[1:], strings.Compare(have, rest)), nil
	case op == "=" && numeric: // "at least", as OpenStack's extra specs have it
		op = ">="
		fallthrough
	case isComparison(op):
		a, err1 := strconv.ParseFloat(have, 64)
		b, err2 := strconv.ParseFloat(rest, 64)
		if err1 != nil || err2 != nil {
			return false, fmt.Errorf("%q and %q cannot be compared as numbers", have, rest)
		}
		cmp := 0
		if a < b {
			cmp = -1
		} else if a > b {
			cmp = 1
		}
		return holdsOrder(op, cmp), nil
	default: // plain text with spaces, such as a model
		return have == expr, nil
	}
}

func isComparison(op string) bool {
	switch op {
	case "==", "!=", ">=", "<=", ">", "<":
		return true
	default:
		return false
	}
}

func holdsOrder(op string, cmp int) bool {
	switch op {
	case "==":
		return cmp == 0
	case "!=":
		return cmp != 0
	case ">=":
		return cmp >= 0
	case "<=":
		return cmp <= 0
	case ">":
		return cmp > 0
	default:
		return cmp < 0
	}
}
