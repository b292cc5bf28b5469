package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// FactsDir holds what is known about this node: JSON files, merged in the order of their names. The default plan writes
// node.json there ({"node": {"hostname": …, "ip": {"ctlplane": …}}}).
const FactsDir = "/var/lib/tripleo-agent/facts.d"

// refRE finds a reference, and the escaped form $${...}, which stays as ${...}.
var refRE = regexp.MustCompile(`\$?\$\{(node|input)\.([A-Za-z0-9_.:-]+)\}`)

const maxExpandDepth = 64

// readFacts merges the facts of the node.
func readFacts(h *host.Host) (map[string]any, error) {
	entries, err := os.ReadDir(h.Path(FactsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]any{}, nil
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var all []map[string]any
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		data, err := h.ReadFile(path.Join(FactsDir, e.Name()))
		if err != nil {
			return nil, err
		}
		m, err := collect.ParseMap(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(FactsDir, e.Name()), err)
		}
		all = append(all, m)
	}
	return collect.Merge(all...), nil
}

// Expand fills the facts of a node, and the inputs below "input", into a config; ParseSpec takes the result.
func Expand(config, facts map[string]any) (map[string]any, error) {
	v, err := expand(config, facts, "config", 0)
	if err != nil {
		return nil, err
	}
	m, _ := v.(map[string]any)
	return m, nil
}

// expand replaces ${node.x.y} and ${input.x} in every text of v, not in keys, and maps with the key each_node by their text. An unknown reference is an error that says
// where it is.
func expand(v any, facts map[string]any, where string, depth int) (any, error) {
	if depth > maxExpandDepth {
		return nil, fmt.Errorf("%s: nested deeper than %d", where, maxExpandDepth)
	}
	switch v := v.(type) {
	case string:
		return expandText(v, facts, where)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			x, err := expand(e, facts, fmt.Sprintf("%s[%d]", where, i), depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	case map[string]any:
		if text, ok, err := expandEach(v, facts, where); ok || err != nil {
			if err != nil {
				return nil, err
			}
			return expandText(text, facts, where)
		}
		out := make(map[string]any, len(v))
		for k, e := range v {
			x, err := expand(e, facts, where+"."+k, depth+1)
			if err != nil {
				return nil, err
			}
			out[k] = x
		}
		return out, nil
	default:
		return v, nil
	}
}

func expandText(s string, facts map[string]any, where string) (string, error) {
	var missing string
	out := refRE.ReplaceAllStringFunc(s, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		m := refRE.FindStringSubmatch(ref)
		switch v := collect.Lookup(facts, append([]string{m[1]}, strings.Split(m[2], ".")...)...).(type) {
		case string:
			return v
		case json.Number:
			return v.String()
		case bool:
			return fmt.Sprint(v)
		case nil:
			missing = ref
		default:
			data, err := json.Marshal(v)
			if err != nil {
				missing = ref
			}
			return string(data)
		}
		return ref
	})
	if missing != "" {
		return "", fmt.Errorf("%s: nothing is known on this node for %s", where, missing)
	}
	return out, nil
}
