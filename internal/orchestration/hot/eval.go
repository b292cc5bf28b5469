package hot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Scope answers what a template refers to.
type Scope interface {
	// Param returns the value of a parameter or pseudo parameter.
	Param(name string) (any, bool)
	// Resource returns the reference of a resource (its physical id), or Unknown.
	Resource(name string) (any, error)
	// Attr returns an attribute of a resource, path walked, or Unknown. attr "" asks for all of them.
	Attr(resource, attr string, path []any) (any, error)
	// File returns the content of a file of the stack.
	File(name string) (string, bool)
	// Facade returns metadata, deletion_policy or update_policy of the resource that holds this stack.
	Facade(key string) (any, error)
	// Yaql evaluates a YAQL expression with $ = {data: data}.
	Yaql(expression string, data any, budget *YaqlBudget) (any, error)
}

// Evaluator computes expressions of one template in one scope. It is not safe for concurrent use.
type Evaluator struct {
	T     *Template
	S     Scope
	conds map[string]*condState
	keys  map[*Expr]string // what implied.key has found out
	*spending
}

// spending is what an Evaluator has computed, alone and by those it makes of itself.
type spending struct {
	spent int // bytes computed by functions so far
	yaqls int // YAQL expressions evaluated so far
	yaql  YaqlBudget
}

// Bounds of what the functions of one template may compute in the life of an Evaluator, so that no text
// within the limits of size can occupy the engine or its memory.
const (
	maxSpent = 512 << 20
	maxYaqls = 20_000

	maxYaqlSteps = 200_000_000 // ten times what one expression may take; some 20 s
)

type condState struct {
	busy, done bool
	value      bool
	unknown    bool
	err        error
}

// NewEvaluator returns an evaluator of t in s.
func NewEvaluator(t *Template, s Scope) *Evaluator {
	return &Evaluator{T: t, S: s, conds: map[string]*condState{}, keys: map[*Expr]string{}, spending: &spending{yaql: YaqlBudget{Steps: maxYaqlSteps}}}
}

// Value computes e. A nil expression is nil. The error is an *Error with the place of the fault.
func (ev *Evaluator) Value(e *Expr) (any, error) {
	v, err := ev.value(e)
	if err != nil {
		return nil, err
	}
	if _, ok := v.(omitted); ok {
		return nil, nil
	}
	return v, nil
}

func (ev *Evaluator) value(e *Expr) (any, error) {
	if e == nil {
		return nil, nil
	}
	switch e.kind {
	case exprLit:
		return e.lit, nil
	case exprList:
		out := make([]any, 0, len(e.subs))
		var errs Errors
		for _, s := range e.subs {
			v, err := ev.value(s)
			if err != nil {
				errs = append(errs, List(err)...)
			}
			if _, ok := v.(omitted); !ok {
				out = append(out, v)
			}
		}
		return out, errs.Or()
	case exprMap:
		m := yaml11.NewMap()
		var errs Errors
		for i, s := range e.subs {
			v, err := ev.value(s)
			if err != nil {
				errs = append(errs, List(err)...)
			}
			if _, ok := v.(omitted); !ok {
				m.Set(e.keys[i], v)
			}
		}
		return m, errs.Or()
	}
	return ev.call(e)
}

func (ev *Evaluator) call(e *Expr) (any, error) {
	v, err := ev.compute(e)
	if err != nil {
		return nil, ev.place(e, err)
	}
	if e.fn.role != rolePlain {
		return v, nil // the value is shared with where it comes from
	}
	if ev.spent += sizeOf(v); ev.spent > maxSpent {
		return nil, e.errorf("%s: the functions of the template compute more than %d bytes", e.fn.name, maxSpent)
	}
	return v, nil
}

func (ev *Evaluator) compute(e *Expr) (any, error) {
	if e.faulty {
		return Unknown{}, nil
	}
	if e.fn.lazy != nil {
		v, err := e.fn.lazy(ev, e)
		if ev.T.faulty && Undefined(err) {
			return Unknown{}, nil
		}
		return v, err
	}
	arg, err := ev.value(e.arg)
	if err != nil {
		return nil, err
	}
	if HasUnknown(arg) {
		return Unknown{}, nil
	}
	return e.fn.eval(ev, arg)
}

// sizeOf estimates the memory that a value newly made by a function takes: text and the places in lists
// and maps, not what they share with others.
func sizeOf(v any) int {
	switch x := v.(type) {
	case string:
		return len(x)
	case []any:
		return 16 * len(x)
	case *Map:
		return 64 * x.Len()
	}
	return 0
}

// place gives an error of a function the place of the call, unless it has one.
func (ev *Evaluator) place(e *Expr, err error) error {
	var p *Error
	if errors.As(err, &p) && p.Pos != "" {
		return err
	}
	if e.Hidden() {
		return &Error{Pos: e.arg.Pos(), Path: e.path, Msg: e.fn.name + ": " + withoutValue(err.Error())}
	}
	return &Error{Pos: e.arg.Pos(), Path: e.path, Msg: fmt.Sprintf("%s: %v", e.fn.name, err), Err: err}
}

// withoutValue keeps of a message what was expected and drops what was given.
func withoutValue(msg string) string {
	expected, _, ok := strings.Cut(msg, ", got ")
	if !ok {
		expected = "the arguments do not fit"
	}
	return expected + " (not shown: a parameter in it is hidden)"
}

// Condition computes a condition of the template by name. known is false while it depends on something
// Unknown.
func (ev *Evaluator) Condition(name string) (value, known bool, err error) {
	st := ev.conds[name]
	if st == nil {
		st = &condState{}
		ev.conds[name] = st
	}
	if st.done {
		return st.value, !st.unknown, st.err
	}
	c := ev.T.Condition(name)
	if c == nil {
		if ev.T.faulty {
			return false, false, nil
		}
		return false, false, undefined("condition", name, ev.T.ConditionNames())
	}
	if st.busy {
		return false, false, c.errorf("condition %q refers to itself", name)
	}
	st.busy = true
	v, known, err := ev.definition(c)
	st.busy = false
	st.done, st.value, st.unknown, st.err = true, v, !known, err
	return v, known, err
}

// definition computes what a condition is defined as: a boolean or a function that gives one.
func (ev *Evaluator) definition(e *Expr) (value, known bool, err error) {
	v, err := ev.value(e)
	if err != nil {
		return false, false, err
	}
	switch x := v.(type) {
	case bool:
		return x, true, nil
	case Unknown:
		return false, false, nil
	}
	return false, false, e.errorf("a condition must be a boolean, got %s %s", KindOf(v), e.show(v))
}

// truth computes an expression in the place of a condition: a boolean, the name of a condition or a
// function that gives either. null, as nothing, is true.
func (ev *Evaluator) truth(e *Expr) (value, known bool, err error) {
	if e == nil {
		return true, true, nil
	}
	v, err := ev.value(e)
	if err != nil {
		return false, false, err
	}
	switch x := v.(type) {
	case nil:
		return true, true, nil
	case bool:
		return x, true, nil
	case Unknown:
		return false, false, nil
	case string:
		if e.Hidden() && ev.T.Condition(x) == nil {
			return false, false, e.errorf("a condition must be a boolean or the name of a condition (not shown: a parameter in it is hidden)")
		}
		v, known, err := ev.Condition(x)
		if err != nil {
			return false, false, placeErr(e, err)
		}
		return v, known, nil
	}
	return false, false, e.errorf("a condition must be a boolean or the name of a condition, got %s %s", KindOf(v), e.show(v))
}

func placeErr(e *Expr, err error) error {
	var p *Error
	if errors.As(err, &p) && p.Pos != "" {
		return err
	}
	return &Error{Pos: e.Pos(), Path: e.path, Msg: err.Error(), Err: err}
}

// Enabled tells whether the resource's condition holds. While that cannot be known it counts as true.
func (ev *Evaluator) Enabled(r *ResourceDef) (bool, error) {
	v, known, err := ev.truth(r.Condition)
	return v || !known, err
}

// OutputEnabled tells whether the output's condition holds.
func (ev *Evaluator) OutputEnabled(o *Output) (bool, error) {
	v, known, err := ev.truth(o.Condition)
	return v || !known, err
}
