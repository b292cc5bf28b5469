package oac

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// maxRendered bounds the text of one file, maxDepth the sections in one another.
const (
	maxRendered = 32 << 20
	maxDepth    = 100
)

// node is a piece of a parsed template: text, a value, or a section with what is inside.
type node struct {
	kind  byte // 't' text, 'v' value, '#' section, '^' inverted section
	text  string
	inner []node
}

type parser struct {
	src, open, shut string
	pos             int
}

// Render renders Mustache text as os-apply-config does: nothing is escaped, what is missing is nothing, values that are no
// texts are written as JSON.
func Render(text string, config map[string]any) (string, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text) // as a text file is read in Python
	p := &parser{src: text, open: "{{", shut: "}}"}
	nodes, err := p.section("", 0)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if err := render(&out, nodes, []any{config}); err != nil {
		return "", err
	}
	return out.String(), nil
}

func (p *parser) errorf(at int, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", 1+strings.Count(p.src[:at], "\n"), fmt.Sprintf(format, args...))
}

// section parses up to the end of section name, or of the text when name is "".
func (p *parser) section(name string, depth int) ([]node, error) {
	if depth > maxDepth {
		return nil, p.errorf(p.pos, "more than %d sections in one another", maxDepth)
	}
	begin := p.pos
	var out []node
	for {
		i := strings.Index(p.src[p.pos:], p.open)
		if i < 0 {
			if name != "" {
				return nil, p.errorf(begin, "section %q does not end", name)
			}
			return append(out, node{kind: 't', text: p.src[p.pos:]}), nil
		}
		start := p.pos + i
		kind, key, end, err := p.tag(start)
		if err != nil {
			return nil, err
		}
		text := p.src[p.pos:start]
		p.pos = end
		if kind != 'v' { // a tag alone on its line takes the line with it
			if before, after, alone := p.alone(start, end); alone {
				text = text[:max(0, len(text)-(start-before))]
				p.pos = after
			}
		}
		out = append(out, node{kind: 't', text: text})
		switch kind {
		case 'v':
			out = append(out, node{kind: 'v', text: key})
		case '#', '^':
			inner, err := p.section(key, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, node{kind: kind, text: key, inner: inner})
		case '/':
			if key != name {
				return nil, p.errorf(start, "section %q ends where %q is open", key, name)
			}
			return out, nil
		}
	}
}

// tag reads the tag at start. Comments and partials, of which there are none on a node, come back as '!'.
func (p *parser) tag(start int) (kind byte, key string, end int, err error) {
	in := start + len(p.open)
	shut := p.shut
	rest := p.src[in:]
	switch {
	case p.open == "{{" && strings.HasPrefix(rest, "{"):
		shut, rest, in = "}}}", rest[1:], in+1
	case strings.HasPrefix(rest, "="):
		shut, rest, in = "="+p.shut, rest[1:], in+1
	}
	n := strings.Index(rest, shut)
	if n < 0 {
		return 0, "", 0, p.errorf(start, "a tag does not end with %q", shut)
	}
	body, end := strings.TrimSpace(rest[:n]), in+n+len(shut)
	if shut == "="+p.shut {
		f := strings.Fields(body)
		if len(f) != 2 {
			return 0, "", 0, p.errorf(start, "expected two delimiters, got %q", body)
		}
		p.open, p.shut = f[0], f[1]
		return '!', "", end, nil
	}
	if shut == "}}}" || body == "" {
		return 'v', body, end, nil
	}
	switch c := body[0]; c {
	case '#', '^', '/':
		return c, strings.TrimSpace(body[1:]), end, nil
	case '!', '>':
		return '!', "", end, nil
	case '&':
		return 'v', strings.TrimSpace(body[1:]), end, nil
	}
	return 'v', body, end, nil
}

// alone tells whether nothing but blanks is on the line of the tag, and where that line begins and ends.
func (p *parser) alone(start, end int) (before, after int, ok bool) {
	before = strings.LastIndexByte(p.src[:start], '\n') + 1
	if strings.Trim(p.src[before:start], " \t") != "" {
		return 0, 0, false
	}
	after = len(p.src)
	if i := strings.IndexByte(p.src[end:], '\n'); i >= 0 {
		after = end + i + 1
	}
	return before, after, strings.Trim(p.src[end:after], " \t\r\n") == ""
}

func render(out *strings.Builder, nodes []node, stack []any) error {
	for _, n := range nodes {
		if out.Len() > maxRendered {
			return errors.New("the file becomes too large")
		}
		if n.kind == 't' {
			out.WriteString(n.text)
			continue
		}
		v := lookup(stack, n.text)
		switch {
		case n.kind == 'v':
			if v != nil {
				out.WriteString(text(v))
			}
		case n.kind == '^':
			if !truthy(v) {
				if err := render(out, n.inner, stack); err != nil {
					return err
				}
			}
		case truthy(v):
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			for _, e := range list {
				if err := render(out, n.inner, append(stack[:len(stack):len(stack)], e)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lookup finds a name, which may have dots, in the innermost map that has its first part.
func lookup(stack []any, name string) any {
	if name == "." {
		return stack[len(stack)-1]
	}
	parts := strings.Split(name, ".")
	for i := len(stack) - 1; i >= 0; i-- {
		m, ok := stack[i].(map[string]any)
		if !ok {
			continue
		}
		v, ok := m[parts[0]]
		if !ok {
			continue
		}
		for _, p := range parts[1:] {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			if v, ok = m[p]; !ok {
				return nil
			}
		}
		return v
	}
	return nil
}

func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	default: // a number
		return strings.Trim(fmt.Sprint(v), "-0.") != ""
	}
}

// text is a value as it is put into a file.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return yaml11.PyJSON(v, true) // as Python's json.dumps(v, sort_keys=True)
}
