package hot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// role says what a function does to the graph, whatever its name in a dialect.
type role uint8

const (
	rolePlain role = iota
	roleParam
	roleResource // refers to a resource
	roleRef      // refers to a parameter or a resource
	roleAttr
	roleIf
	roleLogic // takes conditions: not, and, or
	roleFile
)

// function is one intrinsic function. Either eval gets the computed argument, none of it Unknown, or lazy
// computes what it needs itself.
type function struct {
	name  string
	role  role
	check func(arg *Expr) *Error // static shape, may be nil
	eval  func(ev *Evaluator, arg any) (any, error)
	lazy  func(ev *Evaluator, e *Expr) (any, error)
}

func checkGetAttr(least int) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		if arg.kind != exprList || len(arg.subs) < least {
			return arg.errorf("expected [resource, attribute, (path ...)], got %s", kindOfExpr(arg))
		}
		return nil
	}
}

// checkList wants a list of least to most items (most 0: any number) written as a list.
func checkList(least, most int) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		switch {
		case arg.kind == exprList && len(arg.subs) >= least && (most == 0 || len(arg.subs) <= most):
			return nil
		case arg.kind == exprCall && least == 0:
			return nil
		case arg.kind != exprList:
			return arg.errorf("expected %s, got %s", arguments(least, most), kindOfExpr(arg))
		}
		return arg.errorf("expected %s, got %d", arguments(least, most), len(arg.subs))
	}
}

func arguments(least, most int) string {
	switch {
	case least == 0:
		return "a list of arguments"
	case most == 0:
		return fmt.Sprintf("a list of at least %d arguments", least)
	case most > least:
		return fmt.Sprintf("a list of %d to %d arguments", least, most)
	case least == 1:
		return "a list of one argument"
	}
	return fmt.Sprintf("a list of %d arguments", least)
}

// checkMap wants a map with these keys, written as a map.
func checkMap(arg *Expr, keys ...string) *Error {
	if arg.kind != exprMap {
		return arg.errorf("expected a map with %s, got %s", strings.Join(keys, " and "), kindOfExpr(arg))
	}
	for _, k := range keys {
		if arg.Field(k) == nil {
			return arg.errorf("%q is missing", k)
		}
	}
	return nil
}

func checkReplace(arg *Expr) *Error {
	if err := checkMap(arg, "template", "params"); err != nil {
		return err
	}
	switch p := arg.Field("params"); p.kind {
	case exprMap, exprCall:
		return nil
	default:
		return p.errorf("params must be a map, got %s", kindOfExpr(p))
	}
}

func checkYaql(arg *Expr) *Error {
	if err := checkMap(arg, "expression"); err != nil {
		return err
	}
	for i, k := range arg.keys {
		if k != "expression" && k != "data" {
			return arg.subs[i].errorf("unknown key %q, expected expression and data", k)
		}
	}
	if x := arg.Field("expression"); x.kind != exprCall && !isString(x.lit) {
		return x.errorf("expression must be a string, got %s", kindOfExpr(x))
	}
	return nil
}

func checkRepeat(permutations bool) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		if err := checkMap(arg, "template", "for_each"); err != nil {
			return err
		}
		if f := arg.Field("for_each"); f.kind != exprMap && f.kind != exprCall {
			return f.errorf("for_each must be a map, got %s", kindOfExpr(f))
		}
		if p := arg.Field("permutations"); permutations && p != nil && p.kind != exprCall {
			if _, ok := p.lit.(bool); !ok {
				return p.errorf("permutations must be a boolean, got %s", kindOfExpr(p))
			}
		}
		return nil
	}
}

func checkNot(arg *Expr) *Error {
	if arg.kind == exprLit && (arg.lit == nil || arg.lit == "") {
		return arg.errorf("expected a condition, got %s", kindOfExpr(arg))
	}
	return nil
}

func checkOneOf(names ...string) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		if s, ok := arg.lit.(string); arg.kind != exprLit || !ok || !slices.Contains(names, s) {
			return arg.errorf("expected one of %s, got %s", strings.Join(names, ", "), kindOfExpr(arg))
		}
		return nil
	}
}

// listOf returns computed arguments of least to most (0: any number) items; an item may have vanished by an
// "if" without third argument.
func listOf(arg any, least, most int) ([]any, error) {
	l, ok := arg.([]any)
	if !ok || len(l) < least || most > 0 && len(l) > most {
		return nil, fmt.Errorf("expected %s, got %s", arguments(least, most), Show(arg))
	}
	return l, nil
}

func isString(v any) bool { _, ok := v.(string); return ok }

func kindOfExpr(e *Expr) string {
	switch e.kind {
	case exprList:
		return "a list"
	case exprMap:
		return "a map"
	case exprCall:
		return "a call of " + e.fn.name
	}
	return KindOf(e.lit) + " " + Show(e.lit)
}

// nameAndPath computes an argument that is a name or a list of a name and path steps.
func nameAndPath(ev *Evaluator, arg *Expr) (name string, path []any, unknown bool, err error) {
	v, err := ev.value(arg)
	if err != nil {
		return "", nil, false, err
	}
	if HasUnknown(v) {
		return "", nil, true, nil
	}
	if l, ok := v.([]any); ok && arg.kind == exprList {
		if len(l) == 0 {
			return "", nil, false, errors.New("expected a name or a list of a name and a path, got an empty list")
		}
		v, path = l[0], l[1:]
	}
	name, ok := v.(string)
	if !ok {
		return "", nil, false, fmt.Errorf("expected a name, got %s %s", KindOf(v), Show(v))
	}
	return name, path, false, nil
}

// evalGetParam: a path that leads nowhere gives "".
func evalGetParam(ev *Evaluator, e *Expr) (any, error) {
	name, path, unknown, err := nameAndPath(ev, e.arg)
	if err != nil || unknown {
		return Unknown{}, err
	}
	v, ok, err := ev.param(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, undefined("parameter", name, ev.T.ParameterNames())
	}
	if len(path) == 0 {
		return v, nil
	}
	if r, ok := dig(v, path); ok {
		return r, nil
	}
	return "", nil
}

func evalGetResource(ev *Evaluator, e *Expr) (any, error) {
	v, err := ev.value(e.arg)
	if err != nil || HasUnknown(v) {
		return Unknown{}, err
	}
	name, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("expected the name of a resource, got %s %s", KindOf(v), Show(v))
	}
	return ev.resource(name)
}

func (ev *Evaluator) resource(name string) (any, error) {
	if err := ev.exists(name); err != nil {
		return nil, err
	}
	return ev.S.Resource(name)
}

// exists refuses names of resources that are not defined or whose condition does not hold.
func (ev *Evaluator) exists(name string) error {
	r := ev.T.Resource(name)
	if r == nil {
		return undefined("resource", name, ev.T.ResourceNames())
	}
	if r.Condition == nil {
		return nil
	}
	if on, err := ev.Enabled(r); err != nil || !on {
		return fmt.Errorf("resource %q does not exist because its condition does not hold (%s)", name, r.Condition.Pos())
	}
	return nil
}

// attrArgs computes the arguments of get_attr. attr is "" when only the resource is named.
func attrArgs(ev *Evaluator, e *Expr) (res, attr string, path []any, unknown bool, err error) {
	res, rest, unknown, err := nameAndPath(ev, e.arg)
	if err != nil || unknown {
		return "", "", nil, unknown, err
	}
	if err := ev.exists(res); err != nil {
		return "", "", nil, false, err
	}
	if len(rest) == 0 {
		return res, "", nil, false, nil
	}
	attr, ok := rest[0].(string)
	if !ok {
		attr = PyStr(rest[0])
	}
	return res, attr, rest[1:], false, nil
}

func evalGetAttr(ev *Evaluator, e *Expr) (any, error) {
	res, attr, path, unknown, err := attrArgs(ev, e)
	if err != nil || unknown {
		return Unknown{}, err
	}
	return ev.S.Attr(res, attr, path)
}

func evalGetFile(ev *Evaluator, arg any) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("expected the name of a file, got %s", KindOf(arg))
	}
	content, ok := ev.S.File(name)
	if !ok {
		return nil, fmt.Errorf("no content found in the \"files\" section for %s", name)
	}
	return content, nil
}

func evalFacade(ev *Evaluator, arg any) (any, error) {
	switch arg {
	case "metadata", "Metadata":
		return ev.S.Facade("metadata")
	case "deletion_policy", "DeletionPolicy":
		return ev.S.Facade("deletion_policy")
	case "update_policy", "UpdatePolicy":
		return ev.S.Facade("update_policy")
	}
	return nil, fmt.Errorf("expected metadata, deletion_policy or update_policy, got %s", Show(arg))
}

func evalYaql(ev *Evaluator, e *Expr) (any, error) {
	arg, err := ev.value(e.arg)
	if err != nil {
		return nil, err
	}
	if HasUnknown(arg) {
		return Unknown{}, nil
	}
	m, ok := arg.(*Map)
	if !ok {
		return nil, fmt.Errorf("expected a map with expression and data, got %s", KindOf(arg))
	}
	x, _ := m.Get("expression")
	text, ok := x.(string)
	if !ok {
		return nil, fmt.Errorf("expression must be a string, got %s", KindOf(x))
	}
	data, ok := m.Get("data")
	if !ok {
		data = yaml11.NewMap()
	}
	if ev.yaqls++; ev.yaqls > maxYaqls {
		return nil, fmt.Errorf("the template evaluates more than %d YAQL expressions", maxYaqls)
	}
	v, err := ev.S.Yaql(text, data, &ev.yaql)
	if err != nil {
		return nil, fmt.Errorf("%w in expression %q", err, text)
	}
	return v, nil
}
