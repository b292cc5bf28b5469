// Package ini writes the INI dialect that oslo.config, uWSGI and MariaDB read: the same map gives the same bytes every time.
//
// Section DEFAULT comes first, the others and all keys in byte order. A list becomes the key repeated, which is how
// oslo.config writes a MultiOpt. A nil value leaves the key out, so a template can drop an option with a null.
package ini

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Write turns sections -> keys -> values into text. Values are strings, booleans, numbers, nil, or lists of these; anything
// else is an error naming section and key.
func Write(sections map[string]any) ([]byte, error) {
	var b strings.Builder
	names := slices.SortedFunc(maps.Keys(sections), func(a, z string) int {
		if (a == "DEFAULT") != (z == "DEFAULT") {
			if a == "DEFAULT" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, z)
	})
	for _, name := range names {
		if sections[name] == nil {
			continue
		}
		keys, ok := sections[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("section [%s]: expected a map of options, got %T", name, sections[name])
		}
		if strings.ContainsAny(name, "]\n\r") || name == "" {
			return nil, fmt.Errorf("section name %q cannot be written", name)
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", name)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if err := writeKey(&b, key, keys[key]); err != nil {
				return nil, fmt.Errorf("section [%s]: %w", name, err)
			}
		}
	}
	return []byte(b.String()), nil
}

func writeKey(b *strings.Builder, key string, value any) error {
	if key == "" || strings.ContainsAny(key, "=\n\r[]") || strings.TrimSpace(key) != key {
		return fmt.Errorf("option name %q cannot be written", key)
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		if v == nil {
			continue
		}
		text, err := scalar(v)
		if err != nil {
			return fmt.Errorf("option %q: %w", key, err)
		}
		text = strings.TrimRight(text, "\n")
		// A continued line is indented; an empty one would end the value.
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\n", "\n    ")
		fmt.Fprintf(b, "%s = %s\n", key, text)
	}
	return nil
}

func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case int:
		return strconv.Itoa(v), nil
	default:
		return "", fmt.Errorf("expected a string, number, boolean or a list of them, got %T", v)
	}
}
