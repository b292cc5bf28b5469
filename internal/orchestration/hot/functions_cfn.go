package hot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// checkRef wants a name; what is no name refers to nothing.
func checkRef(arg *Expr) *Error {
	if arg.kind != exprCall && !isString(arg.lit) {
		return arg.errorf("expected the name of a parameter or a resource, got %s", kindOfExpr(arg))
	}
	return nil
}

// evalRef gives the value of a parameter or, by the same word, the reference of a resource. (A template
// whose parameter and resource share a name is refused.)
func evalRef(ev *Evaluator, e *Expr) (any, error) {
	v, err := ev.value(e.arg)
	if err != nil || HasUnknown(v) {
		return Unknown{}, err
	}
	name, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("expected a name, got %s %s", KindOf(v), Show(v))
	}
	if p, ok, err := ev.param(name); ok || err != nil {
		return p, err
	}
	if e.fn.role == roleParam || ev.T.Resource(name) == nil {
		return nil, fmt.Errorf("%q is neither a parameter%s", name, DidYouMean(name, append(ev.T.ParameterNames(), ev.T.ResourceNames()...)))
	}
	return ev.resource(name)
}

// awsRegion is the value of AWS::Region: Heat has no regions of its own to name here, and templates use it
// only to choose from a mapping.
const awsRegion = "ap-southeast-1"

// param answers for declared and pseudo parameters. ok is false if there is none of that name.
func (ev *Evaluator) param(name string) (v any, ok bool, err error) {
	if !ev.T.dialect.cfn || !strings.HasPrefix(name, "AWS::") {
		if ev.T.Parameter(name) == nil && !ev.T.pseudo(name) {
			return nil, false, nil
		}
		v, ok = ev.S.Param(name)
		return v, ok, nil
	}
	switch name {
	case "AWS::Region":
		return awsRegion, true, nil
	case "AWS::StackName":
		v, ok = ev.S.Param("OS::stack_name")
		return v, ok, nil
	case "AWS::StackId":
		var parts [3]string
		for i, n := range []string{"OS::project_id", "OS::stack_name", "OS::stack_id"} {
			p, ok := ev.S.Param(n)
			if !ok || HasUnknown(p) {
				return Unknown{}, true, nil
			}
			parts[i] = PyStr(p)
		}
		return "arn:openstack:heat::" + parts[0] + ":stacks/" + parts[1] + "/" + parts[2], true, nil
	}
	return nil, false, nil
}

func evalFindInMap(ev *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 3, 3)
	if err != nil {
		return nil, err
	}
	var v any = ev.T.Mappings
	names := []string{"mapping", "key", "value"}
	for i, k := range l {
		m, ok := v.(*Map)
		key, isText := k.(string)
		if !isText {
			key = keyString(k)
		}
		if ok {
			v, ok = m.Get(key)
		}
		if !ok {
			return nil, fmt.Errorf("there is no %s %q in Mappings%s", names[i], key, DidYouMean(key, m.Keys()))
		}
	}
	return v, nil
}

// Zones is implemented by a Scope that knows the availability zones.
type Zones interface {
	Zones() ([]any, error)
}

func evalGetAZs(ev *Evaluator, _ any) (any, error) {
	if z, ok := ev.S.(Zones); ok {
		return z.Zones()
	}
	return []any{"nova"}, nil // Nova's default_availability_zone, the only one of an undercloud
}

// evalSelect takes one item of a list or map, "" where there is none. Text is read as JSON.
func evalSelect(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	from := l[1]
	if s, ok := from.(string); ok && s != "" {
		v, err := yaml11.DecodeJSON([]byte(s))
		if err != nil {
			return nil, fmt.Errorf("the text to select from is no JSON: %w", err)
		}
		from = v
	}
	switch c := from.(type) {
	case *Map:
		key, ok := l[0].(string)
		if !ok {
			return nil, fmt.Errorf("the key must be a string, got %s", KindOf(l[0]))
		}
		v, ok := c.Get(key)
		if !ok {
			return "", nil
		}
		return v, nil
	case nil:
		return "", nil
	case []any:
		n, ok := ToNumber(l[0])
		i, isInt := n.(int64)
		if !ok || !isInt {
			return nil, fmt.Errorf("the index must be an integer, got %s %s", KindOf(l[0]), Show(l[0]))
		}
		if v, ok := dig(c, []any{i}); ok {
			return v, nil
		}
		return "", nil
	case string:
		return "", nil
	}
	return nil, fmt.Errorf("expected a list or a map to select from, got %s", KindOf(from))
}

func evalFnSplit(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	delim, ok := l[0].(string)
	if !ok || delim == "" {
		return nil, fmt.Errorf("the delimiter must be a string that is not empty, got %s", Show(l[0]))
	}
	text, ok := l[1].(string)
	if !ok {
		return nil, fmt.Errorf("expected a string to split, got %s", KindOf(l[1]))
	}
	return split(text, delim), nil
}

// checkFnReplace wants [params, template].
func checkFnReplace(arg *Expr) *Error {
	if err := checkList(2, 2)(arg); err != nil {
		return err
	}
	switch p := arg.subs[0]; p.kind {
	case exprMap, exprCall:
		return nil
	default:
		return p.errorf("the first argument must be a map, got %s", kindOfExpr(p))
	}
}

func evalFnReplace(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 2, 2)
	if err != nil {
		return nil, err
	}
	return substitute(l[1], l[0], replaceRules{plain: true})
}

// evalBase64 gives the text itself: what has to be encoded is encoded on the way to the machine.
func evalBase64(_ *Evaluator, arg any) (any, error) {
	if _, ok := arg.(string); !ok {
		return nil, fmt.Errorf("expected a string, got %s", KindOf(arg))
	}
	return arg, nil
}

func checkMemberList(arg *Expr) *Error {
	if err := checkList(3, 3)(arg); err != nil {
		return err
	}
	for _, s := range arg.subs[:2] {
		if s.kind != exprCall && !isString(s.lit) {
			return s.errorf("expected the name of a member, got %s", kindOfExpr(s))
		}
	}
	return nil
}

// evalMemberList makes a map of texts ".member.N.<key>=..." and ".member.N.<value>=..." with the same N.
func evalMemberList(_ *Evaluator, arg any) (any, error) {
	l, err := listOf(arg, 3, 3)
	if err != nil {
		return nil, err
	}
	list, ok := l[2].([]any)
	if !ok {
		return nil, fmt.Errorf("the third argument must be a list, got %s", KindOf(l[2]))
	}
	type pair struct{ key, value *string }
	var order []string
	pairs := map[string]*pair{}
	for _, it := range list {
		s, ok := it.(string)
		name, value, found := strings.Cut(s, "=")
		if !ok || !found {
			return nil, fmt.Errorf("members must be texts .member.N.name=value, got %s", Show(it))
		}
		parts := strings.Split(name, ".")
		if len(parts) != 4 || parts[0] != "" || parts[1] != "member" {
			continue
		}
		p := pairs[parts[2]]
		if p == nil {
			p = &pair{}
			pairs[parts[2]] = p
			order = append(order, parts[2])
		}
		if parts[3] == PyStr(l[0]) {
			p.key = &value
		}
		if parts[3] == PyStr(l[1]) {
			p.value = &value
		}
	}
	out := yaml11.NewMap()
	for _, n := range order {
		if p := pairs[n]; p.key != nil && p.value != nil {
			if *p.key == "" {
				return nil, errors.New("the key of member " + n + " is empty")
			}
			out.Set(*p.key, *p.value)
		}
	}
	return out, nil
}
