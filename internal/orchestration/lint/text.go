package lint

import (
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
)

// text looks at a file as it is written, whatever the values of its parameters.
func (l *linter) text(f *file, t *hot.Template) {
	for _, ref := range t.References() {
		if ref.Name != "" {
			l.reference(f, t, ref)
		}
	}
	for _, e := range t.Lookalikes() {
		keys, _ := e.Keys()
		l.report(e.Pos(), e.Path(), Warning, "not-a-function", "%s is no function here (heat_template_version %s, or its place): the map is data", keys[0], t.Version)
	}
}

// conditions warns of those that never change.
func (l *linter) conditions(t *hot.Template) {
	for _, name := range t.ConditionNames() {
		if v, known := l.constant(t, t.Condition(name)); known {
			e := t.Condition(name)
			l.report(e.Pos(), e.Path(), Warning, "constant-condition", "condition %q is always %v", name, v)
		}
	}
	for _, e := range t.Ifs() {
		if v, known := l.constant(t, e); known {
			l.report(e.Pos(), e.Path(), Warning, "constant-condition", "the condition is always %v, so the other branch is never used", v)
		}
	}
}

// reference checks that what is named exists, also in branches that are not chosen.
func (l *linter) reference(f *file, t *hot.Template, ref hot.Reference) {
	missing := func(what string, names []string) {
		l.report(ref.Expr.Pos(), ref.Expr.Path(), Error, "undefined", "%s %q is not defined%s", what, ref.Name, hot.DidYouMean(ref.Name, names))
	}
	switch ref.Kind {
	case hot.RefParameter:
		if !slices.Contains(t.ParameterNames(), ref.Name) {
			missing("parameter", t.ParameterNames())
		}
	case hot.RefResource, hot.RefAttribute:
		if t.Resource(ref.Name) == nil {
			missing("resource", t.ResourceNames())
		}
	case hot.RefCondition:
		if t.Condition(ref.Name) == nil {
			missing("condition", t.ConditionNames())
		}
	case hot.RefFile:
		if name := relative(f.name, ref.Name); !strings.Contains(name, "://") {
			if _, err := l.in.Read(name); err != nil {
				l.report(ref.Expr.Pos(), ref.Expr.Path(), Error, "missing-file", "the file %s cannot be read: %v", name, err)
			}
		}
	}
}

// interfaceTag is the tag of a parameter that is declared for those who set it, whether the template has a
// use for it or not.
const interfaceTag = "interface"

// unused warns of parameters and conditions of a file that nothing refers to. A parameter that a use of the
// file sets belongs to the interface of its type and may stay unused, and so may one with the tag
// "interface".
func (l *linter) unused(f *file, root bool) {
	if f.t == nil || f.faulty {
		return
	}
	params, conds, computed := map[string]bool{}, map[string]bool{}, false
	for _, ref := range f.t.References() {
		switch ref.Kind {
		case hot.RefParameter:
			params[ref.Name] = true
			computed = computed || ref.Name == ""
		case hot.RefCondition:
			conds[ref.Name] = true
			computed = computed || ref.Name == ""
		}
	}
	if computed {
		return // a name made of values may be any
	}
	for _, p := range f.t.Parameters {
		if !params[p.Name] && (root || !f.given[p.Name]) && !slices.Contains(p.Tags, interfaceTag) {
			l.report(p.Pos, "parameters."+p.Name, Warning, "unused-parameter", "parameter %q is used nowhere in this template", p.Name)
		}
	}
	for _, name := range f.t.ConditionNames() {
		if !conds[name] {
			e := f.t.Condition(name)
			l.report(e.Pos(), e.Path(), Warning, "unused-condition", "condition %q is used nowhere in this template", name)
		}
	}
}

// constant tells whether a condition has one value whatever its parameters are: it is tried with every
// value of booleans and of parameters with allowed_values, others being unknown.
func (l *linter) constant(t *hot.Template, e *hot.Expr) (value, known bool) {
	names, ok := t.ParametersOf(e)
	if !ok {
		return false, false
	}
	domains, count := make([][]any, len(names)), 1
	for i, n := range names {
		if domains[i] = domain(t.Parameter(n)); len(domains[i]) > 0 {
			count *= len(domains[i])
		}
		if count > maxCondition {
			return false, false
		}
	}
	for combination := range count {
		params, left := map[string]any{}, combination
		for i, d := range domains {
			if len(d) > 0 {
				params[names[i]] = d[left%len(d)]
				left /= len(d)
			}
		}
		v, ok := l.tryCondition(t, e, params)
		if !ok || known && v != value {
			return false, false
		}
		value, known = v, true
	}
	return value, known
}

// domain returns all values a parameter may have, nil if they cannot be listed.
func domain(p *hot.Parameter) []any {
	if p == nil {
		return nil
	}
	if p.Type == hot.TypeBool {
		return []any{false, true}
	}
	for _, c := range p.Constraints {
		if c.Kind != "allowed_values" || p.Type == hot.TypeList || p.Type == hot.TypeJSON {
			continue
		}
		var out []any
		for _, v := range c.Values {
			if x, err := hot.ConvertParameter(p.Type, v); err == nil {
				out = append(out, x)
			}
		}
		return out
	}
	return nil
}

// tryCondition computes a condition with some of the parameters known.
func (l *linter) tryCondition(t *hot.Template, e *hot.Expr, params map[string]any) (value, known bool) {
	ev := hot.NewEvaluator(t, &scope{l: l, t: t, params: params})
	for _, name := range t.ConditionNames() {
		if t.Condition(name) == e { // by its name: an own definition is a boolean, never the name of another
			v, known, err := ev.Condition(name)
			return v, known && err == nil
		}
	}
	v, known, err := ev.Truth(e)
	return v, known && err == nil
}
