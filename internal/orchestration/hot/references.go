package hot

import (
	"slices"
	"strings"
)

// RefKind says what a Reference refers to.
type RefKind uint8

// The kinds of references.
const (
	RefParameter RefKind = iota
	RefResource
	RefAttribute
	RefCondition
	RefFile
)

// Reference is one place of a template that names something, wherever it stands: also in branches that are
// never chosen and in resources that are never made.
type Reference struct {
	Kind RefKind
	Name string // "" where it is computed
	Attr string // RefAttribute: the attribute, "" where there is none or it is computed
	Expr *Expr  // the place; for computed names the call
}

// References returns everything the template names, in the order of conditions, resources, outputs.
func (t *Template) References() []Reference {
	var out []Reference
	for _, n := range t.condNames {
		t.collect(t.conditions[n], &out)
	}
	for _, r := range t.Resources {
		t.conditionRef(r.Condition, &out)
		for _, d := range dependsOn(r) {
			out = append(out, Reference{Kind: RefResource, Name: d.name, Expr: d.at})
		}
		for _, e := range []*Expr{r.Properties, r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
			t.collect(e, &out)
		}
	}
	for _, o := range t.Outputs {
		t.conditionRef(o.Condition, &out)
		t.collect(o.Value, &out)
	}
	return out
}

// conditionRef adds what stands in the place of a condition.
func (t *Template) conditionRef(e *Expr, out *[]Reference) {
	if e == nil {
		return
	}
	if s, ok := e.lit.(string); ok && e.kind == exprLit {
		*out = append(*out, Reference{Kind: RefCondition, Name: s, Expr: e})
		return
	}
	t.collect(e, out)
}

func (t *Template) collect(e *Expr, out *[]Reference) {
	e.walk(func(x *Expr) bool {
		if x.kind != exprCall || x.faulty {
			return true
		}
		name, literal := literalName(x.arg)
		ref := Reference{Name: name, Expr: x.arg}
		if !literal {
			ref.Name, ref.Expr = "", x
		}
		switch x.fn.role {
		case roleIf:
			t.conditionRef(x.arg.subs[0], out)
			for _, s := range x.arg.subs[1:] {
				t.collect(s, out)
			}
			return false
		case roleLogic:
			for _, s := range logicArgs(x) {
				t.conditionRef(s, out)
			}
			return false
		case rolePlain:
			return true
		case roleParam:
			ref.Kind = RefParameter
		case roleResource:
			ref.Kind = RefResource
		case roleFile:
			ref.Kind = RefFile
		case roleAttr:
			ref.Kind = RefAttribute
			if literal && len(x.arg.subs) > 1 {
				ref.Attr, _ = x.arg.subs[1].lit.(string)
			}
		case roleRef:
			ref.Kind = RefParameter
			if t.params[name] == nil && t.resources[name] != nil {
				ref.Kind = RefResource
			}
		}
		*out = append(*out, ref)
		return true
	})
}

// Lookalikes returns the maps that look like a call of a function which does not exist in their place: with
// one key that is a function of another version, or one for conditions only. They are data.
func (t *Template) Lookalikes() []*Expr {
	known := map[string]bool{}
	for _, table := range [][]functionRow{hotTable(), cfnTable()} {
		for _, row := range table {
			known[row.fn.name] = true
		}
	}
	for _, common := range []string{"if", "and", "or", "not", "filter", "contains"} { // words that data uses too
		known[common] = known[common] && t.dialect.funcs[common] == nil && t.dialect.conds[common] != nil
	}
	var out []*Expr
	t.exprs(func(e *Expr) bool {
		if e.kind == exprMap && len(e.keys) == 1 && (known[e.keys[0]] || strings.HasPrefix(e.keys[0], "Fn::")) {
			out = append(out, e)
		}
		return true
	})
	return out
}

// Ifs returns the conditions of all calls of "if", but for plain names.
func (t *Template) Ifs() []*Expr {
	var out []*Expr
	t.exprs(func(e *Expr) bool {
		if e.kind == exprCall && e.fn.role == roleIf && !e.faulty {
			if c := e.arg.subs[0]; c.kind == exprCall {
				out = append(out, c)
			}
		}
		return true
	})
	for _, r := range t.Resources {
		if r.Condition != nil && r.Condition.kind == exprCall {
			out = append(out, r.Condition)
		}
	}
	for _, o := range t.Outputs {
		if o.Condition != nil && o.Condition.kind == exprCall {
			out = append(out, o.Condition)
		}
	}
	return out
}

// ParametersOf returns the names of the declared parameters that an expression of a condition depends on,
// through other conditions too; ok is false if one of them is computed.
func (t *Template) ParametersOf(e *Expr) (names []string, ok bool) {
	ok = true
	seen := map[string]bool{}
	var visit func(e *Expr)
	visit = func(e *Expr) {
		var refs []Reference
		t.conditionRef(e, &refs)
		for _, r := range refs {
			switch {
			case r.Name == "" && r.Kind == RefParameter:
				ok = false
			case r.Kind == RefParameter && !slices.Contains(names, r.Name):
				names = append(names, r.Name)
			case r.Kind == RefCondition && !seen[r.Name]:
				seen[r.Name] = true
				visit(t.conditions[r.Name])
			}
		}
	}
	visit(e)
	return names, ok
}

// Truth computes an expression that stands for a condition. known is false while it depends on something
// Unknown.
func (ev *Evaluator) Truth(e *Expr) (value, known bool, err error) { return ev.truth(e) }
