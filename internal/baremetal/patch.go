package baremetal

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// patchOp is one operation of a JSON patch (RFC 6902).
type patchOp struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from"`
	Value json.RawMessage `json:"value"`
}

// root is the field of the resource that the operation is about.
func (op patchOp) root() string {
	root, _, _ := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
	return root
}

const maxPatchOps = 1000

// readPatch decodes and checks the form of a patch.
func readPatch(data []byte) ([]patchOp, error) {
	var ops []patchOp
	if err := api.DecodeJSON(data, &ops); err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return nil, api.Invalid("the patch is empty, expected a list of operations {op, path, value}")
	}
	if len(ops) > maxPatchOps {
		return nil, api.Invalid("the patch has %d operations, at most %d are taken", len(ops), maxPatchOps)
	}
	for i, op := range ops {
		if !strings.HasPrefix(op.Path, "/") || len(op.Path) < 2 {
			return nil, api.Invalid("operation %d: path %q is not of the form /field or /field/key", i, op.Path)
		}
		switch op.Op {
		case "add", "replace", "test":
			if op.Value == nil {
				return nil, api.Invalid("operation %d (%s %s): 'add', 'replace' and 'test' need a value", i, op.Op, op.Path)
			}
		case "remove":
		default:
			return nil, api.Invalid("operation %d: op is %q, expected add, replace, remove or test", i, op.Op)
		}
	}
	return ops, nil
}

// applyPatch changes doc in place. roots lists the fields that may be patched;
// a remove of one of them sets it to null.
func applyPatch(doc map[string]any, ops []patchOp, roots map[string]bool) error {
	for _, op := range ops {
		parts := strings.Split(op.Path[1:], "/")
		for i := range parts {
			parts[i] = strings.ReplaceAll(strings.ReplaceAll(parts[i], "~1", "/"), "~0", "~")
		}
		root := parts[0]
		if !roots[root] {
			if _, known := doc[root]; known {
				return api.Invalid("'/%s' is an internal attribute and can not be updated", root)
			}
			return api.Invalid("Adding a new attribute (/%s) to the root of the resource is not allowed", root)
		}
		var value any
		if op.Value != nil {
			if err := json.Unmarshal(op.Value, &value); err != nil {
				return api.Invalid("%s %s: malformed value: %s", op.Op, op.Path, err.Error())
			}
		}
		if len(parts) == 1 && op.Op == "remove" {
			doc[root] = nil
			continue
		}
		if len(parts) > 1 && doc[root] == nil && op.Op == "add" {
			doc[root] = map[string]any{}
		}
		out, err := patchAt(doc, parts, op, value)
		if err != nil {
			return err
		}
		doc = out.(map[string]any)
	}
	return nil
}

// patchAt applies op below v and returns v's new value.
func patchAt(v any, parts []string, op patchOp, value any) (any, error) {
	switch c := v.(type) {
	case map[string]any:
		key := parts[0]
		old, exists := c[key]
		if len(parts) > 1 {
			if !exists {
				return nil, api.Invalid("%s %s: %q does not exist", op.Op, op.Path, key)
			}
			sub, err := patchAt(old, parts[1:], op, value)
			if err != nil {
				return nil, err
			}
			c[key] = sub
			return c, nil
		}
		if !exists && op.Op != "add" {
			return nil, api.Invalid("can't %s non-existent object '%s' (%s)", op.Op, key, op.Path)
		}
		switch op.Op {
		case "remove":
			delete(c, key)
		case "test":
			if !reflect.DeepEqual(old, value) {
				return nil, api.Conflict("test of %s failed: the value is another", op.Path)
			}
		default:
			c[key] = value
		}
		return c, nil
	case []any:
		return patchList(c, parts, op, value)
	default:
		return nil, api.Invalid("%s %s: there is nothing below a plain value", op.Op, op.Path)
	}
}

func patchList(c []any, parts []string, op patchOp, value any) (any, error) {
	if parts[0] == "-" && len(parts) == 1 && op.Op == "add" {
		return append(c, value), nil
	}
	i, err := strconv.Atoi(parts[0])
	if err != nil || i < 0 || i > len(c) || (i == len(c) && op.Op != "add") {
		return nil, api.Invalid("%s %s: %q is no index of a list of %d", op.Op, op.Path, parts[0], len(c))
	}
	if len(parts) > 1 {
		if i == len(c) {
			return nil, api.Invalid("%s %s: %q is no index of a list of %d", op.Op, op.Path, parts[0], len(c))
		}
		sub, err := patchAt(c[i], parts[1:], op, value)
		if err != nil {
			return nil, err
		}
		c[i] = sub
		return c, nil
	}
	switch op.Op {
	case "remove":
		return append(c[:i:i], c[i+1:]...), nil
	case "add":
		return append(c[:i:i], append([]any{value}, c[i:]...)...), nil
	case "test":
		if !reflect.DeepEqual(c[i], value) {
			return nil, api.Conflict("test of %s failed: the value is another", op.Path)
		}
		return c, nil
	default:
		c[i] = value
		return c, nil
	}
}
