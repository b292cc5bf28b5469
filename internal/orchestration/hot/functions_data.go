package hot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// maxItems bounds the items one function may make.
const maxItems = 1_000_000

func evalMapMerge(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok {
		return nil, fmt.Errorf("expected a list of maps, got %s", KindOf(arg))
	}
	out := yaml11.NewMap()
	for _, it := range l {
		if it == nil {
			continue
		}
		m, ok := it.(*Map)
		if !ok {
			return nil, fmt.Errorf("items to merge must be maps, got %s %s", KindOf(it), Show(it))
		}
		for k, v := range m.All() {
			out.Set(k, v)
		}
	}
	return out, nil
}

// evalMapReplace renames keys and replaces values. Source: heat/engine/hot/functions.py, MapReplace.
func evalMapReplace(_ *Evaluator, arg any) (any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) != 2 {
		return nil, fmt.Errorf("expected [map, {keys: map, values: map}], got %s", Show(arg))
	}
	ensure := func(v any, what string) (*Map, error) {
		if v == nil {
			return yaml11.NewMap(), nil
		}
		m, ok := v.(*Map)
		if !ok {
			return nil, fmt.Errorf("%s must be a map, got %s", what, KindOf(v))
		}
		return m, nil
	}
	in, err := ensure(l[0], "the first argument")
	if err != nil {
		return nil, err
	}
	repl, err := ensure(l[1], "the second argument")
	if err != nil {
		return nil, err
	}
	for k := range repl.All() {
		if k != "keys" && k != "values" {
			return nil, fmt.Errorf("unknown key %q, expected keys or values", k)
		}
	}
	kv, _ := repl.Get("keys")
	vv, _ := repl.Get("values")
	keys, err := ensure(kv, "keys")
	if err != nil {
		return nil, err
	}
	values, err := ensure(vv, "values")
	if err != nil {
		return nil, err
	}
	out := yaml11.NewMap()
	for k, v := range in.All() {
		nk := k
		if r, ok := keys.Get(k); ok && r != nil {
			nk = PyStr(r)
			if _, dup := in.Get(nk); dup && nk != k {
				return nil, fmt.Errorf("key replacement %q collides with a key in the input map", nk)
			}
			if _, dup := out.Get(nk); dup {
				return nil, fmt.Errorf("key replacement %q collides with a key in the output map", nk)
			}
		}
		out.Set(nk, replaceValue(v, values))
	}
	return out, nil
}

func replaceValue(v any, values *Map) any {
	var k string
	switch x := v.(type) {
	case nil:
		k = "null"
	case string:
		k = x
	case bool:
		k = strings.ToLower(PyStr(x))
	case int64, float64:
		k = PyStr(x)
	default:
		return v
	}
	if r, ok := values.Get(k); ok {
		return r
	}
	return v
}

// evalFilter drops values from a list: [values to drop, list].
func evalFilter(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	drop, ok := l[0].([]any)
	if !ok && l[0] != nil {
		return nil, fmt.Errorf("the values to drop must be a list, got %s", KindOf(l[0]))
	}
	if l[1] == nil {
		return nil, nil
	}
	in, ok := l[1].([]any)
	if !ok {
		return nil, fmt.Errorf("the second argument must be a list, got %s", KindOf(l[1]))
	}
	has := newSet(drop)
	out := []any{}
	for _, v := range in {
		if !has.contains(v) {
			out = append(out, v)
		}
	}
	return out, nil
}

// set finds values by Python's equality: scalars by a key, containers one by one.
type set struct {
	scalars    map[any]bool
	containers []any
}

func newSet(items []any) *set {
	s := &set{scalars: make(map[any]bool, len(items))}
	for _, v := range items {
		s.add(v)
	}
	return s
}

func scalarKey(v any) (key any, ok bool) {
	switch x := v.(type) {
	case nil, string:
		return x, true
	case *Map, []any:
		return nil, false
	}
	f, ok := number(v)
	return f, ok
}

func (s *set) add(v any) {
	if k, ok := scalarKey(v); ok {
		s.scalars[k] = true
	} else {
		s.containers = append(s.containers, v)
	}
}

func (s *set) contains(v any) bool {
	if k, ok := scalarKey(v); ok {
		return s.scalars[k]
	}
	return listHas(s.containers, v)
}

func listHas(l []any, v any) bool {
	for _, e := range l {
		if Equal(e, v) {
			return true
		}
	}
	return false
}

func evalListConcat(unique bool) func(*Evaluator, any) (any, error) {
	return func(_ *Evaluator, arg any) (any, error) {
		l, ok := arg.([]any)
		if !ok {
			return nil, fmt.Errorf("expected a list of lists, got %s", KindOf(arg))
		}
		out, seen := []any{}, newSet(nil)
		for _, it := range l {
			if it == nil {
				continue
			}
			sub, ok := it.([]any)
			if !ok {
				return nil, fmt.Errorf("items to concatenate must be lists, got %s %s", KindOf(it), Show(it))
			}
			for _, v := range sub {
				if unique && seen.contains(v) {
					continue
				}
				if unique {
					seen.add(v)
				}
				out = append(out, v)
			}
		}
		return out, nil
	}
}

// repetition is a "repeat" inside the template of another: its placeholders are filled by the outer one
// before it is computed (nested_loop of Heat's RepeatWithNestedLoop).
type repetition struct{ arg *Expr }

// repeatRules are the differences between the ages of repeat.
type repeatRules struct {
	maps         bool // for_each may give maps too, whose keys are the values
	permutations bool // the values may be taken side by side
}

// evalRepeat computes the template for every combination of the for_each values (permutations, default)
// or for the values taken side by side.
func evalRepeat(rules repeatRules) func(*Evaluator, *Expr) (any, error) {
	return func(ev *Evaluator, e *Expr) (any, error) { return ev.repeat(e, rules) }
}

func (ev *Evaluator) repeat(e *Expr, rules repeatRules) (any, error) {
	fe, err := ev.value(e.arg.Field("for_each"))
	if err != nil {
		return nil, err
	}
	permute := true
	if p := e.arg.Field("permutations"); p != nil && rules.permutations {
		v, err := ev.value(p)
		if err != nil {
			return nil, err
		}
		var ok bool
		if permute, ok = v.(bool); !ok && !HasUnknown(v) {
			return nil, fmt.Errorf("permutations must be a boolean, got %s", KindOf(v))
		}
	}
	template, err := ev.repeatTemplate(e.arg.Field("template"))
	if err != nil {
		return nil, err
	}
	if HasUnknown(fe) || HasUnknown(template) {
		return Unknown{}, nil
	}
	keys, lists, err := forEach(fe, rules.maps)
	if err != nil {
		return nil, err
	}
	rows, err := combine(lists, permute)
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(rows))
	for _, row := range rows {
		v, err := ev.fill(template, keys, row)
		if err != nil {
			return nil, err
		}
		if _, ok := v.(Unknown); ok {
			return v, nil
		}
		if ev.spent += sizeOf(v); ev.spent > maxSpent {
			return nil, fmt.Errorf("the template computes more than %d bytes of values", maxSpent)
		}
		out = append(out, v)
	}
	return out, nil
}

// repeatTemplate computes the template but leaves inner repeats for fill.
func (ev *Evaluator) repeatTemplate(e *Expr) (any, error) {
	switch {
	case e == nil:
		return nil, nil
	case e.kind == exprCall && strings.HasPrefix(e.fn.name, "repeat"):
		return repetition{e}, nil
	case e.kind == exprList:
		out := make([]any, len(e.subs))
		for i, s := range e.subs {
			v, err := ev.repeatTemplate(s)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case e.kind == exprMap:
		m := yaml11.NewMap()
		for i, s := range e.subs {
			v, err := ev.repeatTemplate(s)
			if err != nil {
				return nil, err
			}
			m.Set(e.keys[i], v)
		}
		return m, nil
	}
	return ev.value(e)
}

func forEach(fe any, maps bool) (keys []string, lists [][]any, err error) {
	m, ok := fe.(*Map)
	if !ok {
		return nil, nil, fmt.Errorf("for_each must be a map, got %s", KindOf(fe))
	}
	if m.Len() == 0 {
		return nil, nil, errors.New("for_each is empty")
	}
	for k, v := range m.All() {
		keys = append(keys, k)
		if _, ok := v.(*Map); ok && !maps {
			return nil, nil, fmt.Errorf("the values of for_each must be lists, %q is a map (maps are allowed since newton)", k)
		}
		switch x := v.(type) {
		case nil:
			lists = append(lists, nil)
		case []any:
			lists = append(lists, x)
		case *Map:
			var l []any
			for _, mk := range x.Keys() {
				l = append(l, mk)
			}
			lists = append(lists, l)
		default:
			return nil, nil, fmt.Errorf("the values of for_each must be lists or maps, %q is %s", k, KindOf(v))
		}
	}
	return keys, lists, nil
}

func combine(lists [][]any, permute bool) ([][]any, error) {
	if len(lists) == 0 {
		return nil, nil
	}
	if !permute {
		n := len(lists[0])
		for _, l := range lists {
			if len(l) != n {
				return nil, errors.New("for_each lists must have the same length when permutations is false")
			}
		}
		rows := make([][]any, n)
		for i := range rows {
			for _, l := range lists {
				rows[i] = append(rows[i], l[i])
			}
		}
		return rows, nil
	}
	rows := [][]any{{}}
	for _, l := range lists {
		if len(rows)*len(l) > maxItems {
			return nil, fmt.Errorf("more than %d combinations", maxItems)
		}
		next := make([][]any, 0, len(rows)*len(l))
		for _, r := range rows {
			for _, v := range l {
				next = append(next, append(r[:len(r):len(r)], v))
			}
		}
		rows = next
	}
	return rows, nil
}

// fill puts the values in the place of the keys, in text, list items, map keys and map values.
func (ev *Evaluator) fill(t any, keys []string, row []any) (any, error) {
	switch x := t.(type) {
	case string:
		return fillText(x, keys, row)
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			v, err := ev.fill(e, keys, row)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case *Map:
		m := yaml11.NewMap()
		for k, e := range x.All() {
			nk, err := fillText(k, keys, row)
			if err != nil {
				return nil, err
			}
			v, err := ev.fill(e, keys, row)
			if err != nil {
				return nil, err
			}
			m.Set(PyStr(nk), v)
		}
		return m, nil
	case repetition:
		return x.arg.fn.lazy(ev, fillExpr(x.arg, keys, row))
	}
	return t, nil
}

func fillText(s string, keys []string, row []any) (any, error) {
	for i, k := range keys {
		if k == "" {
			return nil, errors.New("a key of for_each is empty")
		}
		if s == k {
			return row[i], nil
		}
		if strings.Contains(s, k) {
			s = strings.ReplaceAll(s, k, replacement(row[i]))
		}
	}
	if len(s) > maxText {
		return nil, fmt.Errorf("the result is larger than %d bytes", maxText)
	}
	return s, nil
}

// fillExpr returns a copy of e with placeholders in its literals filled.
func fillExpr(e *Expr, keys []string, row []any) *Expr {
	if e == nil {
		return nil
	}
	c := *e
	if s, ok := e.lit.(string); ok {
		if v, err := fillText(s, keys, row); err == nil {
			switch v.(type) {
			case *Map, []any:
				return literalExpr(e, v)
			}
			c.lit = v
		}
	}
	if len(e.subs) > 0 {
		c.subs = make([]*Expr, len(e.subs))
		for i, s := range e.subs {
			c.subs[i] = fillExpr(s, keys, row)
		}
	}
	c.arg = fillExpr(e.arg, keys, row)
	return &c
}

// literalExpr returns an expression at the place of e whose value is v.
func literalExpr(e *Expr, v any) *Expr {
	p := exprParser{errs: &Errors{}}
	return p.parse(yaml11.FromValue(e.node, v), e.path)
}
