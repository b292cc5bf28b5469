package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

// maxDumpDepth bounds the nesting of what is written as JSON or YAML.
const maxDumpDepth = 500

// dumpJSON is Python's json.dumps(v, indent=4).
func dumpJSON(v any) (string, error) {
	var b strings.Builder
	if err := writeJSON(&b, v, "\n"); err != nil {
		return "", err
	}
	return b.String(), nil
}

func writeJSON(b *strings.Builder, v any, indent string) error {
	if len(indent) > 4*maxDumpDepth {
		return errors.New("the value is nested too deep")
	}
	if b.Len() > maxText {
		return fmt.Errorf("the text is longer than the limit of %d bytes", maxText)
	}
	keys, vals, isMap := entries(v)
	switch v := v.(type) {
	case string:
		writeASCII(b, v)
		return nil
	case []any:
		return writeItems(b, "[", "]", indent, len(v), func(i int) error { return writeJSON(b, v[i], indent+"    ") })
	case *yaql.Set:
		return writeJSON(b, v.Items(), indent)
	}
	if isMap {
		return writeItems(b, "{", "}", indent, len(keys), func(i int) error {
			writeASCII(b, keyText(keys[i]))
			b.WriteString(": ")
			return writeJSON(b, vals[i], indent+"    ")
		})
	}
	raw, err := yaql.JSON(v)
	b.Write(raw)
	return err
}

func writeItems(b *strings.Builder, open, end, indent string, n int, item func(i int) error) error {
	b.WriteString(open)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(indent + "    ")
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		b.WriteString(indent)
	}
	b.WriteString(end)
	return nil
}

// keyText is how Python's json writes a key.
func keyText(k any) string {
	switch k := k.(type) {
	case nil:
		return "null"
	case bool:
		return strings.ToLower(yaql.Str(k))
	}
	return yaql.Str(k)
}

// writeASCII writes a JSON string of ASCII characters only.
func writeASCII(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\n\r\t\b\f", r):
			b.WriteByte('\\')
			b.WriteByte("nrtbf"[strings.IndexRune("\n\r\t\b\f", r)])
		case r < ' ' || r > '~' && r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// entries takes any kind of map apart, in its order.
func entries(v any) (keys, vals []any, ok bool) {
	switch v := v.(type) {
	case *yaql.Map:
		for k, x := range v.All() {
			keys, vals = append(keys, k), append(vals, x)
		}
		return keys, vals, true
	case yaql.Ordered:
		for _, k := range v.YAQLKeys() {
			x, _ := v.YAQLLookup(k)
			keys, vals = append(keys, k), append(vals, x)
		}
		return keys, vals, true
	case map[string]any:
		for k := range v {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		for _, k := range keys {
			vals = append(vals, v[k.(string)])
		}
		return keys, vals, true
	}
	return nil, nil, false
}

// toYAML turns maps into those that yaml11 writes; keys are sorted, as PyYAML
// does when they can be.
func toYAML(v any) any {
	if l, ok := v.([]any); ok {
		out := make([]any, len(l))
		for i, x := range l {
			out[i] = toYAML(x)
		}
		return out
	}
	if s, ok := v.(*yaql.Set); ok {
		return toYAML(s.Items())
	}
	keys, vals, ok := entries(v)
	if !ok {
		return v
	}
	byKey := make(map[string]any, len(keys))
	names := make([]string, 0, len(keys))
	sortable := true
	for i, k := range keys {
		s, ok := k.(string)
		sortable = sortable && ok
		if !ok {
			s = yaql.Str(k)
		}
		names = append(names, s)
		byKey[s] = vals[i]
	}
	if sortable {
		slices.Sort(names)
	}
	out := yaml11.NewMap()
	for _, k := range names {
		out.Set(k, toYAML(byKey[k]))
	}
	return out
}
