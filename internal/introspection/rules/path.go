package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// A path is the part of JSONPath that introspection rules use: names joined by
// dots, [0], [-1], [*], ["quoted name"] and .* ; a leading $ is optional.
type segment struct {
	name  string
	index int
	kind  segmentKind
}

type segmentKind int

const (
	byName segmentKind = iota
	byIndex
	everything
)

const maxPath = 1000 // bytes

func parsePath(s string) ([]segment, error) {
	if len(s) > maxPath {
		return nil, fmt.Errorf("path of %d bytes is longer than %d", len(s), maxPath)
	}
	orig := s
	s = strings.TrimPrefix(s, "$")
	var out []segment
	for s != "" {
		switch s[0] {
		case '.':
			if s = s[1:]; s == "" || s[0] == '.' {
				return nil, fmt.Errorf("path %q: an empty name, or .. which is not supported", orig)
			}
			continue
		case '[':
			end := strings.IndexByte(s, ']')
			if end < 0 {
				return nil, fmt.Errorf("path %q: [ without ]", orig)
			}
			seg, err := parseBracket(s[1:end])
			if err != nil {
				return nil, fmt.Errorf("path %q: %w", orig, err)
			}
			out, s = append(out, seg), s[end+1:]
			continue
		}
		end := strings.IndexAny(s, ".[")
		if end < 0 {
			end = len(s)
		}
		if name := s[:end]; name == "*" {
			out = append(out, segment{kind: everything})
		} else {
			out = append(out, segment{name: name})
		}
		s = s[end:]
	}
	return out, nil
}

func parseBracket(in string) (segment, error) {
	in = strings.TrimSpace(in)
	if in == "*" {
		return segment{kind: everything}, nil
	}
	if n, err := strconv.Atoi(in); err == nil {
		return segment{kind: byIndex, index: n}, nil
	}
	if len(in) >= 2 && (in[0] == '"' || in[0] == '\'') && in[len(in)-1] == in[0] {
		return segment{name: in[1 : len(in)-1]}, nil
	}
	return segment{}, fmt.Errorf("[%s] is neither an index, * nor a quoted name", in)
}

// find returns all values at the path.
func find(doc any, path []segment) []any {
	values := []any{doc}
	for _, seg := range path {
		var next []any
		for _, v := range values {
			switch c := v.(type) {
			case map[string]any:
				if seg.kind == byName {
					if x, ok := c[seg.name]; ok {
						next = append(next, x)
					}
				} else if seg.kind == everything {
					for _, x := range c {
						next = append(next, x)
					}
				}
			case []any:
				switch seg.kind {
				case everything:
					next = append(next, c...)
				case byIndex:
					i := seg.index
					if i < 0 {
						i += len(c)
					}
					if i >= 0 && i < len(c) {
						next = append(next, c[i])
					}
				}
			}
		}
		values = next
	}
	return values
}
