package hot

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

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
		c := Constraint{Description: text(it.Get("description"))}
		for _, f := range it.Pairs {
			if f.Key == "description" {
				continue
			}
			if c.Kind != "" {
				p.fail(f.KeyNode, at, "a constraint has one kind, got %s and %s", c.Kind, f.Key)
				continue
			}
			c.Kind = f.Key
			if err := c.read(f.Value.Value()); err != nil {
				p.fail(f.Value, at+"."+f.Key, "%v", err)
			}
		}
		if c.Kind == "" {
			p.fail(it, at, "the constraint is empty")
			continue
		}
		out = append(out, c)
	}
	return out
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
		step, _ := m.Get("step")
		off, _ := m.Get("offset")
		c.Step, _ = step.(int64)
		c.Off, _ = off.(int64)
		if c.Step == 0 || abs(c.Off) >= abs(c.Step) {
			return fmt.Errorf("step must not be 0 and offset must be smaller than step")
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
	case "custom_constraint":
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("must be a string, got %s", KindOf(v))
		}
		c.Custom = s
	default:
		return fmt.Errorf("unknown constraint, expected length, range, modulo, allowed_values, allowed_pattern or custom_constraint")
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
		n, _ := ToNumber(v)
		i, ok := n.(int64)
		if !ok || ((i-c.Off)%c.Step) != 0 {
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

// matches wants the whole text to match. Patterns are Python's; what Go's engine cannot express (look
// around) is let through, because refusing a valid value would be worse than missing an invalid one.
func (c *Constraint) matches(v any) error {
	s, ok := v.(string)
	if !ok {
		s = PyStr(v)
	}
	pattern := strings.NewReplacer(`\Z`, `\z`).Replace(c.Pattern)
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if !re.MatchString(s) {
		return fmt.Errorf("%s does not match pattern %q", Show(v), c.Pattern)
	}
	return nil
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
