package rules

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// Apply runs the rules whose conditions hold, in order, on the node, which is
// changed in place so that later rules see it, and returns the changes. An
// action fail ends it with ErrFailed.
func Apply(list []Rule, data, node map[string]any) ([]Op, error) {
	var ops []Op
	for i := range list {
		r := &list[i]
		ok, err := r.Matches(data, node)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for j, a := range r.Actions {
			more, err := act(a, data, node)
			if err != nil {
				return nil, fmt.Errorf("rule %s (%s): actions[%d]: %w", r.UUID, r.Description, j, err)
			}
			ops = append(ops, more...)
		}
	}
	return ops, nil
}

func act(a, data, node map[string]any) ([]Op, error) {
	value := func(key string) (any, error) { return expand(a[key], data, node) }
	str := func(key string) (string, error) {
		v, err := value(key)
		return text(v), err
	}
	switch a["action"] {
	case "fail":
		m, err := str("message")
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %s", ErrFailed, m)
	case "set-attribute":
		path, err := str("path")
		if err != nil {
			return nil, err
		}
		v, err := value("value")
		if err != nil {
			return nil, err
		}
		return set(node, path, v)
	case "extend-attribute":
		path, err := str("path")
		if err != nil {
			return nil, err
		}
		v, err := value("value")
		if err != nil {
			return nil, err
		}
		unique, _ := a["unique"].(bool)
		return extend(node, path, v, unique)
	case "set-capability":
		name, err := str("name")
		if err != nil {
			return nil, err
		}
		v := any("")
		if _, has := a["value"]; has {
			if v, err = value("value"); err != nil {
				return nil, err
			}
		}
		return SetCapabilities(node, map[string]string{name: text(v)}), nil
	default: // add-trait, remove-trait: Validate lets nothing else pass
		name, err := str("name")
		if err != nil {
			return nil, err
		}
		op := "add"
		if a["action"] == "remove-trait" {
			op = "remove"
		}
		return []Op{{Op: op, Path: "/traits/" + name}}, nil
	}
}

// split turns "/driver_info/ipmi_address" (or without the first slash, or with
// dots, as old rules have it) into its names.
func split(path string) []string {
	path = strings.Trim(path, "/")
	if !strings.Contains(path, "/") {
		return strings.Split(path, ".")
	}
	return strings.Split(path, "/")
}

// set changes one attribute; null removes it.
func set(node map[string]any, path string, v any) ([]Op, error) {
	names := split(path)
	parent := node
	for _, n := range names[:len(names)-1] {
		next, ok := parent[n].(map[string]any)
		if !ok {
			if parent[n] != nil {
				return nil, fmt.Errorf("path %s: %s is no object", path, n)
			}
			return nil, fmt.Errorf("path %s: there is no %s", path, n)
		}
		parent = next
	}
	last := names[len(names)-1]
	if last == "" {
		return nil, errors.New("path is empty")
	}
	full := "/" + strings.Join(names, "/")
	old, has := parent[last]
	if v == nil {
		if !has {
			return nil, nil
		}
		delete(parent, last)
		return []Op{{Op: "remove", Path: full}}, nil
	}
	if has && reflect.DeepEqual(old, v) {
		return nil, nil
	}
	parent[last] = v
	return []Op{{Op: "add", Path: full, Value: v}}, nil
}

// extend appends to a list attribute.
func extend(node map[string]any, path string, v any, unique bool) ([]Op, error) {
	var doc any = node
	for _, n := range split(path) {
		m, ok := doc.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("path %s: %s is below a plain value", path, n)
		}
		doc = m[n]
	}
	list, ok := doc.([]any)
	if !ok && doc != nil {
		return nil, fmt.Errorf("path %s holds no list", path)
	}
	if unique {
		for _, x := range list {
			if reflect.DeepEqual(x, v) {
				return nil, nil
			}
		}
	}
	return set(node, path, append(append([]any{}, list...), v))
}

// SetCapabilities merges capabilities into properties.capabilities
// ("k1:v1,k2:v2", sorted); an empty value removes one.
func SetCapabilities(node map[string]any, caps map[string]string) []Op {
	props, ok := node["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		node["properties"] = props
	}
	all := map[string]string{}
	old, _ := props["capabilities"].(string)
	for pair := range strings.SplitSeq(old, ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok {
			all[k] = v
		}
	}
	for k, v := range caps {
		all[k] = v
		if v == "" {
			delete(all, k)
		}
	}
	pairs := make([]string, 0, len(all))
	for k, v := range all {
		pairs = append(pairs, k+":"+v)
	}
	sort.Strings(pairs)
	joined := strings.Join(pairs, ",")
	if joined == old {
		return nil
	}
	props["capabilities"] = joined
	return []Op{{Op: "add", Path: "/properties/capabilities", Value: joined}}
}
