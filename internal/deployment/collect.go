package deployment

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const maxFiles = 5000

// collector gathers the files a template needs, as heatclient's template_utils does: every get_file and every
// `type: x.yaml` is read, recursively, and the reference is replaced by the file's URL, which is its key in `files`.
// Unlike the original it keeps the text as it was written, so that Heat's errors have the lines of the plan.
type collector struct {
	base  string // URL of the plan container, with a slash at the end
	read  func(name string) ([]byte, error)
	files *yaml11.OrderedMap
	seen  map[string]bool
}

func newCollector(base string, read func(string) ([]byte, error)) *collector {
	return &collector{base: base, read: read, files: yaml11.NewMap(), seen: map[string]bool{}}
}

// template reads a template of the plan with everything below it and returns its text.
func (c *collector) template(name string) (string, error) {
	return c.load(c.base+name, "")
}

// fetch reads what a URL names; from says who refers to it.
func (c *collector) fetch(u, from string) ([]byte, error) {
	name, ok := strings.CutPrefix(u, c.base)
	if !ok {
		return nil, fmt.Errorf("%s: %s is outside of the plan", from, u)
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	data, err := c.read(name)
	if err != nil {
		if from != "" && (isStatus(err, 404) || errors.Is(err, errNoFile)) {
			return nil, fmt.Errorf("%s: the plan has no file %s", from, name)
		}
		return nil, err
	}
	return data, nil
}

func (c *collector) load(u, from string) (string, error) {
	data, err := c.fetch(u, from)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(data) {
		return "", fmt.Errorf("%s: %s is not text", from, strings.TrimPrefix(u, c.base))
	}
	if !strings.Contains(string(data), "heat_template_version") {
		return string(data), nil
	}
	node, _, err := yaml11.Parse(strings.TrimPrefix(u, c.base), data, yaml11.Limits{})
	if err != nil {
		return "", err
	}
	if node.Get("heat_template_version") == nil {
		return string(data), nil
	}
	refs, err := c.references(node, u)
	if err != nil {
		return "", err
	}
	return replaceScalars(string(data), node, refs)
}

type reference struct {
	node *yaml11.Node
	url  string
}

// references finds the references below a template's node and loads what they name.
func (c *collector) references(root *yaml11.Node, base string) ([]reference, error) {
	var out []reference
	seen := map[*yaml11.Node]bool{}
	var walk func(n *yaml11.Node) error
	walk = func(n *yaml11.Node) error {
		if n == nil || seen[n] {
			return nil
		}
		seen[n] = true
		for _, it := range n.Items {
			if err := walk(it); err != nil {
				return err
			}
		}
		for _, p := range n.Pairs {
			v := p.Value
			isRef := v.Kind == yaml11.String && (p.Key == "get_file" || p.Key == "type" && isTemplateName(text(v.Value())))
			if !isRef {
				if err := walk(v); err != nil {
					return err
				}
				continue
			}
			u, err := resolveURL(base, text(v.Value()))
			if err != nil {
				return fmt.Errorf("%s: %w", v.Pos(), err)
			}
			if err := c.add(u, v.Pos()); err != nil {
				return err
			}
			out = append(out, reference{v, u})
		}
		return nil
	}
	return out, walk(root)
}

// add loads a file once.
func (c *collector) add(u, from string) error {
	if c.seen[u] {
		return nil
	}
	if len(c.seen) >= maxFiles {
		return fmt.Errorf("%s: more than %d files", from, maxFiles)
	}
	c.seen[u] = true
	t, err := c.load(u, from)
	if err != nil {
		return err
	}
	c.files.Set(u, t)
	return nil
}

func isTemplateName(s string) bool {
	return strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".template")
}

func resolveURL(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	r, err := url.Parse(ref)
	if err != nil {
		return "", err
	}
	return b.ResolveReference(r).String(), nil
}

// replaceScalars writes the URLs in place of the references, keeping every line where it is. A reference that cannot
// be found in the text as one scalar (folded over lines) makes the whole document be written anew.
func replaceScalars(src string, root *yaml11.Node, refs []reference) (string, error) {
	if len(refs) == 0 {
		return src, nil
	}
	lines := strings.SplitAfter(src, "\n")
	byLine := map[int][]reference{}
	for _, r := range refs {
		byLine[r.node.Line] = append(byLine[r.node.Line], r)
	}
	for n, rs := range byLine {
		if n < 1 || n > len(lines) {
			return rewritten(root, refs)
		}
		// From the right, so that columns stay true.
		for len(rs) > 0 {
			last := 0
			for i := range rs {
				if rs[i].node.Column > rs[last].node.Column {
					last = i
				}
			}
			line, ok := replaceAt(lines[n-1], rs[last])
			if !ok {
				return rewritten(root, refs)
			}
			lines[n-1] = line
			rs = append(rs[:last:last], rs[last+1:]...)
		}
	}
	return strings.Join(lines, ""), nil
}

func replaceAt(line string, r reference) (string, bool) {
	rs := []rune(line)
	col := r.node.Column - 1
	if col < 0 || col >= len(rs) {
		return "", false
	}
	head, tail := string(rs[:col]), string(rs[col:])
	old := text(r.node.Value())
	for _, form := range []string{old, "'" + old + "'", `"` + old + `"`} {
		if rest, ok := strings.CutPrefix(tail, form); ok {
			return head + "'" + r.url + "'" + rest, true
		}
	}
	return "", false
}

func rewritten(root *yaml11.Node, refs []reference) (string, error) {
	urls := map[*yaml11.Node]string{}
	for _, r := range refs {
		urls[r.node] = r.url
	}
	var value func(n *yaml11.Node) any
	value = func(n *yaml11.Node) any {
		if u, ok := urls[n]; ok {
			return u
		}
		switch n.Kind {
		case yaml11.Map:
			m := yaml11.NewMap()
			for _, p := range n.Pairs {
				m.Set(p.Key, value(p.Value))
			}
			return m
		case yaml11.Seq:
			out := make([]any, len(n.Items))
			for i, it := range n.Items {
				out[i] = value(it)
			}
			return out
		}
		return n.Value()
	}
	b, err := yaml11.Marshal(value(root))
	return string(b), err
}

// environment resolves the registry of one environment file against its place and loads what it maps to.
func (c *collector) environment(name string, env *yaml11.OrderedMap) error {
	reg, ok := dig(env, "resource_registry").(*yaml11.OrderedMap)
	if !ok {
		return nil
	}
	base := c.base + name
	if b := text(reg, "base_url"); b != "" {
		base = strings.TrimSuffix(b, "/") + "/"
	}
	resolved, err := c.registry(reg, base, name)
	if err != nil {
		return err
	}
	env.Set("resource_registry", resolved)
	return nil
}

func (c *collector) registry(reg *yaml11.OrderedMap, base, file string) (*yaml11.OrderedMap, error) {
	out := yaml11.NewMap()
	for k, v := range reg.All() {
		switch x := v.(type) {
		case *yaml11.OrderedMap:
			inner, err := c.registry(x, base, file)
			if err != nil {
				return nil, err
			}
			out.Set(k, inner)
			continue
		case string:
			if k == "base_url" || k == "hooks" || k == "restricted_actions" || strings.Contains(x, "::") || x == "" {
				break
			}
			u, err := resolveURL(base, x)
			if err != nil {
				return nil, fmt.Errorf("%s: resource_registry %s: %w", file, k, err)
			}
			if err := c.add(u, file+": resource_registry "+k); err != nil {
				return nil, err
			}
			v = u
		}
		out.Set(k, v)
	}
	return out, nil
}
