package hot

import (
	"fmt"
	"slices"
	"strings"
)

type dependency struct {
	name string
	at   *Expr
}

// dependsOn returns the explicit dependencies; a name of "" marks an item that is no string.
func dependsOn(r *ResourceDef) []dependency {
	e := r.DependsOn
	if e == nil || e.kind == exprLit && e.lit == nil {
		return nil
	}
	items := []*Expr{e}
	if e.kind == exprList {
		items = e.subs
	}
	var out []dependency
	for _, it := range items {
		s, _ := it.lit.(string)
		out = append(out, dependency{s, it})
	}
	return out
}

// AttrRef is a use of an attribute.
type AttrRef struct {
	Resource, Attr string
	Path           []any
	Dynamic        bool // Attr and Path cannot be known before resources exist
}

// Uses is what a set of expressions refers to, unchosen branches of "if" left out.
type Uses struct {
	Resources map[string]bool // by get_resource, get_attr, depends_on
	Attrs     []AttrRef
}

// Dependencies returns what r refers to. Branches of "if" that are not chosen count only while the
// condition is unknown.
func (ev *Evaluator) Dependencies(r *ResourceDef) (*Uses, error) {
	u := &Uses{Resources: map[string]bool{}}
	for _, e := range []*Expr{r.Properties, r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
		if err := ev.uses(e, u); err != nil {
			return nil, err
		}
	}
	for _, d := range dependsOn(r) {
		u.Resources[d.name] = true
	}
	return u, nil
}

// OutputUses returns what the enabled outputs refer to.
func (ev *Evaluator) OutputUses() (*Uses, error) {
	u := &Uses{Resources: map[string]bool{}}
	for _, o := range ev.T.Outputs {
		on, err := ev.OutputEnabled(o)
		if err != nil {
			return nil, err
		}
		if on {
			if err := ev.uses(o.Value, u); err != nil {
				return nil, err
			}
		}
	}
	return u, nil
}

func (ev *Evaluator) uses(e *Expr, u *Uses) error {
	if e == nil {
		return nil
	}
	if e.kind == exprCall {
		switch e.fn.role {
		case roleIf:
			if done, err := ev.ifUses(e, u); done || err != nil {
				return err
			}
		case roleResource, roleRef:
			name, _, unknown, err := nameAndPath(staticEvaluator(ev), e.arg)
			if err == nil && !unknown && ev.T.Resource(name) != nil && ev.T.Parameter(name) == nil {
				u.Resources[name] = true
			}
		case roleAttr:
			ev.attrUse(e, u)
		}
	}
	for _, s := range e.subs {
		if err := ev.uses(s, u); err != nil {
			return err
		}
	}
	return ev.uses(e.arg, u)
}

func (ev *Evaluator) ifUses(e *Expr, u *Uses) (done bool, err error) {
	v, known, err := ev.truth(e.arg.subs[0])
	if err != nil {
		return true, err
	}
	if !known {
		return false, nil
	}
	if v {
		return true, ev.uses(e.arg.subs[1], u)
	}
	if len(e.arg.subs) > 2 {
		return true, ev.uses(e.arg.subs[2], u)
	}
	return true, nil
}

func (ev *Evaluator) attrUse(e *Expr, u *Uses) {
	res, attr, path, unknown, err := attrArgs(staticEvaluator(ev), e)
	if err == nil && !unknown {
		u.Resources[res] = true
		u.Attrs = append(u.Attrs, AttrRef{Resource: res, Attr: attr, Path: path, Dynamic: false})
		return
	}
	if name, ok := literalName(e.arg); ok {
		u.Resources[name] = true
		ref := AttrRef{Resource: name, Dynamic: true}
		if len(e.arg.subs) > 1 {
			if s, ok := e.arg.subs[1].lit.(string); ok {
				ref.Attr, ref.Dynamic = s, false
			}
		}
		u.Attrs = append(u.Attrs, ref)
	}
}

// staticEvaluator computes with parameters only; attributes and resources are Unknown.
func staticEvaluator(ev *Evaluator) *Evaluator {
	static := *ev
	if _, ok := ev.S.(staticScope); !ok {
		static.S = staticScope{ev.S}
	}
	return &static
}

type staticScope struct{ Scope }

func (staticScope) Resource(string) (any, error)            { return Unknown{}, nil }
func (staticScope) Attr(string, string, []any) (any, error) { return Unknown{}, nil }

// checkCycles refuses circular dependencies that exist whatever the conditions are: those through
// references outside of any "if".
func (p *templateParser) checkCycles() {
	edges := map[string][]string{}
	for _, r := range p.t.Resources {
		seen := map[string]bool{}
		for _, d := range dependsOn(r) {
			seen[d.name] = true
		}
		for _, e := range []*Expr{r.Properties, r.Metadata, r.UpdatePolicy, r.DeletionPolicy, r.ExternalID} {
			e.walk(func(x *Expr) bool {
				if x.kind == exprCall {
					switch x.fn.role {
					case roleIf:
						return false
					case roleResource, roleRef, roleAttr:
						if n, ok := literalName(x.arg); ok && p.t.resources[n] != nil && p.t.params[n] == nil {
							seen[n] = true
						}
					}
				}
				return true
			})
		}
		for n := range seen {
			edges[r.Name] = append(edges[r.Name], n)
		}
		slices.Sort(edges[r.Name])
	}
	if cycle := FindCycle(p.t.ResourceNames(), edges); cycle != nil {
		r := p.t.resources[cycle[0]]
		*p.errs = append(*p.errs, r.expr.errorf("circular dependency: %s", strings.Join(cycle, " -> ")))
	}
}

// FindCycle returns a cycle (first and last name equal) in the graph, nil if there is none. names gives
// the order in which it looks.
func FindCycle(names []string, edges map[string][]string) []string {
	const white, grey, black = 0, 1, 2
	color := map[string]int{}
	type frame struct {
		name string
		next int
	}
	for _, start := range names {
		if color[start] != white {
			continue
		}
		stack := []frame{{start, 0}}
		color[start] = grey
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.next == len(edges[f.name]) {
				color[f.name] = black
				stack = stack[:len(stack)-1]
				continue
			}
			to := edges[f.name][f.next]
			f.next++
			switch color[to] {
			case white:
				color[to] = grey
				stack = append(stack, frame{to, 0})
			case grey:
				var cycle []string
				for i := range stack {
					if stack[i].name == to || len(cycle) > 0 {
						cycle = append(cycle, stack[i].name)
					}
				}
				return append(cycle, to)
			}
		}
	}
	return nil
}

// Policy reads a literal or computed deletion policy: delete, retain or snapshot, lower case; "" is delete.
func Policy(v any) (string, error) {
	if v == nil {
		return "delete", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("deletion_policy must be a string, got %s", KindOf(v))
	}
	switch l := strings.ToLower(s); l {
	case "delete", "retain", "snapshot":
		return l, nil
	case "":
		return "delete", nil
	}
	return "", fmt.Errorf("deletion_policy must be delete, retain or snapshot, got %q", s)
}
