package resources

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Kind is the type of a property or attribute, named as Heat's API names it.
type Kind string

// The kinds.
const (
	String  Kind = "string"
	Integer Kind = "integer"
	Number  Kind = "number"
	Boolean Kind = "boolean"
	List    Kind = "list"
	Mapping Kind = "map"
	Any     Kind = "any"
)

// Prop declares a property.
type Prop struct {
	Name     string
	Kind     Kind
	Doc      string
	Required bool
	Default  any
	Update   bool // may change in place
	// Immutable: a change is an error instead of a replacement.
	Immutable bool
	Limits    []hot.Constraint
	Custom    string // constraint that asks a service, see Checker
	Sub       []Prop // of a map
	Items     *Prop  // of a list
	Hidden    bool   // a secret
	Support   Support
	Was       string // old name of the property
	Replaced  bool   // this is the old name of another property
}

// Attr declares an attribute.
type Attr struct {
	Name string
	Kind Kind
	Doc  string

	Support Support
}

// Props are the properties of one resource, converted and with defaults.
type Props struct {
	decl []Prop
	Raw  *Map // as given, for comparison with the next update
	vals *Map
}

// NewProps converts raw by the declarations. at gives the place of a property for errors (path is empty
// for the whole); it may return nil. Unknown values pass.
func NewProps(t *Type, raw *Map, at func(path []string) *hot.Expr) (*Props, error) {
	if raw == nil {
		raw = yaml11.NewMap()
	}
	c := converter{at: at}
	vals := c.fields(t.Props, raw, nil, t.AnyProps)
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	p := &Props{decl: t.Props, Raw: raw, vals: vals}
	if t.Validate != nil && !hot.HasUnknown(raw) {
		if err := t.Validate(p); err != nil {
			c.fail(nil, "%v", err)
			return nil, c.errs[0]
		}
	}
	return p, nil
}

type converter struct {
	at   func(path []string) *hot.Expr
	errs hot.Errors
}

func (c *converter) fail(path []string, format string, args ...any) {
	e := &hot.Error{Path: strings.Join(path, "."), Msg: fmt.Sprintf(format, args...)}
	if c.at != nil {
		for n := len(path); n >= 0; n-- {
			if x := c.at(path[:n]); x != nil {
				e.Pos = x.Pos()
				e.Path = strings.Join(append([]string{x.Path()}, path[n:]...), ".")
				break
			}
		}
	}
	c.errs = append(c.errs, e)
}

func (c *converter) fields(decl []Prop, raw *Map, path []string, free bool) *Map {
	out := yaml11.NewMap()
	names := make([]string, len(decl))
	for i, d := range decl {
		names[i] = d.Name
	}
	for k := range raw.All() {
		if !slices.Contains(names, k) {
			if free {
				v, _ := raw.Get(k)
				out.Set(k, v)
				continue
			}
			c.fail(append(path, k), "unknown property %q%s", k, hot.DidYouMean(k, names))
		}
	}
	for _, d := range decl {
		if d.Replaced {
			continue
		}
		v, ok := raw.Get(d.Name)
		if (!ok || v == nil) && d.Was != "" {
			if v, ok = raw.Get(d.Was); ok && d.Kind == List && v != nil {
				if _, isList := v.([]any); !isList {
					v = []any{v}
				}
			}
		}
		if !ok || v == nil {
			if d.Required {
				c.fail(append(path, d.Name), "property %q is required but not given", d.Name)
			} else if d.Default != nil {
				out.Set(d.Name, yaml11.Normalize(d.Default))
			}
			continue
		}
		if x, ok := c.value(d, v, append(path[:len(path):len(path)], d.Name)); ok {
			out.Set(d.Name, x)
		}
	}
	return out
}

func (c *converter) value(d Prop, v any, path []string) (any, bool) {
	if _, ok := v.(hot.Unknown); ok {
		return v, true
	}
	bad := func() (any, bool) {
		c.fail(path, "expected %s, got %s %s", article(d.Kind), hot.KindOf(v), c.show(d, v, path))
		return nil, false
	}
	switch d.Kind {
	case String:
		switch v.(type) {
		case *Map, []any:
			return bad()
		}
		v = hot.PyStr(v)
	case Integer:
		n, _ := hot.ToNumber(v)
		if f, isFloat := n.(float64); isFloat && f == float64(int64(f)) {
			n = int64(f)
		}
		i, ok := n.(int64)
		if !ok {
			return bad()
		}
		v = i
	case Number:
		n, ok := hot.ToNumber(v)
		if !ok {
			return bad()
		}
		v = n
	case Boolean:
		b, ok := hot.ToBool(v)
		if !ok {
			return bad()
		}
		v = b
	case List:
		l, ok := v.([]any)
		if !ok {
			if s, isText := v.(string); isText && (d.Items == nil || d.Items.Kind != Mapping) {
				l = splitList(s)
			} else {
				return bad()
			}
		}
		v = c.items(d, l, path)
	case Mapping:
		m, ok := v.(*Map)
		if !ok {
			return bad()
		}
		if d.Sub != nil {
			v = c.fields(d.Sub, m, path, false)
		}
	}
	return v, c.limits(d, v, path)
}

func splitList(s string) []any {
	out := []any{}
	if s != "" {
		for _, p := range strings.Split(s, ",") {
			out = append(out, strings.TrimSpace(p))
		}
	}
	return out
}

func (c *converter) items(d Prop, l []any, path []string) []any {
	if d.Items == nil {
		return l
	}
	out := make([]any, 0, len(l))
	for i, it := range l {
		at := append(path[:len(path):len(path)], strconv.Itoa(i))
		switch {
		case it == nil && d.Items.Kind != Mapping:
			out = append(out, nil)
		case it == nil:
			c.fail(at, "expected a map, got null")
		default:
			if v, ok := c.value(*d.Items, it, at); ok {
				out = append(out, v)
			}
		}
	}
	return out
}

func (c *converter) limits(d Prop, v any, path []string) bool {
	if hot.HasUnknown(v) {
		return true
	}
	for _, l := range d.Limits {
		if err := l.Check(v); err != nil {
			if d.Hidden || c.hidden(path) {
				err = fmt.Errorf("the value does not meet the constraint %s", l.Kind)
			}
			c.fail(path, "%v", err)
			return false
		}
	}
	return true
}

// show writes a value for a message, unless the property or what the template gives for it is hidden.
func (c *converter) show(d Prop, v any, path []string) string {
	if d.Hidden || c.hidden(path) {
		return "(hidden)"
	}
	return hot.Show(v)
}

// hidden tells whether the expression at a path, or the one that the path leads into, holds a hidden
// parameter.
func (c *converter) hidden(path []string) bool {
	if c.at == nil {
		return false
	}
	for n := len(path); n >= 0; n-- {
		if x := c.at(path[:n]); x != nil {
			return x.Hidden()
		}
	}
	return false
}

func article(k Kind) string {
	if k == Integer {
		return "an integer"
	}
	return "a " + string(k)
}

// Get returns a property, nil if it was not given and has no default.
func (p *Props) Get(name string) any {
	if p == nil {
		return nil
	}
	v, _ := p.vals.Get(name)
	return v
}

// Has tells whether a property has a value.
func (p *Props) Has(name string) bool { return p.Get(name) != nil }

// All returns every property with a value.
func (p *Props) All() *Map { return p.vals }

// Str returns a property as text, "" if it has none.
func (p *Props) Str(name string) string {
	v := p.Get(name)
	if v == nil {
		return ""
	}
	return hot.PyStr(v)
}

// Int returns an integer property, 0 if it has none.
func (p *Props) Int(name string) int64 { i, _ := p.Get(name).(int64); return i }

// Bool returns a boolean property, false if it has none.
func (p *Props) Bool(name string) bool { b, _ := p.Get(name).(bool); return b }

// List returns a list property, nil if it has none.
func (p *Props) List(name string) []any { l, _ := p.Get(name).([]any); return l }

// Map returns a map property, nil if it has none.
func (p *Props) Map(name string) *Map { m, _ := p.Get(name).(*Map); return m }

// Strs returns a list property as texts.
func (p *Props) Strs(name string) []string {
	var out []string
	for _, v := range p.List(name) {
		out = append(out, hot.PyStr(v))
	}
	return out
}

// Changed returns the top-level properties that differ from old, by value after conversion.
func (p *Props) Changed(old *Props) map[string]bool {
	out := map[string]bool{}
	for k, v := range p.vals.All() {
		if o, ok := old.vals.Get(k); !ok || !hot.Equal(o, v) {
			out[k] = true
		}
	}
	for k := range old.vals.All() {
		if _, ok := p.vals.Get(k); !ok {
			out[k] = true
		}
	}
	return out
}

// Immutable returns a changed property that must never change, "" if there is none.
func (p *Props) Immutable(changed map[string]bool) string {
	for _, d := range p.decl {
		if changed[d.Name] && d.Immutable && !d.Update {
			return d.Name
		}
	}
	return ""
}

// Updatable tells whether every changed property may change in place.
func (p *Props) Updatable(changed map[string]bool) (name string, ok bool) {
	for _, d := range p.decl {
		if changed[d.Name] && !d.Update {
			return d.Name, false
		}
	}
	return "", true
}

func str(m *Map, key string) string {
	v, _ := m.Get(key)
	if v == nil {
		return ""
	}
	return hot.PyStr(v)
}
