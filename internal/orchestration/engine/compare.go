package engine

import (
	"context"
	"slices"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// The kinds of a Change.
const (
	Unchanged = "unchanged"
	Updated   = "updated"
	Replaced  = "replaced"
	Added     = "added"
	Deleted   = "deleted"
)

// Change is what an update would do to one resource.
type Change struct {
	Kind               string
	Depth              int // of its stack below the one that is updated
	Name, Type         string
	StackName, StackID string
	PhysicalID, Pos    string
	Path, Description  string
	Changed            *Map // property -> {old, new}; "unknown" instead of new where only the update can tell
	Props              *Map // as they will be, what is not known yet as null, hidden ones masked
	Row                *Row // as it is; nil if it is added
}

// hiddenValue stands for what nobody may see.
const hiddenValue = "******"

// Compare tells what an update to tree would change, nested stacks included. Values that are not known
// before resources exist count as unchanged.
func (e *Engine) Compare(ctx context.Context, stackID string, tree *Tree) ([]Change, error) {
	return e.compare(ctx, stackID, tree, 0)
}

func (e *Engine) compare(ctx context.Context, stackID string, tree *Tree, depth int) ([]Change, error) {
	var st *Stack
	var rows []*Row
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if st, err = GetStack(tx, stackID); err != nil {
			return err
		}
		rows, err = FindRows(tx, "stack_id = ? AND replaced = 0 ORDER BY created_at, name", stackID)
		return err
	})
	if err != nil {
		return nil, err
	}
	c := comparison{st: st, tree: tree, depth: depth, rows: map[string]*Row{}, kinds: map[string]string{}}
	for _, row := range rows {
		if row.Action != Init {
			c.rows[row.Name] = row
		}
	}
	var out []Change
	for _, n := range tree.Nodes {
		ch := c.node(n)
		row := c.rows[n.Def.Name]
		if n.Nested != nil && row != nil && row.PhysicalID != "" && ch.Kind != Replaced {
			sub, err := e.compare(ctx, row.PhysicalID, n.Nested, depth+1)
			if err == nil {
				out = append(out, sub...)
				if slices.ContainsFunc(sub, func(s Change) bool { return s.Kind != Unchanged }) && ch.Kind == Unchanged {
					ch.Kind = Updated
				}
			}
		} else if n.Nested != nil {
			out = append(out, c.all(n.Nested, st.Name+"-"+n.Def.Name, ch.Path, depth+1)...)
		}
		c.kinds[n.Def.Name] = ch.Kind
		out = append(out, ch)
	}
	for i, ch := range out {
		if ch.Depth == depth {
			c.unknown(&out[i])
		}
	}
	for _, row := range rows {
		if !slices.ContainsFunc(tree.Nodes, func(n *Node) bool { return n.Def.Name == row.Name }) {
			ch := c.change(row.Name, row.Type, row.Pos())
			ch.Kind, ch.Row, ch.PhysicalID, ch.Props = Deleted, row, row.PhysicalID, e.masked(row)
			out = append(out, ch)
		}
	}
	return out, nil
}

// comparison is Compare for one stack.
type comparison struct {
	st    *Stack
	tree  *Tree
	depth int
	rows  map[string]*Row
	kinds map[string]string
}

func (c *comparison) change(name, typ, pos string) Change {
	path := pathPart(c.tree.Template != nil && c.tree.Template.Generated, name)
	if c.st.Context.Path != "" {
		path = c.st.Context.Path + "." + path
	}
	return Change{Kind: Added, Depth: c.depth, Name: name, Type: typ, StackName: c.st.Name, StackID: c.st.ID, Pos: pos, Path: path, Changed: yaml11.NewMap()}
}

func (c *comparison) node(n *Node) Change {
	ch := c.change(n.Def.Name, n.Def.Type, n.Def.Pos)
	ch.Props, ch.Description = NodeProps(n), n.Def.Description
	if row := c.rows[n.Def.Name]; row != nil {
		ch.Row, ch.PhysicalID = row, row.PhysicalID
		ch.Kind = compareRow(row, n, ch.Changed)
	}
	return ch
}

// all lists the resources of a nested stack that will be made.
func (c *comparison) all(tree *Tree, stack, path string, depth int) []Change {
	var out []Change
	for _, n := range tree.Nodes {
		ch := Change{Kind: Added, Depth: depth, Name: n.Def.Name, Type: n.Def.Type, StackName: stack, Pos: n.Def.Pos, Description: n.Def.Description,
			Path: path + "." + pathPart(tree.Template != nil && tree.Template.Generated, n.Def.Name), Changed: yaml11.NewMap(), Props: NodeProps(n)}
		if n.Nested != nil {
			out = append(out, c.all(n.Nested, stack+"-"+n.Def.Name, ch.Path, depth+1)...)
		}
		out = append(out, ch)
	}
	return out
}

// unknown notes the properties whose new values come from resources that will be made anew.
func (c *comparison) unknown(ch *Change) {
	if ch.Row == nil || ch.Kind == Replaced {
		return
	}
	i := slices.IndexFunc(c.tree.Nodes, func(n *Node) bool { return n.Def.Name == ch.Name })
	if i < 0 {
		return
	}
	n := c.tree.Nodes[i]
	if !slices.ContainsFunc(n.Deps, func(d string) bool { return c.kinds[d] == Replaced || c.kinds[d] == Added }) {
		return
	}
	for k, v := range n.Props.All() {
		if !hot.HasUnknown(v) {
			continue
		}
		old, _ := ch.Row.Def().Props.Get(k)
		if p := propOf(n.Type, k); p != nil && p.Hidden {
			old = hiddenValue
		}
		ch.Changed.Set(k, yaml11.MapOf("old", old, "unknown", true))
	}
}

func propOf(t *resources.Type, name string) *resources.Prop {
	i := slices.IndexFunc(t.Props, func(p resources.Prop) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Props[i]
}

// converted are properties with defaults, as a type sees them.
func converted(t *resources.Type, raw *Map) *Map {
	lenient := *t
	lenient.AnyProps, lenient.Validate = true, nil
	p, err := resources.NewProps(&lenient, raw, nil)
	if err != nil {
		return raw
	}
	return p.All()
}

// NodeProps are the properties of a resource as they will be: with defaults, what is not known yet as null,
// hidden ones masked.
func NodeProps(n *Node) *Map {
	out := yaml11.NewMap()
	for k, v := range converted(n.Type, n.Props).All() {
		if p := propOf(n.Type, k); p != nil && p.Hidden {
			v = hiddenValue
		}
		out.Set(k, known(v))
	}
	return out
}

func (e *Engine) masked(row *Row) *Map {
	typ := e.types[row.Target]
	if typ == nil || row.Def().Props == nil {
		return row.Def().Props
	}
	out := row.Def().Props.Clone()
	for _, p := range typ.Props {
		if _, ok := out.Get(p.Name); ok && p.Hidden {
			out.Set(p.Name, hiddenValue)
		}
	}
	return out
}

func compareRow(row *Row, n *Node, changed *Map) string {
	if row.Target != n.Target && !(hot.IsTemplate(row.Target) && hot.IsTemplate(n.Target)) {
		changed.Set("type", yaml11.MapOf("old", row.Type, "new", n.Def.Type))
		return Replaced
	}
	if row.Status == Failed && n.Type.Nested == nil && (n.Type.Keep == nil || row.Action == Check) {
		return Replaced
	}
	if row.Def().External {
		return Unchanged
	}
	kind := Unchanged
	if row.Status == Failed {
		kind = Updated
	}
	old, now := converted(n.Type, row.Def().Props), converted(n.Type, n.Props)
	names := now.Keys()
	for k := range old.All() {
		if _, ok := now.Get(k); !ok {
			names = append(names, k)
		}
	}
	for _, k := range names {
		before, _ := old.Get(k)
		after, _ := now.Get(k)
		if hot.HasUnknown(after) || hot.Equal(before, after) {
			continue
		}
		p := propOf(n.Type, k)
		if p != nil && p.Hidden {
			changed.Set(k, yaml11.MapOf("old", hiddenValue, "new", hiddenValue))
		} else {
			changed.Set(k, yaml11.MapOf("old", before, "new", after))
		}
		switch {
		case n.Type.Nested == nil && (n.Type.Update == nil || p != nil && !p.Update):
			kind = Replaced
		case kind == Unchanged:
			kind = Updated
		}
	}
	return kind
}
