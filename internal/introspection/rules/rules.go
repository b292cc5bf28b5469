// Package rules is the introspection rules of ironic-inspector: conditions on
// what a ramdisk found and on the node, and actions on the node. It is pure.
//
// Source of the rules: "Introspection Rules" in ironic-inspector's usage
// documentation.
package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Rule is one introspection rule.
type Rule struct {
	UUID        string           `json:"uuid"`
	Description string           `json:"description"`
	Conditions  []map[string]any `json:"conditions"`
	Actions     []map[string]any `json:"actions"`
	Scope       string           `json:"scope,omitempty"`
}

// Op is one change of the node, as a JSON patch has it.
type Op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// ErrFailed is the error of a rule with the action fail.
var ErrFailed = errors.New("introspection rule failed the node")

const maxItems = 100 // conditions or actions of one rule

// Validate checks a rule as a client sends it.
func (r *Rule) Validate() error {
	if len(r.Actions) == 0 {
		return errors.New("actions: a rule needs at least one action")
	}
	if len(r.Conditions) > maxItems || len(r.Actions) > maxItems {
		return fmt.Errorf("a rule has at most %d conditions and %d actions", maxItems, maxItems)
	}
	for i, c := range r.Conditions {
		if err := validateCondition(c); err != nil {
			return fmt.Errorf("conditions[%d]: %w", i, err)
		}
	}
	for i, a := range r.Actions {
		if err := validateAction(a); err != nil {
			return fmt.Errorf("actions[%d]: %w", i, err)
		}
	}
	return nil
}

func validateCondition(c map[string]any) error {
	op, _ := c["op"].(string)
	op = strings.TrimPrefix(op, "!")
	needsValue := true
	switch op {
	case "eq", "ne", "lt", "gt", "le", "ge":
	case "in-net":
		s, _ := c["value"].(string)
		if _, err := netip.ParsePrefix(s); err != nil {
			return fmt.Errorf("value %q of in-net is no network: %w", s, err)
		}
	case "matches", "contains":
		s, _ := c["value"].(string)
		if _, err := regexp.Compile(s); err != nil {
			return fmt.Errorf("value of %s is no regular expression: %w", op, err)
		}
	case "is-empty":
		needsValue = false
	default:
		return fmt.Errorf("op is %q, expected eq, ne, lt, gt, le, ge, in-net, matches, contains or is-empty", op)
	}
	if _, ok := c["value"]; needsValue && !ok {
		return fmt.Errorf("op %s needs a value", op)
	}
	field, ok := c["field"].(string)
	if !ok || field == "" {
		return errors.New("field is missing")
	}
	if _, _, err := fieldPath(field); err != nil {
		return err
	}
	switch c["multiple"] {
	case nil, "any", "all", "first":
	default:
		return fmt.Errorf("multiple is %v, expected any, all or first", c["multiple"])
	}
	if v, has := c["invert"]; has {
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("invert is %v, expected a boolean", v)
		}
	}
	return nil
}

func validateAction(a map[string]any) error {
	name, _ := a["action"].(string)
	required := map[string][]string{
		"fail": {"message"}, "set-attribute": {"path", "value"}, "set-capability": {"name"},
		"extend-attribute": {"path", "value"}, "add-trait": {"name"}, "remove-trait": {"name"},
	}[name]
	if required == nil {
		return fmt.Errorf("action is %q, expected fail, set-attribute, set-capability, extend-attribute, add-trait or remove-trait", name)
	}
	for _, k := range required {
		if _, ok := a[k]; !ok {
			return fmt.Errorf("action %s needs %s", name, k)
		}
	}
	return nil
}

// fieldPath splits "data://inventory.cpu.count"; data is the default scheme.
func fieldPath(field string) (scheme string, path []segment, err error) {
	scheme = "data"
	if s, rest, ok := strings.Cut(field, "://"); ok {
		scheme, field = s, rest
	}
	if scheme != "data" && scheme != "node" {
		return "", nil, fmt.Errorf("field %q: scheme is %q, expected data or node", field, scheme)
	}
	path, err = parsePath(field)
	return scheme, path, err
}

// Matches says whether all conditions of the rule hold.
func (r *Rule) Matches(data, node map[string]any) (bool, error) {
	for i, c := range r.Conditions {
		ok, err := holds(c, data, node)
		if err != nil {
			return false, fmt.Errorf("rule %s (%s): conditions[%d]: %w", r.UUID, r.Description, i, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

func holds(c, data, node map[string]any) (bool, error) {
	field, _ := c["field"].(string)
	scheme, path, err := fieldPath(field)
	if err != nil {
		return false, err
	}
	doc := data
	if scheme == "node" {
		doc = node
	}
	op, _ := c["op"].(string)
	invert, _ := c["invert"].(bool)
	if strings.HasPrefix(op, "!") {
		op, invert = op[1:], !invert
	}
	values := find(doc, path)
	if len(values) == 0 {
		if op != "is-empty" {
			return false, nil // inspector: a missing field never matches, inverted or not
		}
		values = []any{nil}
	}
	result := false
	for _, v := range values {
		ok, err := check(op, v, c["value"])
		if err != nil {
			return false, fmt.Errorf("field %s: %w", field, err)
		}
		result = ok != invert
		stop := c["multiple"] == "first" || c["multiple"] == "all" && !result || (c["multiple"] == nil || c["multiple"] == "any") && result
		if stop {
			break
		}
	}
	return result, nil
}

func check(op string, field, value any) (bool, error) {
	switch op {
	case "is-empty":
		return isEmpty(field), nil
	case "in-net":
		network, err := netip.ParsePrefix(text(value))
		if err != nil {
			return false, err
		}
		addr, err := netip.ParseAddr(text(field))
		if err != nil {
			return false, fmt.Errorf("%q is no IP address", text(field))
		}
		return network.Contains(addr), nil
	case "matches", "contains":
		expr := text(value)
		if op == "matches" {
			expr = "^(?:" + expr + ")$"
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return false, err
		}
		return re.MatchString(text(field)), nil
	default:
		return compare(op, field, value)
	}
}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	default:
		return false
	}
}

// compare orders numbers as numbers, when the field is one, and text as text.
func compare(op string, field, value any) (bool, error) {
	if f, ok := field.(float64); ok {
		v, err := number(value)
		if err != nil {
			if op == "eq" || op == "ne" {
				return op == "ne", nil
			}
			return false, err
		}
		return ordered(op, f, v), nil
	}
	fs, fok := field.(string)
	vs, vok := value.(string)
	if fok && vok {
		return ordered(op, fs, vs), nil
	}
	switch op {
	case "eq":
		return reflect.DeepEqual(field, value), nil
	case "ne":
		return !reflect.DeepEqual(field, value), nil
	default:
		return false, fmt.Errorf("%T and %T have no order", field, value)
	}
}

func number(v any) (float64, error) {
	switch n := v.(type) {
	case float64:
		return n, nil
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no number", n)
		}
		return f, nil
	default:
		return 0, fmt.Errorf("%v is no number", v)
	}
}

func ordered[T float64 | string](op string, a, b T) bool {
	switch op {
	case "eq":
		return a == b
	case "ne":
		return a != b
	case "lt":
		return a < b
	case "gt":
		return a > b
	case "le":
		return a <= b
	default:
		return a >= b
	}
}

// text is a value as Python's str() writes it.
func text(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case string:
		return x
	case bool:
		if x {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	default:
		b, err := json.Marshal(x)
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(b)
	}
}

// placeholder is {data[key][0]…} or {node[…]} of Python's str.format.
func placeholder() *regexp.Regexp {
	return regexp.MustCompile(`\{\{|\}\}|\{(data|node)((?:\[[^\]]*\])+)\}`)
}

// expand fills the placeholders of a value, inside lists and objects too.
func expand(v any, data, node map[string]any) (any, error) {
	switch x := v.(type) {
	case string:
		var failure error
		out := placeholder().ReplaceAllStringFunc(x, func(m string) string {
			switch m {
			case "{{":
				return "{"
			case "}}":
				return "}"
			}
			sub := placeholder().FindStringSubmatch(m)
			doc := any(data)
			if sub[1] == "node" {
				doc = node
			}
			for key := range strings.SplitSeq(strings.Trim(sub[2], "[]"), "][") {
				seg := segment{name: key}
				if _, isList := doc.([]any); isList {
					n, err := strconv.Atoi(key)
					if err != nil {
						failure = fmt.Errorf("%s: %q is no index", m, key)
						return m
					}
					seg = segment{kind: byIndex, index: n}
				}
				found := find(doc, []segment{seg})
				if len(found) == 0 {
					failure = fmt.Errorf("%s: there is no %q", m, key)
					return m
				}
				doc = found[0]
			}
			return text(doc)
		})
		return out, failure
	case []any:
		out := make([]any, len(x))
		for i := range x {
			e, err := expand(x[i], data, node)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(x))
		for k := range x {
			e, err := expand(x[k], data, node)
			if err != nil {
				return nil, err
			}
			out[k] = e
		}
		return out, nil
	default:
		return v, nil
	}
}
