package resources

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// group assembles the generated template of a type whose members are resources: values are final, only
// the outputs, one a used attribute, are computed. An output holds a map of member name to value.
type group struct {
	names []string
	defs  *Map
}

func (g *group) add(name, typ string, props, metadata any, dependsOn string) {
	def := yaml11.NewMap()
	def.Set("type", typ)
	if props != nil {
		def.Set("properties", props)
	}
	if metadata != nil {
		def.Set("metadata", metadata)
	}
	if dependsOn != "" {
		def.Set("depends_on", dependsOn)
	}
	if g.defs == nil {
		g.defs = yaml11.NewMap()
	}
	g.names = append(g.names, name)
	g.defs.Set(name, def)
}

const refOutput = "ref"

func attrOutput(attr string) string { return "attr:" + attr }

func (g *group) template(attrs []string) *Map {
	outputs := yaml11.NewMap()
	put := func(key, fn string, arg func(name string) any) {
		values := yaml11.NewMap()
		for _, n := range g.names {
			values.Set(n, yaml11.MapOf(fn, arg(n)))
		}
		outputs.Set(key, yaml11.MapOf("value", values))
	}
	put(refOutput, "get_resource", func(n string) any { return n })
	for _, a := range attrs {
		put(attrOutput(a), "get_attr", func(n string) any { return []any{n, a} })
	}
	if g.defs == nil {
		g.defs = yaml11.NewMap()
	}
	return yaml11.MapOf("heat_template_version", "wallaby", "resources", g.defs, "outputs", outputs)
}

// memberAttrs lists the attributes of members that the uses of a group need.
func memberAttrs(uses []AttrUse) []string {
	var out []string
	add := func(a string) {
		if a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, u := range uses {
		switch {
		case u.Attr == "refs" || u.Attr == "refs_map" || u.Attr == "removed_rsrc_list":
		case u.Attr == "attributes":
			if len(u.Path) > 0 {
				add(hot.PyStr(u.Path[0]))
			}
		case strings.HasPrefix(u.Attr, "resource."):
			if parts := strings.SplitN(u.Attr, ".", 3); len(parts) == 3 {
				add(parts[2])
			}
		default:
			add(u.Attr)
		}
	}
	slices.Sort(out)
	return out
}

// groupAttr answers an attribute of a group from its nested stack's outputs.
// Source: heat/engine/resources/openstack/heat/resource_group.py, get_attribute.
func groupAttr(r *Resource, name string, path []any) (any, error) {
	member := func(attr string) *Map {
		v, _ := r.Outputs.Get(attrOutput(attr))
		m, _ := v.(*Map)
		return m
	}
	list := func(m *Map, path []any) any {
		out := []any{}
		for _, v := range m.All() {
			out = append(out, hot.Dig(v, path))
		}
		return out
	}
	refs, _ := r.Outputs.Get(refOutput)
	rm, _ := refs.(*Map)
	switch {
	case name == "refs":
		return hot.Dig(list(rm, nil), path), nil
	case name == "refs_map":
		return hot.Dig(rm, path), nil
	case name == "removed_rsrc_list":
		l, _ := yaml11.Normalize(r.Data["removed"]).([]any)
		return hot.Dig(l, path), nil
	case name == "attributes":
		if len(path) == 0 {
			return nil, nil
		}
		m := yaml11.NewMap()
		for k, v := range member(hot.PyStr(path[0])).All() {
			m.Set(k, hot.Dig(v, path[1:]))
		}
		return m, nil
	case strings.HasPrefix(name, "resource."):
		parts := strings.SplitN(name, ".", 3)
		if len(parts) == 2 {
			v, _ := rm.Get(parts[1])
			return v, nil
		}
		v, ok := member(parts[2]).Get(parts[1])
		if !ok {
			return nil, fmt.Errorf("the group %s has no member %q", r.Name, parts[1])
		}
		return hot.Dig(v, path), nil
	}
	return list(member(name), path), nil
}

func heatResourceGroup() *Type {
	return &Type{Name: "OS::Heat::ResourceGroup",
		Nested: resourceGroup, NestedAttr: groupAttr,
	}
}

// batchPolicy reads an update policy of a group: members at a time, members that stay, pause between batches.
func batchPolicy(r *Resource, name string) (size, least int, pause time.Duration, ok bool) {
	v, _ := r.UpdatePolicy.Get(name)
	p, ok := v.(*Map)
	field := func(key string, missing float64) float64 {
		if v, has := p.Get(key); has && v != nil {
			return number(v)
		}
		return missing
	}
	return int(field("max_batch_size", 1)), int(field("min_in_service", 0)), time.Duration(field("pause_time", 0) * float64(time.Second)), ok
}

func resourceGroup(r *Resource, uses []AttrUse) (*Nested, error) {
	names := groupNames(r)
	m := loadMembers(r)
	hash := m.learn(r.Props.Map("resource_def"))
	nested := &Nested{Generated: true, File: r.Pos}
	size, least, pause, rolling := batchPolicy(r, "rolling_update")
	switch {
	case rolling && r.Action == "UPDATE" && len(m.list) > 0:
		next, more := steps(r, func() []batch {
			if !anyOf(m.list, func(e member) bool { return e.def != hash }) {
				return []batch{{len(names), len(names)}}
			}
			removed, _ := r.Data["removed"].([]any)
			gone := 0
			for _, e := range m.list {
				if hasText(removed, e.name) {
					gone++
				}
			}
			return rollingBatches(len(names), len(m.list)-gone, size, least, true)
		})
		if next.total >= 0 {
			m.roll(r, names, hash, next)
		}
		nested.More, nested.Pause = more, pause
	default:
		m.list = m.list[:0]
		for _, n := range names {
			m.list = append(m.list, member{n, hash})
		}
		if size, _, pause, batched := batchPolicy(r, "batch_create"); batched && r.Action != "UPDATE" {
			nested.BatchSize, nested.BatchPause = size, pause
		}
	}
	if rolling {
		m.save(r)
	}
	var g group
	for _, e := range m.list {
		def := m.defs[e.def]
		props, _ := def.Get("properties")
		meta, _ := def.Get("metadata")
		v := r.Props.Str("index_var")
		g.add(e.name, str(def, "type"), dropNull(substitute(props, v, e.name)), meta, "")
	}
	nested.Template = g.template(memberAttrs(uses))
	return nested, nil
}

// roll makes one step of a rolling update of numbered members: those that leave go first, then those with
// high numbers change before those with low ones; members beyond the target are there for a while only.
func (m *members) roll(r *Resource, target []string, def string, b batch) {
	removed, _ := r.Data["removed"].([]any)
	var names []string
	for i := 0; len(names) < b.total; i++ {
		if n := strconv.Itoa(i); !hasText(removed, n) {
			names = append(names, n)
		}
	}
	m.list = slices.DeleteFunc(m.list, func(e member) bool { return hasText(removed, e.name) })
	rank := func(e member) int {
		switch i := slices.Index(names, e.name); {
		case i < 0:
			return 0
		case i < len(target):
			return len(target) - i
		}
		return b.total
	}
	slices.SortStableFunc(m.list, func(x, y member) int { return rank(x) - rank(y) })
	fresh := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return anyOf(m.list, func(e member) bool { return e.name == n })
	})
	m.plan(def, b.total, b.updates, func() string {
		n := fresh[0]
		fresh = fresh[1:]
		return n
	})
	slices.SortStableFunc(m.list, func(x, y member) int { return slices.Index(names, x.name) - slices.Index(names, y.name) })
}

func dropNull(v any) any {
	m, ok := v.(*Map)
	if !ok {
		return v
	}
	out := yaml11.NewMap()
	for k, e := range m.All() {
		if e != nil {
			out.Set(k, e)
		}
	}
	return out
}

// groupNames returns the first count integers that were not removed. It keeps the removed names in Data.
func groupNames(r *Resource) []string {
	var removed []string
	if r.Props.Str("removal_policies_mode") != "update" {
		if l, ok := r.Data["removed"].([]any); ok {
			for _, v := range l {
				removed = append(removed, hot.PyStr(v))
			}
		}
	}
	refs, _ := r.Outputs.Get(refOutput)
	rm, _ := refs.(*Map)
	for _, p := range r.Props.List("removal_policies") {
		l, _ := p.(*Map).Get("resource_list")
		items, _ := l.([]any)
		for _, it := range items {
			name := hot.PyStr(it)
			for k, ref := range rm.All() {
				if ref == it {
					name = k
				}
			}
			if _, exists := rm.Get(name); exists && !slices.Contains(removed, name) {
				removed = append(removed, name)
			}
		}
	}
	saved := make([]any, len(removed))
	for i, n := range removed {
		saved[i] = n
	}
	r.Data["removed"] = saved
	var out []string
	for i := 0; int64(len(out)) < r.Props.Int("count"); i++ {
		if n := strconv.Itoa(i); !slices.Contains(removed, n) {
			out = append(out, n)
		}
	}
	return out
}

// substitute replaces text in every string of v.
func substitute(v any, old, new string) any {
	switch x := v.(type) {
	case string:
		if old == "" {
			return x
		}
		return strings.ReplaceAll(x, old, new)
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = substitute(e, old, new)
		}
		return out
	case *Map:
		out := yaml11.NewMap()
		for k, e := range x.All() {
			out.Set(k, substitute(e, old, new))
		}
		return out
	}
	return v
}

func heatResourceChain() *Type {
	return &Type{Name: "OS::Heat::ResourceChain",
		Nested: func(r *Resource, uses []AttrUse) (*Nested, error) {
			var g group
			prev := ""
			for i, typ := range r.Props.Strs("resources") {
				n := strconv.Itoa(i)
				var props any
				if m := r.Props.Map("resource_properties"); m != nil {
					props = m
				}
				g.add(n, typ, props, nil, prev)
				if !r.Props.Bool("concurrent") {
					prev = n
				}
			}
			return &Nested{Template: g.template(memberAttrs(uses)), Generated: true, File: r.Pos}, nil
		},
		NestedAttr: groupAttr,
	}
}

func heatDeploymentGroup(name, member string) *Type {
	plural := map[string]string{"deploy_stdouts": "deploy_stdout", "deploy_stderrs": "deploy_stderr", "deploy_status_codes": "deploy_status_code"}
	return &Type{Name: name,
		Nested: func(r *Resource, uses []AttrUse) (*Nested, error) {
			var g group
			for server, id := range r.Props.Map("servers").All() {
				p := yaml11.NewMap()
				for k, v := range r.Props.Raw.All() {
					if k != "servers" && v != nil {
						p.Set(k, v)
					}
				}
				p.Set("server", id)
				g.add(server, member, p, nil, "")
			}
			var mapped []AttrUse
			for _, u := range uses {
				if s, ok := plural[u.Attr]; ok {
					u.Attr = s
				}
				mapped = append(mapped, u)
			}
			n := &Nested{Template: g.template(memberAttrs(mapped)), Generated: true, File: r.Pos}
			policy := "batch_create"
			if r.Action == "UPDATE" {
				policy = "rolling_update"
			}
			if size, _, pause, ok := batchPolicy(r, policy); ok {
				n.BatchSize, n.BatchPause = size, pause
			}
			return n, nil
		},
		NestedAttr: func(r *Resource, name string, path []any) (any, error) {
			switch name {
			case "refs", "refs_map", "attributes":
				return groupAttr(r, name, path)
			}
			if s, ok := plural[name]; ok {
				name = s
			}
			if strings.HasPrefix(name, "resource.") {
				return groupAttr(r, name, path)
			}
			v, _ := r.Outputs.Get(attrOutput(name))
			return hot.Dig(v, path), nil
		},
	}
}
