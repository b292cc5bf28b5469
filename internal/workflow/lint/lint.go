// Package lint finds what is wrong or doubtful in workflow definitions beyond
// what the language itself refuses. It is pure: text in, findings out.
package lint

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Severities.
const (
	Error   = "error"   // it is refused, or cannot work
	Warning = "warning" // it hardly means what it says
)

// Finding is one place of a definition that needs a look.
type Finding struct {
	Line, Column   int
	Severity, Path string
	Message        string
}

func (f Finding) String() string {
	s := fmt.Sprintf("%d:%d: %s: ", f.Line, f.Column, f.Severity)
	if f.Path != "" {
		s += f.Path + ": "
	}
	return s + f.Message
}

// Callee is what is known of an action or a workflow.
type Callee struct {
	Inputs   []string
	Required []string
	Extra    bool // takes any further input
}

// Known says what can be called besides what the text defines. A nil function
// knows nothing and finds nothing unknown.
type Known struct {
	Action   func(name string) *Callee
	Workflow func(name string) *Callee
	Check    dsl.CheckExpr
}

// Text checks a workbook, or a document of workflows or ad-hoc actions.
func Text(text string, known Known) []Finding {
	l := &linter{known: known, actions: map[string]*Callee{}, workflows: map[string]*Callee{}}
	root, warnings, err := yaml11.Parse("", []byte(text), yaml11.Limits{MaxBytes: 4 << 20, MaxDepth: 100, MaxNodes: 500_000})
	if err != nil || root == nil || root.Kind != yaml11.Map {
		_, err = dsl.ParseWorkflows(text, known.Check)
		return l.problems(err)
	}
	for _, w := range warnings {
		l.found = append(l.found, Finding{Line: w.Line, Column: w.Column, Severity: Warning, Message: w.Msg})
	}
	if root.Get("workflows") != nil || root.Get("actions") != nil {
		wb, err := dsl.ParseWorkbook(text, known.Check)
		if err != nil {
			return l.problems(err)
		}
		l.book(wb, root)
	} else if err := l.document(text, root); err != nil {
		return l.problems(err)
	}
	return l.sorted()
}

type linter struct {
	known              Known
	actions, workflows map[string]*Callee
	found              []Finding
	prefix             string // "<workbook>."
}

func (l *linter) sorted() []Finding {
	sort.SliceStable(l.found, func(i, j int) bool {
		a, b := l.found[i], l.found[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return l.found
}

func (l *linter) problems(err error) []Finding {
	var list dsl.Errors
	if !errors.As(err, &list) {
		if err != nil {
			l.found = append(l.found, Finding{Line: 1, Severity: Error, Message: err.Error()})
		}
		return l.sorted()
	}
	for _, p := range list {
		l.found = append(l.found, Finding{Line: p.Line, Column: p.Column, Severity: Error, Path: p.Path, Message: p.Message})
	}
	return l.sorted()
}

func (l *linter) add(n *yaml11.Node, severity, path, format string, args ...any) {
	f := Finding{Severity: severity, Path: path, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	l.found = append(l.found, f)
}

func callee(params []dsl.InputParam) *Callee {
	c := &Callee{}
	for _, p := range params {
		c.Inputs = append(c.Inputs, p.Name)
		if p.Required {
			c.Required = append(c.Required, p.Name)
		}
	}
	return c
}

func (l *linter) book(wb *dsl.Workbook, root *yaml11.Node) {
	l.prefix = wb.Name + "."
	for _, w := range wb.Workflows {
		l.workflows[l.prefix+w.Name] = callee(w.Input)
	}
	for _, a := range wb.Actions {
		l.actions[l.prefix+a.Name] = callee(a.Input)
	}
	for _, a := range wb.Actions {
		l.adhoc(a, root.Get("actions").Get(a.Name), "actions."+a.Name)
	}
	for _, w := range wb.Workflows {
		l.workflow(w, root.Get("workflows").Get(w.Name), "workflows."+w.Name)
	}
}

// document checks a list of workflows, or of ad-hoc actions: those have a base.
func (l *linter) document(text string, root *yaml11.Node) error {
	for _, p := range root.Pairs {
		if p.Key == "version" || p.Value == nil || p.Value.Kind != yaml11.Map || p.Value.Get("base") == nil {
			continue
		}
		list, err := dsl.ParseActions(text, l.known.Check)
		for _, a := range list {
			l.adhoc(a, root.Get(a.Name), a.Name)
		}
		return err
	}
	list, err := dsl.ParseWorkflows(text, l.known.Check)
	if err != nil {
		return err
	}
	for _, w := range list {
		l.workflows[w.Name] = callee(w.Input)
	}
	for _, w := range list {
		l.workflow(w, root.Get(w.Name), w.Name)
	}
	return nil
}

func (l *linter) adhoc(a *dsl.AdhocAction, n *yaml11.Node, path string) {
	if !dsl.HasExpr(a.Base) {
		l.call(l.action(a.Base), l.known.Action != nil, "action", a.Base, a.BaseInput, n.Get("base"), path+".base")
	}
}

func (l *linter) action(name string) *Callee {
	for _, n := range []string{l.prefix + name, name} {
		if c := l.actions[n]; c != nil {
			return c
		}
	}
	if l.known.Action == nil {
		return nil
	}
	return l.known.Action(name)
}

func (l *linter) sub(name string) *Callee {
	for _, n := range []string{l.prefix + name, name} {
		if c := l.workflows[n]; c != nil {
			return c
		}
	}
	if l.known.Workflow == nil {
		return nil
	}
	return l.known.Workflow(name)
}

// call checks that a callee is known and gets what it needs.
func (l *linter) call(c *Callee, sure bool, what, name string, input any, n *yaml11.Node, path string) {
	if c == nil {
		if sure {
			l.add(n, Error, path, "there is no %s %q", what, name)
		}
		return
	}
	given, ok := input.(*yaml11.OrderedMap)
	if input != nil && !ok {
		return // an expression gives it
	}
	for _, r := range c.Required {
		if given == nil {
			l.add(n, Error, path, "%s %s needs the input %q", what, name, r)
		} else if _, ok := given.Get(r); !ok {
			l.add(n, Error, path, "%s %s needs the input %q", what, name, r)
		}
	}
	if given == nil || c.Extra {
		return
	}
	for k := range given.All() {
		if !contains(c.Inputs, k) {
			severity := Error
			if what == "workflow" {
				severity = Warning // it becomes a param of the execution
			}
			l.add(n, severity, path, "%s %s takes no input %q", what, name, k)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (l *linter) workflow(w *dsl.Workflow, n *yaml11.Node, path string) {
	for _, t := range w.Tasks {
		tn, at := n.Get("tasks").Get(t.Name), path+".tasks."+t.Name
		switch {
		case t.Workflow != "" && !dsl.HasExpr(t.Workflow):
			sure := l.known.Workflow != nil
			l.call(l.sub(t.Workflow), sure, "workflow", t.Workflow, t.Input, tn.Get("workflow"), at+".workflow")
		case t.Action != "" && !dsl.HasExpr(t.Action):
			l.call(l.action(t.Action), l.known.Action != nil, "action", t.Action, t.Input, tn.Get("action"), at+".action")
		}
		for _, key := range []string{"action", "workflow", "retry"} {
			if v := tn.Get(key); v != nil && v.Kind == yaml11.String {
				l.dropped(v, at+"."+key)
			}
		}
	}
	if w.Type == dsl.Direct {
		l.flow(w, n, path)
	}
	l.unused(w, n, path)
}

var inlinePattern = regexp.MustCompile(`[-_\w]+=("[^"]*"|'[^']*'|<%.*?%>|\{\{.*?\}\}|\[.*\]|true|false|null|\d+)`)

// dropped finds inline parameters that Mistral's pattern does not recognise, so
// that they silently disappear (maintenance=False).
func (l *linter) dropped(n *yaml11.Node, path string) {
	s, _ := n.Value().(string)
	rest := inlinePattern.ReplaceAllString(s, " ")
	for _, word := range strings.Fields(rest) {
		if name, value, ok := strings.Cut(word, "="); ok && name != "" && !strings.ContainsAny(name, "<>!%$('\"") {
			l.add(n, Warning, path, "the parameter %s is ignored: %q is neither quoted, an expression, a list, a number, true, false nor null", name, value)
		}
	}
}

// flow finds tasks that are never reached and joins that cannot be satisfied.
func (l *linter) flow(w *dsl.Workflow, n *yaml11.Node, path string) {
	g := newFlow(w)
	reached := g.reach("", "")
	tasks := n.Get("tasks")
	key := func(name string) *yaml11.Node {
		for _, p := range tasks.Pairs {
			if p.Key == name {
				return p.KeyNode
			}
		}
		return tasks
	}
	for _, t := range w.Tasks {
		if !reached.tasks[t.Name] {
			l.add(key(t.Name), Warning, path+".tasks."+t.Name, "no start leads to this task: it never runs")
		}
	}
	for _, t := range w.Tasks {
		if t.Join == nil || !reached.tasks[t.Name] {
			continue
		}
		inbound := w.Inbound(t.Name)
		need := t.Join.Count
		if need == 0 {
			need = len(inbound)
		}
		live := 0
		for _, in := range inbound {
			if reached.tasks[in.Name] {
				live++
			}
		}
		if live < need {
			l.add(tasks.Get(t.Name).Get("join"), Error, path+".tasks."+t.Name+".join", "join waits for %d routes, but only %d of them can be taken", need, live)
			continue
		}
		for _, a := range w.Tasks {
			ifOK, ifNot := g.lost(a.Name, "error", t.Name, reached), g.lost(a.Name, "success", t.Name, reached)
			if both := min(len(ifOK), len(ifNot)); both > 0 && live-both < need {
				l.add(tasks.Get(t.Name).Get("join"), Error, path+".tasks."+t.Name+".join",
					"join waits for %d routes, but %s come only when %s succeeds and %s only when it fails", need,
					strings.Join(ifNot, ", "), a.Name, strings.Join(ifOK, ", "))
				break
			}
		}
	}
}

// flow is the graph of a workflow by kinds of transitions.
type flow struct {
	w *dsl.Workflow
}

func newFlow(w *dsl.Workflow) *flow { return &flow{w} }

type reach struct {
	tasks map[string]bool
	edges map[[2]string]bool
}

// reach walks from the starts; of the named task the transitions of one kind
// ("success" or "error") are not taken.
func (g *flow) reach(task, without string) reach {
	r := reach{map[string]bool{}, map[[2]string]bool{}}
	queue := append([]*dsl.Task(nil), g.w.Starts()...)
	for _, t := range queue {
		r.tasks[t.Name] = true
	}
	for len(queue) > 0 {
		t := queue[0]
		queue = queue[1:]
		for _, kind := range []string{"success", "error", "complete", "skip"} {
			if t.Name == task && (kind == without || kind == "skip") {
				continue
			}
			c := g.w.Clause(t, "on-"+kind)
			if c == nil {
				continue
			}
			for _, n := range c.Next {
				to := g.w.Task(n.Target)
				if to == nil {
					continue
				}
				r.edges[[2]string{t.Name, to.Name}] = true
				if !r.tasks[to.Name] {
					r.tasks[to.Name] = true
					queue = append(queue, to)
				}
			}
		}
	}
	return r
}

// lost returns the tasks whose route to a join needs a kind of outcome of one task.
func (g *flow) lost(task, without, join string, all reach) []string {
	r := g.reach(task, without)
	var out []string
	for _, in := range g.w.Inbound(join) {
		if e := [2]string{in.Name, join}; all.edges[e] && !r.edges[e] {
			out = append(out, in.Name)
		}
	}
	return out
}

// unused finds vars that no expression names.
func (l *linter) unused(w *dsl.Workflow, n *yaml11.Node, path string) {
	if w.Vars == nil {
		return
	}
	var b strings.Builder
	var walk func(n *yaml11.Node)
	walk = func(n *yaml11.Node) {
		if n == nil {
			return
		}
		if n.Kind == yaml11.String {
			if s, _ := n.Value().(string); dsl.HasExpr(s) {
				b.WriteString(s + "\n")
			}
		}
		for _, it := range n.Items {
			walk(it)
		}
		for _, p := range n.Pairs {
			walk(p.Value)
		}
	}
	walk(n)
	text := b.String()
	for _, p := range n.Get("vars").Pairs {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(p.Key) + `\b`).MatchString(text) {
			l.add(p.KeyNode, Warning, path+".vars."+p.Key, "no expression uses this variable")
		}
	}
}
