package hot

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Constraint limits the values of a parameter or property.
type Constraint struct {
	Kind        string // length, range, modulo, allowed_values, allowed_pattern or custom_constraint
	Description string
	Min, Max    *float64 // length, range
	Step, Off   int64    // modulo
	Values      []any    // allowed_values
	Pattern     string   // allowed_pattern
	Custom      string   // custom_constraint, checked against services by the engine

	node *yaml11.Node // where it is written
}

// suits tells whether the constraint may be used with a parameter type.
func (c *Constraint) suits(typ string) bool {
	switch c.Kind {
	case "length":
		return typ == TypeString || typ == TypeList || typ == TypeJSON
	case "range", "modulo":
		return typ == TypeNumber
	case "allowed_values":
		return typ != TypeJSON
	case "allowed_pattern":
		return typ == TypeString
	}
	return true
}

func (p *templateParser) constraints(n *yaml11.Node, path string) []Constraint {
	if n.Kind != yaml11.Seq {
		if n.Kind != yaml11.Null {
			p.fail(n, path, "must be a list, got a %s", n.Kind)
		}
		return nil
	}
	var out []Constraint
	for i, it := range n.Items {
		at := fmt.Sprintf("%s.%d", path, i)
		if it.Kind != yaml11.Map {
			p.fail(it, at, "a constraint must be a map, got a %s", it.Kind)
			continue
		}
		c := Constraint{Description: text(it.Get("description")), node: it}
		kinds := p.constraintKinds()
		for _, f := range it.Pairs {
			if f.Key != "description" && !slices.Contains(kinds, f.Key) {
				p.fail(f.KeyNode, at, "unknown constraint %q, expected one of %s", f.Key, strings.Join(kinds, ", "))
				c.Kind = f.Key
			}
		}
		if c.Kind != "" {
			continue
		}
		// Of several kinds in one constraint Heat takes the first in this order and ignores the rest.
		for _, k := range kinds {
			if f := it.Get(k); f != nil {
				c.Kind = k
				if err := c.read(f.Value()); err != nil {
					p.fail(f, at+"."+k, "%v", err)
				}
				break
			}
		}
		if c.Kind == "" {
			p.fail(it, at, "the constraint is empty, expected one of %s", strings.Join(kinds, ", "))
			continue
		}
		out = append(out, c)
	}
	return out
}

// constraintKinds returns the constraints of the template's version.
func (p *templateParser) constraintKinds() []string {
	kinds := []string{"range", "length", "allowed_values", "allowed_pattern", "custom_constraint"}
	if p.t.dialect.date >= ocata {
		return append([]string{"modulo"}, kinds...)
	}
	return kinds
}

func (c *Constraint) read(v any) error {
	m, _ := v.(*Map)
	switch c.Kind {
	case "length", "range":
		if m == nil {
			return fmt.Errorf("expected a map with min and max, got %s", KindOf(v))
		}
		for k, e := range m.All() {
			n, ok := ToNumber(e)
			f, ok2 := number(n)
			if !ok || !ok2 {
				return fmt.Errorf("%s must be a number, got %s", k, Show(e))
			}
			switch k {
			case "min":
				c.Min = &f
			case "max":
				c.Max = &f
			default:
				return fmt.Errorf("unknown key %q, expected min or max", k)
			}
		}
		if c.Min == nil && c.Max == nil {
			return fmt.Errorf("needs min or max")
		}
	case "modulo":
		if m == nil {
			return fmt.Errorf("expected a map with step and offset, got %s", KindOf(v))
		}
		for k := range m.All() {
			if k != "step" && k != "offset" {
				return fmt.Errorf("unknown key %q, expected step and offset", k)
			}
		}
		for key, into := range map[string]*int64{"step": &c.Step, "offset": &c.Off} {
			v, _ := m.Get(key)
			n, _ := ToNumber(v)
			i, ok := n.(int64)
			if !ok {
				return fmt.Errorf("%s must be an integer, got %s", key, Show(v))
			}
			*into = i
		}
		if c.Step == 0 || abs(c.Off) >= abs(c.Step) || c.Off != 0 && (c.Off < 0) != (c.Step < 0) {
			return fmt.Errorf("step must not be 0, offset must be smaller than step and of the same sign, got step %d and offset %d", c.Step, c.Off)
		}
	case "allowed_values":
		l, ok := v.([]any)
		if !ok {
			return fmt.Errorf("must be a list, got %s", KindOf(v))
		}
		c.Values = l
	case "allowed_pattern":
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("must be a string, got %s", KindOf(v))
		}
		c.Pattern = s
		if _, err := compilePattern(s); err != nil {
			return fmt.Errorf("%q is no regular expression: %w", s, err)
		}
	case "custom_constraint":
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("must be a string, got %s", KindOf(v))
		}
		c.Custom = s
	}
	return nil
}

func abs(i int64) int64 {
	if i < 0 {
		return -i
	}
	return i
}

// Check tests v. Custom constraints always pass here.
func (c *Constraint) Check(v any) error {
	err := c.check(v)
	if err != nil && c.Description != "" {
		return fmt.Errorf("%s (%w)", c.Description, err)
	}
	return err
}

func (c *Constraint) check(v any) error {
	switch c.Kind {
	case "length":
		n := float64(length(v))
		if c.Min != nil && n < *c.Min || c.Max != nil && n > *c.Max {
			return fmt.Errorf("length (%d) is out of range (min: %s, max: %s)", length(v), bound(c.Min), bound(c.Max))
		}
	case "range":
		n, ok := ToNumber(v)
		f, _ := number(n)
		if !ok || c.Min != nil && f < *c.Min || c.Max != nil && f > *c.Max {
			return fmt.Errorf("%s is out of range (min: %s, max: %s)", Show(v), bound(c.Min), bound(c.Max))
		}
	case "modulo":
		n, ok := ToNumber(v)
		f, _ := number(n)
		if !ok || math.Mod(f-float64(c.Off), float64(c.Step)) != 0 {
			return fmt.Errorf("%s is not a multiple of %d with an offset of %d", Show(v), c.Step, c.Off)
		}
	case "allowed_values":
		items := []any{v}
		if l, ok := v.([]any); ok {
			items = l
		}
		for _, it := range items {
			if !c.allowed(it) {
				return fmt.Errorf("%s is not an allowed value %s", Show(it), PyJSON(c.Values, false))
			}
		}
	case "allowed_pattern":
		return c.matches(v)
	}
	return nil
}

func (c *Constraint) allowed(v any) bool {
	for _, a := range c.Values {
		if Equal(a, v) || PyStr(a) == PyStr(v) {
			return true
		}
		if b, ok := v.(bool); ok {
			if w, ok := ToBool(a); ok && w == b {
				return true
			}
		}
	}
	return false
}

// matches wants the match at the beginning of the text to reach its end, as Python's re.match and a look
// at match.end() do: "a|ab" does not allow "ab".
func (c *Constraint) matches(v any) error {
	s, ok := v.(string)
	if !ok {
		s = PyStr(v)
	}
	match, err := compilePattern(c.Pattern)
	if err != nil {
		return err
	}
	ok, err = match(s)
	if err != nil {
		return fmt.Errorf("%s cannot be compared with pattern %q: %w", Show(v), c.Pattern, err)
	}
	if !ok {
		return fmt.Errorf("%s does not match pattern %q", Show(v), c.Pattern)
	}
	return nil
}

// patternTime bounds one match of a pattern that needs backtracking.
const patternTime = time.Second

// compilePattern makes a matcher of a Python regular expression. RE2 takes linear time; what it cannot
// express (look around, back-references) goes to an engine that backtracks, for a second at most.
func compilePattern(p string) (func(string) (bool, error), error) {
	if re, err := regexp.Compile(`\A(?:` + strings.ReplaceAll(p, `\Z`, `\z`) + `)`); err == nil {
		return func(s string) (bool, error) {
			at := re.FindStringIndex(s)
			return at != nil && at[1] == len(s), nil
		}, nil
	}
	p = regexp.MustCompile(`\(\?P=(\w+)\)`).ReplaceAllString(p, `\k<$1>`)
	re, err := regexp2.Compile(`\A(?:`+strings.NewReplacer(`\Z`, `\z`, `(?P<`, `(?<`).Replace(p)+`)`, regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = patternTime
	return func(s string) (bool, error) {
		m, err := re.FindStringMatch(s)
		return m != nil && m.Length == utf8.RuneCountInString(s), err
	}, nil
}

func bound(f *float64) string {
	if f == nil {
		return "None"
	}
	return strings.TrimSuffix(yaml11.FormatFloat(*f), ".0")
}

func length(v any) int {
	switch x := v.(type) {
	case string:
		return utf8.RuneCountInString(x)
	case []any:
		return len(x)
	case *Map:
		return x.Len()
	}
	return utf8.RuneCountInString(PyStr(v))
}
