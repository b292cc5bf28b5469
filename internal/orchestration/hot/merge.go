package hot

import (
	"fmt"
	"slices"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Strategies of parameter_merge_strategies.
const (
	overwriteStrategy = "overwrite"
	mergeStrategy     = "merge"
	deepStrategy      = "deep_merge"
)

// merger merges environment files that say how parameters combine. The strategy of a parameter is that of
// the first file which gives it a value: by its name there, by the default of that file, else overwrite.
// Naming another strategy for it in a later file is a fault, unless no file has named one before (for Heat
// that is a fault too, so that the base file would have to know what goes over it).
type merger struct {
	types    func() map[string]string // types of declared parameters; nil: go by the values
	known    map[string]string        // what types returned
	strategy map[string]string        // by parameter
	implied  map[string]bool          // parameters whose strategy no file has named
}

// MergeFiles parses the named environment files in order out of files and merges them. types gives the
// types of the parameters that the templates declare; it is asked only if a file has a strategy. nil: the
// values tell.
func MergeFiles(names []string, files map[string]string, types func() map[string]string) (*Environment, error) {
	env := NewEnvironment()
	var errs Errors
	m := &merger{types: types, strategy: map[string]string{}, implied: map[string]bool{}}
	for _, name := range names {
		content, ok := files[name]
		if !ok {
			errs = append(errs, &Error{Pos: name, Msg: "environment file is not among the files"})
			continue
		}
		root, _, err := parseText(name, []byte(content))
		if err == nil {
			err = env.mergeWith(root, m)
		}
		errs = append(errs, List(err)...)
	}
	return env, errs.Or()
}

// ParameterTypes returns the types of the parameters that a template (text or data) and the templates among
// the files declare; the template wins.
func ParameterTypes(template any, files map[string]string) map[string]string {
	out := map[string]string{}
	add := func(root *yaml11.Node) {
		if root == nil || root.Get(keyHOT) == nil && root.Get(keyAWS) == nil && root.Get(keyHeat) == nil {
			return
		}
		params := root.Get("parameters")
		if params == nil {
			params = root.Get("Parameters")
		}
		if params == nil {
			return
		}
		for _, pr := range params.Pairs {
			typ := text(pr.Value.Get("type"))
			if cfn := pr.Value.Get("Type"); cfn != nil {
				typ = map[string]string{"String": TypeString, "Number": TypeNumber, "CommaDelimitedList": TypeList, "Json": TypeJSON, "Boolean": TypeBool}[text(cfn)]
			}
			out[pr.Key] = typ
		}
	}
	for name, content := range files {
		if IsTemplate(name) {
			if root, _, err := parseText(name, []byte(content)); err == nil {
				add(root)
			}
		}
	}
	switch x := template.(type) {
	case string:
		if root, _, err := parseText("template", []byte(x)); err == nil {
			add(root)
		}
	default:
		add(yaml11.FromValue(nil, template))
	}
	return out
}

func checkStrategies(n *yaml11.Node) Errors {
	var errs Errors
	for _, pr := range n.Pairs {
		if pr.Value.Kind != yaml11.String {
			errs = append(errs, errAt(pr.Value, "parameter_merge_strategies."+pr.Key, "must be overwrite, merge or deep_merge, got a %s", pr.Value.Kind))
		}
	}
	return errs
}

// params puts the parameters of n over dst by the strategies of their file.
func (m *merger) params(dst *Map, n, strategies *yaml11.Node, section string) Errors {
	var errs Errors
	for _, pr := range n.Pairs {
		v := pr.Value.Value()
		if m == nil || v == nil {
			dst.Set(pr.Key, v)
			continue
		}
		how, err := m.strategyOf(pr.Key, strategies)
		if err == nil {
			old, had := dst.Get(pr.Key)
			if had && old != nil && how != overwriteStrategy {
				v, err = m.combine(pr.Key, old, v, how == deepStrategy)
			}
		}
		if err != nil {
			errs = append(errs, errAt(pr.Value, section+"."+pr.Key, "%v", err))
			continue
		}
		dst.Set(pr.Key, v)
	}
	return errs
}

// strategyOf fixes the strategy of a parameter at its first value. An unknown word counts as the default
// of the file.
func (m *merger) strategyOf(name string, strategies *yaml11.Node) (string, error) {
	valid := func(s string) bool {
		return slices.Contains([]string{overwriteStrategy, mergeStrategy, deepStrategy}, s)
	}
	byDefault := text(strategies.Get("default"))
	if !valid(byDefault) {
		byDefault = overwriteStrategy
	}
	own := text(strategies.Get(name))
	if own != "" && !valid(own) {
		own = byDefault
	}
	fixed, seen := m.strategy[name]
	switch {
	case seen && own != "" && own != fixed && m.implied[name]:
		delete(m.implied, name)
	case seen && own != "" && own != fixed:
		return "", fmt.Errorf("conflicting merge strategy %q, an earlier file has %q", own, fixed)
	case seen:
		return fixed, nil
	case own == "":
		own, m.implied[name] = byDefault, strategies.Get("default") == nil
	}
	m.strategy[name] = own
	return own, nil
}

// combine merges two values of a parameter by its type.
func (m *merger) combine(name string, old, v any, deep bool) (any, error) {
	var typ string
	if m.types != nil {
		if m.known == nil {
			m.known = m.types()
		}
		if typ = m.known[name]; typ == "" {
			return v, nil // of no template: nothing to combine for
		}
	} else {
		typ = typeOfValue(old, v)
	}
	switch typ {
	case TypeJSON:
		a, errA := ConvertParameter(TypeJSON, old)
		b, errB := ConvertParameter(TypeJSON, v)
		am, okA := a.(*Map)
		bm, okB := b.(*Map)
		if errA != nil || errB != nil || !okA || !okB {
			return nil, fmt.Errorf("values of type json can be merged if they are maps, got %s and %s", KindOf(a), KindOf(b))
		}
		return mergeMaps(am, bm, deep), nil
	case TypeList:
		if a, ok := old.(string); ok {
			if b, ok := v.(string); ok && a != "" {
				return a + "," + b, nil
			}
		}
		a, errA := ConvertParameter(TypeList, old)
		b, errB := ConvertParameter(TypeList, v)
		if errA != nil || errB != nil {
			return nil, fmt.Errorf("values to merge must be lists or text with commas, got %s and %s", KindOf(old), KindOf(v))
		}
		if al, ok := old.([]any); ok {
			if bl, ok := v.([]any); ok {
				return append(slices.Clone(al), bl...), nil
			}
		}
		return append(slices.Clone(a.([]any)), b.([]any)...), nil
	case TypeString:
		a, okA := old.(string)
		b, okB := v.(string)
		if okA && okB {
			return a + b, nil
		}
		return nil, fmt.Errorf("values of type string can be merged if they are text, got %s and %s", KindOf(old), KindOf(v))
	}
	return nil, fmt.Errorf("a parameter of type %s cannot be merged, only overwritten", typ)
}

// typeOfValue guesses the type of a parameter that two values are given for.
func typeOfValue(old, v any) string {
	switch old.(type) {
	case *Map:
		return TypeJSON
	case []any:
		return TypeList
	case string:
		if _, ok := v.([]any); ok {
			return TypeList
		}
		return TypeString
	case bool:
		return TypeBool
	}
	return TypeNumber
}

// mergeMaps puts src over old; null leaves what is there. deep merges maps in maps, joins lists and text.
func mergeMaps(old, src *Map, deep bool) *Map {
	out := old.Clone()
	for k, v := range src.All() {
		prev, had := out.Get(k)
		switch {
		case v == nil:
			continue
		case !deep || !had || prev == nil:
		default:
			v = mergeDeep(prev, v)
		}
		out.Set(k, v)
	}
	return out
}

func mergeDeep(old, v any) any {
	switch x := v.(type) {
	case *Map:
		if o, ok := old.(*Map); ok && o.Len() > 0 {
			return mergeMaps(o, x, true)
		}
	case []any:
		if o, ok := old.([]any); ok && len(o) > 0 {
			return append(slices.Clone(o), x...)
		}
	case string:
		if o, ok := old.(string); ok {
			return o + x
		}
	}
	return v
}
