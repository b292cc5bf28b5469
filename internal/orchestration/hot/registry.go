package hot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Registry maps resource types to other types or template files.
type Registry struct {
	types map[string]string // key may end in "*"
	order []string
	wild  []string // keys that end in "*"
	res   *Map     // name pattern -> *Registry, hooks and restrictions inside
	hooks []string
	deny  []string
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{types: map[string]string{}, res: yaml11.NewMap()} }

// Mapping is one entry of a registry that was used.
type Mapping struct {
	Key, Target string
	Resource    string // pattern of the resources section it stands in, "" for a global one
}

func (r *Registry) mergeNode(n *yaml11.Node, path string) Errors {
	var errs Errors
	for _, pr := range n.Pairs {
		at := path + "." + pr.Key
		switch {
		case pr.Key == "resources" && pr.Value.Kind == yaml11.Map:
			for _, rp := range pr.Value.Pairs {
				sub := r.sub(rp.Key)
				if rp.Value.Kind == yaml11.Map {
					errs = append(errs, sub.mergeNode(rp.Value, at+"."+rp.Key)...)
				}
			}
		case pr.Key == "base_url":
		case pr.Key == "hooks" || pr.Key == "restricted_actions":
			list, err := names(pr.Value)
			if err != nil {
				errs = append(errs, errAt(pr.Value, at, "%v", err))
			}
			known := registryWords(pr.Key)
			for _, name := range list {
				if !slices.Contains(known, name) {
					errs = append(errs, errAt(pr.Value, at, "unknown word %q%s, expected %s", name, DidYouMean(name, known), strings.Join(known, ", ")))
				}
			}
			if pr.Key == "hooks" {
				r.hooks = list
			} else {
				r.deny = list
			}
		case pr.Value.Kind == yaml11.Map && strings.HasPrefix(path, "resource_registry.resources"):
			// resources nest by the names of nested stacks' resources
			errs = append(errs, r.sub(pr.Key).mergeNode(pr.Value, at)...)
		case pr.Value.Kind == yaml11.String:
			r.Set(pr.Key, pr.Value.Value().(string))
		case pr.Value.Kind == yaml11.Null:
			delete(r.types, pr.Key)
		default:
			errs = append(errs, errAt(pr.Value, at, "must be the name of a type or a template, got a %s", pr.Value.Kind))
		}
	}
	return errs
}

// registryWords returns what may stand in hooks or restricted_actions.
func registryWords(key string) []string {
	if key == "hooks" {
		return []string{"pre-create", "pre-update", "pre-delete", "post-create", "post-update", "post-delete"}
	}
	return []string{"update", "replace"}
}

func names(n *yaml11.Node) ([]string, error) {
	out := []string{}
	switch n.Kind {
	case yaml11.String:
		out = append(out, n.Value().(string))
	case yaml11.Seq:
		for _, it := range n.Items {
			out = append(out, text(it))
		}
	case yaml11.Null:
	default:
		return nil, fmt.Errorf("must be a name or a list of names, got a %s", n.Kind)
	}
	return out, nil
}

// Set adds a mapping.
func (r *Registry) Set(key, target string) {
	if _, ok := r.types[key]; !ok {
		r.order = append(r.order, key)
		if strings.HasSuffix(key, "*") {
			r.wild = append(r.wild, key)
		}
	}
	r.types[key] = target
}

// Templates changes the targets that are template files, at every level.
func (r *Registry) Templates(change func(target string) string) {
	for k, t := range r.types {
		if IsTemplate(t) {
			r.types[k] = change(t)
		}
	}
	for _, v := range r.res.All() {
		v.(*Registry).Templates(change)
	}
}

func (r *Registry) sub(pattern string) *Registry {
	if v, ok := r.res.Get(pattern); ok {
		return v.(*Registry)
	}
	s := NewRegistry()
	r.res.Set(pattern, s)
	return s
}

func (r *Registry) merge(o *Registry) {
	for _, k := range o.order {
		if t, ok := o.types[k]; ok {
			r.Set(k, t)
		}
	}
	if o.hooks != nil {
		r.hooks = o.hooks
	}
	if o.deny != nil {
		r.deny = o.deny
	}
	for k, v := range o.res.All() {
		r.sub(k).merge(v.(*Registry))
	}
}

// child returns the registry of the nested stack made by resource: patterns below resources that match
// its name move up one level; the used mapping disappears.
func (r *Registry) child(resource string, used *Mapping) *Registry {
	c := NewRegistry()
	for _, k := range r.order {
		if t, ok := r.types[k]; ok && (used == nil || used.Resource != "" || k != used.Key) {
			c.Set(k, t)
		}
	}
	for pattern, v := range r.res.All() {
		if Fnmatch(pattern, resource) {
			for p, s := range v.(*Registry).res.All() {
				c.sub(p).merge(s.(*Registry))
			}
		}
	}
	return c
}

// NamesResources tells whether there is a resources section.
func (r *Registry) NamesResources() bool { return r.res.Len() > 0 }

// Value returns the registry as data.
func (r *Registry) Value() *Map {
	m := yaml11.NewMap()
	for _, k := range r.order {
		if t, ok := r.types[k]; ok {
			m.Set(k, t)
		}
	}
	if r.hooks != nil {
		m.Set("hooks", yaml11.Normalize(r.hooks))
	}
	if r.deny != nil {
		m.Set("restricted_actions", yaml11.Normalize(r.deny))
	}
	res := yaml11.NewMap()
	for k, v := range r.res.All() {
		res.Set(k, v.(*Registry).values())
	}
	m.Set("resources", res)
	return m
}

// values is Value with nested patterns beside the types, as below "resources".
func (r *Registry) values() *Map {
	m := r.Value()
	res, _ := m.Get("resources")
	m.Delete("resources")
	for k, v := range res.(*Map).All() {
		m.Set(k, v)
	}
	return m
}

// Resolve follows the mappings of a resource's type to the final one: a template file (".yaml" or
// ".template") or a type that no mapping names. last is the mapping used last, nil if none was.
//
// Candidates are taken as Heat does: those for the resource's name before global ones, then in string
// order, where a trailing "*" sorts before letters (inventory, trap T5).
func (r *Registry) Resolve(typ, resource string) (target string, last *Mapping, err error) {
	seen := map[string]bool{}
	for !IsTemplate(typ) {
		m := r.match(typ, resource, seen)
		if m == nil {
			return typ, last, nil
		}
		seen[m.Resource+"\x00"+m.Key] = true
		typ, last = m.expand(typ), m
		if len(seen) > 50 {
			return "", nil, fmt.Errorf("the resource_registry maps %s in a circle", typ)
		}
	}
	return typ, last, nil
}

func (m *Mapping) expand(typ string) string {
	if strings.HasSuffix(m.Key, "*") && strings.HasSuffix(m.Target, "*") {
		return strings.TrimSuffix(m.Target, "*") + strings.TrimPrefix(typ, strings.TrimSuffix(m.Key, "*"))
	}
	return m.Target
}

func (r *Registry) match(typ, resource string, seen map[string]bool) *Mapping {
	var best *Mapping
	consider := func(key, target, res string) {
		if seen[res+"\x00"+key] {
			return
		}
		prefix, wild := strings.CutSuffix(key, "*")
		if key != typ && !(wild && strings.HasPrefix(typ, prefix)) {
			return
		}
		m := &Mapping{Key: key, Target: target, Resource: res}
		if m.expand(typ) == typ {
			return
		}
		if best == nil || (res != "") != (best.Resource != "") && res != "" || (res != "") == (best.Resource != "") && key < best.Key {
			best = m
		}
	}
	for pattern, v := range r.res.All() {
		if Fnmatch(pattern, resource) {
			for k, t := range v.(*Registry).types {
				consider(k, t, pattern)
			}
		}
	}
	if best != nil {
		return best
	}
	if t, ok := r.types[typ]; ok {
		consider(typ, t, "")
	}
	for _, k := range r.wild {
		if t, ok := r.types[k]; ok {
			consider(k, t, "")
		}
	}
	return best
}

// Hooks returns the hooks set for a resource by name.
func (r *Registry) Hooks(resource string) []string {
	var out []string
	for pattern, v := range r.res.All() {
		if Fnmatch(pattern, resource) {
			out = append(out, v.(*Registry).hooks...)
		}
	}
	return out
}

// Restricted returns the actions (update, replace) that are refused for a resource.
func (r *Registry) Restricted(resource string) []string {
	var out []string
	for pattern, v := range r.res.All() {
		if Fnmatch(pattern, resource) {
			out = append(out, v.(*Registry).deny...)
		}
	}
	return out
}

// IsTemplate tells whether a type names a template file.
func IsTemplate(typ string) bool {
	return strings.HasSuffix(typ, ".yaml") || strings.HasSuffix(typ, ".template") || strings.HasSuffix(typ, ".yml") && strings.Contains(typ, "/")
}

// Fnmatch matches shell patterns as Python's fnmatch does: * ? [set] [!set], without special treatment of
// slashes. It takes time in proportion to the product of the lengths: after a mismatch only the last * is
// given more of the text.
func Fnmatch(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // after the last *, and where the text for it ends
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, i
			continue
		}
		if n := matchOne(pattern[p:], s[i]); n > 0 {
			p += n
			i++
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne tells how many bytes of the pattern match the byte c: 0 if none do.
func matchOne(pattern string, c byte) int {
	switch {
	case pattern == "":
		return 0
	case pattern[0] == '?':
		return 1
	case pattern[0] == '[':
		// A ] at once after [ or [! is a member of the set.
		skip := 1
		if len(pattern) > 1 && pattern[1] == '!' {
			skip = 2
		}
		end := -1
		if len(pattern) > skip {
			end = strings.IndexByte(pattern[skip+1:], ']')
		}
		if end >= 0 {
			end += skip + 1
			if inSet(pattern[1:end], c) {
				return end + 1
			}
			return 0
		}
	}
	if pattern[0] == c {
		return 1
	}
	return 0
}

func inSet(set string, c byte) bool {
	neg := strings.HasPrefix(set, "!")
	set = strings.TrimPrefix(set, "!")
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= c && c <= set[i+2] {
				return !neg
			}
			i += 2
		} else if set[i] == c {
			return !neg
		}
	}
	return neg
}
