package network

import (
	"maps"
)

// doc is one resource: its attributes by name, in JSON's types.
type doc map[string]any

func (d doc) str(key string) string { s, _ := d[key].(string); return s }

func (d doc) num(key string) int {
	switch n := d[key].(type) {
	case float64:
		return int(n)
	case int:
		return n
	default:
		return 0
	}
}

func (d doc) flag(key string) bool { b, _ := d[key].(bool); return b }

func (d doc) list(key string) []any { l, _ := d[key].([]any); return l }

// docs is list for a list of mappings.
func (d doc) docs(key string) []doc {
	if typed, ok := d[key].([]doc); ok {
		return typed
	}
	var out []doc
	for _, it := range d.list(key) {
		if m, ok := it.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// strs is list for a list of texts.
func (d doc) strs(key string) []string {
	if typed, ok := d[key].([]string); ok {
		return typed
	}
	out := []string{}
	for _, it := range d.list(key) {
		if s, ok := it.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (d doc) id() string { return d.str("id") }

func (d doc) project() string { return d.str("project_id") }

func (d doc) clone() doc { return maps.Clone(d) }

// anys makes a list of JSON's type.
func anys[T any](items []T) []any {
	out := make([]any, 0, len(items))
	for _, it := range items {
		out = append(out, it)
	}
	return out
}
