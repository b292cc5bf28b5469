// Package graph draws workflows: as text, as Mermaid and as SVG. It is pure.
package graph

import (
	"encoding/xml"
	"fmt"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
)

// Node is a task, or an engine command that tasks lead to.
type Node struct {
	Name, Detail string // Detail: what the task calls
	Command      bool   // fail, succeed, pause
	Join         bool
	Level        int // how many steps from a start
}

// Edge is a transition.
type Edge struct {
	From, To string
	Kind     string // success, error, complete, skip, requires
	Guarded  bool   // under a condition
}

// Graph is a workflow's tasks and transitions, in order of definition.
type Graph struct {
	Name  string
	Nodes []*Node
	Edges []Edge
}

// New makes the graph of a workflow.
func New(wf *dsl.Workflow) *Graph {
	g := &Graph{Name: wf.Name}
	seen := map[string]bool{}
	for _, t := range wf.Tasks {
		detail := t.Action
		if t.Workflow != "" {
			detail = t.Workflow
		}
		if len(t.With) > 0 {
			detail += " ×"
		}
		g.Nodes = append(g.Nodes, &Node{Name: t.Name, Detail: strings.TrimSpace(detail), Join: t.Join != nil})
	}
	for _, t := range wf.Tasks {
		if wf.Type == dsl.Reverse {
			for _, r := range wf.Requires(t) {
				g.Edges = append(g.Edges, Edge{From: r, To: t.Name, Kind: "requires"})
			}
			continue
		}
		for _, kind := range []string{"success", "error", "complete", "skip"} {
			c := wf.Clause(t, "on-"+kind)
			if c == nil {
				continue
			}
			for _, n := range c.Next {
				if n.Target == dsl.CmdNoop {
					continue
				}
				if dsl.IsCommand(n.Target) && !seen[n.Target] {
					seen[n.Target] = true
					g.Nodes = append(g.Nodes, &Node{Name: n.Target, Command: true})
				}
				g.Edges = append(g.Edges, Edge{From: t.Name, To: n.Target, Kind: kind, Guarded: n.Condition != ""})
			}
		}
	}
	g.level()
	return g
}

// level puts each node one below the highest that leads to it; edges that close
// a cycle do not count.
func (g *Graph) level() {
	nodes, in := map[string]*Node{}, map[string]int{}
	for _, n := range g.Nodes {
		nodes[n.Name] = n
	}
	for _, e := range g.Edges {
		in[e.To]++
	}
	seen := map[string]bool{}
	var queue []*Node
	for _, n := range g.Nodes {
		if in[n.Name] == 0 {
			queue = append(queue, n)
			seen[n.Name] = true
		}
	}
	if len(queue) == 0 && len(g.Nodes) > 0 {
		queue, seen[g.Nodes[0].Name] = g.Nodes[:1:1], true
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, e := range g.Edges {
			if to := nodes[e.To]; e.From == n.Name && to != nil && !seen[e.To] {
				seen[e.To], to.Level = true, n.Level+1
				queue = append(queue, to)
			}
		}
	}
}

// Text lists the tasks with what follows each.
func (g *Graph) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", g.Name)
	for _, n := range g.Nodes {
		if n.Command {
			continue
		}
		b.WriteString("  " + n.Name)
		if n.Join {
			b.WriteString(" (join)")
		}
		if n.Detail != "" {
			b.WriteString("  [" + n.Detail + "]")
		}
		b.WriteString("\n")
		for _, e := range g.Edges {
			if e.From == n.Name {
				guard := ""
				if e.Guarded {
					guard = " if …"
				}
				fmt.Fprintf(&b, "    %-9s-> %s%s\n", e.Kind, e.To, guard)
			}
		}
	}
	return b.String()
}

// Mermaid writes a flowchart.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	id := map[string]string{}
	for i, n := range g.Nodes {
		id[n.Name] = fmt.Sprintf("n%d", i)
		label := n.Name
		if n.Detail != "" {
			label += "<br/>" + n.Detail
		}
		label = strings.ReplaceAll(label, `"`, "#quot;")
		switch {
		case n.Command:
			fmt.Fprintf(&b, "  n%d((\"%s\"))\n", i, label)
		case n.Join:
			fmt.Fprintf(&b, "  n%d{{\"%s\"}}\n", i, label)
		default:
			fmt.Fprintf(&b, "  n%d[\"%s\"]\n", i, label)
		}
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Kind == "error" {
			arrow = "-.->"
		}
		label := e.Kind
		if e.Guarded {
			label += " if"
		}
		fmt.Fprintf(&b, "  %s %s|%s| %s\n", id[e.From], arrow, label, id[e.To])
	}
	return b.String()
}

const boxW, boxH, gapX, gapY = 190, 44, 30, 60

// SVG draws boxes in levels and lines between them.
func (g *Graph) SVG() string {
	rows := map[int][]*Node{}
	for _, n := range g.Nodes {
		rows[n.Level] = append(rows[n.Level], n)
	}
	var levels []int
	width := 1
	for l, r := range rows {
		levels = append(levels, l)
		width = max(width, len(r))
	}
	sort.Ints(levels)
	type point struct{ x, y int }
	at := map[string]point{}
	for i, l := range levels {
		for j, n := range rows[l] {
			left := (width - len(rows[l])) * (boxW + gapX) / 2
			at[n.Name] = point{gapX + left + j*(boxW+gapX), gapY/2 + i*(boxH+gapY)}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		gapX+width*(boxW+gapX), gapY+len(levels)*(boxH+gapY))
	b.WriteString(`<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(g.Name))
	colour := map[string]string{"success": "#2a7", "error": "#c33", "complete": "#36c", "skip": "#999", "requires": "#555"}
	for _, e := range g.Edges {
		from, to := at[e.From], at[e.To]
		dash := ""
		if e.Guarded {
			dash = ` stroke-dasharray="5 3"`
		}
		x1, y1, x2, y2 := from.x+boxW/2, from.y+boxH, to.x+boxW/2, to.y
		bend := gapY
		if y2 <= y1 { // back up: around the side
			x1, y1, x2, y2, bend = from.x+boxW, from.y+boxH/2, to.x+boxW, to.y+boxH/2, 0
		}
		fmt.Fprintf(&b, `<path d="M%d %d C%d %d %d %d %d %d" fill="none" stroke="%s"%s marker-end="url(#a)"><title>%s</title></path>`+"\n",
			x1, y1, x1+(gapX-bend/2)*flag(bend == 0), y1+bend/2, x2+(gapX-bend/2)*flag(bend == 0), y2-bend/2, x2, y2, colour[e.Kind], dash, e.Kind)
	}
	for _, n := range g.Nodes {
		p := at[n.Name]
		fill := "#fff"
		if n.Command {
			fill = "#eee"
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="#333"/>`, p.x, p.y, boxW, boxH, fill)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" font-weight="bold">%s</text>`, p.x+boxW/2, p.y+18, escape(short(n.Name)))
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n", p.x+boxW/2, p.y+34, escape(short(n.Detail)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func short(s string) string {
	if r := []rune(s); len(r) > 28 {
		return string(r[:27]) + "…"
	}
	return s
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
