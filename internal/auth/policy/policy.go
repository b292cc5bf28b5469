package policy

import (
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Enforcer holds the rules of one service. It does not change once made.
type Enforcer struct{ rules map[string]check }

// New parses the default rules, name -> expression. It fails on a rule that is
// malformed, refers to one that does not exist, or to itself.
func New(defaults map[string]string) (*Enforcer, error) {
	e := &Enforcer{rules: make(map[string]check, len(defaults))}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		c, err := parse(defaults[name])
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		e.rules[name] = c
	}
	return e, e.closed()
}

// Override returns the rules with those of a policy file (YAML, name: rule) in
// their place. A name with a colon is an action and must exist, so that a
// mistyped one is not silently without effect; other names may be new.
func (e *Enforcer) Override(file string, data []byte) (*Enforcer, error) {
	root, _, err := yaml11.Parse(file, data, yaml11.Limits{})
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	out := &Enforcer{rules: maps.Clone(e.rules)}
	if root == nil || root.Kind == yaml11.Null {
		return out, nil
	}
	if root.Kind != yaml11.Map {
		return nil, fmt.Errorf("%s: the policy file holds a %s, expected NAME: RULE lines", root.Pos(), root.Kind)
	}
	for _, p := range root.Pairs {
		name := p.Key
		if _, known := e.rules[name]; !known && strings.Contains(name, ":") {
			return nil, fmt.Errorf("%s: there is no action %q", p.KeyNode.Pos(), name)
		}
		c, err := parseNode(p.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: policy %s: %w", p.Value.Pos(), name, err)
		}
		out.rules[name] = c
	}
	if err := out.closed(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}

// parseNode reads a rule, or the older form: a list of alternatives, each a
// check or a list of checks that must all hold.
func parseNode(n *yaml11.Node) (check, error) {
	switch n.Kind {
	case yaml11.String:
		return parse(n.Raw)
	case yaml11.Seq:
	default:
		return nil, fmt.Errorf("rule is a %s, expected a string", n.Kind)
	}
	if len(n.Items) == 0 {
		return always(true), nil
	}
	out := anyOf{}
	for _, item := range n.Items {
		if item.Kind != yaml11.Seq {
			c, err := parseNode(item)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
			continue
		}
		conj := all{}
		for _, leaf := range item.Items {
			if leaf.Kind != yaml11.String {
				return nil, fmt.Errorf("rule holds a %s, expected a string", leaf.Kind)
			}
			c, err := parse(leaf.Raw)
			if err != nil {
				return nil, err
			}
			conj = append(conj, c)
		}
		out = append(out, conj)
	}
	return out, nil
}

// closed checks that rules refer to rules that exist, and to none in a circle.
func (e *Enforcer) closed() error {
	state := map[string]int{} // 1: being looked at, 2: good
	var visit func(name string, c check) error
	visit = func(name string, c check) error {
		switch c := c.(type) {
		case not:
			return visit(name, c.c)
		case all:
			for _, x := range c {
				if err := visit(name, x); err != nil {
					return err
				}
			}
		case anyOf:
			for _, x := range c {
				if err := visit(name, x); err != nil {
					return err
				}
			}
		case ruleCheck:
			to := string(c)
			next, ok := e.rules[to]
			switch {
			case !ok:
				return fmt.Errorf("policy %s refers to rule %q, which does not exist", name, to)
			case state[to] == 1:
				return fmt.Errorf("policy %s refers to rule %q, which refers back to it", name, to)
			case state[to] == 2:
				return nil
			}
			state[to] = 1
			if err := visit(to, next); err != nil {
				return err
			}
			state[to] = 2
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(e.rules)) {
		if state[name] == 2 {
			continue
		}
		state[name] = 1
		if err := visit(name, e.rules[name]); err != nil {
			return err
		}
		state[name] = 2
	}
	return nil
}

// Has says whether there is a rule of that name.
func (e *Enforcer) Has(action string) bool { _, ok := e.rules[action]; return ok }

// Allows says whether the caller may do the action to the target. An action
// without a rule is allowed to nobody.
func (e *Enforcer) Allows(action string, id *auth.Identity, target Target) bool {
	c, ok := e.rules[action]
	return ok && id != nil && c.holds(e, id, target, 0)
}

func (c always) holds(*Enforcer, *auth.Identity, Target, int) bool { return bool(c) }

func (c not) holds(e *Enforcer, id *auth.Identity, t Target, d int) bool {
	return !c.c.holds(e, id, t, d)
}

func (c all) holds(e *Enforcer, id *auth.Identity, t Target, d int) bool {
	for _, x := range c {
		if !x.holds(e, id, t, d) {
			return false
		}
	}
	return true
}

func (c anyOf) holds(e *Enforcer, id *auth.Identity, t Target, d int) bool {
	for _, x := range c {
		if x.holds(e, id, t, d) {
			return true
		}
	}
	return false
}

func (c roleCheck) holds(_ *Enforcer, id *auth.Identity, _ Target, _ int) bool {
	return slices.ContainsFunc(id.Roles, func(r string) bool { return strings.EqualFold(r, string(c)) })
}

func (c ruleCheck) holds(e *Enforcer, id *auth.Identity, t Target, d int) bool {
	next, ok := e.rules[string(c)]
	return ok && d < maxDepth && next.holds(e, id, t, d+1)
}

func (c comparison) holds(_ *Enforcer, id *auth.Identity, t Target, _ int) bool {
	want, ok := c.right.fill(t)
	if !ok {
		return false
	}
	if c.literal {
		return equal(c.left, want)
	}
	return slices.ContainsFunc(attribute(id, c.left), func(v string) bool { return equal(v, want) })
}

// equal takes as long whatever differs.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// attribute returns the values of an attribute of the caller; one that is not
// set is "None", an unknown one has no value.
func attribute(id *auth.Identity, name string) []string {
	one := func(v string) []string {
		if v == "" {
			v = "None"
		}
		return []string{v}
	}
	truth := func(b bool) []string {
		if b {
			return []string{"True"}
		}
		return []string{"False"}
	}
	switch name {
	case "user_id", "token.user.id":
		return one(id.UserID)
	case "user_domain_id", "token.user.domain.id":
		return one(id.UserDomainID)
	case "project_id", "tenant_id", "tenant", "token.project.id":
		return one(id.ProjectID)
	case "project_domain_id", "token.project.domain.id":
		return one(id.ProjectDomainID)
	case "domain_id", "token.domain.id":
		return one(id.DomainID)
	case "trust_id":
		return one(id.TrustID)
	case "trustor_id":
		return one(id.TrustorID)
	case "application_credential_id":
		return one(id.AppCredID)
	case "roles":
		return id.Roles
	case "is_admin":
		return truth(id.IsAdmin())
	case "system_scope":
		if id.System {
			return one("all")
		}
		return one("")
	case "token_scope":
		switch {
		case id.ProjectID != "":
			return one("project")
		case id.DomainID != "":
			return one("domain")
		case id.System:
			return one("system")
		}
		return one("unscoped")
	}
	return nil
}
